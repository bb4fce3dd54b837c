//! A small world for tests: a snapshot that transactions are applied to, as the store would.

use wharf_model::container_instance::InstanceStatus;
use wharf_model::network::{BuiltinVpc, DEFAULT_VPC_CIDR, Ipv4Range};
use wharf_model::service::{
    DeploymentConfiguration, RolloutState, ServiceDeploymentStatus, ServiceStatus,
};
use wharf_model::*;

pub(crate) const CLUSTER: &str = "default";
pub(crate) const START: Timestamp = Timestamp(1_795_482_000_000);

/// A snapshot, its time, and the invariants that every transaction must keep.
pub(crate) struct World {
    pub(crate) snapshot: Snapshot,
    pub(crate) now: Timestamp,
    pub(crate) vpc: BuiltinVpc,
    pub(crate) revision: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        let vpc = BuiltinVpc::new(Ipv4Range::parse(DEFAULT_VPC_CIDR).unwrap(), "us-east-1");
        let mut world = Self { snapshot: Snapshot::default(), now: START, vpc, revision: 0 };
        world.put(Cluster::new(CLUSTER, START));
        world
    }

    pub(crate) fn put(&mut self, record: impl Into<Record>) {
        self.revision += 1;
        self.snapshot.apply(transaction::Revision(self.revision), &[Write::Put(record.into())]);
    }

    /// Applies a transaction as the store would; checks its size, its reads, and that no task
    /// goes back.
    pub(crate) fn commit(&mut self, transaction: &Transaction) {
        assert!(transaction.writes.len() <= 100, "{} records", transaction.writes.len());
        for (key, revision) in &transaction.reads {
            assert_eq!(self.snapshot.revision_of(key), *revision, "read of {key} is stale");
        }
        for write in &transaction.writes {
            let Write::Put(Record::Task(task)) = write else { continue };
            if let Some(before) = self.snapshot.task(&task.key()) {
                assert!(task.last_status >= before.last_status, "{} went back", task.id);
                assert!(task.desired_status >= before.desired_status, "{} wanted again", task.id);
                assert!(task.version > before.version || task.settled != before.settled);
            }
        }
        if !transaction.is_empty() {
            self.revision += 1;
            self.snapshot.apply(transaction::Revision(self.revision), &transaction.writes);
        }
        self.check_hosts();
    }

    /// No host carries more than it registered.
    pub(crate) fn check_hosts(&self) {
        for host in self.snapshot.all_container_instances() {
            let (mut used, mut ports) = (ResourceAmount::default(), 0);
            for task in self.snapshot.tasks_on(&host.key()) {
                ports += task.reserved.ports.len();
                used.add(&task.reserved);
            }
            assert!(used.cpu <= host.registered.cpu, "{} CPU", host.id);
            assert!(used.memory_mib <= host.registered.memory_mib, "{} memory", host.id);
            assert!(used.network_interfaces <= host.registered.network_interfaces);
            assert_eq!(used.ports.len(), ports, "{} has a port twice", host.id);
            assert!(used.ports.is_disjoint(&host.registered.ports), "{} reserved", host.id);
        }
    }

    pub(crate) fn definition(&mut self, family: &str, cpu: i64, memory: i64) -> TaskDefinition {
        let definition = definition(family, cpu, memory);
        self.put(definition.clone());
        definition
    }

    /// A host with 1,024 CPU units and 1,024 MiB in zone a, b, c by its number.
    pub(crate) fn host(&mut self, n: usize) -> ContainerInstance {
        let host = host(n, 1024, 1024);
        self.put(host.clone());
        host
    }

    /// A service as CreateService writes it, with its deployment's records.
    pub(crate) fn service(&mut self, definition: &TaskDefinition, count: i32) -> ServiceKey {
        let mut service = service("web", definition, count);
        self.deploy(&mut service, definition);
        service.key()
    }

    /// Begins a deployment and puts the service.
    pub(crate) fn deploy(&mut self, service: &mut Service, definition: &TaskDefinition) {
        let n = 1_000_000_000_000_000_000 + self.revision;
        for old in service.deployments.iter_mut().filter(|d| d.primary) {
            old.primary = false;
            old.desired_count = old.reached_steady_state.then_some(service.desired_count);
        }
        service.task_definition = definition.key();
        service.deployments.insert(0, deployment(&n.to_string(), definition, self.now));
        self.put(ServiceRevision {
            service: service.key(),
            id: n.to_string(),
            task_definition: definition.key(),
            launch_type: service.launch_type,
            capacity_provider_strategy: Vec::new(),
            platform_version: None,
            network_configuration: None,
            load_balancers: service.load_balancers.clone(),
            created_at: self.now,
        });
        self.put(ServiceDeployment {
            service: service.key(),
            id: format!("d{n}"),
            source_revision_ids: Vec::new(),
            target_revision_id: n.to_string(),
            status: ServiceDeploymentStatus::Pending,
            status_reason: None,
            created_at: self.now,
            started_at: None,
            finished_at: None,
            stopped_at: None,
            updated_at: self.now,
            deployment_configuration: service.deployment_configuration.clone(),
            circuit_breaker_failures: 0,
            circuit_breaker_triggered: false,
            rollback: None,
        });
        self.put(service.clone());
    }

    /// Changes a service as UpdateService would.
    pub(crate) fn change(&mut self, key: &ServiceKey, change: impl FnOnce(&mut Service)) {
        let mut service = Service::clone(self.snapshot.service(key).unwrap());
        change(&mut service);
        self.put(service);
    }
}

