//! How long a container's start takes, phase by phase: this crate beside crun and runc.
//!
//! Run as root: `cargo run --release -p wharf-runtime --example launch [ROUNDS]`. Rounds are
//! interleaved, and ratios are medians of per-round ratios, since the machine's speed wanders.
//! The peers get the very configuration that this crate wrote, on a plain directory as root file
//! system: the overlay mount is in our time and not in theirs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use wharf_runtime::spec::Ipv4Cidr;
use wharf_runtime::{
    ContainerSpec, NetworkMode, Runtime, RuntimeOptions, SandboxId, SandboxSpec, Zygote,
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const PHASES: [&str; 5] = ["create", "start", "wait", "delete", "total"];
const DEFAULT_ROUNDS: usize = 40;
const WARM_UP: usize = 3;

fn main() -> Result<()> {
    wharf_runtime::run_if_zygote();
    hide_hybrid_cgroups()?;
    nix::sys::prctl::set_child_subreaper(true)?;
    let rounds = std::env::args().nth(1).map_or(Ok(DEFAULT_ROUNDS), |text| text.parse())?;
    let tokio = tokio::runtime::Runtime::new()?;
    let directory = tempfile::tempdir()?;
    tokio.block_on(bench(directory.path(), rounds))
}

/// Debian's crun 1.8 gets hybrid hosts wrong; our shims hide the mount for themselves.
fn hide_hybrid_cgroups() -> Result<()> {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?;
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)?;
    let _ = umount2("/sys/fs/cgroup/unified", MntFlags::MNT_DETACH);
    Ok(())
}

async fn bench(directory: &Path, rounds: usize) -> Result<()> {
    let layer = directory.join("layer");
    make_layer(&layer)?;
    let mut options = RuntimeOptions::new(directory.join("data"), "bench")?;
    options.vpc_cidr = "100.127.240.0/20".parse::<Ipv4Cidr>()?;
    let runtime = Runtime::open(options, Zygote::this_program()).await?;
    let result = compare(&runtime, directory, &layer, rounds).await;
    runtime.teardown().await?;
    result
}

fn make_layer(layer: &Path) -> Result<()> {
    std::fs::create_dir_all(layer.join("bin"))?;
    for mount_point in ["proc", "dev", "sys", "etc"] {
        std::fs::create_dir_all(layer.join(mount_point))?;
    }
    std::fs::copy("/bin/busybox", layer.join("bin/busybox"))?;
    std::os::unix::fs::symlink("busybox", layer.join("bin/true"))?;
    Ok(())
}

async fn compare(runtime: &Runtime, directory: &Path, layer: &Path, rounds: usize) -> Result<()> {
    let task = SandboxId::new("task")?;
    let spec = SandboxSpec {
        id: task.clone(),
        network: NetworkMode::None,
        resources: Default::default(),
        dns: Default::default(),
        sharing: Default::default(),
        memory_volumes: Default::default(),
        storage: None,
        runtime_class: None,
        labels: Default::default(),
    };
    runtime.create_sandbox(spec).await?;
    let bundle = peer_bundle(runtime, &task, directory, layer).await?;
    let peers = peers();
    let mut ours = Vec::new();
    let mut theirs = vec![Vec::new(); peers.len()];
    let mut inner = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    for round in 0..rounds + WARM_UP {
        let (times, phases) = launch(runtime, &task, layer).await?;
        let peer_times = peers
            .iter()
            .map(|peer| {
                tokio::task::block_in_place(|| launch_peer(peer, &bundle, directory, round))
            })
            .collect::<Result<Vec<_>>>()?;
        if round < WARM_UP {
            continue;
        }
        ours.push(times);
        inner.iter_mut().zip(phases).for_each(|(all, one)| all.push(one));
        theirs.iter_mut().zip(peer_times).for_each(|(all, one)| all.push(one));
    }
    println!("{rounds} rounds, medians in milliseconds");
    println!("{:<28}{}", "", PHASES.map(|phase| format!("{phase:>9}")).concat());
    print_row("wharf (libcontainer 0.7)", &ours);
    for (peer, times) in peers.iter().zip(&theirs) {
        print_row(&version(peer), times);
    }
    for (peer, times) in peers.iter().zip(&theirs) {
        let mut ratios: Vec<f64> =
            ours.iter().zip(times).map(|(a, b)| a[4].as_secs_f64() / b[4].as_secs_f64()).collect();
        ratios.sort_by(f64::total_cmp);
        println!("wharf / {}: {:.2}", version(peer), ratios[ratios.len() / 2]);
    }
    let [network, bundle, create, start] = inner.map(median_us);
    println!(
        "inside: network {network} µs, bundle {bundle} µs, OCI create {create} µs, \
         OCI start {start} µs"
    );
    Ok(())
}

fn median_us(mut all: Vec<u64>) -> u64 {
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or(0)
}

fn print_row(name: &str, times: &[[Duration; 5]]) {
    let median = |phase: usize| {
        let mut all: Vec<Duration> = times.iter().map(|times| times[phase]).collect();
        all.sort_unstable();
        all[all.len() / 2].as_secs_f64() * 1e3
    };
    let row: String = (0..PHASES.len()).map(|phase| format!("{:>9.2}", median(phase))).collect();
    println!("{name:<28}{row}");
}

