//! What placement says about its decision: for every host, why it was or wasn't chosen.

use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use wharf_model::{ContainerInstance, ContainerInstanceKey, HostPort};

/// `reason` of a `Failure` in the answers of RunTask and StartTask, as ECS's developer guide lists
/// them ("API failure reasons").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureReason {
    /// Not enough memory.
    Memory,
    /// Not enough CPU units.
    Cpu,
    /// A host port that the task wants is taken.
    Ports,
    /// No network interface is free.
    NetworkInterfaces,
    /// No GPU is free.
    Gpu,
    /// Too little ephemeral storage is left: wharf's own, ECS's hosts have none to count.
    Storage,
    /// The instance's agent isn't connected.
    Agent,
    /// The instance lacks an attribute that the task definition requires.
    Attribute,
    /// A memberOf constraint doesn't hold.
    MemberOf,
    /// A distinctInstance constraint doesn't hold.
    DistinctInstance,
    /// The subnets have no free address.
    Addresses,
    /// The instance takes no tasks: DRAINING (StartTask).
    Draining,
    /// The instance was deregistered (StartTask).
    Inactive,
    /// There is no such instance (StartTask).
    Missing,
    /// The cluster has no ACTIVE instance.
    NoInstances,
}

impl FailureReason {
    /// ECS's text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "RESOURCE:MEMORY",
            Self::Cpu => "RESOURCE:CPU",
            Self::Ports => "RESOURCE:PORTS",
            Self::NetworkInterfaces => "RESOURCE:ENI",
            Self::Gpu => "RESOURCE:GPU",
            Self::Storage => "RESOURCE:EPHEMERAL_STORAGE",
            Self::Agent => "AGENT",
            Self::Attribute => "ATTRIBUTE",
            Self::MemberOf => "MemberOf placement constraint unsatisfied.",
            Self::DistinctInstance => "DistinctInstance placement constraint unsatisfied.",
            Self::Addresses => "RESOURCE:IP",
            Self::Draining => "DRAINING",
            Self::Inactive => "INACTIVE",
            Self::Missing => "MISSING",
            Self::NoInstances => "No Container Instances were found in your cluster.",
        }
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One entry of `failures`: why an instance couldn't take (all of) the tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The instance; none if the cluster has none.
    pub instance: Option<ContainerInstanceKey>,
    /// ECS's reason.
    pub reason: FailureReason,
    /// What exactly is missing, in words.
    pub detail: Option<String>,
}

/// What placement found out about one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// It took this many of the tasks, and may have room for more.
    Chosen {
        /// Tasks placed on it by this decision.
        tasks: u32,
    },
    /// It could have taken a task; others ranked better.
    Fits,
    /// Deregistered.
    Inactive,
    /// DRAINING: takes no new tasks.
    Draining,
    /// Its agent isn't connected.
    AgentDisconnected,
    /// It lacks an attribute that the task definition requires.
    MissingAttribute {
        /// The attribute, with its value if one is demanded: `name` or `name=value`.
        attribute: String,
    },
    /// A memberOf expression is false for it.
    MemberOf {
        /// The expression.
        expression: String,
    },
    /// A task of the same group runs on it and distinctInstance forbids a second one.
    DistinctInstance,
    /// Too little CPU is left.
    Cpu {
        /// Units wanted.
        wanted: i64,
        /// Units free.
        free: i64,
    },
    /// Too little memory is left.
    Memory {
        /// MiB wanted.
        wanted: i64,
        /// MiB free.
        free: i64,
    },
    /// A host port is taken.
    Port {
        /// The first such port.
        port: HostPort,
    },
    /// No network interface is left.
    NetworkInterfaces,
    /// Too few GPUs are left.
    Gpus {
        /// GPUs wanted.
        wanted: u32,
        /// GPUs free.
        free: u32,
    },
    /// Too little ephemeral storage is left.
    Storage {
        /// GiB wanted.
        wanted: u32,
        /// GiB free.
        free: u32,
    },
    /// The subnets that the task may use have no free address.
    Addresses,
}

