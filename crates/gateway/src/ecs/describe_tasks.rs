//! DescribeTasks: up to 100 tasks of a cluster; those that aren't there are failures.

use super::{present, resolve};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use wharf_model::TaskStatus;
use wharf_wire::ecs::types::{DescribeTasksRequest, DescribeTasksResponse, TaskField};

/// The most tasks of one call.
const MAX_ITEMS: usize = 100;

/// DescribeTasks.
pub fn describe_tasks(
    context: &Context<'_>,
    input: &DescribeTasksRequest,
) -> Result<DescribeTasksResponse> {
    let cluster = resolve::cluster(context, input.cluster.as_deref())?;
    let identifiers = input.tasks.as_deref().unwrap_or_default();
    if identifiers.is_empty() {
        return Err(ApiError::invalid_parameter("Tasks cannot be empty."));
    }
    if identifiers.len() > MAX_ITEMS {
        return Err(ApiError::invalid_parameter(format!(
            "taskIds can have at most {MAX_ITEMS} items."
        )));
    }
    let with_tags = input.include.iter().flatten().any(|f| *f == TaskField::Tags);
    let (mut tasks, mut failures) = (Vec::new(), Vec::new());
    for identifier in identifiers {
        let key = resolve::task_key(context, &cluster.name, identifier)?;
        let task = context.snapshot.task(&key);
        match task.filter(|t| t.last_status != TaskStatus::Deleted) {
            Some(task) => tasks.push(present::task(context, task, with_tags)),
            None => failures.push(present::failure(context.arns.task(&key), "MISSING")),
        }
    }
    Ok(Outcome::read(DescribeTasksResponse { tasks: Some(tasks), failures: Some(failures) }))
}
