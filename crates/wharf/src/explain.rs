//! `wharf explain`: why a task or a service is where it is, or isn't running.

use crate::cli::{Explain, Format};
use crate::client::{Client, Error, id_of};
use crate::data_dir::DataDir;
use crate::history::{self, Event};
use crate::ps;
use serde_json::{Value, json};
use wharf_wire::Timestamp;
use wharf_wire::ecs::{operation, types};

/// Prints the explanation.
///
/// # Errors
/// If nothing is called that, or the server can't be asked.
pub async fn run(data_dir: &DataDir, args: Explain) -> Result<(), Error> {
    let client = Client::new(data_dir, &args.cluster)?;
    let json = args.output.format() == Format::Json;
    if let Some(service) = find_service(&client, &args.what).await? {
        let arn = service.service_arn.clone().unwrap_or_default();
        let report = history::placement(&client, &arn, i64::MAX).await?;
        if json {
            let service = wharf_wire::json::to_vec(service);
            let value = serde_json::from_slice(&service).unwrap_or_default();
            println!("{:#}", with(value, report.as_ref(), &[]));
        } else {
            explain_service(&service);
            print_placement(report.as_ref());
        }
        return Ok(());
    }
    let task = client.find_task(&args.what).await?;
    let report = task_placement(&client, &task).await?;
    let arn = task.task_arn.clone().unwrap_or_default();
    let mut moves: Vec<Event> = history::of_subject(&client, &arn, 100).await?;
    moves.reverse();
    if json {
        println!("{:#}", with(ps::json_of(task), report.as_ref(), &moves));
    } else {
        explain_task(&task, &moves);
        print_placement(report.as_ref());
    }
    Ok(())
}

/// The report of the decision that placed the task: its own, or its service's last one by then.
async fn task_placement(client: &Client, task: &types::Task) -> Result<Option<Event>, Error> {
    let arn = task.task_arn.as_deref().unwrap_or_default();
    if let Some(report) = history::placement(client, arn, i64::MAX).await? {
        return Ok(Some(report));
    }
    let Some(service) = task.group.as_deref().and_then(|g| g.strip_prefix("service:")) else {
        return Ok(None);
    };
    let cluster = task.cluster_arn.as_deref().unwrap_or_default();
    let arn = format!("{}/{service}", cluster.replacen(":cluster/", ":service/", 1));
    // A service's report bears the time of its decision, which the task bears too.
    let placed_at = task.created_at.map_or(i64::MAX, |at| at.0);
    history::placement(client, &arn, placed_at).await
}

/// The API's JSON with what wharf remembers beside it: `placement` and `timeline`.
fn with(mut value: Value, report: Option<&Event>, moves: &[Event]) -> Value {
    if let Some(members) = value.as_object_mut() {
        members.insert("placement".to_owned(), report.map_or(Value::Null, |r| r.body.clone()));
        let timeline = moves.iter().filter_map(|event| {
            let task = history::task(event)?;
            Some(json!({
                "at": event.at,
                "lastStatus": task.last_status,
                "desiredStatus": task.desired_status,
            }))
        });
        members.insert("timeline".to_owned(), timeline.collect());
    }
    value
}

fn print_placement(report: Option<&Event>) {
    let Some(report) = report else { return };
    let count = |name: &str| report.body.get(name).and_then(Value::as_u64).unwrap_or_default();
    let (requested, placed) = (count("requested"), count("placed"));
    let at = Timestamp(report.at);
    println!("placement at {at}: {placed} of {requested} tasks placed");
    let hosts = history::hosts(&report.body);
    if hosts.is_empty() {
        println!("  the cluster has no hosts");
    }
    for (host, reason) in hosts {
        println!("  host {host}: {reason}");
    }
    if let Some(others) = history::other_hosts(&report.body) {
        println!("  other hosts: {others}");
    }
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

fn explain_task(task: &types::Task, moves: &[Event]) {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    println!(
        "task {} ({}): {}, wanted {}, on {}",
        id_of(&text(&task.task_arn)),
        id_of(&text(&task.task_definition_arn)),
        text(&task.last_status),
        text(&task.desired_status),
        match (&task.container_instance_arn, &task.launch_type) {
            (Some(arn), _) => id_of(arn),
            (None, Some(types::LaunchType::Fargate)) => "FARGATE",
            (None, _) => "no host",
        }
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
    let mut steps: Vec<(String, Timestamp)> =
        steps.into_iter().filter_map(|(name, at)| at.map(|at| (name.to_owned(), at))).collect();
    steps.extend(moves.iter().filter_map(|event| {
        let status = history::task(event)?.last_status?;
        Some((format!("told {status}"), Timestamp(event.at)))
    }));
    // A container that ends by itself has ended before its task is told to stop.
    steps.sort_by_key(|(_, at)| at.0);
    let mut before: Option<Timestamp> = None;
    for (name, at) in steps {
        let seconds = before.map_or(0, |b| at.0 - b.0);
        println!("  {at}  {name:<19} +{}.{:03} s", seconds / 1000, seconds.rem_euclid(1000));
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
