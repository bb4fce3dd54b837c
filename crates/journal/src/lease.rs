//! Leases: who may act for a name, one holder at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedMutexGuard, watch};

/// The right to act for a name, until it is dropped or lost.
#[derive(Debug)]
pub struct Lease {
    name: String,
    lost: watch::Receiver<bool>,
    /// Releases the name when it goes.
    _guard: OwnedMutexGuard<()>,
}

impl Lease {
    /// The name that the lease is for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the lease still stands. The holder stops acting once it doesn't.
    pub fn is_held(&self) -> bool {
        !*self.lost.borrow()
    }

    /// Returns when the lease has been lost; inside one process that is when the journal closes.
    pub async fn lost(&mut self) {
        // An error means that the journal, which alone could take the lease away, is gone.
        let _ = self.lost.wait_for(|lost| *lost).await;
    }
}

/// The leases of a journal that only one process has open.
#[derive(Debug)]
pub(crate) struct LocalLeases {
    names: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    lost: watch::Sender<bool>,
}

impl LocalLeases {
    pub(crate) fn new() -> Self {
        Self { names: Mutex::default(), lost: watch::Sender::new(false) }
    }

    pub(crate) async fn acquire(&self, name: &str) -> Lease {
        let mutex = {
            let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            // Names nobody holds or waits for are forgotten, so that the map stays small.
            names.retain(|_, mutex| Arc::strong_count(mutex) > 1);
            names.entry(name.to_owned()).or_default().clone()
        };
        let guard = mutex.lock_owned().await;
        Lease { name: name.to_owned(), lost: self.lost.subscribe(), _guard: guard }
    }

    /// Takes every lease away, for good.
    pub(crate) fn revoke(&self) {
        self.lost.send_replace(true);
    }
}
