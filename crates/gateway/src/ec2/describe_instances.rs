//! DescribeInstances: the hosts that registered with an instance id. Traefik asks this for every
//! `ec2InstanceId` that it meets and ends on an error.

use super::filter::{Values, keep, one};
use super::zone_id;
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use wharf_model::ContainerInstance;
use wharf_model::container_instance::InstanceStatus;
use wharf_model::network::VPC_ID;
use wharf_wire::ec2::types::{
    DescribeInstancesRequest, DescribeInstancesResult, Instance, InstanceState, Placement,
    Reservation,
};

const FILTERS: &[&str] = &[
    "architecture",
    "availability-zone",
    "instance-id",
    "instance-state-code",
    "instance-state-name",
    "ip-address",
    "owner-id",
    "private-dns-name",
    "private-ip-address",
    "vpc-id",
];

/// DescribeInstances.
pub fn describe_instances(
    context: &Context<'_>,
    input: &DescribeInstancesRequest,
) -> Result<DescribeInstancesResult> {
    let mut hosts: Vec<Instance> = context
        .snapshot
        .all_container_instances()
        .filter(|i| i.status != InstanceStatus::Inactive && !i.ec2_instance_id.is_empty())
        .map(|i| view(context, i))
        .collect();
    // A host that registered in two clusters is one instance.
    hosts.sort_by(|a, b| a.instance_id.cmp(&b.instance_id));
    hosts.dedup_by(|a, b| a.instance_id == b.instance_id);
    if let Some(ids) = &input.instance_ids {
        check_ids(ids, &hosts)?;
        hosts.retain(|h| ids.iter().any(|id| h.instance_id.as_ref() == Some(id)));
    }
    let hosts = keep(hosts, input.filters.as_ref(), FILTERS, |h, name| value(context, h, name))?;
    let reservation = |instance: Instance| Reservation {
        reservation_id: instance.instance_id.as_ref().map(|id| id.replacen("i-", "r-", 1)),
        owner_id: Some(context.account().to_owned()),
        groups: Some(Vec::new()),
        instances: Some(vec![instance]),
        requester_id: None,
    };
    Ok(Outcome::read(DescribeInstancesResult {
        reservations: Some(hosts.into_iter().map(reservation).collect()),
        next_token: None,
    }))
}

fn check_ids(ids: &[String], hosts: &[Instance]) -> std::result::Result<(), ApiError> {
    for id in ids {
        let digits = id.strip_prefix("i-").unwrap_or_default();
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(super::error(
                "InvalidInstanceID.Malformed",
                format!("Invalid id: \"{id}\""),
            ));
        }
        if !hosts.iter().any(|h| h.instance_id.as_ref() == Some(id)) {
            return Err(super::error(
                "InvalidInstanceID.NotFound",
                format!("The instance ID '{id}' does not exist"),
            ));
        }
    }
    Ok(())
}

fn value(context: &Context<'_>, host: &Instance, name: &str) -> Values {
    let text = |t: &Option<String>| Some(t.iter().cloned().collect());
    match name {
        "architecture" => Some(host.architecture.iter().map(|a| a.as_str().to_owned()).collect()),
        "availability-zone" => {
            Some(host.placement.iter().filter_map(|p| p.availability_zone.clone()).collect())
        }
        "instance-id" => text(&host.instance_id),
        "instance-state-code" => one("16"),
        "instance-state-name" => one("running"),
        "ip-address" => Some(Vec::new()),
        "owner-id" => one(context.account()),
        "private-dns-name" => text(&host.private_dns_name),
        "private-ip-address" => text(&host.private_ip_address),
        "vpc-id" => text(&host.vpc_id),
        _ => None,
    }
}

fn view(context: &Context<'_>, host: &ContainerInstance) -> Instance {
    let zone = host.attribute_value("ecs.availability-zone").map(str::to_owned);
    let subnet = zone.as_ref().and_then(|zone| {
        context.vpc.subnets.iter().find(|s| s.availability_zone == *zone).map(|s| s.id.clone())
    });
    let architecture = match host.attribute_value("ecs.cpu-architecture") {
        Some("arm64") => "arm64",
        _ => "x86_64",
    };
    let ip = host.private_ip.clone();
    Instance {
        architecture: Some(architecture.into()),
        hypervisor: None,
        source_dest_check: Some(false),
        instance_id: Some(host.ec2_instance_id.clone()),
        state: Some(InstanceState { code: Some(16), name: Some("running".into()) }),
        private_dns_name: ip
            .as_ref()
            .map(|ip| format!("ip-{}.{}.compute.internal", ip.replace('.', "-"), context.region())),
        private_ip_address: ip,
        placement: Some(Placement {
            availability_zone_id: zone.as_deref().map(zone_id),
            availability_zone: zone,
            tenancy: Some("default".into()),
            ..Placement::default()
        }),
        launch_time: Some(wharf_wire::Timestamp(host.registered_at.as_millis())),
        subnet_id: subnet,
        vpc_id: Some(VPC_ID.to_owned()),
        ..Instance::default()
    }
}
