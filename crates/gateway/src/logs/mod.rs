//! Amazon CloudWatch Logs: log groups, streams and events, over wharf's own log store.
//!
//! Unlike the operations of [`crate::ecs`], these touch no record of the journal: each is a function
//! of its input and the [`Logs`] that it is given, and what it changes is durable when the store has
//! answered.

mod filter_log_events;
mod get_log_events;
mod groups;
mod live_tail;
mod names;
mod put_log_events;
mod streams;
mod tags;

use crate::dispatch::{Call, Encoded};
use crate::error::ApiError;
use wharf_logs::{Error, LogStore};
use wharf_model::ArnScope;
use wharf_wire::logs::{Operation, operation};

pub(crate) use groups::ensure as ensure_group;
pub(crate) use live_tail::{EVENT_STREAM, live_tail};

/// What an operation works on.
pub(crate) struct Logs<'a> {
    /// The store.
    pub store: &'a LogStore,
    /// Region and account.
    pub arns: &'a ArnScope,
    /// The time of the request.
    pub now_ms: i64,
}

macro_rules! dispatch_table {
    ($( $name:ident => $function:path; )*) => {
        /// Runs the operation.
        pub(crate) async fn dispatch(operation: Operation, call: Call<'_>) -> Encoded {
            match operation {
                // Its answer has no end: see [`live_tail`].
                Operation::StartLiveTail => Err(ApiError::not_supported(operation.as_str())),
                $( Operation::$name => {
                    let app = call.app;
                    let now_ms = call.now.as_millis();
                    let (input, encode) = call.typed::<operation::$name>()?;
                    let logs = Logs { store: app.logs(), arns: app.arns(), now_ms };
                    let output = $function(&logs, input).await?;
                    Ok(crate::dispatch::encoded(&encode, output))
                } )*
            }
        }
    };
}

dispatch_table! {
    CreateLogGroup => groups::create;
    DeleteLogGroup => groups::delete;
    DescribeLogGroups => groups::describe;
    PutRetentionPolicy => groups::put_retention;
    DeleteRetentionPolicy => groups::delete_retention;
    CreateLogStream => streams::create;
    DeleteLogStream => streams::delete;
    DescribeLogStreams => streams::describe;
    PutLogEvents => put_log_events::put_log_events;
    GetLogEvents => get_log_events::get_log_events;
    FilterLogEvents => filter_log_events::filter_log_events;
    TagResource => tags::tag;
    UntagResource => tags::untag;
    ListTagsForResource => tags::list;
    TagLogGroup => tags::tag_group;
    UntagLogGroup => tags::untag_group;
    ListTagsLogGroup => tags::list_of_group;
}

/// An error that the caller can mend.
fn client(code: &'static str, message: impl Into<String>) -> ApiError {
    ApiError::new(code, 400, message)
}

/// A member that isn't carried out.
fn refused(member: &str) -> ApiError {
    ApiError::invalid_parameter(format!("{member} is not supported by this server."))
}

/// The store's error in CloudWatch Logs' words; the log has the disk's.
fn failed(error: Error) -> ApiError {
    match error {
        Error::NoGroup(_) => {
            client("ResourceNotFoundException", "The specified log group does not exist.")
        }
        Error::NoStream(_) => {
            client("ResourceNotFoundException", "The specified log stream does not exist.")
        }
        Error::GroupExists(_) => {
            client("ResourceAlreadyExistsException", "The specified log group already exists")
        }
        Error::StreamExists(_) => {
            client("ResourceAlreadyExistsException", "The specified log stream already exists")
        }
        Error::TooLarge(_) => ApiError::invalid_parameter("Upload too large"),
        Error::Io { .. } | Error::Closed => {
            tracing::error!(%error, "the log store failed");
            let message = "The service cannot complete the request.";
            ApiError::new("ServiceUnavailableException", 500, message)
        }
    }
}

/// Runs what blocks on the disk beside the server's other work.
async fn blocking<T: Send + 'static>(
    what: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(what).await {
        Ok(result) => result.map_err(failed),
        Err(_) => Err(failed(Error::Closed)),
    }
}
