//! What the agent may ask the shim.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

use nix::fcntl::OFlag;
use nix::sys::signal::kill;
use nix::unistd::{self, Pid};

use crate::net::ports::{self, HeldPort};
use crate::oci::{self, Bundle};
use crate::protocol::{
    CreateContainer, Failure, MAX_FRAME_BYTES, Numbered, Request, Response, take_frame,
};
use crate::sharing::PAUSE;
use crate::spec::{ContainerSpec, ExecSpec, NetworkMode};
use crate::state::{ContainerInfo, ContainerStatus, EventKind, Timings};

use super::container::{Container, code_of};
use super::job::{ExecProcess, Job, Kind, Output, set_nonblocking};
use super::log::LogFile;
use super::{MAX_CLIENT_BACKLOG_BYTES, Shim, link, now_ms, streams};

/// Who asked, with which request number.
pub(super) type Asked = (u64, u64);

impl Shim {
    /// Reads requests, carries them out and sends what is ready to be sent.
    pub(super) fn serve_clients(&mut self) {
        for index in 0..self.clients.len() {
            let client = &mut self.clients[index];
            let id = client.id;
            let mut buffer = [0; 64 << 10];
            let open = loop {
                match client.stream.read(&mut buffer) {
                    Ok(0) => break false,
                    Ok(length) => client.input.extend_from_slice(&buffer[..length]),
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => break error.kind() == std::io::ErrorKind::WouldBlock,
                }
                if client.input.len() > MAX_FRAME_BYTES {
                    break true;
                }
            };
            let alive = self.take_requests(index, id);
            if !(open && alive) {
                self.clients[index].id = 0;
            }
        }
        self.clients.retain(|client| client.id != 0);
        self.go_on_shutting_down();
        self.flush_clients();
    }

    fn take_requests(&mut self, index: usize, client: u64) -> bool {
        loop {
            match take_frame(&mut self.clients[index].input) {
                Ok(None) => return true,
                Err(_) => return false,
                Ok(Some(frame)) => match serde_json::from_slice::<Numbered>(&frame) {
                    Ok(numbered) => self.handle((client, numbered.number), numbered.request),
                    Err(error) => {
                        eprintln!("shim: unreadable request: {error}");
                        return false;
                    }
                },
            }
        }
    }

    /// Sends what clients can take now; one that doesn't read is dropped.
    pub(super) fn flush_clients(&mut self) {
        self.clients.retain_mut(|client| {
            while !client.output.is_empty() {
                match client.stream.write(&client.output) {
                    Ok(0) => return false,
                    Ok(length) => drop(client.output.drain(..length)),
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                    Err(_) => return false,
                }
            }
            client.output.len() <= MAX_CLIENT_BACKLOG_BYTES
        });
    }

    fn handle(&mut self, asked: Asked, request: Request) {
        let begun = match request {
            Request::Hello => {
                let info = self.info();
                self.answer(asked.0, asked.1, Response::Sandbox(info));
                Ok(())
            }
            Request::Create(create) => self.begin_create(asked, *create),
            Request::Start { name } => self.begin_start(asked, &name),
            Request::Renew { name } => self.begin_renew(asked, &name),
            Request::Signal { name, signal } => self.signal(&name, signal).map(|()| {
                self.answer(asked.0, asked.1, Response::Done);
            }),
            Request::Delete { name } => self.begin_delete(Some(asked), &name),
            Request::Exec { name, spec } => self.begin_exec(asked, &name, spec),
            Request::KillExec { request } => {
                self.kill_exec((asked.0, request));
                self.answer(asked.0, asked.1, Response::Done);
                Ok(())
            }
            Request::Shutdown => {
                self.shutdown = Some(asked);
                Ok(())
            }
        };
        if let Err(failure) = begun {
            self.answer(asked.0, asked.1, Response::Error(failure));
        }
    }

    pub(super) fn find(&self, name: &str) -> Result<usize, Failure> {
        self.containers
            .iter()
            .position(|container| container.created && container.info.name == name)
            .ok_or(Failure::NoContainer)
    }

