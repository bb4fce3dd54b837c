//! Carries out the engine's effects on the image store and the runtime. Each call answers with
//! the input that the engine gets back.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use wharf_image::store::Source;
use wharf_image::{Image, ImageStore, NoProgress, PullError, PullOptions, RegistryClient};
use wharf_runtime::{ContainerInfo, ContainerSpec, ContainerStatus, Runtime, SandboxId};

use super::listening;
use crate::dns::Names;
use crate::engine::{Failure, Input};
use crate::firelens;
use crate::launch::{self, Surroundings};
use crate::own_registry::OwnRegistry;
use crate::roles::ExecutionRoles;
use crate::secrets::Secrets;
use crate::shipping::Shipping;
use crate::task::{Container, Task};

/// `ECS_CONTAINER_CREATE_TIMEOUT` of Amazon's agent.
const CREATE_TIMEOUT: Duration = Duration::from_secs(4 * 60);
/// `ECS_CONTAINER_START_TIMEOUT`.
const START_TIMEOUT: Duration = Duration::from_secs(3 * 60);
/// How long the removal of a sandbox may take before it is tried again.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a container is tried to be made whose name is taken, and how long between.
const MAX_TRIES: u32 = 100;
const TRY_AGAIN: Duration = Duration::from_millis(50);
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// This host as the engine acts on it.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) runtime: Runtime,
    pub(crate) shipping: Shipping,
    pub(crate) secrets: Secrets,
    pub(crate) roles: ExecutionRoles,
    pub(crate) images: ImageStore,
    pub(crate) registry: RegistryClient,
    pub(crate) own_registry: OwnRegistry,
    pub(crate) names: Names,
    pub(crate) surroundings: Arc<Surroundings>,
}

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn timed_out(what: &str, limit: Duration) -> Failure {
    let minutes = limit.as_secs() / 60;
    let text = format!("Could not transition to {what}; timed out after waiting {minutes}m0s");
    Failure::new("DockerTimeoutError", text)
}

/// The owner under which a container's image is kept from cleanup.
fn pin_name(task: &Task, container: &str) -> String {
    format!("{}.{container}", task.id)
}

impl Host {
    /// The image, from the store or a registry: a locally built or loaded one is used as it is;
    /// any other is asked for, and the cached one is used when the registry fails (the agent's
    /// default pull behaviour).
    async fn image(&self, task: &Task, container: &Container) -> Result<Image, Failure> {
        let name = &container.image;
        // Also where the image is here already: it is who may have it that is asked for.
        let credentials = self.secrets.registry(task, container).await?;
        let failed =
            |error: &dyn std::fmt::Display| Failure::new("CannotPullContainerError", error);
        let (images, wanted) = (self.images.clone(), name.clone());
        let cached = tokio::task::spawn_blocking(move || images.resolve(&wanted))
            .await
            .map_err(|error| failed(&error))?
            .map_err(|error| failed(&error))?;
        match cached {
            Some(image) if image.source == Source::Local || name.contains('@') => Ok(image),
            cached => {
                let own = self.own_registry.options(name).await.map_err(|error| failed(&error));
                let own = match own {
                    Ok(own) => own,
                    // The registry is away, as the control plane is.
                    Err(failure) => return cached.ok_or(failure),
                };
                let of_definition =
                    || PullOptions { credentials: credentials.clone(), ..Default::default() };
                let options = own.clone().unwrap_or_else(of_definition);
                let progress = Arc::new(NoProgress);
                let mut pulled = self.images.pull(&self.registry, name, &options, progress).await;
                if own.is_some() && pulled.as_ref().is_err_and(PullError::is_denied) {
                    // The token may have ended early: with the server's key, or with the agent's.
                    self.own_registry.forget_token().await;
                    if let Ok(Some(options)) = self.own_registry.options(name).await {
                        let progress = Arc::new(NoProgress);
                        pulled = self.images.pull(&self.registry, name, &options, progress).await;
                    }
                }
                match (pulled, cached) {
                    (Ok(image), _) => Ok(image),
                    (Err(error), Some(image)) => {
                        tracing::warn!(image = name, %error, "pull failed: using the cached image");
                        Ok(image)
                    }
                    (Err(error), None) => {
                        let name = error.name();
                        let text = error.to_string();
                        let prefix = format!("{name}: ");
                        Err(Failure::new(name, text.strip_prefix(&prefix).unwrap_or(&text)))
                    }
                }
            }
        }
    }

