//! Records and their keys: what the journal stores.

use crate::account::{AccessKey, AccountSetting, ClientToken};
use crate::cluster::Cluster;
use crate::container_instance::{ContainerInstance, Reservation};
use crate::iam::{self, InstanceProfile, ManagedPolicy, Role, User};
use crate::id::{
    ClusterName, ContainerInstanceKey, Family, ServiceKey, TaskDefinitionKey, TaskKey,
};
use crate::load_balancing::{
    Certificate, Listener, LoadBalancer, Rule, Target, TargetGroup, TargetKey, TrustStore,
};
use crate::network::SubnetAllocation;
use crate::network::resource::{InternetGateway, RouteTable, SecurityGroup, Vpc, VpcSubnet};
use crate::repository::{ImageTag, RegistryImage, RegistrySettings, Repository, RepositoryBlob};
use crate::secret::{Parameter, ParameterVersion, Secret, SecretVersion};
use crate::service::{Service, ServiceDeployment, ServiceRevision};
use crate::task::Task;
use crate::task_definition::{TaskDefinition, TaskDefinitionFamily};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// First byte of every encoded record. A reader refuses versions that it doesn't know; a change
/// that old readers would misread counts it up.
pub const FORMAT_VERSION: u8 = 1;

/// Why bytes aren't a record.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key's text names no kind of record.
    #[error("record key {0:?} names no kind of record that this wharf knows")]
    UnknownKey(String),
    /// Written by a newer wharf.
    #[error("record {key} has format version {found}, this wharf reads up to {FORMAT_VERSION}")]
    Version {
        /// The record.
        key: String,
        /// Its version; `None` if the record is empty.
        found: u8,
    },
    /// The body doesn't parse.
    #[error("record {key} can't be read")]
    Body {
        /// The record.
        key: String,
        /// What the decoder says.
        #[source]
        source: serde_json::Error,
    },
}

