//! A whole wharf of its own, and tasks on it.

use crate::Result;
use crate::client::{Client, Key};
use crate::processes::{free_address, run};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(2);
/// Asking for a hundred tasks takes the processors that their starts need.
const POLL_MANY: Duration = Duration::from_millis(25);
const DEADLINE: Duration = Duration::from_secs(120);

/// A `wharf up` that is taken down when dropped.
#[derive(Debug)]
pub struct Up {
    program: PathBuf,
    data_dir: PathBuf,
    address: String,
    key: Key,
}

impl Up {
    /// Starts `program up` with its data below `directory`, and builds the image `bench:latest` of
    /// busybox.
    ///
    /// # Errors
    /// If it doesn't come up.
    pub async fn start(program: &Path, directory: &Path) -> Result<Self> {
        let (data_dir, address) = (directory.join("wharf"), free_address()?);
        let vpc = "100.125.0.0/20";
        let program = program.to_owned();
        let mut up = Self { program, data_dir, address, key: Key::new_empty() };
        up.wharf(&["up", "--listen", &up.address, "--vpc-cidr", vpc, "--no-hosts"])?;
        up.wharf(&["image", "build", "--name", "bench:latest", "/bin/busybox"])?;
        up.key = Key::of(&up.data_dir)?;
        Ok(up)
    }

    /// Runs one of wharf's own commands against it.
    ///
    /// # Errors
    /// If the command fails; its output is the text.
    pub fn wharf(&self, arguments: &[&str]) -> Result<()> {
        run(Command::new(&self.program).arg("--data-dir").arg(&self.data_dir).args(arguments))
    }

    /// A connection to its API.
    ///
    /// # Errors
    /// If the server is gone.
    pub async fn client(&self) -> Result<Client> {
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

/// Runs `count` tasks; answers their ARNs.
///
/// # Errors
/// If not all of them were placed.
pub async fn run_tasks(client: &mut Client, count: usize) -> Result<Vec<String>> {
    let answer = client.json("RunTask", json!({"taskDefinition": "bench", "count": count})).await?;
    let tasks = answer["tasks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let arns: Vec<_> =
        tasks.iter().filter_map(|t| t["taskArn"].as_str()).map(str::to_owned).collect();
    if arns.len() == count { Ok(arns) } else { Err(answer.to_string().into()) }
}

/// Waits until all tasks have `status`; answers them.
///
/// # Errors
/// If one of them stops instead, or it takes longer than two minutes.
pub async fn wait_for(client: &mut Client, arns: &[String], status: &str) -> Result<Vec<Value>> {
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

/// Stops the tasks, without waiting for them.
///
/// # Errors
/// If the server refuses.
pub async fn stop(client: &mut Client, arns: &[String]) -> Result<()> {
    for arn in arns {
        client.json("StopTask", json!({"task": arn})).await?;
    }
    Ok(())
}