    pub(super) async fn pull(&self, task: &Task, index: usize) -> (Input, Option<Image>) {
        let container = &task.containers[index];
        match self.image(task, container).await {
            Err(failure) => (Input::Failed { index, failure }, None),
            Ok(image) => {
                let (images, pinned) = (self.images.clone(), image.clone());
                let owner = pin_name(task, &container.name);
                // Without a pin the image could only be cleaned up too early, which is told then.
                tokio::task::spawn_blocking(move || {
                    if let Err(error) = images.pin(&owner, &pinned) {
                        tracing::warn!(%error, "could not pin an image");
                    }
                });
                let input = Input::Pulled {
                    index,
                    image_digest: Some(image.image_digest().to_string()),
                    image_id: Some(image.id.to_string()),
                };
                (input, Some(image))
            }
        }
    }

    pub(super) async fn create_sandbox(&self, task: &Task) -> Input {
        // What an agent left that died while it made the sandbox can't be used.
        if self.runtime.sandbox(&task.id).await.is_ok_and(|info| info.shim_pid.is_none()) {
            let _ = self.remove_sandbox(task).await;
        }
        if let Err(failure) = self.prepare(task).await {
            return Input::SandboxFailed(failure);
        }
        let spec = launch::sandbox(task, &self.surroundings);
        match timeout(CREATE_TIMEOUT, self.runtime.create_sandbox(spec)).await {
            Ok(Ok(_)) => Input::SandboxReady,
            Ok(Err(error @ wharf_runtime::Error::Net(_))) => {
                Input::SandboxFailed(Failure::new("ContainerNetworkingError", error))
            }
            Ok(Err(error)) => {
                Input::SandboxFailed(Failure::new("ResourceInitializationError", error))
            }
            Err(_) => Input::SandboxFailed(timed_out("resource created", CREATE_TIMEOUT)),
        }
    }

    /// What a task needs before anything of it is made.
    async fn prepare(&self, task: &Task) -> Result<(), Failure> {
        let values = self.secrets.of(task).await?;
        self.shipping.prepare(task, &values).await?;
        firelens::prepare(task, &self.surroundings, &values)
    }

    pub(super) async fn create(&self, task: &Task, index: usize, image: Option<Image>) -> Input {
        match self.try_create(task, index, image).await {
            Ok(input) => input,
            Err(failure) => Input::Failed { index, failure },
        }
    }

    async fn try_create(
        &self,
        task: &Task,
        index: usize,
        image: Option<Image>,
    ) -> Result<Input, Failure> {
        let container = &task.containers[index];
        let image = match image {
            Some(image) => image,
            None => self.image(task, container).await?,
        };
        let router = self.router_address(task).await;
        let values = self.secrets.of(task).await?;
        let spec = launch::container(task, container, &image, &self.surroundings, router, &values)?;
        match timeout(CREATE_TIMEOUT, self.create_anew(&task.id, spec)).await {
            Ok(Ok(info)) => {
                let log = self.runtime.log_path(&task.id, &container.name);
                let (id, image_id) = (info.runtime_id.as_str(), image.id.to_string());
                let container = &values.with_log(container);
                self.shipping.begin(task, container, (id, &image_id), log).await?;
                Ok(Input::Created {
                    index,
                    runtime_id: info.runtime_id,
                    ports: info.ports,
                    address: info.address,
                })
            }
            Ok(Err(error)) => {
                // Docker only writes down a container when it creates one; what an OCI runtime
                // refuses shows when it is started.
                let name = match error {
                    wharf_runtime::Error::Spec(_) | wharf_runtime::Error::Unsupported(_) => {
                        "CannotCreateContainerError"
                    }
                    _ => "CannotStartContainerError",
                };
                Err(Failure::new(name, error))
            }
            Err(_) => Err(timed_out("created", CREATE_TIMEOUT)),
        }
    }

    /// The address of the task's log router, where that has one of its own.
    async fn router_address(&self, task: &Task) -> Option<Ipv4Addr> {
        let router = task.containers.iter().find(|container| container.router.is_some())?;
        let info = self.runtime.sandbox(&task.id).await.ok()?;
        info.containers.iter().find(|container| container.name == router.name)?.address
    }

