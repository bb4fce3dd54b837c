//! Client tokens: a call that is made again with the same token is the same call.

use crate::context::Context;
use crate::error::ApiError;
use sha2::{Digest, Sha256};
use std::time::Duration;
use wharf_model::{ClientToken, ClusterName, RecordKey, Transaction};
use wharf_wire::{Shape, json};

/// How long a token is remembered (ECS: up to 24 hours).
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest token (ECS API `clientToken`: 36 ASCII characters, RunTask 64).
const MAX_LENGTH: usize = 64;
/// The same for CreateService (ECS API `CreateServiceRequest$clientToken`).
const MAX_LENGTH_OF_SERVICE: usize = 36;

/// A call's token, if it has one, and what it was used for before.
#[derive(Debug)]
pub struct Use {
    record: Option<ClientToken>,
    before: Option<ClientToken>,
}

impl Use {
    /// Looks the token up. `request` is the request without its token.
    ///
    /// # Errors
    /// InvalidParameterException for a token of the wrong form; ConflictException if it was used
    /// with another request.
    pub fn new<T: Shape + Clone>(
        context: &Context<'_>,
        cluster: &ClusterName,
        operation: &str,
        token: Option<&str>,
        request: &T,
    ) -> Result<Self, ApiError> {
        let Some(token) = token.filter(|t| !t.is_empty()) else {
            return Ok(Self { record: None, before: None });
        };
        let most = if operation == "CreateService" { MAX_LENGTH_OF_SERVICE } else { MAX_LENGTH };
        if token.len() > most || !token.bytes().all(|b| (33..=126).contains(&b)) {
            return Err(ApiError::invalid_parameter(format!(
                "clientToken must have at most {most} characters, in the range 33-126."
            )));
        }
        let record = ClientToken {
            cluster: cluster.to_string(),
            operation: operation.to_owned(),
            token: token.to_owned(),
            request_hash: hex::encode(Sha256::digest(json::to_vec(request.clone()))),
            arns: Vec::new(),
            expires_at: context.now.plus(LIFETIME),
        };
        let key = (record.cluster.clone(), record.operation.clone(), record.token.clone());
        let before = context.snapshot.client_token(&key).filter(|t| t.expires_at > context.now);
        if let Some(before) = before
            && before.request_hash != record.request_hash
        {
            return Err(ApiError::conflict(
                "The client token was used before with other parameters.",
                before.arns.clone(),
            ));
        }
        let before = before.map(|t| ClientToken::clone(t));
        Ok(Self { record: Some(record), before })
    }

    /// What an earlier call with this token made.
    pub fn earlier(&self) -> Option<&[String]> {
        self.before.as_ref().map(|t| t.arns.as_slice())
    }

    /// True if an earlier call with this token made `arn`.
    pub fn was_used_for(&self, arn: &str) -> bool {
        self.earlier().is_some_and(|arns| arns.iter().any(|a| a == arn))
    }

    /// Remembers with the transaction what this call makes, if it has a token. Two calls with one
    /// token conflict.
    pub fn remember(self, context: &Context<'_>, transaction: &mut Transaction, arns: Vec<String>) {
        let Some(record) = self.record else { return };
        let key = RecordKey::ClientToken((
            record.cluster.clone(),
            record.operation.clone(),
            record.token.clone(),
        ));
        transaction.read(key.clone(), context.snapshot.revision_of(&key));
        transaction.put(ClientToken { arns, ..record });
    }
}
