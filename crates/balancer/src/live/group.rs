//! A target group, and who of it takes requests.

use super::target::{Lease, TargetState};
use crate::metrics::GroupMeter;
use crate::targets::{Algorithm, FailOpen, pick};
use arc_swap::ArcSwapOption;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use wharf_model::load_balancing::{HealthState, Protocol, ProtocolVersion, TargetGroup};

/// How clients stay with a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stickiness {
    /// By the load balancer's cookie, for so many seconds.
    Duration(u64),
    /// By the application's cookie of that name, for so many seconds.
    Application(String, u64),
    /// By the client's address.
    SourceIp,
}

/// The settings of a group, read from its record.
#[derive(Debug, Clone)]
pub(crate) struct GroupSettings {
    pub(crate) path: Arc<str>,
    pub(crate) protocol: Protocol,
    pub(crate) version: ProtocolVersion,
    pub(crate) stickiness: Option<Stickiness>,
    pub(crate) proxy_protocol: bool,
    pub(crate) cut_when_gone: bool,
    pub(crate) cut_when_ill: bool,
    algorithm: Algorithm,
    slow_start: Option<Duration>,
    fail_open: FailOpen,
    cross_zone: Option<bool>,
}

impl GroupSettings {
    pub(crate) fn new(group: &TargetGroup) -> Self {
        let seconds = |key| group.attribute(key).parse::<u64>().unwrap_or(0);
        let on = |key| group.attribute(key) == "true";
        let stickiness =
            on("stickiness.enabled").then(|| match group.attribute("stickiness.type") {
                "app_cookie" => Stickiness::Application(
                    group.attribute("stickiness.app_cookie.cookie_name").to_owned(),
                    seconds("stickiness.app_cookie.duration_seconds"),
                ),
                "source_ip" => Stickiness::SourceIp,
                _ => Stickiness::Duration(seconds("stickiness.lb_cookie.duration_seconds")),
            });
        let slow_start = seconds("slow_start.duration_seconds");
        let least = "target_group_health.unhealthy_state_routing.minimum_healthy_targets";
        Self {
            path: group.path().into(),
            protocol: group.protocol,
            version: group.protocol_version.unwrap_or(ProtocolVersion::Http1),
            stickiness,
            proxy_protocol: on("proxy_protocol_v2.enabled"),
            cut_when_gone: group.protocol.is_http()
                || on("deregistration_delay.connection_termination.enabled"),
            cut_when_ill: on("target_health_state.unhealthy.connection_termination.enabled"),
            algorithm: Algorithm::parse(group.attribute("load_balancing.algorithm.type")),
            slow_start: (slow_start > 0).then(|| Duration::from_secs(slow_start)),
            fail_open: FailOpen::parse(
                group.attribute(&format!("{least}.count")),
                group.attribute(&format!("{least}.percentage")),
            ),
            cross_zone: group.attribute("load_balancing.cross_zone.enabled").parse().ok(),
        }
    }
}

/// A group as it is in effect.
pub(crate) struct Group {
    pub(crate) settings: Arc<GroupSettings>,
    pub(crate) meter: Arc<GroupMeter>,
    /// Those that take requests.
    eligible: Vec<Arc<TargetState>>,
    warming: Option<Duration>,
}

impl Group {
    /// Of the registered targets those that take requests: the healthy ones, or all if too few are.
    /// `zone` is this balancer's own, if it has one.
    pub(crate) fn new<'a>(
        settings: &Arc<GroupSettings>,
        meter: &Arc<GroupMeter>,
        targets: impl Iterator<Item = (&'a Arc<TargetState>, HealthState)>,
        zone: Option<&str>,
    ) -> Self {
        let zone = zone.filter(|_| settings.cross_zone == Some(false));
        let registered: Vec<(&Arc<TargetState>, HealthState)> = targets
            .filter(|(target, _)| !target.is_draining())
            .filter(|(target, _)| zone.is_none() || target.zone.as_deref() == zone)
            .collect();
        let well = |health| matches!(health, HealthState::Healthy | HealthState::Unavailable);
        let healthy = registered.iter().filter(|(_, health)| well(*health)).count();
        let all = settings.fail_open.applies(healthy, registered.len());
        let eligible: Vec<Arc<TargetState>> = registered
            .into_iter()
            .filter(|(_, health)| all || well(*health))
            .map(|(target, _)| Arc::clone(target))
            .collect();
        let warming = settings.slow_start.filter(|_| !all);
        Self { settings: Arc::clone(settings), meter: Arc::clone(meter), eligible, warming }
    }

    /// The target that a cookie names, if it takes requests.
    pub(crate) fn marked(&self, mark: &[u8; 16]) -> Option<Lease> {
        self.eligible.iter().find(|target| target.mark == *mark).and_then(Lease::take)
    }

    /// A target for a request; not one of `tried`, if there is another.
    pub(crate) fn pick(&self, cell: &GroupCell, tried: &[u64]) -> Option<Lease> {
        for _ in 0..=self.eligible.len().min(16) {
            let turn = cell.turn.fetch_add(1, Ordering::Relaxed);
            let index = pick(
                self.settings.algorithm,
                &self.eligible,
                turn,
                fastrand::u64(..),
                self.warming,
            )?;
            let target = self.eligible.get(index)?;
            if !tried.contains(&target.serial)
                && let Some(lease) = Lease::take(target)
            {
                return Some(lease);
            }
        }
        let fresh = self.eligible.iter().filter(|target| !tried.contains(&target.serial));
        fresh.chain(&self.eligible).find_map(Lease::take)
    }

    /// The target for a flow: the same for the same client as long as the group stays the same.
    pub(crate) fn pick_flow(&self, client: IpAddr, port: u16) -> Option<Lease> {
        // Rendezvous hashing: a target that comes or goes moves its own flows alone.
        let hasher = flow_hasher();
        let port = if self.settings.stickiness.is_some() { 0 } else { port };
        let weight = |target: &Arc<TargetState>| hasher.hash_one((client, port, target.serial));
        let mut order: Vec<&Arc<TargetState>> = self.eligible.iter().collect();
        order.sort_unstable_by_key(|target| std::cmp::Reverse(weight(target)));
        order.into_iter().find_map(Lease::take)
    }
}

fn flow_hasher() -> &'static RandomState {
    static HASHER: std::sync::OnceLock<RandomState> = std::sync::OnceLock::new();
    HASHER.get_or_init(RandomState::new)
}

/// Where a group is found, whatever becomes of it.
pub(crate) struct GroupCell {
    /// What cookies call it.
    pub(crate) mark: [u8; 16],
    turn: AtomicUsize,
    current: ArcSwapOption<Group>,
}

impl GroupCell {
    pub(crate) fn new(mark: [u8; 16]) -> Arc<Self> {
        Arc::new(Self { mark, turn: AtomicUsize::new(0), current: ArcSwapOption::empty() })
    }

    pub(crate) fn load(&self) -> Option<Arc<Group>> {
        self.current.load_full()
    }

    pub(crate) fn store(&self, group: Option<Arc<Group>>) {
        self.current.store(group);
    }
}
