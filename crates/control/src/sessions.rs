//! Which agents are connected, and how their sessions are woken.
//!
//! An instance has at most one ACS session: the newest wins, and the old one is closed. A second
//! live session with the same instance is an event that an operator should see.

use crate::Options;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use wharf_journal::Next;
use wharf_model::{ContainerInstanceKey, Record, RecordKey, Timestamp, Write};
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
    /// Something about the instance's tasks has changed.
    pub(crate) wake: Arc<Notify>,
    /// A newer session has taken over, or the server stops.
    pub(crate) closed: CancellationToken,
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
            wake: Arc::new(Notify::new()),
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

    fn wake(&self, instance: &ContainerInstanceKey) {
        if let Some(session) = self.registry().sessions.get(instance) {
            session.wake.notify_one();
        }
    }

    fn wake_all(&self) {
        for session in self.registry().sessions.values() {
            session.wake.notify_one();
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
                Next::Change(change) => {
                    for instance in change.writes.iter().filter_map(instance_of) {
                        self.wake(&instance);
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

/// The instance whose agent a write concerns.
fn instance_of(write: &Write) -> Option<ContainerInstanceKey> {
    match write {
        Write::Put(Record::Task(task)) => task.container_instance_key(),
        Write::Put(Record::ContainerInstance(instance)) => Some(instance.key()),
        Write::Delete(RecordKey::ContainerInstance(key)) => Some(key.clone()),
        _ => None,
    }
}
