//! Keys, where they come from, and the HMAC chain that they start.

use super::claim::Scope;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use wharf_model::{Principal, Timestamp};
use zeroize::Zeroizing;

/// A secret access key. It has no `Debug` and no `Display`, and is wiped when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a secret over.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The secret itself. Every caller of this is a place to look at in a review.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// A key that was found, and whose it is.
pub struct Key {
    /// Secret access key.
    pub secret: Secret,
    /// Its owner.
    pub principal: Principal,
    /// End of temporary credentials; none for long-lived keys.
    pub expires_at: Option<Timestamp>,
    /// The session's facts, for temporary credentials.
    pub session: Option<crate::identity::Session>,
}

/// Finds keys. One answer for "no such key", "session token wrong" and "session token missing":
/// the gate can't tell them apart, so it can't tell others.
pub trait KeySource: Send + Sync {
    /// The key with this id. A long-lived key comes without a session token, a temporary one with
    /// exactly the token that belongs to it.
    fn find(&self, access_key_id: &str, session_token: Option<&str>) -> Option<Key>;
}

fn hmac(key: &[u8], data: &[u8]) -> Zeroizing<[u8; 32]> {
    // HMAC takes keys of every length, so this can't fail.
    #[allow(clippy::expect_used)]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes any key length");
    mac.update(data);
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// The signing key for `scope`: four HMACs from the secret.
pub fn signing_key(secret: &Secret, scope: &Scope) -> Zeroizing<[u8; 32]> {
    let start = Zeroizing::new(format!("AWS4{}", secret.expose()));
    let day = hmac(start.as_bytes(), scope.day.as_bytes());
    let region = hmac(&*day, scope.region.as_bytes());
    let service = hmac(&*region, scope.service.as_bytes());
    hmac(&*service, b"aws4_request")
}

/// The signature in hexadecimal.
pub fn signature(signing_key: &[u8; 32], string_to_sign: &str) -> String {
    hex::encode(*hmac(signing_key, string_to_sign.as_bytes()))
}
