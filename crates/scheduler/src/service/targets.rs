//! Tasks as targets of load balancers: registered while ACTIVATING, deregistered when they are told
//! to stop or have ended, told to stop for good once they have drained.
//!
//! A task that runs has its targets, and a task that is to stop keeps running while one of them
//! still drains. Both are levels: what somebody else deregistered is registered again, and a step
//! that was lost is made by the next one.

use super::reconcile::Step;
use crate::task;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use wharf_model::load_balancing::{
    HealthReason, HealthState, Protocol, Target, TargetGroup, TargetKey, TargetType,
};
use wharf_model::resources::TransportProtocol;
use wharf_model::service::{ServiceLoadBalancer, load_balancers_of};
use wharf_model::status::HealthStatus;
use wharf_model::{ContainerInstance, NetworkMode, RecordKey, Task, TaskStatus};

/// A step that has written this many records leaves the rest to the next one: a task has up to five
/// targets, and a transaction at most a hundred records.
const ENOUGH: usize = 80;
/// How soon it is looked again for a balancer's first report.
const RETRY_REPORTS: Duration = Duration::from_millis(200);
/// The instance attribute that holds its zone.
const AVAILABILITY_ZONE: &str = "ecs.availability-zone";

/// What happened to targets, by target group.
type Moved = BTreeMap<String, usize>;

