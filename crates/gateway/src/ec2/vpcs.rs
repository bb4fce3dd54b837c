//! CreateVpc, DeleteVpc and VPCs' attributes.

use super::resource::{change, in_use, invalid, missing, refuse, required, vpc};
use super::{describe_vpcs, error, tags};
use crate::context::{Context, Outcome, Result as Answer};
use crate::error::ApiError;
use wharf_model::network::resource::Vpc;
use wharf_model::network::{DEFAULT_GROUP_NAME, Ipv4Range, default_group, main_table};
use wharf_model::{RecordKey, Transaction};
use wharf_wire::Empty;
use wharf_wire::ec2::types::{
    AttributeBooleanValue, CreateVpcRequest, CreateVpcResult, DeleteVpcRequest,
    DescribeVpcAttributeRequest, DescribeVpcAttributeResult, ModifyVpcAttributeRequest,
    VpcAttributeName,
};

/// The prefixes of VPCs and subnets.
pub(super) const PREFIXES: std::ops::RangeInclusive<u8> = 16..=28;

/// CreateVpc.
pub fn create(context: &Context<'_>, input: &CreateVpcRequest) -> Answer<CreateVpcResult> {
    refuse(&[
        ("ipv6Pool", input.ipv6_pool.is_some()),
        ("ipv6CidrBlock", input.ipv6_cidr_block.is_some()),
        ("ipv4IpamPoolId", input.ipv4_ipam_pool_id.is_some()),
        ("ipv4NetmaskLength", input.ipv4_netmask_length.is_some()),
        ("ipv6IpamPoolId", input.ipv6_ipam_pool_id.is_some()),
        ("ipv6NetmaskLength", input.ipv6_netmask_length.is_some()),
        ("vpcEncryptionControl", input.vpc_encryption_control.is_some()),
        ("amazonProvidedIpv6CidrBlock", input.amazon_provided_ipv6_cidr_block == Some(true)),
    ])?;
    let range = range(required(&input.cidr_block, "cidrBlock")?)?;
    if !PREFIXES.contains(&range.prefix) {
        return Err(error("InvalidVpc.Range", format!("The CIDR '{range}' is invalid.")));
    }
    let tenancy = input.instance_tenancy.as_ref().map_or("default", |t| t.as_str());
    if tenancy != "default" {
        return Err(invalid(format!(
            "Value ({tenancy}) for parameter instanceTenancy is invalid: this server's hosts are \
             of tenancy default."
        )));
    }
    free(context, range)?;
    let mut ids = context.ids();
    let made = Vpc {
        id: format!("vpc-{}", ids.hex17()),
        range,
        dns_support: true,
        dns_hostnames: false,
        usage_metrics: false,
        tenancy: tenancy.to_owned(),
        is_default: false,
        tags: tags::at_creation(input.tag_specifications.as_ref(), "vpc")?,
    };
    let mut transaction = Transaction::new();
    transaction.put(default_group(&format!("sg-{}", ids.hex17()), &made.id));
    transaction.put(main_table(&format!("rtb-{}", ids.hex17()), &made.id));
    transaction.put(made.clone());
    change(context, CreateVpcResult { vpc: Some(describe_vpcs::view(context, &made)) }, transaction)
}

/// The range of a CIDR block as it was sent.
pub(super) fn range(text: &str) -> Result<Ipv4Range, ApiError> {
    Ipv4Range::parse_canonical(text).ok_or_else(|| {
        invalid(format!(
            "Value ({text}) for parameter cidrBlock is invalid. This is not a valid CIDR block."
        ))
    })
}

/// VPCs are networks of the hosts: no two may have an address in common, nor one with what the
/// host routes elsewhere.
fn free(context: &Context<'_>, range: Ipv4Range) -> Result<(), ApiError> {
    if let Some(other) = context.network().vpcs().iter().find(|v| v.range.overlaps(range)) {
        return Err(error(
            "InvalidVpc.Range",
            format!(
                "The CIDR '{range}' overlaps {} of VPC '{}'. VPCs of one server are networks of \
                 the same hosts: choose a block that no other VPC has.",
                other.range, other.id
            ),
        ));
    }
    if let Some(routed) = context.soft.routed().into_iter().find(|r| r.overlaps(range)) {
        return Err(error(
            "InvalidVpc.Range",
            format!(
                "The CIDR '{range}' overlaps {routed}, which the server's host routes already. \
                 Choose another block."
            ),
        ));
    }
    Ok(())
}

