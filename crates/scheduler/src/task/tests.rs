//! The lifecycle: what agents report, in every order.

use super::*;
use crate::AllConnected;
use crate::fixture::{self, CLUSTER, World};
use proptest::prelude::*;
use wharf_model::network::{AwsVpcConfiguration, SUBNET_IDS};
use wharf_model::status::StopCode;
use wharf_model::task::TaskOverride;
use wharf_model::task_definition::LaunchType;
use wharf_model::{NetworkMode, Task, TaskKey, TaskStatus, Timestamp};

fn launched(world: &mut World, awsvpc: bool, count: usize) -> Vec<Task> {
    world.host(0);
    world.host(1);
    let mut definition = fixture::definition("app", 1, 1);
    definition.network_mode = awsvpc.then_some(NetworkMode::Awsvpc);
    world.put(definition.clone());
    let cluster = CLUSTER.into();
    let network =
        AwsVpcConfiguration { subnets: vec![SUBNET_IDS[1].to_owned()], ..Default::default() };
    let request = LaunchRequest {
        cluster: &cluster,
        task_definition: &definition,
        overrides: &TaskOverride::default(),
        target: Target::Placed { count, constraints: &[], strategy: &[] },
        group: None,
        started_by: None,
        service: None,
        launch_type: LaunchType::Ec2,
        capacity_providers: &[],
        platform_version: None,
        network: Some(&network),
        vpc: &world.vpc,
        tags: &[],
        enable_execute_command: false,
    };
    let plan = launch(&world.snapshot, &AllConnected, &request, world.now, world.revision).unwrap();
    world.commit(&plan.transaction);
    plan.tasks
}

fn report(world: &mut World, change: &TaskStateChange) -> Task {
    let applied = apply_state_change(&world.snapshot, change, world.now).unwrap();
    world.commit(&applied.transaction);
    Task::clone(world.snapshot.task(&change.task).unwrap())
}

fn says(
    task: &TaskKey,
    status: TaskStatus,
    app: Option<(TaskStatus, Option<i32>)>,
) -> TaskStateChange {
    let mut change = TaskStateChange::of(task.clone());
    change.status = Some(status);
    change.containers.extend(app.map(|(status, exit_code)| ContainerStateChange {
        name: "app".to_owned(),
        status: Some(status),
        exit_code,
        ..ContainerStateChange::default()
    }));
    change
}

#[test]
fn addresses_are_distinct_and_given_back_late() {
    let mut world = World::new();
    let tasks = launched(&mut world, true, 6);
    let mut ips: Vec<String> = tasks
        .iter()
        .map(|t| t.network_interface.as_ref().unwrap().private_ip.to_string())
        .collect();
    assert_eq!(ips[0], "10.113.64.4");
    assert!(tasks.iter().all(|t| t.last_status == TaskStatus::Provisioning));
    ips.dedup();
    assert_eq!(ips.len(), 6);
    report(&mut world, &says(&tasks[0].key(), TaskStatus::Stopped, None));
    let again = launched(&mut world, true, 1);
    assert_eq!(again[0].network_interface.as_ref().unwrap().private_ip.to_string(), "10.113.64.10");
}

#[test]
fn an_attached_interface_makes_the_task_pending() {
    let mut world = World::new();
    let key = launched(&mut world, true, 1)[0].key();
    let mut change = TaskStateChange::of(key);
    change.interface_attached = true;
    assert_eq!(report(&mut world, &change).last_status, TaskStatus::Pending);
}

#[test]
fn ends_have_ecs_reasons() {
    use TaskStatus::{Running, Stopped};
    let cases: [(bool, TaskStateChange, StopCode, &str); 4] = {
        let mut world = World::new();
        let key = launched(&mut world, false, 1)[0].key();
        let mut pull = says(&key, Stopped, None);
        pull.reason = Some("CannotPullContainerError: no such image".to_owned());
        [
            (
                true,
                says(&key, Stopped, Some((Stopped, Some(1)))),
                StopCode::EssentialContainerExited,
                "Essential container in task exited",
            ),
            (
                false,
                says(&key, Stopped, Some((Stopped, Some(1)))),
                StopCode::EssentialContainerExited,
                "Essential container in task exited",
            ),
            (false, pull, StopCode::TaskFailedToStart, "CannotPullContainerError: no such image"),
            (false, says(&key, Stopped, None), StopCode::TaskFailedToStart, "Task failed to start"),
        ]
    };
    for (runs, change, code, reason) in cases {
        let mut world = World::new();
        let key = launched(&mut world, false, 1)[0].key();
        assert_eq!(key, change.task);
        if runs {
            let task = report(&mut world, &says(&key, Running, Some((Running, None))));
            assert_eq!(task.started_at, Some(world.now));
        }
        let task = report(&mut world, &change);
        assert_eq!(task.stop_code, Some(code));
        assert_eq!(task.stopped_reason.as_deref(), Some(reason));
        assert!(task.stopped_at.is_some() && task.execution_stopped_at.is_some());
        assert_eq!(task.desired_status, Stopped);
        assert!(world.snapshot.usage(&task.container_instance_key().unwrap()).tasks.is_empty());
    }
}

