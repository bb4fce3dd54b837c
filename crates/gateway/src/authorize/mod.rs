//! What a verified caller may do: the one place where requests are held against policies.
//!
//! The account's root may do everything, and costs nothing here. An agent's key may do what an
//! agent does. Users and roles' sessions may do what their policies allow of the action on every
//! resource that the request names ([`resources`], by the Service Authorization Reference);
//! whoever hands a role on needs `iam:PassRole` on it, too. Runs after decoding and before
//! anything is looked at, so that an operation can't forget it. ECR's operations ask
//! [`crate::registry::access`], which knows the repositories' own policies.

mod facts;
mod load_balancing;
mod resources;
#[cfg(test)]
mod tests;

use crate::app::App;
use crate::error::ApiError;
use crate::iam::built_in;
use crate::identity::Verified;
pub(crate) use facts::RequestFacts;
pub(crate) use resources::Target;
use wharf_model::iam;
use wharf_model::policy::{
    Caller, Decision, Kind, Policy, Request, by_registry, by_resource, evaluate,
};
use wharf_model::{ArnScope, Principal, Snapshot};
use wharf_wire::Document;

/// What of ECS an agent's key may do: what the policy AmazonEC2ContainerServiceforEC2Role grants,
/// and what the endpoints of its tasks ask for. Not RunTask: it would hand any role to anybody who
/// has a host.
const AGENT_ECS: &[&str] = &[
    "CreateCluster",
    "DeregisterContainerInstance",
    "DiscoverPollEndpoint",
    "GetTaskProtection",
    "ListTagsForResource",
    "RegisterContainerInstance",
    "SubmitAttachmentStateChanges",
    "SubmitContainerStateChange",
    "SubmitTaskStateChange",
    "TagResource",
    "UpdateContainerInstancesState",
    "UpdateTaskProtection",
];
/// What of CloudWatch Logs an agent's key may do.
const AGENT_LOGS: &[&str] =
    &["CreateLogGroup", "CreateLogStream", "DescribeLogStreams", "PutLogEvents"];
/// Operations that anybody may call who has a key.
const FREE: &[(&str, &str)] = &[
    ("sts", "GetCallerIdentity"),
    // Trust policies decide, and the operation asks the caller's own where they leave it to them.
    ("sts", "AssumeRole"),
];

/// A request that asks for leave.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// Signing name of the service.
    pub(crate) service: &'a str,
    /// The operation's name.
    pub(crate) operation: &'a str,
    /// Its input.
    pub(crate) input: &'a Document,
}

/// Lets the request through, or says why not.
///
/// # Errors
/// `AccessDenied` in the words and with the code of the addressed service.
pub(crate) fn authorize(app: &App, identity: &Verified, asked: Asked<'_>) -> Result<(), ApiError> {
    if *identity.principal() == Principal::Root {
        return Ok(());
    }
    decide(&app.store().snapshot(), app.arns(), identity, asked)
}

fn decide(
    snapshot: &Snapshot,
    arns: &ArnScope,
    identity: &Verified,
    asked: Asked<'_>,
) -> Result<(), ApiError> {
    match identity.principal() {
        Principal::Root => return Ok(()),
        Principal::Balancer => {
            let action = format!("{}:{}", asked.service, asked.operation);
            return Err(denied(identity, asked.service, &action, None, false));
        }
        // Repositories have policies of their own, which may allow what the caller's don't.
        _ if asked.service == "ecr" => return Ok(()),
        Principal::Instance(_) => return agent(identity, asked),
        Principal::User(_) | Principal::RoleSession(..) => {}
    }
    if FREE.contains(&(asked.service, asked.operation)) {
        return Ok(());
    }
    let policies = policies_of(snapshot, identity.principal(), &arns.account);
    let action = format!("{}:{}", asked.service, asked.operation);
    for target in resources::of(snapshot, arns, asked) {
        let facts = RequestFacts::new(arns, snapshot, identity, asked, &target);
        check(identity, asked.service, &action, &target, &policies, &facts)?;
    }
    for passed in resources::passed_roles(snapshot, arns, asked) {
        let target = Target::one(passed.arn);
        let facts = RequestFacts::new(arns, snapshot, identity, asked, &target);
        let facts = facts.passed_to(passed.service);
        check(identity, asked.service, "iam:PassRole", &target, &policies, &facts)?;
    }
    Ok(())
}

/// Whether the caller's own policies allow an action on one resource, without an input to look at.
pub(crate) fn allows(
    snapshot: &Snapshot,
    arns: &ArnScope,
    identity: &Verified,
    action: &str,
    resource: &str,
) -> Decision {
    let (service, operation) = action.split_once(':').unwrap_or((action, ""));
    match identity.principal() {
        Principal::Root => return Decision::Allowed,
        Principal::Instance(_) | Principal::Balancer => return Decision::NotAllowed,
        Principal::User(_) | Principal::RoleSession(..) => {}
    }
    let policies = policies_of(snapshot, identity.principal(), &arns.account);
    let input = Document::Null;
    let asked = Asked { service, operation, input: &input };
    let target = Target::one(resource.to_owned());
    let facts = RequestFacts::new(arns, snapshot, identity, asked, &target);
    evaluate(&policies, &Request { action, resource, facts: &facts })
}

