//! Rules of listeners. The default rule is the listener's own: it has its default actions, and an ARN.

use super::actions::{self, Place};
use super::{changed, conditions, error, find, limits, listeners, page, put, read, remove, tags};
use super::{transforms, validation};
use crate::context::{Context, Outcome, Result as OperationResult};
use crate::error::ApiError;
use std::collections::BTreeMap;
use wharf_model::load_balancing::{Listener, LoadBalancerType, Resource, Rule};
use wharf_model::{RecordKey, Transaction};
use wharf_wire::elbv2::{ErrorCode, types};

/// Rules of one SetRulePriorities: each is a record of its transaction.
const MAX_PRIORITIES: usize = 95;

fn in_use(priority: u32) -> ApiError {
    error(ErrorCode::PriorityInUseException, format!("Priority '{priority}' is currently in use"))
}

fn priority(sent: Option<i32>) -> Result<u32, ApiError> {
    let sent = sent.ok_or_else(|| validation("A priority must be specified"))?;
    u32::try_from(sent).ok().filter(|n| (1..=50_000).contains(n)).ok_or_else(|| {
        validation(format!("Priority '{sent}' must be in the range from '1' to '50000'"))
    })
}

/// Rewrites a listener, so that requests which give out its priorities meet there.
fn touch(context: &Context<'_>, transaction: &mut Transaction, listener: &Listener) {
    read(context, transaction, RecordKey::Listener(listener.path()));
    transaction.put(listener.clone());
}

/// The path of a listener's default rule: the listener's own id twice, so that it is always the same
/// and no record's.
fn default_path(listener: &Listener) -> String {
    format!("{}/{}", listener.path(), listener.id)
}

/// The listener whose default rule an ARN names.
fn listener_of_default<'a>(context: &Context<'a>, arn: &str) -> Option<&'a Listener> {
    let Some(Resource::ListenerRule(path)) = context.arns.elb_resource(arn) else { return None };
    let (listener, _) = path.rsplit_once('/')?;
    let found = context.snapshot.listener(&listener.to_owned())?;
    find::owner(context, found).ok()?;
    (default_path(found) == path).then_some(&**found)
}

pub(crate) fn create(
    context: &Context<'_>,
    input: &types::CreateRuleInput,
) -> OperationResult<types::CreateRuleOutput> {
    let listener = find::listener(context, input.listener_arn.as_ref())?;
    let load_balancer = find::owner(context, listener)?;
    if load_balancer.kind == LoadBalancerType::Network {
        return Err(error(
            ErrorCode::UnsupportedProtocolException,
            "Rules are supported for listeners of application load balancers alone",
        ));
    }
    let priority = priority(input.priority)?;
    let place = Place { load_balancer, protocol: listener.protocol };
    let rule = Rule {
        listener: listener.path(),
        id: context.ids().hex32()[..16].to_owned(),
        priority,
        conditions: conditions::parse(input.conditions.as_ref())?,
        actions: actions::parse(context, &place, input.actions.as_ref())?,
        transforms: transforms::parse(input.transforms.as_ref())?,
        tags: tags::added(&[], input.tags.as_ref())?,
    };
    if context.snapshot.rules_of(&listener.path()).any(|other| other.priority == priority) {
        return Err(in_use(priority));
    }
    let path = load_balancer.path();
    let listeners = context.snapshot.listeners_of(&path);
    let rules: usize = listeners.map(|l| context.snapshot.rules_of(&l.path()).count()).sum();
    if rules >= limits::RULES {
        return Err(error(
            ErrorCode::TooManyRulesException,
            "The maximum number of rules for the load balancer has been reached",
        ));
    }
    let output = types::CreateRuleOutput { rules: Some(vec![view(context, &rule)]) };
    let mut transaction = Transaction::new();
    touch(context, &mut transaction, listener);
    listeners::hold_groups(context, &mut transaction, &rule.actions);
    put(context, &mut transaction, rule);
    Ok(Outcome::write(output, transaction))
}

pub(super) fn describe(
    context: &Context<'_>,
    input: &types::DescribeRulesInput,
) -> OperationResult<types::DescribeRulesOutput> {
    let arns = input.rule_arns.as_deref().unwrap_or_default();
    // By priority, the default rule last.
    let mut all: BTreeMap<(String, u32), types::Rule> = BTreeMap::new();
    match &input.listener_arn {
        Some(_) if !arns.is_empty() => {
            return Err(validation("You cannot specify both a listener ARN and rule ARNs"));
        }
        Some(arn) => {
            let listener = find::listener(context, Some(arn))?;
            for rule in context.snapshot.rules_of(&listener.path()) {
                all.insert((rule.listener.clone(), rule.priority), view(context, rule));
            }
            all.insert((listener.path(), u32::MAX), default_view(context, listener));
        }
        None if arns.is_empty() => {
            return Err(validation("You must specify either a listener ARN or rule ARNs"));
        }
        None => {
            for arn in arns {
                if let Some(listener) = listener_of_default(context, arn) {
                    all.insert((listener.path(), u32::MAX), default_view(context, listener));
                    continue;
                }
                let rule = find::rule(context, Some(arn))?;
                all.insert((rule.listener.clone(), rule.priority), view(context, rule));
            }
        }
    }
    let name = |((listener, priority), _): &((String, u32), types::Rule)| {
        format!("{listener}/{priority:010}")
    };
    let (page, next_marker) = page::page(all, name, input.marker.as_ref(), input.page_size)?;
    Ok(Outcome::read(types::DescribeRulesOutput {
        rules: Some(page.into_iter().map(|(_, rule)| rule).collect()),
        next_marker,
    }))
}

