//! Agents that are killed at any moment: what ran goes on, what was half made is swept away, and
//! after a teardown nothing is left on the host.

#![allow(clippy::unwrap_used)]

mod harness;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::{Host, log_text, until};
use wharf_runtime::spec::{Ipv4Cidr, PortMapping, Protocol};
use wharf_runtime::{ContainerStatus, NetworkMode, Runtime, RuntimeOptions, SandboxId, Zygote};

/// Tells the test program to be the agent that will be killed: the options as `root instance vpc`.
const AGENT_VARIABLE: &str = "WHARF_TEST_AGENT";
const TASKS: usize = 4;

/// Not a test of its own: the process that the tests below start and kill.
#[tokio::test(flavor = "multi_thread")]
async fn agent_that_is_killed() {
    let Ok(given) = std::env::var(AGENT_VARIABLE) else { return };
    let given: Vec<&str> = given.split(' ').collect();
    let mut options = RuntimeOptions::new(given[0], given[1]).unwrap();
    options.vpc_cidr = given[2].parse::<Ipv4Cidr>().unwrap();
    let layer = Path::new(given[0]).parent().unwrap().join("layer");
    let runtime = Runtime::open(options, Zygote::this_program()).await.unwrap();
    println!("open");
    for number in 0..TASKS {
        let id = SandboxId::new(format!("task{number}")).unwrap();
        let spec = wharf_runtime::SandboxSpec {
            id: id.clone(),
            network: NetworkMode::Bridge,
            resources: Default::default(),
            dns: Default::default(),
            sharing: Default::default(),
            memory_volumes: Default::default(),
            storage: None,
            runtime_class: None,
            labels: [("arn".to_owned(), format!("arn{number}"))].into(),
        };
        runtime.create_sandbox(spec).await.unwrap();
        let args = ["/bin/sh", "-c", "while :; do echo tick; sleep 0.02; done"].map(String::from);
        let mut spec = wharf_runtime::ContainerSpec::new("app", vec![layer.clone()], args.to_vec());
        spec.ports = vec![PortMapping {
            container_port: 80,
            host_port: 0,
            protocol: Protocol::Tcp,
            range: None,
        }];
        runtime.create_container(&id, spec).await.unwrap();
        let pid = runtime.start_container(&id, "app").await.unwrap();
        println!("started task{number} {pid}");
    }
    println!("ready");
    std::future::pending::<()>().await;
}

