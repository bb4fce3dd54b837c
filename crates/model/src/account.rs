//! Account-wide records: settings, access keys, client tokens.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Who is allowed to make requests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Principal {
    /// The account's root.
    Root,
    /// An IAM user: its name, with its path before it if it has one (`a/b/jo`).
    User(String),
    /// One container instance's agent, by the instance's host key name.
    Instance(String),
    /// A balancer of this installation: it is told what to carry out, certificates' keys included,
    /// and may do nothing else.
    Balancer,
    /// A role's session (role name, session name): tasks and AssumeRole.
    RoleSession(String, String),
}

impl Principal {
    /// The name of the user or role, without path.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::User(name) => name.rsplit('/').next(),
            Self::RoleSession(role, _) => Some(role),
            Self::Root | Self::Instance(_) | Self::Balancer => None,
        }
    }

    /// The principal's ARN in `account`.
    pub fn arn(&self, account: &str) -> String {
        match self {
            Self::Root => format!("arn:aws:iam::{account}:root"),
            Self::User(name) => format!("arn:aws:iam::{account}:user/{name}"),
            Self::Instance(name) => format!("arn:aws:iam::{account}:instance/{name}"),
            Self::Balancer => format!("arn:aws:iam::{account}:balancer"),
            Self::RoleSession(role, session) => {
                format!("arn:aws:sts::{account}:assumed-role/{role}/{session}")
            }
        }
    }
}

/// A key that signs requests. The secret is sealed with the server's seal key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccessKey {
    /// `AKIA…` or `ASIA…`.
    pub access_key_id: String,
    /// Sealed secret, hexadecimal; only the gateway can open it.
    pub sealed_secret: String,
    /// Whose key it is.
    pub principal: Principal,
    /// When it was made.
    pub created_at: Timestamp,
    /// Switched off (`Inactive`): it signs nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_inactive: bool,
}

/// An account setting (PutAccountSetting, PutAccountSettingDefault).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccountSetting {
    /// Setting name such as `serviceLongArnFormat`.
    pub name: String,
    /// Whose: a principal ARN, or `default` for the account's default.
    pub principal: String,
    /// Its value.
    pub value: String,
}

/// What a client token was used for, so that a retried call is the same call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientToken {
    /// Cluster name, or empty for calls that have none.
    pub cluster: String,
    /// API operation such as `RunTask`.
    pub operation: String,
    /// The token that the client sent.
    pub token: String,
    /// Hash of the request's other members: the same token with other parameters is a conflict.
    pub request_hash: String,
    /// ARNs of what the first call made.
    pub arns: Vec<String>,
    /// When it may be forgotten.
    pub expires_at: Timestamp,
}
