//! Actions of listeners and rules: what is sent becomes a record, and a record what ELBv2 answers.

use super::{error, find, limits, unsupported, validation};
use crate::context::Context;
use crate::error::ApiError;
use std::collections::BTreeSet;
use wharf_model::load_balancing::{
    Action, FixedResponse, Forward, Listener, LoadBalancer, Protocol, ProtocolVersion, Redirect,
    TargetGroup, WeightedTargetGroup,
};
use wharf_scheduler::load_balancing::{Usage, groups_of_actions};
use wharf_wire::elbv2::{ErrorCode, types};

/// Longest that a client stays with a target group.
const LONGEST_STICKINESS: i32 = 604_800;
/// Longest body of a fixed response.
const LONGEST_BODY: usize = 1024;
const CONTENT_TYPES: [&str; 5] =
    ["text/plain", "text/css", "text/html", "application/javascript", "application/json"];

/// What a listener's actions hang on.
pub(super) struct Place<'a> {
    pub(super) load_balancer: &'a LoadBalancer,
    pub(super) protocol: Protocol,
}

fn invalid_action(message: impl Into<String>) -> ApiError {
    error(ErrorCode::InvalidLoadBalancerActionException, message)
}

/// The actions of a request. As authentication isn't built, there is just the one that answers.
pub(super) fn parse(
    context: &Context<'_>,
    place: &Place<'_>,
    sent: Option<&Vec<types::Action>>,
) -> Result<Vec<Action>, ApiError> {
    let mut sent: Vec<&types::Action> = sent.into_iter().flatten().collect();
    if sent.is_empty() {
        return Err(validation("At least one action must be specified"));
    }
    sent.sort_by_key(|action| action.order.unwrap_or(i32::MAX));
    let actions: Vec<Action> =
        sent.into_iter().map(|action| one(context, action)).collect::<Result<_, _>>()?;
    if actions.len() > 1 {
        return Err(invalid_action(
            "An action list must have exactly one of the types 'forward', 'redirect' and \
             'fixed-response'",
        ));
    }
    fits(context, place, &actions)?;
    Ok(actions)
}

fn one(context: &Context<'_>, sent: &types::Action) -> Result<Action, ApiError> {
    let kind = sent.r#type.as_ref().map_or("", types::ActionTypeEnum::as_str);
    let only = |is_there: bool, member: &str| match is_there {
        true => Err(validation(format!("{member} cannot be set for an action of type '{kind}'"))),
        false => Ok(()),
    };
    match kind {
        "authenticate-oidc" | "authenticate-cognito" | "jwt-validation" => {
            return Err(unsupported(&format!("Action type '{kind}'")));
        }
        "forward" | "redirect" | "fixed-response" => {}
        other => {
            return Err(validation(format!(
                "Action type '{other}' must be one of '[redirect,fixed-response,forward]'"
            )));
        }
    }
    if kind != "forward" {
        only(sent.target_group_arn.is_some(), "TargetGroupArn")?;
        only(sent.forward_config.is_some(), "ForwardConfig")?;
    }
    if kind != "redirect" {
        only(sent.redirect_config.is_some(), "RedirectConfig")?;
    }
    if kind != "fixed-response" {
        only(sent.fixed_response_config.is_some(), "FixedResponseConfig")?;
    }
    match kind {
        "forward" => forward(context, sent).map(Action::Forward),
        "redirect" => redirect(sent.redirect_config.as_ref()).map(Action::Redirect),
        _ => fixed(sent.fixed_response_config.as_ref()).map(Action::FixedResponse),
    }
}

fn forward(context: &Context<'_>, sent: &types::Action) -> Result<Forward, ApiError> {
    let config = sent.forward_config.as_ref();
    let tuples = config.and_then(|config| config.target_groups.as_deref()).unwrap_or_default();
    let mut target_groups = Vec::new();
    for tuple in tuples {
        let group = find::target_group(context, tuple.target_group_arn.as_ref())?;
        let weight = match tuple.weight {
            None => None,
            Some(weight) => {
                Some(u32::try_from(weight).ok().filter(|w| *w <= 999).ok_or_else(|| {
                    validation(format!(
                        "Target group weight '{weight}' must be in the range from '0' to '999'"
                    ))
                })?)
            }
        };
        target_groups.push(WeightedTargetGroup { target_group: group.path(), weight });
    }
    if let Some(arn) = &sent.target_group_arn {
        let path = find::target_group(context, Some(arn))?.path();
        let same = target_groups.iter().all(|group| group.target_group == path);
        if target_groups.len() > 1 || !same {
            return Err(validation(
                "TargetGroupArn and ForwardConfig must name the same single target group if both \
                 are specified",
            ));
        }
        if target_groups.is_empty() {
            target_groups.push(WeightedTargetGroup { target_group: path, weight: None });
        }
    }
    if target_groups.is_empty() {
        return Err(validation("A target group ARN must be specified"));
    }
    let unique: BTreeSet<&str> = target_groups.iter().map(|g| g.target_group.as_str()).collect();
    if unique.len() < target_groups.len() {
        return Err(validation("A target group can be specified only once in an action"));
    }
    if target_groups.len() > limits::GROUPS_OF_ACTION {
        return Err(error(
            ErrorCode::TooManyUniqueTargetGroupsPerLoadBalancerException,
            format!(
                "An action can forward to at most '{}' target groups",
                limits::GROUPS_OF_ACTION
            ),
        ));
    }
    Ok(Forward { target_groups, stickiness_seconds: stickiness(config)? })
}

