//! TCS: the websocket by which an agent reports metrics and health.
//!
//! A frame of the agent carries a block of signed headers before its envelope ([`Frame`]); the
//! answers of the server are bare envelopes. Timestamps are seconds since the epoch with a fraction.

use crate::agent_message::{envelope, message};
use crate::timestamp::Timestamp;

envelope! {
    /// A message of a TCS session, either way.
    TcsMessage {
        PublishMetricsRequest,
        PublishHealthRequest,
        PublishInstanceStatusRequest,
        AckPublishMetric,
        AckPublishHealth,
        AckPublishInstanceStatus,
        HeartbeatMessage,
        StopTelemetrySessionMessage,
    }
}

message! {
    /// Agent → server every 20 seconds: at most 10 tasks a frame, `fin` on the last of a round.
    PublishMetricsRequest {
        metadata: MetricsMetadata,
        instance_metrics: InstanceMetrics,
        task_metrics: Vec<TaskMetric>,
        timestamp: Timestamp,
    }
}

message! {
    /// Whose metrics they are; `idle` means that no task runs.
    MetricsMetadata {
        cluster: String,
        container_instance: String,
        message_id: String,
        idle: bool,
        fin: bool,
    }
}

message! {
    /// Metrics of the host.
    InstanceMetrics {
        storage: InstanceStorageMetrics,
    }
}

message! {
    /// File systems of the host in percent.
    InstanceStorageMetrics {
        #[serde(alias = "OSFilesystem")]
        root_filesystem: f64,
        #[serde(alias = "DataFilesystem")]
        data_filesystem: f64,
    }
}

message! {
    /// Metrics of a task.
    TaskMetric {
        task_arn: String,
        cluster_arn: String,
        task_definition_family: String,
        task_definition_version: String,
        container_metrics: Vec<ContainerMetric>,
        ephemeral_storage_metrics: EphemeralStorageMetrics,
        volume_metrics: Vec<VolumeMetric>,
    }
}

message! {
    /// Metrics of a container: cpu in percent of the whole machine, memory in MiB.
    ContainerMetric {
        container_arn: String,
        container_name: String,
        cpu_stats_set: CWStatsSet,
        memory_stats_set: CWStatsSet,
        network_stats_set: NetworkStatsSet,
        storage_stats_set: StorageStatsSet,
        restart_stats_set: RestartStatsSet,
    }
}

message! {
    /// Samples of a round, summed up.
    CWStatsSet {
        min: f64,
        max: f64,
        sample_count: i64,
        sum: f64,
    }
}

message! {
    /// Samples of counters; the overflow members hold what exceeds 63 bits.
    ULongStatsSet {
        min: i64,
        max: i64,
        sample_count: i64,
        sum: i64,
        overflow_min: i64,
        overflow_max: i64,
        overflow_sum: i64,
    }
}

message! {
    /// A container's traffic.
    NetworkStatsSet {
        rx_bytes: ULongStatsSet,
        rx_dropped: ULongStatsSet,
        rx_errors: ULongStatsSet,
        rx_packets: ULongStatsSet,
        tx_bytes: ULongStatsSet,
        tx_dropped: ULongStatsSet,
        tx_errors: ULongStatsSet,
        tx_packets: ULongStatsSet,
        rx_bytes_per_second: CWStatsSet,
        tx_bytes_per_second: CWStatsSet,
    }
}

message! {
    /// A container's block I/O.
    StorageStatsSet {
        read_size_bytes: ULongStatsSet,
        write_size_bytes: ULongStatsSet,
    }
}

message! {
    /// A container's restarts in place.
    RestartStatsSet {
        restart_count: i64,
    }
}

message! {
    /// A task's ephemeral storage.
    EphemeralStorageMetrics {
        bytes_utilized: ULongStatsSet,
    }
}

message! {
    /// A task's volume.
    VolumeMetric {
        volume_id: String,
        volume_name: String,
        utilized: CWStatsSet,
        size: CWStatsSet,
    }
}

message! {
    /// Agent → server: health of the containers that have a health check. Health comes only here.
    PublishHealthRequest {
        metadata: HealthMetadata,
        tasks: Vec<TaskHealth>,
        timestamp: Timestamp,
    }
}

