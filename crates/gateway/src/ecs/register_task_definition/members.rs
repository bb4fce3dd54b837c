//! Which members wharf carries out. All others are refused by name: nothing is accepted and then
//! ignored.
//!
//! This works on documents rather than on typed structures, so that a member which a later model
//! adds is refused until someone names it here. A value that asks for nothing (`[]`, `{}`,
//! `false`) changes nothing; it is accepted and described as it was sent.

use super::super::carried_out::asks_for_nothing;
use super::{driver_options, gpus, linux};
use wharf_model::log_driver::Driver;
use wharf_model::own_volume::{FILE_DRIVER, SECRET_DRIVER};
use wharf_wire::ecs::types;
use wharf_wire::{Document, Shape};

/// Members of the request that are carried out, or that registration checks by itself.
const REQUEST: &[&str] = &[
    "family",
    "taskRoleArn",
    "executionRoleArn",
    "networkMode",
    "containerDefinitions",
    "placementConstraints",
    "requiresCompatibilities",
    "cpu",
    "memory",
    "tags",
    "runtimePlatform",
    "pidMode",
    "ipcMode",
    "volumes",
    "ephemeralStorage",
];

/// Members of a container definition that are carried out.
const CONTAINER: &[&str] = &[
    "name",
    "image",
    "repositoryCredentials",
    "cpu",
    "memory",
    "memoryReservation",
    "portMappings",
    "essential",
    "entryPoint",
    "command",
    "environment",
    "healthCheck",
    "startTimeout",
    "stopTimeout",
    "hostname",
    "user",
    "workingDirectory",
    "readonlyRootFilesystem",
    "dockerLabels",
    "logConfiguration",
    "firelensConfiguration",
    "versionConsistency",
    "privileged",
    "interactive",
    "pseudoTerminal",
    "disableNetworking",
    "linuxParameters",
    "systemControls",
    "mountPoints",
    "volumesFrom",
];

/// Members of `linuxParameters` that are carried out.
const LINUX: &[&str] = &[
    "capabilities",
    "devices",
    "initProcessEnabled",
    "sharedMemorySize",
    "tmpfs",
    "maxSwap",
    "swappiness",
];

/// Members of a volume that are carried out.
const VOLUME: &[&str] = &["name", "host", "dockerVolumeConfiguration"];

/// Security options that are carried out.
const SECURITY_OPTIONS: &[&str] =
    &["no-new-privileges", "no-new-privileges:true", "no-new-privileges:false"];

/// Lists that are carried out; an empty one has to be remembered, and so has a policy that is off.
const REMEMBERED_LISTS: &[&str] = &[
    "secrets",
    "environmentFiles",
    "dependsOn",
    "ulimits",
    "links",
    "extraHosts",
    "dnsServers",
    "dnsSearchDomains",
    "dockerSecurityOptions",
    "restartPolicy",
    "resourceRequirements",
];

/// Lists that are described as empty even if they weren't sent (seen in the real service's
/// answers), so that an empty one need not be remembered.
const ALWAYS_LISTED: &[&str] = &["mountPoints", "volumesFrom", "systemControls", "volumes"];

/// What was found in one structure.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Members that ask for nothing but have to be described.
    pub no_effect: Vec<String>,
    /// Members that can't be carried out, by path.
    pub refused: Vec<String>,
}

/// Looks through the members of the request, but not into its containers.
pub(super) fn of_request(input: &types::RegisterTaskDefinitionRequest) -> Found {
    let shallow =
        types::RegisterTaskDefinitionRequest { container_definitions: None, ..input.clone() };
    let mut found = scan(shallow.into_document(), REQUEST, "");
    if let Some(types::OSFamily::Linux) | None =
        input.runtime_platform.as_ref().and_then(|p| p.operating_system_family.as_ref())
    {
    } else {
        found.refused.push("runtimePlatform.operatingSystemFamily other than LINUX".to_owned());
    }
    for (index, volume) in input.volumes.iter().flatten().enumerate() {
        of_volume(index, volume, &mut found);
    }
    let wants = input.requires_compatibilities.iter().flatten();
    if wants.into_iter().any(|c| *c == types::Compatibility::ManagedInstances) {
        found.refused.push("requiresCompatibilities MANAGED_INSTANCES".to_owned());
    }
    found
}

