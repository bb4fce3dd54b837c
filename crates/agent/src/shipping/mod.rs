//! Where a container's log goes beside its file on this host: a log stream of the server, a syslog,
//! the host's journald, a receiver of fluentd's protocol, a log router of the same task.
//!
//! The shim's log file is the buffer: a receiver that is slow or away holds no container up, unless
//! the definition says so, and a restart of the agent goes on where the last one stopped
//! ([`cursor`]). A task is reported STOPPED when everything that it wrote has arrived, or its
//! receiver doesn't take it: how long that is waited for depends on the receiver.

mod awslogs;
mod cursor;
mod events;
mod messages;
mod ship;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wharf_model::log_driver::{Driver, Fluentd, Names, Syslog, Tag};
use wharf_runtime::SandboxId;

use crate::api::EcsClient;
use crate::engine::{Failure, Machine};
use crate::firelens;
use crate::launch::docker_name;
use crate::roles::ExecutionRoles;
use crate::secrets::{Secrets, Values};
use crate::task::{Container, Task};
use crate::tasks::locked;
use awslogs::{Caller, Stream};
use messages::{Messages, Subject};
use ship::{Shipper, Sink, Stage, Stages};

/// How long the end of a task waits for a receiver that takes nothing, by the driver's mode. The
/// rest follows when it does.
const BLOCKING_TIMEOUT: Duration = Duration::from_secs(60);
const NON_BLOCKING_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the stop of a router waits for what those before it wrote.
const ROUTER_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause between attempts at options that come from secrets.
const FETCH_AGAIN: Duration = Duration::from_secs(5);

type Key = (SandboxId, String);

struct Entry {
    stage: watch::Receiver<Stage>,
    /// True once the container has ended: what is in the file then is all.
    ended: watch::Sender<bool>,
    stop: CancellationToken,
    /// How long its end is waited for.
    patience: Patience,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// For a server that can't be reached for ever, as it can't hear of the task's end either.
    Server,
    Receiver(Duration),
}

struct Inner {
    client: EcsClient,
    roles: ExecutionRoles,
    /// On EC2, too, logs go by the execution role.
    is_overridden: bool,
    tracker: TaskTracker,
    shutdown: CancellationToken,
    /// Where routers' directories lie.
    routers: PathBuf,
    entries: Mutex<BTreeMap<Key, Entry>>,
}

/// All receivers that this host feeds. Clones share everything.
#[derive(Clone)]
pub(crate) struct Shipping {
    inner: Arc<Inner>,
}

/// A driver's options.
enum Settings {
    Awslogs(awslogs::Settings),
    Messages(messages::Settings),
}

/// The settings of a container whose log is shipped.
fn settings(
    task: &Task,
    container: &Container,
    routers: &std::path::Path,
) -> Option<Result<Settings, Failure>> {
    let log = &container.log;
    let messages = |settings: Result<messages::Settings, String>| settings.map(Settings::Messages);
    let parsed = match Driver::parse(&log.driver)? {
        Driver::JsonFile | Driver::Local | Driver::None => return None,
        Driver::Awslogs => awslogs::Settings::parse(&log.options).map(Settings::Awslogs),
        Driver::Syslog => messages(Syslog::parse(&log.options).map(messages::Settings::Syslog)),
        Driver::Journald => messages(Tag::of(&log.options).map(messages::Settings::Journald)),
        Driver::Fluentd => messages(Fluentd::parse(&log.options).map(messages::Settings::Fluentd)),
        Driver::Awsfirelens => messages(Ok(messages::Settings::Firelens {
            directory: firelens::socket_directory(routers, &task.id),
            tag: firelens::tag(task, &container.name),
        })),
    };
    let invalid = |why| {
        let names: Vec<&str> = container.log_secrets.iter().map(|(name, _)| &**name).collect();
        // What is wrong would say the value.
        let why = match names.is_empty() {
            true => why,
            false => {
                format!("an option is invalid, maybe one of secretOptions: {}", names.join(", "))
            }
        };
        Failure::new(
            "ResourceInitializationError",
            format!("failed to validate logger args: {why}"),
        )
    };
    Some(parsed.map_err(invalid))
}

