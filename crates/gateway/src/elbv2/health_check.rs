//! Health checks of target groups: defaults by protocol, ranges.

use super::validation;
use crate::error::ApiError;
use wharf_model::load_balancing::{HealthCheck, Protocol, ProtocolVersion};
use wharf_wire::elbv2::types;

/// API `HealthCheckPort` where the target's own port is meant.
const TRAFFIC_PORT: &str = "traffic-port";
/// Longest path.
const LONGEST_PATH: usize = 1024;

/// What a request says of health checks.
#[derive(Default)]
pub(super) struct Sent<'a> {
    pub(super) enabled: Option<bool>,
    pub(super) protocol: Option<&'a types::ProtocolEnum>,
    pub(super) port: Option<&'a String>,
    pub(super) path: Option<&'a String>,
    pub(super) interval: Option<i32>,
    pub(super) timeout: Option<i32>,
    pub(super) healthy: Option<i32>,
    pub(super) unhealthy: Option<i32>,
    pub(super) matcher: Option<&'a types::Matcher>,
}

/// A group's protocol and version.
pub(super) type Kind = (Protocol, Option<ProtocolVersion>);

/// The health check of a new group.
pub(super) fn new(kind: Kind, sent: &Sent<'_>) -> Result<HealthCheck, ApiError> {
    let (protocol, version) = kind;
    let is_http = protocol.is_http();
    // Network Load Balancers check whether a connection opens; of UDP there is none.
    let check = match sent.protocol {
        Some(protocol) => parse_protocol(protocol)?,
        // Of HTTPS groups, too: the API's default.
        None if is_http => Protocol::Http,
        None => Protocol::Tcp,
    };
    let default = HealthCheck {
        enabled: true,
        protocol: check,
        port: None,
        path: check.is_http().then(|| default_path(version).to_owned()),
        matcher: check.is_http().then(|| default_matcher(kind).to_owned()),
        interval_seconds: 30,
        timeout_seconds: match (is_http, check) {
            (true, _) => 5,
            (false, Protocol::Http) => 6,
            (false, _) => 10,
        },
        healthy_threshold: 5,
        unhealthy_threshold: 2,
    };
    changed(kind, &default, sent)
}

fn default_path(version: Option<ProtocolVersion>) -> &'static str {
    if version == Some(ProtocolVersion::Grpc) { "/AWS.ALB/healthcheck" } else { "/" }
}

fn default_matcher((protocol, version): Kind) -> &'static str {
    match version {
        Some(ProtocolVersion::Grpc) => "12",
        _ if protocol.is_http() => "200",
        _ => "200-399",
    }
}

fn parse_protocol(sent: &types::ProtocolEnum) -> Result<Protocol, ApiError> {
    match Protocol::parse(sent.as_str()) {
        Some(protocol @ (Protocol::Http | Protocol::Https | Protocol::Tcp)) => Ok(protocol),
        _ => Err(validation(format!(
            "Health check protocol '{}' must be one of '[HTTP, HTTPS, TCP]'",
            sent.as_str()
        ))),
    }
}

