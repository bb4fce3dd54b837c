//! Platforms in OCI's (Go's) names, and which of them this host can run.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Operating system, architecture and variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// CPU architecture in Go's names (`amd64`, `arm64`, `arm`).
    pub architecture: String,
    /// Operating system (`linux`).
    pub os: String,
    /// The architecture's variant (`v8`, `v7`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// `linux` on the CPU that this program was built for.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "aarch64" => ("arm64", Some("v8")),
            "arm" => ("arm", Some("v7")),
            "x86" => ("386", None),
            "powerpc64" => ("ppc64le", None),
            other => (other, None),
        };
        Self {
            architecture: architecture.to_owned(),
            os: "linux".to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    /// How well an image for `other` fits here: 0 is exact, none is not at all.
    pub fn rank(&self, other: &Platform) -> Option<u32> {
        if other.os != self.os || other.architecture != self.architecture {
            return None;
        }
        let level = |variant: &Option<String>| -> Option<u32> {
            variant.as_deref().and_then(|v| v.strip_prefix('v')).and_then(|v| v.parse().ok())
        };
        match (&self.variant, &other.variant) {
            (ours, theirs) if ours == theirs => Some(0),
            // An image without a variant is the baseline of its architecture.
            (_, None) => Some(10),
            // amd64/v2 and higher want CPU features that aren't looked at here.
            (None, Some(theirs)) => (theirs == "v1").then_some(1),
            (ours, theirs) => match (level(ours), level(theirs)) {
                (Some(ours), Some(theirs)) if theirs < ours => Some(ours - theirs),
                _ => None,
            },
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)
    }
}