impl messages::Settings {
    /// What a container's messages say of it.
    fn subject(&self, task: &Task, container: &Container, id: &str, image_id: &str) -> Subject {
        let name = docker_name(task, &container.name);
        let names = Names { id, name: &name, image_id, image_name: &container.image };
        let tag = match self {
            Self::Syslog(options) => options.tag.render(&names),
            Self::Journald(tag) => tag.render(&names),
            Self::Fluentd(options) => options.tag.render(&names),
            Self::Firelens { tag, .. } => tag.clone(),
        };
        let (id, image_name) = (id.to_owned(), container.image.clone());
        Subject { id, name, image_name, tag }
    }
}

/// A container's log options as its metadata shows them: with its stream in place of the prefix.
pub(crate) fn shown(task: &Task, container: &Container) -> BTreeMap<String, String> {
    let mut options = container.log.options.clone();
    let is_awslogs = Driver::parse(&container.log.driver) == Some(Driver::Awslogs);
    let settings = is_awslogs.then(|| awslogs::Settings::parse(&options).ok()).flatten();
    if let Some(stream) = settings.and_then(|settings| settings.stream(task, &container.name)) {
        options.remove("awslogs-stream-prefix");
        options.insert("awslogs-stream".to_owned(), stream);
    }
    options
}

/// A task's values, tried for as long as somebody waits: an agent that was started again has to be
/// sent the role's credentials first.
async fn fetched(secrets: &Secrets, task: &Task) -> Arc<Values> {
    loop {
        match secrets.of(task).await {
            Ok(values) => return values,
            Err(failure) => {
                let why = failure.reason();
                tracing::warn!(task = %task.arn, %why, "logs wait for the options of their driver");
            }
        }
        tokio::time::sleep(FETCH_AGAIN).await;
    }
}

/// Why a container's driver doesn't begin.
fn not_begun(why: &str) -> Failure {
    Failure::new(
        "CannotStartContainerError",
        format!("Error response from daemon: failed to initialize logging driver: {why}"),
    )
}

