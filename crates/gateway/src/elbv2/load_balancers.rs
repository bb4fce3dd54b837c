//! Load balancers.

use super::{MAX_DELETED, error, find, limits, names, network, page, put, read, refuse, remove};
use super::{tags, unsupported, validation};
use crate::context::{Context, Outcome, Result as OperationResult};
use crate::ecs::present::timestamp;
use crate::error::ApiError;
use std::collections::BTreeMap;
use wharf_model::load_balancing::{LoadBalancer, LoadBalancerType, Scheme};
use wharf_model::{RecordKey, Transaction};
use wharf_scheduler::load_balancing;
use wharf_wire::elbv2::{ErrorCode, types};

/// What a CreateLoadBalancer asks for, checked.
struct Wanted {
    kind: LoadBalancerType,
    name: String,
    scheme: Scheme,
    subnets: Vec<String>,
    security_groups: Vec<String>,
    ip_address_type: String,
}

impl Wanted {
    fn of(context: &Context<'_>, input: &types::CreateLoadBalancerInput) -> Result<Self, ApiError> {
        let name = input.name.clone().unwrap_or_default();
        names::check("Load balancer", &name)?;
        if name.starts_with("internal-") {
            return Err(validation(format!(
                "Load balancer name '{name}' cannot begin with 'internal-'"
            )));
        }
        let kind = match input.r#type.as_ref().map(types::LoadBalancerTypeEnum::as_str) {
            None | Some("application") => LoadBalancerType::Application,
            Some("network") => LoadBalancerType::Network,
            Some("gateway") => return Err(unsupported("Load balancer type 'gateway'")),
            Some(other) => {
                return Err(validation(format!("The load balancer type '{other}' is not valid")));
            }
        };
        let scheme = match input.scheme.as_ref().map(types::LoadBalancerSchemeEnum::as_str) {
            None | Some("internet-facing") => Scheme::InternetFacing,
            Some("internal") => Scheme::Internal,
            Some(other) => {
                let message = format!("The load balancer scheme '{other}' is not valid");
                return Err(error(ErrorCode::InvalidSchemeException, message));
            }
        };
        refuse("CustomerOwnedIpv4Pool", input.customer_owned_ipv4_pool.is_some())?;
        refuse("IpamPools", input.ipam_pools.is_some())?;
        let source_nat = input.enable_prefix_for_ipv6_source_nat.as_ref();
        let source_nat = source_nat.is_some_and(|on| on.as_str() == "on");
        refuse("EnablePrefixForIpv6SourceNat", source_nat)?;
        let (subnets, mappings) = (input.subnets.as_ref(), input.subnet_mappings.as_ref());
        let subnets = network::subnets(context, kind, subnets, mappings)?;
        let vpc_id = network::vpc_of(context, &subnets);
        let groups = input.security_groups.as_ref();
        Ok(Self {
            kind,
            name,
            scheme,
            security_groups: network::security_groups(context, kind, &vpc_id, groups)?,
            subnets,
            ip_address_type: network::ip_address_type(input.ip_address_type.as_ref())?,
        })
    }

    fn is(&self, present: &LoadBalancer) -> bool {
        let sorted = |list: &[String]| {
            let mut list = list.to_vec();
            list.sort();
            list
        };
        self.kind == present.kind
            && self.scheme == present.scheme
            && sorted(&self.subnets) == sorted(&present.subnets)
            && sorted(&self.security_groups) == sorted(&present.security_groups)
            && self.ip_address_type == present.ip_address_type
    }
}

/// API `DNSName`. Browsers and curl send whatever ends in `.localhost` to this host; names of
/// Network Load Balancers end otherwise, since each has an address of its own.
fn dns_name(kind: LoadBalancerType, scheme: Scheme, name: &str, id: &str, region: &str) -> String {
    let internal = if scheme == Scheme::Internal { "internal-" } else { "" };
    let name = name.to_ascii_lowercase();
    match kind {
        LoadBalancerType::Application => format!("{internal}{name}-{id}.{region}.elb.localhost"),
        LoadBalancerType::Network => format!("{name}-{id}.{region}.elb.wharf.internal"),
    }
}

