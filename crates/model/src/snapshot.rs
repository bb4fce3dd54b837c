//! The state at one revision: immutable, cheap to clone, with the indexes that readers need.
//!
//! Maps share structure (imbl), so that a clone costs nothing and applying a transaction copies
//! only the paths that change. Every map is ordered: iteration is the same in every run.

mod identity;
mod load_balancing;
mod network;
mod repository;
mod secret;

use crate::account::{AccessKey, AccountSetting, ClientToken};
use crate::cluster::Cluster;
use crate::container_instance::{ContainerInstance, Reservation};
use crate::iam::{self, InstanceProfile, ManagedPolicy, Role, User};
use crate::id::{
    ClusterName, ContainerInstanceKey, Family, ServiceKey, TaskDefinitionKey, TaskId, TaskKey,
};
use crate::load_balancing::{
    Certificate, Listener, LoadBalancer, Rule, Target, TargetGroup, TargetKey, TrustStore,
};
use crate::network::SubnetAllocation;
use crate::network::resource::{InternetGateway, RouteTable, SecurityGroup, Vpc, VpcSubnet};
use crate::record::{Record, RecordKey};
use crate::repository::{ImageTag, RegistryImage, RegistrySettings, Repository, RepositoryBlob};
use crate::resources::ResourceAmount;
use crate::secret::{Parameter, ParameterVersion, Secret, SecretVersion};
use crate::service::{Service, ServiceDeployment, ServiceRevision};
use crate::task::Task;
use crate::task_definition::{TaskDefinition, TaskDefinitionFamily};
use crate::transaction::{Revision, Write};
use imbl::{OrdMap, OrdSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// What the tasks on one instance take, kept up to date with every task's change so that a
/// placement costs the same however many tasks run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct InstanceUsage {
    /// Sum over the tasks that haven't stopped.
    pub used: ResourceAmount,
    /// Tasks that haven't stopped, by group: for distinctInstance and spread.
    pub tasks_by_group: OrdMap<String, u32>,
    /// Tasks that haven't stopped.
    pub tasks: OrdSet<TaskId>,
    /// Of these, RUNNING ones.
    pub running: u32,
    /// Of these, ones before RUNNING.
    pub pending: u32,
}

#[derive(Debug, Clone)]
struct Versioned<T> {
    revision: Revision,
    value: Arc<T>,
}

type Table<K, T> = OrdMap<K, Versioned<T>>;

/// The whole state at one revision.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    revision: Revision,
    clusters: Table<ClusterName, Cluster>,
    task_definitions: Table<TaskDefinitionKey, TaskDefinition>,
    families: Table<Family, TaskDefinitionFamily>,
    container_instances: Table<ContainerInstanceKey, ContainerInstance>,
    reservations: Table<ContainerInstanceKey, Reservation>,
    tasks: Table<TaskKey, Task>,
    services: Table<ServiceKey, Service>,
    service_deployments: Table<(ServiceKey, String), ServiceDeployment>,
    service_revisions: Table<(ServiceKey, String), ServiceRevision>,
    account_settings: Table<(String, String), AccountSetting>,
    access_keys: Table<String, AccessKey>,
    client_tokens: Table<(String, String, String), ClientToken>,
    subnets: Table<String, SubnetAllocation>,
    parameters: Table<String, Parameter>,
    parameter_versions: Table<(String, u64), ParameterVersion>,
    secrets: Table<String, Secret>,
    secret_versions: Table<(String, String), SecretVersion>,
    roles: Table<String, Role>,
    users: Table<String, User>,
    policies: Table<String, ManagedPolicy>,
    instance_profiles: Table<String, InstanceProfile>,
    repositories: Table<String, Repository>,
    registry_images: Table<(String, String), RegistryImage>,
    image_tags: Table<(String, String), ImageTag>,
    repository_blobs: Table<(String, String), RepositoryBlob>,
    registry_settings: Table<String, RegistrySettings>,
    load_balancers: Table<String, LoadBalancer>,
    listeners: Table<String, Listener>,
    listener_rules: Table<String, Rule>,
    target_groups: Table<String, TargetGroup>,
    targets: Table<TargetKey, Target>,
    trust_stores: Table<String, TrustStore>,
    certificates: Table<String, Certificate>,
    vpcs: Table<String, Vpc>,
    vpc_subnets: Table<String, VpcSubnet>,
    security_groups: Table<String, SecurityGroup>,
    internet_gateways: Table<String, InternetGateway>,
    route_tables: Table<String, RouteTable>,
    usage: OrdMap<ContainerInstanceKey, Arc<InstanceUsage>>,
    service_tasks: OrdMap<ServiceKey, OrdSet<TaskId>>,
    addresses: OrdMap<Ipv4Addr, TaskKey>,
    load_balancer_addresses: OrdMap<Ipv4Addr, String>,
    tags_of_images: OrdMap<(String, String), OrdSet<String>>,
}

