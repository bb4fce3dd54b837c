//! What an Express Gateway service is reached through: security groups, a load balancer that services
//! share, a certificate, a rule and a target group. All of it is made by the operations that make it
//! for everybody.

use super::input::Names;
use super::steps::Steps;
use crate::acm;
use crate::context::Context;
use crate::ec2;
use crate::elbv2;
use crate::error::ApiError;
use crate::outside::IssuedCertificate;
use std::collections::BTreeSet;
use wharf_model::load_balancing::{LoadBalancer, Protocol, Scheme};
use wharf_model::network::VPC_ID;
use wharf_scheduler::express::{MANAGED_TAG, sharing};
use wharf_wire::{acm as acm_wire, ec2 as ec2_wire, ecs, elbv2 as elbv2_wire};

/// The most services that share a load balancer ("Amazon ECS Express Mode").
const MAX_SHARING: usize = 25;
/// What the names of shared load balancers, and of their security groups, begin with.
const LOAD_BALANCER: &str = "ecs-express-gateway-alb-";
const TARGET_GROUP: &str = "ecs-gateway-tg-";
const HTTPS: i32 = 443;

/// Where a service's tasks and its load balancer are.
pub(super) struct Place {
    pub(super) subnets: Vec<String>,
    pub(super) security_groups: Vec<String>,
    vpc: String,
    /// All of its subnets lead to the internet.
    pub(super) is_public: bool,
}

/// The subnets that are sent, else those of the default VPC.
pub(super) fn place(
    context: &Context<'_>,
    sent: Option<&ecs::types::ExpressGatewayServiceNetworkConfiguration>,
) -> Result<Place, ApiError> {
    let network = context.network();
    let sent_subnets = sent.and_then(|sent| sent.subnets.clone()).unwrap_or_default();
    let subnets: Vec<String> = match sent_subnets.is_empty() {
        true => {
            let all = network.subnets();
            all.iter().filter(|s| s.vpc_id == VPC_ID).map(|s| s.id.clone()).collect()
        }
        false => sent_subnets,
    };
    let vpcs: BTreeSet<String> = subnets
        .iter()
        .map(|id| {
            network.subnet(id).map(|subnet| subnet.vpc_id.clone()).ok_or_else(|| {
                ApiError::invalid_parameter(format!("The subnet ID '{id}' does not exist"))
            })
        })
        .collect::<Result<_, _>>()?;
    if vpcs.len() > 1 {
        return Err(ApiError::invalid_parameter("Subnets must be in the same VPC."));
    }
    let open = network.subnets_with_internet();
    Ok(Place {
        is_public: subnets.iter().all(|id| open.iter().any(|subnet| subnet.id == *id)),
        vpc: vpcs.into_iter().next().unwrap_or_else(|| VPC_ID.to_owned()),
        subnets,
        security_groups: sent.and_then(|sent| sent.security_groups.clone()).unwrap_or_default(),
    })
}

/// The ways to a service.
pub(super) struct Ways {
    /// Path of the load balancer.
    pub(super) load_balancer: String,
    /// Path of its listener.
    pub(super) listener: String,
    /// Id of the certificate.
    pub(super) certificate: String,
    /// ARN and path of the target group.
    pub(super) target_group: (String, String),
    /// Path of the rule.
    pub(super) rule: String,
    /// The tasks' security groups, and the one that was made.
    pub(super) security_groups: Vec<String>,
    pub(super) own_group: Option<String>,
}

/// Makes whatever of it isn't there.
pub(super) fn make(
    steps: &mut Steps<'_>,
    names: &Names,
    place: &Place,
    issued: &IssuedCertificate,
    (port, health_check_path): (i32, &str),
) -> Result<Ways, ApiError> {
    let certificate = certificate(steps, names, issued)?;
    let (load_balancer, listener) = match shared(&steps.context(), place) {
        Some((load_balancer, listener)) => {
            let input = elbv2_wire::types::AddListenerCertificatesInput {
                listener_arn: Some(steps.context().arns.listener(&listener)),
                certificates: Some(vec![of_listener(&certificate)]),
            };
            steps.run_of_other(elbv2::add_listener_certificates, &input)?;
            (load_balancer, listener)
        }
        None => new_load_balancer(steps, names, place, &certificate)?,
    };
    let (security_groups, own_group) = match place.security_groups.is_empty() {
        true => {
            let group = tasks_group(steps, names, place, &load_balancer, port)?;
            (vec![group.clone()], Some(group))
        }
        false => (place.security_groups.clone(), None),
    };
    let target_group = target_group(steps, place, port, health_check_path)?;
    let rule = rule(steps, names, &listener, &target_group.0)?;
    let certificate = steps.context().arns.certificate_id(&certificate).unwrap_or("").to_owned();
    Ok(Ways {
        load_balancer,
        listener,
        certificate,
        target_group,
        rule,
        security_groups,
        own_group,
    })
}

