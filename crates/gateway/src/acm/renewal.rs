//! Managed renewal: a certificate that the local authority issued and that a load balancer serves is
//! issued anew, under its ARN, long before it ends. Listeners take the new one at once, as after an
//! import.

use super::{changed, parse, request, seal, users};
use crate::app::App;
use crate::error::ApiError;
use crate::outside::IssuedCertificate;
use crate::registry::content::commit;
use crate::vault::Vault;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use wharf_model::load_balancing::Certificate;
use wharf_model::{ArnScope, Snapshot, Timestamp, Transaction};

/// So long before its end a certificate is issued anew, as in ACM.
const BEFORE_END: Duration = Duration::from_secs(60 * 24 * 60 * 60);
/// How often it is looked for.
const INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Whether a certificate will be renewed (API `RenewalEligibility`): one that was issued and is in use.
pub(super) fn is_eligible(snapshot: &Snapshot, arns: &ArnScope, certificate: &Certificate) -> bool {
    !certificate.imported && !users(snapshot, arns, &arns.certificate(&certificate.id)).is_empty()
}

/// Ids of the certificates that are to be renewed now.
pub(super) fn due(snapshot: &Snapshot, arns: &ArnScope, now: Timestamp) -> Vec<String> {
    let ends_soon = |certificate: &&Arc<Certificate>| certificate.not_after <= now.plus(BEFORE_END);
    let due = snapshot.certificates().filter(ends_soon);
    let due = due.filter(|certificate| is_eligible(snapshot, arns, certificate));
    due.map(|certificate| certificate.id.clone()).collect()
}

/// Puts what was issued in the place of the certificate's text and key; nothing if it is gone or isn't
/// due any more.
///
/// # Errors
/// If what was issued can't be read, or its key can't be sealed.
pub(super) fn renewed(
    snapshot: &Snapshot,
    arns: &ArnScope,
    vault: &Vault,
    (id, issued): (&str, &IssuedCertificate),
    now: Timestamp,
) -> Result<Transaction, ApiError> {
    let present = snapshot.certificate(&id.to_owned());
    let Some(present) = present.filter(|_| due(snapshot, arns, now).iter().any(|due| due == id))
    else {
        return Ok(Transaction::new());
    };
    let leaf = parse::leaf(&parse::certificates(&issued.chain, "certificate")?[0])?;
    let certificate = Certificate {
        chain: issued.chain.clone(),
        private_key: seal(vault, arns, id, &issued.private_key)?,
        not_before: leaf.not_before,
        not_after: leaf.not_after,
        renewed_at: Some(now),
        ..Certificate::clone(present)
    };
    Ok(changed(snapshot, certificate))
}

/// Renews what is due until `shutdown`. What can't be renewed is tried again an hour later, with a line
/// in the log.
pub async fn keep_renewed(app: Arc<App>, shutdown: CancellationToken) {
    let mut interval = tokio::time::interval(INTERVAL);
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            () = shutdown.cancelled() => return,
        }
        let now = app.now();
        for id in due(&app.store().snapshot(), app.arns(), now) {
            match renew(&app, &id, now).await {
                Ok(()) => tracing::info!(id, "certificate renewed"),
                Err(error) => tracing::error!(id, %error, "a certificate can't be renewed"),
            }
        }
    }
}

async fn renew(app: &App, id: &str, now: Timestamp) -> Result<(), ApiError> {
    let snapshot = app.store().snapshot();
    let (Some(authority), Some(certificate)) =
        (app.authority(), snapshot.certificate(&id.to_owned()))
    else {
        return Ok(());
    };
    let issued = request::issue(authority.as_ref(), &certificate.names, now)?;
    commit(app, "renew certificate", |snapshot| {
        let transaction = renewed(snapshot, app.arns(), app.vault(), (id, &issued), now)?;
        Ok::<_, ApiError>((transaction, ()))
    })
    .await
}