message! {
    /// Whose health it is.
    HealthMetadata {
        cluster: String,
        container_instance: String,
        message_id: String,
        fin: bool,
    }
}

message! {
    /// Health of a task's containers.
    TaskHealth {
        task_arn: String,
        cluster_arn: String,
        task_definition_family: String,
        task_definition_version: String,
        containers: Vec<ContainerHealth>,
    }
}

message! {
    /// Health of a container (`HEALTHY`, `UNHEALTHY`, `UNKNOWN`).
    ContainerHealth {
        container_name: String,
        health_status: String,
        status_since: Timestamp,
        status_message: String,
    }
}

message! {
    /// Agent → server: the host's own checks.
    PublishInstanceStatusRequest {
        metadata: InstanceStatusMetadata,
        statuses: Vec<InstanceStatus>,
        timestamp: Timestamp,
    }
}

message! {
    /// Whose status it is.
    InstanceStatusMetadata {
        cluster: String,
        container_instance: String,
        request_id: String,
    }
}

message! {
    /// One check (`OK`, `IMPAIRED`, `INSUFFICIENT_DATA`, `INITIALIZING`).
    InstanceStatus {
        #[serde(rename = "type")]
        kind: String,
        status: String,
        status_reason: String,
        last_updated: Timestamp,
        last_status_change: Timestamp,
    }
}

message! {
    /// Server → agent: metrics were taken.
    AckPublishMetric {
        message: String,
    }
}

message! {
    /// Server → agent: health was taken.
    AckPublishHealth {
        message: String,
    }
}

message! {
    /// Server → agent: the host's status was taken.
    AckPublishInstanceStatus {
        message: String,
    }
}

message! {
    /// Server → agent: all is well.
    HeartbeatMessage {
        healthy: bool,
    }
}

message! {
    /// Server → agent: the session ends.
    StopTelemetrySessionMessage {
        message: String,
    }
}

/// The most bytes that a frame's header block may have.
pub const MAX_HEADER_BYTES: usize = 16 * 1024;

/// Why a frame could not be split.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The header block doesn't end within [`MAX_HEADER_BYTES`].
    #[error("the frame's headers don't end within {MAX_HEADER_BYTES} bytes")]
    NoEnd,
    /// A line of the header block without a name or a colon.
    #[error("a header line of the frame is malformed")]
    Header,
}

/// A frame of the agent: signed headers, an empty line, the envelope.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Names and values as sent.
    pub headers: Vec<(&'a str, &'a str)>,
    /// The envelope's JSON.
    pub body: &'a str,
}

impl<'a> Frame<'a> {
    /// Splits a frame. A bare envelope is a frame without headers.
    ///
    /// # Errors
    /// A header block that doesn't end, or a line in it that is no header.
    pub fn parse(text: &'a str) -> Result<Self, FrameError> {
        if text.trim_start().starts_with('{') {
            return Ok(Frame { headers: Vec::new(), body: text });
        }
        let end = text.find("\r\n\r\n").filter(|end| *end <= MAX_HEADER_BYTES);
        let end = end.ok_or(FrameError::NoEnd)?;
        let header = |line: &'a str| match line.split_once(':') {
            Some((name, value)) if !name.is_empty() && !name.contains([' ', '\t']) => {
                Ok((name, value.trim()))
            }
            _ => Err(FrameError::Header),
        };
        let headers = text[..end].split("\r\n").map(header).collect::<Result<_, _>>()?;
        Ok(Frame { headers, body: &text[end + 4..] })
    }

    /// The value of a header, its name in any case.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| *value)
    }

    /// The frame as text.
    pub fn format(&self) -> String {
        let mut text = String::with_capacity(self.body.len() + 512);
        for (name, value) in &self.headers {
            text.extend([*name, ": ", *value, "\r\n"]);
        }
        if !self.headers.is_empty() {
            text.push_str("\r\n");
        }
        text.push_str(self.body);
        text
    }
}

impl std::fmt::Debug for Frame<'_> {
    /// Leaves out the headers' values: signatures and session tokens stand there.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| *name).collect();
        f.debug_struct("Frame").field("headers", &names).field("body", &self.body).finish()
    }
}
