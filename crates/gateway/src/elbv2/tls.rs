//! What a listener needs for TLS: policy, certificates, ALPN, mutual authentication.

use super::{error, find, refuse, unsupported, validation};
use crate::context::Context;
use crate::error::ApiError;
use wharf_model::load_balancing::{
    Listener, LoadBalancerType, MutualAuthentication, MutualAuthenticationMode, Protocol,
    ssl_policy,
};
use wharf_wire::elbv2::{ErrorCode, types};

const ALPN_POLICIES: [&str; 5] =
    ["HTTP1Only", "HTTP2Only", "HTTP2Optional", "HTTP2Preferred", "None"];

/// What a request says of TLS.
pub(super) struct Sent<'a> {
    pub(super) ssl_policy: Option<&'a String>,
    pub(super) certificates: Option<&'a Vec<types::Certificate>>,
    pub(super) alpn_policy: Option<&'a Vec<String>>,
    pub(super) mutual_authentication: Option<&'a types::MutualAuthenticationAttributes>,
}

/// Gives a listener what its protocol needs and the request says, and takes what is another
/// protocol's.
pub(super) fn apply(
    context: &Context<'_>,
    kind: LoadBalancerType,
    listener: &mut Listener,
    sent: &Sent<'_>,
) -> Result<(), ApiError> {
    let word = listener.protocol.as_str();
    if !matches!(listener.protocol, Protocol::Https | Protocol::Tls) {
        let stray = [
            (sent.ssl_policy.is_some(), "An SSL policy"),
            (sent.certificates.is_some_and(|list| !list.is_empty()), "A certificate"),
            (sent.alpn_policy.is_some_and(|list| !list.is_empty()), "An ALPN policy"),
            (
                sent.mutual_authentication.is_some_and(|m| m.mode.as_deref() != Some("off")),
                "Mutual authentication",
            ),
        ];
        if let Some((_, what)) = stray.iter().find(|(is_sent, _)| *is_sent) {
            let message = format!("{what} cannot be specified for {word} listeners");
            return Err(validation(message));
        }
        (listener.ssl_policy, listener.alpn_policy) = (None, None);
        listener.mutual_authentication = None;
        listener.certificates.clear();
        return Ok(());
    }
    match sent.ssl_policy {
        Some(name) => listener.ssl_policy = Some(policy(name)?),
        None => {
            listener.ssl_policy.get_or_insert_with(|| ssl_policy::DEFAULT.to_owned());
        }
    }
    if let Some(default) = default_certificate(context, sent.certificates)? {
        let others = listener.certificates.iter().skip(1).filter(|arn| **arn != default);
        let others: Vec<String> = others.cloned().collect();
        listener.certificates = [default].into_iter().chain(others).collect();
    }
    if listener.certificates.is_empty() {
        let message = format!("A certificate must be specified for {word} listeners");
        return Err(validation(message));
    }
    if let Some(sent) = sent.alpn_policy {
        listener.alpn_policy = alpn(listener.protocol, sent)?;
    }
    if let Some(sent) = sent.mutual_authentication {
        if kind == LoadBalancerType::Network {
            return Err(validation("Mutual authentication cannot be specified for TLS listeners"));
        }
        listener.mutual_authentication = Some(mutual(context, sent)?);
    }
    if kind == LoadBalancerType::Application && listener.mutual_authentication.is_none() {
        listener.mutual_authentication = Some(MutualAuthentication {
            mode: MutualAuthenticationMode::Off,
            trust_store: None,
            ignore_expiry: false,
            advertise_ca_names: false,
        });
    }
    Ok(())
}

fn policy(name: &str) -> Result<String, ApiError> {
    let known = ssl_policy::find(name);
    let missing =
        || error(ErrorCode::SSLPolicyNotFoundException, format!("SSL policy '{name}' not found"));
    known.map(|policy| policy.name.to_owned()).ok_or_else(missing)
}

