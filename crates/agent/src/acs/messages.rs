//! What each ACS message does, and what is answered.

use futures_util::future::join_all;
use wharf_wire::acs::{
    AckRequest, AcsMessage, HeartbeatAckRequest, IAMRoleCredentials, IAMRoleCredentialsAckRequest,
    IAMRoleCredentialsMessage, PayloadMessage, Task, TaskIdentifier, TaskManifestMessage,
    TaskStopVerificationAck, TaskStopVerificationMessage,
};

use super::Acs;
use crate::task;
use crate::tasks::Taken;

/// What a session waits for.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// The messageId of the last manifest whose candidates weren't verified.
    manifest: Option<String>,
}

impl Acs {
    /// Carries a message out; answers what is to be sent.
    pub(super) async fn answer(
        &self,
        message: AcsMessage,
        pending: &mut Pending,
    ) -> Vec<AcsMessage> {
        match message {
            AcsMessage::HeartbeatMessage(heartbeat) => {
                self.heartbeat.notify_one();
                vec![HeartbeatAckRequest { message_id: heartbeat.message_id }.into()]
            }
            AcsMessage::PayloadMessage(payload) => self.payload(payload).await,
            AcsMessage::TaskManifestMessage(manifest) => self.manifest(manifest, pending).await,
            AcsMessage::TaskStopVerificationAck(ack) => self.verified(ack, pending).await,
            AcsMessage::IAMRoleCredentialsMessage(message) => self.credentials(message),
            AcsMessage::AttachTaskNetworkInterfacesMessage(message) => {
                // The interface comes again, complete, with the task's payload.
                let to_us = self.is_us(message.container_instance_arn.as_deref()).await;
                match to_us.then_some(message.message_id).flatten() {
                    Some(id) => vec![self.ack(id).await],
                    None => Vec::new(),
                }
            }
            AcsMessage::NetworkPolicyMessage(message) => {
                let runtime = &self.tasks.host().runtime;
                runtime.change_policy(|known| super::policy::apply(known, &message));
                self.tasks.host().names.apply(&message);
                Vec::new()
            }
            other => {
                tracing::warn!(kind = other.kind(), "a message that isn't for this agent: dropped");
                Vec::new()
            }
        }
    }

    async fn ack(&self, message_id: String) -> AcsMessage {
        let identity = self.identity.lock().await;
        AckRequest {
            cluster: Some(identity.cluster.clone()),
            container_instance: Some(identity.container_instance_arn.clone()),
            message_id: Some(message_id),
        }
        .into()
    }

    async fn is_us(&self, arn: Option<&str>) -> bool {
        arn.is_some_and(|arn| !arn.is_empty())
            && arn == Some(self.identity.lock().await.container_instance_arn.as_str())
    }

    async fn payload(&self, payload: PayloadMessage) -> Vec<AcsMessage> {
        let Some(message_id) = payload.message_id.clone().filter(|id| !id.is_empty()) else {
            tracing::error!("a payload without messageId: dropped");
            return Vec::new();
        };
        let to_us = self.is_us(payload.container_instance_arn.as_deref()).await;
        if !to_us || payload.cluster_arn.as_deref().is_none_or(str::is_empty) {
            tracing::error!(message_id, "a payload without cluster or for another: dropped");
            return Vec::new();
        }
        if !self.advance_sequence(payload.seq_num).await {
            return Vec::new();
        }
        let tasks = payload.tasks.unwrap_or_default();
        let stops = |task: &&Task| task.desired_status.as_deref() == Some("STOPPED");
        let (stop, run): (Vec<&Task>, Vec<&Task>) = tasks.iter().partition(stops);
        // What shall stop frees what the others need.
        let stopped = join_all(stop.into_iter().map(|task| self.tasks.take(task))).await;
        let running = join_all(run.into_iter().map(|task| self.tasks.take(task))).await;
        let mut answers = Vec::new();
        for task in &tasks {
            let sets = [&task.role_credentials, &task.execution_role_credentials];
            for credentials in sets.into_iter().flatten() {
                answers.push(credentials_ack(&message_id, credentials));
            }
        }
        if stopped.iter().chain(&running).all(|taken| *taken == Taken::Yes) {
            answers.push(self.ack(message_id).await);
        }
        answers
    }

