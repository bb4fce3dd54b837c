//! GetCallerIdentity: account, ARN and unique id of who signed. Terraform asks it first.

use crate::context::{Context, Outcome, Result};
use sha2::{Digest, Sha256};
use wharf_model::Principal;
use wharf_wire::sts::types::{GetCallerIdentityRequest, GetCallerIdentityResponse};

/// GetCallerIdentity.
pub fn get_caller_identity(
    context: &Context<'_>,
    _: &GetCallerIdentityRequest,
) -> Result<GetCallerIdentityResponse> {
    Ok(Outcome::read(GetCallerIdentityResponse {
        user_id: Some(user_id(context.identity.principal(), context.account())),
        account: Some(context.account().to_owned()),
        arn: Some(context.identity.principal_arn()),
    }))
}

/// The root's id is the account's; the others' begin with their kind and follow from their ARN.
fn user_id(principal: &Principal, account: &str) -> String {
    match principal {
        Principal::Root => account.to_owned(),
        Principal::User(name) => unique_id("AIDA", &format!("user/{account}/{name}")),
        Principal::Instance(name) => unique_id("AIDA", &format!("instance/{account}/{name}")),
        Principal::RoleSession(role, session) => {
            format!("{}:{session}", unique_id("AROA", &format!("role/{account}/{role}")))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_stable_and_tell_the_kind() {
        let account = "123456789012";
        assert_eq!(user_id(&Principal::Root, account), account);
        let user = user_id(&Principal::User("jo".into()), account);
        assert!(user.starts_with("AIDA") && user.len() == 21);
        assert_eq!(user, user_id(&Principal::User("jo".into()), account));
        let session = user_id(&Principal::RoleSession("web".into(), "s1".into()), account);
        assert!(session.starts_with("AROA") && session.ends_with(":s1"));
    }
}
