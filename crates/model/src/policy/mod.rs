//! IAM policy documents: what they may say, and what they decide.
//!
//! [`Policy::parse`] takes a document as people write it, by IAM's grammar and with IAM's
//! complaints; [`evaluate`] asks documents whether a request is allowed. An explicit Deny wins,
//! and what nothing allows is denied. A statement with a condition that isn't understood here
//! grants nothing, and if it denies, it denies: what is doubtful never lets anybody in.

mod condition;
mod evaluate;
mod glob;
mod parse;
#[cfg(test)]
mod tests;

pub use evaluate::{
    Caller, Decision, Fact, Facts, Request, Trust, by_registry, by_resource, evaluate, trust,
};
pub use glob::matches;
pub use parse::{Error, Kind};

/// A policy document that was understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Its statements, in order.
    pub statements: Vec<Statement>,
}

/// What a statement does where it applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It allows.
    Allow,
    /// It denies, whatever else allows.
    Deny,
}

/// Patterns that are meant, or all but which is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// `Action`, `Resource`.
    Only(Vec<String>),
    /// `NotAction`, `NotResource`.
    AllBut(Vec<String>),
}

/// Whom a trust policy's statement is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principals {
    /// `Principal`.
    Only(Vec<TrustedPrincipal>),
    /// `NotPrincipal`: never understood to include anybody.
    AllBut,
}

/// One entry of `Principal`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrustedPrincipal {
    /// `*`.
    Anybody,
    /// A whole account: its id, or its root's ARN.
    Account(String),
    /// A user's, role's or session's ARN.
    Arn(String),
    /// A service such as `ecs-tasks.amazonaws.com`.
    Service(String),
    /// A kind that no caller of this server is: `Federated`, `CanonicalUser`.
    Other,
}

/// One operator with one key and its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Such as `StringEquals`, with its prefix and suffix.
    pub operator: String,
    /// Such as `aws:SourceArn`.
    pub key: String,
    /// Any of these.
    pub values: Vec<String>,
}

/// One statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// Its name, if it has one.
    pub sid: Option<String>,
    /// Allow or Deny.
    pub effect: Effect,
    /// Which actions.
    pub actions: Selection,
    /// Which resources; a trust policy's statement names none.
    pub resources: Option<Selection>,
    /// Whom; an identity's policy names nobody.
    pub principals: Option<Principals>,
    /// When: all of these.
    pub conditions: Vec<Condition>,
}
