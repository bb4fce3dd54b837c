//! Services, step by step: what happens and what is said.

use super::*;
use crate::fixture::{self, CLUSTER, World};
use crate::{AllConnected, Connectivity};
use expect_test::{Expect, expect};
use std::collections::BTreeMap;
use std::time::Duration;
use wharf_model::container_instance::InstanceStatus;
use wharf_model::load_balancing::{TargetHealth, TargetKey};
use wharf_model::service::{RolloutState, ServiceDeploymentStatus, ServiceStatus};
use wharf_model::status::{HealthStatus, StopCode};
use wharf_model::{Service, ServiceKey, Task, TaskDefinition, TaskStatus};

/// A service with its world and everything that was said.
pub(crate) struct Case {
    pub(super) world: World,
    pub(super) key: ServiceKey,
    pub(super) said: Vec<String>,
    /// What the balancer says of targets.
    pub(super) target_health: BTreeMap<TargetKey, TargetHealth>,
    seed: u64,
}

impl Case {
    pub(super) fn new(hosts: usize, count: i32) -> Self {
        let mut world = World::new();
        (0..hosts).for_each(|n| drop(world.host(n)));
        let definition = world.definition("app", 128, 128);
        let key = world.service(&definition, count);
        Self { world, key, said: Vec::new(), target_health: BTreeMap::new(), seed: 0 }
    }

    /// The same with a health check.
    pub(crate) fn checked(hosts: usize, count: i32) -> Self {
        let mut case = Self::new(hosts, count);
        case.world.put(fixture::checked("app"));
        case
    }

    pub(super) fn step(&mut self, connectivity: &dyn Connectivity) -> ServicePlan {
        self.seed += 1;
        let world = &self.world;
        let plan = reconcile(
            &world.snapshot,
            connectivity,
            &self.target_health,
            &self.key,
            &world.vpc,
            world.now,
            self.seed,
        );
        self.world.commit(&plan.transaction);
        self.said.extend(plan.events.iter().map(|e| e.message.clone()));
        plan
    }

    /// Steps until nothing changes.
    pub(super) fn settle(&mut self) -> Option<wharf_model::Timestamp> {
        for _ in 0..100 {
            let plan = self.step(&AllConnected);
            if plan.transaction.is_empty() {
                return plan.wake_at;
            }
        }
        panic!("never settles: {:?}", self.said.last());
    }

    pub(crate) fn tasks(&self) -> Vec<Task> {
        self.world.snapshot.service_tasks(&self.key).map(|t| Task::clone(t)).collect()
    }

    pub(super) fn report(&mut self, change: impl Fn(&Task) -> Option<(TaskStatus, Option<i32>)>) {
        for task in self.tasks() {
            let Some((status, exit_code)) = change(&task) else { continue };
            let mut report = crate::task::TaskStateChange::of(task.key());
            report.status = Some(status);
            report.containers.push(crate::task::ContainerStateChange {
                name: "app".to_owned(),
                status: Some(status),
                exit_code,
                ..Default::default()
            });
            let world = &mut self.world;
            let applied =
                crate::task::apply_state_change(&world.snapshot, &report, world.now).unwrap();
            world.commit(&applied.transaction);
        }
    }

    /// Agents start what is wanted and end what isn't.
    pub(super) fn agents(&mut self) {
        self.report(|t| match (t.is_wanted(), t.last_status) {
            (_, s) if s.is_stopped() => None,
            (true, _) => Some((TaskStatus::Running, None)),
            (false, _) => Some((TaskStatus::Stopped, Some(0))),
        });
        self.check(|_| Some(HealthStatus::Healthy));
    }

    /// Agents tell of the health of tasks that are checked and of which it isn't known.
    pub(super) fn check(&mut self, verdict: impl Fn(&Task) -> Option<HealthStatus>) {
        for task in self.tasks().into_iter().filter(|t| t.last_status == TaskStatus::Running) {
            let definition = self.world.snapshot.task_definition(&task.task_definition).cloned();
            let known = crate::task::health(&task, definition.as_deref());
            if let (Some(HealthStatus::Unknown), Some(health)) = (known, verdict(&task)) {
                self.tell(&task, health);
            }
        }
    }

    /// A task's agent tells of the health of its app.
    pub(super) fn tell(&mut self, task: &Task, health: HealthStatus) {
        let health = [("app".to_owned(), health)];
        let transaction = crate::task::apply_health(&self.world.snapshot, &task.key(), &health);
        self.world.commit(&transaction);
    }

