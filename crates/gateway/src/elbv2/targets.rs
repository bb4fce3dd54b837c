//! Targets of target groups, and their health.

use super::{error, find, health_check, limits, refuse, validation};
use crate::context::{Context, Outcome, Result as OperationResult};
use crate::error::ApiError;
use std::net::{IpAddr, Ipv4Addr};
use wharf_model::container_instance::InstanceStatus;
use wharf_model::load_balancing::{Target, TargetGroup, TargetHealth, TargetKey, TargetType};
use wharf_scheduler::load_balancing::{self, NewTarget, Usage};
use wharf_wire::elbv2::{ErrorCode, types};

/// Targets of one request: each is a record of its transaction.
const MAX_TARGETS: usize = 90;

fn invalid_target(message: String) -> ApiError {
    error(ErrorCode::InvalidTargetException, message)
}

fn described(
    sent: Option<&Vec<types::TargetDescription>>,
) -> Result<&[types::TargetDescription], ApiError> {
    let sent = sent.map(Vec::as_slice).unwrap_or_default();
    if sent.is_empty() {
        return Err(validation("At least one target must be specified"));
    }
    if sent.len() > MAX_TARGETS {
        let message = format!("At most '{MAX_TARGETS}' targets can be specified in one request");
        return Err(validation(message));
    }
    for target in sent {
        refuse("QuicServerId", target.quic_server_id.is_some())?;
    }
    Ok(sent)
}

/// What a description names; without a port it is the group's.
fn key(group: &TargetGroup, sent: &types::TargetDescription) -> Result<TargetKey, ApiError> {
    let port = match sent.port {
        None => group.port,
        Some(port) => u16::try_from(port).ok().filter(|port| *port > 0).ok_or_else(|| {
            validation(format!("The port '{port}' must be in the range from '1' to '65535'"))
        })?,
    };
    let id = sent.id.clone().unwrap_or_default();
    Ok(TargetKey { target_group: group.id.clone(), id, port })
}

/// Addresses that may be targets: the VPC's, and private ones (RFC 1918, RFC 6598).
fn may_be_target(context: &Context<'_>, address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    let shared = first == 100 && (64..128).contains(&second);
    context.vpc.range.contains(address) || address.is_private() || shared
}

/// Where a target is.
fn located(
    context: &Context<'_>,
    group: &TargetGroup,
    sent: &types::TargetDescription,
) -> Result<NewTarget, ApiError> {
    let TargetKey { id, port, .. } = key(group, sent)?;
    match group.target_type {
        TargetType::Ip => {
            let address: Ipv4Addr = id.parse().map_err(|_| {
                validation(format!("The IP address '{id}' is not a valid IPv4 address"))
            })?;
            if !may_be_target(context, address) {
                return Err(invalid_target(format!(
                    "The IP address '{id}' is not within the VPC, nor a private address"
                )));
            }
            let network = context.network();
            let vpc = network.vpc(&group.vpc_id);
            let in_vpc = vpc.is_some_and(|vpc| vpc.range.contains(address));
            let subnet = network.subnets().into_iter().find(|s| s.range.contains(address));
            let zone = subnet.map(|subnet| subnet.availability_zone.clone());
            let zone = match (sent.availability_zone.as_deref(), in_vpc) {
                (Some(named), true) if named != "all" && zone.as_deref() != Some(named) => {
                    return Err(validation(format!(
                        "The Availability Zone '{named}' is not the one of the IP address '{id}'"
                    )));
                }
                (Some("all"), _) => Some("all".to_owned()),
                (_, true) => zone,
                (named, false) => Some(named.unwrap_or("all").to_owned()),
            };
            Ok(NewTarget { id, port, address: IpAddr::V4(address), zone })
        }
        TargetType::Instance => instance(context, id, port),
    }
}

fn instance(context: &Context<'_>, id: String, port: u16) -> Result<NewTarget, ApiError> {
    let missing = || {
        invalid_target(format!(
            "The following targets are not in the target group's VPC, or do not exist: '{id}'"
        ))
    };
    let mut hosts = context.snapshot.all_container_instances();
    let host = hosts.find(|i| i.status != InstanceStatus::Inactive && i.ec2_instance_id == id);
    let host = host.filter(|_| !id.is_empty()).ok_or_else(missing)?;
    let address = host.private_ip.as_ref().and_then(|ip| ip.parse().ok());
    let address = address.ok_or_else(|| {
        invalid_target(format!("The instance '{id}' has told no address to reach it at"))
    })?;
    let zone = host.attribute_value("ecs.availability-zone").map(str::to_owned);
    Ok(NewTarget { id, port, address, zone })
}

