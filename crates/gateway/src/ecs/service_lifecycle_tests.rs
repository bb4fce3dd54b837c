//! Services together with the service scheduler, and protection of their tasks.

use super::service_tests::{create, key, pass, record, update, world};
use super::task_tests::task;
use super::world::{World, contains, merge};
use serde_json::{Value, json};
use wharf_wire::ecs::operation as op;

const ARN: &str = "arn:aws:ecs:us-east-1:123456789012:";

macro_rules! call {
    ($world:expr, $name:ident, $module:ident, $($request:tt)+) => {
        $world.call::<op::$name>(super::$module::$module, &json!($($request)+))
    };
}

fn add_host(world: &mut World) {
    let request = json!({"totalResources": [
        {"name": "CPU", "type": "INTEGER", "integerValue": 4096},
        {"name": "MEMORY", "type": "INTEGER", "integerValue": 8192}]});
    world
        .call::<op::RegisterContainerInstance>(
            super::register_container_instance::register_container_instance,
            &request,
        )
        .unwrap();
}

/// What boto3's waiter ServicesStable looks at, and how the newest service deployment ended.
fn state(world: &mut World) -> (String, i64, i64, usize, String) {
    let answer = call!(world, DescribeServices, describe_services, {"services": ["app"]}).unwrap();
    let service = &answer["services"][0];
    let listed =
        call!(world, ListServiceDeployments, list_service_deployments, {"service": "app"}).unwrap();
    (
        service["status"].as_str().unwrap().to_owned(),
        service["desiredCount"].as_i64().unwrap(),
        service["runningCount"].as_i64().unwrap(),
        service["deployments"].as_array().unwrap().len(),
        listed["serviceDeployments"][0]["status"].as_str().unwrap().to_owned(),
    )
}

/// The operations and the service scheduler together, from creation to deletion.
#[test]
fn a_service_lives() {
    let mut world = world();
    add_host(&mut world);
    create(&mut world, &json!({})).unwrap();
    world.settle(&key());
    assert_eq!(state(&mut world), ("ACTIVE".into(), 2, 2, 1, "SUCCESSFUL".into()));
    update(&mut world, &json!({"desiredCount": 4})).unwrap();
    world.settle(&key());
    assert_eq!(state(&mut world), ("ACTIVE".into(), 4, 4, 1, "SUCCESSFUL".into()));
    update(&mut world, &json!({"taskDefinition": "web:2", "desiredCount": 3})).unwrap();
    assert_eq!(state(&mut world), ("ACTIVE".into(), 3, 4, 2, "PENDING".into()));
    world.settle(&key());
    assert_eq!(state(&mut world), ("ACTIVE".into(), 3, 3, 1, "SUCCESSFUL".into()));
    let listed =
        call!(world, ListTasks, list_tasks, {"serviceName": "app", "family": "web"}).unwrap();
    let described = call!(world, DescribeTasks, describe_tasks, {"tasks": listed["taskArns"]});
    for task in described.unwrap()["tasks"].as_array().unwrap() {
        let part = json!({"group": "service:app", "lastStatus": "RUNNING",
            "taskDefinitionArn": format!("{ARN}task-definition/web:2")});
        assert!(contains(task, &part), "{task:#}");
    }
    call!(world, DeleteService, delete_service, {"service": "app", "force": true}).unwrap();
    world.settle(&key());
    assert_eq!(state(&mut world), ("INACTIVE".into(), 0, 0, 0, "SUCCESSFUL".into()));
    pass(&mut world, 60);
    create(&mut world, &json!({"desiredCount": 1})).unwrap();
    world.settle(&key());
    assert_eq!(state(&mut world), ("ACTIVE".into(), 1, 1, 1, "SUCCESSFUL".into()));
}

#[test]
fn a_stopped_deployment_ends_rolled_back() {
    let mut world = world();
    add_host(&mut world);
    create(&mut world, &json!({})).unwrap();
    world.settle(&key());
    update(&mut world, &json!({"taskDefinition": "web:2"})).unwrap();
    let id = record(&world).deployments[0].service_deployment_id.clone();
    call!(world, StopServiceDeployment, stop_service_deployment,
        {"serviceDeploymentArn": format!("{ARN}service-deployment/default/app/{id}")})
    .unwrap();
    world.settle(&key());
    assert_eq!(state(&mut world), ("ACTIVE".into(), 2, 2, 1, "ROLLBACK_SUCCESSFUL".into()));
    assert_eq!(record(&world).task_definition.revision, 1);
}

/// A deployment that is replaced before it ends, by the same or another revision.
#[test]
fn deployments_in_quick_succession_leave_one() {
    let mut world = world();
    add_host(&mut world);
    create(&mut world, &json!({})).unwrap();
    for definition in ["web:2", "web:1", "web:2"] {
        pass(&mut world, 1);
        update(&mut world, &json!({"taskDefinition": definition, "forceNewDeployment": true}))
            .unwrap();
    }
    world.settle(&key());
    assert_eq!(state(&mut world), ("ACTIVE".into(), 2, 2, 1, "SUCCESSFUL".into()));
    let deployment = &record(&world).deployments[0];
    assert_eq!(deployment.task_definition.revision, 2);
}

