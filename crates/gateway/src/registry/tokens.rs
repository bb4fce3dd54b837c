//! The registry's tokens: what `docker login` gets as a password, and the addresses of single layers.

use crate::app::App;
use crate::identity::{Grant, Verified};
use serde::{Deserialize, Serialize};
use wharf_model::Timestamp;
use wharf_registry::token::Purpose;

/// A login's life: 12 hours, as ECR's.
pub(crate) const LOGIN_MS: i64 = 12 * 3600 * 1000;
/// The life of a layer's address.
const LAYER_MS: i64 = 3600 * 1000;

/// One layer of one repository, for whoever has the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerGrant {
    /// The repository's id.
    #[serde(rename = "r")]
    pub repository: String,
    /// The layer.
    #[serde(rename = "d")]
    pub digest: String,
    /// When it ends.
    #[serde(rename = "e")]
    pub expires_at: Timestamp,
}

/// What a login's token turned out to be.
pub(crate) enum Login {
    /// Somebody's.
    Good(Verified),
    /// Once somebody's: it has ended, or its key has.
    Expired,
    /// Nobody's.
    Wrong,
}

/// A login's token for `identity`, and when it ends.
pub(crate) fn login(app: &App, identity: &Verified, now: Timestamp) -> (String, Timestamp) {
    let end = Timestamp(now.as_millis().saturating_add(LOGIN_MS));
    let end = identity.session().map_or(end, |session| end.min(session.expires_at));
    let grant = Grant {
        access_key_id: identity.access_key_id().to_owned(),
        principal: identity.principal().clone(),
        expires_at: end,
    };
    // Plain data: laying it out doesn't fail.
    let content = serde_json::to_vec(&grant).unwrap_or_default();
    (app.registry().tokens().issue(Purpose::Login, &content), end)
}

/// Whose a login's token is.
pub(crate) fn redeem(app: &App, token: &str, now: Timestamp) -> Login {
    let content = app.registry().tokens().open(Purpose::Login, token);
    let grant = content.and_then(|content| serde_json::from_slice::<Grant>(&content).ok());
    match grant {
        None => Login::Wrong,
        Some(grant) => match app.gate().redeem(grant, now) {
            Some(identity) => Login::Good(identity),
            None => Login::Expired,
        },
    }
}

/// A token for one layer.
pub(crate) fn layer(app: &App, repository: &str, digest: &str, now: Timestamp) -> String {
    let grant = LayerGrant {
        repository: repository.to_owned(),
        digest: digest.to_owned(),
        expires_at: Timestamp(now.as_millis().saturating_add(LAYER_MS)),
    };
    let content = serde_json::to_vec(&grant).unwrap_or_default();
    app.registry().tokens().issue(Purpose::Layer, &content)
}

/// The layer that a token is for, while it is good.
pub(crate) fn open_layer(app: &App, token: &str, now: Timestamp) -> Option<LayerGrant> {
    let content = app.registry().tokens().open(Purpose::Layer, token)?;
    let grant: LayerGrant = serde_json::from_slice(&content).ok()?;
    (grant.expires_at > now).then_some(grant)
}
