//! Balancers: told what to carry out, heard about what came of it.
//!
//! A balancer holds one websocket to this server. It gets everything once and then every transaction
//! that changes something of load balancing, as one message, so that a change is atomic there too.
//! What it reports of targets and listeners is soft state; what has drained is taken out of the
//! records. A balancer that loses its connection goes on with what it was told.

mod feed;
mod meters;

use crate::Options;
use feed::Feed;
pub use feed::OpenCertificate;
use futures_util::{SinkExt as _, StreamExt as _};
use meters::Meters;
pub use meters::{Metered, Minute};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_util::sync::CancellationToken;
use wharf_journal::{Next, StoreError};
use wharf_model::Timestamp;
use wharf_model::load_balancing::{
    ListenerStatus, MeterKey, Report, TargetHealth, TargetKey, Update,
};
use wharf_scheduler::TargetHealthSource;
use wharf_scheduler::load_balancing::{TargetHealthBoard, due};

/// How often a balancer is asked for a sign of life.
const PING: Duration = Duration::from_secs(5);
/// A connection on which nothing came for this long has ended.
const SILENCE: Duration = Duration::from_secs(15);
/// How long a server that has just started waits for the first report before it judges targets.
const SETTLING: Duration = Duration::from_secs(10);
/// How often it is looked for targets whose deregistration delay is over.
const UPKEEP: Duration = Duration::from_secs(1);
/// How often it is tried to take drained targets out against other writers.
const MAX_ATTEMPTS: usize = 16;

/// What balancers said, and how they are told: soft state, empty after a start.
pub struct Balancers {
    options: Options,
    started: Timestamp,
    board: Mutex<Board>,
    /// Counts reports: wakes those who judge by them.
    reports: watch::Sender<u64>,
    stopping: CancellationToken,
}

#[derive(Default)]
struct Board {
    health: TargetHealthBoard,
    listeners: BTreeMap<String, ListenerStatus>,
    /// A balancer has told all that it knows since this server started.
    is_complete: bool,
    /// Ids of the target groups whose targets' health has changed since the last look.
    changed: BTreeSet<String>,
    meters: Meters,
}

