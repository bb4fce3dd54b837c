//! What a balancer counts of load balancers and target groups, by the names of CloudWatch's
//! `AWS/ApplicationELB` and `AWS/NetworkELB`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name in CloudWatch.
    pub name: &'static str,
    /// It goes up and down; others only go up.
    pub is_gauge: bool,
}

const fn counter(name: &'static str) -> Metric {
    Metric { name, is_gauge: false }
}

const fn gauge(name: &'static str) -> Metric {
    Metric { name, is_gauge: true }
}

/// Every metric that is a number; TargetResponseTime is a [`Distribution`].
pub const METRICS: &[Metric] = &[
    counter("RequestCount"),
    counter("NewConnectionCount"),
    gauge("ActiveConnectionCount"),
    counter("ProcessedBytes"),
    counter("ClientTLSNegotiationErrorCount"),
    counter("HTTP_Redirect_Count"),
    counter("HTTP_Fixed_Response_Count"),
    counter("HTTPCode_ELB_3XX_Count"),
    counter("HTTPCode_ELB_4XX_Count"),
    counter("HTTPCode_ELB_5XX_Count"),
    counter("HTTPCode_ELB_500_Count"),
    counter("HTTPCode_ELB_502_Count"),
    counter("HTTPCode_ELB_503_Count"),
    counter("HTTPCode_ELB_504_Count"),
    counter("DesyncMitigationMode_NonCompliant_Request_Count"),
    counter("NewFlowCount"),
    gauge("ActiveFlowCount"),
    counter("RejectedFlowCount"),
    counter("TCP_Client_Reset_Count"),
    counter("TCP_ELB_Reset_Count"),
    counter("TCP_Target_Reset_Count"),
    counter("HTTPCode_Target_2XX_Count"),
    counter("HTTPCode_Target_3XX_Count"),
    counter("HTTPCode_Target_4XX_Count"),
    counter("HTTPCode_Target_5XX_Count"),
    counter("TargetConnectionErrorCount"),
    gauge("HealthyHostCount"),
    gauge("UnHealthyHostCount"),
];

/// Values of [`METRICS`]. What is zero takes no place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BTreeMap<String, u64>", into = "BTreeMap<String, u64>")]
pub struct Counts(Vec<(u8, u64)>);

impl Counts {
    /// Values by name. Names that aren't known are left out: a newer balancer counts more.
    pub fn new<'a>(values: impl IntoIterator<Item = (&'a str, u64)>) -> Self {
        let index = |name: &str| METRICS.iter().position(|metric| metric.name == name);
        let values = values.into_iter().filter(|(_, value)| *value != 0);
        let known =
            values.filter_map(|(name, value)| Some((u8::try_from(index(name)?).ok()?, value)));
        let sorted: BTreeMap<u8, u64> = known.collect();
        Self(sorted.into_iter().collect())
    }

    /// A metric's value.
    pub fn get(&self, name: &str) -> u64 {
        self.iter().find(|(metric, _)| metric.name == name).map_or(0, |(_, value)| value)
    }

    /// Those that aren't zero.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Metric, u64)> {
        self.0.iter().filter_map(|(index, value)| Some((METRICS.get(usize::from(*index))?, *value)))
    }
}

impl From<BTreeMap<String, u64>> for Counts {
    fn from(values: BTreeMap<String, u64>) -> Self {
        Self::new(values.iter().map(|(name, value)| (name.as_str(), *value)))
    }
}

impl From<Counts> for BTreeMap<String, u64> {
    fn from(counts: Counts) -> Self {
        counts.iter().map(|(metric, value)| (metric.name.to_owned(), value)).collect()
    }
}

/// A distribution of durations: how many fell into each of four buckets of every power of two of
/// microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distribution {
    /// Buckets that have any, in order.
    pub buckets: Vec<(u16, u64)>,
    /// The sum of all, in microseconds.
    pub sum_us: u64,
}

impl Distribution {
    /// Buckets that there are.
    pub const BUCKETS: usize = 160;

    /// The bucket that a duration falls into.
    pub fn bucket(duration: Duration) -> usize {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).max(1);
        let power = us.ilog2() as usize;
        let quarter = if power < 2 { 0 } else { (us >> (power - 2)) as usize & 3 };
        (power * 4 + quarter).min(Self::BUCKETS - 1)
    }

    /// The end of a bucket, in seconds.
    pub fn end_of(bucket: u16) -> f64 {
        let low = 1_u64.checked_shl(u32::from(bucket) / 4).unwrap_or(u64::MAX);
        let end = low.saturating_add((low / 4).saturating_mul(u64::from(bucket) % 4 + 1));
        Duration::from_micros(end).as_secs_f64()
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// Their sum in seconds.
    pub fn sum_seconds(&self) -> f64 {
        Duration::from_micros(self.sum_us).as_secs_f64()
    }

    /// The duration in seconds that a part (0 to 1) of them didn't exceed, to within a quarter of a
    /// power of two; none if there were none.
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss
        )]
        let rank = ((count as f64 * part).ceil() as u64).clamp(1, count);
        let mut seen = 0;
        let (bucket, _) = self.buckets.iter().find(|(_, count)| {
            seen += count;
            seen >= rank
        })?;
        Some(Self::end_of(*bucket))
    }

    fn combine(&self, other: &Self, with: impl Fn(u64, u64) -> u64) -> Self {
        let mut all: BTreeMap<u16, (u64, u64)> = BTreeMap::new();
        for (bucket, count) in &self.buckets {
            all.entry(*bucket).or_default().0 = *count;
        }
        for (bucket, count) in &other.buckets {
            all.entry(*bucket).or_default().1 = *count;
        }
        let buckets = all.into_iter().map(|(bucket, (a, b))| (bucket, with(a, b)));
        Self {
            buckets: buckets.filter(|(_, count)| *count != 0).collect(),
            sum_us: with(self.sum_us, other.sum_us),
        }
    }
}