fn stickiness(config: Option<&types::ForwardActionConfig>) -> Result<Option<u32>, ApiError> {
    let sent = config.and_then(|config| config.target_group_stickiness_config.as_ref());
    let Some(sent) = sent.filter(|sent| sent.enabled == Some(true)) else { return Ok(None) };
    let seconds = sent.duration_seconds.ok_or_else(|| {
        validation("A duration must be specified for target group stickiness that is enabled")
    })?;
    if !(1..=LONGEST_STICKINESS).contains(&seconds) {
        return Err(validation(format!(
            "Target group stickiness duration '{seconds}' must be in the range from '1' to \
             '{LONGEST_STICKINESS}'"
        )));
    }
    Ok(u32::try_from(seconds).ok())
}

fn redirect(sent: Option<&types::RedirectActionConfig>) -> Result<Redirect, ApiError> {
    let sent = sent.ok_or_else(|| validation("A redirect configuration must be specified"))?;
    let part = |sent: &Option<String>, same: &str| sent.clone().unwrap_or_else(|| same.to_owned());
    let redirect = Redirect {
        protocol: part(&sent.protocol, "#{protocol}"),
        port: part(&sent.port, "#{port}"),
        host: part(&sent.host, "#{host}"),
        path: part(&sent.path, "/#{path}"),
        query: part(&sent.query, "#{query}"),
        status: match sent.status_code.as_ref().map(types::RedirectActionStatusCodeEnum::as_str) {
            Some("HTTP_301") => 301,
            Some("HTTP_302") => 302,
            _ => return Err(validation("The status code must be one of '[HTTP_301, HTTP_302]'")),
        },
    };
    let port = redirect.port.parse::<u16>().is_ok_and(|port| port > 0);
    if redirect.port != "#{port}" && !port {
        return Err(validation(format!(
            "The redirect port '{}' must be '#{{port}}' or in the range from '1' to '65535'",
            redirect.port
        )));
    }
    if !redirect.path.starts_with('/') {
        return Err(validation(format!(
            "The redirect path '{}' must start with '/'",
            redirect.path
        )));
    }
    const PLACEHOLDERS: [&str; 5] = ["protocol", "host", "port", "path", "query"];
    for text in [&redirect.host, &redirect.path, &redirect.query] {
        let names = text.split("#{").skip(1).map(|rest| rest.split_once('}').map(|(n, _)| n));
        if names.into_iter().any(|name| name.is_none_or(|name| !PLACEHOLDERS.contains(&name))) {
            return Err(validation(format!("'{text}' has a placeholder that is not valid")));
        }
    }
    if redirect.path.contains("#{query}") {
        return Err(validation("The redirect path cannot have the placeholder '#{query}'"));
    }
    let same = (redirect.protocol.as_str(), redirect.port.as_str(), redirect.host.as_str());
    if same == ("#{protocol}", "#{port}", "#{host}") && redirect.path == "/#{path}" {
        return Err(invalid_action(
            "The redirect configuration is not valid because it creates a loop.",
        ));
    }
    Ok(redirect)
}

fn fixed(sent: Option<&types::FixedResponseActionConfig>) -> Result<FixedResponse, ApiError> {
    let sent =
        sent.ok_or_else(|| validation("A fixed response configuration must be specified"))?;
    let code = sent.status_code.as_deref().unwrap_or_default();
    let status = code.parse::<u16>().ok().filter(|n| matches!(n / 100, 2 | 4 | 5));
    let status = status.ok_or_else(|| {
        validation(format!("The fixed response status code '{code}' must be 2XX, 4XX or 5XX"))
    })?;
    let content_type = sent.content_type.clone().filter(|text| !text.is_empty());
    if let Some(other) = content_type.as_deref().filter(|text| !CONTENT_TYPES.contains(text)) {
        return Err(validation(format!(
            "The content type '{other}' must be one of '[{}]'",
            CONTENT_TYPES.join(", ")
        )));
    }
    let body = sent.message_body.clone().filter(|text| !text.is_empty());
    if body.as_ref().is_some_and(|body| body.len() > LONGEST_BODY) {
        let message = format!("The message body cannot be longer than '{LONGEST_BODY}' characters");
        return Err(validation(message));
    }
    Ok(FixedResponse { status, content_type, body })
}

