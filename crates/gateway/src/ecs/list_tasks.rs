//! ListTasks: ARNs of a cluster's tasks, filtered. Without a desiredStatus only those that are
//! meant to run are listed.

use super::page::{Request, page};
use super::resolve;
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use std::sync::Arc;
use wharf_model::task_definition::LaunchType;
use wharf_model::{Cluster, ContainerInstanceId, ServiceKey, Task, TaskStatus};
use wharf_wire::ecs::types::{DesiredStatus, ListTasksRequest, ListTasksResponse};

/// The most tasks on one page.
const PAGE_LIMIT: i32 = 100;

/// ListTasks.
pub fn list_tasks(context: &Context<'_>, input: &ListTasksRequest) -> Result<ListTasksResponse> {
    let cluster = resolve::cluster(context, input.cluster.as_deref())?;
    let filter = Filter::new(context, cluster, input)?;
    let request = Request {
        next_token: input.next_token.as_deref(),
        max_results: input.max_results,
        limit: PAGE_LIMIT,
    };
    let item = |t: &Arc<Task>| (t.id.to_string(), context.arns.task(&t.key()));
    let page = match &filter.service {
        // A service's tasks are indexed: don't walk the whole cluster for them.
        Some(key) => {
            let tasks = context.snapshot.service_tasks(key);
            page(tasks.filter(|t| filter.lets_through(t)).map(item), request)?
        }
        None => {
            let tasks = context.snapshot.tasks(&cluster.name);
            page(tasks.filter(|t| filter.lets_through(t)).map(item), request)?
        }
    };
    Ok(Outcome::read(ListTasksResponse {
        task_arns: Some(page.items),
        next_token: page.next_token,
    }))
}

/// What a task must be to be listed: all of it.
struct Filter<'a> {
    desired: TaskStatus,
    instance: Option<ContainerInstanceId>,
    service: Option<ServiceKey>,
    family: Option<&'a str>,
    started_by: Option<&'a str>,
    launch_type: Option<LaunchType>,
}

impl<'a> Filter<'a> {
    fn new(
        context: &Context<'_>,
        cluster: &Cluster,
        input: &'a ListTasksRequest,
    ) -> std::result::Result<Self, ApiError> {
        if input.daemon_name.is_some() {
            return Err(ApiError::unsupported_feature(
                "Daemons are not supported by this server, so there are no tasks by daemonName.",
            ));
        }
        let others = input.container_instance.is_some()
            || input.service_name.is_some()
            || input.family.is_some()
            || input.launch_type.is_some();
        if input.started_by.is_some() && others {
            return Err(ApiError::invalid_parameter(
                "cannot specify startedBy with other arguments",
            ));
        }
        let instance = match input.container_instance.as_deref() {
            Some(identifier) => {
                let key = resolve::container_instance_key(context, &cluster.name, identifier)?;
                let found = context.snapshot.container_instance(&key);
                let gone = || ApiError::invalid_parameter("Container instance not found.");
                Some(found.ok_or_else(gone)?.id.clone())
            }
            None => None,
        };
        let service = match input.service_name.as_deref() {
            Some(identifier) => {
                let key = resolve::service_key(context, &cluster.name, identifier)?;
                let found = context.snapshot.service(&key);
                Some(found.ok_or_else(ApiError::service_not_found)?.key())
            }
            None => None,
        };
        Ok(Self {
            desired: match input.desired_status {
                Some(DesiredStatus::Stopped) => TaskStatus::Stopped,
                Some(DesiredStatus::Pending) => TaskStatus::Pending,
                _ => TaskStatus::Running,
            },
            instance,
            service,
            family: input.family.as_deref(),
            started_by: input.started_by.as_deref(),
            launch_type: input.launch_type.as_ref().and_then(|l| LaunchType::parse(l.as_str())),
        })
    }

    fn lets_through(&self, task: &Task) -> bool {
        task.desired_status == self.desired
            && task.last_status != TaskStatus::Deleted
            && self.instance.as_ref().is_none_or(|i| task.container_instance.as_ref() == Some(i))
            && self.service.as_ref().is_none_or(|s| task.service.as_ref() == Some(&s.name))
            && self.family.is_none_or(|f| task.task_definition.family == f)
            && self.started_by.is_none_or(|s| task.started_by.as_deref() == Some(s))
            && self.launch_type.is_none_or(|l| task.launch_type == l)
    }
}