impl Verdict {
    /// ECS's failure reason; none if the host could take a task.
    pub const fn failure_reason(&self) -> Option<FailureReason> {
        Some(match self {
            Self::Chosen { .. } | Self::Fits => return None,
            Self::Inactive => FailureReason::Inactive,
            Self::Draining => FailureReason::Draining,
            Self::AgentDisconnected => FailureReason::Agent,
            Self::MissingAttribute { .. } => FailureReason::Attribute,
            Self::MemberOf { .. } => FailureReason::MemberOf,
            Self::DistinctInstance => FailureReason::DistinctInstance,
            Self::Cpu { .. } => FailureReason::Cpu,
            Self::Memory { .. } => FailureReason::Memory,
            Self::Port { .. } => FailureReason::Ports,
            Self::NetworkInterfaces => FailureReason::NetworkInterfaces,
            Self::Gpus { .. } => FailureReason::Gpu,
            Self::Storage { .. } => FailureReason::Storage,
            Self::Addresses => FailureReason::Addresses,
        })
    }

    /// The verdict without its figures, as stored reports name it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Chosen { .. } => "chosen",
            Self::Fits => "fits",
            Self::Inactive => "inactive",
            Self::Draining => "draining",
            Self::AgentDisconnected => "agentDisconnected",
            Self::MissingAttribute { .. } => "missingAttribute",
            Self::MemberOf { .. } => "memberOf",
            Self::DistinctInstance => "distinctInstance",
            Self::Cpu { .. } => "cpu",
            Self::Memory { .. } => "memory",
            Self::Port { .. } => "port",
            Self::NetworkInterfaces => "networkInterfaces",
            Self::Gpus { .. } => "gpus",
            Self::Storage { .. } => "storage",
            Self::Addresses => "addresses",
        }
    }

    /// How near the host came to taking the task: the later the check that failed, the nearer.
    pub(crate) const fn closeness(&self) -> u32 {
        match self {
            Self::Inactive => 0,
            Self::Draining => 1,
            Self::AgentDisconnected => 2,
            Self::MissingAttribute { .. } => 3,
            Self::MemberOf { .. } => 4,
            Self::DistinctInstance => 5,
            Self::Gpus { .. } => 6,
            Self::Cpu { .. } => 7,
            Self::Memory { .. } => 8,
            Self::Storage { .. } => 9,
            Self::NetworkInterfaces => 10,
            Self::Port { .. } => 11,
            Self::Addresses => 12,
            Self::Fits => 13,
            Self::Chosen { .. } => 14,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chosen { tasks } => write!(f, "chosen for {tasks} tasks"),
            Self::Fits => f.write_str("fits, others ranked better"),
            Self::Inactive => f.write_str("filtered: INACTIVE"),
            Self::Draining => f.write_str("filtered: DRAINING"),
            Self::AgentDisconnected => f.write_str("filtered: agent not connected"),
            Self::MissingAttribute { attribute } => {
                write!(f, "filtered: lacks attribute {attribute}")
            }
            Self::MemberOf { expression } => write!(f, "filtered: memberOf {expression}"),
            Self::DistinctInstance => f.write_str("filtered: distinctInstance"),
            Self::Cpu { wanted, free } => {
                write!(f, "exhausted: {wanted} CPU units wanted, {free} free")
            }
            Self::Memory { wanted, free } => {
                write!(f, "exhausted: {wanted} MiB of memory wanted, {free} free")
            }
            Self::Port { port } => {
                write!(f, "exhausted: port {}/{} taken", port.port, port.protocol.as_str())
            }
            Self::NetworkInterfaces => f.write_str("exhausted: no network interface free"),
            Self::Gpus { wanted, free } => {
                write!(f, "exhausted: {wanted} GPUs wanted, {free} free")
            }
            Self::Storage { wanted, free } => {
                write!(f, "exhausted: {wanted} GiB of ephemeral storage wanted, {free} free")
            }
            Self::Addresses => f.write_str("exhausted: no address free in the subnets"),
        }
    }
}

/// One host in a placement's report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HostReport {
    /// The host; its id where the report is stored.
    #[serde(serialize_with = "id")]
    pub instance: Arc<ContainerInstance>,
    /// What became of it.
    pub verdict: Verdict,
    /// Its value under each step of the strategy after the decision, for hosts that passed the
    /// filters: for spread the tasks of the group with the same field, for binpack what is free.
    /// The lower, the better.
    pub scores: Vec<i64>,
}

fn id<S: Serializer>(instance: &Arc<ContainerInstance>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(instance.id.as_str())
}

