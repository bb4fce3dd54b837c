//! Target groups.

use super::{MAX_DELETED, changed, error, find, health_check, limits, names, page, put, refuse};
use super::{remove, tags, unsupported, validation};
use crate::context::{Context, Outcome, Result as OperationResult};
use crate::error::ApiError;
use std::collections::BTreeMap;
use wharf_model::load_balancing::{
    HealthCheck, Protocol, ProtocolVersion, TargetGroup, TargetType,
};
use wharf_model::{RecordKey, Transaction};
use wharf_scheduler::load_balancing::Usage;
use wharf_wire::elbv2::{ErrorCode, types};

/// What a CreateTargetGroup asks for, checked.
struct Wanted {
    name: String,
    protocol: Protocol,
    protocol_version: Option<ProtocolVersion>,
    port: u16,
    target_type: TargetType,
    health_check: HealthCheck,
}

impl Wanted {
    fn of(context: &Context<'_>, input: &types::CreateTargetGroupInput) -> Result<Self, ApiError> {
        let name = input.name.clone().unwrap_or_default();
        names::check("Target group", &name)?;
        let target_type = match input.target_type.as_ref().map(types::TargetTypeEnum::as_str) {
            None | Some("instance") => TargetType::Instance,
            Some("ip") => TargetType::Ip,
            Some(other @ ("lambda" | "alb")) => {
                return Err(unsupported(&format!("Target type '{other}'")));
            }
            Some(other) => {
                return Err(validation(format!("The target type '{other}' is not valid")));
            }
        };
        refuse("TargetControlPort", input.target_control_port.is_some())?;
        match input.ip_address_type.as_ref().map(types::TargetGroupIpAddressTypeEnum::as_str) {
            None | Some("ipv4") => {}
            Some(other) => return Err(unsupported(&format!("IpAddressType '{other}'"))),
        }
        let protocol = protocol(input.protocol.as_ref())?;
        let protocol_version = version(protocol, given(input.protocol_version.as_ref()))?;
        let port = input.port.ok_or_else(|| validation("A port must be specified"))?;
        let port = u16::try_from(port).map_err(|_| validation("A port must be specified"))?;
        match input.vpc_id.as_deref() {
            None => return Err(validation("A VPC ID must be specified")),
            Some(id) if context.network().vpc(id).is_some() => {}
            Some(other) => {
                return Err(validation(format!("The VPC ID '{other}' is not found")));
            }
        }
        let sent = health_check::Sent {
            enabled: input.health_check_enabled,
            protocol: input.health_check_protocol.as_ref(),
            port: given(input.health_check_port.as_ref()),
            path: given(input.health_check_path.as_ref()),
            interval: input.health_check_interval_seconds,
            timeout: input.health_check_timeout_seconds,
            healthy: input.healthy_threshold_count,
            unhealthy: input.unhealthy_threshold_count,
            matcher: input.matcher.as_ref(),
        };
        let health_check = health_check::new((protocol, protocol_version), &sent)?;
        Ok(Self { name, protocol, protocol_version, port, target_type, health_check })
    }

    fn is(&self, present: &TargetGroup) -> bool {
        self.protocol == present.protocol
            && self.protocol_version == present.protocol_version
            && self.port == present.port
            && self.target_type == present.target_type
            && self.health_check == present.health_check
    }
}

/// Some clients send an empty text where they have nothing to say.
fn given(sent: Option<&String>) -> Option<&String> {
    sent.filter(|text| !text.is_empty())
}

fn protocol(sent: Option<&types::ProtocolEnum>) -> Result<Protocol, ApiError> {
    let sent = sent.ok_or_else(|| validation("A protocol must be specified"))?;
    match sent.as_str() {
        other @ ("GENEVE" | "QUIC" | "TCP_QUIC") => {
            Err(unsupported(&format!("Target group protocol '{other}'")))
        }
        word => Protocol::parse(word)
            .ok_or_else(|| validation(format!("The target group protocol '{word}' is not valid"))),
    }
}

