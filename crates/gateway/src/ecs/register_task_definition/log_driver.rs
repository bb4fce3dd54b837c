//! `logConfiguration` and `firelensConfiguration`: what each driver takes, in ECS's words where ECS
//! checks it and docker's where the daemon would.

use super::{Error, secrets, word};
use wharf_model::TaskDefinition;
use wharf_model::log_driver::{self, Driver, Options};
use wharf_model::task_definition::{FirelensConfiguration, LogConfiguration};
use wharf_wire::ecs::types;

/// A container's log configuration.
pub(super) fn parse(sent: &types::LogConfiguration) -> Result<LogConfiguration, Error> {
    let driver = sent.log_driver.as_ref().ok_or(Error::Required("LogConfiguration.logDriver"))?;
    let allowed = types::LogDriver::VALUES;
    let log_driver = word("logDriver", driver.unknown(), allowed, driver.as_str())?;
    let options = sent.options.clone().unwrap_or_default();
    // Another driver is refused by name, with everything else that isn't carried out.
    let secret_options = secrets::secrets(sent.secret_options.as_deref().unwrap_or_default())?;
    if let Some(driver) = Driver::parse(&log_driver) {
        let of_secrets: Vec<&str> = secret_options.iter().map(|(name, _)| &**name).collect();
        check_options(driver, &options, &of_secrets)?;
    }
    Ok(LogConfiguration { log_driver, options, secret_options })
}

/// `of_secrets` are the options whose values aren't known yet.
fn check_options(driver: Driver, options: &Options, of_secrets: &[&str]) -> Result<(), Error> {
    let name = driver.as_str();
    let known = |option: &str| driver.has(option) || driver.lacks(option);
    let all = options.keys().map(String::as_str).chain(of_secrets.iter().copied());
    let unknown: Vec<&str> = all.filter(|name| !known(name)).collect();
    if !unknown.is_empty() {
        let options = unknown.join(", ");
        return Err(Error::LogOptionsDisallowed { driver: name, options });
    }
    if driver == Driver::Awslogs {
        return check_awslogs(options, of_secrets);
    }
    log_driver::check(driver, options).map_err(|why| Error::LogOptionValue { driver: name, why })
}

fn check_awslogs(options: &Options, of_secrets: &[&str]) -> Result<(), Error> {
    let option = |name: &str| options.get(name).filter(|value| !value.is_empty());
    let missing: Vec<&str> = ["awslogs-group", "awslogs-region"]
        .into_iter()
        .filter(|name| option(name).is_none() && !of_secrets.contains(name))
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
    if option("max-buffer-size").is_some_and(|size| log_driver::parse_size(size).is_none()) {
        return wrong("max-buffer-size");
    }
    let patterns = option("awslogs-datetime-format").zip(option("awslogs-multiline-pattern"));
    if patterns.is_some() {
        return Err(Error::LogPatterns);
    }
    Ok(())
}

/// A container's `firelensConfiguration`.
pub(super) fn router(sent: &types::FirelensConfiguration) -> Result<FirelensConfiguration, Error> {
    let kind = sent.r#type.as_ref().ok_or(Error::Required("FirelensConfiguration.type"))?;
    let allowed = types::FirelensConfigurationType::VALUES;
    let kind = word("type", kind.unknown(), allowed, kind.as_str())?;
    let options = sent.options.clone().unwrap_or_default();
    let wrong = |option: &str| {
        let value = options.get(option).cloned().unwrap_or_default();
        Err(Error::FirelensOption { option: option.to_owned(), value })
    };
    for (name, value) in &options {
        let is_fine = match name.as_str() {
            METADATA => matches!(value.as_str(), "true" | "false"),
            CONFIG_TYPE => matches!(value.as_str(), "file" | "s3"),
            CONFIG_VALUE => !value.is_empty() && options.contains_key(CONFIG_TYPE),
            _ => false,
        };
        if !is_fine {
            return wrong(name);
        }
    }
    if options.contains_key(CONFIG_TYPE) && !options.contains_key(CONFIG_VALUE) {
        return wrong(CONFIG_VALUE);
    }
    if options.get(CONFIG_TYPE).is_some_and(|kind| kind == "s3")
        && !options.get(CONFIG_VALUE).is_some_and(|arn| secrets::is_object(arn))
    {
        return wrong(CONFIG_VALUE);
    }
    Ok(FirelensConfiguration { kind, options })
}

const METADATA: &str = "enable-ecs-log-metadata";
/// Where a router's own configuration comes from.
pub(super) const CONFIG_TYPE: &str = "config-file-type";
const CONFIG_VALUE: &str = "config-file-value";

/// Whether a router's configuration comes from an object store.
pub(super) fn from_objects(router: &FirelensConfiguration) -> bool {
    router.options.get(CONFIG_TYPE).is_some_and(|kind| kind == "s3")
}

/// One router, and somebody whose logs it routes; or none of both.
pub(super) fn check_routers(definition: &TaskDefinition) -> Result<(), Error> {
    let routed = |container: &&wharf_model::ContainerDefinition| {
        let log = container.log_configuration.as_ref();
        log.is_some_and(|log| log.log_driver == Driver::Awsfirelens.as_str())
    };
    let is_routed = definition.containers.iter().any(|container| routed(&container));
    let routers: Vec<_> =
        definition.containers.iter().filter(|c| c.firelens_configuration.is_some()).collect();
    match routers.as_slice() {
        [] if is_routed => Err(Error::NoRouter),
        [] => Ok(()),
        [router] if routed(router) => Err(Error::RouterThroughItself(router.name.clone())),
        [_] if !is_routed => Err(Error::NothingRouted),
        [_] => Ok(()),
        [..] => Err(Error::Routers),
    }
}

/// FARGATE names streams by a prefix, and writes to them by the execution role.
pub(super) fn check_fargate(definition: &TaskDefinition) -> Result<(), Error> {
    let logs = definition.containers.iter().filter_map(|c| c.log_configuration.as_ref());
    for log in logs.filter(|log| log.log_driver == Driver::Awslogs.as_str()) {
        let prefix = "awslogs-stream-prefix";
        let of_secret = log.secret_options.iter().any(|(name, _)| name == prefix);
        if !log.options.contains_key(prefix) && !of_secret {
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
