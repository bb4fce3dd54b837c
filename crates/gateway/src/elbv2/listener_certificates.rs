//! Certificates of a listener: the default one, and those that are picked by the client's SNI.

use super::{changed, error, find, limits, page, read, refuse, tls, validation};
use crate::context::{Context, Outcome, Result as OperationResult};
use crate::error::ApiError;
use wharf_model::RecordKey;
use wharf_model::load_balancing::{Listener, Protocol};
use wharf_wire::elbv2::{ErrorCode, types};

fn encrypted<'a>(context: &Context<'a>, arn: Option<&String>) -> Result<&'a Listener, ApiError> {
    let found = find::listener(context, arn)?;
    if !matches!(found.protocol, Protocol::Https | Protocol::Tls) {
        return Err(error(
            ErrorCode::UnsupportedProtocolException,
            format!(
                "Listeners with the protocol '{}' have no certificates",
                found.protocol.as_str()
            ),
        ));
    }
    Ok(found)
}

fn arns(sent: Option<&Vec<types::Certificate>>) -> Result<Vec<&str>, ApiError> {
    let sent = sent.map(Vec::as_slice).unwrap_or_default();
    if sent.is_empty() {
        return Err(validation("A certificate must be specified"));
    }
    for certificate in sent {
        refuse("Certificates.IsDefault", certificate.is_default.is_some())?;
    }
    Ok(sent.iter().filter_map(|certificate| certificate.certificate_arn.as_deref()).collect())
}

pub(crate) fn add(
    context: &Context<'_>,
    input: &types::AddListenerCertificatesInput,
) -> OperationResult<types::AddListenerCertificatesOutput> {
    let found = encrypted(context, input.listener_arn.as_ref())?;
    let mut listener = Listener::clone(found);
    let mut shown = Vec::new();
    for arn in arns(input.certificates.as_ref())? {
        let arn = tls::certificate(context, arn)?;
        // One that is there already stays where it is.
        if !listener.certificates.contains(&arn) {
            listener.certificates.push(arn.clone());
        }
        shown.push(types::Certificate { certificate_arn: Some(arn), is_default: Some(false) });
    }
    if listener.certificates.len() > limits::CERTIFICATES + 1 {
        return Err(error(
            ErrorCode::TooManyCertificatesException,
            "The maximum number of certificates for the listener has been reached",
        ));
    }
    let mut transaction = wharf_model::Transaction::new();
    for id in listener.certificates.iter().filter_map(|arn| context.arns.certificate_id(arn)) {
        read(context, &mut transaction, RecordKey::Certificate(id.to_owned()));
    }
    transaction.extend(changed(context, listener));
    let output = types::AddListenerCertificatesOutput { certificates: Some(shown) };
    Ok(Outcome::write(output, transaction))
}

pub(super) fn remove(
    context: &Context<'_>,
    input: &types::RemoveListenerCertificatesInput,
) -> OperationResult<types::RemoveListenerCertificatesOutput> {
    let found = encrypted(context, input.listener_arn.as_ref())?;
    let mut listener = Listener::clone(found);
    let going = arns(input.certificates.as_ref())?;
    if listener.certificates.first().is_some_and(|default| going.contains(&default.as_str())) {
        return Err(error(
            ErrorCode::OperationNotPermittedException,
            "The default certificate of a listener cannot be removed",
        ));
    }
    listener.certificates.retain(|arn| !going.contains(&arn.as_str()));
    let output = types::RemoveListenerCertificatesOutput {};
    Ok(Outcome::write(output, changed(context, listener)))
}

pub(super) fn describe(
    context: &Context<'_>,
    input: &types::DescribeListenerCertificatesInput,
) -> OperationResult<types::DescribeListenerCertificatesOutput> {
    let found = find::listener(context, input.listener_arn.as_ref())?;
    let mut all: Vec<(usize, &String)> = found.certificates.iter().enumerate().collect();
    all.sort_by_key(|(_, arn)| arn.as_str());
    let name = |(_, arn): &(usize, &String)| (*arn).clone();
    let (page, next_marker) = page::page(all, name, input.marker.as_ref(), input.page_size)?;
    let shown = |(at, arn): (usize, &String)| types::Certificate {
        certificate_arn: Some(arn.clone()),
        is_default: Some(at == 0),
    };
    Ok(Outcome::read(types::DescribeListenerCertificatesOutput {
        certificates: Some(page.into_iter().map(shown).collect()),
        next_marker,
    }))
}
