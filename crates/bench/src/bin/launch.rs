//! The bench of whole launches: `cargo xtask bench launch`.
//!
//! RunTask to RUNNING through a real `wharf up`, with the image local, beside `docker run -d`; then
//! many at once. `launch WHARF [ROUNDS [AT-ONCE]]`, as root. dockerd is started by hand on a socket
//! and data root of its own, in a network namespace of its own: it would change the host's
//! firewall.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use wharf_bench::Result;
use wharf_bench::client::{Client, Key};
use wharf_bench::processes::{Process, free_address, version};
use wharf_bench::rounds::{Round, median, print_row, ratio};

const DEFAULT_ROUNDS: usize = 30;
const DEFAULT_AT_ONCE: usize = 100;
const WARM_UP: usize = 3;
const POLL: Duration = Duration::from_millis(2);
/// Asking for a hundred tasks takes the processors that their starts need.
const POLL_MANY: Duration = Duration::from_millis(25);
const DEADLINE: Duration = Duration::from_secs(120);
const PHASES: [(&str, &str, &str); 3] = [
    ("placed to pull", "createdAt", "pullStartedAt"),
    ("image", "pullStartedAt", "pullStoppedAt"),
    ("network, create, start, report", "pullStoppedAt", "startedAt"),
];

/// A `wharf up` that is taken down when dropped.
struct Up {
    program: PathBuf,
    data_dir: PathBuf,
    address: String,
    key: Key,
}

impl Up {
    async fn start(program: &Path, directory: &Path) -> Result<Self> {
        let (data_dir, address) = (directory.join("wharf"), free_address()?);
        let vpc = "100.125.0.0/20";
        let program = program.to_owned();
        let mut up = Self { program, data_dir, address, key: Key::new_empty() };
        up.wharf(&["up", "--listen", &up.address, "--vpc-cidr", vpc])?;
        up.wharf(&["image", "build", "--name", "bench:latest", "/bin/busybox"])?;
        up.key = Key::of(&up.data_dir)?;
        let mut client = up.client().await?;
        let definition = json!({
            "family": "bench", "networkMode": "bridge",
            "containerDefinitions": [{
                "name": "app", "image": "bench:latest", "memory": 8, "essential": true,
                "command": ["sleep", "1000"], "stopTimeout": 2,
            }],
        });
        client.json("RegisterTaskDefinition", definition).await?;
        Ok(up)
    }

    fn wharf(&self, arguments: &[&str]) -> Result<()> {
        run(Command::new(&self.program).arg("--data-dir").arg(&self.data_dir).args(arguments))
    }

    async fn client(&self) -> Result<Client> {
        Client::connect(&self.address, &self.key).await
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if let Err(error) = self.wharf(&["down", "--tasks", "--timeout", "60"]) {
            eprintln!("wharf down: {error}");
        }
    }
}

/// Debian's docker on a socket of its own.
struct Docker {
    socket: String,
    _daemon: Process,
}

