//! Deployments that are being replaced, and what they keep up meanwhile.
//!
//! ECS replaces a task that ends or becomes unhealthy during a rolling update by a task of the
//! same revision, so that a new revision that doesn't start costs the service nothing of what it
//! has ("Amazon ECS improves service availability during rolling deployments", November 2025).
//! Only a deployment that was complete once is kept up: one that never was is what the new one is
//! to put an end to.

use super::reconcile::{Census, Step};
use std::time::Duration;
use wharf_model::{Deployment, Task};

/// A new task without a health check takes an old one's place once it has been RUNNING this long:
/// an image that ends as soon as it starts must not cost the service what works.
pub(super) const PROVEN_AFTER: Duration = Duration::from_secs(3);

/// A deployment that is kept up while it is being replaced.
#[derive(Debug)]
pub(super) struct Source {
    /// The deployment's id.
    pub(super) id: String,
    /// How many tasks it may have, given how many new ones have proven themselves.
    pub(super) target: usize,
    /// How many it has that may stay: neither unhealthy nor on a draining host.
    pub(super) stay: usize,
    /// How many it has lost that no healthy new one makes up for.
    lost: usize,
}

impl Step<'_> {
    /// The deployments that are kept up, the newest first.
    pub(super) fn sources(&self, census: &Census) -> Vec<Source> {
        let proven = census.keep.iter().filter(|t| self.is_proven(t)).count();
        let healthy = census.keep.iter().filter(|t| self.is_healthy(t)).count();
        let mut left = self.desired().saturating_sub(proven);
        let mut wanted = self.desired().saturating_sub(healthy);
        let mut sources = Vec::new();
        for deployment in self.service.deployments.iter().filter(|d| !d.primary) {
            let Some(count) = deployment.desired_count else { continue };
            let count = usize::try_from(count).unwrap_or(0);
            let (target, needed) = (count.min(left), count.min(wanted));
            left -= target;
            wanted -= needed;
            let of_it = |t: &&std::sync::Arc<Task>| t.started_by.as_ref() == Some(&deployment.id);
            let stay = census.outdated.iter().filter(of_it).filter(|t| !self.leaves(t)).count();
            let lost = needed.saturating_sub(stay);
            sources.push(Source { id: deployment.id.clone(), target, stay, lost });
        }
        sources
    }

    /// What is to be started, in this order: what the minimum needs of lost tasks, the primary's
    /// tasks, other lost ones.
    pub(super) fn missing(&self, census: &Census) -> Vec<(Deployment, usize)> {
        let sources = self.sources(census);
        let starts = |t: &&std::sync::Arc<Task>| {
            let kept_up = sources.iter().any(|s| t.started_by.as_ref() == Some(&s.id));
            kept_up && self.is_coming(t) && !self.leaves(t)
        };
        let starting = census.outdated.iter().filter(starts).count();
        let mut urgent = self.minimum().saturating_sub(census.healthy + starting);
        let mut missing = Vec::new();
        let deployment = |id: &String| self.service.deployments.iter().find(|d| d.id == *id);
        for source in &sources {
            let now = source.lost.min(urgent);
            urgent -= now;
            missing.extend(deployment(&source.id).map(|d| (d.clone(), now)));
        }
        let primary = self.service.primary_deployment().filter(|_| !self.is_failed());
        let new = self.desired().saturating_sub(census.keep.len());
        missing.extend(primary.map(|d| (d.clone(), new)));
        let lost = sources.iter().filter_map(|s| Some((deployment(&s.id)?.clone(), s.lost)));
        missing.extend(lost);
        missing.retain(|(_, count)| *count > 0);
        missing
    }

    /// True if the task makes way for one of its own revision.
    pub(super) fn leaves(&self, task: &Task) -> bool {
        self.counts_as_unhealthy(task) || self.drains(task)
    }

    /// Healthy by its checks; without any, RUNNING for [`PROVEN_AFTER`].
    pub(super) fn is_proven(&self, task: &Task) -> bool {
        let proven_at = task.started_at.map(|at| at.plus(PROVEN_AFTER));
        let settled = || proven_at.is_none_or(|at| at <= self.now);
        self.is_healthy(task) && (self.health(task).is_some() || settled())
    }

    /// The task gives way to the new deployment: nothing takes its place in its own.
    pub(super) fn give_up_place(&mut self, task: &Task) {
        if self.leaves(task) {
            return;
        }
        let of_task = |d: &&mut Deployment| !d.primary && task.started_by.as_ref() == Some(&d.id);
        if let Some(deployment) = self.service.deployments.iter_mut().find(of_task) {
            deployment.desired_count = deployment.desired_count.map(|n| (n - 1).max(0));
        }
    }
}
