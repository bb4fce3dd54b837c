//! AssumeRole: temporary credentials of a role for whoever its trust policy lets in.

use crate::authorize::{Asked, RequestFacts, Target, allows, role_arn};
use crate::context::{Context, Outcome, Result};
use crate::credentials;
use crate::ecs::present::timestamp;
use crate::error::ApiError;
use std::time::Duration;
use wharf_model::iam::{self, Role};
use wharf_model::policy::{self, Caller, Decision, Trust};
use wharf_model::{Principal, Timestamp};
use wharf_wire::Shape as _;
use wharf_wire::sts::types::{AssumeRoleRequest, AssumeRoleResponse, AssumedRoleUser, Credentials};

const ACTION: &str = "sts:AssumeRole";
const DEFAULT_SECONDS: i32 = 3600;
/// The longest session of a role that another role's session assumes.
const CHAINED_SECONDS: i32 = 3600;

/// AssumeRole.
pub fn assume_role(context: &Context<'_>, input: &AssumeRoleRequest) -> Result<AssumeRoleResponse> {
    refuse(input)?;
    let arn = input.role_arn.as_deref().unwrap_or_default();
    let account = context.account();
    let denied = || {
        let who = context.identity.principal_arn();
        let text = format!("User: {who} is not authorized to perform: {ACTION} on resource: {arn}");
        ApiError::new("AccessDenied", 403, text)
    };
    // A role that isn't there answers as one that trusts nobody.
    let is_arn = arn.starts_with("arn:");
    let role = iam::role_by_reference(context.snapshot, account, arn).filter(|_| is_arn);
    let role = role.ok_or_else(denied)?;
    if !may_assume(context, input, role, arn) {
        return Err(denied());
    }
    let seconds = input.duration_seconds.unwrap_or(DEFAULT_SECONDS);
    check_duration(context, role, seconds)?;
    let name = input.role_session_name.clone().unwrap_or_default();
    let seconds = u64::try_from(seconds).unwrap_or(0);
    // Whole seconds, as the API shows them.
    let now = Timestamp(context.now.as_millis() / 1000 * 1000);
    let expires_at = now.plus(Duration::from_secs(seconds));
    let salt = context.seed.to_be_bytes();
    let key = credentials::role_session(context.seal, role, &name, expires_at, &salt);
    let session = Principal::RoleSession(role.name.clone(), name.clone());
    Ok(Outcome::read(AssumeRoleResponse {
        credentials: Some(Credentials {
            access_key_id: Some(key.access_key_id),
            secret_access_key: Some(key.secret.expose().to_owned()),
            session_token: Some(key.session_token),
            expiration: Some(timestamp(expires_at)),
        }),
        assumed_role_user: Some(AssumedRoleUser {
            assumed_role_id: Some(format!("{}:{name}", role.id)),
            arn: Some(session.arn(account)),
        }),
        ..AssumeRoleResponse::default()
    }))
}

/// Whether the trust policy lets the caller in, and the caller's own policies don't stand against
/// it.
fn may_assume(context: &Context<'_>, input: &AssumeRoleRequest, role: &Role, arn: &str) -> bool {
    let Some(policy) = role.trust() else { return false };
    let (identity, account) = (context.identity, context.account());
    let principal_arn = identity.principal_arn();
    if matches!(identity.principal(), Principal::Instance(_) | Principal::Balancer) {
        return false;
    }
    let role_arn = role_arn(context.snapshot, context.arns, identity);
    let caller = Caller::Identity { account, arn: &principal_arn, role_arn: role_arn.as_deref() };
    let document = input.clone().into_document();
    let asked = Asked { service: "sts", operation: "AssumeRole", input: &document };
    let target = Target::default();
    let facts = RequestFacts::new(context.arns, context.snapshot, identity, asked, &target);
    let decision = allows(context.snapshot, context.arns, identity, ACTION, arn);
    match policy::trust(&policy, ACTION, caller, &facts) {
        Trust::Named => decision != Decision::Denied,
        Trust::ByAccount => decision == Decision::Allowed,
        Trust::No => false,
    }
}

fn check_duration(
    context: &Context<'_>,
    role: &Role,
    seconds: i32,
) -> std::result::Result<(), ApiError> {
    let invalid = |text: &str| Err(ApiError::new("ValidationError", 400, text));
    let is_chained = matches!(context.identity.principal(), Principal::RoleSession(..));
    if is_chained && seconds > CHAINED_SECONDS {
        return invalid(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by \
             role chaining",
        );
    }
    if seconds > role.max_session_seconds {
        return invalid(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        );
    }
    Ok(())
}

/// Refuses by name what isn't carried out: a session that was narrowed or tagged would be wider
/// than its maker meant.
fn refuse(input: &AssumeRoleRequest) -> std::result::Result<(), ApiError> {
    let sent = [
        ("Policy", input.policy.is_some()),
        ("PolicyArns", input.policy_arns.is_some()),
        ("Tags", input.tags.is_some()),
        ("TransitiveTagKeys", input.transitive_tag_keys.is_some()),
        ("SerialNumber", input.serial_number.is_some()),
        ("TokenCode", input.token_code.is_some()),
        ("SourceIdentity", input.source_identity.is_some()),
        ("ProvidedContexts", input.provided_contexts.is_some()),
    ];
    match sent.iter().find(|(_, is_sent)| *is_sent) {
        None => Ok(()),
        Some((member, _)) => Err(ApiError::new(
            "ValidationError",
            400,
            format!("{member} is not supported by this server."),
        )),
    }
}
