//! The tasks of this host: takes them from payloads, finds them again after a restart.
//!
//! Each task has a worker of its own; this module only knows who is there. `Stop` and acceptance
//! answer once they are on disk, so that a message is acknowledged only then.

pub(crate) mod effects;
mod health;
mod listening;
mod worker;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wharf_runtime::{ContainerStatus, EventKind, SandboxId, SandboxInfo};
use wharf_wire::acs;

use crate::api::EcsClient;
use crate::api::report;
use crate::engine::{Input, Machine, Output, TaskStateChange, TaskStatus};
use crate::store::{self, Store};
use crate::task::{self, RoleCredentials, Task};
use effects::{Host, now_ms};
use worker::{Command, Worker};

/// At most this many reports are on their way at once.
const PARALLEL_REPORTS: usize = 10;
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// How long a stopped task is remembered (`ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION`).
const REMEMBER_MS: u64 = 3 * 60 * 60 * 1000;

/// Locks, and goes on with what a panicking holder left: every holder leaves it whole.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells the control plane, again and again until it has heard.
#[derive(Clone)]
pub(crate) struct Reporter {
    client: EcsClient,
    cluster: Arc<str>,
    permits: Arc<Semaphore>,
}

impl Reporter {
    pub(crate) fn new(client: EcsClient, cluster: &str) -> Self {
        Self {
            client,
            cluster: cluster.into(),
            permits: Arc::new(Semaphore::new(PARALLEL_REPORTS)),
        }
    }

    /// Returns when the report was acknowledged or refused for good.
    pub(crate) async fn submit(&self, change: &TaskStateChange) {
        let mut wait = FIRST_RETRY;
        loop {
            let result = {
                // A permit is held for one try only: the others don't wait for a retry's pause.
                let _permit = self.permits.acquire().await;
                report::submit(&self.client, &self.cluster, change).await
            };
            match result {
                Ok(()) => return,
                Err(error) if is_final(&error) => {
                    tracing::error!(task = %change.task_arn, %error, "a report was refused");
                    return;
                }
                Err(error) => {
                    tracing::warn!(task = %change.task_arn, %error, "a report must be repeated");
                }
            }
            tokio::time::sleep(wait.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
            wait = wait.mul_f64(1.5).min(LAST_RETRY);
        }
    }
}

fn is_final(error: &crate::api::Error) -> bool {
    matches!(error, crate::api::Error::Refused { code, status: 400..=499, .. }
        if code.starts_with("InvalidParameter") || code.starts_with("ClientException"))
}

struct Entry {
    machine: Arc<Mutex<Machine>>,
    inbox: mpsc::UnboundedSender<Command>,
    /// When it was seen finished.
    finished_at_ms: Option<u64>,
}

struct Inner {
    host: Host,
    store: Store,
    reporter: Reporter,
    entries: Mutex<BTreeMap<SandboxId, Entry>>,
    workers: TaskTracker,
    health_changed: Arc<Notify>,
    since_ms: u64,
    shutdown: CancellationToken,
}

/// The tasks of this host. Clones share everything.
#[derive(Clone)]
pub(crate) struct Tasks {
    inner: Arc<Inner>,
}

/// What became of a task in a payload.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is on disk.
    Yes,
    /// It is refused; the control plane was told.
    Refused,
}

impl Tasks {
    pub(crate) fn new(
        host: Host,
        store: Store,
        reporter: Reporter,
        shutdown: CancellationToken,
    ) -> Self {
        let (entries, workers) = (Mutex::default(), TaskTracker::new());
        let (health_changed, since_ms) = (Arc::default(), now_ms());
        Self {
            inner: Arc::new(Inner {
                host,
                store,
                reporter,
                entries,
                workers,
                health_changed,
                since_ms,
                shutdown,
            }),
        }
    }

    /// Woken whenever a health check's verdict changes.
    pub(crate) fn health_changed(&self) -> Arc<Notify> {
        self.inner.health_changed.clone()
    }

    /// When this agent came up, in milliseconds since the epoch.
    pub(crate) fn since_ms(&self) -> u64 {
        self.inner.since_ms
    }

    pub(crate) fn host(&self) -> &Host {
        &self.inner.host
    }

