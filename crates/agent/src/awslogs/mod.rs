//! The `awslogs` driver: what a container writes goes from its log file on this host into a log
//! stream of the server.
//!
//! The shim's log file is the buffer: a server that is slow or away holds no container up, and a
//! restart of the agent goes on where the last one stopped ([`cursor`]). A task is reported STOPPED
//! only when everything that it wrote is in the store, or the store refuses to take it.

mod cursor;
mod events;
mod options;
mod ship;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wharf_runtime::SandboxId;
use wharf_wire::OperationShape;
use wharf_wire::logs::operation::{CreateLogGroup, CreateLogStream};
use wharf_wire::logs::types::{CreateLogGroupRequest, CreateLogStreamRequest};

use crate::api::{EcsClient, Error};
use crate::engine::{Failure, Machine};
use crate::roles::ExecutionRoles;
use crate::task::{Container, Task};
use crate::tasks::locked;
use ship::{Shipper, Stage};

pub(crate) use options::{DRIVER, Settings};

/// How long the end of a task waits for a store that answers, but takes nothing.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);
/// Tries at making a stream while the server can't be reached, and the pause between them.
const CREATE_TRIES: u32 = 60;
const CREATE_AGAIN: Duration = Duration::from_millis(500);

type Key = (SandboxId, String);

/// Whose key signs the calls for one task's logs.
#[derive(Clone)]
struct Caller {
    agent: EcsClient,
    role: Option<(ExecutionRoles, Arc<Task>)>,
}

impl Caller {
    async fn call<O: OperationShape>(&self, input: O::Input) -> Result<O::Output, Error> {
        let client = match &self.role {
            None => None,
            Some((roles, task)) => roles.client(task).await.map_err(|failure| {
                Error::Unreachable { operation: O::NAME, reason: failure.text }
            })?,
        };
        client.as_ref().unwrap_or(&self.agent).call_logs::<O>(input).await
    }
}

struct Entry {
    stage: watch::Receiver<Stage>,
    /// True once the container has ended: what is in the file then is all.
    ended: watch::Sender<bool>,
    stop: CancellationToken,
}

struct Inner {
    client: EcsClient,
    roles: ExecutionRoles,
    /// On EC2, too, logs go by the execution role.
    is_overridden: bool,
    tracker: TaskTracker,
    shutdown: CancellationToken,
    entries: Mutex<BTreeMap<Key, Entry>>,
}

/// All streams that this host feeds. Clones share everything.
#[derive(Clone)]
pub(crate) struct Shipping {
    inner: Arc<Inner>,
}

/// The settings of a container whose driver is `awslogs`.
fn settings(container: &Container) -> Option<Result<Settings, Failure>> {
    let log = &container.log;
    let invalid = |why| {
        Failure::new(
            "ResourceInitializationError",
            format!("failed to validate logger args: {why}"),
        )
    };
    (log.driver == DRIVER).then(|| Settings::parse(&log.options).map_err(invalid))
}

/// A container's log options as its metadata shows them: with its stream in place of the prefix.
pub(crate) fn shown(task: &Task, container: &Container) -> BTreeMap<String, String> {
    let mut options = container.log.options.clone();
    let settings = settings(container).and_then(Result::ok);
    if let Some(stream) = settings.and_then(|settings| settings.stream(task, &container.name)) {
        options.remove("awslogs-stream-prefix");
        options.insert("awslogs-stream".to_owned(), stream);
    }
    options
}

impl Shipping {
    pub(crate) fn new(
        client: EcsClient,
        roles: ExecutionRoles,
        is_overridden: bool,
        shutdown: CancellationToken,
    ) -> Self {
        let (tracker, entries) = (TaskTracker::new(), Mutex::default());
        let inner = Inner { client, roles, is_overridden, tracker, shutdown, entries };
        Self { inner: Arc::new(inner) }
    }

    /// By whose key the task's logs go: on FARGATE by its execution role's; on EC2 by the
    /// agent's, as the instance's role does for Amazon's agent.
    fn caller(&self, task: &Task) -> Caller {
        let by_role = task.launch_type.as_deref() == Some("FARGATE") || self.inner.is_overridden;
        Caller {
            agent: self.inner.client.clone(),
            role: by_role.then(|| (self.inner.roles.clone(), Arc::new(task.clone()))),
        }
    }

    /// Makes the streams whose names are known before anything of the task is made: a missing group
    /// is told then.
    pub(crate) async fn prepare(&self, task: &Task) -> Result<(), Failure> {
        for container in &task.containers {
            let Some(settings) = settings(container) else { continue };
            let settings = settings?;
            let Some(stream) = settings.stream(task, &container.name) else { continue };
            self.create(task, &settings, &stream).await.map_err(|error| {
                Failure::new(
                    "ResourceInitializationError",
                    format!(
                        "failed to validate logger args: create stream has been retried 1 times: \
                         failed to create Cloudwatch log stream: {} : exit status 1",
                        said(&error)
                    ),
                )
            })?;
        }
        Ok(())
    }

    /// Begins with a container that was made.
    pub(crate) async fn begin(
        &self,
        task: &Task,
        container: &Container,
        runtime_id: &str,
        log: PathBuf,
    ) -> Result<(), Failure> {
        let Some(settings) = settings(container) else { return Ok(()) };
        let settings = settings?;
        let stream = match settings.stream(task, &container.name) {
            Some(stream) => stream,
            None => {
                self.create(task, &settings, runtime_id).await.map_err(|error| {
                    Failure::new(
                        "CannotStartContainerError",
                        format!(
                            "Error response from daemon: failed to initialize logging driver: \
                             failed to create Cloudwatch log stream: {}",
                            said(&error)
                        ),
                    )
                })?;
                runtime_id.to_owned()
            }
        };
        self.ship(task, &container.name, settings, stream, log);
        Ok(())
    }

