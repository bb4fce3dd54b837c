//! The shapes of the AWS APIs that wharf speaks, and the codecs of their wire protocols.
//!
//! A codec turns bytes into a [`Document`] along a [`Schema`] and back; typed shapes stand on
//! documents by [`Shape`]. So a codec never knows a service and a service never knows a protocol.
//! Shapes are generated from the public service models by `cargo xtask codegen`; nothing here knows
//! the domain.

pub mod acs;
mod agent_message;
mod document;
pub mod ec2query;
mod error;
mod form;
mod generated;
pub mod json;
pub mod query;
mod schema;
mod shape;
pub mod tcs;
mod timestamp;
pub mod validation;
mod xml;

pub use document::Document;
pub use error::{DecodeError, DecodeReason, Fault, UnknownOperation};
pub use form::{Form, MAX_PARAMETERS};
pub use generated::{acm, ec2, ecr, ecs, elbv2, iam, logs, secretsmanager, ssm, sts};
pub use schema::{
    Constraints, Kind, List, Map, Member, Namespace, Schema, SchemaRef, TimestampFormat,
};
pub use shape::{Blob, OperationShape, Shape, Value};
pub use timestamp::Timestamp;

/// A service as its requests name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    /// The service's short name (`ecs`).
    pub name: &'static str,
    /// The API version (`2014-11-13`).
    pub api_version: &'static str,
    /// The service's name in a credential scope.
    pub signing_name: &'static str,
    /// What stands before the operation in `X-Amz-Target`; empty outside awsJson.
    pub target_prefix: &'static str,
    /// The namespace of XML answers; empty outside Query and EC2 Query.
    pub xml_namespace: &'static str,
}

shape::structure! {
    /// The input or output of an operation that has none.
    Empty: schema::prelude::EMPTY {}
}

/// How deep a message may nest: far beyond every model, far below a stack's end.
pub const MAX_DEPTH: usize = 64;
