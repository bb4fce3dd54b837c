//! The deployment circuit breaker (ECS developer guide, "How the deployment circuit breaker
//! detects failures").

use super::reconcile::Step;
use super::rollback::{last_completed, rolling_back};
use wharf_model::service::{RolloutState, ServiceDeploymentStatus as Status};

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
        let record = self.primary_record();
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
        let (id, failures) = (primary.id.clone(), primary.failed_tasks);
        self.tell(&format!("(deployment {id}) deployment failed: tasks failed to start."));
        let Some(record) = record else { return true };
        // A rollback that fails too is the end.
        if record.status == Status::RollbackInProgress {
            self.update_record(&record.id, |r| {
                r.status = Status::RollbackFailed;
                r.finished_at = Some(now);
            });
            return true;
        }
        let to = last_completed(self.snapshot, &self.service, &record).filter(|_| rollback);
        if let Some(revision) = to {
            self.roll_back(revision, &record.id);
            let reason = |id: &str| {
                format!("ECS deployment circuit breaker: rolling back to deploymentId {id}.")
            };
            self.set_rollout_reason(reason);
        }
        self.update_record(&record.id, |r| {
            r.circuit_breaker_failures = failures;
            r.circuit_breaker_triggered = true;
            let reason = "Service deployment failed: the deployment circuit breaker was triggered.";
            r.status_reason = Some(reason.to_owned());
            match to {
                Some(revision) => {
                    let reason = "Service deployment rolled back because the circuit breaker \
                                  threshold was exceeded.";
                    rolling_back(r, reason, &revision.id, now);
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
}
