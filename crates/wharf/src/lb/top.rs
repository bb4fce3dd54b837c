//! `wharf lb top`: what goes through load balancers at the moment.

use super::fetch;
use crate::cli::{Format, LbTop};
use crate::client::{Client, Error};
use crate::data_dir::DataDir;
use crate::output::{Listing, table};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};
use wharf_model::load_balancing::{Meter, MeterKey};

/// What is asked of the server, as far as it is counted.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sample {
    load_balancers: Vec<LoadBalancer>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LoadBalancer {
    load_balancer_name: String,
    load_balancer_arn: String,
    meter: Option<Meter>,
    target_groups: Vec<TargetGroup>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TargetGroup {
    target_group_name: String,
    target_group_arn: String,
    healthy: usize,
    targets: usize,
    meter: Option<Meter>,
}

/// What came of one load balancer or target group in a span of time.
#[derive(Debug)]
struct Line {
    key: MeterKey,
    name: String,
    new: Meter,
    seconds: f64,
    healthy: Option<(usize, usize)>,
}

/// Shows it until it is interrupted; once, if that is asked for or if nobody looks.
///
/// # Errors
/// If the server can't be asked.
pub(super) async fn run(data_dir: &DataDir, arguments: &LbTop) -> Result<(), Error> {
    let client = Client::new(data_dir, "default")?;
    let interval = Duration::from_secs_f64(arguments.interval.clamp(0.2, 3600.0));
    let format = arguments.output.format();
    let live = format == Format::Table && !arguments.once && std::io::stdout().is_terminal();
    let mut before = sample(&client).await?;
    let mut at = Instant::now();
    let screen = live.then(screen);
    loop {
        tokio::time::sleep(interval).await;
        let after = sample(&client).await?;
        let seconds = std::mem::replace(&mut at, Instant::now()).elapsed().as_secs_f64();
        let lines = lines(&before, &after, seconds);
        match &screen {
            Some(screen) => screen.set_message(table(&COLUMNS, lines.iter().map(row).collect())),
            None => {
                let rows = lines.iter().map(row).collect();
                let json = lines.iter().map(shown).collect();
                Listing { columns: COLUMNS.to_vec(), rows, json }.print(format);
                return Ok(());
            }
        }
        before = after;
    }
}

/// Text that is drawn over again.
fn screen() -> ProgressBar {
    let target = ProgressDrawTarget::stdout();
    let style =
        ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(None, target).with_style(style)
}

async fn sample(client: &Client) -> Result<Sample, Error> {
    Ok(serde_json::from_value(fetch(client).await?).unwrap_or_default())
}

/// What came between two samples, target groups behind their load balancers.
fn lines(before: &Sample, after: &Sample, seconds: f64) -> Vec<Line> {
    let mut lines = Vec::new();
    for balancer in &after.load_balancers {
        let same = |other: &&LoadBalancer| other.load_balancer_arn == balancer.load_balancer_arn;
        let earlier = before.load_balancers.iter().find(same);
        let mut of_groups = Meter::default();
        let mut groups = Vec::new();
        for group in &balancer.target_groups {
            let same = |other: &&TargetGroup| other.target_group_arn == group.target_group_arn;
            let earlier = earlier.and_then(|e| e.target_groups.iter().find(same));
            let new = came(earlier.and_then(|e| e.meter.as_ref()), group.meter.as_ref());
            of_groups.add(&new);
            groups.push(Line {
                key: MeterKey::TargetGroup(group.target_group_arn.clone()),
                name: group.target_group_name.clone(),
                new,
                seconds,
                healthy: Some((group.healthy, group.targets)),
            });
        }
        let mut new = came(earlier.and_then(|e| e.meter.as_ref()), balancer.meter.as_ref());
        // How targets answered is counted where they are.
        let own = new.counts.clone();
        new.add(&Meter { load_balancer: None, ..of_groups });
        new.counts = combined(&own, &new);
        lines.push(Line {
            key: MeterKey::LoadBalancer(balancer.load_balancer_arn.clone()),
            name: balancer.load_balancer_name.clone(),
            new,
            seconds,
            healthy: None,
        });
        lines.append(&mut groups);
    }
    lines
}

/// A load balancer's own counts, with those that only target groups have.
fn combined(
    own: &wharf_model::load_balancing::Counts,
    sum: &Meter,
) -> wharf_model::load_balancing::Counts {
    let of = |name: &'static str, value: u64| {
        let is_targets = name.starts_with("HTTPCode_Target") || name.starts_with("TargetConn");
        (name, if is_targets { value } else { own.get(name) })
    };
    let names = wharf_model::load_balancing::METRICS.iter();
    wharf_model::load_balancing::Counts::new(
        names.map(|metric| of(metric.name, sum.counts.get(metric.name))),
    )
}

/// What came between two looks at a meter: all of it, if there was none before.
fn came(before: Option<&Meter>, after: Option<&Meter>) -> Meter {
    let after = after.cloned().unwrap_or_default();
    after.since(&before.cloned().unwrap_or_default())
}

