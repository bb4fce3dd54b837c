//! A deterministic simulation: agents and a balancer with faults, operators with ideas, virtual
//! time. While faults last, no step of the scheduler breaks the deployment's limits, and no agent is
//! told to stop a task that still drains; once they stop, the service reaches what was asked for.
//! One u64 seed is the whole run.

use super::target_tests;
use super::tests::Case;
use crate::fixture;
use crate::task;
use proptest::prelude::*;
use std::collections::BTreeSet;
use wharf_model::container_instance::InstanceStatus;
use wharf_model::load_balancing::{HealthState, TargetHealth, TargetKey};
use wharf_model::service::RolloutState;
use wharf_model::status::HealthStatus;
use wharf_model::{ContainerInstanceKey, IdSource, Service, Task, TaskStatus};

const HOSTS: usize = 5;

/// What may go wrong at each tick, in per cent.
#[derive(Debug, Clone, Copy)]
struct Faults {
    crash: usize,
    fails_to_start: usize,
    slow: usize,
    host_lost: usize,
    disconnected: usize,
    operator: usize,
}

const FAULTS: Faults =
    Faults { crash: 8, fails_to_start: 20, slow: 40, host_lost: 3, disconnected: 10, operator: 10 };
const NONE: Faults =
    Faults { crash: 0, fails_to_start: 0, slow: 0, host_lost: 0, disconnected: 0, operator: 0 };

