//! Amazon Resource Names of ECS.

use crate::id::{
    ClusterName, ContainerInstanceId, ContainerInstanceKey, ServiceKey, ServiceName,
    TaskDefinitionKey, TaskId, TaskKey,
};
use std::fmt;

/// Region and account that ARNs are made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArnScope {
    /// Region such as `us-east-1`.
    pub region: String,
    /// Twelve digits.
    pub account: String,
}

impl ArnScope {
    fn ecs(&self, resource: fmt::Arguments<'_>) -> String {
        format!("arn:aws:ecs:{}:{}:{resource}", self.region, self.account)
    }

    /// `arn:aws:ecr:…:repository/<name>`
    pub fn repository(&self, name: &str) -> String {
        format!("arn:aws:ecr:{}:{}:repository/{name}", self.region, self.account)
    }

    /// `arn:aws:ecs:…:cluster/<name>`
    pub fn cluster(&self, name: &ClusterName) -> String {
        self.ecs(format_args!("cluster/{name}"))
    }

    /// `arn:aws:ecs:…:task/<cluster>/<id>`
    pub fn task(&self, key: &TaskKey) -> String {
        self.ecs(format_args!("task/{key}"))
    }

    /// `arn:aws:ecs:…:container/<cluster>/<task id>/<container id>`
    pub fn container(&self, task: &TaskKey, container_id: &str) -> String {
        self.ecs(format_args!("container/{task}/{container_id}"))
    }

    /// `arn:aws:ecs:…:service/<cluster>/<name>`
    pub fn service(&self, key: &ServiceKey) -> String {
        self.ecs(format_args!("service/{key}"))
    }

    /// `arn:aws:ecs:…:service-deployment/<cluster>/<service>/<id>`
    pub fn service_deployment(&self, key: &ServiceKey, id: &str) -> String {
        self.ecs(format_args!("service-deployment/{key}/{id}"))
    }

    /// `arn:aws:ecs:…:service-revision/<cluster>/<service>/<id>`
    pub fn service_revision(&self, key: &ServiceKey, id: &str) -> String {
        self.ecs(format_args!("service-revision/{key}/{id}"))
    }

    /// `arn:aws:ecs:…:task-definition/<family>:<revision>`
    pub fn task_definition(&self, key: &TaskDefinitionKey) -> String {
        self.ecs(format_args!("task-definition/{key}"))
    }

    /// `arn:aws:ecs:…:container-instance/<cluster>/<id>`
    pub fn container_instance(&self, key: &ContainerInstanceKey) -> String {
        self.ecs(format_args!("container-instance/{key}"))
    }

    /// `arn:aws:ecs:…:capacity-provider/<name>`
    pub fn capacity_provider(&self, name: &str) -> String {
        self.ecs(format_args!("capacity-provider/{name}"))
    }

    /// `arn:aws:ecs:…:attachment/<id>`
    pub fn attachment(&self, id: &str) -> String {
        self.ecs(format_args!("attachment/{id}"))
    }
}

/// What an ECS ARN names. Short (pre-2018) forms without the cluster have `cluster: None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// A cluster.
    Cluster(ClusterName),
    /// A task.
    Task {
        /// Cluster, absent in the short form.
        cluster: Option<ClusterName>,
        /// The task's id.
        id: TaskId,
    },
    /// A service.
    Service {
        /// Cluster, absent in the short form.
        cluster: Option<ClusterName>,
        /// The service's name.
        name: ServiceName,
    },
    /// A task definition.
    TaskDefinition(TaskDefinitionKey),
    /// A container instance.
    ContainerInstance {
        /// Cluster, absent in the short form.
        cluster: Option<ClusterName>,
        /// The instance's id.
        id: ContainerInstanceId,
    },
    /// A service deployment and its id.
    ServiceDeployment(ServiceKey, String),
    /// A service revision and its id.
    ServiceRevision(ServiceKey, String),
    /// A capacity provider's name.
    CapacityProvider(String),
    /// A container of a task.
    Container(TaskKey, String),
    /// A task set: service and id.
    TaskSet(ServiceKey, String),
}

/// A parsed ECS ARN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arn {
    /// Region in the ARN.
    pub region: String,
    /// Account in the ARN.
    pub account: String,
    /// What it names.
    pub resource: Resource,
}

impl Arn {
    /// Parses an ARN of service `ecs`; `None` if `text` isn't one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        if parts.next()? != "arn" || !parts.next()?.starts_with("aws") || parts.next()? != "ecs" {
            return None;
        }
        let (region, account) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        let resource = parse_resource(parts.next()?)?;
        Some(Self { region, account, resource })
    }

    /// True if `text` looks like any ARN.
    pub fn is_arn(text: &str) -> bool {
        text.starts_with("arn:")
    }
}

