//! `dependsOn`: which containers may be made, and which must end before which.

use super::state::{ContainerState, Health, Known};
use crate::task::{Condition, Container, Dependency, Task};

/// Why a task's dependencies can't be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A dependency names no container of the task.
    #[error("container {container} depends on {dependency}, which is not in the task")]
    Missing {
        /// The container with the dependency.
        container: String,
        /// The missing name.
        dependency: String,
    },
    /// The dependencies go round in a circle.
    #[error("the dependencies of container {0} go round in a circle")]
    Cycle(String),
    /// HEALTHY is asked of a container without a health check.
    #[error(
        "container {container} waits for {dependency} to be HEALTHY, which has no health check"
    )]
    NoHealthCheck {
        /// The container with the dependency.
        container: String,
        /// The container without a check.
        dependency: String,
    },
}

/// Refuses dependencies that can never be fulfilled.
pub fn check(containers: &[Container]) -> Result<(), Error> {
    for container in containers {
        for dependency in &container.depends_on {
            let Some(other) = containers.iter().find(|other| other.name == dependency.container)
            else {
                return Err(Error::Missing {
                    container: container.name.clone(),
                    dependency: dependency.container.clone(),
                });
            };
            if dependency.condition == Condition::Healthy && other.health_check.is_none() {
                return Err(Error::NoHealthCheck {
                    container: container.name.clone(),
                    dependency: other.name.clone(),
                });
            }
        }
    }
    acyclic(containers)
}

/// Takes away, again and again, the containers whose dependencies are all taken away already.
fn acyclic(containers: &[Container]) -> Result<(), Error> {
    let mut left: Vec<&Container> = containers.iter().collect();
    loop {
        let names: Vec<&str> = left.iter().map(|container| container.name.as_str()).collect();
        let before = left.len();
        left.retain(|container| {
            container.depends_on.iter().any(|on| names.contains(&on.container.as_str()))
        });
        match left.first() {
            None => return Ok(()),
            Some(container) if left.len() == before => {
                return Err(Error::Cycle(container.name.clone()));
            }
            Some(_) => {}
        }
    }
}

/// Whether a container may be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Ready,
    /// It must wait; at this time (milliseconds since the epoch), if any, the wait is over.
    Wait(Option<u64>),
    /// It never will: why.
    Never(String),
}

/// Looks at all dependencies of `task.containers[index]`.
pub fn verdict(task: &Task, states: &[ContainerState], index: usize, now_ms: u64) -> Verdict {
    let mut verdict = Verdict::Ready;
    for dependency in &task.containers[index].depends_on {
        let found = task.containers.iter().zip(states);
        let Some((other, state)) =
            found.into_iter().find(|(other, _)| other.name == dependency.container)
        else {
            return Verdict::Never(format!("container {} does not exist", dependency.container));
        };
        verdict = match (verdict, one(dependency, other, state, now_ms)) {
            (_, Verdict::Never(why)) => return Verdict::Never(why),
            (Verdict::Wait(a), Verdict::Wait(b)) => Verdict::Wait(earliest(a, b)),
            (Verdict::Wait(at), _) | (_, Verdict::Wait(at)) => Verdict::Wait(at),
            (_, Verdict::Ready) => Verdict::Ready,
        };
    }
    verdict
}

fn one(on: &Dependency, other: &Container, state: &ContainerState, now_ms: u64) -> Verdict {
    let started = state.started_at_ms.is_some();
    let stopped = state.known == Known::Stopped;
    let name = &other.name;
    if stopped && !started {
        return Verdict::Never(format!("dependency {name} will never start"));
    }
    let fulfilled = match on.condition {
        Condition::Start => started,
        Condition::Complete => stopped,
        Condition::Success => stopped && state.exit_code == Some(0),
        Condition::Healthy => state.known == Known::Running && state.health == Health::Healthy,
    };
    if fulfilled {
        return Verdict::Ready;
    }
    match on.condition {
        Condition::Success if stopped => {
            return Verdict::Never(format!("dependency {name} did not exit successfully"));
        }
        Condition::Healthy if stopped => {
            return Verdict::Never(format!("dependency {name} ended before it was healthy"));
        }
        Condition::Start => return Verdict::Wait(None),
        _ => {}
    }
    // The clock of startTimeout runs from the dependency's start, as in Amazon's agent.
    let limit = other.start_timeout_s.filter(|seconds| *seconds > 0);
    match state.started_at_ms.zip(limit).map(|(at, s)| at.saturating_add(s.saturating_mul(1000))) {
        Some(at) if now_ms >= at => Verdict::Never(format!(
            "dependency {name} has timed out: it was not {} within {} seconds",
            on.condition.as_str(),
            limit.unwrap_or_default()
        )),
        at => Verdict::Wait(at),
    }
}

/// Whether `index` may get its stop signal: whatever depends on it must have ended.
pub fn may_stop(task: &Task, states: &[ContainerState], index: usize) -> bool {
    let name = &task.containers[index].name;
    let depends =
        |container: &Container| container.depends_on.iter().any(|on| &on.container == name);
    !task
        .containers
        .iter()
        .zip(states)
        .any(|(container, state)| depends(container) && state.known < Known::Stopped)
}

/// The earlier of two optional times.
pub(super) fn earliest(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
