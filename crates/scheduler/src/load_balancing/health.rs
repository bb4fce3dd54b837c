//! The health that is shown of a target: what a balancer said of it, where that counts.

use super::usage::Usage;
use std::collections::BTreeMap;
use wharf_model::Snapshot;
use wharf_model::load_balancing::{
    HealthReason, HealthState, Report, Target, TargetGroup, TargetHealth, TargetKey,
};

/// What the balancer reported last of each target. Soft state: lost without harm.
#[derive(Debug, Clone, Default)]
pub struct TargetHealthBoard(BTreeMap<TargetKey, TargetHealth>);

impl TargetHealthBoard {
    /// Takes a balancer's report.
    pub fn apply(&mut self, report: &Report) {
        if report.complete {
            self.0.clear();
        }
        self.0.extend(report.health.iter().cloned());
    }

    /// What the balancer said of a target; `None` before its first report of it.
    pub fn health(&self, key: &TargetKey) -> Option<&TargetHealth> {
        self.0.get(key)
    }

    /// Forgets targets that aren't registered any more, so that the next of the same address and
    /// port begins anew.
    pub fn retain(&mut self, snapshot: &Snapshot) {
        self.0.retain(|key, _| snapshot.target(key).is_some());
    }
}

fn health_of(state: HealthState, reason: HealthReason, description: &str) -> TargetHealth {
    let description = Some(description.to_owned());
    TargetHealth { state, reason: Some(reason), description }
}

/// A target's health as DescribeTargetHealth shows it. `reported` is what the balancer said last.
pub fn health(
    usage: &Usage,
    group: &TargetGroup,
    target: &Target,
    reported: Option<TargetHealth>,
) -> TargetHealth {
    if target.deregistered_at.is_some() {
        return health_of(
            HealthState::Draining,
            HealthReason::DeregistrationInProgress,
            "Target deregistration is in progress",
        );
    }
    if !usage.is_used(&group.path()) {
        return health_of(
            HealthState::Unused,
            HealthReason::NotInUse,
            "Target group is not configured to receive traffic from the load balancer",
        );
    }
    reported.filter(|health| health.state != HealthState::Draining).unwrap_or_else(|| {
        health_of(
            HealthState::Initial,
            HealthReason::RegistrationInProgress,
            "Target registration is in progress",
        )
    })
}

/// What is said of a target that isn't registered.
pub fn not_registered() -> TargetHealth {
    health_of(
        HealthState::Unused,
        HealthReason::NotRegistered,
        "Target is not registered to the target group",
    )
}
