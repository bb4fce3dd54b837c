//! Route tables: made, listed, deleted, and whose they are. Their routes are in [`super::routes`].

use super::filter::{Values, one};
use super::listing::{Asked, Kind, list, tag_values};
use super::resource::{
    change, in_use, invalid, no_table, refuse, required, subnet, table, unsupported, vpc,
};
use super::{error, tags};
use crate::context::{Context, Outcome, Result as Answer};
use crate::error::ApiError;
use std::sync::Arc;
use wharf_model::network::resource::{RouteTable, RouteTableAssociation};
use wharf_model::{RecordKey, Transaction};
use wharf_wire::Empty;
use wharf_wire::ec2::types::{
    self, AssociateRouteTableRequest, AssociateRouteTableResult, CreateRouteTableRequest,
    CreateRouteTableResult, DeleteRouteTableRequest, DescribeRouteTablesRequest,
    DescribeRouteTablesResult, DisassociateRouteTableRequest, ReplaceRouteTableAssociationRequest,
    ReplaceRouteTableAssociationResult, RouteTableAssociationState,
};

const FILTERS: &[&str] = &[
    "association.gateway-id",
    "association.main",
    "association.route-table-association-id",
    "association.route-table-id",
    "association.subnet-id",
    "owner-id",
    "route-table-id",
    "route.destination-cidr-block",
    "route.gateway-id",
    "route.origin",
    "route.state",
    "vpc-id",
];

fn associated() -> Option<RouteTableAssociationState> {
    Some(RouteTableAssociationState { state: Some("associated".into()), status_message: None })
}

fn view(context: &Context<'_>, record: &RouteTable) -> types::RouteTable {
    let association = |a: &RouteTableAssociation| types::RouteTableAssociation {
        main: Some(a.subnet_id.is_none()),
        route_table_association_id: Some(a.id.clone()),
        route_table_id: Some(record.id.clone()),
        subnet_id: a.subnet_id.clone(),
        association_state: associated(),
        ..types::RouteTableAssociation::default()
    };
    let network = context.network();
    let gateways = network.internet_gateways();
    let local = network.vpc(&record.vpc_id).map(|vpc| types::Route {
        destination_cidr_block: Some(vpc.range.to_string()),
        gateway_id: Some("local".to_owned()),
        origin: Some("CreateRouteTable".into()),
        state: Some("active".into()),
        ..types::Route::default()
    });
    let others = record.routes.iter().map(|route| {
        let attached = gateways
            .iter()
            .any(|g| g.id == route.gateway_id && g.vpc_id.as_ref() == Some(&record.vpc_id));
        types::Route {
            destination_cidr_block: Some(route.destination.to_string()),
            gateway_id: Some(route.gateway_id.clone()),
            origin: Some("CreateRoute".into()),
            state: Some(if attached { "active" } else { "blackhole" }.into()),
            ..types::Route::default()
        }
    });
    types::RouteTable {
        associations: Some(record.associations.iter().map(association).collect()),
        propagating_vgws: Some(Vec::new()),
        route_table_id: Some(record.id.clone()),
        routes: Some(local.into_iter().chain(others).collect()),
        tags: tags::shown(&record.tags),
        vpc_id: Some(record.vpc_id.clone()),
        owner_id: Some(context.account().to_owned()),
    }
}

/// CreateRouteTable.
pub fn create(
    context: &Context<'_>,
    input: &CreateRouteTableRequest,
) -> Answer<CreateRouteTableResult> {
    let vpc = vpc(context, required(&input.vpc_id, "vpcId")?)?;
    // The token that clients make up for repeated requests: the first one's table is found by it.
    let token = input.client_token.as_deref().filter(|t| !t.is_empty());
    let mut ids = match token {
        Some(token) => wharf_model::IdSource::new(digest(token)),
        None => context.ids(),
    };
    let id = format!("rtb-{}", ids.hex17());
    if let Some(known) = context.network().route_table(&id) {
        let output = CreateRouteTableResult {
            route_table: Some(view(context, &known)),
            client_token: input.client_token.clone(),
        };
        return Ok(Outcome::read(output));
    }
    let made = RouteTable {
        id,
        vpc_id: vpc.id.clone(),
        routes: Vec::new(),
        associations: Vec::new(),
        tags: tags::at_creation(input.tag_specifications.as_ref(), "route-table")?,
    };
    let output = CreateRouteTableResult {
        route_table: Some(view(context, &made)),
        client_token: input.client_token.clone(),
    };
    let mut transaction = Transaction::new();
    transaction.put(made);
    change(context, output, transaction)
}

