//! Listeners.

use super::attributes::{self, Attribute};
use super::rule::Action;
use crate::tag::Tag;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Protocol of a listener, of a target group or of its health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Protocol {
    /// HTTP without TLS.
    Http,
    /// HTTP over TLS.
    Https,
    /// TCP as it is.
    Tcp,
    /// TCP in TLS.
    Tls,
    /// UDP.
    Udp,
    /// TCP and UDP on one port.
    TcpUdp,
}

impl Protocol {
    /// The API's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Https => "HTTPS",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Udp => "UDP",
            Self::TcpUdp => "TCP_UDP",
        }
    }

    /// Reads the API's word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Http, Self::Https, Self::Tcp, Self::Tls, Self::Udp, Self::TcpUdp]
            .into_iter()
            .find(|p| p.as_str() == word)
    }

    /// Whether it is one of an Application Load Balancer.
    pub const fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }
}

/// `Mode` of mutual authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MutualAuthenticationMode {
    /// Clients aren't asked for a certificate.
    Off,
    /// A client's certificate chain is passed on in X-Amzn-Mtls-Clientcert and not checked.
    Passthrough,
    /// A client's certificate is held against the trust store.
    Verify,
}

/// API `MutualAuthenticationAttributes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MutualAuthentication {
    /// Whether, and how.
    pub mode: MutualAuthenticationMode,
    /// Path of the trust store (`NAME/ID`), in mode verify.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_store: Option<String>,
    /// Expired client certificates pass.
    #[serde(default)]
    pub ignore_expiry: bool,
    /// The trust store's CA names are sent to clients.
    #[serde(default)]
    pub advertise_ca_names: bool,
}

/// A listener: a port of a load balancer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listener {
    /// Path of its load balancer: `app/NAME/ID`.
    pub load_balancer: String,
    /// 16 hex digits.
    pub id: String,
    /// Its port.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// API `SslPolicy`, with TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssl_policy: Option<String>,
    /// ARNs of its certificates: the default one first, then those for SNI.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<String>,
    /// API `AlpnPolicy` of a TLS listener: HTTP1Only, HTTP2Only, HTTP2Optional, HTTP2Preferred, None.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpn_policy: Option<String>,
    /// API `MutualAuthentication`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mutual_authentication: Option<MutualAuthentication>,
    /// Actions of the default rule, by their order.
    pub default_actions: Vec<Action>,
    /// Attributes that differ from their defaults.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// Its tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
}

impl Listener {
    /// What its ARN ends in behind `listener/`, and what it is filed under: `app/NAME/ID/ID`.
    pub fn path(&self) -> String {
        format!("{}/{}", self.load_balancer, self.id)
    }

    /// The attributes that listeners of its protocol have.
    pub fn attributes(&self) -> &'static [Attribute] {
        attributes::attributes_of_listener(self.protocol)
    }

    /// The value of an attribute: as it was set, else its default; empty if there is no such.
    pub fn attribute(&self, key: &str) -> &str {
        attributes::value(&self.attributes, self.attributes(), key)
    }
}