    /// Settles with agents that do what they are told.
    pub(crate) fn settle_with_agents(&mut self) {
        for _ in 0..20 {
            self.settle();
            self.agents();
            self.pass(1);
        }
        self.settle();
    }

    pub(super) fn crash_all(&mut self) {
        self.report(|t| t.is_wanted().then_some((TaskStatus::Stopped, Some(1))));
    }

    pub(super) fn pass(&mut self, seconds: u64) {
        self.world.now = self.world.now.plus(Duration::from_secs(seconds));
    }

    pub(super) fn service(&self) -> Service {
        Service::clone(self.world.snapshot.service(&self.key).unwrap())
    }

    pub(super) fn deploy(&mut self, family: &str) -> TaskDefinition {
        self.deploy_this(fixture::definition(family, 128, 128))
    }

    pub(super) fn deploy_this(&mut self, definition: TaskDefinition) -> TaskDefinition {
        self.world.put(definition.clone());
        let mut service = self.service();
        self.world.deploy(&mut service, &definition);
        definition
    }

    /// What was said since the last call, task ids as numbers in the order of their appearance.
    pub(super) fn said(&mut self, expected: Expect) {
        let mut seen: Vec<String> = Vec::new();
        let mut text = String::new();
        for message in self.said.drain(..) {
            let mut rest = message.as_str();
            while let Some(at) = rest.find("(task ") {
                let id = rest[at + 6..at + 38].to_owned();
                let n = seen.iter().position(|s| *s == id).unwrap_or_else(|| {
                    seen.push(id);
                    seen.len() - 1
                });
                text.push_str(&format!("{}(task {n})", &rest[..at]));
                rest = &rest[at + 39..];
            }
            text.push_str(rest);
            text.push('\n');
        }
        expected.assert_eq(&text);
    }
}

