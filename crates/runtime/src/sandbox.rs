//! One sandbox seen from the agent: the connection to its shim and what is known of it.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::cgroup::Cgroups;
use crate::protocol::{FromShim, Numbered, Request, Response, ShimConfig, encode, take_frame};
use crate::shim::{now_ms, socket_path};
use crate::spec::SandboxId;
use crate::state::{
    ContainerEvent, ContainerInfo, ContainerStatus, EventKind, ExitReason, ExitStatus, SandboxInfo,
};
use crate::store;

/// What docker says of a process that was killed.
const KILLED_CODE: i32 = 137;

/// A request, where its number goes once it is sent, and where its answer goes.
struct Call {
    request: Request,
    sent: oneshot::Sender<u64>,
    answer: oneshot::Sender<Response>,
}

/// A sandbox.
pub(crate) struct Sandbox {
    pub(crate) id: SandboxId,
    pub(crate) directory: PathBuf,
    pub(crate) config: ShimConfig,
    info: watch::Sender<SandboxInfo>,
    calls: mpsc::UnboundedSender<Call>,
    /// Containers that aren't in `info` yet.
    making: Mutex<Vec<String>>,
}

/// Marks a container as being made for as long as it lives.
pub(crate) struct Making<'a> {
    sandbox: &'a Sandbox,
    name: String,
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        let mut making = self.sandbox.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = making.iter().position(|name| *name == self.name) {
            making.swap_remove(index);
        }
    }
}

impl Sandbox {
    /// Connects to the shim of the sandbox in `directory`.
    pub(crate) async fn connect(
        directory: PathBuf,
        config: ShimConfig,
        cgroups: Cgroups,
        events: broadcast::Sender<ContainerEvent>,
    ) -> io::Result<Arc<Self>> {
        let mut link = Link::open(&directory).await?;
        let info = link.hello().await?;
        let (sandbox, calls) = Self::known(directory, config, info);
        tokio::spawn(drive(Arc::downgrade(&sandbox), link, calls, cgroups, events));
        Ok(sandbox)
    }

    /// A sandbox whose shim is gone: what is left of its containers is killed, and their ends are
    /// made up.
    pub(crate) async fn lost(
        directory: PathBuf,
        config: ShimConfig,
        cgroups: Cgroups,
        events: &broadcast::Sender<ContainerEvent>,
    ) -> Arc<Self> {
        let info = store::read(&directory.join("state.json")).unwrap_or_else(|_| SandboxInfo {
            id: config.sandbox.id.clone(),
            shim_pid: None,
            network: config.sandbox.network.clone(),
            address: None,
            labels: config.sandbox.labels.clone(),
            containers: Vec::new(),
            created_at_ms: now_ms(),
        });
        let (sandbox, _) = Self::known(directory, config, info);
        sandbox.give_up(cgroups, events).await;
        sandbox
    }

    fn known(
        directory: PathBuf,
        config: ShimConfig,
        info: SandboxInfo,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Call>) {
        let (calls, receiver) = mpsc::unbounded_channel();
        let id = config.sandbox.id.clone();
        let info = watch::Sender::new(info);
        let making = Mutex::default();
        (Arc::new(Self { id, directory, config, info, calls, making }), receiver)
    }

    /// Asks the shim; `None` when it is gone.
    pub(crate) async fn call(&self, request: Request) -> Option<Response> {
        self.begin(request).await?.1.await.ok()
    }

    /// Sends a request; answers its number and where the answer will come.
    pub(crate) async fn begin(
        &self,
        request: Request,
    ) -> Option<(u64, oneshot::Receiver<Response>)> {
        let (answer, answered) = oneshot::channel();
        let (sent, number) = oneshot::channel();
        self.calls.send(Call { request, sent, answer }).ok()?;
        Some((number.await.ok()?, answered))
    }

    /// What is known now.
    pub(crate) fn info(&self) -> SandboxInfo {
        self.info.borrow().clone()
    }

    /// What is known of one container.
    pub(crate) fn container(&self, name: &str) -> Option<ContainerInfo> {
        self.info.borrow().containers.iter().find(|container| container.name == name).cloned()
    }

