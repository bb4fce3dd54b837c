//! RegisterContainerInstance: a host's agent joins a cluster, or comes back after a restart.
//!
//! The agent checks that each attribute it sent is in the answer with the same value, and reads
//! its ARN and its zone from there; everything else is for placement. An instance belongs to the
//! principal that registered it: nobody else may re-register it.

use super::{attribute_input, present, resolve, tags};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use std::collections::BTreeSet;
use wharf_model::container_instance::InstanceStatus;
use wharf_model::resources::STORAGE;
use wharf_model::{
    Attribute, Cluster, ContainerInstance, ContainerInstanceId, HostPort, RecordKey,
    ResourceAmount, Transaction, TransportProtocol,
};
use wharf_wire::ecs::types::{
    self, RegisterContainerInstanceRequest, RegisterContainerInstanceResponse,
};

/// Prefixes of the attributes that tell what an agent can do: what it doesn't send any more after
/// an upgrade is gone.
const CAPABILITIES: [&str; 3] =
    ["ecs.capability.", "com.amazonaws.ecs.capability.", "wharf.capability."];
const AVAILABILITY_ZONE: &str = "ecs.availability-zone";
/// Sent by agents that can give a task an interface of its own.
const TASK_ENI: &str = "ecs.capability.task-eni";
/// Interfaces for tasks of one host: what a Linux bridge has ports for, less some.
const MAX_TASK_INTERFACES: u32 = 1000;

/// RegisterContainerInstance.
pub fn register_container_instance(
    context: &Context<'_>,
    input: &RegisterContainerInstanceRequest,
) -> Result<RegisterContainerInstanceResponse> {
    let cluster = resolve::cluster(context, input.cluster.as_deref())?;
    let sent = Sent::read(context, input)?;
    let arn = input.container_instance_arn.as_deref().filter(|arn| !arn.is_empty());
    let mut transaction = Transaction::new();
    resolve::hold_cluster(context, &mut transaction, cluster);
    let instance = match arn {
        Some(arn) => registered_again(context, &mut transaction, cluster, arn, sent)?,
        None => registered(context, cluster, sent, tags::from_wire(input.tags.as_ref())?),
    };
    let include = present::Include { tags: true, health: false };
    let output = RegisterContainerInstanceResponse {
        container_instance: Some(present::container_instance(context, &instance, include)),
    };
    transaction.put(instance);
    Ok(Outcome::write(output, transaction))
}

/// What the agent says of its host.
struct Sent {
    registered: ResourceAmount,
    gpu_ids: Vec<String>,
    attributes: Vec<Attribute>,
    identity: InstanceIdentity,
    version: types::VersionInfo,
}

