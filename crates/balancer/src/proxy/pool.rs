//! Connections to targets that wait for the next request. Each worker has its own.

use super::transfer::RequestBody;
use crate::live::{TargetState, uptime_ms};
use hyper::client::conn::{http1, http2};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Connections wait so long, at most.
const KEPT_MS: u64 = 60_000;
/// Between two looks at those that waited too long.
const SWEEP: Duration = Duration::from_secs(5);
/// Connections that wait for a target, at most, in each worker.
const KEPT: usize = 512;

/// A sender on an HTTP/1.1 connection.
pub(super) type Http1 = http1::SendRequest<RequestBody>;
/// A sender on an HTTP/2 connection.
pub(super) type Http2 = http2::SendRequest<RequestBody>;

struct Waiting {
    sender: Http1,
    since_ms: u64,
}

struct Kept {
    target: Arc<TargetState>,
    waiting: Vec<Waiting>,
    shared: Option<Http2>,
}

/// Connections by their target.
#[derive(Default)]
pub(crate) struct Pool(Mutex<HashMap<u64, Kept>>);

impl Pool {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that waits. It may still be busy with the end of its last answer.
    pub(super) fn take(&self, target: &TargetState) -> Option<Http1> {
        let mut pool = self.lock();
        let kept = pool.get_mut(&target.serial)?;
        let oldest = uptime_ms().saturating_sub(KEPT_MS);
        while let Some(waiting) = kept.waiting.pop() {
            if !waiting.sender.is_closed() && waiting.since_ms >= oldest {
                return Some(waiting.sender);
            }
        }
        None
    }

    /// Keeps a connection.
    pub(super) fn put(&self, target: &Arc<TargetState>, sender: Http1) {
        if sender.is_closed() || target.is_draining() {
            return;
        }
        let mut pool = self.lock();
        let kept = entry(&mut pool, target);
        if kept.waiting.len() < KEPT {
            kept.waiting.push(Waiting { sender, since_ms: uptime_ms() });
        }
    }

    /// The HTTP/2 connection to a target.
    pub(super) fn shared(&self, target: &TargetState) -> Option<Http2> {
        let pool = self.lock();
        pool.get(&target.serial)?.shared.clone().filter(|sender| !sender.is_closed())
    }

    /// Keeps an HTTP/2 connection.
    pub(super) fn share(&self, target: &Arc<TargetState>, sender: &Http2) {
        entry(&mut self.lock(), target).shared = Some(sender.clone());
    }

    /// Closes what waited too long, and what no request will go to. Runs for ever.
    pub(crate) async fn sweep(&self) {
        loop {
            tokio::time::sleep(SWEEP).await;
            let oldest = uptime_ms().saturating_sub(KEPT_MS);
            self.lock().retain(|_, kept| {
                if kept.target.is_draining() {
                    return false;
                }
                kept.waiting.retain(|w| !w.sender.is_closed() && w.since_ms >= oldest);
                if kept.shared.as_ref().is_some_and(Http2::is_closed) {
                    kept.shared = None;
                }
                !kept.waiting.is_empty() || kept.shared.is_some()
            });
        }
    }
}

fn entry<'a>(pool: &'a mut HashMap<u64, Kept>, target: &Arc<TargetState>) -> &'a mut Kept {
    pool.entry(target.serial).or_insert_with(|| Kept {
        target: Arc::clone(target),
        waiting: Vec::new(),
        shared: None,
    })
}
