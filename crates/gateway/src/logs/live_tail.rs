//! StartLiveTail: what is put into groups from now on, once a second, as an event stream.

use super::{client, failed, names};
use crate::dispatch::Call;
use crate::error::ApiError;
use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use bytes::Bytes;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wharf_logs::{Direction, LogStore, Pattern, Query, StoredEvent, Streams};
use wharf_wire::logs::{operation, types};
use wharf_wire::{Shape, json};

/// The content type of the answer.
pub(crate) const EVENT_STREAM: &str = "application/vnd.amazon.eventstream";
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a session lasts, as CloudWatch Logs documents it.
const MAX_SESSION: Duration = Duration::from_secs(3 * 3600);
/// Events in an update; of more a part is sent.
const MAX_EVENTS: usize = 500;
/// Bytes of messages in an update.
const MAX_BYTES: usize = 1 << 20;
/// Updates that wait for a client that is slow.
const MAX_WAITING: usize = 4;

/// What a session follows.
struct Session {
    store: LogStore,
    /// Each group with the identifier that it was named by, and what was seen of it.
    groups: Vec<Followed>,
    names: Option<Vec<String>>,
    prefixes: Option<Vec<String>>,
    pattern: Pattern,
}

#[derive(Clone)]
struct Followed {
    name: String,
    identifier: String,
    seen: u64,
}

/// Begins a session; its events end when the receiver is dropped.
pub(crate) async fn live_tail(call: Call<'_>) -> Result<mpsc::Receiver<Bytes>, ApiError> {
    let (app, now_ms) = (call.app.clone(), call.now.as_millis());
    let (input, _) = call.typed::<operation::StartLiveTail>()?;
    let session = Session::of(&input, app.logs().clone(), |identifier| {
        names::group(app.arns(), None, Some(identifier))
    })?;
    let id = uuid::Uuid::new_v4().to_string();
    let start = types::LiveTailSessionStart {
        request_id: Some(uuid::Uuid::new_v4().to_string()),
        session_id: Some(id),
        log_group_identifiers: Some(
            session.groups.iter().map(|group| group.identifier.clone()).collect(),
        ),
        log_stream_names: input.log_stream_names,
        log_stream_name_prefixes: input.log_stream_name_prefixes,
        log_event_filter_pattern: input.log_event_filter_pattern,
    };
    let (sender, receiver) = mpsc::channel(MAX_WAITING);
    let first = [event("initial-response", b"{}".to_vec()), shape("sessionStart", start)];
    for piece in first {
        // The channel is empty.
        let _ = sender.try_send(piece?);
    }
    tokio::spawn(session.run(sender, app.stopping().clone(), now_ms));
    Ok(receiver)
}

impl Session {
    fn of(
        input: &types::StartLiveTailRequest,
        store: LogStore,
        group: impl Fn(&str) -> Result<String, ApiError>,
    ) -> Result<Self, ApiError> {
        let mut groups: Vec<Followed> = Vec::new();
        for identifier in input.log_group_identifiers.iter().flatten() {
            let name = group(identifier)?;
            let seen = store.last_sequence(&name).map_err(failed)?;
            if groups.iter().all(|other| other.name != name) {
                groups.push(Followed { name, identifier: identifier.clone(), seen });
            }
        }
        let (names, prefixes) = (&input.log_stream_names, &input.log_stream_name_prefixes);
        if names.is_some() && prefixes.is_some() {
            return Err(ApiError::invalid_parameter(
                "logStreamNames and logStreamNamePrefixes are mutually exclusive parameters.",
            ));
        }
        if (names.is_some() || prefixes.is_some()) && groups.len() > 1 {
            return Err(ApiError::invalid_parameter(
                "Log streams can be specified for a single log group only.",
            ));
        }
        if let (Some(names), Some(first)) = (names, groups.first()) {
            let known = store.streams(&first.name).map_err(failed)?;
            if names.iter().any(|name| known.iter().all(|stream| *stream.name != **name)) {
                return Err(client(
                    "ResourceNotFoundException",
                    "The specified log stream does not exist.",
                ));
            }
        }
        let pattern = input.log_event_filter_pattern.as_deref().unwrap_or_default();
        let pattern =
            Pattern::parse(pattern).map_err(|e| ApiError::invalid_parameter(e.to_string()))?;
        Ok(Self { store, groups, names: names.clone(), prefixes: prefixes.clone(), pattern })
    }

