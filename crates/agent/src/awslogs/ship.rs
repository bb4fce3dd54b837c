//! One container's log on its way into its stream: batches in order, one at a time, each until it is
//! taken.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use wharf_runtime::logs::{LogReader, Position};
use wharf_wire::logs::operation::{DescribeLogStreams, PutLogEvents};
use wharf_wire::logs::types::{DescribeLogStreamsRequest, InputLogEvent, PutLogEventsRequest};

use super::Caller;
use super::cursor::Cursor;
use super::events::{Assembler, Made};
use super::options::Settings;
use crate::api::Error;

/// Limits of PutLogEvents. As JSON a message may grow; a batch stays well below what is taken.
const MAX_EVENTS: usize = 10_000;
const MAX_BYTES: usize = 1_000_000;
const MAX_SPAN_MS: i64 = 24 * 3600 * 1000;
/// How often a log is looked at: what a container writes meanwhile is one batch.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// Where a shipper stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// At work.
    Shipping,
    /// The server doesn't answer.
    Unreachable,
    /// The container has ended, and all of it is shipped.
    Done,
}

pub(super) struct Shipper {
    pub(super) caller: Caller,
    pub(super) settings: Settings,
    pub(super) stream: String,
    pub(super) log: PathBuf,
    pub(super) ended: watch::Receiver<bool>,
    pub(super) stage: watch::Sender<Stage>,
}

impl Shipper {
    /// Ships until the container has ended and nothing is left. May be dropped at any point.
    pub(super) async fn run(mut self) {
        let mut cursor = Cursor::read(&self.log);
        if let Some(sending) = cursor.sending.take() {
            // The last agent died over this batch.
            if let Some(token) = self.taken(&cursor).await {
                cursor.position = Some(sending);
                cursor.token = token;
            }
        }
        while let Err(error) = self.follow(&mut cursor).await {
            tracing::warn!(log = %self.log.display(), %error, "could not read a log to ship it");
            tokio::time::sleep(LAST_RETRY).await;
        }
        cursor.is_done = true;
        cursor.write(&self.log);
        self.stage.send_replace(Stage::Done);
    }

    async fn follow(&mut self, cursor: &mut Cursor) -> std::io::Result<()> {
        let mut reader = LogReader::open_at(&self.log, cursor.position).await?;
        if cursor.position.is_some_and(|at| reader.position() != Some(at)) {
            tracing::warn!(log = %self.log.display(), "the log was rotated before it was shipped: lines are lost");
        }
        let mut assembler = Assembler::new(self.settings.begins.clone());
        let mut kept: Option<Made> = None;
        loop {
            // Looked at first: what is read then is all there is.
            let has_ended = *self.ended.borrow_and_update();
            let mut batch: Vec<Made> = Vec::new();
            let mut bytes = 0;
            let is_idle = loop {
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
                            None => break true,
                        },
                    },
                };
                let span = batch.first().map_or(0, |first| (made.at_ms() - first.at_ms()).abs());
                let full = batch.len() >= MAX_EVENTS || bytes + made.size() > MAX_BYTES;
                if !batch.is_empty() && (full || span >= MAX_SPAN_MS) {
                    kept = Some(made);
                    break false;
                }
                bytes += made.size();
                batch.push(made);
            };
            if let Some(last) = batch.last() {
                let end = last.end;
                self.send(batch, end, cursor).await;
            } else if is_idle && has_ended {
                return Ok(());
            }
            if is_idle && !has_ended {
                tokio::select! {
                    () = tokio::time::sleep(POLL_INTERVAL) => {}
                    changed = self.ended.changed() => if changed.is_err() {
                        // Nobody waits for it any more: the agent is ending.
                        std::future::pending::<()>().await;
                    }
                }
            }
        }
    }

    /// Sends a batch until it is taken, or refused for good.
    async fn send(&self, batch: Vec<Made>, end: Position, cursor: &mut Cursor) {
        cursor.sending = Some(end);
        cursor.write(&self.log);
        let mut events: Vec<InputLogEvent> = batch.into_iter().map(|made| made.event).collect();
        // The clock may have been set back.
        events.sort_by_key(|event| event.timestamp);
        let count = events.len();
        let input = PutLogEventsRequest {
            log_group_name: Some(self.settings.group.clone()),
            log_stream_name: Some(self.stream.clone()),
            log_events: Some(events),
            ..Default::default()
        };
        let mut wait = FIRST_RETRY;
        loop {
            match self.caller.call::<PutLogEvents>(input.clone()).await {
                Ok(output) => {
                    cursor.token = output.next_sequence_token.unwrap_or_default();
                    break;
                }
                Err(error) if error.is_transient() => {
                    tracing::debug!(stream = self.stream, %error, "logs wait");
                    self.note(&error);
                    tokio::time::sleep(wait.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
                    wait = wait.mul_f64(1.6).min(LAST_RETRY);
                    // It may have been taken, and only the answer was lost.
                    if let Some(token) = self.taken(cursor).await {
                        cursor.token = token;
                        break;
                    }
                }
                Err(error) => {
                    let (group, stream) = (&self.settings.group, &self.stream);
                    tracing::warn!(group, stream, count, %error, "log events were refused");
                    break;
                }
            }
        }
        self.stage
            .send_if_modified(|stage| std::mem::replace(stage, Stage::Shipping) != Stage::Shipping);
        cursor.sending = None;
        cursor.position = Some(end);
        cursor.write(&self.log);
    }

    fn note(&self, error: &Error) {
        let now = match error {
            Error::Unreachable { .. } => Stage::Unreachable,
            _ => Stage::Shipping,
        };
        self.stage.send_if_modified(|stage| std::mem::replace(stage, now) != now);
    }

    /// The stream's token if it is newer than the cursor's: the batch on its way was taken. Asks
    /// until there is an answer.
    async fn taken(&self, cursor: &Cursor) -> Option<String> {
        let input = DescribeLogStreamsRequest {
            log_group_name: Some(self.settings.group.clone()),
            log_stream_name_prefix: Some(self.stream.clone()),
            limit: Some(1),
            ..Default::default()
        };
        loop {
            match self.caller.call::<DescribeLogStreams>(input.clone()).await {
                Ok(output) => {
                    let stream = output.log_streams.unwrap_or_default().into_iter().next()?;
                    let is_it = stream.log_stream_name.as_ref() == Some(&self.stream);
                    let token = stream.upload_sequence_token.filter(|_| is_it)?;
                    return (token > cursor.token).then_some(token);
                }
                Err(error) if error.is_transient() => self.note(&error),
                Err(_) => return None,
            }
            tokio::time::sleep(LAST_RETRY / 5).await;
        }
    }
}

fn now_ms() -> i64 {
    i64::try_from(crate::tasks::effects::now_ms()).unwrap_or(i64::MAX)
}
