//! What containers use: sampled every few seconds, for telemetry and for the stats endpoint.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use wharf_runtime::SandboxId;
use wharf_runtime::state::{ContainerStats, NetworkStats};

use crate::engine::Known;
use crate::tasks::{Tasks, locked};

/// Time between samples.
const INTERVAL: Duration = Duration::from_secs(5);
/// Samples kept while telemetry takes none: five minutes' worth.
const MAX_SAMPLES: usize = 60;

/// One moment of a container.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) at: Instant,
    /// Milliseconds since the epoch.
    pub(crate) at_ms: u64,
    pub(crate) stats: ContainerStats,
    /// CPU time of the whole machine, all cores together, in nanoseconds.
    pub(crate) system_cpu_ns: u64,
}

/// A container by its task and name.
pub(crate) type Key = (SandboxId, String);

/// The samples of all running containers. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Sampler {
    samples: Arc<Mutex<BTreeMap<Key, Vec<Sample>>>>,
}

impl Sampler {
    /// Samples for ever.
    pub(crate) async fn run(&self, tasks: &Tasks) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let running = running(tasks);
            locked(&self.samples).retain(|key, _| running.contains(key));
            for key in running {
                if let Some(sample) = take(tasks, &key).await {
                    let mut samples = locked(&self.samples);
                    let list = samples.entry(key).or_default();
                    if list.len() >= MAX_SAMPLES {
                        list.remove(0);
                    }
                    list.push(sample);
                }
            }
        }
    }

    /// The samples since the last call, with the one before them to compare the first with.
    pub(crate) fn drain(&self) -> BTreeMap<Key, Vec<Sample>> {
        let mut samples = locked(&self.samples);
        let drained = samples.clone();
        for list in samples.values_mut() {
            list.drain(..list.len().saturating_sub(1));
        }
        drained
    }

    /// The last sample of a container.
    pub(crate) fn last(&self, key: &Key) -> Option<Sample> {
        locked(&self.samples).get(key)?.last().cloned()
    }
}

fn running(tasks: &Tasks) -> Vec<Key> {
    let mut keys = Vec::new();
    tasks.for_each(|machine| {
        for (container, state) in machine.containers() {
            if state.known == Known::Running {
                keys.push((machine.task.id.clone(), container.name.clone()));
            }
        }
    });
    keys
}

/// A sample of now; `None` for a container that has just ended.
pub(crate) async fn take(tasks: &Tasks, key: &Key) -> Option<Sample> {
    let stats = tasks.host().runtime.stats(&key.0, &key.1).await.ok()?;
    let at_ms = crate::tasks::effects::now_ms();
    Some(Sample { at: Instant::now(), at_ms, stats, system_cpu_ns: system_cpu_ns() })
}

/// The first line of /proc/stat: user to steal, in hundredths of a second.
fn system_cpu_ns() -> u64 {
    let Ok(text) = std::fs::read_to_string("/proc/stat") else { return 0 };
    let line = text.lines().next().unwrap_or_default();
    let ticks: u64 =
        line.split_whitespace().skip(1).take(8).filter_map(|n| n.parse::<u64>().ok()).sum();
    ticks.saturating_mul(10_000_000)
}

/// All interfaces together.
pub(crate) fn network(stats: &ContainerStats) -> NetworkStats {
    let mut sum = NetworkStats::default();
    for one in stats.networks.values() {
        sum.rx_bytes += one.rx_bytes;
        sum.rx_packets += one.rx_packets;
        sum.rx_errors += one.rx_errors;
        sum.rx_dropped += one.rx_dropped;
        sum.tx_bytes += one.tx_bytes;
        sum.tx_packets += one.tx_packets;
        sum.tx_errors += one.tx_errors;
        sum.tx_dropped += one.tx_dropped;
    }
    sum
}

/// CPU between two samples in percent of the whole machine: 100 is every core busy.
pub(crate) fn cpu_percent(before: &Sample, after: &Sample) -> f64 {
    let used = after.stats.cpu_usage_ns.saturating_sub(before.stats.cpu_usage_ns) as f64;
    let wall = after.at.saturating_duration_since(before.at).as_nanos() as f64;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as f64;
    if wall > 0.0 { used / wall / cores * 100.0 } else { 0.0 }
}

/// Memory without the page cache that can be dropped, in MiB: as `docker stats` shows it.
pub(crate) fn memory_mib(stats: &ContainerStats) -> f64 {
    let used = stats.memory_usage_bytes.saturating_sub(stats.memory_inactive_file_bytes);
    used as f64 / f64::from(1 << 20)
}