fn digest(token: &str) -> u64 {
    token.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// DescribeRouteTables.
pub fn describe(
    context: &Context<'_>,
    input: &DescribeRouteTablesRequest,
) -> Answer<DescribeRouteTablesResult> {
    let tables = context.network().route_tables();
    let tables = tables.iter().map(|t| view(context, t)).collect();
    let kind = Kind {
        filters: FILTERS,
        id: |t: &types::RouteTable| t.route_table_id.as_ref(),
        not_found: no_table,
    };
    let asked = Asked {
        ids: input.route_table_ids.as_ref(),
        filters: input.filters.as_ref(),
        max_results: input.max_results,
        next_token: input.next_token.as_ref(),
    };
    let (items, next_token) = list(&kind, tables, &asked, |t, name| value(context, t, name))?;
    Ok(Outcome::read(DescribeRouteTablesResult { route_tables: Some(items), next_token }))
}

fn value(context: &Context<'_>, table: &types::RouteTable, name: &str) -> Values {
    let associations = || table.associations.iter().flatten();
    let routes = || table.routes.iter().flatten();
    match name {
        "association.gateway-id" => Some(Vec::new()),
        "association.main" => {
            Some(associations().map(|a| a.main.unwrap_or(false).to_string()).collect())
        }
        "association.route-table-association-id" => {
            Some(associations().filter_map(|a| a.route_table_association_id.clone()).collect())
        }
        "association.route-table-id" => {
            Some(associations().filter_map(|a| a.route_table_id.clone()).collect())
        }
        "association.subnet-id" => {
            Some(associations().filter_map(|a| a.subnet_id.clone()).collect())
        }
        "owner-id" => one(context.account()),
        "route-table-id" => Some(table.route_table_id.iter().cloned().collect()),
        "route.destination-cidr-block" => {
            Some(routes().filter_map(|r| r.destination_cidr_block.clone()).collect())
        }
        "route.gateway-id" => Some(routes().filter_map(|r| r.gateway_id.clone()).collect()),
        "route.origin" => {
            Some(routes().filter_map(|r| Some(r.origin.as_ref()?.as_str().to_owned())).collect())
        }
        "route.state" => {
            Some(routes().filter_map(|r| Some(r.state.as_ref()?.as_str().to_owned())).collect())
        }
        "vpc-id" => Some(table.vpc_id.iter().cloned().collect()),
        _ => tag_values(table.tags.as_ref(), name),
    }
}

/// DeleteRouteTable.
pub fn delete(context: &Context<'_>, input: &DeleteRouteTableRequest) -> Answer<Empty> {
    let found = table(context, required(&input.route_table_id, "routeTableId")?)?;
    if !found.associations.is_empty() {
        return Err(in_use("routeTable", &found.id));
    }
    let mut transaction = Transaction::new();
    transaction.delete(RecordKey::RouteTable(found.id.clone()));
    change(context, Empty::default(), transaction)
}

/// AssociateRouteTable.
pub fn associate(
    context: &Context<'_>,
    input: &AssociateRouteTableRequest,
) -> Answer<AssociateRouteTableResult> {
    refuse(&[
        ("gatewayId", input.gateway_id.is_some()),
        ("publicIpv4Pool", input.public_ipv4_pool.is_some()),
    ])?;
    let mut table =
        table(context, required(&input.route_table_id, "routeTableId")?)?.as_ref().clone();
    let subnet = subnet(context, required(&input.subnet_id, "subnetId")?)?;
    if subnet.vpc_id != table.vpc_id {
        return Err(invalid(format!(
            "Route table {} and subnet {} belong to different networks",
            table.id, subnet.id
        )));
    }
    for other in context.network().route_tables() {
        let own = other.associations.iter().find(|a| a.subnet_id.as_ref() == Some(&subnet.id));
        let Some(own) = own else { continue };
        if other.id == table.id {
            return Ok(Outcome::read(AssociateRouteTableResult {
                association_id: Some(own.id.clone()),
                association_state: associated(),
            }));
        }
        return Err(error(
            "Resource.AlreadyAssociated",
            format!(
                "the specified association for route table {} conflicts with an existing \
                 association",
                table.id
            ),
        ));
    }
    let id = format!("rtbassoc-{}", context.ids().hex17());
    table
        .associations
        .push(RouteTableAssociation { id: id.clone(), subnet_id: Some(subnet.id.clone()) });
    let mut transaction = Transaction::new();
    transaction.put(table);
    let output =
        AssociateRouteTableResult { association_id: Some(id), association_state: associated() };
    change(context, output, transaction)
}

/// The table that has this association, and the association.
fn association(
    context: &Context<'_>,
    id: &str,
) -> Result<(Arc<RouteTable>, RouteTableAssociation), ApiError> {
    for table in context.network().route_tables() {
        if let Some(found) = table.associations.iter().find(|a| a.id == id).cloned() {
            return Ok((table, found));
        }
    }
    let message = format!("The association ID '{id}' does not exist");
    Err(error("InvalidAssociationID.NotFound", message))
}

/// DisassociateRouteTable.
pub fn disassociate(context: &Context<'_>, input: &DisassociateRouteTableRequest) -> Answer<Empty> {
    let (table, found) = association(context, required(&input.association_id, "associationId")?)?;
    if found.subnet_id.is_none() {
        return Err(invalid(format!(
            "cannot disassociate the main route table association {}",
            found.id
        )));
    }
    let mut table = table.as_ref().clone();
    table.associations.retain(|a| a.id != found.id);
    let mut transaction = Transaction::new();
    transaction.put(table);
    change(context, Empty::default(), transaction)
}

/// ReplaceRouteTableAssociation: another table for a subnet, or for the VPC.
pub fn replace_association(
    context: &Context<'_>,
    input: &ReplaceRouteTableAssociationRequest,
) -> Answer<ReplaceRouteTableAssociationResult> {
    let (old, found) = association(context, required(&input.association_id, "associationId")?)?;
    let new = table(context, required(&input.route_table_id, "routeTableId")?)?;
    if old.vpc_id != new.vpc_id {
        return Err(unsupported("An association with a route table of another VPC"));
    }
    let id = format!("rtbassoc-{}", context.ids().hex17());
    let mut transaction = Transaction::new();
    let mut old = old.as_ref().clone();
    old.associations.retain(|a| a.id != found.id);
    let mut new = if new.id == old.id { old.clone() } else { new.as_ref().clone() };
    new.associations.push(RouteTableAssociation { id: id.clone(), subnet_id: found.subnet_id });
    transaction.put(old);
    transaction.put(new);
    let output = ReplaceRouteTableAssociationResult {
        new_association_id: Some(id),
        association_state: associated(),
    };
    change(context, output, transaction)
}
