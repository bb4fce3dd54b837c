//! `healthCheck` and `restartPolicy` of a container. Where a member isn't sent, the health check
//! has ECS's default and is described with it; a restart policy is described as it was sent.

use super::Error;
use std::ops::RangeInclusive;
use wharf_model::task_definition::{HealthCheck, RestartPolicy};
use wharf_wire::ecs::types;

// ECS API `HealthCheck`, seconds (and a count).
const INTERVAL: (i32, RangeInclusive<i32>) = (30, 5..=300);
const TIMEOUT: (i32, RangeInclusive<i32>) = (5, 2..=60);
const RETRIES: (i32, RangeInclusive<i32>) = (3, 1..=10);
const START_PERIOD: RangeInclusive<i32> = 0..=300;
/// ECS API `ContainerRestartPolicy$restartAttemptPeriod`, seconds.
const ATTEMPT_PERIOD: RangeInclusive<i32> = 60..=1800;
/// The most exit codes that a restart policy ignores.
const MAX_IGNORED_EXIT_CODES: usize = 50;

/// The health check, complete.
pub(super) fn check(container: &str, sent: &types::HealthCheck) -> Result<HealthCheck, Error> {
    let command = sent.command.clone().unwrap_or_default();
    let known = match command.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["NONE"] => true,
        ["CMD", ..] => command.len() > 1,
        // A shell takes one line.
        ["CMD-SHELL", line] => !line.is_empty(),
        _ => false,
    };
    if !known {
        return Err(Error::HealthCheckCommand(container.to_owned()));
    }
    let with_default = |member, sent, (default, range): (i32, RangeInclusive<i32>)| {
        Ok(within(container, member, sent, range)?.unwrap_or(default))
    };
    Ok(HealthCheck {
        interval: with_default("healthCheck.interval", sent.interval, INTERVAL)?,
        timeout: with_default("healthCheck.timeout", sent.timeout, TIMEOUT)?,
        retries: with_default("healthCheck.retries", sent.retries, RETRIES)?,
        start_period: within(
            container,
            "healthCheck.startPeriod",
            sent.start_period,
            START_PERIOD,
        )?,
        command,
    })
}

/// The restart policy, if it asks for restarts.
pub(super) fn restart_policy(
    container: &str,
    sent: &types::ContainerRestartPolicy,
) -> Result<Option<RestartPolicy>, Error> {
    let period = sent.restart_attempt_period;
    let member = "restartPolicy.restartAttemptPeriod";
    let restart_attempt_period = within(container, member, period, ATTEMPT_PERIOD)?;
    let codes = sent.ignored_exit_codes.as_deref().unwrap_or_default();
    if codes.len() > MAX_IGNORED_EXIT_CODES {
        let member = "restartPolicy.ignoredExitCodes";
        return Err(Error::ContainerSetting { member, container: container.to_owned() });
    }
    if sent.enabled == Some(true) {
        let ignored_exit_codes = sent.ignored_exit_codes.clone();
        return Ok(Some(RestartPolicy { ignored_exit_codes, restart_attempt_period }));
    }
    match (codes, restart_attempt_period) {
        ([], None) => Ok(None),
        _ => Err(Error::RestartPolicyOff(container.to_owned())),
    }
}

/// The value, if it isn't out of range.
pub(super) fn within(
    container: &str,
    member: &'static str,
    sent: Option<i32>,
    range: RangeInclusive<i32>,
) -> Result<Option<i32>, Error> {
    match sent {
        Some(value) if !range.contains(&value) => Err(Error::ContainerSettingRange {
            member,
            container: container.to_owned(),
            least: *range.start(),
            most: *range.end(),
        }),
        value => Ok(value),
    }
}
