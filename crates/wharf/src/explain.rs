//! `wharf explain`: why a task or a service is where it is, or isn't running.

use crate::cli::{Explain, Format};
use crate::client::{Client, Error, id_of};
use crate::data_dir::DataDir;
use crate::ps;
use wharf_wire::Timestamp;
use wharf_wire::ecs::{operation, types};

/// Prints the explanation.
///
/// # Errors
/// If nothing is called that, or the server can't be asked.
pub async fn run(data_dir: &DataDir, args: Explain) -> Result<(), Error> {
    let client = Client::new(data_dir, &args.cluster)?;
    if let Some(service) = find_service(&client, &args.what).await? {
        explain_service(&service);
        return Ok(());
    }
    let task = client.find_task(&args.what).await?;
    if args.output.format() == Format::Json {
        println!("{:#}", ps::json_of(task));
    } else {
        explain_task(&task);
    }
    Ok(())
}

async fn find_service(client: &Client, what: &str) -> Result<Option<types::Service>, Error> {
    let input = types::DescribeServicesRequest {
        cluster: Some(client.cluster.clone()),
        services: Some(vec![id_of(what).to_owned()]),
        ..types::DescribeServicesRequest::default()
    };
    let answer = client.call::<operation::DescribeServices>(input).await?;
    Ok(answer.services.into_iter().flatten().next())
}

fn explain_service(service: &types::Service) {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    println!(
        "service {}: {}, {} wanted, {} running, {} pending",
        text(&service.service_name),
        text(&service.status),
        service.desired_count.unwrap_or_default(),
        service.running_count.unwrap_or_default(),
        service.pending_count.unwrap_or_default()
    );
    for deployment in service.deployments.iter().flatten() {
        println!(
            "  deployment {} {} of {}: {} running, {} pending, {} failed; {}",
            text(&deployment.id),
            text(&deployment.status),
            id_of(&text(&deployment.task_definition)),
            deployment.running_count.unwrap_or_default(),
            deployment.pending_count.unwrap_or_default(),
            deployment.failed_tasks.unwrap_or_default(),
            text(&deployment.rollout_state_reason)
        );
    }
    for event in service.events.iter().flatten().take(20) {
        let at = event.created_at.map(|t| t.to_string()).unwrap_or_default();
        println!("  {at} {}", text(&event.message));
    }
}

fn explain_task(task: &types::Task) {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    println!(
        "task {} ({}): {}, wanted {}, on {}",
        id_of(&text(&task.task_arn)),
        id_of(&text(&task.task_definition_arn)),
        text(&task.last_status),
        text(&task.desired_status),
        task.container_instance_arn.as_deref().map_or("no host", id_of)
    );
    let steps = [
        ("placed", task.created_at),
        ("pull began", task.pull_started_at),
        ("pulled", task.pull_stopped_at),
        ("running", task.started_at),
        ("told to stop", task.stopping_at),
        ("ended", task.execution_stopped_at),
        ("stopped", task.stopped_at),
    ];
    let mut steps: Vec<_> =
        steps.into_iter().filter_map(|(name, at)| at.map(|at| (name, at))).collect();
    // A container that ends by itself has ended before its task is told to stop.
    steps.sort_by_key(|(_, at)| at.0);
    let mut before: Option<Timestamp> = None;
    for (name, at) in steps {
        let seconds = before.map_or(0, |b| at.0 - b.0);
        println!("  {at}  {name:<12} +{}.{:03} s", seconds / 1000, seconds.rem_euclid(1000));
        before = Some(at);
    }
    if let Some(reason) = &task.stopped_reason {
        let code = task.stop_code.as_ref().map(types::TaskStopCode::as_str).unwrap_or_default();
        println!("  why: {reason} ({code})");
    }
    for container in task.containers.iter().flatten() {
        let exit = container.exit_code.map(|c| format!(", exit code {c}")).unwrap_or_default();
        let reason = container.reason.as_ref().map(|r| format!(": {r}")).unwrap_or_default();
        let (name, status) = (text(&container.name), text(&container.last_status));
        println!("  container {name}: {status}{exit}{reason}");
    }
}