impl Shipping {
    pub(crate) fn new(
        client: EcsClient,
        roles: ExecutionRoles,
        is_overridden: bool,
        shutdown: CancellationToken,
        routers: PathBuf,
    ) -> Self {
        let (tracker, entries) = (TaskTracker::new(), Mutex::default());
        let inner = Inner { client, roles, is_overridden, tracker, shutdown, routers, entries };
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

    fn settings(&self, task: &Task, container: &Container) -> Option<Result<Settings, Failure>> {
        settings(task, container, &self.inner.routers)
    }

    /// Makes the streams whose names are known before anything of the task is made: a missing group
    /// is told then.
    pub(crate) async fn prepare(&self, task: &Task, values: &Values) -> Result<(), Failure> {
        for container in &task.containers {
            let container = &values.with_log(container);
            let Some(settings) = self.settings(task, container) else { continue };
            let Settings::Awslogs(settings) = settings? else { continue };
            let Some(stream) = settings.stream(task, &container.name) else { continue };
            let made = awslogs::create(&self.caller(task), &settings, &stream).await;
            made.map_err(|error| {
                Failure::new(
                    "ResourceInitializationError",
                    format!(
                        "failed to validate logger args: create stream has been retried 1 times: \
                         failed to create Cloudwatch log stream: {} : exit status 1",
                        awslogs::said(&error)
                    ),
                )
            })?;
        }
        Ok(())
    }

    /// Begins with a container that was made, and that has the options of its log complete.
    pub(crate) async fn begin(
        &self,
        task: &Task,
        container: &Container,
        (runtime_id, image_id): (&str, &str),
        log: PathBuf,
    ) -> Result<(), Failure> {
        let Some(settings) = self.settings(task, container) else { return Ok(()) };
        let sink = match settings? {
            Settings::Awslogs(settings) => {
                let name = match settings.stream(task, &container.name) {
                    Some(name) => name,
                    None => {
                        let made = awslogs::create(&self.caller(task), &settings, runtime_id).await;
                        made.map_err(|error| {
                            let why = awslogs::said(&error);
                            not_begun(&format!("failed to create Cloudwatch log stream: {why}"))
                        })?;
                        runtime_id.to_owned()
                    }
                };
                self.stream(task, settings, name)
            }
            Settings::Messages(settings) => {
                let subject = settings.subject(task, container, runtime_id, image_id);
                let is_secret = !container.log_secrets.is_empty();
                let mut messages = Messages::new(settings, subject, is_secret);
                messages.probe().await.map_err(|why| not_begun(&why))?;
                Sink::Messages(Box::new(messages))
            }
        };
        self.ship(task, container, std::future::ready(sink), log);
        Ok(())
    }

    fn stream(&self, task: &Task, settings: awslogs::Settings, name: String) -> Sink {
        let caller = self.caller(task);
        Sink::Stream(Box::new(Stream { caller, settings, name }))
    }

    /// Goes on with what an earlier agent left. Options that come from secrets are fetched again
    /// before their receiver is made, whenever the role's credentials are back.
    pub(crate) fn resume(
        &self,
        secrets: &Secrets,
        machine: &Machine,
        log: impl Fn(&str) -> PathBuf,
    ) {
        let task = &machine.task;
        for (container, state) in machine.containers() {
            let is_shipped = Driver::parse(&container.log.driver).is_some_and(|driver| {
                !matches!(driver, Driver::JsonFile | Driver::Local | Driver::None)
            });
            let Some(id) = state.runtime_id.as_ref().filter(|_| is_shipped) else { continue };
            let log = log(&container.name);
            if cursor::Cursor::read(&log).is_done {
                continue;
            }
            let image_id = state.image_id.clone().unwrap_or_default();
            // A router's address is no option of the others.
            let has_secrets = !container.log_secrets.is_empty()
                && container.log.driver != Driver::Awsfirelens.as_str();
            if !has_secrets {
                let Some(sink) = self.sink_again(task, container, id, &image_id) else { continue };
                self.ship(task, container, std::future::ready(sink), log);
                continue;
            }
            let (shipping, secrets) = (self.clone(), secrets.clone());
            let (task_again, id) = (task.clone(), id.clone());
            let again = container.clone();
            let sink = async move {
                let values = fetched(&secrets, &task_again).await;
                let complete = values.with_log(&again);
                match shipping.sink_again(&task_again, &complete, &id, &image_id) {
                    Some(sink) => sink,
                    // The value was changed to one that means nothing: there is no receiver.
                    None => std::future::pending().await,
                }
            };
            self.ship(task, container, sink, log);
        }
        if machine.is_finished() {
            let all = task.containers.iter().map(|container| container.name.as_str()).collect();
            self.ended(task, &all);
        }
    }

    /// The receiver that a container's log went to before this agent.
    fn sink_again(
        &self,
        task: &Task,
        container: &Container,
        id: &str,
        image_id: &str,
    ) -> Option<Sink> {
        match self.settings(task, container)? {
            Ok(Settings::Awslogs(settings)) => {
                let name = settings.stream(task, &container.name);
                Some(self.stream(task, settings, name.unwrap_or_else(|| id.to_owned())))
            }
            Ok(Settings::Messages(settings)) => {
                let subject = settings.subject(task, container, id, image_id);
                let is_secret = !container.log_secrets.is_empty();
                Some(Sink::Messages(Box::new(Messages::new(settings, subject, is_secret))))
            }
            Err(failure) => {
                let why = failure.reason();
                tracing::warn!(task = %task.arn, container = %container.name, %why, "a log is lost");
                None
            }
        }
    }

    fn ship(
        &self,
        task: &Task,
        container: &Container,
        sink: impl Future<Output = Sink> + Send + 'static,
        log: PathBuf,
    ) {
        let key = (task.id.clone(), container.name.clone());
        let mut entries = locked(&self.inner.entries);
        if entries.contains_key(&key) {
            return;
        }
        let (ended, has_ended) = watch::channel(false);
        let (stages, stage) = watch::channel(Stage::Shipping);
        let stop = self.inner.shutdown.child_token();
        let patience = match Driver::parse(&container.log.driver) {
            Some(Driver::Awslogs) => Patience::Server,
            _ if container.log.is_blocking() => Patience::Receiver(BLOCKING_TIMEOUT),
            _ => Patience::Receiver(NON_BLOCKING_TIMEOUT),
        };
        entries.insert(key, Entry { stage, ended, stop: stop.clone(), patience });
        drop(entries);
        let ships = async move {
            let sink = sink.await;
            Shipper { sink, log, ended: has_ended, stages: Stages(stages) }.run().await;
        };
        self.inner.tracker.spawn(async move {
            tokio::select! {
                () = ships => {}
                () = stop.cancelled() => {}
            }
        });
    }

    /// Notes that containers have ended.
    fn ended(
        &self,
        task: &Task,
        names: &BTreeSet<&str>,
    ) -> Vec<(watch::Receiver<Stage>, Patience)> {
        let entries = locked(&self.inner.entries);
        let of_task = entries
            .iter()
            .filter(|((id, name), _)| *id == task.id && names.contains(name.as_str()));
        of_task
            .map(|(_, entry)| {
                entry.ended.send_replace(true);
                (entry.stage.clone(), entry.patience)
            })
            .collect()
    }

    /// Returns once all that the ended task wrote has arrived, or was waited for long enough: a
    /// server that can't be reached for ever, one that answers and takes nothing for a minute.
    pub(crate) async fn drained(&self, task: &Task) {
        let all = task.containers.iter().map(|container| container.name.as_str()).collect();
        let waits =
            self.ended(task, &all).into_iter().map(|(stage, patience)| done(stage, patience));
        if join_all(waits).await.contains(&false) {
            if self.inner.shutdown.is_cancelled() {
                // The agent is ending: the next one waits, and tells.
                std::future::pending::<()>().await;
            }
            tracing::warn!(task = %task.arn, "logs are late: the task's end is told before");
        }
    }

    /// Returns once a router has what these containers, which have ended, wrote through it; or
    /// after a while.
    pub(crate) async fn routed(&self, task: &Task, ended: &BTreeSet<&str>) {
        let through = task
            .containers
            .iter()
            .filter(|container| Driver::parse(&container.log.driver) == Some(Driver::Awsfirelens));
        let names = through.map(|container| container.name.as_str());
        let names = names.filter(|name| ended.contains(name)).collect();
        let all = async {
            for (stage, _) in self.ended(task, &names) {
                done(stage, Patience::Receiver(ROUTER_TIMEOUT)).await;
            }
        };
        if tokio::time::timeout(ROUTER_TIMEOUT, all).await.is_err() {
            tracing::warn!(task = %task.arn, "a log router stops before it has everything");
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

    /// Waits for the shippers after the shutdown was asked for.
    pub(crate) async fn close(&self) {
        self.inner.tracker.close();
        self.inner.tracker.wait().await;
    }
}

/// Whether everything has arrived; false once it was waited for long enough, or nobody ships it.
async fn done(mut stage: watch::Receiver<Stage>, patience: Patience) -> bool {
    let mut left = match patience {
        Patience::Server => BLOCKING_TIMEOUT,
        Patience::Receiver(left) => left,
    };
    loop {
        let now = *stage.borrow_and_update();
        let wait = match (now, patience) {
            (Stage::Done, _) => return true,
            (Stage::Unreachable, Patience::Server) => Duration::MAX,
            _ => left,
        };
        let since = std::time::Instant::now();
        match tokio::time::timeout(wait, stage.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return *stage.borrow() == Stage::Done,
        }
        if wait == left {
            left = left.saturating_sub(since.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_a_task_waits_only_so_long() {
        let patience = Patience::Receiver(Duration::from_millis(50));
        let (sender, stage) = watch::channel(Stage::Unreachable);
        assert!(!done(stage.clone(), patience).await);
        // News of a receiver that comes and goes make it no longer.
        let flapping = tokio::spawn(async move {
            loop {
                sender.send_replace(Stage::Shipping);
                tokio::time::sleep(Duration::from_millis(5)).await;
                sender.send_replace(Stage::Unreachable);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let waits = tokio::time::timeout(Duration::from_secs(10), done(stage.clone(), patience));
        assert!(!waits.await.unwrap());
        flapping.abort();
        let (sender, stage) = watch::channel(Stage::Shipping);
        let ended = tokio::spawn(done(stage.clone(), Patience::Receiver(BLOCKING_TIMEOUT)));
        sender.send_replace(Stage::Done);
        drop(sender);
        assert!(ended.await.unwrap());
        assert!(done(stage, Patience::Server).await);
    }
}
