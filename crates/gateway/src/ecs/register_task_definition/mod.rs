//! RegisterTaskDefinition: a new revision of a family, validated as the real service validates it.
//!
//! Registration is where ECS says no: what is registered can be run, or at least placed. So every
//! member is looked at here ([`containers`], [`health`], [`ports`], [`dependencies`],
//! [`size`]), and what wharf
//! can't carry out is refused by name ([`members`]). A revision is unique because the family's
//! record is read at its revision.

mod capabilities;
mod connections;
mod containers;
mod dependencies;
mod driver_options;
mod error;
pub(in crate::ecs) mod gpus;
mod health;
mod launch_types;
mod linux;
mod log_driver;
mod members;
mod ports;
pub(in crate::ecs) mod secrets;
pub(in crate::ecs) mod size;
pub(in crate::ecs) mod storage;
#[cfg(test)]
mod table_tests;
#[cfg(test)]
mod tests;

pub use error::Error;

use super::{present, tags};
use crate::context::{Context, Outcome, Result as OperationResult};
use crate::error::ApiError;
use containers::Surroundings;
use launch_types::check as check_launch_types;
use members::Found;
use wharf_model::container_settings::{IpcMode, PidMode};
use wharf_model::task_definition::{
    LaunchType, PlacementConstraint, RuntimePlatform, TaskDefinitionFamily, TaskDefinitionStatus,
};
use wharf_model::{
    Family, NetworkMode, RecordKey, Tag, TaskDefinition, TaskDefinitionKey, Timestamp, Transaction,
};
use wharf_wire::ecs::types;

/// The longest family name.
const MAX_FAMILY: usize = 255;
/// The most placement constraints of a task definition.
const MAX_CONSTRAINTS: usize = 10;
/// The largest task definition, bytes (Amazon ECS service quotas).
const MAX_SIZE: usize = 65_536;

/// A new revision's identity: what the request doesn't say.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The revision.
    pub revision: u32,
    /// When.
    pub at: Timestamp,
    /// ARN of who registers it.
    pub by: String,
    /// Its tags.
    pub tags: Vec<Tag>,
}

/// Registers the next revision of the family.
///
/// # Errors
/// ClientException with one of [`Error`]'s texts.
pub fn register_task_definition(
    context: &Context<'_>,
    input: &types::RegisterTaskDefinitionRequest,
) -> OperationResult<types::RegisterTaskDefinitionResponse> {
    let invalid = |error: Error| ApiError::client(error.to_string());
    let tags = match input.tags.as_deref() {
        Some([]) => return Err(invalid(Error::TagsEmpty)),
        _ => tags::from_wire(input.tags.as_ref())?,
    };
    let family = Family::from(input.family.as_deref().unwrap_or_default());
    let latest = context.snapshot.family(&family).map_or(0, |f| f.latest_revision);
    let registration = Registration {
        revision: latest + 1,
        at: context.now,
        by: context.identity.principal_arn(),
        tags,
    };
    let definition = validate(input, registration).map_err(invalid)?;
    log_driver::check_region(&definition, context.region()).map_err(invalid)?;
    secrets::check_region(&definition, context.region()).map_err(invalid)?;
    secrets::check_files(&definition, context.has_object_store).map_err(invalid)?;

    let mut transaction = Transaction::new();
    let family_key = RecordKey::TaskDefinitionFamily(family.clone());
    transaction.read(family_key.clone(), context.snapshot.revision_of(&family_key));
    transaction.put(TaskDefinitionFamily { family, latest_revision: definition.revision });
    transaction.put(definition.clone());
    let output = types::RegisterTaskDefinitionResponse {
        task_definition: Some(present::task_definition(context.arns, &definition)),
        tags: (!definition.tags.is_empty()).then(|| present::tags(&definition.tags)),
    };
    Ok(Outcome::write(output, transaction))
}

