//! What containers are given that the definition only names: `secrets`, `secretOptions`,
//! `environmentFiles`, and volumes of wharf's own drivers.

use super::{Error, log_driver};
use wharf_model::container_settings::Volume;
use wharf_model::own_volume::OwnVolume;
use wharf_model::secret_reference::SecretReference;
use wharf_model::task_definition::EnvironmentFile;
use wharf_model::{ContainerDefinition, TaskDefinition};
use wharf_wire::ecs::types;

/// The most environment files of a container (Amazon ECS developer guide).
const MAX_FILES: usize = 10;

/// `secrets`, or `secretOptions` of a log configuration: names with where their values come from.
pub(super) fn secrets(sent: &[types::Secret]) -> Result<Vec<(String, String)>, Error> {
    let mut all: Vec<(String, String)> = Vec::with_capacity(sent.len());
    for secret in sent {
        let name = secret.name.clone().filter(|name| !name.is_empty());
        let name = name.ok_or(Error::Required("Secret.name"))?;
        let value_from = secret.value_from.clone().filter(|from| !from.is_empty());
        let value_from = value_from.ok_or(Error::Required("Secret.valueFrom"))?;
        if name.contains(['=', '\0']) {
            return Err(Error::SecretName(name));
        }
        if let Err(problem) = SecretReference::parse(&value_from) {
            return Err(Error::SecretValueFrom { name, problem: problem.to_string() });
        }
        if all.iter().any(|(known, _)| *known == name) {
            return Err(Error::SecretNameTwice(name));
        }
        all.push((name, value_from));
    }
    Ok(all)
}

/// `environmentFiles` of a container or an override.
pub(in crate::ecs) fn environment_files(
    sent: &[types::EnvironmentFile],
) -> Result<Vec<EnvironmentFile>, Error> {
    if sent.len() > MAX_FILES {
        return Err(Error::TooManyEnvironmentFiles(MAX_FILES));
    }
    sent.iter().map(environment_file).collect()
}

fn environment_file(sent: &types::EnvironmentFile) -> Result<EnvironmentFile, Error> {
    let value = sent.value.clone().filter(|value| !value.is_empty());
    let value = value.ok_or(Error::Required("EnvironmentFile.value"))?;
    match &sent.r#type {
        Some(types::EnvironmentFileType::S3) => {}
        Some(_) => {
            let allowed = types::EnvironmentFileType::VALUES;
            return Err(Error::NotAWord { member: "environmentFiles.type", allowed });
        }
        None => return Err(Error::Required("EnvironmentFile.type")),
    }
    if !is_object(&value) {
        return Err(Error::EnvironmentFileArn(value));
    }
    if !value.ends_with(".env") {
        return Err(Error::EnvironmentFileName(value));
    }
    Ok(EnvironmentFile { kind: "s3".to_owned(), value })
}

/// Whether an ARN names an object of S3.
pub(super) fn is_object(arn: &str) -> bool {
    let object = arn.strip_prefix("arn:").and_then(|rest| rest.split_once(":s3:::"));
    let named = object.and_then(|(_, path)| path.split_once('/'));
    named.is_some_and(|(bucket, key)| !bucket.is_empty() && !key.is_empty())
}

/// `repositoryCredentials`: a secret of Secrets Manager, by its ARN or its name.
pub(super) fn registry(sent: &types::RepositoryCredentials) -> Result<String, Error> {
    let secret = sent.credentials_parameter.clone().filter(|secret| !secret.is_empty());
    let secret = secret.ok_or(Error::Required("RepositoryCredentials.credentialsParameter"))?;
    let of_secrets_manager = match SecretReference::parse(&secret) {
        // A name.
        Ok(SecretReference::Parameter { region, .. }) => region.is_none(),
        Ok(SecretReference::Secret { id, .. }) => id == secret,
        Err(_) => false,
    };
    if of_secrets_manager { Ok(secret) } else { Err(Error::RegistrySecret(secret)) }
}

/// Names are unique within a container, beside its environment.
pub(super) fn check_names(container: &ContainerDefinition) -> Result<(), Error> {
    let shared = container
        .secrets
        .iter()
        .find(|(name, _)| container.environment.iter().any(|(variable, _)| variable == name));
    match shared {
        Some((name, _)) => Err(Error::SecretNameTwice(name.clone())),
        None => Ok(()),
    }
}

