//! The deployment circuit breaker (ECS developer guide, "How the deployment circuit breaker
//! detects failures"), and the records of service deployments.

use super::reconcile::Step;
use wharf_model::service::{Rollback, RolloutState, ServiceDeploymentStatus as Status};
use wharf_model::{RecordKey, ServiceDeployment};

/// Fewest failures that open the breaker.
const FEWEST: i32 = 3;
/// Most failures that it takes to open it.
const MOST: i32 = 200;

/// Failures that open the breaker: half the desired count rounded up, at least 3, at most 200.
pub(super) fn threshold(desired_count: i32) -> i32 {
    (desired_count.saturating_add(1) / 2).clamp(FEWEST, MOST)
}

impl Step<'_> {
    /// Gives the primary deployment up if too many of its tasks failed, and rolls back if asked;
    /// true if it did. What follows is the next step's work, which sees the records as written.
    pub(super) fn check_breaker(&mut self) -> bool {
        let configuration = &self.service.deployment_configuration;
        let (enabled, rollback) =
            (configuration.circuit_breaker_enable, configuration.circuit_breaker_rollback);
        let limit = threshold(self.service.desired_count);
        let now = self.now;
        let Some(primary) = self.service.deployments.iter_mut().find(|d| d.primary) else {
            return false;
        };
        let in_progress = primary.rollout_state == RolloutState::InProgress;
        if !enabled || !in_progress || primary.failed_tasks < limit {
            return false;
        }
        primary.rollout_state = RolloutState::Failed;
        primary.rollout_state_reason =
            "ECS deployment circuit breaker: tasks failed to start.".to_owned();
        primary.updated_at = now;
        let (id, record, failures) =
            (primary.id.clone(), primary.service_deployment_id.clone(), primary.failed_tasks);
        self.tell(&format!("(deployment {id}) deployment failed: tasks failed to start."));
        // A rollback that fails too is the end.
        if self.update_rolling_back(Status::RollbackFailed) {
            return true;
        }
        let back = rollback.then(|| self.roll_back()).flatten();
        self.update_record(&record, |r| {
            r.circuit_breaker_failures = failures;
            r.circuit_breaker_triggered = true;
            let reason = "Service deployment failed: the deployment circuit breaker was triggered.";
            r.status_reason = Some(reason.to_owned());
            match back {
                Some(service_revision_id) => {
                    r.status = Status::RollbackInProgress;
                    let reason = "Service deployment rolled back because the circuit breaker \
                                  threshold was exceeded.";
                    let reason = reason.to_owned();
                    r.rollback = Some(Rollback { reason, started_at: now, service_revision_id });
                }
                None => {
                    r.status = Status::Stopped;
                    r.stopped_at = Some(now);
                    r.finished_at = Some(now);
                }
            }
        });
        true
    }

    /// Makes the last completed deployment the primary again; returns its revision. Nothing
    /// happens if there is none: the deployment then stalls, as in ECS.
    fn roll_back(&mut self) -> Option<String> {
        let now = self.now;
        let key = self.service.key();
        let completed = |d: &wharf_model::Deployment| !d.primary && d.reached_steady_state;
        let position = self.service.deployments.iter().position(completed)?;
        let mut target = self.service.deployments.remove(position);
        self.service.deployments.iter_mut().for_each(|d| d.primary = false);
        let text =
            format!("ECS deployment circuit breaker: rolling back to deploymentId {}.", target.id);
        target.primary = true;
        target.rollout_state = RolloutState::InProgress;
        target.rollout_state_reason = text;
        target.failed_tasks = 0;
        target.consecutive_failures = 0;
        target.next_launch_at = None;
        target.updated_at = now;
        self.service.task_definition = target.task_definition.clone();
        let revision = target.service_revision_id.clone();
        if let Some(frozen) = self.snapshot.service_revision(&(key, revision.clone())) {
            self.service.launch_type = frozen.launch_type;
            self.service.capacity_provider_strategy = frozen.capacity_provider_strategy.clone();
            self.service.platform_version.clone_from(&frozen.platform_version);
            self.service.network_configuration.clone_from(&frozen.network_configuration);
        }
        self.tell(&format!("rolling back to deployment {}.", target.id));
        self.service.deployments.insert(0, target);
        self.resolved("throttled");
        Some(revision)
    }

    /// Ends the record of a deployment that is being rolled back; false if there is none.
    pub(super) fn update_rolling_back(&mut self, status: Status) -> bool {
        let key = self.service.key();
        let mut records = self.snapshot.service_deployments(&key);
        let Some(id) =
            records.find(|r| r.status == Status::RollbackInProgress).map(|r| r.id.clone())
        else {
            return false;
        };
        let now = self.now;
        self.update_record(&id, |r| {
            r.status = status;
            r.finished_at = Some(now);
        });
        true
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
