//! What a request names, by ARN.

use super::{error, validation};
use crate::context::Context;
use crate::error::ApiError;
use std::sync::Arc;
use wharf_model::load_balancing::{
    Listener, LoadBalancer, Resource, Rule, TargetGroup, TrustStore,
};
use wharf_scheduler::load_balancing::{is_listener_live, is_rule_live};
use wharf_wire::elbv2::ErrorCode;

fn not_valid(arn: &str, what: &str) -> ApiError {
    validation(format!("'{arn}' is not a valid {what} ARN"))
}

pub(super) fn no_load_balancer() -> ApiError {
    error(ErrorCode::LoadBalancerNotFoundException, "One or more load balancers not found")
}

pub(super) fn no_target_group() -> ApiError {
    error(ErrorCode::TargetGroupNotFoundException, "One or more target groups not found")
}

pub(super) fn no_listener() -> ApiError {
    error(ErrorCode::ListenerNotFoundException, "One or more listeners not found")
}

pub(super) fn no_rule() -> ApiError {
    error(ErrorCode::RuleNotFoundException, "One or more rules not found")
}

/// Whether a text is an ARN of this kind, of any account and region.
fn looks_like(arn: &str, kind: &str) -> bool {
    arn.starts_with("arn:aws:elasticloadbalancing:")
        && arn.split(':').nth(5).is_some_and(|rest| rest.starts_with(&format!("{kind}/")))
}

macro_rules! by_arn {
    ($( $name:ident, $resource:ident, $table:ident, $record:ty, $kind:literal, $what:literal, $missing:ident; )*) => {
        $(
            #[doc = concat!("The ", $what, " with this ARN.")]
            pub(super) fn $name<'a>(
                context: &Context<'a>,
                arn: Option<&String>,
            ) -> Result<&'a Arc<$record>, ApiError> {
                let arn = arn.map_or("", String::as_str);
                match context.arns.elb_resource(arn) {
                    Some(Resource::$resource(path)) => {
                        context.snapshot.$table(&path).ok_or_else($missing)
                    }
                    None if looks_like(arn, $kind) => Err($missing()),
                    _ => Err(not_valid(arn, $what)),
                }
            }
        )*
    };
}

by_arn! {
    load_balancer, LoadBalancer, load_balancer, LoadBalancer, "loadbalancer", "load balancer", no_load_balancer;
    target_group, TargetGroup, target_group, TargetGroup, "targetgroup", "target group", no_target_group;
    any_listener, Listener, listener, Listener, "listener", "listener", no_listener;
    any_rule, ListenerRule, listener_rule, Rule, "listener-rule", "listener rule", no_rule;
    trust_store, TrustStore, trust_store, TrustStore, "truststore", "trust store", no_trust_store;
}

pub(super) fn no_trust_store() -> ApiError {
    error(ErrorCode::TrustStoreNotFoundException, "One or more trust stores not found")
}

/// The listener with this ARN, if its load balancer is still there.
pub(super) fn listener<'a>(
    context: &Context<'a>,
    arn: Option<&String>,
) -> Result<&'a Arc<Listener>, ApiError> {
    let found = any_listener(context, arn)?;
    if is_listener_live(context.snapshot, found) { Ok(found) } else { Err(no_listener()) }
}

/// The rule with this ARN, if its listener is still there.
pub(super) fn rule<'a>(
    context: &Context<'a>,
    arn: Option<&String>,
) -> Result<&'a Arc<Rule>, ApiError> {
    let found = any_rule(context, arn)?;
    if is_rule_live(context.snapshot, found) { Ok(found) } else { Err(no_rule()) }
}

/// The load balancer of a listener that was found alive.
pub(super) fn owner<'a>(
    context: &Context<'a>,
    listener: &Listener,
) -> Result<&'a Arc<LoadBalancer>, ApiError> {
    context.snapshot.load_balancer(&listener.load_balancer).ok_or_else(no_listener)
}
