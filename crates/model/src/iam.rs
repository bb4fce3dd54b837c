//! Identity and access management: roles, users, policies, instance profiles.
//!
//! Names are unique without regard to case, so records are kept under their names in lower case.
//! What a role or user holds (inline policies, what is attached) stands in its own record; what
//! counts on it stays countable by a record that both sides write.

use crate::arn::ArnScope;
use crate::policy::{self, Caller, Facts, Kind, Policy, Trust};
use crate::snapshot::Snapshot;
use crate::tag::Tag;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `MaxSessionDuration` of a role that names none, in seconds.
pub const DEFAULT_SESSION_SECONDS: i32 = 3600;

/// The key of a record by a name as somebody wrote it.
pub fn key(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// A role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Role {
    /// Name as it was given.
    pub name: String,
    /// `/`, or `/a/b/`.
    pub path: String,
    /// `AROA…`.
    pub id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// The trust policy as it was sent.
    pub trust_policy: String,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The longest session, in seconds.
    pub max_session_seconds: i32,
    /// Inline policies by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inline: BTreeMap<String, String>,
    /// ARNs of attached policies, in the order of their attachment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attached: Vec<String>,
    /// Names of the instance profiles that hold it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instance_profiles: Vec<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// Name as it was given.
    pub name: String,
    /// `/`, or `/a/b/`.
    pub path: String,
    /// `AIDA…`.
    pub id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Inline policies by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inline: BTreeMap<String, String>,
    /// ARNs of attached policies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attached: Vec<String>,
    /// Ids of its access keys, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub access_keys: Vec<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
}

/// One version of a managed policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyVersion {
    /// Counted from 1; shown as `v1`.
    pub number: u32,
    /// The document as it was sent.
    pub document: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A policy that the account manages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ManagedPolicy {
    /// Name as it was given.
    pub name: String,
    /// `/`, or `/a/b/`.
    pub path: String,
    /// `ANPA…`.
    pub id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its newest version was made, or another became the default.
    pub updated_at: Timestamp,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The versions that are kept, oldest first.
    pub versions: Vec<PolicyVersion>,
    /// The version that counts.
    pub default_version: u32,
    /// The number of the next version: a deleted one's isn't used again.
    pub next_version: u32,
    /// How many roles and users it is attached to.
    #[serde(default)]
    pub attachments: u32,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
}

/// A role as EC2 instances take it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceProfile {
    /// Name as it was given.
    pub name: String,
    /// `/`, or `/a/b/`.
    pub path: String,
    /// `AIPA…`.
    pub id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// The name of its role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
}

impl ManagedPolicy {
    /// The document that counts.
    pub fn document(&self) -> &str {
        let found = self.versions.iter().find(|v| v.number == self.default_version);
        found.map_or("", |version| &version.document)
    }
}

/// `arn:aws:iam::<account>:<kind><path><name>`
fn arn(account: &str, kind: &str, path: &str, name: &str) -> String {
    format!("arn:aws:iam::{account}:{kind}{path}{name}")
}

impl Role {
    /// Its ARN.
    pub fn arn(&self, account: &str) -> String {
        arn(account, "role", &self.path, &self.name)
    }

    /// The trust policy, understood.
    pub fn trust(&self) -> Option<Policy> {
        Policy::parse(&self.trust_policy, Kind::Trust).ok()
    }

    /// Made by an AWS service for itself: nobody else changes it.
    pub fn is_service_linked(&self) -> bool {
        self.path.starts_with("/aws-service-role/")
    }
}

impl User {
    /// Its ARN.
    pub fn arn(&self, account: &str) -> String {
        arn(account, "user", &self.path, &self.name)
    }
}

impl ManagedPolicy {
    /// Its ARN.
    pub fn arn(&self, account: &str) -> String {
        arn(account, "policy", &self.path, &self.name)
    }
}

impl InstanceProfile {
    /// Its ARN.
    pub fn arn(&self, account: &str) -> String {
        arn(account, "instance-profile", &self.path, &self.name)
    }
}

/// Splits a role's ARN of this account into path and name; a bare name has none.
pub fn role_name<'a>(reference: &'a str, account: &str) -> Option<&'a str> {
    if !reference.starts_with("arn:") {
        return Some(reference);
    }
    let parts: Vec<&str> = reference.splitn(6, ':').collect();
    match parts[..] {
        ["arn", _, "iam", "", of, resource] if of == account => {
            resource.strip_prefix("role/").and_then(|path| path.rsplit('/').next())
        }
        _ => None,
    }
}

/// A role by its ARN, which must be its own with its path, or by its name.
pub fn role_by_reference<'a>(
    snapshot: &'a Snapshot,
    account: &str,
    reference: &str,
) -> Option<&'a Role> {
    let role = snapshot.role(&key(role_name(reference, account)?))?;
    let same = !reference.starts_with("arn:") || role.arn(account) == reference;
    same.then_some(role.as_ref())
}

/// The ARN that a task definition's role stands for: of a bare name the one that it would have.
pub fn role_arn(reference: &str, account: &str) -> String {
    if reference.starts_with("arn:") {
        reference.to_owned()
    } else {
        arn(account, "role", "/", reference)
    }
}

/// What ECS tells of itself when it assumes a role for a task.
struct ForTask<'a> {
    account: &'a str,
    task_arn: &'a str,
}

impl Facts for ForTask<'_> {
    fn fact(&self, key: &str) -> policy::Fact {
        match key.to_ascii_lowercase().as_str() {
            "aws:sourceaccount" => policy::Fact::one(self.account),
            "aws:sourcearn" => policy::Fact::one(self.task_arn),
            "sts:externalid" | "aws:principalarn" | "aws:username" => policy::Fact::Absent,
            _ => policy::Fact::NotUnderstood,
        }
    }
}

/// The service that tasks' roles must trust.
pub const TASKS_SERVICE: &str = "ecs-tasks.amazonaws.com";

/// The role that `reference` names if ECS may assume it for the task.
pub fn role_for_task<'a>(
    snapshot: &'a Snapshot,
    arns: &ArnScope,
    reference: &str,
    task_arn: &str,
) -> Option<&'a Role> {
    let role = role_by_reference(snapshot, &arns.account, reference)?;
    let facts = ForTask { account: &arns.account, task_arn };
    let caller = Caller::Service(TASKS_SERVICE);
    let trust = policy::trust(&role.trust()?, "sts:AssumeRole", caller, &facts);
    (trust == Trust::Named).then_some(role)
}
