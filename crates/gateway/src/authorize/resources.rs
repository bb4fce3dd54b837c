//! Which resources a request is about (Service Authorization Reference: "Actions, resources, and
//! condition keys" of each service). Where none can be told, it is about `*`.

use super::{Asked, load_balancing};
use crate::ecs::task_definition_reference;
use wharf_model::{Arn, ArnScope, ClusterName, Snapshot, arn, iam};
use wharf_wire::Document;

/// One resource.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Target {
    /// Its ARN; a second one where AWS knows it by two forms. The first is shown.
    pub(crate) names: Vec<String>,
    /// The cluster's ARN (`ecs:cluster`).
    pub(crate) cluster: Option<String>,
    /// The task definition's ARN (`ecs:task-definition`).
    pub(crate) task_definition: Option<String>,
}

impl Target {
    /// A resource with one name.
    pub(super) fn one(name: String) -> Self {
        Self { names: vec![name], ..Self::default() }
    }

    fn any() -> Self {
        Self::one("*".to_owned())
    }
}

/// A role that the request hands to a service.
pub(super) struct Passed {
    pub(super) arn: String,
    pub(super) service: &'static str,
}

/// The resources of a request: at least one.
pub(super) fn of(snapshot: &Snapshot, arns: &ArnScope, asked: Asked<'_>) -> Vec<Target> {
    let found = match asked.service {
        "ecs" => Ecs { snapshot, arns, input: asked.input }.of(asked.operation),
        "logs" => logs(arns, asked),
        "iam" | "sts" => identity(snapshot, arns, asked),
        "ssm" => parameters(arns, asked.input),
        "secretsmanager" => secrets(snapshot, arns, asked.input),
        "elasticloadbalancing" => load_balancing::of(arns, asked),
        "acm" => text(asked.input, "CertificateArn")
            .map(|arn| Target::one(arn.to_owned()))
            .into_iter()
            .collect(),
        _ => Vec::new(),
    };
    if found.is_empty() { vec![Target::any()] } else { found }
}

pub(super) fn text<'a>(input: &'a Document, name: &str) -> Option<&'a str> {
    input.get(name).and_then(Document::as_str).filter(|text| !text.is_empty())
}

