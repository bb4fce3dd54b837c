//! `wharf run`: an image as a task of one container; follows it and returns its exit code.

use crate::cli::Run;
use crate::client::{Client, Error, id_of};
use crate::data_dir::DataDir;
use crate::logs;
use crate::output::spinner;
use std::process::ExitCode;
use std::time::Duration;
use wharf_runtime::logs::LogReader;
use wharf_wire::ecs::{operation, types};

/// The container's name.
const CONTAINER: &str = "run";
/// How often the task is looked at.
const POLL: Duration = Duration::from_millis(200);

/// Runs the task.
///
/// # Errors
/// If it can't be started; a container's own failure is its exit code.
pub async fn run(data_dir: &DataDir, args: Run) -> Result<ExitCode, Error> {
    let client = Client::new(data_dir, &args.cluster)?;
    let definition = register(&client, &args).await?;
    let started = client
        .call::<operation::RunTask>(types::RunTaskRequest {
            cluster: Some(args.cluster.clone()),
            task_definition: Some(definition),
            started_by: Some("wharf-run".to_owned()),
            ..types::RunTaskRequest::default()
        })
        .await?;
    let task = started.tasks.into_iter().flatten().next();
    let Some(arn) = task.and_then(|task| task.task_arn) else {
        let reasons = started.failures.into_iter().flatten().filter_map(|f| f.reason);
        let reasons: Vec<String> = reasons.collect();
        return Err(Error::NotFound(format!("no host takes the task: {}", reasons.join(", "))));
    };
    if args.detach {
        println!("{arn}");
        return Ok(ExitCode::SUCCESS);
    }
    follow(data_dir, &client, &arn).await
}

/// Registers a task definition of the family `run-<image>`; the same one again if nothing changed
/// would only make another revision, which costs nothing.
async fn register(client: &Client, args: &Run) -> Result<String, Error> {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let environment = args.environment.iter().map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        types::KeyValuePair { name: Some(name.to_owned()), value: Some(value.to_owned()) }
    });
    let ports = args.ports.iter().map(|port| types::PortMapping {
        container_port: Some(i32::from(*port)),
        host_port: Some(0),
        ..types::PortMapping::default()
    });
    let container = types::ContainerDefinition {
        name: Some(CONTAINER.to_owned()),
        image: Some(args.image.clone()),
        command: (!args.args.is_empty()).then(|| args.args.clone()),
        memory: Some(args.memory),
        cpu: Some(args.cpu),
        environment: Some(environment.collect()),
        port_mappings: Some(ports.collect()),
        ..types::ContainerDefinition::default()
    };
    let family: String = format!("run-{}", args.image).chars().map(plain).take(255).collect();
    let registered = client
        .call::<operation::RegisterTaskDefinition>(types::RegisterTaskDefinitionRequest {
            family: Some(family),
            container_definitions: Some(vec![container]),
            ..types::RegisterTaskDefinitionRequest::default()
        })
        .await?;
    let arn = registered.task_definition.and_then(|d| d.task_definition_arn);
    arn.ok_or_else(|| Error::NotFound("the server registered no task definition".to_owned()))
}

async fn follow(data_dir: &DataDir, client: &Client, arn: &str) -> Result<ExitCode, Error> {
    let bar = spinner(&format!("starting task {}", id_of(arn)));
    let mut reader =
        LogReader::open(logs::path(data_dir, arn, CONTAINER)).await.map_err(Error::Log)?;
    loop {
        // Asked before reading: what was written before the end is printed after it.
        let task = client.describe(&[arn.to_owned()]).await?.into_iter().next();
        let status = task.as_ref().and_then(|t| t.last_status.as_deref()).unwrap_or("STOPPED");
        if status != "PENDING" && status != "PROVISIONING" {
            bar.finish_and_clear();
        }
        while let Some(line) = reader.next().await.map_err(Error::Log)? {
            logs::print(None, &line);
        }
        if status == "STOPPED" {
            return Ok(exit_code(task));
        }
        tokio::time::sleep(POLL).await;
    }
}

fn exit_code(task: Option<types::Task>) -> ExitCode {
    let container = task.iter().flat_map(|t| t.containers.iter().flatten()).next();
    if let Some(code) = container.and_then(|c| c.exit_code) {
        return ExitCode::from(u8::try_from(code & 0xff).unwrap_or(1));
    }
    let reason = container.and_then(|c| c.reason.clone());
    let reason = reason.or_else(|| task.as_ref().and_then(|t| t.stopped_reason.clone()));
    eprintln!("wharf: the task did not start: {}", reason.unwrap_or_default());
    ExitCode::FAILURE
}
