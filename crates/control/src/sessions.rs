//! Which agents are connected, and how their sessions are woken.
//!
//! An instance has at most one ACS session: the newest wins, and the old one is closed. A second
//! live session with the same instance is an event that an operator should see.

use crate::Options;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use wharf_journal::Next;
use wharf_model::{ContainerInstanceKey, Record, RecordKey, TaskId, Timestamp, Write};
use wharf_scheduler::Connectivity;

/// What an agent's own health checks last said (API `containerInstanceHealthStatus`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceHealth {
    /// `OK`, `IMPAIRED`, `INSUFFICIENT_DATA` or `INITIALIZING`.
    pub status: String,
    /// When it was reported.
    pub last_updated: Timestamp,
    /// When it last changed.
    pub last_changed: Timestamp,
}

/// One live ACS session.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    number: u64,
    changed: Arc<Changed>,
    /// A newer session has taken over, or the server stops.
    pub(crate) closed: CancellationToken,
}

/// What has changed of an instance's tasks since its session last looked.
#[derive(Debug, Default)]
struct Changed {
    wake: Notify,
    tasks: Mutex<ChangedTasks>,
}

/// Which tasks.
#[derive(Debug, Default)]
pub(crate) struct ChangedTasks {
    /// Any of them may have.
    pub(crate) all: bool,
    /// These have.
    pub(crate) ids: BTreeSet<TaskId>,
}

impl Session {
    /// Waits until something has changed. Cancelling it loses nothing.
    pub(crate) async fn changed(&self) {
        self.changed.wake.notified().await;
    }

    /// What has changed since the last call.
    pub(crate) fn take_changed(&self) -> ChangedTasks {
        std::mem::take(&mut *self.changed.tasks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn wake(&self, task: Option<TaskId>) {
        let mut tasks = self.changed.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        match task {
            Some(id) => drop(tasks.ids.insert(id)),
            None => tasks.all = true,
        }
        drop(tasks);
        self.changed.wake.notify_one();
    }
}

/// The registry of sessions: soft state, empty after a start.
pub struct Sessions {
    pub(crate) options: Options,
    live: Mutex<Registry>,
    /// Counts connections and disconnections: wakes those who wait for hosts.
    connectivity: watch::Sender<u64>,
    health: Mutex<BTreeMap<ContainerInstanceKey, InstanceHealth>>,
    stopping: CancellationToken,
}

#[derive(Default)]
struct Registry {
    next: u64,
    sessions: BTreeMap<ContainerInstanceKey, Session>,
}

impl Sessions {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            options,
            live: Mutex::default(),
            connectivity: watch::Sender::new(0),
            health: Mutex::default(),
            stopping: CancellationToken::new(),
        }
    }

    /// Cancelled when the server stops.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    fn registry(&self) -> std::sync::MutexGuard<'_, Registry> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the instance's agent last reported of its health.
    pub fn instance_health(&self, instance: &ContainerInstanceKey) -> Option<InstanceHealth> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).get(instance).cloned()
    }

    pub(crate) fn set_instance_health(&self, instance: &ContainerInstanceKey, status: &str) {
        let now = (self.options.clock)();
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let last_changed = match health.get(instance) {
            Some(old) if old.status == status => old.last_changed,
            _ => now,
        };
        let report = InstanceHealth { status: status.to_owned(), last_updated: now, last_changed };
        health.insert(instance.clone(), report);
    }

    /// Told whenever an agent connects or disconnects.
    pub(crate) fn connectivity(&self) -> watch::Receiver<u64> {
        self.connectivity.subscribe()
    }

    /// Registers a new session and closes the one before it.
    pub(crate) fn open(&self, instance: &ContainerInstanceKey) -> Session {
        let mut registry = self.registry();
        registry.next += 1;
        let session = Session {
            number: registry.next,
            changed: Arc::default(),
            closed: self.stopping.child_token(),
        };
        if let Some(old) = registry.sessions.insert(instance.clone(), session.clone()) {
            tracing::warn!(%instance, "a second session of this instance: the older one is closed");
            old.closed.cancel();
        }
        drop(registry);
        self.connectivity.send_modify(|n| *n += 1);
        session
    }

    /// Forgets a session that has ended, unless a newer one took its place.
    pub(crate) fn ended(&self, instance: &ContainerInstanceKey, session: &Session) {
        let mut registry = self.registry();
        if registry.sessions.get(instance).is_some_and(|s| s.number == session.number) {
            registry.sessions.remove(instance);
            drop(registry);
            self.connectivity.send_modify(|n| *n += 1);
        }
    }

    fn wake(&self, instance: &ContainerInstanceKey, task: Option<TaskId>) {
        if let Some(session) = self.registry().sessions.get(instance) {
            session.wake(task);
        }
    }

    fn wake_all(&self) {
        for session in self.registry().sessions.values() {
            session.wake(None);
        }
    }

    /// Wakes the sessions whose instances' tasks change, until `shutdown`.
    pub(crate) async fn run(&self, shutdown: CancellationToken) {
        let mut changes = self.options.store.changes();
        self.wake_all();
        loop {
            let next = tokio::select! {
                next = changes.next() => next,
                () = shutdown.cancelled() => break,
            };
            match next {
                Next::Change(change) if change.writes.iter().any(of_networks) => self.wake_all(),
                Next::Change(change) => {
                    for (instance, task) in change.writes.iter().filter_map(concerned) {
                        self.wake(&instance, task);
                    }
                }
                Next::Lagged => self.wake_all(),
                Next::Closed => break,
            }
        }
        self.stopping.cancel();
    }
}

impl Connectivity for Sessions {
    fn agent_connected(&self, instance: &ContainerInstanceKey) -> bool {
        self.registry().sessions.contains_key(instance)
    }
}

/// True for a write that every agent should hear of, by what it is told of networks and names.
fn of_networks(write: &Write) -> bool {
    matches!(
        write.key(),
        RecordKey::Vpc(_)
            | RecordKey::VpcSubnet(_)
            | RecordKey::SecurityGroup(_)
            | RecordKey::InternetGateway(_)
            | RecordKey::RouteTable(_)
            // Tasks find them by name, and their groups say who reaches whom.
            | RecordKey::LoadBalancer(_)
    )
}

/// The instance whose agent a write concerns, and the task if it concerns one alone.
fn concerned(write: &Write) -> Option<(ContainerInstanceKey, Option<TaskId>)> {
    match write {
        Write::Put(Record::Task(task)) => {
            Some((task.container_instance_key()?, Some(task.id.clone())))
        }
        Write::Put(Record::ContainerInstance(instance)) => Some((instance.key(), None)),
        Write::Delete(RecordKey::ContainerInstance(key)) => Some((key.clone(), None)),
        _ => None,
    }
}
