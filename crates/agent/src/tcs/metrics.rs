//! What is sent: from samples and states to TCS messages.

use std::path::Path;

use uuid::Uuid;
use wharf_wire::Timestamp;
use wharf_wire::tcs::{
    CWStatsSet, ContainerHealth, ContainerMetric, HealthMetadata, InstanceMetrics, InstanceStatus,
    InstanceStatusMetadata, InstanceStorageMetrics, MetricsMetadata, NetworkStatsSet,
    PublishHealthRequest, PublishInstanceStatusRequest, PublishMetricsRequest, RestartStatsSet,
    StorageStatsSet, TaskHealth, TaskMetric, TcsMessage, ULongStatsSet,
};

use super::Tcs;
use crate::engine::Known;
use crate::stats::{self, Sample};
use crate::task::Network;
use crate::tasks::effects::now_ms;

/// The most tasks of one frame.
const MAX_TASKS: usize = 10;

fn timestamp(at_ms: u64) -> Timestamp {
    Timestamp::from_millis(i64::try_from(at_ms).unwrap_or(i64::MAX))
}

impl Tcs {
    /// The frames of one round: at most ten tasks each, `fin` on the last.
    pub(super) fn metrics(&self) -> Vec<TcsMessage> {
        let tasks = self.task_metrics();
        let message_id = Uuid::new_v4().to_string();
        let idle = tasks.is_empty();
        let mut chunks: Vec<Vec<TaskMetric>> =
            tasks.chunks(MAX_TASKS).map(<[TaskMetric]>::to_vec).collect();
        if chunks.is_empty() {
            chunks.push(Vec::new());
        }
        let last = chunks.len() - 1;
        let message = |(nth, chunk): (usize, Vec<TaskMetric>)| {
            PublishMetricsRequest {
                metadata: Some(MetricsMetadata {
                    cluster: Some(self.cluster.to_string()),
                    container_instance: Some(self.container_instance_arn.to_string()),
                    message_id: Some(message_id.clone()),
                    idle: Some(idle),
                    fin: Some(nth == last),
                }),
                instance_metrics: (nth == 0).then(|| self.instance_metrics()),
                task_metrics: Some(chunk),
                timestamp: Some(timestamp(now_ms())),
            }
            .into()
        };
        chunks.into_iter().enumerate().map(message).collect()
    }

    fn task_metrics(&self) -> Vec<TaskMetric> {
        let samples = self.sampler.drain();
        let mut metrics = Vec::new();
        self.tasks.for_each(|machine| {
            let task = &machine.task;
            let networked = matches!(task.network, Network::Bridge | Network::Awsvpc(_));
            let containers = machine.containers().filter_map(|(container, state)| {
                let key = (task.id.clone(), container.name.clone());
                let samples = samples.get(&key).filter(|samples| samples.len() > 1)?;
                Some(ContainerMetric {
                    container_arn: container.arn.clone(),
                    container_name: Some(container.name.clone()),
                    restart_stats_set: container.restart_policy.as_ref().map(|_| RestartStatsSet {
                        restart_count: i64::try_from(state.restarts.count).ok(),
                    }),
                    ..container_metric(samples, networked)
                })
            });
            let containers: Vec<ContainerMetric> = containers.collect();
            if !containers.is_empty() {
                metrics.push(TaskMetric {
                    task_arn: Some(task.arn.clone()),
                    cluster_arn: task.cluster_arn.clone(),
                    task_definition_family: Some(task.family.clone()),
                    task_definition_version: Some(task.version.clone()),
                    container_metrics: Some(containers),
                    ..TaskMetric::default()
                });
            }
        });
        metrics
    }

    fn instance_metrics(&self) -> InstanceMetrics {
        InstanceMetrics {
            storage: Some(InstanceStorageMetrics {
                root_filesystem: used_percent(Path::new("/")),
                data_filesystem: used_percent(&self.data_dir),
            }),
        }
    }

    /// Nothing when no container has a health check.
    pub(super) fn health(&self) -> Vec<TcsMessage> {
        let mut tasks = Vec::new();
        self.tasks.for_each(|machine| {
            let checked = machine.containers().filter(|(container, state)| {
                container.health_check.is_some() && state.known == Known::Running
            });
            let containers: Vec<ContainerHealth> = checked
                .map(|(container, state)| ContainerHealth {
                    container_name: Some(container.name.clone()),
                    health_status: Some(state.health.as_str().to_owned()),
                    status_since: state.health_since_ms.or(state.started_at_ms).map(timestamp),
                    status_message: None,
                })
                .collect();
            if !containers.is_empty() {
                tasks.push(TaskHealth {
                    task_arn: Some(machine.task.arn.clone()),
                    cluster_arn: machine.task.cluster_arn.clone(),
                    task_definition_family: Some(machine.task.family.clone()),
                    task_definition_version: Some(machine.task.version.clone()),
                    containers: Some(containers),
                });
            }
        });
        let message_id = Uuid::new_v4().to_string();
        let count = tasks.len().div_ceil(MAX_TASKS);
        let message = |(nth, chunk): (usize, &[TaskHealth])| {
            PublishHealthRequest {
                metadata: Some(HealthMetadata {
                    cluster: Some(self.cluster.to_string()),
                    container_instance: Some(self.container_instance_arn.to_string()),
                    message_id: Some(message_id.clone()),
                    fin: Some(nth + 1 == count),
                }),
                tasks: Some(chunk.to_vec()),
                timestamp: Some(timestamp(now_ms())),
            }
            .into()
        };
        tasks.chunks(MAX_TASKS).enumerate().map(message).collect()
    }

