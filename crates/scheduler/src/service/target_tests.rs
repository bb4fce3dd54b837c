//! Services whose tasks are targets of a load balancer.

use super::tests::Case;
use crate::fixture;
use crate::task;
use expect_test::expect;
use wharf_model::load_balancing::{HealthState, TargetGroup, TargetHealth, TargetKey};
use wharf_model::resources::TransportProtocol;
use wharf_model::service::{RolloutState, ServiceLoadBalancer};
use wharf_model::{NetworkBinding, Task, TaskStatus};

const GROUP: &str =
    "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/web/0123456789abcdef";

fn group(delay: &str) -> TargetGroup {
    serde_json::from_value(serde_json::json!({
        "name": "web", "id": "0123456789abcdef", "protocol": "HTTP", "port": 80, "vpc_id": "vpc",
        "target_type": "instance", "ip_address_type": "ipv4",
        "health_check": {"enabled": true, "protocol": "HTTP", "interval_seconds": 30,
            "timeout_seconds": 5, "healthy_threshold": 5, "unhealthy_threshold": 2},
        "created_at": fixture::START,
        "attributes": {"deregistration_delay.timeout_seconds": delay},
    }))
    .unwrap()
}

fn said(state: HealthState, description: Option<&str>) -> TargetHealth {
    TargetHealth { state, reason: None, description: description.map(str::to_owned) }
}

/// A service of so many tasks behind a target group.
pub(super) fn case(hosts: usize, count: i32) -> Case {
    let mut case = Case::new(hosts, count);
    case.world.put(group("30"));
    let mut service = case.service();
    service.load_balancers = vec![ServiceLoadBalancer {
        target_group_arn: GROUP.to_owned(),
        container_name: "app".to_owned(),
        container_port: 80,
    }];
    service.deployments.clear();
    let definition = fixture::definition("app", 128, 128);
    case.world.deploy(&mut service, &definition);
    case
}

/// Agents do what they are told, in the way that they are told it; ports are those of a bridge.
pub(super) fn agents(case: &mut Case) {
    for task in case.tasks() {
        let (status, exit_code) = match (task.told_status(), task.last_status) {
            (_, s) if s.is_stopped() => continue,
            (TaskStatus::Stopped, _) => (TaskStatus::Stopped, Some(0)),
            _ => (TaskStatus::Running, None),
        };
        report(case, &task, status, exit_code);
    }
}

pub(super) fn report(case: &mut Case, task: &Task, status: TaskStatus, exit_code: Option<i32>) {
    // A port of its own for each task.
    let host_port = u16::from_str_radix(&task.id.as_str()[..3], 16).unwrap() + 32768;
    let mut change = task::TaskStateChange::of(task.key());
    change.status = Some(status);
    change.containers.push(task::ContainerStateChange {
        name: "app".to_owned(),
        status: Some(status),
        exit_code,
        network_bindings: Some(vec![NetworkBinding {
            range: None,
            bind_ip: "0.0.0.0".to_owned(),
            container_port: 80,
            host_port,
            protocol: TransportProtocol::Tcp,
        }]),
        ..Default::default()
    });
    let world = &mut case.world;
    let applied = task::apply_state_change(&world.snapshot, &change, world.now).unwrap();
    world.commit(&applied.transaction);
}

/// The balancer says this of all targets that don't drain.
fn balancer(case: &mut Case, health: &TargetHealth) {
    let targets = case.world.snapshot.all_targets().filter(|t| t.deregistered_at.is_none());
    let keys: Vec<TargetKey> = targets.map(|t| t.key.clone()).collect();
    case.target_health = keys.into_iter().map(|key| (key, health.clone())).collect();
}

/// The balancer says that what drains has drained.
pub(super) fn drained(case: &mut Case) {
    let world = &mut case.world;
    let drains = world.snapshot.all_targets().filter(|t| t.deregistered_at.is_some());
    let drained = drains.map(|t| t.key.clone()).collect();
    let transaction = crate::load_balancing::due(&world.snapshot, world.now, &drained);
    world.commit(&transaction);
}

fn healthy(case: &mut Case) {
    balancer(case, &said(HealthState::Healthy, None));
}

/// A service of so many healthy tasks, and nothing said yet.
fn steady(count: i32) -> Case {
    let mut case = case(3, count);
    for _ in 0..8 {
        case.settle();
        agents(&mut case);
        healthy(&mut case);
        case.pass(10);
    }
    case.settle();
    case.said.clear();
    case
}

fn statuses(case: &Case) -> Vec<TaskStatus> {
    let mut statuses: Vec<_> = case.tasks().iter().map(|t| t.last_status).collect();
    statuses.sort();
    statuses
}

