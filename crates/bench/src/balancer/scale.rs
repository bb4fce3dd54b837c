//! A balancer with much to know: how long it takes to load all of it, and what one change costs then.

use super::origin::ORIGIN;
use crate::Result;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wharf_balancer::Options;
use wharf_model::load_balancing::{
    Action, Condition, FixedResponse, Forward, HealthCheck, HealthState, Item, Listener,
    LoadBalancer, LoadBalancerType, Protocol, ProtocolVersion, Report, Rule, Scheme, Target,
    TargetGroup, TargetKey, TargetType, Update, WeightedTargetGroup,
};
use wharf_model::time::Timestamp;

const BALANCERS: usize = 20;
const LISTENERS: usize = 50;
/// Targets of each listener's group.
const TARGETS: usize = 10;
/// Changes of each kind.
const CHANGES: usize = 100;
/// How long is waited for what should take a second.
const PATIENCE: Duration = Duration::from_secs(60);
const FIRST_PORT: u16 = 20_000;

/// What was measured.
#[derive(Debug)]
pub struct Load {
    /// Listeners and targets.
    pub size: (usize, usize),
    /// From the configuration to its being in effect, with all sockets open.
    pub loaded: Duration,
    /// From there until every target had passed its first checks.
    pub checked: Duration,
    /// Kinds of changes, and how long each took to be in effect, sorted.
    pub changes: Vec<(&'static str, Vec<Duration>)>,
}

/// Loads a balancer in this process and changes it.
///
/// # Errors
/// If it ends, or says nothing for a minute.
pub async fn scale(directory: &Path) -> Result<Load> {
    let mut options = Options::new(directory.join("scale"));
    options.access_logs = Some(directory.join("scale-logs"));
    let (updates, receiver) = mpsc::channel(16);
    let (sender, reports) = mpsc::channel(16);
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(wharf_balancer::run(options, receiver, sender, shutdown.clone()));
    let mut told =
        Told { updates, reports, revision: 0, unchecked: BALANCERS * LISTENERS * TARGETS };
    let start = Instant::now();
    told.tell(everything(), true).await?;
    let loaded = start.elapsed();
    told.until(|told| told.unchecked == 0).await?;
    let checked = start.elapsed() - loaded;
    let mut changes = Vec::new();
    type Change = fn(usize) -> Item;
    let kinds: [(&str, Change); 5] = [
        ("a rule", |n| Item::Rule(Arc::new(rule(n % BALANCERS, n % LISTENERS, n)))),
        ("a listener's action", |n| {
            Item::Listener(Arc::new(listener(n % BALANCERS, n % LISTENERS, fixed(n))))
        }),
        ("a target", |n| Item::Target(Arc::new(target(n % BALANCERS, n % LISTENERS, 100 + n)))),
        ("a target group", |n| {
            let mut group = group(n % BALANCERS, n % LISTENERS);
            let key = "load_balancing.algorithm.type".to_owned();
            group.attributes.insert(key, "least_outstanding_requests".to_owned());
            Item::TargetGroup(Arc::new(group))
        }),
        ("a new listener", |n| {
            Item::Listener(Arc::new(listener(n % BALANCERS, LISTENERS + n, fixed(n))))
        }),
    ];
    for (kind, change) in kinds {
        let mut took = Vec::new();
        for n in 0..CHANGES {
            let item = change(n);
            let start = Instant::now();
            told.tell(vec![item], false).await?;
            took.push(start.elapsed());
            // As often as deployments change things, not as fast as it can be.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        took.sort_unstable();
        changes.push((kind, took));
    }
    shutdown.cancel();
    drop(told);
    running.await??;
    let size = (BALANCERS * LISTENERS, BALANCERS * LISTENERS * TARGETS);
    Ok(Load { size, loaded, checked, changes })
}

/// What was told, and what came back.
struct Told {
    updates: mpsc::Sender<Update>,
    reports: mpsc::Receiver<Report>,
    revision: u64,
    unchecked: usize,
}

impl Told {
    /// Tells of items, and waits until they are in effect.
    async fn tell(&mut self, put: Vec<Item>, complete: bool) -> Result<()> {
        let wanted = self.revision + 1;
        let update = Update { revision: wanted, complete, put, delete: Vec::new() };
        self.updates.send(update).await.map_err(|_| "the balancer has ended")?;
        self.until(|told| told.revision >= wanted).await
    }

    async fn until(&mut self, is: impl Fn(&Self) -> bool) -> Result<()> {
        while !is(self) {
            let report = tokio::time::timeout(PATIENCE, self.reports.recv()).await;
            let report = report.map_err(|_| "the balancer says nothing")?;
            let report = report.ok_or("the balancer has ended")?;
            self.revision = report.revision;
            let healthy = |health: &HealthState| *health == HealthState::Healthy;
            let healthy = report.health.iter().filter(|(_, health)| healthy(&health.state)).count();
            self.unchecked = self.unchecked.saturating_sub(healthy);
        }
        Ok(())
    }
}

fn everything() -> Vec<Item> {
    let mut items = Vec::new();
    for at in 0..BALANCERS {
        items.push(Item::LoadBalancer(Arc::new(balancer(at))));
        for n in 0..LISTENERS {
            let forward = Forward {
                target_groups: vec![WeightedTargetGroup {
                    target_group: group(at, n).path(),
                    weight: Some(1),
                }],
                stickiness_seconds: None,
            };
            items.push(Item::TargetGroup(Arc::new(group(at, n))));
            items.push(Item::Listener(Arc::new(listener(at, n, Action::Forward(forward)))));
            items.push(Item::Rule(Arc::new(rule(at, n, 0))));
            let targets = (0..TARGETS).map(|number| target(at, n, number));
            items.extend(targets.map(|target| Item::Target(Arc::new(target))));
        }
    }
    items
}

fn balancer(at: usize) -> LoadBalancer {
    let octet = u8::try_from(at).unwrap_or_default();
    LoadBalancer {
        kind: LoadBalancerType::Application,
        name: format!("scale-{at}"),
        id: "1".to_owned(),
        scheme: Scheme::Internal,
        dns_name: format!("scale-{at}-1.us-east-1.elb.localhost"),
        created_at: Timestamp::default(),
        vpc_id: "vpc-1".to_owned(),
        subnets: Vec::new(),
        security_groups: Vec::new(),
        ip_address_type: "ipv4".to_owned(),
        host_address: Ipv4Addr::new(127, 82, 0, octet),
        task_address: None,
        vpc_range: None,
        attributes: BTreeMap::new(),
        tags: Vec::new(),
    }
}

fn fixed(n: usize) -> Action {
    let body = Some(n.to_string());
    Action::FixedResponse(FixedResponse { status: 200, content_type: None, body })
}

fn listener(at: usize, n: usize, action: Action) -> Listener {
    Listener {
        load_balancer: balancer(at).path(),
        id: n.to_string(),
        port: FIRST_PORT + u16::try_from(n).unwrap_or_default(),
        protocol: Protocol::Http,
        ssl_policy: None,
        certificates: Vec::new(),
        alpn_policy: None,
        mutual_authentication: None,
        default_actions: vec![action],
        attributes: BTreeMap::new(),
        tags: Vec::new(),
    }
}

fn rule(at: usize, n: usize, version: usize) -> Rule {
    Rule {
        listener: listener(at, n, fixed(0)).path(),
        id: "1".to_owned(),
        priority: 1,
        conditions: vec![Condition::PathPattern {
            values: vec!["/version/*".to_owned()],
            regex_values: Vec::new(),
        }],
        actions: vec![fixed(version)],
        transforms: Vec::new(),
        tags: Vec::new(),
    }
}

fn group(at: usize, n: usize) -> TargetGroup {
    TargetGroup {
        name: format!("scale-{at}-{n}"),
        id: format!("{at}-{n}"),
        protocol: Protocol::Http,
        protocol_version: Some(ProtocolVersion::Http1),
        port: ORIGIN.port(),
        vpc_id: "vpc-1".to_owned(),
        target_type: TargetType::Ip,
        ip_address_type: "ipv4".to_owned(),
        health_check: HealthCheck {
            enabled: true,
            protocol: Protocol::Http,
            port: None,
            path: Some("/".to_owned()),
            matcher: Some("200".to_owned()),
            interval_seconds: 30,
            timeout_seconds: 5,
            healthy_threshold: 5,
            unhealthy_threshold: 2,
        },
        created_at: Timestamp::default(),
        attributes: BTreeMap::new(),
        tags: Vec::new(),
    }
}

/// All of them are the origin, under many addresses.
fn target(at: usize, n: usize, number: usize) -> Target {
    let octet = |n: usize| u8::try_from(n).unwrap_or_default();
    let address = IpAddr::V4(Ipv4Addr::new(127, 100 + octet(at), octet(n), 1 + octet(number)));
    let key =
        TargetKey { target_group: group(at, n).id, id: address.to_string(), port: ORIGIN.port() };
    Target { key, address, zone: None, registered_at: Timestamp::default(), deregistered_at: None }
}