pub(crate) fn create(
    context: &Context<'_>,
    input: &types::CreateLoadBalancerInput,
) -> OperationResult<types::CreateLoadBalancerOutput> {
    let wanted = Wanted::of(context, input)?;
    let tags = tags::added(&[], input.tags.as_ref())?;
    let answer = |load_balancer: &LoadBalancer| types::CreateLoadBalancerOutput {
        load_balancers: Some(vec![view(context, load_balancer)]),
    };
    if let Some(present) = context.snapshot.load_balancer_named(&wanted.name) {
        if wanted.is(present) && (input.tags.is_none() || tags == present.tags) {
            return Ok(Outcome::read(answer(present)));
        }
        return Err(error(
            ErrorCode::DuplicateLoadBalancerNameException,
            format!(
                "A load balancer with the same name '{}' exists, but with different settings",
                wanted.name
            ),
        ));
    }
    let of_kind = context.snapshot.load_balancers().filter(|l| l.kind == wanted.kind).count();
    if of_kind >= limits::LOAD_BALANCERS {
        return Err(error(
            ErrorCode::TooManyLoadBalancersException,
            "The maximum number of load balancers has been reached",
        ));
    }
    let mut transaction = Transaction::new();
    names::claim(context, &mut transaction, "CreateLoadBalancer", &wanted.name);
    let host_address = load_balancing::host_address(context.snapshot, &mut transaction);
    let host_address = host_address.ok_or_else(|| {
        error(
            ErrorCode::TooManyLoadBalancersException,
            "All addresses of the range 127.80.0.0/16 are taken by load balancers",
        )
    })?;
    let task_address = load_balancing::task_address(
        context.snapshot,
        context.vpc,
        &wanted.subnets,
        &mut transaction,
    );
    let id = context.ids().hex32()[..16].to_owned();
    let vpc_id = network::vpc_of(context, &wanted.subnets);
    let load_balancer = LoadBalancer {
        dns_name: dns_name(wanted.kind, wanted.scheme, &wanted.name, &id, context.region()),
        kind: wanted.kind,
        name: wanted.name,
        id,
        scheme: wanted.scheme,
        created_at: context.now,
        vpc_range: context.network().vpc(&vpc_id).map(|vpc| vpc.range),
        vpc_id,
        subnets: wanted.subnets,
        security_groups: wanted.security_groups,
        ip_address_type: wanted.ip_address_type,
        host_address,
        task_address,
        attributes: BTreeMap::new(),
        tags,
    };
    let output = answer(&load_balancer);
    put(context, &mut transaction, load_balancer);
    Ok(Outcome::write(output, transaction))
}

pub(super) fn describe(
    context: &Context<'_>,
    input: &types::DescribeLoadBalancersInput,
) -> OperationResult<types::DescribeLoadBalancersOutput> {
    let mut all: Vec<_> = Vec::new();
    let names = input.names.as_deref().unwrap_or_default();
    let arns = input.load_balancer_arns.as_deref().unwrap_or_default();
    for arn in arns {
        all.push(find::load_balancer(context, Some(arn))?);
    }
    let missing: Vec<&str> = names
        .iter()
        .filter(|name| context.snapshot.load_balancer_named(name).is_none())
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        let message = format!("Load balancers '[{}]' not found", missing.join(", "));
        return Err(error(ErrorCode::LoadBalancerNotFoundException, message));
    }
    all.extend(names.iter().filter_map(|name| context.snapshot.load_balancer_named(name)));
    if names.is_empty() && arns.is_empty() {
        all.extend(context.snapshot.load_balancers());
    }
    all.sort_by_key(|load_balancer| load_balancer.path());
    all.dedup();
    let (page, next_marker) =
        page::page(all, |l| l.path(), input.marker.as_ref(), input.page_size)?;
    Ok(Outcome::read(types::DescribeLoadBalancersOutput {
        load_balancers: Some(page.into_iter().map(|l| view(context, l)).collect()),
        next_marker,
    }))
}

