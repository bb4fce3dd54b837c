//! `wharf logs`: what a task's containers wrote, from the files on this host.

use crate::cli::Logs;
use crate::client::{Client, Error, id_of};
use crate::data_dir::DataDir;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;
use wharf_runtime::logs::{LogLine, LogReader};
use wharf_wire::ecs::{operation, types};

/// How often following looks whether the task has stopped.
const POLL: Duration = Duration::from_millis(500);

/// Prints the logs.
///
/// # Errors
/// If the task isn't found or a log can't be read.
pub async fn run(data_dir: &DataDir, args: Logs) -> Result<(), Error> {
    let client = Client::new(data_dir, &args.cluster)?;
    let task = client.find_task(&args.task).await?;
    let arn = task.task_arn.clone().unwrap_or_default();
    let names: Vec<String> = task
        .containers
        .iter()
        .flatten()
        .filter_map(|c| c.name.clone())
        .filter(|name| args.container.as_ref().is_none_or(|wanted| wanted == name))
        .collect();
    if names.is_empty() {
        let wanted = args.container.unwrap_or_default();
        return Err(Error::NotFound(format!("task {} has no container {wanted}", id_of(&arn))));
    }
    let label = names.len() > 1;
    let unkept = unkept(&client, &task).await;
    let mut readers = Vec::new();
    for name in names {
        if unkept.contains(&name) {
            let text = format!("container {name} has the log driver none: its output isn't kept");
            if !label {
                return Err(Error::NotFound(text));
            }
            eprintln!("{text}");
            continue;
        }
        let path = path(data_dir, &arn, &name);
        let reader = match args.tail {
            Some(count) => LogReader::open_tail(path, count).await,
            None => LogReader::open(path).await,
        };
        readers.push((name, reader.map_err(Error::Log)?));
    }
    loop {
        // Asked before reading: what was written before the end is printed after it.
        let ended = !args.follow || has_stopped(&client, &arn).await?;
        for (name, reader) in &mut readers {
            while let Some(line) = reader.next().await.map_err(Error::Log)? {
                print(label.then_some(name.as_str()), &line);
            }
        }
        if ended {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The containers whose output goes nowhere.
async fn unkept(client: &Client, task: &types::Task) -> Vec<String> {
    let input = types::DescribeTaskDefinitionRequest {
        task_definition: task.task_definition_arn.clone(),
        ..Default::default()
    };
    // One that was deleted since says nothing any more.
    let Ok(output) = client.call::<operation::DescribeTaskDefinition>(input).await else {
        return Vec::new();
    };
    let containers = output.task_definition.and_then(|d| d.container_definitions);
    let is_unkept = |container: &types::ContainerDefinition| {
        let log = container.log_configuration.as_ref();
        log.is_some_and(|log| log.log_driver == Some(types::LogDriver::None))
    };
    let containers = containers.into_iter().flatten().filter(is_unkept);
    containers.filter_map(|container| container.name).collect()
}

/// Where the runtime keeps a container's log.
pub fn path(data_dir: &DataDir, task_arn: &str, container: &str) -> PathBuf {
    let directory = data_dir.path().join("runtime/logs").join(id_of(task_arn));
    directory.join(format!("{container}.log"))
}

/// True once the task is STOPPED, or forgotten.
///
/// # Errors
/// If the server can't be asked.
pub async fn has_stopped(client: &Client, arn: &str) -> Result<bool, Error> {
    let tasks = client.describe(&[arn.to_owned()]).await?;
    Ok(tasks.first().is_none_or(|task| task.last_status.as_deref() == Some("STOPPED")))
}

/// Prints a line to the stream that the container wrote it to.
pub fn print(label: Option<&str>, line: &LogLine) {
    let label = label.map(|name| format!("{name} | ")).unwrap_or_default();
    let text = format!("{label}{}", line.log);
    // A closed pipe is no error: the reader has seen enough.
    let _ = if line.stream == "stderr" {
        std::io::stderr().lock().write_all(text.as_bytes())
    } else {
        std::io::stdout().lock().write_all(text.as_bytes())
    };
}
