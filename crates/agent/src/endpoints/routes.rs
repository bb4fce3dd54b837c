//! Which path answers what.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use http::Method;
use serde_json::{Value, json};
use wharf_runtime::SandboxId;
use wharf_wire::ecs::operation;
use wharf_wire::ecs::types::ListTagsForResourceRequest;

use super::{Answer, Asked, Context, Instance, documents, host_mode, protection, stats};
use crate::engine::Machine;
use crate::launch::metadata_id;
use crate::task::{Network, RoleCredentials};

/// The version of the documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V2,
    V3,
    V4,
}

/// A request from a task's address.
pub(super) async fn for_task(context: &Context, from: SocketAddr, asked: &Asked) -> Answer {
    let peer = from.ip();
    let (path, query) = (asked.path.as_str(), asked.query.as_str());
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match *parts.as_slice() {
        ["api", id, "task-protection", "v1", "state"] => {
            protection::answer(context, peer, id, asked).await
        }
        _ if asked.method != Method::GET => method_not_allowed("GET"),
        ["v1", "credentials"] => {
            let id = query.split('&').find_map(|pair| pair.strip_prefix("id="));
            credentials(context, from, id.unwrap_or_default(), "CredentialsV1Request").await
        }
        ["v2", "credentials"] => credentials(context, from, "", "CredentialsV2Request").await,
        ["v2", "credentials", id] => credentials(context, from, id, "CredentialsV2Request").await,
        ["v2", "metadata" | "metadataWithTags" | "stats", ..] => {
            by_address(context, peer, &parts).await
        }
        ["v3", id, ref rest @ ..] => by_id(context, Version::V3, id, rest).await,
        ["v4", id, ref rest @ ..] => by_id(context, Version::V4, id, rest).await,
        ["api", _, ..] => Answer {
            status: 501,
            body: json!({ "error": { "Code": "UnsupportedFeatureException",
                "Message": "fault injection is not served by this agent" } }),
        },
        _ => not_found(path),
    }
}

pub(super) fn method_not_allowed(allowed: &str) -> Answer {
    let text = format!("this agent answers {allowed} here only");
    Answer { status: 405, body: json!({ "code": "MethodNotAllowed", "message": text }) }
}

/// A body that is too long, or didn't come in time.
pub(super) fn unreadable() -> Answer {
    let text = "the request's body is too long, or didn't arrive";
    Answer { status: 400, body: json!({ "code": "BadRequest", "message": text }) }
}

fn not_found(path: &str) -> Answer {
    Answer { status: 404, body: json!(format!("Unable to find a handler for {path}")) }
}

/// Finds something about a task, with its machine.
fn find<T>(context: &Context, mut look: impl FnMut(&Machine) -> Option<T>) -> Option<T> {
    let mut found = None;
    context.tasks.for_each(|machine| {
        if found.is_none() {
            found = look(machine);
        }
    });
    found
}

/// The ARN of the task that a container's id belongs to, if it is the task that asks: in network mode
/// host addresses tell nothing, and the id has to do.
pub(super) fn task_of(context: &Context, peer: IpAddr, id: &str) -> Option<String> {
    find(context, |machine| {
        let task = &machine.task;
        let mut names = task.containers.iter().map(|container| metadata_id(task, &container.name));
        let is_there = names.any(|known| known == id);
        let asks = task.network == Network::Host || owns(machine, peer);
        (is_there && asks).then(|| task.arn.clone())
    })
}

