//! From a decoded request to a committed answer: run the operation on a snapshot, commit, and on
//! a conflict run it again on a newer one.

use crate::app::App;
use crate::context::{Context, Result as OperationResult};
use crate::error::ApiError;
use crate::identity::Verified;
use crate::placing::Placement;
use std::sync::Arc;
use wharf_journal::{CommitError, StoreError};
use wharf_model::{ClusterName, Timestamp};
use wharf_wire::{Document, OperationShape, Schema, Shape, validation};

/// How often a request is decided anew before the caller is told to try again. Conflicts are
/// between requests for the same record, so each round some other request has won.
pub(crate) const MAX_ATTEMPTS: usize = 64;

/// One verified request on its way to its operation.
pub(crate) struct Call<'a> {
    /// The server.
    pub app: &'a Arc<App>,
    /// Who asks.
    pub identity: &'a Verified,
    /// When the request came in.
    pub now: Timestamp,
    /// The request's randomness.
    pub seed: u64,
    /// Its input, decoded along the operation's schema.
    pub input: Document,
    /// How its protocol lays out the output.
    pub encode: Encode,
}

/// Lays out an output along its schema.
pub(crate) type Encode = Box<dyn Fn(&Schema, &Document) -> Vec<u8> + Send + Sync>;

/// An output's bytes, or why there is none.
pub(crate) type Encoded = Result<Vec<u8>, ApiError>;

/// Lays out an operation's output.
pub(crate) fn encoded<O: Shape>(encode: &Encode, output: O) -> Vec<u8> {
    encode(O::schema(), &output.into_document())
}

impl Call<'_> {
    /// The input, valid by the model, and how to lay out the output: for an operation that no
    /// transaction follows.
    pub(crate) fn typed<O: OperationShape>(self) -> Result<(O::Input, Encode), ApiError> {
        Ok((typed_input::<O>(self.app, self.identity, self.input)?, self.encode))
    }

    /// Validates the input against the model, then runs `operation` until its transaction holds.
    pub(crate) async fn run<O: OperationShape>(
        self,
        operation: impl Fn(&Context<'_>, &O::Input) -> OperationResult<O::Output>,
    ) -> Encoded {
        let Self { app, identity, now, seed, input, encode } = self;
        let input = typed_input::<O>(app, identity, input)?;
        for _ in 0..MAX_ATTEMPTS {
            let snapshot = app.store().snapshot();
            let context = app.context(&snapshot, identity, now, seed);
            let outcome = operation(&context, &input)?;
            if outcome.transaction.is_empty() && outcome.transaction.reads.is_empty() {
                app.remember(now, outcome.history);
                return Ok(encoded(&encode, outcome.output));
            }
            // The answer is laid out while the disk is at work; it goes out only if that holds.
            let answer = async { encoded(&encode, outcome.output) };
            match tokio::join!(app.store().commit(outcome.transaction), answer) {
                (Ok(_), answer) => {
                    app.remember(now, outcome.history);
                    return Ok(answer);
                }
                (Err(StoreError::Conflict { key, expected, found }), _) => {
                    tracing::debug!(operation = O::NAME, %key, %expected, %found, "decided anew");
                    app.metrics().conflict(O::NAME);
                }
                (Err(error), _) => return Err(commit_failed(O::NAME, &error)),
            }
        }
        tracing::warn!(operation = O::NAME, "gave up after {MAX_ATTEMPTS} conflicts");
        Err(ApiError::server())
    }

    /// As [`Call::run`], for an operation that places tasks: in turn with the others of its cluster.
    pub(crate) async fn run_placing<O: OperationShape>(
        self,
        function: fn(&Context<'_>, &O::Input) -> OperationResult<O::Output>,
    ) -> Encoded
    where
        O::Input: Send + 'static,
        O::Output: Send + 'static,
    {
        let Self { app, identity, now, seed, input, encode } = self;
        let cluster = input.get("cluster").and_then(Document::as_str).unwrap_or("default");
        let cluster = ClusterName::from(cluster.rsplit('/').next().unwrap_or(cluster));
        let input = typed_input::<O>(app, identity, input)?;
        let identity = identity.clone();
        let placement = Placement { name: O::NAME, function, input, identity, now, seed, encode };
        app.placing().run(app, cluster, placement).await
    }
}

/// The input, valid by the model.
pub(crate) fn typed_input<O: OperationShape>(
    app: &App,
    identity: &Verified,
    input: Document,
) -> Result<O::Input, ApiError> {
    let schema = <O::Input as Shape>::schema();
    let violations = validation::validate(schema, &input, validation::Scope::All);
    if let Some(text) = validation::message(&violations) {
        return Err(app.validation_error(identity.service(), text));
    }
    <O::Input as Shape>::from_document(input)
        .map_err(|error| ApiError::new("SerializationException", 400, error.to_string()))
}

/// What the caller hears of a transaction that the journal didn't take; the log has the reason.
pub(crate) fn commit_failed(operation: &str, error: &CommitError) -> ApiError {
    use wharf_journal::Error as Journal;
    tracing::error!(operation, %error, "transaction not committed");
    match error {
        StoreError::Journal(Journal::TooLarge { what, limit, found }) => ApiError::client(format!(
            "The request is too large to be stored: it has {found} {what}, the limit is {limit}."
        )),
        StoreError::Journal(Journal::NoSpace { .. }) => ApiError::new(
            "ServerException",
            500,
            "The server's disk is full: nothing was changed. Free some space, then try again.",
        ),
        _ => ApiError::server(),
    }
}
