//! Single stories of a task, step by step: the reports that Amazon's agent would make.

use wharf_runtime::ExitStatus;
use wharf_runtime::state::ExitReason;

use super::*;
use crate::task::{Container, Interface, Network, fixtures};

fn exit(code: i32, oom_killed: bool) -> ExitStatus {
    let reason = ExitReason::Exited;
    ExitStatus { code, signal: None, oom_killed, at_ms: 50, reason, started_at_ms: None }
}

/// A machine whose containers all run; with what it asked for and told until then.
pub(super) fn running(containers: Vec<Container>) -> (Machine, Vec<Effect>) {
    let mut machine = Machine::new(fixtures::task(containers));
    let mut effects = machine.handle(Input::Resume, 0).effects;
    effects.extend(machine.handle(Input::SandboxReady, 1).effects);
    for index in 0..machine.task.containers.len() {
        let pulled = Input::Pulled { index, image_digest: None, image_id: None };
        let created = Input::Created {
            index,
            runtime_id: format!("id{index}"),
            ports: Vec::new(),
            address: None,
        };
        for input in [pulled, created, Input::Started { index, at_ms: 5 }] {
            effects.extend(machine.handle(input, 5).effects);
        }
    }
    (machine, effects)
}

pub(super) fn reports(effects: &[Effect]) -> Vec<&TaskStateChange> {
    let report = |effect: &'_ Effect| matches!(effect, Effect::Report(_));
    effects
        .iter()
        .filter(|effect| report(effect))
        .map(|effect| match effect {
            Effect::Report(change) => change,
            _ => unreachable!("filtered"),
        })
        .collect()
}

#[test]
fn sandbox_and_pulls_go_side_by_side_and_running_is_told_once() {
    let (machine, effects) = running(vec![fixtures::container("a"), fixtures::container("b")]);
    assert_eq!(effects[..3], [Effect::CreateSandbox, Effect::Pull(0), Effect::Pull(1)]);
    let told = reports(&effects);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].status, Some(TaskStatus::Running));
    assert_eq!(told[0].containers.len(), 2);
    assert_eq!(machine.deadline(6), None);
}

#[test]
fn an_essential_exit_stops_the_others_with_their_timeout() {
    let mut sidecar = fixtures::container("sidecar");
    sidecar.essential = false;
    sidecar.stop_timeout_s = 2;
    let (mut machine, _) = running(vec![fixtures::container("app"), sidecar]);
    let output = machine.handle(Input::Exited { index: 0, status: exit(3, false) }, 1000);
    assert_eq!(output.effects, [Effect::Stop(1)]);
    assert!(output.save);
    assert_eq!(machine.deadline(1000), Some(1500), "the exit is told although the task goes on");
    let told = machine.handle(Input::Tick, 1500).effects;
    assert_eq!(reports(&told)[0].status, Some(TaskStatus::Running));
    assert_eq!(machine.deadline(1500), Some(3000));
    assert_eq!(machine.handle(Input::Tick, 3000).effects, [Effect::Kill(1)]);
    let output = machine.handle(Input::Exited { index: 1, status: exit(137, false) }, 3100);
    assert_eq!(output.effects, [Effect::RemoveSandbox]);
    let told = machine.handle(Input::SandboxRemoved, 3200).effects;
    let stopped = reports(&told)[0];
    assert_eq!(stopped.status, Some(TaskStatus::Stopped));
    assert_eq!(stopped.execution_stopped_at_ms, Some(1000));
    assert_eq!(stopped.containers.len(), 1, "the app's end was told before");
}

#[test]
fn a_nonessential_exit_changes_nothing() {
    let mut sidecar = fixtures::container("sidecar");
    sidecar.essential = false;
    let (mut machine, _) = running(vec![fixtures::container("app"), sidecar]);
    let output = machine.handle(Input::Exited { index: 1, status: exit(1, false) }, 10);
    assert_eq!(output.effects, []);
    assert_eq!(machine.state.known, TaskStatus::Running);
}

#[test]
fn memory_is_named_as_the_reason() {
    let (mut machine, _) = running(vec![fixtures::container("app")]);
    machine.handle(Input::Exited { index: 0, status: exit(137, true) }, 10);
    let told = machine.handle(Input::SandboxRemoved, 11).effects;
    let container = &reports(&told)[0].containers[0];
    let expected = "OutOfMemoryError: Container killed due to memory usage";
    assert_eq!(container.reason.as_deref(), Some(expected));
    assert_eq!(container.exit_code, Some(137));
}

#[test]
fn a_failed_pull_stops_the_task_and_its_sandbox() {
    let mut machine = Machine::new(fixtures::task(vec![fixtures::container("app")]));
    machine.handle(Input::Resume, 0);
    let failure = Failure::new("CannotPullContainerError", "no such image");
    let output = machine.handle(Input::Failed { index: 0, failure }, 7);
    assert_eq!(output.effects, [], "the sandbox is still being made");
    assert_eq!(machine.handle(Input::SandboxReady, 8).effects, [Effect::RemoveSandbox]);
    let told = machine.handle(Input::SandboxRemoved, 9).effects;
    let report = reports(&told)[0];
    assert_eq!((report.pull_started_at_ms, report.pull_stopped_at_ms), (Some(0), Some(7)));
    let reason = report.containers[0].reason.as_deref();
    assert_eq!(reason, Some("CannotPullContainerError: no such image"));
    assert_eq!(report.containers[0].exit_code, None);
}

#[test]
fn an_exit_that_overtakes_its_start_tells_both() {
    let mut machine = Machine::new(fixtures::task(vec![fixtures::container("app")]));
    machine.handle(Input::Resume, 0);
    machine.handle(Input::SandboxReady, 1);
    machine.handle(Input::Pulled { index: 0, image_digest: None, image_id: None }, 2);
    let created =
        Input::Created { index: 0, runtime_id: "id".to_owned(), ports: Vec::new(), address: None };
    assert_eq!(machine.handle(created, 3).effects, [Effect::Start(0)]);
    machine.handle(Input::Exited { index: 0, status: exit(0, false) }, 4);
    assert_eq!(machine.handle(Input::Started { index: 0, at_ms: 4 }, 5).effects, []);
    let told = machine.handle(Input::SandboxRemoved, 6).effects;
    let statuses: Vec<Known> = reports(&told)[0].containers.iter().map(|c| c.status).collect();
    assert_eq!(statuses, [Known::Running, Known::Stopped]);
}

#[test]
fn an_interface_is_told_attached_first() {
    let mut task = fixtures::task(vec![fixtures::container("app")]);
    let eni = wharf_runtime::spec::Eni {
        mac: "02:00:00:00:00:01".parse().unwrap(),
        address: "10.113.0.9".parse().unwrap(),
        prefix: 20,
        gateway: "10.113.0.1".parse().unwrap(),
        private_dns_name: None,
    };
    task.network = Network::Awsvpc(Interface { eni, attachment_arn: Some("arn:a".into()) });
    let mut machine = Machine::new(task);
    machine.handle(Input::Resume, 0);
    let told = machine.handle(Input::SandboxReady, 1).effects;
    let report = reports(&told)[0];
    assert_eq!((report.status, &report.attached), (None, &vec!["arn:a".to_owned()]));
}
