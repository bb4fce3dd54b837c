//! Nothing that is secret is written to a log, whoever writes it and however much is asked for.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::json;
use support::{ControlPlane, Host, arn, shell_task};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use wharf_agent::{Agent, QUIET_TARGETS};

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn planted_secrets_are_in_no_log_at_trace() {
    let kept = Kept::default();
    let writer = kept.clone();
    let filter = QUIET_TARGETS.iter().fold(EnvFilter::new("trace"), |filter, target| {
        filter.add_directive(format!("{target}=info").parse().unwrap())
    });
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let plane = ControlPlane::start().await;
    let host = Host::new();
    let stop = CancellationToken::new();
    let agent = tokio::spawn(Agent::new(host.options(&plane.url)).run(stop.clone()));
    plane.session(1).await;
    let credentials = |number: u32| {
        json!({ "credentialsId": format!("planted-id-{number}"), "accessKeyId": "AKIDTASK",
                "secretAccessKey": format!("planted-secret-{number}"),
                "sessionToken": format!("planted-token-{number}"),
                "roleArn": "arn:aws:iam::123456789012:role/r",
                "expiration": "2030-01-01T00:00:00Z" })
    };
    let mut task = shell_task("5ec", "sleep 1000");
    task["roleCredentials"] = credentials(1);
    task["executionRoleCredentials"] = credentials(2);
    task["containers"][0]["environment"] = json!({ "PASSWORD": "planted-variable" });
    plane.payload("m1", 1, json!([task])).await;
    plane.reported(&arn("5ec"), "RUNNING").await;
    plane.send(
        "IAMRoleCredentialsMessage",
        json!({ "messageId": "m2", "taskArn": arn("5ec"), "roleType": "TaskApplication",
                "roleCredentials": credentials(3) }),
    );
    plane.payload("m3", 3, json!([{ "arn": arn("5ec"), "desiredStatus": "STOPPED" }])).await;
    plane.reported(&arn("5ec"), "STOPPED").await;
    stop.cancel();
    agent.await.unwrap().unwrap();
    let log = String::from_utf8_lossy(&kept.0.lock().unwrap()).into_owned();
    assert!(log.contains("TRACE"), "nothing at TRACE was kept");
    for secret in ["planted-", "wJalrXUtnFEMI"] {
        let found = log.lines().find(|line| line.contains(secret));
        assert!(found.is_none(), "{secret}: {found:?}");
    }
}
