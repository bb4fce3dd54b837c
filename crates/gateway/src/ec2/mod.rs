//! The part of Amazon EC2 that shows the built-in network and the hosts. All of it only reads.

pub mod filter;

pub mod describe_availability_zones;
pub mod describe_instances;
pub mod describe_network_interfaces;
pub mod describe_regions;
pub mod describe_security_groups;
pub mod describe_subnets;
pub mod describe_vpcs;

use crate::dispatch::{Call, Encoded};
use crate::error::ApiError;
use wharf_wire::ec2::{Operation, operation};

macro_rules! dispatch_table {
    ($( $name:ident => $function:path; )*) => {
        /// Runs the operation.
        pub(crate) async fn dispatch(
            operation: Operation,
            call: Call<'_>,
        ) -> Encoded {
            match operation {
                $( Operation::$name => call.run::<operation::$name>($function).await, )*
            }
        }
    };
}

dispatch_table! {
    DescribeAvailabilityZones => describe_availability_zones::describe_availability_zones;
    DescribeInstances => describe_instances::describe_instances;
    DescribeNetworkInterfaces => describe_network_interfaces::describe_network_interfaces;
    DescribeRegions => describe_regions::describe_regions;
    DescribeSecurityGroups => describe_security_groups::describe_security_groups;
    DescribeSubnets => describe_subnets::describe_subnets;
    DescribeVpcs => describe_vpcs::describe_vpcs;
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
