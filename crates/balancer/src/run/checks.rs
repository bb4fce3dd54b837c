//! The checks of targets: a task for each, which tells when health changes.

use super::probe::{Plan, probe};
use crate::live::TargetState;
use crate::targets::{Machine, Thresholds};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use wharf_model::load_balancing::{TargetGroup, TargetHealth};

/// Checks under way at once.
const AT_ONCE: usize = 512;

/// How the targets of a group are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Checking {
    plan: Plan,
    thresholds: Thresholds,
}

impl Checking {
    /// None if they aren't.
    pub(super) fn new(group: &TargetGroup) -> Option<Arc<Self>> {
        let check = &group.health_check;
        check.enabled.then(|| {
            Arc::new(Self {
                plan: Plan::new(group),
                thresholds: Thresholds {
                    healthy: check.healthy_threshold.max(1),
                    unhealthy: check.unhealthy_threshold.max(1),
                    interval: Duration::from_secs(check.interval_seconds.max(1).into()),
                },
            })
        })
    }
}

/// A change of a target's health.
pub(super) struct Change {
    pub(super) serial: u64,
    pub(super) target: Arc<TargetState>,
    pub(super) health: TargetHealth,
}

/// Starts checks.
#[derive(Clone)]
pub(super) struct Checker {
    changes: mpsc::UnboundedSender<Change>,
    at_once: Arc<Semaphore>,
}

impl Checker {
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Change>) {
        let (changes, receiver) = mpsc::unbounded_channel();
        (Self { changes, at_once: Arc::new(Semaphore::new(AT_ONCE)) }, receiver)
    }

    /// Checks a target, at once and then until `stop`.
    pub(super) fn start(
        &self,
        target: &Arc<TargetState>,
        known: &TargetHealth,
        checking: &Arc<Checking>,
    ) -> CancellationToken {
        let stop = CancellationToken::new();
        let machine = Machine::resume(known);
        let task = check(self.clone(), Arc::clone(target), machine, Arc::clone(checking));
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = task => {}
            }
        });
        stop
    }
}

async fn check(
    checker: Checker,
    target: Arc<TargetState>,
    mut machine: Machine,
    checking: Arc<Checking>,
) {
    let mut told = machine.health();
    loop {
        let (outcome, took) = {
            let Ok(_permit) = checker.at_once.acquire().await else { return };
            let began = Instant::now();
            (probe(&checking.plan, &target).await, began.elapsed())
        };
        let verdict = machine.take(&outcome, took, &checking.thresholds);
        if verdict.health != told {
            told = verdict.health;
            let change =
                Change { serial: target.serial, target: Arc::clone(&target), health: told.clone() };
            if checker.changes.send(change).is_err() {
                return;
            }
        }
        tokio::time::sleep(verdict.next).await;
    }
}