fn certificate(
    steps: &mut Steps<'_>,
    names: &Names,
    issued: &IssuedCertificate,
) -> Result<String, ApiError> {
    let input = acm_wire::types::RequestCertificateRequest {
        domain_name: Some(names.host.clone()),
        tags: Some(vec![acm_wire::types::Tag {
            key: Some(MANAGED_TAG.to_owned()),
            value: Some("true".to_owned()),
        }]),
        ..acm_wire::types::RequestCertificateRequest::default()
    };
    let hosts = [names.host.clone()];
    let answer = steps
        .run_of_other(|context, input| acm::request_with(context, input, &hosts, issued), &input)?;
    Ok(answer.certificate_arn.unwrap_or_default())
}

/// A load balancer of ECS's with room for one more service, and its listener.
fn shared(context: &Context<'_>, place: &Place) -> Option<(String, String)> {
    let scheme = if place.is_public { Scheme::InternetFacing } else { Scheme::Internal };
    let fits = |load_balancer: &&std::sync::Arc<LoadBalancer>| {
        load_balancer.name.starts_with(LOAD_BALANCER)
            && load_balancer.tags.iter().any(|tag| tag.key == MANAGED_TAG)
            && load_balancer.vpc_id == place.vpc
            && load_balancer.scheme == scheme
            && sharing(context.snapshot, &load_balancer.path()).count() < MAX_SHARING
    };
    let mut found = context.snapshot.load_balancers().filter(fits).map(|l| l.path());
    found.find_map(|path| {
        let mut listeners = context.snapshot.listeners_of(&path);
        let listener = listeners.find(|l| l.protocol == Protocol::Https)?.path();
        Some((path.clone(), listener))
    })
}

fn managed() -> Option<Vec<elbv2_wire::types::Tag>> {
    Some(vec![elbv2_wire::types::Tag {
        key: Some(MANAGED_TAG.to_owned()),
        value: Some("true".to_owned()),
    }])
}

fn of_listener(certificate: &str) -> elbv2_wire::types::Certificate {
    elbv2_wire::types::Certificate {
        certificate_arn: Some(certificate.to_owned()),
        is_default: None,
    }
}

fn new_load_balancer(
    steps: &mut Steps<'_>,
    names: &Names,
    place: &Place,
    certificate: &str,
) -> Result<(String, String), ApiError> {
    let name = format!("{LOAD_BALANCER}{}", names.id);
    let group = security_group(steps, &name, &place.vpc, "Load balancer of ECS Express services")?;
    let anywhere =
        ec2_wire::types::IpRange { cidr_ip: Some("0.0.0.0/0".to_owned()), description: None };
    let open = ec2_wire::types::IpPermission {
        ip_protocol: Some("tcp".to_owned()),
        from_port: Some(HTTPS),
        to_port: Some(HTTPS),
        ip_ranges: Some(vec![anywhere]),
        ..ec2_wire::types::IpPermission::default()
    };
    allow(steps, &group, open)?;
    let scheme = if place.is_public { "internet-facing" } else { "internal" };
    let input = elbv2_wire::types::CreateLoadBalancerInput {
        name: Some(name.clone()),
        subnets: Some(one_of_each_zone(&steps.context(), &place.subnets)),
        security_groups: Some(vec![group]),
        scheme: Some(scheme.into()),
        tags: managed(),
        ..elbv2_wire::types::CreateLoadBalancerInput::default()
    };
    steps.run_of_other(elbv2::create_load_balancer, &input)?;
    let made = steps.context().snapshot.load_balancer_named(&name).map(|made| made.path());
    let path = made.ok_or_else(ApiError::server)?;
    let not_found = elbv2_wire::types::Action {
        r#type: Some("fixed-response".into()),
        fixed_response_config: Some(elbv2_wire::types::FixedResponseActionConfig {
            status_code: Some("404".to_owned()),
            content_type: Some("text/plain".to_owned()),
            message_body: Some("No service has this name.".to_owned()),
        }),
        ..elbv2_wire::types::Action::default()
    };
    let input = elbv2_wire::types::CreateListenerInput {
        load_balancer_arn: Some(steps.context().arns.load_balancer(&path)),
        protocol: Some("HTTPS".into()),
        port: Some(HTTPS),
        certificates: Some(vec![of_listener(certificate)]),
        default_actions: Some(vec![not_found]),
        tags: managed(),
        ..elbv2_wire::types::CreateListenerInput::default()
    };
    steps.run_of_other(elbv2::create_listener, &input)?;
    let context = steps.context();
    let listener = context.snapshot.listeners_of(&path).next().map(|listener| listener.path());
    Ok((path, listener.ok_or_else(ApiError::server)?))
}

/// A load balancer has one subnet of a zone.
fn one_of_each_zone(context: &Context<'_>, subnets: &[String]) -> Vec<String> {
    let network = context.network();
    let mut zones = BTreeSet::new();
    let is_first = |id: &&String| {
        network.subnet(id).is_some_and(|subnet| zones.insert(subnet.availability_zone.clone()))
    };
    subnets.iter().filter(is_first).cloned().collect()
}

