//! The certificate authority of this wharf: made on the first start, it signs the certificates of the
//! names that wharf serves by TLS. Its key never leaves the data directory.
//!
//! Servers' certificates live in memory, for weeks, and are made anew with each start; what clients
//! are told to trust is the authority alone, which stays for ten years.

use crate::data_dir::{self, DataDir};
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Life of the authority's own certificate.
const AUTHORITY_YEARS: i64 = 10;
/// So long before its end it gets another one, with the same key.
const AUTHORITY_RENEWAL_YEARS: i64 = 2;
/// Life of a server's certificate.
const SERVER_DAYS: i64 = 90;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The authority's file.
    #[error(transparent)]
    DataDir(#[from] data_dir::Error),
    /// A certificate or key can't be made, or the file holds none.
    #[error(
        "can't make a certificate; if {0} is damaged, move it away: `wharf up` makes another \
         authority, which clients then have to trust anew"
    )]
    Certificate(std::path::PathBuf, #[source] rcgen::Error),
    /// The key isn't one that TLS works with.
    #[error("a certificate's key can't be used")]
    Key(#[from] rustls::Error),
    /// There is none yet.
    #[error("there is no authority in {0} yet: `wharf up` makes it")]
    Missing(std::path::PathBuf),
}

/// The authority as it lies in the data directory.
#[derive(Serialize, Deserialize)]
struct File {
    /// Its name, the same in every certificate of it.
    name: String,
    /// The last day of its certificate.
    not_after: String,
    /// PEM.
    certificate: String,
    /// PEM.
    key: String,
}

impl Drop for File {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.key);
    }
}

/// The authority.
pub struct Authority {
    path: std::path::PathBuf,
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// The data directory's authority, which is made or renewed if need be.
    ///
    /// # Errors
    /// If it can't be read, or made.
    pub fn load_or_create(data_dir: &DataDir, now: Timestamp) -> Result<Self, Error> {
        let path = data_dir.authority();
        let failed = |source| Error::Certificate(path.clone(), source);
        let today = TimeZone::UTC.to_datetime(now).date();
        let known: Option<File> = data_dir::read_json(&path)?;
        let due = today.saturating_add(AUTHORITY_RENEWAL_YEARS.years());
        let ends = known.as_ref().map(|known| known.not_after.parse::<Date>());
        let renewed = matches!(ends, Some(Ok(end)) if end < due);
        let file = match known {
            Some(known) if !renewed => known,
            known => {
                let name = known.as_ref().map(|known| known.name.clone());
                let name = name.unwrap_or_else(|| format!("wharf {}", data_dir.instance()));
                let key = match &known {
                    Some(known) => KeyPair::from_pem(&known.key),
                    None => KeyPair::generate(),
                };
                let key = key.map_err(failed)?;
                let end = today.saturating_add(AUTHORITY_YEARS.years());
                let mut params = authority_params(&name);
                validity(&mut params, today, end);
                let certificate = params.self_signed(&key).map_err(failed)?.pem();
                let (not_after, key) = (end.to_string(), key.serialize_pem());
                let file = File { name, not_after, certificate, key };
                data_dir::write_json(&path, &file)?;
                file
            }
        };
        let key = KeyPair::from_pem(&file.key).map_err(failed)?;
        let issuer = Issuer::new(authority_params(&file.name), key);
        Ok(Self { path, certificate: file.certificate.clone(), issuer })
    }

