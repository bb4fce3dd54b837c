//! `awsfirelens`: a container of the task routes the others' logs. It gets a configuration made as
//! Amazon's agent makes it, and a directory for the socket at which it takes lines by fluentd's
//! forward protocol; [`crate::shipping`] sends them there.

mod config;

use std::fs::Permissions;
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use wharf_model::log_driver::Driver;
use wharf_runtime::SandboxId;
use wharf_runtime::spec::{Mount, MountSource};

use crate::engine::Failure;
use crate::launch::Surroundings;
use crate::secrets::Values;
use crate::task::{Container, Network, RouterKind, Secret, Task};

/// The option of a container's log that is the agent's, not the router's: docker's buffer.
pub(crate) const BUFFER_LIMIT: &str = "log-driver-buffer-limit";
/// Where a router finds its socket's directory.
const SOCKET_TARGET: &str = "/var/run";
const PORT: &str = "24224";
/// Where a router's own configuration comes from.
const CONFIG_TYPE: &str = "config-file-type";
const CONFIG_VALUE: &str = "config-file-value";

/// The object that holds the configuration of the task's router, by its ARN.
pub(crate) fn object(task: &Task) -> Option<&str> {
    let router = task.containers.iter().find_map(|container| container.router.as_ref())?;
    let is_object = router.options.get(CONFIG_TYPE).is_some_and(|kind| kind == "s3");
    router.options.get(CONFIG_VALUE).filter(|_| is_object).map(String::as_str)
}

/// The variable by which a router knows an option's value that comes from a secret: `index` is that
/// of the container that the option is of, so that two containers' options are told apart.
fn variable(option: &str, index: usize) -> String {
    format!("{option}_{index}")
}

/// The values of the others' secret options, as `NAME=value`, for the router among them.
pub(crate) fn secret_environment(
    task: &Task,
    container: &Container,
    values: &Values,
) -> Vec<Secret> {
    let mut variables = Vec::new();
    for (index, other) in task.containers.iter().enumerate().filter(|(_, other)| is_routed(other)) {
        for (option, from) in &other.log_secrets {
            // All that a task names was fetched.
            let Some(value) = values.of(from).filter(|_| container.router.is_some()) else {
                continue;
            };
            let name = variable(option, index);
            variables.push(Secret::new(format!("{name}={}", value.expose())));
        }
    }
    variables
}

/// The directory of a task's router.
pub(crate) fn directory(routers: &Path, task: &SandboxId) -> PathBuf {
    routers.join(task.as_str())
}

/// The directory in which the router makes its socket.
pub(crate) fn socket_directory(routers: &Path, task: &SandboxId) -> PathBuf {
    directory(routers, task).join("socket")
}

/// The router's own configuration, where that lies in an object store.
fn external_path(routers: &Path, task: &SandboxId) -> PathBuf {
    directory(routers, task).join("external.conf")
}

fn config_path(routers: &Path, task: &SandboxId) -> PathBuf {
    directory(routers, task).join("fluent.conf")
}

/// The tag of a container's lines.
pub(crate) fn tag(task: &Task, container: &str) -> String {
    format!("{container}-firelens-{}", task.id)
}

fn is_routed(container: &Container) -> bool {
    Driver::parse(&container.log.driver) == Some(Driver::Awsfirelens)
}

/// Makes what the task's router finds when it starts.
pub(crate) fn prepare(
    task: &Task,
    surroundings: &Surroundings,
    values: &Values,
) -> Result<(), Failure> {
    let Some(container) = task.containers.iter().find(|c| c.router.is_some()) else {
        return Ok(());
    };
    let Some(router) = &container.router else { return Ok(()) };
    let failed = |why: &dyn std::fmt::Display| {
        Failure::new(
            "ResourceInitializationError",
            format!("unable to create firelens resource: {why}"),
        )
    };
    let text = config::render(task, router, &surroundings.cluster).map_err(|why| failed(&why))?;
    let routers = &surroundings.routers;
    let write = || -> std::io::Result<()> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o755).create(routers)?;
        let socket = socket_directory(routers, &task.id);
        builder.create(&socket)?;
        std::fs::write(config_path(routers, &task.id), &text)?;
        if let Some(content) = &values.router_config {
            std::fs::write(external_path(routers, &task.id), content)?;
        }
        // It makes the socket as whom it runs. What a name stands for is in its image, which isn't
        // here: then whoever gets at the directory, which is within the agent's own, may write to it.
        let mut ids = container.user.splitn(2, ':').map(str::parse::<u32>);
        match ids.next() {
            Some(Ok(user)) => chown(&socket, Some(user), ids.next().and_then(Result::ok)),
            Some(Err(_)) if !container.user.is_empty() => {
                std::fs::set_permissions(&socket, Permissions::from_mode(0o777))
            }
            _ => Ok(()),
        }
    };
    write().map_err(|error| failed(&error))
}

/// What is mounted into a router.
pub(crate) fn mounts(task: &Task, container: &Container, routers: &Path) -> Vec<Mount> {
    let Some(router) = &container.router else { return Vec::new() };
    let target = match router.kind {
        RouterKind::Fluentbit => "/fluent-bit/etc/fluent-bit.conf",
        RouterKind::Fluentd => "/fluentd/etc/fluent.conf",
    };
    let mount = |target: &str, path: PathBuf, read_only| Mount {
        target: target.to_owned(),
        source: MountSource::Bind(path),
        read_only,
    };
    let mut mounts = vec![
        mount(SOCKET_TARGET, socket_directory(routers, &task.id), false),
        mount(target, config_path(routers, &task.id), true),
    ];
    if object(task).is_some() {
        let target = config::external(router.kind);
        mounts.push(mount(target, external_path(routers, &task.id), true));
    }
    mounts
}

/// Variables of a router, and of whoever logs through one: where it takes lines by TCP as well.
pub(crate) fn environment(
    task: &Task,
    container: &Container,
    router: Option<Ipv4Addr>,
) -> Vec<(&'static str, String)> {
    let mut variables = Vec::new();
    if container.router.as_ref().is_some_and(|router| router.kind == RouterKind::Fluentd) {
        variables.push(("FLUENT_UID", "0".to_owned()));
    }
    let host = match &task.network {
        Network::Bridge => router,
        Network::Awsvpc(_) => Some(Ipv4Addr::LOCALHOST),
        Network::Host | Network::None => None,
    };
    if let Some(host) = host.filter(|_| is_routed(container)) {
        variables.push(("FLUENT_HOST", host.to_string()));
        variables.push(("FLUENT_PORT", PORT.to_owned()));
    }
    variables
}
