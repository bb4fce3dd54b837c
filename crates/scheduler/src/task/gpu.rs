//! GPUs: which of its host's each container gets. Placement has counted them; here they are told
//! apart.

use std::collections::{BTreeMap, BTreeSet};
use wharf_model::{ClusterName, ContainerInstanceId, ContainerInstanceKey, Snapshot};

/// The GPUs that are given out by one launch, beside those that tasks have.
pub(super) struct Gpus<'a> {
    snapshot: &'a Snapshot,
    cluster: &'a ClusterName,
    taken: BTreeMap<ContainerInstanceId, BTreeSet<String>>,
}

impl<'a> Gpus<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, cluster: &'a ClusterName) -> Self {
        Self { snapshot, cluster, taken: BTreeMap::new() }
    }

    /// The next `count` of a host, by their ids; fewer if placement counted others than there are.
    pub(super) fn of(&mut self, host: &ContainerInstanceId, count: u32) -> Vec<String> {
        if count == 0 {
            return Vec::new();
        }
        let (cluster, id) = (self.cluster.clone(), host.clone());
        let key = ContainerInstanceKey { cluster, id };
        let taken = self.taken.entry(host.clone()).or_insert_with(|| taken(self.snapshot, &key));
        let all = self.snapshot.container_instance(&key).map(|i| i.gpu_ids.as_slice());
        assign(all.unwrap_or_default(), taken, count)
    }
}

/// The GPUs that a host's tasks have until they have stopped.
pub fn taken(snapshot: &Snapshot, host: &ContainerInstanceKey) -> BTreeSet<String> {
    let containers = snapshot.tasks_on(host).flat_map(|task| &task.containers);
    containers.flat_map(|container| container.gpu_ids.iter().cloned()).collect()
}

/// Takes `count` of the host's GPUs, in the host's order.
fn assign(host: &[String], taken: &mut BTreeSet<String>, count: u32) -> Vec<String> {
    let free = host.iter().filter(|id| !taken.contains(*id)).cloned();
    let chosen: Vec<String> = free.take(usize::try_from(count).unwrap_or(usize::MAX)).collect();
    taken.extend(chosen.iter().cloned());
    chosen
}

#[cfg(test)]
mod tests {
    use crate::AllConnected;
    use crate::fixture::{self, CLUSTER, World};
    use crate::placement::FailureReason;
    use crate::task::{LaunchPlan, LaunchRequest, Target, launch};
    use wharf_model::task::{ContainerOverride, TaskOverride};
    use wharf_model::task_definition::LaunchType;

    fn host(world: &mut World, n: usize, gpus: &[&str]) {
        let mut host = fixture::host(n, 4096, 4096);
        host.gpu_ids = gpus.iter().map(|id| (*id).to_owned()).collect();
        host.registered.gpus = u32::try_from(gpus.len()).unwrap();
        world.put(host);
    }

    fn start(world: &mut World, gpus: [u32; 2], count: usize, more: Option<u32>) -> LaunchPlan {
        let mut definition = fixture::definition("gpu", 1, 1);
        for (container, gpus) in definition.containers.iter_mut().zip(gpus) {
            container.gpus = (gpus > 0).then_some(gpus);
        }
        world.put(definition.clone());
        let change = |gpus| ContainerOverride {
            name: "app".to_owned(),
            gpus: Some(gpus),
            ..ContainerOverride::default()
        };
        let overrides = TaskOverride {
            containers: more.map(change).into_iter().collect(),
            ..Default::default()
        };
        let cluster = CLUSTER.into();
        let request = LaunchRequest {
            cluster: &cluster,
            task_definition: &definition,
            overrides: &overrides,
            target: Target::Placed { count, constraints: &[], strategy: &[] },
            group: None,
            started_by: None,
            service: None,
            launch_type: LaunchType::Ec2,
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

    fn given(plan: &LaunchPlan) -> Vec<Vec<String>> {
        let containers = plan.tasks.iter().flat_map(|task| &task.containers);
        containers.map(|container| container.gpu_ids.clone()).collect()
    }

    #[test]
    fn each_gpu_is_given_out_once_and_given_back_at_the_end() {
        let mut world = World::new();
        host(&mut world, 0, &["a", "b", "c"]);
        let first = start(&mut world, [1, 0], 2, None);
        assert_eq!(given(&first), [vec!["a"], vec![], vec!["b"], vec![]]);
        let second = start(&mut world, [1, 1], 1, None);
        assert!(second.tasks.is_empty());
        assert_eq!(second.failures[0].reason, FailureReason::Gpu);
        assert_eq!(second.failures[0].reason.as_str(), "RESOURCE:GPU");
        let mut ended = first.tasks[0].clone();
        ended.last_status = wharf_model::TaskStatus::Stopped;
        world.put(ended);
        assert_eq!(given(&start(&mut world, [1, 1], 1, None)), [["a"], ["c"]]);
        assert_eq!(start(&mut world, [1, 0], 1, None).failures[0].reason, FailureReason::Gpu);
        assert_eq!(start(&mut world, [0, 0], 1, None).tasks.len(), 1);
    }

    #[test]
    fn an_override_says_how_many_and_hosts_have_their_own() {
        let mut world = World::new();
        host(&mut world, 0, &["a"]);
        host(&mut world, 1, &["a", "b"]);
        let two = start(&mut world, [1, 0], 1, Some(2));
        assert_eq!(given(&two)[0], ["a", "b"]);
        assert_eq!(given(&start(&mut world, [1, 0], 1, None))[0], ["a"]);
        assert!(start(&mut world, [1, 0], 1, None).tasks.is_empty());
    }
}
