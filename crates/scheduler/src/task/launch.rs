//! Launching: new tasks on hosts, as one transaction that holds only if the hosts are as seen.

use super::address::Addresses;
use super::gpu::Gpus;
use crate::connectivity::Connectivity;
use crate::placement::{
    self, ConstraintError, Constraints, Failure, FailureReason, PlacementReport, PlacementRequest,
    Strategy, StrategyError, Verdict,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wharf_model::network::{AwsVpcConfiguration, BuiltinVpc, Network};
use wharf_model::task::TaskOverride;
use wharf_model::task_definition::{
    EPHEMERAL_STORAGE, LaunchType, PlacementConstraint, PlacementStrategy,
};
use wharf_model::{
    ClusterName, Container, ContainerInstance, ContainerInstanceKey, IdSource, NetworkInterface,
    NetworkMode, RecordKey, Reservation, ResourceAmount, ServiceName, Snapshot, Tag, Task,
    TaskDefinition, TaskStatus, Timestamp, Transaction,
};

/// Most tasks of one launch: two records a task must fit a transaction's 100.
pub const MAX_LAUNCHED: usize = 45;

/// Why a request can't be carried out at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A constraint isn't valid.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    /// The strategy isn't valid.
    #[error(transparent)]
    Strategy(#[from] StrategyError),
}

/// Which hosts.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// Placement chooses (RunTask, services).
    Placed {
        /// How many tasks.
        count: usize,
        /// The caller's constraints, on top of the task definition's.
        constraints: &'a [PlacementConstraint],
        /// The caller's strategy; empty for the default.
        strategy: &'a [PlacementStrategy],
    },
    /// One task on each of these (StartTask).
    Instances(&'a [ContainerInstanceKey]),
}

/// What is to be launched.
#[derive(Debug, Clone, Copy)]
pub struct LaunchRequest<'a> {
    /// The cluster.
    pub cluster: &'a ClusterName,
    /// What the tasks run.
    pub task_definition: &'a TaskDefinition,
    /// Overrides, checked by the caller.
    pub overrides: &'a TaskOverride,
    /// Which hosts.
    pub target: Target<'a>,
    /// Group; `service:<name>` or `family:<family>` if none is given.
    pub group: Option<&'a str>,
    /// `startedBy`; the deployment's id for service tasks.
    pub started_by: Option<&'a str>,
    /// The service that they belong to.
    pub service: Option<&'a ServiceName>,
    /// EC2, FARGATE or EXTERNAL.
    pub launch_type: LaunchType,
    /// Capacity providers that the tasks count for, one after the other; empty for none.
    pub capacity_providers: &'a [String],
    /// FARGATE's platform version, if one was named.
    pub platform_version: Option<&'a str>,
    /// awsvpc configuration.
    pub network: Option<&'a AwsVpcConfiguration>,
    /// Where awsvpc addresses come from.
    pub vpc: &'a BuiltinVpc,
    /// Tags of every task.
    pub tags: &'a [Tag],
    /// ECS Exec was asked for.
    pub enable_execute_command: bool,
}

/// What comes of a launch.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LaunchPlan {
    /// The new tasks, as the transaction writes them.
    pub tasks: Vec<Task>,
    /// Puts the tasks and rewrites the reservation of every host used.
    pub transaction: Transaction,
    /// Why not all could be launched.
    pub failures: Vec<Failure>,
    /// The placement's report; empty for named instances.
    pub report: PlacementReport,
}

/// ECS's managed tags of a task: `aws:ecs:clusterName` and, for a service's, `aws:ecs:serviceName`.
pub fn managed_tags(cluster: &ClusterName, service: Option<&ServiceName>) -> Vec<Tag> {
    let tag = |key: &str, value: &str| Tag { key: key.to_owned(), value: value.to_owned() };
    let service = service.map(|s| tag("aws:ecs:serviceName", s.as_str()));
    service.into_iter().chain([tag("aws:ecs:clusterName", cluster.as_str())]).collect()
}

