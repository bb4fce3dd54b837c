//! Several operations as one decision: each sees what those before it changed, and all of it becomes
//! one transaction, which holds or doesn't.

use crate::context::{Context, Result as OperationResult};
use crate::error::ApiError;
use wharf_model::{Revision, Snapshot, Transaction};

/// Keeps the random choices of the steps apart.
const STRIDE: u64 = 0x9E37_79B9_7F4A_7C15;

/// Operations that were carried out one after the other, on a snapshot of their own.
pub(super) struct Steps<'a> {
    outer: Context<'a>,
    snapshot: Snapshot,
    transaction: Transaction,
    count: u64,
}

impl<'a> Steps<'a> {
    pub(super) fn new(context: &Context<'a>) -> Self {
        let snapshot = context.snapshot.clone();
        Self { outer: *context, snapshot, transaction: Transaction::new(), count: 0 }
    }

    /// What the next step sees.
    pub(super) fn context(&self) -> Context<'_> {
        let seed = self.outer.seed.wrapping_add(self.count.wrapping_mul(STRIDE));
        Context { snapshot: &self.snapshot, seed, ..self.outer }
    }

    /// Carries out an operation of ECS.
    pub(super) fn run<I, O>(
        &mut self,
        operation: impl Fn(&Context<'_>, &I) -> OperationResult<O>,
        input: &I,
    ) -> Result<O, ApiError> {
        self.count += 1;
        let outcome = operation(&self.context(), input)?;
        self.take(outcome.transaction);
        Ok(outcome.output)
    }

    /// Carries out an operation of another service: its errors are told as ECS tells such.
    pub(super) fn run_of_other<I, O>(
        &mut self,
        operation: impl Fn(&Context<'_>, &I) -> OperationResult<O>,
        input: &I,
    ) -> Result<O, ApiError> {
        self.run(operation, input).map_err(|error| match error.status {
            500.. => error,
            _ => ApiError::invalid_parameter(error.message),
        })
    }

    /// Takes over a change.
    pub(super) fn take(&mut self, mut transaction: Transaction) {
        // What an earlier step wrote was read as that step left it, and is no record of the store's.
        transaction
            .reads
            .retain(|(key, _)| !self.transaction.writes.iter().any(|write| write.key() == *key));
        let next = Revision(self.snapshot.revision().0 + 1);
        self.snapshot.apply(next, &transaction.writes);
        self.transaction.extend(transaction);
    }

    /// All changes as one.
    pub(super) fn finish(self) -> Transaction {
        self.transaction
    }
}
