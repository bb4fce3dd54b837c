//! GetLogEvents: one stream, from its beginning or its end, and on in either direction.

use super::put_log_events::{MAX_BYTES, OVERHEAD};
use super::{Logs, blocking, names};
use crate::error::ApiError;
use wharf_logs::{Direction, Position, Query, Streams};
use wharf_wire::logs::types::{GetLogEventsRequest, GetLogEventsResponse, OutputLogEvent};

/// The most events in one answer.
pub(super) const MAX_EVENTS: i32 = 10_000;

pub(super) async fn get_log_events(
    logs: &Logs<'_>,
    input: GetLogEventsRequest,
) -> Result<GetLogEventsResponse, ApiError> {
    let (name, identifier) = (&input.log_group_name, &input.log_group_identifier);
    let group = names::group(logs.arns, name.as_deref(), identifier.as_deref())?;
    let streams = [input.log_stream_name.unwrap_or_default()];
    let given = input.next_token.as_deref().map(open_token).transpose()?;
    let (direction, beyond) = match given {
        Some((direction, at)) => (direction, Some(at)),
        None if input.start_from_head == Some(true) => (Direction::Forward, None),
        None => (Direction::Backward, None),
    };
    let (from_ms, until_ms) = (input.start_time, input.end_time);
    if from_ms.zip(until_ms).is_some_and(|(from, until)| from > until) {
        return Err(ApiError::invalid_parameter("startTime must not be after endTime."));
    }
    let limit = usize::try_from(input.limit.unwrap_or(MAX_EVENTS)).unwrap_or(1);
    let (store, now_ms) = (logs.store.clone(), logs.now_ms);
    let page = blocking(move || {
        store.read(&Query {
            group: &group,
            streams: Streams::Named(&streams),
            from_ms,
            until_ms,
            beyond,
            since: None,
            direction,
            limit,
            max_bytes: MAX_BYTES,
            overhead: OVERHEAD,
            matches: &|_| true,
            now_ms,
        })
    })
    .await?;
    // Nothing more that way: the same place again, so that what comes later is found from there.
    let start = Position { at_ms: from_ms.unwrap_or(0).max(0), sequence: 0 };
    let here = match (direction, beyond) {
        (_, None) => start,
        (Direction::Forward, Some(at)) => at,
        (Direction::Backward, Some(at)) => before(at),
    };
    let newest = page.events.last().map_or(here, |event| event.position());
    let oldest = page.events.first().map_or(after(here), |event| event.position());
    let events = page.events.into_iter().map(|event| OutputLogEvent {
        timestamp: Some(event.at_ms),
        message: Some(event.message),
        ingestion_time: Some(event.ingested_ms),
    });
    Ok(GetLogEventsResponse {
        events: Some(events.collect()),
        next_forward_token: Some(format!("f/{}/s", names::digits(newest))),
        next_backward_token: Some(format!("b/{}/s", names::digits(oldest))),
    })
}

/// The place right before, from which going forward begins with `at`.
fn before(at: Position) -> Position {
    Position { sequence: at.sequence.saturating_sub(1), ..at }
}

/// The place right behind, from which going back begins with `at`.
fn after(at: Position) -> Position {
    Position { sequence: at.sequence.saturating_add(1), ..at }
}

fn open_token(token: &str) -> Result<(Direction, Position), ApiError> {
    let parsed = || {
        let (direction, rest) = token.split_once('/')?;
        let direction = match direction {
            "f" => Direction::Forward,
            "b" => Direction::Backward,
            _ => return None,
        };
        Some((direction, names::place(rest.strip_suffix("/s")?)?))
    };
    parsed().ok_or_else(names::invalid_token)
}
