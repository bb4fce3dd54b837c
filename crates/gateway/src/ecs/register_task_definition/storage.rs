//! Volumes of a task, and where its containers have them.

use super::linux::is_plain_absolute;
use super::{Error, word};
use wharf_model::ContainerDefinition;
use wharf_model::container_settings::{DockerVolume, HostVolume, MountPoint, Volume, VolumeFrom};
use wharf_wire::ecs::types;

/// Sizes of `ephemeralStorage` (ECS API `EphemeralStorage`), GiB.
const EPHEMERAL_GIB: std::ops::RangeInclusive<u32> = 21..=200;

/// The longest name of a volume.
const MAX_NAME: usize = 255;

/// `ephemeralStorage` of a task definition or of an override, GiB.
pub(in crate::ecs) fn ephemeral(sent: &types::EphemeralStorage) -> Result<u32, Error> {
    let size = sent.size_in_gi_b.ok_or(Error::Required("EphemeralStorage.sizeInGiB"))?;
    let size = u32::try_from(size).ok().filter(|size| EPHEMERAL_GIB.contains(size));
    size.ok_or_else(|| Error::EphemeralStorage {
        least: *EPHEMERAL_GIB.start(),
        most: *EPHEMERAL_GIB.end(),
    })
}

/// The task's volumes; kinds that aren't carried out are refused by name elsewhere.
pub(super) fn volumes(sent: &[types::Volume]) -> Result<Vec<Volume>, Error> {
    let mut volumes: Vec<Volume> = Vec::with_capacity(sent.len());
    for volume in sent {
        let name = volume.name.clone().filter(|name| !name.is_empty());
        let name = name.ok_or(Error::Required("Volume.name"))?;
        if !super::containers::is_name(&name) {
            return Err(Error::VolumeNameCharacters);
        }
        if name.len() > MAX_NAME {
            return Err(Error::TooLong("Volume.name", MAX_NAME));
        }
        if volumes.iter().any(|known| known.name == name) {
            return Err(Error::VolumeNameTwice(name));
        }
        let kinds = [
            volume.host.is_some(),
            volume.docker_volume_configuration.is_some(),
            volume.efs_volume_configuration.is_some(),
            volume.s3files_volume_configuration.is_some(),
            volume.fsx_windows_file_server_volume_configuration.is_some(),
            volume.configured_at_launch == Some(true),
        ];
        if kinds.iter().filter(|sent| **sent).count() > 1 {
            return Err(Error::VolumeKinds(name));
        }
        volumes.push(Volume {
            host: volume.host.as_ref().map(|host| self::host(&name, host)).transpose()?,
            docker: volume.docker_volume_configuration.as_ref().map(docker).transpose()?,
            name,
        });
    }
    Ok(volumes)
}

fn host(volume: &str, sent: &types::HostVolumeProperties) -> Result<HostVolume, Error> {
    let source_path = sent.source_path.clone();
    if source_path.as_deref().is_some_and(|path| !path.is_empty() && !is_plain_absolute(path)) {
        return Err(Error::SourcePath(volume.to_owned()));
    }
    Ok(HostVolume { source_path })
}

fn docker(sent: &types::DockerVolumeConfiguration) -> Result<DockerVolume, Error> {
    let scope = match &sent.scope {
        None => "task".to_owned(),
        Some(scope) => word("scope", scope.unknown(), types::Scope::VALUES, scope.as_str())?,
    };
    if scope == "task" && sent.autoprovision.is_some() {
        return Err(Error::AutoprovisionTask);
    }
    Ok(DockerVolume {
        // What is sent for a shared one without it is false.
        autoprovision: sent.autoprovision.or((scope == "shared").then_some(false)),
        scope,
        driver: Some(sent.driver.clone().unwrap_or_else(|| "local".to_owned())),
        driver_opts: sent.driver_opts.clone(),
        labels: sent.labels.clone(),
    })
}

/// `mountPoints` of a container.
pub(super) fn mount_points(
    container: &str,
    sent: &[types::MountPoint],
) -> Result<Vec<MountPoint>, Error> {
    let setting = |member| Error::ContainerSetting { member, container: container.to_owned() };
    let mut points: Vec<MountPoint> = Vec::with_capacity(sent.len());
    for point in sent {
        let source = point.source_volume.clone().filter(|name| !name.is_empty());
        let path = point.container_path.clone().filter(|path| !path.is_empty());
        let container_path = path.ok_or(Error::Required("MountPoint.containerPath"))?;
        if !is_plain_absolute(&container_path) || container_path.trim_end_matches('/').is_empty() {
            return Err(setting("containerPath"));
        }
        if points.iter().any(|known| known.container_path == container_path) {
            return Err(setting("mountPoints"));
        }
        points.push(MountPoint {
            source_volume: source.ok_or(Error::Required("MountPoint.sourceVolume"))?,
            container_path,
            read_only: point.read_only,
        });
    }
    Ok(points)
}

/// `volumesFrom` of a container.
pub(super) fn volumes_from(sent: &[types::VolumeFrom]) -> Result<Vec<VolumeFrom>, Error> {
    let one = |from: &types::VolumeFrom| {
        let source = from.source_container.clone().filter(|name| !name.is_empty());
        Ok(VolumeFrom {
            source_container: source.ok_or(Error::Required("VolumeFrom.sourceContainer"))?,
            read_only: from.read_only,
        })
    };
    sent.iter().map(one).collect()
}

/// What containers name is there.
pub(super) fn check(containers: &[ContainerDefinition], volumes: &[Volume]) -> Result<(), Error> {
    for container in containers {
        for point in &container.mount_points {
            if !volumes.iter().any(|volume| volume.name == point.source_volume) {
                return Err(Error::UnknownVolume(point.source_volume.clone()));
            }
        }
        for from in &container.volumes_from {
            let known = containers.iter().any(|other| other.name == from.source_container);
            if !known || from.source_container == container.name {
                return Err(Error::UnknownContainer {
                    member: "volumesFrom",
                    name: from.source_container.clone(),
                });
            }
        }
    }
    Ok(())
}
