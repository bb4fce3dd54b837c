//! Statistics in the form of docker's API.

use serde_json::{Map, Value, json};
use wharf_runtime::SandboxId;
use wharf_runtime::state::{ContainerStats, NetworkStats};

use super::Context;
use crate::engine::Known;
use crate::stats::{self, Key, Sample};

/// A container's statistics now, beside the sample before; `None` when it doesn't run.
pub(super) async fn container(context: &Context, key: &Key) -> Option<Value> {
    let before = context.sampler.last(key);
    let now = stats::take(&context.tasks, key).await?;
    let (id, name) = names(context, key)?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory = json!({
        "usage": now.stats.memory_usage_bytes,
        "max_usage": now.stats.memory_max_usage_bytes,
        "limit": now.stats.memory_limit_bytes,
        "stats": { "inactive_file": now.stats.memory_inactive_file_bytes,
                   "total_inactive_file": now.stats.memory_inactive_file_bytes },
    });
    Some(json!({
        "read": time(now.at_ms),
        "preread": before.as_ref().map(|before| time(before.at_ms)),
        "id": id,
        "name": name,
        "num_procs": 0,
        "pids_stats": { "current": now.stats.pids },
        "cpu_stats": cpu(&now, cores),
        "precpu_stats": before.as_ref().map(|before| cpu(before, cores)),
        "memory_stats": memory,
        "networks": networks(&now.stats),
        "blkio_stats": { "io_service_bytes_recursive": [
            { "major": 0, "minor": 0, "op": "Read", "value": now.stats.block_read_bytes },
            { "major": 0, "minor": 0, "op": "Write", "value": now.stats.block_write_bytes },
        ] },
        "network_rate_stats": before.as_ref().map(|before| rates(before, &now)),
    }))
}

/// Statistics of every container of the task by its docker id; null for those that don't run.
pub(super) async fn task(context: &Context, task: &SandboxId) -> Value {
    let mut ids = Vec::new();
    context.tasks.for_each(|machine| {
        if &machine.task.id == task {
            ids.extend(machine.containers().filter_map(|(container, state)| {
                let running = state.known == Known::Running;
                Some((container.name.clone(), state.runtime_id.clone()?, running))
            }));
        }
    });
    let mut all = Map::new();
    for (name, id, running) in ids {
        let stats = match running {
            true => container(context, &(task.clone(), name)).await,
            false => None,
        };
        all.insert(id, stats.unwrap_or(Value::Null));
    }
    Value::Object(all)
}

fn names(context: &Context, key: &Key) -> Option<(String, String)> {
    let mut found = None;
    context.tasks.for_each(|machine| {
        if machine.task.id == key.0 {
            let state = machine.index_of(&key.1).map(|index| &machine.state.containers[index]);
            let id = state.and_then(|state| state.runtime_id.clone());
            let name = format!("/{}", crate::launch::docker_name(&machine.task, &key.1));
            found = id.map(|id| (id, name));
        }
    });
    found
}

fn time(at_ms: u64) -> Option<String> {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(at_ms).ok()?).ok()?;
    Some(at.to_string())
}

fn cpu(sample: &Sample, cores: usize) -> Value {
    let stats = &sample.stats;
    json!({
        "cpu_usage": {
            "total_usage": stats.cpu_usage_ns,
            "usage_in_kernelmode": stats.cpu_system_ns,
            "usage_in_usermode": stats.cpu_usage_ns.saturating_sub(stats.cpu_system_ns),
        },
        "system_cpu_usage": sample.system_cpu_ns,
        "online_cpus": cores,
        "throttling_data": { "throttled_periods": stats.cpu_throttled_periods },
    })
}

fn networks(stats: &ContainerStats) -> Value {
    let one = |stats: &NetworkStats| {
        json!({
            "rx_bytes": stats.rx_bytes, "rx_packets": stats.rx_packets,
            "rx_errors": stats.rx_errors, "rx_dropped": stats.rx_dropped,
            "tx_bytes": stats.tx_bytes, "tx_packets": stats.tx_packets,
            "tx_errors": stats.tx_errors, "tx_dropped": stats.tx_dropped,
        })
    };
    stats.networks.iter().map(|(name, stats)| (name.clone(), one(stats))).collect()
}

fn rates(before: &Sample, now: &Sample) -> Value {
    let seconds = now.at.saturating_duration_since(before.at).as_secs_f64();
    let (old, new) = (stats::network(&before.stats), stats::network(&now.stats));
    let rate = |old: u64, new: u64| {
        if seconds > 0.0 { new.saturating_sub(old) as f64 / seconds } else { 0.0 }
    };
    json!({ "rx_bytes_per_sec": rate(old.rx_bytes, new.rx_bytes),
            "tx_bytes_per_sec": rate(old.tx_bytes, new.tx_bytes) })
}
