//! The services that are called by a form with `Action`: STS, IAM and ELB by Query, EC2 by its own dialect.

use crate::app::App;
use crate::authorize::{Asked, authorize};
use crate::dispatch::Call;
use crate::error::ApiError;
use crate::identity::Verified;
use crate::protocol::Protocol;
use crate::{ec2, elbv2, iam, sts};
use std::sync::Arc;
use wharf_wire::{DecodeError, Document, Form, Schema, Service, ec2query, query};

/// One of these services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QueryService {
    /// Security Token Service.
    Sts,
    /// Identity and Access Management.
    Iam,
    /// Elastic Load Balancing, version 2.
    Elb,
    /// The part of EC2 that shows the built-in network.
    Ec2,
}

/// An operation of one of them.
#[derive(Debug, Clone, Copy)]
enum Operation {
    Sts(wharf_wire::sts::Operation),
    Iam(wharf_wire::iam::Operation),
    Elb(wharf_wire::elbv2::Operation),
    Ec2(wharf_wire::ec2::Operation),
}

impl QueryService {
    /// The service with this signing name.
    pub(crate) fn of(signing_name: &str) -> Option<Self> {
        match signing_name {
            "sts" => Some(Self::Sts),
            "iam" => Some(Self::Iam),
            "elasticloadbalancing" => Some(Self::Elb),
            "ec2" => Some(Self::Ec2),
            _ => None,
        }
    }

    /// Its protocol.
    pub(crate) const fn protocol(self) -> Protocol {
        match self {
            Self::Sts | Self::Iam | Self::Elb => Protocol::Query,
            Self::Ec2 => Protocol::Ec2Query,
        }
    }

    /// The service as its requests name it.
    pub(crate) const fn service(self) -> Service {
        match self {
            Self::Sts => wharf_wire::sts::SERVICE,
            Self::Iam => wharf_wire::iam::SERVICE,
            Self::Elb => wharf_wire::elbv2::SERVICE,
            Self::Ec2 => wharf_wire::ec2::SERVICE,
        }
    }

    fn operation(self, action: &str) -> Option<Operation> {
        match self {
            Self::Sts => action.parse().ok().map(Operation::Sts),
            Self::Iam => action.parse().ok().map(Operation::Iam),
            Self::Elb => action.parse().ok().map(Operation::Elb),
            Self::Ec2 => action.parse().ok().map(Operation::Ec2),
        }
    }

    fn decode(self, schema: &'static Schema, form: &Form) -> Result<Document, DecodeError> {
        match self {
            Self::Sts | Self::Iam | Self::Elb => query::decode(schema, form),
            Self::Ec2 => ec2query::decode(schema, form),
        }
    }

    fn encode(self, name: &str, schema: &Schema, output: &Document, request_id: &str) -> Vec<u8> {
        match self {
            Self::Sts | Self::Iam | Self::Elb => {
                query::encode(&self.service(), name, schema, output, request_id)
            }
            Self::Ec2 => ec2query::encode(&self.service(), name, schema, output, request_id),
        }
    }
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Sts(operation) => operation.as_str(),
            Self::Iam(operation) => operation.as_str(),
            Self::Elb(operation) => operation.as_str(),
            Self::Ec2(operation) => operation.as_str(),
        }
    }

    fn input_schema(self) -> &'static Schema {
        match self {
            Self::Sts(operation) => operation.input_schema(),
            Self::Iam(operation) => operation.input_schema(),
            Self::Elb(operation) => operation.input_schema(),
            Self::Ec2(operation) => operation.input_schema(),
        }
    }
}

/// Runs the call in `parameters` (a form body, or the query of a GET). The operation's name goes
/// to `name` as soon as it is known.
pub(crate) async fn call(
    app: &Arc<App>,
    service: QueryService,
    parameters: &[u8],
    identity: &Verified,
    request_id: &str,
    name: &mut &'static str,
) -> Result<Vec<u8>, ApiError> {
    let form = Form::parse(parameters).map_err(|e| malformed(service, &e))?;
    let Some(action) = form.get("Action") else {
        return Err(ApiError::new(
            "MissingAction",
            400,
            "The request must contain the parameter Action.",
        ));
    };
    let version = service.service().api_version;
    if let Some(other) = form.get("Version").filter(|v| *v != version) {
        return Err(ApiError::new(
            "NoSuchVersion",
            400,
            format!(
                "The requested version ({other}) of service {} does not exist",
                service.service().name
            ),
        ));
    }
    let Some(operation) = service.operation(action) else {
        return Err(invalid_action(service, action, version));
    };
    *name = operation.name();
    let input = operation.input_schema();
    let input = service.decode(input, &form).map_err(|e| malformed(service, &e))?;
    let asked = Asked {
        service: service.service().signing_name,
        operation: operation.name(),
        input: &input,
    };
    authorize(app, identity, asked)?;
    let (name, request_id) = (operation.name(), request_id.to_owned());
    let encode = Box::new(move |schema: &Schema, output: &Document| {
        service.encode(name, schema, output, &request_id)
    });
    let call = Call { app, identity, now: app.now(), seed: rand::random(), input, encode };
    match operation {
        Operation::Sts(operation) => sts::dispatch(operation, call).await,
        Operation::Iam(operation) => iam::dispatch(operation, call).await,
        Operation::Elb(operation) => elbv2::dispatch(operation, call).await,
        Operation::Ec2(operation) => ec2::dispatch(operation, call).await,
    }
}

/// A name that is no operation here, and perhaps one of AWS's that isn't built.
fn invalid_action(service: QueryService, action: &str, version: &str) -> ApiError {
    let action: String = action.chars().take(128).collect();
    match service {
        QueryService::Iam if wharf_wire::iam::OTHER_OPERATIONS.contains(&action.as_str()) => {
            iam::not_built(&action)
        }
        QueryService::Sts if wharf_wire::sts::OTHER_OPERATIONS.contains(&action.as_str()) => {
            iam::not_built(&action)
        }
        QueryService::Elb if wharf_wire::elbv2::OTHER_OPERATIONS.contains(&action.as_str()) => {
            elbv2::not_built(&action)
        }
        QueryService::Sts | QueryService::Iam | QueryService::Elb => ApiError::new(
            "InvalidAction",
            400,
            format!("Could not find operation {action} for version {version} on this server."),
        ),
        QueryService::Ec2 => ApiError::new(
            "InvalidAction",
            400,
            format!(
                "The action {action} is not valid for this web service: this server has the part \
                 of EC2 that networks and security groups need."
            ),
        ),
    }
}

fn malformed(service: QueryService, error: &DecodeError) -> ApiError {
    let code = match service {
        QueryService::Sts | QueryService::Iam => "MalformedInput",
        QueryService::Elb => "ValidationError",
        QueryService::Ec2 => "InvalidParameterValue",
    };
    ApiError::new(code, 400, error.to_string())
}