struct Agent {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Agent {
    fn start(host: &Host) -> Self {
        let options = &host.options;
        let given = format!("{} {} {}", options.root.display(), options.instance, options.vpc_cidr);
        let mut child = Command::new("/proc/self/exe")
            .args(["--exact", "agent_that_is_killed", "--nocapture"])
            .env(AGENT_VARIABLE, given)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn wait_for(&mut self, word: &str) -> Vec<String> {
        let mut seen = Vec::new();
        for line in self.lines.by_ref().map_while(Result::ok) {
            seen.push(line.clone());
            if line == word {
                return seen;
            }
        }
        panic!("the agent ended before {word}: {seen:?}");
    }

    /// Kills it and its zygote.
    fn kill(&mut self) {
        let pid = self.child.id();
        let zygotes = processes("wharf-zygote")
            .into_iter()
            .filter(|zygote| parent_of(*zygote) == Some(pid as i32));
        for zygote in zygotes {
            kill(zygote);
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn kill(pid: i32) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
}

fn processes(name: &str) -> Vec<i32> {
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|c| c.trim() == name)
        })
        .collect()
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Everything on the host that carries the wharf's name or lies in its directory.
fn leftovers(host: &Host) -> Vec<String> {
    let instance = &host.options.instance;
    let root = host.options.root.to_string_lossy().into_owned();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/sys/class/net").unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let master = std::fs::read_link(entry.path().join("master")).unwrap_or_default();
        if name.ends_with(instance) || master.to_string_lossy().ends_with(instance.as_str()) {
            found.push(format!("interface {name}"));
        }
    }
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let path = hierarchy.path().join(format!("wharf-{instance}"));
        if path.exists() {
            found.push(format!("cgroup {}", path.display()));
        }
    }
    let tables = Command::new("nft").args(["list", "tables"]).output().unwrap();
    if String::from_utf8_lossy(&tables.stdout).contains(instance.as_str()) {
        found.push("nft table".to_owned());
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    found.extend(mounts.lines().filter(|line| line.contains(&root)).map(String::from));
    for shim in processes("wharf-shim") {
        let log = std::fs::read_link(format!("/proc/{shim}/fd/2")).unwrap_or_default();
        if log.to_string_lossy().contains(&root) {
            found.push(format!("shim {shim}"));
        }
    }
    if host.options.run_dir.exists() {
        found.push(host.options.run_dir.display().to_string());
    }
    found.extend(
        std::fs::read_dir(host.options.root.join("sandboxes"))
            .unwrap()
            .flatten()
            .map(|entry| entry.path().display().to_string()),
    );
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_survive_their_agent_and_its_zygote() {
    let mut host = Host::new().await;
    host.rootfs();
    let mut agent = Agent::start(&host);
    let lines = agent.wait_for("ready");
    agent.kill();
    host.reopen().await;
    let sandboxes = host.runtime.list_sandboxes().await;
    assert_eq!(sandboxes.len(), TASKS);
    for info in &sandboxes {
        assert_eq!(info.labels["arn"], info.id.as_str().replace("task", "arn"));
        let ContainerStatus::Running { pid, .. } = info.containers[0].status else {
            panic!("{info:?}")
        };
        assert!(lines.contains(&format!("started {} {pid}", info.id)), "{lines:?}");
        let port = info.containers[0].ports[0].host_port;
        assert!(std::net::TcpListener::bind(("0.0.0.0", port)).is_err());
        // Output goes on being written.
        let before = log_text(&host, &info.id, "app").len();
        until("more output", async || {
            (log_text(&host, &info.id, "app").len() > before).then_some(())
        })
        .await;
    }
    // A killed container's exit is told by the shim as ever.
    let ContainerStatus::Running { pid, .. } = sandboxes[0].containers[0].status else { panic!() };
    kill(pid);
    let exit = host.runtime.wait_container(&sandboxes[0].id, "app").await.unwrap();
    assert_eq!((exit.code, exit.signal), (137, Some(9)));
    host.runtime.teardown().await.unwrap();
    until("everything to be gone", async || leftovers(&host).is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_may_be_killed_at_any_moment() {
    let mut host = Host::new().await;
    host.rootfs();
    for delay_ms in [0, 3, 8, 15, 25, 40, 60, 90, 130] {
        let mut agent = Agent::start(&host);
        agent.wait_for("open");
        // The moment itself is what varies; nothing is waited for.
        std::thread::sleep(Duration::from_millis(delay_ms));
        agent.kill();
        host.reopen().await;
        for info in host.runtime.list_sandboxes().await {
            host.runtime.remove_sandbox(&info.id).await.unwrap();
        }
        let report = host.runtime.sweep().await;
        assert!(report.failed.is_empty(), "{report:?}");
    }
    host.runtime.teardown().await.unwrap();
    until("everything to be gone", async || leftovers(&host).is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_janitor_removes_what_nobody_owns() {
    let host = Host::new().await;
    let task = host.sandbox("kept", NetworkMode::Bridge).await;
    host.runtime.create_container(&task, host.shell("app", "sleep 1000")).await.unwrap();
    host.runtime.start_container(&task, "app").await.unwrap();
    assert_eq!(host.runtime.sweep().await, Default::default());
    // What a crash in any place could leave.
    let instance = &host.options.instance;
    let run = |program: &str, args: &[&str]| {
        assert!(Command::new(program).args(args).status().unwrap().success(), "{program} {args:?}");
    };
    let (veth, peer) = (format!("x{instance}"), format!("y{instance}"));
    let bridge = format!("wb-{instance}");
    run("ip", &["link", "add", &veth, "master", &bridge, "type", "veth", "peer", "name", &peer]);
    let cgroup = format!("/sys/fs/cgroup/memory/wharf-{instance}/gone/app");
    std::fs::create_dir_all(&cgroup).unwrap();
    let mut stray = Command::new("/bin/busybox").args(["sleep", "1000"]).spawn().unwrap();
    std::fs::write(format!("{cgroup}/cgroup.procs"), stray.id().to_string()).unwrap();
    let sandboxes = host.options.root.join("sandboxes");
    let mounted = sandboxes.join("gone/app/rootfs");
    std::fs::create_dir_all(&mounted).unwrap();
    run("mount", &["-t", "tmpfs", "none", mounted.to_str().unwrap()]);
    std::fs::create_dir_all(host.options.run_dir.join("gone")).unwrap();
    let report = host.runtime.sweep().await;
    assert!(report.failed.is_empty(), "{report:?}");
    assert_eq!(report.removed.len(), 5, "{report:?}");
    assert!(!stray.wait().unwrap().success());
    // The task that is somebody's is as it was.
    let info = host.runtime.sandbox(&task).await.unwrap();
    assert!(matches!(info.containers[0].status, ContainerStatus::Running { .. }));
    host.runtime.teardown().await.unwrap();
    until("everything to be gone", async || leftovers(&host).is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_ended_although_its_state_is_gone() {
    let mut host = Host::new().await;
    let task = host.sandbox("lost", NetworkMode::Bridge).await;
    host.runtime.create_container(&task, host.shell("app", "sleep 1000")).await.unwrap();
    let app = host.runtime.start_container(&task, "app").await.unwrap();
    let shim = parent_of(app).unwrap();
    assert!(processes("wharf-shim").contains(&shim), "the container isn't the shim's child");
    std::fs::remove_dir_all(&host.options.root).unwrap();
    host.reopen().await;
    let lives = |pid: i32| Path::new(&format!("/proc/{pid}")).exists();
    until("the end of both", async || (!lives(app) && !lives(shim)).then_some(())).await;
    assert!(host.options.anything_left().unwrap());
    host.runtime.teardown().await.unwrap();
    until("everything to be gone", async || leftovers(&host).is_empty().then_some(())).await;
    assert!(!host.options.anything_left().unwrap());
}
