//! Rolling updates where something goes wrong, or where something else is asked for meanwhile.

use super::tests::Case;
use crate::fixture;
use expect_test::expect;
use wharf_model::container_instance::InstanceStatus;
use wharf_model::service::{RolloutState, ServiceDeploymentStatus};
use wharf_model::status::HealthStatus;
use wharf_model::{RecordKey, ServiceDeployment, Task, TaskDefinition, TaskStatus};

/// Ends one task that runs on `definition`.
fn lose_one(case: &mut Case, definition: &TaskDefinition) {
    let of_it = |t: &Task| t.task_definition == definition.key() && t.is_wanted();
    let lost = case.tasks().into_iter().find(|t| of_it(t)).expect("one runs").id;
    case.report(|t| (t.id == lost).then_some((TaskStatus::Stopped, Some(1))));
}

/// Tasks that run `definition`, or are to.
fn count(case: &Case, definition: &TaskDefinition) -> usize {
    let of_it = |t: &Task| t.task_definition == definition.key() && t.is_wanted();
    case.tasks().iter().filter(|t| of_it(t)).count()
}

/// No new task of `definition` ever starts; all others do.
fn agents_without(case: &mut Case, definition: &TaskDefinition) {
    case.report(|t| match (t.is_wanted(), t.last_status) {
        (_, s) if s.is_stopped() => None,
        (false, _) => Some((TaskStatus::Stopped, Some(0))),
        (true, _) if t.task_definition == definition.key() => Some((TaskStatus::Stopped, None)),
        (true, _) => Some((TaskStatus::Running, None)),
    });
}

fn current(case: &Case) -> TaskDefinition {
    let key = case.service().task_definition;
    TaskDefinition::clone(case.world.snapshot.task_definition(&key).unwrap())
}

/// A service of this many that runs, and nothing said yet.
fn steady(hosts: usize, desired: i32) -> (Case, TaskDefinition) {
    steadied(Case::new(hosts, desired))
}

fn steadied(mut case: Case) -> (Case, TaskDefinition) {
    case.settle_with_agents();
    case.pass(60);
    case.said.clear();
    let old = current(&case);
    (case, old)
}

