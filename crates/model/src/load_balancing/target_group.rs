//! Target groups, their targets, and what a balancer says of them.

use super::attributes::{self, Attribute};
use super::listener::Protocol;
use crate::tag::Tag;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// `ProtocolVersion` of a target group of HTTP or HTTPS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ProtocolVersion {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// gRPC.
    Grpc,
}

impl ProtocolVersion {
    /// The API's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP1",
            Self::Http2 => "HTTP2",
            Self::Grpc => "GRPC",
        }
    }
}

/// `TargetType` of a target group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetType {
    /// Targets are instances of EC2, by id.
    Instance,
    /// Targets are addresses.
    Ip,
}

impl TargetType {
    /// The API's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Ip => "ip",
        }
    }
}

/// How the targets of a group are checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// Off only where the API allows it.
    pub enabled: bool,
    /// HTTP, HTTPS or TCP.
    pub protocol: Protocol,
    /// `None` is the port on which the target takes traffic (API `traffic-port`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Path, or the gRPC method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Codes of a success: API `Matcher`'s HttpCode or GrpcCode, such as `200,300-399`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matcher: Option<String>,
    /// Seconds between two checks.
    pub interval_seconds: u32,
    /// Seconds for an answer.
    pub timeout_seconds: u32,
    /// Successes in a row until an unhealthy target counts as healthy.
    pub healthy_threshold: u32,
    /// Failures in a row until a healthy target counts as unhealthy.
    pub unhealthy_threshold: u32,
}

/// A target group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetGroup {
    /// Its name.
    pub name: String,
    /// 16 hex digits, never used again.
    pub id: String,
    /// How targets are spoken to.
    pub protocol: Protocol,
    /// With HTTP and HTTPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<ProtocolVersion>,
    /// Port of targets that are registered without one.
    pub port: u16,
    /// API `VpcId`.
    pub vpc_id: String,
    /// What targets are.
    pub target_type: TargetType,
    /// API `IpAddressType`: ipv4 or ipv6.
    pub ip_address_type: String,
    /// How targets are checked.
    pub health_check: HealthCheck,
    /// When it was made.
    pub created_at: Timestamp,
    /// Attributes that differ from their defaults.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// Its tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
}

impl TargetGroup {
    /// What its ARN ends in behind `targetgroup/`, and what it is filed under: `NAME/ID`.
    pub fn path(&self) -> String {
        format!("{}/{}", self.name, self.id)
    }

    /// The attributes that target groups of its protocol have.
    pub fn attributes(&self) -> &'static [Attribute] {
        attributes::attributes_of_target_group(self.protocol)
    }

    /// How long connections to its deregistered targets may stay.
    pub fn deregistration_delay(&self) -> Duration {
        let seconds = self.attribute("deregistration_delay.timeout_seconds").parse();
        Duration::from_secs(seconds.unwrap_or(300))
    }

    /// The value of an attribute: as it was set, else its default; empty if there is no such.
    pub fn attribute(&self, key: &str) -> &str {
        attributes::value(&self.attributes, self.attributes(), key)
    }
}

/// What tells a target from the others of its group: API `Id` and `Port`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TargetKey {
    /// Id of the group (not its path).
    #[serde(rename = "g")]
    pub target_group: String,
    /// An address, or the id of an instance.
    #[serde(rename = "i")]
    pub id: String,
    /// Its port.
    #[serde(rename = "p")]
    pub port: u16,
}

impl fmt::Display for TargetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.target_group, self.id, self.port)
    }
}

/// A target that is registered with a group, or was and still drains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Which one.
    #[serde(flatten)]
    pub key: TargetKey,
    /// Where connections go to; the instance's address where the target is an instance.
    #[serde(rename = "a")]
    pub address: IpAddr,
    /// API `AvailabilityZone`.
    #[serde(rename = "z", default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// When it was registered.
    #[serde(rename = "r")]
    pub registered_at: Timestamp,
    /// When it was deregistered: it takes no new connections, and goes once it has drained or its
    /// deregistration delay is over.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub deregistered_at: Option<Timestamp>,
}

/// API `TargetHealthStateEnum`, as far as wharf's balancers know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthState {
    /// Being registered, or its first checks are under way.
    Initial,
    /// Takes traffic.
    Healthy,
    /// Failed its checks.
    Unhealthy,
    /// No listener uses its group, or it isn't registered.
    Unused,
    /// Deregistered, finishes what it has.
    Draining,
    /// Health checks are off.
    Unavailable,
}

impl HealthState {
    /// The API's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Unused => "unused",
            Self::Draining => "draining",
            Self::Unavailable => "unavailable",
        }
    }
}

/// API `TargetHealthReasonEnum`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HealthReason {
    /// `Elb.RegistrationInProgress`
    RegistrationInProgress,
    /// `Elb.InitialHealthChecking`
    InitialHealthChecking,
    /// `Target.ResponseCodeMismatch`
    ResponseCodeMismatch,
    /// `Target.Timeout`
    Timeout,
    /// `Target.FailedHealthChecks`
    FailedHealthChecks,
    /// `Target.NotRegistered`
    NotRegistered,
    /// `Target.NotInUse`
    NotInUse,
    /// `Target.DeregistrationInProgress`
    DeregistrationInProgress,
    /// `Target.IpUnusable`
    IpUnusable,
    /// `Target.HealthCheckDisabled`
    HealthCheckDisabled,
    /// `Elb.InternalError`
    InternalError,
}

impl HealthReason {
    /// The API's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RegistrationInProgress => "Elb.RegistrationInProgress",
            Self::InitialHealthChecking => "Elb.InitialHealthChecking",
            Self::ResponseCodeMismatch => "Target.ResponseCodeMismatch",
            Self::Timeout => "Target.Timeout",
            Self::FailedHealthChecks => "Target.FailedHealthChecks",
            Self::NotRegistered => "Target.NotRegistered",
            Self::NotInUse => "Target.NotInUse",
            Self::DeregistrationInProgress => "Target.DeregistrationInProgress",
            Self::IpUnusable => "Target.IpUnusable",
            Self::HealthCheckDisabled => "Target.HealthCheckDisabled",
            Self::InternalError => "Elb.InternalError",
        }
    }
}

/// What a balancer says of a target. Soft state: no record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetHealth {
    /// Its state.
    pub state: HealthState,
    /// Why; none if it is healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<HealthReason>,
    /// In words; none if it is healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}
