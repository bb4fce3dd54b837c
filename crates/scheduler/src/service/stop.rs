//! Stopping tasks: what is too many, what is outdated, what is unhealthy.

use super::MAX_STOPPED;
use super::event::task_list;
use super::failure::{UNHEALTHY, UNHEALTHY_TARGET};
use super::reconcile::{Census, Step};
use super::source::PROVEN_AFTER;
use crate::task;
use std::collections::BTreeMap;
use std::sync::Arc;
use wharf_model::service::{ServiceDeploymentStatus as Status, ServiceStatus};
use wharf_model::status::StopCode;
use wharf_model::{RecordKey, Task, TaskId, TaskStatus};

impl Step<'_> {
    /// Stops what may be stopped; returns how many.
    pub(super) fn stop(&mut self, census: &Census, started: usize) -> usize {
        let id = self.service.primary_deployment().map(|d| d.id.clone()).unwrap_or_default();
        let reason = format!("Scaling activity initiated by (deployment {id})");
        let surplus = self.surplus(census);
        let healthy = surplus.iter().filter(|t| self.is_healthy(t)).count();
        let healthy_left = census.healthy.saturating_sub(healthy);
        let sick: Vec<Arc<Task>> = self.sick(census, started);
        let unproven = if census.outdated.is_empty() { 0 } else { self.unproven(census) };
        let spare = healthy_left.saturating_sub(self.minimum()).saturating_sub(unproven);
        let mut victims = surplus;
        victims.extend(self.replaceable(census, spare));
        let stopped = self.stop_tasks(&victims, &reason);
        victims.iter().take(stopped).for_each(|task| self.give_up_place(task));
        let stopped = stopped + self.stop_sick(&sick);
        if stopped == 0 && started == 0 {
            self.check_blocked(census);
        }
        stopped
    }

    /// How many of the new tasks are healthy and haven't proven it yet: nothing is stopped in
    /// favour of them.
    fn unproven(&mut self, census: &Census) -> usize {
        let unproven = |t: &&Arc<Task>| self.is_healthy(t) && !self.is_proven(t);
        let waiting: Vec<_> = census.keep.iter().filter(unproven).collect();
        let first = waiting.iter().filter_map(|t| t.started_at).min();
        let count = waiting.len();
        if let Some(first) = first {
            self.wake(first.plus(PROVEN_AFTER));
        }
        count
    }

    /// Tasks of the primary deployment beyond the desired count: those that aren't healthy yet
    /// first, then by the strategy. Protected tasks stay.
    fn surplus(&self, census: &Census) -> Vec<Arc<Task>> {
        let count = census.keep.len().saturating_sub(self.desired());
        if count == 0 {
            return Vec::new();
        }
        let free = |t: &&Arc<Task>| !self.service.protects(&t.id, self.now);
        let (healthy, others): (Vec<_>, Vec<_>) =
            census.keep.iter().filter(free).cloned().partition(|t| self.is_healthy(t));
        let mut victims: Vec<Arc<Task>> = others;
        // The newest first: what has waited longest starts soonest.
        victims.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
        victims.truncate(count);
        let more = count - victims.len();
        // Never below the minimum by this step's own doing.
        let more = more.min(census.healthy.saturating_sub(self.minimum()));
        victims.extend(self.choose_victims(&healthy, more));
        victims
    }

    /// Outdated tasks that may go: those that aren't healthy yet and that no older deployment keeps up,
    /// and as many healthy ones as the minimum spares; those on draining hosts first, then those
    /// of deployments that were never complete, then the oldest.
    fn replaceable(&self, census: &Census, mut spare: usize) -> Vec<Arc<Task>> {
        // Nothing takes the place of what a failed deployment was to replace; hosts drain all the
        // same.
        let failed = self.is_failed();
        let mut outdated: Vec<&Arc<Task>> = census
            .outdated
            .iter()
            .filter(|t| !failed || self.drains(t))
            .filter(|t| !self.counts_as_unhealthy(t))
            .filter(|t| !self.service.protects(&t.id, self.now) || self.drains(t))
            .collect();
        let mut sources = self.sources(census);
        let is_kept = |t: &Task| sources.iter().any(|s| t.started_by.as_ref() == Some(&s.id));
        outdated.sort_by_key(|t| (!self.drains(t), is_kept(t), t.created_at, t.id.clone()));
        let mut chosen = Vec::new();
        for task in outdated {
            if !self.is_healthy(task) {
                let of_task = sources.iter_mut().find(|s| task.started_by.as_ref() == Some(&s.id));
                match of_task.filter(|_| !self.drains(task)) {
                    Some(source) if source.stay <= source.target => continue,
                    Some(source) => source.stay -= 1,
                    None => {}
                }
                chosen.push(Arc::clone(task));
            } else if spare > 0 {
                spare -= 1;
                chosen.push(Arc::clone(task));
            }
        }
        chosen
    }

    /// Unhealthy tasks that may go. ECS starts the replacement first where maximumPercent allows
    /// it: they stay until enough others are healthy. Where there is no room for a replacement they
    /// go one at a time.
    fn sick(&self, census: &Census, started: usize) -> Vec<Arc<Task>> {
        let sick = census.outdated.iter().filter(|t| self.counts_as_unhealthy(t));
        let replaced = census.healthy >= self.desired();
        let no_room = started == 0 && census.live >= self.maximum();
        let sick = sick.filter(|t| !self.service.protects(&t.id, self.now));
        let none_stops = census.live == census.keep.len() + census.outdated.len();
        match (replaced, no_room && none_stops) {
            (true, _) => sick.cloned().collect(),
            (false, true) => sick.take(1).cloned().collect(),
            (false, false) => Vec::new(),
        }
    }

    fn stop_sick(&mut self, sick: &[Arc<Task>]) -> usize {
        let mut by_reason: BTreeMap<String, Vec<Arc<Task>>> = BTreeMap::new();
        for task in sick.iter().take(MAX_STOPPED) {
            let reason = match self.tell_of_unhealthy_targets(task) {
                Some(target_group) => format!("{UNHEALTHY_TARGET}{target_group})"),
                None => {
                    self.tell(&format!("(task {}) failed container health checks.", task.id));
                    UNHEALTHY.to_owned()
                }
            };
            by_reason.entry(reason).or_default().push(Arc::clone(task));
        }
        by_reason.iter().map(|(reason, tasks)| self.stop_tasks(tasks, reason)).sum()
    }

    /// Tells tasks to stop, as many as one step may, and tells of it; returns how many.
    pub(super) fn stop_tasks(&mut self, tasks: &[Arc<Task>], reason: &str) -> usize {
        let code = StopCode::ServiceSchedulerInitiated;
        let tasks = &tasks[..tasks.len().min(MAX_STOPPED)];
        for before in tasks {
            let key = RecordKey::Task(before.key());
            self.transaction.read(key.clone(), self.snapshot.revision_of(&key));
            self.transaction.put(task::stopped(before, code, reason, self.now));
        }
        let ids = |running: bool| -> Vec<&TaskId> {
            let is = |t: &&Arc<Task>| (t.last_status >= TaskStatus::Running) == running;
            tasks.iter().filter(is).map(|t| &t.id).collect()
        };
        for (ids, state) in [(ids(true), "running"), (ids(false), "pending")] {
            if !ids.is_empty() {
                let (count, list) = (ids.len(), task_list(ids));
                self.tell(&format!("has stopped {count} {state} tasks: {list}."));
            }
        }
        if !tasks.is_empty() {
            self.resolved("steady");
            self.resolved("blocked");
        }
        tasks.len()
    }

    /// Says so if the deployment configuration allows neither a start nor a stop.
    fn check_blocked(&mut self, census: &Census) {
        let wanted = census.keep.len() + census.outdated.len();
        let missing = census.keep.len() < self.desired();
        let settled = census.healthy == wanted && census.live == wanted;
        let full = census.live >= self.maximum();
        if missing && settled && full && !census.outdated.is_empty() && !self.is_failed() {
            self.tell_once(
                "blocked",
                "was unable to stop or start tasks during a deployment because of the service \
                 deployment configuration. Update the minimumHealthyPercent or maximumPercent \
                 value and try again.",
            );
        }
    }

    /// A deleted service whose tasks are gone.
    pub(super) fn end_service(&mut self) {
        let now = self.now;
        self.service.status = ServiceStatus::Inactive;
        self.service.deleted_at = Some(now);
        self.service.reported.clear();
        self.transaction.extend(crate::express::removed(self.snapshot, &self.service));
        let key = self.service.key();
        let open = |s: Status| {
            matches!(
                s,
                Status::Pending
                    | Status::InProgress
                    | Status::StopRequested
                    | Status::RollbackRequested
                    | Status::RollbackInProgress
            )
        };
        let records = self.snapshot.service_deployments(&key).filter(|r| open(r.status));
        let ids: Vec<String> = records.map(|r| r.id.clone()).collect();
        for id in ids {
            self.update_record(&id, |r| {
                r.status = Status::Stopped;
                r.status_reason = Some("The service was deleted.".to_owned());
                r.stopped_at = Some(now);
                r.finished_at = Some(now);
            });
        }
    }
}