    /// The authority's certificate, in PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A key with a certificate for these names, DNS names or IP addresses, good for 90 days.
    ///
    /// # Errors
    /// If a name is none.
    pub fn issue(&self, names: &[String], now: Timestamp) -> Result<CertifiedKey, Error> {
        let today = TimeZone::UTC.to_datetime(now).date();
        let end = today.saturating_add(SERVER_DAYS.days());
        let (certificate, key) = self.sign(names, today, end)?;
        let secret = Zeroizing::new(key.serialize_der());
        let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(secret.to_vec()));
        Ok(CertifiedKey::new(vec![certificate.der().clone()], any_supported_type(&secret)?))
    }

    /// A key and a certificate for these names, both in PEM.
    ///
    /// # Errors
    /// If a name is none.
    pub fn issue_pem(
        &self,
        names: &[String],
        from: Timestamp,
        until: Timestamp,
    ) -> Result<(String, Zeroizing<String>), Error> {
        let day = |at| TimeZone::UTC.to_datetime(at).date();
        let (certificate, key) = self.sign(names, day(from), day(until))?;
        Ok((certificate.pem(), Zeroizing::new(key.serialize_pem())))
    }

    fn sign(
        &self,
        names: &[String],
        from: Date,
        until: Date,
    ) -> Result<(rcgen::Certificate, KeyPair), Error> {
        let failed = |source| Error::Certificate(self.path.clone(), source);
        let mut params = CertificateParams::new(names).map_err(failed)?;
        params.distinguished_name = DistinguishedName::new();
        if let Some(name) = names.first() {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        validity(&mut params, from, until);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok((certificate, key))
    }
}

/// The authority's certificate in PEM, for whoever only reads it.
///
/// # Errors
/// If there is none.
pub fn certificate(data_dir: &DataDir) -> Result<String, Error> {
    let path = data_dir.authority();
    let file: File = data_dir::read_json(&path)?.ok_or(Error::Missing(path))?;
    Ok(file.certificate.clone())
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "wharf");
    params.distinguished_name.push(DnType::CommonName, name);
    // It signs servers, and no further authorities.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// From the day before `today` on, for clocks that go wrong a little.
fn validity(params: &mut CertificateParams, today: Date, end: Date) {
    let part = |number: i8| u8::try_from(number).unwrap_or(1);
    let day =
        |date: Date| date_time_ymd(i32::from(date.year()), part(date.month()), part(date.day()));
    params.not_before = day(today.saturating_sub(1.day()));
    params.not_after = day(end);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn it_stays_and_its_key_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = DataDir::open(Some(directory.path())).unwrap();
        assert!(matches!(certificate(&data_dir), Err(Error::Missing(_))));
        let now: Timestamp = "2026-11-28T00:00:00Z".parse().unwrap();
        let made = Authority::load_or_create(&data_dir, now).unwrap();
        let mode = std::fs::metadata(data_dir.authority()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = Authority::load_or_create(&data_dir, now).unwrap();
        assert_eq!(made.certificate(), again.certificate());
        assert_eq!(certificate(&data_dir).unwrap(), made.certificate());
        // Near its end it gets another certificate for the same key.
        let later: Timestamp = "2035-11-28T00:00:00Z".parse().unwrap();
        let renewed = Authority::load_or_create(&data_dir, later).unwrap();
        assert_ne!(made.certificate(), renewed.certificate());
        let key = |authority: &Authority| authority.issuer.key().public_key_pem();
        assert_eq!(key(&made), key(&renewed));
    }

    #[test]
    fn its_certificates_are_trusted_by_whoever_trusts_it() {
        use rustls::client::danger::ServerCertVerifier as _;
        let directory = tempfile::tempdir().unwrap();
        let data_dir = DataDir::open(Some(directory.path())).unwrap();
        let now = Timestamp::now();
        let authority = Authority::load_or_create(&data_dir, now).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        use rustls::pki_types::pem::PemObject as _;
        let pem = authority.certificate().as_bytes();
        roots.add(rustls::pki_types::CertificateDer::from_pem_slice(pem).unwrap()).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            rustls::client::WebPkiServerVerifier::builder_with_provider(roots.into(), provider);
        let verifier = verifier.build().unwrap();
        let key = authority.issue(&["a.example".to_owned(), "127.80.0.1".to_owned()], now).unwrap();
        let time = rustls::pki_types::UnixTime::now();
        let check = |name: &str, at| {
            let name = name.to_owned().try_into().unwrap();
            verifier.verify_server_cert(&key.cert[0], &[], &name, &[], at).is_ok()
        };
        assert!(check("a.example", time) && check("127.80.0.1", time));
        assert!(!check("b.example", time));
        let later = std::time::Duration::from_secs(time.as_secs() + 91 * 24 * 3600);
        assert!(!check("a.example", rustls::pki_types::UnixTime::since_unix_epoch(later)));
    }
}