/// DeleteVpc.
pub fn delete(context: &Context<'_>, input: &DeleteVpcRequest) -> Answer<Empty> {
    let found = vpc(context, required(&input.vpc_id, "vpcId")?)?;
    let network = context.network();
    if found.is_default {
        return Err(error(
            "OperationNotPermitted",
            format!("The built-in VPC '{}' cannot be deleted.", found.id),
        ));
    }
    let groups = network.security_groups();
    let own_groups = || groups.iter().filter(|g| g.vpc_id == found.id);
    let tables = network.route_tables();
    let own_tables = || tables.iter().filter(|t| t.vpc_id == found.id);
    if network.subnets().iter().any(|s| s.vpc_id == found.id)
        || own_groups().any(|g| g.name != DEFAULT_GROUP_NAME)
        || own_tables().any(|t| !t.is_main())
        || network.internet_gateways().iter().any(|g| g.vpc_id.as_ref() == Some(&found.id))
    {
        return Err(in_use("vpc", &found.id));
    }
    let mut transaction = Transaction::new();
    for group in own_groups() {
        transaction.delete(RecordKey::SecurityGroup(group.id.clone()));
    }
    for table in own_tables() {
        transaction.delete(RecordKey::RouteTable(table.id.clone()));
    }
    transaction.delete(RecordKey::Vpc(found.id.clone()));
    change(context, Empty::default(), transaction)
}

/// DescribeVpcAttribute.
pub fn describe_attribute(
    context: &Context<'_>,
    input: &DescribeVpcAttributeRequest,
) -> Answer<DescribeVpcAttributeResult> {
    let found = vpc(context, required(&input.vpc_id, "vpcId")?)?;
    let mut answer = DescribeVpcAttributeResult {
        vpc_id: Some(found.id.clone()),
        ..DescribeVpcAttributeResult::default()
    };
    let value = |value| Some(AttributeBooleanValue { value: Some(value) });
    match &input.attribute {
        Some(VpcAttributeName::EnableDnsSupport) => {
            answer.enable_dns_support = value(found.dns_support);
        }
        Some(VpcAttributeName::EnableDnsHostnames) => {
            answer.enable_dns_hostnames = value(found.dns_hostnames);
        }
        Some(VpcAttributeName::EnableNetworkAddressUsageMetrics) => {
            answer.enable_network_address_usage_metrics = value(found.usage_metrics);
        }
        Some(other) => {
            return Err(invalid(format!(
                "Value ({}) for parameter attribute is invalid. Unknown attribute.",
                other.as_str()
            )));
        }
        None => return Err(missing("attribute")),
    }
    Ok(Outcome::read(answer))
}

/// ModifyVpcAttribute: one attribute at a time, as in EC2.
pub fn modify_attribute(context: &Context<'_>, input: &ModifyVpcAttributeRequest) -> Answer<Empty> {
    let mut changed = vpc(context, required(&input.vpc_id, "vpcId")?)?.as_ref().clone();
    let sent = [
        (&input.enable_dns_support, &mut changed.dns_support),
        (&input.enable_dns_hostnames, &mut changed.dns_hostnames),
        (&input.enable_network_address_usage_metrics, &mut changed.usage_metrics),
    ];
    let mut count = 0;
    for (value, attribute) in sent {
        if let Some(value) = value.as_ref().and_then(|v| v.value) {
            *attribute = value;
            count += 1;
        }
    }
    if count != 1 {
        let message = "The request must contain exactly one attribute to modify";
        return Err(error("InvalidParameterCombination", message));
    }
    let mut transaction = Transaction::new();
    transaction.put(changed);
    change(context, Empty::default(), transaction)
}
