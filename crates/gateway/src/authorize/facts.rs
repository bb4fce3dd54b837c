//! Condition keys: what this server knows of a request. A key that isn't named here isn't
//! understood, so that a statement which asks for it grants nothing.

use super::Asked;
use super::resources::Target;
use crate::identity::Verified;
use wharf_model::policy::{Fact, Facts};
use wharf_model::{ArnScope, Principal, Snapshot, iam};
use wharf_wire::Document;

/// A request's facts.
pub(crate) struct RequestFacts<'a> {
    arns: &'a ArnScope,
    snapshot: &'a Snapshot,
    identity: &'a Verified,
    asked: Asked<'a>,
    target: &'a Target,
    passed_to: Option<&'static str>,
}

impl<'a> RequestFacts<'a> {
    pub(crate) fn new(
        arns: &'a ArnScope,
        snapshot: &'a Snapshot,
        identity: &'a Verified,
        asked: Asked<'a>,
        target: &'a Target,
    ) -> Self {
        Self { arns, snapshot, identity, asked, target, passed_to: None }
    }

    /// The same for handing a role to a service.
    pub(super) fn passed_to(self, service: &'static str) -> Self {
        Self { passed_to: Some(service), ..self }
    }

    fn input(&self, names: &[&str]) -> Option<&'a str> {
        names.iter().find_map(|name| self.asked.input.get(name).and_then(Document::as_str))
    }

    /// The tags that the request sends, whatever their service calls them.
    fn tags(&self) -> Vec<(String, String)> {
        let input = self.asked.input;
        match input.get("tags").or_else(|| input.get("Tags")) {
            Some(Document::List(list)) => {
                let text = |tag: &Document, names: [&str; 2]| {
                    let value = names.iter().find_map(|name| tag.get(name)?.as_str());
                    value.map(str::to_owned)
                };
                let pair = |tag| {
                    let value = text(tag, ["value", "Value"]).unwrap_or_default();
                    Some((text(tag, ["key", "Key"])?, value))
                };
                list.iter().filter_map(pair).collect()
            }
            Some(Document::Map(map)) => {
                let text = |value: &Document| value.as_str().unwrap_or_default().to_owned();
                map.iter().map(|(key, value)| (key.clone(), text(value))).collect()
            }
            _ => Vec::new(),
        }
    }

    fn principal(&self, key: &str) -> Option<Fact> {
        let principal = self.identity.principal();
        let account = &self.arns.account;
        let name = iam::key(principal.name().unwrap_or_default());
        Some(match key {
            // Of a session the role's ARN, not the session's.
            "aws:principalarn" => match principal {
                Principal::RoleSession(..) => {
                    Fact::of(self.snapshot.role(&name).map(|role| role.arn(account)))
                }
                _ => Fact::one(self.identity.principal_arn()),
            },
            "aws:principalaccount" => Fact::one(account),
            "aws:principaltype" => Fact::one(match principal {
                Principal::Root => "Account",
                Principal::RoleSession(..) => "AssumedRole",
                Principal::User(_) | Principal::Instance(_) | Principal::Balancer => "User",
            }),
            "aws:username" => match principal {
                Principal::User(_) => Fact::of(principal.name()),
                _ => Fact::Absent,
            },
            "aws:userid" => match principal {
                Principal::RoleSession(_, session) => {
                    let id = self.snapshot.role(&name).map(|role| format!("{}:{session}", role.id));
                    Fact::of(id)
                }
                Principal::User(_) => Fact::of(self.snapshot.user(&name).map(|u| u.id.clone())),
                _ => Fact::one(account),
            },
            _ => return None,
        })
    }
}

impl Facts for RequestFacts<'_> {
    fn fact(&self, key: &str) -> Fact {
        let key = key.to_ascii_lowercase();
        if let Some(fact) = self.principal(&key) {
            return fact;
        }
        if let Some(name) = key.strip_prefix("aws:requesttag/") {
            let tags = self.tags();
            let found = tags.into_iter().find(|(tag, _)| tag.eq_ignore_ascii_case(name));
            return Fact::of(found.map(|(_, value)| value));
        }
        match key.as_str() {
            "aws:requestedregion" => Fact::one(&self.arns.region),
            // Of requests that a service makes for somebody: none comes here.
            "aws:sourcearn" | "aws:sourceaccount" => Fact::Absent,
            "aws:viaawsservice" => Fact::one("false"),
            "aws:tagkeys" => {
                let keys: Vec<String> = self.tags().into_iter().map(|(key, _)| key).collect();
                if keys.is_empty() { Fact::Absent } else { Fact::Values(keys) }
            }
            "ecs:cluster" => Fact::of(self.target.cluster.clone()),
            "ecs:task-definition" if self.asked.service == "ecs" => {
                Fact::of(self.target.task_definition.clone())
            }
            "iam:passedtoservice" => Fact::of(self.passed_to),
            "iam:policyarn" => Fact::of(self.input(&["PolicyArn"])),
            "iam:awsservicename" => Fact::of(self.input(&["AWSServiceName"])),
            "sts:externalid" => Fact::of(self.input(&["ExternalId"])),
            "sts:rolesessionname" => Fact::of(self.input(&["RoleSessionName"])),
            _ => Fact::NotUnderstood,
        }
    }
}
