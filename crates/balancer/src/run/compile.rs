//! From records to what the data plane works on, as much of it as a change touches.

use super::checks::Checking;
use super::control::Control;
use crate::live::{Balancer, Group, GroupCell, GroupSettings, Listener, ListenerCell, TargetState};
use crate::metrics::GroupMeter;
use crate::rules::RuleTable;
use crate::tls;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use wharf_model::load_balancing::{
    Configuration, HealthReason, HealthState, ItemKey, Protocol, Target, TargetHealth, TargetKey,
    Update,
};

/// A target group, as it is kept.
pub(super) struct GroupEntry {
    pub(super) cell: Arc<GroupCell>,
    pub(super) known: Option<KnownGroup>,
    /// Paths of the listeners that forward to it.
    pub(super) users: BTreeSet<String>,
}

/// A target group that has a record.
pub(super) struct KnownGroup {
    pub(super) id: String,
    pub(super) settings: Arc<GroupSettings>,
    pub(super) checking: Option<Arc<Checking>>,
    pub(super) meter: Arc<GroupMeter>,
}

/// A target, as it is kept.
pub(super) struct TargetEntry {
    pub(super) state: Arc<TargetState>,
    /// What was reported.
    pub(super) health: TargetHealth,
    /// What its checks say.
    pub(super) checked: TargetHealth,
    pub(super) check: Option<CancellationToken>,
    pub(super) drained: bool,
}

/// A listener, as it is kept.
pub(super) struct ListenerEntry {
    pub(super) cell: Arc<ListenerCell>,
    /// Paths of the groups that it forwards to.
    groups: BTreeSet<String>,
    /// What its sockets were made for.
    place: Option<(u16, Protocol)>,
}

/// What an update touches.
#[derive(Default)]
pub(super) struct Touched {
    pub(super) balancers: BTreeSet<String>,
    pub(super) listeners: BTreeSet<String>,
    pub(super) groups: BTreeSet<String>,
    pub(super) targets: BTreeSet<TargetKey>,
    key_pairs: BTreeSet<String>,
    trust_stores: BTreeSet<String>,
}

impl Touched {
    /// Of an update; `before` is what a complete one replaces.
    pub(super) fn new(update: &Update, before: &Configuration, after: &Configuration) -> Self {
        let mut touched = Self::default();
        if update.complete {
            touched.differences(before, after);
        } else {
            let put = update.put.iter().map(wharf_model::load_balancing::Item::key);
            put.chain(update.delete.iter().cloned()).for_each(|key| touched.add(key));
        }
        touched.spread(after);
        touched
    }

    fn add(&mut self, key: ItemKey) {
        match key {
            ItemKey::LoadBalancer(path) => drop(self.balancers.insert(path)),
            ItemKey::Listener(path) => {
                self.listeners.insert(path);
            }
            ItemKey::Rule(path) => {
                if let Some((listener, _)) = path.rsplit_once('/') {
                    self.listeners.insert(listener.to_owned());
                }
            }
            ItemKey::TargetGroup(path) => drop(self.groups.insert(path)),
            ItemKey::Target(key) => drop(self.targets.insert(key)),
            ItemKey::KeyPair(arn) => drop(self.key_pairs.insert(arn)),
            ItemKey::TrustStore(path) => drop(self.trust_stores.insert(path)),
        }
    }

    fn differences(&mut self, before: &Configuration, after: &Configuration) {
        fn keys<K: Ord + Clone, V: PartialEq>(
            a: &BTreeMap<K, Arc<V>>,
            b: &BTreeMap<K, Arc<V>>,
        ) -> Vec<K> {
            let gone = a.keys().filter(|key| !b.contains_key(*key));
            let changed = b.iter().filter(|(key, value)| a.get(*key) != Some(*value));
            gone.chain(changed.map(|(key, _)| key)).cloned().collect()
        }
        let (a, b) = (before, after);
        let mut all = Vec::new();
        all.extend(
            keys(&a.load_balancers, &b.load_balancers).into_iter().map(ItemKey::LoadBalancer),
        );
        all.extend(keys(&a.listeners, &b.listeners).into_iter().map(ItemKey::Listener));
        all.extend(keys(&a.rules, &b.rules).into_iter().map(ItemKey::Rule));
        all.extend(keys(&a.target_groups, &b.target_groups).into_iter().map(ItemKey::TargetGroup));
        all.extend(keys(&a.key_pairs, &b.key_pairs).into_iter().map(ItemKey::KeyPair));
        all.extend(keys(&a.trust_stores, &b.trust_stores).into_iter().map(ItemKey::TrustStore));
        let none = BTreeMap::new();
        let groups: BTreeSet<&String> = a.targets.keys().chain(b.targets.keys()).collect();
        for group in groups {
            let (a, b) =
                (a.targets.get(group).unwrap_or(&none), b.targets.get(group).unwrap_or(&none));
            all.extend(keys(a, b).into_iter().map(|(id, port)| {
                ItemKey::Target(TargetKey { target_group: group.clone(), id, port })
            }));
        }
        all.into_iter().for_each(|key| self.add(key));
    }

