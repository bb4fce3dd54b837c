//! Placement: which container instances get the tasks.
//!
//! As ECS documents it: first the instances that meet the task's requirements (status, agent,
//! attributes), then those that satisfy the constraints, then those with the resources, and of
//! these the ones that the strategy ranks first. The cost of one task is linear in the hosts and
//! independent of the tasks already placed: usage comes from the snapshot's index.

mod constraint;
mod host;
mod report;
mod strategy;

pub use constraint::{Constraints, Error as ConstraintError};
pub use report::{Failure, FailureReason, HostReport, PlacementReport, Verdict};
pub(crate) use strategy::ScaleInStep;
pub use strategy::{Error as StrategyError, Strategy};

use crate::connectivity::Connectivity;
use host::Host;
use std::sync::Arc;
use wharf_model::container_instance::InstanceStatus;
use wharf_model::cql::Facts;
use wharf_model::{
    ClusterName, ContainerInstance, ContainerInstanceKey, IdSource, ResourceAmount, Snapshot,
    TaskDefinition,
};

/// What is to be placed.
#[derive(Debug, Clone, Copy)]
pub struct PlacementRequest<'a> {
    /// The cluster.
    pub cluster: &'a ClusterName,
    /// What the tasks run: required attributes, architecture.
    pub task_definition: &'a TaskDefinition,
    /// What one task takes: [`TaskDefinition::resources`].
    pub resources: &'a ResourceAmount,
    /// How many tasks.
    pub count: usize,
    /// Their group: spread and distinctInstance count its tasks.
    pub group: &'a str,
    /// The task definition's constraints and the caller's together.
    pub constraints: &'a Constraints,
    /// How hosts are ranked.
    pub strategy: &'a Strategy,
}

/// Where the tasks go.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Placement {
    /// One instance a placed task, in the order of placement; fewer than asked for if room ran out.
    pub assignments: Vec<ContainerInstanceKey>,
    /// Why.
    pub report: PlacementReport,
}

/// Places tasks onto the cluster's hosts. The same arguments give the same answer.
pub fn place(
    snapshot: &Snapshot,
    connectivity: &dyn Connectivity,
    request: &PlacementRequest<'_>,
    seed: u64,
) -> Placement {
    let instances = snapshot.container_instances(request.cluster);
    let mut hosts: Vec<Host> =
        instances.map(|i| examine(snapshot, connectivity, request, i)).collect();
    let mut ranking = strategy::Ranking::new(request.strategy, &hosts, IdSource::new(seed));
    let mut assignments = Vec::with_capacity(request.count);
    for _ in 0..request.count {
        let Some(chosen) = ranking.best(&hosts) else { break };
        hosts[chosen].take(request);
        ranking.placed_on(chosen);
        assignments.push(hosts[chosen].instance.key());
    }
    let report = PlacementReport {
        requested: request.count,
        placed: assignments.len(),
        strategy: request.strategy.steps(),
        hosts: hosts
            .iter()
            .enumerate()
            .map(|(n, h)| h.report(ranking.scores(n, h), request.count > assignments.len()))
            .collect(),
    };
    Placement { assignments, report }
}

/// Checks one named instance for one task, as StartTask does: no strategy, no constraints but the
/// task definition's, and an instance that is DRAINING is taken too.
pub fn check_instance(
    snapshot: &Snapshot,
    connectivity: &dyn Connectivity,
    request: &PlacementRequest<'_>,
    instance: &Arc<ContainerInstance>,
    already: &ResourceAmount,
) -> Verdict {
    let mut host = if instance.status == InstanceStatus::Inactive {
        examine(snapshot, connectivity, request, instance)
    } else {
        examine_open(snapshot, connectivity, request, instance)
    };
    host.reserve(already);
    host.refused.clone().or_else(|| host.exhausted(request.resources)).unwrap_or(Verdict::Fits)
}

fn examine(
    snapshot: &Snapshot,
    connectivity: &dyn Connectivity,
    request: &PlacementRequest<'_>,
    instance: &Arc<ContainerInstance>,
) -> Host {
    let mut host = examine_open(snapshot, connectivity, request, instance);
    match instance.status {
        InstanceStatus::Inactive => host.refused = Some(Verdict::Inactive),
        InstanceStatus::Draining => host.refused = Some(Verdict::Draining),
        InstanceStatus::Active => {}
    }
    host
}

/// Everything but the instance's status.
fn examine_open(
    snapshot: &Snapshot,
    connectivity: &dyn Connectivity,
    request: &PlacementRequest<'_>,
    instance: &Arc<ContainerInstance>,
) -> Host {
    let key = instance.key();
    let usage = snapshot.usage(&key);
    let mut host = Host::new(instance, &usage, request.group);
    let agent_connected = connectivity.agent_connected(&key);
    let facts = Facts { snapshot, instance, usage: &usage, agent_connected };
    if !agent_connected {
        host.refused = Some(Verdict::AgentDisconnected);
    } else if let Some(attribute) = constraint::missing_attribute(request.task_definition, instance)
    {
        host.refused = Some(Verdict::MissingAttribute { attribute });
    } else if let Some(expression) = request.constraints.broken_by(&facts) {
        host.refused = Some(Verdict::MemberOf { expression });
    } else {
        host.refuse_if_full(request);
    }
    host
}

#[cfg(test)]
mod tests;