/// A health check after a change.
pub(super) fn changed(
    kind: Kind,
    present: &HealthCheck,
    sent: &Sent<'_>,
) -> Result<HealthCheck, ApiError> {
    let mut check = present.clone();
    if sent.enabled == Some(false) {
        return Err(validation(
            "Health check enabled must be true for target groups with target type 'ip' or \
             'instance'",
        ));
    }
    if let Some(protocol) = sent.protocol {
        check.protocol = parse_protocol(protocol)?;
    }
    if kind.0.is_http() && check.protocol == Protocol::Tcp {
        return Err(validation(format!(
            "Health check protocol 'TCP' is not supported for target groups with the protocol '{}'",
            kind.0.as_str()
        )));
    }
    if let Some(sent) = sent.port {
        check.port = port(sent)?;
    }
    if !check.protocol.is_http() {
        let stray = sent.path.is_some() || sent.matcher.is_some();
        if stray {
            return Err(validation(
                "Health check path and matcher are not supported for health checks with protocol \
                 TCP",
            ));
        }
        (check.path, check.matcher) = (None, None);
    } else {
        check.path.get_or_insert_with(|| default_path(kind.1).to_owned());
        check.matcher.get_or_insert_with(|| default_matcher(kind).to_owned());
        if let Some(sent) = sent.path {
            check.path = Some(path(sent)?);
        }
        if let Some(sent) = sent.matcher {
            check.matcher = Some(matcher(kind, sent)?);
        }
    }
    let set = |what: &str, place: &mut u32, sent: Option<i32>, from: u32, to: u32| {
        let Some(sent) = sent else { return Ok(()) };
        match u32::try_from(sent).ok().filter(|n| (from..=to).contains(n)) {
            Some(number) => {
                *place = number;
                Ok(())
            }
            None => Err(validation(format!(
                "{what} '{sent}' must be in the range from '{from}' to '{to}'"
            ))),
        }
    };
    set("Health check interval", &mut check.interval_seconds, sent.interval, 5, 300)?;
    set("Health check timeout", &mut check.timeout_seconds, sent.timeout, 2, 120)?;
    set("Healthy threshold count", &mut check.healthy_threshold, sent.healthy, 2, 10)?;
    set("Unhealthy threshold count", &mut check.unhealthy_threshold, sent.unhealthy, 2, 10)?;
    if sent.interval.is_some() && sent.timeout.is_none() {
        // The default gives way to an interval that was asked for.
        check.timeout_seconds = check.timeout_seconds.min(check.interval_seconds - 1).max(2);
    }
    // An Application Load Balancer's check must be over when the next begins.
    let too_long = match kind.0.is_http() {
        true => check.timeout_seconds >= check.interval_seconds,
        false => check.timeout_seconds > check.interval_seconds,
    };
    if too_long {
        return Err(validation(format!(
            "Health check timeout '{}' must be smaller than the interval '{}'",
            check.timeout_seconds, check.interval_seconds
        )));
    }
    Ok(check)
}

fn port(sent: &str) -> Result<Option<u16>, ApiError> {
    if sent == TRAFFIC_PORT {
        return Ok(None);
    }
    match sent.parse::<u16>() {
        Ok(port) if port > 0 => Ok(Some(port)),
        _ => Err(validation(format!(
            "Health check port '{sent}' must be 'traffic-port' or in the range from '1' to '65535'"
        ))),
    }
}

fn path(sent: &str) -> Result<String, ApiError> {
    if sent.len() > LONGEST_PATH {
        return Err(validation(format!(
            "Health check path '{sent}' cannot be longer than '{LONGEST_PATH}' characters"
        )));
    }
    if !sent.starts_with('/') || sent.bytes().any(|b| b <= b' ' || b == 0x7f) {
        let message = format!("Health check path '{sent}' must start with '/' and have no spaces");
        return Err(validation(message));
    }
    Ok(sent.to_owned())
}

/// `Matcher`: numbers and ranges, as in `200,300-399`.
fn matcher((protocol, version): Kind, sent: &types::Matcher) -> Result<String, ApiError> {
    let is_grpc = version == Some(ProtocolVersion::Grpc);
    let (codes, other, from, to) = match (is_grpc, protocol.is_http()) {
        (true, _) => (&sent.grpc_code, &sent.http_code, 0, 99),
        (false, true) => (&sent.http_code, &sent.grpc_code, 200, 499),
        (false, false) => (&sent.http_code, &sent.grpc_code, 200, 599),
    };
    let what = if is_grpc { "gRPC" } else { "HTTP" };
    let Some(codes) = codes.as_ref().filter(|_| other.is_none()) else {
        let message = format!("The matcher must have {what} codes for this target group");
        return Err(validation(message));
    };
    let code = |text: &str| text.parse().ok().filter(|n: &u32| (from..=to).contains(n));
    let is_valid = codes.split(',').all(|part| match part.trim().split_once('-') {
        Some((first, last)) => match (code(first), code(last)) {
            (Some(first), Some(last)) => first <= last,
            _ => false,
        },
        None => code(part.trim()).is_some(),
    });
    if is_valid {
        Ok(codes.chars().filter(|c| !c.is_whitespace()).collect())
    } else {
        Err(validation(format!(
            "Health check matcher {what} code '{codes}' must be within '{from}-{to}' inclusive"
        )))
    }
}

/// API `HealthCheckPort`.
pub(super) fn shown_port(check: &HealthCheck) -> String {
    check.port.map_or_else(|| TRAFFIC_PORT.to_owned(), |port| port.to_string())
}

/// API `Matcher`.
pub(super) fn shown_matcher(
    check: &HealthCheck,
    version: Option<ProtocolVersion>,
) -> Option<types::Matcher> {
    let codes = check.matcher.clone()?;
    Some(match version {
        Some(ProtocolVersion::Grpc) => types::Matcher { http_code: None, grpc_code: Some(codes) },
        _ => types::Matcher { http_code: Some(codes), grpc_code: None },
    })
}
