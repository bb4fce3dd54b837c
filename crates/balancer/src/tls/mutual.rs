//! Mutual TLS: certificates of clients, checked against a trust store or passed on as they are.

use super::{HeaderNames, TlsFacts};
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use std::sync::Arc;
use wharf_model::load_balancing::{MutualAuthentication, MutualAuthenticationMode, TrustStore};

/// The verifier of a listener's clients.
pub(super) fn verifier(
    settings: &MutualAuthentication,
    trust: Option<&TrustStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    if settings.mode == MutualAuthenticationMode::Passthrough {
        return Ok(Arc::new(AnyClient(Arc::clone(provider))));
    }
    let trust = trust.ok_or("the trust store of the listener is missing")?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(trust.bundle.as_bytes()) {
        let added = certificate
            .map_err(|error| error.to_string())
            .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()));
        added.map_err(|error| format!("the trust store {}: {error}", trust.name))?;
    }
    let mut revoked = Vec::new();
    for (number, list) in &trust.revocations {
        for list in CertificateRevocationListDer::pem_slice_iter(list.as_bytes()) {
            revoked.push(list.map_err(|error| {
                format!("the revocation list {number} of the trust store {}: {error}", trust.name)
            })?);
        }
    }
    let names = if settings.advertise_ca_names { roots.subjects() } else { Vec::new() };
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
            .with_crls(revoked)
            .allow_unknown_revocation_status();
    let inner =
        builder.build().map_err(|error| format!("the trust store {}: {error}", trust.name))?;
    Ok(Arc::new(Trusted { inner, names, ignore_expiry: settings.ignore_expiry }))
}

#[derive(Debug)]
struct Trusted {
    inner: Arc<dyn ClientCertVerifier>,
    names: Vec<DistinguishedName>,
    ignore_expiry: bool,
}

impl ClientCertVerifier for Trusted {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.names
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let at = if self.ignore_expiry { within_validity(leaf, now) } else { now };
        self.inner.verify_client_cert(leaf, others, at)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Now, or the last second at which an expired certificate held.
fn within_validity(leaf: &CertificateDer<'_>, now: UnixTime) -> UnixTime {
    use x509_parser::prelude::{FromDer as _, X509Certificate};
    let end = X509Certificate::from_der(leaf)
        .ok()
        .and_then(|(_, leaf)| u64::try_from(leaf.validity().not_after.timestamp()).ok());
    match end {
        Some(end) if end < now.as_secs() => {
            UnixTime::since_unix_epoch(std::time::Duration::from_secs(end))
        }
        _ => now,
    }
}

/// Takes any certificate, or none: it is the target that checks it.
#[derive(Debug)]
struct AnyClient(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What stays as it is in a certificate header: `+`, `=` and `/` as the service leaves them.
const ENCODED: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'%').add(b'<').add(b'>').add(b',').add(b';').add(b'\\');

/// Sets the headers that tell a target of the client's certificate; whatever the client sent by
/// those names goes.
pub(crate) fn headers(headers: &mut HeaderMap, facts: Option<&TlsFacts>, names: &HeaderNames) {
    let own: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("x-amzn-mtls-")).cloned().collect();
    for name in own {
        headers.remove(name);
    }
    names.strip(headers);
    let Some((facts, leaf)) = facts.and_then(|facts| Some((facts, facts.client_chain.first()?)))
    else {
        return;
    };
    let mut set = |name: &HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    if facts.passthrough {
        let chain: String = facts.client_chain.iter().map(pem).collect();
        set(&names.chain, &utf8_percent_encode(&chain, ENCODED).to_string());
        return;
    }
    set(&names.leaf, &utf8_percent_encode(&pem(leaf), ENCODED).to_string());
    use x509_parser::prelude::{FromDer as _, X509Certificate};
    let Ok((_, leaf)) = X509Certificate::from_der(leaf) else { return };
    set(&names.serial, &hex::encode_upper(leaf.raw_serial()));
    set(&names.issuer, &leaf.issuer().to_string());
    set(&names.subject, &leaf.subject().to_string());
    let at = |seconds| {
        jiff::Timestamp::from_second(seconds)
            .map(|at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
            .unwrap_or_default()
    };
    let validity = leaf.validity();
    let (from, to) = (at(validity.not_before.timestamp()), at(validity.not_after.timestamp()));
    set(&names.validity, &format!("NotBefore={from};NotAfter={to}"));
}

fn pem(certificate: &CertificateDer<'static>) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}