fn version(protocol: Protocol, sent: Option<&String>) -> Result<Option<ProtocolVersion>, ApiError> {
    if !protocol.is_http() {
        return match sent {
            None => Ok(None),
            Some(_) => Err(validation(format!(
                "Protocol version cannot be set for target groups with the protocol '{}'",
                protocol.as_str()
            ))),
        };
    }
    match sent.map_or("HTTP1", String::as_str) {
        "HTTP1" => Ok(Some(ProtocolVersion::Http1)),
        "HTTP2" => Ok(Some(ProtocolVersion::Http2)),
        "GRPC" => Ok(Some(ProtocolVersion::Grpc)),
        other => Err(validation(format!(
            "Protocol version '{other}' must be one of '[HTTP1, HTTP2, GRPC]'"
        ))),
    }
}

pub(crate) fn create(
    context: &Context<'_>,
    input: &types::CreateTargetGroupInput,
) -> OperationResult<types::CreateTargetGroupOutput> {
    let wanted = Wanted::of(context, input)?;
    let tags = tags::added(&[], input.tags.as_ref())?;
    let usage = Usage::of(context.snapshot);
    let answer = |group: &TargetGroup| types::CreateTargetGroupOutput {
        target_groups: Some(vec![view(context, &usage, group)]),
    };
    if let Some(present) = context.snapshot.target_group_named(&wanted.name) {
        if wanted.is(present) && (input.tags.is_none() || tags == present.tags) {
            return Ok(Outcome::read(answer(present)));
        }
        return Err(error(
            ErrorCode::DuplicateTargetGroupNameException,
            format!(
                "A target group with the same name '{}' exists, but with different settings",
                wanted.name
            ),
        ));
    }
    if context.snapshot.target_groups().count() >= limits::TARGET_GROUPS {
        return Err(error(
            ErrorCode::TooManyTargetGroupsException,
            "The maximum number of target groups has been reached",
        ));
    }
    let mut transaction = Transaction::new();
    names::claim(context, &mut transaction, "CreateTargetGroup", &wanted.name);
    let group = TargetGroup {
        name: wanted.name,
        id: context.ids().hex32()[..16].to_owned(),
        protocol: wanted.protocol,
        protocol_version: wanted.protocol_version,
        port: wanted.port,
        vpc_id: input.vpc_id.clone().unwrap_or_default(),
        target_type: wanted.target_type,
        ip_address_type: "ipv4".to_owned(),
        health_check: wanted.health_check,
        created_at: context.now,
        attributes: BTreeMap::new(),
        tags,
    };
    let output = answer(&group);
    put(context, &mut transaction, group);
    Ok(Outcome::write(output, transaction))
}

pub(super) fn describe(
    context: &Context<'_>,
    input: &types::DescribeTargetGroupsInput,
) -> OperationResult<types::DescribeTargetGroupsOutput> {
    let usage = Usage::of(context.snapshot);
    let names = input.names.as_deref().unwrap_or_default();
    let arns = input.target_group_arns.as_deref().unwrap_or_default();
    let mut all: Vec<_> = Vec::new();
    for arn in arns {
        all.push(find::target_group(context, Some(arn))?);
    }
    for name in names {
        let found = context.snapshot.target_group_named(name);
        all.push(found.ok_or_else(find::no_target_group)?);
    }
    if let Some(arn) = &input.load_balancer_arn {
        let path = find::load_balancer(context, Some(arn))?.path();
        let groups = usage.groups_of(&path).map(str::to_owned);
        all.extend(groups.filter_map(|path| context.snapshot.target_group(&path)));
    } else if names.is_empty() && arns.is_empty() {
        all.extend(context.snapshot.target_groups());
    }
    all.sort_by_key(|group| group.path());
    all.dedup();
    let (page, next_marker) =
        page::page(all, |g| g.path(), input.marker.as_ref(), input.page_size)?;
    Ok(Outcome::read(types::DescribeTargetGroupsOutput {
        target_groups: Some(page.into_iter().map(|g| view(context, &usage, g)).collect()),
        next_marker,
    }))
}