impl Sent {
    fn read(
        context: &Context<'_>,
        input: &RegisterContainerInstanceRequest,
    ) -> std::result::Result<Self, ApiError> {
        let document = input.instance_identity_document.as_deref().unwrap_or_default();
        let identity = InstanceIdentity::read(document)?;
        let mut attributes = attribute_input::of_registration(input.attributes.as_deref())?;
        let own = [
            (AVAILABILITY_ZONE, identity.availability_zone.clone()),
            ("ecs.instance-type", identity.instance_type.clone()),
            ("ecs.ami-id", identity.image_id.clone()),
        ];
        for (name, value) in own {
            if value.is_some() && !attributes.iter().any(|a| a.name == name) {
                attributes.push(Attribute { name: name.to_owned(), value });
            }
        }
        if !attributes.iter().any(|a| a.name == AVAILABILITY_ZONE) {
            // A host that doesn't know its zone stands in the first one.
            let first = context.vpc.subnets.first().map(|s| s.availability_zone.clone());
            let zone = first.unwrap_or_else(|| format!("{}a", context.region()));
            attributes.push(Attribute { name: AVAILABILITY_ZONE.to_owned(), value: Some(zone) });
        }
        let mut registered = resources(input.total_resources.as_deref().unwrap_or_default())?;
        let devices = input.platform_devices.iter().flatten();
        let gpus = devices.filter(|d| d.r#type == Some(types::PlatformDeviceType::Gpu));
        let gpu_ids: Vec<String> = gpus.filter_map(|device| device.id.clone()).collect();
        registered.gpus = u32::try_from(gpu_ids.len()).unwrap_or(u32::MAX);
        if attributes.iter().any(|a| a.name == TASK_ENI) {
            registered.network_interfaces = MAX_TASK_INTERFACES;
        }
        let version = input.version_info.clone().unwrap_or_default();
        Ok(Self { registered, gpu_ids, attributes, identity, version })
    }
}

/// A new instance.
fn registered(
    context: &Context<'_>,
    cluster: &Cluster,
    sent: Sent,
    tags: Vec<wharf_model::Tag>,
) -> ContainerInstance {
    let mut ids = context.ids();
    let id = ContainerInstanceId::from(ids.hex32());
    // Clients look instances up by this id (DescribeInstances), so every host has one.
    let ec2_instance_id = sent.identity.instance_id.unwrap_or_else(|| format!("i-{}", ids.hex17()));
    ContainerInstance {
        id,
        cluster: cluster.name.clone(),
        ec2_instance_id,
        registered_by: context.identity.principal_arn(),
        registered: sent.registered,
        gpu_ids: sent.gpu_ids,
        attributes: sent.attributes,
        status: InstanceStatus::Active,
        version: 1,
        registered_at: context.now,
        deregistered_at: None,
        agent_version: sent.version.agent_version.unwrap_or_default(),
        agent_hash: sent.version.agent_hash.unwrap_or_default(),
        docker_version: sent.version.docker_version.unwrap_or_default(),
        capacity_provider: None,
        private_ip: sent.identity.private_ip,
        client_token: None,
        tags,
    }
}

/// The instance that `arn` names, with what its agent says now.
fn registered_again(
    context: &Context<'_>,
    transaction: &mut Transaction,
    cluster: &Cluster,
    arn: &str,
    sent: Sent,
) -> std::result::Result<ContainerInstance, ApiError> {
    let key = resolve::container_instance_key(context, &cluster.name, arn)?;
    let known = context
        .snapshot
        .container_instance(&key)
        .filter(|known| known.registered_by == context.identity.principal_arn())
        // A stranger learns no more than that it can't be had.
        .ok_or_else(|| ApiError::client("Container instance not found."))?;
    if known.status == InstanceStatus::Inactive {
        return Err(ApiError::client("The referenced container instance is INACTIVE."));
    }
    let record_key = RecordKey::ContainerInstance(key);
    transaction.read(record_key.clone(), context.snapshot.revision_of(&record_key));
    let mut instance = ContainerInstance::clone(known);
    let text = |new: Option<String>, old: &mut String| {
        if let Some(new) = new.filter(|t| !t.is_empty()) {
            *old = new;
        }
    };
    text(sent.version.agent_version, &mut instance.agent_version);
    text(sent.version.agent_hash, &mut instance.agent_hash);
    text(sent.version.docker_version, &mut instance.docker_version);
    instance.attributes = merged(&instance.attributes, sent.attributes);
    instance.registered = sent.registered;
    instance.gpu_ids = sent.gpu_ids;
    instance.private_ip = sent.identity.private_ip.or(instance.private_ip);
    instance.version += 1;
    Ok(instance)
}

/// What was sent, and of what was known all but the capabilities that weren't sent again: other
/// attributes come from operators, or are only sent at the first registration.
fn merged(known: &[Attribute], sent: Vec<Attribute>) -> Vec<Attribute> {
    let is_capability = |name: &str| CAPABILITIES.iter().any(|prefix| name.starts_with(prefix));
    let kept: Vec<Attribute> = known
        .iter()
        .filter(|k| !is_capability(&k.name) && !sent.iter().any(|s| s.name == k.name))
        .cloned()
        .collect();
    sent.into_iter().chain(kept).collect()
}

fn resources(sent: &[types::Resource]) -> std::result::Result<ResourceAmount, ApiError> {
    let named = |name: &str| sent.iter().find(|r| r.name.as_deref() == Some(name));
    let amount = |name: &str| {
        let value = named(name).and_then(|r| r.integer_value).filter(|v| *v > 0);
        value.map(i64::from).ok_or_else(|| {
            ApiError::client(format!("totalResources must have a positive integer {name}."))
        })
    };
    let mut ports = BTreeSet::new();
    let sets = [("PORTS", TransportProtocol::Tcp), ("PORTS_UDP", TransportProtocol::Udp)];
    for (name, protocol) in sets {
        for text in named(name).and_then(|r| r.string_set_value.as_ref()).into_iter().flatten() {
            let port = text.parse().map_err(|_| {
                ApiError::client(format!("totalResources {name}: {text:?} is no port."))
            })?;
            ports.insert(HostPort { protocol, port });
        }
    }
    Ok(ResourceAmount {
        cpu: amount("CPU")?,
        memory_mib: amount("MEMORY")?,
        ports,
        network_interfaces: 0,
        gpus: 0,
        storage_gib: named(STORAGE)
            .and_then(|r| r.integer_value)
            .and_then(|gib| u32::try_from(gib).ok()),
    })
}

/// The members of an EC2 instance identity document that matter here; all absent outside EC2.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct InstanceIdentity {
    instance_id: Option<String>,
    instance_type: Option<String>,
    image_id: Option<String>,
    availability_zone: Option<String>,
    private_ip: Option<String>,
}

impl InstanceIdentity {
    fn read(document: &str) -> std::result::Result<Self, ApiError> {
        if document.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_str(document)
            .map_err(|_| ApiError::client("Instance identity document is not valid JSON."))
    }
}
