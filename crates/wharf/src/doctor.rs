//! `wharf doctor`: what this host lacks to run containers.

use crate::cli::Format;
use crate::env::old_aws_cli;
use crate::output::Listing;
use serde_json::json;
use std::path::Path;
use std::process::Command;

/// One thing that was looked at.
struct Check {
    what: &'static str,
    /// None: fine. Otherwise what is missing and what to do.
    problem: Option<String>,
    /// Containers can't run without it.
    required: bool,
}

/// Prints what was found; false if something required is missing.
pub fn run(format: Format) -> bool {
    let checks = checks();
    let state = |c: &Check| match (&c.problem, c.required) {
        (None, _) => "ok",
        (Some(_), true) => "MISSING",
        (Some(_), false) => "warning",
    };
    let rows = checks.iter().map(|c| {
        vec![c.what.to_owned(), state(c).to_owned(), c.problem.clone().unwrap_or_default()]
    });
    let json = checks
        .iter()
        .map(|c| json!({ "check": c.what, "state": state(c), "problem": c.problem }))
        .collect();
    Listing { columns: vec!["CHECK", "STATE", "WHAT TO DO"], rows: rows.collect(), json }
        .print(format);
    !checks.iter().any(|c| c.required && c.problem.is_some())
}

fn checks() -> Vec<Check> {
    let filesystems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let has_overlay = filesystems.split_whitespace().any(|word| word == "overlay");
    vec![
        Check {
            what: "root",
            problem: (!rustix::process::geteuid().is_root()).then(|| {
                "containers need root: `sudo wharf up` (`wharf up --no-agent` serves the API alone)"
                    .to_owned()
            }),
            required: true,
        },
        Check {
            what: "cgroups",
            problem: (!has_cgroups())
                .then(|| "no cgroup v1 or v2 hierarchy is mounted on /sys/fs/cgroup".to_owned()),
            required: true,
        },
        Check {
            what: "overlay file system",
            problem: (!has_overlay).then(|| "load it: `modprobe overlay`".to_owned()),
            required: true,
        },
        Check {
            what: "nft",
            problem: version_of("nft", "--version").is_none().then(|| {
                "published ports and awsvpc need it: `apt-get install nftables`".to_owned()
            }),
            required: true,
        },
        Check {
            what: "seccomp",
            problem: (!Path::new("/proc/sys/kernel/seccomp/actions_avail").exists())
                .then(|| "the kernel has no seccomp filters (CONFIG_SECCOMP_FILTER)".to_owned()),
            required: true,
        },
        Check {
            what: "aws CLI",
            problem: old_aws_cli().map(|version| {
                format!("{version} ignores AWS_ENDPOINT_URL: `pip install awscli` for a newer one")
            }),
            required: false,
        },
    ]
}

fn has_cgroups() -> bool {
    let root = Path::new("/sys/fs/cgroup");
    root.join("cgroup.controllers").exists() || root.join("memory").is_dir()
}

fn version_of(program: &str, flag: &str) -> Option<String> {
    let output = Command::new(program).arg(flag).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
