//! TLS of listeners and towards targets, by rustls.

mod client;
mod mutual;
mod names;
mod policy;

pub(crate) use client::to_targets;
pub(crate) use mutual::headers as mutual_headers;
pub(crate) use names::HeaderNames;

use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use wharf_model::load_balancing::{
    KeyPair, Listener, MutualAuthenticationMode, Protocol, TrustStore,
};

/// The TLS of a listener.
pub(crate) struct ListenerTls {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) passthrough: bool,
    certificates: Arc<ByName>,
}

/// A certificate and the names that it is for.
#[derive(Debug)]
struct Named {
    arn: Arc<str>,
    names: Vec<String>,
    key: Arc<CertifiedKey>,
}

/// Picks a certificate by the name that a client asks for.
#[derive(Debug)]
struct ByName {
    certificates: Vec<Named>,
}

impl ByName {
    fn pick(&self, server_name: Option<&str>) -> Option<&Named> {
        let named = server_name.and_then(|name| {
            // The most specific name wins: a name itself before a wildcard.
            let exact = |named: &&Named| named.names.iter().any(|own| own == name);
            let wild = |named: &&Named| named.names.iter().any(|own| wildcard_fits(own, name));
            self.certificates.iter().find(exact).or_else(|| self.certificates.iter().find(wild))
        });
        named.or_else(|| self.certificates.first())
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.pick(hello.server_name()).map(|named| Arc::clone(&named.key))
    }
}

fn wildcard_fits(pattern: &str, name: &str) -> bool {
    let Some(suffix) = pattern.strip_prefix("*.") else { return false };
    name.split_once('.').is_some_and(|(_, parent)| parent == suffix)
}

/// Builds the TLS of a listener; an error is for people.
pub(crate) fn of_listener(
    listener: &Listener,
    http2: bool,
    pairs: &[Arc<KeyPair>],
    trust: Option<&TrustStore>,
) -> Result<Arc<ListenerTls>, String> {
    let policy = policy::of(listener.ssl_policy.as_deref());
    let provider = policy.provider();
    let mut certificates = Vec::new();
    for pair in pairs {
        certificates.push(certificate(pair, &provider)?);
    }
    if certificates.is_empty() {
        return Err("the listener has no certificate".into());
    }
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(policy.versions())
        .map_err(|error| format!("the security policy can't be carried out: {error}"))?;
    let mode = listener.mutual_authentication.as_ref();
    let builder = match mode.filter(|mode| mode.mode != MutualAuthenticationMode::Off) {
        Some(mode) => builder.with_client_cert_verifier(mutual::verifier(mode, trust, &provider)?),
        None => builder.with_no_client_auth(),
    };
    let certificates = Arc::new(ByName { certificates });
    let mut config = builder.with_cert_resolver(Arc::<ByName>::clone(&certificates));
    config.alpn_protocols = alpn(listener, http2);
    config.ignore_client_order = true;
    let passthrough = mode.is_some_and(|mode| mode.mode == MutualAuthenticationMode::Passthrough);
    Ok(Arc::new(ListenerTls { config: Arc::new(config), passthrough, certificates }))
}

fn alpn(listener: &Listener, http2: bool) -> Vec<Vec<u8>> {
    let (one, two) = (b"http/1.1".to_vec(), b"h2".to_vec());
    match (listener.protocol, listener.alpn_policy.as_deref()) {
        (Protocol::Https, _) if http2 => vec![two, one],
        (Protocol::Https, _) | (_, Some("HTTP1Only")) => vec![one],
        (_, Some("HTTP2Only")) => vec![two],
        (_, Some("HTTP2Optional")) => vec![one, two],
        (_, Some("HTTP2Preferred")) => vec![two, one],
        _ => Vec::new(),
    }
}

fn certificate(pair: &KeyPair, provider: &rustls::crypto::CryptoProvider) -> Result<Named, String> {
    let fail = |what: &str, error: &dyn std::fmt::Display| format!("{}: {what}: {error}", pair.arn);
    let chain = CertificateDer::pem_slice_iter(pair.chain.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| fail("the certificate can't be read", &error))?;
    let Some(leaf) = chain.first() else {
        return Err(fail("the certificate can't be read", &"it is empty"));
    };
    let names = names(leaf);
    let key = PrivateKeyDer::from_pem_slice(pair.private_key.as_bytes())
        .map_err(|error| fail("the private key can't be read", &error))?;
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|error| fail("the private key can't be used", &error))?;
    Ok(Named { arn: pair.arn.as_str().into(), names, key: Arc::new(CertifiedKey::new(chain, key)) })
}

/// The DNS names that a certificate is for.
fn names(leaf: &CertificateDer<'_>) -> Vec<String> {
    use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return Vec::new() };
    let mut names: Vec<String> = certificate
        .subject_alternative_name()
        .ok()
        .flatten()
        .into_iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect();
    if names.is_empty() {
        let common = certificate.subject().iter_common_name();
        names.extend(common.filter_map(|name| name.as_str().ok()).map(str::to_ascii_lowercase));
    }
    names
}

/// Facts of a client's connection, for headers and logs.
#[derive(Debug, Clone, Default)]
pub(crate) struct TlsFacts {
    pub(crate) version: &'static str,
    pub(crate) cipher: String,
    pub(crate) server_name: Option<String>,
    /// ARN of the certificate that it was shown.
    pub(crate) certificate: Option<Arc<str>>,
    pub(crate) client_chain: Vec<CertificateDer<'static>>,
    pub(crate) passthrough: bool,
}

impl TlsFacts {
    pub(crate) fn new(connection: &rustls::ServerConnection, tls: &ListenerTls) -> Self {
        let version = match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "-",
        };
        let suite = connection.negotiated_cipher_suite().map(|suite| suite.suite());
        Self {
            version,
            cipher: suite.map(policy::openssl_name).unwrap_or_default(),
            server_name: connection.server_name().map(str::to_owned),
            certificate: tls
                .certificates
                .pick(connection.server_name())
                .map(|named| Arc::clone(&named.arn)),
            client_chain: connection
                .peer_certificates()
                .map(|chain| chain.iter().map(|c| c.clone().into_owned()).collect())
                .unwrap_or_default(),
            passthrough: tls.passthrough,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_one_label() {
        assert!(wildcard_fits("*.a.example", "b.a.example"));
        assert!(!wildcard_fits("*.a.example", "c.b.a.example"));
        assert!(!wildcard_fits("*.a.example", "a.example"));
        assert!(!wildcard_fits("a.example", "a.example"));
    }
}
