//! The bench of whole launches: `cargo xtask bench launch`.
//!
//! RunTask to RUNNING through a real `wharf up`, with the image local, beside `docker run -d`; then
//! many at once. `launch WHARF [ROUNDS [AT-ONCE]]`, as root.

use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use wharf_bench::Result;
use wharf_bench::docker::Docker;
use wharf_bench::processes::run;
use wharf_bench::rounds::{Round, median, print_row, ratio};
use wharf_bench::up::{Up, run_tasks, stop, wait_for};

const DEFAULT_ROUNDS: usize = 30;
const DEFAULT_AT_ONCE: usize = 100;
const WARM_UP: usize = 3;
const PHASES: [(&str, &str, &str); 3] = [
    ("placed to pull", "createdAt", "pullStartedAt"),
    ("image", "pullStartedAt", "pullStoppedAt"),
    ("network, create, start, report", "pullStoppedAt", "startedAt"),
];

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let program = arguments.next().ok_or("usage: launch WHARF [ROUNDS [AT-ONCE]]")?;
    let rounds = arguments.next().map_or(Ok(DEFAULT_ROUNDS), |text| text.parse())?;
    let at_once = arguments.next().map_or(Ok(DEFAULT_AT_ONCE), |text| text.parse())?;
    let directory = tempfile::tempdir()?;
    let up = Up::start(Path::new(&program), directory.path()).await?;
    register(&up).await?;
    let docker = Docker::start(directory.path()).await?;
    one_by_one(&up, docker.as_ref(), rounds).await?;
    many(&up, docker.as_ref(), at_once).await
}

async fn register(up: &Up) -> Result<()> {
    let definition = json!({
        "family": "bench", "networkMode": "bridge",
        "containerDefinitions": [{
            "name": "app", "image": "bench:latest", "memory": 8, "essential": true,
            "command": ["sleep", "1000"], "stopTimeout": 2,
        }],
    });
    up.client().await?.json("RegisterTaskDefinition", definition).await?;
    Ok(())
}

fn run_detached(docker: &Docker, name: &str) -> Command {
    let limits = ["run", "-d", "--memory", "8m", "--name", name];
    let mut command = docker.command(&limits);
    command.args(["bench:latest", "/busybox", "sleep", "1000"]);
    command
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
            run(&mut run_detached(docker, &name))?;
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
        .map(|name| run_detached(docker, name).stdout(Stdio::null()).spawn())
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
