//! Listeners.

use super::actions::{self, Place};
use super::{MAX_DELETED, changed, error, find, limits, load_balancers, page, put, remove, tags};
use super::{tls, unsupported, validation};
use crate::context::{Context, Outcome, Result as OperationResult};
use crate::error::ApiError;
use std::collections::BTreeMap;
use wharf_model::load_balancing::{
    Listener, LoadBalancer, LoadBalancerType, Protocol, attributes_of_listener,
};
use wharf_model::{RecordKey, Transaction};
use wharf_wire::elbv2::{ErrorCode, types};

fn protocol(
    kind: LoadBalancerType,
    sent: Option<&types::ProtocolEnum>,
) -> Result<Protocol, ApiError> {
    let Some(sent) = sent else {
        return Err(validation("A listener protocol must be specified"));
    };
    let protocol = match sent.as_str() {
        other @ ("QUIC" | "TCP_QUIC" | "GENEVE") => {
            return Err(unsupported(&format!("Listener protocol '{other}'")));
        }
        word => Protocol::parse(word),
    };
    let is_application = kind == LoadBalancerType::Application;
    let words = if is_application { "HTTP, HTTPS" } else { "TCP, TLS, UDP, TCP_UDP" };
    protocol.filter(|protocol| protocol.is_http() == is_application).ok_or_else(|| {
        validation(format!("Listener protocol '{}' must be one of '{words}'", sent.as_str()))
    })
}

fn port(sent: Option<i32>) -> Result<u16, ApiError> {
    let port = sent.ok_or_else(|| validation("A listener port must be specified"))?;
    u16::try_from(port).ok().filter(|port| *port > 0).ok_or_else(|| {
        validation(format!("Listener port '{port}' must be in the range from '1' to '65535'"))
    })
}

fn duplicate(context: &Context<'_>, load_balancer: &LoadBalancer) -> ApiError {
    error(
        ErrorCode::DuplicateListenerException,
        format!(
            "A listener already exists on this port for this load balancer '{}'",
            context.arns.load_balancer(&load_balancer.path())
        ),
    )
}

/// TCP and UDP have ports of their own, but ELBv2 gives a port to one listener.
fn on_port<'a>(
    context: &Context<'a>,
    load_balancer: &LoadBalancer,
    port: u16,
) -> Option<&'a Listener> {
    let path = load_balancer.path();
    let mut listeners = context.snapshot.listeners_of(&path);
    listeners.find(|listener| listener.port == port).map(|listener| &**listener)
}

pub(crate) fn create(
    context: &Context<'_>,
    input: &types::CreateListenerInput,
) -> OperationResult<types::CreateListenerOutput> {
    let load_balancer = find::load_balancer(context, input.load_balancer_arn.as_ref())?;
    let protocol = protocol(load_balancer.kind, input.protocol.as_ref())?;
    let port = port(input.port)?;
    let tags = tags::added(&[], input.tags.as_ref())?;
    let mut listener = Listener {
        load_balancer: load_balancer.path(),
        id: context.ids().hex32()[..16].to_owned(),
        port,
        protocol,
        ssl_policy: None,
        certificates: Vec::new(),
        alpn_policy: None,
        mutual_authentication: None,
        default_actions: Vec::new(),
        attributes: BTreeMap::new(),
        tags,
    };
    let sent = tls::Sent {
        ssl_policy: input.ssl_policy.as_ref().filter(|name| !name.is_empty()),
        certificates: input.certificates.as_ref(),
        alpn_policy: input.alpn_policy.as_ref(),
        mutual_authentication: input.mutual_authentication.as_ref(),
    };
    tls::apply(context, load_balancer.kind, &mut listener, &sent)?;
    let place = Place { load_balancer, protocol };
    listener.default_actions = actions::parse(context, &place, input.default_actions.as_ref())?;
    let answer = |listener: &Listener| types::CreateListenerOutput {
        listeners: Some(vec![view(context, listener)]),
    };
    if let Some(present) = on_port(context, load_balancer, port) {
        let same = Listener { id: present.id.clone(), tags: present.tags.clone(), ..listener };
        let same = Listener { attributes: present.attributes.clone(), ..same };
        return match same == *present {
            true => Ok(Outcome::read(answer(present))),
            false => Err(duplicate(context, load_balancer)),
        };
    }
    if context.snapshot.listeners_of(&load_balancer.path()).count() >= limits::LISTENERS {
        return Err(error(
            ErrorCode::TooManyListenersException,
            "The maximum number of listeners for the load balancer has been reached",
        ));
    }
    let mut transaction = Transaction::new();
    load_balancers::touch(context, &mut transaction, load_balancer);
    hold(context, &mut transaction, &listener);
    let output = answer(&listener);
    put(context, &mut transaction, listener);
    Ok(Outcome::write(output, transaction))
}

/// Demands that what a listener names is still there when it is written.
fn hold(context: &Context<'_>, transaction: &mut Transaction, listener: &Listener) {
    hold_groups(context, transaction, &listener.default_actions);
    for arn in &listener.certificates {
        if let Some(id) = context.arns.certificate_id(arn) {
            super::read(context, transaction, RecordKey::Certificate(id.to_owned()));
        }
    }
    let mutual = listener.mutual_authentication.as_ref();
    if let Some(path) = mutual.and_then(|mutual| mutual.trust_store.clone()) {
        super::read(context, transaction, RecordKey::TrustStore(path));
    }
}

