//! Services from creation to deletion, as far as the API decides it; what the service scheduler
//! does between is played by hand.

use super::task_tests::{register, task};
use super::world::{START, World, contains, golden, merge};
use crate::context::{HistoryReader, ServiceEvent};
use serde_json::{Value, json};
use std::time::Duration;
use wharf_model::cluster::CapacityProviderStrategyItem;
use wharf_model::service::ServiceStatus;
use wharf_model::{Cluster, Service, ServiceKey, TaskStatus, Timestamp};
use wharf_wire::ecs::operation as op;

const ARN: &str = "arn:aws:ecs:us-east-1:123456789012:";

macro_rules! call {
    ($world:expr, $name:ident, $module:ident, $($request:tt)+) => {
        $world.call::<op::$name>(super::$module::$module, &json!($($request)+))
    };
}

/// Task definitions `web:1`, `web:2` (bridge), `vpc:1` (awsvpc), `far:1` (awsvpc with FARGATE's
/// sizes); a cluster `providers` with FARGATE's capacity providers.
pub(super) fn world() -> World {
    let mut world = World::new();
    register(&mut world, "web", json!({}));
    register(&mut world, "web", json!({}));
    register(&mut world, "vpc", json!({"networkMode": "awsvpc"}));
    register(
        &mut world,
        "placed",
        json!({"placementConstraints": [{"type": "memberOf", "expression": "attribute:a == b"}]}),
    );
    register(&mut world, "far", json!({"networkMode": "awsvpc", "cpu": "256", "memory": "512"}));
    world.put(Cluster {
        capacity_providers: vec!["FARGATE".into(), "FARGATE_SPOT".into()],
        default_capacity_provider_strategy: vec![CapacityProviderStrategyItem {
            capacity_provider: "FARGATE".into(),
            weight: 1,
            base: 0,
        }],
        ..Cluster::new("providers", START)
    });
    world
}

pub(super) fn create(world: &mut World, more: &Value) -> Result<Value, String> {
    let mut request = json!({"serviceName": "app", "taskDefinition": "web:1", "desiredCount": 2});
    merge(&mut request, more);
    let answer =
        world.call::<op::CreateService>(super::create_service::create_service, &request)?;
    Ok(answer["service"].clone())
}

pub(super) fn update(world: &mut World, more: &Value) -> Result<Value, String> {
    let mut request = json!({"service": "app"});
    merge(&mut request, more);
    let answer =
        world.call::<op::UpdateService>(super::update_service::update_service, &request)?;
    Ok(answer["service"].clone())
}

pub(super) fn key() -> ServiceKey {
    ServiceKey::new("default", "app")
}

pub(super) fn record(world: &World) -> Service {
    Service::clone(world.snapshot.service(&key()).unwrap())
}

pub(super) fn pass(world: &mut World, seconds: u64) {
    world.now = world.now.plus(Duration::from_secs(seconds));
}

#[test]
fn golden_cases_of_creation() {
    let run = |case: &Value| create(&mut world(), case);
    assert!(golden(include_str!("create_service_cases.txt"), run) >= 60);
}

