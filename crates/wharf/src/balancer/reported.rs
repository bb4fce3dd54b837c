//! What the balancer has reported so far: a server that has just connected is told all of it.

use std::collections::{BTreeMap, BTreeSet};
use wharf_model::load_balancing::{
    Item, ItemKey, ListenerStatus, Meter, MeterKey, Report, TargetHealth, TargetKey, Update,
};

/// The sum of all reports, as far as it is about what is still there.
#[derive(Debug, Default)]
pub struct Reported {
    revision: u64,
    health: BTreeMap<TargetKey, TargetHealth>,
    drained: BTreeSet<TargetKey>,
    listeners: BTreeMap<String, ListenerStatus>,
    meters: BTreeMap<MeterKey, Meter>,
}

impl Reported {
    /// Takes a report of the balancer.
    pub fn apply(&mut self, report: &Report) {
        if report.complete {
            *self = Self::default();
        }
        self.revision = report.revision;
        self.health.extend(report.health.iter().cloned());
        self.drained.extend(report.drained.iter().cloned());
        let statuses = report.listeners.iter();
        self.listeners.extend(statuses.map(|status| (status.listener.clone(), status.clone())));
        self.meters.extend(report.meters.iter().cloned());
    }

    /// Takes what the server tells the balancer: nothing is said of what is gone any more, and what
    /// is back hasn't drained.
    pub fn forget(&mut self, update: &Update) {
        if update.complete {
            let there: BTreeSet<ItemKey> = update.put.iter().map(Item::key).collect();
            self.health.retain(|key, _| there.contains(&ItemKey::Target(key.clone())));
            self.drained.retain(|key| there.contains(&ItemKey::Target(key.clone())));
            self.listeners.retain(|path, _| there.contains(&ItemKey::Listener(path.clone())));
            self.meters.retain(|key, _| there.contains(&item_key(key)));
        }
        for key in &update.delete {
            match key {
                ItemKey::Target(key) => {
                    self.health.remove(key);
                    self.drained.remove(key);
                }
                ItemKey::Listener(path) => drop(self.listeners.remove(path)),
                ItemKey::LoadBalancer(path) => {
                    self.meters.remove(&MeterKey::LoadBalancer(path.clone()));
                }
                ItemKey::TargetGroup(path) => {
                    self.meters.remove(&MeterKey::TargetGroup(path.clone()));
                }
                _ => {}
            }
        }
        for item in &update.put {
            if let Item::Target(target) = item
                && target.deregistered_at.is_none()
            {
                self.drained.remove(&target.key);
            }
        }
    }

    /// All of it as one report.
    pub fn complete(&self) -> Report {
        Report {
            revision: self.revision,
            complete: true,
            health: self.health.iter().map(|(k, h)| (k.clone(), h.clone())).collect(),
            drained: self.drained.iter().cloned().collect(),
            listeners: self.listeners.values().cloned().collect(),
            meters: self.meters.iter().map(|(k, m)| (k.clone(), m.clone())).collect(),
        }
    }
}

fn item_key(meter: &MeterKey) -> ItemKey {
    match meter {
        MeterKey::LoadBalancer(path) => ItemKey::LoadBalancer(path.clone()),
        MeterKey::TargetGroup(path) => ItemKey::TargetGroup(path.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use wharf_model::Timestamp;
    use wharf_model::load_balancing::{HealthState, Target};

    fn key(port: u16) -> TargetKey {
        TargetKey { target_group: "g".into(), id: "10.0.0.1".into(), port }
    }

    fn put(port: u16, deregistered_at: Option<Timestamp>) -> Item {
        Item::Target(Arc::new(Target {
            key: key(port),
            address: [10, 0, 0, 1].into(),
            zone: None,
            registered_at: Timestamp::default(),
            deregistered_at,
        }))
    }

    fn healthy() -> TargetHealth {
        TargetHealth { state: HealthState::Healthy, reason: None, description: None }
    }

    #[test]
    fn what_was_said_is_said_again_unless_it_is_gone_or_back() {
        let mut reported = Reported::default();
        let health = vec![(key(80), healthy()), (key(81), healthy()), (key(82), healthy())];
        let drained = vec![key(81), key(82)];
        reported.apply(&Report { revision: 4, health, drained, ..Report::default() });

        let put_back = vec![put(82, None)];
        let delete = vec![ItemKey::Target(key(80))];
        reported.forget(&Update { revision: 5, put: put_back, delete, ..Update::default() });
        let all = reported.complete();
        assert!(all.complete);
        assert_eq!((all.revision, all.drained), (4, vec![key(81)]));
        assert_eq!(all.health, [(key(81), healthy()), (key(82), healthy())]);

        let there = vec![put(81, Some(Timestamp::default()))];
        reported.forget(&Update { revision: 6, complete: true, put: there, ..Update::default() });
        let all = reported.complete();
        assert_eq!((all.drained, all.health), (vec![key(81)], vec![(key(81), healthy())]));
    }
}