pub(super) fn list<'a>(input: &'a Document, name: &str) -> Vec<&'a str> {
    match input.get(name) {
        Some(Document::List(items)) => items.iter().filter_map(Document::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Requests of ECS.
struct Ecs<'a> {
    snapshot: &'a Snapshot,
    arns: &'a ArnScope,
    input: &'a Document,
}

impl Ecs<'_> {
    fn of(&self, operation: &str) -> Vec<Target> {
        let cluster = self.cluster();
        let cluster_arn = self.arns.cluster(&cluster);
        let within = |names: Vec<String>| -> Vec<Target> {
            let target = |name| Target {
                cluster: Some(cluster_arn.clone()),
                task_definition: text(self.input, "taskDefinition").map(|r| self.definition(r)),
                names: vec![name],
            };
            names.into_iter().map(target).collect()
        };
        let each = |kind: &str, references: Vec<&str>| {
            within(references.iter().map(|r| self.in_cluster(kind, &cluster, r)).collect())
        };
        match operation {
            "CreateCluster" => {
                let name = text(self.input, "clusterName").unwrap_or("default");
                vec![Target::one(self.arns.cluster(&name.into()))]
            }
            "DescribeClusters" => {
                let mut names = list(self.input, "clusters");
                if names.is_empty() {
                    names.push("default");
                }
                let arn = |name: &&str| Target::one(self.arns.cluster(&cluster_name(name)));
                names.iter().map(arn).collect()
            }
            "DeleteCluster"
            | "UpdateCluster"
            | "UpdateClusterSettings"
            | "PutClusterCapacityProviders"
            | "ListContainerInstances"
            | "ListAttributes"
            | "RegisterContainerInstance"
            | "SubmitTaskStateChange"
            | "SubmitContainerStateChange"
            | "SubmitAttachmentStateChanges" => within(vec![cluster_arn.clone()]),
            "ListServices" => within(vec!["*".to_owned()]),
            "ListTasks" => each(
                "container-instance",
                vec![text(self.input, "containerInstance").unwrap_or("*")],
            ),
            "RegisterTaskDefinition" => {
                let family = text(self.input, "family").unwrap_or("*");
                vec![Target::one(self.definition(&format!("{family}:*")))]
            }
            "DeleteTaskDefinitions" => {
                let all = list(self.input, "taskDefinitions");
                all.iter().map(|r| Target::one(self.definition(r))).collect()
            }
            "RunTask" | "StartTask" => {
                let reference = text(self.input, "taskDefinition").unwrap_or("*");
                within(vec![self.definition(reference)])
            }
            "CreateService" | "CreateExpressGatewayService" => {
                each("service", text(self.input, "serviceName").into_iter().collect())
            }
            "UpdateService" | "DeleteService" | "ListServiceDeployments" => {
                each("service", text(self.input, "service").into_iter().collect())
            }
            "DescribeServices" => each("service", list(self.input, "services")),
            "StopTask" => each("task", text(self.input, "task").into_iter().collect()),
            "DescribeTasks" => each("task", list(self.input, "tasks")),
            "GetTaskProtection" | "UpdateTaskProtection" => {
                let mut tasks = list(self.input, "tasks");
                if tasks.is_empty() {
                    tasks.push("*");
                }
                each("task", tasks)
            }
            "DescribeContainerInstances" | "UpdateContainerInstancesState" => {
                each("container-instance", list(self.input, "containerInstances"))
            }
            "DeregisterContainerInstance" | "UpdateContainerAgent" => {
                let one = text(self.input, "containerInstance");
                each("container-instance", one.into_iter().collect())
            }
            "PutAttributes" | "DeleteAttributes" => {
                let attributes = match self.input.get("attributes") {
                    Some(Document::List(all)) => all.as_slice(),
                    _ => &[],
                };
                let targets = attributes.iter().filter_map(|one| text(one, "targetId"));
                each("container-instance", targets.collect())
            }
            _ => self.by_arn(operation),
        }
    }

    /// Operations that name their resources by ARN.
    fn by_arn(&self, operation: &str) -> Vec<Target> {
        let arns = match operation {
            "TagResource" | "UntagResource" | "ListTagsForResource" => {
                text(self.input, "resourceArn").into_iter().collect()
            }
            "DescribeExpressGatewayService"
            | "UpdateExpressGatewayService"
            | "DeleteExpressGatewayService" => text(self.input, "serviceArn").into_iter().collect(),
            "DescribeServiceRevisions" => list(self.input, "serviceRevisionArns"),
            "DescribeServiceDeployments" => list(self.input, "serviceDeploymentArns"),
            "StopServiceDeployment" => {
                text(self.input, "serviceDeploymentArn").into_iter().collect()
            }
            _ => Vec::new(),
        };
        arns.into_iter().map(|arn| Target::one(arn.to_owned())).collect()
    }

    fn cluster(&self) -> ClusterName {
        cluster_name(text(self.input, "cluster").unwrap_or("default"))
    }

    /// The ARN of something in a cluster, by its id, its name or an ARN in either form.
    fn in_cluster(&self, kind: &str, cluster: &ClusterName, reference: &str) -> String {
        let full = |id: &str| {
            let ArnScope { region, account } = self.arns;
            format!("arn:aws:ecs:{region}:{account}:{kind}/{cluster}/{id}")
        };
        if !Arn::is_arn(reference) {
            return full(reference);
        }
        let short = match Arn::parse(reference).map(|arn| arn.resource) {
            Some(arn::Resource::Task { cluster: None, id }) => Some(id.to_string()),
            Some(arn::Resource::Service { cluster: None, name }) => Some(name.to_string()),
            Some(arn::Resource::ContainerInstance { cluster: None, id }) => Some(id.to_string()),
            _ => None,
        };
        short.map_or_else(|| reference.to_owned(), |id| full(&id))
    }

    /// A task definition's ARN: a family alone stands for its latest ACTIVE revision.
    fn definition(&self, reference: &str) -> String {
        if Arn::is_arn(reference) {
            return reference.to_owned();
        }
        let ArnScope { region, account } = self.arns;
        let prefix = format!("arn:aws:ecs:{region}:{account}:task-definition/");
        if reference.contains(':') {
            return format!("{prefix}{reference}");
        }
        match task_definition_reference::latest(self.snapshot, reference) {
            Some(latest) => format!("{prefix}{reference}:{}", latest.revision),
            None => format!("{prefix}{reference}:*"),
        }
    }
}

