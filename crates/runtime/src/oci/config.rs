//! `config.json`: the OCI runtime specification of one container, with docker's defaults.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::spec::{ContainerSpec, ExecSpec, Mount, MountSource, NetworkMode};

use super::user::User;
use super::{Bundle, Error, capabilities, devices, etc, init, rootfs, seccomp, shared, sysctl};

/// What docker puts into the environment where the image doesn't.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Where cgroups are mounted, on the host as in containers.
const CGROUP_MOUNT: &str = "/sys/fs/cgroup";
/// Kernel files that tell or change what concerns the host (docker's list).
const MASKED_PATHS: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
/// Options of mount(8) for what is mounted already.
const NO_NEW_MOUNT: [&str; 3] = ["bind", "rbind", "remount"];
/// The whole configuration.
pub(super) fn config(bundle: &Bundle, user: &User) -> Result<Value, Error> {
    let spec = &bundle.spec;
    let capabilities = capabilities::of(&spec.capabilities, spec.privileged)?;
    sysctl::check(bundle)?;
    let mut linux = json!({
        "cgroupsPath": bundle.cgroup,
        "namespaces": shared::namespaces(bundle, is_cgroup2()),
        "resources": resources(spec)?,
        "sysctl": spec.sysctls,
        "devices": devices::nodes(spec)?,
    });
    if !spec.privileged {
        linux["maskedPaths"] = json!(MASKED_PATHS);
        linux["readonlyPaths"] = json!(readonly_paths(bundle));
        linux["seccomp"] = seccomp::profile(&capabilities);
    }
    let arguments = init::arguments(bundle);
    let mut first = process(bundle, user, &arguments, environment(bundle, user, &[]), &spec.cwd)?;
    first["terminal"] = json!(spec.tty);
    let mut config = json!({
        "ociVersion": "1.0.2",
        "root": { "path": bundle.rootfs(), "readonly": spec.readonly_rootfs },
        "process": first,
        "mounts": mounts(bundle)?,
        "linux": linux,
    });
    if bundle.network != NetworkMode::Host {
        config["hostname"] = json!(bundle.hostname());
    }
    Ok(config)
}

/// docker's list. libcontainer 0.7 forgets that the cgroup mount is read-only on hosts with
/// version 1, and a container could lift its own limits: there, the mounts are listed as well.
fn readonly_paths(bundle: &Bundle) -> Vec<String> {
    let mut paths: Vec<String> = READONLY_PATHS.map(String::from).to_vec();
    if bundle.program.is_none()
        && !is_cgroup2()
        && let Ok(entries) = std::fs::read_dir(CGROUP_MOUNT)
    {
        let hierarchies =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        paths.extend(hierarchies.map(|name| format!("{CGROUP_MOUNT}/{name}")));
        paths.push(CGROUP_MOUNT.to_owned());
    }
    paths
}

/// The `process` object of a further process in the container.
pub(super) fn exec_process(bundle: &Bundle, exec: &ExecSpec, user: &User) -> Result<Value, Error> {
    let cwd = if exec.cwd.is_empty() { &bundle.spec.cwd } else { &exec.cwd };
    process(bundle, user, &exec.args, environment(bundle, user, &exec.env), cwd)
}

fn process(
    bundle: &Bundle,
    user: &User,
    args: &[String],
    env: Vec<String>,
    cwd: &str,
) -> Result<Value, Error> {
    let spec = &bundle.spec;
    if args.is_empty() {
        return Err(Error::Runtime("no command specified".to_owned()));
    }
    let cwd = if cwd.is_empty() { "/" } else { cwd };
    if !cwd.starts_with('/') {
        return Err(Error::Rootfs(format!("the working directory {cwd:?} is not absolute")));
    }
    let granted = capabilities::of(&spec.capabilities, spec.privileged)?;
    // As docker does it: a user other than root has capabilities within its bounds, none in force.
    let in_force: &[String] = if user.uid == 0 { &granted } else { &[] };
    let mut process = json!({
        "terminal": false,
        "user": { "uid": user.uid, "gid": user.gid, "additionalGids": user.additional_gids },
        "args": args,
        "env": env,
        "cwd": cwd,
        "capabilities": {
            "bounding": granted,
            "effective": in_force,
            "permitted": in_force,
            "inheritable": [],
            "ambient": [],
        },
    });
    // Absent rather than false: libcontainer takes any value as a promise to drop privileges
    // before the seccomp filter is loaded.
    if spec.no_new_privileges {
        process["noNewPrivileges"] = json!(true);
    }
    if let Some(profile) = &spec.apparmor_profile {
        process["apparmorProfile"] = json!(profile);
    }
    let rlimits = rlimits(spec)?;
    if !rlimits.is_empty() {
        process["rlimits"] = json!(rlimits);
    }
    Ok(process)
}

/// Image's and task definition's variables, the last of a name wins; then what is missing.
fn environment(bundle: &Bundle, user: &User, more: &[String]) -> Vec<String> {
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let mut env: Vec<String> = Vec::new();
    // The embedded runtime adds them in the container's own process, past every file.
    let secrets = bundle.program.as_ref().map(|_| &bundle.spec.secret_env);
    let secrets: Vec<String> =
        secrets.into_iter().flatten().map(|secret| secret.expose().to_owned()).collect();
    let all = bundle.spec.env.iter().chain(more).chain(&secrets);
    for variable in all.filter(|variable| variable.contains('=')) {
        let same = env.iter().position(|other| name(other) == name(variable));
        match same {
            Some(index) => env[index].clone_from(variable),
            None => env.push(variable.clone()),
        }
    }
    let defaults = [
        ("PATH", DEFAULT_PATH.to_owned()),
        ("HOSTNAME", bundle.hostname()),
        ("HOME", user.home.clone()),
    ];
    for (default, value) in defaults {
        if !env.iter().any(|variable| name(variable) == default) {
            env.push(format!("{default}={value}"));
        }
    }
    env
}

