//! A restart without a refused connection: the successor asks its predecessor, by a socket in their
//! directory, for the listening sockets. They stay open all the while, with what waits in them.
//!
//! One message for each socket, 64 bytes that name its place, with the descriptor; then `end`. The
//! successor answers with one byte, after which the predecessor accepts nothing more.

use super::sockets::Place;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

/// Bytes of a message.
const MESSAGE: usize = 64;
/// The last message.
pub(super) const END: &str = "end";
/// Either side waits so long for the other.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
/// The socket's name.
const NAME: &str = "handover.sock";

/// Sockets by their places.
pub(super) type Inherited = BTreeMap<Place, OwnedFd>;

/// Asks a predecessor for its sockets; there may be none. The connection is to be answered by
/// [`accept`] once they are in use.
pub(super) fn ask(directory: &Path) -> Option<(Inherited, UnixStream)> {
    let stream = UnixStream::connect(directory.join(NAME)).ok()?;
    match receive(&stream) {
        Ok(inherited) => Some((inherited, stream)),
        Err(error) => {
            tracing::warn!(%error, "the predecessor hands no sockets over");
            None
        }
    }
}

/// Tells the predecessor that its sockets are in use.
pub(super) fn accept(mut predecessor: &UnixStream) {
    let _ = predecessor.write_all(&[1]);
}

/// Listens for a successor.
pub(super) fn listen(directory: &Path) -> io::Result<UnixListener> {
    let path = directory.join(NAME);
    // A predecessor's, which it has no use for any more.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Sockets, until the message that ends them.
pub(super) fn receive(stream: &UnixStream) -> io::Result<Inherited> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut inherited = Inherited::new();
    loop {
        let Message { text, descriptor } = receive_one(stream)?;
        if text == END {
            return Ok(inherited);
        }
        match (Place::parse(&text), descriptor) {
            (Some(place), Some(descriptor)) => drop(inherited.insert(place, descriptor)),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// A message, with the descriptor that came with it.
pub(super) struct Message {
    pub(super) text: String,
    pub(super) descriptor: Option<OwnedFd>,
}

pub(super) fn receive_one(stream: &UnixStream) -> io::Result<Message> {
    let mut message = [0; MESSAGE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut message)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL,
    )?;
    if received.bytes != MESSAGE {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let descriptor = descriptors.flatten().next();
    let text = String::from_utf8_lossy(&message);
    Ok(Message { text: text.trim_end_matches('\0').to_owned(), descriptor })
}

/// A place, as messages write it.
pub(super) fn name_of(place: Place) -> String {
    format!("{} {}", if place.udp { "udp" } else { "tcp" }, place.address)
}

impl Place {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (kind, address) = text.split_once(' ')?;
        let udp = match kind {
            "udp" => true,
            "tcp" => false,
            _ => return None,
        };
        Some(Self { address: address.parse().ok()?, udp })
    }
}

/// Hands sockets to a successor; whether it has taken them.
pub(super) fn give(stream: &UnixStream, sockets: &Inherited) -> io::Result<bool> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    for (place, descriptor) in sockets {
        send(stream, &name_of(*place), Some(descriptor.as_fd()))?;
    }
    send(stream, END, None)?;
    let mut taken = [0];
    let mut reader = stream;
    Ok(reader.read(&mut taken)? == 1)
}

pub(super) fn send(
    stream: &UnixStream,
    text: &str,
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut message = [0; MESSAGE];
    message[..text.len()].copy_from_slice(text.as_bytes());
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.as_slice();
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    sendmsg(stream, &[IoSlice::new(&message)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn sockets_come_out_as_they_went_in() {
        let directory = tempfile::tempdir().unwrap();
        let listener = listen(directory.path()).unwrap();
        listener.set_nonblocking(false).unwrap();
        let open: Vec<TcpListener> =
            (0..100).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let sockets: Inherited = open
            .iter()
            .map(|socket| {
                let address = socket.local_addr().unwrap();
                (Place { address, udp: false }, socket.try_clone().unwrap().into())
            })
            .collect();
        let giving = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            give(&stream, &sockets).unwrap()
        });
        let (inherited, predecessor) = ask(directory.path()).unwrap();
        accept(&predecessor);
        assert!(giving.join().unwrap());
        assert_eq!(inherited.len(), 100);
        for (place, descriptor) in inherited {
            assert_eq!(TcpListener::from(descriptor).local_addr().unwrap(), place.address);
        }
    }

    #[test]
    fn without_a_predecessor_there_is_nothing() {
        let directory = tempfile::tempdir().unwrap();
        assert!(ask(directory.path()).is_none());
    }
}
