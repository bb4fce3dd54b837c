//! A listener with its rules, and with its TLS.

use super::balancer::Balancer;
use super::group::GroupCell;
use crate::rules::RuleTable;
use crate::tls::{HeaderNames, ListenerTls};
use arc_swap::ArcSwapOption;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue, SERVER};
use std::sync::Arc;
use std::time::Duration;
use wharf_model::load_balancing::{Listener as Record, Protocol};

/// A listener as it is in effect.
pub(crate) struct Listener {
    pub(crate) port: u16,
    /// The port as a header's value.
    pub(crate) port_header: HeaderValue,
    pub(crate) protocol: Protocol,
    pub(crate) balancer: Arc<Balancer>,
    pub(crate) rules: RuleTable<Arc<GroupCell>>,
    /// Its TLS, or why there is none although there should be.
    pub(crate) tls: Option<Result<Arc<ListenerTls>, String>>,
    /// Of TCP flows.
    pub(crate) flow_idle: Duration,
    /// Headers that tell targets of TLS.
    pub(crate) names: HeaderNames,
    response_headers: Vec<(HeaderName, HeaderValue)>,
    keep_server: bool,
}

/// Attributes that set a header of every response, and the headers.
const RESPONSE_HEADERS: [(&str, &str); 9] = [
    ("strict_transport_security", "strict-transport-security"),
    ("access_control_allow_origin", "access-control-allow-origin"),
    ("access_control_allow_methods", "access-control-allow-methods"),
    ("access_control_allow_headers", "access-control-allow-headers"),
    ("access_control_allow_credentials", "access-control-allow-credentials"),
    ("access_control_expose_headers", "access-control-expose-headers"),
    ("access_control_max_age", "access-control-max-age"),
    ("content_security_policy", "content-security-policy"),
    ("x_content_type_options", "x-content-type-options"),
];
const FRAME_OPTIONS: (&str, &str) = ("x_frame_options", "x-frame-options");

impl Listener {
    pub(crate) fn new(
        record: &Record,
        balancer: Arc<Balancer>,
        rules: RuleTable<Arc<GroupCell>>,
        tls: Option<Result<Arc<ListenerTls>, String>>,
    ) -> Self {
        let headers = RESPONSE_HEADERS.iter().chain([&FRAME_OPTIONS]).filter_map(|(key, name)| {
            let value = record.attribute(&format!("routing.http.response.{key}.header_value"));
            let value = HeaderValue::from_str(value).ok().filter(|value| !value.is_empty())?;
            Some((HeaderName::from_static(name), value))
        });
        let idle = record.attribute("tcp.idle_timeout.seconds").parse().unwrap_or(350);
        Self {
            port: record.port,
            port_header: HeaderValue::from(record.port),
            protocol: record.protocol,
            balancer,
            rules,
            tls,
            flow_idle: Duration::from_secs(idle),
            names: HeaderNames::new(record),
            response_headers: headers.collect(),
            keep_server: record.attribute("routing.http.response.server.enabled") != "false",
        }
    }

    pub(crate) fn is_tls(&self) -> bool {
        matches!(self.protocol, Protocol::Https | Protocol::Tls)
    }

    /// Sets and takes away headers of a response.
    pub(crate) fn finish_response(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.response_headers {
            headers.insert(name, value.clone());
        }
        if !self.keep_server {
            headers.remove(SERVER);
        }
    }
}

/// Where a listener is found, whatever becomes of it.
pub(crate) struct ListenerCell {
    current: ArcSwapOption<Listener>,
}

impl ListenerCell {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { current: ArcSwapOption::empty() })
    }

    pub(crate) fn load(&self) -> Option<Arc<Listener>> {
        self.current.load_full()
    }

    pub(crate) fn store(&self, listener: Option<Arc<Listener>>) {
        self.current.store(listener);
    }
}
