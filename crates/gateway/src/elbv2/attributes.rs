//! Attributes of load balancers, listeners and target groups.

use super::{changed, find, unsupported, validation};
use crate::context::{Context, Outcome, Result as OperationResult};
use crate::error::ApiError;
use std::collections::BTreeMap;
use wharf_model::load_balancing::{Attribute, Listener, LoadBalancer, TargetGroup};
use wharf_wire::elbv2::types;

/// The attributes after a change: only what differs from its default is kept.
fn modified(
    present: &BTreeMap<String, String>,
    known: &[Attribute],
    sent: Vec<(Option<String>, Option<String>)>,
    what: &str,
) -> Result<BTreeMap<String, String>, ApiError> {
    if sent.is_empty() {
        return Err(validation("At least one attribute must be specified"));
    }
    let mut attributes = present.clone();
    let mut seen = Vec::new();
    for (key, value) in sent {
        let key = key.unwrap_or_default();
        let value = value.unwrap_or_default();
        if seen.contains(&key) {
            return Err(validation(format!("{what} attribute key '{key}' was specified twice")));
        }
        let attribute = known
            .iter()
            .find(|a| a.key == key)
            .ok_or_else(|| validation(format!("{what} attribute key '{key}' is not recognized")))?;
        if !attribute.value.allows(&value) {
            return Err(validation(format!(
                "{what} attribute value '{value}' is not valid for the attribute '{key}'"
            )));
        }
        if value == attribute.default {
            attributes.remove(&key);
        } else {
            attributes.insert(key.clone(), value);
        }
        seen.push(key);
    }
    Ok(attributes)
}

/// All attributes with their values.
fn shown<'a>(
    known: &'a [Attribute],
    value: impl Fn(&str) -> String + 'a,
) -> impl Iterator<Item = (Option<String>, Option<String>)> + 'a {
    known.iter().map(move |a| (Some(a.key.to_owned()), Some(value(a.key))))
}

macro_rules! of {
    ($( $record:ident, $find:path, $arn:ident, $attribute:ident, $what:literal:
        $describe:ident($describe_input:ident) -> $describe_output:ident,
        $modify:ident($modify_input:ident) -> $modify_output:ident, $check:path; )*) => {
        $(
            pub(super) fn $describe(
                context: &Context<'_>,
                input: &types::$describe_input,
            ) -> OperationResult<types::$describe_output> {
                let found = $find(context, input.$arn.as_ref())?;
                let all = shown(found.attributes(), |key| found.attribute(key).to_owned());
                let all = all.map(|(key, value)| types::$attribute { key, value });
                Ok(Outcome::read(types::$describe_output { attributes: Some(all.collect()) }))
            }

            pub(super) fn $modify(
                context: &Context<'_>,
                input: &types::$modify_input,
            ) -> OperationResult<types::$modify_output> {
                let found = $find(context, input.$arn.as_ref())?;
                let sent = input.attributes.iter().flatten();
                let sent = sent.map(|a| (a.key.clone(), a.value.clone())).collect();
                let mut changing = $record::clone(found);
                changing.attributes =
                    modified(&found.attributes, found.attributes(), sent, $what)?;
                $check(&changing)?;
                let all = shown(changing.attributes(), |key| changing.attribute(key).to_owned());
                let all = all.map(|(key, value)| types::$attribute { key, value });
                let output = types::$modify_output { attributes: Some(all.collect()) };
                Ok(Outcome::write(output, changed(context, changing)))
            }
        )*
    };
}

