//! What a task's containers say of its health.

use wharf_model::status::HealthStatus;
use wharf_model::{Task, TaskDefinition};

/// A task's health by its essential containers that have a health check (ECS API
/// `Task$healthStatus`): UNHEALTHY if one is, else UNKNOWN while one isn't known, else HEALTHY.
/// Nothing if there is no such container: then nobody waits for it to be healthy.
pub fn health(task: &Task, definition: Option<&TaskDefinition>) -> Option<HealthStatus> {
    let counts = |name: &str| {
        let container = definition.and_then(|definition| definition.container(name));
        container.is_some_and(|c| c.essential && c.has_health_check())
    };
    let reports = task.containers.iter().filter(|container| counts(&container.name));
    worst(reports.map(|container| container.health))
}

/// The worst of some reports; nothing if there is none.
pub fn worst(reports: impl Iterator<Item = HealthStatus> + Clone) -> Option<HealthStatus> {
    let order = [HealthStatus::Unhealthy, HealthStatus::Unknown, HealthStatus::Healthy];
    order.into_iter().find(|health| reports.clone().any(|report| report == *health))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use HealthStatus::{Healthy, Unhealthy, Unknown};

    #[test]
    fn the_worst_report_counts() {
        let of = |reports: &[HealthStatus]| worst(reports.iter().copied());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[Healthy]), Some(Healthy));
        assert_eq!(of(&[Healthy, Healthy, Healthy]), Some(Healthy));
        assert_eq!(of(&[Healthy, Unknown]), Some(Unknown));
        assert_eq!(of(&[Unhealthy, Unknown]), Some(Unhealthy));
        assert_eq!(of(&[Healthy, Unhealthy, Healthy]), Some(Unhealthy));
    }

    #[test]
    fn containers_that_arent_essential_or_have_no_check_have_no_say() {
        let mut case = crate::service::tests::Case::checked(1, 1);
        case.settle_with_agents();
        let mut task = case.tasks().remove(0);
        let mut definition = fixture::checked("app");
        let names: Vec<&str> = task.containers.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["app", "side"]);
        assert_eq!(health(&task, Some(&definition)), Some(Healthy));
        // The sidecar has no check, and isn't essential.
        task.containers[1].health = Unhealthy;
        assert_eq!(health(&task, Some(&definition)), Some(Healthy));
        definition.containers[1].health_check = definition.containers[0].health_check.clone();
        assert_eq!(health(&task, Some(&definition)), Some(Healthy));
        definition.containers[1].essential = true;
        assert_eq!(health(&task, Some(&definition)), Some(Unhealthy));
        definition.containers.iter_mut().for_each(|c| c.health_check = None);
        assert_eq!(health(&task, Some(&definition)), None);
    }
}
