//! Attributes of load balancers, listeners and target groups: their keys, defaults and ranges
//! (Elastic Load Balancing API: LoadBalancerAttribute, ListenerAttribute, TargetGroupAttribute).

use super::listener::Protocol;
use super::load_balancer::LoadBalancerType;
use std::collections::BTreeMap;

/// What an attribute's value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttributeValue {
    /// `true` or `false`.
    Boolean,
    /// A whole number from the first to the second.
    Number(u64, u64),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Any text of at most so many bytes.
    Text(usize),
}

impl AttributeValue {
    /// Whether a value is one of these.
    pub fn allows(self, value: &str) -> bool {
        match self {
            Self::Boolean => matches!(value, "true" | "false"),
            Self::Number(from, to) => value.parse().is_ok_and(|n: u64| (from..=to).contains(&n)),
            Self::OneOf(words) => words.contains(&value),
            Self::Text(longest) => value.len() <= longest,
        }
    }
}

/// An attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute {
    /// API `Key`.
    pub key: &'static str,
    /// API `Value` where none was set.
    pub default: &'static str,
    /// What may be set.
    pub value: AttributeValue,
}

const fn boolean(key: &'static str, default: &'static str) -> Attribute {
    Attribute { key, default, value: AttributeValue::Boolean }
}

const fn number(key: &'static str, default: &'static str, from: u64, to: u64) -> Attribute {
    Attribute { key, default, value: AttributeValue::Number(from, to) }
}

const fn one_of(
    key: &'static str,
    default: &'static str,
    words: &'static [&'static str],
) -> Attribute {
    Attribute { key, default, value: AttributeValue::OneOf(words) }
}

const fn text(key: &'static str, default: &'static str, longest: usize) -> Attribute {
    Attribute { key, default, value: AttributeValue::Text(longest) }
}

const APPLICATION: &[Attribute] = &[
    boolean("access_logs.s3.enabled", "false"),
    text("access_logs.s3.bucket", "", 255),
    text("access_logs.s3.prefix", "", 1024),
    number("client_keep_alive.seconds", "3600", 60, 604_800),
    boolean("connection_logs.s3.enabled", "false"),
    text("connection_logs.s3.bucket", "", 255),
    text("connection_logs.s3.prefix", "", 1024),
    boolean("deletion_protection.enabled", "false"),
    boolean("health_check_logs.s3.enabled", "false"),
    text("health_check_logs.s3.bucket", "", 255),
    text("health_check_logs.s3.prefix", "", 1024),
    number("idle_timeout.timeout_seconds", "60", 1, 4000),
    boolean("ipv6.deny_all_igw_traffic", "false"),
    one_of("load_balancing.cross_zone.enabled", "true", &["true"]),
    one_of(
        "routing.http.desync_mitigation_mode",
        "defensive",
        &["monitor", "defensive", "strictest"],
    ),
    boolean("routing.http.drop_invalid_header_fields.enabled", "false"),
    boolean("routing.http.preserve_host_header.enabled", "false"),
    boolean("routing.http.x_amzn_tls_version_and_cipher_suite.enabled", "false"),
    boolean("routing.http.xff_client_port.enabled", "false"),
    one_of("routing.http.xff_header_processing.mode", "append", &["append", "preserve", "remove"]),
    boolean("routing.http2.enabled", "true"),
    boolean("waf.fail_open.enabled", "false"),
    boolean("zonal_shift.config.enabled", "false"),
];

const NETWORK: &[Attribute] = &[
    boolean("access_logs.s3.enabled", "false"),
    text("access_logs.s3.bucket", "", 255),
    text("access_logs.s3.prefix", "", 1024),
    boolean("deletion_protection.enabled", "false"),
    one_of(
        "dns_record.client_routing_policy",
        "any_availability_zone",
        &[
            "any_availability_zone",
            "availability_zone_affinity",
            "partial_availability_zone_affinity",
        ],
    ),
    boolean("ipv6.deny_all_igw_traffic", "false"),
    boolean("load_balancing.cross_zone.enabled", "false"),
    number("secondary_ips.auto_assigned.per_subnet", "0", 0, 7),
    boolean("zonal_shift.config.enabled", "false"),
];

const HTTP_LISTENER: &[Attribute] = &[
    text("routing.http.response.access_control_allow_credentials.header_value", "", 1024),
    text("routing.http.response.access_control_allow_headers.header_value", "", 1024),
    text("routing.http.response.access_control_allow_methods.header_value", "", 1024),
    text("routing.http.response.access_control_allow_origin.header_value", "", 1024),
    text("routing.http.response.access_control_expose_headers.header_value", "", 1024),
    text("routing.http.response.access_control_max_age.header_value", "", 1024),
    text("routing.http.response.content_security_policy.header_value", "", 1024),
    boolean("routing.http.response.server.enabled", "true"),
    text("routing.http.response.x_content_type_options.header_value", "", 1024),
    text("routing.http.response.x_frame_options.header_value", "", 1024),
];

