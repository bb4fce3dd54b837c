//! `wharf status` and `wharf down`.

use crate::cli::{Down, Format};
use crate::data_dir::DataDir;
use crate::output::{Listing, spinner};
use crate::process::ProcessFile;
use rustix::process::Signal;
use serde_json::json;
use std::time::Duration;

/// wharf's processes, in the order in which they are stopped.
const PROCESSES: [&str; 4] = ["supervisor", "agent", "balancer", "server"];

/// Prints the processes; false if none runs.
pub fn run(data_dir: &DataDir, format: Format) -> bool {
    let live: Vec<ProcessFile> =
        PROCESSES.iter().filter_map(|name| ProcessFile::read_live(data_dir, name)).collect();
    let rows = live
        .iter()
        .map(|p| vec![p.name.clone(), p.pid.to_string(), p.version.clone(), p.addresses.join(",")]);
    let json: serde_json::Map<_, _> = live
        .iter()
        .map(|p| {
            let value = json!({ "pid": p.pid, "version": p.version, "addresses": p.addresses });
            (p.name.clone(), value)
        })
        .collect();
    Listing {
        columns: vec!["PROCESS", "PID", "VERSION", "ADDRESSES"],
        rows: rows.collect(),
        json: json.into(),
    }
    .print(format);
    if live.is_empty() {
        eprintln!("wharf: nothing runs on {}; start it with `wharf up`", data_dir.path().display());
    }
    !live.is_empty()
}

/// Stops wharf's processes: the supervisor first, so that it starts nothing again. False if one
/// of them did not end.
pub fn stop_processes(data_dir: &DataDir, args: &Down) -> bool {
    let bar = spinner("stopping wharf");
    let timeout = Duration::from_secs(args.timeout);
    let mut ended = true;
    for name in PROCESSES {
        if let Some(process) = ProcessFile::read_live(data_dir, name) {
            bar.set_message(format!("stopping {name} (pid {})", process.pid));
            if !process.stop(Signal::TERM, timeout) {
                eprintln!(
                    "wharf: {name} (pid {}) has not ended {} s after SIGTERM; \
                     see {}/{name}.log, or end it with `kill -9 {}`",
                    process.pid,
                    args.timeout,
                    data_dir.log().display(),
                    process.pid
                );
                ended = false;
            }
        }
    }
    bar.finish_and_clear();
    ended
}