#[test]
fn a_new_service_as_it_is_described() {
    let mut world = world();
    let service = create(&mut world, &json!({"tags": [{"key": "a", "value": "b"}]})).unwrap();
    let digits = record(&world).deployments[0].service_revision_id.clone();
    let id = record(&world).deployments[0].service_deployment_id.clone();
    let expected = json!({
        "serviceArn": format!("{ARN}service/default/app"),
        "serviceName": "app",
        "clusterArn": format!("{ARN}cluster/default"),
        "loadBalancers": [],
        "serviceRegistries": [],
        "status": "ACTIVE",
        "desiredCount": 2,
        "runningCount": 0,
        "pendingCount": 0,
        "launchType": "EC2",
        "taskDefinition": format!("{ARN}task-definition/web:1"),
        "deploymentConfiguration": {
            "deploymentCircuitBreaker": {"enable": false, "rollback": false},
            "maximumPercent": 200,
            "minimumHealthyPercent": 100,
            "strategy": "ROLLING",
            "bakeTimeInMinutes": 0,
        },
        "deployments": [{
            "id": format!("ecs-svc/{digits}"),
            "status": "PRIMARY",
            "taskDefinition": format!("{ARN}task-definition/web:1"),
            "desiredCount": 2,
            "pendingCount": 0,
            "runningCount": 0,
            "failedTasks": 0,
            "createdAt": 1_795_482_000,
            "updatedAt": 1_795_482_000,
            "launchType": "EC2",
            "rolloutState": "IN_PROGRESS",
            "rolloutStateReason": format!("ECS deployment ecs-svc/{digits} in progress."),
        }],
        "events": [],
        "createdAt": 1_795_482_000,
        "currentServiceDeployment": format!("{ARN}service-deployment/default/app/{id}"),
        "currentServiceRevisions": [{
            "arn": format!("{ARN}service-revision/default/app/{digits}"),
            "requestedTaskCount": 2, "runningTaskCount": 0, "pendingTaskCount": 0,
        }],
        "placementConstraints": [],
        "placementStrategy": [],
        "schedulingStrategy": "REPLICA",
        "resourceManagementType": "CUSTOMER",
        "deploymentController": {"type": "ECS"},
        "tags": [{"key": "a", "value": "b"}],
        "createdBy": "arn:aws:iam::123456789012:root",
        "enableECSManagedTags": false,
        "propagateTags": "NONE",
        "enableExecuteCommand": false,
        "availabilityZoneRebalancing": "DISABLED",
    });
    assert_eq!(service, expected, "{service:#}");
    let answer = call!(world, DescribeServices, describe_services,
        {"services": ["app", format!("{ARN}service/default/app"), "nope"]})
    .unwrap();
    let mut without_tags = expected;
    without_tags.as_object_mut().unwrap().remove("tags");
    assert_eq!(answer["services"], json!([without_tags, without_tags]));
    let missing = json!([{"arn": format!("{ARN}service/default/nope"), "reason": "MISSING"}]);
    assert_eq!(answer["failures"], missing);
    // Terraform's provider waits by the digits of the deployment within the revision's ARN.
    assert!(service["deployments"][0]["id"].as_str().unwrap().ends_with(&digits));
}

#[test]
fn a_name_is_taken_until_the_service_is_inactive() {
    let mut world = world();
    let token = json!({"clientToken": "t-1"});
    let first = create(&mut world, &token).unwrap();
    assert_eq!(create(&mut world, &token).unwrap(), first);
    let other = json!({"clientToken": "t-1", "desiredCount": 3});
    let error = create(&mut world, &other).unwrap_err();
    assert!(error.starts_with("ConflictException: "), "{error}");
    let error = create(&mut world, &json!({})).unwrap_err();
    assert_eq!(error, "InvalidParameterException: Creation of service was not idempotent.");
    call!(world, DeleteService, delete_service, {"service": "app", "force": true}).unwrap();
    let error = create(&mut world, &json!({})).unwrap_err();
    assert_eq!(
        error,
        "InvalidParameterException: Unable to Start a service that is still Draining."
    );
    let mut inactive = record(&world);
    inactive.status = ServiceStatus::Inactive;
    world.put(inactive);
    pass(&mut world, 60);
    let second = create(&mut world, &json!({})).unwrap();
    assert_eq!(second["status"], "ACTIVE");
    assert_eq!(second["deployments"].as_array().unwrap().len(), 1);
    let answer = call!(world, ListServiceDeployments, list_service_deployments, {"service": "app"});
    assert_eq!(answer.unwrap()["serviceDeployments"].as_array().unwrap().len(), 1);
}

#[test]
fn what_begins_a_deployment_and_what_does_not() {
    let begins = |change: Value| {
        let mut world = world();
        create(&mut world, &json!({})).unwrap();
        pass(&mut world, 60);
        let service = update(&mut world, &change).unwrap();
        service["deployments"].as_array().unwrap().len() == 2
    };
    for change in [
        json!({"taskDefinition": "web:2"}),
        json!({"taskDefinition": "web"}),
        json!({"forceNewDeployment": true}),
        json!({"taskDefinition": "web:1", "forceNewDeployment": true}),
    ] {
        assert!(begins(change.clone()), "{change}");
    }
    for change in [
        json!({}),
        json!({"desiredCount": 5}),
        json!({"taskDefinition": "web:1"}),
        json!({"forceNewDeployment": false}),
        json!({"deploymentConfiguration": {"maximumPercent": 150}}),
        json!({"placementStrategy": [{"type": "random"}]}),
        json!({"enableExecuteCommand": true, "propagateTags": "SERVICE"}),
        json!({"loadBalancers": [], "serviceRegistries": []}),
    ] {
        assert!(!begins(change.clone()), "{change}");
    }
}

