//! DescribeSecurityGroups: the default group of the built-in VPC.

use super::filter::{keep, one};
use crate::context::{Context, Outcome, Result};
use wharf_model::network::{DEFAULT_SECURITY_GROUP_ID, VPC_ID};
use wharf_wire::ec2::types::{
    DescribeSecurityGroupsRequest, DescribeSecurityGroupsResult, IpPermission, IpRange,
    SecurityGroup, UserIdGroupPair,
};

const NAME: &str = "default";
const DESCRIPTION: &str = "default VPC security group";
const ALL: &str = "-1";
const ANYWHERE: &str = "0.0.0.0/0";
const FILTERS: &[&str] = &[
    "description",
    "egress.ip-permission.cidr",
    "egress.ip-permission.protocol",
    "group-id",
    "group-name",
    "ip-permission.group-id",
    "ip-permission.protocol",
    "owner-id",
    "vpc-id",
];

/// DescribeSecurityGroups.
pub fn describe_security_groups(
    context: &Context<'_>,
    input: &DescribeSecurityGroupsRequest,
) -> Result<DescribeSecurityGroupsResult> {
    for id in input.group_ids.iter().flatten() {
        if id != DEFAULT_SECURITY_GROUP_ID {
            let message = format!("The security group '{id}' does not exist");
            return Err(super::error("InvalidGroup.NotFound", message));
        }
    }
    for name in input.group_names.iter().flatten() {
        if name != NAME {
            let message =
                format!("The security group '{name}' does not exist in default VPC '{VPC_ID}'");
            return Err(super::error("InvalidGroup.NotFound", message));
        }
    }
    let group = view(context);
    let groups = keep(vec![group], input.filters.as_ref(), FILTERS, |_, name| match name {
        "description" => one(DESCRIPTION),
        "egress.ip-permission.cidr" => one(ANYWHERE),
        "egress.ip-permission.protocol" | "ip-permission.protocol" => one(ALL),
        "group-id" | "ip-permission.group-id" => one(DEFAULT_SECURITY_GROUP_ID),
        "group-name" => one(NAME),
        "owner-id" => one(context.account()),
        "vpc-id" => one(VPC_ID),
        _ => None,
    })?;
    let security_groups = Some(groups);
    Ok(Outcome::read(DescribeSecurityGroupsResult { security_groups, next_token: None }))
}

/// As the default group of every VPC: in from its own members, out to everywhere.
fn view(context: &Context<'_>) -> SecurityGroup {
    let (region, account) = (context.region(), context.account());
    let permission = |from_group: bool| IpPermission {
        ip_protocol: Some(ALL.to_owned()),
        user_id_group_pairs: Some(if from_group {
            vec![UserIdGroupPair {
                user_id: Some(account.to_owned()),
                group_id: Some(DEFAULT_SECURITY_GROUP_ID.to_owned()),
                ..UserIdGroupPair::default()
            }]
        } else {
            Vec::new()
        }),
        ip_ranges: Some(if from_group {
            Vec::new()
        } else {
            vec![IpRange { cidr_ip: Some(ANYWHERE.to_owned()), description: None }]
        }),
        ipv6_ranges: Some(Vec::new()),
        prefix_list_ids: Some(Vec::new()),
        ..IpPermission::default()
    };
    SecurityGroup {
        group_id: Some(DEFAULT_SECURITY_GROUP_ID.to_owned()),
        ip_permissions_egress: Some(vec![permission(false)]),
        tags: None,
        vpc_id: Some(VPC_ID.to_owned()),
        security_group_arn: Some(format!(
            "arn:aws:ec2:{region}:{account}:security-group/{DEFAULT_SECURITY_GROUP_ID}"
        )),
        owner_id: Some(account.to_owned()),
        group_name: Some(NAME.to_owned()),
        description: Some(DESCRIPTION.to_owned()),
        ip_permissions: Some(vec![permission(true)]),
    }
}
