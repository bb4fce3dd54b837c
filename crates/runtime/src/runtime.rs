//! The handle that the agent drives: sandboxes and containers by id.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast;

use crate::cgroup::Cgroups;
use crate::error::io;
use crate::host::{self, remove_directory};
use crate::net::bridge::{Addresses, Bridges, mac_of_address, veth_name};
use crate::net::enforcer::Enforcer;
use crate::net::nft::{Publication, Table, TaskEndpoints};
use crate::net::policy::{self, Layout, Policy};
use crate::net::{self, nft};
use crate::protocol::{BridgePort, CreateContainer, Failure, Request, Response};
use crate::publisher::Publisher;
use crate::sandbox::Sandbox;
use crate::sharing;
use crate::spec::{
    ContainerSpec, ExecSpec, NetworkMode, PortMapping, SandboxId, SandboxSpec, check_name,
};
use crate::state::{
    ContainerEvent, ContainerInfo, ContainerStats, ContainerStatus, ExitStatus, SandboxInfo,
};
use crate::zygote::Zygote;

pub use crate::error::Error;
pub use crate::options::{OciRuntime, RuntimeOptions};

/// How many events a slow receiver may lag behind.
const EVENT_BACKLOG: usize = 4096;

/// How an `exec` ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// The exit code, or 128 + the signal.
    pub code: i32,
    /// Standard output and error together, the first 64 KiB.
    pub output: Vec<u8>,
}

/// The handle. Clones share everything.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) options: RuntimeOptions,
    pub(crate) bridges: Bridges,
    pub(crate) cgroups: Cgroups,
    pub(crate) zygote: Zygote,
    table: Mutex<Table>,
    publisher: Publisher,
    enforcer: Enforcer,
    addresses: Mutex<Addresses>,
    pub(crate) sandboxes: Mutex<BTreeMap<SandboxId, Arc<Sandbox>>>,
    /// Sandboxes that aren't in the map yet.
    making: Mutex<BTreeSet<String>>,
    events: broadcast::Sender<ContainerEvent>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs what blocks for milliseconds beside the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(Error::Failed("a blocking call panicked".to_owned())))
}

impl Runtime {
    /// Opens the data directory, makes the bridges, the nft table and the cgroup root where they
    /// are missing, connects to live shims and sweeps away what no live task owns.
    pub async fn open(options: RuntimeOptions, zygote: Zygote) -> Result<Self, Error> {
        crate::oci_version::check(&options).await?;
        let opened = options.clone();
        let warm = zygote.clone();
        let (bridges, cgroups) = blocking(move || host::prepare(&opened, &warm)).await?;
        let events = broadcast::Sender::new(EVENT_BACKLOG);
        let sandboxes = host::adopt(&options, &cgroups, &events).await?;
        let mut addresses = Addresses::new(bridges.bridge_cidr);
        let mut published = Vec::new();
        for sandbox in sandboxes.values() {
            let info = sandbox.info();
            for container in &info.containers {
                if info.network == NetworkMode::Bridge
                    && let Some(address) = container.address
                {
                    addresses.mark(address);
                    published.extend(publications(container));
                }
            }
        }
        let table = Table {
            name: format!("wharf_{}", options.instance),
            bridge: bridges.bridge.clone(),
            bridge_cidr: bridges.bridge_cidr,
            gateway: bridges.gateway,
            vpc_bridge: bridges.vpc_bridge.clone(),
            vpc_cidr: options.vpc_cidr,
            endpoints: None,
            host_tasks: cgroups.nft_name(&options.cgroup_root()),
        };
        nft::apply(&table.ruleset(&published)).await?;
        let publisher = Publisher::start();
        let layout = Layout {
            table: policy_table(&options),
            bridge: bridges.bridge.clone(),
            vpc_bridge: bridges.vpc_bridge.clone(),
            vpc_cidr: options.vpc_cidr,
            resolvers: Vec::new(),
        };
        let enforcer = Enforcer::start(publisher.clone(), bridges.clone(), layout);
        let inner = Inner {
            options,
            bridges,
            cgroups,
            zygote,
            table: Mutex::new(table),
            publisher,
            enforcer,
            addresses: Mutex::new(addresses),
            sandboxes: Mutex::new(sandboxes),
            making: Mutex::default(),
            events,
        };
        let runtime = Self { inner: Arc::new(inner) };
        let report = runtime.sweep().await;
        if report != crate::SweepReport::default() {
            tracing::info!(?report, "swept");
        }
        Ok(runtime)
    }