#[test]
fn a_deployment_takes_over_from_the_one_before() {
    let mut world = world();
    create(&mut world, &json!({})).unwrap();
    let first = record(&world).deployments[0].clone();
    let mut old = task(1);
    old.service = Some("app".into());
    old.started_by = Some(first.id.clone());
    old.last_status = TaskStatus::Running;
    world.put(old);
    pass(&mut world, 60);
    let service = update(&mut world, &json!({"taskDefinition": "web:2"})).unwrap();
    let part = json!({
        "taskDefinition": format!("{ARN}task-definition/web:2"),
        "runningCount": 1,
        "deployments": [
            {"status": "PRIMARY", "desiredCount": 2, "runningCount": 0,
             "taskDefinition": format!("{ARN}task-definition/web:2")},
            {"status": "ACTIVE", "desiredCount": 1, "runningCount": 1, "id": first.id,
             "taskDefinition": format!("{ARN}task-definition/web:1")}],
    });
    assert!(contains(&service, &part), "{service:#}");
    let listed =
        call!(world, ListServiceDeployments, list_service_deployments, {"service": "app"}).unwrap();
    let listed = listed["serviceDeployments"].as_array().unwrap();
    let statuses: Vec<&str> = listed.iter().map(|d| d["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["PENDING", "STOPPED"]);
    let newest = listed[0]["serviceDeploymentArn"].as_str().unwrap();
    let described = call!(world, DescribeServiceDeployments, describe_service_deployments,
        {"serviceDeploymentArns": [newest, format!("{ARN}service-deployment/default/app/x")]})
    .unwrap();
    let part = json!({
        "serviceDeployments": [{
            "status": "PENDING", "startedAt": null,
            "sourceServiceRevisions": [{
                "arn": format!("{ARN}service-revision/default/app/{}", first.service_revision_id),
                "requestedTaskCount": 1, "runningTaskCount": 1, "pendingTaskCount": 0}],
            "targetServiceRevision": {"requestedTaskCount": 2, "runningTaskCount": 0},
            "deploymentCircuitBreaker": {"status": "DISABLED", "failureCount": 0, "threshold": 3},
        }],
        "failures": [{"reason": "MISSING"}],
    });
    assert!(contains(&described, &part), "{described:#}");
    let revision = described["serviceDeployments"][0]["targetServiceRevision"]["arn"].clone();
    let revisions = call!(world, DescribeServiceRevisions, describe_service_revisions,
        {"serviceRevisionArns": [revision]})
    .unwrap();
    let part = json!([{"taskDefinition": format!("{ARN}task-definition/web:2"),
        "launchType": "EC2", "containerImages": [{"containerName": "web", "image": "nginx:1"}]}]);
    assert!(contains(&revisions["serviceRevisions"], &part), "{revisions:#}");
}

#[test]
fn deployments_are_listed_by_status_and_time() {
    let mut world = world();
    create(&mut world, &json!({})).unwrap();
    for _ in 0..3 {
        pass(&mut world, 60);
        update(&mut world, &json!({"forceNewDeployment": true})).unwrap();
    }
    let list = |world: &mut World, more: Value| {
        let mut request = json!({"service": format!("{ARN}service/default/app")});
        merge(&mut request, &more);
        let answer = world
            .call::<op::ListServiceDeployments>(
                super::list_service_deployments::list_service_deployments,
                &request,
            )
            .unwrap();
        let deployments = answer["serviceDeployments"].as_array().unwrap().clone();
        deployments.iter().map(|d| d["createdAt"].as_i64().unwrap() - 1_795_482_000).collect()
    };
    let all: Vec<i64> = list(&mut world, json!({}));
    assert_eq!(all, [180, 120, 60, 0]);
    let at = |seconds: i64| 1_795_482_000 + seconds;
    let cases: [(Value, &[i64]); 5] = [
        (json!({"status": ["PENDING"]}), &[180]),
        (json!({"status": ["STOPPED", "IN_PROGRESS"]}), &[120, 60, 0]),
        (json!({"createdAt": {"after": at(60)}}), &[180, 120, 60]),
        (json!({"createdAt": {"after": at(60), "before": at(120)}}), &[120, 60]),
        (json!({"maxResults": 1}), &[180]),
    ];
    for (request, expected) in cases {
        let found: Vec<i64> = list(&mut world, request.clone());
        assert_eq!(found, expected, "{request}");
    }
}

#[test]
fn updates_that_are_refused() {
    let mut world = world();
    let error = update(&mut world, &json!({})).unwrap_err();
    assert_eq!(error, "ServiceNotFoundException: Service not found.");
    create(&mut world, &json!({})).unwrap();
    let cases = [
        (json!({"taskDefinition": "web:9"}), "ClientException: TaskDefinition not found."),
        (
            json!({"taskDefinition": "vpc"}),
            "InvalidParameterException: Network Configuration must be provided when networkMode \
             'awsvpc' is specified.",
        ),
        (
            json!({"desiredCount": -1}),
            "InvalidParameterException: DesiredCount can not be lesser than 0",
        ),
        (
            json!({"platformVersion": "1.4.0"}),
            "InvalidParameterException: The platform version must be null when specifying an EC2 \
             launch type.",
        ),
        (
            json!({"deploymentConfiguration": {"maximumPercent": 100}}),
            "InvalidParameterException: Both maximumPercent and minimumHealthyPercent cannot be \
             100 as this will block deployments.",
        ),
        (
            json!({"loadBalancers": [{"containerName": "web"}]}),
            "InvalidParameterException: targetGroupArn can not be blank.",
        ),
        (
            json!({"healthCheckGracePeriodSeconds": -10}),
            "InvalidParameterException: healthCheckGracePeriodSeconds must be between 0 and \
             2147483647.",
        ),
    ];
    for (change, expected) in cases {
        assert_eq!(update(&mut world, &change).unwrap_err(), expected, "{change}");
    }
    call!(world, DeleteService, delete_service, {"service": "app", "force": true}).unwrap();
    let error = update(&mut world, &json!({})).unwrap_err();
    assert_eq!(error, "ServiceNotActiveException: Service was not ACTIVE.");
}

#[test]
fn a_deregistered_task_definition_goes_on_serving_its_service() {
    let mut world = world();
    create(&mut world, &json!({})).unwrap();
    call!(world, DeregisterTaskDefinition, deregister_task_definition,
        {"taskDefinition": "web:1"})
    .unwrap();
    let service = update(&mut world, &json!({"desiredCount": 4})).unwrap();
    assert_eq!(service["desiredCount"], 4);
    update(&mut world, &json!({"taskDefinition": "web:1", "forceNewDeployment": true})).unwrap();
    let error = create(&mut world, &json!({"serviceName": "other"})).unwrap_err();
    assert_eq!(error, "ClientException: TaskDefinition is inactive");
}

#[test]
fn deletion_drains_and_is_remembered() {
    let mut world = world();
    create(&mut world, &json!({})).unwrap();
    let delete = |world: &mut World, force: bool| call!(world, DeleteService, delete_service, {"service": "app", "force": force});
    let error = delete(&mut world, false).unwrap_err();
    assert_eq!(
        error,
        "InvalidParameterException: The service cannot be stopped while it is scaled above 0."
    );
    update(&mut world, &json!({"desiredCount": 0})).unwrap();
    let answer = delete(&mut world, false).unwrap();
    let part = json!({"status": "DRAINING", "desiredCount": 0});
    assert!(contains(&answer["service"], &part), "{answer}");
    assert_eq!(delete(&mut world, false).unwrap(), answer);
    let mut inactive = record(&world);
    inactive.status = ServiceStatus::Inactive;
    // It is listed no more from the first moment on.
    let listed = call!(world, ListServices, list_services, {}).unwrap();
    assert_eq!(listed["serviceArns"], json!([]));
    world.put(inactive);
    let listed = call!(world, ListServices, list_services, {}).unwrap();
    assert_eq!(listed["serviceArns"], json!([]));
    let described =
        call!(world, DescribeServices, describe_services, {"services": ["app"]}).unwrap();
    let part = json!([{"status": "INACTIVE", "deployments": [], "runningCount": 0,
        "taskDefinition": format!("{ARN}task-definition/web:1")}]);
    assert!(contains(&described["services"], &part), "{described}");
    let error = delete(&mut world, true).unwrap_err();
    assert_eq!(error, "ServiceNotFoundException: Service not found.");
}

#[test]
fn services_are_listed_ten_at_a_time() {
    let mut world = world();
    for n in 0..12 {
        create(&mut world, &json!({"serviceName": format!("s{n:02}")})).unwrap();
    }
    let first = call!(world, ListServices, list_services, {}).unwrap();
    assert_eq!(first["serviceArns"].as_array().unwrap().len(), 10);
    let rest =
        call!(world, ListServices, list_services, {"nextToken": first["nextToken"]}).unwrap();
    assert_eq!(
        rest["serviceArns"],
        json!([format!("{ARN}service/default/s10"), format!("{ARN}service/default/s11")])
    );
    assert_eq!(rest.get("nextToken"), None);
    for (request, count) in [
        (json!({"launchType": "EC2", "maxResults": 100}), 12),
        (json!({"launchType": "FARGATE"}), 0),
        (json!({"schedulingStrategy": "DAEMON"}), 0),
        (json!({"resourceManagementType": "ECS"}), 0),
    ] {
        let answer = call!(world, ListServices, list_services, request).unwrap();
        assert_eq!(answer["serviceArns"].as_array().unwrap().len(), count);
    }
    let names: Vec<String> = (0..11).map(|n| format!("s{n:02}")).collect();
    let error = call!(world, DescribeServices, describe_services, {"services": names});
    assert_eq!(
        error.unwrap_err(),
        "InvalidParameterException: service names can have at most 10 items."
    );
    let error = call!(world, DescribeServices, describe_services, {"services": []});
    assert_eq!(error.unwrap_err(), "InvalidParameterException: Services cannot be empty.");
    let error = call!(world, ListServicesByNamespace, list_services_by_namespace,
        {"namespace": "x"});
    assert!(error.unwrap_err().starts_with("NamespaceNotFoundException: "));
}

#[test]
fn events_of_this_service_alone_are_shown() {
    struct Events(Vec<ServiceEvent>);
    impl HistoryReader for Events {
        fn service_events(&self, _: &ServiceKey, limit: usize) -> Vec<ServiceEvent> {
            self.0.iter().take(limit).cloned().collect()
        }
    }
    let event = |seconds: i64, message: &str| ServiceEvent {
        id: format!("e{seconds}"),
        created_at: Timestamp(START.0 + seconds * 1000),
        message: message.to_owned(),
    };
    let mut world = world();
    world.history = Box::new(Events(vec![
        event(5, "(service app) has reached a steady state."),
        event(-5, "of an earlier service of this name"),
    ]));
    create(&mut world, &json!({})).unwrap();
    let described =
        call!(world, DescribeServices, describe_services, {"services": ["app"]}).unwrap();
    assert_eq!(
        described["services"][0]["events"],
        json!([{"id": "e5", "createdAt": 1_795_482_005,
                "message": "(service app) has reached a steady state."}])
    );
}

#[test]
fn a_stopped_deployment_goes_back_to_the_revision_before() {
    let mut world = world();
    create(&mut world, &json!({})).unwrap();
    let stop = |world: &mut World, id: &str| {
        call!(world, StopServiceDeployment, stop_service_deployment,
            {"serviceDeploymentArn": format!("{ARN}service-deployment/default/app/{id}")})
    };
    let first = record(&world).deployments[0].clone();
    let error = stop(&mut world, &first.service_deployment_id).unwrap_err();
    assert_eq!(error, "ConflictException: There is no service revision to roll back to.");
    let error = stop(&mut world, "nope").unwrap_err();
    assert!(error.starts_with("ServiceDeploymentNotFoundException: "), "{error}");

    update(&mut world, &json!({"taskDefinition": "web:2"})).unwrap();
    let error = stop(&mut world, &first.service_deployment_id).unwrap_err();
    assert_eq!(
        error,
        "ConflictException: The service deployment is in status STOPPED: it cannot be stopped."
    );
    let second = record(&world).deployments[0].clone();
    pass(&mut world, 60);
    stop(&mut world, &second.service_deployment_id).unwrap();
    let arn = format!("{ARN}service-deployment/default/app/{}", second.service_deployment_id);
    let described = call!(world, DescribeServiceDeployments, describe_service_deployments,
        {"serviceDeploymentArns": [arn]})
    .unwrap();
    // The service scheduler rolls back: see its tests.
    let part = json!({"status": "ROLLBACK_REQUESTED", "stoppedAt": 1_795_482_060,
        "statusReason": "Service deployment rolled back because of a StopServiceDeployment \
                         request."});
    assert!(contains(&described["serviceDeployments"][0], &part), "{described:#}");
    // A second call changes nothing.
    pass(&mut world, 60);
    stop(&mut world, &second.service_deployment_id).unwrap();
    let again = call!(world, DescribeServiceDeployments, describe_service_deployments,
        {"serviceDeploymentArns": [arn]});
    assert_eq!(again.unwrap(), described);
}
