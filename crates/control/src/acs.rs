//! The server's side of ACS: tells one agent what should run, until the websocket ends.

use crate::delivery::{Delivery, RESEND_AFTER};
use crate::roles::RoleType;
use crate::sessions::Sessions;
use crate::{Options, network_policy, payload, roles, seed};
use futures_util::{SinkExt as _, StreamExt as _};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message};
use wharf_journal::StoreError;
use wharf_model::status::StopCode;
use wharf_model::{
    Arn, ContainerInstanceKey, IdSource, Snapshot, Task, TaskId, TaskKey, TaskStatus, Timestamp,
    arn,
};
use wharf_scheduler::task;
use wharf_wire::acs::{
    AcsMessage, HeartbeatMessage, IAMRoleCredentialsMessage, PayloadMessage, TaskIdentifier,
    TaskManifestMessage, TaskStopVerificationAck, TaskStopVerificationMessage,
};

/// Agents reconnect when nothing comes for a minute; Amazon sends one every 30–60 s.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// How often stopping a task is decided anew when something else changed it.
const GIVE_UP_TRIES: usize = 16;

/// Why a session ended before its agent closed it.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The connection broke.
    #[error("the connection broke")]
    WebSocket(#[from] tungstenite::Error),
    /// A message of ours can't be written as JSON.
    #[error("a message can't be encoded")]
    Encode(#[from] serde_json::Error),
}

/// One session's state.
struct AcsSession<'a, S> {
    sessions: &'a Sessions,
    stream: WebSocketStream<S>,
    instance: ContainerInstanceKey,
    delivery: Delivery,
    ids: IdSource,
    /// Highest sequence number sent in this session.
    sequence: i64,
    /// When the credentials end that the agent has of each task's roles.
    credentials_end: BTreeMap<TaskId, Timestamp>,
    /// The manifest whose verification may still come.
    manifest_id: Option<String>,
    /// What the agent knows of networks and security groups.
    networks_told: Option<Arc<Snapshot>>,
}

