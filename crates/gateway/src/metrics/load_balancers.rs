//! What balancers count, in Prometheus' terms: `RequestCount` is `wharf_elb_request_count_total`, with
//! CloudWatch's dimensions as labels.

use crate::context::Counted;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use std::fmt;
use wharf_model::load_balancing::{Distribution, METRICS, Meter, MeterKey, Metric};

/// The ends of the buckets of response times: powers of two of microseconds, up to a minute.
const BUCKET_POWERS: std::ops::Range<u16> = 8..27;
/// Parts of response times that are told for the last minute.
const QUANTILES: [f64; 4] = [0.5, 0.9, 0.95, 0.99];

/// CloudWatch's dimensions; the balancer is the one node of its load balancers, in one zone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    load_balancer: String,
    target_group: Option<String>,
    availability_zone: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QuantileLabels {
    load_balancer: String,
    target_group: String,
    availability_zone: String,
    quantile: String,
}

/// Everything that was counted, as it stands at a scrape.
#[derive(Debug)]
pub(super) struct LoadBalancers {
    pub(super) counted: Vec<Counted>,
    pub(super) zone: String,
}

impl Collector for LoadBalancers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for metric in METRICS {
            self.numbers(&mut encoder, metric)?;
        }
        self.response_times(&mut encoder)?;
        self.quantiles(&mut encoder)?;
        self.per_target(&mut encoder)
    }
}

impl LoadBalancers {
    fn numbers(&self, encoder: &mut DescriptorEncoder<'_>, metric: &Metric) -> fmt::Result {
        let kind = if metric.is_gauge { MetricType::Gauge } else { MetricType::Counter };
        let (name, help) = (snake_case(metric.name), format!("{} of CloudWatch", metric.name));
        let mut family = encoder.encode_descriptor(&name, &help, None, kind)?;
        for counted in &self.counted {
            // A target group without requests has a count of 0, and none of flows.
            let value = counted.total.counts.get(metric.name);
            if value == 0 && !is_always_told(&counted.key, metric) {
                continue;
            }
            let labels = self.labels(counted);
            let mut one = family.encode_family(&labels)?;
            if metric.is_gauge {
                one.encode_gauge(&i64::try_from(value).unwrap_or(i64::MAX))?;
            } else {
                one.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
            }
        }
        Ok(())
    }

