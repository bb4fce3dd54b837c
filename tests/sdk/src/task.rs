//! One task from its registration to its end, and what goes wrong on purpose.

use aws_sdk_ecs::Client;
use aws_sdk_ecs::client::Waiters;
use aws_sdk_ecs::error::ProvideErrorMetadata;
use aws_sdk_ecs::types::{Task, TaskStopCode};

use super::{Outcome, PATIENCE, get, register};

/// Registers, runs, waits, looks, asks the container, stops, waits, looks again.
pub async fn story(client: &Client) -> Outcome {
    let definition = register(client, "sdk-task", 64).await?;
    let run = client.run_task().task_definition(&definition).started_by("the sdk").send().await?;
    assert!(run.failures().is_empty(), "{:?}", run.failures());
    let [task] = run.tasks() else { return Err("not one task".into()) };
    assert!(matches!(task.last_status(), Some("PROVISIONING" | "PENDING")), "{task:?}");
    let arn = task.task_arn().ok_or("a task without an ARN")?.to_owned();

    client.wait_until_tasks_running().tasks(&arn).wait(PATIENCE).await?;
    let task = describe(client, &arn).await?;
    assert_eq!(task.last_status(), Some("RUNNING"));
    assert_eq!(task.started_by(), Some("the sdk"));
    assert_eq!(task.task_definition_arn(), Some(definition.as_str()));
    assert!(task.started_at().is_some() && task.stopped_at().is_none());
    assert!(get(&task)?.contains("hello from"));

    let listed = client.list_tasks().started_by("the sdk").send().await?;
    assert_eq!(listed.task_arns(), std::slice::from_ref(&arn));
    let stopped = client.stop_task().task(&arn).reason("enough").send().await?;
    assert_eq!(stopped.task().and_then(Task::desired_status), Some("STOPPED"));
    client.wait_until_tasks_stopped().tasks(&arn).wait(PATIENCE).await?;
    let task = describe(client, &arn).await?;
    assert_eq!(task.last_status(), Some("STOPPED"));
    assert_eq!(task.stop_code(), Some(&TaskStopCode::UserInitiated));
    assert_eq!(task.stopped_reason(), Some("enough"));
    assert!(task.containers().iter().all(|c| c.exit_code() == Some(0)), "{task:?}");
    assert!(get(&task).is_err(), "a stopped task still answers");
    Ok(())
}

async fn describe(client: &Client, arn: &str) -> Outcome<Task> {
    let answer = client.describe_tasks().tasks(arn).send().await?;
    assert!(answer.failures().is_empty(), "{:?}", answer.failures());
    Ok(answer.tasks().first().ok_or("no such task")?.clone())
}

/// Errors come as the SDK's own types, and failures aren't errors.
pub async fn errors(client: &Client) -> Outcome {
    let run = client.run_task().cluster("nowhere").task_definition("sdk-task").send().await;
    let error = run.expect_err("a task in a cluster that doesn't exist").into_service_error();
    assert!(error.is_cluster_not_found_exception(), "{error:?}");
    let run = client.run_task().task_definition("sdk-nothing").send().await;
    let error = run.expect_err("a task of nothing").into_service_error();
    assert!(error.is_client_exception(), "{error:?}");
    assert_eq!(error.message(), Some("TaskDefinition not found."));
    // The cluster that this program made has no hosts.
    let run = client.run_task().cluster("sdk").task_definition("sdk-task").send().await;
    let error = run.expect_err("a task without a host").into_service_error();
    assert!(error.is_invalid_parameter_exception(), "{error:?}");
    assert_eq!(error.message(), Some("No Container Instances were found in your cluster."));
    Ok(())
}
