//! ACS: the websocket by which the control plane tells an agent what to run.
//!
//! The messages of Amazon's open-source agent, field by field, written by hand: the protocol is
//! small and its model isn't part of any SDK. All members are optional on the wire; what a receiver
//! needs, it checks itself.

pub mod docker;
mod network;
mod task;

pub use network::*;
pub use task::*;

use crate::agent_message::{envelope, message};

envelope! {
    /// A message of an ACS session, either way.
    AcsMessage {
        HeartbeatMessage,
        HeartbeatAckRequest,
        PayloadMessage,
        AckRequest,
        NackRequest,
        IAMRoleCredentialsMessage,
        IAMRoleCredentialsAckRequest,
        AttachTaskNetworkInterfacesMessage,
        AttachInstanceNetworkInterfacesMessage,
        ConfirmAttachmentMessage,
        NetworkPolicyMessage,
        TaskManifestMessage,
        TaskStopVerificationMessage,
        TaskStopVerificationAck,
        StageUpdateMessage,
        PerformUpdateMessage,
        CloseMessage,
        ErrorMessage,
    }
}

message! {
    /// Control plane → agent: all is well. The agent reconnects when none comes for a minute.
    HeartbeatMessage {
        healthy: bool,
        message_id: String,
    }
}

message! {
    /// Agent → control plane: answers a heartbeat.
    HeartbeatAckRequest {
        message_id: String,
    }
}

message! {
    /// Control plane → agent: tasks with their desired status.
    PayloadMessage {
        cluster_arn: String,
        container_instance_arn: String,
        message_id: String,
        tasks: Vec<Task>,
        generated_at: i64,
        seq_num: i64,
        timeline: i64,
    }
}

message! {
    /// Agent → control plane: a message was taken.
    AckRequest {
        cluster: String,
        container_instance: String,
        message_id: String,
    }
}

message! {
    /// Agent → control plane: a message was refused.
    NackRequest {
        cluster: String,
        container_instance: String,
        message_id: String,
        reason: String,
    }
}

message! {
    /// Control plane → agent: fresh credentials for a running task.
    IAMRoleCredentialsMessage {
        message_id: String,
        task_arn: String,
        task_cluster_arn: String,
        role_type: String,
        role_credentials: IAMRoleCredentials,
    }
}

message! {
    /// Agent → control plane: credentials were taken.
    IAMRoleCredentialsAckRequest {
        message_id: String,
        expiration: String,
        credentials_id: String,
    }
}

message! {
    /// Control plane → agent: expect these interfaces for a task.
    AttachTaskNetworkInterfacesMessage {
        message_id: String,
        cluster_arn: String,
        container_instance_arn: String,
        task_arn: String,
        task_cluster_arn: String,
        generated_at: i64,
        wait_timeout_ms: i64,
        elastic_network_interfaces: Vec<ElasticNetworkInterface>,
    }
}

message! {
    /// Control plane → agent: expect these interfaces for the instance.
    AttachInstanceNetworkInterfacesMessage {
        message_id: String,
        cluster_arn: String,
        container_instance_arn: String,
        generated_at: i64,
        wait_timeout_ms: i64,
        elastic_network_interfaces: Vec<ElasticNetworkInterface>,
    }
}

message! {
    /// Control plane → agent: expect this attachment (a volume).
    ConfirmAttachmentMessage {
        message_id: String,
        cluster_arn: String,
        container_instance_arn: String,
        task_arn: String,
        task_cluster_arn: String,
        generated_at: i64,
        wait_timeout_ms: i64,
        attachment: Attachment,
    }
}

message! {
    /// Control plane → agent: every task that should be there, as of `timeline`.
    TaskManifestMessage {
        message_id: String,
        cluster_arn: String,
        container_instance_arn: String,
        tasks: Vec<TaskIdentifier>,
        generated_at: i64,
        timeline: i64,
    }
}

message! {
    /// Agent → control plane: tasks that run here and that the manifest doesn't have.
    TaskStopVerificationMessage {
        message_id: String,
        stop_candidates: Vec<TaskIdentifier>,
    }
}

message! {
    /// Control plane → agent: of the candidates, those to stop.
    TaskStopVerificationAck {
        message_id: String,
        generated_at: i64,
        stop_tasks: Vec<TaskIdentifier>,
    }
}

message! {
    /// A task by its ARN, with the status that is wanted.
    TaskIdentifier {
        task_arn: String,
        task_cluster_arn: String,
        desired_status: String,
    }
}

message! {
    /// Control plane → agent: fetch an update of the agent.
    StageUpdateMessage {
        message_id: String,
        cluster_arn: String,
        container_instance_arn: String,
        update_info: UpdateInfo,
    }
}

message! {
    /// Control plane → agent: install the fetched update.
    PerformUpdateMessage {
        message_id: String,
        cluster_arn: String,
        container_instance_arn: String,
        update_info: UpdateInfo,
    }
}

message! {
    /// Where an update lies.
    UpdateInfo {
        location: String,
        signature: String,
    }
}

message! {
    /// Control plane → agent: the session ends. Only logged; a close frame is what ends it.
    CloseMessage {
        message: String,
    }
}

message! {
    /// Control plane → agent: an error. Only logged.
    ErrorMessage {
        message: String,
    }
}

/// Why a session is refused: the body of the answer to its upgrade request,
/// `{"<ExceptionName>":"text"}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The exception's name (`InactiveInstanceException`).
    pub exception: String,
    /// The text.
    pub message: String,
}

impl Refusal {
    /// The instance is deregistered: the agent waits an hour before it tries again.
    pub const INACTIVE_INSTANCE: &'static str = "InactiveInstanceException";
    /// The instance isn't one of this cluster.
    pub const INVALID_INSTANCE: &'static str = "InvalidInstanceException";
    /// The cluster doesn't exist.
    pub const INVALID_CLUSTER: &'static str = "InvalidClusterException";
    /// The request isn't signed by who registered the instance.
    pub const ACCESS_DENIED: &'static str = "AccessDeniedException";
    /// The request is malformed.
    pub const BAD_REQUEST: &'static str = "BadRequestException";
    /// The control plane failed.
    pub const SERVER: &'static str = "ServerException";

    /// The body as JSON.
    pub fn encode(&self) -> String {
        serde_json::json!({ &self.exception: self.message }).to_string()
    }

    /// Reads a body: one key with a text, or an enveloped message; `None` for anything else.
    pub fn decode(body: &[u8]) -> Option<Self> {
        let body: serde_json::Value = serde_json::from_slice(body).ok()?;
        let entries = body.as_object()?;
        if let Some(exception) = entries.get("type").and_then(|kind| kind.as_str()) {
            let text = entries.get("message")?;
            let text = text.as_str().or_else(|| text.get("message")?.as_str());
            let message = text.unwrap_or_default().to_owned();
            return Some(Refusal { exception: exception.to_owned(), message });
        }
        match entries.iter().next() {
            Some((exception, text)) if entries.len() == 1 => {
                Some(Refusal { exception: exception.clone(), message: text.as_str()?.to_owned() })
            }
            _ => None,
        }
    }
}
