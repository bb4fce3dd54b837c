//! CreateSubnet, DeleteSubnet, ModifySubnetAttribute.

use super::resource::{change, in_use, invalid, refuse, required, subnet, vpc};
use super::vpcs::{PREFIXES, range};
use super::{describe_subnets, error, tags, zone_id};
use crate::context::{Context, Result as Answer};
use crate::error::ApiError;
use wharf_model::network::resource::VpcSubnet;
use wharf_model::{RecordKey, Transaction};
use wharf_wire::Empty;
use wharf_wire::ec2::types::{
    AttributeBooleanValue, CreateSubnetRequest, CreateSubnetResult, DeleteSubnetRequest,
    ModifySubnetAttributeRequest,
};

/// CreateSubnet.
pub fn create(context: &Context<'_>, input: &CreateSubnetRequest) -> Answer<CreateSubnetResult> {
    refuse(&[
        ("ipv6CidrBlock", input.ipv6_cidr_block.is_some()),
        ("outpostArn", input.outpost_arn.is_some()),
        ("ipv6Native", input.ipv6_native == Some(true)),
        ("ipv4IpamPoolId", input.ipv4_ipam_pool_id.is_some()),
        ("ipv4NetmaskLength", input.ipv4_netmask_length.is_some()),
        ("ipv6IpamPoolId", input.ipv6_ipam_pool_id.is_some()),
        ("ipv6NetmaskLength", input.ipv6_netmask_length.is_some()),
    ])?;
    let vpc = vpc(context, required(&input.vpc_id, "vpcId")?)?;
    let range = range(required(&input.cidr_block, "cidrBlock")?)?;
    if !PREFIXES.contains(&range.prefix) || !vpc.range.covers(range) {
        return Err(error("InvalidSubnet.Range", format!("The CIDR '{range}' is invalid.")));
    }
    let network = context.network();
    if network.subnets().iter().any(|s| s.range.overlaps(range)) {
        return Err(error(
            "InvalidSubnet.Conflict",
            format!("The CIDR '{range}' conflicts with another subnet"),
        ));
    }
    let made = VpcSubnet {
        id: format!("subnet-{}", context.ids().hex17()),
        vpc_id: vpc.id.clone(),
        availability_zone: zone(context, input)?,
        range,
        map_public_ip: false,
        hostname_type: "ip-name".to_owned(),
        resource_name_dns: false,
        is_default: false,
        tags: tags::at_creation(input.tag_specifications.as_ref(), "subnet")?,
    };
    let mut transaction = Transaction::new();
    transaction.put(made.clone());
    let shown = describe_subnets::view(context, &made);
    change(context, CreateSubnetResult { subnet: Some(shown) }, transaction)
}

fn zone(context: &Context<'_>, input: &CreateSubnetRequest) -> Result<String, ApiError> {
    let zones = || context.vpc.subnets.iter().map(|s| &s.availability_zone);
    let (asked, found) = match (&input.availability_zone, &input.availability_zone_id) {
        (None, None) => return Ok(format!("{}a", context.region())),
        (Some(name), _) => (name, zones().find(|z| *z == name)),
        (None, Some(id)) => (id, zones().find(|z| zone_id(z) == *id)),
    };
    found.cloned().ok_or_else(|| {
        let all: Vec<&str> = zones().map(String::as_str).collect();
        invalid(format!(
            "Value ({asked}) for parameter availabilityZone is invalid. Subnets can currently \
             only be created in the following availability zones: {}.",
            all.join(", ")
        ))
    })
}

/// DeleteSubnet.
pub fn delete(context: &Context<'_>, input: &DeleteSubnetRequest) -> Answer<Empty> {
    let found = subnet(context, required(&input.subnet_id, "subnetId")?)?;
    if found.is_default {
        return Err(error(
            "OperationNotPermitted",
            format!("The built-in subnet '{}' cannot be deleted.", found.id),
        ));
    }
    let balanced = context.snapshot.load_balancers().any(|l| l.subnets.contains(&found.id));
    if balanced || context.snapshot.interfaces().any(|i| i.subnet_id == found.id) {
        return Err(in_use("subnet", &found.id));
    }
    let mut transaction = Transaction::new();
    for table in context.network().route_tables() {
        let of_subnet = |a: &wharf_model::network::resource::RouteTableAssociation| {
            a.subnet_id.as_ref() == Some(&found.id)
        };
        if table.associations.iter().any(of_subnet) {
            let mut table = table.as_ref().clone();
            table.associations.retain(|a| !of_subnet(a));
            transaction.put(table);
        }
    }
    // A task that was given an address of it meanwhile has changed this record.
    let addresses = RecordKey::SubnetAllocation(found.id.clone());
    transaction.read(addresses.clone(), context.snapshot.revision_of(&addresses));
    if context.snapshot.subnet_allocation(&found.id).is_some() {
        transaction.delete(addresses);
    }
    transaction.delete(RecordKey::VpcSubnet(found.id.clone()));
    change(context, Empty::default(), transaction)
}

/// ModifySubnetAttribute.
pub fn modify_attribute(
    context: &Context<'_>,
    input: &ModifySubnetAttributeRequest,
) -> Answer<Empty> {
    let mut changed = subnet(context, required(&input.subnet_id, "subnetId")?)?.as_ref().clone();
    let on = |value: &Option<AttributeBooleanValue>| value.as_ref().and_then(|v| v.value);
    refuse(&[
        ("assignIpv6AddressOnCreation", on(&input.assign_ipv6_address_on_creation) == Some(true)),
        ("mapCustomerOwnedIpOnLaunch", on(&input.map_customer_owned_ip_on_launch) == Some(true)),
        ("customerOwnedIpv4Pool", input.customer_owned_ipv4_pool.is_some()),
        ("enableDns64", on(&input.enable_dns64) == Some(true)),
        (
            "enableResourceNameDnsAAAARecordOnLaunch",
            on(&input.enable_resource_name_dns_aaaa_record_on_launch) == Some(true),
        ),
        ("enableLniAtDeviceIndex", input.enable_lni_at_device_index.is_some()),
        ("disableLniAtDeviceIndex", on(&input.disable_lni_at_device_index) == Some(true)),
    ])?;
    if let Some(value) = on(&input.map_public_ip_on_launch) {
        changed.map_public_ip = value;
    }
    if let Some(value) = on(&input.enable_resource_name_dns_a_record_on_launch) {
        changed.resource_name_dns = value;
    }
    match input.private_dns_hostname_type_on_launch.as_ref().map(|t| t.as_str()) {
        None => {}
        Some(name @ ("ip-name" | "resource-name")) => changed.hostname_type = name.to_owned(),
        Some(other) => {
            return Err(invalid(format!(
                "Value ({other}) for parameter privateDnsHostnameType is invalid."
            )));
        }
    }
    let mut transaction = Transaction::new();
    transaction.put(changed);
    change(context, Empty::default(), transaction)
}