impl Sessions {
    /// Speaks ACS with the agent of `instance` until either side ends it. The caller has verified
    /// that whoever signed the request is who registered the instance.
    pub async fn serve_acs<S>(&self, stream: WebSocketStream<S>, instance: ContainerInstanceKey)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let session = self.open(&instance);
        tracing::info!(%instance, "agent connected");
        let mut acs = AcsSession {
            sessions: self,
            stream,
            instance: instance.clone(),
            delivery: Delivery::default(),
            ids: IdSource::new(seed()),
            sequence: 0,
            credentials_end: BTreeMap::new(),
            manifest_id: None,
            networks_told: None,
        };
        let result = acs.run(&session).await;
        self.ended(&instance, &session);
        match result {
            Ok(()) => tracing::info!(%instance, "agent disconnected"),
            Err(error) => tracing::warn!(%instance, %error, "agent's session ended"),
        }
        // The other end may have gone already.
        let _ = acs.stream.close(None).await;
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> AcsSession<'_, S> {
    async fn run(&mut self, session: &crate::sessions::Session) -> Result<(), Error> {
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        let mut resend = tokio::time::interval(RESEND_AFTER);
        let mut renewal = tokio::time::interval(self.renewal_interval());
        self.send_manifest().await?;
        self.look_at_all();
        loop {
            self.send_payloads().await?;
            tokio::select! {
                message = self.stream.next() => match message {
                    Some(Ok(Message::Text(text))) => self.receive(&text).await?,
                    Some(Ok(Message::Close(_))) | None => return Ok(()),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error.into()),
                },
                () = session.changed() => {
                    let changed = session.take_changed();
                    self.delivery.look_at(changed.ids);
                    if changed.all {
                        self.look_at_all();
                    }
                }
                _ = heartbeat.tick() => {
                    self.look_at_all();
                    let message_id = Some(self.ids.uuid());
                    self.send(HeartbeatMessage { healthy: Some(true), message_id }).await?;
                }
                _ = renewal.tick() => self.renew_credentials().await?,
                _ = resend.tick(), if self.delivery.is_waiting() => {}
                () = session.closed.cancelled() => return Ok(()),
            }
        }
    }

    fn look_at_all(&mut self) {
        let snapshot = self.sessions.options.store.snapshot();
        self.delivery.look_at_all(&snapshot, &self.instance);
    }

    async fn send(&mut self, message: impl Into<AcsMessage>) -> Result<(), Error> {
        let text = message.into().encode()?;
        Ok(self.stream.send(Message::text(text)).await?)
    }

    /// Greater than every number before it, also after the journal was restored from a backup.
    fn next_sequence(&mut self) -> i64 {
        let micros = (self.sessions.options.clock)().as_millis().saturating_mul(1000);
        let revision = self.sessions.options.store.snapshot().revision().0;
        let revision = i64::try_from(revision).unwrap_or(i64::MAX);
        self.sequence = micros.max(revision).max(self.sequence + 1);
        self.sequence
    }

    fn arns(&self) -> (String, String) {
        let arns = &self.sessions.options.arns;
        (arns.cluster(&self.instance.cluster), arns.container_instance(&self.instance))
    }

    async fn send_manifest(&mut self) -> Result<(), Error> {
        let options = &self.sessions.options;
        let snapshot = options.store.snapshot();
        let identifier = |task: &std::sync::Arc<wharf_model::Task>| TaskIdentifier {
            task_arn: Some(options.arns.task(&task.key())),
            task_cluster_arn: Some(options.arns.cluster(&task.cluster)),
            desired_status: Some(task.told_status().as_str().to_owned()),
        };
        let tasks = snapshot.tasks_on(&self.instance).map(identifier).collect();
        let message_id = self.ids.uuid();
        self.manifest_id = Some(message_id.clone());
        let (cluster_arn, container_instance_arn) = self.arns();
        let generated_at = (options.clock)().as_millis();
        let timeline = self.next_sequence();
        self.send(TaskManifestMessage {
            message_id: Some(message_id),
            cluster_arn: Some(cluster_arn),
            container_instance_arn: Some(container_instance_arn),
            tasks: Some(tasks),
            generated_at: Some(generated_at),
            timeline: Some(timeline),
        })
        .await
    }

    /// Sends payloads until there is nothing left that the agent doesn't know.
    async fn send_payloads(&mut self) -> Result<(), Error> {
        let options = self.sessions.options.clone();
        loop {
            let snapshot = options.store.snapshot();
            // First, so that no task starts before what it may say and hear is known.
            self.send_networks(&snapshot).await?;
            let (now, message_id) = ((options.clock)(), self.ids.uuid());
            let tasks = self.delivery.next(&snapshot, &self.instance, &message_id, now);
            if tasks.is_empty() {
                return Ok(());
            }
            let mut wire = Vec::with_capacity(tasks.len());
            for task in &tasks {
                let form = payload::task(&snapshot, &options.arns, &options.vpc, task);
                let Some(form) = form else { continue };
                wire.extend(self.with_credentials(&snapshot, task, form, now).await);
            }
            if wire.is_empty() {
                continue;
            }
            let (cluster_arn, container_instance_arn) = self.arns();
            let seq_num = self.next_sequence();
            self.send(PayloadMessage {
                cluster_arn: Some(cluster_arn),
                container_instance_arn: Some(container_instance_arn),
                message_id: Some(message_id),
                tasks: Some(wire),
                generated_at: Some(now.as_millis()),
                seq_num: Some(seq_num),
                ..PayloadMessage::default()
            })
            .await?;
        }
    }

    /// Tells what has changed of networks, security groups and the interfaces in them.
    async fn send_networks(&mut self, snapshot: &Arc<Snapshot>) -> Result<(), Error> {
        let told = self.networks_told.replace(Arc::clone(snapshot));
        let vpc = &self.sessions.options.vpc;
        let message = network_policy::message(snapshot, told.as_deref(), vpc);
        let Some(mut message) = message else { return Ok(()) };
        message.message_id = Some(self.ids.uuid());
        self.send(message).await
    }

    /// The task's wire form with the credentials of its roles. A task that never ran and whose role
    /// can't be assumed is given up instead; one that runs goes on without new ones.
    async fn with_credentials(
        &mut self,
        snapshot: &Snapshot,
        task: &Task,
        form: wharf_wire::acs::Task,
        now: Timestamp,
    ) -> Option<wharf_wire::acs::Task> {
        if task.told_status() == TaskStatus::Stopped {
            self.credentials_end.remove(&task.id);
            return Some(form);
        }
        match roles::issue(&self.sessions.options, snapshot, task, now) {
            Ok(credentials) => {
                let end = credentials.expires_at;
                end.map(|end| self.credentials_end.insert(task.id.clone(), end));
                Some(wharf_wire::acs::Task {
                    role_credentials: credentials.application,
                    execution_role_credentials: credentials.execution,
                    ..form
                })
            }
            Err(unassumable) if task.last_status < TaskStatus::Running => {
                give_up(&self.sessions.options, &task.key(), &unassumable.reason()).await;
                None
            }
            Err(unassumable) => {
                tracing::warn!(task = %task.key(), role = unassumable.arn, "its role is gone");
                Some(form)
            }
        }
    }

    /// Often enough to renew credentials at half of their life.
    fn renewal_interval(&self) -> Duration {
        (self.sessions.options.credentials_life / 8).max(Duration::from_millis(50))
    }

    /// Sends new credentials to the tasks whose own have passed half of their life.
    async fn renew_credentials(&mut self) -> Result<(), Error> {
        let options = self.sessions.options.clone();
        let (snapshot, now) = (options.store.snapshot(), (options.clock)());
        let soon = now.plus(options.credentials_life / 2);
        let due: Vec<TaskId> = self
            .credentials_end
            .iter()
            .filter(|(_, end)| **end <= soon)
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            self.credentials_end.remove(&id);
            let key = TaskKey { cluster: self.instance.cluster.clone(), id };
            let Some(task) = snapshot.task(&key).filter(|t| !t.last_status.is_stopped()) else {
                continue;
            };
            let credentials = match roles::issue(&options, &snapshot, task, now) {
                Ok(credentials) => credentials,
                Err(unassumable) => {
                    tracing::warn!(task = %key, role = unassumable.arn, "its role is gone");
                    continue;
                }
            };
            let sets = [
                (RoleType::Application, credentials.application),
                (RoleType::Execution, credentials.execution),
            ];
            for (role_type, credentials) in sets {
                let Some(credentials) = credentials else { continue };
                let message_id = self.ids.uuid();
                self.send(IAMRoleCredentialsMessage {
                    message_id: Some(message_id),
                    task_arn: Some(options.arns.task(&key)),
                    task_cluster_arn: Some(options.arns.cluster(&key.cluster)),
                    role_type: Some(role_type.as_str().to_owned()),
                    role_credentials: Some(credentials),
                })
                .await?;
            }
            credentials.expires_at.map(|end| self.credentials_end.insert(key.id, end));
        }
        Ok(())
    }

    async fn receive(&mut self, text: &str) -> Result<(), Error> {
        let message = match AcsMessage::decode(text) {
            Ok(message) => message,
            Err(error) => {
                tracing::warn!(instance = %self.instance, %error, "agent sent an unreadable message");
                return Ok(());
            }
        };
        match message {
            AcsMessage::AckRequest(ack) => {
                self.delivery.acknowledge(ack.message_id.as_deref().unwrap_or_default());
            }
            AcsMessage::NackRequest(nack) => tracing::warn!(
                instance = %self.instance,
                reason = nack.reason.as_deref().unwrap_or_default(),
                "agent refused a message"
            ),
            AcsMessage::TaskStopVerificationMessage(question) => {
                self.verify_stops(question).await?
            }
            AcsMessage::HeartbeatAckRequest(_) | AcsMessage::IAMRoleCredentialsAckRequest(_) => {}
            other => {
                tracing::debug!(instance = %self.instance, kind = other.kind(), "ignored");
            }
        }
        Ok(())
    }

    /// The agent runs tasks that the manifest doesn't name: those that are really not wanted here
    /// are to be stopped.
    async fn verify_stops(&mut self, question: TaskStopVerificationMessage) -> Result<(), Error> {
        // An answer is good once, and for the last manifest only.
        if question.message_id.is_none() || question.message_id != self.manifest_id {
            return Ok(());
        }
        self.manifest_id = None;
        let snapshot = self.sessions.options.store.snapshot();
        let candidates = question.stop_candidates.unwrap_or_default();
        let unwanted = candidates.into_iter().filter(|candidate| {
            let arn = candidate.task_arn.as_deref().and_then(Arn::parse);
            let Some(arn::Resource::Task { cluster, id }) = arn.map(|a| a.resource) else {
                return false;
            };
            let cluster = cluster.unwrap_or_else(|| self.instance.cluster.clone());
            let task = snapshot.task(&TaskKey { cluster, id });
            !task.is_some_and(|task| {
                task.told_status() < TaskStatus::Stopped
                    && task.container_instance_key().as_ref() == Some(&self.instance)
            })
        });
        let stop_tasks = unwanted.collect();
        let generated_at = (self.sessions.options.clock)().as_millis();
        self.send(TaskStopVerificationAck {
            message_id: question.message_id,
            generated_at: Some(generated_at),
            stop_tasks: Some(stop_tasks),
        })
        .await
    }
}

/// Stops a task that can't start. Its agent, which may never have heard of it, reports the end.
async fn give_up(options: &Options, task: &TaskKey, reason: &str) {
    for _ in 0..GIVE_UP_TRIES {
        let now = (options.clock)();
        let code = StopCode::TaskFailedToStart;
        let stop = task::stop(&options.store.snapshot(), task, code, reason, now);
        // A task that is gone needs no end.
        let Ok(transaction) = stop else { return };
        if transaction.is_empty() {
            return;
        }
        match options.store.commit(transaction).await {
            Ok(_) => return,
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => {
                tracing::error!(%task, %error, "a task that can't start wasn't stopped");
                return;
            }
        }
    }
}