/// The volume that a driver of wharf's own makes, if it is one of these.
fn own(volume: &Volume) -> Option<Result<OwnVolume, Error>> {
    let docker = volume.docker.as_ref()?;
    let parsed = OwnVolume::parse(docker.driver.as_deref(), docker.driver_opts.as_ref())?;
    Some(parsed.map_err(|problem| Error::OwnVolume {
        volume: volume.name.clone(),
        driver: docker.driver.clone().unwrap_or_default(),
        problem: problem.to_string(),
    }))
}

/// True for a volume of wharf's own, which every launch type has.
pub(super) fn is_own(volume: &Volume) -> bool {
    own(volume).is_some()
}

/// What is fetched is fetched in the name of the execution role.
pub(super) fn check(definition: &TaskDefinition) -> Result<(), Error> {
    let mut of_volumes = false;
    for volume in &definition.volumes {
        let Some(own) = own(volume).transpose()? else { continue };
        let shared = volume.docker.as_ref().is_some_and(|docker| docker.scope != "task");
        if shared {
            return Err(Error::OwnVolumeShared(volume.name.clone()));
        }
        of_volumes |= own.references().next().is_some();
    }
    if definition.execution_role_arn.is_some() {
        return Ok(());
    }
    let containers = &definition.containers;
    let of_logs = |container: &ContainerDefinition| {
        container.log_configuration.as_ref().is_some_and(|log| !log.secret_options.is_empty())
    };
    let from_objects = |container: &ContainerDefinition| {
        container.firelens_configuration.as_ref().is_some_and(log_driver::from_objects)
    };
    let needs = [
        ("repository credentials", containers.iter().any(|c| c.repository_credentials.is_some())),
        ("a firelens configuration file of type s3", containers.iter().any(from_objects)),
        ("container secrets", containers.iter().any(|c| !c.secrets.is_empty())),
        ("log driver secret options", containers.iter().any(of_logs)),
        ("environment files", containers.iter().any(|c| !c.environment_files.is_empty())),
        ("volumes of the driver wharf-secret", of_volumes),
    ];
    match needs.into_iter().find(|(_, needed)| *needed) {
        Some((what, _)) => Err(Error::ExecutionRoleMissing(what)),
        None => Ok(()),
    }
}

/// Everything that the definition's values come from.
fn references(definition: &TaskDefinition) -> Vec<String> {
    let containers = definition.containers.iter();
    let of_containers = containers.flat_map(|container| {
        let log = container.log_configuration.iter().flat_map(|log| &log.secret_options);
        let registry = container.repository_credentials.iter();
        let values = container.secrets.iter().chain(log).map(|(_, from)| from);
        values.chain(registry).cloned()
    });
    let own = definition.volumes.iter().filter_map(own).filter_map(Result::ok);
    let of_volumes = own.flat_map(|volume| volume.references().cloned().collect::<Vec<_>>());
    of_containers.chain(of_volumes).collect()
}

/// There is one region: values of another one would come from nowhere.
pub(super) fn check_region(definition: &TaskDefinition, region: &str) -> Result<(), Error> {
    for text in references(definition) {
        let Ok(reference) = SecretReference::parse(&text) else { continue };
        if let Some(other) = reference.region().filter(|other| *other != region) {
            let (wanted, served) = (other.to_owned(), region.to_owned());
            return Err(Error::SecretRegion { text, wanted, served });
        }
    }
    Ok(())
}

/// Files come from the store that the operator names.
pub(super) fn check_files(definition: &TaskDefinition, has_objects: bool) -> Result<(), Error> {
    let containers = &definition.containers;
    let has_files = containers.iter().any(|c| !c.environment_files.is_empty());
    let mut routers = containers.iter().filter_map(|c| c.firelens_configuration.as_ref());
    let what = match (has_files, routers.any(log_driver::from_objects)) {
        _ if has_objects => return Ok(()),
        (true, _) => "environmentFiles",
        (false, true) => "config-file-type s3",
        (false, false) => return Ok(()),
    };
    Err(Error::NoObjectStore(what))
}
