//! Which ends of tasks are failures, how failures throttle the next start, and when they are
//! forgiven.
//!
//! ECS counts a task as failed that never reached RUNNING or was stopped for its health. A task
//! whose essential container ends within [`SETTLED_AFTER`] of RUNNING counts too, so that a crash
//! loop is throttled and trips the circuit breaker even without a load balancer's health check.

use super::MAX_COUNTED;
use super::event::SEE;
use super::reconcile::Step;
use crate::task::UNASSUMABLE;
use std::sync::Arc;
use std::time::Duration;
use wharf_model::status::StopCode;
use wharf_model::{RecordKey, Task, Timestamp};

/// A task that ran this long has started well.
pub(super) const SETTLED_AFTER: Duration = Duration::from_secs(10);
/// `stoppedReason` of a task that was stopped for its health, in ECS's words.
pub(super) const UNHEALTHY: &str = "Task failed container health checks";
/// How `stoppedReason` begins for a task that was stopped for what a load balancer said of it.
pub(super) const UNHEALTHY_TARGET: &str = "Task failed ELB health checks in (target-group ";
/// Rounds of failures that are restarted at once.
const FREE_ROUNDS: u32 = 3;
/// The first wait, doubled with every further round.
const FIRST_WAIT: Duration = Duration::from_secs(10);
/// The longest wait (ECS developer guide, "Service throttle logic": 15 minutes).
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);

/// True if a stopped task's end is a failure of its deployment.
fn is_failure(task: &Task) -> bool {
    let ran = |at: Timestamp| task.stopped_at.unwrap_or(at).since(at);
    match task.stop_code {
        Some(StopCode::TaskFailedToStart) => true,
        Some(StopCode::EssentialContainerExited) => {
            task.started_at.is_none_or(|at| ran(at) < SETTLED_AFTER)
        }
        Some(StopCode::ServiceSchedulerInitiated) => {
            let reason = task.stopped_reason.as_deref().unwrap_or_default();
            reason == UNHEALTHY || reason.starts_with(UNHEALTHY_TARGET)
        }
        _ => false,
    }
}

/// The wait after this many rounds of failures in a row.
fn wait(rounds: u32) -> Duration {
    match rounds.checked_sub(FREE_ROUNDS + 1) {
        None => Duration::ZERO,
        Some(n) => FIRST_WAIT.saturating_mul(1 << n.min(10)).min(LONGEST_WAIT),
    }
}

impl Step<'_> {
    /// Counts the failures that haven't been counted yet towards their deployments, once each:
    /// the mark on the task is part of the same transaction.
    pub(super) fn count_failures(&mut self) {
        let key = self.service.key();
        let failed = self
            .snapshot
            .service_tasks(&key)
            .filter(|t| t.last_status.is_stopped() && !t.settled && is_failure(t));
        let failed: Vec<Arc<Task>> = failed.take(MAX_COUNTED).cloned().collect();
        let size = u32::try_from(self.service.desired_count).unwrap_or(1).max(1);
        for task in failed {
            let record = RecordKey::Task(task.key());
            self.transaction.read(record.clone(), self.snapshot.revision_of(&record));
            self.transaction.put(Task { settled: true, ..Task::clone(&task) });
            if let Some(reason) = task.stopped_reason.as_deref()
                && reason.starts_with(UNASSUMABLE)
            {
                self.tell_once(
                    "unassumable",
                    &format!("failed to launch a task with (error {reason})."),
                );
            }
            let of_task = |id: &String| Some(id) == task.started_by.as_ref();
            let deployments = &mut self.service.deployments;
            let Some(deployment) = deployments.iter_mut().find(|d| of_task(&d.id)) else {
                continue;
            };
            deployment.failed_tasks += 1;
            deployment.consecutive_failures += 1;
            let rounds = deployment.consecutive_failures.div_ceil(size);
            let next = task.stopped_at.unwrap_or(self.now).plus(wait(rounds));
            deployment.next_launch_at = deployment.next_launch_at.max(Some(next));
            deployment.updated_at = self.now;
            if deployment.primary && rounds > FREE_ROUNDS {
                let text = "is unable to consistently start tasks successfully.";
                self.tell_once("throttled", &format!("{text} {SEE}"));
            }
        }
    }

    /// A task of the primary deployment that was started after the last failure, is healthy and
    /// has settled forgives the failures.
    pub(super) fn forgive_failures(&mut self) {
        let Some(primary) = self.service.primary_deployment() else { return };
        let (id, since) = (primary.id.clone(), primary.next_launch_at);
        if primary.consecutive_failures == 0 {
            return;
        }
        let later = |t: &&Arc<Task>| {
            t.started_by.as_ref() == Some(&id)
                && self.is_healthy(t)
                && t.is_wanted()
                && Some(t.created_at) >= since
        };
        let started = self.live.iter().filter(later).filter_map(|t| t.started_at).min();
        let Some(settles) = started.map(|at| at.plus(SETTLED_AFTER)) else { return };
        if settles > self.now {
            self.wake(settles);
            return;
        }
        if let Some(primary) = self.service.deployments.iter_mut().find(|d| d.primary) {
            primary.failed_tasks = 0;
            primary.consecutive_failures = 0;
            primary.next_launch_at = None;
            self.resolved("throttled");
        }
    }
}