    /// What is compiled from what was touched is touched, too.
    fn spread(&mut self, after: &Configuration) {
        for path in &self.balancers {
            self.listeners.extend(behind(&after.listeners, path).map(|(path, _)| path.clone()));
        }
        if self.key_pairs.is_empty() && self.trust_stores.is_empty() {
            return;
        }
        for (path, listener) in &after.listeners {
            let pair = listener.certificates.iter().any(|arn| self.key_pairs.contains(arn));
            let mutual = listener.mutual_authentication.as_ref();
            let store = mutual.and_then(|mutual| mutual.trust_store.as_ref());
            if pair || store.is_some_and(|store| self.trust_stores.contains(store)) {
                self.listeners.insert(path.clone());
            }
        }
    }
}

/// Entries whose path lies behind another.
pub(super) fn behind<'a, V>(
    map: &'a BTreeMap<String, V>,
    path: &str,
) -> impl Iterator<Item = (&'a String, &'a V)> + use<'a, V> {
    let (from, to) = (format!("{path}/"), format!("{path}0"));
    map.range((Bound::Included(from), Bound::Excluded(to)))
}

impl Control {
    /// Brings everything that was touched into effect.
    pub(super) fn carry_out(&mut self, touched: &Touched) {
        let mut dirty = BTreeSet::new();
        let mut ports = self.ports_of(&touched.balancers);
        for path in &touched.groups {
            self.take_group(path);
            dirty.insert(path.clone());
        }
        for key in &touched.targets {
            self.take_target(key);
            dirty.extend(self.group_paths.get(&key.target_group).cloned());
        }
        for path in &touched.balancers {
            self.take_balancer(path);
        }
        let compiled: Vec<_> = touched
            .listeners
            .iter()
            .map(|path| self.take_listener(path, &mut dirty, &mut ports))
            .collect();
        ports.extend(self.ports_of(&touched.balancers));
        for path in &dirty {
            self.rebuild_group(path);
        }
        // Groups are as they should be before a listener forwards to them.
        for (cell, listener) in compiled.into_iter().flatten() {
            cell.store(listener);
        }
        self.forget();
        if !ports.is_empty() {
            self.settle_sockets(Some(&ports));
        }
    }

    /// The ports on which these load balancers listen.
    fn ports_of(&self, balancers: &BTreeSet<String>) -> BTreeSet<u16> {
        let entries = balancers.iter().flat_map(|path| behind(&self.listeners, path));
        entries.filter_map(|(_, entry)| Some(entry.place?.0)).collect()
    }

    fn take_balancer(&mut self, path: &str) {
        match self.configuration.load_balancers.get(path) {
            Some(record) => {
                let meter = self.options.metrics.balancer(path);
                self.balancers.insert(path.to_owned(), Arc::new(Balancer::new(record, meter)));
            }
            None => {
                self.balancers.remove(path);
                self.options.metrics.forget_balancer(path);
            }
        }
    }

    fn group_entry(&mut self, path: &str) -> &mut GroupEntry {
        let stamp = &self.shared.stamp;
        self.groups.entry(path.to_owned()).or_insert_with(|| GroupEntry {
            cell: GroupCell::new(stamp.mark(path)),
            known: None,
            users: BTreeSet::new(),
        })
    }

    fn take_group(&mut self, path: &str) {
        let record = self.configuration.target_groups.get(path).cloned();
        let known = record.map(|record| KnownGroup {
            id: record.id.clone(),
            settings: Arc::new(GroupSettings::new(&record)),
            checking: Checking::new(&record),
            meter: self.options.metrics.group(path),
        });
        if known.is_none() {
            self.options.metrics.forget_group(path);
        }
        let id = known.as_ref().map(|known| known.id.clone());
        let entry = self.group_entry(path);
        let before = entry.known.take();
        let same = before.as_ref().map(|b| &b.checking) == known.as_ref().map(|k| &k.checking);
        entry.known = known;
        if let Some(before) = before {
            if !same {
                self.stop_checks(&before.id);
            }
            if id.is_none() {
                self.group_paths.remove(&before.id);
            }
        }
        if let Some(id) = id {
            self.group_paths.insert(id, path.to_owned());
        }
    }

