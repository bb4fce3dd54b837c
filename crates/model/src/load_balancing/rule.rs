//! Rules of listeners: conditions, actions, transforms.

use crate::tag::Tag;
use serde::{Deserialize, Serialize};

/// A condition of a rule; any of its values may match. Wildcards are `*` and `?`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// The Host header, in any case.
    HostHeader {
        /// Patterns with wildcards.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        values: Vec<String>,
        /// Regular expressions.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        regex_values: Vec<String>,
    },
    /// The path, case-sensitive.
    PathPattern {
        /// Patterns with wildcards.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        values: Vec<String>,
        /// Regular expressions.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        regex_values: Vec<String>,
    },
    /// A header's value, in any case.
    HttpHeader {
        /// The header's name.
        name: String,
        /// Patterns with wildcards.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        values: Vec<String>,
        /// Regular expressions.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        regex_values: Vec<String>,
    },
    /// The method, as it is.
    HttpRequestMethod {
        /// Methods.
        values: Vec<String>,
    },
    /// Parts of the query string, in any case: key (any, if absent) and value, with wildcards.
    QueryString {
        /// Pairs.
        values: Vec<(Option<String>, String)>,
    },
    /// The client's address.
    SourceIp {
        /// Networks in CIDR notation.
        values: Vec<String>,
    },
}

/// A target group and its share of a forward action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightedTargetGroup {
    /// Path of the target group: `NAME/ID`.
    pub target_group: String,
    /// 0 to 999; `None` where none was given, which counts as 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
}

/// Forward to one or more target groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// The groups.
    pub target_groups: Vec<WeightedTargetGroup>,
    /// Seconds for which a client stays with a group, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stickiness_seconds: Option<u32>,
}

/// Redirect, with the placeholders `#{protocol}`, `#{host}`, `#{port}`, `#{path}` and `#{query}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    /// `HTTP`, `HTTPS` or `#{protocol}`.
    pub protocol: String,
    /// A port or `#{port}`.
    pub port: String,
    /// The host name.
    pub host: String,
    /// The path, with its leading slash.
    pub path: String,
    /// The query string without its leading question mark.
    pub query: String,
    /// 301 or 302.
    pub status: u16,
}

/// Answer in the load balancer's own name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedResponse {
    /// 2xx, 4xx or 5xx.
    pub status: u16,
    /// Content-Type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// An action of a rule. Authentication by OIDC, Cognito and JWT isn't built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Forward to targets.
    Forward(Forward),
    /// Redirect the client.
    Redirect(Redirect),
    /// A fixed response.
    FixedResponse(FixedResponse),
}

/// What a transform rewrites.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TransformKind {
    /// The Host header.
    HostHeaderRewrite,
    /// Path and query.
    UrlRewrite,
}

/// One rewrite of a transform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewrite {
    /// What is looked for.
    pub regex: String,
    /// What stands in its place, with `$1` for groups.
    pub replace: String,
}

/// A transform of what is forwarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transform {
    /// What it rewrites.
    pub kind: TransformKind,
    /// How.
    pub rewrites: Vec<Rewrite>,
}

/// A rule of a listener beside its default rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Path of its listener: `app/NAME/ID/ID`.
    pub listener: String,
    /// 16 hex digits.
    pub id: String,
    /// 1 to 50000; no other rule of the listener has it.
    pub priority: u32,
    /// All of them must match.
    pub conditions: Vec<Condition>,
    /// What is done, by its order; the last one answers.
    pub actions: Vec<Action>,
    /// What is rewritten before a request is forwarded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transforms: Vec<Transform>,
    /// Its tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
}

impl Rule {
    /// What its ARN ends in behind `listener-rule/`, and what it is filed under: `app/NAME/ID/ID/ID`.
    pub fn path(&self) -> String {
        format!("{}/{}", self.listener, self.id)
    }
}
