//! Where a load balancer is: subnets, security groups, address type.

use super::{changed, error, find, refuse, unsupported, validation};
use crate::context::{Context, Outcome, Result as OperationResult};
use crate::error::ApiError;
use std::collections::BTreeSet;
use wharf_model::load_balancing::{LoadBalancer, LoadBalancerType};
use wharf_model::network::VPC_ID;
use wharf_wire::elbv2::{ErrorCode, types};

/// `Subnets` or `SubnetMappings`, as ids.
pub(super) fn subnets(
    context: &Context<'_>,
    kind: LoadBalancerType,
    subnets: Option<&Vec<String>>,
    mappings: Option<&Vec<types::SubnetMapping>>,
) -> Result<Vec<String>, ApiError> {
    let subnets = subnets.map(Vec::as_slice).unwrap_or_default();
    let mappings = mappings.map(Vec::as_slice).unwrap_or_default();
    if !subnets.is_empty() && !mappings.is_empty() {
        return Err(validation("Specify either subnets or subnet mappings, not both"));
    }
    for mapping in mappings {
        refuse("SubnetMappings.AllocationId", mapping.allocation_id.is_some())?;
        let pinned = mapping.private_i_pv4_address.is_some();
        refuse("SubnetMappings.PrivateIPv4Address", pinned)?;
        refuse("SubnetMappings.IPv6Address", mapping.i_pv6_address.is_some())?;
        refuse("SubnetMappings.SourceNatIpv6Prefix", mapping.source_nat_ipv6_prefix.is_some())?;
    }
    let mapped = mappings.iter().filter_map(|mapping| mapping.subnet_id.as_ref());
    let ids: Vec<String> = subnets.iter().chain(mapped).cloned().collect();
    let (mut zones, mut vpc) = (BTreeSet::new(), None::<String>);
    for id in &ids {
        let subnet = context.network().subnet(id).ok_or_else(|| {
            error(
                ErrorCode::SubnetNotFoundException,
                format!("The subnet ID '{id}' does not exist"),
            )
        })?;
        if vpc.get_or_insert_with(|| subnet.vpc_id.clone()) != &subnet.vpc_id {
            return Err(error(
                ErrorCode::InvalidSubnetException,
                "All subnets must belong to the same VPC",
            ));
        }
        if !zones.insert(subnet.availability_zone.clone()) {
            return Err(error(
                ErrorCode::InvalidConfigurationRequestException,
                "A load balancer cannot be attached to multiple subnets in the same Availability \
                 Zone",
            ));
        }
    }
    match kind {
        LoadBalancerType::Application if ids.len() < 2 => Err(validation(
            "At least two subnets in two different Availability Zones must be specified",
        )),
        LoadBalancerType::Network if ids.is_empty() => {
            Err(validation("At least one subnet must be specified"))
        }
        _ => Ok(ids),
    }
}

/// The VPC of these subnets.
pub(super) fn vpc_of(context: &Context<'_>, subnets: &[String]) -> String {
    let found = subnets.iter().find_map(|id| context.network().subnet(id));
    found.map_or_else(|| VPC_ID.to_owned(), |subnet| subnet.vpc_id.clone())
}

/// `SecurityGroups`; those of an Application Load Balancer default to the VPC's.
pub(super) fn security_groups(
    context: &Context<'_>,
    kind: LoadBalancerType,
    vpc_id: &str,
    sent: Option<&Vec<String>>,
) -> Result<Vec<String>, ApiError> {
    let network = context.network();
    let mut groups: Vec<String> = sent.cloned().unwrap_or_default();
    groups.dedup();
    if groups.is_empty() && kind == LoadBalancerType::Application {
        groups.extend(network.default_group(vpc_id).map(|group| group.id.clone()));
    }
    let in_vpc = |id: &String| network.security_group(id).is_some_and(|g| g.vpc_id == vpc_id);
    if let Some(unknown) = groups.iter().find(|id| !in_vpc(id)) {
        return Err(error(
            ErrorCode::InvalidSecurityGroupException,
            format!("The security group '{unknown}' does not exist"),
        ));
    }
    Ok(groups)
}

