//! One step of one service: what is there, what is wanted, in which order the parts decide.

use super::event::ServiceEvent;
use crate::connectivity::Connectivity;
use crate::placement::PlacementReport;
use crate::target_health::TargetHealthSource;
use crate::task;
use std::sync::Arc;
use wharf_model::container_instance::InstanceStatus;
use wharf_model::network::BuiltinVpc;
use wharf_model::service::{RolloutState, ServiceStatus};
use wharf_model::status::HealthStatus;
use wharf_model::{
    RecordKey, Service, ServiceKey, Snapshot, Task, TaskStatus, Timestamp, Transaction,
};

/// A service's next step.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ServicePlan {
    /// The change; empty if there is nothing to do.
    pub transaction: Transaction,
    /// What to tell, once the change holds. In the order in which it happened.
    pub events: Vec<ServiceEvent>,
    /// Reports of the placements tried.
    pub reports: Vec<PlacementReport>,
    /// When to look again even if nothing changes.
    pub wake_at: Option<Timestamp>,
}

/// A step while it is being decided.
pub(super) struct Step<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) connectivity: &'a dyn Connectivity,
    pub(super) target_health: &'a dyn TargetHealthSource,
    pub(super) vpc: &'a BuiltinVpc,
    pub(super) now: Timestamp,
    pub(super) seed: u64,
    /// The service as it will be.
    pub(super) service: Service,
    /// Its tasks that haven't stopped, by id.
    pub(super) live: Vec<Arc<Task>>,
    pub(super) transaction: Transaction,
    pub(super) events: Vec<ServiceEvent>,
    pub(super) reports: Vec<PlacementReport>,
    wake_at: Option<Timestamp>,
}

/// The service's tasks that are meant to run, by what is to become of them.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// Tasks of the primary deployment that may stay.
    pub(super) keep: Vec<Arc<Task>>,
    /// Tasks to be replaced: of older deployments, on draining hosts, unhealthy.
    pub(super) outdated: Vec<Arc<Task>>,
    /// Healthy ones, of both.
    pub(super) healthy: usize,
    /// Tasks that haven't stopped, those told to stop included.
    pub(super) live: usize,
}

/// Decides a service's next step. The same arguments give the same step; a service whose step is
/// empty has nothing to do until something changes or `wake_at` comes.
pub fn reconcile(
    snapshot: &Snapshot,
    connectivity: &dyn Connectivity,
    target_health: &dyn TargetHealthSource,
    key: &ServiceKey,
    vpc: &BuiltinVpc,
    now: Timestamp,
    seed: u64,
) -> ServicePlan {
    let Some(before) = snapshot.service(key) else { return ServicePlan::default() };
    let live = snapshot.service_tasks(key).filter(|t| !t.last_status.is_stopped());
    let mut step = Step {
        snapshot,
        connectivity,
        target_health,
        vpc,
        now,
        seed,
        service: Service::clone(before),
        live: live.cloned().collect(),
        transaction: Transaction::new(),
        events: Vec::new(),
        reports: Vec::new(),
        wake_at: None,
    };
    // A step that moves targets does that alone: the next one decides on what came of it.
    if step.move_targets() || step.waits_for_reports() {
        return step.finish(before);
    }
    match before.status {
        ServiceStatus::Inactive => {}
        ServiceStatus::Draining => step.drain(),
        ServiceStatus::Active => step.keep_up(),
    }
    step.finish(before)
}