impl Step<'_> {
    /// Registers and deregisters what has to be; true if anything was.
    pub(super) fn move_targets(&mut self) -> bool {
        let deregistered = self.deregister();
        let registered = self.register();
        deregistered || registered
    }

    /// True if nothing can be judged yet, since the balancers haven't reported to this server.
    pub(super) fn waits_for_reports(&mut self) -> bool {
        let waits = self.target_health.is_settling()
            && self.live.iter().any(|task| !task.targets.is_empty());
        if waits {
            self.wake(self.now.plus(RETRY_REPORTS));
        }
        waits
    }

    /// What the load balancers say of a task that is registered with them: the worst of it.
    pub(super) fn health_of_targets(&self, task: &Task) -> Option<HealthStatus> {
        task::worst(task.targets.iter().map(|key| self.health_of_target(key)))
    }

    fn health_of_target(&self, key: &TargetKey) -> HealthStatus {
        let Some(health) = self.target_health.target_health(key) else {
            return HealthStatus::Unknown;
        };
        match (health.state, health.reason) {
            // Nobody checks what no listener uses.
            (HealthState::Unused, Some(HealthReason::NotInUse)) => HealthStatus::Healthy,
            (HealthState::Healthy | HealthState::Unavailable, _) => HealthStatus::Healthy,
            (HealthState::Unhealthy, _) => HealthStatus::Unhealthy,
            (HealthState::Initial | HealthState::Unused | HealthState::Draining, _) => {
                HealthStatus::Unknown
            }
        }
    }

    /// Says which targets of the task are unhealthy and why; the target group of the first.
    pub(super) fn tell_of_unhealthy_targets(&mut self, task: &Task) -> Option<String> {
        let mut first = None;
        for key in &task.targets {
            if self.health_of_target(key) != HealthStatus::Unhealthy {
                continue;
            }
            let group = self.arn_of(task, key);
            let health = self.target_health.target_health(key);
            let reason = health.and_then(|h| h.description);
            let reason = reason.unwrap_or_else(|| "Health checks failed".to_owned());
            let instance = match key.id.parse::<IpAddr>() {
                Ok(_) => String::new(),
                Err(_) => format!(" (instance {})", key.id),
            };
            self.tell(&format!(
                "(task {}){instance} (port {}) is unhealthy in (target-group {group}) due to \
                 (reason {reason})",
                task.id, key.port
            ));
            first = first.or(Some(group));
        }
        first
    }

    /// ARN of the group that a task's target is in.
    fn arn_of(&self, task: &Task, key: &TargetKey) -> String {
        let balancers = load_balancers_of(self.snapshot, task).iter();
        let mut of_group = balancers.filter(|b| b.target_group_id() == key.target_group);
        of_group.next().map_or_else(|| key.target_group.clone(), |b| b.target_group_arn.clone())
    }

    /// Registers tasks whose containers run, and what of running ones isn't registered any more.
    fn register(&mut self) -> bool {
        let mut registered = Moved::new();
        let mut changed = false;
        for task in self.live.clone() {
            let runs = matches!(task.last_status, TaskStatus::Activating | TaskStatus::Running);
            let balancers = load_balancers_of(self.snapshot, &task);
            if !runs || !task.is_wanted() || balancers.is_empty() {
                continue;
            }
            if self.transaction.writes.len() >= ENOUGH {
                break;
            }
            if let Some(targets) = self.targets_of(&task, balancers) {
                changed |= self.register_task(&task, targets, &mut registered);
            }
        }
        for (group, count) in registered {
            self.tell(&format!("registered {count} targets in (target-group {group})"));
        }
        changed
    }

    fn register_task(&mut self, task: &Task, targets: Vec<Target>, registered: &mut Moved) -> bool {
        let keys: Vec<TargetKey> = targets.iter().map(|t| t.key.clone()).collect();
        let is_there = |t: &Target| {
            self.snapshot.target(&t.key).is_some_and(|known| known.deregistered_at.is_none())
        };
        let missing: Vec<Target> = targets.into_iter().filter(|t| !is_there(t)).collect();
        if missing.is_empty() && task.targets == keys && task.last_status == TaskStatus::Running {
            return false;
        }
        for target in missing {
            *registered.entry(self.arn_of(task, &target.key)).or_default() += 1;
            self.read(RecordKey::Target(target.key.clone()));
            self.transaction.put(target);
        }
        let mut after = task.clone();
        after.targets = keys;
        after.last_status = TaskStatus::Running;
        after.started_at.get_or_insert(self.now);
        self.put_task(after);
        true
    }

    /// The task's targets in their groups; nothing while one of them can't be named yet.
    fn targets_of(
        &mut self,
        task: &Task,
        balancers: &[ServiceLoadBalancer],
    ) -> Option<Vec<Target>> {
        let mut targets = Vec::new();
        for balancer in balancers {
            let path = balancer.target_group().to_owned();
            let Some(group) = self.snapshot.target_group(&path) else {
                self.tell_once(
                    &format!("unregistrable:{path}"),
                    &format!(
                        "failed to register targets in (target-group {}) with (error One or more \
                         target groups not found)",
                        balancer.target_group_arn
                    ),
                );
                return None;
            };
            targets.push(self.target_of(task, balancer, group)?);
        }
        Some(targets)
    }

    fn target_of(
        &self,
        task: &Task,
        balancer: &ServiceLoadBalancer,
        group: &TargetGroup,
    ) -> Option<Target> {
        let instance = task.container_instance_key();
        let instance = instance.and_then(|key| self.snapshot.container_instance(&key));
        let zone = instance.and_then(|i| i.attribute_value(AVAILABILITY_ZONE)).map(str::to_owned);
        let (id, address, port) = match (&task.network_interface, group.target_type) {
            (Some(interface), _) => {
                let address = IpAddr::from(interface.private_ip);
                (address.to_string(), address, balancer.container_port)
            }
            (None, target_type) => {
                let (instance, port) = (instance?, self.host_port(task, balancer, group)?);
                let address = address_of(instance);
                let id = match target_type {
                    TargetType::Instance => instance.ec2_instance_id.clone(),
                    TargetType::Ip => address.to_string(),
                };
                (id, address, port)
            }
        };
        Some(Target {
            key: TargetKey { target_group: group.id.clone(), id, port },
            address,
            zone,
            registered_at: self.now,
            deregistered_at: None,
        })
    }

    /// The port of the host that leads to the container's.
    fn host_port(
        &self,
        task: &Task,
        balancer: &ServiceLoadBalancer,
        group: &TargetGroup,
    ) -> Option<u16> {
        let definition = self.snapshot.task_definition(&task.task_definition)?;
        if definition.effective_network_mode() == NetworkMode::Host {
            return Some(balancer.container_port);
        }
        let udp = group.protocol == Protocol::Udp;
        let container = task.container(&balancer.container_name)?;
        let mut bindings = container.network_bindings.iter();
        let binding = bindings.find(|b| {
            b.container_port == balancer.container_port
                && (b.protocol == TransportProtocol::Udp) == udp
        })?;
        Some(binding.host_port)
    }

    /// Deregisters what is told to stop or has ended, and lets go of what has drained.
    fn deregister(&mut self) -> bool {
        let key = self.service.key();
        let leaving = |t: &&Arc<Task>| !t.targets.is_empty() && !t.is_wanted();
        let tasks: Vec<Arc<Task>> =
            self.snapshot.service_tasks(&key).filter(leaving).cloned().collect();
        if tasks.is_empty() {
            return false;
        }
        // An address or a port that was given back may be another task's by now.
        let taken: BTreeSet<TargetKey> = self
            .live
            .iter()
            .filter(|t| t.is_wanted())
            .flat_map(|t| t.targets.iter().cloned())
            .collect();
        let (mut deregistered, mut drains) = (Moved::new(), 0);
        let mut changed = false;
        for task in tasks {
            if self.transaction.writes.len() >= ENOUGH {
                break;
            }
            let (begun, left) = self.deregister_task(&task, &taken, &mut deregistered);
            drains += usize::from(begun && task.last_status == TaskStatus::Deactivating);
            let lets_go = left == 0 || task.last_status.is_stopped();
            if lets_go {
                let mut after = Task::clone(&task);
                after.targets.clear();
                if after.last_status == TaskStatus::Deactivating {
                    after.last_status = TaskStatus::Stopping;
                }
                self.put_task(after);
            }
            changed |= begun || lets_go;
        }
        if drains > 0 {
            self.tell(&format!("has begun draining connections on {drains} tasks."));
        }
        for (group, count) in deregistered {
            self.tell(&format!("deregistered {count} targets in (target-group {group})"));
        }
        changed
    }

    /// Whether anything was deregistered, and how many targets aren't through yet.
    fn deregister_task(
        &mut self,
        task: &Task,
        taken: &BTreeSet<TargetKey>,
        deregistered: &mut Moved,
    ) -> (bool, usize) {
        let (mut begun, mut left) = (false, 0);
        for key in task.targets.iter().filter(|key| !taken.contains(key)) {
            let Some(target) = self.snapshot.target(key) else { continue };
            let since = target.deregistered_at.unwrap_or(self.now);
            if target.deregistered_at.is_none() {
                begun = true;
                *deregistered.entry(self.arn_of(task, key)).or_default() += 1;
                self.read(RecordKey::Target(key.clone()));
                self.transaction
                    .put(Target { deregistered_at: Some(since), ..Target::clone(target) });
            }
            let ends = since.plus(self.deregistration_delay(task, key));
            if ends > self.now {
                left += 1;
                self.wake(ends);
            }
        }
        (begun, left)
    }

    fn deregistration_delay(&self, task: &Task, key: &TargetKey) -> Duration {
        let balancers = load_balancers_of(self.snapshot, task).iter();
        let mut of_group = balancers.filter(|b| b.target_group_id() == key.target_group);
        let group =
            of_group.next().and_then(|b| self.snapshot.target_group(&b.target_group().to_owned()));
        group.map_or(Duration::ZERO, |group| group.deregistration_delay())
    }

    /// Puts a task on the condition that it hasn't changed.
    fn put_task(&mut self, mut task: Task) {
        self.read(RecordKey::Task(task.key()));
        task.version += 1;
        self.transaction.put(task);
    }

    fn read(&mut self, key: RecordKey) {
        let revision = self.snapshot.revision_of(&key);
        self.transaction.read(key, revision);
    }
}

/// Where a host's published ports are reached.
fn address_of(instance: &ContainerInstance) -> IpAddr {
    let known = instance.private_ip.as_deref().and_then(|text| text.parse().ok());
    known.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}