/// `IpAddressType`: tasks' networks have IPv4 alone.
pub(super) fn ip_address_type(sent: Option<&types::IpAddressType>) -> Result<String, ApiError> {
    match sent.map(types::IpAddressType::as_str) {
        None | Some("ipv4") => Ok("ipv4".to_owned()),
        Some(other @ ("dualstack" | "dualstack-without-public-ipv4")) => {
            Err(unsupported(&format!("IpAddressType '{other}'")))
        }
        Some(other) => Err(validation(format!("The IP address type '{other}' is not valid"))),
    }
}

/// `AvailabilityZones`.
pub(super) fn zones(
    context: &Context<'_>,
    load_balancer: &LoadBalancer,
) -> Vec<types::AvailabilityZone> {
    let zone = |id: &String| types::AvailabilityZone {
        zone_name: context.network().subnet(id).map(|subnet| subnet.availability_zone.clone()),
        subnet_id: Some(id.clone()),
        load_balancer_addresses: Some(Vec::new()),
        ..types::AvailabilityZone::default()
    };
    load_balancer.subnets.iter().map(zone).collect()
}

pub(super) fn set_subnets(
    context: &Context<'_>,
    input: &types::SetSubnetsInput,
) -> OperationResult<types::SetSubnetsOutput> {
    let found = find::load_balancer(context, input.load_balancer_arn.as_ref())?;
    let mut changing = LoadBalancer::clone(found);
    refuse(
        "EnablePrefixForIpv6SourceNat",
        input.enable_prefix_for_ipv6_source_nat.as_ref().is_some_and(|on| on.as_str() == "on"),
    )?;
    ip_address_type(input.ip_address_type.as_ref())?;
    changing.subnets =
        subnets(context, found.kind, input.subnets.as_ref(), input.subnet_mappings.as_ref())?;
    if found.kind == LoadBalancerType::Network
        && found.subnets.iter().any(|id| !changing.subnets.contains(id))
    {
        return Err(error(
            ErrorCode::InvalidConfigurationRequestException,
            "Subnets of a network load balancer can be added and not removed",
        ));
    }
    let output = types::SetSubnetsOutput {
        availability_zones: Some(zones(context, &changing)),
        ip_address_type: Some(changing.ip_address_type.as_str().into()),
        ..types::SetSubnetsOutput::default()
    };
    Ok(Outcome::write(output, changed(context, changing)))
}

pub(super) fn set_security_groups(
    context: &Context<'_>,
    input: &types::SetSecurityGroupsInput,
) -> OperationResult<types::SetSecurityGroupsOutput> {
    let found = find::load_balancer(context, input.load_balancer_arn.as_ref())?;
    refuse(
        "EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic",
        input.enforce_security_group_inbound_rules_on_private_link_traffic.is_some(),
    )?;
    if found.kind == LoadBalancerType::Network && found.security_groups.is_empty() {
        return Err(error(
            ErrorCode::InvalidConfigurationRequestException,
            "You cannot set security groups on a network load balancer that was created without \
             security groups",
        ));
    }
    if input.security_groups.as_ref().is_none_or(Vec::is_empty) {
        return Err(validation("At least one security group must be specified"));
    }
    let mut changing = LoadBalancer::clone(found);
    changing.security_groups =
        security_groups(context, found.kind, &found.vpc_id, input.security_groups.as_ref())?;
    let output = types::SetSecurityGroupsOutput {
        security_group_ids: Some(changing.security_groups.clone()),
        ..types::SetSecurityGroupsOutput::default()
    };
    Ok(Outcome::write(output, changed(context, changing)))
}

pub(super) fn set_ip_address_type(
    context: &Context<'_>,
    input: &types::SetIpAddressTypeInput,
) -> OperationResult<types::SetIpAddressTypeOutput> {
    let found = find::load_balancer(context, input.load_balancer_arn.as_ref())?;
    let mut changing = LoadBalancer::clone(found);
    changing.ip_address_type = ip_address_type(input.ip_address_type.as_ref())?;
    let ip_address_type = Some(changing.ip_address_type.as_str().into());
    let output = types::SetIpAddressTypeOutput { ip_address_type };
    Ok(Outcome::write(output, changed(context, changing)))
}
