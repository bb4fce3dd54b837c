//! The part of Amazon EC2 that networks need: VPCs, subnets, security groups, internet gateways and
//! route tables, and what shows the hosts. [`resource`] and [`listing`] are what its operations share.

pub mod filter;

pub mod describe_availability_zones;
pub mod describe_instances;
pub mod describe_network_acls;
pub mod describe_network_interfaces;
pub mod describe_regions;
pub mod describe_subnets;
pub mod describe_vpcs;
pub mod group_rules;
pub mod internet_gateways;
mod listing;
mod permission;
mod resource;
pub mod route_tables;
pub mod routes;
pub mod security_groups;
pub mod subnets;
pub mod tags;
pub mod vpcs;

pub(crate) use group_rules::authorize_ingress;
pub(crate) use security_groups::create as create_security_group;

use crate::dispatch::{Call, Encoded};
use crate::error::ApiError;
use wharf_wire::Document;
use wharf_wire::ec2::{Operation, operation};

macro_rules! dispatch_table {
    ($( $name:ident => $function:path; )*) => {
        /// Runs the operation.
        pub(crate) async fn dispatch(
            operation: Operation,
            call: Call<'_>,
        ) -> Encoded {
            if call.input.get("DryRun") == Some(&Document::Bool(true)) {
                return Err(ApiError::new("DryRunOperation", 412, DRY_RUN));
            }
            match operation {
                $( Operation::$name => call.run::<operation::$name>($function).await, )*
            }
        }
    };
}

/// What a caller who may hears of a dry run.
const DRY_RUN: &str = "Request would have succeeded, but DryRun flag is set.";

dispatch_table! {
    AssociateRouteTable => route_tables::associate;
    AttachInternetGateway => internet_gateways::attach;
    AuthorizeSecurityGroupEgress => group_rules::authorize_egress;
    AuthorizeSecurityGroupIngress => group_rules::authorize_ingress;
    CreateInternetGateway => internet_gateways::create;
    CreateRoute => routes::create;
    CreateRouteTable => route_tables::create;
    CreateSecurityGroup => security_groups::create;
    CreateSubnet => subnets::create;
    CreateTags => tags::create;
    CreateVpc => vpcs::create;
    DeleteInternetGateway => internet_gateways::delete;
    DeleteRoute => routes::delete;
    DeleteRouteTable => route_tables::delete;
    DeleteSecurityGroup => security_groups::delete;
    DeleteSubnet => subnets::delete;
    DeleteTags => tags::delete;
    DeleteVpc => vpcs::delete;
    DescribeAvailabilityZones => describe_availability_zones::describe_availability_zones;
    DescribeInstances => describe_instances::describe_instances;
    DescribeInternetGateways => internet_gateways::describe;
    DescribeNetworkAcls => describe_network_acls::describe_network_acls;
    DescribeNetworkInterfaces => describe_network_interfaces::describe_network_interfaces;
    DescribeRegions => describe_regions::describe_regions;
    DescribeRouteTables => route_tables::describe;
    DescribeSecurityGroupRules => group_rules::describe;
    DescribeSecurityGroups => security_groups::describe;
    DescribeSubnets => describe_subnets::describe_subnets;
    DescribeTags => tags::describe;
    DescribeVpcAttribute => vpcs::describe_attribute;
    DescribeVpcs => describe_vpcs::describe_vpcs;
    DetachInternetGateway => internet_gateways::detach;
    DisassociateRouteTable => route_tables::disassociate;
    ModifySecurityGroupRules => group_rules::modify;
    ModifySubnetAttribute => subnets::modify_attribute;
    ModifyVpcAttribute => vpcs::modify_attribute;
    ReplaceRoute => routes::replace;
    ReplaceRouteTableAssociation => route_tables::replace_association;
    RevokeSecurityGroupEgress => group_rules::revoke_egress;
    RevokeSecurityGroupIngress => group_rules::revoke_ingress;
    UpdateSecurityGroupRuleDescriptionsEgress => group_rules::describe_egress;
    UpdateSecurityGroupRuleDescriptionsIngress => group_rules::describe_ingress;
}

/// An EC2 error.
pub(crate) fn error(code: &'static str, message: impl Into<String>) -> ApiError {
    ApiError::new(code, 400, message)
}

/// The zone id of a zone of this region: `use1-az1` for `us-east-1a`.
pub(crate) fn zone_id(zone: &str) -> String {
    let number = match zone.chars().last() {
        Some(letter @ 'a'..='z') => u32::from(letter) - u32::from('a') + 1,
        _ => 1,
    };
    let region = zone.get(..zone.len().saturating_sub(1)).unwrap_or_default();
    let short: String = match region.split('-').collect::<Vec<_>>().as_slice() {
        [continent, direction, n] => {
            let direction: String = match *direction {
                "northeast" => "ne".to_owned(),
                "northwest" => "nw".to_owned(),
                "southeast" => "se".to_owned(),
                "southwest" => "sw".to_owned(),
                other => other.chars().take(1).collect(),
            };
            format!("{continent}{direction}{n}")
        }
        _ => region.to_owned(),
    };
    format!("{short}-az{number}")
}

#[cfg(test)]
mod tests {
    use super::zone_id;

    #[test]
    fn zone_ids() {
        assert_eq!(zone_id("us-east-1a"), "use1-az1");
        assert_eq!(zone_id("eu-central-1c"), "euc1-az3");
        assert_eq!(zone_id("ap-southeast-2b"), "apse2-az2");
    }
}
