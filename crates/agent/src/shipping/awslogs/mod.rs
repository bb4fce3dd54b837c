//! The driver `awslogs`: a log stream of the server.

mod options;

use std::sync::Arc;
use std::time::Duration;

use regex::Regex;
use wharf_wire::OperationShape;
use wharf_wire::logs::operation::{
    CreateLogGroup, CreateLogStream, DescribeLogStreams, PutLogEvents,
};
use wharf_wire::logs::types::{
    CreateLogGroupRequest, CreateLogStreamRequest, DescribeLogStreamsRequest, InputLogEvent,
    PutLogEventsRequest,
};

use super::cursor::Cursor;
use super::events::Event;
use super::ship::{Stage, Stages};
use crate::api::{EcsClient, Error};
use crate::roles::ExecutionRoles;
use crate::task::Task;

pub(super) use options::Settings;

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);
/// Tries at making a stream while the server can't be reached, and the pause between them.
const CREATE_TRIES: u32 = 60;
const CREATE_AGAIN: Duration = Duration::from_millis(500);

/// Whose key signs the calls for one task's logs.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) agent: EcsClient,
    pub(super) role: Option<(ExecutionRoles, Arc<Task>)>,
}

impl Caller {
    async fn call<O: OperationShape>(&self, input: O::Input) -> Result<O::Output, Error> {
        let client = match &self.role {
            None => None,
            Some((roles, task)) => roles.client(task).await.map_err(|failure| {
                Error::Unreachable { operation: O::NAME, reason: failure.text }
            })?,
        };
        client.as_ref().unwrap_or(&self.agent).call_logs::<O>(input).await
    }
}

/// A container's stream.
pub(super) struct Stream {
    pub(super) caller: Caller,
    pub(super) settings: Settings,
    pub(super) name: String,
}

impl Stream {
    /// What the first line of an event looks like.
    pub(super) fn begins(&self) -> Option<Regex> {
        self.settings.begins.clone()
    }

    /// Puts events until they are taken, which the stream's new token says, or refused for good.
    pub(super) async fn send(
        &self,
        events: Vec<Event>,
        cursor: &Cursor,
        stages: &Stages,
    ) -> Option<String> {
        let mut events: Vec<InputLogEvent> = events.into_iter().map(put).collect();
        // The clock may have been set back.
        events.sort_by_key(|event| event.timestamp);
        let count = events.len();
        let input = PutLogEventsRequest {
            log_group_name: Some(self.settings.group.clone()),
            log_stream_name: Some(self.name.clone()),
            log_events: Some(events),
            ..Default::default()
        };
        let mut wait = FIRST_RETRY;
        loop {
            match self.caller.call::<PutLogEvents>(input.clone()).await {
                Ok(output) => return Some(output.next_sequence_token.unwrap_or_default()),
                Err(error) if error.is_transient() => {
                    tracing::debug!(stream = self.name, %error, "logs wait");
                    note(&error, stages);
                    tokio::time::sleep(wait.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
                    wait = wait.mul_f64(1.6).min(LAST_RETRY);
                    // It may have been taken, and only the answer was lost.
                    if let Some(token) = self.taken(cursor, stages).await {
                        return Some(token);
                    }
                }
                Err(error) => {
                    let (group, stream) = (&self.settings.group, &self.name);
                    tracing::warn!(group, stream, count, %error, "log events were refused");
                    return None;
                }
            }
        }
    }

    /// The stream's token if it is newer than the cursor's: the batch on its way was taken. Asks
    /// until there is an answer.
    pub(super) async fn taken(&self, cursor: &Cursor, stages: &Stages) -> Option<String> {
        let input = DescribeLogStreamsRequest {
            log_group_name: Some(self.settings.group.clone()),
            log_stream_name_prefix: Some(self.name.clone()),
            limit: Some(1),
            ..Default::default()
        };
        loop {
            match self.caller.call::<DescribeLogStreams>(input.clone()).await {
                Ok(output) => {
                    let stream = output.log_streams.unwrap_or_default().into_iter().next()?;
                    let is_it = stream.log_stream_name.as_ref() == Some(&self.name);
                    let token = stream.upload_sequence_token.filter(|_| is_it)?;
                    return (token > cursor.token).then_some(token);
                }
                Err(error) if error.is_transient() => note(&error, stages),
                Err(_) => return None,
            }
            tokio::time::sleep(LAST_RETRY / 5).await;
        }
    }
}

fn put(event: Event) -> InputLogEvent {
    InputLogEvent { timestamp: Some(event.at.as_millisecond()), message: Some(event.message) }
}

fn note(error: &Error, stages: &Stages) {
    stages.set(match error {
        Error::Unreachable { .. } => Stage::Unreachable,
        _ => Stage::Shipping,
    });
}

/// Makes a stream, and its group where the definition says so. One that is there does.
pub(super) async fn create(
    caller: &Caller,
    settings: &Settings,
    stream: &str,
) -> Result<(), Error> {
    if settings.create_group {
        let input = CreateLogGroupRequest {
            log_group_name: Some(settings.group.clone()),
            ..Default::default()
        };
        exists(patiently(|| caller.call::<CreateLogGroup>(input.clone())).await)?;
    }
    let input = CreateLogStreamRequest {
        log_group_name: Some(settings.group.clone()),
        log_stream_name: Some(stream.to_owned()),
    };
    exists(patiently(|| caller.call::<CreateLogStream>(input.clone())).await)
}

/// Asks again while the server can't be reached or fails.
async fn patiently<T, F: Future<Output = Result<T, Error>>>(
    call: impl Fn() -> F,
) -> Result<(), Error> {
    let mut tries = 0;
    loop {
        match call().await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_transient() && tries < CREATE_TRIES => tries += 1,
            Err(error) => return Err(error),
        }
        tokio::time::sleep(CREATE_AGAIN).await;
    }
}

/// What exists already needn't be made.
fn exists(made: Result<(), Error>) -> Result<(), Error> {
    match made {
        Err(Error::Refused { code, .. }) if code == "ResourceAlreadyExistsException" => Ok(()),
        other => other,
    }
}

/// An error as the driver passes it on: code and text of the API.
pub(super) fn said(error: &Error) -> String {
    match error {
        Error::Refused { code, message, .. } => format!("{code}: {message}"),
        other => other.to_string(),
    }
}
