//! DescribeVpcs.

use super::filter::one;
use super::listing::{Asked, Kind, list, tag_values};
use super::resource::no_vpc;
use super::tags;
use crate::context::{Context, Outcome, Result};
use wharf_model::network::resource;
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

fn association_id(vpc_id: &str) -> String {
    format!("vpc-cidr-assoc-{}", vpc_id.strip_prefix("vpc-").unwrap_or(vpc_id))
}

/// A VPC in the API's form.
pub(super) fn view(context: &Context<'_>, record: &resource::Vpc) -> Vpc {
    let cidr = record.range.to_string();
    Vpc {
        owner_id: Some(context.account().to_owned()),
        instance_tenancy: Some(record.tenancy.as_str().into()),
        cidr_block_association_set: Some(vec![VpcCidrBlockAssociation {
            association_id: Some(association_id(&record.id)),
            cidr_block: Some(cidr.clone()),
            cidr_block_state: Some(VpcCidrBlockState {
                state: Some("associated".into()),
                status_message: None,
            }),
        }]),
        is_default: Some(record.is_default),
        tags: tags::shown(&record.tags),
        vpc_id: Some(record.id.clone()),
        state: Some("available".into()),
        cidr_block: Some(cidr),
        dhcp_options_id: Some(DHCP_OPTIONS_ID.to_owned()),
        ..Vpc::default()
    }
}

/// DescribeVpcs.
pub fn describe_vpcs(
    context: &Context<'_>,
    input: &DescribeVpcsRequest,
) -> Result<DescribeVpcsResult> {
    let vpcs = context.network().vpcs().iter().map(|v| view(context, v)).collect();
    let kind = Kind { filters: FILTERS, id: |v: &Vpc| v.vpc_id.as_ref(), not_found: no_vpc };
    let asked = Asked {
        ids: input.vpc_ids.as_ref(),
        filters: input.filters.as_ref(),
        max_results: input.max_results,
        next_token: input.next_token.as_ref(),
    };
    let (items, next_token) = list(&kind, vpcs, &asked, |v: &Vpc, name| {
        let id = v.vpc_id.clone().unwrap_or_default();
        match name {
            "cidr" | "cidr-block-association.cidr-block" => {
                Some(v.cidr_block.iter().cloned().collect())
            }
            "cidr-block-association.association-id" => one(association_id(&id)),
            "cidr-block-association.state" => one("associated"),
            "dhcp-options-id" => one(DHCP_OPTIONS_ID),
            "is-default" | "isDefault" => one(v.is_default.unwrap_or(false).to_string()),
            "owner-id" => one(context.account()),
            "state" => one("available"),
            "vpc-id" => one(id),
            _ => tag_values(v.tags.as_ref(), name),
        }
    })?;
    Ok(Outcome::read(DescribeVpcsResult { vpcs: Some(items), next_token }))
}