    fn begin_create(&mut self, asked: Asked, create: CreateContainer) -> Result<(), Failure> {
        let CreateContainer { spec, runtime_id, bridge_port } = create;
        let name = spec.name.clone();
        if self.shutdown.is_some() {
            return Err(Failure::Other("the sandbox is being removed".to_owned()));
        }
        if self.containers.iter().any(|container| container.info.name == name) {
            return Err(Failure::Other(format!("container {name} exists")));
        }
        if self.config.sandbox.sharing.needs_pause() && name != PAUSE && self.pause().is_none() {
            return Err(Failure::Other("nothing holds the task's namespaces any more".to_owned()));
        }
        let begun_at = Instant::now();
        let network = self.network_of(&spec);
        let links = self.links_of(&spec)?;
        let held = self.hold_ports(&network, &spec.ports)?;
        let netns = match &network {
            NetworkMode::Bridge | NetworkMode::None => {
                Some(link::new_netns().map_err(|error| Failure::Other(error.to_string()))?)
            }
            NetworkMode::Host | NetworkMode::Awsvpc(_) => None,
        };
        let task_address = self.info().address.filter(|_| !spec.network_disabled);
        let mut info = ContainerInfo {
            name: name.clone(),
            runtime_id,
            status: ContainerStatus::Created { pid: 0 },
            address: bridge_port.as_ref().map(|port| port.address).or(task_address),
            mac: bridge_port.as_ref().map(|port| port.mac.to_string()),
            ports: spec.ports.clone(),
            labels: spec.labels.clone(),
            cgroup: format!("{}/{name}", self.config.cgroup),
            timings: Timings::default(),
        };
        if network == NetworkMode::Bridge {
            info.ports = held.iter().map(|port| port.mapping.clone()).collect();
        }
        let log_path = self.config.log_dir.join(format!("{name}.log"));
        let log = LogFile::open(log_path.clone(), spec.log.clone())
            .map_err(|error| Failure::Other(format!("{}: {error}", log_path.display())))?;
        let mut container = Container {
            spec,
            info,
            _ports: held,
            netns,
            bridge_port,
            log,
            streams: Vec::new(),
            input: None,
            console: None,
            links,
            created: false,
            delete_asked: None,
            create_error: None,
        };
        let bundle = self.bundle(&container);
        let prepare = |bundle: &Bundle| oci::prepare(bundle).map_err(|error| error.to_string());
        let mut job = fork_create(asked, &mut container, bundle, prepare)
            .map_err(|error| Failure::Other(format!("fork: {error}")))?;
        // The child mounts and unpacks meanwhile; only `start` needs the interface.
        let network_error = link::connect_container(&self.config, &container).err();
        job.kind = Kind::Create {
            network_us: micros(begun_at),
            network_error: network_error.map(|error| error.to_string()),
        };
        self.containers.push(container);
        self.jobs.push(job);
        Ok(())
    }

    /// The network mode that holds for a container.
    fn network_of(&self, spec: &ContainerSpec) -> NetworkMode {
        match spec.network_disabled {
            true => NetworkMode::None,
            false => self.config.sandbox.network.clone(),
        }
    }

    /// Where the containers are that it is linked to, with the names as docker gives them.
    fn links_of(&self, spec: &ContainerSpec) -> Result<Vec<(Ipv4Addr, String)>, Failure> {
        let resolve = |(name, alias): &(String, String)| {
            let linked = self.containers.iter().find(|container| container.info.name == *name);
            let address = linked.and_then(|container| container.info.address);
            let names = if name == alias { name.clone() } else { format!("{alias} {name}") };
            let missing = || Failure::Other(format!("link to {name}: it has no address"));
            Ok((address.ok_or_else(missing)?, names))
        };
        spec.links.iter().map(resolve).collect()
    }

    /// The first process of the container that holds what the others share.
    fn pause(&self) -> Option<i32> {
        self.containers.iter().find(|container| container.info.name == PAUSE)?.pid()
    }

    fn hold_ports(
        &self,
        network: &NetworkMode,
        wanted: &[crate::spec::PortMapping],
    ) -> Result<Vec<HeldPort>, Failure> {
        if *network != NetworkMode::Bridge {
            return Ok(Vec::new());
        }
        let (first, last) = self.config.dynamic_ports;
        let mut held = Vec::new();
        for mapping in wanted {
            held.push(ports::hold(mapping, first..=last).map_err(|error| match error {
                ports::Error::Taken(mapping) => Failure::PortTaken(mapping),
                other => Failure::Other(other.to_string()),
            })?);
        }
        Ok(held)
    }