    /// The container runtime is part of this agent: while it can say so, it is there.
    pub(super) fn instance_status(&self) -> TcsMessage {
        let now = timestamp(now_ms());
        PublishInstanceStatusRequest {
            metadata: Some(InstanceStatusMetadata {
                cluster: Some(self.cluster.to_string()),
                container_instance: Some(self.container_instance_arn.to_string()),
                request_id: Some(Uuid::new_v4().to_string()),
            }),
            statuses: Some(vec![InstanceStatus {
                kind: Some("ContainerRuntime".to_owned()),
                status: Some("OK".to_owned()),
                status_reason: None,
                last_updated: Some(now),
                last_status_change: Some(timestamp(self.tasks.since_ms())),
            }]),
            timestamp: Some(now),
        }
        .into()
    }
}

/// How full a file system is, in percent.
fn used_percent(path: &Path) -> Option<f64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    let used = stat.f_blocks.saturating_sub(stat.f_bfree) as f64;
    (stat.f_blocks > 0).then(|| used / stat.f_blocks as f64 * 100.0)
}

fn container_metric(samples: &[Sample], networked: bool) -> ContainerMetric {
    let pairs = || samples.windows(2).map(|pair| (&pair[0], &pair[1]));
    let deltas = |count: fn(&Sample) -> u64| {
        ulong_set(pairs().map(|(before, after)| count(after).saturating_sub(count(before))))
    };
    let rate = |count: fn(&Sample) -> u64| {
        set(pairs().map(|(before, after)| {
            let seconds = after.at.saturating_duration_since(before.at).as_secs_f64();
            let bytes = count(after).saturating_sub(count(before)) as f64;
            if seconds > 0.0 { bytes / seconds } else { 0.0 }
        }))
    };
    let network = networked.then(|| NetworkStatsSet {
        rx_bytes: Some(deltas(|s| stats::network(&s.stats).rx_bytes)),
        rx_dropped: Some(deltas(|s| stats::network(&s.stats).rx_dropped)),
        rx_errors: Some(deltas(|s| stats::network(&s.stats).rx_errors)),
        rx_packets: Some(deltas(|s| stats::network(&s.stats).rx_packets)),
        tx_bytes: Some(deltas(|s| stats::network(&s.stats).tx_bytes)),
        tx_dropped: Some(deltas(|s| stats::network(&s.stats).tx_dropped)),
        tx_errors: Some(deltas(|s| stats::network(&s.stats).tx_errors)),
        tx_packets: Some(deltas(|s| stats::network(&s.stats).tx_packets)),
        rx_bytes_per_second: Some(rate(|s| stats::network(&s.stats).rx_bytes)),
        tx_bytes_per_second: Some(rate(|s| stats::network(&s.stats).tx_bytes)),
    });
    ContainerMetric {
        cpu_stats_set: Some(set(pairs().map(|(before, after)| stats::cpu_percent(before, after)))),
        memory_stats_set: Some(set(samples[1..].iter().map(|s| stats::memory_mib(&s.stats)))),
        network_stats_set: network,
        storage_stats_set: Some(StorageStatsSet {
            read_size_bytes: Some(deltas(|s| s.stats.block_read_bytes)),
            write_size_bytes: Some(deltas(|s| s.stats.block_write_bytes)),
        }),
        ..ContainerMetric::default()
    }
}

fn set(values: impl Iterator<Item = f64>) -> CWStatsSet {
    let values: Vec<f64> = values.collect();
    CWStatsSet {
        min: values.iter().copied().reduce(f64::min),
        max: values.iter().copied().reduce(f64::max),
        sample_count: i64::try_from(values.len()).ok(),
        sum: Some(values.iter().sum()),
    }
}

fn ulong_set(values: impl Iterator<Item = u64>) -> ULongStatsSet {
    let values: Vec<i64> = values.map(|value| i64::try_from(value).unwrap_or(i64::MAX)).collect();
    let sum = values.iter().fold(0i64, |sum, value| sum.saturating_add(*value));
    ULongStatsSet {
        min: values.iter().min().copied(),
        max: values.iter().max().copied(),
        sample_count: i64::try_from(values.len()).ok(),
        sum: Some(sum),
        overflow_min: Some(0),
        overflow_max: Some(0),
        overflow_sum: Some(0),
    }
}
