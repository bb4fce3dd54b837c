//! Managed policies on roles and users.

use super::holder::{Holder, to_change};
use super::page::page;
use super::{built_in, limit_exceeded, no_such_entity, policies, put};
use crate::context::{Context, Outcome, Result as OperationResult};
use wharf_model::Transaction;
use wharf_model::iam::{self, Role, User};
use wharf_wire::Empty;
use wharf_wire::iam::types;

/// Managed policies on one role or user.
const LIMIT: usize = 10;

/// What an ARN names.
enum Managed {
    BuiltIn,
    Own(iam::ManagedPolicy),
}

fn find(context: &Context<'_>, arn: &str) -> Option<Managed> {
    match built_in::find(arn) {
        Some(_) => Some(Managed::BuiltIn),
        None => policies::own(context, arn).ok().map(Managed::Own),
    }
}

/// Counts an attachment on the policy's own record, so that its deletion meets a conflict.
fn count(context: &Context<'_>, transaction: &mut Transaction, policy: Managed, is_more: bool) {
    if let Managed::Own(mut policy) = policy {
        let count = policy.attachments;
        policy.attachments = if is_more { count + 1 } else { count.saturating_sub(1) };
        put(context, transaction, policy);
    }
}

fn attach<H: Holder>(
    context: &Context<'_>,
    name: Option<&str>,
    arn: Option<&str>,
) -> OperationResult<Empty> {
    let mut holder: H = to_change(context, name)?;
    let arn = arn.unwrap_or_default();
    let Some(policy) = find(context, arn) else {
        let text = format!("Policy {arn} does not exist or is not attachable.");
        return Err(no_such_entity(text));
    };
    if holder.attached().iter().any(|other| other == arn) {
        return Ok(Outcome::read(Empty {}));
    }
    if holder.attached().len() >= LIMIT {
        return Err(limit_exceeded(H::QUOTA, LIMIT));
    }
    holder.attached_mut().push(arn.to_owned());
    let mut transaction = Transaction::new();
    put(context, &mut transaction, holder);
    count(context, &mut transaction, policy, true);
    Ok(Outcome::write(Empty {}, transaction))
}

fn detach<H: Holder>(
    context: &Context<'_>,
    name: Option<&str>,
    arn: Option<&str>,
) -> OperationResult<Empty> {
    let mut holder: H = to_change(context, name)?;
    let arn = arn.unwrap_or_default();
    if !holder.attached().iter().any(|other| other == arn) {
        return Err(no_such_entity(format!("Policy {arn} was not found.")));
    }
    holder.attached_mut().retain(|other| other != arn);
    let mut transaction = Transaction::new();
    put(context, &mut transaction, holder);
    if let Some(policy) = find(context, arn) {
        count(context, &mut transaction, policy, false);
    }
    Ok(Outcome::write(Empty {}, transaction))
}

/// Path and name of a policy's ARN.
fn path_and_name(arn: &str) -> (&str, &str) {
    let resource = arn.splitn(6, ':').nth(5).unwrap_or_default();
    let resource = resource.strip_prefix("policy").unwrap_or(resource);
    resource.rfind('/').map_or(("/", resource), |at| resource.split_at(at + 1))
}

fn attached(arns: &[String], prefix: Option<&str>) -> Vec<types::AttachedPolicy> {
    let in_path = |arn: &&String| path_and_name(arn).0.starts_with(prefix.unwrap_or("/"));
    let mut policies: Vec<_> = arns
        .iter()
        .filter(in_path)
        .map(|arn| types::AttachedPolicy {
            policy_name: Some(path_and_name(arn).1.to_owned()),
            policy_arn: Some(arn.clone()),
        })
        .collect();
    policies.sort_by(|a, b| a.policy_arn.cmp(&b.policy_arn));
    policies
}

