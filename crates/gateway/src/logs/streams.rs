//! Log streams: CreateLogStream, DeleteLogStream, DescribeLogStreams.

use super::{Logs, failed, names};
use crate::error::ApiError;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::cmp::Ordering;
use wharf_logs::StreamInfo;
use wharf_wire::Empty;
use wharf_wire::logs::types::{
    CreateLogStreamRequest, DeleteLogStreamRequest, DescribeLogStreamsRequest,
    DescribeLogStreamsResponse, LogStream, OrderBy,
};

pub(super) async fn create(
    logs: &Logs<'_>,
    input: CreateLogStreamRequest,
) -> Result<Empty, ApiError> {
    let group = input.log_group_name.unwrap_or_default();
    let name = input.log_stream_name.unwrap_or_default();
    logs.store.create_stream(&group, &name, logs.now_ms).await.map_err(failed)?;
    Ok(Empty {})
}

pub(super) async fn delete(
    logs: &Logs<'_>,
    input: DeleteLogStreamRequest,
) -> Result<Empty, ApiError> {
    let group = input.log_group_name.unwrap_or_default();
    let name = input.log_stream_name.unwrap_or_default();
    logs.store.delete_stream(&group, &name).await.map_err(failed)?;
    Ok(Empty {})
}

/// A stream's place in the order that is asked for.
type Place = (i64, String);

pub(super) async fn describe(
    logs: &Logs<'_>,
    input: DescribeLogStreamsRequest,
) -> Result<DescribeLogStreamsResponse, ApiError> {
    let (name, identifier) = (&input.log_group_name, &input.log_group_identifier);
    let group = names::group(logs.arns, name.as_deref(), identifier.as_deref())?;
    let by_time = input.order_by == Some(OrderBy::LastEventTime);
    let prefix = input.log_stream_name_prefix.as_deref();
    if by_time && prefix.is_some() {
        return Err(ApiError::invalid_parameter(
            "Cannot order by LastEventTime with a logStreamNamePrefix.",
        ));
    }
    let descending = input.descending == Some(true);
    let place = |stream: &StreamInfo| -> Place {
        let time = if by_time { stream.last_ms.unwrap_or(i64::MIN) } else { 0 };
        (time, stream.name.to_string())
    };
    let order = |a: &Place, b: &Place| if descending { b.cmp(a) } else { a.cmp(b) };
    let after = input.next_token.as_deref().map(open_token).transpose()?;
    let mut streams = logs.store.streams(&group).map_err(failed)?;
    streams.retain(|stream| prefix.is_none_or(|prefix| stream.name.starts_with(prefix)));
    streams.sort_by(|a, b| order(&place(a), &place(b)));
    let limit = usize::try_from(input.limit.unwrap_or(super::groups::PAGE)).unwrap_or(1);
    let is_after = |stream: &StreamInfo| {
        after.as_ref().is_none_or(|after| order(&place(stream), after) == Ordering::Greater)
    };
    let mut rest = streams.into_iter().filter(is_after);
    let page: Vec<StreamInfo> = rest.by_ref().take(limit).collect();
    let last = page.last().map(place).filter(|_| rest.next().is_some());
    let arn = names::group_arn(logs.arns, &group);
    Ok(DescribeLogStreamsResponse {
        log_streams: Some(page.into_iter().map(|stream| shown(&arn, stream)).collect()),
        next_token: last.map(|(time, name)| URL_SAFE_NO_PAD.encode(format!("{time}:{name}"))),
    })
}

fn open_token(token: &str) -> Result<Place, ApiError> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let place = text.as_deref().and_then(|text| text.split_once(':'));
    let place = place.and_then(|(time, name)| Some((time.parse().ok()?, name.to_owned())));
    place.ok_or_else(names::invalid_token)
}

fn shown(group_arn: &str, stream: StreamInfo) -> LogStream {
    LogStream {
        arn: Some(format!("{group_arn}:log-stream:{}", stream.name)),
        creation_time: Some(stream.created_ms),
        first_event_timestamp: stream.first_ms,
        last_event_timestamp: stream.last_ms,
        last_ingestion_time: stream.ingested_ms,
        upload_sequence_token: Some(names::sequence_token(stream.last_sequence)),
        stored_bytes: Some(0),
        log_stream_name: Some(stream.name.to_string()),
    }
}
