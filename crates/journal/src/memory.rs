//! A journal that forgets everything with the process: for tests and for the simulation.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::error::Error;
use crate::head::Head;
use crate::journal::{Append, Entry, Journal, Loaded, Watch};
use crate::lease::{Lease, LocalLeases};
use crate::recent::Recent;

/// A journal in memory. It passes the same contract tests as the durable ones.
#[derive(Debug)]
pub struct MemoryJournal {
    head: Mutex<Head>,
    recent: Arc<Recent>,
    leases: LocalLeases,
}

impl MemoryJournal {
    /// An empty journal at revision 0.
    pub fn new() -> Self {
        Self { head: Mutex::default(), recent: Recent::new(0), leases: LocalLeases::new() }
    }
}

impl Default for MemoryJournal {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn load(&self) -> Result<Loaded, Error> {
        Ok(self.head.lock().unwrap_or_else(PoisonError::into_inner).to_loaded())
    }

    async fn append(&self, append: Append) -> Result<u64, Error> {
        append.validate()?;
        let mut head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        head.check(&append)?;
        if append.writes.is_empty() {
            return Ok(head.revision);
        }
        head.apply(&append.writes, None);
        let revision = head.revision;
        let Append { writes, attachment, .. } = append;
        self.recent.push([Entry { revision, writes: writes.into(), attachment }]);
        self.recent.announce(revision);
        Ok(revision)
    }

    async fn watch(&self, after: u64) -> Result<Watch, Error> {
        self.recent.watch(after)
    }

    async fn lease(&self, name: &str) -> Result<Lease, Error> {
        Ok(self.leases.acquire(name).await)
    }
}