pub(crate) fn modify(
    context: &Context<'_>,
    input: &types::ModifyTargetGroupInput,
) -> OperationResult<types::ModifyTargetGroupOutput> {
    let found = find::target_group(context, input.target_group_arn.as_ref())?;
    let sent = health_check::Sent {
        enabled: input.health_check_enabled,
        protocol: input.health_check_protocol.as_ref(),
        port: given(input.health_check_port.as_ref()),
        path: given(input.health_check_path.as_ref()),
        interval: input.health_check_interval_seconds,
        timeout: input.health_check_timeout_seconds,
        healthy: input.healthy_threshold_count,
        unhealthy: input.unhealthy_threshold_count,
        matcher: input.matcher.as_ref(),
    };
    let kind = (found.protocol, found.protocol_version);
    let health_check = health_check::changed(kind, &found.health_check, &sent)?;
    let group = TargetGroup { health_check, ..TargetGroup::clone(found) };
    let shown = view(context, &Usage::of(context.snapshot), &group);
    let output = types::ModifyTargetGroupOutput { target_groups: Some(vec![shown]) };
    Ok(Outcome::write(output, changed(context, group)))
}

pub(super) fn delete(
    context: &Context<'_>,
    input: &types::DeleteTargetGroupInput,
) -> OperationResult<types::DeleteTargetGroupOutput> {
    let output = types::DeleteTargetGroupOutput {};
    let arn = input.target_group_arn.as_ref();
    let found = match find::target_group(context, arn) {
        Ok(found) => found,
        // One that doesn't exist is deleted.
        Err(error) if error == find::no_target_group() => return Ok(Outcome::read(output)),
        Err(error) => return Err(error),
    };
    if Usage::of(context.snapshot).is_used(&found.path()) {
        return Err(error(
            ErrorCode::ResourceInUseException,
            format!(
                "Target group '{}' is currently in use by a listener or a rule",
                arn.map_or("", String::as_str)
            ),
        ));
    }
    let mut transaction = Transaction::new();
    for target in context.snapshot.targets_of(&found.id).take(MAX_DELETED) {
        transaction.delete(RecordKey::Target(target.key.clone()));
    }
    remove(context, &mut transaction, RecordKey::TargetGroup(found.path()));
    Ok(Outcome::write(output, transaction))
}

/// A target group as the API shows it.
fn view(context: &Context<'_>, usage: &Usage, group: &TargetGroup) -> types::TargetGroup {
    let check = &group.health_check;
    let number = |n: u32| i32::try_from(n).ok();
    let path = group.path();
    let users = usage.load_balancers(&path);
    types::TargetGroup {
        target_group_arn: Some(context.arns.target_group(&group.path())),
        target_group_name: Some(group.name.clone()),
        protocol: Some(group.protocol.as_str().into()),
        port: Some(group.port.into()),
        vpc_id: Some(group.vpc_id.clone()),
        health_check_protocol: Some(check.protocol.as_str().into()),
        health_check_port: Some(health_check::shown_port(check)),
        health_check_enabled: Some(check.enabled),
        health_check_interval_seconds: number(check.interval_seconds),
        health_check_timeout_seconds: number(check.timeout_seconds),
        healthy_threshold_count: number(check.healthy_threshold),
        unhealthy_threshold_count: number(check.unhealthy_threshold),
        health_check_path: check.path.clone(),
        matcher: health_check::shown_matcher(check, group.protocol_version),
        load_balancer_arns: Some(users.map(|path| context.arns.load_balancer(path)).collect()),
        target_type: Some(group.target_type.as_str().into()),
        protocol_version: group.protocol_version.map(|version| version.as_str().to_owned()),
        ip_address_type: Some(group.ip_address_type.as_str().into()),
        target_control_port: None,
    }
}