impl Step<'_> {
    /// An ACTIVE service.
    fn keep_up(&mut self) {
        if self.advance_record() {
            return;
        }
        self.count_failures();
        self.forgive_failures();
        if self.check_breaker() {
            return;
        }
        let census = self.census();
        self.watch_grace(&census);
        let started = self.start(&census);
        let stopped = self.stop(&census, started);
        if started == 0 && stopped == 0 {
            self.judge_progress(&census);
        }
    }

    /// A deleted service: INACTIVE once its tasks are gone.
    fn drain(&mut self) {
        let wanted: Vec<Arc<Task>> = self.live.iter().filter(|t| t.is_wanted()).cloned().collect();
        let id = self.service.primary_deployment().map(|d| d.id.clone()).unwrap_or_default();
        let reason = format!("Scaling activity initiated by (deployment {id})");
        self.stop_tasks(&wanted, &reason);
        if self.live.is_empty() {
            self.end_service();
        }
    }

    /// Sorts the service's tasks.
    pub(super) fn census(&self) -> Census {
        let primary = self.service.primary_deployment().map(|d| d.id.as_str());
        let mut census = Census { live: self.live.len(), ..Census::default() };
        for task in self.live.iter().filter(|t| t.is_wanted()) {
            let unhealthy = self.counts_as_unhealthy(task);
            census.healthy += usize::from(self.is_healthy(task));
            let stays = task.started_by.as_deref() == primary && !unhealthy && !self.drains(task);
            if stays { &mut census.keep } else { &mut census.outdated }.push(Arc::clone(task));
        }
        census
    }

    /// RUNNING, and HEALTHY if its definition or a load balancer says how that is found out.
    pub(super) fn is_healthy(&self, task: &Task) -> bool {
        let healthy = matches!(self.health(task), None | Some(HealthStatus::Healthy));
        task.last_status == TaskStatus::Running && healthy
    }

    /// On its way to being healthy: starting, or checked and not known yet.
    pub(super) fn is_coming(&self, task: &Task) -> bool {
        let unknown = self.health(task) == Some(HealthStatus::Unknown);
        task.last_status.is_starting() || (task.last_status == TaskStatus::Running && unknown)
    }

    /// What the task's checks say, its containers' and its load balancers', if it has any.
    pub(super) fn health(&self, task: &Task) -> Option<HealthStatus> {
        let definition = self.snapshot.task_definition(&task.task_definition);
        let of_containers = task::health(task, definition.map(|definition| &**definition));
        task::worst(of_containers.into_iter().chain(self.health_of_targets(task)))
    }

    /// Unhealthy by its checks, and past the service's grace period.
    pub(super) fn counts_as_unhealthy(&self, task: &Task) -> bool {
        let past = self.grace_ends(task).is_some_and(|at| at <= self.now);
        past && self.health(task) == Some(HealthStatus::Unhealthy)
    }

    fn grace_ends(&self, task: &Task) -> Option<Timestamp> {
        let grace = self.service.health_check_grace_period_seconds.unwrap_or(0);
        let grace = std::time::Duration::from_secs(u64::try_from(grace).unwrap_or(0));
        task.started_at.map(|at| at.plus(grace))
    }

    /// Looks again when the grace period of an unhealthy task is over: nothing else would tell.
    fn watch_grace(&mut self, census: &Census) {
        let unhealthy = |t: &&Arc<Task>| self.health(t) == Some(HealthStatus::Unhealthy);
        let ends = census.keep.iter().filter(unhealthy).filter_map(|t| self.grace_ends(t));
        if let Some(first) = ends.filter(|at| *at > self.now).min() {
            self.wake(first);
        }
    }

    /// On a host that takes no new tasks.
    pub(super) fn drains(&self, task: &Task) -> bool {
        let instance = task.container_instance_key();
        let instance = instance.and_then(|key| self.snapshot.container_instance(&key));
        instance.is_none_or(|i| i.status != InstanceStatus::Active)
    }

    /// Tasks wanted.
    pub(super) fn desired(&self) -> usize {
        usize::try_from(self.service.desired_count).unwrap_or(0)
    }

    /// Most tasks that may be there at once: maximumPercent of the desired count, rounded down.
    pub(super) fn maximum(&self) -> usize {
        let percent = self.service.deployment_configuration.maximum_percent;
        self.desired() * usize::try_from(percent).unwrap_or(0) / 100
    }

    /// Fewest healthy tasks: minimumHealthyPercent of the desired count, rounded up.
    pub(super) fn minimum(&self) -> usize {
        let percent = self.service.deployment_configuration.minimum_healthy_percent;
        (self.desired() * usize::try_from(percent).unwrap_or(0)).div_ceil(100)
    }

    /// True if the primary deployment was given up.
    pub(super) fn is_failed(&self) -> bool {
        let primary = self.service.primary_deployment();
        primary.is_none_or(|d| d.rollout_state == RolloutState::Failed)
    }

    /// Asks to be called again at `at` or before.
    pub(super) fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |known| known.min(at)));
    }

    fn finish(mut self, before: &Service) -> ServicePlan {
        let key = RecordKey::Service(before.key());
        if self.service != *before {
            self.transaction.put(self.service);
        }
        if !self.transaction.is_empty() {
            self.transaction.read(key.clone(), self.snapshot.revision_of(&key));
        }
        ServicePlan {
            transaction: self.transaction,
            events: self.events,
            reports: self.reports,
            wake_at: self.wake_at,
        }
    }
}
