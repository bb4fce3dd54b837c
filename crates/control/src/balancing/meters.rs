//! What balancers have counted, by the minute, for a few hours: soft state that nothing is decided by.

use std::collections::{BTreeMap, VecDeque};
use wharf_model::Snapshot;
use wharf_model::load_balancing::{Meter, MeterKey};

/// Minutes that are kept.
const KEPT_MINUTES: usize = 180;

/// What was counted in a minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Minute {
    /// Its begin, in seconds since 1970.
    pub at: u64,
    /// What came in it, and where what goes up and down stood last.
    pub counted: Meter,
}

/// What is known of one load balancer or target group.
#[derive(Debug, Clone, Default)]
pub struct Metered {
    /// What its balancer said last.
    told: Meter,
    /// The sum of all, over restarts of balancers, since this server began or came to know it.
    pub total: Meter,
    /// Minutes in which anything was counted, oldest first; the last one may not be over.
    pub minutes: VecDeque<Minute>,
}

/// What is known of all.
#[derive(Debug, Default)]
pub(crate) struct Meters(BTreeMap<MeterKey, Metered>);

impl Meters {
    /// Takes what a balancer tells at a time, in seconds since 1970. What it tells of itself as a
    /// whole was counted before, nobody knows when: it is in no minute.
    pub(crate) fn take(&mut self, told: &[(MeterKey, Meter)], is_whole: bool, now: u64) {
        for (key, meter) in told {
            let is_known = self.0.contains_key(key);
            let known = self.0.entry(key.clone()).or_default();
            let new = meter.since(&known.told);
            known.told.clone_from(meter);
            known.total.add(&new);
            if is_known || !is_whole {
                known.count(new, now - now % 60);
            }
        }
    }

    /// Forgets what is no more.
    pub(crate) fn retain(&mut self, snapshot: &Snapshot) {
        self.0.retain(|key, _| match key {
            MeterKey::LoadBalancer(path) => snapshot.load_balancer(path).is_some(),
            MeterKey::TargetGroup(path) => snapshot.target_group(path).is_some(),
        });
    }

    /// All of it.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&MeterKey, &Metered)> {
        self.0.iter()
    }
}

impl Metered {
    fn count(&mut self, new: Meter, minute: u64) {
        match self.minutes.back_mut() {
            Some(last) if last.at == minute => last.counted.add(&new),
            _ => {
                if self.minutes.len() >= KEPT_MINUTES {
                    self.minutes.pop_front();
                }
                self.minutes.push_back(Minute { at: minute, counted: new });
            }
        }
        let oldest = minute.saturating_sub(60 * KEPT_MINUTES as u64);
        while self.minutes.front().is_some_and(|first| first.at < oldest) {
            self.minutes.pop_front();
        }
    }

    /// The last minute that is over at a time, if anything was counted in it.
    pub fn last_minute(&self, now: u64) -> Option<&Minute> {
        let at = (now - now % 60).checked_sub(60)?;
        self.minutes.iter().rev().find(|minute| minute.at == at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_model::load_balancing::Counts;

    fn requests(count: u64) -> Vec<(MeterKey, Meter)> {
        let counts = Counts::new([("RequestCount", count), ("HealthyHostCount", 2)]);
        let key = MeterKey::TargetGroup("g/1".into());
        vec![(key, Meter { counts, ..Meter::default() })]
    }

    #[test]
    fn minutes_have_what_came_in_them_and_restarts_lose_nothing() {
        let mut meters = Meters::default();
        let known = |meters: &Meters| meters.all().next().unwrap().1.clone();
        let of = |meter: &Meter| meter.counts.get("RequestCount");
        // A balancer that was there before this server.
        meters.take(&requests(100), true, 30);
        assert_eq!((of(&known(&meters).total), known(&meters).minutes.len()), (100, 0));
        meters.take(&requests(104), false, 59);
        meters.take(&requests(105), false, 59);
        // Its connection broke; then it was started anew.
        meters.take(&requests(107), true, 61);
        meters.take(&requests(3), true, 119);
        let all = known(&meters);
        assert_eq!(of(&all.total), 110);
        let minutes: Vec<_> = all.minutes.iter().map(|m| (m.at, of(&m.counted))).collect();
        assert_eq!(minutes, [(0, 5), (60, 5)]);
        assert_eq!(all.last_minute(125).map(|m| m.at), Some(60));
        assert_eq!(all.minutes[1].counted.counts.get("HealthyHostCount"), 2);
        // Minutes end, whether anything comes or not.
        meters.take(&requests(4), false, 60 * 1000);
        assert_eq!(known(&meters).minutes.len(), 1);
        meters.retain(&Snapshot::default());
        assert_eq!(meters.all().count(), 0);
    }
}
