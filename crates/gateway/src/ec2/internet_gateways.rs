//! Internet gateways.

use super::filter::{Values, one};
use super::listing::{Asked, Kind, list, tag_values};
use super::resource::{change, gateway, in_use, invalid, no_gateway, required, vpc};
use super::{error, tags};
use crate::context::{Context, Outcome, Result as Answer};
use wharf_model::network::resource::InternetGateway;
use wharf_model::{RecordKey, Transaction};
use wharf_wire::Empty;
use wharf_wire::ec2::types::{
    self, AttachInternetGatewayRequest, CreateInternetGatewayRequest, CreateInternetGatewayResult,
    DeleteInternetGatewayRequest, DescribeInternetGatewaysRequest, DescribeInternetGatewaysResult,
    DetachInternetGatewayRequest, InternetGatewayAttachment,
};

const FILTERS: &[&str] =
    &["attachment.state", "attachment.vpc-id", "internet-gateway-id", "owner-id"];

fn view(context: &Context<'_>, record: &InternetGateway) -> types::InternetGateway {
    let attachment = |vpc_id: &String| InternetGatewayAttachment {
        // What EC2 says of an internet gateway, though its model knows "attached" only.
        state: Some("available".into()),
        vpc_id: Some(vpc_id.clone()),
    };
    types::InternetGateway {
        attachments: Some(record.vpc_id.iter().map(attachment).collect()),
        internet_gateway_id: Some(record.id.clone()),
        owner_id: Some(context.account().to_owned()),
        tags: tags::shown(&record.tags),
    }
}

/// CreateInternetGateway.
pub fn create(
    context: &Context<'_>,
    input: &CreateInternetGatewayRequest,
) -> Answer<CreateInternetGatewayResult> {
    let made = InternetGateway {
        id: format!("igw-{}", context.ids().hex17()),
        vpc_id: None,
        tags: tags::at_creation(input.tag_specifications.as_ref(), "internet-gateway")?,
    };
    let internet_gateway = Some(view(context, &made));
    let mut transaction = Transaction::new();
    transaction.put(made);
    change(context, CreateInternetGatewayResult { internet_gateway }, transaction)
}

/// DescribeInternetGateways.
pub fn describe(
    context: &Context<'_>,
    input: &DescribeInternetGatewaysRequest,
) -> Answer<DescribeInternetGatewaysResult> {
    let gateways = context.network().internet_gateways();
    let gateways = gateways.iter().map(|g| view(context, g)).collect();
    let kind = Kind {
        filters: FILTERS,
        id: |g: &types::InternetGateway| g.internet_gateway_id.as_ref(),
        not_found: no_gateway,
    };
    let asked = Asked {
        ids: input.internet_gateway_ids.as_ref(),
        filters: input.filters.as_ref(),
        max_results: input.max_results,
        next_token: input.next_token.as_ref(),
    };
    let value = |g: &types::InternetGateway, name: &str| -> Values {
        let attachments = || g.attachments.iter().flatten();
        match name {
            "attachment.state" => Some(attachments().map(|_| "available".to_owned()).collect()),
            "attachment.vpc-id" => Some(attachments().filter_map(|a| a.vpc_id.clone()).collect()),
            "internet-gateway-id" => Some(g.internet_gateway_id.iter().cloned().collect()),
            "owner-id" => one(context.account()),
            _ => tag_values(g.tags.as_ref(), name),
        }
    };
    let (items, next_token) = list(&kind, gateways, &asked, value)?;
    Ok(Outcome::read(DescribeInternetGatewaysResult { internet_gateways: Some(items), next_token }))
}

/// AttachInternetGateway.
pub fn attach(context: &Context<'_>, input: &AttachInternetGatewayRequest) -> Answer<Empty> {
    let found = gateway(context, required(&input.internet_gateway_id, "internetGatewayId")?)?;
    let vpc = vpc(context, required(&input.vpc_id, "vpcId")?)?;
    if let Some(other) = &found.vpc_id {
        return Err(error(
            "Resource.AlreadyAssociated",
            format!("resource {} is already attached to network {other}", found.id),
        ));
    }
    let mut others = context.network().internet_gateways().into_iter();
    if others.any(|g| g.vpc_id.as_ref() == Some(&vpc.id)) {
        return Err(invalid(format!(
            "Network {} already has an internet gateway attached",
            vpc.id
        )));
    }
    let mut transaction = Transaction::new();
    transaction.put(InternetGateway { vpc_id: Some(vpc.id.clone()), ..found.as_ref().clone() });
    change(context, Empty::default(), transaction)
}

/// DetachInternetGateway.
pub fn detach(context: &Context<'_>, input: &DetachInternetGatewayRequest) -> Answer<Empty> {
    let found = gateway(context, required(&input.internet_gateway_id, "internetGatewayId")?)?;
    let vpc = vpc(context, required(&input.vpc_id, "vpcId")?)?;
    if found.vpc_id.as_ref() != Some(&vpc.id) {
        return Err(error(
            "Gateway.NotAttached",
            format!("resource {} is not attached to network {}", found.id, vpc.id),
        ));
    }
    if vpc.is_default {
        let message = format!("The built-in VPC '{}' keeps its internet gateway.", vpc.id);
        return Err(error("OperationNotPermitted", message));
    }
    let mut transaction = Transaction::new();
    transaction.put(InternetGateway { vpc_id: None, ..found.as_ref().clone() });
    change(context, Empty::default(), transaction)
}

/// DeleteInternetGateway.
pub fn delete(context: &Context<'_>, input: &DeleteInternetGatewayRequest) -> Answer<Empty> {
    let found = gateway(context, required(&input.internet_gateway_id, "internetGatewayId")?)?;
    if found.vpc_id.is_some() {
        return Err(in_use("internetGateway", &found.id));
    }
    let mut transaction = Transaction::new();
    transaction.delete(RecordKey::InternetGateway(found.id.clone()));
    change(context, Empty::default(), transaction)
}
