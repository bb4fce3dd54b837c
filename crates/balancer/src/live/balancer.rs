//! A load balancer's settings, read from its record.

use crate::forwarded::XffMode;
use crate::head::Mitigation;
use crate::metrics::BalancerMeter;
use std::sync::Arc;
use std::time::Duration;
use wharf_model::load_balancing::LoadBalancer;

/// A load balancer.
pub(crate) struct Balancer {
    pub(crate) path: Arc<str>,
    pub(crate) dns_name: String,
    pub(crate) meter: Arc<BalancerMeter>,
    pub(crate) idle: Duration,
    pub(crate) keep_alive: Duration,
    pub(crate) mitigation: Mitigation,
    pub(crate) http2: bool,
    pub(crate) drop_invalid: bool,
    pub(crate) preserve_host: bool,
    pub(crate) tls_headers: bool,
    pub(crate) xff: XffMode,
    pub(crate) xff_port: bool,
}

impl Balancer {
    pub(crate) fn new(record: &LoadBalancer, meter: Arc<BalancerMeter>) -> Self {
        let on = |key| record.attribute(key) == "true";
        let seconds =
            |key, default| Duration::from_secs(record.attribute(key).parse().unwrap_or(default));
        Self {
            path: record.path().into(),
            dns_name: record.dns_name.to_ascii_lowercase(),
            meter,
            idle: seconds("idle_timeout.timeout_seconds", 60),
            keep_alive: seconds("client_keep_alive.seconds", 3600),
            mitigation: Mitigation::parse(record.attribute("routing.http.desync_mitigation_mode")),
            http2: on("routing.http2.enabled"),
            drop_invalid: on("routing.http.drop_invalid_header_fields.enabled"),
            preserve_host: on("routing.http.preserve_host_header.enabled"),
            tls_headers: on("routing.http.x_amzn_tls_version_and_cipher_suite.enabled"),
            xff: XffMode::parse(record.attribute("routing.http.xff_header_processing.mode")),
            xff_port: on("routing.http.xff_client_port.enabled"),
        }
    }
}
