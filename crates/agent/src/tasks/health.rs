//! A container's health check, run by exec in the container; what follows from its results is
//! decided by [`Checker`].

use std::time::Duration;

use tokio::time::Instant;
use wharf_runtime::{ContainerStatus, Error, ExecSpec, Runtime};

use crate::engine::Health;
use crate::engine::check::Checker;
use crate::task::{HealthCheck, Task};

/// The most of a check's output that is kept: docker's limit.
const MAX_OUTPUT_BYTES: usize = 4096;
/// The exit code of a check that took too long or couldn't be run, as docker has it.
const NO_CODE: i32 = -1;

/// A verdict that has changed, and the check that it follows from.
pub(super) struct Verdict {
    pub(super) health: Health,
    pub(super) code: i32,
    pub(super) output: String,
}

/// Checks a container that has been running for `running`, and of which `health` is known, until
/// `tell` answers false or the container has ended.
pub(super) async fn watch(
    runtime: &Runtime,
    task: &Task,
    index: usize,
    check: &HealthCheck,
    (health, running): (Health, Duration),
    tell: impl Fn(Verdict) -> bool,
) {
    let name = &task.containers[index].name;
    let began = Instant::now();
    let running_ms = || {
        let running = running.saturating_add(began.elapsed());
        u64::try_from(running.as_millis()).unwrap_or(u64::MAX)
    };
    let mut checker = Checker::new(check.clone(), health);
    let mut last = health;
    loop {
        let begun_ms = running_ms();
        let Some((code, output)) = run(runtime, task, name, check).await else { return };
        let health = checker.take(code == 0, begun_ms);
        if health != last && !tell(Verdict { health, code, output }) {
            return;
        }
        last = health;
        tokio::time::sleep(Duration::from_millis(checker.pause_ms(running_ms()))).await;
    }
}

/// One check: exit code and output; nothing if the container has ended, of which it says nothing.
async fn run(
    runtime: &Runtime,
    task: &Task,
    name: &str,
    check: &HealthCheck,
) -> Option<(i32, String)> {
    let spec = ExecSpec {
        args: check.command.clone(),
        env: Vec::new(),
        cwd: String::new(),
        user: String::new(),
    };
    let limit = Duration::from_millis(check.timeout_ms);
    let result = match runtime.exec(&task.id, name, spec, limit).await {
        Ok(done) => {
            let kept = &done.output[..done.output.len().min(MAX_OUTPUT_BYTES)];
            (done.code, String::from_utf8_lossy(kept).into_owned())
        }
        Err(Error::TimedOut { .. }) => {
            let text = format!("Health check exceeded timeout ({}s)", limit.as_secs());
            (NO_CODE, text)
        }
        Err(error) => (NO_CODE, error.to_string()),
    };
    if result.0 != 0 {
        let info = runtime.sandbox(&task.id).await.ok()?;
        let container = info.containers.into_iter().find(|container| container.name == name)?;
        let ContainerStatus::Running { .. } = container.status else { return None };
    }
    Some(result)
}
