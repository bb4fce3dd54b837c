//! Placement strategies: binpack, spread and random, chained.
//!
//! Each step keeps the hosts that it ranks first and leaves ties to the next. A tie that remains
//! in the end goes to the lowest instance id, so that a placement can be replayed.
//!
//! Defaults, where the caller names no strategy: services spread over Availability Zones and,
//! within them, over instances (ECS developer guide, "Service scheduler concepts"); RunTask picks
//! at random among the hosts that fit.

use super::host::Host;
use std::collections::BTreeMap;
use wharf_model::IdSource;
use wharf_model::task_definition::PlacementStrategy;

/// Most steps that a strategy may have (ECS API: "maximum of 5 strategy rules").
pub const MAX_STEPS: usize = 5;

const ZONE: &str = "attribute:ecs.availability-zone";

/// Why a strategy can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not random, spread or binpack.
    #[error(
        "The placement strategy type {0:?} is not valid. Valid types: random, spread, binpack."
    )]
    UnknownType(String),
    /// The step needs a field.
    #[error("The placement strategy {0} needs a field.")]
    FieldMissing(String),
    /// The step takes no such field.
    #[error("The field {field:?} is not valid for the placement strategy {kind}.")]
    Field {
        /// binpack, spread or random.
        kind: String,
        /// The field.
        field: String,
    },
    /// More than [`MAX_STEPS`] steps.
    #[error("A maximum of {MAX_STEPS} placement strategies is allowed.")]
    TooMany,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Fewest tasks of the group on hosts with the same value of the attribute.
    SpreadAttribute(String),
    /// Fewest tasks of the group on the host.
    SpreadInstance,
    /// Least free CPU.
    BinpackCpu,
    /// Least free memory.
    BinpackMemory,
    /// Any.
    Random,
}

/// A strategy in the form that placement evaluates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strategy(Vec<Step>);

impl Strategy {
    /// Checks and parses the steps that a caller sent; none means RunTask's default, random.
    ///
    /// # Errors
    /// The first step that isn't valid, in words for the API's caller.
    pub fn parse(steps: &[PlacementStrategy]) -> Result<Self, Error> {
        if steps.len() > MAX_STEPS {
            return Err(Error::TooMany);
        }
        let steps: Vec<Step> = steps.iter().map(step).collect::<Result<_, _>>()?;
        Ok(if steps.is_empty() { Self(vec![Step::Random]) } else { Self(steps) })
    }

    /// As [`Self::parse`], but none means the service scheduler's default.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_for_service(steps: &[PlacementStrategy]) -> Result<Self, Error> {
        if steps.is_empty() { Ok(Self::service_default()) } else { Self::parse(steps) }
    }

    /// Spread over Availability Zones, then over instances.
    pub fn service_default() -> Self {
        Self(vec![Step::SpreadAttribute(ZONE[10..].to_owned()), Step::SpreadInstance])
    }

    /// The steps in words: `spread(instanceId)`.
    pub fn steps(&self) -> Vec<String> {
        let name = |step: &Step| match step {
            Step::SpreadAttribute(name) => format!("spread(attribute:{name})"),
            Step::SpreadInstance => "spread(instanceId)".to_owned(),
            Step::BinpackCpu => "binpack(cpu)".to_owned(),
            Step::BinpackMemory => "binpack(memory)".to_owned(),
            Step::Random => "random".to_owned(),
        };
        self.0.iter().map(name).collect()
    }

    pub(crate) fn scale_in_steps(&self) -> Vec<ScaleInStep> {
        let step = |step: &Step| match step {
            Step::SpreadAttribute(name) => ScaleInStep::Attribute(name.clone()),
            Step::SpreadInstance => ScaleInStep::Instance,
            Step::BinpackCpu => ScaleInStep::FreeCpu,
            Step::BinpackMemory => ScaleInStep::FreeMemory,
            Step::Random => ScaleInStep::Any,
        };
        self.0.iter().map(step).collect()
    }
}

/// What a strategy's step looks at when tasks are to be stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ScaleInStep {
    /// Most tasks on hosts with the same value of the attribute.
    Attribute(String),
    /// Most tasks on the host.
    Instance,
    /// Host with the most free CPU.
    FreeCpu,
    /// Host with the most free memory.
    FreeMemory,
    /// No preference.
    Any,
}