    /// The bridge's own address: reachable from tasks in network modes bridge and awsvpc.
    pub fn gateway(&self) -> Ipv4Addr {
        self.inner.bridges.gateway
    }

    /// Leads 169.254.170.2:80, 169.254.170.4:80 and 169.254.169.253:53 from tasks to these ports of
    /// [`Runtime::gateway`]; from network mode none nothing leads anywhere.
    pub async fn set_task_endpoints(&self, endpoints: TaskEndpoints) -> Result<(), Error> {
        let published: Vec<Publication> = self
            .all()
            .iter()
            .filter(|sandbox| sandbox.config.sandbox.network == NetworkMode::Bridge)
            .flat_map(|sandbox| sandbox.info().containers)
            .flat_map(|container| publications(&container))
            .collect();
        let ruleset = {
            let mut table = locked(&self.inner.table);
            table.endpoints = Some(endpoints);
            table.ruleset(&published)
        };
        Ok(self.inner.publisher.apply(ruleset).await?)
    }

    /// Changes who may speak with whom among tasks in network mode awsvpc. The first policy that is
    /// set makes everything else be dropped; until then whatever was in force stays.
    pub fn change_policy(&self, change: impl FnOnce(&mut Policy)) {
        self.inner.enforcer.change(change);
    }

    /// Makes a task's sandbox. Making one that exists answers the existing one.
    pub async fn create_sandbox(&self, spec: SandboxSpec) -> Result<SandboxInfo, Error> {
        if let Some(sandbox) = self.find(&spec.id) {
            return Ok(sandbox.info());
        }
        let id = spec.id.clone();
        if !locked(&self.inner.making).insert(id.to_string()) {
            return Err(Error::Failed(format!("sandbox {id} is being made")));
        }
        let made = self.make_sandbox(spec).await;
        locked(&self.inner.making).remove(id.as_str());
        made
    }

    async fn make_sandbox(&self, spec: SandboxSpec) -> Result<SandboxInfo, Error> {
        let inner = Arc::clone(&self.inner);
        let (directory, config) = blocking(move || host::make_sandbox(&inner, spec)).await?;
        let connected = Sandbox::connect(
            directory.clone(),
            config.clone(),
            self.inner.cgroups.clone(),
            self.inner.events.clone(),
        )
        .await;
        let sandbox = match connected {
            Ok(sandbox) => sandbox,
            Err(error) => return Err(io(format!("connect to {}", directory.display()))(error)),
        };
        let info = sandbox.info();
        let (id, shared) = (sandbox.id.clone(), sandbox.config.sandbox.sharing.needs_pause());
        locked(&self.inner.sandboxes).insert(id.clone(), sandbox);
        if shared && let Err(error) = self.start_pause(&id).await {
            let _ = self.remove_sandbox(&id).await;
            return Err(error);
        }
        Ok(info)
    }

    /// Starts what holds the namespaces that the task's containers share. Nobody sees it.
    async fn start_pause(&self, id: &SandboxId) -> Result<(), Error> {
        let empty = self.inner.options.root.join("empty");
        let layer = empty.clone();
        blocking(move || {
            std::fs::create_dir_all(&layer).map_err(io(format!("make {}", layer.display())))
        })
        .await?;
        let spec = sharing::pause(empty);
        let name = spec.name.clone();
        self.make_container(id, spec).await?;
        let started = self.start_container(id, &name).await;
        self.get(id)?.forget(&name);
        started.map(drop)
    }

    /// Every sandbox that is on disk, its shim alive or not.
    pub async fn list_sandboxes(&self) -> Vec<SandboxInfo> {
        self.all().iter().map(|sandbox| sandbox.info()).collect()
    }

    /// One sandbox.
    pub async fn sandbox(&self, id: &SandboxId) -> Result<SandboxInfo, Error> {
        Ok(self.get(id)?.info())
    }