async fn by_id(context: &Context, version: Version, id: &str, rest: &[&str]) -> Answer {
    let instance = context.instance();
    let name = find(context, |machine| {
        let mut containers = machine.task.containers.iter();
        let container =
            containers.find(|container| metadata_id(&machine.task, &container.name) == id);
        container.map(|container| (machine.task.id.clone(), container.name.clone()))
    });
    let Some((task, name)) = name else {
        let what = format!(
            "V{} container metadata handler: unable to get task arn from request",
            if version == Version::V3 { 3 } else { 4 }
        );
        return Answer { status: 404, body: json!(what) };
    };
    let document = |make: &dyn Fn(&Machine) -> Value| {
        let of_task = |machine: &Machine| (machine.task.id == task).then(|| make(machine));
        match find(context, of_task) {
            Some(document) => Answer::ok(document),
            None => not_found(id),
        }
    };
    match rest {
        [] => document(&|machine| documents::container_by_name(machine, &name, &instance, version)),
        ["task"] => document(&|machine| documents::task(machine, &instance, version)),
        ["stats"] => match stats::container(context, &(task, name)).await {
            Some(stats) => Answer::ok(stats),
            None => Answer { status: 500, body: json!("Unable to get container stats") },
        },
        ["taskWithTags"] => {
            let mut answer = document(&|machine| documents::task(machine, &instance, version));
            add_tags(context, &instance, &mut answer.body).await;
            answer
        }
        ["task", "stats"] => Answer::ok(stats::task(context, &task).await),
        _ => not_found(&rest.join("/")),
    }
}

/// Adds the tags of the instance and of the task, asked for just now; what can't be had is said in
/// `Errors`.
async fn add_tags(context: &Context, instance: &Instance, document: &mut Value) {
    let task = document["TaskARN"].as_str().map(str::to_owned);
    let mut errors = Vec::new();
    let of =
        [("ContainerInstanceTags", instance.container_instance_arn.clone()), ("TaskTags", task)];
    for (member, arn) in of {
        let input = ListTagsForResourceRequest { resource_arn: arn.clone() };
        match context.client.call::<operation::ListTagsForResource>(input).await {
            Ok(answer) => {
                let tags = answer.tags.into_iter().flatten();
                let tags: BTreeMap<String, String> = tags
                    .filter_map(|tag| Some((tag.key?, tag.value.unwrap_or_default())))
                    .collect();
                if !tags.is_empty() {
                    document[member] = json!(tags);
                }
            }
            Err(error) => errors.push(json!({
                "ErrorField": member, "ErrorMessage": error.to_string(), "ResourceARN": arn,
            })),
        }
    }
    if !errors.is_empty() {
        document["Errors"] = json!(errors);
    }
}

/// v2: the caller is known by its address, so that it works in network mode awsvpc only.
async fn by_address(context: &Context, peer: IpAddr, parts: &[&str]) -> Answer {
    let instance = context.instance();
    let found = find(context, |machine| match &machine.task.network {
        Network::Awsvpc(interface) if IpAddr::V4(interface.eni.address) == peer => {
            let document = documents::task(machine, &instance, Version::V2);
            Some((machine.task.id.clone(), document))
        }
        _ => None,
    });
    let Some((task, document)) = found else {
        let what = format!("Unable to get task arn from request: no task with address {peer}");
        return Answer { status: 400, body: json!(what) };
    };
    match parts {
        ["v2", "metadata"] => Answer::ok(document),
        ["v2", "metadataWithTags"] => {
            let mut answer = Answer::ok(document);
            add_tags(context, &instance, &mut answer.body).await;
            answer
        }
        ["v2", "stats"] => Answer::ok(stats::task(context, &task).await),
        ["v2", what, container] => by_runtime_id(context, &instance, &task, what, container).await,
        _ => not_found(&parts.join("/")),
    }
}

/// A container of the task, by the id that the documents show for it.
async fn by_runtime_id(
    context: &Context,
    instance: &Instance,
    task: &SandboxId,
    what: &str,
    id: &str,
) -> Answer {
    let name = find(context, |machine| {
        let mut containers = machine.containers();
        let found = containers.find(|(_, state)| state.runtime_id.as_deref() == Some(id));
        let (container, _) = found.filter(|_| machine.task.id == *task)?;
        let name = container.name.clone();
        let document = documents::container_by_name(machine, &name, instance, Version::V2);
        Some((name, document))
    });
    let Some((name, document)) = name else {
        let text = format!("Unable to get container from the request: no container {id}");
        return Answer { status: 400, body: json!(text) };
    };
    match what {
        "metadata" => Answer::ok(document),
        "stats" => match stats::container(context, &(task.clone(), name)).await {
            Some(stats) => Answer::ok(stats),
            None => Answer { status: 500, body: json!("Unable to get container stats") },
        },
        _ => not_found(what),
    }
}