async fn launch(
    runtime: &Runtime,
    task: &SandboxId,
    layer: &Path,
) -> Result<([Duration; 5], [u64; 4])> {
    let spec = ContainerSpec::new("app", vec![layer.to_owned()], vec!["/bin/true".to_owned()]);
    let mut clock = Clock::start();
    runtime.create_container(task, spec).await?;
    clock.lap();
    runtime.start_container(task, "app").await?;
    clock.lap();
    let exit = runtime.wait_container(task, "app").await?;
    if exit.code != 0 {
        return Err(format!("the container ended with {exit:?}").into());
    }
    clock.lap();
    let info = runtime.sandbox(task).await?.containers.pop().ok_or("no container")?;
    let timings = info.timings;
    let mut clock_without_listing = clock.paused();
    runtime.delete_container(task, "app").await?;
    clock_without_listing.lap();
    let phases = [timings.network_us, timings.bundle_us, timings.create_us, timings.start_us];
    Ok((clock_without_listing.total(), phases))
}

/// The runtimes to compare with; says how to get one that isn't there.
fn peers() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for name in ["crun", "runc"] {
        let places = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];
        let path = places.iter().map(|place| Path::new(place).join(name)).find(|p| p.exists());
        match path {
            Some(path) => found.push(path),
            None => println!("{name} is not installed: no comparison (Debian: apt install {name})"),
        }
    }
    found
}

/// The configuration of one of our containers, with a network namespace of its own making.
async fn peer_bundle(
    runtime: &Runtime,
    task: &SandboxId,
    directory: &Path,
    layer: &Path,
) -> Result<PathBuf> {
    let spec = ContainerSpec::new("app", vec![layer.to_owned()], vec!["/bin/true".to_owned()]);
    runtime.create_container(task, spec).await?;
    let written = directory.join("data/sandboxes/task/app");
    let bundle = directory.join("bundle");
    std::fs::create_dir_all(&bundle)?;
    for file in ["hosts", "hostname", "resolv.conf"] {
        std::fs::copy(written.join(file), bundle.join(file))?;
    }
    let text = std::fs::read_to_string(written.join("config.json"))?;
    let text = text.replace(&*written.to_string_lossy(), &bundle.to_string_lossy());
    let mut config: serde_json::Value = serde_json::from_str(&text)?;
    config["root"]["path"] = layer.to_string_lossy().into();
    config["linux"]["cgroupsPath"] = "/wharf-bench/peer/app".into();
    let namespaces = config["linux"]["namespaces"].as_array_mut().ok_or("no namespaces")?;
    for namespace in namespaces {
        namespace.as_object_mut().ok_or("no namespace")?.shift_remove("path");
    }
    // This is our way to say "read-only" to libcontainer; the others know it already.
    let paths = config["linux"]["readonlyPaths"].as_array_mut().ok_or("no paths")?;
    paths.retain(|path| !path.as_str().is_some_and(|path| path.starts_with("/sys/fs/cgroup")));
    std::fs::write(bundle.join("config.json"), config.to_string())?;
    runtime.delete_container(task, "app").await?;
    Ok(bundle)
}

fn launch_peer(
    peer: &Path,
    bundle: &Path,
    directory: &Path,
    round: usize,
) -> Result<[Duration; 5]> {
    let id = format!("peer{round}");
    let pid_file = directory.join("peer.pid");
    let run = |arguments: &[&str]| -> Result<()> {
        let status = Command::new(peer)
            .arg("--root")
            .arg(directory.join("peer-state"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()?;
        if status.success() { Ok(()) } else { Err(format!("{peer:?} {arguments:?}").into()) }
    };
    let (bundle, pid_path) = (bundle.to_string_lossy(), pid_file.to_string_lossy());
    let mut clock = Clock::start();
    run(&["create", "--bundle", &bundle, "--pid-file", &pid_path, &id])?;
    clock.lap();
    run(&["start", &id])?;
    clock.lap();
    let pid: i32 = std::fs::read_to_string(&pid_file)?.trim().parse()?;
    nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None)?;
    clock.lap();
    run(&["delete", &id])?;
    clock.lap();
    Ok(clock.total())
}

fn version(program: &Path) -> String {
    let output = Command::new(program).arg("--version").output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").replace(" version", "")
}

/// The time of each lap.
struct Clock {
    last: Instant,
    laps: Vec<Duration>,
}

impl Clock {
    fn start() -> Self {
        Self { last: Instant::now(), laps: Vec::new() }
    }

    fn lap(&mut self) {
        self.laps.push(self.last.elapsed());
        self.last = Instant::now();
    }

    fn paused(mut self) -> Self {
        self.last = Instant::now();
        self
    }

    fn total(self) -> [Duration; 5] {
        let mut times = [Duration::ZERO; 5];
        times.iter_mut().zip(&self.laps).for_each(|(time, lap)| *time = *lap);
        times[4] = self.laps.iter().sum();
        times
    }
}
