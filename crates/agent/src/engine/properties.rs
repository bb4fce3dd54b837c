//! Properties of the engine under random tasks, outcomes, orders, crashes and stops.

use std::collections::BTreeMap;

use proptest::prelude::*;
use wharf_runtime::state::{ExitReason, Timings};
use wharf_runtime::{ContainerInfo, ContainerStatus, ExitStatus, NetworkMode, SandboxInfo};

use super::*;
use crate::engine::state::{Desired, SandboxPhase};
use crate::task::{Condition, Container, Dependency, HealthCheck, RestartPolicy, Task, fixtures};

/// A host that does what the machine asks for, in whatever order and with whatever outcome the
/// choices say.
struct World {
    machine: Machine,
    saved: String,
    now_ms: u64,
    pending: Vec<Effect>,
    sandbox: bool,
    containers: BTreeMap<usize, ContainerStatus>,
    stop_sent: Vec<usize>,
    /// The exit codes that really were.
    codes: BTreeMap<usize, i32>,
    submitted: Vec<TaskStateChange>,
    floor: Vec<Known>,
}

impl World {
    fn new(task: Task) -> Self {
        let floor = vec![Known::None; task.containers.len()];
        let machine = Machine::new(task);
        let saved = serde_json::to_string(&machine).unwrap();
        let mut world = Self {
            machine,
            saved,
            now_ms: 1_000_000,
            pending: Vec::new(),
            sandbox: false,
            containers: BTreeMap::new(),
            stop_sent: Vec::new(),
            codes: BTreeMap::new(),
            submitted: Vec::new(),
            floor,
        };
        world.input(Input::Resume);
        world
    }

    fn input(&mut self, input: Input) {
        let before: Vec<Known> = self.machine.state.containers.iter().map(|c| c.known).collect();
        let known = self.machine.state.known;
        let output = self.machine.handle(input, self.now_ms);
        for (before, after) in before.iter().zip(&self.machine.state.containers) {
            assert!(*before <= after.known, "a container went back");
        }
        assert!(known <= self.machine.state.known, "the task went back");
        self.take(output);
    }

    fn take(&mut self, output: Output) {
        if output.save {
            self.saved = serde_json::to_string(&self.machine).unwrap();
        }
        for effect in output.effects {
            self.check(&effect);
            self.pending.push(effect);
        }
    }

    fn check(&self, effect: &Effect) {
        let task = &self.machine.task;
        let states = &self.machine.state.containers;
        match effect {
            Effect::Create(index) => {
                assert!(self.sandbox, "a container without a sandbox");
                assert!(!self.containers.contains_key(index), "a container is made twice");
                for on in &task.containers[*index].depends_on {
                    let other = self.machine.index_of(&on.container).unwrap();
                    let state = &states[other];
                    assert!(state.started_at_ms.is_some(), "before its dependency started");
                    match on.condition {
                        Condition::Complete => assert_eq!(state.known, Known::Stopped),
                        Condition::Success => assert_eq!(state.exit_code, Some(0)),
                        Condition::Healthy => {
                            assert!(state.is_up() && state.health == Health::Healthy);
                        }
                        Condition::Start => {}
                    }
                }
                assert_eq!(self.machine.state.desired, Desired::Running);
            }
            Effect::Start(_) => assert_eq!(self.machine.state.desired, Desired::Running),
            Effect::Restart(index) => {
                assert_eq!(self.machine.state.desired, Desired::Running);
                let policy = task.containers[*index].restart_policy.as_ref().expect("a policy");
                let Some(ContainerStatus::Exited(exit)) = self.containers.get(index) else {
                    panic!("a container is restarted that hasn't ended");
                };
                assert!(!policy.ignored_exit_codes.contains(&exit.code));
                let ran_ms = exit.at_ms - exit.started_at_ms.unwrap();
                assert!(ran_ms >= policy.attempt_period_s * 1000, "it ran {ran_ms} ms");
            }
            Effect::Stop(index) => {
                let name = &task.containers[*index].name;
                for (other, state) in task.containers.iter().zip(states) {
                    if other.depends_on.iter().any(|on| &on.container == name) {
                        assert_eq!(state.known, Known::Stopped, "before what depends on it");
                    }
                }
            }
            Effect::RemoveSandbox => {
                assert!(states.iter().all(|state| state.known == Known::Stopped));
            }
            _ => {}
        }
    }