pub(super) fn delete(
    context: &Context<'_>,
    input: &types::DeleteLoadBalancerInput,
) -> OperationResult<types::DeleteLoadBalancerOutput> {
    let output = types::DeleteLoadBalancerOutput {};
    let arn = input.load_balancer_arn.as_ref();
    let found = match find::load_balancer(context, arn) {
        Ok(found) => found,
        // One that doesn't exist, or has already been deleted, is deleted.
        Err(error) if error == find::no_load_balancer() => return Ok(Outcome::read(output)),
        Err(error) => return Err(error),
    };
    if found.attribute("deletion_protection.enabled") == "true" {
        return Err(error(
            ErrorCode::OperationNotPermittedException,
            format!(
                "Load balancer '{}' cannot be deleted because deletion protection is enabled",
                arn.map_or("", String::as_str)
            ),
        ));
    }
    let path = found.path();
    let mut transaction = Transaction::new();
    let listeners = context.snapshot.listeners_of(&path);
    let behind = listeners.flat_map(|listener| {
        let path = listener.path();
        let rules = context.snapshot.rules_of(&path);
        let rules = rules.map(|rule| RecordKey::ListenerRule(rule.path()));
        rules.chain([RecordKey::Listener(path.clone())]).collect::<Vec<_>>()
    });
    for key in behind.take(MAX_DELETED) {
        transaction.delete(key);
    }
    remove(context, &mut transaction, RecordKey::LoadBalancer(path));
    Ok(Outcome::write(output, transaction))
}

/// Load balancers here have no capacity to reserve: none is.
pub(super) fn capacity_reservation(
    context: &Context<'_>,
    input: &types::DescribeCapacityReservationInput,
) -> OperationResult<types::DescribeCapacityReservationOutput> {
    find::load_balancer(context, input.load_balancer_arn.as_ref())?;
    Ok(Outcome::read(types::DescribeCapacityReservationOutput::default()))
}

/// Rewrites a load balancer, so that requests which add to what it has meet there.
pub(super) fn touch(
    context: &Context<'_>,
    transaction: &mut Transaction,
    load_balancer: &LoadBalancer,
) {
    read(context, transaction, RecordKey::LoadBalancer(load_balancer.path()));
    transaction.put(load_balancer.clone());
}

/// The hosted zone that an alias record of the load balancer's region would name.
fn hosted_zone(kind: LoadBalancerType, region: &str) -> &'static str {
    match (region, kind) {
        ("us-east-2", LoadBalancerType::Application) => "Z3AADJGX6KTTL2",
        ("us-east-2", LoadBalancerType::Network) => "ZLMOA37VPKANP",
        ("us-west-2", LoadBalancerType::Application) => "Z1H1FL5HABSF5",
        ("us-west-2", LoadBalancerType::Network) => "Z18D5FSROUN65G",
        ("eu-west-1", LoadBalancerType::Application) => "Z32O12XQLNTSW2",
        ("eu-west-1", LoadBalancerType::Network) => "Z2IFOLAFXWLO4F",
        ("eu-central-1", LoadBalancerType::Application) => "Z215JYRZR1TBD5",
        ("eu-central-1", LoadBalancerType::Network) => "Z3F0SRJ5LGBH90",
        (_, LoadBalancerType::Application) => "Z35SXDOTRQ7X7K",
        (_, LoadBalancerType::Network) => "Z26RNL4JYFTOTI",
    }
}

/// A load balancer as the API shows it: what is created is active at once.
fn view(context: &Context<'_>, load_balancer: &LoadBalancer) -> types::LoadBalancer {
    let groups = &load_balancer.security_groups;
    types::LoadBalancer {
        load_balancer_arn: Some(context.arns.load_balancer(&load_balancer.path())),
        dns_name: Some(load_balancer.dns_name.clone()),
        canonical_hosted_zone_id: Some(
            hosted_zone(load_balancer.kind, context.region()).to_owned(),
        ),
        created_time: Some(timestamp(load_balancer.created_at)),
        load_balancer_name: Some(load_balancer.name.clone()),
        scheme: Some(load_balancer.scheme.as_str().into()),
        vpc_id: Some(load_balancer.vpc_id.clone()),
        state: Some(types::LoadBalancerState { code: Some("active".into()), reason: None }),
        r#type: Some(load_balancer.kind.as_str().into()),
        availability_zones: Some(network::zones(context, load_balancer)),
        security_groups: (!groups.is_empty()).then(|| groups.clone()),
        ip_address_type: Some(load_balancer.ip_address_type.as_str().into()),
        ..types::LoadBalancer::default()
    }
}
