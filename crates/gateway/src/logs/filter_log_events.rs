//! FilterLogEvents: many streams as one list in the order of time, by pattern. `aws logs tail` asks
//! this.

use super::get_log_events::MAX_EVENTS;
use super::put_log_events::{MAX_BYTES, OVERHEAD};
use super::{Logs, blocking, names};
use crate::error::ApiError;
use wharf_logs::{Direction, Pattern, Query, Streams};
use wharf_wire::logs::types::{FilterLogEventsRequest, FilterLogEventsResponse, FilteredLogEvent};

pub(super) async fn filter_log_events(
    logs: &Logs<'_>,
    input: FilterLogEventsRequest,
) -> Result<FilterLogEventsResponse, ApiError> {
    let (name, identifier) = (&input.log_group_name, &input.log_group_identifier);
    let group = names::group(logs.arns, name.as_deref(), identifier.as_deref())?;
    let (named, prefix) = (input.log_stream_names, input.log_stream_name_prefix);
    if named.is_some() && prefix.is_some() {
        return Err(ApiError::invalid_parameter(
            "logStreamNames and logStreamNamePrefix are mutually exclusive parameters.",
        ));
    }
    let pattern = Pattern::parse(input.filter_pattern.as_deref().unwrap_or_default());
    let pattern = pattern.map_err(|error| ApiError::invalid_parameter(error.to_string()))?;
    let token = input.next_token.as_deref();
    let beyond = token.map(|token| names::place(token).ok_or_else(names::invalid_token));
    let beyond = beyond.transpose()?;
    let limit = usize::try_from(input.limit.unwrap_or(MAX_EVENTS)).unwrap_or(1);
    let (store, now_ms) = (logs.store.clone(), logs.now_ms);
    // Here the end is inclusive, in GetLogEvents it is not.
    let (from_ms, until_ms) = (input.start_time, input.end_time.map(|end| end.saturating_add(1)));
    let page = blocking(move || {
        let streams = match &named {
            Some(names) => Streams::Named(names),
            None => Streams::Prefix(prefix.as_deref().unwrap_or_default()),
        };
        store.read(&Query {
            group: &group,
            streams,
            from_ms,
            until_ms,
            beyond,
            since: None,
            direction: Direction::Forward,
            limit,
            max_bytes: MAX_BYTES,
            overhead: OVERHEAD,
            matches: &|message| pattern.matches(message),
            now_ms,
        })
    })
    .await?;
    let events = page.events.into_iter().map(|event| FilteredLogEvent {
        event_id: Some(names::digits(event.position())),
        log_stream_name: Some(event.stream.to_string()),
        timestamp: Some(event.at_ms),
        message: Some(event.message),
        ingestion_time: Some(event.ingested_ms),
    });
    Ok(FilterLogEventsResponse {
        events: Some(events.collect()),
        // Empty since 2020 in CloudWatch Logs, too.
        searched_log_streams: Some(Vec::new()),
        next_token: page.next.map(names::digits),
    })
}