    fn perform(&mut self, effect: Effect, fail: bool) -> Option<Input> {
        let failure = || Failure::new("TestError", "as the dice fell");
        Some(match effect {
            Effect::Pull(index) if fail => Input::Failed { index, failure: failure() },
            Effect::Pull(index) => {
                Input::Pulled { index, image_digest: Some("sha256:0".into()), image_id: None }
            }
            Effect::CreateSandbox if fail => Input::SandboxFailed(failure()),
            Effect::CreateSandbox => {
                self.sandbox = true;
                Input::SandboxReady
            }
            Effect::Create(index) | Effect::Start(index) if fail => {
                self.containers.remove(&index);
                Input::Failed { index, failure: failure() }
            }
            Effect::Create(index) => {
                self.containers.insert(index, ContainerStatus::Created { pid: 1 });
                let runtime_id = format!("{index:064x}");
                Input::Created { index, runtime_id, ports: Vec::new(), address: None }
            }
            Effect::Start(index) => {
                let at_ms = self.now_ms;
                let status = ContainerStatus::Running { pid: 1, started_at_ms: at_ms };
                self.containers.insert(index, status);
                Input::Started { index, at_ms }
            }
            Effect::Restart(index) if fail => {
                self.containers.remove(&index);
                Input::Failed { index, failure: failure() }
            }
            Effect::Restart(index) => {
                let status = ContainerStatus::Running { pid: 2, started_at_ms: self.now_ms };
                self.containers.insert(index, status);
                Input::Restarted { index }
            }
            Effect::Stop(index) => {
                self.stop_sent.push(index);
                return None;
            }
            Effect::Kill(index) => return self.exit(index, 137),
            Effect::RemoveSandbox if fail => Input::SandboxRemoveFailed("busy".into()),
            Effect::RemoveSandbox => {
                self.sandbox = false;
                self.containers.clear();
                Input::SandboxRemoved
            }
            Effect::Report(change) => {
                self.submitted.push(change);
                Input::Reported
            }
        })
    }

    fn exit(&mut self, index: usize, code: i32) -> Option<Input> {
        let Some(ContainerStatus::Running { started_at_ms, .. }) = self.containers.get(&index)
        else {
            return None;
        };
        let status = ExitStatus {
            code,
            signal: None,
            oom_killed: false,
            at_ms: self.now_ms,
            reason: ExitReason::Exited,
            started_at_ms: Some(*started_at_ms),
        };
        self.containers.insert(index, ContainerStatus::Exited(status.clone()));
        self.codes.insert(index, code);
        Some(Input::Exited { index, status })
    }

    /// Reports are carried out in order; everything else in any.
    fn pick(&mut self, choice: usize) -> Option<Effect> {
        if self.pending.is_empty() {
            return None;
        }
        let mut at = choice % self.pending.len();
        if matches!(self.pending[at], Effect::Report(_)) {
            at = self.pending.iter().position(|e| matches!(e, Effect::Report(_))).unwrap();
        }
        Some(self.pending.remove(at))
    }

    /// kill -9: what is on disk and in the runtime is all that is left. Effects under way may or
    /// may not have been carried out.
    fn crash(&mut self, choice: usize) {
        for (nth, effect) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            let is_report = matches!(effect, Effect::Report(_));
            if !is_report && (choice >> (nth % 8)) & 1 == 1 {
                self.perform(effect, false);
            }
        }
        let before = self.machine.state.containers.clone();
        self.machine = serde_json::from_str(&self.saved).unwrap();
        self.stop_sent.clear();
        let info = self.sandbox.then(|| self.info());
        let output = self.machine.recover(info.as_ref(), self.now_ms);
        for (before, after) in before.iter().zip(&self.machine.state.containers) {
            let same = before.restarts == after.restarts;
            if same && before.is_up() && after.is_up() {
                assert_eq!(before.health, after.health, "health outlives the agent");
            }
        }
        for (index, status) in &self.containers {
            let known = self.machine.state.containers[*index].known;
            match status {
                ContainerStatus::Running { .. } => assert_eq!(known, Known::Running, "adopted"),
                ContainerStatus::Exited(_) => {
                    let restarts = self.machine.state.containers[*index].restarts.under_way;
                    assert!(known == Known::Stopped || restarts, "exit is seen");
                }
                ContainerStatus::Created { .. } => assert!(known >= Known::Created),
            }
        }
        self.take(output);
    }

    fn info(&self) -> SandboxInfo {
        let container = |(index, status): (&usize, &ContainerStatus)| ContainerInfo {
            name: self.machine.task.containers[*index].name.clone(),
            runtime_id: format!("{index:064x}"),
            status: status.clone(),
            address: None,
            mac: None,
            ports: Vec::new(),
            labels: BTreeMap::new(),
            cgroup: String::new(),
            timings: Timings::default(),
        };
        SandboxInfo {
            id: self.machine.task.id.clone(),
            shim_pid: Some(1),
            network: NetworkMode::Bridge,
            address: None,
            labels: BTreeMap::new(),
            containers: self.containers.iter().map(container).collect(),
            created_at_ms: 0,
        }
    }

    fn step(&mut self, kind: u8, choice: usize) {
        self.now_ms += 100;
        let input = match kind {
            0..=10 => self.pick(choice).and_then(|effect| self.perform(effect, choice % 29 == 7)),
            11 => self.exit(choice % self.floor.len(), 0),
            12 => self.exit(choice % self.floor.len(), 1),
            13 => {
                self.now_ms += 7_000;
                Some(Input::Tick)
            }
            14 if choice.is_multiple_of(4) => Some(Input::Stop),
            15 => {
                self.crash(choice);
                None
            }
            16 => Some(Input::Health {
                index: choice % self.floor.len(),
                health: [Health::Healthy, Health::Unhealthy][choice / 8 % 2],
                code: 0,
                output: String::new(),
            }),
            _ => None,
        };
        if let Some(input) = input {
            self.input(input);
        }
    }

    /// From here on nothing fails; stopped containers end when they are told to, or are killed.
    fn settle(&mut self) {
        self.input(Input::Stop);
        for _ in 0..2_000 {
            if self.machine.is_finished() && self.pending.is_empty() {
                return;
            }
            let input = match self.pick(0) {
                Some(effect) => self.perform(effect, false),
                None => {
                    let at = self.machine.deadline(self.now_ms).expect("it waits for nothing");
                    self.now_ms = self.now_ms.max(at);
                    Some(Input::Tick)
                }
            };
            if let Some(input) = input {
                self.input(input);
            }
        }
        panic!("the task didn't end");
    }

    fn check_reports(&self) {
        let mut status = None;
        let mut containers: BTreeMap<&str, Known> = BTreeMap::new();
        for report in &self.submitted {
            assert!(report.status >= status, "the reported status went back");
            status = report.status;
            for change in &report.containers {
                let last = containers.entry(&change.name).or_default();
                assert!(change.status >= *last, "a reported container went back");
                *last = change.status;
            }
        }
        assert_eq!(status, Some(TaskStatus::Stopped), "STOPPED is the last word");
        for container in &self.machine.task.containers {
            let last = containers.get(container.name.as_str());
            assert_eq!(last, Some(&Known::Stopped), "{} was told STOPPED", container.name);
        }
        for (index, code) in &self.codes {
            let name = &self.machine.task.containers[*index].name;
            let told = self.submitted.iter().flat_map(|report| &report.containers);
            let mut told = told.filter(|c| &c.name == name && c.status == Known::Stopped);
            assert!(told.all(|change| change.exit_code == Some(*code)), "{name}'s exit code");
        }
        assert!(!self.sandbox, "the sandbox is gone");
        assert_eq!(self.machine.state.sandbox, SandboxPhase::Gone);
    }
}

