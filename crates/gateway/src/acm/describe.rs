//! What is there, and its end.

use super::{error, find, parse, refuse, renewal, users};
use crate::context::{Context, Outcome, Result as OperationResult};
use crate::ecs::page;
use crate::ecs::present::timestamp;
use wharf_model::load_balancing::Certificate;
use wharf_model::{RecordKey, Transaction};
use wharf_wire::Empty;
use wharf_wire::acm::{ErrorCode, types};

fn status(context: &Context<'_>, certificate: &Certificate) -> &'static str {
    if certificate.not_after <= context.now { "EXPIRED" } else { "ISSUED" }
}

fn eligibility(context: &Context<'_>, certificate: &Certificate) -> &'static str {
    match renewal::is_eligible(context.snapshot, context.arns, certificate) {
        true => "ELIGIBLE",
        false => "INELIGIBLE",
    }
}

fn kind(certificate: &Certificate) -> &'static str {
    if certificate.imported { "IMPORTED" } else { "AMAZON_ISSUED" }
}

/// What its leaf says of itself; nothing of a text that nobody wrote.
fn leaf(certificate: &Certificate) -> Option<parse::Leaf> {
    let all = parse::certificates(&certificate.chain, "certificate").ok()?;
    parse::leaf(all.first()?).ok()
}

pub(super) fn describe(
    context: &Context<'_>,
    input: &types::DescribeCertificateRequest,
) -> OperationResult<types::DescribeCertificateResponse> {
    let found = find(context, input.certificate_arn.as_ref())?;
    let arn = context.arns.certificate(&found.id);
    let leaf = leaf(found);
    let at = Some(timestamp(found.created_at));
    let domain = |name: &String| types::DomainValidation {
        domain_name: Some(name.clone()),
        validation_domain: Some(name.clone()),
        validation_status: Some("SUCCESS".into()),
        validation_method: Some("DNS".into()),
        ..types::DomainValidation::default()
    };
    let validations = || found.names.iter().map(domain).collect();
    let detail = types::CertificateDetail {
        domain_name: Some(found.domain_name.clone()),
        subject_alternative_names: Some(found.names.clone()),
        domain_validation_options: (!found.imported).then(&validations),
        serial: leaf.as_ref().map(|leaf| leaf.serial.clone()),
        subject: leaf.as_ref().map(|leaf| leaf.subject.clone()),
        issuer: leaf.as_ref().map(|leaf| leaf.issuer.clone()),
        created_at: at,
        issued_at: at.filter(|_| !found.imported),
        imported_at: at.filter(|_| found.imported),
        status: Some(status(context, found).into()),
        not_before: Some(timestamp(found.not_before)),
        not_after: Some(timestamp(found.not_after)),
        key_algorithm: leaf.as_ref().and_then(|leaf| leaf.key_algorithm).map(Into::into),
        signature_algorithm: leaf.map(|leaf| leaf.signature_algorithm),
        in_use_by: Some(users(context.snapshot, context.arns, &arn)),
        r#type: Some(kind(found).into()),
        renewal_eligibility: Some(eligibility(context, found).into()),
        renewal_summary: found.renewed_at.map(|at| types::RenewalSummary {
            renewal_status: Some("SUCCESS".into()),
            domain_validation_options: Some(validations()),
            renewal_status_reason: None,
            updated_at: Some(timestamp(at)),
        }),
        options: Some(types::CertificateOptions {
            certificate_transparency_logging_preference: Some("DISABLED".into()),
            export: None,
        }),
        certificate_arn: Some(arn),
        ..types::CertificateDetail::default()
    };
    Ok(Outcome::read(types::DescribeCertificateResponse { certificate: Some(detail) }))
}

pub(super) fn get(
    context: &Context<'_>,
    input: &types::GetCertificateRequest,
) -> OperationResult<types::GetCertificateResponse> {
    let found = find(context, input.certificate_arn.as_ref())?;
    const END: &str = "-----END CERTIFICATE-----\n";
    let (leaf, chain) = match found.chain.split_once(END) {
        Some((leaf, chain)) => (format!("{leaf}{END}"), chain.to_owned()),
        None => (found.chain.clone(), String::new()),
    };
    Ok(Outcome::read(types::GetCertificateResponse {
        certificate: Some(leaf),
        certificate_chain: Some(chain).filter(|chain| !chain.is_empty()),
    }))
}

pub(super) fn list(
    context: &Context<'_>,
    input: &types::ListCertificatesRequest,
) -> OperationResult<types::ListCertificatesResponse> {
    refuse("SortBy", input.sort_by.is_some())?;
    let statuses = input.certificate_statuses.as_deref().unwrap_or_default();
    let keys = input.includes.as_ref().and_then(|filters| filters.key_types.as_deref());
    let mut shown = Vec::new();
    for certificate in context.snapshot.certificates() {
        let status = status(context, certificate);
        if !statuses.is_empty() && !statuses.iter().any(|wanted| wanted.as_str() == status) {
            continue;
        }
        let algorithm = leaf(certificate).and_then(|leaf| leaf.key_algorithm);
        let is_wanted = |wanted: &types::KeyAlgorithm| Some(wanted.as_str()) == algorithm;
        if keys.is_some_and(|keys| !keys.is_empty() && !keys.iter().any(is_wanted)) {
            continue;
        }
        shown.push((certificate.id.clone(), summary(context, certificate, algorithm)));
    }
    let request = page::Request {
        next_token: input.next_token.as_deref(),
        max_results: input.max_items,
        limit: 1000,
    };
    let page = page::page(shown.into_iter(), request)
        .map_err(|_| error(ErrorCode::InvalidArgsException, "The NextToken is not valid."))?;
    Ok(Outcome::read(types::ListCertificatesResponse {
        certificate_summary_list: Some(page.items),
        next_token: page.next_token,
    }))
}

fn summary(
    context: &Context<'_>,
    certificate: &Certificate,
    algorithm: Option<&'static str>,
) -> types::CertificateSummary {
    let arn = context.arns.certificate(&certificate.id);
    let at = Some(timestamp(certificate.created_at));
    types::CertificateSummary {
        domain_name: Some(certificate.domain_name.clone()),
        subject_alternative_name_summaries: Some(certificate.names.clone()),
        has_additional_subject_alternative_names: Some(false),
        status: Some(status(context, certificate).into()),
        r#type: Some(kind(certificate).into()),
        key_algorithm: algorithm.map(Into::into),
        in_use: Some(!users(context.snapshot, context.arns, &arn).is_empty()),
        renewal_eligibility: Some(eligibility(context, certificate).into()),
        not_before: Some(timestamp(certificate.not_before)),
        not_after: Some(timestamp(certificate.not_after)),
        created_at: at,
        issued_at: at.filter(|_| !certificate.imported),
        imported_at: at.filter(|_| certificate.imported),
        certificate_arn: Some(arn),
        ..types::CertificateSummary::default()
    }
}

pub(super) fn delete(
    context: &Context<'_>,
    input: &types::DeleteCertificateRequest,
) -> OperationResult<Empty> {
    let found = find(context, input.certificate_arn.as_ref())?;
    let arn = context.arns.certificate(&found.id);
    if !users(context.snapshot, context.arns, &arn).is_empty() {
        return Err(error(
            ErrorCode::ResourceInUseException,
            format!("Certificate {arn} in account {} is in use.", context.account()),
        ));
    }
    let mut transaction = Transaction::new();
    let key = RecordKey::Certificate(found.id.clone());
    transaction.read(key.clone(), context.snapshot.revision_of(&key));
    transaction.delete(key);
    Ok(Outcome::write(Empty {}, transaction))
}
