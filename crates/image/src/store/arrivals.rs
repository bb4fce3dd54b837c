//! Blobs on their way: an image is unpacked while its layers still arrive.
//!
//! Whoever unpacks waits here for each blob, on a thread of its own; whoever downloads says what has come.
//! If the downloads end before everything came, nobody goes on waiting.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, PoisonError};

use crate::digest::Digest;

/// Which blobs of an image are here.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    here: BTreeSet<Digest>,
    /// Nothing more comes.
    over: bool,
}

impl Arrivals {
    /// Everything that will ever be here is here: of an image that isn't downloaded.
    pub fn over() -> Self {
        let state = State { here: BTreeSet::new(), over: true };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// A blob is whole, and in its place.
    pub fn arrived(&self, blob: &Digest) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).here.insert(*blob);
        self.changed.notify_all();
    }

    /// No blob comes any more.
    pub fn end(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).over = true;
        self.changed.notify_all();
    }

    /// True if nobody need wait for a blob.
    pub fn has(&self, blob: &Digest) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.over || state.here.contains(blob)
    }

    /// Waits until a blob is here, or nothing more comes: what is on the disk then is all. Blocks.
    pub fn wait(&self, blob: &Digest) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = |state: &mut State| !state.over && !state.here.contains(blob);
        drop(self.changed.wait_while(state, waiting).unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_what_is_here_or_will_not_come() {
        let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
        let arrivals = Arrivals::default();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                arrivals.wait(&one);
                arrivals.wait(&two);
            });
            assert!(!arrivals.has(&one));
            arrivals.arrived(&one);
            assert!(arrivals.has(&one) && !arrivals.has(&two));
            assert!(!waiting.is_finished(), "the second isn't here");
            arrivals.end();
        });
        Arrivals::over().wait(&one);
        assert!(arrivals.has(&two));
    }
}
