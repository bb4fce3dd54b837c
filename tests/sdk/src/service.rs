//! One service from its creation to its deletion.

use std::collections::BTreeSet;

use aws_sdk_ecs::Client;
use aws_sdk_ecs::client::Waiters;
use aws_sdk_ecs::types::{DeploymentRolloutState, Service, Task};

use super::{Outcome, PATIENCE, get, register};

const NAME: &str = "sdk-service";

/// Creates, waits, asks each task, rolls a new revision over it, scales up and down, deletes.
pub async fn story(client: &Client) -> Outcome {
    let first = register(client, "sdk-service", 16).await?;
    let second = register(client, "sdk-service", 32).await?;
    let created = client.create_service().service_name(NAME).task_definition(&first);
    let created = created.desired_count(3).send().await?;
    let service = created.service().ok_or("CreateService answered without a service")?;
    assert_eq!((service.status(), service.desired_count()), (Some("ACTIVE"), 3));
    let old = settled(client, &first, 3).await?;

    client.update_service().service(NAME).task_definition(&second).send().await?;
    let new = settled(client, &second, 3).await?;
    assert!(old.is_disjoint(&new), "{old:?} and {new:?}");
    for count in [6, 1] {
        client.update_service().service(NAME).desired_count(count).send().await?;
        settled(client, &second, count).await?;
    }
    let events = describe(client).await?.events().to_vec();
    let says = |text| events.iter().any(|event| event.message().is_some_and(|m| m.contains(text)));
    assert!(says("has started 3 tasks") && says("has reached a steady state"), "{events:?}");

    let deleted = client.delete_service().service(NAME).force(true).send().await?;
    assert_eq!(deleted.service().and_then(Service::status), Some("DRAINING"));
    client.wait_until_services_inactive().services(NAME).wait(PATIENCE).await?;
    let left = client.list_tasks().service_name(NAME).send().await?;
    assert!(left.task_arns().is_empty(), "{left:?}");
    assert_eq!(describe(client).await?.status(), Some("INACTIVE"));
    Ok(())
}

/// Waits until the service is stable; its `count` tasks are of `definition`, and each answers for
/// itself. Their ARNs.
async fn settled(client: &Client, definition: &str, count: i32) -> Outcome<BTreeSet<String>> {
    client.wait_until_services_stable().services(NAME).wait(PATIENCE).await?;
    let service = describe(client).await?;
    let [deployment] = service.deployments() else { return Err("not one deployment".into()) };
    assert_eq!(deployment.rollout_state(), Some(&DeploymentRolloutState::Completed));
    assert_eq!((service.running_count(), service.pending_count()), (count, 0));
    let tasks = tasks(client).await?;
    assert_eq!(tasks.len(), usize::try_from(count)?);
    assert!(tasks.iter().all(|task| task.task_definition_arn() == Some(definition)), "{tasks:?}");
    let answers: BTreeSet<String> = tasks.iter().map(get).collect::<Outcome<_>>()?;
    assert_eq!(answers.len(), tasks.len(), "{answers:?}");
    tasks.iter().map(|task| Ok(task.task_arn().ok_or("no ARN")?.to_owned())).collect()
}

async fn describe(client: &Client) -> Outcome<Service> {
    let answer = client.describe_services().services(NAME).send().await?;
    Ok(answer.services().first().ok_or("no such service")?.clone())
}

async fn tasks(client: &Client) -> Outcome<Vec<Task>> {
    let listed = client.list_tasks().service_name(NAME).send().await?;
    let described = client.describe_tasks().set_tasks(listed.task_arns).send().await?;
    Ok(described.tasks.unwrap_or_default())
}