of! {
    LoadBalancer, find::load_balancer, load_balancer_arn, LoadBalancerAttribute, "Load balancer":
        describe_of_load_balancer(DescribeLoadBalancerAttributesInput)
            -> DescribeLoadBalancerAttributesOutput,
        modify_of_load_balancer(ModifyLoadBalancerAttributesInput)
            -> ModifyLoadBalancerAttributesOutput, check_load_balancer;
    Listener, find::listener, listener_arn, ListenerAttribute, "Listener":
        describe_of_listener(DescribeListenerAttributesInput) -> DescribeListenerAttributesOutput,
        modify_of_listener(ModifyListenerAttributesInput)
            -> ModifyListenerAttributesOutput, check_listener;
    TargetGroup, find::target_group, target_group_arn, TargetGroupAttribute, "Target group":
        describe_of_target_group(DescribeTargetGroupAttributesInput)
            -> DescribeTargetGroupAttributesOutput,
        modify_of_target_group(ModifyTargetGroupAttributesInput)
            -> ModifyTargetGroupAttributesOutput, check_target_group;
}

/// Logs that are on need a bucket.
fn check_load_balancer(load_balancer: &LoadBalancer) -> Result<(), ApiError> {
    for logs in ["access_logs", "connection_logs", "health_check_logs"] {
        let enabled = load_balancer.attribute(&format!("{logs}.s3.enabled")) == "true";
        let bucket = format!("{logs}.s3.bucket");
        if enabled && load_balancer.attribute(&bucket).is_empty() {
            return Err(validation(format!(
                "The value of '{bucket}' cannot be empty when '{logs}.s3.enabled' is true"
            )));
        }
    }
    Ok(())
}

fn check_listener(_: &Listener) -> Result<(), ApiError> {
    Ok(())
}

/// What would change how a target group's traffic goes, and isn't carried out.
const NOT_BUILT: [(&str, &str); 2] =
    [("load_balancing.algorithm.anomaly_mitigation", "on"), ("preserve_client_ip.enabled", "true")];

fn check_target_group(group: &TargetGroup) -> Result<(), ApiError> {
    const SLOW_START: &str = "slow_start.duration_seconds";
    let slow_start: u64 = group.attribute(SLOW_START).parse().unwrap_or(0);
    if (1..30).contains(&slow_start) {
        return Err(validation(format!(
            "Target group attribute value '{slow_start}' is not valid for the attribute \
             '{SLOW_START}': it is 0, or 30 to 900"
        )));
    }
    let algorithm = group.attribute("load_balancing.algorithm.type");
    if slow_start > 0 && !matches!(algorithm, "" | "round_robin") {
        return Err(validation(
            "Slow start mode is available with the round robin routing algorithm alone",
        ));
    }
    for (key, value) in NOT_BUILT {
        if group.attribute(key) == value {
            return Err(unsupported(&format!("The value '{value}' of the attribute '{key}'")));
        }
    }
    let cookie = group.attribute("stickiness.app_cookie.cookie_name");
    let sticky = group.attribute("stickiness.enabled") == "true";
    let by_application = group.attribute("stickiness.type") == "app_cookie";
    if sticky && by_application && cookie.is_empty() {
        return Err(validation(
            "The value of 'stickiness.app_cookie.cookie_name' cannot be empty when \
             'stickiness.type' is app_cookie",
        ));
    }
    const RESERVED: [&str; 3] = ["AWSALB", "AWSALBAPP", "AWSALBTG"];
    if RESERVED.iter().any(|name| cookie == *name || cookie.starts_with(&format!("{name}-"))) {
        return Err(validation(format!(
            "The cookie name '{cookie}' is reserved for use by the load balancer"
        )));
    }
    check_minimums(group)
}

/// `target_group_health.…`: a count from 1, or a percentage, or `off`.
fn check_minimums(group: &TargetGroup) -> Result<(), ApiError> {
    let minimums = group.attributes().iter().filter(|a| a.key.starts_with("target_group_health."));
    for attribute in minimums {
        let value = group.attribute(attribute.key);
        let largest = if attribute.key.ends_with(".count") { u32::MAX } else { 100 };
        let number = value.parse().is_ok_and(|n: u32| (1..=largest).contains(&n));
        if !number && value != "off" {
            return Err(validation(format!(
                "Target group attribute value '{value}' is not valid for the attribute '{}'",
                attribute.key
            )));
        }
    }
    Ok(())
}
