//! What a container asks of the kernel and of storage, as the API shows it: as it was sent.

use wharf_model::container_settings as model;
use wharf_wire::ecs::types;

pub(super) fn linux_parameters(record: &model::LinuxParameters) -> types::LinuxParameters {
    let capabilities = |c: &model::KernelCapabilities| types::KernelCapabilities {
        add: c.add.clone(),
        drop: c.drop.clone(),
    };
    let device = |device: &model::Device| types::Device {
        host_path: Some(device.host_path.clone()),
        container_path: device.container_path.clone(),
        permissions: device
            .permissions
            .as_ref()
            .map(|all| all.iter().map(|word| word.as_str().into()).collect()),
    };
    let tmpfs = |tmpfs: &model::Tmpfs| types::Tmpfs {
        container_path: Some(tmpfs.container_path.clone()),
        size: Some(tmpfs.size),
        mount_options: tmpfs.mount_options.clone(),
    };
    types::LinuxParameters {
        capabilities: record.capabilities.as_ref().map(capabilities),
        devices: record.devices.as_ref().map(|all| all.iter().map(device).collect()),
        init_process_enabled: record.init_process_enabled,
        shared_memory_size: record.shared_memory_size,
        tmpfs: record.tmpfs.as_ref().map(|all| all.iter().map(tmpfs).collect()),
        max_swap: record.max_swap,
        swappiness: record.swappiness,
    }
}

pub(super) fn control((namespace, value): &(String, String)) -> types::SystemControl {
    types::SystemControl { namespace: Some(namespace.clone()), value: Some(value.clone()) }
}

pub(super) fn extra_hosts(record: &[(String, String)]) -> Option<Vec<types::HostEntry>> {
    let entry = |(name, address): &(String, String)| types::HostEntry {
        hostname: Some(name.clone()),
        ip_address: Some(address.clone()),
    };
    (!record.is_empty()).then(|| record.iter().map(entry).collect())
}

pub(super) fn volume(record: &model::Volume) -> types::Volume {
    let docker = |docker: &model::DockerVolume| types::DockerVolumeConfiguration {
        scope: Some(docker.scope.as_str().into()),
        autoprovision: docker.autoprovision,
        driver: docker.driver.clone(),
        driver_opts: docker.driver_opts.clone(),
        labels: docker.labels.clone(),
    };
    // A volume without a kind is one of the host.
    let host = match (&record.host, &record.docker) {
        (None, None) => Some(types::HostVolumeProperties::default()),
        (host, _) => host
            .as_ref()
            .map(|host| types::HostVolumeProperties { source_path: host.source_path.clone() }),
    };
    types::Volume {
        name: Some(record.name.clone()),
        host,
        docker_volume_configuration: record.docker.as_ref().map(docker),
        ..types::Volume::default()
    }
}

pub(super) fn mount_point(record: &model::MountPoint) -> types::MountPoint {
    types::MountPoint {
        source_volume: Some(record.source_volume.clone()),
        container_path: Some(record.container_path.clone()),
        read_only: record.read_only,
    }
}

pub(super) fn volume_from(record: &model::VolumeFrom) -> types::VolumeFrom {
    types::VolumeFrom {
        source_container: Some(record.source_container.clone()),
        read_only: record.read_only,
    }
}
