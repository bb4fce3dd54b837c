//! Names of the headers that tell a target of its client's TLS: attributes of a listener.

use http::{HeaderMap, HeaderName};
use wharf_model::load_balancing::Listener;

/// The names, as a listener has them.
#[derive(Debug, Clone)]
pub(crate) struct HeaderNames {
    pub(super) chain: HeaderName,
    pub(super) leaf: HeaderName,
    pub(super) serial: HeaderName,
    pub(super) issuer: HeaderName,
    pub(super) subject: HeaderName,
    pub(super) validity: HeaderName,
    pub(crate) version: HeaderName,
    pub(crate) cipher: HeaderName,
}

impl HeaderNames {
    pub(crate) fn new(listener: &Listener) -> Self {
        let name = |key: &str, default: &'static str| {
            let set = listener.attribute(&format!("routing.http.request.{key}.header_name"));
            set.parse().unwrap_or(HeaderName::from_static(default))
        };
        Self {
            chain: name("x_amzn_mtls_clientcert", "x-amzn-mtls-clientcert"),
            leaf: name("x_amzn_mtls_clientcert_leaf", "x-amzn-mtls-clientcert-leaf"),
            serial: name(
                "x_amzn_mtls_clientcert_serial_number",
                "x-amzn-mtls-clientcert-serial-number",
            ),
            issuer: name("x_amzn_mtls_clientcert_issuer", "x-amzn-mtls-clientcert-issuer"),
            subject: name("x_amzn_mtls_clientcert_subject", "x-amzn-mtls-clientcert-subject"),
            validity: name("x_amzn_mtls_clientcert_validity", "x-amzn-mtls-clientcert-validity"),
            version: name("x_amzn_tls_version", "x-amzn-tls-version"),
            cipher: name("x_amzn_tls_cipher_suite", "x-amzn-tls-cipher-suite"),
        }
    }

    /// Takes away what a client sent by these names: a target takes it for the load balancer's word.
    pub(super) fn strip(&self, headers: &mut HeaderMap) {
        for name in
            [&self.chain, &self.leaf, &self.serial, &self.issuer, &self.subject, &self.validity]
        {
            headers.remove(name);
        }
    }
}
