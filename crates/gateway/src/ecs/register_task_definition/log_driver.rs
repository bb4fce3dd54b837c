//! `logConfiguration`: what the driver `awslogs` wants, in ECS's words.

use super::{Error, secrets, word};
use std::collections::BTreeMap;
use wharf_model::TaskDefinition;
use wharf_model::task_definition::LogConfiguration;
use wharf_wire::ecs::types;

const AWSLOGS: &str = "awslogs";

/// Options of the awslogs driver that are carried out.
pub(super) const AWSLOGS_OPTIONS: &[&str] = &[
    "awslogs-create-group",
    "awslogs-datetime-format",
    "awslogs-group",
    "awslogs-multiline-pattern",
    "awslogs-region",
    "awslogs-stream-prefix",
    "max-buffer-size",
    "mode",
];
/// Options that Amazon ECS takes as well; they are refused as what isn't carried out.
const AWSLOGS_OTHERS: &[&str] = &[
    "awslogs-credentials-endpoint",
    "awslogs-endpoint",
    "awslogs-force-flush-interval-seconds",
    "awslogs-format",
    "awslogs-max-buffered-events",
    "tag",
];

/// A container's log configuration.
pub(super) fn parse(sent: &types::LogConfiguration) -> Result<LogConfiguration, Error> {
    let driver = sent.log_driver.as_ref().ok_or(Error::Required("LogConfiguration.logDriver"))?;
    let allowed = types::LogDriver::VALUES;
    let log_driver = word("logDriver", driver.unknown(), allowed, driver.as_str())?;
    let options = sent.options.clone().unwrap_or_default();
    if log_driver == AWSLOGS {
        check_awslogs(&options)?;
    }
    let secret_options = secrets::secrets(sent.secret_options.as_deref().unwrap_or_default())?;
    Ok(LogConfiguration { log_driver, options, secret_options })
}

fn check_awslogs(options: &BTreeMap<String, String>) -> Result<(), Error> {
    let known = |name: &str| AWSLOGS_OPTIONS.contains(&name) || AWSLOGS_OTHERS.contains(&name);
    let unknown: Vec<&str> = options.keys().map(String::as_str).filter(|n| !known(n)).collect();
    if !unknown.is_empty() {
        return Err(Error::LogOptionsDisallowed(unknown.join(", ")));
    }
    let option = |name: &str| options.get(name).filter(|value| !value.is_empty());
    let missing: Vec<&str> = ["awslogs-group", "awslogs-region"]
        .into_iter()
        .filter(|name| option(name).is_none())
        .collect();
    if !missing.is_empty() {
        return Err(Error::LogOptionsMissing(missing.join(", ")));
    }
    let wrong = |name: &'static str| {
        let value = option(name).cloned().unwrap_or_default();
        Err(Error::LogOption { option: name, value })
    };
    if option("awslogs-create-group").is_some_and(|flag| !["true", "false"].contains(&&**flag)) {
        return wrong("awslogs-create-group");
    }
    if option("mode").is_some_and(|mode| !["blocking", "non-blocking"].contains(&&**mode)) {
        return wrong("mode");
    }
    if option("max-buffer-size").is_some_and(|size| !is_size(size)) {
        return wrong("max-buffer-size");
    }
    let patterns = option("awslogs-datetime-format").zip(option("awslogs-multiline-pattern"));
    if patterns.is_some() {
        return Err(Error::LogPatterns);
    }
    Ok(())
}

/// A number of bytes with one of docker's suffixes.
fn is_size(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let text = text.strip_suffix('b').unwrap_or(&text);
    let digits = text.strip_suffix(['k', 'm', 'g']).unwrap_or(text);
    digits.parse::<u32>().is_ok_and(|size| size > 0)
}

/// FARGATE names streams by a prefix, and writes to them by the execution role.
pub(super) fn check_fargate(definition: &TaskDefinition) -> Result<(), Error> {
    let logs = definition.containers.iter().filter_map(|c| c.log_configuration.as_ref());
    for log in logs.filter(|log| log.log_driver == AWSLOGS) {
        if !log.options.contains_key("awslogs-stream-prefix") {
            return Err(Error::FargateStreamPrefix);
        }
        if definition.execution_role_arn.is_none() {
            return Err(Error::FargateExecutionRole);
        }
    }
    Ok(())
}

/// There is one region: logs for another one would have nowhere to go.
pub(super) fn check_region(definition: &TaskDefinition, region: &str) -> Result<(), Error> {
    let logs = definition.containers.iter().filter_map(|c| c.log_configuration.as_ref());
    let regions = logs.filter_map(|log| log.options.get("awslogs-region"));
    match regions.into_iter().find(|other| *other != region) {
        Some(other) => Err(Error::LogRegion { wanted: other.clone(), served: region.to_owned() }),
        None => Ok(()),
    }
}
