//! What RunTask and StartTask have in common: overrides, tags, group, startedBy, and the answer.

use super::register_task_definition::{Error, gpus, secrets, size, storage};
use super::{present, resolve, tags};
use crate::context::{Context, HistoryEntry};
use crate::error::ApiError;
use serde_json::value::RawValue;
use std::sync::Arc;
use wharf_model::task::{ContainerOverride, TaskOverride};
use wharf_model::{ClusterName, Tag, TaskDefinition};
use wharf_scheduler::placement::{Failure, FailureReason};
use wharf_scheduler::task::{LaunchPlan, managed_tags};
use wharf_wire::ecs::types;

/// Longest `startedBy`.
const MAX_STARTED_BY: usize = 128;
/// Most bytes of all overrides together (ECS: 8192 characters).
const MAX_OVERRIDES: usize = 8192;

/// Overrides of a task of `definition`, checked.
///
/// # Errors
/// InvalidParameterException for a container that the definition doesn't have, for sizes that
/// aren't sizes, and for too much; UnsupportedFeatureException naming members not carried out.
pub fn overrides(
    definition: &TaskDefinition,
    sent: Option<&types::TaskOverride>,
    has_object_store: bool,
) -> Result<TaskOverride, ApiError> {
    let Some(sent) = sent else { return Ok(TaskOverride::default()) };
    let carried_out = [
        "containerOverrides",
        "cpu",
        "memory",
        "ephemeralStorage",
        "taskRoleArn",
        "executionRoleArn",
    ];
    super::carried_out::refuse(&super::carried_out::not_carried_out(sent.clone(), &carried_out))?;
    if wharf_wire::json::to_vec(sent.clone()).len() > MAX_OVERRIDES {
        return Err(ApiError::invalid_parameter(
            "Overrides length must be at most 8192 characters.",
        ));
    }
    let invalid = |text: &str| ApiError::client(format!("Invalid setting for task: {text}."));
    let containers = sent.container_overrides.iter().flatten();
    let containers: Vec<ContainerOverride> =
        containers.map(|c| container(definition, c)).collect::<Result<_, _>>()?;
    if containers.iter().any(|container| !container.environment_files.is_empty()) {
        let role = sent.execution_role_arn.as_ref().or(definition.execution_role_arn.as_ref());
        let lacks = match role {
            _ if !has_object_store => Some(Error::NoObjectStore("environmentFiles")),
            None => Some(Error::ExecutionRoleMissing("environment files")),
            Some(_) => None,
        };
        if let Some(error) = lacks {
            return Err(ApiError::client(error.to_string()));
        }
    }
    Ok(TaskOverride {
        containers,
        cpu: sent.cpu.as_deref().map(|t| size::cpu(t).map_err(|_| invalid(t))).transpose()?,
        memory: sent
            .memory
            .as_deref()
            .map(|t| size::memory(t).map_err(|_| invalid(t)))
            .transpose()?,
        ephemeral_storage_gib: sent
            .ephemeral_storage
            .as_ref()
            .map(|sent| storage::ephemeral(sent).map_err(refused))
            .transpose()?,
        task_role_arn: sent.task_role_arn.clone(),
        execution_role_arn: sent.execution_role_arn.clone(),
    })
}

#[allow(clippy::needless_pass_by_value)] // for map_err
fn refused(error: Error) -> ApiError {
    ApiError::client(error.to_string())
}

fn container(
    definition: &TaskDefinition,
    sent: &types::ContainerOverride,
) -> Result<ContainerOverride, ApiError> {
    let carried_out = [
        "name",
        "command",
        "environment",
        "environmentFiles",
        "cpu",
        "memory",
        "memoryReservation",
        "resourceRequirements",
    ];
    let resources = sent.resource_requirements.as_deref().unwrap_or_default();
    if gpus::asks_for_more(resources) {
        super::carried_out::refuse(&["resourceRequirements InferenceAccelerator"])?;
    }
    super::carried_out::refuse(&super::carried_out::not_carried_out(sent.clone(), &carried_out))?;
    let name = sent.name.clone().unwrap_or_default();
    if name.is_empty() {
        return Err(ApiError::client("Container override name should not be null or empty."));
    }
    if definition.container(&name).is_none() {
        return Err(ApiError::invalid_parameter(format!(
            "Override for container named {name} is not a container in the TaskDefinition."
        )));
    }
    let positive = |member: &str, value: Option<i32>, least: i32| match value {
        Some(value) if value < least => Err(ApiError::client(format!(
            "Invalid setting for container '{name}'. {member} must be at least {least}."
        ))),
        value => Ok(value.map(i64::from)),
    };
    let environment = sent.environment.iter().flatten();
    let secrets = definition.container(&name).map(|c| c.secrets.as_slice()).unwrap_or_default();
    let shared = secrets
        .iter()
        .find(|(secret, _)| environment.clone().any(|e| e.name.as_ref() == Some(secret)));
    if let Some((secret, _)) = shared {
        return Err(ApiError::client(Error::SecretNameTwice(secret.clone()).to_string()));
    }
    Ok(ContainerOverride {
        cpu: positive("cpu", sent.cpu, 0)?,
        memory: positive("memory", sent.memory, 6)?,
        memory_reservation: positive("memoryReservation", sent.memory_reservation, 6)?,
        gpus: gpus::parse(&name, resources).map_err(refused)?,
        command: sent.command.clone().filter(|c| !c.is_empty()),
        environment: environment
            .map(|e| (e.name.clone().unwrap_or_default(), e.value.clone().unwrap_or_default()))
            .collect(),
        environment_files: secrets::environment_files(
            sent.environment_files.as_deref().unwrap_or_default(),
        )
        .map_err(refused)?,
        name,
    })
}

