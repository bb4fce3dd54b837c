//! Which running tasks go when there are too many.
//!
//! As ECS documents it, the strategy that placed the tasks also chooses those to stop, so that
//! the rest stays as the strategy would have it: spread takes from where most are, binpack from
//! the host that is emptiest. Without a strategy the service default spreads over Availability
//! Zones and then over instances. What is equal then goes by age, the newest first.

use super::reconcile::Step;
use crate::placement::{ScaleInStep, Strategy};
use std::collections::BTreeMap;
use std::sync::Arc;
use wharf_model::{ContainerInstance, Task};

struct Candidate<'a> {
    task: &'a Arc<Task>,
    instance: Option<&'a Arc<ContainerInstance>>,
    free_cpu: i64,
    free_memory: i64,
}

impl Candidate<'_> {
    /// What spread groups it by.
    fn bucket(&self, step: &ScaleInStep) -> Option<String> {
        match step {
            ScaleInStep::Attribute(name) => self.instance?.attribute_value(name).map(str::to_owned),
            _ => self.task.container_instance.as_ref().map(ToString::to_string),
        }
    }
}

impl Step<'_> {
    /// `count` of `tasks`, one after the other.
    pub(super) fn choose_victims(&self, tasks: &[Arc<Task>], count: usize) -> Vec<Arc<Task>> {
        let strategy = Strategy::parse_for_service(&self.service.placement_strategy)
            .unwrap_or_else(|_| Strategy::service_default());
        let steps = strategy.scale_in_steps();
        let mut left: Vec<Candidate<'_>> = tasks.iter().map(|t| self.candidate(t)).collect();
        left.sort_by(|a, b| (b.task.created_at, &b.task.id).cmp(&(a.task.created_at, &a.task.id)));
        let mut victims = Vec::with_capacity(count);
        for _ in 0..count.min(left.len()) {
            let chosen = best(&left, &steps);
            victims.push(Arc::clone(left.remove(chosen).task));
        }
        victims
    }

    fn candidate<'t>(&'t self, task: &'t Arc<Task>) -> Candidate<'t> {
        let key = task.container_instance_key();
        let instance = key.as_ref().and_then(|key| self.snapshot.container_instance(key));
        let usage = key.as_ref().map(|key| self.snapshot.usage(key));
        let free = |of: fn(&wharf_model::ResourceAmount) -> i64| {
            instance.zip(usage.as_ref()).map_or(0, |(i, u)| of(&i.registered) - of(&u.used))
        };
        Candidate { task, instance, free_cpu: free(|r| r.cpu), free_memory: free(|r| r.memory_mib) }
    }
}

/// The candidate that goes next: each step keeps those that it likes least.
fn best(left: &[Candidate<'_>], steps: &[ScaleInStep]) -> usize {
    let mut best: Vec<usize> = (0..left.len()).collect();
    for step in steps {
        let mut tasks: BTreeMap<Option<String>, i64> = BTreeMap::new();
        if matches!(step, ScaleInStep::Attribute(_) | ScaleInStep::Instance) {
            left.iter().for_each(|c| *tasks.entry(c.bucket(step)).or_default() += 1);
        }
        let weight = |n: usize| match step {
            ScaleInStep::Attribute(_) | ScaleInStep::Instance => tasks[&left[n].bucket(step)],
            ScaleInStep::FreeCpu => left[n].free_cpu,
            ScaleInStep::FreeMemory => left[n].free_memory,
            ScaleInStep::Any => 0,
        };
        let most = best.iter().map(|n| weight(*n)).max();
        best.retain(|n| Some(weight(*n)) == most);
    }
    best.first().copied().unwrap_or(0)
}