    pub(super) fn bundle(&self, container: &Container) -> Bundle {
        let own_netns = container.netns.as_ref().or(self.task_netns.as_ref());
        Bundle {
            directory: self.directory.join(&container.info.name),
            storage: self
                .config
                .sandbox
                .storage
                .as_ref()
                .map(|_| crate::storage::containers(&self.directory)),
            run_dir: self.config.run_dir.clone(),
            program: self.config.oci_runtime.clone(),
            runtime_id: container.info.runtime_id.clone(),
            cgroup: container.info.cgroup.clone(),
            netns: own_netns
                .map(|fd| format!("/proc/{}/fd/{}", unistd::getpid(), fd.as_raw_fd()).into()),
            network: self.network_of(&container.spec),
            address: container.info.address,
            dns: container.spec.dns.or(&self.config.sandbox.dns),
            sharing: self.config.sandbox.sharing.clone(),
            pause: self.pause(),
            links: container.links.clone(),
            console: None,
            spec: container.spec.clone(),
        }
    }

    fn begin_start(&mut self, asked: Asked, name: &str) -> Result<(), Failure> {
        let index = self.find(name)?;
        let container = &self.containers[index];
        let ContainerStatus::Created { .. } = container.info.status else {
            let why = format!("container {name} can't be started: {:?}", container.info.status);
            return Err(Failure::Other(why));
        };
        let bundle = self.bundle(container);
        let job = Job::fork(Kind::Start, name, Some(asked), None, || {
            let begun_at = Instant::now();
            oci::start(&bundle).map_err(|error| error.to_string())?;
            Ok(Output { runtime_us: micros(begun_at), ..Output::default() })
        })
        .map_err(|error| Failure::Other(format!("fork: {error}")))?;
        self.jobs.push(job);
        Ok(())
    }

    fn signal(&mut self, name: &str, signal: i32) -> Result<(), Failure> {
        let index = self.find(name)?;
        // The pid is ours to reap: it can't have been given to another process.
        let Some(pid) = self.containers[index].pid() else { return Ok(()) };
        let signal = nix::sys::signal::Signal::try_from(signal)
            .map_err(|_| Failure::Other(format!("no signal {signal}")))?;
        kill(Pid::from_raw(pid), signal)
            .map_err(|error| Failure::Other(format!("kill {pid}: {error}")))
    }

