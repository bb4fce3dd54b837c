//! From what a caller wrote (a name, an id, an ARN in one of its forms) to what it names.

use crate::context::Context;
use crate::error::ApiError;
use std::sync::Arc;
use wharf_model::arn::Resource;
use wharf_model::{
    Arn, Cluster, ClusterName, ContainerInstanceKey, RecordKey, ServiceKey, TaskKey, Transaction,
};

/// What calls use that name no cluster.
pub const DEFAULT_CLUSTER: &str = "default";

/// Parses an ARN of this region and account.
///
/// # Errors
/// `InvalidParameterException` for another region or account, and for text that is no ECS ARN.
pub fn arn(context: &Context<'_>, text: &str) -> Result<Arn, ApiError> {
    let arn = Arn::parse(text)
        .ok_or_else(|| ApiError::invalid_parameter(format!("Invalid identifier: {text}")))?;
    if arn.region != context.region() {
        return Err(ApiError::invalid_parameter("Invalid Region in ARN"));
    }
    if arn.account != context.account() {
        return Err(ApiError::invalid_parameter(format!(
            "Invalid identifier: Identifier is for {}. Your accountId is {}",
            arn.account,
            context.account()
        )));
    }
    Ok(arn)
}

/// The name of a cluster given by name or ARN; `default` if none is given. The cluster need not
/// exist.
///
/// # Errors
/// `InvalidParameterException` for what can't be a cluster's name or ARN.
pub fn cluster_name(
    context: &Context<'_>,
    identifier: Option<&str>,
) -> Result<ClusterName, ApiError> {
    let text = identifier.unwrap_or(DEFAULT_CLUSTER);
    if Arn::is_arn(text) {
        return match arn(context, text)?.resource {
            Resource::Cluster(name) => Ok(name),
            _ => Err(ApiError::invalid_parameter(format!("Invalid identifier: {text}"))),
        };
    }
    valid_name("Cluster", text)?;
    Ok(ClusterName::from(text))
}

/// The ACTIVE cluster given by name or ARN; `default` if none is given.
///
/// # Errors
/// `ClusterNotFoundException` where there is none or it is INACTIVE; as [`cluster_name`].
pub fn cluster<'a>(
    context: &Context<'a>,
    identifier: Option<&str>,
) -> Result<&'a Arc<Cluster>, ApiError> {
    let name = cluster_name(context, identifier)?;
    match context.snapshot.cluster(&name) {
        Some(found) if found.active => Ok(found),
        Some(_) => Err(ApiError::cluster_inactive()),
        None => Err(ApiError::cluster_not_found()),
    }
}

/// Makes `transaction` hold only while `cluster` is as this decision saw it. For what would be
/// wrong in a cluster that is being deleted.
pub fn hold_cluster(context: &Context<'_>, transaction: &mut Transaction, cluster: &Cluster) {
    let key = RecordKey::Cluster(cluster.name.clone());
    let revision = context.snapshot.revision_of(&key);
    transaction.read(key, revision);
}

/// The key of a task given by id or ARN. A full ARN must name the call's cluster.
///
/// # Errors
/// `InvalidParameterException` for another cluster's ARN and for what is no task id.
pub fn task_key(
    context: &Context<'_>,
    cluster: &ClusterName,
    identifier: &str,
) -> Result<TaskKey, ApiError> {
    if !Arn::is_arn(identifier) {
        valid_id("taskId", identifier)?;
        return Ok(TaskKey::new(cluster.clone(), identifier));
    }
    match arn(context, identifier)?.resource {
        Resource::Task { cluster: named, id } => {
            same_cluster(cluster, named.as_ref())?;
            Ok(TaskKey { cluster: cluster.clone(), id })
        }
        _ => Err(ApiError::invalid_parameter(format!("Invalid identifier: {identifier}"))),
    }
}

/// The key of a container instance given by id or ARN. A full ARN must name the call's cluster.
///
/// # Errors
/// `InvalidParameterException` for another cluster's ARN and for what is no instance id.
pub fn container_instance_key(
    context: &Context<'_>,
    cluster: &ClusterName,
    identifier: &str,
) -> Result<ContainerInstanceKey, ApiError> {
    if !Arn::is_arn(identifier) {
        valid_id("containerInstanceId", identifier)?;
        return Ok(ContainerInstanceKey::new(cluster.clone(), identifier));
    }
    match arn(context, identifier)?.resource {
        Resource::ContainerInstance { cluster: named, id } => {
            same_cluster(cluster, named.as_ref())?;
            Ok(ContainerInstanceKey { cluster: cluster.clone(), id })
        }
        _ => Err(ApiError::invalid_parameter(format!("Invalid identifier: {identifier}"))),
    }
}

/// The key of a service given by name or ARN. A full ARN must name the call's cluster.
///
/// # Errors
/// `InvalidParameterException` for another cluster's ARN and for what is no service name.
pub fn service_key(
    context: &Context<'_>,
    cluster: &ClusterName,
    identifier: &str,
) -> Result<ServiceKey, ApiError> {
    if !Arn::is_arn(identifier) {
        valid_name("Service", identifier)?;
        return Ok(ServiceKey::new(cluster.clone(), identifier));
    }
    match arn(context, identifier)?.resource {
        Resource::Service { cluster: named, name } => {
            same_cluster(cluster, named.as_ref())?;
            Ok(ServiceKey { cluster: cluster.clone(), name })
        }
        _ => Err(ApiError::invalid_parameter(format!("Invalid identifier: {identifier}"))),
    }
}

/// Checks a name of up to 255 letters, digits, hyphens and underscores.
///
/// # Errors
/// `InvalidParameterException` in ECS's words.
pub fn valid_name(what: &str, name: &str) -> Result<(), ApiError> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if (1..=255).contains(&name.len()) && name.bytes().all(legal) {
        return Ok(());
    }
    Err(ApiError::invalid_parameter(format!(
        "{what} must match ^[a-zA-Z0-9\\-_]{{1,255}}$, but was {name}"
    )))
}

/// Ids are 32 hexadecimal digits now, UUIDs before; anything without separators of ours passes,
/// and is then simply not found.
fn valid_id(what: &str, id: &str) -> Result<(), ApiError> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if (1..=64).contains(&id.len()) && id.bytes().all(legal) {
        return Ok(());
    }
    Err(ApiError::invalid_parameter(format!("{what} length should be one of [32,36]")))
}

fn same_cluster(wanted: &ClusterName, named: Option<&ClusterName>) -> Result<(), ApiError> {
    match named {
        Some(named) if named != wanted => Err(ApiError::invalid_parameter(format!(
            "Invalid identifier: Identifier is for cluster {named}. Your cluster is {wanted}"
        ))),
        _ => Ok(()),
    }
}
