//! A container's health check: docker's rules, run by exec in the container.

use std::time::Duration;

use tokio::time::Instant;
use wharf_runtime::{ExecSpec, Runtime};

use crate::engine::Health;
use crate::task::{HealthCheck, Task};

/// Checks until `tell` answers false or the container has ended. The first check comes at once:
/// docker waits for an interval first, which only costs time.
pub(super) async fn watch(
    runtime: &Runtime,
    task: &Task,
    index: usize,
    check: &HealthCheck,
    tell: impl Fn(Health) -> bool,
) {
    let name = &task.containers[index].name;
    let began = Instant::now();
    let grace = Duration::from_millis(check.start_period_ms);
    let (mut last, mut failures) = (Health::Unknown, 0u32);
    loop {
        let spec = ExecSpec {
            args: check.command.clone(),
            env: Vec::new(),
            cwd: String::new(),
            user: String::new(),
        };
        let limit = Duration::from_millis(check.timeout_ms);
        let health = match runtime.exec(&task.id, name, spec, limit).await {
            Ok(output) if output.code == 0 => {
                failures = 0;
                Health::Healthy
            }
            Err(
                wharf_runtime::Error::NoSandbox(_)
                | wharf_runtime::Error::NoContainer { .. }
                | wharf_runtime::Error::ShimLost(_),
            ) => return,
            Ok(_) | Err(_) => {
                // Within the start period failures count only after a first success.
                if began.elapsed() >= grace || last != Health::Unknown {
                    failures = failures.saturating_add(1);
                }
                if failures >= check.retries { Health::Unhealthy } else { last }
            }
        };
        if health != last && !tell(health) {
            return;
        }
        last = health;
        tokio::time::sleep(Duration::from_millis(check.interval_ms)).await;
    }
}
