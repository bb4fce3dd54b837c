//! Reconciles services: one loop over all of them, so that its placements never race each other.

use crate::history::{SERVICE_EVENT, SERVICE_REPORT};
use crate::sessions::Sessions;
use crate::{Balancers, Options, seed};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use wharf_journal::{Event, Next, StoreError};
use wharf_model::{
    ClusterName, IdSource, Record, RecordKey, Service, ServiceKey, Snapshot, Timestamp, Write,
};
use wharf_scheduler::service;

/// How soon a service is looked at again after its transaction could not be committed.
const RETRY: Duration = Duration::from_secs(1);
/// Every service is looked at this often even if nothing woke it.
const RESYNC: Duration = Duration::from_secs(60);

/// What decisions ask for that is no record.
pub(crate) struct SoftState {
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) balancers: Arc<Balancers>,
}

/// What must be looked at, and when.
#[derive(Default)]
struct Queue {
    ready: BTreeSet<ServiceKey>,
    timers: BTreeMap<ServiceKey, Timestamp>,
    /// The last placement report of each: one that says the same again is not remembered.
    reports: BTreeMap<ServiceKey, String>,
}

impl Queue {
    fn add_all(&mut self, snapshot: &Snapshot) {
        self.ready.extend(snapshot.all_services().map(|s| s.key()));
    }

    fn add_cluster(&mut self, snapshot: &Snapshot, cluster: &ClusterName) {
        self.ready.extend(snapshot.services(cluster).map(|s| s.key()));
    }

    /// Services whose tasks are targets in one of these groups, by the groups' ids.
    fn add_target_groups(&mut self, snapshot: &Snapshot, groups: &BTreeSet<String>) {
        if groups.is_empty() {
            return;
        }
        let uses = |service: &&Arc<Service>| {
            // What an older deployment uses stands in its revision.
            let older = || service.deployments.len() > 1;
            let mut balancers = service.load_balancers.iter();
            balancers.any(|b| groups.contains(b.target_group_id())) || older()
        };
        self.ready.extend(snapshot.all_services().filter(uses).map(|s| s.key()));
    }

    /// What a change gives reason to look at.
    fn add(&mut self, snapshot: &Snapshot, write: &Write) {
        match write {
            Write::Put(Record::Service(service)) => drop(self.ready.insert(service.key())),
            // A deployment that is to be stopped.
            Write::Put(Record::ServiceDeployment(d)) => drop(self.ready.insert(d.service.clone())),
            Write::Put(Record::Task(task)) => {
                if let Some(name) = task.service.clone() {
                    self.ready.insert(ServiceKey { cluster: task.cluster.clone(), name });
                }
                // A task that stopped has made room, which any service may have waited for.
                if task.last_status.is_stopped() {
                    self.add_cluster(snapshot, &task.cluster);
                }
            }
            Write::Put(Record::ContainerInstance(i)) => self.add_cluster(snapshot, &i.cluster),
            Write::Put(Record::Target(target)) => {
                self.add_target_groups(snapshot, &[target.key.target_group.clone()].into());
            }
            Write::Delete(RecordKey::Target(key)) => {
                self.add_target_groups(snapshot, &[key.target_group.clone()].into());
            }
            Write::Put(Record::TargetGroup(group)) => {
                self.add_target_groups(snapshot, &[group.id.clone()].into());
            }
            _ => {}
        }
    }

    /// Moves services whose time has come to the ready ones; returns the time of the next.
    fn due(&mut self, now: Timestamp) -> Option<Timestamp> {
        let due: Vec<ServiceKey> =
            self.timers.iter().filter(|(_, at)| **at <= now).map(|(k, _)| k.clone()).collect();
        for key in due {
            self.timers.remove(&key);
            self.ready.insert(key);
        }
        self.timers.values().min().copied()
    }
}

/// Runs until `shutdown`.
pub(crate) async fn run(options: Options, soft: SoftState, shutdown: CancellationToken) {
    let mut changes = options.store.changes();
    let mut connectivity = soft.sessions.connectivity();
    let mut reports = soft.balancers.reports();
    let mut resync = tokio::time::interval(RESYNC);
    let mut queue = Queue::default();
    loop {
        let next_timer = queue.due((options.clock)());
        if let Some(key) = queue.ready.pop_first() {
            let wake_at = reconcile(&options, &soft, &mut queue.reports, &key).await;
            queue.timers.extend(wake_at.map(|at| (key, at)));
            // Changes that came meanwhile are taken in before the next service.
            if queue.ready.is_empty() {
                tokio::task::yield_now().await;
            }
            continue;
        }
        let timer = async {
            match next_timer {
                Some(at) => tokio::time::sleep(at.since((options.clock)())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            next = changes.next() => match next {
                Next::Change(change) => {
                    let snapshot = options.store.snapshot();
                    change.writes.iter().for_each(|write| queue.add(&snapshot, write));
                }
                Next::Lagged => queue.add_all(&options.store.snapshot()),
                Next::Closed => return,
            },
            Ok(()) = connectivity.changed() => queue.add_all(&options.store.snapshot()),
            Ok(()) = reports.changed() => {
                let groups = soft.balancers.take_changed();
                queue.add_target_groups(&options.store.snapshot(), &groups);
            }
            _ = resync.tick() => queue.add_all(&options.store.snapshot()),
            () = timer => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// Decides and commits for one service; returns when it wants to be looked at again.
async fn reconcile(
    options: &Options,
    soft: &SoftState,
    known: &mut BTreeMap<ServiceKey, String>,
    key: &ServiceKey,
) -> Option<Timestamp> {
    let now = (options.clock)();
    let seed = seed();
    let snapshot = options.store.snapshot();
    let SoftState { sessions, balancers } = soft;
    let plan =
        service::reconcile(&snapshot, &**sessions, &**balancers, key, &options.vpc, now, seed);
    let changes = !plan.transaction.is_empty();
    if changes {
        match options.store.commit(plan.transaction).await {
            Ok(_) => {}
            // Somebody else was first: what was decided is void, decide again at once.
            Err(StoreError::Conflict { .. }) => return Some(now),
            Err(error) => {
                tracing::error!(service = %key, %error, "can't commit the service's next step");
                return Some(now.plus(RETRY));
            }
        }
    }
    let subject = options.arns.service(key);
    let mut ids = IdSource::new(seed.wrapping_add(1));
    let events = plan.events.into_iter().map(|event| {
        tracing::info!(service = %key, "{}", event.message);
        let payload = serde_json::json!({ "id": ids.uuid(), "message": event.message });
        Event::new(event.at.as_millis(), subject.clone(), SERVICE_EVENT, &payload)
    });
    options.history.record(events);
    if snapshot.service(key).is_none() {
        known.remove(key);
    }
    let reports = plan.reports.iter().filter_map(|report| {
        let subject = format!("{subject}#placement");
        let event = Event::new(now.as_millis(), subject, SERVICE_REPORT, report);
        let said = event.payload.get().to_owned();
        let changed = known.insert(key.clone(), said).as_deref() != Some(event.payload.get());
        changed.then_some(event)
    });
    options.history.record(reports);
    // A step taken may make the next one possible: the change that it made wakes the service.
    plan.wake_at
}