/// Looks through the members of the container definition at `index`.
pub(super) fn of_container(index: usize, container: &types::ContainerDefinition) -> Found {
    let path = format!("containerDefinitions[{index}].");
    let mut found = scan(container.clone().into_document(), CONTAINER, &path);
    if let Some(linux) = &container.linux_parameters {
        let path = format!("{path}linuxParameters.");
        found.refused.extend(scan(linux.clone().into_document(), LINUX, &path).refused);
    }
    if gpus::asks_for_more(container.resource_requirements.as_deref().unwrap_or_default()) {
        found.refused.push(format!("{path}resourceRequirements InferenceAccelerator"));
    }
    for option in container.docker_security_options.iter().flatten() {
        if !SECURITY_OPTIONS.contains(&option.as_str()) && linux::apparmor(option).is_none() {
            found.refused.push(format!("{path}dockerSecurityOptions {option}"));
        }
    }
    if let Some(log) = &container.log_configuration {
        of_log_configuration(log, &path, &mut found);
    }
    let router = container.firelens_configuration.as_ref();
    if router.and_then(|r| r.options.as_ref()).is_some_and(|options| options.is_empty()) {
        found.no_effect.push("firelensConfiguration.options".to_owned());
    }
    if container.version_consistency == Some(types::VersionConsistency::Enabled) {
        found.refused.push(format!("{path}versionConsistency enabled"));
    }
    found
}

/// EFS, FSx, S3 and EBS are services that a host doesn't have; of docker's drivers `local` is there.
fn of_volume(index: usize, volume: &types::Volume, found: &mut Found) {
    let path = format!("volumes[{index}].");
    found.refused.extend(scan(volume.clone().into_document(), VOLUME, &path).refused);
    let Some(docker) = &volume.docker_volume_configuration else { return };
    let path = format!("{path}dockerVolumeConfiguration.");
    let known = ["local", FILE_DRIVER, SECRET_DRIVER];
    if let Some(driver) = docker.driver.as_deref().filter(|driver| !known.contains(driver)) {
        found.refused.push(format!("{path}driver {driver}"));
    } else if let Some(options) = docker
        .driver_opts
        .as_ref()
        .filter(|_| docker.driver.as_deref().is_none_or(|d| d == "local"))
    {
        let shared = docker.scope == Some(types::Scope::Shared);
        found.refused.extend(driver_options::refused(options, shared, &path));
    }
}

fn of_log_configuration(log: &types::LogConfiguration, path: &str, found: &mut Found) {
    let name = log.log_driver.as_ref().map(types::LogDriver::as_str).unwrap_or_default();
    let Some(driver) = Driver::parse(name) else {
        found.refused.push(format!("{path}logConfiguration.logDriver {name}"));
        return;
    };
    for (option, _) in log.options.iter().flatten() {
        if !driver.has(option) {
            found.refused.push(format!("{path}logConfiguration.options.{option}"));
        }
    }
    if log.options.as_ref().is_some_and(|o| o.is_empty()) {
        found.no_effect.push("logConfiguration.options".to_owned());
    }
    match log.secret_options.as_deref() {
        Some([]) => found.no_effect.push("logConfiguration.secretOptions".to_owned()),
        Some(options) => {
            let names = options.iter().filter_map(|option| option.name.as_deref());
            let unknown = names.filter(|name| !driver.has(name));
            found
                .refused
                .extend(unknown.map(|name| format!("{path}logConfiguration.secretOptions {name}")));
        }
        None => {}
    }
}

fn scan(document: Document, carried_out: &[&str], path: &str) -> Found {
    let mut found = Found::default();
    let Document::Structure(members) = document else { return found };
    for (name, value) in members {
        let nothing = asks_for_nothing(&value);
        if carried_out.contains(&name) || (nothing && ALWAYS_LISTED.contains(&name)) {
            continue;
        }
        if nothing {
            leaves(&value, name, &mut found.no_effect);
        } else if !REMEMBERED_LISTS.contains(&name) {
            found.refused.push(format!("{path}{name}"));
        }
    }
    found
}

/// The paths of the innermost members of a value that asks for nothing.
fn leaves(value: &Document, path: &str, paths: &mut Vec<String>) {
    match value {
        Document::Structure(members) if !members.is_empty() => {
            for (name, value) in members {
                leaves(value, &format!("{path}.{name}"), paths);
            }
        }
        _ => paths.push(path.to_owned()),
    }
}