/// Whose a [`Meter`] is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MeterKey {
    /// A load balancer's, by its path.
    LoadBalancer(String),
    /// A target group's, by its path.
    TargetGroup(String),
}

/// What was counted of a load balancer or a target group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meter {
    /// The path of the load balancer that a target group is behind, once it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<String>,
    /// Numbers.
    pub counts: Counts,
    /// TargetResponseTime of a target group.
    #[serde(default)]
    pub response_time: Distribution,
}

impl Meter {
    /// What came since `earlier`. Whoever has less than before has begun anew: then all of it.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let less = |(metric, before): (&Metric, u64)| {
            !metric.is_gauge && self.counts.get(metric.name) < before
        };
        if earlier.counts.iter().any(less) {
            return self.clone();
        }
        let new = |(metric, now): (&'static Metric, u64)| {
            let before = if metric.is_gauge { 0 } else { earlier.counts.get(metric.name) };
            (metric.name, now - before)
        };
        Self {
            load_balancer: self.load_balancer.clone(),
            counts: Counts::new(self.counts.iter().map(new)),
            response_time: self.response_time.combine(&earlier.response_time, u64::saturating_sub),
        }
    }

    /// Adds what came; of what goes up and down the last word counts.
    pub fn add(&mut self, new: &Self) {
        self.load_balancer.clone_from(&new.load_balancer);
        let values = METRICS.iter().map(|metric| {
            let before = if metric.is_gauge { 0 } else { self.counts.get(metric.name) };
            (metric.name, before.saturating_add(new.counts.get(metric.name)))
        });
        self.counts = Counts::new(values);
        self.response_time = self.response_time.combine(&new.response_time, u64::saturating_add);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(values: &[(&str, u64)], took_ms: &[u64]) -> Meter {
        let mut response_time = Distribution::default();
        for ms in took_ms {
            let duration = Duration::from_millis(*ms);
            let bucket = u16::try_from(Distribution::bucket(duration)).unwrap();
            let one = Distribution { buckets: vec![(bucket, 1)], sum_us: ms * 1000 };
            response_time = response_time.combine(&one, u64::saturating_add);
        }
        Meter { load_balancer: None, counts: Counts::new(values.iter().copied()), response_time }
    }

    #[test]
    fn quantiles_are_within_a_quarter_of_a_power_of_two() {
        let all: Vec<u64> = (1..=100).collect();
        let distribution = meter(&[], &all).response_time;
        assert_eq!(distribution.count(), 100);
        let (p50, p99) =
            (distribution.quantile(0.5).unwrap(), distribution.quantile(0.99).unwrap());
        assert!((0.05..0.063).contains(&p50), "{p50}");
        assert!((0.099..0.124).contains(&p99), "{p99}");
        assert_eq!(Distribution::default().quantile(0.5), None);
    }

    #[test]
    fn what_came_is_what_is_more_and_a_restart_begins_anew() {
        let before = meter(&[("RequestCount", 5), ("HealthyHostCount", 3)], &[1]);
        let after = meter(&[("RequestCount", 8), ("HealthyHostCount", 2)], &[1, 40]);
        let new = after.since(&before);
        assert_eq!((new.counts.get("RequestCount"), new.counts.get("HealthyHostCount")), (3, 2));
        assert_eq!((new.response_time.count(), new.response_time.sum_us), (1, 40_000));
        let mut sum = before.clone();
        sum.add(&new);
        assert_eq!(sum, after);
        assert_eq!(meter(&[("RequestCount", 1)], &[]).since(&before).counts.get("RequestCount"), 1);
    }

    #[test]
    fn it_is_written_by_names_and_unknown_ones_are_left_out() {
        let text = r#"{"counts":{"RequestCount":2,"NewKindCount":7}}"#;
        let read: Meter = serde_json::from_str(text).unwrap();
        assert_eq!(read, meter(&[("RequestCount", 2)], &[]));
        let written = serde_json::to_value(&read).unwrap();
        assert_eq!(written["counts"], serde_json::json!({ "RequestCount": 2 }));
    }
}