/// Why a balancer's connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("it closed the connection")]
    Closed,
    #[error("the connection broke")]
    Broken(#[from] tungstenite::Error),
    #[error("nothing was heard of it for {SILENCE:?}")]
    Silent,
    #[error("its message can't be read or written")]
    Message(#[from] serde_json::Error),
    #[error("this server stops")]
    Stopping,
}

impl Balancers {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            started: (options.clock)(),
            options,
            board: Mutex::default(),
            reports: watch::Sender::new(0),
            stopping: CancellationToken::new(),
        }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the balancer last said of where a listener, by its path, can be reached.
    pub fn listener(&self, path: &str) -> Option<ListenerStatus> {
        self.board().listeners.get(path).cloned()
    }

    /// What was counted of each load balancer and target group.
    pub fn meters(&self) -> Vec<(MeterKey, Metered)> {
        self.board().meters.all().map(|(key, known)| (key.clone(), known.clone())).collect()
    }

    /// Told with every report.
    pub(crate) fn reports(&self) -> watch::Receiver<u64> {
        self.reports.subscribe()
    }

    /// Ids of the target groups whose targets' health has changed since the last call.
    pub(crate) fn take_changed(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.board().changed)
    }

    /// Speaks with a balancer until either side ends it.
    pub async fn serve<S>(&self, mut stream: WebSocketStream<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        tracing::info!("a balancer has connected");
        let ended = self.converse(&mut stream).await;
        tracing::info!(reason = %ended, "a balancer is gone");
        // The other end may have gone already.
        let _ = stream.close(None).await;
    }

    async fn converse<S>(&self, stream: &mut WebSocketStream<S>) -> Ended
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        match self.exchange(stream).await {
            Ok(()) => Ended::Closed,
            Err(ended) => ended,
        }
    }

    async fn exchange<S>(&self, stream: &mut WebSocketStream<S>) -> Result<(), Ended>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let store = &self.options.store;
        let mut changes = store.changes();
        let mut feed = Feed::new(self.options.open_certificate.clone());
        send(stream, &feed.complete(&store.snapshot())).await?;
        let (mut ping, mut heard) = (tokio::time::interval(PING), Instant::now());
        loop {
            tokio::select! {
                next = changes.next() => {
                    let update = match next {
                        Next::Change(change) => {
                            let snapshot = store.snapshot();
                            feed.delta(change.revision.0, &change.writes, &snapshot)
                        }
                        Next::Lagged => Some(feed.complete(&store.snapshot())),
                        Next::Closed => return Err(Ended::Stopping),
                    };
                    if let Some(update) = update {
                        send(stream, &update).await?;
                    }
                }
                message = stream.next() => {
                    heard = Instant::now();
                    match message.ok_or(Ended::Closed)?? {
                        Message::Text(text) => self.take(&serde_json::from_str(&text)?).await,
                        Message::Close(_) => return Ok(()),
                        _ => {}
                    }
                }
                _ = ping.tick() => {
                    if heard.elapsed() > SILENCE {
                        return Err(Ended::Silent);
                    }
                    stream.send(Message::Ping(Default::default())).await?;
                }
                () = self.stopping.cancelled() => return Err(Ended::Stopping),
            }
        }
    }

    /// Takes a report in.
    async fn take(&self, report: &Report) {
        {
            let now = u64::try_from((self.options.clock)().as_millis() / 1000).unwrap_or(0);
            let mut board = self.board();
            board.meters.take(&report.meters, report.complete, now);
            board.health.apply(report);
            if report.complete {
                board.listeners.clear();
                board.is_complete = true;
            }
            for status in &report.listeners {
                for (address, reason) in &status.failed {
                    tracing::warn!(listener = status.listener, %address, reason, "can't be listened on");
                }
                board.listeners.insert(status.listener.clone(), status.clone());
            }
            let groups = report.health.iter().map(|(key, _)| key.target_group.clone());
            board.changed.extend(groups);
        }
        if !report.drained.is_empty() {
            self.remove(&report.drained.iter().cloned().collect()).await;
        }
        // Counts alone change nothing that anybody judges by.
        if !report.counts_only() {
            self.reports.send_modify(|n| *n += 1);
        }
    }

    /// Takes out of the records what has drained or whose delay is over.
    async fn remove(&self, drained: &BTreeSet<TargetKey>) {
        let (store, clock) = (&self.options.store, &self.options.clock);
        let mut attempts = 0;
        while attempts < MAX_ATTEMPTS {
            let transaction = due(&store.snapshot(), clock(), drained);
            if transaction.is_empty() {
                return;
            }
            match store.commit(transaction).await {
                Ok(_) => {}
                Err(StoreError::Conflict { .. }) => attempts += 1,
                Err(error) => {
                    tracing::error!(%error, "can't remove drained targets; trying again later");
                    return;
                }
            }
        }
    }

    /// Looks after targets and what was reported of them until `shutdown`.
    pub(crate) async fn run(&self, shutdown: CancellationToken) {
        let mut interval = tokio::time::interval(UPKEEP);
        let mut looked_at = None;
        loop {
            tokio::select! {
                _ = interval.tick() => {}
                () = shutdown.cancelled() => break,
            }
            let snapshot = self.options.store.snapshot();
            // What hasn't changed has nothing that is over but targets that drain.
            let drains = snapshot.all_targets().any(|target| target.deregistered_at.is_some());
            if drains || looked_at != Some(snapshot.revision()) {
                looked_at = Some(snapshot.revision());
                self.remove(&BTreeSet::new()).await;
                let mut board = self.board();
                board.health.retain(&snapshot);
                board.meters.retain(&snapshot);
            }
        }
        self.stopping.cancel();
    }
}

impl TargetHealthSource for Balancers {
    fn target_health(&self, target: &TargetKey) -> Option<TargetHealth> {
        self.board().health.health(target).cloned()
    }

    fn is_settling(&self) -> bool {
        let early = (self.options.clock)().since(self.started) < SETTLING;
        early && !self.board().is_complete
    }
}

async fn send<S>(stream: &mut WebSocketStream<S>, update: &Update) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let text = serde_json::to_string(update)?;
    Ok(stream.send(Message::text(text)).await?)
}