fn cluster_name(reference: &str) -> ClusterName {
    reference.rsplit('/').next().unwrap_or(reference).into()
}

/// A group is known by `log-group:<name>` and, where AWS's own statements name streams,
/// by `log-group:<name>:log-stream:`.
fn logs(arns: &ArnScope, asked: Asked<'_>) -> Vec<Target> {
    let ArnScope { region, account } = arns;
    let of = |rest: String| format!("arn:aws:logs:{region}:{account}:log-group:{rest}");
    let group = |name: &str| Target {
        names: vec![of(format!("{name}:log-stream:")), of(name.to_owned())],
        ..Target::default()
    };
    let input = asked.input;
    fn name_of(arn: &str) -> &str {
        // An ARN may end in `:*`.
        let name = arn.split_once(":log-group:").map_or(arn, |(_, name)| name);
        name.strip_suffix(":*").unwrap_or(name)
    }
    let named = text(input, "logGroupName").or_else(|| {
        let arn = text(input, "logGroupIdentifier").or_else(|| text(input, "resourceArn"))?;
        Some(name_of(arn))
    });
    match asked.operation {
        "DescribeLogGroups" => vec![group("")],
        "StartLiveTail" => {
            list(input, "logGroupIdentifiers").into_iter().map(|arn| group(name_of(arn))).collect()
        }
        "PutLogEvents" | "GetLogEvents" | "DeleteLogStream" => {
            let (name, stream) = (named.unwrap_or("*"), text(input, "logStreamName"));
            vec![Target::one(of(format!("{name}:log-stream:{}", stream.unwrap_or("*"))))]
        }
        _ => named.map(group).into_iter().collect(),
    }
}

/// Parameters of SSM, by name, by ARN or by path.
fn parameters(arns: &ArnScope, input: &Document) -> Vec<Target> {
    let ArnScope { region, account } = arns;
    // A version or label behind it is no part of the resource.
    let arn = |name: &str| match name {
        arn if arn.starts_with("arn:") => arn.split(':').take(6).collect::<Vec<_>>().join(":"),
        name => {
            let name = name.split(':').next().unwrap_or(name).trim_start_matches('/');
            format!("arn:aws:ssm:{region}:{account}:parameter/{name}")
        }
    };
    let mut names = list(input, "Names");
    names.extend(["Name", "Path", "ResourceId"].iter().filter_map(|member| text(input, member)));
    names.into_iter().map(|name| Target::one(arn(name))).collect()
}

/// Secrets by their whole ARNs. Of one that isn't there, a name alone leaves the six characters open
/// that an ARN has behind it.
fn secrets(snapshot: &Snapshot, arns: &ArnScope, input: &Document) -> Vec<Target> {
    let ArnScope { region, account } = arns;
    let arn = |name: &str| match crate::secretsmanager::arn(snapshot, arns, name) {
        Some(arn) => arn,
        None if name.starts_with("arn:") => name.to_owned(),
        None => format!("arn:aws:secretsmanager:{region}:{account}:secret:{name}-??????"),
    };
    let mut names = list(input, "SecretIdList");
    names.extend(["SecretId", "Name"].iter().filter_map(|member| text(input, member)));
    names.into_iter().map(|name| Target::one(arn(name))).collect()
}

