//! The server's side of TCS: takes an agent's metrics and health in, until the websocket ends.

use crate::sessions::Sessions;
use futures_util::{SinkExt as _, StreamExt as _};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use wharf_model::ContainerInstanceKey;
use wharf_wire::tcs::{
    AckPublishHealth, AckPublishInstanceStatus, AckPublishMetric, Frame, HeartbeatMessage,
    TcsMessage,
};

/// Agents reconnect when nothing comes for a minute.
const HEARTBEAT: Duration = Duration::from_secs(30);

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
                    Some(Ok(Message::Text(text))) => self.take(&instance, &text),
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
    fn take(&self, instance: &ContainerInstanceKey, text: &str) -> Option<TcsMessage> {
        let body = Frame::parse(text).map(|frame| frame.body).map_err(|e| e.to_string());
        let message = body.and_then(|body| TcsMessage::decode(body).map_err(|e| e.to_string()));
        match message {
            Ok(TcsMessage::PublishMetricsRequest(_)) => Some(AckPublishMetric::default().into()),
            Ok(TcsMessage::PublishHealthRequest(_)) => Some(AckPublishHealth::default().into()),
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
}
