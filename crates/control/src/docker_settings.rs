//! What a container asks of the kernel, of name resolution and of storage, as docker is told.

use std::collections::BTreeMap;
use wharf_model::container_settings::{
    Device, LinuxParameters, MountPoint, Tmpfs, Volume, VolumeFrom,
};
use wharf_model::task_definition::ContainerDefinition;
use wharf_wire::acs::{self, docker};

const MIB: i64 = 1024 * 1024;

/// The members of docker's `HostConfig` beside limits and logs. `memory` is what RunTask overrode;
/// further `hosts` come behind the definition's own, which therefore win.
pub(crate) fn host_config(
    definition: &ContainerDefinition,
    memory: Option<i64>,
    more_hosts: &[String],
) -> docker::HostConfig {
    let linux = definition.linux_parameters.clone().unwrap_or_default();
    let capabilities = linux.capabilities.clone().unwrap_or_default();
    let (memory_swap, memory_swappiness) = swap(&linux, memory.or(definition.memory));
    let hosts = definition.extra_hosts.iter().map(|(name, address)| format!("{name}:{address}"));
    let controls: BTreeMap<String, String> = definition.system_controls.iter().cloned().collect();
    let tmpfs: BTreeMap<String, String> = linux.tmpfs.iter().flatten().map(tmpfs).collect();
    docker::HostConfig {
        privileged: definition.privileged,
        security_opt: some(definition.docker_security_options.clone()),
        cap_add: capabilities.add,
        cap_drop: capabilities.drop,
        devices: linux.devices.map(|all| all.iter().map(device).collect()),
        init: linux.init_process_enabled,
        shm_size: linux.shared_memory_size.map(|mib| i64::from(mib) * MIB),
        memory_swap,
        memory_swappiness,
        tmpfs: (!tmpfs.is_empty()).then_some(tmpfs),
        sysctls: (!controls.is_empty()).then_some(controls),
        dns: some(definition.dns_servers.clone()),
        dns_search: some(definition.dns_search_domains.clone()),
        extra_hosts: some(hosts.chain(more_hosts.iter().cloned()).collect()),
        ..docker::HostConfig::default()
    }
}

/// docker's swap limit is memory and swap together; swappiness goes with it alone.
fn swap(linux: &LinuxParameters, memory: Option<i64>) -> (Option<i64>, Option<i64>) {
    let Some((swap, memory)) = linux.max_swap.zip(memory) else { return (None, None) };
    let together = memory.saturating_add(swap.into()).saturating_mul(MIB);
    (Some(together), linux.swappiness.map(i64::from))
}

fn device(device: &Device) -> docker::DeviceMapping {
    let letter = |word: &String| match word.as_str() {
        "read" => 'r',
        "write" => 'w',
        _ => 'm',
    };
    let permissions = device.permissions.as_ref().filter(|all| !all.is_empty());
    docker::DeviceMapping {
        path_on_host: Some(device.host_path.clone()),
        path_in_container: device.container_path.clone(),
        cgroup_permissions: permissions.map(|all| all.iter().map(letter).collect()),
    }
}

fn tmpfs(tmpfs: &Tmpfs) -> (String, String) {
    let size = [format!("size={}m", tmpfs.size)];
    let options = tmpfs.mount_options.iter().flatten().filter(|option| *option != "defaults");
    let all: Vec<String> = options.cloned().chain(size).collect();
    (tmpfs.container_path.clone(), all.join(","))
}

/// A volume of the task.
pub(crate) fn volume(volume: &Volume) -> acs::Volume {
    let docker = volume.docker.as_ref().map(|docker| acs::DockerVolumeConfiguration {
        scope: Some(docker.scope.clone()),
        autoprovision: docker.autoprovision,
        driver: docker.driver.clone(),
        driver_opts: docker.driver_opts.clone(),
        labels: docker.labels.clone(),
    });
    let host = acs::HostVolumeProperties {
        source_path: volume.host.as_ref().and_then(|host| host.source_path.clone()),
    };
    acs::Volume {
        name: Some(volume.name.clone()),
        kind: Some(if docker.is_some() { "docker" } else { "host" }.to_owned()),
        host: docker.is_none().then_some(host),
        docker_volume_configuration: docker,
        ..acs::Volume::default()
    }
}

/// Where a container has a volume.
pub(crate) fn mount_point(point: &MountPoint) -> acs::MountPoint {
    acs::MountPoint {
        source_volume: Some(point.source_volume.clone()),
        container_path: Some(point.container_path.clone()),
        read_only: point.read_only,
    }
}

/// Another container's mounts.
pub(crate) fn volume_from(from: &VolumeFrom) -> acs::VolumeFrom {
    acs::VolumeFrom {
        source_container: Some(from.source_container.clone()),
        read_only: from.read_only,
    }
}

fn some(list: Vec<String>) -> Option<Vec<String>> {
    (!list.is_empty()).then_some(list)
}
