//! kill -9 of the agent's process, and what the next one finds.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;
use support::{ControlPlane, Host, arn, options, shell_task, until};
use tokio_util::sync::CancellationToken;
use wharf_agent::Agent;

const VARIABLE: &str = "WHARF_TEST_AGENT";

/// Not a test by itself: the agent's process, when the variable is set.
#[tokio::test(flavor = "multi_thread")]
async fn child_agent() {
    let Ok(setting) = std::env::var(VARIABLE) else { return };
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .try_init();
    let parts: Vec<&str> = setting.split('|').collect();
    let options = options(parts[0], Path::new(parts[1]), parts[2]);
    Agent::new(options).run(CancellationToken::new()).await.unwrap();
}

/// The agent as a process of its own; dropping kills it.
struct AgentProcess(Child);

impl AgentProcess {
    fn start(url: &str, host: &Host) -> Self {
        let (data, instance) = (host.path(), &host.instance);
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_agent", "--nocapture"])
            .env(VARIABLE, format!("{url}|{}|{instance}", data.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The pid of the shell whose command line has this mark.
fn pid_of(mark: &str) -> Option<i32> {
    std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line);
        (line.starts_with("/bin/sh\0") && line.contains(mark)).then_some(pid)
    })
}

fn kill_process(pid: i32) {
    Command::new("/bin/kill").args(["-9", &pid.to_string()]).status().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_outlive_a_killed_agent_and_are_adopted() {
    let plane = ControlPlane::start().await;
    let host = Host::new();
    let instance = host.instance.clone();
    let mark = |id: &str| format!("{id}{instance}; while :; do sleep 1; done");
    let mut agent = AgentProcess::start(&plane.url, &host);
    plane.session(1).await;
    let tasks: Vec<_> = ["d001", "d002", "d003"]
        .iter()
        .map(|id| shell_task(id, &format!(": {}", mark(id))))
        .collect();
    plane.payload("m1", 1, json!(tasks)).await;
    for id in ["d001", "d002", "d003"] {
        plane.reported(&arn(id), "RUNNING").await;
    }
    // On a busy host the shell is found a moment after its start.
    let kept = until("d001", || pid_of(&format!("d001{instance}"))).await;
    let ended = until("d002", || pid_of(&format!("d002{instance}"))).await;
    agent.kill();
    kill_process(ended);
    let gone = until("the end", || pid_of(&format!("d002{instance}")).is_none().then_some(()));
    gone.await;

    let reports = plane.reports(&arn("d001")).len();
    let mut agent = AgentProcess::start(&plane.url, &host);
    // What ended meanwhile is told with its exit code; what runs is the same process.
    let report = plane.reported(&arn("d002"), "STOPPED").await;
    assert_eq!(report["containers"][0]["exitCode"], 137);
    plane.session(2).await;
    assert_eq!(pid_of(&format!("d001{instance}")), Some(kept));
    assert_eq!(plane.reports(&arn("d001")).len(), reports, "what was told isn't told again");
    // An adopted task's end is seen, and a task stops as ever.
    kill_process(pid_of(&format!("d003{instance}")).unwrap());
    let report = plane.reported(&arn("d003"), "STOPPED").await;
    assert_eq!(report["containers"][0]["exitCode"], 137);
    plane.payload("m2", 2, json!([{ "arn": arn("d001"), "desiredStatus": "STOPPED" }])).await;
    plane.reported(&arn("d001"), "STOPPED").await;
    agent.kill();
}

/// kill -9 at ever other moments of a burst of starts: in the end every task runs, none twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_survives_kills_at_any_moment() {
    let plane = ControlPlane::start().await;
    let host = Host::new();
    let instance = host.instance.clone();
    let ids: Vec<String> = (0..8).map(|nth| format!("e{nth:03}")).collect();
    let script = |id: &str| format!(": {id}{instance}; while :; do sleep 1; done");
    let tasks = json!(ids.iter().map(|id| shell_task(id, &script(id))).collect::<Vec<_>>());
    for (round, pause_ms) in [5u64, 25, 60, 120, 200].into_iter().enumerate() {
        let mut agent = AgentProcess::start(&plane.url, &host);
        plane.session(round + 1).await;
        // Sent again each time, as a control plane does until it is acknowledged.
        plane.send_payload(&format!("m{round}"), round as i64 + 1, tasks.clone());
        tokio::time::sleep(std::time::Duration::from_millis(pause_ms)).await;
        agent.kill();
    }
    let mut agent = AgentProcess::start(&plane.url, &host);
    plane.session(6).await;
    plane.payload("last", 9, tasks).await;
    for id in &ids {
        let first = until("a report", || {
            let reports = plane.reports(&arn(id));
            reports.into_iter().find(|report| report["status"] != "PENDING")
        })
        .await;
        assert_eq!(first["status"], "RUNNING", "{first}");
    }
    let stops: Vec<_> =
        ids.iter().map(|id| json!({ "arn": arn(id), "desiredStatus": "STOPPED" })).collect();
    plane.payload("stop", 10, json!(stops)).await;
    for id in &ids {
        plane.reported(&arn(id), "STOPPED").await;
        assert_eq!(pid_of(&format!("{id}{instance}")), None);
    }
    agent.kill();
    assert!(host.runtime().await.list_sandboxes().await.is_empty());
}