/// `startedBy`, checked.
///
/// # Errors
/// InvalidParameterException if it is too long or holds other characters than ECS allows.
pub fn started_by(sent: Option<&str>) -> Result<Option<&str>, ApiError> {
    let Some(text) = sent.filter(|s| !s.is_empty()) else { return Ok(None) };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_/=+.:@ ".contains(c);
    if text.len() > MAX_STARTED_BY || !text.chars().all(allowed) {
        return Err(ApiError::invalid_parameter(format!(
            "startedBy can have at most {MAX_STARTED_BY} characters: letters, digits, spaces and -_/=+.:@"
        )));
    }
    Ok(Some(text))
}

/// `group`, checked: `service:` groups belong to services.
///
/// # Errors
/// InvalidParameterException for a service's group and for one of more than 255 characters.
pub fn group(sent: Option<&str>) -> Result<Option<&str>, ApiError> {
    let Some(text) = sent.filter(|s| !s.is_empty()) else { return Ok(None) };
    if text.starts_with("service:") {
        return Err(ApiError::invalid_parameter("The 'group' may not start with 'service:'."));
    }
    if text.len() > 255 {
        return Err(ApiError::invalid_parameter("The 'group' can have at most 255 characters."));
    }
    Ok(Some(text))
}

/// The tags of the new tasks: those sent, those of the task definition where they are propagated,
/// and ECS's own.
///
/// # Errors
/// As [`tags::from_wire`], and InvalidParameterException for propagation from a service.
pub fn task_tags(
    cluster: &ClusterName,
    definition: &TaskDefinition,
    sent: Option<&Vec<types::Tag>>,
    propagate: Option<&types::PropagateTags>,
    managed: Option<bool>,
) -> Result<Vec<Tag>, ApiError> {
    let own = tags::from_wire(sent)?;
    let mut all = match propagate {
        Some(types::PropagateTags::TaskDefinition) => tags::merged(&definition.tags, &own)?,
        Some(types::PropagateTags::Service) => {
            return Err(ApiError::invalid_parameter(
                "The SERVICE option of propagateTags is only valid for services.",
            ));
        }
        _ => own,
    };
    if managed.unwrap_or(false) {
        all.extend(managed_tags(cluster, None));
    }
    Ok(all)
}

/// The failures of a launch in the API's shape.
///
/// # Errors
/// InvalidParameterException if the cluster has no instance at all, as the real service answers.
pub fn failures(
    context: &Context<'_>,
    failures: &[Failure],
) -> Result<Vec<types::Failure>, ApiError> {
    if failures.iter().any(|f| f.reason == FailureReason::NoInstances) {
        return Err(ApiError::invalid_parameter(FailureReason::NoInstances.as_str()));
    }
    let failure = |failure: &Failure| types::Failure {
        arn: failure.instance.as_ref().map(|key| context.arns.container_instance(key)),
        reason: Some(failure.reason.as_str().to_owned()),
        detail: failure.detail.clone(),
    };
    Ok(failures.iter().map(failure).collect())
}

/// The new tasks in the API's shape.
pub fn tasks(context: &Context<'_>, plan: &LaunchPlan) -> Vec<types::Task> {
    plan.tasks.iter().map(|task| present::task(context, task, true)).collect()
}

/// What is remembered of a placement: the report under each new task, or under the cluster where
/// nothing was placed.
pub fn history(
    context: &Context<'_>,
    cluster: &ClusterName,
    plan: &LaunchPlan,
) -> Vec<HistoryEntry> {
    let body = serde_json::value::to_raw_value(&plan.report);
    let body = Arc::from(body.unwrap_or_else(|_| RawValue::NULL.to_owned()));
    let entry = |subject: String| HistoryEntry {
        subject: format!("{subject}#placement"),
        kind: "placement-report",
        body: Arc::clone(&body),
    };
    if plan.tasks.is_empty() {
        return vec![entry(context.arns.cluster(cluster))];
    }
    plan.tasks.iter().map(|task| entry(context.arns.task(&task.key()))).collect()
}

/// The keys of the instances that StartTask names.
///
/// # Errors
/// InvalidParameterException for none, for more than 10, and as
/// [`resolve::container_instance_key`].
pub fn instances(
    context: &Context<'_>,
    cluster: &ClusterName,
    sent: &[String],
) -> Result<Vec<wharf_model::ContainerInstanceKey>, ApiError> {
    if sent.is_empty() {
        return Err(ApiError::invalid_parameter("Container instances can not be empty."));
    }
    if sent.len() > 10 {
        return Err(ApiError::invalid_parameter("instanceIds can have at most 10 items."));
    }
    sent.iter().map(|text| resolve::container_instance_key(context, cluster, text)).collect()
}