    /// Kills what still runs and removes everything of the sandbox but its logs.
    pub async fn remove_sandbox(&self, id: &SandboxId) -> Result<(), Error> {
        let sandbox = self.get(id)?;
        let info = sandbox.info();
        let published: Vec<Publication> = info.containers.iter().flat_map(publications).collect();
        if info.network == NetworkMode::Bridge {
            self.withdraw(&published).await;
        }
        match sandbox.call(Request::Shutdown).await {
            Some(Response::Error(failure)) => {
                tracing::warn!(sandbox = %id, ?failure, "the shim left something behind");
                sandbox.wait_for_shim().await;
            }
            // No answer: it is lost, or has just gone with its last words unread.
            _ => sandbox.wait_for_shim().await,
        }
        let inner = Arc::clone(&self.inner);
        let removed = Arc::clone(&sandbox);
        blocking(move || inner.clear_away(&removed)).await?;
        let mut addresses = locked(&self.inner.addresses);
        if info.network == NetworkMode::Bridge {
            info.containers.iter().filter_map(|c| c.address).for_each(|a| addresses.free(a));
        }
        drop(addresses);
        locked(&self.inner.sandboxes).remove(id);
        Ok(())
    }

    /// Removes a task's logs.
    pub async fn remove_logs(&self, id: &SandboxId) -> Result<(), Error> {
        let directory = self.inner.log_directory(id);
        blocking(move || remove_directory(&directory)).await
    }

    /// Makes a container up to the point where only `start` is missing.
    pub async fn create_container(
        &self,
        sandbox: &SandboxId,
        spec: ContainerSpec,
    ) -> Result<ContainerInfo, Error> {
        check_name("container name", &spec.name)?;
        self.make_container(sandbox, spec).await
    }

    async fn make_container(
        &self,
        sandbox: &SandboxId,
        spec: ContainerSpec,
    ) -> Result<ContainerInfo, Error> {
        let owner = self.get(sandbox)?;
        let bridge_port = match owner.config.sandbox.network {
            NetworkMode::Bridge if !spec.network_disabled => {
                Some(self.bridge_port(sandbox, &spec.name)?)
            }
            _ => None,
        };
        let address = bridge_port.as_ref().map(|port| port.address);
        let name = spec.name.clone();
        let _making = owner.making(&name);
        let create = CreateContainer { spec, runtime_id: runtime_id()?, bridge_port };
        let made = match owner.call(Request::Create(Box::new(create))).await {
            Some(Response::Container(info)) => Ok(info),
            other => Err(unexpected(&owner, &name, other)),
        };
        let made = match made {
            Ok(info) if address.is_some() => self.publish(&info).await.map(|()| info),
            other => other,
        };
        if made.is_err() {
            if owner.container(&name).is_some() {
                let _ = self.delete_container(sandbox, &name).await;
            } else if let Some(address) = address {
                locked(&self.inner.addresses).free(address);
            }
        }
        made
    }

    /// Starts a created container; answers its process id.
    pub async fn start_container(&self, sandbox: &SandboxId, name: &str) -> Result<i32, Error> {
        let owner = self.get(sandbox)?;
        if matches!(owner.config.sandbox.network, NetworkMode::Awsvpc(_)) {
            self.inner.enforcer.in_force().await?;
        }
        match owner.call(Request::Start { name: name.to_owned() }).await {
            Some(Response::Container(info)) => Ok(match info.status {
                ContainerStatus::Created { pid } | ContainerStatus::Running { pid, .. } => pid,
                ContainerStatus::Exited(_) => 0,
            }),
            other => Err(unexpected(&owner, name, other)),
        }
    }

    /// Starts a container that has ended once more, with its files, addresses, ports and log;
    /// answers its process id. If that fails, nothing is left of it but its log.
    pub async fn restart_container(&self, sandbox: &SandboxId, name: &str) -> Result<i32, Error> {
        let owner = self.get(sandbox)?;
        match owner.call(Request::Renew { name: name.to_owned() }).await {
            Some(Response::Container(_)) => self.start_container(sandbox, name).await,
            other => Err(unexpected(&owner, name, other)),
        }
    }