pub(crate) fn definition(family: &str, cpu: i64, memory: i64) -> TaskDefinition {
    serde_json::from_value(serde_json::json!({
        "family": family, "revision": 1, "status": "ACTIVE",
        "containers": [
            {"name": "app", "image": "app", "cpu": cpu, "memory": memory, "essential": true},
            {"name": "side", "image": "side", "essential": false}],
        "registered_at": START, "registered_by": "arn:aws:iam::123456789012:root",
    }))
    .unwrap()
}

/// The same, with a health check of its essential container.
pub(crate) fn checked(family: &str) -> TaskDefinition {
    let mut definition = definition(family, 128, 128);
    definition.containers[0].health_check = Some(task_definition::HealthCheck {
        command: vec!["CMD".to_owned(), "true".to_owned()],
        interval: 30,
        timeout: 5,
        retries: 3,
        start_period: None,
    });
    definition
}

pub(crate) fn host(n: usize, cpu: i64, memory: i64) -> ContainerInstance {
    let zone = ["us-east-1a", "us-east-1b", "us-east-1c"][n % 3];
    let attribute = |name: &str, value: &str| Attribute {
        name: name.to_owned(),
        value: Some(value.to_owned()),
    };
    ContainerInstance {
        gpu_ids: Vec::new(),
        id: format!("{n:032x}").into(),
        cluster: CLUSTER.into(),
        ec2_instance_id: format!("i-{n:017x}"),
        registered_by: "arn:aws:iam::123456789012:root".to_owned(),
        registered: ResourceAmount {
            cpu,
            memory_mib: memory,
            network_interfaces: 4,
            ..ResourceAmount::default()
        },
        attributes: vec![
            attribute("ecs.availability-zone", zone),
            attribute("ecs.os-type", "linux"),
            attribute("ecs.cpu-architecture", "x86_64"),
            attribute("rack", &format!("r{}", n % 10)),
        ],
        status: InstanceStatus::Active,
        version: 1,
        registered_at: START,
        deregistered_at: None,
        agent_version: "1.90.0".to_owned(),
        agent_hash: String::new(),
        docker_version: String::new(),
        capacity_provider: None,
        private_ip: None,
        client_token: None,
        tags: Vec::new(),
    }
}

pub(crate) fn deployment(n: &str, definition: &TaskDefinition, at: Timestamp) -> Deployment {
    Deployment {
        id: format!("ecs-svc/{n}"),
        primary: true,
        task_definition: definition.key(),
        service_revision_id: n.to_owned(),
        service_deployment_id: format!("d{n}"),
        created_at: at,
        updated_at: at,
        rollout_state: RolloutState::InProgress,
        rollout_state_reason: format!("ECS deployment ecs-svc/{n} in progress."),
        failed_tasks: 0,
        consecutive_failures: 0,
        next_launch_at: None,
        reached_steady_state: false,
        desired_count: None,
    }
}

pub(crate) fn service(name: &str, definition: &TaskDefinition, count: i32) -> Service {
    let mut service: Service = serde_json::from_value(serde_json::json!({
        "name": name, "cluster": CLUSTER, "status": "ACTIVE", "desired_count": count,
        "task_definition": {"family": definition.family, "revision": definition.revision},
        "launch_type": "EC2",
        "deployment_configuration": {"maximum_percent": 200, "minimum_healthy_percent": 100},
        "deployments": [], "created_at": START, "created_by": "root",
    }))
    .unwrap();
    service.deployment_configuration = DeploymentConfiguration::default();
    service.status = ServiceStatus::Active;
    service
}