    fn begin_delete(&mut self, asked: Option<Asked>, name: &str) -> Result<(), Failure> {
        let index = self.find(name)?;
        let container = &mut self.containers[index];
        if container.delete_asked.is_some() {
            return Err(Failure::Other(format!("container {name} is being deleted")));
        }
        container.delete_asked = Some(asked);
        if let Some(pid) = container.pid() {
            let _ = kill(Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
            return Ok(());
        }
        self.fork_delete(index);
        Ok(())
    }

    /// Forks the child that removes an ended container.
    pub(super) fn fork_delete(&mut self, index: usize) {
        let container = &mut self.containers[index];
        container.streams.clear();
        let asked_by = container.delete_asked.flatten();
        let bundle = self.bundle(&self.containers[index]);
        let container = &self.containers[index];
        let veth = container.bridge_port.as_ref().map(|port| port.veth.clone());
        let cgroups = self.cgroups.clone();
        let forked = Job::fork(Kind::Delete, &container.info.name, asked_by, None, || {
            // Each step is tried, whatever became of the one before.
            let removed = oci::delete(&bundle).map_err(|error| error.to_string());
            let unlinked = veth.map_or(Ok(()), |veth| crate::net::delete_link(&veth));
            let emptied = cgroups.remove(&bundle.cgroup);
            removed?;
            unlinked.map_err(|error| error.to_string())?;
            emptied.map_err(|error| error.to_string())?;
            Ok(Output::default())
        });
        match forked {
            Ok(job) => self.jobs.push(job),
            Err(error) => {
                self.containers[index].delete_asked = None;
                if let Some((client, number)) = asked_by {
                    let failure = Failure::Other(format!("fork: {error}"));
                    self.answer(client, number, Response::Error(failure));
                }
            }
        }
    }

    fn fork_clear(&mut self, bundle: &Bundle) {
        let forked = Job::fork(Kind::Clear, &bundle.spec.name, None, None, || {
            oci::clear(bundle).map(|()| Output::default()).map_err(|error| error.to_string())
        });
        match forked {
            Ok(job) => self.jobs.push(job),
            Err(error) => eprintln!("shim: fork: {error}"),
        }
    }

    fn begin_exec(&mut self, asked: Asked, name: &str, spec: ExecSpec) -> Result<(), Failure> {
        let other = |error: nix::Error| Failure::Other(error.to_string());
        let index = self.find(name)?;
        let container = &self.containers[index];
        let ContainerStatus::Running { pid, .. } = container.info.status else {
            return Err(Failure::Other(format!("container {name} isn't running")));
        };
        let (reader, writer) = unistd::pipe2(OFlag::O_CLOEXEC).map_err(other)?;
        set_nonblocking(&reader).map_err(|error| Failure::Other(error.to_string()))?;
        let null = streams::null().map_err(other)?;
        let bundle = self.bundle(container);
        let stdio = [null.as_fd(), writer.as_fd(), writer.as_fd()];
        let number = asked.1;
        let mut job = Job::fork(Kind::Exec, name, Some(asked), Some(stdio), || {
            let pid = oci::exec(&bundle, pid, &spec, number).map_err(|error| error.to_string())?;
            Ok(Output { pid: Some(pid), ..Output::default() })
        })
        .map_err(|error| Failure::Other(format!("fork: {error}")))?;
        let pipe = Some(reader.into());
        job.exec = Some(ExecProcess { pid: None, status: None, pipe, output: Vec::new() });
        self.jobs.push(job);
        Ok(())
    }

    fn kill_exec(&self, asked: Asked) {
        let exec = self.jobs.iter().find(|job| job.asked_by == Some(asked));
        if let Some(pid) = exec.and_then(|job| job.exec.as_ref()).and_then(|exec| exec.pid) {
            let _ = kill(Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }

    /// Draws the consequences of jobs that have ended.
    pub(super) fn finish_jobs(&mut self) {
        for job in &mut self.jobs {
            let Some(Ok(output)) = &job.outcome else { continue };
            if let Some(exec) = job.exec.as_mut().filter(|exec| exec.pid.is_none()) {
                exec.pid = output.pid;
                exec.status = output.pid.and_then(|pid| self.strays.remove(&pid));
            }
        }
        while let Some(index) = self.jobs.iter().position(Job::is_done) {
            let job = self.jobs.swap_remove(index);
            self.finish(job);
        }
        if !self.jobs.iter().any(Job::leaves_strays) {
            self.strays.clear();
        }
    }

    fn finish(&mut self, mut job: Job) {
        let outcome = job.outcome.take().unwrap_or_else(|| Err("no outcome".to_owned()));
        if job.kind == Kind::Clear {
            if let Err(error) = outcome {
                eprintln!("shim: clear {}: {error}", job.container);
            }
            return;
        }
        let position = self.containers.iter().position(|c| c.info.name == job.container);
        let Some(index) = position else { return };
        let response = match (&job.kind, outcome) {
            (Kind::Create { network_us, network_error }, outcome) => {
                let outcome = match (outcome, network_error) {
                    (Ok(output), None) => Ok((output, *network_us)),
                    (Err(error), _) => Err((error, None)),
                    (Ok(output), Some(error)) => Err((error.clone(), output.pid)),
                };
                self.finish_create(index, job.asked_by, outcome)
            }
            (Kind::Start, outcome) => {
                self.finish_start(index, job.asked_by, outcome);
                None
            }
            (Kind::Clear, _) => None,
            (Kind::Delete, Ok(_)) => {
                let bundle = self.bundle(&self.containers[index]);
                // Its ports are free before a further child could inherit them.
                let create_error = self.containers.remove(index).create_error;
                self.save_or_complain(false);
                self.fork_clear(&bundle);
                Some(match create_error {
                    None => Response::Done,
                    Some(error) => Response::Error(Failure::Other(error)),
                })
            }
            (Kind::Exec, Ok(_)) => {
                job.read_result();
                let exec = job.exec.take();
                exec.and_then(|exec| {
                    let (code, _) = code_of(exec.status?);
                    Some(Response::Exec { code, output: exec.output })
                })
            }
            (Kind::Delete, Err(error)) => {
                self.containers[index].delete_asked = None;
                // What can't be removed must not keep the sandbox, nor a name that nobody knows,
                // for ever: the janitor sees to the rest.
                if self.shutdown.is_some() || !self.containers[index].created {
                    eprintln!("shim: delete {}: {error}", job.container);
                    let container = self.containers.remove(index);
                    let error = container.create_error.unwrap_or(error);
                    Some(Response::Error(Failure::Other(error)))
                } else {
                    Some(Response::Error(Failure::Other(error)))
                }
            }
            (Kind::Exec, Err(error)) => Some(Response::Error(Failure::Other(error))),
        };
        if let (Some((client, number)), Some(response)) = (job.asked_by, response) {
            self.answer(client, number, response);
        }
    }

    fn finish_create(
        &mut self,
        index: usize,
        asked_by: Option<Asked>,
        outcome: Result<(Output, u64), (String, Option<i32>)>,
    ) -> Option<Response> {
        let container = &mut self.containers[index];
        let outcome = outcome.and_then(|(output, network_us)| match container.take_terminal() {
            Ok(()) => Ok((output, network_us)),
            Err(error) => Err((format!("take the terminal: {error}"), output.pid)),
        });
        match outcome {
            Ok((output, network_us)) => {
                let pid = output.pid.unwrap_or_default();
                container.created = true;
                container.info.status = ContainerStatus::Created { pid };
                container.info.timings.network_us = network_us;
                container.info.timings.bundle_us = output.bundle_us;
                container.info.timings.create_us = output.runtime_us;
                let info = container.info.clone();
                self.save_or_complain(false);
                if let Some((client, number)) = asked_by {
                    self.answer(client, number, Response::Container(info));
                }
                if let Some(status) = self.strays.remove(&pid) {
                    self.container_exited(index, status);
                }
                None
            }
            Err((error, pid)) => {
                if let Some(pid) = pid {
                    let _ = kill(Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
                }
                // Nobody has seen it: take it away, then answer with what went wrong.
                container.delete_asked = Some(asked_by);
                container.create_error = Some(error);
                self.fork_delete(index);
                None
            }
        }
    }

    fn finish_start(
        &mut self,
        index: usize,
        asked_by: Option<Asked>,
        outcome: Result<Output, String>,
    ) {
        let container = &mut self.containers[index];
        let name = container.info.name.clone();
        let pid = container.pid();
        let response = match outcome {
            Ok(output) => {
                container.info.timings.start_us = output.runtime_us;
                if let Some(pid) = pid {
                    let started_at_ms = now_ms();
                    container.info.status = ContainerStatus::Running { pid, started_at_ms };
                    let info = container.info.clone();
                    self.tell(&name, EventKind::Started { pid, at_ms: started_at_ms });
                    self.save_or_complain(false);
                    Response::Container(info)
                } else {
                    Response::Container(container.info.clone())
                }
            }
            Err(error) => Response::Error(Failure::Other(error)),
        };
        // Before the exit, if that is known already: the answer says "running".
        if let Some((client, number)) = asked_by {
            self.answer(client, number, response);
        }
        if let Some(status) = pid.and_then(|pid| self.strays.remove(&pid)) {
            self.container_exited(index, status);
        }
    }

    /// Once asked to end: kills what runs, removes what has ended, and then the rest.
    pub(super) fn go_on_shutting_down(&mut self) {
        let Some((client, number)) = self.shutdown else { return };
        for index in 0..self.containers.len() {
            if self.containers[index].created && self.containers[index].delete_asked.is_none() {
                let name = self.containers[index].info.name.clone();
                let _ = self.begin_delete(None, &name);
            }
        }
        if !self.containers.is_empty() || !self.jobs.is_empty() || self.shutting_down {
            return;
        }
        self.shutting_down = true;
        self.task_netns = None;
        let removed =
            link::disconnect_task(&self.config).map_err(|error| error.to_string()).and_then(|()| {
                self.cgroups.remove(&self.config.cgroup).map_err(|error| error.to_string())
            });
        let response = match removed {
            Ok(()) => Response::Done,
            Err(error) => Response::Error(Failure::Other(error)),
        };
        self.answer(client, number, response);
    }
}

/// Forks the child that makes the container; its output goes to the container's log.
pub(super) fn fork_create(
    asked: Asked,
    container: &mut Container,
    mut bundle: Bundle,
    prepare: impl FnOnce(&Bundle) -> Result<(), String>,
) -> std::io::Result<Job> {
    let streams = streams::open(&bundle.spec, &bundle.run_dir, &bundle.runtime_id)?;
    bundle.console = streams.console.as_ref().map(|console| console.path().to_owned());
    let [stdin, stdout, stderr] = &streams.theirs;
    let stdio = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    let kind = Kind::Create { network_us: 0, network_error: None };
    let job = Job::fork(kind, &bundle.spec.name, Some(asked), Some(stdio), || {
        let begun_at = Instant::now();
        prepare(&bundle)?;
        let bundle_us = micros(begun_at);
        let begun_at = Instant::now();
        let pid = oci::create(&bundle).map_err(|error| error.to_string())?;
        Ok(Output { pid: Some(pid), bundle_us, runtime_us: micros(begun_at) })
    })?;
    container.streams = streams.output;
    container.input = streams.input;
    container.console = streams.console;
    Ok(job)
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