macro_rules! records {
    ($( $(#[$doc:meta])* $kind:ident($prefix:literal, $key:ty) = $record:ty => |$r:ident| $make:expr; )*) => {
        /// The key of a record: its kind and its identity.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum RecordKey {
            $( $(#[$doc])* $kind($key), )*
        }

        /// A record of any kind.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Record {
            $( $(#[$doc])* $kind(Arc<$record>), )*
        }

        impl fmt::Display for RecordKey {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $( Self::$kind(key) => write!(f, "{}/{}", $prefix, KeyText::to_text(key)), )*
                }
            }
        }

        impl FromStr for RecordKey {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                let unknown = || Error::UnknownKey(text.to_owned());
                let (prefix, rest) = text.split_once('/').ok_or_else(unknown)?;
                match prefix {
                    $( $prefix => <$key as KeyText>::from_text(rest).map(Self::$kind).ok_or_else(unknown), )*
                    _ => Err(unknown()),
                }
            }
        }

        impl Record {
            /// The record's key.
            pub fn key(&self) -> RecordKey {
                match self {
                    $( Self::$kind($r) => RecordKey::$kind($make), )*
                }
            }

            /// The record as bytes: format version, then JSON.
            pub fn encode(&self) -> Vec<u8> {
                match self {
                    $( Self::$kind(record) => encode(record.as_ref()), )*
                }
            }

            /// Reads what [`Record::encode`] wrote.
            ///
            /// # Errors
            /// If the version is newer than [`FORMAT_VERSION`] or the body doesn't parse.
            pub fn decode(key: &RecordKey, bytes: &[u8]) -> Result<Self, Error> {
                match key {
                    $( RecordKey::$kind(_) => Ok(Self::$kind(Arc::new(decode(key, bytes)?))), )*
                }
            }
        }

        $(
            impl From<$record> for Record {
                fn from(record: $record) -> Self {
                    Self::$kind(Arc::new(record))
                }
            }
        )*
    };
}

records! {
    /// A cluster.
    Cluster("cluster", ClusterName) = Cluster => |r| r.name.clone();
    /// A task definition.
    TaskDefinition("task-definition", TaskDefinitionKey) = TaskDefinition => |r| r.key();
    /// A family's latest revision.
    TaskDefinitionFamily("family", Family) = TaskDefinitionFamily => |r| r.family.clone();
    /// A container instance.
    ContainerInstance("container-instance", ContainerInstanceKey) = ContainerInstance => |r| r.key();
    /// Placement's reservation record of an instance.
    Reservation("reservation", ContainerInstanceKey) = Reservation
        => |r| ContainerInstanceKey { cluster: r.cluster.clone(), id: r.id.clone() };
    /// A task.
    Task("task", TaskKey) = Task => |r| r.key();
    /// A service.
    Service("service", ServiceKey) = Service => |r| r.key();
    /// A service deployment.
    ServiceDeployment("service-deployment", (ServiceKey, String)) = ServiceDeployment
        => |r| (r.service.clone(), r.id.clone());
    /// A service revision.
    ServiceRevision("service-revision", (ServiceKey, String)) = ServiceRevision
        => |r| (r.service.clone(), r.id.clone());
    /// An account setting: name and principal.
    AccountSetting("account-setting", (String, String)) = AccountSetting
        => |r| (r.name.clone(), r.principal.clone());
    /// An access key.
    AccessKey("access-key", String) = AccessKey => |r| r.access_key_id.clone();
    /// A client token: cluster, operation, token.
    ClientToken("client-token", (String, String, String)) = ClientToken
        => |r| (r.cluster.clone(), r.operation.clone(), r.token.clone());
    /// Address allocation of a subnet.
    SubnetAllocation("subnet", String) = SubnetAllocation => |r| r.subnet_id.clone();
    /// A parameter of the Parameter Store: its name.
    Parameter("parameter", String) = Parameter => |r| r.name.clone();
    /// A version of a parameter: the parameter's id, its number.
    ParameterVersion("parameter-version", (String, u64)) = ParameterVersion
        => |r| (r.parameter_id.clone(), r.version);
    /// A secret: its name.
    Secret("secret", String) = Secret => |r| r.name.clone();
    /// A version of a secret: the secret's id, its own.
    SecretVersion("secret-version", (String, String)) = SecretVersion
        => |r| (r.secret_id.clone(), r.id.clone());
    /// A role, by its name in lower case; so are users, policies and instance profiles.
    Role("iam-role", String) = Role => |r| iam::key(&r.name);
    /// A user.
    User("iam-user", String) = User => |r| iam::key(&r.name);
    /// A policy of the account's own.
    ManagedPolicy("iam-policy", String) = ManagedPolicy => |r| iam::key(&r.name);
    /// An instance profile.
    InstanceProfile("iam-instance-profile", String) = InstanceProfile => |r| iam::key(&r.name);
    /// An image repository.
    Repository("repository", String) = Repository => |r| r.name.clone();
    /// A manifest: repository's id and digest.
    RegistryImage("image", (String, String)) = RegistryImage
        => |r| (r.repository.clone(), r.digest.clone());
    /// A tag: repository's id and tag.
    ImageTag("image-tag", (String, String)) = ImageTag => |r| (r.repository.clone(), r.tag.clone());
    /// A repository's blob: repository's id and digest.
    RepositoryBlob("repository-blob", (String, String)) = RepositoryBlob
        => |r| (r.repository.clone(), r.digest.clone());
    /// The registry's settings, all of them.
    RegistrySettings("registry-settings", String) = RegistrySettings
        => |_r| RegistrySettings::KEY.to_owned();
    /// A load balancer, by its path: `app/NAME/ID`; so are what follows.
    LoadBalancer("load-balancer", String) = LoadBalancer => |r| r.path();
    /// A listener: `app/NAME/ID/ID`.
    Listener("listener", String) = Listener => |r| r.path();
    /// A rule: `app/NAME/ID/ID/ID`.
    ListenerRule("listener-rule", String) = Rule => |r| r.path();
    /// A target group: `NAME/ID`.
    TargetGroup("target-group", String) = TargetGroup => |r| r.path();
    /// A target of a group.
    Target("target", TargetKey) = Target => |r| r.key.clone();
    /// A trust store: `NAME/ID`.
    TrustStore("trust-store", String) = TrustStore => |r| r.path();
    /// A certificate, by its id.
    Certificate("certificate", String) = Certificate => |r| r.id.clone();
    /// A VPC, by its id; so are what follows.
    Vpc("vpc", String) = Vpc => |r| r.id.clone();
    /// A VPC's subnet.
    VpcSubnet("vpc-subnet", String) = VpcSubnet => |r| r.id.clone();
    /// A security group.
    SecurityGroup("security-group", String) = SecurityGroup => |r| r.id.clone();
    /// An internet gateway.
    InternetGateway("internet-gateway", String) = InternetGateway => |r| r.id.clone();
    /// A route table.
    RouteTable("route-table", String) = RouteTable => |r| r.id.clone();
}

fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    let mut bytes = vec![FORMAT_VERSION];
    // Records are plain data with string keys: serialising them into memory can't fail.
    if let Ok(body) = serde_json::to_vec(record) {
        bytes.extend_from_slice(&body);
    }
    bytes
}