fn not_the_default(
    context: &Context<'_>,
    arn: Option<&String>,
    what: &str,
) -> Result<(), ApiError> {
    let arn = arn.map_or("", String::as_str);
    match listener_of_default(context, arn) {
        Some(_) => Err(error(
            ErrorCode::OperationNotPermittedException,
            format!("Default rule '{arn}' cannot be {what}"),
        )),
        None => Ok(()),
    }
}

pub(super) fn modify(
    context: &Context<'_>,
    input: &types::ModifyRuleInput,
) -> OperationResult<types::ModifyRuleOutput> {
    not_the_default(context, input.rule_arn.as_ref(), "modified")?;
    let found = find::rule(context, input.rule_arn.as_ref())?;
    let listener = context.snapshot.listener(&found.listener).ok_or_else(find::no_rule)?;
    let load_balancer = find::owner(context, listener)?;
    let mut rule = Rule::clone(found);
    if input.conditions.is_some() {
        rule.conditions = conditions::parse(input.conditions.as_ref())?;
    }
    if input.actions.is_some() {
        let place = Place { load_balancer, protocol: listener.protocol };
        rule.actions = actions::parse(context, &place, input.actions.as_ref())?;
    }
    let reset = input.reset_transforms == Some(true);
    if reset && input.transforms.as_ref().is_some_and(|sent| !sent.is_empty()) {
        return Err(validation("You cannot specify both 'Transforms' and 'ResetTransforms'"));
    }
    if reset || input.transforms.is_some() {
        rule.transforms = transforms::parse(input.transforms.as_ref())?;
    }
    let output = types::ModifyRuleOutput { rules: Some(vec![view(context, &rule)]) };
    let mut transaction = Transaction::new();
    read(context, &mut transaction, RecordKey::Listener(listener.path()));
    listeners::hold_groups(context, &mut transaction, &rule.actions);
    transaction.extend(changed(context, rule));
    Ok(Outcome::write(output, transaction))
}

pub(super) fn delete(
    context: &Context<'_>,
    input: &types::DeleteRuleInput,
) -> OperationResult<types::DeleteRuleOutput> {
    not_the_default(context, input.rule_arn.as_ref(), "deleted")?;
    let found = find::rule(context, input.rule_arn.as_ref())?;
    let mut transaction = Transaction::new();
    remove(context, &mut transaction, RecordKey::ListenerRule(found.path()));
    Ok(Outcome::write(types::DeleteRuleOutput {}, transaction))
}

pub(super) fn set_priorities(
    context: &Context<'_>,
    input: &types::SetRulePrioritiesInput,
) -> OperationResult<types::SetRulePrioritiesOutput> {
    let sent = input.rule_priorities.as_deref().unwrap_or_default();
    if sent.is_empty() || sent.len() > MAX_PRIORITIES {
        let message = format!("Specify '1' to '{MAX_PRIORITIES}' rule priorities");
        return Err(validation(message));
    }
    let mut changing: BTreeMap<String, Rule> = BTreeMap::new();
    for pair in sent {
        not_the_default(context, pair.rule_arn.as_ref(), "given a priority")?;
        let found = find::rule(context, pair.rule_arn.as_ref())?;
        let rule = Rule { priority: priority(pair.priority)?, ..Rule::clone(found) };
        if changing.insert(found.path(), rule).is_some() {
            return Err(validation("A rule can be specified only once"));
        }
    }
    let listener = changing.values().next().map(|rule| rule.listener.clone()).unwrap_or_default();
    if changing.values().any(|rule| rule.listener != listener) {
        return Err(validation("All rules must belong to the same listener"));
    }
    let listener = context.snapshot.listener(&listener).ok_or_else(find::no_rule)?;
    let mut taken: BTreeMap<u32, String> = BTreeMap::new();
    let path = listener.path();
    let others = context.snapshot.rules_of(&path);
    let others = others.filter(|rule| !changing.contains_key(&rule.path()));
    taken.extend(others.map(|rule| (rule.priority, rule.path())));
    for (path, rule) in &changing {
        if taken.insert(rule.priority, path.clone()).is_some() {
            return Err(in_use(rule.priority));
        }
    }
    let mut transaction = Transaction::new();
    touch(context, &mut transaction, listener);
    let shown = changing.values().map(|rule| view(context, rule)).collect();
    for rule in changing.into_values() {
        put(context, &mut transaction, rule);
    }
    let output = types::SetRulePrioritiesOutput { rules: Some(shown) };
    Ok(Outcome::write(output, transaction))
}

/// A rule as the API shows it.
fn view(context: &Context<'_>, rule: &Rule) -> types::Rule {
    types::Rule {
        rule_arn: Some(context.arns.listener_rule(&rule.path())),
        priority: Some(rule.priority.to_string()),
        conditions: Some(conditions::view(&rule.conditions)),
        actions: Some(actions::view(context, &rule.actions)),
        is_default: Some(false),
        transforms: Some(transforms::view(&rule.transforms)),
    }
}

fn default_view(context: &Context<'_>, listener: &Listener) -> types::Rule {
    types::Rule {
        rule_arn: Some(context.arns.listener_rule(&default_path(listener))),
        priority: Some("default".to_owned()),
        conditions: Some(Vec::new()),
        actions: Some(actions::view(context, &listener.default_actions)),
        is_default: Some(true),
        transforms: Some(Vec::new()),
    }
}
