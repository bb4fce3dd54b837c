//! The resource that a tagging call names, its tags, and the record with other tags.

use super::resolve;
use crate::context::Context;
use crate::error::ApiError;
use wharf_model::arn::Resource;
use wharf_model::container_instance::InstanceStatus;
use wharf_model::service::ServiceStatus;
use wharf_model::{ContainerInstanceKey, Record, RecordKey, ServiceKey, Tag, TaskKey, Transaction};

/// A resource that can have tags.
pub struct Tagged {
    /// Its tags now.
    pub tags: Vec<Tag>,
    key: RecordKey,
    record: Record,
}

impl Tagged {
    /// The resource that `resource_arn` names.
    ///
    /// # Errors
    /// The exception that ECS has for a resource that isn't there, or that is INACTIVE.
    pub fn find(context: &Context<'_>, resource_arn: &str) -> Result<Self, ApiError> {
        let snapshot = context.snapshot;
        let (record, tags): (Record, Vec<Tag>) = match resolve::arn(context, resource_arn)?.resource
        {
            Resource::Cluster(name) => {
                let found = snapshot.cluster(&name).ok_or_else(ApiError::cluster_not_found)?;
                demand_active("cluster", found.active)?;
                (Record::Cluster(found.clone()), found.tags.clone())
            }
            Resource::Service { cluster, name } => {
                let key = ServiceKey { cluster: cluster.ok_or_else(long_arn)?, name };
                let found = snapshot.service(&key).ok_or_else(ApiError::service_not_found)?;
                demand_active("service", found.status != ServiceStatus::Inactive)?;
                (Record::Service(found.clone()), found.tags.clone())
            }
            Resource::Task { cluster, id } => {
                let key = TaskKey { cluster: cluster.ok_or_else(long_arn)?, id };
                let found = snapshot.task(&key).ok_or_else(|| not_found("task"))?;
                (Record::Task(found.clone()), found.tags.clone())
            }
            Resource::ContainerInstance { cluster, id } => {
                let key = ContainerInstanceKey { cluster: cluster.ok_or_else(long_arn)?, id };
                let found = snapshot.container_instance(&key);
                let found = found.ok_or_else(|| not_found("container instance"))?;
                demand_active("container instance", found.status != InstanceStatus::Inactive)?;
                (Record::ContainerInstance(found.clone()), found.tags.clone())
            }
            Resource::TaskDefinition(key) => {
                let found = snapshot.task_definition(&key);
                let found = found.ok_or_else(|| not_found("task definition"))?;
                (Record::TaskDefinition(found.clone()), found.tags.clone())
            }
            Resource::CapacityProvider(_) => return Err(not_found("capacity provider")),
            Resource::TaskSet(..) => return Err(not_found("task set")),
            _ => {
                return Err(ApiError::invalid_parameter(format!(
                    "Invalid identifier: {resource_arn} can not have tags."
                )));
            }
        };
        Ok(Self { tags, key: record.key(), record })
    }

    /// The transaction after which the resource has `tags`.
    pub fn with_tags(self, context: &Context<'_>, tags: Vec<Tag>) -> Transaction {
        macro_rules! set {
            ($record:expr) => {{
                let mut record = (*$record).clone();
                record.tags = tags;
                Record::from(record)
            }};
        }
        let record = match self.record {
            Record::Cluster(r) => set!(r),
            Record::Service(r) => set!(r),
            Record::Task(r) => set!(r),
            Record::ContainerInstance(r) => set!(r),
            Record::TaskDefinition(r) => set!(r),
            // `find` makes no others.
            other => other,
        };
        let mut transaction = Transaction::new();
        let revision = context.snapshot.revision_of(&self.key);
        transaction.read(self.key, revision);
        transaction.put(record);
        transaction
    }
}

fn demand_active(what: &str, active: bool) -> Result<(), ApiError> {
    if active {
        return Ok(());
    }
    Err(ApiError::invalid_parameter(format!(
        "The specified {what} is inactive. Specify an active {what} and try again."
    )))
}

fn not_found(what: &str) -> ApiError {
    ApiError::invalid_parameter(format!(
        "The specified {what} was not found. Specify a valid {what} and try again."
    ))
}

/// ARNs without the cluster can't be told apart.
fn long_arn() -> ApiError {
    ApiError::invalid_parameter("Long arn format must be used for tagging operations")
}
