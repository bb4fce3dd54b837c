//! Connection logs in the format of Application Load Balancers: one line for each connection of a
//! client, with what became of its TLS.

use crate::access_log::Line;
use crate::live::{Listener, since_epoch};
use crate::tls::TlsFacts;
use rustls_pki_types::CertificateDer;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// A connection, as its line tells of it.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Path of the load balancer.
    pub(crate) balancer: Arc<str>,
    /// Since 1970.
    pub(crate) at: Duration,
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
            balancer: Arc::clone(&listener.balancer.path),
            at: since_epoch(),
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

    /// Lays the line out, without its end.
    pub(crate) fn lay_out(&self, line: &mut Line<'_>) {
        let tls = self.tls.as_ref();
        let leaf = tls.and_then(|tls| tls.leaf.as_ref());
        line.time(self.at).space().text(&self.client.ip().to_canonical().to_string()).space();
        line.number(self.client.port().into()).space().number(self.port.into()).space();
        line.text(tls.map_or("-", |tls| tls.version)).space();
        line.text(tls.map_or("-", |tls| tls.cipher.as_str())).space();
        match tls.and_then(|tls| tls.took) {
            Some(took) => line.seconds(Some(took)),
            None => line.text("-"),
        };
        let subject = leaf.map_or("-", |leaf| leaf.subject.as_str());
        line.text(" \"").quoted(subject.as_bytes()).text("\" ");
        line.text(leaf.map_or("-", |leaf| leaf.validity.as_str())).space();
        line.text(leaf.map_or("-", |leaf| leaf.serial.as_str())).space();
        line.text(tls.map_or("-", |tls| tls.status.as_str())).space().trace(self.trace);
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
            at: Duration::ZERO,
            client: "192.0.2.1:1234".parse().unwrap(),
            port: 443,
            trace: 10,
            tls,
        }
    }

    fn line(entry: &Entry) -> String {
        crate::access_log::laid_out(|line| entry.lay_out(line))
    }

    #[test]
    fn a_line_has_the_fields_of_the_service() {
        assert_eq!(
            line(&entry(None)),
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
        let secured = line(&entry(None).secured(&facts, Duration::from_millis(4)));
        assert!(secured.contains(" TLSv1.3 TLS_AES_128_GCM_SHA256 0.004 \"CN=rcgen self signed cert\" NotBefore=1975-"), "{secured}");
        assert!(secured.contains(" Success TID_"), "{secured}");
        let expired = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        let failed = line(&entry(None).failed(&std::io::Error::other(expired)));
        assert!(failed.contains(" - - - \"-\" - - Failed:ClientCertExpired TID_"), "{failed}");
    }
}
