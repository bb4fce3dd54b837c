//! What of Elastic Load Balancing is in a snapshot.

use super::{Snapshot, Table, values};
use crate::load_balancing::{
    Certificate, Listener, LoadBalancer, Rule, Target, TargetGroup, TargetKey, TrustStore,
};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// The records whose path begins with `prefix`.
fn below<'a, T>(
    table: &'a Table<String, T>,
    prefix: String,
) -> impl Iterator<Item = &'a Arc<T>> + use<'a, T> {
    table
        .range(prefix.clone()..)
        .take_while(move |(path, _)| path.starts_with(&prefix))
        .map(|(_, v)| &v.value)
}

impl Snapshot {
    /// The path of the load balancer that holds an address, of the VPC or its own on hosts.
    pub fn load_balancer_at(&self, address: Ipv4Addr) -> Option<&String> {
        self.load_balancer_addresses.get(&address)
    }

    /// Whether neither a task nor a load balancer holds an address.
    pub fn is_free_address(&self, address: Ipv4Addr) -> bool {
        self.address_holder(address).is_none() && self.load_balancer_at(address).is_none()
    }

    pub(super) fn forget_addresses(&mut self, load_balancer: &String) {
        let Some(old) = self.load_balancers.get(load_balancer).map(|v| Arc::clone(&v.value)) else {
            return;
        };
        for address in [Some(old.host_address), old.task_address].into_iter().flatten() {
            if self.load_balancer_addresses.get(&address) == Some(load_balancer) {
                self.load_balancer_addresses.remove(&address);
            }
        }
    }

    /// Whether there are the same load balancers as earlier. True is certain, false is not.
    pub fn load_balancers_unchanged_since(&self, earlier: &Self) -> bool {
        self.load_balancers.ptr_eq(&earlier.load_balancers)
    }

    /// All load balancers by path.
    pub fn load_balancers(&self) -> impl DoubleEndedIterator<Item = &Arc<LoadBalancer>> {
        values(&self.load_balancers)
    }

    /// The load balancer of this name, of either kind.
    pub fn load_balancer_named(&self, name: &str) -> Option<&Arc<LoadBalancer>> {
        let of = |kind: &str| below(&self.load_balancers, format!("{kind}/{name}/")).next();
        of("app").or_else(|| of("net"))
    }

    /// All listeners by path.
    pub fn listeners(&self) -> impl Iterator<Item = &Arc<Listener>> {
        values(&self.listeners)
    }

    /// The listeners of a load balancer, by path.
    pub fn listeners_of(&self, load_balancer: &str) -> impl Iterator<Item = &Arc<Listener>> {
        below(&self.listeners, format!("{load_balancer}/"))
    }

    /// All rules beside the default ones, by path.
    pub fn listener_rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        values(&self.listener_rules)
    }

    /// The rules of a listener beside its default one, by path (not by priority).
    pub fn rules_of(&self, listener: &str) -> impl Iterator<Item = &Arc<Rule>> {
        below(&self.listener_rules, format!("{listener}/"))
    }

    /// All target groups by path.
    pub fn target_groups(&self) -> impl DoubleEndedIterator<Item = &Arc<TargetGroup>> {
        values(&self.target_groups)
    }

    /// The target group of this name.
    pub fn target_group_named(&self, name: &str) -> Option<&Arc<TargetGroup>> {
        below(&self.target_groups, format!("{name}/")).next()
    }

    /// All targets of all groups.
    pub fn all_targets(&self) -> impl Iterator<Item = &Arc<Target>> {
        values(&self.targets)
    }

    /// The targets of the group with this id, draining ones included.
    pub fn targets_of(&self, group_id: &str) -> impl Iterator<Item = &Arc<Target>> {
        let first = TargetKey { target_group: group_id.to_owned(), id: String::new(), port: 0 };
        self.targets
            .range(first.clone()..)
            .take_while(move |(key, _)| key.target_group == first.target_group)
            .map(|(_, v)| &v.value)
    }

    /// All trust stores by path.
    pub fn trust_stores(&self) -> impl DoubleEndedIterator<Item = &Arc<TrustStore>> {
        values(&self.trust_stores)
    }

    /// All certificates by id.
    pub fn certificates(&self) -> impl DoubleEndedIterator<Item = &Arc<Certificate>> {
        values(&self.certificates)
    }
}