    /// Raises the counter to `number`; false if that couldn't be kept on disk.
    async fn advance_sequence(&self, number: Option<i64>) -> bool {
        let mut identity = self.identity.lock().await;
        let Some(number) = number.filter(|number| *number > identity.sequence_number) else {
            return true;
        };
        let mut next = identity.clone();
        next.sequence_number = number;
        let (store, kept) = (self.store.clone(), next.clone());
        match tokio::task::spawn_blocking(move || store.save_identity(&kept)).await {
            Ok(Ok(())) => {
                *identity = next;
                true
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "a message wasn't taken");
                false
            }
            Err(error) => {
                tracing::error!(%error, "a message wasn't taken");
                false
            }
        }
    }

    async fn manifest(
        &self,
        manifest: TaskManifestMessage,
        pending: &mut Pending,
    ) -> Vec<AcsMessage> {
        let Some(message_id) = manifest.message_id.filter(|id| !id.is_empty()) else {
            return Vec::new();
        };
        let timeline = manifest.timeline.unwrap_or(0);
        let stale = timeline <= self.identity.lock().await.sequence_number;
        let to_us = self.is_us(manifest.container_instance_arn.as_deref()).await;
        if !to_us || stale || !self.advance_sequence(Some(timeline)).await {
            tracing::info!(message_id, timeline, "a stale manifest, or another's: dropped");
            return Vec::new();
        }
        let wanted: Vec<&str> = manifest
            .tasks
            .iter()
            .flatten()
            .filter(|task| task.desired_status.as_deref() != Some("STOPPED"))
            .filter_map(|task| task.task_arn.as_deref())
            .collect();
        let mut live = self.tasks.live_arns();
        live.retain(|arn| !wanted.contains(&arn.as_str()));
        let mut answers = vec![self.ack(message_id.clone()).await];
        if !live.is_empty() {
            let candidate = |arn: String| TaskIdentifier {
                task_arn: Some(arn),
                task_cluster_arn: manifest.cluster_arn.clone(),
                desired_status: Some("STOPPED".to_owned()),
            };
            pending.manifest = Some(message_id.clone());
            let message = TaskStopVerificationMessage {
                message_id: Some(message_id),
                stop_candidates: Some(live.into_iter().map(candidate).collect()),
            };
            answers.push(message.into());
        }
        answers
    }

    async fn verified(
        &self,
        ack: TaskStopVerificationAck,
        pending: &mut Pending,
    ) -> Vec<AcsMessage> {
        if ack.message_id.is_none() || ack.message_id != pending.manifest {
            tracing::warn!("a stop verification for no manifest of ours: dropped");
            return Vec::new();
        }
        pending.manifest = None;
        let stop = ack.stop_tasks.unwrap_or_default();
        let arns = stop.iter().filter_map(|task| task.task_arn.as_deref());
        let ids = arns.filter_map(|arn| task::parse::task_id(arn).ok());
        join_all(ids.map(|id| async move { self.tasks.stop(&id).await })).await;
        Vec::new()
    }

    fn credentials(&self, message: IAMRoleCredentialsMessage) -> Vec<AcsMessage> {
        let (Some(id), Some(wire)) = (message.message_id, message.role_credentials) else {
            return Vec::new();
        };
        let execution = match message.role_type.as_deref() {
            Some("TaskExecution") => true,
            Some("TaskApplication") => false,
            _ => return Vec::new(),
        };
        let parsed = task::parse::credentials("roleCredentials", Some(&wire));
        let (Ok(Some(credentials)), Some(arn)) = (parsed, message.task_arn) else {
            return Vec::new();
        };
        if !self.tasks.refresh_credentials(&arn, execution, credentials) {
            tracing::warn!(task = %arn, "credentials for a task that isn't here: dropped");
            return Vec::new();
        }
        vec![credentials_ack(&id, &wire)]
    }
}

fn credentials_ack(message_id: &str, credentials: &IAMRoleCredentials) -> AcsMessage {
    IAMRoleCredentialsAckRequest {
        message_id: Some(message_id.to_owned()),
        expiration: credentials.expiration.clone(),
        credentials_id: credentials.credentials_id.clone(),
    }
    .into()
}
