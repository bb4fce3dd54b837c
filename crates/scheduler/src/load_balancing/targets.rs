//! Targets: registered, deregistered, gone.

use super::usage::{Usage, is_listener_live, is_rule_live};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;
use wharf_model::load_balancing::{Target, TargetGroup, TargetKey};
use wharf_model::{RecordKey, Snapshot, Timestamp, Transaction};

/// Most records that [`due`] deletes at a time.
const MAX_DELETED: usize = 100;

/// A target to register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTarget {
    /// An address, or the id of an instance.
    pub id: String,
    /// Its port.
    pub port: u16,
    /// Where connections go to.
    pub address: IpAddr,
    /// API `AvailabilityZone`.
    pub zone: Option<String>,
}

/// Registers targets with a group. One that is registered stays as it is; one that drains is back.
pub fn register(
    snapshot: &Snapshot,
    group: &TargetGroup,
    targets: &[NewTarget],
    now: Timestamp,
) -> Transaction {
    let mut transaction = Transaction::new();
    for new in targets {
        let key = TargetKey { target_group: group.id.clone(), id: new.id.clone(), port: new.port };
        let present = snapshot.target(&key);
        if present.is_some_and(|target| target.deregistered_at.is_none()) {
            continue;
        }
        let record = RecordKey::Target(key.clone());
        transaction.read(record.clone(), snapshot.revision_of(&record));
        transaction.put(Target {
            key,
            address: new.address,
            zone: new.zone.clone(),
            registered_at: now,
            deregistered_at: None,
        });
    }
    if !transaction.is_empty() {
        // The group must still be there.
        let record = RecordKey::TargetGroup(group.path());
        transaction.read(record.clone(), snapshot.revision_of(&record));
    }
    transaction
}

/// Deregisters targets: they drain where connections may be open, else they are gone at once. One
/// that isn't registered is none of its business.
pub fn deregister(
    snapshot: &Snapshot,
    group: &TargetGroup,
    targets: &[TargetKey],
    now: Timestamp,
) -> Transaction {
    let mut transaction = Transaction::new();
    let drains =
        group.deregistration_delay() > Duration::ZERO && Usage::of(snapshot).is_used(&group.path());
    for key in targets {
        let Some(target) = snapshot.target(key).filter(|t| t.deregistered_at.is_none()) else {
            continue;
        };
        let record = RecordKey::Target(key.clone());
        transaction.read(record.clone(), snapshot.revision_of(&record));
        if drains {
            transaction.put(Target { deregistered_at: Some(now), ..Target::clone(target) });
        } else {
            transaction.delete(record);
        }
    }
    transaction
}

/// Deletes what is over: targets that have drained (`drained` by a balancer's report, or by their
/// group's delay) and whatever has lost what it belonged to. At most 100 records: call it again
/// until it changes nothing.
pub fn due(snapshot: &Snapshot, now: Timestamp, drained: &BTreeSet<TargetKey>) -> Transaction {
    let usage = Usage::of(snapshot);
    let groups: std::collections::BTreeMap<&str, &TargetGroup> =
        snapshot.target_groups().map(|group| (group.id.as_str(), &**group)).collect();
    let is_over = |target: &Target| {
        let Some(group) = groups.get(target.key.target_group.as_str()) else { return true };
        target.deregistered_at.is_some_and(|at| {
            drained.contains(&target.key)
                || at.plus(group.deregistration_delay()) <= now
                || !usage.is_used(&group.path())
        })
    };
    let targets = snapshot
        .all_targets()
        .filter(|target| is_over(target))
        .map(|target| RecordKey::Target(target.key.clone()));
    let rules = snapshot
        .listener_rules()
        .filter(|rule| !is_rule_live(snapshot, rule))
        .map(|rule| RecordKey::ListenerRule(rule.path()));
    let listeners = snapshot
        .listeners()
        .filter(|listener| !is_listener_live(snapshot, listener))
        .map(|listener| RecordKey::Listener(listener.path()));
    let mut transaction = Transaction::new();
    for key in targets.chain(rules).chain(listeners).take(MAX_DELETED) {
        transaction.read(key.clone(), snapshot.revision_of(&key));
        transaction.delete(key);
    }
    transaction
}