fn parse_resource(text: &str) -> Option<Resource> {
    let (kind, rest) = text.split_once('/')?;
    let segments: Vec<&str> = rest.split('/').collect();
    if segments.iter().any(|s| s.is_empty()) {
        return None;
    }
    let in_cluster = |segments: &[&str]| match *segments {
        [id] => Some((None, id.to_owned())),
        [cluster, id] => Some((Some(ClusterName::from(cluster)), id.to_owned())),
        _ => None,
    };
    let of_service = |segments: &[&str]| match *segments {
        [cluster, service, id] => Some((ServiceKey::new(cluster, service), id.to_owned())),
        _ => None,
    };
    Some(match kind {
        "cluster" if segments.len() == 1 => Resource::Cluster(ClusterName::from(rest)),
        "task" => {
            let (cluster, id) = in_cluster(&segments)?;
            Resource::Task { cluster, id: id.into() }
        }
        "service" => {
            let (cluster, name) = in_cluster(&segments)?;
            Resource::Service { cluster, name: name.into() }
        }
        "container-instance" => {
            let (cluster, id) = in_cluster(&segments)?;
            Resource::ContainerInstance { cluster, id: id.into() }
        }
        "task-definition" if segments.len() == 1 => {
            let (family, revision) = rest.rsplit_once(':')?;
            let revision = revision.parse().ok()?;
            Resource::TaskDefinition(TaskDefinitionKey { family: family.into(), revision })
        }
        "service-deployment" => {
            let (key, id) = of_service(&segments)?;
            Resource::ServiceDeployment(key, id)
        }
        "service-revision" => {
            let (key, id) = of_service(&segments)?;
            Resource::ServiceRevision(key, id)
        }
        "task-set" => {
            let (key, id) = of_service(&segments)?;
            Resource::TaskSet(key, id)
        }
        "container" => match *segments.as_slice() {
            [cluster, task, id] => Resource::Container(TaskKey::new(cluster, task), id.to_owned()),
            _ => return None,
        },
        "capacity-provider" if segments.len() == 1 => Resource::CapacityProvider(rest.to_owned()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_parses_back() {
        let scope = ArnScope { region: "us-east-1".into(), account: "123456789012".into() };
        let task = TaskKey::new("c", "0123");
        let service = ServiceKey::new("c", "web");
        let definition = TaskDefinitionKey { family: "web".into(), revision: 7 };
        let instance = ContainerInstanceKey::new("c", "abc");
        let cases = [
            (scope.cluster(&"c".into()), Resource::Cluster("c".into())),
            (scope.task(&task), Resource::Task { cluster: Some("c".into()), id: "0123".into() }),
            (scope.container(&task, "x"), Resource::Container(task.clone(), "x".into())),
            (
                scope.service(&service),
                Resource::Service { cluster: Some("c".into()), name: "web".into() },
            ),
            (
                scope.service_deployment(&service, "1"),
                Resource::ServiceDeployment(service.clone(), "1".into()),
            ),
            (scope.task_definition(&definition), Resource::TaskDefinition(definition.clone())),
            (
                scope.container_instance(&instance),
                Resource::ContainerInstance { cluster: Some("c".into()), id: "abc".into() },
            ),
            (scope.capacity_provider("cp"), Resource::CapacityProvider("cp".into())),
        ];
        for (text, resource) in cases {
            let arn = Arn::parse(&text).unwrap();
            assert_eq!(arn.resource, resource, "{text}");
            assert_eq!((arn.region.as_str(), arn.account.as_str()), ("us-east-1", "123456789012"));
        }
    }

    #[test]
    fn short_forms_have_no_cluster_and_rubbish_is_none() {
        let short = Arn::parse("arn:aws:ecs:us-east-1:1:task/0123").unwrap();
        assert_eq!(short.resource, Resource::Task { cluster: None, id: "0123".into() });
        for text in [
            "",
            "arn",
            "arn:aws:s3:::bucket",
            "arn:aws:ecs:r:a:task/",
            "arn:aws:ecs:r:a:task-definition/web",
            "arn:aws:ecs:r:a:task-definition/web:x",
            "arn:aws:ecs:r:a:task/a/b/c",
            "arn:aws:ecs:r:a:nothing/x",
        ] {
            assert_eq!(Arn::parse(text), None, "{text}");
        }
    }
}