    /// Makes a container. One of the same name that an agent left that died while it was being
    /// made is taken away first, once the shim is done with it.
    async fn create_anew(
        &self,
        id: &SandboxId,
        spec: ContainerSpec,
    ) -> Result<ContainerInfo, wharf_runtime::Error> {
        let mut tries = 0;
        loop {
            let error = match self.runtime.create_container(id, spec.clone()).await {
                Ok(info) => return Ok(info),
                Err(error) => error,
            };
            let known = self.runtime.sandbox(id).await.is_ok_and(|info| {
                info.containers.iter().any(|container| container.name == spec.name)
            });
            let exists = error.to_string() == format!("container {} exists", spec.name);
            if !(known || exists) || tries >= MAX_TRIES {
                return Err(error);
            }
            tries += 1;
            // It fails while the container is still being made.
            let _ = self.runtime.delete_container(id, &spec.name).await;
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    pub(super) async fn start(&self, task: &Task, index: usize) -> Input {
        let name = &task.containers[index].name;
        match timeout(START_TIMEOUT, self.runtime.start_container(&task.id, name)).await {
            Ok(Ok(pid)) => {
                let at_ms = now_ms();
                listening::wait(pid, &task.containers[index].ports).await;
                Input::Started { index, at_ms }
            }
            Ok(Err(error)) => {
                let failure = Failure::new("CannotStartContainerError", error);
                Input::Failed { index, failure }
            }
            Err(_) => Input::Failed { index, failure: timed_out("started", START_TIMEOUT) },
        }
    }

    /// Starts a container that has ended once more. An agent that died meanwhile may have left it
    /// made but not started, or still being made.
    pub(super) async fn restart(&self, task: &Task, index: usize) -> Input {
        let name = &task.containers[index].name;
        match timeout(START_TIMEOUT, self.try_restart(&task.id, name)).await {
            Ok(Ok(pid)) => {
                listening::wait(pid, &task.containers[index].ports).await;
                Input::Restarted { index }
            }
            Ok(Err(error)) => {
                let failure = Failure::new("CannotStartContainerError", error);
                Input::Failed { index, failure }
            }
            Err(_) => Input::Failed { index, failure: timed_out("started", START_TIMEOUT) },
        }
    }

    async fn try_restart(&self, id: &SandboxId, name: &str) -> Result<i32, wharf_runtime::Error> {
        let info = self.runtime.sandbox(id).await?;
        let container = info.containers.iter().find(|container| container.name == name);
        if !container.is_some_and(|c| matches!(c.status, ContainerStatus::Created { .. })) {
            return self.runtime.restart_container(id, name).await;
        }
        let mut tries = 0;
        loop {
            match self.runtime.start_container(id, name).await {
                Err(wharf_runtime::Error::NoContainer { .. }) if tries < MAX_TRIES => tries += 1,
                done => return done,
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    pub(super) async fn stop(&self, task: &Task, index: usize) {
        let container = &task.containers[index];
        let info = self.runtime.sandbox(&task.id).await.ok();
        if let (Some(_), Some(info)) = (&container.router, &info) {
            let has_ended = |c: &&ContainerInfo| matches!(c.status, ContainerStatus::Exited(_));
            let ended = info.containers.iter().filter(has_ended);
            self.shipping.routed(task, &ended.map(|c| c.name.as_str()).collect()).await;
        }
        let label = info.as_ref().and_then(|info| {
            let found = info.containers.iter().find(|c| c.name == container.name)?;
            found.labels.get(launch::STOP_SIGNAL_LABEL)?.parse().ok()
        });
        let signal = label.or(container.stop_signal).unwrap_or(SIGTERM);
        self.signal(task, index, signal).await;
    }

    pub(super) async fn kill(&self, task: &Task, index: usize) {
        self.signal(task, index, SIGKILL).await;
    }

    async fn signal(&self, task: &Task, index: usize, signal: i32) {
        let name = &task.containers[index].name;
        if let Err(error) = self.runtime.signal_container(&task.id, name, signal).await {
            tracing::warn!(task = %task.arn, container = %name, signal, %error, "could not signal");
        }
    }

    pub(super) async fn remove_sandbox(&self, task: &Task) -> Input {
        self.secrets.forget(&task.id);
        match timeout(REMOVE_TIMEOUT, self.runtime.remove_sandbox(&task.id)).await {
            Ok(Ok(()) | Err(wharf_runtime::Error::NoSandbox(_))) => {}
            Ok(Err(error)) => return Input::SandboxRemoveFailed(error.to_string()),
            Err(_) => return Input::SandboxRemoveFailed("timed out".to_owned()),
        }
        let volumes = launch::task_volumes(&self.surroundings.volumes, task);
        let pins: Vec<String> =
            task.containers.iter().map(|container| pin_name(task, &container.name)).collect();
        let images = self.images.clone();
        let router = firelens::directory(&self.surroundings.routers, &task.id);
        tokio::task::spawn_blocking(move || {
            for pin in pins {
                if let Err(error) = images.unpin(&pin) {
                    tracing::warn!(%error, "could not unpin an image");
                }
            }
            for path in [volumes, router] {
                match std::fs::remove_dir_all(&path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        let path = path.display();
                        tracing::warn!(%path, %error, "could not remove what a task had");
                    }
                    _ => {}
                }
            }
        });
        Input::SandboxRemoved
    }
}