/// A container of a random task: whether it is essential, what it depends on (which earlier one,
/// which condition), startTimeout, stopTimeout, and the attempt period of its restart policy.
type Draft = (bool, Vec<(prop::sample::Index, usize)>, u64, u64, u64);

fn drafts() -> impl Strategy<Value = Vec<Draft>> {
    let on = (any::<prop::sample::Index>(), 0..4usize);
    let container = (any::<bool>(), prop::collection::vec(on, 0..3), 0..3u64, 0..5u64, 0..4u64);
    prop::collection::vec(container, 1..5)
}

fn task_of(drafts: Vec<Draft>) -> Task {
    let conditions =
        [Condition::Start, Condition::Complete, Condition::Success, Condition::Healthy];
    let check = HealthCheck {
        command: vec!["true".to_owned()],
        interval_ms: 1000,
        timeout_ms: 1000,
        retries: 1,
        start_period_ms: 0,
    };
    let made = |(nth, (essential, on, start_timeout, stop_timeout, restarts)): (usize, Draft)| {
        let mut container: Container = fixtures::container(&format!("c{nth}"));
        container.essential = essential || nth == 0;
        container.start_timeout_s = (start_timeout > 0).then_some(start_timeout * 10);
        container.stop_timeout_s = stop_timeout;
        container.health_check = Some(check.clone());
        container.restart_policy = (restarts > 0)
            .then(|| RestartPolicy { ignored_exit_codes: vec![1], attempt_period_s: restarts });
        if nth > 0 {
            container.depends_on.extend(on.into_iter().map(|(other, condition)| Dependency {
                container: format!("c{}", other.index(nth)),
                condition: conditions[condition],
            }));
        }
        container
    };
    fixtures::task(drafts.into_iter().enumerate().map(made).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn every_task_ends_in_order_and_nothing_goes_back(
        drafts in drafts(),
        steps in prop::collection::vec((0..17u8, any::<usize>()), 0..120),
    ) {
        let mut world = World::new(task_of(drafts));
        for (kind, choice) in steps {
            world.step(kind, choice);
        }
        world.settle();
        world.check_reports();
    }

    #[test]
    fn a_task_left_alone_runs(drafts in drafts()) {
        let mut world = World::new(task_of(drafts));
        let mut waits = false;
        for _ in 0..500 {
            let Some(effect) = world.pick(0) else {
                // Whatever waits for COMPLETE or SUCCESS needs an exit.
                let running: Vec<usize> = world.containers.iter()
                    .filter(|(_, s)| matches!(s, ContainerStatus::Running { .. }))
                    .map(|(i, _)| *i)
                    .collect();
                waits = world.machine.state.known < TaskStatus::Running;
                if !waits || running.is_empty() {
                    break;
                }
                let index = running[0];
                if let Some(input) = world.exit(index, 0) {
                    world.input(input);
                }
                continue;
            };
            if let Some(input) = world.perform(effect, false) {
                world.input(input);
            }
        }
        let state = &world.machine.state;
        prop_assert!(state.known >= TaskStatus::Running || waits
            || state.desired == Desired::Stopped);
    }
}
