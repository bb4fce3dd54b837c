//! Records of Elastic Load Balancing: load balancers, their listeners and rules, target groups and
//! their targets, certificates and trust stores.
//!
//! They are what the API keeps and what a balancer carries out: the server streams them as they are.
//! Each is filed under the path that its ARN ends in, so that what belongs to a load balancer lies
//! behind it.

mod arn;
mod attributes;
mod certificate;
mod configuration;
mod listener;
mod load_balancer;
mod metrics;
mod rule;
pub mod ssl_policy;
mod target_group;

pub use arn::Resource;
pub use attributes::{
    Attribute, AttributeValue, attributes_of_listener, attributes_of_load_balancer,
    attributes_of_target_group,
};
pub use certificate::{Certificate, TrustStore};
pub use configuration::{Configuration, Item, ItemKey, KeyPair, ListenerStatus, Report, Update};
pub use listener::{Listener, MutualAuthentication, MutualAuthenticationMode, Protocol};
pub use load_balancer::{LoadBalancer, LoadBalancerType, Scheme};
pub use metrics::{Counts, Distribution, METRICS, Meter, MeterKey, Metric};
pub use rule::{
    Action, Condition, FixedResponse, Forward, Redirect, Rewrite, Rule, Transform, TransformKind,
    WeightedTargetGroup,
};
pub use target_group::{
    HealthCheck, HealthReason, HealthState, ProtocolVersion, Target, TargetGroup, TargetHealth,
    TargetKey, TargetType,
};

/// Service name in the ARNs of Elastic Load Balancing.
pub const SERVICE: &str = "elasticloadbalancing";