pub(super) fn register(
    context: &Context<'_>,
    input: &types::RegisterTargetsInput,
) -> OperationResult<types::RegisterTargetsOutput> {
    let group = find::target_group(context, input.target_group_arn.as_ref())?;
    let sent = described(input.targets.as_ref())?;
    let mut new: Vec<NewTarget> = Vec::new();
    for target in sent {
        let target = located(context, group, target)?;
        if !new.contains(&target) {
            new.push(target);
        }
    }
    let registered = context.snapshot.targets_of(&group.id).count();
    let is_new = |target: &&NewTarget| {
        let NewTarget { id, port, .. } = target;
        let key = TargetKey { target_group: group.id.clone(), id: id.clone(), port: *port };
        context.snapshot.target(&key).is_none()
    };
    if registered + new.iter().filter(is_new).count() > limits::TARGETS {
        let message = "The maximum number of targets of the target group has been reached";
        return Err(error(ErrorCode::TooManyTargetsException, message));
    }
    let transaction = load_balancing::register(context.snapshot, group, &new, context.now);
    Ok(Outcome::write(types::RegisterTargetsOutput {}, transaction))
}

pub(super) fn deregister(
    context: &Context<'_>,
    input: &types::DeregisterTargetsInput,
) -> OperationResult<types::DeregisterTargetsOutput> {
    let group = find::target_group(context, input.target_group_arn.as_ref())?;
    let mut keys = Vec::new();
    for sent in described(input.targets.as_ref())? {
        let named = key(group, sent)?;
        let without_port = sent.port.is_none() && context.snapshot.target(&named).is_none();
        // Without a port an address means all that is registered of it.
        let others = context.snapshot.targets_of(&group.id);
        let others = others.filter(|target| without_port && target.key.id == named.id);
        keys.extend(others.map(|target| target.key.clone()));
        keys.push(named);
    }
    let transaction = load_balancing::deregister(context.snapshot, group, &keys, context.now);
    Ok(Outcome::write(types::DeregisterTargetsOutput {}, transaction))
}

pub(super) fn describe_health(
    context: &Context<'_>,
    input: &types::DescribeTargetHealthInput,
) -> OperationResult<types::DescribeTargetHealthOutput> {
    let group = find::target_group(context, input.target_group_arn.as_ref())?;
    let usage = Usage::of(context.snapshot);
    let of = |target: &Target| {
        let reported = context.soft.target_health(&target.key);
        view(
            group,
            &target.key,
            target.zone.clone(),
            load_balancing::health(&usage, group, target, reported),
        )
    };
    let sent = input.targets.as_deref().unwrap_or_default();
    let mut shown = Vec::new();
    for named in sent {
        let key = key(group, named)?;
        shown.push(match context.snapshot.target(&key) {
            Some(target) => of(target),
            None => view(group, &key, None, load_balancing::not_registered()),
        });
    }
    if sent.is_empty() {
        shown.extend(context.snapshot.targets_of(&group.id).map(|target| of(target)));
    }
    if let Some(include) = &input.include {
        let anomalies =
            include.iter().any(|what| matches!(what.as_str(), "AnomalyDetection" | "All"));
        refuse("Include of AnomalyDetection", anomalies)?;
    }
    Ok(Outcome::read(types::DescribeTargetHealthOutput { target_health_descriptions: Some(shown) }))
}

fn view(
    group: &TargetGroup,
    key: &TargetKey,
    zone: Option<String>,
    health: TargetHealth,
) -> types::TargetHealthDescription {
    let check_port = match group.health_check.port {
        Some(_) => health_check::shown_port(&group.health_check),
        None => key.port.to_string(),
    };
    types::TargetHealthDescription {
        target: Some(types::TargetDescription {
            id: Some(key.id.clone()),
            port: Some(key.port.into()),
            availability_zone: zone.filter(|_| group.target_type == TargetType::Ip),
            quic_server_id: None,
        }),
        health_check_port: Some(check_port),
        target_health: Some(types::TargetHealth {
            state: Some(health.state.as_str().into()),
            reason: health.reason.map(|reason| reason.as_str().into()),
            description: health.description,
        }),
        ..types::TargetHealthDescription::default()
    }
}