/// Requests of IAM and STS.
fn identity(snapshot: &Snapshot, arns: &ArnScope, asked: Asked<'_>) -> Vec<Target> {
    let (account, input) = (&arns.account, asked.input);
    let own = |kind: &str, name: &str| format!("arn:aws:iam::{account}:{kind}/{name}");
    let role = |name: &str| match snapshot.role(&iam::key(name)) {
        Some(role) => role.arn(account),
        None => own("role", name),
    };
    let profile = |name: &str| match snapshot.instance_profile(&iam::key(name)) {
        Some(profile) => profile.arn(account),
        None => own("instance-profile", name),
    };
    let user = |name: &str| match snapshot.user(&iam::key(name)) {
        Some(user) => user.arn(account),
        None => own("user", name),
    };
    let path = text(input, "Path").unwrap_or("/");
    let new = |kind: &str, name: &str| format!("arn:aws:iam::{account}:{kind}{path}{name}");
    let name = |member: &str| text(input, member);
    let arn = match asked.operation {
        "AssumeRole" => name("RoleArn").map(str::to_owned),
        "CreateRole" => name("RoleName").map(|name| new("role", name)),
        "CreateUser" => name("UserName").map(|name| new("user", name)),
        "CreatePolicy" => name("PolicyName").map(|name| new("policy", name)),
        "CreateInstanceProfile" => {
            name("InstanceProfileName").map(|name| new("instance-profile", name))
        }
        "CreateServiceLinkedRole" => {
            name("AWSServiceName").map(|s| own("role", &format!("aws-service-role/{s}/*")))
        }
        "ListRoles" => Some(own("role", "")),
        "ListUsers" => Some(own("user", "")),
        "ListPolicies" => Some(own("policy", path.trim_start_matches('/'))),
        "ListInstanceProfiles" => Some(own("instance-profile", "")),
        _ => name("InstanceProfileName")
            .map(profile)
            .or_else(|| name("RoleName").map(role))
            .or_else(|| name("UserName").map(user))
            .or_else(|| name("PolicyArn").map(str::to_owned)),
    };
    arn.into_iter().map(Target::one).collect()
}

/// The roles that a request hands on.
pub(super) fn passed_roles(snapshot: &Snapshot, arns: &ArnScope, asked: Asked<'_>) -> Vec<Passed> {
    let input = asked.input;
    let passed = |reference: String, service| Passed {
        arn: match iam::role_by_reference(snapshot, &arns.account, &reference) {
            Some(role) => role.arn(&arns.account),
            None => iam::role_arn(&reference, &arns.account),
        },
        service,
    };
    const MEMBERS: [&str; 2] = ["taskRoleArn", "executionRoleArn"];
    let of = |document: &Document| -> Vec<Option<String>> {
        MEMBERS.iter().map(|member| text(document, member).map(str::to_owned)).collect()
    };
    let roles: Vec<Option<String>> = match (asked.service, asked.operation) {
        ("ecs", "RegisterTaskDefinition") => of(input),
        ("ecs", "CreateExpressGatewayService" | "UpdateExpressGatewayService") => {
            let infrastructure = text(input, "infrastructureRoleArn").map(str::to_owned);
            let infrastructure = infrastructure.map(|role| passed(role, "ecs.amazonaws.com"));
            let of_tasks = of(input).into_iter().flatten();
            let of_tasks = of_tasks.map(|role| passed(role, iam::TASKS_SERVICE));
            return of_tasks.chain(infrastructure).collect();
        }
        ("ecs", "RunTask" | "StartTask") => {
            let overrides = input.get("overrides").map(of).unwrap_or_default();
            let reference = text(input, "taskDefinition").unwrap_or_default();
            let definition = task_definition_reference::find(snapshot, reference);
            let defined = match definition {
                Some(found) => [found.task_role_arn.clone(), found.execution_role_arn.clone()],
                None => [None, None],
            };
            let sent = |at: usize| overrides.get(at).cloned().flatten();
            defined.into_iter().enumerate().map(|(at, role)| sent(at).or(role)).collect()
        }
        ("iam", "AddRoleToInstanceProfile") => {
            let role = text(input, "RoleName").map(str::to_owned);
            return role.into_iter().map(|role| passed(role, "ec2.amazonaws.com")).collect();
        }
        _ => Vec::new(),
    };
    roles.into_iter().flatten().map(|role| passed(role, iam::TASKS_SERVICE)).collect()
}