/// Checks the request and makes the record of it.
///
/// # Errors
/// What the request lacks, in ECS's words.
pub fn validate(
    input: &types::RegisterTaskDefinitionRequest,
    registration: Registration,
) -> Result<TaskDefinition, Error> {
    let key = TaskDefinitionKey {
        family: family(input.family.as_deref())?.into(),
        revision: registration.revision,
    };
    let network_mode = network_mode(input.network_mode.as_ref())?;
    let (cpu, memory) = (sent(&input.cpu), sent(&input.memory));
    let cpu = cpu.map(size::cpu).transpose()?;
    let memory = memory.map(size::memory).transpose()?;
    let sent_containers = input.container_definitions.as_deref().unwrap_or_default();
    let surroundings = Surroundings {
        mode: network_mode.unwrap_or(NetworkMode::Bridge),
        task_memory: memory.is_some(),
        ipc: ipc_mode(input)?,
    };
    let mut containers = containers::parse(sent_containers, surroundings)?;
    dependencies::check(&containers)?;
    connections::check_links(&containers)?;
    let volumes = storage::volumes(input.volumes.as_deref().unwrap_or_default())?;
    storage::check(&containers, &volumes)?;
    let requires = requires_compatibilities(input)?;
    let placement_constraints = placement_constraints(input)?;
    let Found { no_effect, mut refused } = members::of_request(input);
    for (index, (container, record)) in sent_containers.iter().zip(&mut containers).enumerate() {
        let found = members::of_container(index, container);
        refused.extend(found.refused);
        record.no_effect = found.no_effect;
    }
    let mut definition = TaskDefinition {
        family: key.family,
        revision: key.revision,
        status: TaskDefinitionStatus::Active,
        containers,
        network_mode,
        cpu,
        memory,
        requires_compatibilities: requires,
        compatibilities: Vec::new(),
        requires_attributes: Vec::new(),
        placement_constraints,
        runtime_platform: runtime_platform(input)?,
        task_role_arn: role(&input.task_role_arn)?,
        execution_role_arn: role(&input.execution_role_arn)?,
        pid_mode: pid_mode(input)?,
        ipc_mode: surroundings.ipc,
        volumes,
        ephemeral_storage_gib: input
            .ephemeral_storage
            .as_ref()
            .map(storage::ephemeral)
            .transpose()?,
        no_effect,
        registered_at: registration.at,
        registered_by: registration.by,
        deregistered_at: None,
        delete_requested_at: None,
        tags: registration.tags,
    };
    check_sizes(&definition)?;
    secrets::check(&definition)?;
    check_launch_types(&definition)?;
    log_driver::check_routers(&definition)?;
    if !refused.is_empty() {
        return Err(Error::NotCarriedOut(refused));
    }
    definition.requires_attributes = capabilities::required_attributes(&definition);
    definition.compatibilities = capabilities::compatibilities(&definition);
    check_length(&definition)?;
    Ok(definition)
}

/// A member that was sent and isn't empty: ECS takes an empty text as absent.
fn sent(member: &Option<String>) -> Option<&str> {
    member.as_deref().filter(|text| !text.is_empty())
}

/// `text` if it is one of the member's words: the wire keeps words that the model doesn't know.
fn word(
    member: &'static str,
    unknown: Option<&str>,
    allowed: &'static [&'static str],
    text: &str,
) -> Result<String, Error> {
    match unknown {
        Some(_) => Err(Error::NotAWord { member, allowed }),
        None => Ok(text.to_owned()),
    }
}

fn family(sent: Option<&str>) -> Result<String, Error> {
    let family = sent.filter(|f| !f.is_empty()).ok_or(Error::FamilyEmpty)?;
    if !containers::is_name(family) {
        return Err(Error::FamilyCharacters);
    }
    if family.len() > MAX_FAMILY {
        return Err(Error::TooLong("Family", MAX_FAMILY));
    }
    Ok(family.to_owned())
}

fn network_mode(sent: Option<&types::NetworkMode>) -> Result<Option<NetworkMode>, Error> {
    match sent {
        None => Ok(None),
        Some(types::NetworkMode::Bridge) => Ok(Some(NetworkMode::Bridge)),
        Some(types::NetworkMode::Host) => Ok(Some(NetworkMode::Host)),
        Some(types::NetworkMode::Awsvpc) => Ok(Some(NetworkMode::Awsvpc)),
        Some(types::NetworkMode::None) => Ok(Some(NetworkMode::None)),
        Some(types::NetworkMode::Unknown(_)) => {
            Err(Error::NotAWord { member: "networkMode", allowed: types::NetworkMode::VALUES })
        }
    }
}

fn pid_mode(input: &types::RegisterTaskDefinitionRequest) -> Result<Option<PidMode>, Error> {
    match &input.pid_mode {
        None => Ok(None),
        Some(types::PidMode::Host) => Ok(Some(PidMode::Host)),
        Some(types::PidMode::Task) => Ok(Some(PidMode::Task)),
        Some(types::PidMode::Unknown(_)) => {
            Err(Error::NotAWord { member: "pidMode", allowed: types::PidMode::VALUES })
        }
    }
}

fn ipc_mode(input: &types::RegisterTaskDefinitionRequest) -> Result<Option<IpcMode>, Error> {
    match &input.ipc_mode {
        None => Ok(None),
        Some(types::IpcMode::Host) => Ok(Some(IpcMode::Host)),
        Some(types::IpcMode::Task) => Ok(Some(IpcMode::Task)),
        Some(types::IpcMode::None) => Ok(Some(IpcMode::None)),
        Some(types::IpcMode::Unknown(_)) => {
            Err(Error::NotAWord { member: "ipcMode", allowed: types::IpcMode::VALUES })
        }
    }
}