fn step(step: &PlacementStrategy) -> Result<Step, Error> {
    let kind = step.kind.as_str();
    let field = step.field.as_deref().filter(|f| !f.is_empty());
    let invalid = |f: &str| Error::Field { kind: kind.to_owned(), field: f.to_owned() };
    match (kind, field) {
        ("random", None) => Ok(Step::Random),
        ("random", Some(field)) => Err(invalid(field)),
        ("spread" | "binpack", None) => Err(Error::FieldMissing(kind.to_owned())),
        ("spread", Some("instanceId" | "host")) => Ok(Step::SpreadInstance),
        ("spread", Some(field)) => match field.strip_prefix("attribute:") {
            Some(name) if !name.is_empty() => Ok(Step::SpreadAttribute(name.to_owned())),
            _ => Err(invalid(field)),
        },
        ("binpack", Some(field)) => match field.to_ascii_lowercase().as_str() {
            "cpu" => Ok(Step::BinpackCpu),
            "memory" => Ok(Step::BinpackMemory),
            _ => Err(invalid(field)),
        },
        (other, _) => Err(Error::UnknownType(other.to_owned())),
    }
}

/// Ranks hosts by a strategy while tasks are being placed.
#[derive(Debug)]
pub(super) struct Ranking<'a> {
    strategy: &'a Strategy,
    /// For each spread over an attribute: which bucket each host is in, and each bucket's tasks.
    spreads: Vec<Option<Buckets>>,
    random: IdSource,
    /// Hosts still in the running, reused from task to task.
    best: Vec<usize>,
}

#[derive(Debug)]
struct Buckets {
    of_host: Vec<usize>,
    tasks: Vec<i64>,
}

impl<'a> Ranking<'a> {
    /// A ranking of `hosts`. Tasks on hosts that can't take a task count too where they are known.
    pub(super) fn new(strategy: &'a Strategy, hosts: &[Host], random: IdSource) -> Self {
        let spreads = strategy.0.iter().map(|step| match step {
            Step::SpreadAttribute(name) => Some(Buckets::new(name, hosts)),
            _ => None,
        });
        Self { strategy, spreads: spreads.collect(), random, best: Vec::with_capacity(hosts.len()) }
    }

    /// The host that the next task goes to; none if no host can take it.
    pub(super) fn best(&mut self, hosts: &[Host]) -> Option<usize> {
        let mut best = std::mem::take(&mut self.best);
        best.clear();
        best.extend((0..hosts.len()).filter(|n| hosts[*n].refused.is_none()));
        for (n, step) in self.strategy.0.iter().enumerate() {
            if best.len() < 2 {
                break;
            }
            if *step == Step::Random {
                let chosen = best[self.random.below(best.len())];
                best.clear();
                best.push(chosen);
                break;
            }
            let lowest = best.iter().map(|h| self.score(n, *h, &hosts[*h])).min();
            best.retain(|h| Some(self.score(n, *h, &hosts[*h])) == lowest);
        }
        let chosen = best.first().copied();
        self.best = best;
        chosen
    }

    /// Counts a task that was placed on host `n`.
    pub(super) fn placed_on(&mut self, n: usize) {
        for buckets in self.spreads.iter_mut().flatten() {
            buckets.tasks[buckets.of_host[n]] += 1;
        }
    }

    /// The host's value under each step; the lower, the better. None for hosts that are out by
    /// anything but their resources.
    pub(super) fn scores(&self, n: usize, host: &Host) -> Vec<i64> {
        let measured = host.refused.as_ref().is_none_or(|v| v.closeness() > 4);
        let steps = if measured { self.strategy.0.len() } else { 0 };
        (0..steps).map(|step| self.score(step, n, host)).collect()
    }

    fn score(&self, step: usize, n: usize, host: &Host) -> i64 {
        match (&self.strategy.0[step], &self.spreads[step]) {
            (_, Some(buckets)) => buckets.tasks[buckets.of_host[n]],
            (Step::SpreadInstance, None) => i64::from(host.group_tasks),
            (Step::BinpackCpu, None) => host.free_cpu,
            (Step::BinpackMemory, None) => host.free_memory,
            (Step::Random | Step::SpreadAttribute(_), None) => 0,
        }
    }
}

impl Buckets {
    /// One bucket a value; hosts without the attribute share one.
    fn new(attribute: &str, hosts: &[Host]) -> Self {
        let mut index: BTreeMap<Option<&str>, usize> = BTreeMap::new();
        let mut buckets = Self { of_host: Vec::with_capacity(hosts.len()), tasks: Vec::new() };
        for host in hosts {
            let value = host.instance.attribute_value(attribute);
            let bucket = *index.entry(value).or_insert(buckets.tasks.len());
            if bucket == buckets.tasks.len() {
                buckets.tasks.push(0);
            }
            buckets.tasks[bucket] += i64::from(host.group_tasks);
            buckets.of_host.push(bucket);
        }
        buckets
    }
}
