//! What some operations need from outside of the state: an object store to read from, an authority
//! that signs certificates. Both may be absent; then what needs them is refused by name.

use zeroize::Zeroizing;

/// Reads objects from the operator's S3-compatible store.
#[async_trait::async_trait]
pub trait ObjectReader: Send + Sync {
    /// The object's content, or in words why there is none.
    async fn read(&self, bucket: &str, key: &str) -> Result<Vec<u8>, String>;
}

/// A certificate that an authority has signed, with its key.
pub struct IssuedCertificate {
    /// The certificate and its chain in PEM, leaf first.
    pub chain: String,
    /// Its private key in PEM (PKCS #8).
    pub private_key: Zeroizing<String>,
}

/// Signs certificates for names.
pub trait CertificateAuthority: Send + Sync {
    /// A certificate for these names, the first of them its subject, that holds until `not_after`
    /// (milliseconds since the epoch); or in words why there is none.
    fn issue(
        &self,
        names: &[String],
        not_before_ms: i64,
        not_after_ms: i64,
    ) -> Result<IssuedCertificate, String>;
}