/// Whether a listener may do that, and its target groups are free for its load balancer.
fn fits(context: &Context<'_>, place: &Place<'_>, actions: &[Action]) -> Result<(), ApiError> {
    let is_http = place.protocol.is_http();
    if !is_http && !actions.iter().all(|action| matches!(action, Action::Forward(_))) {
        return Err(invalid_action(format!(
            "Listeners with the protocol '{}' support actions of type 'forward' alone",
            place.protocol.as_str()
        )));
    }
    let usage = Usage::of(context.snapshot);
    let own = place.load_balancer.path();
    for path in groups_of_actions(actions) {
        let Some(group) = context.snapshot.target_group(&path.to_owned()) else { continue };
        compatible(place.protocol, group)?;
        if usage.load_balancers(path).any(|user| user != own) {
            return Err(error(
                ErrorCode::TargetGroupAssociationLimitException,
                format!(
                    "The following target groups cannot be associated with more than one load \
                     balancer: {}",
                    context.arns.target_group(path)
                ),
            ));
        }
    }
    let mut groups: BTreeSet<&str> = usage.groups_of(&own).collect();
    groups.extend(groups_of_actions(actions));
    if groups.len() > limits::GROUPS_OF_LOAD_BALANCER {
        return Err(error(
            ErrorCode::TooManyUniqueTargetGroupsPerLoadBalancerException,
            "You have reached the limit on the number of unique target groups per load balancer",
        ));
    }
    Ok(())
}

fn compatible(protocol: Protocol, group: &TargetGroup) -> Result<(), ApiError> {
    use Protocol::{Http, Https, Tcp, TcpUdp, Tls, Udp};
    let allowed: &[Protocol] = match protocol {
        Http | Https => &[Http, Https],
        Tcp => &[Tcp, TcpUdp],
        Tls => &[Tcp, Tls],
        Udp => &[Udp, TcpUdp],
        TcpUdp => &[TcpUdp],
    };
    if !allowed.contains(&group.protocol) {
        return Err(error(
            ErrorCode::IncompatibleProtocolsException,
            format!(
                "Listener protocol '{}' is not compatible with target group protocol '{}'",
                protocol.as_str(),
                group.protocol.as_str()
            ),
        ));
    }
    let version = group.protocol_version.filter(|version| *version != ProtocolVersion::Http1);
    match version {
        Some(version) if protocol == Http => Err(error(
            ErrorCode::IncompatibleProtocolsException,
            format!(
                "Listener protocol 'HTTP' is not supported with a target group with the \
                 protocol-version setting '{}'",
                version.as_str()
            ),
        )),
        _ => Ok(()),
    }
}

/// Whether actions stay possible when a listener's protocol becomes another.
pub(super) fn check(
    context: &Context<'_>,
    load_balancer: &LoadBalancer,
    listener: &Listener,
    actions: &[Action],
) -> Result<(), ApiError> {
    fits(context, &Place { load_balancer, protocol: listener.protocol }, actions)
}

/// Actions as ELBv2 shows them: a forward to one group has its ARN beside its configuration.
pub(super) fn view(context: &Context<'_>, actions: &[Action]) -> Vec<types::Action> {
    let shown = |(at, action): (i32, &Action)| {
        let action = match action {
            Action::Forward(forward) => shown_forward(context, forward),
            Action::Redirect(redirect) => types::Action {
                r#type: Some("redirect".into()),
                redirect_config: Some(types::RedirectActionConfig {
                    protocol: Some(redirect.protocol.clone()),
                    port: Some(redirect.port.clone()),
                    host: Some(redirect.host.clone()),
                    path: Some(redirect.path.clone()),
                    query: Some(redirect.query.clone()),
                    status_code: Some(format!("HTTP_{}", redirect.status).as_str().into()),
                }),
                ..types::Action::default()
            },
            Action::FixedResponse(fixed) => types::Action {
                r#type: Some("fixed-response".into()),
                fixed_response_config: Some(types::FixedResponseActionConfig {
                    message_body: fixed.body.clone(),
                    status_code: Some(fixed.status.to_string()),
                    content_type: fixed.content_type.clone(),
                }),
                ..types::Action::default()
            },
        };
        types::Action { order: Some(at), ..action }
    };
    (1..).zip(actions).map(shown).collect()
}

fn shown_forward(context: &Context<'_>, forward: &Forward) -> types::Action {
    let arn = |path: &str| context.arns.target_group(path);
    let tuple = |group: &WeightedTargetGroup| types::TargetGroupTuple {
        target_group_arn: Some(arn(&group.target_group)),
        weight: i32::try_from(group.weight.unwrap_or(1)).ok(),
    };
    let single = match forward.target_groups.as_slice() {
        [group] => Some(arn(&group.target_group)),
        _ => None,
    };
    types::Action {
        r#type: Some("forward".into()),
        target_group_arn: single,
        forward_config: Some(types::ForwardActionConfig {
            target_groups: Some(forward.target_groups.iter().map(tuple).collect()),
            target_group_stickiness_config: Some(types::TargetGroupStickinessConfig {
                enabled: Some(forward.stickiness_seconds.is_some()),
                duration_seconds: forward.stickiness_seconds.and_then(|s| i32::try_from(s).ok()),
            }),
        }),
        ..types::Action::default()
    }
}