fn decode<T: DeserializeOwned>(key: &RecordKey, bytes: &[u8]) -> Result<T, Error> {
    match bytes.split_first() {
        Some((&FORMAT_VERSION, body)) => serde_json::from_slice(body)
            .map_err(|source| Error::Body { key: key.to_string(), source }),
        other => Err(Error::Version {
            key: key.to_string(),
            found: other.map_or(0, |(version, _)| *version),
        }),
    }
}

/// A key's identity as text after the kind's prefix. Only the last part may contain slashes.
trait KeyText: Sized {
    fn to_text(&self) -> String;
    fn from_text(text: &str) -> Option<Self>;
}

impl KeyText for String {
    fn to_text(&self) -> String {
        self.clone()
    }
    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl KeyText for ClusterName {
    fn to_text(&self) -> String {
        self.to_string()
    }
    fn from_text(text: &str) -> Option<Self> {
        Some(text.into())
    }
}

impl KeyText for Family {
    fn to_text(&self) -> String {
        self.to_string()
    }
    fn from_text(text: &str) -> Option<Self> {
        Some(text.into())
    }
}

impl KeyText for TaskDefinitionKey {
    fn to_text(&self) -> String {
        format!("{}/{}", self.family, self.revision)
    }
    fn from_text(text: &str) -> Option<Self> {
        let (family, revision) = text.split_once('/')?;
        Some(Self { family: family.into(), revision: revision.parse().ok()? })
    }
}

impl KeyText for TaskKey {
    fn to_text(&self) -> String {
        self.to_string()
    }
    fn from_text(text: &str) -> Option<Self> {
        text.split_once('/').map(|(cluster, id)| Self::new(cluster, id))
    }
}

impl KeyText for ServiceKey {
    fn to_text(&self) -> String {
        self.to_string()
    }
    fn from_text(text: &str) -> Option<Self> {
        text.split_once('/').map(|(cluster, name)| Self::new(cluster, name))
    }
}

impl KeyText for ContainerInstanceKey {
    fn to_text(&self) -> String {
        self.to_string()
    }
    fn from_text(text: &str) -> Option<Self> {
        text.split_once('/').map(|(cluster, id)| Self::new(cluster, id))
    }
}

impl KeyText for (ServiceKey, String) {
    fn to_text(&self) -> String {
        format!("{}/{}", self.0, self.1)
    }
    fn from_text(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '/');
        Some((ServiceKey::new(parts.next()?, parts.next()?), parts.next()?.to_owned()))
    }
}

impl KeyText for TargetKey {
    fn to_text(&self) -> String {
        self.to_string()
    }
    fn from_text(text: &str) -> Option<Self> {
        let (target_group, rest) = text.split_once('/')?;
        let (id, port) = rest.rsplit_once('/')?;
        Some(Self { target_group: target_group.into(), id: id.into(), port: port.parse().ok()? })
    }
}

impl KeyText for (String, String) {
    fn to_text(&self) -> String {
        format!("{}/{}", self.0, self.1)
    }
    fn from_text(text: &str) -> Option<Self> {
        text.split_once('/').map(|(a, b)| (a.to_owned(), b.to_owned()))
    }
}

impl KeyText for (String, u64) {
    fn to_text(&self) -> String {
        format!("{}/{}", self.0, self.1)
    }
    fn from_text(text: &str) -> Option<Self> {
        let (name, number) = text.split_once('/')?;
        Some((name.to_owned(), number.parse().ok()?))
    }
}

impl KeyText for (String, String, String) {
    fn to_text(&self) -> String {
        format!("{}/{}/{}", self.0, self.1, self.2)
    }
    fn from_text(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '/').map(str::to_owned);
        Some((parts.next()?, parts.next()?, parts.next()?))
    }
}
