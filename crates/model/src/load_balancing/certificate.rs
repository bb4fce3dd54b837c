//! Certificates and trust stores.

use crate::secret::Sealed;
use crate::tag::Tag;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A certificate of ACM, imported or issued by the local authority.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// What its ARN ends in behind `certificate/`: a UUID.
    pub id: String,
    /// API `DomainName`.
    pub domain_name: String,
    /// API `SubjectAlternativeNames`, the domain name included.
    pub names: Vec<String>,
    /// The certificate and its chain in PEM, leaf first.
    pub chain: String,
    /// Its private key in PEM, sealed.
    pub private_key: Sealed,
    /// Whether it was imported (API `Type` IMPORTED), not requested (AMAZON_ISSUED).
    pub imported: bool,
    /// When it was made or last imported.
    pub created_at: Timestamp,
    /// From when it holds.
    pub not_before: Timestamp,
    /// Until when it holds.
    pub not_after: Timestamp,
    /// When it was last issued anew (API `RenewedAt`), if it ever was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewed_at: Option<Timestamp>,
    /// Its tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
}

/// A trust store: the authorities whose client certificates a listener takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrustStore {
    /// Its name.
    pub name: String,
    /// 16 hex digits.
    pub id: String,
    /// The bundle of CA certificates in PEM.
    pub bundle: String,
    /// Lists of revoked certificates in PEM by their number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revocations: Vec<(u64, String)>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
}

impl TrustStore {
    /// What its ARN ends in behind `truststore/`, and what it is filed under: `NAME/ID`.
    pub fn path(&self) -> String {
        format!("{}/{}", self.name, self.id)
    }
}