    /// Sends a signal to the container's first process. No error if it has already ended.
    pub async fn signal_container(
        &self,
        sandbox: &SandboxId,
        name: &str,
        signal: i32,
    ) -> Result<(), Error> {
        let owner = self.get(sandbox)?;
        match owner.call(Request::Signal { name: name.to_owned(), signal }).await {
            Some(Response::Done) => Ok(()),
            other => Err(unexpected(&owner, name, other)),
        }
    }

    /// Sends `signal` (the image's stop signal, usually SIGTERM), and SIGKILL when the container
    /// still runs after `timeout`.
    pub async fn stop_container(
        &self,
        sandbox: &SandboxId,
        name: &str,
        signal: i32,
        timeout: Duration,
    ) -> Result<ExitStatus, Error> {
        self.signal_container(sandbox, name, signal).await?;
        match tokio::time::timeout(timeout, self.wait_container(sandbox, name)).await {
            Ok(ended) => ended,
            Err(_) => {
                self.signal_container(sandbox, name, libc::SIGKILL).await?;
                self.wait_container(sandbox, name).await
            }
        }
    }

    /// Waits until the container has ended.
    pub async fn wait_container(
        &self,
        sandbox: &SandboxId,
        name: &str,
    ) -> Result<ExitStatus, Error> {
        let owner = self.get(sandbox)?;
        owner.wait(name).await.ok_or_else(|| no_container(sandbox, name))
    }

    /// Removes a container, killing it first if it still runs. Its log stays.
    pub async fn delete_container(&self, sandbox: &SandboxId, name: &str) -> Result<(), Error> {
        let owner = self.get(sandbox)?;
        let info = owner.container(name).ok_or_else(|| no_container(sandbox, name))?;
        let bridged = owner.config.sandbox.network == NetworkMode::Bridge;
        if bridged {
            self.withdraw(&publications(&info)).await;
        }
        match owner.call(Request::Delete { name: name.to_owned() }).await {
            Some(Response::Done) => {}
            other => return Err(unexpected(&owner, name, other)),
        }
        owner.forget(name);
        if let Some(address) = info.address.filter(|_| bridged) {
            locked(&self.inner.addresses).free(address);
        }
        Ok(())
    }

    /// Runs a further process in a running container, waits for it and answers its exit code and
    /// the first 64 KiB of its output (standard output and error together). After `timeout` it is
    /// killed.
    pub async fn exec(
        &self,
        sandbox: &SandboxId,
        name: &str,
        spec: ExecSpec,
        timeout: Duration,
    ) -> Result<ExecOutput, Error> {
        let owner = self.get(sandbox)?;
        let (number, answered) = owner
            .begin(Request::Exec { name: name.to_owned(), spec })
            .await
            .ok_or_else(|| Error::ShimLost(sandbox.clone()))?;
        match tokio::time::timeout(timeout, answered).await {
            Ok(Ok(Response::Exec { code, output })) => Ok(ExecOutput { code, output }),
            Ok(other) => Err(unexpected(&owner, name, other.ok())),
            Err(_) => {
                owner.call(Request::KillExec { request: number }).await;
                Err(Error::TimedOut { what: "exec", limit: timeout })
            }
        }
    }

    /// What a container uses now.
    pub async fn stats(&self, sandbox: &SandboxId, name: &str) -> Result<ContainerStats, Error> {
        let owner = self.get(sandbox)?;
        let info = owner.container(name).ok_or_else(|| no_container(sandbox, name))?;
        let host_network = owner.config.sandbox.network == NetworkMode::Host;
        let cgroups = self.inner.cgroups.clone();
        blocking(move || {
            let mut stats = cgroups.stats(&info.cgroup);
            if let ContainerStatus::Running { pid, .. } = info.status
                && !host_network
            {
                stats.networks = net::counters::of_process(pid);
            }
            Ok(stats)
        })
        .await
    }

    /// Starts and exits from now on; a receiver that lags must call `list_sandboxes`.
    pub fn events(&self) -> broadcast::Receiver<ContainerEvent> {
        self.inner.events.subscribe()
    }

    /// A container's log file; rotated ones have `.1`, `.2` … behind the name.
    pub fn log_path(&self, sandbox: &SandboxId, name: &str) -> PathBuf {
        self.inner.log_directory(sandbox).join(format!("{name}.log"))
    }

    pub(crate) fn all(&self) -> Vec<Arc<Sandbox>> {
        self.inner.all()
    }