/// What the policy of a resource says of the caller's doing something with it.
pub(crate) fn of_resource(
    snapshot: &Snapshot,
    arns: &ArnScope,
    identity: &Verified,
    policy: &Policy,
    action: &str,
    resource: &str,
) -> Decision {
    let (service, operation) = action.split_once(':').unwrap_or((action, ""));
    let (arn, role_arn) = (identity.principal_arn(), role_arn(snapshot, arns, identity));
    let account = &arns.account;
    let caller = Caller::Identity { account, arn: &arn, role_arn: role_arn.as_deref() };
    let input = Document::Null;
    let target = Target::one(resource.to_owned());
    let asked = Asked { service, operation, input: &input };
    let facts = RequestFacts::new(arns, snapshot, identity, asked, &target);
    by_resource(policy, action, caller, &facts)
}

/// What a registry's policy says of the caller's doing something with one of its resources; or of
/// another account's doing it, in whose name the caller acts.
pub(crate) fn of_registry(
    snapshot: &Snapshot,
    arns: &ArnScope,
    identity: &Verified,
    policy: &Policy,
    (action, resource): (&str, &str),
    foreign: Option<&str>,
) -> Decision {
    let (service, operation) = action.split_once(':').unwrap_or((action, ""));
    let (arn, role_arn) = match foreign {
        Some(account) => (format!("arn:aws:iam::{account}:root"), None),
        None => (identity.principal_arn(), role_arn(snapshot, arns, identity)),
    };
    let account = foreign.unwrap_or(&arns.account);
    let caller = Caller::Identity { account, arn: &arn, role_arn: role_arn.as_deref() };
    let input = Document::Null;
    let target = Target::one(resource.to_owned());
    let asked = Asked { service, operation, input: &input };
    let facts = RequestFacts::new(arns, snapshot, identity, asked, &target);
    by_registry(policy, &Request { action, resource, facts: &facts }, caller, foreign.is_some())
}

/// The ARN of the role whose session the caller is.
pub(crate) fn role_arn(
    snapshot: &Snapshot,
    arns: &ArnScope,
    identity: &Verified,
) -> Option<String> {
    let Principal::RoleSession(name, _) = identity.principal() else { return None };
    snapshot.role(&iam::key(name)).map(|role| role.arn(&arns.account))
}

fn check(
    identity: &Verified,
    service: &str,
    action: &str,
    target: &Target,
    policies: &[Policy],
    facts: &RequestFacts<'_>,
) -> Result<(), ApiError> {
    let mut decision = Decision::NotAllowed;
    for resource in &target.names {
        match evaluate(policies, &Request { action, resource, facts }) {
            Decision::Denied => {
                decision = Decision::Denied;
                break;
            }
            Decision::Allowed => decision = Decision::Allowed,
            Decision::NotAllowed => {}
        }
    }
    if decision == Decision::Allowed {
        return Ok(());
    }
    let resource = target.names.first().map_or("*", String::as_str);
    Err(denied(identity, service, action, Some(resource), decision == Decision::Denied))
}

fn agent(identity: &Verified, asked: Asked<'_>) -> Result<(), ApiError> {
    let may = match asked.service {
        // It speaks for its own instance's tasks alone: `ecs::state_change` looks at that.
        "ecs" => AGENT_ECS.contains(&asked.operation),
        "ec2" => asked.operation.starts_with("Describe"),
        "logs" => AGENT_LOGS.contains(&asked.operation),
        _ => FREE.contains(&(asked.service, asked.operation)),
    };
    let action = format!("{}:{}", asked.service, asked.operation);
    if may { Ok(()) } else { Err(denied(identity, asked.service, &action, None, false)) }
}

/// The refusal as AWS words it; each protocol has its own code and status.
pub(crate) fn denied(
    identity: &Verified,
    service: &str,
    action: &str,
    resource: Option<&str>,
    is_explicit: bool,
) -> ApiError {
    let on = resource.map(|resource| format!(" on resource: {resource}")).unwrap_or_default();
    let why = if is_explicit {
        "with an explicit deny in an identity-based policy".to_owned()
    } else {
        format!("because no identity-based policy allows the {action} action")
    };
    let who = identity.principal_arn();
    let text = format!("User: {who} is not authorized to perform: {action}{on} {why}");
    match service {
        "ec2" => ApiError::new(
            "UnauthorizedOperation",
            403,
            format!("You are not authorized to perform this operation. {text}"),
        ),
        "iam" | "sts" | "elasticloadbalancing" => ApiError::new("AccessDenied", 403, text),
        _ => ApiError::new("AccessDeniedException", 400, text),
    }
}

/// The policies of a user or role: inline ones and attached ones. One that can't be understood
/// is none; nothing gets into the state that can't.
fn policies_of(snapshot: &Snapshot, principal: &Principal, account: &str) -> Vec<Policy> {
    let name = iam::key(principal.name().unwrap_or_default());
    let (inline, attached) = match principal {
        Principal::User(_) => match snapshot.user(&name) {
            Some(user) => (&user.inline, &user.attached),
            None => return Vec::new(),
        },
        Principal::RoleSession(..) => match snapshot.role(&name) {
            Some(role) => (&role.inline, &role.attached),
            None => return Vec::new(),
        },
        Principal::Root | Principal::Instance(_) | Principal::Balancer => return Vec::new(),
    };
    let attached = attached.iter().filter_map(|arn| match built_in::find(arn) {
        Some(policy) => Some(policy.document),
        None => {
            let name = arn.rsplit('/').next().unwrap_or_default();
            let policy = snapshot.policy(&iam::key(name)).filter(|p| p.arn(account) == *arn);
            policy.map(|policy| policy.document())
        }
    });
    let documents = inline.values().map(String::as_str).chain(attached);
    documents.filter_map(|document| Policy::parse(document, Kind::Identity).ok()).collect()
}
