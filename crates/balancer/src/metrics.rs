//! Metrics by the names of CloudWatch's `AWS/ApplicationELB`, by the minute, in memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Minutes that are kept.
const KEPT_MINUTES: usize = 180;
/// Buckets of a histogram: four of each power of two of microseconds.
const BUCKETS: usize = 160;

/// A distribution of durations.
struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum_us: AtomicU64::new(0) }
    }
}

impl Histogram {
    fn add(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).max(1);
        let power = us.ilog2() as usize;
        let quarter = if power < 2 { 0 } else { (us >> (power - 2)) as usize & 3 };
        self.buckets[(power * 4 + quarter).min(BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    fn take(&self) -> Latency {
        let counts = self.buckets.iter().map(|bucket| bucket.swap(0, Ordering::Relaxed)).collect();
        Latency { counts, sum_us: self.sum_us.swap(0, Ordering::Relaxed) }
    }
}

/// A distribution of durations over a minute.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latency {
    counts: Vec<u64>,
    sum_us: u64,
}

impl Latency {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
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
        let index = self.counts.iter().position(|bucket| {
            seen += bucket;
            seen >= rank
        })?;
        let low = 1_u64.checked_shl(u32::try_from(index / 4).ok()?)?;
        let upper = low.saturating_add((low / 4).saturating_mul(index as u64 % 4 + 1));
        Some(Duration::from_micros(upper).as_secs_f64())
    }
}

macro_rules! counters {
    ($(#[$meta:meta])* $name:ident, [$(($field:ident, $metric:literal)),* $(,)?]) => {
        $(#[$meta])*
        #[derive(Default)]
        pub struct $name {
            $(pub(crate) $field: AtomicU64,)*
            latency: Histogram,
            minutes: Mutex<VecDeque<Minute>>,
        }

        impl $name {
            fn roll(&self, at: u64) {
                let counts = BTreeMap::from([
                    $(($metric, self.$field.swap(0, Ordering::Relaxed)),)*
                ]);
                let minute = Minute { at, counts, latency: self.latency.take() };
                let mut minutes = self.minutes.lock().unwrap_or_else(PoisonError::into_inner);
                if minutes.len() >= KEPT_MINUTES {
                    minutes.pop_front();
                }
                minutes.push_back(minute);
            }

            /// The minutes that are over, oldest first.
            pub fn minutes(&self) -> Vec<Minute> {
                let minutes = self.minutes.lock().unwrap_or_else(PoisonError::into_inner);
                minutes.iter().cloned().collect()
            }

            /// What has been counted since the last full minute.
            pub fn current(&self) -> BTreeMap<&'static str, u64> {
                BTreeMap::from([$(($metric, self.$field.load(Ordering::Relaxed)),)*])
            }
        }
    };
}

/// What was counted in a minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Minute {
    /// Its end, in seconds since 1970.
    pub at: u64,
    /// Counts by metric.
    pub counts: BTreeMap<&'static str, u64>,
    /// TargetResponseTime.
    pub latency: Latency,
}

counters!(
    /// What is counted of a load balancer.
    BalancerMeter, [
    (requests, "RequestCount"),
    (new_connections, "NewConnectionCount"),
    (processed_bytes, "ProcessedBytes"),
    (rejected, "RejectedConnectionCount"),
    (tls_errors, "ClientTLSNegotiationErrorCount"),
    (rule_evaluations, "RuleEvaluations"),
    (redirects, "HTTP_Redirect_Count"),
    (fixed, "HTTP_Fixed_Response_Count"),
    (elb_3xx, "HTTPCode_ELB_3XX_Count"),
    (elb_4xx, "HTTPCode_ELB_4XX_Count"),
    (elb_5xx, "HTTPCode_ELB_5XX_Count"),
    (elb_502, "HTTPCode_ELB_502_Count"),
    (elb_503, "HTTPCode_ELB_503_Count"),
    (elb_504, "HTTPCode_ELB_504_Count"),
    (new_flows, "NewFlowCount"),
    (client_resets, "TCP_Client_Reset_Count"),
    (target_resets, "TCP_Target_Reset_Count"),
    (desync, "DesyncMitigationMode_NonCompliant_Request_Count"),
]);

counters!(
    /// What is counted of a target group.
    GroupMeter, [
    (requests, "RequestCount"),
    (target_2xx, "HTTPCode_Target_2XX_Count"),
    (target_3xx, "HTTPCode_Target_3XX_Count"),
    (target_4xx, "HTTPCode_Target_4XX_Count"),
    (target_5xx, "HTTPCode_Target_5XX_Count"),
    (connection_errors, "TargetConnectionErrorCount"),
    (healthy_hosts, "HealthyHostCount"),
    (unhealthy_hosts, "UnHealthyHostCount"),
]);

