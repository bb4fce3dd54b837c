//! Rolling back, for the circuit breaker and for StopServiceDeployment, and how a service
//! deployment's record moves: PENDING, IN_PROGRESS, ROLLBACK_REQUESTED, ROLLBACK_IN_PROGRESS and
//! the ends (ECS developer guide, "View service history using Amazon ECS service deployments").

use super::reconcile::Step;
use std::sync::Arc;
use wharf_model::service::{Rollback, RolloutState, ServiceDeploymentStatus as Status};
use wharf_model::{
    Deployment, RecordKey, Service, ServiceDeployment, ServiceRevision, Snapshot, Timestamp,
};

/// The revision that the circuit breaker rolls a deployment back to: of the last deployment that
/// was completed. None if there never was one; the deployment then stalls, as in ECS.
pub fn last_completed<'a>(
    snapshot: &'a Snapshot,
    service: &Service,
    given_up: &ServiceDeployment,
) -> Option<&'a Arc<ServiceRevision>> {
    let key = service.key();
    let there = service.deployments.iter().filter(|d| !d.primary && d.reached_steady_state);
    let there = there.map(|d| d.service_revision_id.clone()).next();
    let ended = |r: &Arc<ServiceDeployment>| match r.status {
        Status::Successful => Some((r.finished_at, r.target_revision_id.clone())),
        Status::RollbackSuccessful => {
            r.rollback.as_ref().map(|b| (r.finished_at, b.service_revision_id.clone()))
        }
        _ => None,
    };
    let records = snapshot.service_deployments(&key).filter(|r| r.created_at >= service.created_at);
    let before = records.filter_map(ended).filter(|(_, id)| *id != given_up.target_revision_id);
    let id = there.or_else(|| before.max().map(|(_, id)| id))?;
    snapshot.service_revision(&(key, id))
}

/// The revision that StopServiceDeployment rolls back to: "the previous service revision". Where
/// none was completed, the newest of those that the deployment replaces.
pub fn previous<'a>(
    snapshot: &'a Snapshot,
    service: &Service,
    stopped: &ServiceDeployment,
) -> Option<&'a Arc<ServiceRevision>> {
    let replaced = || {
        let id = stopped.source_revision_ids.first()?;
        snapshot.service_revision(&(service.key(), id.clone()))
    };
    last_completed(snapshot, service, stopped).or_else(replaced)
}

/// A primary deployment of `revision` without tasks yet.
pub fn deployment_of(
    revision: &ServiceRevision,
    service_deployment_id: &str,
    now: Timestamp,
) -> Deployment {
    let id = format!("ecs-svc/{}", revision.id);
    Deployment {
        rollout_state_reason: format!("ECS deployment {id} in progress."),
        id,
        primary: true,
        task_definition: revision.task_definition.clone(),
        service_revision_id: revision.id.clone(),
        service_deployment_id: service_deployment_id.to_owned(),
        created_at: now,
        updated_at: now,
        rollout_state: RolloutState::InProgress,
        failed_tasks: 0,
        consecutive_failures: 0,
        next_launch_at: None,
        reached_steady_state: false,
        desired_count: None,
    }
}

impl Step<'_> {
    /// Moves the primary's record on: a new deployment starts, one that is to be stopped is rolled
    /// back. True if it did: what follows is the next step's work.
    pub(super) fn advance_record(&mut self) -> bool {
        let now = self.now;
        let Some(record) = self.primary_record() else { return false };
        match record.status {
            Status::Pending => self.update_record(&record.id, |r| {
                r.status = Status::InProgress;
                r.started_at = Some(now);
            }),
            Status::RollbackRequested => {
                let Some(revision) = previous(self.snapshot, &self.service, &record) else {
                    return false;
                };
                if let Some(primary) = self.service.deployments.iter_mut().find(|d| d.primary) {
                    primary.rollout_state = RolloutState::Failed;
                    primary.rollout_state_reason =
                        format!("ECS deployment {} was stopped.", primary.id);
                    primary.updated_at = now;
                }
                let reason = "Service deployment rolled back because of a StopServiceDeployment \
                              request.";
                self.roll_back(revision, &record.id);
                let state = |id: &str| format!("ECS deployment {id} in progress.");
                self.set_rollout_reason(state);
                let id = revision.id.clone();
                self.update_record(&record.id, |r| rolling_back(r, reason, &id, now));
            }
            _ => return false,
        }
        true
    }

    /// The record of the primary's service deployment.
    pub(super) fn primary_record(&self) -> Option<Arc<ServiceDeployment>> {
        let id = self.service.primary_deployment()?.service_deployment_id.clone();
        self.snapshot.service_deployment(&(self.service.key(), id)).cloned()
    }

    /// Makes the deployment of `revision` the primary, as part of the service deployment that is
    /// given up: that one's record ends with the rollback. Its tasks, if it has any, go on.
    pub(super) fn roll_back(&mut self, revision: &ServiceRevision, record: &str) {
        let now = self.now;
        let service = &mut self.service;
        service.task_definition = revision.task_definition.clone();
        service.launch_type = revision.launch_type;
        service.capacity_provider_strategy = revision.capacity_provider_strategy.clone();
        service.platform_version.clone_from(&revision.platform_version);
        service.network_configuration.clone_from(&revision.network_configuration);
        service.load_balancers.clone_from(&revision.load_balancers);
        service.deployments.iter_mut().for_each(|d| d.primary = false);
        let place = service.deployments.iter().position(|d| d.service_revision_id == revision.id);
        let mut target = match place {
            Some(place) => service.deployments.remove(place),
            None => deployment_of(revision, record, now),
        };
        target.primary = true;
        target.desired_count = None;
        target.rollout_state = RolloutState::InProgress;
        target.failed_tasks = 0;
        target.consecutive_failures = 0;
        target.next_launch_at = None;
        target.updated_at = now;
        record.clone_into(&mut target.service_deployment_id);
        let id = target.id.clone();
        service.deployments.insert(0, target);
        self.tell(&format!("rolling back to deployment {id}."));
        self.resolved("throttled");
    }

    /// Sets the primary's rolloutStateReason.
    pub(super) fn set_rollout_reason(&mut self, reason: impl Fn(&str) -> String) {
        if let Some(primary) = self.service.deployments.iter_mut().find(|d| d.primary) {
            primary.rollout_state_reason = reason(&primary.id);
        }
    }

    /// Changes a service deployment's record, if it is still there.
    pub(super) fn update_record(&mut self, id: &str, change: impl FnOnce(&mut ServiceDeployment)) {
        let key = (self.service.key(), id.to_owned());
        let Some(record) = self.snapshot.service_deployment(&key) else { return };
        let mut record = ServiceDeployment::clone(record);
        change(&mut record);
        record.updated_at = self.now;
        let key = RecordKey::ServiceDeployment(key);
        self.transaction.read(key.clone(), self.snapshot.revision_of(&key));
        self.transaction.put(record);
    }
}

/// ROLLBACK_IN_PROGRESS, to the revision of this id.
pub(super) fn rolling_back(
    record: &mut ServiceDeployment,
    reason: &str,
    revision: &str,
    now: Timestamp,
) {
    record.status = Status::RollbackInProgress;
    record.rollback = Some(Rollback {
        reason: reason.to_owned(),
        started_at: now,
        service_revision_id: revision.to_owned(),
    });
}
