//! What a task may write.

use wharf_model::task_definition::EPHEMERAL_STORAGE;
use wharf_model::{Snapshot, Task, TaskDefinition};

/// How much a task may write, GiB. FARGATE's default holds on hosts that can make it hold; elsewhere
/// there is a limit only where one is stated, and such a task was placed on a host that can.
pub fn storage_gib(snapshot: &Snapshot, task: &Task, definition: &TaskDefinition) -> Option<u32> {
    let host = task.container_instance_key();
    let host = host.and_then(|key| snapshot.container_instance(&key));
    let can_limit = host.is_some_and(|host| host.attribute(EPHEMERAL_STORAGE).is_some());
    let default = TaskDefinition::default_storage_gib(task.launch_type);
    definition.stated_storage_gib(&task.overrides).or_else(|| default.filter(|_| can_limit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AllConnected;
    use crate::fixture::{self, CLUSTER, World};
    use crate::placement::FailureReason;
    use crate::task::{LaunchPlan, LaunchRequest, Target, launch};
    use wharf_model::Attribute;
    use wharf_model::task::TaskOverride;
    use wharf_model::task_definition::LaunchType;

    fn host(world: &mut World, n: usize, gib: Option<u32>) {
        let mut host = fixture::host(n, 4096, 4096);
        host.registered.storage_gib = gib;
        let name = EPHEMERAL_STORAGE.to_owned();
        host.attributes.push(Attribute { name, value: None });
        world.put(host);
    }

    fn start(world: &mut World, kind: LaunchType, gib: Option<u32>, count: usize) -> LaunchPlan {
        let definition = fixture::definition("stored", 1, 1);
        world.put(definition.clone());
        let overrides = TaskOverride { ephemeral_storage_gib: gib, ..Default::default() };
        let cluster = CLUSTER.into();
        let request = LaunchRequest {
            cluster: &cluster,
            task_definition: &definition,
            overrides: &overrides,
            target: Target::Placed { count, constraints: &[], strategy: &[] },
            group: None,
            started_by: None,
            service: None,
            launch_type: kind,
            capacity_providers: &[],
            platform_version: None,
            network: None,
            vpc: &world.vpc,
            tags: &[],
            enable_execute_command: false,
        };
        let plan = launch(&world.snapshot, &AllConnected, &request, world.now, world.revision);
        let plan = plan.unwrap();
        world.commit(&plan.transaction);
        plan
    }

    #[test]
    fn what_is_stated_counts_and_no_more_is_promised_than_a_host_has() {
        let mut world = World::new();
        host(&mut world, 0, Some(100));
        let plan = start(&mut world, LaunchType::Ec2, Some(40), 3);
        assert_eq!(plan.tasks.len(), 2);
        let [failure] = plan.failures.as_slice() else { panic!("{:?}", plan.failures) };
        assert_eq!(failure.reason, FailureReason::Storage);
        assert_eq!(failure.reason.as_str(), "RESOURCE:EPHEMERAL_STORAGE");
        let detail = "exhausted: 40 GiB of ephemeral storage wanted, 20 free";
        assert_eq!(failure.detail.as_deref(), Some(detail));
        assert_eq!(start(&mut world, LaunchType::Ec2, Some(21), 1).tasks.len(), 0);
        // What nobody stated isn't counted.
        assert_eq!(start(&mut world, LaunchType::Fargate, None, 9).tasks.len(), 9);
        // Amazon's agents and older ones don't say what they have.
        host(&mut world, 1, None);
        let plan = start(&mut world, LaunchType::Ec2, Some(200), 2);
        assert_eq!(plan.tasks.len(), 2);
    }

    #[test]
    fn fargates_default_holds_where_it_can() {
        let mut world = World::new();
        host(&mut world, 0, Some(100));
        let mut size = |kind, gib| {
            let plan = start(&mut world, kind, gib, 1);
            let definition = world.snapshot.task_definition(&plan.tasks[0].task_definition);
            storage_gib(&world.snapshot, &plan.tasks[0], definition.unwrap())
        };
        assert_eq!(size(LaunchType::Fargate, None), Some(20));
        assert_eq!(size(LaunchType::Fargate, Some(30)), Some(30));
        assert_eq!(size(LaunchType::Ec2, None), None);
        let mut world = World::new();
        world.put(fixture::host(0, 4096, 4096));
        let plan = start(&mut world, LaunchType::Fargate, None, 1);
        let definition = world.snapshot.task_definition(&plan.tasks[0].task_definition);
        assert_eq!(storage_gib(&world.snapshot, &plan.tasks[0], definition.unwrap()), None);
    }
}
