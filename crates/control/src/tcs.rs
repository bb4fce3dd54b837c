//! The server's side of TCS: takes an agent's metrics and health in, until the websocket ends.

use crate::sessions::Sessions;
use futures_util::{SinkExt as _, StreamExt as _};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use wharf_journal::StoreError;
use wharf_model::status::HealthStatus;
use wharf_model::{Arn, ContainerInstanceKey, Task, TaskKey, arn};
use wharf_scheduler::task;
use wharf_wire::tcs::{
    AckPublishHealth, AckPublishInstanceStatus, AckPublishMetric, ContainerHealth, Frame,
    HeartbeatMessage, TaskHealth, TcsMessage,
};

/// Agents reconnect when nothing comes for a minute.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// How often a task's health is decided anew after conflicts; the next report brings it again.
const MAX_ATTEMPTS: usize = 16;

impl Sessions {
    /// Speaks TCS with the agent of `instance` until either side ends it.
    pub async fn serve_tcs<S>(&self, mut stream: WebSocketStream<S>, instance: ContainerInstanceKey)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let stopping = self.stopping();
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        loop {
            let answer = tokio::select! {
                message = stream.next() => match message {
                    Some(Ok(Message::Text(text))) => self.take(&instance, &text).await,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                    Some(Ok(_)) => None,
                },
                _ = heartbeat.tick() => Some(HeartbeatMessage { healthy: Some(true) }.into()),
                () = stopping.cancelled() => break,
            };
            let Some(answer) = answer.and_then(|answer: TcsMessage| answer.encode().ok()) else {
                continue;
            };
            if stream.send(Message::text(answer)).await.is_err() {
                break;
            }
        }
        // The other end may have gone already.
        let _ = stream.close(None).await;
    }

    /// Takes one frame in; the answer that it gets.
    async fn take(&self, instance: &ContainerInstanceKey, text: &str) -> Option<TcsMessage> {
        let body = Frame::parse(text).map(|frame| frame.body).map_err(|e| e.to_string());
        let message = body.and_then(|body| TcsMessage::decode(body).map_err(|e| e.to_string()));
        match message {
            Ok(TcsMessage::PublishMetricsRequest(_)) => Some(AckPublishMetric::default().into()),
            Ok(TcsMessage::PublishHealthRequest(report)) => {
                for task in report.tasks.unwrap_or_default() {
                    self.apply_health(instance, task).await;
                }
                Some(AckPublishHealth::default().into())
            }
            Ok(TcsMessage::PublishInstanceStatusRequest(report)) => {
                let statuses = report.statuses.unwrap_or_default();
                if let Some(status) = statuses.iter().find_map(|s| s.status.as_deref()) {
                    self.set_instance_health(instance, status);
                }
                Some(AckPublishInstanceStatus::default().into())
            }
            Ok(other) => {
                tracing::debug!(%instance, kind = other.kind(), "ignored");
                None
            }
            Err(error) => {
                tracing::warn!(%instance, %error, "agent sent an unreadable telemetry frame");
                None
            }
        }
    }

    /// Takes in what a task's health checks say, if the task is one of `instance`'s. The agent
    /// tells it again every few seconds, so that what couldn't be committed is not lost.
    async fn apply_health(&self, instance: &ContainerInstanceKey, report: TaskHealth) {
        let arn = report.task_arn.as_deref().and_then(Arn::parse);
        let Some(arn::Resource::Task { cluster, id }) = arn.map(|a| a.resource) else {
            tracing::warn!(%instance, "agent sent the health of a task without a valid ARN");
            return;
        };
        let cluster = cluster.unwrap_or_else(|| instance.cluster.clone());
        let key = TaskKey { cluster, id };
        let known = |c: ContainerHealth| Some((c.container_name?, health(&c.health_status?)?));
        let states: Vec<(String, HealthStatus)> =
            report.containers.unwrap_or_default().into_iter().filter_map(known).collect();
        for _ in 0..MAX_ATTEMPTS {
            let snapshot = self.options.store.snapshot();
            let of_instance = |t: &Arc<Task>| t.container_instance_key().as_ref() == Some(instance);
            if !snapshot.task(&key).is_some_and(of_instance) {
                return;
            }
            let transaction = task::apply_health(&snapshot, &key, &states);
            if transaction.is_empty() {
                return;
            }
            match self.options.store.commit(transaction).await {
                Ok(_) => return,
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => {
                    tracing::error!(task = %key, %error, "can't commit the task's health");
                    return;
                }
            }
        }
    }
}

/// The model's word for what an agent says of a container.
fn health(status: &str) -> Option<HealthStatus> {
    [HealthStatus::Healthy, HealthStatus::Unhealthy, HealthStatus::Unknown]
        .into_iter()
        .find(|known| known.as_str() == status)
}