    /// Sends updates until nobody takes them any more.
    async fn run(mut self, sender: mpsc::Sender<Bytes>, stopping: CancellationToken, now_ms: i64) {
        let ends = tokio::time::Instant::now() + MAX_SESSION;
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = sender.closed() => return,
                () = stopping.cancelled() => return,
                () = tokio::time::sleep_until(ends) => {
                    let timeout = types::SessionTimeoutException {
                        message: Some("The session has lasted for three hours.".to_owned()),
                    };
                    if let Ok(piece) = exception("SessionTimeoutException", timeout) {
                        let _ = sender.send(piece).await;
                    }
                    return;
                }
            }
            let read = tokio::task::spawn_blocking(move || {
                let update = self.update(now_ms);
                (self, update)
            });
            let Ok((session, update)) = read.await else { return };
            self = session;
            let piece = match update {
                Ok(update) => shape("sessionUpdate", update),
                Err(error) => {
                    tracing::warn!(%error, "a live tail ends");
                    let message = Some("The log group can not be read any more.".to_owned());
                    let broken = types::SessionStreamingException { message };
                    if let Ok(piece) = exception("SessionStreamingException", broken) {
                        let _ = sender.send(piece).await;
                    }
                    return;
                }
            };
            let Ok(piece) = piece else { return };
            if sender.send(piece).await.is_err() {
                return;
            }
        }
    }

    /// What was put since the last look.
    fn update(&mut self, now_ms: i64) -> Result<types::LiveTailSessionUpdate, wharf_logs::Error> {
        let mut results = Vec::new();
        let mut sampled = false;
        for index in 0..self.groups.len() {
            let group = self.groups[index].clone();
            let last = self.store.last_sequence(&group.name)?;
            if last <= group.seen {
                continue;
            }
            let left = MAX_EVENTS.saturating_sub(results.len());
            let matches = |message: &str| self.pattern.matches(message);
            let page = self.store.read(&Query {
                group: &group.name,
                streams: Streams::Prefix(""),
                from_ms: None,
                until_ms: None,
                beyond: None,
                since: Some(group.seen),
                direction: Direction::Forward,
                limit: usize::MAX,
                max_bytes: MAX_BYTES,
                overhead: 0,
                matches: &matches,
                now_ms,
            })?;
            self.groups[index].seen = last;
            let wanted: Vec<StoredEvent> =
                page.events.into_iter().filter(|event| self.follows(&event.stream)).collect();
            sampled |= page.next.is_some() || wanted.len() > left;
            results.extend(wanted.into_iter().take(left).map(|event| {
                types::LiveTailSessionLogEvent {
                    log_stream_name: Some(event.stream.to_string()),
                    log_group_identifier: Some(group.identifier.clone()),
                    message: Some(event.message),
                    timestamp: Some(event.at_ms),
                    ingestion_time: Some(event.ingested_ms),
                }
            }));
        }
        Ok(types::LiveTailSessionUpdate {
            session_metadata: Some(types::LiveTailSessionMetadata { sampled: Some(sampled) }),
            session_results: Some(results),
        })
    }

    fn follows(&self, stream: &str) -> bool {
        let named = |list: &Vec<String>| list.iter().any(|name| name == stream);
        let begun =
            |list: &Vec<String>| list.iter().any(|prefix| stream.starts_with(prefix.as_str()));
        self.names.as_ref().is_none_or(named) && self.prefixes.as_ref().is_none_or(begun)
    }
}

fn shape<T: Shape>(kind: &'static str, value: T) -> Result<Bytes, ApiError> {
    event(kind, json::encode(T::schema(), &value.into_document()))
}

fn event(kind: &'static str, payload: Vec<u8>) -> Result<Bytes, ApiError> {
    frame([(":message-type", "event"), (":event-type", kind)], payload)
}

fn exception<T: Shape>(kind: &'static str, value: T) -> Result<Bytes, ApiError> {
    let payload = json::encode(T::schema(), &value.into_document());
    frame([(":message-type", "exception"), (":exception-type", kind)], payload)
}

fn frame(headers: [(&'static str, &'static str); 2], payload: Vec<u8>) -> Result<Bytes, ApiError> {
    let text = |value: &'static str| HeaderValue::String(value.into());
    let mut message = Message::new(payload);
    for (name, value) in headers {
        message = message.add_header(Header::new(name, text(value)));
    }
    message = message.add_header(Header::new(":content-type", text("application/json")));
    let mut bytes = Vec::new();
    write_message_to(&message, &mut bytes).map_err(|error| {
        tracing::error!(%error, "could not lay out an event");
        ApiError::server()
    })?;
    Ok(bytes.into())
}
