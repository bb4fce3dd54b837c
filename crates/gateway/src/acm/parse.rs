//! Certificates and keys out of PEM.

use super::validation;
use crate::error::ApiError;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use wharf_model::Timestamp;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;

/// What is known of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) domain_name: String,
    pub(super) names: Vec<String>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    pub(super) serial: String,
    pub(super) subject: String,
    pub(super) issuer: String,
    pub(super) signature_algorithm: String,
    pub(super) key_algorithm: Option<&'static str>,
    public_key: Vec<u8>,
}

/// The certificates of a text, as DER.
pub(super) fn certificates(text: &str, what: &str) -> Result<Vec<Vec<u8>>, ApiError> {
    let bad = || validation(format!("The {what} is not in a valid PEM format."));
    let mut found = Vec::new();
    for pem in Pem::iter_from_buffer(text.as_bytes()) {
        let pem = pem.map_err(|_| bad())?;
        if pem.label != "CERTIFICATE" || X509Certificate::from_der(&pem.contents).is_err() {
            return Err(bad());
        }
        found.push(pem.contents);
    }
    if found.is_empty() { Err(bad()) } else { Ok(found) }
}

/// What a certificate says of itself.
pub(super) fn leaf(der: &[u8]) -> Result<Leaf, ApiError> {
    let (_, parsed) = X509Certificate::from_der(der)
        .map_err(|_| validation("The certificate is not in a valid PEM format."))?;
    let common_name = parsed.subject().iter_common_name().next().and_then(|cn| cn.as_str().ok());
    let alternative = parsed.subject_alternative_name().ok().flatten();
    let alternative = alternative.map(|ext| ext.value.general_names.as_slice()).unwrap_or_default();
    let mut names: Vec<String> = Vec::new();
    for name in alternative {
        match name {
            GeneralName::DNSName(name) => names.push((*name).to_owned()),
            GeneralName::IPAddress([a, b, c, d]) => names.push(format!("{a}.{b}.{c}.{d}")),
            _ => {}
        }
    }
    let domain_name = common_name.map(str::to_owned).or_else(|| names.first().cloned());
    let domain_name = domain_name.unwrap_or_default();
    if names.is_empty() && !domain_name.is_empty() {
        names.push(domain_name.clone());
    }
    let validity = parsed.validity();
    let at = |time: x509_parser::time::ASN1Time| Timestamp(time.timestamp().saturating_mul(1000));
    Ok(Leaf {
        domain_name,
        names,
        not_before: at(validity.not_before),
        not_after: at(validity.not_after),
        serial: parsed.raw_serial_as_string(),
        subject: parsed.subject().to_string(),
        issuer: parsed.issuer().to_string(),
        signature_algorithm: signature_algorithm(&parsed),
        key_algorithm: key_algorithm(&parsed),
        public_key: parsed.public_key().raw.to_vec(),
    })
}

/// API `SignatureAlgorithm`.
fn signature_algorithm(certificate: &X509Certificate<'_>) -> String {
    let oid = certificate.signature_algorithm.algorithm.to_id_string();
    match oid.as_str() {
        "1.2.840.113549.1.1.11" => "SHA256WITHRSA",
        "1.2.840.113549.1.1.12" => "SHA384WITHRSA",
        "1.2.840.113549.1.1.13" => "SHA512WITHRSA",
        "1.2.840.10045.4.3.2" => "SHA256WITHECDSA",
        "1.2.840.10045.4.3.3" => "SHA384WITHECDSA",
        "1.2.840.10045.4.3.4" => "SHA512WITHECDSA",
        other => other,
    }
    .to_owned()
}

/// API `KeyAlgorithm`; none of a kind that ACM doesn't have.
fn key_algorithm(certificate: &X509Certificate<'_>) -> Option<&'static str> {
    match certificate.public_key().parsed().ok()? {
        PublicKey::RSA(key) => match key.key_size() {
            1024 => Some("RSA_1024"),
            2048 => Some("RSA_2048"),
            3072 => Some("RSA_3072"),
            4096 => Some("RSA_4096"),
            _ => None,
        },
        PublicKey::EC(key) => match key.key_size() {
            256 => Some("EC_prime256v1"),
            384 => Some("EC_secp384r1"),
            521..=528 => Some("EC_secp521r1"),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a key is a certificate's own.
pub(super) fn check_key(leaf: &Leaf, key: &str) -> Result<(), ApiError> {
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| {
        validation("The private key is not in a valid PEM format, or is protected by a passphrase.")
    })?;
    let key = any_supported_type(&key).map_err(|_| {
        validation("The private key's algorithm or size is not supported by this server.")
    })?;
    match key.public_key() {
        Some(public) if public.as_ref() == leaf.public_key => Ok(()),
        _ => Err(validation(
            "The private key does not correspond to the public key of the certificate.",
        )),
    }
}

/// PEM of certificates, one form for all.
pub(super) fn encode(certificates: &[Vec<u8>]) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let mut text = String::new();
    for der in certificates {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = STANDARD.encode(der);
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(64));
            text.push_str(line);
            text.push('\n');
            rest = after;
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}