/// Headers to targets can be renamed, and HSTS sent, where there is TLS.
const HTTPS_LISTENER: &[Attribute] = &[
    text("routing.http.request.x_amzn_mtls_clientcert.header_name", "X-Amzn-Mtls-Clientcert", 64),
    text(
        "routing.http.request.x_amzn_mtls_clientcert_issuer.header_name",
        "X-Amzn-Mtls-Clientcert-Issuer",
        64,
    ),
    text(
        "routing.http.request.x_amzn_mtls_clientcert_leaf.header_name",
        "X-Amzn-Mtls-Clientcert-Leaf",
        64,
    ),
    text(
        "routing.http.request.x_amzn_mtls_clientcert_serial_number.header_name",
        "X-Amzn-Mtls-Clientcert-Serial-Number",
        64,
    ),
    text(
        "routing.http.request.x_amzn_mtls_clientcert_subject.header_name",
        "X-Amzn-Mtls-Clientcert-Subject",
        64,
    ),
    text(
        "routing.http.request.x_amzn_mtls_clientcert_validity.header_name",
        "X-Amzn-Mtls-Clientcert-Validity",
        64,
    ),
    text("routing.http.request.x_amzn_tls_cipher_suite.header_name", "X-Amzn-Tls-Cipher-Suite", 64),
    text("routing.http.request.x_amzn_tls_version.header_name", "X-Amzn-Tls-Version", 64),
    text("routing.http.response.access_control_allow_credentials.header_value", "", 1024),
    text("routing.http.response.access_control_allow_headers.header_value", "", 1024),
    text("routing.http.response.access_control_allow_methods.header_value", "", 1024),
    text("routing.http.response.access_control_allow_origin.header_value", "", 1024),
    text("routing.http.response.access_control_expose_headers.header_value", "", 1024),
    text("routing.http.response.access_control_max_age.header_value", "", 1024),
    text("routing.http.response.content_security_policy.header_value", "", 1024),
    boolean("routing.http.response.server.enabled", "true"),
    text("routing.http.response.strict_transport_security.header_value", "", 1024),
    text("routing.http.response.x_content_type_options.header_value", "", 1024),
    text("routing.http.response.x_frame_options.header_value", "", 1024),
];

const TCP_LISTENER: &[Attribute] = &[number("tcp.idle_timeout.seconds", "350", 60, 6000)];

const HTTP_TARGET_GROUP: &[Attribute] = &[
    number("deregistration_delay.timeout_seconds", "300", 0, 3600),
    one_of(
        "load_balancing.algorithm.type",
        "round_robin",
        &["round_robin", "least_outstanding_requests", "weighted_random"],
    ),
    one_of("load_balancing.algorithm.anomaly_mitigation", "off", &["on", "off"]),
    one_of(
        "load_balancing.cross_zone.enabled",
        "use_load_balancer_configuration",
        &["true", "false", "use_load_balancer_configuration"],
    ),
    number("slow_start.duration_seconds", "0", 0, 900),
    text("stickiness.app_cookie.cookie_name", "", 128),
    number("stickiness.app_cookie.duration_seconds", "86400", 1, 604_800),
    boolean("stickiness.enabled", "false"),
    number("stickiness.lb_cookie.duration_seconds", "86400", 1, 604_800),
    one_of("stickiness.type", "lb_cookie", &["lb_cookie", "app_cookie"]),
    text("target_group_health.dns_failover.minimum_healthy_targets.count", "1", 5),
    text("target_group_health.dns_failover.minimum_healthy_targets.percentage", "off", 3),
    text("target_group_health.unhealthy_state_routing.minimum_healthy_targets.count", "1", 5),
    text(
        "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage",
        "off",
        3,
    ),
];

const FLOW_TARGET_GROUP: &[Attribute] = &[
    boolean("deregistration_delay.connection_termination.enabled", "false"),
    number("deregistration_delay.timeout_seconds", "300", 0, 3600),
    one_of(
        "load_balancing.cross_zone.enabled",
        "use_load_balancer_configuration",
        &["true", "false", "use_load_balancer_configuration"],
    ),
    boolean("preserve_client_ip.enabled", "false"),
    boolean("proxy_protocol_v2.enabled", "false"),
    boolean("stickiness.enabled", "false"),
    one_of("stickiness.type", "source_ip", &["source_ip"]),
    text("target_group_health.dns_failover.minimum_healthy_targets.count", "1", 5),
    text("target_group_health.dns_failover.minimum_healthy_targets.percentage", "off", 3),
    text("target_group_health.unhealthy_state_routing.minimum_healthy_targets.count", "1", 5),
    text(
        "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage",
        "off",
        3,
    ),
    boolean("target_health_state.unhealthy.connection_termination.enabled", "true"),
    number("target_health_state.unhealthy.draining_interval_seconds", "0", 0, 360_000),
];

/// The attributes of load balancers of a kind.
pub const fn attributes_of_load_balancer(kind: LoadBalancerType) -> &'static [Attribute] {
    match kind {
        LoadBalancerType::Application => APPLICATION,
        LoadBalancerType::Network => NETWORK,
    }
}

/// The attributes of listeners of a protocol.
pub const fn attributes_of_listener(protocol: Protocol) -> &'static [Attribute] {
    match protocol {
        Protocol::Http => HTTP_LISTENER,
        Protocol::Https => HTTPS_LISTENER,
        Protocol::Tcp | Protocol::TcpUdp => TCP_LISTENER,
        Protocol::Tls | Protocol::Udp => &[],
    }
}

/// The attributes of target groups of a protocol.
pub const fn attributes_of_target_group(protocol: Protocol) -> &'static [Attribute] {
    if protocol.is_http() { HTTP_TARGET_GROUP } else { FLOW_TARGET_GROUP }
}

/// The value of an attribute: as it was set, else its default; empty if there is no such.
pub(super) fn value<'a>(
    set: &'a BTreeMap<String, String>,
    known: &'static [Attribute],
    key: &str,
) -> &'a str {
    set.get(key).map_or_else(
        || known.iter().find(|a| a.key == key).map_or("", |a| a.default),
        String::as_str,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_value_that_may_be_set() {
        let all = [APPLICATION, NETWORK, HTTP_LISTENER, HTTPS_LISTENER, TCP_LISTENER]
            .into_iter()
            .chain([HTTP_TARGET_GROUP, FLOW_TARGET_GROUP]);
        for attribute in all.flatten() {
            assert!(attribute.value.allows(attribute.default), "{}", attribute.key);
        }
    }
}
