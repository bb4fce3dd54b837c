//! The agent as a whole: registers, adopts what runs, keeps its sessions.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;
use wharf_image::{CleanupPolicy, ImageStore, RegistryClient};
use wharf_runtime::{Runtime, RuntimeOptions};

use crate::acs::Acs;
use crate::api::EcsClient;
use crate::api::register::{self, RegisterError, Registration};
use crate::discover::Discovery;
use crate::dns::Names;
use crate::endpoints::{self, Endpoints};
use crate::gpu::Gpus;
use crate::launch::Surroundings;
use crate::options::AgentOptions;
use crate::own_registry::OwnRegistry;
use crate::roles::ExecutionRoles;
use crate::secrets::Secrets;
use crate::shipping::Shipping;
use crate::stats::Sampler;
use crate::store::{self, Identity, Store};
use crate::tasks::effects::Host;
use crate::tasks::{Reporter, Tasks};
use crate::tcs::Tcs;
use crate::websocket::Backoff;

/// Where configurations and sockets of log routers lie, in the data directory.
const ROUTERS: &str = "firelens";
/// `ECS_IMAGE_CLEANUP_INTERVAL`.
const IMAGE_CLEANUP_INTERVAL: Duration = Duration::from_secs(30 * 60);

/// Why the agent ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The agent's own state.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The images.
    #[error("image store: {0}")]
    Images(#[from] wharf_image::store::Error),
    /// The runtime.
    #[error("runtime: {0}")]
    Runtime(#[from] wharf_runtime::Error),
    /// The calls to the control plane.
    #[error(transparent)]
    Api(#[from] crate::api::Error),
    /// Registration was refused for good.
    #[error("registration: {0}")]
    Register(#[from] RegisterError),
    /// The state is of another cluster.
    #[error(
        "this host is registered in cluster {old:?} and can't join {new:?} with the same data \
         directory: remove {directory} first"
    )]
    OtherCluster {
        /// The cluster in the state.
        old: String,
        /// The cluster in the options.
        new: String,
        /// The state's directory.
        directory: String,
    },
    /// The task endpoints.
    #[error("task endpoints: {0}")]
    Endpoints(#[from] endpoints::Error),
}

/// The agent of one host.
pub struct Agent {
    options: AgentOptions,
}

impl Agent {
    /// An agent that isn't started yet.
    pub fn new(options: AgentOptions) -> Self {
        Self { options }
    }

    /// Runs until `shutdown`. Tasks go on running afterwards: the next agent adopts them.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        self.run_with(shutdown, |_| {}).await
    }

    /// As [`Agent::run`]; tells the container instance's ARN once the host is registered.
    pub async fn run_with(
        self,
        shutdown: CancellationToken,
        registered: impl FnOnce(&str),
    ) -> Result<(), Error> {
        let options = self.options;
        let directory = options.data_dir.join("agent");
        let store = Store::open(&directory)?;
        let identity = store.identity()?;
        if let Some(old) = identity.as_ref().filter(|old| old.cluster != options.cluster) {
            return Err(Error::OtherCluster {
                old: old.cluster.clone(),
                new: options.cluster.clone(),
                directory: directory.display().to_string(),
            });
        }
        let client = EcsClient::new(&options)?;
        // Workers end with this function, also when it fails.
        let stop = shutdown.child_token();
        let _guard = stop.clone().drop_guard();
        let roles = ExecutionRoles::new(client.clone());
        let secrets = Secrets::new(&options, roles.clone())?;
        let by_role = options.awslogs_execution_role_override;
        let shipping = {
            let routers = options.data_dir.join(ROUTERS);
            Shipping::new(client.clone(), roles.clone(), by_role, stop.clone(), routers)
        };
        let own_registry = OwnRegistry::new(client.clone(), &options);
        if let Some(identity) = &identity {
            own_registry.registered(&identity.container_instance_arn);
        }
        let host = open_host(&options, shipping, secrets, roles, own_registry.clone()).await?;
        let reporter = Reporter::new(client.clone(), &options.cluster);
        let tasks = Tasks::new(host, store.clone(), reporter, stop.clone());
        let sampler = Sampler::default();
        let endpoints =
            Endpoints::start(&options, &client, tasks.clone(), sampler.clone(), stop.clone())
                .await?;
        tasks.host().runtime.set_task_endpoints(endpoints.ports()).await?;
        tasks.recover().await?;

        let known = identity.as_ref().map(|identity| identity.container_instance_arn.clone());
        let registration = tokio::select! {
            registration = register_patiently(&client, &options, known) => registration?,
            () = shutdown.cancelled() => {
                tasks.close().await;
                return Ok(());
            }
        };
        let arn = registration.container_instance_arn;
        own_registry.registered(&arn);
        let identity = match identity {
            Some(old) if old.container_instance_arn == arn => old,
            _ => Identity {
                cluster: options.cluster.clone(),
                container_instance_arn: arn.clone(),
                sequence_number: -1,
            },
        };
        store.save_identity(&identity)?;
        endpoints.registered(&arn, registration.availability_zone.as_deref());
        registered(&arn);
        tracing::info!(instance = %arn, cluster = %options.cluster, "registered");

        let discovery = Discovery::new(client.clone(), &options.cluster, &arn);
        let heartbeat = Arc::new(Notify::new());
        let tcs = Tcs {
            client: client.clone(),
            discovery: discovery.clone(),
            tasks: tasks.clone(),
            sampler: sampler.clone(),
            cluster: options.cluster.as_str().into(),
            container_instance_arn: arn.as_str().into(),
            data_dir: options.data_dir.clone(),
            heartbeat: heartbeat.clone(),
        };
        let identity = Arc::new(Mutex::new(identity));
        let acs = Acs { client, discovery, store, tasks: tasks.clone(), identity, heartbeat };
        tokio::select! {
            () = acs.run() => {}
            () = tcs.run() => {}
            () = sampler.run(&tasks) => {}
            () = clean_images(&tasks) => {}
            () = shutdown.cancelled() => {}
        }
        stop.cancel();
        tasks.close().await;
        Ok(())
    }
}

async fn open_host(
    options: &AgentOptions,
    shipping: Shipping,
    secrets: Secrets,
    roles: ExecutionRoles,
    own_registry: OwnRegistry,
) -> Result<Host, Error> {
    let root = options.data_dir.join("runtime");
    let mut runtime_options =
        RuntimeOptions::new(root, &options.instance).map_err(wharf_runtime::Error::from)?;
    runtime_options.oci_runtime = options.oci_runtime.clone();
    runtime_options.classes = options.runtime_classes.clone();
    runtime_options.allow_old_runtime = options.allow_old_runtime;
    runtime_options.vpc_cidr = options.vpc_cidr;
    let runtime = Runtime::open(runtime_options, options.zygote.clone()).await?;
    Ok(Host {
        runtime,
        shipping,
        secrets,
        roles,
        images: ImageStore::open(options.data_dir.join("images"))?,
        registry: RegistryClient::new(options.registry.clone()),
        own_registry,
        names: Names::default(),
        surroundings: Arc::new(Surroundings {
            cluster: options.cluster.clone(),
            region: options.region.clone(),
            volumes: options.data_dir.join("volumes"),
            routers: options.data_dir.join(ROUTERS),
            gpus: Gpus::find(&options.gpu_devices),
        }),
    })
}

/// Removes images that nothing has used for long, by the rules of Amazon's agent.
async fn clean_images(tasks: &Tasks) {
    loop {
        tokio::time::sleep(IMAGE_CLEANUP_INTERVAL).await;
        let images = tasks.host().images.clone();
        let cleaned = tokio::task::spawn_blocking(move || {
            images.gc(&BTreeSet::new(), &CleanupPolicy::default(), SystemTime::now())
        });
        match cleaned.await {
            Ok(Ok(report)) => tracing::info!(?report, "images cleaned"),
            Ok(Err(error)) => tracing::warn!(%error, "images couldn't be cleaned"),
            Err(error) => tracing::warn!(%error, "images couldn't be cleaned"),
        }
    }
}

/// Registers, again and again while trying again may help. Amazon's agent gives up after an hour;
/// a host whose control plane is away goes on here.
async fn register_patiently(
    client: &EcsClient,
    options: &AgentOptions,
    known: Option<String>,
) -> Result<Registration, RegisterError> {
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(60), 2.0);
    loop {
        match register::register(client, options, known.clone()).await {
            Ok(registration) => return Ok(registration),
            Err(error) if error.is_transient() => {
                let pause = backoff.pause();
                tracing::warn!(%error, ?pause, "not registered yet");
                tokio::time::sleep(pause).await;
            }
            Err(error) => return Err(error),
        }
    }
}