/// Decides where new tasks go and writes them down. The same arguments give the same plan.
///
/// # Errors
/// If the constraints or the strategy aren't valid, which the API's operations check beforehand.
pub fn launch(
    snapshot: &Snapshot,
    connectivity: &dyn Connectivity,
    request: &LaunchRequest<'_>,
    now: Timestamp,
    seed: u64,
) -> Result<LaunchPlan, Error> {
    let group = match (request.group, request.service) {
        (Some(group), _) => group.to_owned(),
        (None, Some(service)) => format!("service:{service}"),
        (None, None) => format!("family:{}", request.task_definition.family),
    };
    let resources = request.task_definition.resources(request.overrides);
    let (hosts, mut failures, report) =
        choose(snapshot, connectivity, request, &group, &resources, seed)?;
    let mut ids = IdSource::new(seed.wrapping_add(1));
    let mut transaction = Transaction::new();
    let awsvpc = request.task_definition.effective_network_mode() == NetworkMode::Awsvpc;
    let network = request.network.filter(|_| awsvpc);
    let networks = Network::new(snapshot, request.vpc);
    let mut addresses = network.map(|n| Addresses::new(snapshot, &networks, n));
    let groups = network.map(|n| groups(&networks, n)).unwrap_or_default();
    let mut gpus = Gpus::new(snapshot, request.cluster);
    let mut used = BTreeSet::new();
    let mut tasks = Vec::with_capacity(hosts.len());
    for host in hosts {
        let zone = snapshot
            .container_instance(&host)
            .and_then(|i| i.attribute_value("ecs.availability-zone"));
        let interface = match &mut addresses {
            Some(addresses) => match addresses.take(zone) {
                Some((subnet, ip)) => Some(interface(&mut ids, &subnet.id, ip, &groups)),
                None => {
                    failures.push(no_address(&host));
                    continue;
                }
            },
            _ => None,
        };
        let provider = request.capacity_providers.get(tasks.len()).cloned();
        let mut task = new_task(request, &mut ids, &host, &group, &resources, interface, now);
        give_gpus(&mut task, request, &mut gpus);
        tasks.push(Task { capacity_provider: provider, ..task });
        used.insert(host);
    }
    reserve(snapshot, &mut transaction, request, &used);
    if let Some(addresses) = addresses {
        addresses.commit(&mut transaction);
    }
    for task in &tasks {
        transaction.put(task.clone());
    }
    Ok(LaunchPlan { tasks, transaction, failures, report })
}

type Choice = (Vec<ContainerInstanceKey>, Vec<Failure>, PlacementReport);

fn choose(
    snapshot: &Snapshot,
    connectivity: &dyn Connectivity,
    request: &LaunchRequest<'_>,
    group: &str,
    resources: &ResourceAmount,
    seed: u64,
) -> Result<Choice, Error> {
    let (count, own, strategy) = match request.target {
        Target::Placed { count, constraints, strategy } => (count, constraints, strategy),
        Target::Instances(instances) => (instances.len(), [].as_slice(), [].as_slice()),
    };
    let constraints =
        Constraints::parse(request.task_definition.placement_constraints.iter().chain(own))?;
    let strategy = match request.service {
        Some(_) => Strategy::parse_for_service(strategy)?,
        None => Strategy::parse(strategy)?,
    };
    let limited = limited(request);
    let placement = PlacementRequest {
        cluster: request.cluster,
        task_definition: limited.as_ref().unwrap_or(request.task_definition),
        resources,
        count: count.min(MAX_LAUNCHED),
        group,
        constraints: &constraints,
        strategy: &strategy,
    };
    if let Target::Instances(instances) = request.target {
        let (hosts, failures) = named(snapshot, connectivity, &placement, instances);
        return Ok((hosts, failures, PlacementReport::default()));
    }
    let placed = placement::place(snapshot, connectivity, &placement, seed);
    Ok((placed.assignments, placed.report.failures(), placed.report))
}

/// The task definition with what an override needs of a host beside it.
fn limited(request: &LaunchRequest<'_>) -> Option<TaskDefinition> {
    request.overrides.ephemeral_storage_gib?;
    let mut definition = request.task_definition.clone();
    let attribute = EPHEMERAL_STORAGE.to_owned();
    if !definition.requires_attributes.contains(&attribute) {
        definition.requires_attributes.push(attribute);
    }
    Some(definition)
}

/// The named instances that can take a task, and why the others can't.
fn named(
    snapshot: &Snapshot,
    connectivity: &dyn Connectivity,
    request: &PlacementRequest<'_>,
    instances: &[ContainerInstanceKey],
) -> (Vec<ContainerInstanceKey>, Vec<Failure>) {
    let mut already: BTreeMap<&ContainerInstanceKey, ResourceAmount> = BTreeMap::new();
    let (mut hosts, mut failures) = (Vec::new(), Vec::new());
    for key in instances.iter().take(MAX_LAUNCHED) {
        let before = already.entry(key).or_default();
        let check = |i: &Arc<ContainerInstance>| {
            placement::check_instance(snapshot, connectivity, request, i, before)
        };
        let found = snapshot.container_instance(key).map(check);
        let (reason, detail) = match found {
            Some(Verdict::Fits | Verdict::Chosen { .. }) => {
                before.add(request.resources);
                hosts.push(key.clone());
                continue;
            }
            Some(verdict) => (
                verdict.failure_reason().unwrap_or(FailureReason::Missing),
                Some(verdict.to_string()),
            ),
            None => (FailureReason::Missing, None),
        };
        failures.push(Failure { instance: Some(key.clone()), reason, detail });
    }
    (hosts, failures)
}