    fn stop_checks(&mut self, group: &str) {
        for (_, entry) in targets_of(&mut self.targets, group) {
            if let Some(check) = entry.check.take() {
                check.cancel();
            }
        }
    }

    fn take_target(&mut self, key: &TargetKey) {
        let group = self.configuration.targets.get(&key.target_group);
        let record = group.and_then(|group| group.get(&(key.id.clone(), key.port))).cloned();
        self.draining.remove(key);
        let Some(record) = record else {
            if let Some(entry) = self.targets.remove(key) {
                retire(&entry);
            }
            return;
        };
        let draining = record.deregistered_at.is_some();
        if let Some(entry) = self.targets.get_mut(key) {
            if entry.state.address.ip() == record.address && entry.state.zone == record.zone {
                entry.state.set_draining(draining);
                entry.drained &= draining;
                if draining && !entry.drained {
                    self.draining.insert(key.clone());
                }
                return;
            }
            retire(entry);
        }
        if draining {
            self.draining.insert(key.clone());
        }
        let entry = self.new_target(&record);
        self.targets.insert(key.clone(), entry);
    }

    fn new_target(&self, record: &Target) -> TargetEntry {
        let mark = self.shared.stamp.mark(&record.key.to_string());
        let unknown = TargetHealth { state: HealthState::Unused, reason: None, description: None };
        TargetEntry {
            state: TargetState::new(record, mark),
            health: unknown.clone(),
            checked: unknown,
            check: None,
            drained: false,
        }
    }

    /// Compiles a listener; it is in effect once it is stored in its cell.
    fn take_listener(
        &mut self,
        path: &str,
        dirty: &mut BTreeSet<String>,
        ports: &mut BTreeSet<u16>,
    ) -> Option<(Arc<ListenerCell>, Option<Arc<Listener>>)> {
        let compiled = self.compile_listener(path);
        let groups = compiled.as_ref().map(|(_, groups)| groups.clone()).unwrap_or_default();
        if compiled.is_none() && !self.listeners.contains_key(path) {
            return None;
        }
        let entry = self.listeners.entry(path.to_owned()).or_insert_with(|| ListenerEntry {
            cell: ListenerCell::new(),
            groups: BTreeSet::new(),
            place: None,
        });
        let place = compiled.as_ref().map(|(listener, _)| (listener.port, listener.protocol));
        let place_before = std::mem::replace(&mut entry.place, place);
        if place != place_before {
            ports.extend(place.into_iter().chain(place_before).map(|(port, _)| port));
        }
        let before = std::mem::replace(&mut entry.groups, groups.clone());
        let cell = Arc::clone(&entry.cell);
        for gone in before.difference(&groups) {
            let entry = self.group_entry(gone);
            entry.users.remove(path);
            dirty.insert(gone.clone());
        }
        for new in groups.difference(&before) {
            let entry = self.group_entry(new);
            entry.users.insert(path.to_owned());
            if let (Some(known), Some((balancer, _))) = (&entry.known, path.rsplit_once('/')) {
                known.meter.is_behind(balancer);
            }
            dirty.insert(new.clone());
        }
        if compiled.is_none() {
            self.listeners.remove(path);
        }
        Some((cell, compiled.map(|(listener, _)| listener)))
    }

    fn compile_listener(&mut self, path: &str) -> Option<(Arc<Listener>, BTreeSet<String>)> {
        let record = self.configuration.listeners.get(path).cloned()?;
        let balancer = self.balancers.get(&record.load_balancer).cloned()?;
        let rules: Vec<_> =
            behind(&self.configuration.rules, path).map(|(_, rule)| Arc::clone(rule)).collect();
        let mut groups = BTreeSet::new();
        let table = RuleTable::new(&record, rules.iter().map(Arc::as_ref), &mut |group| {
            groups.insert(group.to_owned());
            Arc::clone(&self.group_entry(group).cell)
        });
        let secure = matches!(record.protocol, Protocol::Https | Protocol::Tls);
        let tls = secure.then(|| {
            let pairs = &self.configuration.key_pairs;
            let pairs: Vec<_> =
                record.certificates.iter().filter_map(|arn| pairs.get(arn).cloned()).collect();
            let mutual = record.mutual_authentication.as_ref();
            let trust = mutual
                .and_then(|mutual| mutual.trust_store.as_ref())
                .and_then(|path| self.configuration.trust_stores.get(path));
            tls::of_listener(&record, balancer.http2, &pairs, trust.map(Arc::as_ref))
        });
        if let Some(Err(error)) = &tls {
            tracing::warn!(listener = path, %error, "a listener has no TLS");
        }
        Some((Arc::new(Listener::new(&record, balancer, table, tls)), groups))
    }

