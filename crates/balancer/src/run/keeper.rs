//! A restart after a kill without a refused connection: another process, a keeper, holds the
//! listening sockets open, too. Whoever connects meanwhile waits in them until the next balancer
//! accepts.
//!
//! Messages are those of the handover. A balancer asks (`ask`) for what is kept and gets it, then
//! `end`; it says what it listens on (`tcp ADDRESS` or `udp ADDRESS` with the descriptor), that
//! nothing else is to be kept (`end`), and what it has closed (`close tcp ADDRESS`), which the keeper
//! closes before it answers, so that the port is free.

use super::handover::{END, Inherited, Message, TIMEOUT, name_of, receive, receive_one, send};
use super::sockets::Place;
use std::collections::BTreeSet;
use std::fs::Permissions;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What a balancer begins with that wants to have what is kept.
const ASK: &str = "ask";
/// Before the place of a socket that was closed.
const CLOSE: &str = "close ";

/// Keeps sockets for the balancers that connect to `path`, in threads of its own, until the process
/// ends.
///
/// # Errors
/// If the socket can't be made.
pub fn serve(path: &Path) -> io::Result<()> {
    // One that a killed keeper left.
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    let kept: Arc<Mutex<Inherited>> = Arc::default();
    std::thread::Builder::new().name("keeper".into()).spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else {
                // Out of descriptors: some come back.
                std::thread::sleep(TIMEOUT);
                continue;
            };
            let kept = Arc::clone(&kept);
            let begun = std::thread::Builder::new().name("kept".into()).spawn(move || {
                if let Err(error) = converse(&stream, &kept) {
                    tracing::debug!(%error, "a balancer is gone");
                }
            });
            if let Err(error) = begun {
                tracing::warn!(%error, "sockets aren't kept for a balancer");
            }
        }
    })?;
    Ok(())
}

fn converse(stream: &UnixStream, kept: &Mutex<Inherited>) -> io::Result<()> {
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut named = BTreeSet::new();
    loop {
        let Message { text, descriptor } = receive_one(stream)?;
        if text == ASK {
            // Copies: a balancer that is slow must not hold the others up.
            let copies: Inherited = {
                let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                let copy =
                    |(place, fd): (&Place, &std::os::fd::OwnedFd)| Ok((*place, fd.try_clone()?));
                kept.iter().map(copy).collect::<io::Result<_>>()?
            };
            for (place, descriptor) in &copies {
                send(stream, &name_of(*place), Some(descriptor.as_fd()))?;
            }
            send(stream, END, None)?;
        } else if text == END {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.retain(|place, _| named.contains(place));
        } else if let Some(place) = text.strip_prefix(CLOSE).and_then(Place::parse) {
            named.remove(&place);
            kept.lock().unwrap_or_else(PoisonError::into_inner).remove(&place);
            send(stream, END, None)?;
        } else if let (Some(place), Some(descriptor)) = (Place::parse(&text), descriptor) {
            named.insert(place);
            kept.lock().unwrap_or_else(PoisonError::into_inner).insert(place, descriptor);
        } else {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

/// A balancer's connection to its keeper, if there is one.
#[derive(Default)]
pub(super) struct Keeper {
    path: Option<PathBuf>,
    stream: Option<UnixStream>,
}

impl Keeper {
    /// Of the keeper at a path; none without.
    pub(super) fn new(path: Option<PathBuf>) -> Self {
        Self { path, stream: None }
    }

    fn connect(&self) -> Option<UnixStream> {
        let stream = UnixStream::connect(self.path.as_ref()?).ok()?;
        stream.set_read_timeout(Some(TIMEOUT)).ok()?;
        stream.set_write_timeout(Some(TIMEOUT)).ok()?;
        Some(stream)
    }

    /// What is kept of a balancer that was killed.
    pub(super) fn ask(&mut self) -> Inherited {
        self.stream = self.connect();
        let Some(stream) = &self.stream else { return Inherited::new() };
        match send(stream, ASK, None).and_then(|()| receive(stream)) {
            Ok(inherited) => inherited,
            Err(error) => {
                tracing::warn!(%error, "the keeper hands no sockets over");
                self.stream = None;
                Inherited::new()
            }
        }
    }

    /// Lets all of these be kept, and nothing else.
    pub(super) fn hold_all<'a>(
        &mut self,
        sockets: impl Iterator<Item = (&'a Place, BorrowedFd<'a>)>,
    ) {
        if self.stream.is_none() {
            self.stream = self.connect();
        }
        let Some(stream) = &self.stream else { return };
        let mut sockets = sockets;
        let done = sockets
            .try_for_each(|(place, descriptor)| send(stream, &name_of(*place), Some(descriptor)))
            .and_then(|()| send(stream, END, None));
        self.note(done);
    }

    /// Lets one more be kept.
    pub(super) fn hold(&mut self, place: Place, descriptor: BorrowedFd<'_>) {
        let Some(stream) = &self.stream else { return };
        let done = send(stream, &name_of(place), Some(descriptor));
        self.note(done);
    }

    /// Lets one be closed, and waits for that.
    pub(super) fn close(&mut self, place: Place) {
        let Some(stream) = &self.stream else { return };
        let done = send(stream, &format!("{CLOSE}{}", name_of(place)), None)
            .and_then(|()| receive_one(stream))
            .map(drop);
        self.note(done);
    }

    /// It is gone, or another one has taken its place: it has to be told everything again.
    pub(super) fn is_lost(&mut self) -> bool {
        use rustix::net::{RecvFlags, recv};
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        // Nothing comes unasked: what can be read is the end.
        if let Some(stream) = &self.stream
            && recv(stream, &mut [0; 1], flags) != Err(rustix::io::Errno::AGAIN)
        {
            self.stream = None;
        }
        self.path.is_some() && self.stream.is_none()
    }

    fn note(&mut self, done: io::Result<()>) {
        if let Err(error) = done {
            tracing::warn!(%error, "the keeper of sockets is gone");
            self.stream = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{SocketAddr, TcpListener, TcpStream};

    fn open() -> (Place, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        (Place { address: listener.local_addr().unwrap(), udp: false }, listener)
    }

    /// Whoever dies leaves its sockets open, with the connections that wait in them; what it closed
    /// is closed.
    #[test]
    fn what_is_kept_outlives_a_balancer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keeper.sock");
        assert!(Keeper::new(Some(path.clone())).ask().is_empty());
        serve(&path).unwrap();
        let ((one, first), (two, second)) = (open(), open());
        let mut keeper = Keeper::new(Some(path.clone()));
        assert!(keeper.ask().is_empty());
        keeper.hold_all([(&one, first.as_fd())].into_iter());
        keeper.hold(two, second.as_fd());
        keeper.close(two);
        assert!(!keeper.is_lost());
        drop((first, second, keeper));

        let refused = |address: SocketAddr| TcpStream::connect(address).is_err();
        assert!(refused(two.address));
        let waiting = TcpStream::connect(one.address).unwrap();
        let mut successor = Keeper::new(Some(path.clone()));
        let mut inherited = successor.ask();
        assert_eq!(inherited.keys().collect::<Vec<_>>(), [&one]);
        let again = TcpListener::from(inherited.remove(&one).unwrap());
        assert_eq!(again.accept().unwrap().1, waiting.local_addr().unwrap());
        // Nothing of it is wanted any more.
        successor.hold_all(std::iter::empty());
        successor.close(two);
        drop(again);
        assert!(refused(one.address));
    }
}