    /// Takes over what an earlier agent left: running containers are adopted, what ended
    /// meanwhile is told, sandboxes without a task are removed.
    pub(crate) async fn recover(&self) -> Result<(), store::Error> {
        let events = self.inner.host.runtime.events();
        let mut sandboxes: BTreeMap<SandboxId, SandboxInfo> = self
            .inner
            .host
            .runtime
            .list_sandboxes()
            .await
            .into_iter()
            .map(|sandbox| (sandbox.id.clone(), sandbox))
            .collect();
        for mut machine in self.inner.store.tasks()? {
            let sandbox = sandboxes.remove(&machine.task.id);
            let output = machine.recover(sandbox.as_ref(), now_ms());
            tracing::info!(task = %machine.task.arn, known = machine.state.known.as_str(), "adopted");
            let host = &self.inner.host;
            let log = |name: &str| host.runtime.log_path(&machine.task.id, name);
            host.shipping.resume(&host.secrets, &machine, log);
            self.spawn(machine, output);
        }
        for (id, _) in sandboxes {
            tracing::warn!(sandbox = %id, "a sandbox belongs to no task: removed");
            let runtime = self.inner.host.runtime.clone();
            self.inner.workers.spawn(async move {
                if let Err(error) = runtime.remove_sandbox(&id).await {
                    tracing::error!(sandbox = %id, %error, "could not remove it");
                }
            });
        }
        let tasks = self.clone();
        let shutdown = self.inner.shutdown.clone();
        self.inner.workers.spawn(async move {
            tokio::select! {
                () = tasks.route(events) => {}
                () = shutdown.cancelled() => {}
            }
        });
        Ok(())
    }

    fn spawn(&self, machine: Machine, first: Output) {
        let (sender, inbox) = mpsc::unbounded_channel();
        let task = Arc::new(machine.task.clone());
        let machine = Arc::new(Mutex::new(machine));
        let entry = Entry { machine: machine.clone(), inbox: sender.clone(), finished_at_ms: None };
        locked(&self.inner.entries).insert(task.id.clone(), entry);
        let worker = Worker {
            host: self.inner.host.clone(),
            store: self.inner.store.clone(),
            reporter: self.inner.reporter.clone(),
            health_changed: self.inner.health_changed.clone(),
            task,
            machine,
            sender,
            inbox,
        };
        let shutdown = self.inner.shutdown.clone();
        self.inner.workers.spawn(async move {
            tokio::select! {
                () = worker.run(first) => {}
                () = shutdown.cancelled() => {}
            }
        });
    }

