//! One container's log on its way: batches in order, one at a time, each until it is taken.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use wharf_runtime::logs::LogReader;

use super::awslogs::Stream;
use super::cursor::{Cursor, Progress};
use super::events::{Assembler, Made};
use super::messages::Messages;

/// Limits of PutLogEvents. As JSON a message may grow; a batch stays well below what is taken.
const MAX_EVENTS: usize = 10_000;
const MAX_BYTES: usize = 1_000_000;
const MAX_SPAN_MS: i64 = 24 * 3600 * 1000;
/// How often a log is looked at: what a container writes meanwhile is one batch.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// The same where nothing is won by batches.
const MESSAGE_INTERVAL: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// Where a shipper stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// At work.
    Shipping,
    /// The receiver doesn't answer.
    Unreachable,
    /// The container has ended, and all of it is shipped.
    Done,
}

/// Says where a shipper stands, to those who wait for it.
#[derive(Clone)]
pub(super) struct Stages(pub(super) watch::Sender<Stage>);

impl Stages {
    pub(super) fn set(&self, now: Stage) {
        self.0.send_if_modified(|stage| std::mem::replace(stage, now) != now);
    }
}

/// Where events go.
pub(super) enum Sink {
    /// A log stream of the server, which takes batches.
    Stream(Box<Stream>),
    /// A receiver of messages, each for itself.
    Messages(Box<Messages>),
}

pub(super) struct Shipper {
    pub(super) sink: Sink,
    pub(super) log: PathBuf,
    pub(super) ended: watch::Receiver<bool>,
    pub(super) stages: Stages,
}

impl Shipper {
    /// Ships until the container has ended and nothing is left. May be dropped at any point.
    pub(super) async fn run(mut self) {
        let mut cursor = Cursor::read(&self.log);
        let progress = Progress::open(&self.log);
        // How much of the next batch has arrived already.
        let mut arrived = 0;
        if let Some(sending) = cursor.sending.take() {
            // The last agent died over this batch.
            match &self.sink {
                Sink::Stream(stream) => {
                    if let Some(token) = stream.taken(&cursor, &self.stages).await {
                        cursor.position = Some(sending);
                        cursor.token = token;
                    }
                }
                Sink::Messages(_) => arrived = progress.read(),
            }
        }
        while let Err(error) = self.follow(&mut cursor, &progress, &mut arrived).await {
            tracing::warn!(log = %self.log.display(), %error, "could not read a log to ship it");
            tokio::time::sleep(LAST_RETRY).await;
        }
        cursor.is_done = true;
        cursor.write(&self.log);
        self.stages.set(Stage::Done);
    }

    async fn follow(
        &mut self,
        cursor: &mut Cursor,
        progress: &Progress,
        arrived: &mut u64,
    ) -> std::io::Result<()> {
        let mut reader = LogReader::open_at(&self.log, cursor.position).await?;
        if cursor.position.is_some_and(|at| reader.position() != Some(at)) {
            tracing::warn!(log = %self.log.display(), "the log was rotated before it was shipped: lines are lost");
            *arrived = 0;
        }
        let (mut assembler, interval) = match &self.sink {
            Sink::Stream(stream) => (Assembler::new(stream.begins(), false), POLL_INTERVAL),
            Sink::Messages(_) => (Assembler::new(None, true), MESSAGE_INTERVAL),
        };
        let mut kept: Option<Made> = None;
        loop {
            // Looked at first: what is read then is all there is.
            let has_ended = *self.ended.borrow_and_update();
            let (batch, is_idle) = batch(&mut reader, &mut assembler, &mut kept, has_ended).await?;
            if batch.is_empty() {
                if is_idle && has_ended {
                    return Ok(());
                }
            } else {
                self.send(batch, cursor, progress, std::mem::take(arrived)).await;
            }
            if is_idle && !has_ended {
                tokio::select! {
                    () = tokio::time::sleep(interval) => {}
                    changed = self.ended.changed() => if changed.is_err() {
                        // Nobody waits for it any more: the agent is ending.
                        std::future::pending::<()>().await;
                    }
                }
            }
        }
    }

    /// Sends a batch until it is taken, or refused for good.
    async fn send(
        &mut self,
        batch: Vec<Made>,
        cursor: &mut Cursor,
        progress: &Progress,
        arrived: u64,
    ) {
        let Some(end) = batch.last().map(|made| made.end) else { return };
        progress.write(arrived);
        cursor.sending = Some(end);
        cursor.write(&self.log);
        let events = batch.into_iter().map(|made| (made.event, made.end));
        match &mut self.sink {
            Sink::Stream(stream) => {
                let events = events.map(|(event, _)| event).collect();
                if let Some(token) = stream.send(events, cursor, &self.stages).await {
                    cursor.token = token;
                }
            }
            Sink::Messages(messages) => {
                for (number, (event, end)) in (1..).zip(events) {
                    if number > arrived {
                        messages.send(&event, end, &self.stages).await;
                        progress.write(number);
                    }
                }
            }
        }
        self.stages.set(Stage::Shipping);
        cursor.sending = None;
        cursor.position = Some(end);
        cursor.write(&self.log);
    }
}

/// What the log has, up to the size of a batch, and whether that is all of it for now.
async fn batch(
    reader: &mut LogReader,
    assembler: &mut Assembler,
    kept: &mut Option<Made>,
    has_ended: bool,
) -> std::io::Result<(Vec<Made>, bool)> {
    let mut batch: Vec<Made> = Vec::new();
    let mut bytes = 0;
    loop {
        let made = match kept.take() {
            Some(made) => made,
            None => match reader.next().await? {
                Some(line) => {
                    let Some(end) = reader.position() else { continue };
                    match assembler.push(&line, end) {
                        Some(made) => made,
                        None => continue,
                    }
                }
                None => match assembler.flush(now_ms(), has_ended) {
                    Some(made) => made,
                    None => return Ok((batch, true)),
                },
            },
        };
        let span = batch.first().map_or(0, |first| (made.at_ms() - first.at_ms()).abs());
        let full = batch.len() >= MAX_EVENTS || bytes + made.size() > MAX_BYTES;
        if !batch.is_empty() && (full || span >= MAX_SPAN_MS) {
            *kept = Some(made);
            return Ok((batch, false));
        }
        bytes += made.size();
        batch.push(made);
    }
}

fn now_ms() -> i64 {
    i64::try_from(crate::tasks::effects::now_ms()).unwrap_or(i64::MAX)
}