macro_rules! operations {
    ($( $holder:ident, $name:ident: $attach:ident($attach_input:ident), $detach:ident($detach_input:ident),
        $list:ident($list_input:ident) -> $list_output:ident; )*) => {
        $(
            pub(super) fn $attach(context: &Context<'_>, input: &types::$attach_input) -> OperationResult<Empty> {
                attach::<$holder>(context, input.$name.as_deref(), input.policy_arn.as_deref())
            }

            pub(super) fn $detach(context: &Context<'_>, input: &types::$detach_input) -> OperationResult<Empty> {
                detach::<$holder>(context, input.$name.as_deref(), input.policy_arn.as_deref())
            }

            pub(super) fn $list(context: &Context<'_>, input: &types::$list_input) -> OperationResult<types::$list_output> {
                let holder = $holder::find(context, input.$name.as_deref().unwrap_or_default())?;
                let policies = attached(holder.attached(), input.path_prefix.as_deref());
                let name = |policy: &types::AttachedPolicy| policy.policy_arn.clone().unwrap_or_default();
                let page = page(policies, name, input.marker.as_deref(), input.max_items)?;
                Ok(Outcome::read(types::$list_output {
                    is_truncated: page.is_truncated(),
                    attached_policies: Some(page.items),
                    marker: page.marker,
                }))
            }
        )*
    };
}

operations! {
    Role, role_name: attach_to_role(AttachRolePolicyRequest), detach_from_role(DetachRolePolicyRequest),
        list_of_role(ListAttachedRolePoliciesRequest) -> ListAttachedRolePoliciesResponse;
    User, user_name: attach_to_user(AttachUserPolicyRequest), detach_from_user(DetachUserPolicyRequest),
        list_of_user(ListAttachedUserPoliciesRequest) -> ListAttachedUserPoliciesResponse;
}

/// How many roles and users have the policy attached.
pub(super) fn attachments(context: &Context<'_>, arn: &str) -> usize {
    let has = |list: &[String]| list.iter().any(|other| other == arn);
    context.snapshot.roles().filter(|role| has(&role.attached)).count()
        + context.snapshot.users().filter(|user| has(&user.attached)).count()
}

/// A holder's kind, name and id, as one list with one marker.
struct Entity {
    sort: String,
    role: Option<types::PolicyRole>,
    user: Option<types::PolicyUser>,
}

pub(super) fn list_entities(
    context: &Context<'_>,
    input: &types::ListEntitiesForPolicyRequest,
) -> OperationResult<types::ListEntitiesForPolicyResponse> {
    let arn = input.policy_arn.as_deref().unwrap_or_default();
    if find(context, arn).is_none() {
        return Err(policies::not_found(arn));
    }
    let has = |list: &[String]| list.iter().any(|other| other == arn);
    let prefix = input.path_prefix.as_deref().unwrap_or("/");
    let filter = input.entity_filter.as_ref().map(|kind| kind.as_str().to_owned());
    let usage = input.policy_usage_filter.as_ref().map(|usage| usage.as_str().to_owned());
    let wanted = |kind: &str| {
        filter.as_ref().is_none_or(|filter| filter == kind)
            && usage.as_ref().is_none_or(|usage| usage == "PermissionsPolicy")
    };
    let roles = context
        .snapshot
        .roles()
        .filter(|role| wanted("Role") && has(&role.attached) && role.path.starts_with(prefix))
        .map(|role| Entity {
            sort: format!("r/{}", iam::key(&role.name)),
            role: Some(types::PolicyRole {
                role_name: Some(role.name.clone()),
                role_id: Some(role.id.clone()),
            }),
            user: None,
        });
    let users = context
        .snapshot
        .users()
        .filter(|user| wanted("User") && has(&user.attached) && user.path.starts_with(prefix))
        .map(|user| Entity {
            sort: format!("u/{}", iam::key(&user.name)),
            role: None,
            user: Some(types::PolicyUser {
                user_name: Some(user.name.clone()),
                user_id: Some(user.id.clone()),
            }),
        });
    let sort = |entity: &Entity| entity.sort.clone();
    let page = page(roles.chain(users), sort, input.marker.as_deref(), input.max_items)?;
    let is_truncated = page.is_truncated();
    let (mut roles, mut users) = (Vec::new(), Vec::new());
    for entity in page.items {
        roles.extend(entity.role);
        users.extend(entity.user);
    }
    Ok(Outcome::read(types::ListEntitiesForPolicyResponse {
        policy_groups: Some(Vec::new()),
        policy_users: Some(users),
        policy_roles: Some(roles),
        is_truncated,
        marker: page.marker,
    }))
}
