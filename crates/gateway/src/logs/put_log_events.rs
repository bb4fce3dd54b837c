//! PutLogEvents: a batch of events, in the order of their times, onto the end of a stream.

use super::{Logs, failed, names};
use crate::error::ApiError;
use wharf_logs::Event;
use wharf_wire::logs::types::{
    EntityRejectionErrorType, PutLogEventsRequest, PutLogEventsResponse, RejectedEntityInfo,
    RejectedLogEventsInfo,
};

/// The most bytes of a batch.
pub(super) const MAX_BYTES: usize = 1_048_576;
/// What an event counts beside its message.
pub(super) const OVERHEAD: usize = 26;
const HOUR_MS: i64 = 3600 * 1000;
/// How far ahead an event's time may be.
const MAX_AHEAD_MS: i64 = 2 * HOUR_MS;
/// How long ago an event's time may be.
const MAX_AGE_MS: i64 = 14 * 24 * HOUR_MS;
/// How much time a batch may span.
const MAX_SPAN_MS: i64 = 24 * HOUR_MS;

pub(super) async fn put_log_events(
    logs: &Logs<'_>,
    input: PutLogEventsRequest,
) -> Result<PutLogEventsResponse, ApiError> {
    let group = input.log_group_name.unwrap_or_default();
    let stream = input.log_stream_name.unwrap_or_default();
    let sent = input.log_events.unwrap_or_default().into_iter();
    let events: Vec<Event> = sent
        .map(|event| Event {
            at_ms: event.timestamp.unwrap_or_default(),
            message: event.message.unwrap_or_default(),
        })
        .collect();
    check(&events)?;
    let cutoff = logs.store.group(&group).map_err(failed)?.cutoff_ms(logs.now_ms);
    let (events, rejected) = sift(events, logs.now_ms, cutoff);
    let sequence = logs.store.put(&group, &stream, events, logs.now_ms).await.map_err(failed)?;
    // There is nothing that an entity would be shown by.
    let entity = input.entity.map(|_| RejectedEntityInfo {
        error_type: Some(EntityRejectionErrorType::UnsupportedLogGroupType),
    });
    Ok(PutLogEventsResponse {
        next_sequence_token: Some(names::sequence_token(sequence)),
        rejected_log_events_info: rejected,
        rejected_entity_info: entity,
    })
}

/// What holds of the batch as a whole.
fn check(events: &[Event]) -> Result<(), ApiError> {
    let bytes: usize = events.iter().map(|event| event.message.len() + OVERHEAD).sum();
    if bytes > MAX_BYTES {
        return Err(ApiError::invalid_parameter(format!(
            "Upload too large: {bytes} bytes exceeds limit of {MAX_BYTES}"
        )));
    }
    if !events.is_sorted_by_key(|event| event.at_ms) {
        return Err(ApiError::invalid_parameter(
            "Log events in a single PutLogEvents request must be in chronological order.",
        ));
    }
    let times = events.first().zip(events.last());
    if times.is_some_and(|(first, last)| last.at_ms.saturating_sub(first.at_ms) > MAX_SPAN_MS) {
        return Err(ApiError::invalid_parameter(
            "The batch of log events in a single PutLogEvents request cannot span more than 24 \
             hours.",
        ));
    }
    Ok(())
}

/// The events that are kept, and which are not: too old, expired, too new.
fn sift(
    mut events: Vec<Event>,
    now_ms: i64,
    cutoff_ms: i64,
) -> (Vec<Event>, Option<RejectedLogEventsInfo>) {
    let before = |time: i64| events.partition_point(|event| event.at_ms < time);
    let too_old = before(now_ms.saturating_sub(MAX_AGE_MS));
    let expired = before(cutoff_ms);
    let too_new = before(now_ms.saturating_add(MAX_AHEAD_MS).saturating_add(1));
    let index = |at: usize| i32::try_from(at).ok();
    let all = events.len();
    let rejected = RejectedLogEventsInfo {
        too_new_log_event_start_index: (too_new < all).then(|| index(too_new)).flatten(),
        too_old_log_event_end_index: (too_old > 0).then(|| index(too_old)).flatten(),
        expired_log_event_end_index: (expired > 0).then(|| index(expired)).flatten(),
    };
    let begin = too_old.max(expired).min(too_new);
    events.truncate(too_new);
    events.drain(..begin);
    let is_whole = events.len() == all;
    (events, (!is_whole).then_some(rejected))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn events(times: &[i64]) -> Vec<Event> {
        times.iter().map(|at| Event { at_ms: NOW + at, message: "x".to_owned() }).collect()
    }

    #[test]
    fn what_is_out_of_time_is_named_and_the_rest_kept() {
        let times = [-20 * 24 * HOUR_MS, -15 * 24 * HOUR_MS, -HOUR_MS, 0, 3 * HOUR_MS];
        let (kept, rejected) = sift(events(&times), NOW, NOW - 2 * HOUR_MS);
        assert_eq!(kept, events(&[-HOUR_MS, 0]));
        let rejected = rejected.unwrap();
        assert_eq!(rejected.too_old_log_event_end_index, Some(2));
        assert_eq!(rejected.expired_log_event_end_index, Some(2));
        assert_eq!(rejected.too_new_log_event_start_index, Some(4));
        assert_eq!(sift(events(&[-1, 0]), NOW, i64::MIN), (events(&[-1, 0]), None));
        assert_eq!(sift(events(&[3 * HOUR_MS]), NOW, i64::MIN).0, []);
    }

    #[test]
    fn a_batch_is_in_order_within_a_day_and_a_mebibyte() {
        let text = |times: &[i64]| check(&events(times)).map_err(|error| error.message);
        assert_eq!(text(&[0, 0, MAX_SPAN_MS]), Ok(()));
        assert!(text(&[1, 0]).unwrap_err().contains("chronological"));
        assert!(text(&[0, MAX_SPAN_MS + 1]).unwrap_err().contains("24 hours"));
        let big = Event { at_ms: NOW, message: "x".repeat(MAX_BYTES - OVERHEAD) };
        assert!(check(std::slice::from_ref(&big)).is_ok());
        let error = check(&[big, Event { at_ms: NOW, message: "y".to_owned() }]).unwrap_err();
        assert_eq!(error.message, "Upload too large: 1048603 bytes exceeds limit of 1048576");
    }
}
