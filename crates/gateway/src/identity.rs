//! Who makes a request: what the gate has verified, and nothing that it has not.

use crate::sigv4::{Claim, Error, Key};
use wharf_model::{Principal, Timestamp};

/// What kind of principal it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The account's root.
    Root,
    /// An IAM user.
    User,
    /// A container instance's agent.
    ContainerInstance,
    /// A balancer.
    Balancer,
    /// A role's session: a task's application or execution role, or AssumeRole.
    RoleSession,
}

/// The session behind temporary credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Role's name.
    pub role: String,
    /// Session's name; for a task its id.
    pub name: String,
    /// When the credentials end.
    pub expires_at: Timestamp,
}

/// Who was given a token of the registry, as the token says it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Grant {
    /// The key that asked for it.
    #[serde(rename = "k")]
    pub access_key_id: String,
    /// Whose key that is.
    #[serde(rename = "p")]
    pub principal: Principal,
    /// When the token ends.
    #[serde(rename = "e")]
    pub expires_at: Timestamp,
}

/// A verified identity. Only the gate makes one, so whoever holds it may rely on it.
#[derive(Debug, Clone)]
pub struct Verified {
    access_key_id: String,
    principal: Principal,
    account: String,
    region: String,
    service: String,
    session: Option<Session>,
}

impl Verified {
    /// For the gate alone, after the signature has been found right.
    pub(crate) fn new(claim: Claim, key: Key, account: &str) -> Self {
        Self {
            access_key_id: claim.access_key_id,
            principal: key.principal,
            account: account.to_owned(),
            region: claim.scope.region,
            service: claim.scope.service,
            session: key.session,
        }
    }

    /// For the gate alone, after a token of the registry has been found right and still good.
    pub(crate) fn by_token(grant: Grant, account: &str, region: &str) -> Self {
        let Grant { access_key_id, principal, expires_at } = grant;
        let session = match &principal {
            Principal::RoleSession(role, name) => {
                Some(Session { role: role.clone(), name: name.clone(), expires_at })
            }
            _ => None,
        };
        Self {
            access_key_id,
            principal,
            account: account.to_owned(),
            region: region.to_owned(),
            service: "ecr".to_owned(),
            session,
        }
    }

    /// The id of the key that signed.
    pub fn access_key_id(&self) -> &str {
        &self.access_key_id
    }

    /// Whose key it is.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The principal's ARN, such as `arn:aws:iam::123456789012:root`.
    pub fn principal_arn(&self) -> String {
        self.principal.arn(&self.account)
    }

    /// Account id.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The region that the request was signed for; it is this server's.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The service that the request was signed for, such as `ecs`.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The session, for temporary credentials.
    pub fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// The kind of principal.
    pub const fn kind(&self) -> Kind {
        match self.principal {
            Principal::Root => Kind::Root,
            Principal::User(_) => Kind::User,
            Principal::Instance(_) => Kind::ContainerInstance,
            Principal::Balancer => Kind::Balancer,
            Principal::RoleSession(..) => Kind::RoleSession,
        }
    }

    /// An error unless the request was signed for `service`.
    pub fn demand_service(&self, service: &str) -> Result<(), Error> {
        if self.service == service {
            return Ok(());
        }
        Err(Error::Scope(format!("Credential should be scoped to correct service: '{service}'. ")))
    }

    /// An identity for unit tests of operations.
    #[cfg(test)]
    pub(crate) fn for_tests(principal: Principal, service: &str) -> Self {
        Self {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            principal,
            account: "123456789012".to_owned(),
            region: "us-east-1".to_owned(),
            service: service.to_owned(),
            session: None,
        }
    }
}
