//! The view after a restart of the agent: the file on disk says what was wanted and what was
//! decided, the runtime says what is.

use wharf_runtime::{ContainerInfo, ContainerStatus, ExitStatus, SandboxInfo};

use super::machine::{Failure, Input, Machine, Output};
use super::state::{Known, Phase, SandboxPhase, TaskStatus};

const SIGKILL: i32 = 9;

impl Machine {
    /// Takes over a task that another agent process left. `sandbox` is what the runtime has of
    /// it. Reports that weren't acknowledged are asked for again, in order.
    pub fn recover(&mut self, sandbox: Option<&SandboxInfo>, now_ms: u64) -> Output {
        for state in &mut self.state.containers {
            state.phase = Phase::Idle;
            // The image may have been cleaned away meanwhile; asking again costs a look-up.
            state.pulled = state.known >= Known::Created;
        }
        // An agent that died while it made the sandbox may leave one without a shim: nothing ran
        // in it, and making it again takes the remains away.
        let unborn = |info: &&SandboxInfo| info.shim_pid.is_none() && info.containers.is_empty();
        let sandbox = sandbox.filter(|info| !unborn(info));
        let had_sandbox = self.state.containers.iter().any(|state| state.known >= Known::Created);
        self.state.sandbox = match (sandbox, self.state.sandbox) {
            (Some(_), _) => SandboxPhase::Creating,
            (None, SandboxPhase::Absent | SandboxPhase::Creating) if !had_sandbox => {
                SandboxPhase::Absent
            }
            (None, _) => SandboxPhase::Gone,
        };
        let mut output = Output::default();
        output.effects.extend(self.state.outbox.iter().cloned().map(super::Effect::Report));
        if sandbox.is_some() {
            self.apply_quietly(Input::SandboxReady, now_ms);
        }
        for index in 0..self.state.containers.len() {
            let name = &self.task.containers[index].name;
            let info = sandbox.and_then(|s| s.containers.iter().find(|c| &c.name == name));
            for input in self.observe(index, info, now_ms) {
                self.apply_quietly(input, now_ms);
            }
        }
        if !self.state.changes.is_empty() {
            self.state.flush_at_ms.get_or_insert(now_ms);
        }
        let rest = self.handle(Input::Resume, now_ms);
        output.save |= rest.save;
        output.effects.extend(rest.effects);
        output
    }

    /// What must have happened to a container for the runtime to show it like this.
    fn observe(&self, index: usize, info: Option<&ContainerInfo>, now_ms: u64) -> Vec<Input> {
        let state = &self.state.containers[index];
        if state.known == Known::Stopped {
            return Vec::new();
        }
        let running = matches!(info.map(|i| &i.status), Some(ContainerStatus::Running { .. }));
        if state.restarts.under_way && running {
            return vec![Input::Restarted { index }];
        }
        let unmade = |info: &&ContainerInfo| state.known < Known::Created && is_remains(info);
        let Some(info) = info.filter(|info| !unmade(info)) else {
            let vanished = "the container was gone when the agent came back";
            return match state.known {
                Known::Created | Known::Running => vec![Input::Exited {
                    index,
                    status: ExitStatus {
                        code: 137,
                        signal: None,
                        oom_killed: false,
                        at_ms: now_ms,
                        reason: wharf_runtime::state::ExitReason::ShimLost,
                        started_at_ms: state.started_at_ms,
                    },
                }],
                _ if self.state.sandbox == SandboxPhase::Gone => {
                    let failure = Failure::new("ContainerVanishedError", vanished);
                    vec![Input::Failed { index, failure }]
                }
                _ => Vec::new(),
            };
        };
        let mut inputs = Vec::new();
        if state.known < Known::Created {
            inputs.push(Input::Created {
                index,
                runtime_id: info.runtime_id.clone(),
                ports: info.ports.clone(),
                address: info.address,
            });
        }
        match &info.status {
            ContainerStatus::Created { .. } => {}
            ContainerStatus::Running { started_at_ms, .. } => {
                inputs.push(Input::Started { index, at_ms: *started_at_ms });
            }
            ContainerStatus::Exited(status) => {
                inputs.push(Input::Exited { index, status: status.clone() });
            }
        }
        inputs
    }

    /// Whether every container has its state: false for a damaged file.
    pub fn is_consistent(&self) -> bool {
        self.task.containers.len() == self.state.containers.len()
    }

    /// Whether the control plane still has to hear anything of the task, or the task still runs.
    pub fn is_live(&self) -> bool {
        self.state.known < TaskStatus::Stopped
    }
}

/// Whether a container is what agents left that died while they made it: still without a process,
/// or killed by the next one, which took it away, before it was ever started. It is made anew.
fn is_remains(info: &ContainerInfo) -> bool {
    match &info.status {
        ContainerStatus::Created { pid } => *pid == 0,
        ContainerStatus::Exited(exit) => {
            exit.started_at_ms.is_none() && exit.signal == Some(SIGKILL) && !exit.oom_killed
        }
        ContainerStatus::Running { .. } => false,
    }
}
