//! RequestCertificate: the local authority issues at once, since the names are this host's own.

use super::import::LIMIT;
use super::{changed, error, parse, refuse, seal, tags, validation};
use crate::context::{Context, Outcome, Result as OperationResult};
use crate::dispatch::{Call, Encoded};
use crate::error::ApiError;
use crate::outside::{CertificateAuthority, IssuedCertificate};
use sha2::{Digest as _, Sha256};
use std::time::Duration;
use wharf_model::load_balancing::Certificate;
use wharf_model::{ClientToken, RecordKey, Timestamp};
use wharf_wire::acm::{ErrorCode, operation, types};
use wharf_wire::{Document, OperationShape as _};

/// 13 months, as ACM's.
const LIFE: Duration = Duration::from_secs(395 * 24 * 60 * 60);
/// Clocks differ.
const BEFORE: Duration = Duration::from_secs(60 * 60);
/// A token means the same request for so long.
const TOKEN_LIFE: Duration = Duration::from_secs(60 * 60);
/// Names of a certificate.
const MAX_NAMES: usize = 100;

pub(super) async fn request(call: Call<'_>) -> Encoded {
    let names = names(&call.input);
    let issued = issue_for(&call, &names);
    call.run::<operation::RequestCertificate>(move |context, input| {
        request_with(context, input, &names, issued.as_ref().map_err(Clone::clone)?)
    })
    .await
}

/// The domain name and the others, each once.
fn names(input: &Document) -> Vec<String> {
    let first = input.get("DomainName").and_then(Document::as_str);
    let others = match input.get("SubjectAlternativeNames") {
        Some(Document::List(list)) => list.as_slice(),
        _ => &[],
    };
    let mut names: Vec<String> = Vec::new();
    for name in first.into_iter().chain(others.iter().filter_map(Document::as_str)) {
        if !names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            names.push(name.to_owned());
        }
    }
    names
}

pub(crate) fn issue_for(call: &Call<'_>, names: &[String]) -> Result<IssuedCertificate, ApiError> {
    let authority = call.app.authority().ok_or_else(|| {
        validation(
            "RequestCertificate is not supported by this server: it has no certificate authority. \
             Import a certificate instead.",
        )
    })?;
    if names.is_empty() || names.len() > MAX_NAMES || !names.iter().all(|name| is_domain(name)) {
        return Err(validation("The domain names of the request are not valid."));
    }
    issue(authority.as_ref(), names, call.now)
}

/// A certificate for these names from `now` on.
///
/// # Errors
/// The authority's, which the log has.
pub(super) fn issue(
    authority: &dyn CertificateAuthority,
    names: &[String],
    now: Timestamp,
) -> Result<IssuedCertificate, ApiError> {
    let now = now.as_millis();
    let millis = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
    authority.issue(names, now - millis(BEFORE), now + millis(LIFE)).map_err(|failure| {
        tracing::error!(failure, "the authority issued no certificate");
        ApiError::server()
    })
}

/// A DNS name, perhaps with a wildcard for its first label.
pub(super) fn is_domain(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.strip_prefix("*.").unwrap_or(name).split('.').all(label)
}

pub(crate) fn request_with(
    context: &Context<'_>,
    input: &types::RequestCertificateRequest,
    names: &[String],
    issued: &IssuedCertificate,
) -> OperationResult<types::RequestCertificateResponse> {
    refuse("CertificateAuthorityArn", input.certificate_authority_arn.is_some())?;
    refuse("ManagedBy", input.managed_by.is_some())?;
    let options = input.options.as_ref();
    let export = options.and_then(|options| options.export.as_ref());
    refuse("Options.Export", export.is_some_and(|export| export.as_str() == "ENABLED"))?;
    let algorithm = input.key_algorithm.as_ref().map(types::KeyAlgorithm::as_str);
    // What it issues has a key of this kind, asked for or not.
    refuse(
        "A KeyAlgorithm other than EC_prime256v1",
        !matches!(algorithm, None | Some("EC_prime256v1")),
    )?;
    let answer = |arn: String| types::RequestCertificateResponse { certificate_arn: Some(arn) };
    let token = input.idempotency_token.as_ref().map(|token| {
        let key = (String::new(), operation::RequestCertificate::NAME.to_owned(), token.clone());
        (key, hex::encode(Sha256::digest(names.join("\n").as_bytes())))
    });
    if let Some((key, hash)) = &token
        && let Some(known) = context.snapshot.client_token(key)
        && known.request_hash == *hash
        && known.expires_at > context.now
        && let Some(arn) = known.arns.first()
        && super::find(context, Some(arn)).is_ok()
    {
        return Ok(Outcome::read(answer(arn.clone())));
    }
    if context.snapshot.certificates().count() >= LIMIT {
        return Err(error(
            ErrorCode::LimitExceededException,
            format!("The maximum number of certificates ({LIMIT}) has been reached."),
        ));
    }
    let leaf = parse::leaf(&parse::certificates(&issued.chain, "certificate")?[0])?;
    let id = context.ids().uuid();
    let certificate = Certificate {
        domain_name: names.first().cloned().unwrap_or_default(),
        names: names.to_vec(),
        chain: issued.chain.clone(),
        private_key: seal(context.vault, context.arns, &id, &issued.private_key)?,
        imported: false,
        created_at: context.now,
        not_before: leaf.not_before,
        not_after: leaf.not_after,
        renewed_at: None,
        tags: tags::added(&[], input.tags.as_ref())?,
        id,
    };
    let arn = context.arns.certificate(&certificate.id);
    let mut transaction = changed(context.snapshot, certificate);
    if let Some(((cluster, operation, token), request_hash)) = token {
        let key = (cluster.clone(), operation.clone(), token.clone());
        let key = RecordKey::ClientToken(key);
        transaction.read(key.clone(), context.snapshot.revision_of(&key));
        transaction.put(ClientToken {
            cluster,
            operation,
            token,
            request_hash,
            arns: vec![arn.clone()],
            expires_at: context.now.plus(TOKEN_LIFE),
        });
    }
    Ok(Outcome::write(answer(arn), transaction))
}