#[test]
fn protection_of_tasks() {
    let mut world = world();
    create(&mut world, &json!({"desiredCount": 2})).unwrap();
    let deployment = record(&world).deployments[0].id.clone();
    for n in 1..=3 {
        let mut of_service = task(n);
        of_service.service = Some("app".into());
        of_service.started_by = Some(deployment.clone());
        world.put(of_service);
    }
    world.put(task(4));
    let id = |n: u32| format!("{n:032x}");
    let protect = |world: &mut World, more: Value| {
        let mut request = json!({"cluster": "default", "protectionEnabled": true});
        merge(&mut request, &more);
        world.call::<op::UpdateTaskProtection>(
            super::update_task_protection::update_task_protection,
            &request,
        )
    };
    let answer =
        protect(&mut world, json!({"tasks": [id(1), id(4), id(9)], "expiresInMinutes": 1}));
    let expected = json!({
        "protectedTasks": [{"taskArn": format!("{ARN}task/default/{}", id(1)),
            "protectionEnabled": true, "expirationDate": 1_795_482_060}],
        "failures": [
            {"arn": format!("{ARN}task/default/{}", id(4)), "reason": "TASK_NOT_VALID"},
            {"arn": format!("{ARN}task/default/{}", id(9)), "reason": "MISSING"}],
    });
    assert_eq!(answer.unwrap(), expected);
    let answer = protect(&mut world, json!({"tasks": [id(2), id(3)]})).unwrap();
    assert_eq!(answer["failures"][0]["reason"], "DEPLOYMENT_BLOCKED");
    let get = |world: &mut World| {
        let answer = world
            .call::<op::GetTaskProtection>(
                super::get_task_protection::get_task_protection,
                &json!({"cluster": "default", "tasks": [id(1), id(2), id(3)]}),
            )
            .unwrap();
        let tasks = answer["protectedTasks"].as_array().unwrap().clone();
        tasks.iter().map(|t| t["protectionEnabled"].as_bool().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(get(&mut world), [true, true, false]);
    pass(&mut world, 61);
    assert_eq!(get(&mut world), [false, true, false]);
    protect(&mut world, json!({"tasks": [id(2)], "protectionEnabled": false})).unwrap();
    assert_eq!(get(&mut world), [false, false, false]);
    for minutes in [0, 2881] {
        let error = protect(&mut world, json!({"tasks": [id(1)], "expiresInMinutes": minutes}));
        assert_eq!(
            error.unwrap_err(),
            "InvalidParameterException: expiresInMinutes must be between 1 and 2880."
        );
    }
}

/// Protected tasks of the old revision are all that the deployment waits for: no more of them.
#[test]
fn protection_that_holds_up_a_deployment() {
    let mut world = world();
    create(&mut world, &json!({"desiredCount": 2})).unwrap();
    let old = record(&world).deployments[0].id.clone();
    update(&mut world, &json!({"taskDefinition": "web:2"})).unwrap();
    let new = record(&world).deployments[0].id.clone();
    for (n, of) in [(1, &old), (2, &new), (3, &new)] {
        let mut of_service = task(n);
        of_service.service = Some("app".into());
        of_service.started_by = Some(of.clone());
        of_service.last_status = wharf_model::TaskStatus::Running;
        world.put(of_service);
    }
    let protect = |world: &mut World, n: u32| {
        let answer = call!(world, UpdateTaskProtection, update_task_protection,
            {"cluster": "default", "protectionEnabled": true, "tasks": [format!("{n:032x}")]});
        answer.unwrap()["failures"].clone()
    };
    assert_eq!(protect(&mut world, 1), json!([]));
    assert_eq!(protect(&mut world, 1), json!([]), "prolonged");
    assert_eq!(protect(&mut world, 2)[0]["reason"], "DEPLOYMENT_BLOCKED");
}

#[test]
fn five_deployments_at_a_time() {
    let mut world = world();
    create(&mut world, &json!({})).unwrap();
    let force = json!({"forceNewDeployment": true});
    for _ in 0..4 {
        update(&mut world, &force).unwrap();
    }
    let error = update(&mut world, &force).unwrap_err();
    let expected = "5 active deployments exist, unable to create new deployment.";
    assert_eq!(error, format!("InvalidParameterException: {expected}"));
    update(&mut world, &json!({"desiredCount": 1})).unwrap();
}

#[test]
fn what_was_complete_is_kept_up_and_grows_with_the_service() {
    let mut world = world();
    create(&mut world, &json!({})).unwrap();
    let mut complete = record(&world);
    complete.deployments[0].reached_steady_state = true;
    world.put(complete);
    update(&mut world, &json!({"taskDefinition": "web:2", "desiredCount": 3})).unwrap();
    let counts = |service: &Value| {
        let deployments = service["deployments"].as_array().unwrap().iter();
        deployments.map(|d| d["desiredCount"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    let service = update(&mut world, &json!({"desiredCount": 5})).unwrap();
    assert_eq!(counts(&service), [5, 4]);
    let service = update(&mut world, &json!({"desiredCount": 1})).unwrap();
    assert_eq!(counts(&service), [1, 4]);
}

#[test]
fn failures_are_counted_while_a_deployment_goes_on() {
    let mut world = world();
    let breaker = json!({"deploymentConfiguration":
        {"deploymentCircuitBreaker": {"enable": true, "rollback": false}}});
    create(&mut world, &breaker).unwrap();
    let mut failing = record(&world);
    failing.deployments[0].failed_tasks = 2;
    let id = failing.deployments[0].service_deployment_id.clone();
    world.put(failing);
    let arn = format!("{ARN}service-deployment/default/app/{id}");
    let described = call!(world, DescribeServiceDeployments, describe_service_deployments,
        {"serviceDeploymentArns": [arn]})
    .unwrap();
    let part = json!({"deploymentCircuitBreaker":
        {"status": "MONITORING", "failureCount": 2, "threshold": 3}});
    assert!(contains(&described["serviceDeployments"][0], &part), "{described:#}");
}