fn no_address(host: &ContainerInstanceKey) -> Failure {
    Failure {
        instance: Some(host.clone()),
        reason: FailureReason::Addresses,
        detail: Some(Verdict::Addresses.to_string()),
    }
}

/// The groups of a configuration; its VPC's default one where it names none.
fn groups(networks: &Network<'_>, network: &AwsVpcConfiguration) -> Vec<String> {
    if !network.security_groups.is_empty() {
        return network.security_groups.clone();
    }
    let subnet = network.subnets.iter().find_map(|id| networks.subnet(id));
    let default = subnet.and_then(|s| networks.default_group(&s.vpc_id));
    default.map(|g| g.id.clone()).into_iter().collect()
}

fn interface(
    ids: &mut IdSource,
    subnet: &str,
    private_ip: std::net::Ipv4Addr,
    security_groups: &[String],
) -> NetworkInterface {
    NetworkInterface {
        attachment_id: ids.uuid(),
        eni_id: format!("eni-{}", ids.hex17()),
        mac_address: ids.mac_address(),
        private_ip,
        subnet_id: subnet.to_owned(),
        security_groups: security_groups.to_vec(),
        status: "PRECREATED".to_owned(),
    }
}

fn new_task(
    request: &LaunchRequest<'_>,
    ids: &mut IdSource,
    host: &ContainerInstanceKey,
    group: &str,
    resources: &ResourceAmount,
    network_interface: Option<NetworkInterface>,
    now: Timestamp,
) -> Task {
    let id = ids.task_id();
    let containers = request.task_definition.containers.iter().map(|c| Container {
        name: c.name.clone(),
        id: ids.uuid(),
        last_status: TaskStatus::Pending,
        runtime_id: None,
        exit_code: None,
        reason: None,
        image_digest: None,
        network_bindings: Vec::new(),
        gpu_ids: Vec::new(),
        health: wharf_model::status::HealthStatus::Unknown,
    });
    let containers = containers.collect();
    let provisioning = network_interface.is_some();
    Task {
        id,
        cluster: request.cluster.clone(),
        task_definition: request.task_definition.key(),
        container_instance: Some(host.id.clone()),
        group: group.to_owned(),
        started_by: request.started_by.map(str::to_owned),
        service: request.service.cloned(),
        launch_type: request.launch_type,
        capacity_provider: None,
        platform_version: request.platform_version.map(str::to_owned),
        desired_status: TaskStatus::Running,
        last_status: if provisioning { TaskStatus::Provisioning } else { TaskStatus::Pending },
        reserved: resources.clone(),
        overrides: request.overrides.clone(),
        containers,
        network_interface,
        version: 1,
        created_at: now,
        pull_started_at: None,
        pull_stopped_at: None,
        started_at: None,
        connectivity_at: None,
        stopping_at: None,
        execution_stopped_at: None,
        stopped_at: None,
        stop_code: None,
        stopped_reason: None,
        enable_execute_command: request.enable_execute_command,
        targets: Vec::new(),
        settled: false,
        tags: request.tags.to_vec(),
    }
}

fn give_gpus(task: &mut Task, request: &LaunchRequest<'_>, gpus: &mut Gpus<'_>) {
    let Some(host) = &task.container_instance else { return };
    let definitions = &request.task_definition.containers;
    for (container, definition) in task.containers.iter_mut().zip(definitions) {
        let count = request.task_definition.gpus(definition, request.overrides);
        container.gpu_ids = gpus.of(host, count);
    }
}

/// Makes the transaction hold only while the hosts, the cluster and the task definition are as
/// seen, and rewrites the hosts' reservations.
fn reserve(
    snapshot: &Snapshot,
    transaction: &mut Transaction,
    request: &LaunchRequest<'_>,
    used: &BTreeSet<ContainerInstanceKey>,
) {
    if used.is_empty() {
        return;
    }
    let mut read = |key: RecordKey| {
        let revision = snapshot.revision_of(&key);
        transaction.read(key, revision);
    };
    read(RecordKey::Cluster(request.cluster.clone()));
    read(RecordKey::TaskDefinition(request.task_definition.key()));
    for host in used {
        read(RecordKey::Reservation(host.clone()));
        read(RecordKey::ContainerInstance(host.clone()));
    }
    for host in used {
        let sequence = snapshot.reservation(host).map_or(0, |r| r.sequence) + 1;
        let (cluster, id) = (host.cluster.clone(), host.id.clone());
        transaction.put(Reservation { cluster, id, sequence });
    }
}
