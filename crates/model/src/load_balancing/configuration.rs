//! What a balancer carries out, as the server tells it: all of it once, then what changes.

use super::{
    Listener, LoadBalancer, Meter, MeterKey, Rule, Target, TargetGroup, TargetHealth, TargetKey,
    TrustStore,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// A certificate with its key, as a balancer needs it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPair {
    /// ARN of the certificate.
    pub arn: String,
    /// The certificate and its chain in PEM, leaf first.
    pub chain: String,
    /// The private key in PEM.
    pub private_key: String,
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair").field("arn", &self.arn).finish_non_exhaustive()
    }
}

/// Something that a balancer is told of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Item {
    /// A load balancer.
    LoadBalancer(Arc<LoadBalancer>),
    /// A listener.
    Listener(Arc<Listener>),
    /// A rule.
    Rule(Arc<Rule>),
    /// A target group.
    TargetGroup(Arc<TargetGroup>),
    /// A target.
    Target(Arc<Target>),
    /// A certificate.
    KeyPair(Arc<KeyPair>),
    /// A trust store.
    TrustStore(Arc<TrustStore>),
}

/// What tells an [`Item`] from the others: paths, and a certificate's ARN.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ItemKey {
    /// A load balancer's path.
    LoadBalancer(String),
    /// A listener's path.
    Listener(String),
    /// A rule's path.
    Rule(String),
    /// A target group's path.
    TargetGroup(String),
    /// A target.
    Target(TargetKey),
    /// A certificate's ARN.
    KeyPair(String),
    /// A trust store's path.
    TrustStore(String),
}

impl Item {
    /// Its key.
    pub fn key(&self) -> ItemKey {
        match self {
            Self::LoadBalancer(r) => ItemKey::LoadBalancer(r.path()),
            Self::Listener(r) => ItemKey::Listener(r.path()),
            Self::Rule(r) => ItemKey::Rule(r.path()),
            Self::TargetGroup(r) => ItemKey::TargetGroup(r.path()),
            Self::Target(r) => ItemKey::Target(r.key.clone()),
            Self::KeyPair(r) => ItemKey::KeyPair(r.arn.clone()),
            Self::TrustStore(r) => ItemKey::TrustStore(r.path()),
        }
    }
}

/// One message of the server: the changes that lead to a revision.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// Revision of the state that it leads to.
    pub revision: u64,
    /// Everything there is: what isn't in it is gone.
    #[serde(default)]
    pub complete: bool,
    /// New and changed items.
    #[serde(default)]
    pub put: Vec<Item>,
    /// Items that are gone.
    #[serde(default)]
    pub delete: Vec<ItemKey>,
}

/// Everything that a balancer carries out, as of one revision.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Configuration {
    /// Revision of the state.
    pub revision: u64,
    /// Load balancers by path.
    pub load_balancers: BTreeMap<String, Arc<LoadBalancer>>,
    /// Listeners by path.
    pub listeners: BTreeMap<String, Arc<Listener>>,
    /// Rules by path.
    pub rules: BTreeMap<String, Arc<Rule>>,
    /// Target groups by path.
    pub target_groups: BTreeMap<String, Arc<TargetGroup>>,
    /// Targets by the id of their group.
    pub targets: BTreeMap<String, BTreeMap<(String, u16), Arc<Target>>>,
    /// Certificates by ARN.
    pub key_pairs: BTreeMap<String, Arc<KeyPair>>,
    /// Trust stores by path.
    pub trust_stores: BTreeMap<String, Arc<TrustStore>>,
}

impl Configuration {
    /// Takes a message of the server.
    pub fn apply(&mut self, update: &Update) {
        if update.complete {
            *self = Self::default();
        }
        self.revision = update.revision;
        for key in &update.delete {
            self.delete(key);
        }
        for item in &update.put {
            self.put(item.clone());
        }
    }

    fn put(&mut self, item: Item) {
        match item {
            Item::LoadBalancer(r) => drop(self.load_balancers.insert(r.path(), r)),
            Item::Listener(r) => drop(self.listeners.insert(r.path(), r)),
            Item::Rule(r) => drop(self.rules.insert(r.path(), r)),
            Item::TargetGroup(r) => drop(self.target_groups.insert(r.path(), r)),
            Item::Target(r) => {
                let group = self.targets.entry(r.key.target_group.clone()).or_default();
                group.insert((r.key.id.clone(), r.key.port), r);
            }
            Item::KeyPair(r) => drop(self.key_pairs.insert(r.arn.clone(), r)),
            Item::TrustStore(r) => drop(self.trust_stores.insert(r.path(), r)),
        }
    }

    fn delete(&mut self, key: &ItemKey) {
        match key {
            ItemKey::LoadBalancer(k) => drop(self.load_balancers.remove(k)),
            ItemKey::Listener(k) => drop(self.listeners.remove(k)),
            ItemKey::Rule(k) => drop(self.rules.remove(k)),
            ItemKey::TargetGroup(k) => drop(self.target_groups.remove(k)),
            ItemKey::Target(k) => {
                if let Some(group) = self.targets.get_mut(&k.target_group) {
                    group.remove(&(k.id.clone(), k.port));
                    if group.is_empty() {
                        self.targets.remove(&k.target_group);
                    }
                }
            }
            ItemKey::KeyPair(k) => drop(self.key_pairs.remove(k)),
            ItemKey::TrustStore(k) => drop(self.trust_stores.remove(k)),
        }
    }
}

/// Where a listener can be reached, and where it can't.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// Path of the listener.
    pub listener: String,
    /// Addresses that it listens on.
    pub bound: Vec<SocketAddr>,
    /// Addresses that it can't have, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<(SocketAddr, String)>,
}

/// What a balancer tells the server: what changed since the last message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Revision of the configuration that is in effect.
    pub revision: u64,
    /// This is all there is; what isn't in it is unknown.
    #[serde(default)]
    pub complete: bool,
    /// Health of targets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub health: Vec<(TargetKey, TargetHealth)>,
    /// Deregistered targets whose last connection and request have ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drained: Vec<TargetKey>,
    /// Where listeners can be reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<ListenerStatus>,
    /// What was counted since the balancer began, of whom anything has changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub meters: Vec<(MeterKey, Meter)>,
}

impl Report {
    /// Whether it tells of counts and nothing else.
    pub fn counts_only(&self) -> bool {
        !self.complete
            && self.health.is_empty()
            && self.drained.is_empty()
            && self.listeners.is_empty()
            && !self.meters.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn target(port: u16) -> Item {
        Item::Target(Arc::new(Target {
            key: TargetKey { target_group: "g".into(), id: "10.0.0.1".into(), port },
            address: [10, 0, 0, 1].into(),
            zone: None,
            registered_at: Timestamp::default(),
            deregistered_at: None,
        }))
    }

    #[test]
    fn what_is_put_is_there_until_it_is_deleted_or_all_is_told_anew() {
        let mut configuration = Configuration::default();
        let put = vec![target(80), target(81)];
        configuration.apply(&Update { revision: 1, put, ..Update::default() });
        assert_eq!(configuration.targets["g"].len(), 2);

        let delete = vec![target(80).key()];
        configuration.apply(&Update { revision: 2, delete, ..Update::default() });
        assert_eq!(configuration.targets["g"].len(), 1);

        configuration.apply(&Update { revision: 3, complete: true, ..Update::default() });
        assert_eq!(configuration, Configuration { revision: 3, ..Configuration::default() });
    }
}
