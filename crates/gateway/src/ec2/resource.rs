//! Finding a resource by its id, and what every change of a network has in common.

use super::error;
use crate::context::{Context, Outcome, Result as Answer};
use crate::error::ApiError;
use std::sync::Arc;
use wharf_model::network::SubnetAllocation;
use wharf_model::network::resource::{InternetGateway, RouteTable, SecurityGroup, Vpc, VpcSubnet};
use wharf_model::{RecordKey, Transaction};

/// The sequence that every change of a network counts up: they are rare, and one at a time.
const SEQUENCE: &str = "network";

/// An answer that holds once `transaction` does, and only if no other change of a network came
/// in between.
pub(super) fn change<O>(
    context: &Context<'_>,
    output: O,
    mut transaction: Transaction,
) -> Answer<O> {
    let key = RecordKey::SubnetAllocation(SEQUENCE.to_owned());
    transaction.read(key.clone(), context.snapshot.revision_of(&key));
    let before = context.snapshot.subnet_allocation(&SEQUENCE.to_owned());
    let sequence = before.map_or(0, |s| s.sequence) + 1;
    transaction.put(SubnetAllocation { subnet_id: SEQUENCE.to_owned(), sequence });
    Ok(Outcome::write(output, transaction))
}

/// The value of a member that must be there.
pub(super) fn required<'a>(value: &'a Option<String>, name: &str) -> Result<&'a str, ApiError> {
    value.as_deref().filter(|v| !v.is_empty()).ok_or_else(|| missing(name))
}

/// `MissingParameter` in EC2's words.
pub(super) fn missing(name: &str) -> ApiError {
    error("MissingParameter", format!("The request must contain the parameter {name}"))
}

/// `InvalidParameterValue`.
pub(super) fn invalid(message: impl Into<String>) -> ApiError {
    error("InvalidParameterValue", message)
}

/// `DependencyViolation` in EC2's words.
pub(super) fn in_use(what: &str, id: &str) -> ApiError {
    let message = format!("The {what} '{id}' has dependencies and cannot be deleted.");
    error("DependencyViolation", message)
}

/// What is asked for that this server doesn't have, by name.
pub(super) fn unsupported(what: &str) -> ApiError {
    error("UnsupportedOperation", format!("{what} is not supported by this server."))
}

/// Refuses the first of these members that is there.
pub(super) fn refuse(members: &[(&str, bool)]) -> Result<(), ApiError> {
    match members.iter().find(|(_, there)| *there) {
        Some((name, _)) => Err(unsupported(&format!("The parameter {name}"))),
        None => Ok(()),
    }
}

/// `InvalidVpcID.NotFound`.
pub(super) fn no_vpc(id: &str) -> ApiError {
    error("InvalidVpcID.NotFound", format!("The vpc ID '{id}' does not exist"))
}

/// `InvalidSubnetID.NotFound`.
pub(super) fn no_subnet(id: &str) -> ApiError {
    error("InvalidSubnetID.NotFound", format!("The subnet ID '{id}' does not exist"))
}

/// `InvalidGroup.NotFound`.
pub(super) fn no_group(id: &str) -> ApiError {
    error("InvalidGroup.NotFound", format!("The security group '{id}' does not exist"))
}

/// `InvalidSecurityGroupRuleId.NotFound`.
pub(super) fn no_rule(id: &str) -> ApiError {
    let message = format!("The security group rule ID '{id}' does not exist");
    error("InvalidSecurityGroupRuleId.NotFound", message)
}

/// `InvalidInternetGatewayID.NotFound`.
pub(super) fn no_gateway(id: &str) -> ApiError {
    let message = format!("The internetGateway ID '{id}' does not exist");
    error("InvalidInternetGatewayID.NotFound", message)
}

/// `InvalidRouteTableID.NotFound`.
pub(super) fn no_table(id: &str) -> ApiError {
    error("InvalidRouteTableID.NotFound", format!("The routeTable ID '{id}' does not exist"))
}

/// `InvalidNetworkAclID.NotFound`.
pub(super) fn no_acl(id: &str) -> ApiError {
    error("InvalidNetworkAclID.NotFound", format!("The networkAcl ID '{id}' does not exist"))
}

/// The VPC with this id.
pub(super) fn vpc(context: &Context<'_>, id: &str) -> Result<Arc<Vpc>, ApiError> {
    context.network().vpc(id).ok_or_else(|| no_vpc(id))
}

/// The subnet with this id.
pub(super) fn subnet(context: &Context<'_>, id: &str) -> Result<Arc<VpcSubnet>, ApiError> {
    context.network().subnet(id).ok_or_else(|| no_subnet(id))
}

/// The security group with this id.
pub(super) fn group(context: &Context<'_>, id: &str) -> Result<Arc<SecurityGroup>, ApiError> {
    if !id.starts_with("sg-") {
        let message = format!("Invalid id: \"{id}\" (expecting \"sg-...\")");
        return Err(error("InvalidGroupId.Malformed", message));
    }
    context.network().security_group(id).ok_or_else(|| no_group(id))
}

/// The internet gateway with this id.
pub(super) fn gateway(context: &Context<'_>, id: &str) -> Result<Arc<InternetGateway>, ApiError> {
    context.network().internet_gateway(id).ok_or_else(|| no_gateway(id))
}

/// The route table with this id.
pub(super) fn table(context: &Context<'_>, id: &str) -> Result<Arc<RouteTable>, ApiError> {
    context.network().route_table(id).ok_or_else(|| no_table(id))
}