/// The one certificate that a request may name: the default one.
fn default_certificate(
    context: &Context<'_>,
    sent: Option<&Vec<types::Certificate>>,
) -> Result<Option<String>, ApiError> {
    match sent.map(Vec::as_slice).unwrap_or_default() {
        [] => Ok(None),
        [one] => {
            refuse("Certificates.IsDefault", one.is_default.is_some())?;
            certificate(context, one.certificate_arn.as_deref().unwrap_or_default()).map(Some)
        }
        _ => Err(error(
            ErrorCode::TooManyCertificatesException,
            "Only one certificate can be specified for a listener; add others with \
             AddListenerCertificates",
        )),
    }
}

/// The ARN of a certificate that is there.
pub(super) fn certificate(context: &Context<'_>, arn: &str) -> Result<String, ApiError> {
    let id = context.arns.certificate_id(arn);
    if arn.starts_with("arn:aws:iam:") {
        return Err(unsupported("A server certificate of IAM"));
    }
    match id.and_then(|id| context.snapshot.certificate(&id.to_owned())) {
        Some(_) => Ok(arn.to_owned()),
        None => Err(error(
            ErrorCode::CertificateNotFoundException,
            format!("Certificate '{arn}' not found"),
        )),
    }
}

fn alpn(protocol: Protocol, sent: &[String]) -> Result<Option<String>, ApiError> {
    match sent {
        [] => Ok(None),
        [_] if protocol != Protocol::Tls => {
            Err(validation("An ALPN policy can be specified for TLS listeners alone"))
        }
        [policy] if ALPN_POLICIES.contains(&policy.as_str()) => Ok(Some(policy.clone())),
        [policy] => Err(error(
            ErrorCode::ALPNPolicyNotSupportedException,
            format!("ALPN policy '{policy}' must be one of '[{}]'", ALPN_POLICIES.join(", ")),
        )),
        _ => Err(validation("Only one ALPN policy can be specified")),
    }
}

fn mutual(
    context: &Context<'_>,
    sent: &types::MutualAuthenticationAttributes,
) -> Result<MutualAuthentication, ApiError> {
    let mode = match sent.mode.as_deref() {
        None | Some("off") => MutualAuthenticationMode::Off,
        Some("passthrough") => MutualAuthenticationMode::Passthrough,
        Some("verify") => MutualAuthenticationMode::Verify,
        Some(other) => {
            return Err(validation(format!(
                "Mutual authentication mode '{other}' must be one of '[off, passthrough, verify]'"
            )));
        }
    };
    let verifies = mode == MutualAuthenticationMode::Verify;
    let trust_store = match &sent.trust_store_arn {
        Some(arn) if verifies => Some(find::trust_store(context, Some(arn))?.path()),
        Some(_) => {
            let message = "A trust store can be specified for mutual authentication mode 'verify' \
                           alone";
            return Err(validation(message));
        }
        None if verifies => {
            let message = "A trust store must be specified for mutual authentication mode 'verify'";
            return Err(validation(message));
        }
        None => None,
    };
    let advertise = sent.advertise_trust_store_ca_names.as_ref();
    Ok(MutualAuthentication {
        mode,
        trust_store,
        ignore_expiry: verifies && sent.ignore_client_certificate_expiry == Some(true),
        advertise_ca_names: verifies && advertise.is_some_and(|on| on.as_str() == "on"),
    })
}

/// API `MutualAuthentication`.
pub(super) fn shown_mutual(
    context: &Context<'_>,
    mutual: &MutualAuthentication,
) -> types::MutualAuthenticationAttributes {
    let verifies = mutual.mode == MutualAuthenticationMode::Verify;
    let on = if mutual.advertise_ca_names { "on" } else { "off" };
    types::MutualAuthenticationAttributes {
        mode: Some(
            match mutual.mode {
                MutualAuthenticationMode::Off => "off",
                MutualAuthenticationMode::Passthrough => "passthrough",
                MutualAuthenticationMode::Verify => "verify",
            }
            .to_owned(),
        ),
        trust_store_arn: mutual.trust_store.as_ref().map(|path| context.arns.trust_store(path)),
        ignore_client_certificate_expiry: verifies.then_some(mutual.ignore_expiry),
        trust_store_association_status: verifies.then(|| "active".into()),
        advertise_trust_store_ca_names: verifies.then(|| on.into()),
    }
}
