//! ImportCertificate.

use super::{changed, error, find, parse, seal, tags, validation};
use crate::context::{Context, Outcome, Result as OperationResult};
use crate::error::ApiError;
use wharf_model::load_balancing::Certificate;
use wharf_wire::Blob;
use wharf_wire::acm::{ErrorCode, types};

/// Certificates of the account.
pub(super) const LIMIT: usize = 2500;

fn text<'a>(blob: Option<&'a Blob>, what: &str) -> Result<&'a str, ApiError> {
    let bytes = blob.map(|blob| blob.0.as_slice()).unwrap_or_default();
    std::str::from_utf8(bytes)
        .map_err(|_| validation(format!("The {what} is not in a valid PEM format.")))
}

pub(super) fn import(
    context: &Context<'_>,
    input: &types::ImportCertificateRequest,
) -> OperationResult<types::ImportCertificateResponse> {
    let mut certificates =
        parse::certificates(text(input.certificate.as_ref(), "certificate")?, "certificate")?;
    if certificates.len() > 1 {
        return Err(validation(
            "The certificate field contains more than one certificate. You can specify only one \
             certificate in this field.",
        ));
    }
    let leaf = parse::leaf(&certificates[0])?;
    let key = text(input.private_key.as_ref(), "private key")?;
    parse::check_key(&leaf, key)?;
    if leaf.not_after <= context.now {
        return Err(validation("The certificate has expired."));
    }
    if leaf.not_before > context.now {
        return Err(validation("The certificate is not valid yet."));
    }
    if input.certificate_chain.as_ref().is_some_and(|chain| !chain.0.is_empty()) {
        let chain = text(input.certificate_chain.as_ref(), "certificate chain")?;
        certificates.extend(parse::certificates(chain, "certificate chain")?);
    }
    let (id, present) = match &input.certificate_arn {
        Some(arn) => {
            let found = find(context, Some(arn))?;
            (found.id.clone(), Some(Certificate::clone(found)))
        }
        None => (context.ids().uuid(), None),
    };
    if present.as_ref().is_some_and(|certificate| !certificate.imported) {
        return Err(validation("Only an imported certificate can be imported again."));
    }
    if present.is_some() && input.tags.is_some() {
        return Err(validation("Tags cannot be applied when a certificate is imported again."));
    }
    if present.is_none() && context.snapshot.certificates().count() >= LIMIT {
        return Err(error(
            ErrorCode::LimitExceededException,
            format!("The maximum number of certificates ({LIMIT}) has been reached."),
        ));
    }
    let certificate = Certificate {
        domain_name: leaf.domain_name,
        names: leaf.names,
        chain: parse::encode(&certificates),
        private_key: seal(context.vault, context.arns, &id, key)?,
        imported: true,
        created_at: context.now,
        not_before: leaf.not_before,
        not_after: leaf.not_after,
        renewed_at: None,
        tags: match present {
            Some(present) => present.tags,
            None => tags::added(&[], input.tags.as_ref())?,
        },
        id,
    };
    let certificate_arn = Some(context.arns.certificate(&certificate.id));
    let output = types::ImportCertificateResponse { certificate_arn };
    Ok(Outcome::write(output, changed(context.snapshot, certificate)))
}