#[test]
fn the_first_reason_to_stop_stays() {
    let mut world = World::new();
    let key = launched(&mut world, false, 1)[0].key();
    let stop = |world: &mut World, reason: &str| {
        let transaction =
            stop(&world.snapshot, &key, StopCode::UserInitiated, reason, world.now).unwrap();
        world.commit(&transaction);
        transaction.is_empty()
    };
    assert!(!stop(&mut world, "maintenance"));
    assert!(stop(&mut world, "something else"));
    let task = report(
        &mut world,
        &says(&key, TaskStatus::Stopped, Some((TaskStatus::Stopped, Some(143)))),
    );
    assert_eq!(task.stop_code, Some(StopCode::UserInitiated));
    assert_eq!(task.stopped_reason.as_deref(), Some("maintenance"));
}

#[test]
fn an_essential_exit_ends_the_task_before_its_last_container() {
    let mut world = World::new();
    let key = launched(&mut world, false, 1)[0].key();
    report(&mut world, &says(&key, TaskStatus::Running, Some((TaskStatus::Running, None))));
    let mut change = says(&key, TaskStatus::Running, Some((TaskStatus::Stopped, Some(2))));
    change.containers.push(ContainerStateChange { name: "unknown".into(), ..Default::default() });
    let task = report(&mut world, &change);
    assert_eq!(
        (task.last_status, task.desired_status, task.stop_code),
        (TaskStatus::Running, TaskStatus::Stopped, Some(StopCode::EssentialContainerExited))
    );
}

#[test]
fn a_lost_instance_ends_its_tasks() {
    let mut world = World::new();
    let tasks = launched(&mut world, true, 4);
    let host = tasks[0].container_instance_key().unwrap();
    let transaction = instance_lost(&world.snapshot, &host, world.now);
    world.commit(&transaction);
    assert_eq!(world.snapshot.tasks_on(&host).count(), 0);
    let task = world.snapshot.task(&tasks[0].key()).unwrap();
    assert_eq!(task.stop_code, Some(StopCode::TerminationNotice));
    assert!(instance_lost(&world.snapshot, &host, world.now).is_empty());
}

fn any_report() -> impl Strategy<Value = (Option<usize>, Option<usize>, Option<i32>, bool)> {
    (
        prop::option::of(0usize..9),
        prop::option::of(0usize..9),
        prop::option::of(-1i32..3),
        any::<bool>(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// `World::commit` checks that nothing goes back; here, that what is stopped stays as it is.
    #[test]
    fn the_lifecycle_never_goes_back(
        reports in prop::collection::vec(any_report(), 1..20), awsvpc in any::<bool>(),
    ) {
        let mut world = World::new();
        let key = launched(&mut world, awsvpc, 1)[0].key();
        for (status, container, exit_code, attached) in reports {
            let mut change = TaskStateChange::of(key.clone());
            change.status = status.map(|n| TaskStatus::ALL[n]);
            change.interface_attached = attached;
            change.containers.push(ContainerStateChange {
                name: "app".to_owned(),
                status: container.map(|n| TaskStatus::ALL[n]),
                exit_code,
                ..ContainerStateChange::default()
            });
            let before = Task::clone(world.snapshot.task(&key).unwrap());
            world.now = Timestamp(world.now.0 + 1000);
            let after = report(&mut world, &change);
            if before.last_status.is_stopped() {
                prop_assert_eq!(before, after);
            } else if after.last_status.is_stopped() {
                prop_assert!(after.stop_code.is_some() && after.stopped_reason.is_some());
            }
        }
    }
}