fn rlimits(spec: &ContainerSpec) -> Result<Vec<Value>, Error> {
    const NAMES: [&str; 15] = [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    spec.ulimits
        .iter()
        .map(|limit| {
            let name = limit.name.to_ascii_lowercase();
            if !NAMES.contains(&name.as_str()) {
                return Err(Error::Unknown { what: "ulimit", name: limit.name.clone() });
            }
            let kind = format!("RLIMIT_{}", name.to_ascii_uppercase());
            Ok(json!({ "type": kind, "soft": limit.soft, "hard": limit.hard }))
        })
        .collect()
}

// docker's default: cgroups are private with version 2, the host's with version 1.
fn is_cgroup2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

fn resources(spec: &ContainerSpec) -> Result<Value, Error> {
    let wanted = &spec.resources;
    let mut resources = Map::new();
    let mut cpu = Map::new();
    if let Some(shares) = wanted.cpu_shares {
        cpu.insert("shares".to_owned(), json!(shares));
    }
    if let Some(millis) = wanted.cpu_millis {
        cpu.insert("period".to_owned(), json!(100_000));
        cpu.insert("quota".to_owned(), json!((millis.saturating_mul(100)).max(1000)));
    }
    let mut memory = Map::new();
    if let Some(bytes) = wanted.memory_bytes {
        memory.insert("limit".to_owned(), json!(bytes));
        if wanted.memory_swap_bytes.is_some() && !has_swap_accounting() {
            let why = "swap can't be limited: the kernel was started without its accounting";
            return Err(Error::Runtime(why.to_owned()));
        }
        if has_swap_accounting() {
            memory.insert("swap".to_owned(), json!(wanted.memory_swap_bytes.unwrap_or(bytes)));
        }
    }
    if let Some(bytes) = wanted.memory_reservation_bytes {
        memory.insert("reservation".to_owned(), json!(bytes));
    }
    match wanted.swappiness {
        Some(_) if is_cgroup2() => {
            let why = "swappiness can't be set: this host has version 2 of cgroups";
            return Err(Error::Runtime(why.to_owned()));
        }
        Some(value) => drop(memory.insert("swappiness".to_owned(), json!(value))),
        None => {}
    }
    for (name, part) in [("cpu", cpu), ("memory", memory)] {
        if !part.is_empty() {
            resources.insert(name.to_owned(), Value::Object(part));
        }
    }
    if let Some(limit) = wanted.pids {
        resources.insert("pids".to_owned(), json!({ "limit": limit }));
    }
    resources.insert("devices".to_owned(), json!(devices::rules(spec)?));
    Ok(Value::Object(resources))
}

fn has_swap_accounting() -> bool {
    is_cgroup2() || Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists()
}

fn mount(target: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({ "destination": target, "type": kind, "source": source, "options": options })
}

fn mounts(bundle: &Bundle) -> Result<Vec<Value>, Error> {
    let spec = &bundle.spec;
    let access = if spec.privileged { "rw" } else { "ro" };
    let plain = ["nosuid", "noexec", "nodev"];
    let with_access = ["nosuid", "noexec", "nodev", access];
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &plain),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", "sysfs", &with_access),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &with_access),
    ];
    mounts.extend(shared::mounts(bundle));
    mounts.extend(init::mount(bundle));
    for name in etc::FILES {
        let source = bundle.directory.join(name);
        let mut file = mount(&format!("/etc/{name}"), "bind", "", &["rbind", "rprivate"]);
        file["source"] = json!(source);
        mounts.push(file);
    }
    for wanted in &spec.mounts {
        mounts.push(volume(wanted)?);
    }
    Ok(mounts)
}

fn volume(wanted: &Mount) -> Result<Value, Error> {
    if !rootfs::is_plain_absolute(&wanted.target) {
        return Err(Error::Rootfs(format!("{:?} is no place for a mount", wanted.target)));
    }
    let access = if wanted.read_only { "ro" } else { "rw" };
    Ok(match &wanted.source {
        MountSource::Bind(source) | MountSource::Volume(source) => {
            let mut bind = mount(&wanted.target, "bind", "", &["rbind", "rprivate", access]);
            bind["source"] = json!(source);
            bind
        }
        MountSource::Tmpfs { size_bytes, options } => {
            // They would make another mount of something that is there.
            if let Some(option) = options.iter().find(|o| NO_NEW_MOUNT.contains(&o.as_str())) {
                return Err(Error::Rootfs(format!("{option:?} is no option of a new tmpfs")));
            }
            // docker's defaults, but for those that something else was asked for: not every runtime
            // lets the last word win.
            let asked = |word: &str| options.iter().any(|option| option == word);
            let defaults = [("nosuid", "suid"), ("nodev", "dev"), ("noexec", "exec")];
            let mut all: Vec<String> = vec![access.to_owned()];
            let kept = defaults.iter().filter(|(_, other)| !asked(other));
            all.extend(kept.map(|(default, _)| (*default).to_owned()));
            all.extend(options.iter().cloned());
            if *size_bytes > 0 {
                all.push(format!("size={size_bytes}"));
            }
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            mount(&wanted.target, "tmpfs", "tmpfs", &all)
        }
    })
}