/// Demands that the target groups of actions are still there.
pub(super) fn hold_groups(
    context: &Context<'_>,
    transaction: &mut Transaction,
    actions: &[wharf_model::load_balancing::Action],
) {
    for path in wharf_scheduler::load_balancing::groups_of_actions(actions) {
        super::read(context, transaction, RecordKey::TargetGroup(path.to_owned()));
    }
}

pub(super) fn describe(
    context: &Context<'_>,
    input: &types::DescribeListenersInput,
) -> OperationResult<types::DescribeListenersOutput> {
    let arns = input.listener_arns.as_deref().unwrap_or_default();
    let mut all: Vec<_> = Vec::new();
    match &input.load_balancer_arn {
        Some(_) if !arns.is_empty() => {
            return Err(validation(
                "Specify either listener ARNs or a load balancer ARN, not both",
            ));
        }
        Some(arn) => {
            let path = find::load_balancer(context, Some(arn))?.path();
            all.extend(context.snapshot.listeners_of(&path));
        }
        None if arns.is_empty() => {
            return Err(validation("You must specify either listener ARNs or a load balancer ARN"));
        }
        None => {
            for arn in arns {
                all.push(find::listener(context, Some(arn))?);
            }
        }
    }
    all.sort_by_key(|listener| listener.path());
    all.dedup();
    let (page, next_marker) =
        page::page(all, |l| l.path(), input.marker.as_ref(), input.page_size)?;
    Ok(Outcome::read(types::DescribeListenersOutput {
        listeners: Some(page.into_iter().map(|l| view(context, l)).collect()),
        next_marker,
    }))
}

pub(super) fn modify(
    context: &Context<'_>,
    input: &types::ModifyListenerInput,
) -> OperationResult<types::ModifyListenerOutput> {
    let found = find::listener(context, input.listener_arn.as_ref())?;
    let load_balancer = find::owner(context, found)?;
    let mut listener = Listener::clone(found);
    if let Some(sent) = &input.protocol {
        listener.protocol = protocol(load_balancer.kind, Some(sent))?;
        let known = attributes_of_listener(listener.protocol);
        listener.attributes.retain(|key, _| known.iter().any(|a| a.key == key));
    }
    if let Some(sent) = input.port {
        listener.port = port(Some(sent))?;
    }
    if listener.port != found.port && on_port(context, load_balancer, listener.port).is_some() {
        return Err(duplicate(context, load_balancer));
    }
    let sent = tls::Sent {
        ssl_policy: input.ssl_policy.as_ref().filter(|name| !name.is_empty()),
        certificates: input.certificates.as_ref(),
        alpn_policy: input.alpn_policy.as_ref(),
        mutual_authentication: input.mutual_authentication.as_ref(),
    };
    tls::apply(context, load_balancer.kind, &mut listener, &sent)?;
    let place = Place { load_balancer, protocol: listener.protocol };
    match &input.default_actions {
        Some(sent) => listener.default_actions = actions::parse(context, &place, Some(sent))?,
        None => actions::check(context, load_balancer, &listener, &listener.default_actions)?,
    }
    for rule in context.snapshot.rules_of(&found.path()) {
        actions::check(context, load_balancer, &listener, &rule.actions)?;
    }
    let output = types::ModifyListenerOutput { listeners: Some(vec![view(context, &listener)]) };
    let mut transaction = Transaction::new();
    if listener.port != found.port || listener.default_actions != found.default_actions {
        load_balancers::touch(context, &mut transaction, load_balancer);
    }
    hold(context, &mut transaction, &listener);
    transaction.extend(changed(context, listener));
    Ok(Outcome::write(output, transaction))
}

pub(super) fn delete(
    context: &Context<'_>,
    input: &types::DeleteListenerInput,
) -> OperationResult<types::DeleteListenerOutput> {
    let found = find::listener(context, input.listener_arn.as_ref())?;
    let mut transaction = Transaction::new();
    for rule in context.snapshot.rules_of(&found.path()).take(MAX_DELETED) {
        transaction.delete(RecordKey::ListenerRule(rule.path()));
    }
    remove(context, &mut transaction, RecordKey::Listener(found.path()));
    Ok(Outcome::write(types::DeleteListenerOutput {}, transaction))
}

/// A listener as the API shows it: with its default certificate alone.
fn view(context: &Context<'_>, listener: &Listener) -> types::Listener {
    let certificate = listener.certificates.first().map(|arn| {
        vec![types::Certificate { certificate_arn: Some(arn.clone()), is_default: None }]
    });
    let mutual = listener.mutual_authentication.as_ref();
    types::Listener {
        listener_arn: Some(context.arns.listener(&listener.path())),
        load_balancer_arn: Some(context.arns.load_balancer(&listener.load_balancer)),
        port: Some(listener.port.into()),
        protocol: Some(listener.protocol.as_str().into()),
        certificates: certificate,
        ssl_policy: listener.ssl_policy.clone(),
        default_actions: Some(actions::view(context, &listener.default_actions)),
        alpn_policy: listener.alpn_policy.clone().map(|policy| vec![policy]),
        mutual_authentication: mutual.map(|mutual| tls::shown_mutual(context, mutual)),
    }
}
