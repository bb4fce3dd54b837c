//! AWS Signature Version 4: the one gate that every API request passes.
//!
//! [`Gate::verify`] takes a request as its raw bytes came in and yields a [`Verified`] identity,
//! or says why not. There is no second way to make a `Verified`, no flag that skips the check and
//! no operation that does without it. Only verification lives here: nothing in this module signs.
//!
//! What is demanded beyond the signature itself: exactly one form of credentials, `host`, every
//! `x-amz-*` header and `content-type` (if sent) among the signed ones, the scope's date and
//! region in agreement with the request and this server, a clock window, and a body that is
//! hashed always. An unknown key and a wrong signature are answered alike, after the same work.

mod canonical;
mod claim;
mod clock;
mod error;
mod key;

pub use canonical::{CanonicalRequest, string_to_sign};
pub use claim::{Claim, Form, Scope};
pub use clock::{AmzDate, Clock, SystemClock};
pub use error::{Error, Reason};
pub use key::{Key, KeySource, Secret, signature, signing_key};

use crate::identity::{Grant, Verified};
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// How far the request's time may lie from this server's, in milliseconds.
pub const CLOCK_WINDOW_MS: i64 = 5 * 60 * 1000;
/// The longest life of a presigned request, in seconds (seven days).
pub const MAX_PRESIGNED_SECONDS: i64 = 604_800;

/// A request as it was received, before anything was decoded.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// HTTP method.
    pub method: &'a str,
    /// Path of the request target, percent-encoding untouched.
    pub path: &'a [u8],
    /// Query of the request target without its `?`, percent-encoding untouched.
    pub query: &'a [u8],
    /// Headers in the order of arrival, names in lower case.
    pub headers: Vec<(&'a str, &'a [u8])>,
    /// The whole body.
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// All values of the header `name` (lower case), in the order of arrival.
    pub fn header_values<'r>(&'r self, name: &'r str) -> impl Iterator<Item = &'a [u8]> + 'r {
        self.headers.iter().filter(move |(n, _)| *n == name).map(|(_, v)| *v)
    }
}

/// Verifies requests for one server.
pub struct Gate {
    keys: Arc<dyn KeySource>,
    account: String,
    region: String,
    /// Signs in the place of an unknown key, so that unknown and wrong take the same time.
    decoy: Secret,
}

impl Gate {
    /// A gate for requests to `account` in `region`, signed with one of `keys`.
    pub fn new(
        keys: Arc<dyn KeySource>,
        account: impl Into<String>,
        region: impl Into<String>,
    ) -> Self {
        let decoy = Secret::new(format!("{:032x}", rand::random::<u128>()));
        Self { keys, account: account.into(), region: region.into(), decoy }
    }

    /// Verifies `request`, whose body is complete, at this server's time `now`.
    ///
    /// The service that the request was signed for is in the answer: the router refuses a request
    /// whose service is another than the one that it addresses ([`Verified::demand_service`]).
    pub fn verify(
        &self,
        request: &Request<'_>,
        now: wharf_model::Timestamp,
    ) -> Result<Verified, Error> {
        let claim = Claim::parse(request)?;
        claim.check_signed_headers(request)?;
        claim.check_payload(request)?;
        claim.check_scope(&self.region)?;
        claim.check_time(now)?;

        let key = self.keys.find(&claim.access_key_id, claim.session_token.as_deref());
        let secret = key.as_ref().map_or(&self.decoy, |k| &k.secret);
        let canonical = CanonicalRequest::new(request, &claim);
        let expected =
            signature(&signing_key(secret, &claim.scope), &string_to_sign(&claim, &canonical));
        let equal: bool = expected.as_bytes().ct_eq(claim.signature.as_bytes()).into();
        let Some(key) = key.filter(|_| equal) else {
            return Err(Error::Mismatch);
        };
        if key.expires_at.is_some_and(|end| end <= now) {
            return Err(Error::TokenExpired);
        }
        Ok(Verified::new(claim, key, &self.account))
    }

    /// The identity that a token of the registry was given to, while the token is good and the key
    /// that asked for it is still there. The registry has checked the token's signature.
    pub(crate) fn redeem(&self, grant: Grant, now: wharf_model::Timestamp) -> Option<Verified> {
        if grant.expires_at <= now {
            return None;
        }
        let lasting = !matches!(grant.principal, wharf_model::Principal::RoleSession(..));
        if lasting {
            let key = self.keys.find(&grant.access_key_id, None)?;
            (key.principal == grant.principal).then_some(())?;
        }
        Some(Verified::by_token(grant, &self.account, &self.region))
    }
}
