//! Joins the layers: gives the gateway what it asks of control, history and keys.

use async_trait::async_trait;
use std::sync::Arc;
use wharf_control::{Balancers, SERVICE_EVENT, Sessions};
use wharf_gateway::agent_sessions::{AgentSessions, AgentStream, SessionRequest};
use wharf_gateway::app::HistoryWriter;
use wharf_gateway::context::{HistoryEntry, HistoryReader, RecentEntry, ServiceEvent, SoftState};
use wharf_journal::{Event, History};
use wharf_model::load_balancing::{ListenerStatus, TargetHealth, TargetKey};
use wharf_model::{ArnScope, ContainerInstanceKey, ServiceKey, Timestamp};
use wharf_scheduler::{Connectivity, TargetHealthSource as _};

/// Control's sessions as the gateway sees them.
pub struct ControlSessions {
    /// With agents.
    pub agents: Arc<Sessions>,
    /// With balancers.
    pub balancers: Arc<Balancers>,
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