impl Docker {
    async fn start(directory: &Path) -> Result<Self> {
        let at = directory.display();
        let socket = format!("unix://{at}/docker.sock");
        let daemon = format!(
            "ip link set lo up && exec dockerd --data-root {at}/docker --exec-root {at}/exec \
             -H {socket} -p {at}/docker.pid --storage-driver overlay2"
        );
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", &daemon]);
        let log = directory.join("docker.log");
        let docker = Self { socket, _daemon: Process::start(&mut command, &log)? };
        let start = Instant::now();
        while docker.docker(&["version"]).is_err() {
            if start.elapsed() > Duration::from_secs(30) {
                return Err(std::fs::read_to_string(log)?.into());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let tar = directory.join("busybox.tar");
        run(Command::new("tar").args(["-C", "/bin", "-cf"]).arg(&tar).arg("busybox"))?;
        docker.docker(&["import", &tar.to_string_lossy(), "bench:latest"])?;
        Ok(docker)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(["-H", &self.socket]).args(arguments);
        command
    }

    fn docker(&self, arguments: &[&str]) -> Result<()> {
        run(&mut self.command(arguments))
    }

    fn run_detached(&self, name: &str) -> Command {
        let limits = ["run", "-d", "--memory", "8m", "--name", name];
        let mut command = self.command(&limits);
        command.args(["bench:latest", "/busybox", "sleep", "1000"]);
        command
    }

    fn remove(&self, names: &[String]) -> Result<()> {
        run(self.command(&["rm", "-f"]).args(names))
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("{command:?}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let program = arguments.next().ok_or("usage: launch WHARF [ROUNDS [AT-ONCE]]")?;
    let rounds = arguments.next().map_or(Ok(DEFAULT_ROUNDS), |text| text.parse())?;
    let at_once = arguments.next().map_or(Ok(DEFAULT_AT_ONCE), |text| text.parse())?;
    let directory = tempfile::tempdir()?;
    let up = Up::start(Path::new(&program), directory.path()).await?;
    let docker = match version("dockerd", "--version") {
        Some(version) => {
            println!("{version}");
            Some(Docker::start(directory.path()).await?)
        }
        None => {
            println!("docker is not installed: wharf alone (Debian: apt install docker.io)");
            None
        }
    };
    one_by_one(&up, docker.as_ref(), rounds).await?;
    many(&up, docker.as_ref(), at_once).await
}

/// Runs `count` tasks; answers their ARNs.
async fn run_tasks(client: &mut Client, count: usize) -> Result<Vec<String>> {
    let answer = client.json("RunTask", json!({"taskDefinition": "bench", "count": count})).await?;
    let tasks = answer["tasks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let arns: Vec<_> =
        tasks.iter().filter_map(|t| t["taskArn"].as_str()).map(str::to_owned).collect();
    if arns.len() == count { Ok(arns) } else { Err(answer.to_string().into()) }
}

/// Waits until all tasks have `status`; answers them.
async fn wait_for(client: &mut Client, arns: &[String], status: &str) -> Result<Vec<Value>> {
    let start = Instant::now();
    loop {
        let mut answer = client.json("DescribeTasks", json!({"tasks": arns})).await?;
        let Value::Array(tasks) = answer["tasks"].take() else { return Err("no tasks".into()) };
        if tasks.iter().all(|task| task["lastStatus"] == status) {
            return Ok(tasks);
        }
        let stopped = tasks.iter().find(|t| status != "STOPPED" && t["lastStatus"] == "STOPPED");
        if let Some(task) = stopped {
            return Err(task.to_string().into());
        }
        if start.elapsed() > DEADLINE {
            return Err(format!("not {status} within {DEADLINE:?}").into());
        }
        tokio::time::sleep(if arns.len() > 1 { POLL_MANY } else { POLL }).await;
    }
}

async fn stop(client: &mut Client, arns: &[String]) -> Result<()> {
    for arn in arns {
        client.json("StopTask", json!({"task": arn})).await?;
    }
    Ok(())
}

async fn one_by_one(up: &Up, docker: Option<&Docker>, rounds: usize) -> Result<()> {
    let mut client = up.client().await?;
    let (mut ours, mut theirs, mut tasks) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..rounds + WARM_UP {
        let begun = Instant::now();
        let arns = run_tasks(&mut client, 1).await?;
        let task = wait_for(&mut client, &arns, "RUNNING").await?;
        let took = begun.elapsed();
        // Ended before the peer's turn, so that neither pays for the other.
        stop(&mut client, &arns).await?;
        wait_for(&mut client, &arns, "STOPPED").await?;
        let name = format!("bench{n}");
        let begun = Instant::now();
        let mut peer_took = Duration::ZERO;
        if let Some(docker) = docker {
            run(&mut docker.run_detached(&name))?;
            peer_took = begun.elapsed();
            docker.remove(&[name])?;
        }
        if n >= WARM_UP {
            ours.push(took);
            theirs.push(peer_took);
            tasks.extend(task);
        }
    }
    println!("one at a time, {rounds} interleaved rounds, image local");
    let per_round: Vec<f64> =
        ours.iter().zip(&theirs).map(|(a, b)| a.as_secs_f64() / b.as_secs_f64()).collect();
    let (ours, theirs) = (whole(ours), whole(theirs));
    print_row("RunTask to RUNNING", &ours);
    print_phases(&tasks);
    if docker.is_some() {
        print_row("docker run -d", &theirs);
        println!(
            "    wharf / docker: {:.2}x (median of rounds), p99 {:.2}x",
            median(per_round),
            ratio(&ours, &theirs, |round| round.wait_ms(0.99))
        );
    }
    Ok(())
}

fn whole(waits: Vec<Duration>) -> [Round; 1] {
    let per_second = waits.len() as f64 / waits.iter().sum::<Duration>().as_secs_f64();
    let mut waits = waits;
    waits.sort_unstable();
    [Round { per_second, waits }]
}

fn print_phases(tasks: &[Value]) {
    for (name, from, to) in PHASES {
        let took = |task: &Value| Some((task[to].as_f64()? - task[from].as_f64()?) * 1e3);
        let median = median(tasks.iter().filter_map(took).collect());
        println!("      {name:<32} {median:>8.0} ms");
    }
}

async fn many(up: &Up, docker: Option<&Docker>, count: usize) -> Result<()> {
    // RunTask takes ten at most.
    let mut clients = Vec::new();
    for _ in 0..count.div_ceil(10) {
        clients.push(up.client().await?);
    }
    let begun = Instant::now();
    let calls: Vec<_> = clients
        .into_iter()
        .map(|mut client| tokio::spawn(async move { run_tasks(&mut client, 10).await }))
        .collect();
    let mut arns = Vec::new();
    for call in calls {
        arns.extend(call.await??);
    }
    let acknowledged = begun.elapsed();
    let mut client = up.client().await?;
    let tasks = wait_for(&mut client, &arns, "RUNNING").await?;
    let ours = arns.len() as f64 / begun.elapsed().as_secs_f64();
    println!("{} at once", arns.len());
    println!("    wharf: {ours:.1} tasks per second; all acknowledged after {acknowledged:.0?}");
    print_phases(&tasks);
    stop(&mut client, &arns).await?;
    wait_for(&mut client, &arns, "STOPPED").await?;
    let Some(docker) = docker else { return Ok(()) };
    let names: Vec<String> = (0..arns.len()).map(|n| format!("many{n}")).collect();
    let begun = Instant::now();
    let children = names
        .iter()
        .map(|name| docker.run_detached(name).stdout(Stdio::null()).spawn())
        .collect::<std::io::Result<Vec<_>>>()?;
    for mut child in children {
        if !child.wait()?.success() {
            return Err("docker run failed".into());
        }
    }
    let theirs = names.len() as f64 / begun.elapsed().as_secs_f64();
    docker.remove(&names)?;
    println!(
        "    docker: {theirs:.1} containers per second; wharf / docker: {:.1}x",
        ours / theirs
    );
    Ok(())
}