    /// Goes on with what an earlier agent left.
    pub(crate) fn resume(&self, machine: &Machine, log: impl Fn(&str) -> PathBuf) {
        for (container, state) in machine.containers() {
            let (Some(Ok(settings)), Some(id)) = (settings(container), &state.runtime_id) else {
                continue;
            };
            let log = log(&container.name);
            if cursor::Cursor::read(&log).is_done {
                continue;
            }
            let stream = settings.stream(&machine.task, &container.name);
            let stream = stream.unwrap_or_else(|| id.clone());
            self.ship(&machine.task, &container.name, settings, stream, log);
        }
        if machine.is_finished() {
            self.all_ended(&machine.task);
        }
    }

    fn ship(&self, task: &Task, name: &str, settings: Settings, stream: String, log: PathBuf) {
        let key = (task.id.clone(), name.to_owned());
        let mut entries = locked(&self.inner.entries);
        if entries.contains_key(&key) {
            return;
        }
        let (ended, has_ended) = watch::channel(false);
        let (stage, stages) = watch::channel(Stage::Shipping);
        let stop = self.inner.shutdown.child_token();
        entries.insert(key, Entry { stage: stages, ended, stop: stop.clone() });
        drop(entries);
        let caller = self.caller(task);
        let shipper = Shipper { caller, settings, stream, log, ended: has_ended, stage };
        self.inner.tracker.spawn(async move {
            tokio::select! {
                () = shipper.run() => {}
                () = stop.cancelled() => {}
            }
        });
    }

    fn all_ended(&self, task: &Task) -> Vec<watch::Receiver<Stage>> {
        let entries = locked(&self.inner.entries);
        let of_task = entries.iter().filter(|((id, _), _)| *id == task.id);
        of_task
            .map(|(_, entry)| {
                entry.ended.send_replace(true);
                entry.stage.clone()
            })
            .collect()
    }

    /// Returns once all that the ended task wrote is in the store. A server that can't be reached is
    /// waited for, as it can't hear of the task's end either; one that answers and takes nothing is
    /// not, beyond a minute: the rest follows when it does.
    pub(crate) async fn drained(&self, task: &Task) {
        for mut stage in self.all_ended(task) {
            let mut patience = DRAIN_TIMEOUT;
            loop {
                let now = *stage.borrow_and_update();
                let wait = match now {
                    Stage::Done => break,
                    Stage::Unreachable => Duration::MAX,
                    Stage::Shipping => patience,
                };
                let since = std::time::Instant::now();
                match tokio::time::timeout(wait, stage.changed()).await {
                    Ok(Ok(())) => {}
                    // The agent is ending: the next one waits, and tells.
                    Ok(Err(_)) if self.inner.shutdown.is_cancelled() => {
                        std::future::pending::<()>().await;
                    }
                    Ok(Err(_)) => break,
                    Err(_) => {
                        tracing::warn!(task = %task.arn, "logs are late: the task's end is told before");
                        break;
                    }
                }
                if now == Stage::Shipping {
                    patience = patience.saturating_sub(since.elapsed());
                }
            }
        }
    }

    /// Gives up what is left of a task whose log files go.
    pub(crate) fn forget(&self, id: &SandboxId) {
        locked(&self.inner.entries).retain(|(task, _), entry| {
            if task == id {
                entry.stop.cancel();
            }
            task != id
        });
    }

    /// Makes a stream, and its group where the definition says so. One that is there does.
    async fn create(&self, task: &Task, settings: &Settings, stream: &str) -> Result<(), Error> {
        let caller = self.caller(task);
        if settings.create_group {
            let input = CreateLogGroupRequest {
                log_group_name: Some(settings.group.clone()),
                ..Default::default()
            };
            exists(patiently(|| caller.call::<CreateLogGroup>(input.clone())).await)?;
        }
        let input = CreateLogStreamRequest {
            log_group_name: Some(settings.group.clone()),
            log_stream_name: Some(stream.to_owned()),
        };
        exists(patiently(|| caller.call::<CreateLogStream>(input.clone())).await)
    }

    /// Waits for the shippers after the shutdown was asked for.
    pub(crate) async fn close(&self) {
        self.inner.tracker.close();
        self.inner.tracker.wait().await;
    }
}

/// Asks again while the server can't be reached or fails.
async fn patiently<T, F: Future<Output = Result<T, Error>>>(
    call: impl Fn() -> F,
) -> Result<(), Error> {
    let mut tries = 0;
    loop {
        match call().await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_transient() && tries < CREATE_TRIES => tries += 1,
            Err(error) => return Err(error),
        }
        tokio::time::sleep(CREATE_AGAIN).await;
    }
}

/// What exists already needn't be made.
fn exists(made: Result<(), Error>) -> Result<(), Error> {
    match made {
        Err(Error::Refused { code, .. }) if code == "ResourceAlreadyExistsException" => Ok(()),
        other => other,
    }
}

/// An error as the driver passes it on: code and text of the API.
fn said(error: &Error) -> String {
    match error {
        Error::Refused { code, message, .. } => format!("{code}: {message}"),
        other => other.to_string(),
    }
}
