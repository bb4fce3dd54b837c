//! Which load balancers forward to which target groups.
//!
//! A load balancer may have more listeners and rules than one transaction can delete: what is behind
//! a deleted one is no more there for anybody, and [`super::due`] takes it away.

use std::collections::{BTreeMap, BTreeSet};
use wharf_model::Snapshot;
use wharf_model::load_balancing::{Action, Listener, Rule};

/// The paths of the target groups that actions forward to.
pub fn groups_of_actions(actions: &[Action]) -> impl Iterator<Item = &str> {
    let groups = actions.iter().flat_map(|action| match action {
        Action::Forward(forward) => forward.target_groups.as_slice(),
        Action::Redirect(_) | Action::FixedResponse(_) => &[],
    });
    groups.map(|group| group.target_group.as_str())
}

/// Whether any of the actions forwards to the target group with this path.
pub fn forwards_to(actions: &[Action], group: &str) -> bool {
    groups_of_actions(actions).any(|path| path == group)
}

/// Whether a listener's load balancer is still there.
pub fn is_listener_live(snapshot: &Snapshot, listener: &Listener) -> bool {
    snapshot.load_balancer(&listener.load_balancer).is_some()
}

/// Whether a rule's listener, and that one's load balancer, are still there.
pub fn is_rule_live(snapshot: &Snapshot, rule: &Rule) -> bool {
    snapshot.listener(&rule.listener).is_some_and(|l| is_listener_live(snapshot, l))
}

/// Paths of target groups with the paths of the load balancers that forward to them.
#[derive(Debug, Clone, Default)]
pub struct Usage(BTreeMap<String, BTreeSet<String>>);

impl Usage {
    /// Who uses what in a snapshot.
    pub fn of(snapshot: &Snapshot) -> Self {
        let mut usage = Self::default();
        for listener in snapshot.listeners().filter(|l| is_listener_live(snapshot, l)) {
            usage.add(&listener.load_balancer, &listener.default_actions);
            for rule in snapshot.rules_of(&listener.path()) {
                usage.add(&listener.load_balancer, &rule.actions);
            }
        }
        usage
    }

    fn add(&mut self, load_balancer: &str, actions: &[Action]) {
        for group in groups_of_actions(actions) {
            let users = self.0.entry(group.to_owned()).or_default();
            if !users.contains(load_balancer) {
                users.insert(load_balancer.to_owned());
            }
        }
    }

    /// Whether a listener forwards to the group with this path.
    pub fn is_used(&self, group: &str) -> bool {
        self.0.contains_key(group)
    }

    /// The load balancers whose listeners forward to the group with this path.
    pub fn load_balancers(&self, group: &str) -> impl Iterator<Item = &str> {
        self.0.get(group).into_iter().flatten().map(String::as_str)
    }

    /// The groups that the load balancer with this path forwards to.
    pub fn groups_of(&self, load_balancer: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(_, by)| by.contains(load_balancer)).map(|(g, _)| g.as_str())
    }
}
