//! RunTask, StartTask, StopTask, and what agents submit: requests and answers.

use super::task_tests::register;
use super::world::{START, World, contains, golden};
use serde_json::{Value, json};
use wharf_model::cluster::CapacityProviderStrategyItem;
use wharf_model::{Cluster, ContainerInstance};
use wharf_wire::ecs::operation as op;

macro_rules! call {
    ($world:expr, $name:ident, $module:ident, $($request:tt)+) => {
        $world.call::<op::$name>(super::$module::$module, &json!($($request)+))
    };
}

/// One host and the definitions `web` and `large`.
fn world() -> World {
    let mut world = World::new();
    register(&mut world, "web", json!({}));
    register(
        &mut world,
        "large",
        json!({"containerDefinitions": [{"name": "web", "image": "a", "memory": 4096}]}),
    );
    register(&mut world, "far", json!({"networkMode": "awsvpc", "cpu": "256", "memory": "512"}));
    world.put(Cluster {
        capacity_providers: vec!["FARGATE".into(), "FARGATE_SPOT".into()],
        ..Cluster::new("default", START)
    });
    let attributes: Vec<Value> = world
        .snapshot
        .task_definitions()
        .flat_map(|d| d.requires_attributes.clone())
        .map(|name| json!({"n": name}))
        .collect();
    let host: ContainerInstance = serde_json::from_value(json!({
        "id": "c".repeat(32), "cluster": "default", "ec2_instance_id": "i-1",
        "registered_by": "arn:aws:iam::123456789012:root",
        "registered": {"cpu": 1024, "memory_mib": 2048, "network_interfaces": 4},
        "attributes": attributes, "status": "ACTIVE", "version": 1, "registered_at": START,
    }))
    .unwrap();
    world.put(host);
    world
}

#[test]
fn run_task_answers_as_ecs_does() {
    let cases = include_str!("launch_cases.txt");
    let count =
        golden(cases, |request| world().call::<op::RunTask>(super::run_task::run_task, request));
    assert_eq!(count, 31);
}

#[test]
fn the_clusters_strategy_holds_where_none_is_named() {
    let mut world = world();
    world.put(Cluster {
        capacity_providers: vec!["FARGATE_SPOT".into()],
        default_capacity_provider_strategy: vec![CapacityProviderStrategyItem {
            capacity_provider: "FARGATE_SPOT".into(),
            weight: 1,
            base: 0,
        }],
        ..Cluster::new("default", START)
    });
    let request = json!({"taskDefinition": "far", "networkConfiguration":
        {"awsvpcConfiguration": {"subnets": ["subnet-0a77a2f000000000a"]}}});
    let run = world.call::<op::RunTask>(super::run_task::run_task, &request).unwrap();
    let part = json!({"tasks": [{"launchType": "FARGATE",
        "capacityProviderName": "FARGATE_SPOT"}]});
    assert!(contains(&run, &part), "{run}");
    let mut named = request;
    named["launchType"] = "EC2".into();
    let run = world.call::<op::RunTask>(super::run_task::run_task, &named).unwrap();
    let part = json!({"tasks": [{"launchType": "EC2", "capacityProviderName": null}]});
    assert!(contains(&run, &part), "{run}");
}

#[test]
fn an_empty_cluster_refuses() {
    let mut world = World::new();
    register(&mut world, "web", json!({}));
    let error = call!(world, RunTask, run_task, {"taskDefinition": "web"}).unwrap_err();
    assert_eq!(
        error,
        "InvalidParameterException: No Container Instances were found in your cluster."
    );
}

#[test]
fn a_client_token_makes_it_the_same_call() {
    let mut world = world();
    let request = json!({"taskDefinition": "web", "clientToken": "t1"});
    let run = |world: &mut World, request: &Value| {
        world.call::<op::RunTask>(super::run_task::run_task, request)
    };
    let first = run(&mut world, &request).unwrap();
    let second = run(&mut world, &request).unwrap();
    assert_eq!(first["tasks"][0]["taskArn"], second["tasks"][0]["taskArn"]);
    assert_eq!(world.snapshot.all_tasks().count(), 1);
    let other = run(&mut world, &json!({"taskDefinition": "web", "count": 2, "clientToken": "t1"}));
    assert!(other.unwrap_err().starts_with("ConflictException: "));
}

#[test]
fn start_task_names_what_is_missing() {
    let mut world = world();
    let answer = call!(world, StartTask, start_task, {
        "taskDefinition": "web", "containerInstances": ["c".repeat(32), "d".repeat(32)]
    })
    .unwrap();
    let part = json!({
        "tasks": [{"lastStatus": "PENDING"}],
        "failures": [{"reason": "MISSING", "arn": format!(
            "arn:aws:ecs:us-east-1:123456789012:container-instance/default/{}", "d".repeat(32))}],
    });
    assert!(contains(&answer, &part), "{answer}");
}

#[test]
fn a_task_runs_and_is_stopped() {
    let mut world = world();
    let run = call!(world, RunTask, run_task, {"taskDefinition": "web"}).unwrap();
    let arn = run["tasks"][0]["taskArn"].as_str().unwrap().to_owned();
    call!(world, SubmitTaskStateChange, submit_task_state_change, {
        "cluster": "default", "task": arn, "status": "RUNNING", "reason": "",
        "containers": [{"containerName": "web", "status": "RUNNING", "runtimeId": "r1",
            "networkBindings": [{"bindIP": "0.0.0.0", "containerPort": 80, "hostPort": 32768,
                                 "protocol": "tcp"}]}],
    })
    .unwrap();
    let stop = call!(world, StopTask, stop_task, {"task": arn, "reason": "maintenance"}).unwrap();
    let part = json!({"task": {"desiredStatus": "STOPPED", "lastStatus": "RUNNING",
        "stopCode": "UserInitiated", "stoppedReason": "maintenance"}});
    assert!(contains(&stop, &part), "{stop}");
    call!(world, SubmitTaskStateChange, submit_task_state_change, {
        "cluster": "default", "task": arn, "status": "STOPPED",
        "containers": [{"containerName": "web", "status": "STOPPED", "exitCode": 143}],
    })
    .unwrap();
    // Late news changes nothing.
    call!(world, SubmitTaskStateChange, submit_task_state_change,
        {"cluster": "default", "task": arn, "status": "RUNNING"})
    .unwrap();
    let answer = call!(world, DescribeTasks, describe_tasks, {"tasks": [arn]}).unwrap();
    let part = json!({"tasks": [{"lastStatus": "STOPPED", "stopCode": "UserInitiated",
        "stoppedReason": "maintenance", "containers": [{"exitCode": 143, "runtimeId": "r1",
        "networkBindings": [{"hostPort": 32768}]}]}]});
    assert!(contains(&answer, &part), "{answer}");
    let error = call!(world, StopTask, stop_task, {"task": "f".repeat(32)}).unwrap_err();
    assert_eq!(error, "InvalidParameterException: The referenced task was not found.");
}