    /// Spares a container's interface from the sweep until it is known.
    pub(crate) fn making(&self, name: &str) -> Making<'_> {
        let mut making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        making.push(name.to_owned());
        Making { sandbox: self, name: name.to_owned() }
    }

    /// The containers that are known or being made.
    pub(crate) fn container_names(&self) -> Vec<String> {
        let mut names = self.making.lock().unwrap_or_else(PoisonError::into_inner).clone();
        names.extend(self.info.borrow().containers.iter().map(|c| c.name.clone()));
        names
    }

    /// Waits for a container's end; `None` if it is deleted first.
    pub(crate) async fn wait(&self, name: &str) -> Option<ExitStatus> {
        let mut info = self.info.subscribe();
        let ended = |info: &SandboxInfo| {
            let container = info.containers.iter().find(|container| container.name == name);
            container.is_none_or(|c| matches!(c.status, ContainerStatus::Exited(_)))
        };
        let info = info.wait_for(ended).await.ok()?;
        info.containers.iter().find(|container| container.name == name).and_then(|container| {
            match &container.status {
                ContainerStatus::Exited(exit) => Some(exit.clone()),
                _ => None,
            }
        })
    }

    /// Waits until the shim is gone.
    pub(crate) async fn wait_for_shim(&self) {
        let _ = self.info.subscribe().wait_for(|info| info.shim_pid.is_none()).await;
    }

    /// Forgets a deleted container.
    pub(crate) fn forget(&self, name: &str) {
        self.info.send_modify(|info| info.containers.retain(|container| container.name != name));
    }

    fn note_container(&self, container: &ContainerInfo) {
        self.info.send_modify(|info| {
            match info.containers.iter_mut().find(|known| known.name == container.name) {
                Some(known) => known.clone_from(container),
                None => info.containers.push(container.clone()),
            }
        });
    }

    fn note_event(&self, event: &ContainerEvent) {
        self.info.send_modify(|info| {
            let known = info.containers.iter_mut().find(|known| known.name == event.container);
            let Some(known) = known else { return };
            match &event.kind {
                EventKind::Started { pid, at_ms } => {
                    known.status = ContainerStatus::Running { pid: *pid, started_at_ms: *at_ms };
                }
                EventKind::Exited(exit) => known.status = ContainerStatus::Exited(exit.clone()),
            }
        });
    }

    /// Without a shim nobody owns the containers' output or exit codes: they are killed.
    async fn give_up(&self, cgroups: Cgroups, events: &broadcast::Sender<ContainerEvent>) {
        let cgroup = self.config.cgroup.clone();
        let removed = tokio::task::spawn_blocking(move || cgroups.remove(&cgroup)).await;
        if let Ok(Err(error)) = removed {
            tracing::warn!(sandbox = %self.id, %error, "remove the cgroup of a lost sandbox");
        }
        let mut info = self.info();
        let mut ends = Vec::new();
        info.shim_pid = None;
        for container in &mut info.containers {
            let started_at_ms = match container.status {
                ContainerStatus::Exited(_) => continue,
                ContainerStatus::Running { started_at_ms, .. } => Some(started_at_ms),
                ContainerStatus::Created { .. } => None,
            };
            let exit = ExitStatus {
                code: KILLED_CODE,
                signal: Some(libc::SIGKILL),
                oom_killed: false,
                at_ms: now_ms(),
                reason: ExitReason::ShimLost,
                started_at_ms,
            };
            container.status = ContainerStatus::Exited(exit.clone());
            ends.push((container.name.clone(), exit));
        }
        // On disk first: whoever waits for the shim's end may remove the directory then.
        if let Err(error) = store::write(&self.directory.join("state.json"), &info, false) {
            tracing::warn!(sandbox = %self.id, %error, "note the end of a lost sandbox");
        }
        self.info.send_replace(info);
        for (container, exit) in ends {
            let kind = EventKind::Exited(exit);
            let _ = events.send(ContainerEvent { sandbox: self.id.clone(), container, kind });
        }
    }
}

/// Moves requests and answers until the shim is gone, or nobody holds the sandbox any more.
async fn drive(
    sandbox: Weak<Sandbox>,
    mut link: Link,
    mut calls: mpsc::UnboundedReceiver<Call>,
    cgroups: Cgroups,
    events: broadcast::Sender<ContainerEvent>,
) {
    let mut waiting: HashMap<u64, oneshot::Sender<Response>> = HashMap::new();
    loop {
        let message = tokio::select! {
            message = link.receive() => message,
            call = calls.recv() => {
                // The sandbox was dropped: the runtime has closed, the task lives on.
                let Some(Call { request, sent, answer }) = call else { return };
                match link.send(request).await {
                    Ok(number) => {
                        waiting.insert(number, answer);
                        let _ = sent.send(number);
                    }
                    Err(error) => tracing::debug!(%error, "send to a shim"),
                }
                continue;
            }
        };
        let Some(sandbox) = sandbox.upgrade() else { return };
        match message {
            Ok(FromShim::Response { number, response }) => {
                if let Response::Container(container) = &response {
                    sandbox.note_container(container);
                }
                if let Some(answer) = waiting.remove(&number) {
                    let _ = answer.send(response);
                }
            }
            Ok(FromShim::Event(event)) => {
                sandbox.note_event(&event);
                let _ = events.send(event);
            }
            Err(error) => {
                tracing::debug!(sandbox = %sandbox.id, %error, "the shim is gone");
                break;
            }
        }
    }
    // Requests fail at once from here on.
    calls.close();
    drop(waiting);
    if let Some(sandbox) = sandbox.upgrade() {
        sandbox.give_up(cgroups, &events).await;
    }
}

/// A connection to a shim.
struct Link {
    stream: UnixStream,
    buffer: Vec<u8>,
    next_number: u64,
}

impl Link {
    async fn open(directory: &Path) -> io::Result<Self> {
        let directory = std::fs::File::open(directory)?;
        let stream = UnixStream::connect(socket_path(directory.as_fd())).await?;
        Ok(Self { stream, buffer: Vec::new(), next_number: 0 })
    }

    async fn hello(&mut self) -> io::Result<SandboxInfo> {
        self.send(Request::Hello).await?;
        loop {
            if let FromShim::Response { response: Response::Sandbox(info), .. } =
                self.receive().await?
            {
                return Ok(info);
            }
        }
    }

    async fn send(&mut self, request: Request) -> io::Result<u64> {
        self.next_number += 1;
        let number = self.next_number;
        let frame = encode(&Numbered { number, request })?;
        self.stream.write_all(&frame).await?;
        Ok(number)
    }

    /// The next message. Nothing is lost when this is cancelled.
    async fn receive(&mut self) -> io::Result<FromShim> {
        loop {
            let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
            let frame = take_frame(&mut self.buffer)
                .map_err(|length| invalid(format!("a frame of {length} bytes")))?;
            if let Some(frame) = frame {
                return serde_json::from_slice(&frame).map_err(|e| invalid(e.to_string()));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