/// Hosts that a stored report tells of one by one if all tasks were placed.
const STORED_HOSTS: usize = 10;
/// Hosts that it tells of if some were not: then each reason counts.
const STORED_HOSTS_IF_SHORT: usize = 100;

/// Why a placement is as it is.
///
/// It is stored with the hosts that came nearest, and the others as numbers by verdict: a report
/// must not grow with the cluster, since there is one for each task.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PlacementReport {
    /// Tasks asked for.
    pub requested: usize,
    /// Tasks placed.
    pub placed: usize,
    /// The strategy in force, step by step, such as `spread(attribute:ecs.availability-zone)`.
    pub strategy: Vec<String>,
    /// Every host of the cluster by id.
    pub hosts: Vec<HostReport>,
}

impl Serialize for PlacementReport {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Stored<'a> {
            requested: usize,
            placed: usize,
            strategy: &'a [String],
            hosts: Vec<&'a HostReport>,
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            others: BTreeMap<&'static str, usize>,
        }
        let is_short = self.placed < self.requested;
        let most = if is_short { STORED_HOSTS_IF_SHORT } else { STORED_HOSTS };
        let mut hosts: Vec<&HostReport> = self.hosts.iter().collect();
        let mut others = BTreeMap::new();
        if hosts.len() > most {
            hosts.select_nth_unstable_by_key(most, |host| host.rank());
            for host in hosts.drain(most..) {
                *others.entry(host.verdict.kind()).or_insert(0) += 1;
            }
            hosts.sort_by_key(|host| host.rank());
        }
        let Self { requested, placed, strategy, .. } = self;
        let (requested, placed) = (*requested, *placed);
        Stored { requested, placed, strategy, hosts, others }.serialize(to)
    }
}

impl HostReport {
    /// The nearest first, of equals the better one, of these the lower id.
    fn rank(&self) -> (std::cmp::Reverse<u32>, &[i64], &str) {
        (std::cmp::Reverse(self.verdict.closeness()), &self.scores, self.instance.id.as_str())
    }
}

impl PlacementReport {
    /// The host that came nearest to taking another task, of those that couldn't.
    pub fn closest(&self) -> Option<&HostReport> {
        let failed = self.hosts.iter().filter(|h| h.verdict.failure_reason().is_some());
        let open = failed.filter(|h| !matches!(h.verdict, Verdict::Inactive | Verdict::Draining));
        // max_by_key takes the last of equals: turn the order round to get the lowest id.
        open.rev().max_by_key(|h| h.verdict.closeness())
    }

    /// One failure a host that couldn't take another task; if there is no ACTIVE host at all, one
    /// failure that says so. Empty if every task was placed.
    pub fn failures(&self) -> Vec<Failure> {
        if self.placed >= self.requested {
            return Vec::new();
        }
        let open = |h: &&HostReport| !matches!(h.verdict, Verdict::Inactive | Verdict::Draining);
        let failure = |h: &HostReport| {
            Some(Failure {
                instance: Some(h.instance.key()),
                reason: h.verdict.failure_reason()?,
                detail: Some(h.verdict.to_string()),
            })
        };
        if !self.hosts.iter().any(|h| open(&h)) {
            let reason = FailureReason::NoInstances;
            return vec![Failure { instance: None, reason, detail: None }];
        }
        self.hosts.iter().filter(open).filter_map(failure).collect()
    }

    /// The part of a service event that says why no host could take a task, in ECS's words.
    pub fn event_text(&self) -> String {
        let Some(host) = self.closest() else {
            return format!("Reason: {}", FailureReason::NoInstances);
        };
        let problem = match &host.verdict {
            Verdict::Cpu { .. } => "has insufficient CPU units available".to_owned(),
            Verdict::Memory { .. } => "has insufficient memory available".to_owned(),
            Verdict::Port { .. } => "is already using a port required by your task".to_owned(),
            Verdict::MissingAttribute { .. } => {
                "is missing an attribute required by your task".to_owned()
            }
            other => {
                let reason = other.failure_reason().map_or("UNKNOWN", FailureReason::as_str);
                format!("encountered error \"{reason}\"")
            }
        };
        format!("The closest matching (container-instance {}) {problem}.", host.instance.id)
    }
}