macro_rules! lookups {
    ($( $(#[$doc:meta])* $one:ident, $all:ident: $key:ty => $record:ty; )*) => {
        impl Snapshot {
            $(
                $(#[$doc])*
                pub fn $one(&self, key: &$key) -> Option<&Arc<$record>> {
                    self.$all.get(key).map(|v| &v.value)
                }
            )*
        }
    };
}

lookups! {
    /// The cluster with this name, ACTIVE or INACTIVE.
    cluster, clusters: ClusterName => Cluster;
    /// The task definition with this family and revision.
    task_definition, task_definitions: TaskDefinitionKey => TaskDefinition;
    /// The family's record.
    family, families: Family => TaskDefinitionFamily;
    /// The container instance with this key.
    container_instance, container_instances: ContainerInstanceKey => ContainerInstance;
    /// The instance's reservation record.
    reservation, reservations: ContainerInstanceKey => Reservation;
    /// The task with this key.
    task, tasks: TaskKey => Task;
    /// The service with this key.
    service, services: ServiceKey => Service;
    /// The service deployment with this service and id.
    service_deployment, service_deployments: (ServiceKey, String) => ServiceDeployment;
    /// The service revision with this service and id.
    service_revision, service_revisions: (ServiceKey, String) => ServiceRevision;
    /// The account setting with this name and principal.
    account_setting, account_settings: (String, String) => AccountSetting;
    /// The access key with this id.
    access_key, access_keys: String => AccessKey;
    /// What a client token was used for: cluster, operation, token.
    client_token, client_tokens: (String, String, String) => ClientToken;
    /// The subnet's allocation record.
    subnet_allocation, subnets: String => SubnetAllocation;
    /// The parameter of this name.
    parameter, parameters: String => Parameter;
    /// The parameter's version: the parameter's id, its number.
    parameter_version, parameter_versions: (String, u64) => ParameterVersion;
    /// The secret of this name, deleted ones that can still be restored included.
    secret, secrets: String => Secret;
    /// The secret's version: the secret's id, its own.
    secret_version, secret_versions: (String, String) => SecretVersion;
    /// The role with this name in lower case.
    role, roles: String => Role;
    /// The user with this name in lower case.
    user, users: String => User;
    /// The account's own policy with this name in lower case.
    policy, policies: String => ManagedPolicy;
    /// The instance profile with this name in lower case.
    instance_profile, instance_profiles: String => InstanceProfile;
    /// The image repository with this name.
    repository, repositories: String => Repository;
    /// The manifest with this repository's id and digest.
    registry_image, registry_images: (String, String) => RegistryImage;
    /// The tag with this repository's id and name.
    image_tag, image_tags: (String, String) => ImageTag;
    /// The blob with this repository's id and digest.
    repository_blob, repository_blobs: (String, String) => RepositoryBlob;
    /// The registry's settings, if any were ever set.
    registry_settings, registry_settings: String => RegistrySettings;
    /// The load balancer with this path: `app/NAME/ID`.
    load_balancer, load_balancers: String => LoadBalancer;
    /// The listener with this path: `app/NAME/ID/ID`.
    listener, listeners: String => Listener;
    /// The rule with this path: `app/NAME/ID/ID/ID`.
    listener_rule, listener_rules: String => Rule;
    /// The target group with this path: `NAME/ID`.
    target_group, target_groups: String => TargetGroup;
    /// The target with this key.
    target, targets: TargetKey => Target;
    /// The trust store with this path: `NAME/ID`.
    trust_store, trust_stores: String => TrustStore;
    /// The certificate with this id.
    certificate, certificates: String => Certificate;
    /// The VPC with this id, if it has a record.
    vpc, vpcs: String => Vpc;
    /// The subnet with this id, if it has a record.
    vpc_subnet, vpc_subnets: String => VpcSubnet;
    /// The security group with this id, if it has a record.
    security_group, security_groups: String => SecurityGroup;
    /// The internet gateway with this id, if it has a record.
    internet_gateway, internet_gateways: String => InternetGateway;
    /// The route table with this id, if it has a record.
    route_table, route_tables: String => RouteTable;
}

fn values<'a, K: Ord + Clone, T>(
    table: &'a Table<K, T>,
) -> impl DoubleEndedIterator<Item = &'a Arc<T>> + use<'a, K, T> {
    table.values().map(|v| &v.value)
}

/// The records whose key begins with `first`, from `second` on.
fn within<'a, T>(
    table: &'a Table<(String, String), T>,
    first: &'a str,
    second: &str,
) -> impl Iterator<Item = &'a Arc<T>> + use<'a, T> {
    let from = (first.to_owned(), second.to_owned());
    table.range(from..).take_while(move |((key, _), _)| key == first).map(|(_, v)| &v.value)
}

impl Snapshot {
    /// The revision of the last transaction that is in it.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The revision of one record; [`Revision::ABSENT`] if there is none.
    pub fn revision_of(&self, key: &RecordKey) -> Revision {
        fn of<K: Ord + Clone, T>(table: &Table<K, T>, key: &K) -> Revision {
            table.get(key).map_or(Revision::ABSENT, |v| v.revision)
        }
        match key {
            RecordKey::Cluster(k) => of(&self.clusters, k),
            RecordKey::TaskDefinition(k) => of(&self.task_definitions, k),
            RecordKey::TaskDefinitionFamily(k) => of(&self.families, k),
            RecordKey::ContainerInstance(k) => of(&self.container_instances, k),
            RecordKey::Reservation(k) => of(&self.reservations, k),
            RecordKey::Task(k) => of(&self.tasks, k),
            RecordKey::Service(k) => of(&self.services, k),
            RecordKey::ServiceDeployment(k) => of(&self.service_deployments, k),
            RecordKey::ServiceRevision(k) => of(&self.service_revisions, k),
            RecordKey::AccountSetting(k) => of(&self.account_settings, k),
            RecordKey::AccessKey(k) => of(&self.access_keys, k),
            RecordKey::ClientToken(k) => of(&self.client_tokens, k),
            RecordKey::SubnetAllocation(k) => of(&self.subnets, k),
            RecordKey::Parameter(k) => of(&self.parameters, k),
            RecordKey::ParameterVersion(k) => of(&self.parameter_versions, k),
            RecordKey::Secret(k) => of(&self.secrets, k),
            RecordKey::SecretVersion(k) => of(&self.secret_versions, k),
            RecordKey::Role(k) => of(&self.roles, k),
            RecordKey::User(k) => of(&self.users, k),
            RecordKey::ManagedPolicy(k) => of(&self.policies, k),
            RecordKey::InstanceProfile(k) => of(&self.instance_profiles, k),
            RecordKey::Repository(k) => of(&self.repositories, k),
            RecordKey::RegistryImage(k) => of(&self.registry_images, k),
            RecordKey::ImageTag(k) => of(&self.image_tags, k),
            RecordKey::RepositoryBlob(k) => of(&self.repository_blobs, k),
            RecordKey::RegistrySettings(k) => of(&self.registry_settings, k),
            RecordKey::LoadBalancer(k) => of(&self.load_balancers, k),
            RecordKey::Listener(k) => of(&self.listeners, k),
            RecordKey::ListenerRule(k) => of(&self.listener_rules, k),
            RecordKey::TargetGroup(k) => of(&self.target_groups, k),
            RecordKey::Target(k) => of(&self.targets, k),
            RecordKey::TrustStore(k) => of(&self.trust_stores, k),
            RecordKey::Certificate(k) => of(&self.certificates, k),
            RecordKey::Vpc(k) => of(&self.vpcs, k),
            RecordKey::VpcSubnet(k) => of(&self.vpc_subnets, k),
            RecordKey::SecurityGroup(k) => of(&self.security_groups, k),
            RecordKey::InternetGateway(k) => of(&self.internet_gateways, k),
            RecordKey::RouteTable(k) => of(&self.route_tables, k),
        }
    }

    /// All clusters by name.
    pub fn clusters(&self) -> impl DoubleEndedIterator<Item = &Arc<Cluster>> {
        values(&self.clusters)
    }

    /// All task definitions by family and revision.
    pub fn task_definitions(&self) -> impl DoubleEndedIterator<Item = &Arc<TaskDefinition>> {
        values(&self.task_definitions)
    }

    /// The revisions of one family, ascending.
    pub fn family_revisions(
        &self,
        family: &str,
    ) -> impl DoubleEndedIterator<Item = &Arc<TaskDefinition>> {
        let key = |revision| TaskDefinitionKey { family: Family::from(family), revision };
        self.task_definitions.range(key(0)..=key(u32::MAX)).map(|(_, v)| &v.value)
    }

    /// All families by name.
    pub fn families(&self) -> impl DoubleEndedIterator<Item = &Arc<TaskDefinitionFamily>> {
        values(&self.families)
    }

    /// All container instances of a cluster by id.
    pub fn container_instances<'a>(
        &'a self,
        cluster: &'a ClusterName,
    ) -> impl Iterator<Item = &'a Arc<ContainerInstance>> {
        self.container_instances
            .range(ContainerInstanceKey::new(cluster.as_str(), "")..)
            .take_while(move |(k, _)| k.cluster == *cluster)
            .map(|(_, v)| &v.value)
    }

    /// All container instances of all clusters.
    pub fn all_container_instances(&self) -> impl Iterator<Item = &Arc<ContainerInstance>> {
        values(&self.container_instances)
    }

    /// All tasks of a cluster by id, stopped ones included.
    pub fn tasks<'a>(&'a self, cluster: &'a ClusterName) -> impl Iterator<Item = &'a Arc<Task>> {
        self.tasks
            .range(TaskKey::new(cluster.as_str(), "")..)
            .take_while(move |(k, _)| k.cluster == *cluster)
            .map(|(_, v)| &v.value)
    }

    /// All tasks of all clusters, stopped ones included.
    pub fn all_tasks(&self) -> impl Iterator<Item = &Arc<Task>> {
        values(&self.tasks)
    }

    /// The tasks on an instance that haven't stopped, by id.
    pub fn tasks_on<'a>(
        &'a self,
        instance: &'a ContainerInstanceKey,
    ) -> impl Iterator<Item = &'a Arc<Task>> {
        let ids = self.usage.get(instance).into_iter().flat_map(|u| u.tasks.iter());
        ids.filter_map(|id| {
            self.task(&TaskKey { cluster: instance.cluster.clone(), id: id.clone() })
        })
    }

    /// The tasks of a service by id, stopped ones included while they are remembered.
    pub fn service_tasks<'a>(
        &'a self,
        service: &'a ServiceKey,
    ) -> impl Iterator<Item = &'a Arc<Task>> {
        let ids = self.service_tasks.get(service).into_iter().flatten();
        ids.filter_map(|id| {
            self.task(&TaskKey { cluster: service.cluster.clone(), id: id.clone() })
        })
    }

    /// What the tasks on an instance take.
    pub fn usage(&self, instance: &ContainerInstanceKey) -> Arc<InstanceUsage> {
        self.usage.get(instance).cloned().unwrap_or_default()
    }

    /// All services of a cluster by name.
    pub fn services<'a>(
        &'a self,
        cluster: &'a ClusterName,
    ) -> impl Iterator<Item = &'a Arc<Service>> {
        self.services
            .range(ServiceKey::new(cluster.as_str(), "")..)
            .take_while(move |(k, _)| k.cluster == *cluster)
            .map(|(_, v)| &v.value)
    }

    /// All services of all clusters.
    pub fn all_services(&self) -> impl Iterator<Item = &Arc<Service>> {
        values(&self.services)
    }

    /// The service deployments of a service by id.
    pub fn service_deployments<'a>(
        &'a self,
        service: &'a ServiceKey,
    ) -> impl Iterator<Item = &'a Arc<ServiceDeployment>> {
        self.service_deployments
            .range((service.clone(), String::new())..)
            .take_while(move |((k, _), _)| k == service)
            .map(|(_, v)| &v.value)
    }

    /// The service revisions of a service by id.
    pub fn service_revisions<'a>(
        &'a self,
        service: &'a ServiceKey,
    ) -> impl Iterator<Item = &'a Arc<ServiceRevision>> {
        self.service_revisions
            .range((service.clone(), String::new())..)
            .take_while(move |((k, _), _)| k == service)
            .map(|(_, v)| &v.value)
    }

    /// All client tokens.
    pub fn client_tokens(&self) -> impl Iterator<Item = &Arc<ClientToken>> {
        values(&self.client_tokens)
    }

    /// The task that holds an address of the VPC, if one does.
    pub fn address_holder(&self, address: Ipv4Addr) -> Option<&TaskKey> {
        self.addresses.get(&address)
    }

    /// Applies a transaction's writes, which become revision `revision`.
    pub fn apply(&mut self, revision: Revision, writes: &[Write]) {
        self.revision = revision;
        for write in writes {
            match write {
                Write::Put(record) => self.put(revision, record),
                Write::Delete(key) => self.delete(key),
            }
        }
    }

    fn put(&mut self, revision: Revision, record: &Record) {
        macro_rules! insert {
            ($table:ident, $key:expr, $record:expr) => {{
                self.$table.insert($key, Versioned { revision, value: Arc::clone($record) });
            }};
        }
        match record {
            Record::Cluster(r) => insert!(clusters, r.name.clone(), r),
            Record::TaskDefinition(r) => insert!(task_definitions, r.key(), r),
            Record::TaskDefinitionFamily(r) => insert!(families, r.family.clone(), r),
            Record::ContainerInstance(r) => insert!(container_instances, r.key(), r),
            Record::Reservation(r) => insert!(
                reservations,
                ContainerInstanceKey { cluster: r.cluster.clone(), id: r.id.clone() },
                r
            ),
            Record::Task(r) => {
                let old = self.tasks.get(&r.key()).map(|v| Arc::clone(&v.value));
                self.reindex_task(old.as_deref(), Some(r));
                insert!(tasks, r.key(), r);
            }
            Record::Service(r) => insert!(services, r.key(), r),
            Record::ServiceDeployment(r) => {
                insert!(service_deployments, (r.service.clone(), r.id.clone()), r);
            }
            Record::ServiceRevision(r) => {
                insert!(service_revisions, (r.service.clone(), r.id.clone()), r);
            }
            Record::AccountSetting(r) => {
                insert!(account_settings, (r.name.clone(), r.principal.clone()), r);
            }
            Record::AccessKey(r) => insert!(access_keys, r.access_key_id.clone(), r),
            Record::ClientToken(r) => {
                insert!(client_tokens, (r.cluster.clone(), r.operation.clone(), r.token.clone()), r)
            }
            Record::SubnetAllocation(r) => insert!(subnets, r.subnet_id.clone(), r),
            Record::Parameter(r) => insert!(parameters, r.name.clone(), r),
            Record::ParameterVersion(r) => {
                insert!(parameter_versions, (r.parameter_id.clone(), r.version), r);
            }
            Record::Secret(r) => insert!(secrets, r.name.clone(), r),
            Record::SecretVersion(r) => {
                insert!(secret_versions, (r.secret_id.clone(), r.id.clone()), r);
            }
            Record::Role(r) => insert!(roles, iam::key(&r.name), r),
            Record::User(r) => insert!(users, iam::key(&r.name), r),
            Record::ManagedPolicy(r) => insert!(policies, iam::key(&r.name), r),
            Record::InstanceProfile(r) => insert!(instance_profiles, iam::key(&r.name), r),
            Record::Repository(r) => insert!(repositories, r.name.clone(), r),
            Record::RegistryImage(r) => {
                insert!(registry_images, (r.repository.clone(), r.digest.clone()), r);
            }
            Record::ImageTag(r) => {
                let key = (r.repository.clone(), r.tag.clone());
                self.reindex_tag(&key, Some(r));
                insert!(image_tags, key, r);
            }
            Record::RepositoryBlob(r) => {
                insert!(repository_blobs, (r.repository.clone(), r.digest.clone()), r);
            }
            Record::RegistrySettings(r) => {
                insert!(registry_settings, RegistrySettings::KEY.to_owned(), r);
            }
            Record::LoadBalancer(r) => {
                self.forget_addresses(&r.path());
                for address in [Some(r.host_address), r.task_address].into_iter().flatten() {
                    self.load_balancer_addresses.insert(address, r.path());
                }
                insert!(load_balancers, r.path(), r);
            }
            Record::Listener(r) => insert!(listeners, r.path(), r),
            Record::ListenerRule(r) => insert!(listener_rules, r.path(), r),
            Record::TargetGroup(r) => insert!(target_groups, r.path(), r),
            Record::Target(r) => insert!(targets, r.key.clone(), r),
            Record::TrustStore(r) => insert!(trust_stores, r.path(), r),
            Record::Certificate(r) => insert!(certificates, r.id.clone(), r),
            Record::Vpc(r) => insert!(vpcs, r.id.clone(), r),
            Record::VpcSubnet(r) => insert!(vpc_subnets, r.id.clone(), r),
            Record::SecurityGroup(r) => insert!(security_groups, r.id.clone(), r),
            Record::InternetGateway(r) => insert!(internet_gateways, r.id.clone(), r),
            Record::RouteTable(r) => insert!(route_tables, r.id.clone(), r),
        }
    }

    fn delete(&mut self, key: &RecordKey) {
        match key {
            RecordKey::Cluster(k) => drop(self.clusters.remove(k)),
            RecordKey::TaskDefinition(k) => drop(self.task_definitions.remove(k)),
            RecordKey::TaskDefinitionFamily(k) => drop(self.families.remove(k)),
            RecordKey::ContainerInstance(k) => drop(self.container_instances.remove(k)),
            RecordKey::Reservation(k) => drop(self.reservations.remove(k)),
            RecordKey::Task(k) => {
                if let Some(old) = self.tasks.remove(k) {
                    self.reindex_task(Some(&old.value), None);
                }
            }
            RecordKey::Service(k) => drop(self.services.remove(k)),
            RecordKey::ServiceDeployment(k) => drop(self.service_deployments.remove(k)),
            RecordKey::ServiceRevision(k) => drop(self.service_revisions.remove(k)),
            RecordKey::AccountSetting(k) => drop(self.account_settings.remove(k)),
            RecordKey::AccessKey(k) => drop(self.access_keys.remove(k)),
            RecordKey::ClientToken(k) => drop(self.client_tokens.remove(k)),
            RecordKey::SubnetAllocation(k) => drop(self.subnets.remove(k)),
            RecordKey::Parameter(k) => drop(self.parameters.remove(k)),
            RecordKey::ParameterVersion(k) => drop(self.parameter_versions.remove(k)),
            RecordKey::Secret(k) => drop(self.secrets.remove(k)),
            RecordKey::SecretVersion(k) => drop(self.secret_versions.remove(k)),
            RecordKey::Role(k) => drop(self.roles.remove(k)),
            RecordKey::User(k) => drop(self.users.remove(k)),
            RecordKey::ManagedPolicy(k) => drop(self.policies.remove(k)),
            RecordKey::InstanceProfile(k) => drop(self.instance_profiles.remove(k)),
            RecordKey::Repository(k) => drop(self.repositories.remove(k)),
            RecordKey::RegistryImage(k) => drop(self.registry_images.remove(k)),
            RecordKey::ImageTag(k) => {
                self.reindex_tag(k, None);
                self.image_tags.remove(k);
            }
            RecordKey::RepositoryBlob(k) => drop(self.repository_blobs.remove(k)),
            RecordKey::RegistrySettings(k) => drop(self.registry_settings.remove(k)),
            RecordKey::LoadBalancer(k) => {
                self.forget_addresses(k);
                self.load_balancers.remove(k);
            }
            RecordKey::Listener(k) => drop(self.listeners.remove(k)),
            RecordKey::ListenerRule(k) => drop(self.listener_rules.remove(k)),
            RecordKey::TargetGroup(k) => drop(self.target_groups.remove(k)),
            RecordKey::Target(k) => drop(self.targets.remove(k)),
            RecordKey::TrustStore(k) => drop(self.trust_stores.remove(k)),
            RecordKey::Certificate(k) => drop(self.certificates.remove(k)),
            RecordKey::Vpc(k) => drop(self.vpcs.remove(k)),
            RecordKey::VpcSubnet(k) => drop(self.vpc_subnets.remove(k)),
            RecordKey::SecurityGroup(k) => drop(self.security_groups.remove(k)),
            RecordKey::InternetGateway(k) => drop(self.internet_gateways.remove(k)),
            RecordKey::RouteTable(k) => drop(self.route_tables.remove(k)),
        }
    }

    fn reindex_task(&mut self, old: Option<&Task>, new: Option<&Task>) {
        if let Some(task) = old {
            self.count_task(task, false);
            if let Some(service) = service_key(task)
                && let Some(ids) = self.service_tasks.get_mut(&service)
            {
                ids.remove(&task.id);
                if ids.is_empty() {
                    self.service_tasks.remove(&service);
                }
            }
            if let Some(interface) = &task.network_interface
                && self.addresses.get(&interface.private_ip) == Some(&task.key())
            {
                self.addresses.remove(&interface.private_ip);
            }
        }
        if let Some(task) = new {
            self.count_task(task, true);
            if let Some(service) = service_key(task) {
                self.service_tasks.entry(service).or_default().insert(task.id.clone());
            }
            if let Some(interface) = &task.network_interface
                && !task.last_status.is_stopped()
            {
                self.addresses.insert(interface.private_ip, task.key());
            }
        }
    }

    fn count_task(&mut self, task: &Task, add: bool) {
        let Some(instance) = task.container_instance_key() else { return };
        if task.last_status.is_stopped() {
            return;
        }
        let entry = self.usage.entry(instance.clone()).or_default();
        let usage = Arc::make_mut(entry);
        let step = |n: &mut u32| *n = if add { *n + 1 } else { n.saturating_sub(1) };
        if add {
            usage.used.add(&task.reserved);
            usage.tasks.insert(task.id.clone());
        } else {
            usage.used.subtract(&task.reserved);
            usage.tasks.remove(&task.id);
        }
        let in_group = usage.tasks_by_group.entry(task.group.clone()).or_insert(0);
        step(in_group);
        if *in_group == 0 {
            usage.tasks_by_group.remove(&task.group);
        }
        if task.last_status == crate::status::TaskStatus::Running {
            step(&mut usage.running);
        } else if task.last_status.is_starting() {
            step(&mut usage.pending);
        }
        if usage.tasks.is_empty() {
            self.usage.remove(&instance);
        }
    }
}

fn service_key(task: &Task) -> Option<ServiceKey> {
    let name = task.service.clone()?;
    Some(ServiceKey { cluster: task.cluster.clone(), name })
}
