//! CreateRoute, ReplaceRoute, DeleteRoute. Routes lead to internet gateways alone.

use super::error;
use super::resource::{change, invalid, missing, table, unsupported, vpc};
use super::resource::{gateway, required};
use crate::context::{Context, Result as Answer};
use crate::error::ApiError;
use wharf_model::Transaction;
use wharf_model::network::Ipv4Range;
use wharf_model::network::resource::{Route, RouteTable};
use wharf_wire::Empty;
use wharf_wire::ec2::types::{
    CreateRouteRequest, CreateRouteResult, DeleteRouteRequest, ReplaceRouteRequest,
};

/// The targets that routes don't have here, by name; none of them may be there.
macro_rules! refuse_targets {
    ($input:expr) => {
        super::resource::refuse(&[
            ("vpcEndpointId", $input.vpc_endpoint_id.is_some()),
            ("transitGatewayId", $input.transit_gateway_id.is_some()),
            ("localGatewayId", $input.local_gateway_id.is_some()),
            ("carrierGatewayId", $input.carrier_gateway_id.is_some()),
            ("coreNetworkArn", $input.core_network_arn.is_some()),
            ("odbNetworkArn", $input.odb_network_arn.is_some()),
            ("egressOnlyInternetGatewayId", $input.egress_only_internet_gateway_id.is_some()),
            ("instanceId", $input.instance_id.is_some()),
            ("networkInterfaceId", $input.network_interface_id.is_some()),
            ("vpcPeeringConnectionId", $input.vpc_peering_connection_id.is_some()),
            ("natGatewayId", $input.nat_gateway_id.is_some()),
            ("destinationIpv6CidrBlock", $input.destination_ipv6_cidr_block.is_some()),
            ("destinationPrefixListId", $input.destination_prefix_list_id.is_some()),
        ])
    };
}

fn destination(text: &Option<String>) -> Result<Ipv4Range, ApiError> {
    let text = text.as_deref().ok_or_else(|| missing("destinationCidrBlock"))?;
    Ipv4Range::parse_canonical(text).ok_or_else(|| {
        invalid(format!(
            "Value ({text}) for parameter destinationCidrBlock is invalid. This is not a valid \
             CIDR block."
        ))
    })
}

/// The route that a request asks for in `table`.
fn route(
    context: &Context<'_>,
    table: &RouteTable,
    to: &Option<String>,
    by: &Option<String>,
) -> Result<Route, ApiError> {
    let destination = destination(to)?;
    let range = vpc(context, &table.vpc_id)?.range;
    if range.covers(destination) {
        return Err(invalid(format!(
            "The destination CIDR block {destination} is equal to or more specific than one of \
             this VPC's CIDR blocks. This route can target only an interface or an instance."
        )));
    }
    let id = required(by, "gatewayId")?;
    if !id.starts_with("igw-") {
        return Err(unsupported(&format!("A route to gateway '{id}'")));
    }
    let gateway = gateway(context, id)?;
    if gateway.vpc_id.as_ref() != Some(&table.vpc_id) {
        return Err(invalid(format!(
            "route table {} and network gateway {id} belong to different networks",
            table.id
        )));
    }
    Ok(Route { destination, gateway_id: id.to_owned() })
}

/// CreateRoute.
pub fn create(context: &Context<'_>, input: &CreateRouteRequest) -> Answer<CreateRouteResult> {
    refuse_targets!(input)?;
    let mut table =
        table(context, required(&input.route_table_id, "routeTableId")?)?.as_ref().clone();
    let route = route(context, &table, &input.destination_cidr_block, &input.gateway_id)?;
    if table.routes.iter().any(|r| r.destination == route.destination) {
        return Err(error(
            "RouteAlreadyExists",
            format!("The route identified by {} already exists.", route.destination),
        ));
    }
    table.routes.push(route);
    let mut transaction = Transaction::new();
    transaction.put(table);
    change(context, CreateRouteResult { r#return: Some(true) }, transaction)
}

fn no_route(table: &RouteTable, destination: Ipv4Range) -> ApiError {
    error(
        "InvalidRoute.NotFound",
        format!("no route with destination-cidr-block {destination} in route table {}", table.id),
    )
}

/// ReplaceRoute.
pub fn replace(context: &Context<'_>, input: &ReplaceRouteRequest) -> Answer<Empty> {
    refuse_targets!(input)?;
    super::resource::refuse(&[("localTarget", input.local_target == Some(true))])?;
    let mut table =
        table(context, required(&input.route_table_id, "routeTableId")?)?.as_ref().clone();
    let route = route(context, &table, &input.destination_cidr_block, &input.gateway_id)?;
    let old = table.routes.iter().position(|r| r.destination == route.destination);
    let Some(index) = old else { return Err(no_route(&table, route.destination)) };
    table.routes[index] = route;
    let mut transaction = Transaction::new();
    transaction.put(table);
    change(context, Empty::default(), transaction)
}

/// DeleteRoute.
pub fn delete(context: &Context<'_>, input: &DeleteRouteRequest) -> Answer<Empty> {
    let mut table =
        table(context, required(&input.route_table_id, "routeTableId")?)?.as_ref().clone();
    let destination = destination(&input.destination_cidr_block)?;
    if vpc(context, &table.vpc_id)?.range == destination {
        let message =
            format!("cannot remove local route {destination} in route table {}", table.id);
        return Err(invalid(message));
    }
    let Some(index) = table.routes.iter().position(|r| r.destination == destination) else {
        return Err(no_route(&table, destination));
    };
    table.routes.remove(index);
    let mut transaction = Transaction::new();
    transaction.put(table);
    change(context, Empty::default(), transaction)
}
