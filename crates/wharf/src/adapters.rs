//! Joins the layers: gives the gateway what it asks of control, history and keys.

use async_trait::async_trait;
use std::net::Ipv4Addr;
use std::sync::Arc;
use wharf_control::{Balancers, Metered, SERVICE_EVENT, Sessions};
use wharf_gateway::agent_sessions::{AgentSessions, AgentStream, SessionRequest};
use wharf_gateway::app::HistoryWriter;
use wharf_gateway::context::{
    Counted, HistoryEntry, HistoryReader, RecentEntry, ServiceEvent, SoftState,
};
use wharf_journal::{Event, History};
use wharf_model::load_balancing::{ListenerStatus, TargetHealth, TargetKey};
use wharf_model::network::Ipv4Range;
use wharf_model::{ArnScope, ContainerInstanceKey, ServiceKey, Timestamp};
use wharf_scheduler::{Connectivity, TargetHealthSource as _};

/// Control's sessions as the gateway sees them.
pub struct ControlSessions {
    /// With agents.
    pub agents: Arc<Sessions>,
    /// With balancers.
    pub balancers: Arc<Balancers>,
    /// The name that this wharf's own bridges carry.
    pub instance: String,
}

impl Connectivity for ControlSessions {
    fn agent_connected(&self, instance: &ContainerInstanceKey) -> bool {
        self.agents.agent_connected(instance)
    }
}

impl SoftState for ControlSessions {
    fn instance_health(
        &self,
        instance: &ContainerInstanceKey,
    ) -> Option<(String, Timestamp, Timestamp)> {
        let health = self.agents.instance_health(instance)?;
        Some((health.status, health.last_updated, health.last_changed))
    }

    fn listener_status(&self, path: &str) -> Option<ListenerStatus> {
        self.balancers.listener(path)
    }

    fn target_health(&self, target: &TargetKey) -> Option<TargetHealth> {
        self.balancers.target_health(target)
    }

    fn meters(&self) -> Vec<Counted> {
        let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0);
        let counted = |(key, known): (_, Metered)| {
            let minute = known.last_minute(now).map(|minute| minute.counted.clone());
            Counted { key, total: known.total, minute: minute.unwrap_or_default() }
        };
        self.balancers.meters().into_iter().map(counted).collect()
    }

    fn routed(&self) -> Vec<Ipv4Range> {
        // A host that doesn't tell its routes refuses an overlap when a task starts.
        let table = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
        routes(&table, &[format!("wb-{}", self.instance), format!("wv-{}", self.instance)])
    }
}

#[async_trait]
impl AgentSessions for ControlSessions {
    async fn accept_acs(&self, stream: AgentStream, request: SessionRequest) {
        self.agents.serve_acs(stream, request.container_instance).await;
    }

    async fn accept_tcs(&self, stream: AgentStream, request: SessionRequest) {
        self.agents.serve_tcs(stream, request.container_instance).await;
    }

    async fn accept_balancer(&self, stream: AgentStream) {
        self.balancers.serve(stream).await;
    }
}

/// The blocks of a route table in the kernel's form that lead to other interfaces than `own`; the
/// default route is none.
fn routes(table: &str, own: &[String]) -> Vec<Ipv4Range> {
    let route = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let interface = *columns.first()?;
        let hex = |n: usize| u32::from_str_radix(columns.get(n)?, 16).ok().map(u32::from_be);
        let (network, mask) = (Ipv4Addr::from(hex(1)?), hex(7)?);
        let prefix = u8::try_from(mask.leading_ones()).ok()?;
        let is_other = prefix > 0 && !own.iter().any(|name| name == interface);
        is_other.then_some(Ipv4Range { network, prefix })
    };
    table.lines().skip(1).filter_map(route).collect()
}

/// The history as the gateway reads and writes it.
pub struct GatewayHistory {
    /// The store.
    pub history: Arc<History>,
    /// Region and account of the subjects' ARNs.
    pub arns: ArnScope,
}

impl HistoryReader for GatewayHistory {
    fn service_events(&self, service: &ServiceKey, limit: usize) -> Vec<ServiceEvent> {
        let text = |payload: &serde_json::Value, name: &str| {
            payload.get(name).and_then(|v| v.as_str()).unwrap_or_default().to_owned()
        };
        let recent = self.history.recent(&self.arns.service(service), limit);
        let events = recent.iter().filter(|e| e.kind == SERVICE_EVENT);
        events
            .map(|e| {
                let payload = e.payload();
                ServiceEvent {
                    id: text(&payload, "id"),
                    created_at: Timestamp(e.at_ms),
                    message: text(&payload, "message"),
                }
            })
            .collect()
    }

    fn recent(&self, subject: &str, limit: usize) -> Vec<RecentEntry> {
        let entry = |e: Event| RecentEntry {
            at: Timestamp(e.at_ms),
            body: e.payload(),
            subject: e.subject,
            kind: e.kind,
        };
        self.history.recent(subject, limit).into_iter().map(entry).collect()
    }

    fn subjects(&self, prefix: &str) -> Vec<String> {
        self.history.subjects(prefix)
    }
}

impl HistoryWriter for GatewayHistory {
    fn append(&self, at: Timestamp, entry: HistoryEntry) {
        let HistoryEntry { subject, kind, body } = entry;
        self.history.record([Event::new(at.as_millis(), subject, kind, &body)]);
    }
}

#[cfg(test)]
mod route_tests {
    use super::routes;

    #[cfg(target_endian = "little")]
    #[test]
    fn other_interfaces_routes_are_read() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                     eth0\t00000000\t0102000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                     eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                     wv-1\t0000710A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        let blocks = routes(table, &["wb-1".to_owned(), "wv-1".to_owned()]);
        let blocks: Vec<String> = blocks.iter().map(ToString::to_string).collect();
        assert_eq!(blocks, ["10.0.2.0/24"]);
    }
}