fn security_group(
    steps: &mut Steps<'_>,
    name: &str,
    vpc: &str,
    description: &str,
) -> Result<String, ApiError> {
    let tag =
        ec2_wire::types::Tag { key: Some(MANAGED_TAG.to_owned()), value: Some("true".to_owned()) };
    let input = ec2_wire::types::CreateSecurityGroupRequest {
        group_name: Some(name.to_owned()),
        description: Some(description.to_owned()),
        vpc_id: Some(vpc.to_owned()),
        tag_specifications: Some(vec![ec2_wire::types::TagSpecification {
            resource_type: Some("security-group".into()),
            tags: Some(vec![tag]),
        }]),
        ..ec2_wire::types::CreateSecurityGroupRequest::default()
    };
    let answer = steps.run_of_other(ec2::create_security_group, &input)?;
    answer.group_id.ok_or_else(ApiError::server)
}

fn allow(
    steps: &mut Steps<'_>,
    group: &str,
    permission: ec2_wire::types::IpPermission,
) -> Result<(), ApiError> {
    let input = ec2_wire::types::AuthorizeSecurityGroupIngressRequest {
        group_id: Some(group.to_owned()),
        ip_permissions: Some(vec![permission]),
        ..ec2_wire::types::AuthorizeSecurityGroupIngressRequest::default()
    };
    steps.run_of_other(ec2::authorize_ingress, &input).map(drop)
}

/// The group of a service's tasks: what comes from the load balancer gets in.
fn tasks_group(
    steps: &mut Steps<'_>,
    names: &Names,
    place: &Place,
    load_balancer: &str,
    port: i32,
) -> Result<String, ApiError> {
    let name = format!("ecs-express-gateway-sg-{}", names.id);
    let description = "Tasks of an ECS Express service";
    let group = security_group(steps, &name, &place.vpc, description)?;
    let of_load_balancer = {
        let context = steps.context();
        let found = context.snapshot.load_balancer(&load_balancer.to_owned());
        found.map(|found| found.security_groups.clone()).unwrap_or_default()
    };
    for source in of_load_balancer {
        let pair = ec2_wire::types::UserIdGroupPair {
            group_id: Some(source),
            ..ec2_wire::types::UserIdGroupPair::default()
        };
        let permission = ec2_wire::types::IpPermission {
            ip_protocol: Some("tcp".to_owned()),
            from_port: Some(port),
            to_port: Some(port),
            user_id_group_pairs: Some(vec![pair]),
            ..ec2_wire::types::IpPermission::default()
        };
        allow(steps, &group, permission)?;
    }
    Ok(group)
}

/// ARN and path of the new group.
fn target_group(
    steps: &mut Steps<'_>,
    place: &Place,
    port: i32,
    health_check_path: &str,
) -> Result<(String, String), ApiError> {
    let id = steps.context().ids().hex17();
    let input = elbv2_wire::types::CreateTargetGroupInput {
        name: Some(format!("{TARGET_GROUP}{id}")),
        protocol: Some("HTTP".into()),
        port: Some(port),
        vpc_id: Some(place.vpc.clone()),
        target_type: Some("ip".into()),
        health_check_path: Some(health_check_path.to_owned()),
        tags: managed(),
        ..elbv2_wire::types::CreateTargetGroupInput::default()
    };
    let answer = steps.run_of_other(elbv2::create_target_group, &input)?;
    let group = answer.target_groups.and_then(|groups| groups.into_iter().next());
    let arn = group.and_then(|group| group.target_group_arn).ok_or_else(ApiError::server)?;
    let path = steps.context().arns.target_group_path(&arn).ok_or_else(ApiError::server)?;
    Ok((arn, path))
}

/// Path of the new rule.
fn rule(
    steps: &mut Steps<'_>,
    names: &Names,
    listener: &str,
    target_group: &str,
) -> Result<String, ApiError> {
    let taken: BTreeSet<u32> = {
        let context = steps.context();
        context.snapshot.rules_of(listener).map(|rule| rule.priority).collect()
    };
    let free = (1..).find(|priority| !taken.contains(priority)).unwrap_or(1);
    let input = elbv2_wire::types::CreateRuleInput {
        listener_arn: Some(steps.context().arns.listener(listener)),
        priority: i32::try_from(free).ok(),
        conditions: Some(vec![elbv2_wire::types::RuleCondition {
            field: Some("host-header".to_owned()),
            host_header_config: Some(elbv2_wire::types::HostHeaderConditionConfig {
                values: Some(vec![names.host.clone()]),
                regex_values: None,
            }),
            ..elbv2_wire::types::RuleCondition::default()
        }]),
        actions: Some(vec![elbv2_wire::types::Action {
            r#type: Some("forward".into()),
            target_group_arn: Some(target_group.to_owned()),
            ..elbv2_wire::types::Action::default()
        }]),
        tags: managed(),
        ..elbv2_wire::types::CreateRuleInput::default()
    };
    steps.run_of_other(elbv2::create_rule, &input)?;
    let context = steps.context();
    let made = context.snapshot.rules_of(listener).find(|rule| rule.priority == free);
    made.map(|rule| rule.path()).ok_or_else(ApiError::server)
}
