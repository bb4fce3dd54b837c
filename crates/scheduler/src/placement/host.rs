//! One host while a placement is being decided: what is free, and why it is out if it is.

use super::{HostReport, PlacementRequest, Verdict};
use std::collections::BTreeSet;
use std::sync::Arc;
use wharf_model::{ContainerInstance, HostPort, InstanceUsage, ResourceAmount};

/// A candidate with its free resources, kept up to date while tasks are placed on it.
#[derive(Debug)]
pub(super) struct Host {
    /// The instance.
    pub(super) instance: Arc<ContainerInstance>,
    /// Why it can't take a task (any more).
    pub(super) refused: Option<Verdict>,
    /// CPU units not reserved.
    pub(super) free_cpu: i64,
    /// MiB not reserved.
    pub(super) free_memory: i64,
    /// Tasks of the request's group on it.
    pub(super) group_tasks: u32,
    free_interfaces: u32,
    free_gpus: u32,
    /// GiB not promised; none for a host that doesn't say what it has.
    free_storage: Option<u32>,
    taken_ports: BTreeSet<HostPort>,
    chosen: u32,
}

impl Host {
    /// A host with what its registration and its tasks leave free.
    pub(super) fn new(
        instance: &Arc<ContainerInstance>,
        usage: &InstanceUsage,
        group: &str,
    ) -> Self {
        let (has, used) = (&instance.registered, &usage.used);
        let taken_ports = has.ports.union(&used.ports).copied().collect();
        Self {
            instance: Arc::clone(instance),
            refused: None,
            free_cpu: has.cpu - used.cpu,
            free_memory: has.memory_mib - used.memory_mib,
            group_tasks: usage.tasks_by_group.get(group).copied().unwrap_or(0),
            free_interfaces: has.network_interfaces.saturating_sub(used.network_interfaces),
            free_gpus: has.gpus.saturating_sub(used.gpus),
            free_storage: has
                .storage_gib
                .map(|gib| gib.saturating_sub(used.storage_gib.unwrap_or(0))),
            taken_ports,
            chosen: 0,
        }
    }

    /// The first resource that `wanted` finds too little of.
    pub(super) fn exhausted(&self, wanted: &ResourceAmount) -> Option<Verdict> {
        if wanted.gpus > self.free_gpus {
            return Some(Verdict::Gpus { wanted: wanted.gpus, free: self.free_gpus });
        }
        if wanted.cpu > 0 && wanted.cpu > self.free_cpu {
            return Some(Verdict::Cpu { wanted: wanted.cpu, free: self.free_cpu });
        }
        if wanted.memory_mib > 0 && wanted.memory_mib > self.free_memory {
            return Some(Verdict::Memory { wanted: wanted.memory_mib, free: self.free_memory });
        }
        if let Some((wanted, free)) = wanted.storage_gib.zip(self.free_storage)
            && wanted > free
        {
            return Some(Verdict::Storage { wanted, free });
        }
        if wanted.network_interfaces > self.free_interfaces {
            return Some(Verdict::NetworkInterfaces);
        }
        let mut ports = wanted.ports.iter();
        let taken = ports.find(|p| self.taken_ports.contains(p));
        taken.map(|port| Verdict::Port { port: *port })
    }

    /// Takes `amount` off what is free.
    pub(super) fn reserve(&mut self, amount: &ResourceAmount) {
        self.free_cpu -= amount.cpu;
        self.free_memory -= amount.memory_mib;
        self.free_interfaces = self.free_interfaces.saturating_sub(amount.network_interfaces);
        self.free_gpus = self.free_gpus.saturating_sub(amount.gpus);
        let storage = amount.storage_gib.unwrap_or(0);
        self.free_storage = self.free_storage.map(|free| free.saturating_sub(storage));
        self.taken_ports.extend(amount.ports.iter().copied());
    }

    /// Sets `refused` if the host can't take one more of the request's tasks.
    pub(super) fn refuse_if_full(&mut self, request: &PlacementRequest<'_>) {
        if request.constraints.distinct_instance && self.group_tasks > 0 {
            self.refused = Some(Verdict::DistinctInstance);
        } else {
            self.refused = self.exhausted(request.resources);
        }
    }

    /// Takes one of the request's tasks.
    pub(super) fn take(&mut self, request: &PlacementRequest<'_>) {
        self.reserve(request.resources);
        self.group_tasks += 1;
        self.chosen += 1;
        self.refuse_if_full(request);
    }

    /// What the report says of it. If tasks were `left` over, a host that took some says what kept
    /// it from taking more.
    pub(super) fn report(&self, scores: Vec<i64>, left: bool) -> HostReport {
        let verdict = match &self.refused {
            Some(verdict) if left || self.chosen == 0 => verdict.clone(),
            _ if self.chosen > 0 => Verdict::Chosen { tasks: self.chosen },
            _ => Verdict::Fits,
        };
        HostReport { instance: Arc::clone(&self.instance), verdict, scores }
    }
}