    pub(crate) fn table_removal(&self) -> String {
        let policy = policy::removal(&policy_table(&self.inner.options));
        locked(&self.inner.table).removal() + &policy
    }

    fn find(&self, id: &SandboxId) -> Option<Arc<Sandbox>> {
        locked(&self.inner.sandboxes).get(id).cloned()
    }

    fn get(&self, id: &SandboxId) -> Result<Arc<Sandbox>, Error> {
        self.find(id).ok_or_else(|| Error::NoSandbox(id.clone()))
    }

    fn bridge_port(&self, sandbox: &SandboxId, container: &str) -> Result<BridgePort, Error> {
        let address = locked(&self.inner.addresses).take()?;
        Ok(BridgePort {
            address,
            prefix: self.inner.bridges.bridge_cidr.prefix(),
            gateway: self.inner.bridges.gateway,
            mac: mac_of_address(address),
            veth: veth_name(&self.inner.options.instance, sandbox.as_str(), container),
        })
    }

    async fn publish(&self, info: &ContainerInfo) -> Result<(), Error> {
        let commands = locked(&self.inner.table).publish(&publications(info));
        Ok(self.inner.publisher.apply(commands).await?)
    }

    /// Takes ports back. One that isn't published any more is no error: the table is rewritten
    /// whole at the next start in any case.
    async fn withdraw(&self, published: &[Publication]) {
        for port in published {
            let commands = locked(&self.inner.table).withdraw(std::slice::from_ref(port));
            if let Err(error) = self.inner.publisher.apply(commands).await {
                tracing::debug!(%error, ?port, "withdraw a port");
            }
        }
    }
}

impl Inner {
    pub(crate) fn all(&self) -> Vec<Arc<Sandbox>> {
        locked(&self.sandboxes).values().cloned().collect()
    }

    /// The names of sandboxes that aren't known yet but will be.
    pub(crate) fn being_made(&self) -> BTreeSet<String> {
        locked(&self.making).clone()
    }

    pub(crate) fn sandboxes_directory(&self) -> PathBuf {
        self.options.root.join("sandboxes")
    }

    pub(crate) fn log_directory(&self, id: &SandboxId) -> PathBuf {
        self.options.root.join("logs").join(id.as_str())
    }

    /// Removes what may be left of a sandbox whose shim has ended.
    fn clear_away(&self, sandbox: &Sandbox) -> Result<(), Error> {
        self.cgroups.remove(&sandbox.config.cgroup)?;
        net::delete_link(&sandbox.config.task_veth)?;
        for container in sandbox.info().containers {
            let instance = &self.options.instance;
            net::delete_link(&veth_name(instance, sandbox.id.as_str(), &container.name))?;
        }
        remove_directory(&sandbox.config.run_dir)?;
        // A shim that comes up this late looks for its configuration, and ends without.
        let _ = std::fs::remove_file(sandbox.directory.join("shim.json"));
        remove_directory(&sandbox.directory)
    }
}

/// The name of the security groups' table.
fn policy_table(options: &RuntimeOptions) -> String {
    format!("wharf_{}_groups", options.instance)
}

fn no_container(sandbox: &SandboxId, container: &str) -> Error {
    Error::NoContainer { sandbox: sandbox.clone(), container: container.to_owned() }
}

fn unexpected(sandbox: &Sandbox, container: &str, response: Option<Response>) -> Error {
    match response {
        None => Error::ShimLost(sandbox.id.clone()),
        Some(Response::Error(Failure::NoContainer)) => no_container(&sandbox.id, container),
        Some(Response::Error(Failure::PortTaken(mapping))) => Error::PortTaken(mapping),
        Some(Response::Error(Failure::Other(error))) => Error::Failed(error),
        Some(_) => Error::Failed("the shim answered something else".to_owned()),
    }
}

fn publications(container: &ContainerInfo) -> Vec<Publication> {
    let Some(address) = container.address else { return Vec::new() };
    let ports = container.ports.iter().flat_map(PortMapping::each);
    ports.map(|mapping| Publication::new(&mapping, address)).collect()
}

fn runtime_id() -> Result<String, Error> {
    use std::io::Read;
    let mut bytes = [0; 32];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(io("read /dev/urandom"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