impl BalancerMeter {
    /// Counts an answer of the load balancer itself.
    pub(crate) fn count_own(&self, status: u16) {
        let class = match status {
            300..=399 => &self.elb_3xx,
            400..=499 => &self.elb_4xx,
            500..=599 => &self.elb_5xx,
            _ => return,
        };
        class.fetch_add(1, Ordering::Relaxed);
        match status {
            502 => drop(self.elb_502.fetch_add(1, Ordering::Relaxed)),
            503 => drop(self.elb_503.fetch_add(1, Ordering::Relaxed)),
            504 => drop(self.elb_504.fetch_add(1, Ordering::Relaxed)),
            _ => {}
        }
    }

    /// Counts the time that a target took to answer.
    pub(crate) fn count_latency(&self, duration: Duration) {
        self.latency.add(duration);
    }
}

impl GroupMeter {
    /// Counts an answer of a target.
    pub(crate) fn count(&self, status: u16, duration: Duration) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.latency.add(duration);
        let class = match status {
            200..=299 => &self.target_2xx,
            300..=399 => &self.target_3xx,
            400..=499 => &self.target_4xx,
            500..=599 => &self.target_5xx,
            _ => return,
        };
        class.fetch_add(1, Ordering::Relaxed);
    }
}

/// The meters of everything, by path.
#[derive(Default)]
pub struct Metrics {
    balancers: Mutex<BTreeMap<String, Arc<BalancerMeter>>>,
    groups: Mutex<BTreeMap<String, Arc<GroupMeter>>>,
}

fn meter<T: Default>(map: &Mutex<BTreeMap<String, Arc<T>>>, path: &str) -> Arc<T> {
    let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(map.entry(path.to_owned()).or_default())
}

impl Metrics {
    /// The meter of the load balancer of a path (`app/NAME/ID`).
    pub fn balancer(&self, path: &str) -> Arc<BalancerMeter> {
        meter(&self.balancers, path)
    }

    /// The meter of the target group of a path (`NAME/ID`).
    pub fn group(&self, path: &str) -> Arc<GroupMeter> {
        meter(&self.groups, path)
    }

    /// Forgets a target group.
    pub(crate) fn forget_group(&self, path: &str) {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
    }

    /// Forgets a load balancer.
    pub(crate) fn forget_balancer(&self, path: &str) {
        self.balancers.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
    }

    /// Closes a minute that ends at `at`, in seconds since 1970.
    pub(crate) fn roll(&self, at: u64) {
        for meter in self.balancers.lock().unwrap_or_else(PoisonError::into_inner).values() {
            meter.roll(at);
        }
        for meter in self.groups.lock().unwrap_or_else(PoisonError::into_inner).values() {
            meter.roll(at);
        }
    }

    /// Everything by path: load balancers, then target groups.
    #[expect(clippy::type_complexity)]
    pub fn all(&self) -> (Vec<(String, Arc<BalancerMeter>)>, Vec<(String, Arc<GroupMeter>)>) {
        let balancers = self.balancers.lock().unwrap_or_else(PoisonError::into_inner);
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        (
            balancers.iter().map(|(path, meter)| (path.clone(), Arc::clone(meter))).collect(),
            groups.iter().map(|(path, meter)| (path.clone(), Arc::clone(meter))).collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_quarter_of_a_power_of_two() {
        let histogram = Histogram::default();
        for ms in 1..=100 {
            histogram.add(Duration::from_millis(ms));
        }
        let latency = histogram.take();
        assert_eq!(latency.count(), 100);
        let (p50, p99) = (latency.quantile(0.5).unwrap(), latency.quantile(0.99).unwrap());
        assert!((0.05..0.063).contains(&p50), "{p50}");
        assert!((0.099..0.124).contains(&p99), "{p99}");
        assert_eq!(histogram.take().quantile(0.5), None);
    }

    #[test]
    fn a_minute_takes_what_was_counted() {
        let metrics = Metrics::default();
        metrics.group("g/1").count(404, Duration::from_millis(3));
        metrics.balancer("app/a/1").count_own(503);
        metrics.roll(60);
        let minute = &metrics.group("g/1").minutes()[0];
        assert_eq!((minute.at, minute.counts["HTTPCode_Target_4XX_Count"]), (60, 1));
        assert_eq!(metrics.group("g/1").current()["RequestCount"], 0);
        let minute = &metrics.balancer("app/a/1").minutes()[0];
        assert_eq!(minute.counts["HTTPCode_ELB_503_Count"], 1);
    }
}
