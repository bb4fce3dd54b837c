//! DescribeVpcs: the built-in VPC.

use super::filter::{keep, one};
use crate::context::{Context, Outcome, Result};
use wharf_model::network::VPC_ID;
use wharf_wire::ec2::types::{
    DescribeVpcsRequest, DescribeVpcsResult, Vpc, VpcCidrBlockAssociation, VpcCidrBlockState,
};

const DHCP_OPTIONS_ID: &str = "dopt-0a77a2f0000000001";
const FILTERS: &[&str] = &[
    "cidr",
    "cidr-block-association.association-id",
    "cidr-block-association.cidr-block",
    "cidr-block-association.state",
    "dhcp-options-id",
    "is-default",
    "isDefault",
    "owner-id",
    "state",
    "vpc-id",
];

/// DescribeVpcs.
pub fn describe_vpcs(
    context: &Context<'_>,
    input: &DescribeVpcsRequest,
) -> Result<DescribeVpcsResult> {
    for id in input.vpc_ids.iter().flatten() {
        if id != VPC_ID {
            let message = format!("The vpc ID '{id}' does not exist");
            return Err(super::error("InvalidVpcID.NotFound", message));
        }
    }
    let cidr = context.vpc.range.to_string();
    let association = format!("vpc-cidr-assoc-{}", &VPC_ID["vpc-".len()..]);
    let vpc = Vpc {
        owner_id: Some(context.account().to_owned()),
        instance_tenancy: Some("default".into()),
        cidr_block_association_set: Some(vec![VpcCidrBlockAssociation {
            association_id: Some(association.clone()),
            cidr_block: Some(cidr.clone()),
            cidr_block_state: Some(VpcCidrBlockState {
                state: Some("associated".into()),
                status_message: None,
            }),
        }]),
        is_default: Some(true),
        vpc_id: Some(VPC_ID.to_owned()),
        state: Some("available".into()),
        cidr_block: Some(cidr.clone()),
        dhcp_options_id: Some(DHCP_OPTIONS_ID.to_owned()),
        ..Vpc::default()
    };
    let vpcs = keep(vec![vpc], input.filters.as_ref(), FILTERS, |_, name| match name {
        "cidr" | "cidr-block-association.cidr-block" => one(cidr.clone()),
        "cidr-block-association.association-id" => one(association.clone()),
        "cidr-block-association.state" => one("associated"),
        "dhcp-options-id" => one(DHCP_OPTIONS_ID),
        "is-default" | "isDefault" => one("true"),
        "owner-id" => one(context.account()),
        "state" => one("available"),
        "vpc-id" => one(VPC_ID),
        _ => None,
    })?;
    Ok(Outcome::read(DescribeVpcsResult { vpcs: Some(vpcs), next_token: None }))
}
