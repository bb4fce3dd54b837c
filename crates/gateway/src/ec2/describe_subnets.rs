//! DescribeSubnets.

use super::filter::one;
use super::listing::{Asked, Kind, list, tag_values};
use super::resource::no_subnet;
use super::{tags, zone_id};
use crate::context::{Context, Outcome, Result};
use wharf_model::network::resource::VpcSubnet;
use wharf_wire::ec2::types::{
    DescribeSubnetsRequest, DescribeSubnetsResult, PrivateDnsNameOptionsOnLaunch, Subnet,
};

const FILTERS: &[&str] = &[
    "availability-zone",
    "availability-zone-id",
    "availabilityZone",
    "available-ip-address-count",
    "cidr",
    "cidr-block",
    "cidrBlock",
    "default-for-az",
    "defaultForAz",
    "map-public-ip-on-launch",
    "owner-id",
    "state",
    "subnet-arn",
    "subnet-id",
    "vpc-id",
];
/// As in every subnet of AWS: network, router, DNS, reserve, broadcast.
const RESERVED_ADDRESSES: u64 = 5;

/// DescribeSubnets.
pub fn describe_subnets(
    context: &Context<'_>,
    input: &DescribeSubnetsRequest,
) -> Result<DescribeSubnetsResult> {
    let subnets = context.network().subnets().iter().map(|s| view(context, s)).collect();
    let kind =
        Kind { filters: FILTERS, id: |s: &Subnet| s.subnet_id.as_ref(), not_found: no_subnet };
    let asked = Asked {
        ids: input.subnet_ids.as_ref(),
        filters: input.filters.as_ref(),
        max_results: input.max_results,
        next_token: input.next_token.as_ref(),
    };
    let (items, next_token) = list(&kind, subnets, &asked, |s: &Subnet, name| {
        let text = |t: &Option<String>| one(t.clone().unwrap_or_default());
        let flag = |f: Option<bool>| one(f.unwrap_or(false).to_string());
        match name {
            "availability-zone" | "availabilityZone" => text(&s.availability_zone),
            "availability-zone-id" => text(&s.availability_zone_id),
            "available-ip-address-count" => {
                one(s.available_ip_address_count.unwrap_or(0).to_string())
            }
            "cidr" | "cidr-block" | "cidrBlock" => text(&s.cidr_block),
            "default-for-az" | "defaultForAz" => flag(s.default_for_az),
            "map-public-ip-on-launch" => flag(s.map_public_ip_on_launch),
            "owner-id" => one(context.account()),
            "state" => one("available"),
            "subnet-arn" => text(&s.subnet_arn),
            "subnet-id" => text(&s.subnet_id),
            "vpc-id" => text(&s.vpc_id),
            _ => tag_values(s.tags.as_ref(), name),
        }
    })?;
    Ok(Outcome::read(DescribeSubnetsResult { subnets: Some(items), next_token }))
}

/// A subnet in the API's form.
pub(super) fn view(context: &Context<'_>, subnet: &VpcSubnet) -> Subnet {
    let taken = context.snapshot.interfaces().filter(|i| i.subnet_id == subnet.id).count();
    let free = subnet.range.size().saturating_sub(RESERVED_ADDRESSES + taken as u64);
    let (region, account) = (context.region(), context.account());
    Subnet {
        availability_zone_id: Some(zone_id(&subnet.availability_zone)),
        map_customer_owned_ip_on_launch: Some(false),
        owner_id: Some(account.to_owned()),
        assign_ipv6_address_on_creation: Some(false),
        ipv6_cidr_block_association_set: Some(Vec::new()),
        tags: tags::shown(&subnet.tags),
        subnet_arn: Some(format!("arn:aws:ec2:{region}:{account}:subnet/{}", subnet.id)),
        enable_dns64: Some(false),
        ipv6_native: Some(false),
        private_dns_name_options_on_launch: Some(PrivateDnsNameOptionsOnLaunch {
            hostname_type: Some(subnet.hostname_type.as_str().into()),
            enable_resource_name_dns_a_record: Some(subnet.resource_name_dns),
            enable_resource_name_dns_aaaa_record: Some(false),
        }),
        subnet_id: Some(subnet.id.clone()),
        state: Some("available".into()),
        vpc_id: Some(subnet.vpc_id.clone()),
        cidr_block: Some(subnet.range.to_string()),
        available_ip_address_count: Some(i32::try_from(free).unwrap_or(i32::MAX)),
        availability_zone: Some(subnet.availability_zone.clone()),
        default_for_az: Some(subnet.is_default),
        map_public_ip_on_launch: Some(subnet.map_public_ip),
        ..Subnet::default()
    }
}
