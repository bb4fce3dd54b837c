//! `dependsOn`: the other container exists, the condition can come true, nothing goes in circles.

use super::Error;
use std::collections::BTreeSet;
use wharf_model::ContainerDefinition;
use wharf_model::task_definition::{ContainerCondition, ContainerDependency};
use wharf_wire::ecs::types;

/// One container's dependencies, each for itself.
pub(super) fn parse(
    sent: &[types::ContainerDependency],
) -> Result<Vec<ContainerDependency>, Error> {
    let one = |sent: &types::ContainerDependency| {
        let container_name = sent
            .container_name
            .clone()
            .filter(|name| !name.is_empty())
            .ok_or(Error::Required("ContainerDependency.containerName"))?;
        let condition = match sent.condition {
            Some(types::ContainerCondition::Start) => ContainerCondition::Start,
            Some(types::ContainerCondition::Complete) => ContainerCondition::Complete,
            Some(types::ContainerCondition::Success) => ContainerCondition::Success,
            Some(types::ContainerCondition::Healthy) => ContainerCondition::Healthy,
            Some(types::ContainerCondition::Unknown(_)) => {
                let allowed = types::ContainerCondition::VALUES;
                return Err(Error::NotAWord { member: "condition", allowed });
            }
            None => return Err(Error::Required("ContainerDependency.condition")),
        };
        Ok(ContainerDependency { container_name, condition })
    };
    sent.iter().map(one).collect()
}

/// All dependencies together.
pub(super) fn check(containers: &[ContainerDefinition]) -> Result<(), Error> {
    for container in containers {
        for dependency in &container.depends_on {
            let name = &dependency.container_name;
            let other = containers.iter().find(|c| c.name == *name);
            let other = other.ok_or_else(|| Error::DependencyMissing(name.clone()))?;
            match dependency.condition {
                ContainerCondition::Complete | ContainerCondition::Success if other.essential => {
                    return Err(Error::DependencyEssential);
                }
                ContainerCondition::Healthy if !other.has_health_check() => {
                    return Err(Error::DependencyWithoutHealthCheck);
                }
                _ => {}
            }
        }
    }
    if has_cycle(containers) { Err(Error::DependencyCycle) } else { Ok(()) }
}

/// Takes away containers whose dependencies are all gone; what can't be taken away is a cycle.
fn has_cycle(containers: &[ContainerDefinition]) -> bool {
    let mut left: BTreeSet<&str> = containers.iter().map(|c| c.name.as_str()).collect();
    loop {
        let free: Vec<&str> = containers
            .iter()
            .filter(|c| left.contains(c.name.as_str()))
            .filter(|c| c.depends_on.iter().all(|d| !left.contains(d.container_name.as_str())))
            .map(|c| c.name.as_str())
            .collect();
        if free.is_empty() {
            return !left.is_empty();
        }
        for name in free {
            left.remove(name);
        }
    }
}
