//! Amounts of CPU, memory, ports, interfaces and storage.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The name of the resource that says how many GiB of ephemeral storage a host has: wharf's own.
pub const STORAGE: &str = "EPHEMERAL_STORAGE";

/// Transport protocol of a port (ECS API `TransportProtocol`).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum TransportProtocol {
    /// TCP, the default.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl TransportProtocol {
    /// The API's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A port on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HostPort {
    /// TCP or UDP.
    pub protocol: TransportProtocol,
    /// 1–65535.
    pub port: u16,
}

/// What a task takes from, or an instance gives to, placement.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ResourceAmount {
    /// CPU units: 1024 are one vCPU.
    #[serde(default)]
    pub cpu: i64,
    /// MiB.
    #[serde(default)]
    pub memory_mib: i64,
    /// For a task: fixed host ports that it takes. For an instance: ports that are reserved.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub ports: BTreeSet<HostPort>,
    /// Network interfaces (awsvpc).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub network_interfaces: u32,
    /// GPUs.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gpus: u32,
    /// GiB of ephemeral storage: what a task definition or an override says, and what the host's file
    /// system holds. None if it isn't said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_gib: Option<u32>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde passes a reference
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// What isn't said is nothing, and stays unsaid.
fn sum(one: Option<u32>, other: Option<u32>, with: fn(u32, u32) -> u32) -> Option<u32> {
    match (one, other) {
        (one, None) => one,
        (one, Some(other)) => Some(with(one.unwrap_or(0), other)),
    }
}

impl ResourceAmount {
    /// Adds `other`; ports are united.
    pub fn add(&mut self, other: &Self) {
        self.cpu += other.cpu;
        self.memory_mib += other.memory_mib;
        self.network_interfaces += other.network_interfaces;
        self.gpus += other.gpus;
        self.storage_gib = sum(self.storage_gib, other.storage_gib, u32::saturating_add);
        self.ports.extend(other.ports.iter().copied());
    }

    /// Takes `other` off again; ports are removed.
    pub fn subtract(&mut self, other: &Self) {
        self.cpu -= other.cpu;
        self.memory_mib -= other.memory_mib;
        self.network_interfaces = self.network_interfaces.saturating_sub(other.network_interfaces);
        self.gpus = self.gpus.saturating_sub(other.gpus);
        self.storage_gib = sum(self.storage_gib, other.storage_gib, u32::saturating_sub);
        for port in &other.ports {
            self.ports.remove(port);
        }
    }
}
