//! Forgets, in small transactions, what the API no longer shows.

use crate::Options;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use wharf_scheduler::expiry;

/// How often it is looked for.
const INTERVAL: Duration = Duration::from_secs(30);

/// Runs until `shutdown`.
pub(crate) async fn run(options: Options, shutdown: CancellationToken) {
    let mut interval = tokio::time::interval(INTERVAL);
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            () = shutdown.cancelled() => return,
        }
        let now = (options.clock)();
        options.history.expire(now.as_millis());
        loop {
            let transaction = expiry::sweep(&options.store.snapshot(), now);
            if transaction.is_empty() {
                break;
            }
            if let Err(error) = options.store.commit(transaction).await {
                tracing::warn!(%error, "can't forget what has expired; trying again later");
                break;
            }
        }
    }
}
