//! docker's `HostConfig` of a container: limits, rights, devices, name resolution.

use wharf_model::log_driver::{Driver, parse_size};
use wharf_runtime::spec::{Device, Mount, MountSource, Ulimit};
use wharf_wire::acs::docker;

use super::container::{MIN_MEMORY_MIB, absolute};
use super::parse::{Error, ipv4, positive};
use super::{Container, LogConfig};

/// What a security option with a profile of AppArmor begins with.
const APPARMOR: &str = "apparmor";

/// Puts the configuration over what the plain members say.
pub(super) fn over(config: docker::HostConfig, container: &mut Container) -> Result<(), Error> {
    let unsupported =
        |member: &str| Err(Error::Unsupported(format!("container {}: {member}", container.name)));
    if config.pid_mode.is_some_and(|mode| !mode.is_empty()) {
        return unsupported("pidMode");
    }
    if config.ipc_mode.is_some_and(|mode| !matches!(mode.as_str(), "" | "private")) {
        return unsupported("ipcMode");
    }
    if let Some(log) = config.log_config {
        let driver = log.kind.unwrap_or_default();
        if Driver::parse(&driver).is_none() {
            return Err(Error::Unsupported(format!("log driver {driver:?}")));
        }
        container.log = LogConfig { driver, options: log.config.unwrap_or_default() };
    }
    for option in config.security_opt.iter().flatten() {
        match option.as_str() {
            "no-new-privileges" | "no-new-privileges:true" => container.no_new_privileges = true,
            "no-new-privileges:false" => container.no_new_privileges = false,
            other if other.starts_with(APPARMOR) => {
                let profile = other[APPARMOR.len()..].trim_start_matches([':', '=']);
                container.apparmor = Some(profile.to_owned()).filter(|name| !name.is_empty());
            }
            other => return Err(Error::Unsupported(format!("dockerSecurityOptions {other:?}"))),
        }
    }
    if let Some(add) = config.cap_add {
        container.capabilities.add = add;
    }
    if let Some(drop) = config.cap_drop {
        container.capabilities.drop = drop;
    }
    container.privileged = config.privileged.unwrap_or(container.privileged);
    container.readonly_rootfs = config.readonly_rootfs.unwrap_or(false);
    if let Some(bytes) = positive("Memory", config.memory)? {
        container.memory_mib = Some((bytes >> 20).max(MIN_MEMORY_MIB));
    }
    container.memory_reservation_bytes = positive("MemoryReservation", config.memory_reservation)?;
    container.memory_swap_bytes =
        positive("MemorySwap", config.memory_swap.filter(|bytes| *bytes > 0))?;
    container.shm_bytes = positive("ShmSize", config.shm_size)?.or(container.shm_bytes);
    container.init_process = config.init.unwrap_or(container.init_process);
    // -1 is "as the host has it".
    container.swappiness =
        config.memory_swappiness.and_then(|value| u64::try_from(value).ok().map(|v| v.min(100)));
    container.sysctls = config.sysctls.unwrap_or_default();
    container.ulimits = config.ulimits.iter().flatten().map(ulimit).collect::<Result<_, _>>()?;
    for server in config.dns.iter().flatten() {
        container.dns.servers.push(ipv4("Dns", server)?);
    }
    container.dns.search = config.dns_search.unwrap_or_default();
    for line in config.extra_hosts.iter().flatten() {
        let (name, address) = line
            .split_once(':')
            .ok_or_else(|| Error::invalid("ExtraHosts", format!("{line:?}")))?;
        container.extra_hosts.push((name.to_owned(), ipv4("ExtraHosts", address)?));
    }
    for device in config.devices.iter().flatten() {
        container.devices.push(Device {
            host_path: device.path_on_host.clone().ok_or(Error::Missing("PathOnHost"))?.into(),
            container_path: device.path_in_container.clone().filter(|path| !path.is_empty()),
            permissions: device.cgroup_permissions.clone().unwrap_or_else(|| "rwm".to_owned()),
        });
    }
    for (target, options) in config.tmpfs.iter().flatten() {
        container.tmpfs.push(tmpfs(target, options)?);
    }
    Ok(())
}

fn ulimit(wire: &docker::Ulimit) -> Result<Ulimit, Error> {
    let limit = |value: Option<i64>| match value.unwrap_or(0) {
        -1 => Ok(u64::MAX),
        value => u64::try_from(value).map_err(|_| Error::invalid("Ulimits", value)),
    };
    let name = wire.name.clone().ok_or(Error::Missing("Ulimits.Name"))?;
    Ok(Ulimit { name, soft: limit(wire.soft)?, hard: limit(wire.hard)? })
}

/// Docker's options: `size=64m,mode=1777`.
fn tmpfs(target: &str, options: &str) -> Result<Mount, Error> {
    let mut size_bytes = 0;
    let mut rest = Vec::new();
    let mut read_only = false;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.strip_prefix("size=") {
            Some(size) => {
                size_bytes = parse_size(size)
                    .ok_or_else(|| Error::invalid("Tmpfs", format!("size {size:?}")))?;
            }
            None if option == "ro" => read_only = true,
            None if option == "rw" => {}
            None => rest.push(option.to_owned()),
        }
    }
    let source = MountSource::Tmpfs { size_bytes, options: rest };
    Ok(Mount { target: absolute(target.to_owned())?, source, read_only })
}
