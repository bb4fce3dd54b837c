//! Execution roles: what the agent does for a task in the name of the task's own role.
//!
//! The credentials come with the task's payload and are renewed while it runs; they are kept in
//! memory alone. [`ExecutionRoles::client`] is the one way to act by them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use wharf_runtime::SandboxId;

use crate::api::EcsClient;
use crate::engine::Failure;
use crate::options::AgentCredentials;
use crate::task::{RoleCredentials, Task};

/// How long a task waits for credentials that the last agent had and this one has not been sent
/// yet.
const WAIT: Duration = Duration::from_secs(60);

/// The newest credentials of every task's execution role. Clones share everything.
#[derive(Clone)]
pub(crate) struct ExecutionRoles {
    client: EcsClient,
    known: Arc<watch::Sender<BTreeMap<SandboxId, RoleCredentials>>>,
}

impl ExecutionRoles {
    /// No credentials yet; calls will go the way that `client`'s go.
    pub(crate) fn new(client: EcsClient) -> Self {
        Self { client, known: Arc::new(watch::Sender::new(BTreeMap::new())) }
    }

    /// From now on the task acts by these.
    pub(crate) fn set(&self, task: &SandboxId, credentials: &RoleCredentials) {
        if credentials.is_complete() {
            self.known.send_modify(|known| {
                known.insert(task.clone(), credentials.clone());
            });
        }
    }

    /// The task is over.
    pub(crate) fn forget(&self, task: &SandboxId) {
        self.known.send_if_modified(|known| known.remove(task).is_some());
    }

    /// The API, signed by the task's execution role; none if the task has no such role. The
    /// client is good for a call or a few: credentials end, and the next call of this has new ones.
    ///
    /// # Errors
    /// If the control plane sends no credentials for the role.
    pub(crate) async fn client(&self, task: &Task) -> Result<Option<EcsClient>, Failure> {
        let Some(role) = &task.execution_role_credentials else { return Ok(None) };
        let mut known = self.known.subscribe();
        let sent = tokio::time::timeout(WAIT, known.wait_for(|known| known.contains_key(&task.id)));
        let credentials = match sent.await {
            Ok(Ok(known)) => known.get(&task.id).cloned(),
            _ => None,
        };
        let Some(credentials) = credentials else {
            return Err(Failure::new(
                "ResourceInitializationError",
                format!("no credentials came for the execution role {}", role.role_arn),
            ));
        };
        Ok(Some(self.client.signed_by(&AgentCredentials {
            access_key_id: credentials.access_key_id,
            secret_access_key: credentials.secret_access_key,
            session_token: Some(credentials.session_token),
        })))
    }
}
