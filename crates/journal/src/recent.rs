//! The newest committed transactions, kept in memory for those who watch.
//!
//! Watchers hold a cursor into one shared queue, not a queue each: a watcher that sleeps costs
//! nothing, and one that sleeps too long is told to load again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::error::Error;
use crate::journal::Entry;

/// Most entries kept for watchers.
const MAX_ENTRIES: usize = 65_536;
/// Most bytes of keys and values kept for watchers.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The queue that a journal's writer fills and its watchers read.
#[derive(Debug)]
pub(crate) struct Recent {
    queue: Mutex<Queue>,
    /// The newest revision in the queue; `Err` once the journal is closed or has failed.
    newest: watch::Sender<Result<u64, Error>>,
}

#[derive(Debug)]
struct Queue {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Everything after this revision is in the queue.
    after: u64,
}

impl Recent {
    /// An empty queue whose next entry has a revision above `after`.
    pub(crate) fn new(after: u64) -> Arc<Self> {
        let queue = Queue { entries: VecDeque::new(), bytes: 0, after };
        Arc::new(Self { queue: Mutex::new(queue), newest: watch::Sender::new(Ok(after)) })
    }

    /// Shows durable entries to the watchers that look; [`Recent::announce`] wakes the others.
    pub(crate) fn push(&self, entries: impl IntoIterator<Item = Entry>) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        entries.into_iter().for_each(|entry| queue.push(entry));
    }

    /// Wakes the watchers: the entries up to the revision `newest` are there.
    pub(crate) fn announce(&self, newest: u64) {
        let _ = self.newest.send_replace(Ok(newest));
    }

    /// Ends every watch with the given error once it has read what there is.
    pub(crate) fn close(&self, error: Error) {
        let _ = self.newest.send_replace(Err(error));
    }

    pub(crate) fn watch(self: &Arc<Self>, after: u64) -> Result<Watch, Error> {
        let oldest = self.queue.lock().unwrap_or_else(PoisonError::into_inner).after;
        if after < oldest {
            return Err(Error::Compacted { oldest });
        }
        Ok(Watch { recent: self.clone(), newest: self.newest.subscribe(), cursor: after })
    }
}

impl Queue {
    fn push(&mut self, entry: Entry) {
        self.bytes += size(&entry);
        self.entries.push_back(entry);
        while self.entries.len() > MAX_ENTRIES || self.bytes > MAX_BYTES {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.bytes -= size(&oldest);
            self.after = oldest.revision;
        }
    }
}

fn size(entry: &Entry) -> usize {
    entry.writes.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, |v| v.len())).sum()
}

/// The committed transactions after a revision, in order.
#[derive(Debug)]
pub struct Watch {
    recent: Arc<Recent>,
    newest: watch::Receiver<Result<u64, Error>>,
    cursor: u64,
}

impl Watch {
    /// The revision up to which this watch has read.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// What is there already, without waiting; often nothing.
    ///
    /// In a journal of this process, an entry is here before the append that made it is answered.
    ///
    /// # Errors
    /// [`Error::Compacted`] if this watch was not read for so long that entries were dropped.
    pub fn try_next(&mut self) -> Result<Vec<Entry>, Error> {
        let queue = self.recent.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if self.cursor < queue.after {
            return Err(Error::Compacted { oldest: queue.after });
        }
        let start = queue.entries.partition_point(|entry| entry.revision <= self.cursor);
        let entries: Vec<Entry> = queue.entries.range(start..).cloned().collect();
        if let Some(last) = entries.last() {
            self.cursor = last.revision;
        }
        Ok(entries)
    }

    /// Waits for at least one entry and returns all that are there. Cancelling it loses nothing.
    ///
    /// # Errors
    /// [`Error::Compacted`] as in [`Watch::try_next`]; [`Error::Failed`] or [`Error::Closed`] when
    /// no further entry will come.
    pub async fn next(&mut self) -> Result<Vec<Entry>, Error> {
        loop {
            let entries = self.try_next()?;
            if !entries.is_empty() {
                return Ok(entries);
            }
            if let Err(error) = self.newer().await {
                // Entries published just before the end come first.
                let entries = self.try_next()?;
                return if entries.is_empty() { Err(error) } else { Ok(entries) };
            }
        }
    }

    /// Waits for at least one entry and passes over all that are there: for who only wants to be
    /// woken. Entries that are kept no longer are passed over, too. Cancelling it loses nothing.
    ///
    /// # Errors
    /// [`Error::Failed`] or [`Error::Closed`] when no further entry will come.
    pub async fn skip(&mut self) -> Result<(), Error> {
        self.cursor = self.newer().await?;
        Ok(())
    }

    /// The newest revision, once it is past the cursor.
    async fn newer(&mut self) -> Result<u64, Error> {
        let cursor = self.cursor;
        let newest = self
            .newest
            .wait_for(|newest| newest.as_ref().map_or(true, |newest| *newest > cursor))
            .await
            .map_err(|_| Error::Closed)?;
        newest.clone()
    }
}
