//! Threads that carry requests, each with a runtime of its own: a connection stays on one core.

use crate::access_log::{AccessLog, Sheet};
use crate::proxy::Pool;
use crate::targets::Stamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) stamp: Stamp,
    pub(crate) access_log: Option<AccessLog>,
    /// Connections finish what they have and end.
    pub(crate) draining: CancellationToken,
    /// There is a successor: connections end after their next answer, or once they were idle. None is
    /// closed at once: a request could be on its way in it.
    pub(crate) leaving: CancellationToken,
    /// Flows and tunnels are cut off.
    pub(crate) ending: CancellationToken,
    /// Connections that haven't ended.
    pub(crate) connections: TaskTracker,
}

/// A thread.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: Pool,
    pub(crate) access_log: Option<Sheet>,
    /// Told twice a second. Who waits for a target looks then whether it has waited for too long, or
    /// whether the target is gone: cheaper than a timer and a token for each request.
    pub(crate) tick: Arc<Notify>,
}

/// Between two ticks.
const TICK: Duration = Duration::from_millis(500);

impl Worker {
    async fn tick(&self) {
        loop {
            tokio::time::sleep(TICK).await;
            self.tick.notify_waiters();
        }
    }
}

/// A worker and where its tasks are spawned.
pub(super) struct Running {
    pub(super) worker: Arc<Worker>,
    pub(super) handle: Handle,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    pub(super) fn start(number: usize, shared: &Arc<Shared>) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let stop = CancellationToken::new();
        let access_log = shared.access_log.as_ref().map(AccessLog::sheet);
        let worker = Arc::new(Worker {
            shared: Arc::clone(shared),
            pool: Pool::default(),
            access_log,
            tick: Arc::default(),
        });
        let (stopped, sweeping) = (stop.clone(), Arc::clone(&worker));
        let ticking = Arc::clone(&worker);
        let thread =
            std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                runtime.block_on(async move {
                    tokio::spawn(async move { sweeping.pool.sweep().await });
                    tokio::spawn(async move { ticking.tick().await });
                    stopped.cancelled().await;
                });
                // What still runs is cut off; whoever stops a worker has waited before.
                runtime.shutdown_background();
            })?;
        Ok(Self { worker, handle, stop, thread: Some(thread) })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