struct Simulation {
    case: Case,
    random: IdSource,
    connected: BTreeSet<ContainerInstanceKey>,
    deployments: usize,
    /// Tasks are targets of a load balancer.
    balanced: bool,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        // Every other one is behind a load balancer.
        let balanced = seed % 2 == 1;
        let case = if balanced { target_tests::case(HOSTS, 4) } else { Case::new(HOSTS, 4) };
        let connected = (0..HOSTS).map(|n| fixture::host(n, 1, 1).key()).collect();
        Self { case, random: IdSource::new(seed), connected, deployments: 0, balanced }
    }

    fn chance(&mut self, per_cent: usize) -> bool {
        self.random.below(100) < per_cent
    }

    fn tick(&mut self, faults: Faults) {
        let seconds = 1 + self.random.below(15) as u64;
        self.case.pass(seconds);
        self.hosts(faults);
        if self.chance(faults.operator) {
            self.operator();
        }
        self.agents(faults);
        self.balancer(faults);
        for _ in 0..6 {
            self.step();
        }
    }

    /// One step of the scheduler, held against the limits.
    fn step(&mut self) {
        let before = self.counts();
        let connected = self.connected.clone();
        let plan = self.case.step(&connected);
        if plan.transaction.is_empty() {
            self.check_targets();
        }
        let (after, service) = (self.counts(), self.case.service());
        let of = |per_cent: i32| usize::try_from(service.desired_count * per_cent).unwrap();
        let maximum = of(service.deployment_configuration.maximum_percent) / 100;
        let minimum = of(service.deployment_configuration.minimum_healthy_percent).div_ceil(100);
        assert!(after.live <= before.live || after.live <= maximum, "{before:?} {after:?}");
        assert!(
            after.healthy >= before.healthy || after.healthy >= minimum,
            "{before:?} {after:?}"
        );
    }

    /// What holds of targets after every step.
    fn check_targets(&self) {
        let snapshot = &self.case.world.snapshot;
        for task in self.case.tasks() {
            let registered = |key: &TargetKey| {
                snapshot.target(key).is_some_and(|target| target.deregistered_at.is_none())
            };
            if task.told_status().is_stopped() && !task.last_status.is_stopped() {
                assert!(task.targets.is_empty(), "stopped while it drains: {task:?}");
            }
            if self.balanced && task.is_wanted() && task.last_status == TaskStatus::Running {
                let all = !task.targets.is_empty() && task.targets.iter().all(registered);
                assert!(all, "RUNNING and not registered: {task:?}");
            }
        }
    }

    fn counts(&self) -> Counts {
        let tasks = self.case.tasks();
        let live = tasks.iter().filter(|t| !t.last_status.is_stopped());
        let healthy = live.clone().filter(|t| {
            let running = t.is_wanted() && t.last_status == TaskStatus::Running;
            running && matches!(self.health(t), None | Some(HealthStatus::Healthy))
        });
        Counts { live: live.clone().count(), healthy: healthy.count() }
    }

    fn health(&self, task: &Task) -> Option<HealthStatus> {
        let definition = self.case.world.snapshot.task_definition(&task.task_definition);
        let of_containers = task::health(task, definition.map(|definition| &**definition));
        let of_target = |key: &TargetKey| match self.case.target_health.get(key).map(|h| h.state) {
            Some(HealthState::Healthy) => HealthStatus::Healthy,
            Some(HealthState::Unhealthy) => HealthStatus::Unhealthy,
            _ => HealthStatus::Unknown,
        };
        task::worst(of_containers.into_iter().chain(task.targets.iter().map(of_target)))
    }

    /// New targets turn out to be one or the other; healthy ones may fall ill; some drain.
    fn balancer(&mut self, faults: Faults) {
        let targets: Vec<_> = self.case.world.snapshot.all_targets().cloned().collect();
        let live: BTreeSet<TargetKey> = targets.iter().map(|t| t.key.clone()).collect();
        self.case.target_health.retain(|key, _| live.contains(key));
        for target in targets.iter().filter(|t| t.deregistered_at.is_none()) {
            if self.chance(faults.slow) {
                continue;
            }
            let known = self.case.target_health.get(&target.key).map(|h| h.state);
            let falls_ill = match known {
                None => self.chance(faults.fails_to_start),
                Some(HealthState::Healthy) => self.chance(faults.crash),
                Some(_) => true,
            };
            let state = if falls_ill { HealthState::Unhealthy } else { HealthState::Healthy };
            let health = TargetHealth { state, reason: None, description: None };
            self.case.target_health.insert(target.key.clone(), health);
        }
        if !self.chance(faults.slow) {
            target_tests::drained(&mut self.case);
        }
    }

    fn hosts(&mut self, faults: Faults) {
        for n in 0..HOSTS {
            let key = fixture::host(n, 1, 1).key();
            if self.chance(faults.disconnected) {
                self.connected.remove(&key);
            } else {
                self.connected.insert(key.clone());
            }
            if self.chance(faults.host_lost) {
                let world = &mut self.case.world;
                let transaction = task::instance_lost(&world.snapshot, &key, world.now);
                world.commit(&transaction);
            }
        }
    }

    fn operator(&mut self) {
        let key = self.case.key.clone();
        let n = self.random.below(6);
        let host = self.random.below(HOSTS);
        let limits = [(200, 100), (150, 50), (100, 50), (200, 0), (125, 80)];
        let (maximum, minimum) = limits[self.random.below(limits.len())];
        match n {
            0 | 1 => {
                let count = i32::try_from(self.random.below(9)).unwrap();
                self.case.world.change(&key, |s| s.desired_count = count);
            }
            2 => self.case.world.change(&key, |s| {
                s.deployment_configuration.maximum_percent = maximum;
                s.deployment_configuration.minimum_healthy_percent = minimum;
            }),
            3 => {
                let mut host = fixture::host(host, 1024, 1024);
                let now = self.case.world.snapshot.container_instance(&host.key()).unwrap();
                host.status = match now.status {
                    InstanceStatus::Active => InstanceStatus::Draining,
                    _ => InstanceStatus::Active,
                };
                self.case.world.put(host);
            }
            _ => {
                self.deployments += 1;
                let family = format!("v{}", self.deployments);
                // Half of them are checked.
                match self.random.below(2) {
                    0 => self.case.deploy(&family),
                    _ => self.case.deploy_this(fixture::checked(&family)),
                };
            }
        }
    }

    fn agents(&mut self, faults: Faults) {
        for task in self.case.tasks().into_iter().filter(|t| !t.last_status.is_stopped()) {
            let host = task.container_instance_key().unwrap();
            if !self.connected.contains(&host) || self.chance(faults.slow) {
                continue;
            }
            let running = task.last_status == TaskStatus::Running;
            let (status, exit_code) = match (!task.told_status().is_stopped(), running) {
                (false, _) => (TaskStatus::Stopped, Some(143)),
                (true, false) if self.chance(faults.fails_to_start) => (TaskStatus::Stopped, None),
                (true, false) if task.last_status == TaskStatus::Activating => continue,
                (true, false) => (TaskStatus::Running, None),
                (true, true) if self.chance(faults.crash) => (TaskStatus::Stopped, Some(1)),
                (true, true) => {
                    self.check(&task, faults);
                    continue;
                }
            };
            self.report(&task, status, exit_code);
        }
    }

    /// A task that is checked turns out to be one or the other; a healthy one may fall ill.
    fn check(&mut self, task: &Task, faults: Faults) {
        let verdict = match self.health(task) {
            Some(HealthStatus::Unknown) if self.chance(faults.fails_to_start) => {
                HealthStatus::Unhealthy
            }
            Some(HealthStatus::Unknown) => HealthStatus::Healthy,
            Some(HealthStatus::Healthy) if self.chance(faults.crash) => HealthStatus::Unhealthy,
            _ => return,
        };
        self.case.tell(task, verdict);
    }

    fn report(&mut self, task: &Task, status: TaskStatus, exit_code: Option<i32>) {
        target_tests::report(&mut self.case, task, status, exit_code);
    }

    /// All hosts come back, the limits leave room to move: what is wanted must come about.
    fn heal(&mut self) {
        (0..HOSTS).for_each(|n| self.case.world.put(fixture::host(n, 1024, 1024)));
        let key = self.case.key.clone();
        self.case.world.change(&key, |s: &mut Service| {
            s.deployment_configuration.maximum_percent = 200;
            s.deployment_configuration.minimum_healthy_percent = 100;
        });
        // A throttled deployment waits up to 15 minutes: ticks are 8 s on the average.
        for _ in 0..400 {
            self.tick(NONE);
            let deployments = self.case.service().deployments;
            if matches!(&deployments[..], [d] if d.rollout_state == RolloutState::Completed)
                && !self.moves()
            {
                return;
            }
        }
    }

    /// True if there is anything to do, or to wait for: a throttled service does nothing for long.
    fn moves(&mut self) -> bool {
        let desired = usize::try_from(self.case.service().desired_count).unwrap();
        self.counts().live != desired
            || !self.case.step(&crate::AllConnected).transaction.is_empty()
            || self.case.tasks().iter().any(|t| !t.last_status.is_stopped() && !t.is_wanted())
            || self.case.tasks().iter().any(|t| t.last_status.is_starting())
            || self.case.tasks().iter().any(|t| {
                let ill = !matches!(self.health(t), None | Some(HealthStatus::Healthy));
                !t.last_status.is_stopped() && ill
            })
    }

    fn check_steady(&self) {
        let service = self.case.service();
        assert_eq!(service.deployments.len(), 1, "{:?}", service.deployments);
        assert_eq!(service.deployments[0].rollout_state, RolloutState::Completed);
        let tasks = self.case.tasks();
        let live: Vec<_> = tasks.iter().filter(|t| !t.last_status.is_stopped()).collect();
        assert_eq!(live.len(), usize::try_from(service.desired_count).unwrap());
        let right = |t: &&Task| {
            t.last_status == TaskStatus::Running
                && t.task_definition == service.task_definition
                && t.is_wanted()
        };
        assert!(live.iter().all(right));
        assert!(live.iter().all(|t| !matches!(self.health(t), Some(HealthStatus::Unhealthy))));
        self.check_targets();
        let tasks = live.iter().filter(|_| self.balanced).count();
        let targets = self.case.world.snapshot.all_targets();
        assert_eq!(targets.filter(|t| t.deregistered_at.is_none()).count(), tasks);
    }
}

#[derive(Debug, Clone, Copy)]
struct Counts {
    live: usize,
    healthy: usize,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn limits_hold_under_faults_and_the_service_recovers(seed in any::<u64>()) {
        let mut simulation = Simulation::new(seed);
        for _ in 0..60 {
            simulation.tick(FAULTS);
        }
        simulation.heal();
        simulation.check_steady();
    }
}
