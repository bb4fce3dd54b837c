//! DescribeNetworkAcls: each VPC's default one, which allows everything. There are no others.

use super::filter::one;
use super::listing::{Asked, Kind, list, tag_values};
use super::resource::no_acl;
use crate::context::{Context, Outcome, Result};
use wharf_model::network::resource::Vpc;
use wharf_wire::ec2::types::{
    DescribeNetworkAclsRequest, DescribeNetworkAclsResult, NetworkAcl, NetworkAclAssociation,
    NetworkAclEntry,
};

const FILTERS: &[&str] = &[
    "association.association-id",
    "association.network-acl-id",
    "association.subnet-id",
    "default",
    "network-acl-id",
    "owner-id",
    "vpc-id",
];
/// The number of the rule that denies what no other allows.
const LAST_RULE: i32 = 32767;
const FIRST_RULE: i32 = 100;

/// DescribeNetworkAcls.
pub fn describe_network_acls(
    context: &Context<'_>,
    input: &DescribeNetworkAclsRequest,
) -> Result<DescribeNetworkAclsResult> {
    let acls = context.network().vpcs().iter().map(|vpc| view(context, vpc)).collect();
    let kind = Kind {
        filters: FILTERS,
        id: |a: &NetworkAcl| a.network_acl_id.as_ref(),
        not_found: no_acl,
    };
    let asked = Asked {
        ids: input.network_acl_ids.as_ref(),
        filters: input.filters.as_ref(),
        max_results: input.max_results,
        next_token: input.next_token.as_ref(),
    };
    let (items, next_token) = list(&kind, acls, &asked, |acl: &NetworkAcl, name| {
        let of = |get: fn(&NetworkAclAssociation) -> Option<&String>| {
            Some(acl.associations.iter().flatten().filter_map(get).cloned().collect())
        };
        match name {
            "association.association-id" => of(|a| a.network_acl_association_id.as_ref()),
            "association.network-acl-id" => of(|a| a.network_acl_id.as_ref()),
            "association.subnet-id" => of(|a| a.subnet_id.as_ref()),
            "default" => one("true"),
            "network-acl-id" => Some(acl.network_acl_id.iter().cloned().collect()),
            "owner-id" => one(context.account()),
            "vpc-id" => Some(acl.vpc_id.iter().cloned().collect()),
            _ => tag_values(acl.tags.as_ref(), name),
        }
    })?;
    Ok(Outcome::read(DescribeNetworkAclsResult { network_acls: Some(items), next_token }))
}

fn view(context: &Context<'_>, vpc: &Vpc) -> NetworkAcl {
    let digits = |id: &str| id.split_once('-').map_or(String::new(), |(_, d)| d.to_owned());
    let id = format!("acl-{}", digits(&vpc.id));
    let entry = |egress: bool, number: i32, action: &str| NetworkAclEntry {
        cidr_block: Some("0.0.0.0/0".to_owned()),
        egress: Some(egress),
        protocol: Some("-1".to_owned()),
        rule_action: Some(action.into()),
        rule_number: Some(number),
        ..NetworkAclEntry::default()
    };
    let subnets = context.network().subnets();
    let associations =
        subnets.iter().filter(|s| s.vpc_id == vpc.id).map(|subnet| NetworkAclAssociation {
            network_acl_association_id: Some(format!("aclassoc-{}", digits(&subnet.id))),
            network_acl_id: Some(id.clone()),
            subnet_id: Some(subnet.id.clone()),
        });
    NetworkAcl {
        associations: Some(associations.collect()),
        entries: Some(
            [true, false]
                .into_iter()
                .flat_map(|egress| {
                    [entry(egress, FIRST_RULE, "allow"), entry(egress, LAST_RULE, "deny")]
                })
                .collect(),
        ),
        is_default: Some(true),
        network_acl_id: Some(id.clone()),
        tags: Some(Vec::new()),
        vpc_id: Some(vpc.id.clone()),
        owner_id: Some(context.account().to_owned()),
    }
}
