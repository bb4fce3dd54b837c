//! The image configuration: what a container of this image runs, and which layers it has.
//!
//! Reads the OCI image configuration and Docker's (the same members plus `Healthcheck`, and with
//! `null` where OCI leaves members out). Unknown members are kept out: nothing in an image may
//! choose devices, mounts or annotations.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::digest::Digest;

/// The largest configuration that is read (security.md).
pub const MAX_CONFIG_BYTES: u64 = 8 << 20;
/// The most layers an image may have (overlay's and docker's limit).
pub const MAX_LAYERS: usize = 127;

/// What a container of the image runs (`config` of the OCI image configuration).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// The user (and group) the process runs as: name or number, `user[:group]`.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Ports the image says it listens on (`80/tcp`).
    #[serde(deserialize_with = "set", serialize_with = "as_set")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exposed_ports: Vec<String>,
    /// Environment as `NAME=value`.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// The program and its fixed arguments.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// The default command, or the arguments to the entrypoint.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Paths that the image declares as volumes.
    #[serde(deserialize_with = "set", serialize_with = "as_set")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    /// The working directory; empty means `/`.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Labels.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The signal that stops the container (`SIGTERM`, `15`); none means SIGTERM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Docker's health check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthCheck>,
}

/// Docker's `Healthcheck`; durations in nanoseconds, 0 means docker's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HealthCheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", command]`.
    #[serde(deserialize_with = "null_is_default")]
    pub test: Vec<String>,
    /// Time between checks, nanoseconds.
    pub interval: i64,
    /// Time a check may take, nanoseconds.
    pub timeout: i64,
    /// Grace time in which failures don't count, nanoseconds.
    pub start_period: i64,
    /// Consecutive failures until unhealthy.
    pub retries: i64,
}

/// The configuration blob as a whole.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConfigFile {
    /// When the image was made (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// CPU architecture in Go's names (`amd64`, `arm64`).
    #[serde(default)]
    pub architecture: String,
    /// The architecture's variant (`v8`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Operating system (`linux`).
    #[serde(default)]
    pub os: String,
    /// What a container runs.
    #[serde(default, deserialize_with = "null_is_default")]
    pub config: ImageConfig,
    /// The layers, bottom first, by the digest of their uncompressed tars.
    pub rootfs: RootFs,
}

/// The `rootfs` member of the configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Digests of the uncompressed layers, bottom first.
    #[serde(deserialize_with = "null_is_default")]
    pub diff_ids: Vec<Digest>,
}

/// Why a configuration isn't usable.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not JSON of the right shape.
    #[error("the image configuration is malformed: {0}")]
    Malformed(#[from] serde_json::Error),
    /// `rootfs.type` isn't `layers`.
    #[error("the image configuration has the root file system type \"{0}\", not \"layers\"")]
    RootFsType(String),
    /// More layers than overlay can stack.
    #[error("the image has {0} layers, at most {MAX_LAYERS} are supported")]
    TooManyLayers(usize),
    /// The configuration is too large.
    #[error("the image configuration has {0} bytes, at most {MAX_CONFIG_BYTES} are allowed")]
    TooLarge(u64),
}

impl ConfigFile {
    /// Parses and checks a configuration blob whose digest was already verified.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() as u64 > MAX_CONFIG_BYTES {
            return Err(Error::TooLarge(bytes.len() as u64));
        }
        let file: Self = serde_json::from_slice(bytes)?;
        if file.rootfs.kind != "layers" {
            return Err(Error::RootFsType(file.rootfs.kind));
        }
        if file.rootfs.diff_ids.len() > MAX_LAYERS {
            return Err(Error::TooManyLayers(file.rootfs.diff_ids.len()));
        }
        Ok(file)
    }

    /// The chain ids of the layers, bottom first (OCI image specification, "Layer ChainID").
    pub fn chain_ids(&self) -> Vec<Digest> {
        let mut chain: Vec<Digest> = Vec::with_capacity(self.rootfs.diff_ids.len());
        for diff_id in &self.rootfs.diff_ids {
            let id = match chain.last() {
                None => *diff_id,
                Some(parent) => Digest::of(format!("{parent} {diff_id}").as_bytes()),
            };
            chain.push(id);
        }
        chain
    }
}

fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Go writes sets as `{"80/tcp": {}}`.
fn set<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let members = Option::<BTreeMap<String, serde::de::IgnoredAny>>::deserialize(deserializer)?;
    Ok(members.unwrap_or_default().into_keys().collect())
}

fn as_set<S: serde::Serializer>(members: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(members.iter().map(|member| (member, BTreeMap::<String, ()>::new())))
}