/// Credentials go only to the task that they are for: to its address, or in network mode host to
/// a process of it. A wrong id and a wrong caller are answered alike.
async fn credentials(context: &Context, from: SocketAddr, id: &str, who: &str) -> Answer {
    let error = |status: u16, code: &str, message: &str| Answer {
        status,
        body: json!({ "code": code, "message": format!("{who}: {message}") }),
    };
    if id.is_empty() {
        return error(400, "NoIdInRequest", "No Credential ID in the request");
    }
    let found = find(context, |machine| {
        let credentials = machine.task.role_credentials.as_ref()?;
        let same = credentials.id.expose() == id && machine.is_live();
        let task = &machine.task;
        match task.network {
            _ if !same => None,
            Network::Host => Some((credentials.clone(), Some(task.id.clone()))),
            _ => owns(machine, from.ip()).then(|| (credentials.clone(), None)),
        }
    });
    let found = match found {
        Some((credentials, Some(task))) => {
            let cgroup = format!("{}/{task}", context.cgroup);
            let held = tokio::task::spawn_blocking(move || host_mode::is_held_by(&cgroup, from));
            held.await.unwrap_or(false).then_some(credentials)
        }
        found => found.map(|(credentials, _)| credentials),
    };
    match found {
        None => error(400, "InvalidIdInRequest", "Credentials not found"),
        Some(credentials) if !credentials.is_complete() => {
            error(503, "CredentialsUninitialized", "Credentials uninitialized for ID")
        }
        Some(credentials) => Answer::ok(credentials_document(&credentials)),
    }
}

/// Whether the address is one of the task's.
fn owns(machine: &Machine, peer: IpAddr) -> bool {
    match &machine.task.network {
        Network::Awsvpc(interface) => IpAddr::V4(interface.eni.address) == peer,
        Network::Bridge => {
            let mut addresses = machine.state.containers.iter().filter_map(|state| state.address);
            addresses.any(|address| IpAddr::V4(address) == peer)
        }
        Network::Host | Network::None => false,
    }
}

fn credentials_document(credentials: &RoleCredentials) -> Value {
    json!({
        "RoleArn": credentials.role_arn,
        "AccessKeyId": credentials.access_key_id,
        "SecretAccessKey": credentials.secret_access_key.expose(),
        "Token": credentials.session_token.expose(),
        "Expiration": credentials.expiration,
    })
}

/// A request on the unix socket.
pub(super) fn introspection(context: &Context, asked: &Asked) -> Answer {
    if asked.method != Method::GET {
        return method_not_allowed("GET");
    }
    let instance = context.instance();
    let (path, query) = (asked.path.as_str(), asked.query.as_str());
    match path {
        "/v1/metadata" => Answer::ok(json!({
            "Cluster": instance.cluster,
            "ContainerInstanceArn": instance.container_instance_arn,
            "Version": concat!("wharf agent - v", env!("CARGO_PKG_VERSION")),
        })),
        "/v1/tasks" => {
            let wanted = |name: &str| {
                let prefix = format!("{name}=");
                query.split('&').find_map(|pair| pair.strip_prefix(prefix.as_str()))
            };
            let (arn, docker_id) = (wanted("taskarn"), wanted("dockerid"));
            let mut tasks = Vec::new();
            context.tasks.for_each(|machine| {
                let has = |id: &str| {
                    let mut states = machine.state.containers.iter();
                    states.any(|state| state.runtime_id.as_deref() == Some(id))
                };
                let matches = arn.is_none_or(|arn| {
                    arn.replace("%3A", ":").replace("%2F", "/") == machine.task.arn
                }) && docker_id.is_none_or(has);
                if matches {
                    tasks.push(documents::introspected(machine, &instance));
                }
            });
            match (arn.or(docker_id), tasks.pop()) {
                (None, last) => {
                    tasks.extend(last);
                    Answer::ok(json!({ "Tasks": tasks }))
                }
                (Some(_), Some(task)) => Answer::ok(task),
                (Some(_), None) => Answer { status: 404, body: json!({}) },
            }
        }
        "/license" => Answer::ok(json!("Apache-2.0")),
        "/" | "" => {
            Answer::ok(json!({ "AvailableCommands": ["/v1/metadata", "/v1/tasks", "/license"] }))
        }
        _ => not_found(path),
    }
}