#[test]
fn a_new_service_reaches_its_steady_state_and_says_so_once() {
    let mut case = Case::new(3, 2);
    case.settle_with_agents();
    case.said(expect![[r#"
        (service web) has started 2 tasks: (task 0) (task 1).
        (service web) (deployment ecs-svc/1000000000000000005) deployment completed.
        (service web) has reached a steady state.
    "#]]);
    let service = case.service();
    assert_eq!(service.deployments[0].rollout_state, RolloutState::Completed);
    let record = case.world.snapshot.service_deployments(&case.key).next().unwrap();
    assert_eq!(record.status, ServiceDeploymentStatus::Successful);
    case.pass(7 * 3600);
    case.settle();
    case.said(expect![["(service web) has reached a steady state.\n"]]);
}

#[test]
fn a_rolling_update_replaces_within_its_limits() {
    let mut case = Case::new(3, 2);
    case.settle_with_agents();
    case.said.clear();
    let definition = case.deploy("next");
    case.settle_with_agents();
    case.said(expect![[r#"
        (service web) has started 2 tasks: (task 0) (task 1).
        (service web) has stopped 2 running tasks: (task 2) (task 3).
        (service web) (deployment ecs-svc/1000000000000000014) deployment completed.
        (service web) has reached a steady state.
    "#]]);
    assert_eq!(case.service().deployments.len(), 1);
    let wanted = case.tasks().into_iter().filter(Task::is_wanted);
    assert!(wanted.into_iter().all(|t| t.task_definition == definition.key()));
}

#[test]
fn nothing_is_stopped_for_a_task_that_has_only_just_started() {
    let mut case = Case::new(1, 1);
    case.settle_with_agents();
    case.deploy("next");
    case.settle();
    case.said.clear();
    case.agents();
    case.pass(2);
    let wake_at = case.settle();
    assert_eq!(wake_at, Some(case.world.now.plus(Duration::from_secs(1))));
    case.said(expect![""]);
    case.pass(1);
    case.settle();
    case.said(expect![[r#"
        (service web) has stopped 1 running tasks: (task 0).
    "#]]);
}

#[test]
fn scale_in_keeps_the_zones_balanced() {
    let mut case = Case::new(3, 6);
    case.settle_with_agents();
    case.world.change(&case.key.clone(), |s| s.desired_count = 3);
    case.settle_with_agents();
    let hosts: std::collections::BTreeSet<_> =
        case.tasks().into_iter().filter(Task::is_wanted).map(|t| t.container_instance).collect();
    assert_eq!(hosts.len(), 3);
}

#[test]
fn a_task_that_ends_is_replaced_at_once() {
    let mut case = Case::new(1, 1);
    case.settle_with_agents();
    case.pass(60);
    case.said.clear();
    case.crash_all();
    case.settle_with_agents();
    case.said(expect![[r#"
        (service web) has started 1 tasks: (task 0).
        (service web) has reached a steady state.
    "#]]);
    assert_eq!(case.service().deployments[0].failed_tasks, 0);
}

#[test]
fn tasks_that_keep_failing_are_throttled() {
    let mut case = Case::new(1, 1);
    for _ in 0..3 {
        case.settle();
        case.crash_all();
    }
    assert_eq!(case.settle(), None, "three failures are restarted at once");
    case.crash_all();
    let waits: Vec<u64> = (0..9)
        .map(|_| {
            let wake = case.settle().expect("waits");
            let wait = wake.since(case.world.now).as_secs();
            case.world.now = wake;
            case.settle();
            case.crash_all();
            wait
        })
        .collect();
    assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 900, 900]);
    let told = "(service web) is unable to consistently start tasks successfully. For more \
                information, see the Troubleshooting section of the Amazon ECS Developer Guide.";
    assert_eq!(case.said.iter().filter(|s| *s == told).count(), 1);
    case.world.now = case.settle().unwrap();
    case.settle_with_agents();
    assert_eq!(case.service().deployments[0].consecutive_failures, 0);
}

#[test]
fn the_circuit_breaker_rolls_back() {
    let mut case = Case::new(3, 2);
    case.world.change(&case.key.clone(), |s| {
        s.deployment_configuration.circuit_breaker_enable = true;
        s.deployment_configuration.circuit_breaker_rollback = true;
    });
    case.settle_with_agents();
    let good = case.service().task_definition;
    case.said.clear();
    let bad = case.deploy("bad");
    for _ in 0..3 {
        case.settle();
        case.report(|t| {
            let failing = t.task_definition == bad.key() && t.is_wanted();
            failing.then_some((TaskStatus::Stopped, None))
        });
    }
    case.settle_with_agents();
    case.said(expect![[r#"
        (service web) has started 2 tasks: (task 0) (task 1).
        (service web) has started 2 tasks: (task 2) (task 3).
        (service web) (deployment ecs-svc/1000000000000000015) deployment failed: tasks failed to start.
        (service web) rolling back to deployment ecs-svc/1000000000000000005.
        (service web) (deployment ecs-svc/1000000000000000005) deployment completed.
        (service web) has reached a steady state.
    "#]]);
    let service = case.service();
    assert_eq!((service.task_definition, service.deployments.len()), (good, 1));
    let mut records = case.world.snapshot.service_deployments(&case.key);
    let record = records.find(|r| r.circuit_breaker_triggered).unwrap();
    assert_eq!(record.status, ServiceDeploymentStatus::RollbackSuccessful);
    assert_eq!(breaker::threshold(1), 3);
    assert_eq!(breaker::threshold(25), 13);
    assert_eq!(breaker::threshold(4000), 200);
}

#[test]
fn a_failed_deployment_without_rollback_stalls() {
    let mut case = Case::new(1, 1);
    case.world
        .change(&case.key.clone(), |s| s.deployment_configuration.circuit_breaker_enable = true);
    for _ in 0..6 {
        case.settle();
        case.crash_all();
    }
    let service = case.service();
    assert_eq!(service.deployments[0].rollout_state, RolloutState::Failed);
    assert_eq!(case.tasks().len(), 3);
}

#[test]
fn what_has_no_room_is_told_once_for_six_hours() {
    let mut case = Case::new(1, 9);
    case.settle();
    for _ in 0..3 {
        let wake = case.settle().unwrap();
        case.world.now = wake;
    }
    case.said(expect![[r#"
        (service web) has started 8 tasks: (task 0) (task 1) (task 2) (task 3) (task 4) (task 5) (task 6) (task 7).
        (service web) was unable to place a task because no container instance met all of its requirements. The closest matching (container-instance 00000000000000000000000000000000) has insufficient CPU units available. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.
    "#]]);
    case.pass(6 * 3600 + 1);
    case.settle();
    assert_eq!(case.said.len(), 1);
    case.world.host(1);
    case.settle();
    assert_eq!(case.tasks().len(), 9);
}

#[test]
fn an_empty_cluster_is_told_in_ecs_words() {
    let mut case = Case::new(0, 1);
    case.settle();
    case.said(expect![["(service web) was unable to place a task because no container instance met all of its requirements. Reason: No Container Instances were found in your cluster. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.\n"]]);
}

#[test]
fn a_draining_host_is_emptied_without_going_below_the_minimum() {
    let mut case = Case::new(2, 4);
    case.settle_with_agents();
    let mut host = fixture::host(0, 1024, 1024);
    host.status = InstanceStatus::Draining;
    case.world.put(host.clone());
    case.settle();
    let running = |c: &Case| c.tasks().iter().filter(|t| t.is_wanted()).count();
    assert_eq!(running(&case), 6, "replacements first");
    case.settle_with_agents();
    assert_eq!(running(&case), 4);
    assert!(case.world.snapshot.usage(&host.key()).tasks.is_empty());
}

#[test]
fn limits_that_allow_nothing_are_told() {
    let mut case = Case::new(2, 1);
    case.world.change(&case.key.clone(), |s| {
        s.deployment_configuration.maximum_percent = 100;
    });
    case.settle_with_agents();
    case.said.clear();
    case.deploy("next");
    case.settle_with_agents();
    case.said(expect![["(service web) was unable to stop or start tasks during a deployment because of the service deployment configuration. Update the minimumHealthyPercent or maximumPercent value and try again.\n"]]);
}

#[test]
fn an_unhealthy_task_is_replaced_first() {
    let mut case = Case::checked(2, 1);
    case.settle_with_agents();
    let task = case.tasks().remove(0);
    let key = task.key();
    case.tell(&task, HealthStatus::Unhealthy);
    case.said.clear();
    case.settle_with_agents();
    case.said(expect![[r#"
        (service web) has started 1 tasks: (task 0).
        (service web) (task 1) failed container health checks.
        (service web) has stopped 1 running tasks: (task 1).
        (service web) has reached a steady state.
    "#]]);
    assert_eq!(
        case.world.snapshot.task(&key).unwrap().stop_code,
        Some(StopCode::ServiceSchedulerInitiated)
    );
}

#[test]
fn protected_tasks_are_spared() {
    let mut case = Case::new(1, 3);
    case.settle_with_agents();
    let until = case.world.now.plus(Duration::from_secs(3600));
    let protected: Vec<_> = case.tasks().into_iter().take(2).map(|t| t.id).collect();
    case.world.change(&case.key.clone(), |s| {
        s.desired_count = 0;
        s.protected_tasks = protected.iter().map(|id| (id.clone(), until)).collect();
    });
    case.settle_with_agents();
    let left: Vec<_> = case.tasks().into_iter().filter(Task::is_wanted).map(|t| t.id).collect();
    assert_eq!(left, protected);
}

#[test]
fn a_deleted_service_ends() {
    let mut case = Case::new(1, 3);
    case.settle_with_agents();
    case.said.clear();
    case.world.change(&case.key.clone(), |s| {
        s.status = ServiceStatus::Draining;
        s.desired_count = 0;
    });
    case.settle_with_agents();
    case.said(expect![[
        "(service web) has stopped 3 running tasks: (task 0) (task 1) (task 2).\n"
    ]]);
    assert_eq!(case.service().status, ServiceStatus::Inactive);
    case.pass(3601);
    loop {
        let transaction = crate::expiry::sweep(&case.world.snapshot, case.world.now);
        if transaction.is_empty() {
            break;
        }
        case.world.commit(&transaction);
    }
    assert!(case.world.snapshot.service(&case.key).is_none());
    assert_eq!(case.world.snapshot.tasks(&CLUSTER.into()).count(), 0);
    assert_eq!(case.world.snapshot.service_revisions(&case.key).count(), 0);
}

#[test]
fn a_large_service_takes_several_steps() {
    let mut case = Case::new(40, 200);
    case.settle_with_agents();
    assert_eq!(case.tasks().iter().filter(|t| t.is_wanted()).count(), 200);
    case.world.change(&case.key.clone(), |s| s.desired_count = 1);
    case.settle_with_agents();
    assert_eq!(case.tasks().iter().filter(|t| t.is_wanted()).count(), 1);
}
