//! Services whose tasks have health checks.

use super::tests::Case;
use crate::fixture;
use expect_test::expect;
use std::time::Duration;
use wharf_model::TaskStatus;
use wharf_model::service::RolloutState;
use wharf_model::status::HealthStatus;

/// A service of two checked tasks that runs, and nothing said yet.
fn steady() -> Case {
    let mut case = Case::checked(3, 2);
    case.settle_with_agents();
    case.pass(60);
    case.said.clear();
    case
}

/// Agents start and end what they shall; of the health of `family`'s tasks they say this.
fn agents(case: &mut Case, family: &str, health: Option<HealthStatus>) {
    case.report(|t| match (t.is_wanted(), t.last_status) {
        (_, s) if s.is_stopped() => None,
        (true, _) => Some((TaskStatus::Running, None)),
        (false, _) => Some((TaskStatus::Stopped, Some(0))),
    });
    case.check(|t| match t.task_definition.family == family {
        true => health,
        false => Some(HealthStatus::Healthy),
    });
}

fn wanted(case: &Case, family: &str) -> usize {
    let of_it = |t: &&wharf_model::Task| t.is_wanted() && t.task_definition.family == family;
    case.tasks().iter().filter(of_it).count()
}

#[test]
fn a_service_is_steady_once_its_tasks_are_healthy() {
    let mut case = Case::checked(2, 1);
    for _ in 0..10 {
        case.settle();
        agents(&mut case, "app", None);
        case.pass(60);
    }
    case.said(expect![[r#"
        (service web) has started 1 tasks: (task 0).
    "#]]);
    assert_eq!(case.service().deployments[0].rollout_state, RolloutState::InProgress);
    agents(&mut case, "app", Some(HealthStatus::Healthy));
    case.settle();
    case.said(expect![[r#"
        (service web) (deployment ecs-svc/1000000000000000004) deployment completed.
        (service web) has reached a steady state.
    "#]]);
}

#[test]
fn an_update_waits_for_healthy_and_then_for_nothing_else() {
    let mut case = steady();
    case.deploy_this(fixture::checked("next"));
    for _ in 0..5 {
        case.settle();
        agents(&mut case, "next", None);
        case.pass(60);
    }
    assert_eq!((wanted(&case, "app"), wanted(&case, "next")), (2, 2));
    agents(&mut case, "next", Some(HealthStatus::Healthy));
    case.settle();
    assert_eq!((wanted(&case, "app"), wanted(&case, "next")), (0, 2), "at once");
    case.settle_with_agents();
    assert_eq!(case.service().deployments[0].rollout_state, RolloutState::Completed);
}

#[test]
fn a_revision_that_is_never_healthy_costs_nothing_and_trips_the_breaker() {
    let mut case = steady();
    case.world.change(&case.key.clone(), |s| {
        s.deployment_configuration.circuit_breaker_enable = true;
    });
    case.deploy_this(fixture::checked("next"));
    for _ in 0..60 {
        if let Some(at) = case.settle() {
            case.world.now = case.world.now.max(at);
        }
        assert_eq!(wanted(&case, "app"), 2);
        agents(&mut case, "next", None);
        // Long enough to be forgiven, if running were enough.
        case.pass(15);
        case.settle();
        agents(&mut case, "next", Some(HealthStatus::Unhealthy));
    }
    let service = case.service();
    assert_eq!(service.deployments[0].rollout_state, RolloutState::Failed);
    assert!(service.deployments[0].failed_tasks >= 3);
}

#[test]
fn what_is_unhealthy_in_the_grace_period_is_replaced_after_it() {
    let mut case = steady();
    case.world.change(&case.key.clone(), |s| s.health_check_grace_period_seconds = Some(300));
    let sick = case.tasks().remove(0);
    case.tell(&sick, HealthStatus::Unhealthy);
    let ends = sick.started_at.map(|at| at.plus(Duration::from_secs(300)));
    assert_eq!(case.settle(), ends);
    case.said(expect![""]);
    case.world.now = ends.expect("it was started");
    case.settle();
    case.said(expect![[r#"
        (service web) has started 1 tasks: (task 0).
    "#]]);
}