const COLUMNS: [&str; 11] = [
    "NAME",
    "REQ/S",
    "P50",
    "P99",
    "2XX",
    "3XX",
    "4XX",
    "5XX",
    "HEALTHY",
    "CONNECTIONS",
    "BYTES/S",
];

impl Line {
    fn is_load_balancer(&self) -> bool {
        matches!(self.key, MeterKey::LoadBalancer(_))
    }

    #[expect(clippy::cast_precision_loss)]
    fn rate(&self, name: &str) -> f64 {
        self.new.counts.get(name) as f64 / self.seconds.max(0.001)
    }

    /// Answers of a class a second, those of the load balancer itself among them.
    fn class(&self, class: char) -> f64 {
        self.rate(&format!("HTTPCode_Target_{class}XX_Count"))
            + self.rate(&format!("HTTPCode_ELB_{class}XX_Count"))
    }

    /// Connections and flows that are there.
    fn connections(&self) -> u64 {
        let counts = &self.new.counts;
        counts.get("ActiveConnectionCount") + counts.get("ActiveFlowCount")
    }
}

fn row(line: &Line) -> Vec<String> {
    let rate = |rate: f64| if rate == 0.0 { "-".to_owned() } else { format!("{rate:.1}") };
    let took = |part: f64| line.new.response_time.quantile(part).map_or("-".to_owned(), duration);
    let (own, indent) = if line.is_load_balancer() { (true, "") } else { (false, "  ") };
    let dash = || "-".to_owned();
    vec![
        format!("{indent}{}", line.name),
        rate(line.rate("RequestCount")),
        took(0.5),
        took(0.99),
        rate(line.class('2')),
        rate(line.class('3')),
        rate(line.class('4')),
        rate(line.class('5')),
        line.healthy.map_or_else(dash, |(healthy, all)| format!("{healthy}/{all}")),
        if own { line.connections().to_string() } else { dash() },
        if own { rate(line.rate("ProcessedBytes")) } else { dash() },
    ]
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 0.001 => format!("{:.0} µs", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}

fn shown(line: &Line) -> Value {
    let (member, arn) = match &line.key {
        MeterKey::LoadBalancer(arn) => ("loadBalancerArn", arn),
        MeterKey::TargetGroup(arn) => ("targetGroupArn", arn),
    };
    let mut shown = json!({
        "name": line.name,
        "requestsPerSecond": line.rate("RequestCount"),
        "p50Seconds": line.new.response_time.quantile(0.5),
        "p99Seconds": line.new.response_time.quantile(0.99),
        "healthy": line.healthy.map(|(healthy, _)| healthy),
        "targets": line.healthy.map(|(_, all)| all),
        "seconds": line.seconds,
        "counts": line.new.counts,
    });
    shown[member] = json!(arn);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(requests: u64, errors: u64, buckets: Value) -> Sample {
        serde_json::from_value(json!({ "loadBalancers": [{
            "loadBalancerName": "web", "loadBalancerArn": "arn:lb",
            "meter": { "counts": {
                "RequestCount": requests + errors, "HTTPCode_ELB_5XX_Count": errors,
                "ActiveConnectionCount": 4, "ProcessedBytes": 10 * requests,
            } },
            "targetGroups": [{
                "targetGroupName": "one", "targetGroupArn": "arn:tg", "healthy": 1, "targets": 2,
                "meter": {
                    "counts": { "RequestCount": requests, "HTTPCode_Target_2XX_Count": requests },
                    "response_time": { "buckets": buckets, "sum_us": 1 },
                },
            }],
        }] }))
        .unwrap()
    }

    #[test]
    fn what_came_in_between_is_shown_by_the_second() {
        let before = sample(100, 5, json!([[40, 100]]));
        let after = sample(120, 6, json!([[40, 110], [60, 10]]));
        let lines = lines(&before, &after, 2.0);
        let rows: Vec<Vec<String>> = lines.iter().map(row).collect();
        assert_eq!(
            rows,
            [
                ["web", "10.5", "1.3 ms", "41.0 ms", "10.0", "-", "-", "0.5", "-", "4", "100.0"],
                ["  one", "10.0", "1.3 ms", "41.0 ms", "10.0", "-", "-", "-", "1/2", "-", "-"],
            ]
        );
        let shown = shown(&lines[1]);
        assert_eq!(
            (&shown["targetGroupArn"], &shown["requestsPerSecond"]),
            (&json!("arn:tg"), &json!(10.0))
        );
    }

    #[test]
    fn who_was_not_counted_before_or_is_not_counted_at_all_is_shown_too() {
        let none = Sample::default();
        let mut after = sample(3, 0, json!([[40, 3]]));
        assert_eq!(row(&lines(&none, &after, 1.0)[0])[1], "3.0");
        after.load_balancers[0].meter = None;
        after.load_balancers[0].target_groups[0].meter = None;
        assert_eq!(row(&lines(&none, &after, 1.0)[0])[1], "-");
    }
}