#[test]
fn a_task_is_activating_until_it_is_registered_and_steady_once_it_is_healthy() {
    let mut case = case(1, 1);
    case.settle();
    agents(&mut case);
    assert_eq!(statuses(&case), [TaskStatus::Activating]);
    assert_eq!(case.tasks()[0].started_at, None);
    case.settle();
    assert_eq!(statuses(&case), [TaskStatus::Running]);
    assert_eq!(case.world.snapshot.all_targets().count(), 1);
    let target = case.world.snapshot.all_targets().next().unwrap();
    assert_eq!(target.key.id, format!("i-{:017x}", 0));
    assert_eq!(case.service().deployments[0].rollout_state, RolloutState::InProgress);
    balancer(&mut case, &said(HealthState::Initial, None));
    case.pass(60);
    case.settle();
    case.said(expect![[r#"
        (service web) has started 1 tasks: (task 0).
        (service web) registered 1 targets in (target-group arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/web/0123456789abcdef)
    "#]]);
    healthy(&mut case);
    case.settle();
    case.said(expect![[r#"
        (service web) (deployment ecs-svc/1000000000000000007) deployment completed.
        (service web) has reached a steady state.
    "#]]);
}

#[test]
fn a_task_drains_before_its_agent_is_told_to_stop_it() {
    let mut case = steady(2);
    let key = case.key.clone();
    case.world.change(&key, |s| s.desired_count = 1);
    case.settle();
    assert_eq!(statuses(&case), [TaskStatus::Running, TaskStatus::Deactivating]);
    agents(&mut case);
    assert_eq!(statuses(&case), [TaskStatus::Running, TaskStatus::Deactivating]);
    case.said(expect![[r#"
        (service web) has stopped 1 running tasks: (task 0).
        (service web) has begun draining connections on 1 tasks.
        (service web) deregistered 1 targets in (target-group arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/web/0123456789abcdef)
        (service web) has reached a steady state.
    "#]]);
    drained(&mut case);
    case.settle();
    assert_eq!(statuses(&case), [TaskStatus::Running, TaskStatus::Stopping]);
    agents(&mut case);
    assert_eq!(statuses(&case), [TaskStatus::Running, TaskStatus::Stopped]);
    assert!(case.tasks().iter().all(|t| t.is_wanted() || t.targets.is_empty()));
}

#[test]
fn the_deregistration_delay_ends_a_drain_that_nobody_ends() {
    let mut case = steady(1);
    let key = case.key.clone();
    case.world.change(&key, |s| s.desired_count = 0);
    let wake_at = case.settle();
    assert_eq!(wake_at, Some(case.world.now.plus(std::time::Duration::from_secs(30))));
    case.pass(29);
    case.settle();
    assert_eq!(statuses(&case), [TaskStatus::Deactivating]);
    case.pass(1);
    case.settle();
    assert_eq!(statuses(&case), [TaskStatus::Stopping]);
}

#[test]
fn a_task_that_ends_by_itself_is_deregistered_and_replaced() {
    let mut case = steady(1);
    let task = case.tasks().remove(0);
    report(&mut case, &task, TaskStatus::Stopped, Some(137));
    case.settle();
    case.said(expect![[r#"
        (service web) deregistered 1 targets in (target-group arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/web/0123456789abcdef)
        (service web) has started 1 tasks: (task 0).
    "#]]);
    let target = case.world.snapshot.all_targets().next().unwrap();
    assert!(target.deregistered_at.is_some());
}

#[test]
fn an_unhealthy_target_has_its_task_replaced_after_the_grace_period() {
    let mut case = case(1, 1);
    let key = case.key.clone();
    case.world.change(&key, |s| s.health_check_grace_period_seconds = Some(60));
    case.settle();
    agents(&mut case);
    case.settle();
    case.said.clear();
    let reason = "Health checks failed with these codes: [404]";
    balancer(&mut case, &said(HealthState::Unhealthy, Some(reason)));
    let wake_at = case.settle();
    assert_eq!(wake_at, Some(case.world.now.plus(std::time::Duration::from_secs(60))));
    case.said(expect![""]);
    // With room for one more its replacement is started first.
    case.pass(60);
    case.settle();
    let stopped = case.tasks().into_iter().find(|t| !t.is_wanted()).unwrap();
    assert_eq!(stopped.last_status, TaskStatus::Deactivating);
    let expected = format!("Task failed ELB health checks in (target-group {GROUP})");
    assert_eq!(stopped.stopped_reason.as_deref(), Some(expected.as_str()));
    let told = case.said.join("\n");
    assert!(told.starts_with("(service web) has started 1 tasks:"), "{told}");
    let expected = format!(
        "(service web) (task {}) (instance i-00000000000000000) (port {}) is unhealthy in \
         (target-group {GROUP}) due to (reason {reason})",
        stopped.id, stopped.targets[0].port
    );
    assert!(told.contains(&expected), "{told}");
}

#[test]
fn failed_health_checks_open_the_circuit_breaker() {
    let mut case = case(2, 1);
    let key = case.key.clone();
    case.world.change(&key, |s| s.deployment_configuration.circuit_breaker_enable = true);
    for _ in 0..60 {
        case.settle();
        agents(&mut case);
        balancer(&mut case, &said(HealthState::Unhealthy, None));
        drained(&mut case);
        case.pass(30);
    }
    assert_eq!(case.service().deployments[0].rollout_state, RolloutState::Failed);
}

#[test]
fn a_target_that_somebody_deregistered_is_registered_again() {
    let mut case = steady(1);
    let target = case.world.snapshot.all_targets().next().unwrap().clone();
    let deregistered_at = Some(case.world.now);
    case.world.put(wharf_model::load_balancing::Target {
        deregistered_at,
        ..wharf_model::load_balancing::Target::clone(&target)
    });
    case.settle();
    let after = case.world.snapshot.target(&target.key).unwrap();
    assert_eq!(after.deregistered_at, None);
}
