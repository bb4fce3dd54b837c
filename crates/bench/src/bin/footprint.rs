//! The bench of memory: `cargo xtask bench footprint`.
//!
//! What wharf's own processes hold while idle tasks with health checks and awslogs run, beside
//! dockerd, containerd and its shims with as many containers that have the same health check and
//! json-file logs, docker's default. `footprint WHARF [TASKS [SECONDS]]`, as root. The containers'
//! own processes are not counted. Proportional set sizes (proc_pid_smaps_rollup(5)): a page that n
//! processes share counts as an n-th in each of them.

use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use wharf_bench::Result;
use wharf_bench::docker::Docker;
use wharf_bench::processes::run;
use wharf_bench::rounds::median;
use wharf_bench::up::{Up, run_tasks, stop, wait_for};

const DEFAULT_TASKS: usize = 50;
const DEFAULT_SECONDS: u64 = 60;
const SAMPLES: u32 = 5;
/// What RunTask takes in one call.
const PER_CALL: usize = 10;
const HEALTH_INTERVAL_SECONDS: u64 = 10;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let program = arguments.next().ok_or("usage: footprint WHARF [TASKS [SECONDS]]")?;
    let tasks = arguments.next().map_or(Ok(DEFAULT_TASKS), |text| text.parse())?;
    let seconds = arguments.next().map_or(Ok(DEFAULT_SECONDS), |text| text.parse())?;
    let time = Duration::from_secs(seconds);
    let directory = tempfile::tempdir()?;
    let program = Path::new(&program).canonicalize()?;
    println!(
        "{tasks} idle tasks, health checks every {HEALTH_INTERVAL_SECONDS} s, watched for {seconds} s"
    );
    let ours = wharf(&program, directory.path(), tasks, time).await?;
    print("wharf", &ours);
    let Some(docker) = Docker::start(directory.path()).await? else { return Ok(()) };
    let theirs = containers(&docker, directory.path(), tasks, time).await?;
    print("docker", &theirs);
    let total = |of: &Footprint| of.values().map(|(_, kib)| kib).sum::<f64>();
    println!("    wharf / docker: {:.2}x", total(&ours) / total(&theirs));
    Ok(())
}

/// Kind of process → how many of them, and the KiB that they hold together.
type Footprint = BTreeMap<String, (usize, f64)>;

async fn wharf(
    program: &Path,
    directory: &Path,
    tasks: usize,
    time: Duration,
) -> Result<Footprint> {
    let up = Up::start(program, directory).await?;
    let mut client = up.client().await?;
    let definition = json!({
        "family": "bench", "networkMode": "bridge",
        "containerDefinitions": [{
            "name": "app", "image": "bench:latest", "memory": 8, "essential": true,
            "command": ["sh", "-c", "echo started; exec /busybox sleep 100000"], "stopTimeout": 2,
            "healthCheck": {
                "command": ["CMD", "/busybox", "true"], "interval": HEALTH_INTERVAL_SECONDS,
            },
            "logConfiguration": {"logDriver": "awslogs", "options": {
                "awslogs-group": "/bench", "awslogs-region": "us-east-1",
                "awslogs-stream-prefix": "bench", "awslogs-create-group": "true",
            }},
        }],
    });
    client.json("RegisterTaskDefinition", definition).await?;
    let mut arns = Vec::new();
    while arns.len() < tasks {
        arns.extend(run_tasks(&mut client, PER_CALL.min(tasks - arns.len())).await?);
    }
    wait_for(&mut client, &arns, "RUNNING").await?;
    let of = |pid: u32| {
        let exe = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        (exe == program).then(|| role(pid)).flatten()
    };
    let footprint = watch(time, of).await?;
    // The server doesn't keep a connection that long.
    let mut client = up.client().await?;
    let healthy = wait_for(&mut client, &arns, "RUNNING").await?;
    if let Some(task) = healthy.iter().find(|task| task["healthStatus"] != "HEALTHY") {
        return Err(format!("not healthy: {task}").into());
    }
    stop(&mut client, &arns).await?;
    wait_for(&mut client, &arns, "STOPPED").await?;
    Ok(footprint)
}

async fn containers(
    docker: &Docker,
    directory: &Path,
    tasks: usize,
    time: Duration,
) -> Result<Footprint> {
    let names: Vec<String> = (0..tasks).map(|n| format!("bench{n}")).collect();
    // The command line's --health-cmd needs a shell in the image.
    let check =
        format!("HEALTHCHECK --interval={HEALTH_INTERVAL_SECONDS}s CMD [\"/busybox\", \"true\"]");
    docker.import(directory, "checked:latest", &["--change", &check])?;
    for name in &names {
        let mut command = docker.command(&["run", "-d", "--memory", "8m", "--name", name]);
        command.args(["checked:latest", "/busybox", "sh", "-c"]);
        run(command.arg("echo started; exec /busybox sleep 100000").stdout(Stdio::null()))?;
    }
    let directory = directory.to_string_lossy().into_owned();
    let of = |pid: u32| {
        let command_line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let program = command_line.split('\0').next()?.rsplit('/').next()?;
        let one_of_theirs = ["dockerd", "containerd", "containerd-shim-runc-v2", "docker-proxy"];
        (one_of_theirs.contains(&program) && command_line.contains(&directory))
            .then(|| program.to_owned())
    };
    let footprint = watch(time, of).await?;
    docker.remove(&names)?;
    Ok(footprint)
}

/// What a process of wharf is: its subcommand.
fn role(pid: u32) -> Option<String> {
    let command_line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
    Some(command_line.split('\0').nth(1).unwrap_or_default().to_owned())
}

/// Samples the processes that `kind` names, spread over `time`; medians of the kinds' sums.
async fn watch(time: Duration, kind: impl Fn(u32) -> Option<String>) -> Result<Footprint> {
    let mut samples: BTreeMap<String, Vec<(usize, f64)>> = BTreeMap::new();
    for _ in 0..SAMPLES {
        tokio::time::sleep(time / SAMPLES).await;
        let mut sums = Footprint::new();
        for entry in std::fs::read_dir("/proc")? {
            let Ok(pid) = entry?.file_name().to_string_lossy().parse() else { continue };
            // A process that ended meanwhile holds nothing.
            let (Some(kind), Some(kib)) = (kind(pid), proportional_kib(pid)) else { continue };
            let sum = sums.entry(kind).or_default();
            *sum = (sum.0 + 1, sum.1 + kib);
        }
        for (kind, sum) in sums {
            samples.entry(kind).or_default().push(sum);
        }
    }
    let of_kind = |samples: Vec<(usize, f64)>| {
        let count = samples.iter().map(|(count, _)| *count).max().unwrap_or_default();
        (count, median(samples.into_iter().map(|(_, kib)| kib).collect()))
    };
    Ok(samples.into_iter().map(|(kind, samples)| (kind, of_kind(samples))).collect())
}

fn proportional_kib(pid: u32) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

fn print(name: &str, footprint: &Footprint) {
    let total: f64 = footprint.values().map(|(_, kib)| kib).sum();
    println!("    {name:<28} {:>8.1} MiB", total / 1024.0);
    for (kind, (count, kib)) in footprint {
        println!("      {:<26} {:>8.1} MiB", format!("{count} x {kind}"), kib / 1024.0);
    }
}
