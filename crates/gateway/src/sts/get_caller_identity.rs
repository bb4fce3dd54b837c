//! GetCallerIdentity: account, ARN and unique id of who signed. Terraform asks it first.

use crate::context::{Context, Outcome, Result};
use sha2::{Digest, Sha256};
use wharf_model::{Principal, iam};
use wharf_wire::sts::types::{GetCallerIdentityRequest, GetCallerIdentityResponse};

/// GetCallerIdentity.
pub fn get_caller_identity(
    context: &Context<'_>,
    _: &GetCallerIdentityRequest,
) -> Result<GetCallerIdentityResponse> {
    Ok(Outcome::read(GetCallerIdentityResponse {
        user_id: Some(user_id(context)),
        account: Some(context.account().to_owned()),
        arn: Some(context.identity.principal_arn()),
    }))
}

/// The root's id is the account's; users and roles have theirs in their records; an agent's
/// follows from its ARN.
fn user_id(context: &Context<'_>) -> String {
    let (principal, account) = (context.identity.principal(), context.account());
    let name = iam::key(principal.name().unwrap_or_default());
    match principal {
        Principal::Root => account.to_owned(),
        Principal::User(_) => {
            context.snapshot.user(&name).map(|user| user.id.clone()).unwrap_or_default()
        }
        Principal::Instance(name) => unique_id("AIDA", &format!("instance/{account}/{name}")),
        Principal::Balancer => unique_id("AIDA", &format!("balancer/{account}")),
        Principal::RoleSession(_, session) => {
            let id = context.snapshot.role(&name).map(|role| role.id.as_str());
            format!("{}:{session}", id.unwrap_or_default())
        }
    }
}

/// Prefix and 17 letters or digits, the same for the same name.
fn unique_id(prefix: &str, name: &str) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let digest = Sha256::digest(name.as_bytes());
    let letters = digest.iter().take(17).map(|b| char::from(ALPHABET[usize::from(b % 32)]));
    prefix.chars().chain(letters).collect()
}
