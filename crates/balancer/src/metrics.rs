//! What is counted, by the names of CloudWatch's `AWS/ApplicationELB` and `AWS/NetworkELB`. A request
//! costs a few additions; the server is told of sums now and then, and keeps them by the minute.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use wharf_model::load_balancing::{Counts, Distribution, Meter, MeterKey};

/// A distribution of durations.
struct Histogram {
    buckets: [AtomicU64; Distribution::BUCKETS],
    sum_us: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        let buckets = [const { AtomicU64::new(0) }; Distribution::BUCKETS];
        Self { buckets, sum_us: AtomicU64::new(0) }
    }
}

impl Histogram {
    fn add(&self, duration: Duration) {
        self.buckets[Distribution::bucket(duration)].fetch_add(1, Ordering::Relaxed);
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).max(1);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    fn read(&self) -> Distribution {
        let counts = (0..).zip(self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)));
        Distribution {
            buckets: counts.filter(|(_, count)| *count != 0).collect(),
            sum_us: self.sum_us.load(Ordering::Relaxed),
        }
    }
}

macro_rules! counters {
    ($(#[$meta:meta])* $name:ident, [$(($field:ident, $metric:literal)),* $(,)?]
     $(, $more:ident: $type:ty)*) => {
        $(#[$meta])*
        #[derive(Default)]
        pub struct $name {
            $(pub(crate) $field: AtomicU64,)*
            $($more: $type,)*
        }

        impl $name {
            /// What has been counted since the balancer began.
            pub fn current(&self) -> BTreeMap<&'static str, u64> {
                BTreeMap::from([$(($metric, self.$field.load(Ordering::Relaxed)),)*])
            }
        }
    };
}

counters!(
    /// What is counted of a load balancer.
    BalancerMeter, [
    (requests, "RequestCount"),
    (new_connections, "NewConnectionCount"),
    (active_connections, "ActiveConnectionCount"),
    (processed_bytes, "ProcessedBytes"),
    (tls_errors, "ClientTLSNegotiationErrorCount"),
    (redirects, "HTTP_Redirect_Count"),
    (fixed, "HTTP_Fixed_Response_Count"),
    (elb_3xx, "HTTPCode_ELB_3XX_Count"),
    (elb_4xx, "HTTPCode_ELB_4XX_Count"),
    (elb_5xx, "HTTPCode_ELB_5XX_Count"),
    (elb_500, "HTTPCode_ELB_500_Count"),
    (elb_502, "HTTPCode_ELB_502_Count"),
    (elb_503, "HTTPCode_ELB_503_Count"),
    (elb_504, "HTTPCode_ELB_504_Count"),
    (new_flows, "NewFlowCount"),
    (active_flows, "ActiveFlowCount"),
    (rejected_flows, "RejectedFlowCount"),
    (client_resets, "TCP_Client_Reset_Count"),
    (own_resets, "TCP_ELB_Reset_Count"),
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
], response_time: Histogram, load_balancer: Mutex<Option<String>>);

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
            500 => drop(self.elb_500.fetch_add(1, Ordering::Relaxed)),
            502 => drop(self.elb_502.fetch_add(1, Ordering::Relaxed)),
            503 => drop(self.elb_503.fetch_add(1, Ordering::Relaxed)),
            504 => drop(self.elb_504.fetch_add(1, Ordering::Relaxed)),
            _ => {}
        }
    }

    fn read(&self) -> Meter {
        Meter { counts: Counts::new(self.current()), ..Meter::default() }
    }
}

impl GroupMeter {
    /// Counts an answer of a target.
    pub(crate) fn count(&self, status: u16, duration: Duration) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.response_time.add(duration);
        let class = match status {
            200..=299 => &self.target_2xx,
            300..=399 => &self.target_3xx,
            400..=499 => &self.target_4xx,
            500..=599 => &self.target_5xx,
            _ => return,
        };
        class.fetch_add(1, Ordering::Relaxed);
    }

    /// It is behind a load balancer.
    pub(crate) fn is_behind(&self, load_balancer: &str) {
        let mut now = self.load_balancer.lock().unwrap_or_else(PoisonError::into_inner);
        if now.as_deref() != Some(load_balancer) {
            *now = Some(load_balancer.to_owned());
        }
    }

    fn read(&self) -> Meter {
        let load_balancer = self.load_balancer.lock().unwrap_or_else(PoisonError::into_inner);
        Meter {
            load_balancer: load_balancer.clone(),
            counts: Counts::new(self.current()),
            response_time: self.response_time.read(),
        }
    }
}

/// A connection or flow that is there: counted as new, and as active until it is dropped.
pub(crate) struct Active {
    meter: Arc<BalancerMeter>,
    of: fn(&BalancerMeter) -> &AtomicU64,
}

impl Active {
    /// A client's connection.
    pub(crate) fn connection(meter: &Arc<BalancerMeter>) -> Self {
        meter.new_connections.fetch_add(1, Ordering::Relaxed);
        Self::begin(meter, |meter| &meter.active_connections)
    }

    /// A flow of a Network Load Balancer.
    pub(crate) fn flow(meter: &Arc<BalancerMeter>) -> Self {
        meter.new_flows.fetch_add(1, Ordering::Relaxed);
        Self::begin(meter, |meter| &meter.active_flows)
    }

    fn begin(meter: &Arc<BalancerMeter>, of: fn(&BalancerMeter) -> &AtomicU64) -> Self {
        of(meter).fetch_add(1, Ordering::Relaxed);
        Self { meter: Arc::clone(meter), of }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        (self.of)(&self.meter).fetch_sub(1, Ordering::Relaxed);
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

    /// Everything as it stands.
    pub(crate) fn read(&self) -> BTreeMap<MeterKey, Meter> {
        let balancers = self.balancers.lock().unwrap_or_else(PoisonError::into_inner);
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let balancers =
            balancers.iter().map(|(path, m)| (MeterKey::LoadBalancer(path.clone()), m.read()));
        let groups = groups.iter().map(|(path, m)| (MeterKey::TargetGroup(path.clone()), m.read()));
        balancers.chain(groups).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_read_as_they_stand() {
        let metrics = Metrics::default();
        let group = metrics.group("g/1");
        group.count(404, Duration::from_millis(3));
        group.is_behind("app/a/1");
        let balancer = metrics.balancer("app/a/1");
        balancer.count_own(503);
        let flow = Active::flow(&balancer);
        let read = metrics.read();
        let of_group = &read[&MeterKey::TargetGroup("g/1".into())];
        assert_eq!(of_group.counts.get("HTTPCode_Target_4XX_Count"), 1);
        assert_eq!(of_group.load_balancer.as_deref(), Some("app/a/1"));
        assert_eq!((of_group.response_time.count(), of_group.response_time.sum_us), (1, 3000));
        let of_balancer = |metrics: &Metrics| {
            metrics.read()[&MeterKey::LoadBalancer("app/a/1".into())].counts.clone()
        };
        assert_eq!(of_balancer(&metrics).get("HTTPCode_ELB_503_Count"), 1);
        assert_eq!(of_balancer(&metrics).get("ActiveFlowCount"), 1);
        drop(flow);
        let counts = of_balancer(&metrics);
        assert_eq!((counts.get("ActiveFlowCount"), counts.get("NewFlowCount")), (0, 1));
    }
}
