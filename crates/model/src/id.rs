//! Typed names and ids, and the source that makes new ones from a seed.
//!
//! Names share their text when they are cloned: they are the keys of every map of the snapshot,
//! whose nodes are copied with each change.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The bare text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                *self.0 == *other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                *self.0 == **other
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }
    };
}

name_type!(
    /// A cluster's name: up to 255 letters, digits, underscores and hyphens.
    ClusterName
);
name_type!(
    /// A service's name: up to 255 letters, digits, underscores and hyphens; unique in a cluster.
    ServiceName
);
name_type!(
    /// A task's id: 32 hexadecimal digits.
    TaskId
);
name_type!(
    /// A container instance's id: 32 hexadecimal digits.
    ContainerInstanceId
);

name_type!(
    /// A family of task definitions: up to 255 letters, digits, underscores and hyphens.
    Family
);

/// A task definition's family and revision.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskDefinitionKey {
    /// Family name.
    pub family: Family,
    /// Revision, counted from 1.
    pub revision: u32,
}

impl fmt::Display for TaskDefinitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.family, self.revision)
    }
}

macro_rules! in_cluster_key {
    ($(#[$doc:meta])* $name:ident, $field:ident: $ty:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name {
            /// The cluster that it belongs to.
            pub cluster: ClusterName,
            /// Its name or id within the cluster.
            pub $field: $ty,
        }

        impl $name {
            /// The key of `$field` within `cluster`.
            pub fn new(cluster: impl Into<ClusterName>, $field: impl Into<$ty>) -> Self {
                Self { cluster: cluster.into(), $field: $field.into() }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", self.cluster, self.$field)
            }
        }
    };
}

in_cluster_key!(
    /// A task within its cluster.
    TaskKey, id: TaskId
);
in_cluster_key!(
    /// A service within its cluster.
    ServiceKey, name: ServiceName
);
in_cluster_key!(
    /// A container instance within its cluster.
    ContainerInstanceKey, id: ContainerInstanceId
);

/// Makes ids from a seed: the same seed gives the same ids, so that decisions can be replayed.
#[derive(Debug, Clone)]
pub struct IdSource(fastrand::Rng);

impl IdSource {
    /// A source whose every answer follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// 32 hexadecimal digits: ids of tasks, container instances, container runtimes.
    pub fn hex32(&mut self) -> String {
        format!("{:032x}", self.0.u128(..))
    }

    /// 17 hexadecimal digits: the ids of EC2 resources after their prefix.
    pub fn hex17(&mut self) -> String {
        format!("{:017x}", self.0.u128(..) >> 60)
    }

    /// A version 4 UUID in text form: ids of containers and attachments.
    pub fn uuid(&mut self) -> String {
        let b = (self.0.u128(..) & !(0xf << 76) | (4 << 76)) & !(0x3 << 62) | (0x2 << 62);
        let h = format!("{b:032x}");
        format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
    }

    /// 19 decimal digits that don't start with zero: deployments and service revisions.
    pub fn digits19(&mut self) -> String {
        self.0.u64(1_000_000_000_000_000_000..=9_223_372_036_854_775_807).to_string()
    }

    /// A new task id.
    pub fn task_id(&mut self) -> TaskId {
        self.hex32().into()
    }

    /// `prefix` and 17 letters or digits: the unique ids of IAM (`AROA…`).
    pub fn iam_id(&mut self, prefix: &str) -> String {
        const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let letters = (0..17).map(|_| char::from(ALPHABET[self.0.usize(..ALPHABET.len())]));
        prefix.chars().chain(letters).collect()
    }

    /// A number below `bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { self.0.usize(..bound) }
    }

    /// A locally administered unicast MAC address.
    pub fn mac_address(&mut self) -> String {
        let b = self.0.u64(..).to_be_bytes();
        format!(
            "{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}",
            (b[0] & 0xfc) | 2,
            b[1],
            b[2],
            b[3],
            b[4],
            b[5]
        )
    }
}