    fn response_times(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = encoder.encode_descriptor(
            "target_response_time",
            "TargetResponseTime of CloudWatch",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for counted in self.groups() {
            let times = &counted.total.response_time;
            let labels = self.labels(counted);
            let mut one = family.encode_family(&labels)?;
            let (sum, count) = (times.sum_seconds(), times.count());
            one.encode_histogram::<NoLabelSet>(sum, count, &buckets(times), None)?;
        }
        Ok(())
    }

    fn quantiles(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = encoder.encode_descriptor(
            "target_response_time_last_minute",
            "Quantiles of TargetResponseTime in the last minute that is over",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?;
        for counted in self.groups() {
            for part in QUANTILES {
                let Some(seconds) = counted.minute.response_time.quantile(part) else { continue };
                let Labels { load_balancer, target_group, availability_zone } =
                    self.labels(counted);
                let labels = QuantileLabels {
                    load_balancer,
                    target_group: target_group.unwrap_or_default(),
                    availability_zone,
                    quantile: part.to_string(),
                };
                family.encode_family(&labels)?.encode_gauge(&seconds)?;
            }
        }
        Ok(())
    }

    fn per_target(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "RequestCountPerTarget of CloudWatch, in the last minute that is over";
        let mut family = encoder.encode_descriptor(
            "request_count_per_target_last_minute",
            help,
            None,
            MetricType::Gauge,
        )?;
        for counted in self.groups() {
            if let Some(requests) = requests_per_target(&counted.minute) {
                let labels = self.labels(counted);
                family.encode_family(&labels)?.encode_gauge(&requests)?;
            }
        }
        Ok(())
    }

    fn groups(&self) -> impl Iterator<Item = &Counted> {
        self.counted.iter().filter(|one| matches!(one.key, MeterKey::TargetGroup(_)))
    }

    fn labels(&self, counted: &Counted) -> Labels {
        let availability_zone = self.zone.clone();
        match &counted.key {
            MeterKey::LoadBalancer(path) => {
                Labels { load_balancer: path.clone(), target_group: None, availability_zone }
            }
            MeterKey::TargetGroup(path) => Labels {
                load_balancer: counted.total.load_balancer.clone().unwrap_or_default(),
                target_group: Some(format!("targetgroup/{path}")),
                availability_zone,
            },
        }
    }
}

/// What CloudWatch reports although it is 0.
fn is_always_told(key: &MeterKey, metric: &Metric) -> bool {
    match key {
        MeterKey::LoadBalancer(path) if path.starts_with("net/") => {
            matches!(metric.name, "NewFlowCount" | "ActiveFlowCount" | "ProcessedBytes")
        }
        MeterKey::LoadBalancer(_) => {
            matches!(metric.name, "RequestCount" | "ActiveConnectionCount" | "ProcessedBytes")
        }
        MeterKey::TargetGroup(_) => {
            matches!(metric.name, "HealthyHostCount" | "UnHealthyHostCount")
        }
    }
}

/// Requests in a minute for each healthy target; none without one.
#[expect(clippy::cast_precision_loss)]
fn requests_per_target(minute: &Meter) -> Option<f64> {
    let healthy = minute.counts.get("HealthyHostCount");
    (healthy > 0).then(|| minute.counts.get("RequestCount") as f64 / healthy as f64)
}

fn buckets(times: &Distribution) -> Vec<(f64, u64)> {
    let mut buckets: Vec<(f64, u64)> =
        BUCKET_POWERS.map(|power| (Distribution::end_of(power * 4 - 1), 0)).collect();
    buckets.push((f64::INFINITY, 0));
    for (bucket, count) in &times.buckets {
        let end = Distribution::end_of(*bucket);
        if let Some((_, sum)) = buckets.iter_mut().find(|(at, _)| end <= *at) {
            *sum += count;
        }
    }
    buckets
}

/// `HTTPCode_Target_2XX_Count` as Prometheus writes names: `http_code_target_2xx_count`.
fn snake_case(name: &str) -> String {
    let mut out = String::new();
    let characters: Vec<char> = name.replace("HTTPCode", "HttpCode").chars().collect();
    for (index, c) in characters.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|index| characters.get(index));
        let after = characters.get(index + 1);
        let begins = c.is_ascii_uppercase()
            && before.is_some_and(|before| {
                before.is_ascii_lowercase()
                    || before.is_ascii_uppercase() && after.is_some_and(char::is_ascii_lowercase)
            });
        if begins {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode_registry;
    use prometheus_client::registry::Registry;
    use std::time::Duration;
    use wharf_model::load_balancing::Counts;

    #[test]
    fn names_are_those_of_cloudwatch_in_the_usual_spelling() {
        for (name, expected) in [
            ("RequestCount", "request_count"),
            ("HTTPCode_Target_2XX_Count", "http_code_target_2xx_count"),
            ("ClientTLSNegotiationErrorCount", "client_tls_negotiation_error_count"),
            ("TCP_ELB_Reset_Count", "tcp_elb_reset_count"),
            ("UnHealthyHostCount", "un_healthy_host_count"),
        ] {
            assert_eq!(snake_case(name), expected);
        }
    }

    #[test]
    fn what_was_counted_is_told_with_its_dimensions() {
        let bucket = |ms| Distribution::bucket(Duration::from_millis(ms)).try_into().unwrap();
        let meter = Meter {
            load_balancer: Some("app/web/1".into()),
            counts: Counts::new([("RequestCount", 6), ("HealthyHostCount", 2)]),
            response_time: Distribution {
                buckets: vec![(bucket(3), 5), (bucket(900_000), 1)],
                sum_us: 15_000,
            },
        };
        let key = MeterKey::TargetGroup("g/2".into());
        let counted = vec![Counted { key, total: meter.clone(), minute: meter }];
        let mut registry = Registry::with_prefix("wharf_elb");
        registry.register_collector(Box::new(LoadBalancers { counted, zone: "x-1a".into() }));
        let mut text = String::new();
        encode_registry(&mut text, &registry).unwrap();
        let labels = "load_balancer=\"app/web/1\",target_group=\"targetgroup/g/2\",availability_zone=\"x-1a\"";
        for line in [
            format!("wharf_elb_request_count_total{{{labels}}} 6"),
            format!("wharf_elb_healthy_host_count{{{labels}}} 2"),
            format!("wharf_elb_un_healthy_host_count{{{labels}}} 0"),
            format!("wharf_elb_target_response_time_seconds_count{{{labels}}} 6"),
            format!("wharf_elb_target_response_time_seconds_bucket{{le=\"0.004096\",{labels}}} 5"),
            format!("wharf_elb_target_response_time_seconds_bucket{{le=\"+Inf\",{labels}}} 6"),
            format!("wharf_elb_request_count_per_target_last_minute{{{labels}}} 3.0"),
            format!(
                "wharf_elb_target_response_time_last_minute_seconds{{{labels},quantile=\"0.5\"}}"
            ),
        ] {
            assert!(text.contains(&line), "{line} not in\n{text}");
        }
    }
}
