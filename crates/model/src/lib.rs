//! What wharf knows: records, ids and ARNs, the in-memory snapshot, transactions, the cluster
//! query language, and the language of IAM's policies.
//!
//! Everything here is pure: no I/O, no clock, no random source. Time comes in as [`Timestamp`],
//! randomness as a seed for [`IdSource`]. The crate knows nothing of the wire's shapes; gateway,
//! control and agent translate.

pub mod account;
pub mod arn;
pub mod cluster;
pub mod container_instance;
pub mod container_settings;
pub mod cql;
pub mod express;
pub mod iam;
pub mod id;
pub mod load_balancing;
pub mod log_driver;
pub mod network;
pub mod own_volume;
pub mod policy;
pub mod record;
pub mod repository;
pub mod resources;
pub mod secret;
pub mod secret_reference;
pub mod service;
pub mod snapshot;
pub mod status;
pub mod tag;
pub mod task;
pub mod task_definition;
pub mod time;
pub mod transaction;

pub use account::{AccessKey, AccountSetting, ClientToken, Principal};
pub use arn::{Arn, ArnScope};
pub use cluster::Cluster;
pub use container_instance::{Attribute, ContainerInstance, Reservation};
pub use id::{
    ClusterName, ContainerInstanceId, ContainerInstanceKey, Family, IdSource, ServiceKey,
    ServiceName, TaskDefinitionKey, TaskId, TaskKey,
};
pub use record::{Record, RecordKey};
pub use repository::{
    ImageScan, ImageTag, PullThroughRule, RegistryImage, RegistryKey, RegistrySettings,
    Replication, ReplicationOutcome, ReplicationRule, Repository, RepositoryBlob,
    RepositoryTemplate, ScanOutcome, ScanRule,
};
pub use resources::{HostPort, ResourceAmount, TransportProtocol};
pub use secret::{Parameter, ParameterVersion, Sealed, Secret, SecretVersion};
pub use service::{Deployment, LaunchSettings, Service, ServiceDeployment, ServiceRevision};
pub use snapshot::{InstanceUsage, Snapshot};
pub use status::TaskStatus;
pub use tag::Tag;
pub use task::{Container, NetworkBinding, NetworkInterface, Task};
pub use task_definition::{ContainerDefinition, NetworkMode, TaskDefinition};
pub use time::Timestamp;
pub use transaction::{Revision, Transaction, Write};