    /// Brings the runtime's events to their tasks.
    async fn route(&self, mut events: broadcast::Receiver<wharf_runtime::ContainerEvent>) {
        let mut clean = tokio::time::interval(Duration::from_secs(60));
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                _ = clean.tick() => {
                    self.forget_old().await;
                    continue;
                }
            };
            match event {
                Ok(event) => self.event(&event.sandbox, &event.container, event.kind),
                Err(broadcast::error::RecvError::Lagged(_)) => self.look_again().await,
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    fn event(&self, sandbox: &SandboxId, container: &str, kind: EventKind) {
        let entries = locked(&self.inner.entries);
        let Some(entry) = entries.get(sandbox) else { return };
        let Some(index) = locked(&entry.machine).index_of(container) else { return };
        // The call that started it tells of a start, once the container can be reached.
        let EventKind::Exited(status) = kind else { return };
        // A finished task has no worker.
        let _ = entry.inbox.send(Input::Exited { index, status }.into());
    }

    /// Events were lost: every exit is told again, which the engine takes once.
    async fn look_again(&self) {
        for sandbox in self.inner.host.runtime.list_sandboxes().await {
            for container in sandbox.containers {
                if let ContainerStatus::Exited(status) = container.status {
                    self.event(&sandbox.id, &container.name, EventKind::Exited(status));
                }
            }
        }
    }

    async fn forget_old(&self) {
        let now = now_ms();
        let mut old = Vec::new();
        {
            let mut entries = locked(&self.inner.entries);
            for (id, entry) in entries.iter_mut() {
                if locked(&entry.machine).is_finished() {
                    let since = *entry.finished_at_ms.get_or_insert(now);
                    if now.saturating_sub(since) >= REMEMBER_MS {
                        old.push(id.clone());
                    }
                }
            }
            old.iter().for_each(|id| drop(entries.remove(id)));
        }
        for id in old {
            self.inner.host.shipping.forget(&id);
            self.inner.host.roles.forget(&id);
            if let Err(error) = self.inner.store.remove_task(&id) {
                tracing::warn!(%error, "could not forget a task");
            }
            // The control plane's own history says how long logs are of interest.
            if let Err(error) = self.inner.host.runtime.remove_logs(&id).await {
                tracing::warn!(%error, "could not remove a task's logs");
            }
        }
    }

    /// Takes a task of a payload.
    pub(crate) async fn take(&self, wire: &acs::Task) -> Taken {
        let Some(arn) = wire.arn.as_deref() else { return Taken::Refused };
        let id = match task::parse::task_id(arn) {
            Ok(id) => id,
            Err(error) => return self.refuse(arn, &error),
        };
        let stop = match wire.desired_status.as_deref().unwrap_or_default() {
            "RUNNING" => false,
            "STOPPED" => true,
            other => {
                let why = format!("{other:?}");
                let error = task::Error::Invalid { member: "desiredStatus".to_owned(), why };
                return self.refuse(arn, &error);
            }
        };
        if self.knows(&id) {
            self.renew(arn, wire);
            if stop {
                self.stop(&id).await;
            }
            return Taken::Yes;
        }
        if stop {
            // Never heard of: nothing of it is here, which is all that is wanted.
            self.report_later(TaskStateChange::refused(arn, ""));
            return Taken::Yes;
        }
        match task::parse(wire) {
            Ok(task) => {
                if let Some(credentials) = &task.execution_role_credentials {
                    self.inner.host.roles.set(&task.id, credentials);
                }
                self.add(task).await
            }
            Err(error) => self.refuse(arn, &error),
        }
    }

    fn knows(&self, id: &SandboxId) -> bool {
        let entries = locked(&self.inner.entries);
        let Some(entry) = entries.get(id) else { return false };
        let machine = locked(&entry.machine);
        if machine.is_finished() {
            // It ended and the control plane seems not to know.
            self.report_later(machine.summary());
        }
        true
    }

    async fn add(&self, task: Task) -> Taken {
        let mut machine = Machine::new(task);
        let (store, kept) = (self.inner.store.clone(), machine.clone());
        let arn = machine.task.arn.clone();
        match tokio::task::spawn_blocking(move || store.save_task(&kept)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return self.refuse(&arn, &error),
            Err(error) => return self.refuse(&arn, &error),
        }
        let output = machine.handle(Input::Resume, now_ms());
        self.spawn(machine, output);
        Taken::Yes
    }

    fn refuse(&self, arn: &str, error: &dyn std::fmt::Display) -> Taken {
        // The agent's own spelling, which control planes may look for.
        let reason = format!("UnrecogniedTaskError: Error loading task - {error}");
        tracing::warn!(task = arn, %reason, "a task was refused");
        self.report_later(TaskStateChange::refused(arn, &reason));
        Taken::Refused
    }

    fn report_later(&self, change: TaskStateChange) {
        let (reporter, shutdown) = (self.inner.reporter.clone(), self.inner.shutdown.clone());
        self.inner.workers.spawn(async move {
            tokio::select! {
                () = reporter.submit(&change) => {}
                () = shutdown.cancelled() => {}
            }
        });
    }

    /// Wants a task stopped; returns when that is on disk.
    pub(crate) async fn stop(&self, id: &SandboxId) {
        let (done, taken) = oneshot::channel();
        {
            let entries = locked(&self.inner.entries);
            let Some(entry) = entries.get(id) else { return };
            if entry.inbox.send(Command { input: Input::Stop, done: Some(done) }).is_err() {
                return;
            }
        }
        // An error means that the worker has finished: it is stopped.
        let _ = taken.await;
    }

    /// Takes the credentials of a task that is here already: an agent that was started again has
    /// lost those that it had.
    fn renew(&self, arn: &str, wire: &acs::Task) {
        let sent = [
            (false, "roleCredentials", &wire.role_credentials),
            (true, "executionRoleCredentials", &wire.execution_role_credentials),
        ];
        for (execution, member, credentials) in sent {
            match task::parse::credentials(member, credentials.as_ref()) {
                Ok(Some(credentials)) => {
                    self.refresh_credentials(arn, execution, credentials);
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(task = arn, %error, "credentials were not taken"),
            }
        }
    }

    /// Gives fresh credentials to a task; false when it isn't here.
    pub(crate) fn refresh_credentials(
        &self,
        arn: &str,
        execution: bool,
        credentials: RoleCredentials,
    ) -> bool {
        let Ok(id) = task::parse::task_id(arn) else { return false };
        let entries = locked(&self.inner.entries);
        let Some(entry) = entries.get(&id) else { return false };
        let mut machine = locked(&entry.machine);
        match execution {
            true => {
                self.inner.host.roles.set(&id, &credentials);
                machine.task.execution_role_credentials = Some(credentials);
            }
            false => machine.task.role_credentials = Some(credentials),
        }
        true
    }

    /// Looks at every task.
    pub(crate) fn for_each(&self, mut look: impl FnMut(&Machine)) {
        for entry in locked(&self.inner.entries).values() {
            look(&locked(&entry.machine));
        }
    }

    /// ARNs of the tasks that haven't stopped.
    pub(crate) fn live_arns(&self) -> Vec<String> {
        let mut arns = Vec::new();
        self.for_each(|machine| {
            if machine.state.known < TaskStatus::Stopped {
                arns.push(machine.task.arn.clone());
            }
        });
        arns
    }

    /// Waits for the workers after the shutdown was asked for. The containers go on.
    pub(crate) async fn close(&self) {
        self.inner.workers.close();
        self.inner.workers.wait().await;
        self.inner.host.shipping.close().await;
    }
}
