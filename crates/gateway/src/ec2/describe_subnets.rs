//! DescribeSubnets: the built-in subnets, one in each zone.

use super::filter::{keep, one};
use super::zone_id;
use crate::context::{Context, Outcome, Result};
use wharf_model::network::{Subnet as BuiltinSubnet, VPC_ID};
use wharf_wire::ec2::types::{DescribeSubnetsRequest, DescribeSubnetsResult, Subnet};

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
    for id in input.subnet_ids.iter().flatten() {
        if context.vpc.subnet(id).is_none() {
            let message = format!("The subnet ID '{id}' does not exist");
            return Err(super::error("InvalidSubnetID.NotFound", message));
        }
    }
    let asked =
        |s: &&BuiltinSubnet| input.subnet_ids.as_ref().is_none_or(|ids| ids.contains(&s.id));
    let subnets = context.vpc.subnets.iter().filter(asked).map(|s| view(context, s)).collect();
    let subnets = keep(subnets, input.filters.as_ref(), FILTERS, |s: &Subnet, name| {
        let text = |t: &Option<String>| one(t.clone().unwrap_or_default());
        match name {
            "availability-zone" | "availabilityZone" => text(&s.availability_zone),
            "availability-zone-id" => text(&s.availability_zone_id),
            "available-ip-address-count" => {
                one(s.available_ip_address_count.unwrap_or(0).to_string())
            }
            "cidr" | "cidr-block" | "cidrBlock" => text(&s.cidr_block),
            "default-for-az" | "defaultForAz" => one("true"),
            "map-public-ip-on-launch" => one("false"),
            "owner-id" => one(context.account()),
            "state" => one("available"),
            "subnet-arn" => text(&s.subnet_arn),
            "subnet-id" => text(&s.subnet_id),
            "vpc-id" => one(VPC_ID),
            _ => None,
        }
    })?;
    Ok(Outcome::read(DescribeSubnetsResult { subnets: Some(subnets), next_token: None }))
}

fn view(context: &Context<'_>, subnet: &BuiltinSubnet) -> Subnet {
    let taken = context
        .snapshot
        .all_tasks()
        .filter(|t| !t.last_status.is_stopped())
        .filter(|t| t.network_interface.as_ref().is_some_and(|i| i.subnet_id == subnet.id))
        .count();
    let free = subnet.range.size().saturating_sub(RESERVED_ADDRESSES + taken as u64);
    let (region, account) = (context.region(), context.account());
    Subnet {
        availability_zone_id: Some(zone_id(&subnet.availability_zone)),
        map_customer_owned_ip_on_launch: Some(false),
        owner_id: Some(account.to_owned()),
        assign_ipv6_address_on_creation: Some(false),
        subnet_arn: Some(format!("arn:aws:ec2:{region}:{account}:subnet/{}", subnet.id)),
        enable_dns64: Some(false),
        ipv6_native: Some(false),
        subnet_id: Some(subnet.id.clone()),
        state: Some("available".into()),
        vpc_id: Some(VPC_ID.to_owned()),
        cidr_block: Some(subnet.range.to_string()),
        available_ip_address_count: Some(i32::try_from(free).unwrap_or(i32::MAX)),
        availability_zone: Some(subnet.availability_zone.clone()),
        default_for_az: Some(true),
        map_public_ip_on_launch: Some(false),
        ..Subnet::default()
    }
}
