//! Connection logs in the format of Application Load Balancers: one line for each connection of a
//! client, with what became of its TLS.

use crate::access_log::{quoted, time, trace};
use crate::live::Listener;
use crate::tls::TlsFacts;
use rustls_pki_types::CertificateDer;
use std::net::SocketAddr;
use std::time::Duration;

/// A connection, as its line tells of it.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Path of the load balancer.
    pub(crate) balancer: String,
    pub(crate) at: jiff::Timestamp,
    client: SocketAddr,
    port: u16,
    trace: u128,
    tls: Option<Tls>,
}

#[derive(Debug)]
struct Tls {
    version: &'static str,
    cipher: String,
    took: Option<Duration>,
    leaf: Option<Leaf>,
    status: String,
}

/// A client's certificate.
#[derive(Debug)]
struct Leaf {
    subject: String,
    validity: String,
    serial: String,
}

impl Entry {
    /// A connection without TLS.
    pub(crate) fn new(listener: &Listener, client: SocketAddr, trace: u128) -> Self {
        Self {
            balancer: listener.balancer.path.clone(),
            at: jiff::Timestamp::now(),
            client,
            port: listener.port,
            trace,
            tls: None,
        }
    }

    /// With TLS that stands.
    pub(crate) fn secured(mut self, facts: &TlsFacts, took: Duration) -> Self {
        self.tls = Some(Tls {
            version: facts.version,
            cipher: facts.cipher.clone(),
            took: Some(took),
            leaf: facts.client_chain.first().and_then(leaf),
            status: "Success".to_owned(),
        });
        self
    }

    /// With TLS that didn't come about.
    pub(crate) fn failed(mut self, error: &std::io::Error) -> Self {
        let status = format!("Failed:{}", code(error));
        self.tls = Some(Tls { version: "-", cipher: "-".into(), took: None, leaf: None, status });
        self
    }

    /// The line, without its end.
    pub(crate) fn line(&self) -> String {
        let dash = || "-".to_owned();
        let tls = self.tls.as_ref();
        let leaf = tls.and_then(|tls| tls.leaf.as_ref());
        let took = tls.and_then(|tls| tls.took);
        format!(
            "{} {} {} {} {} {} {} \"{}\" {} {} {} {}",
            time(self.at),
            self.client.ip().to_canonical(),
            self.client.port(),
            self.port,
            tls.map_or("-", |tls| tls.version),
            tls.map_or("-", |tls| tls.cipher.as_str()),
            took.map_or_else(dash, |took| format!("{:.3}", took.as_secs_f64())),
            leaf.map_or_else(dash, |leaf| quoted(&leaf.subject)),
            leaf.map_or("-", |leaf| leaf.validity.as_str()),
            leaf.map_or("-", |leaf| leaf.serial.as_str()),
            tls.map_or("-", |tls| tls.status.as_str()),
            trace(self.trace),
        )
    }
}

fn leaf(certificate: &CertificateDer<'_>) -> Option<Leaf> {
    use x509_parser::prelude::{FromDer as _, X509Certificate};
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let at = |time: x509_parser::time::ASN1Time| {
        let at = jiff::Timestamp::from_second(time.timestamp()).unwrap_or_default();
        at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    };
    let validity = parsed.validity();
    Some(Leaf {
        subject: parsed.subject().to_string(),
        validity: format!(
            "NotBefore={};NotAfter={}",
            at(validity.not_before),
            at(validity.not_after)
        ),
        serial: hex::encode_upper(parsed.raw_serial()),
    })
}

/// The service's name for what went wrong.
fn code(error: &std::io::Error) -> &'static str {
    use rustls::{CertificateError as Certificate, Error};
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
    let Some(Error::InvalidCertificate(error)) = cause else { return "UnmappedConnectionError" };
    match error {
        Certificate::Expired | Certificate::ExpiredContext { .. } => "ClientCertExpired",
        Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
            "ClientCertNotYetValid"
        }
        Certificate::Revoked => "ClientCertCrlHit",
        Certificate::UnknownIssuer => "ClientCertUntrusted",
        Certificate::InvalidPurpose | Certificate::InvalidPurposeContext { .. } => {
            "ClientCertPurposeInvalid"
        }
        Certificate::BadEncoding | Certificate::BadSignature => "ClientCertInvalid",
        _ => "ClientCertRejected",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(tls: Option<Tls>) -> Entry {
        Entry {
            balancer: "app/a/1".into(),
            at: jiff::Timestamp::default(),
            client: "192.0.2.1:1234".parse().unwrap(),
            port: 443,
            trace: 10,
            tls,
        }
    }

    #[test]
    fn a_line_has_the_fields_of_the_service() {
        assert_eq!(
            entry(None).line(),
            "1970-01-01T00:00:00.000000Z 192.0.2.1 1234 443 - - - \"-\" - - - \
             TID_0000000000000000000000000000000a"
        );
        let names = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let own = names.self_signed(&key).unwrap();
        let facts = TlsFacts {
            version: "TLSv1.3",
            cipher: "TLS_AES_128_GCM_SHA256".into(),
            client_chain: vec![own.der().clone()],
            ..TlsFacts::default()
        };
        let line = entry(None).secured(&facts, Duration::from_millis(4)).line();
        assert!(line.contains(" TLSv1.3 TLS_AES_128_GCM_SHA256 0.004 \"CN=rcgen self signed cert\" NotBefore=1975-"), "{line}");
        assert!(line.contains(" Success TID_"), "{line}");
        let expired = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        let line = entry(None).failed(&std::io::Error::other(expired)).line();
        assert!(line.contains(" - - - \"-\" - - Failed:ClientCertExpired TID_"), "{line}");
    }
}
