//! The rules of a listener, compiled: pure, and the same for every request.
//!
//! What a forward action forwards to is the caller's: it is asked for once per target group when the
//! rules are compiled, so that a request finds its targets without a look-up.

mod condition;
mod pattern;
mod redirect;
mod rewrite;

pub use pattern::Pattern;
pub use redirect::{leads_nowhere, location};
pub use rewrite::Rewrites;

use condition::Compiled;
use http::HeaderMap;
use ipnet::IpNet;
use std::net::IpAddr;
use std::time::Duration;
use wharf_model::load_balancing::{
    Action, FixedResponse, Forward, Listener, Redirect, Rule, Transform,
};

/// What conditions look at.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The Host header without its port.
    pub host: &'a str,
    /// The path.
    pub path: &'a str,
    /// The query string, without its question mark.
    pub query: &'a str,
    /// The method.
    pub method: &'a str,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The client's address.
    pub source: IpAddr,
    /// The listener's port.
    pub port: u16,
    /// Whether it came over TLS.
    pub tls: bool,
}

/// What is done with a request.
#[derive(Debug, Clone)]
pub enum Decision<G> {
    /// Forward.
    Forward(Choice<G>),
    /// Redirect.
    Redirect(Redirect),
    /// A fixed response.
    Fixed(FixedResponse),
}

/// The groups of a forward action.
#[derive(Debug, Clone)]
pub struct Choice<G> {
    /// Groups and their weights.
    pub groups: Vec<(G, u32)>,
    /// For how long a client stays with a group.
    pub stickiness: Option<Duration>,
}

impl<G> Choice<G> {
    /// The group for a request, given a random number; none if all weights are 0.
    pub fn pick(&self, random: u64) -> Option<&G> {
        if let [(group, weight)] = &self.groups[..] {
            return (*weight > 0).then_some(group);
        }
        let total: u64 = self.groups.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut left = random.checked_rem(total)?;
        self.groups.iter().find_map(|(group, weight)| match left.checked_sub(u64::from(*weight)) {
            Some(rest) => {
                left = rest;
                None
            }
            None => Some(group),
        })
    }
}

/// A compiled rule.
#[derive(Debug, Clone)]
pub struct CompiledRule<G> {
    /// Its priority; `None` is the default rule.
    pub priority: Option<u32>,
    conditions: Vec<Compiled>,
    /// What it decides; none if it has no action that answers.
    pub decision: Option<Decision<G>>,
    /// What is rewritten before a request is forwarded.
    pub rewrites: Rewrites,
}

/// The rules of a listener by priority, the default rule last.
#[derive(Debug, Clone)]
pub struct RuleTable<G> {
    rules: Vec<CompiledRule<G>>,
    default: CompiledRule<G>,
}

impl<G> RuleTable<G> {
    /// Compiles the rules of a listener; `group` is asked for the target group of a path.
    pub fn new<'a>(
        listener: &Listener,
        rules: impl Iterator<Item = &'a Rule>,
        group: &mut impl FnMut(&str) -> G,
    ) -> Self {
        let mut rules: Vec<&Rule> = rules.collect();
        rules.sort_by_key(|rule| rule.priority);
        let compiled = rules
            .into_iter()
            .map(|rule| CompiledRule {
                priority: Some(rule.priority),
                conditions: rule.conditions.iter().map(Compiled::new).collect(),
                decision: decision(&rule.actions, group),
                rewrites: rewrites(&rule.transforms),
            })
            .collect();
        let default = CompiledRule {
            priority: None,
            conditions: Vec::new(),
            decision: decision(&listener.default_actions, group),
            rewrites: Rewrites::default(),
        };
        Self { rules: compiled, default }
    }

    /// The first rule whose conditions all match.
    pub fn find(&self, request: &Request<'_>) -> &CompiledRule<G> {
        let matches =
            |rule: &&CompiledRule<G>| rule.conditions.iter().all(|part| part.matches(request));
        self.rules.iter().find(matches).unwrap_or(&self.default)
    }

    /// Whether any rule names a host by a condition that fits this one.
    pub fn claims_host(&self, host: &str) -> bool {
        self.rules.iter().any(|rule| rule.conditions.iter().any(|part| part.claims_host(host)))
    }

    /// Every group that something is forwarded to.
    pub fn groups(&self) -> impl Iterator<Item = &G> {
        self.rules
            .iter()
            .chain([&self.default])
            .filter_map(|rule| rule.decision.as_ref())
            .flat_map(|decision| match decision {
                Decision::Forward(choice) => &choice.groups[..],
                _ => &[],
            })
            .map(|(group, _)| group)
    }

    /// The group of the default rule's only forward, as a Network Load Balancer has it.
    pub fn default_choice(&self) -> Option<&Choice<G>> {
        match &self.default.decision {
            Some(Decision::Forward(choice)) => Some(choice),
            _ => None,
        }
    }
}

fn rewrites(transforms: &[Transform]) -> Rewrites {
    Rewrites::new(transforms)
}

fn decision<G>(actions: &[Action], group: &mut impl FnMut(&str) -> G) -> Option<Decision<G>> {
    Some(match actions.last()? {
        Action::Forward(forward) => Decision::Forward(choice(forward, group)),
        Action::Redirect(redirect) => Decision::Redirect(redirect.clone()),
        Action::FixedResponse(fixed) => Decision::Fixed(fixed.clone()),
    })
}

fn choice<G>(forward: &Forward, group: &mut impl FnMut(&str) -> G) -> Choice<G> {
    Choice {
        groups: forward
            .target_groups
            .iter()
            .map(|weighted| (group(&weighted.target_group), weighted.weight.unwrap_or(1)))
            .collect(),
        stickiness: forward.stickiness_seconds.map(|s| Duration::from_secs(s.into())),
    }
}

/// Reads a network, or an address as the network of itself alone.
pub fn network(text: &str) -> Option<IpNet> {
    condition::network(text)
}

#[cfg(test)]
mod tests;
