//! Steady state, completed deployments, and older ones that are through.

use super::reconcile::{Census, Step};
use wharf_model::service::{RolloutState, ServiceDeploymentStatus as Status};

impl Step<'_> {
    /// Judges a service in which there was nothing to start and nothing to stop.
    pub(super) fn judge_progress(&mut self, census: &Census) {
        let healthy = census.keep.iter().filter(|t| self.is_healthy(t)).count();
        let steady = !self.is_failed()
            && census.outdated.is_empty()
            && healthy == self.desired()
            && census.keep.len() == healthy
            && !self.older_tasks_live();
        if !steady {
            self.resolved("steady");
            self.remove_older();
            return;
        }
        self.complete();
        self.remove_older();
        self.resolved("blocked");
        self.tell_once("steady", "has reached a steady state.");
    }

    /// True while a task of an older deployment hasn't stopped.
    fn older_tasks_live(&self) -> bool {
        let primary = self.service.primary_deployment().map(|d| &d.id);
        self.live.iter().any(|t| t.started_by.as_ref() != primary)
    }

    fn complete(&mut self) {
        let now = self.now;
        let Some(primary) = self.service.deployments.iter_mut().find(|d| d.primary) else {
            return;
        };
        if primary.rollout_state != RolloutState::InProgress {
            return;
        }
        primary.rollout_state = RolloutState::Completed;
        primary.rollout_state_reason = format!("ECS deployment {} completed.", primary.id);
        primary.reached_steady_state = true;
        primary.desired_count = None;
        primary.failed_tasks = 0;
        primary.updated_at = now;
        let (id, record) = (primary.id.clone(), primary.service_deployment_id.clone());
        self.update_record(&record, |r| {
            r.status = match r.status {
                Status::RollbackInProgress => Status::RollbackSuccessful,
                _ => Status::Successful,
            };
            r.finished_at = Some(now);
        });
        self.tell(&format!("(deployment {id}) deployment completed."));
    }

    /// Older deployments go with their last task. Until the primary is completed, one that is kept
    /// up stays, and so does the last completed one if there may be a rollback.
    fn remove_older(&mut self) {
        let completed = self
            .service
            .primary_deployment()
            .is_some_and(|d| d.rollout_state == RolloutState::Completed);
        let mut for_rollback =
            !completed && self.service.deployment_configuration.circuit_breaker_rollback;
        let live = &self.live;
        self.service.deployments.retain(|d| {
            let has_tasks = live.iter().any(|t| t.started_by.as_ref() == Some(&d.id));
            let last_completed = for_rollback && !d.primary && d.reached_steady_state;
            if last_completed {
                for_rollback = false;
            }
            let kept_up = !completed && d.desired_count.is_some_and(|n| n > 0);
            d.primary || has_tasks || last_completed || kept_up
        });
    }
}