#[test]
fn what_the_old_revision_loses_it_gets_back_while_the_new_one_fails() {
    let (mut case, old) = steady(3, 3);
    let new = case.deploy("next");
    for _ in 0..12 {
        case.settle();
        agents_without(&mut case, &new);
    }
    assert_eq!(count(&case, &old), 3);
    lose_one(&mut case, &old);
    case.said.clear();
    case.settle();
    agents_without(&mut case, &new);
    case.settle();
    case.said(expect![[r#"
        (service web) has started 1 tasks: (task 0).
    "#]]);
    assert_eq!(count(&case, &old), 3);
    let service = case.service();
    assert_eq!(service.deployments[1].desired_count, Some(3));
    // The new one works at last: the old goes for good.
    for _ in 0..4 {
        if let Some(at) = case.settle() {
            case.world.now = case.world.now.max(at);
        }
        case.settle_with_agents();
    }
    assert_eq!((count(&case, &old), count(&case, &new)), (0, 3));
    assert_eq!(case.service().deployments.len(), 1);
}

#[test]
fn what_gave_way_to_the_new_revision_is_not_started_again() {
    let (mut case, old) = steady(3, 4);
    case.world.change(&case.key.clone(), |s| {
        s.deployment_configuration.maximum_percent = 100;
        s.deployment_configuration.minimum_healthy_percent = 50;
    });
    let new = case.deploy("next");
    for _ in 0..30 {
        case.settle();
        agents_without(&mut case, &new);
        assert!(count(&case, &old) <= 4);
    }
    assert_eq!(count(&case, &old), 2);
    lose_one(&mut case, &old);
    case.settle();
    agents_without(&mut case, &new);
    case.settle();
    assert_eq!(count(&case, &old), 2, "the minimum of two is kept by the old revision");
}

#[test]
fn a_failed_deployment_leaves_the_old_revision_kept_up() {
    let (mut case, old) = steady(3, 3);
    case.world
        .change(&case.key.clone(), |s| s.deployment_configuration.circuit_breaker_enable = true);
    let new = case.deploy("next");
    for _ in 0..12 {
        case.settle();
        agents_without(&mut case, &new);
    }
    assert_eq!(case.service().deployments[0].rollout_state, RolloutState::Failed);
    for _ in 0..3 {
        lose_one(&mut case, &old);
    }
    case.settle();
    agents_without(&mut case, &new);
    case.settle();
    assert_eq!((count(&case, &old), count(&case, &new)), (3, 0));
    let deployments = case.service().deployments;
    assert_eq!((deployments.len(), deployments[1].desired_count), (2, Some(3)));
}

#[test]
fn an_unhealthy_task_of_the_old_revision_is_replaced_by_its_own() {
    let (mut case, old) = steadied(Case::checked(3, 2));
    let new = case.deploy("next");
    for _ in 0..10 {
        case.settle();
        agents_without(&mut case, &new);
    }
    let sick = case.tasks().into_iter().find(|t| t.task_definition == old.key()).unwrap();
    case.tell(&sick, HealthStatus::Unhealthy);
    case.said.clear();
    for _ in 0..3 {
        case.settle();
        agents_without(&mut case, &new);
        case.check(|_| Some(HealthStatus::Healthy));
    }
    case.said(expect![[r#"
        (service web) has started 1 tasks: (task 0).
        (service web) (task 1) failed container health checks.
        (service web) has stopped 1 running tasks: (task 1).
    "#]]);
    assert_eq!(count(&case, &old), 2);
}

#[test]
fn a_host_drains_while_the_new_revision_fails() {
    drain_while_failing(false);
    drain_while_failing(true);
}

fn drain_while_failing(breaker: bool) {
    let (mut case, old) = steady(3, 3);
    case.world
        .change(&case.key.clone(), |s| s.deployment_configuration.circuit_breaker_enable = breaker);
    let new = case.deploy("next");
    for _ in 0..10 {
        case.settle();
        agents_without(&mut case, &new);
    }
    let mut host = fixture::host(0, 1024, 1024);
    host.status = InstanceStatus::Draining;
    case.world.put(host.clone());
    for _ in 0..4 {
        case.settle();
        agents_without(&mut case, &new);
    }
    assert_eq!(case.service().deployments[0].rollout_state == RolloutState::Failed, breaker);
    let wanted = |t: &&std::sync::Arc<Task>| t.is_wanted();
    assert_eq!(case.world.snapshot.tasks_on(&host.key()).filter(wanted).count(), 0);
    assert_eq!(count(&case, &old), 3);
}

#[test]
fn without_room_the_unhealthy_go_one_by_one() {
    let (mut case, _) = steadied(Case::checked(3, 3));
    case.world.change(&case.key.clone(), |s| {
        s.deployment_configuration.maximum_percent = 100;
        s.deployment_configuration.minimum_healthy_percent = 50;
    });
    for task in case.tasks() {
        case.tell(&task, HealthStatus::Unhealthy);
    }
    case.settle();
    case.said(expect![[r#"
        (service web) (task 0) failed container health checks.
        (service web) has stopped 1 running tasks: (task 0).
    "#]]);
    case.settle_with_agents();
    assert_eq!(case.tasks().iter().filter(|t| t.is_wanted()).count(), 3);
}

#[test]
fn an_update_during_an_update_replaces_both() {
    let (mut case, old) = steady(3, 2);
    let bad = case.deploy("bad");
    for _ in 0..3 {
        case.settle();
        agents_without(&mut case, &bad);
    }
    case.settle();
    let good = case.deploy("good");
    case.step(&crate::AllConnected);
    assert_eq!(case.service().deployments.len(), 3, "PRIMARY, ACTIVE, ACTIVE");
    lose_one(&mut case, &old);
    case.settle();
    agents_without(&mut case, &bad);
    case.settle();
    assert_eq!((count(&case, &old), count(&case, &bad), count(&case, &good)), (2, 0, 2));
    case.settle_with_agents();
    assert_eq!((count(&case, &old), count(&case, &bad), count(&case, &good)), (0, 0, 2));
    assert_eq!(case.service().deployments.len(), 1);
}

#[test]
fn one_host_with_a_fixed_port_updates_under_a_minimum_of_zero() {
    let (mut case, _) = steady(1, 1);
    case.world.change(&case.key.clone(), |s| {
        s.deployment_configuration.maximum_percent = 100;
        s.deployment_configuration.minimum_healthy_percent = 0;
    });
    let mut fixed = fixture::definition("fixed", 128, 128);
    let mapping = serde_json::json!([{"container_port": 80, "host_port": 80, "protocol": "tcp"}]);
    fixed.containers[0].port_mappings = serde_json::from_value(mapping).unwrap();
    for revision in 1..=2 {
        fixed.revision = revision;
        case.world.put(fixed.clone());
        let mut service = case.service();
        case.world.deploy(&mut service, &fixed);
        case.said.clear();
        case.settle_with_agents();
        assert_eq!(count(&case, &fixed), 1);
    }
    case.said(expect![[r#"
        (service web) has stopped 1 running tasks: (task 0).
        (service web) has started 1 tasks: (task 1).
        (service web) (deployment ecs-svc/1000000000000000023) deployment completed.
        (service web) has reached a steady state.
    "#]]);
}

#[test]
fn a_deployment_of_nothing_completes() {
    let (mut case, old) = steady(1, 2);
    case.world.change(&case.key.clone(), |s| s.desired_count = 0);
    case.deploy("next");
    case.settle_with_agents();
    assert_eq!(count(&case, &old), 0);
    let service = case.service();
    assert_eq!(service.deployments.len(), 1);
    assert_eq!(service.deployments[0].rollout_state, RolloutState::Completed);
}

#[test]
fn scaling_during_a_deployment_holds_for_the_new_revision() {
    let (mut case, old) = steady(3, 2);
    let new = case.deploy("next");
    case.settle();
    case.world.change(&case.key.clone(), |s| s.desired_count = 5);
    case.settle_with_agents();
    assert_eq!((count(&case, &old), count(&case, &new)), (0, 5));
    let newer = case.deploy("newer");
    case.settle();
    case.world.change(&case.key.clone(), |s| s.desired_count = 1);
    case.settle_with_agents();
    assert_eq!((count(&case, &new), count(&case, &newer)), (0, 1));
}

#[test]
fn protected_tasks_of_the_old_revision_hold_the_deployment_up() {
    let (mut case, old) = steady(3, 2);
    let until = case.world.now.plus(std::time::Duration::from_secs(3600));
    let protected = case.tasks()[0].id.clone();
    case.world.change(&case.key.clone(), |s| {
        s.protected_tasks.insert(protected.clone(), until);
    });
    let new = case.deploy("next");
    case.settle_with_agents();
    assert_eq!((count(&case, &old), count(&case, &new)), (1, 2));
    assert_eq!(case.service().deployments[0].rollout_state, RolloutState::InProgress);
    case.world.now = until;
    case.settle_with_agents();
    assert_eq!((count(&case, &old), count(&case, &new)), (0, 2));
    assert_eq!(case.service().deployments[0].rollout_state, RolloutState::Completed);
}

/// Status of the service's newest service deployment.
fn newest(case: &Case) -> ServiceDeployment {
    let records = case.world.snapshot.service_deployments(&case.key);
    ServiceDeployment::clone(records.max_by_key(|r| (r.created_at, r.id.clone())).unwrap())
}

#[test]
fn a_stopped_deployment_goes_through_its_states() {
    let (mut case, old) = steady(3, 2);
    let new = case.deploy("next");
    let mut record = newest(&case);
    assert_eq!((record.status, record.started_at), (ServiceDeploymentStatus::Pending, None));
    case.settle();
    record = newest(&case);
    assert_eq!(record.status, ServiceDeploymentStatus::InProgress);
    assert!(record.started_at.is_some());
    record.status = ServiceDeploymentStatus::RollbackRequested;
    case.world.put(record);
    case.said.clear();
    case.step(&crate::AllConnected);
    record = newest(&case);
    assert_eq!(record.status, ServiceDeploymentStatus::RollbackInProgress);
    assert_eq!(record.rollback.unwrap().service_revision_id, "1000000000000000005");
    case.settle_with_agents();
    case.said(expect![[r#"
        (service web) rolling back to deployment ecs-svc/1000000000000000005.
        (service web) has stopped 2 pending tasks: (task 0) (task 1).
        (service web) (deployment ecs-svc/1000000000000000005) deployment completed.
        (service web) has reached a steady state.
    "#]]);
    assert_eq!(newest(&case).status, ServiceDeploymentStatus::RollbackSuccessful);
    assert_eq!((count(&case, &old), count(&case, &new)), (2, 0));
}

/// The service deployment that was given up ends as STOPPED, and the new one by itself: no client
/// waits for either for ever.
#[test]
fn an_update_during_a_rollback_ends_both_records() {
    let (mut case, _) = steady(3, 1);
    case.world.change(&case.key.clone(), |s| {
        s.deployment_configuration.circuit_breaker_enable = true;
        s.deployment_configuration.circuit_breaker_rollback = true;
    });
    let bad = case.deploy("bad");
    while newest(&case).status != ServiceDeploymentStatus::RollbackInProgress {
        case.step(&crate::AllConnected);
        agents_without(&mut case, &bad);
    }
    let given_up = newest(&case);
    assert_eq!(case.service().deployments[0].service_deployment_id, given_up.id);
    case.pass(1);
    case.deploy("good");
    case.settle_with_agents();
    assert_eq!(newest(&case).status, ServiceDeploymentStatus::Successful);
}

/// The tasks of the last completed deployment are long gone, and so is the deployment.
#[test]
fn a_rollback_finds_the_last_completed_revision_by_its_record() {
    let (mut case, old) = steady(3, 1);
    let bad = case.deploy("bad");
    case.world.change(&case.key.clone(), |s| {
        s.deployments.truncate(1);
        s.deployment_configuration.circuit_breaker_enable = true;
        s.deployment_configuration.circuit_breaker_rollback = true;
    });
    for key in case.tasks().iter().map(Task::key) {
        let mut gone = wharf_model::Transaction::new();
        gone.delete(RecordKey::Task(key));
        case.world.commit(&gone);
    }
    for _ in 0..6 {
        case.settle();
        agents_without(&mut case, &bad);
    }
    case.settle_with_agents();
    assert_eq!((count(&case, &old), count(&case, &bad)), (1, 0));
    assert_eq!(newest(&case).status, ServiceDeploymentStatus::RollbackSuccessful);
}