/// MANAGED_INSTANCES is refused by name in [`members`].
fn requires_compatibilities(
    input: &types::RegisterTaskDefinitionRequest,
) -> Result<Vec<LaunchType>, Error> {
    let mut launch_types = Vec::new();
    for sent in input.requires_compatibilities.iter().flatten() {
        let allowed = types::Compatibility::VALUES;
        let word = word("requiresCompatibilities", sent.unknown(), allowed, sent.as_str())?;
        if let Some(launch_type) = LaunchType::parse(&word)
            && !launch_types.contains(&launch_type)
        {
            launch_types.push(launch_type);
        }
    }
    Ok(launch_types)
}

fn placement_constraints(
    input: &types::RegisterTaskDefinitionRequest,
) -> Result<Vec<PlacementConstraint>, Error> {
    let one = |sent: &types::TaskDefinitionPlacementConstraint| {
        let kind = sent.r#type.as_ref().ok_or(Error::Required("PlacementConstraint.type"))?;
        let allowed = types::TaskDefinitionPlacementConstraintType::VALUES;
        let kind = word("placementConstraints", kind.unknown(), allowed, kind.as_str())?;
        let expression = sent.expression.clone().filter(|e| !e.is_empty());
        let expression = expression.ok_or(Error::Required("PlacementConstraint.expression"))?;
        if let Err(problem) = wharf_model::cql::parse(&expression) {
            return Err(Error::Expression { expression, problem: problem.to_string() });
        }
        Ok(PlacementConstraint { kind, expression: Some(expression) })
    };
    let constraints = input.placement_constraints.as_deref().unwrap_or_default();
    if constraints.len() > MAX_CONSTRAINTS {
        return Err(Error::TooManyConstraints);
    }
    constraints.iter().map(one).collect()
}

/// Other systems than Linux are refused by name in [`members`].
fn runtime_platform(
    input: &types::RegisterTaskDefinitionRequest,
) -> Result<Option<RuntimePlatform>, Error> {
    let Some(sent) = &input.runtime_platform else { return Ok(None) };
    let cpu_architecture = sent.cpu_architecture.as_ref().map(|architecture| {
        let allowed = types::CPUArchitecture::VALUES;
        word("cpuArchitecture", architecture.unknown(), allowed, architecture.as_str())
    });
    let operating_system_family = sent.operating_system_family.as_ref().map(|family| {
        let allowed = types::OSFamily::VALUES;
        word("operatingSystemFamily", family.unknown(), allowed, family.as_str())
    });
    Ok(Some(RuntimePlatform {
        cpu_architecture: cpu_architecture.transpose()?,
        operating_system_family: operating_system_family.transpose()?,
    }))
}

/// A role by its ARN or its name (ECS API `RegisterTaskDefinitionRequest$taskRoleArn`).
fn role(role: &Option<String>) -> Result<Option<String>, Error> {
    let Some(role) = sent(role) else { return Ok(None) };
    let name = match role.strip_prefix("arn:") {
        Some(rest) => {
            let parts: Vec<&str> = rest.splitn(5, ':').collect();
            match parts[..] {
                [partition, "iam", "", account, resource]
                    if partition.starts_with("aws")
                        && account.len() == 12
                        && account.bytes().all(|b| b.is_ascii_digit()) =>
                {
                    resource.strip_prefix("role/").unwrap_or_default()
                }
                _ => "",
            }
        }
        None => role,
    };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"+=,.@_-/".contains(&b);
    if name.is_empty() || !name.bytes().all(allowed) {
        return Err(Error::Role);
    }
    Ok(Some(role.to_owned()))
}

/// What the containers want together fits into what the task has.
fn check_sizes(definition: &TaskDefinition) -> Result<(), Error> {
    let containers = &definition.containers;
    if let Some(cpu) = definition.cpu
        && containers.iter().map(|c| c.cpu).sum::<i64>() > cpu
    {
        return Err(Error::CpuSum);
    }
    let Some(memory) = definition.memory else { return Ok(()) };
    if let Some(container) = containers.iter().find(|c| c.memory.is_some_and(|m| m > memory)) {
        return Err(Error::MemoryAboveTask(container.name.clone()));
    }
    if containers.iter().filter_map(|c| c.memory_reservation).sum::<i64>() > memory {
        return Err(Error::MemoryReservationSum);
    }
    Ok(())
}

fn check_length(definition: &TaskDefinition) -> Result<(), Error> {
    // Plain data with string keys: serialising it into memory can't fail.
    let length = serde_json::to_vec(definition).map_or(0, |bytes| bytes.len());
    if length > MAX_SIZE { Err(Error::TooLarge(length)) } else { Ok(()) }
}