    /// Says anew who of a group takes requests, and who is checked.
    pub(super) fn rebuild_group(&mut self, path: &str) {
        let Some(entry) = self.groups.get(path) else { return };
        let Some(known) = &entry.known else {
            entry.cell.store(None);
            return;
        };
        let in_use = !entry.users.is_empty();
        // A group serves one load balancer.
        let user = entry.users.first().and_then(|listener| listener.rsplit_once('/'));
        let balancer = user.and_then(|(path, _)| self.configuration.load_balancers.get(path));
        let (mut healthy, mut unhealthy) = (0, 0);
        for (key, target) in targets_of(&mut self.targets, &known.id) {
            let address = target.state.address.ip();
            target.state.set_source(balancer.and_then(|b| b.source_for(address)));
            let draining = target.state.is_draining();
            let checking = known.checking.as_ref().filter(|_| in_use && !draining);
            match (checking, &target.check) {
                (Some(checking), None) => {
                    let check = self.checker.start(&target.state, &target.checked, checking);
                    target.check = Some(check);
                    if !is_verdict(&target.checked) {
                        target.checked = crate::targets::Machine::default().health();
                    }
                }
                (None, Some(check)) => {
                    check.cancel();
                    target.check = None;
                }
                _ => {}
            }
            let health = health(in_use, draining, known.checking.is_some(), &target.checked);
            match health.state {
                HealthState::Healthy => healthy += 1,
                HealthState::Unhealthy => unhealthy += 1,
                _ => {}
            }
            if target.health != health {
                if health.state == HealthState::Unhealthy
                    && target.health.state != HealthState::Unhealthy
                {
                    target.state.fell_ill();
                }
                let is_healthy = health.state == HealthState::Healthy;
                if is_healthy != (target.health.state == HealthState::Healthy) {
                    target.state.set_healthy(is_healthy);
                }
                target.health = health.clone();
                self.pending.health.push((key.clone(), health));
            }
        }
        let counts = &known.meter;
        counts.healthy_hosts.store(healthy, std::sync::atomic::Ordering::Relaxed);
        counts.unhealthy_hosts.store(unhealthy, std::sync::atomic::Ordering::Relaxed);
        let targets = targets_of(&mut self.targets, &known.id)
            .map(|(_, target)| (&target.state, target.health.state))
            .collect::<Vec<_>>();
        let zone = self.options.zone.as_deref();
        let group = Group::new(&known.settings, &known.meter, targets.into_iter(), zone);
        entry.cell.store(Some(Arc::new(group)));
    }

    /// Groups that are nowhere any more.
    fn forget(&mut self) {
        self.groups.retain(|_, entry| entry.known.is_some() || !entry.users.is_empty());
    }
}

/// The targets of a group.
fn targets_of<'a>(
    targets: &'a mut BTreeMap<TargetKey, TargetEntry>,
    group: &str,
) -> impl Iterator<Item = (&'a TargetKey, &'a mut TargetEntry)> + use<'a> {
    let first = TargetKey { target_group: group.to_owned(), id: String::new(), port: 0 };
    let group = group.to_owned();
    targets.range_mut(first..).take_while(move |(key, _)| key.target_group == group)
}

/// A target that is there no more: nothing new goes there, and what is cut off when it is gone, is.
fn retire(entry: &TargetEntry) {
    entry.state.set_draining(true);
    entry.state.gone.cancel();
    if let Some(check) = &entry.check {
        check.cancel();
    }
}

fn is_verdict(health: &TargetHealth) -> bool {
    matches!(health.state, HealthState::Healthy | HealthState::Unhealthy | HealthState::Initial)
}

fn health(in_use: bool, draining: bool, checks: bool, checked: &TargetHealth) -> TargetHealth {
    let (state, reason, text) = match (draining, in_use, checks) {
        (true, ..) => (
            HealthState::Draining,
            HealthReason::DeregistrationInProgress,
            "Target deregistration is in progress",
        ),
        (_, false, _) => (
            HealthState::Unused,
            HealthReason::NotInUse,
            "Target group is not configured to receive traffic from the load balancer",
        ),
        (_, _, false) => (
            HealthState::Unavailable,
            HealthReason::HealthCheckDisabled,
            "Health checks are disabled for this target",
        ),
        _ => return checked.clone(),
    };
    TargetHealth { state, reason: Some(reason), description: Some(text.to_owned()) }
}
