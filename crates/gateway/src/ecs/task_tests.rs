//! Task definitions after registration, and tasks as they are described and listed.

use super::world::{START, World, contains};
use expect_test::expect;
use serde_json::{Value, json};
use wharf_model::status::StopCode;
use wharf_model::task::ContainerOverride;
use wharf_model::task_definition::LaunchType;
use wharf_model::{
    NetworkBinding, NetworkInterface, ServiceName, Tag, Task, TaskStatus, Timestamp,
    TransportProtocol,
};
use wharf_wire::ecs::operation as op;

const ARN: &str = "arn:aws:ecs:us-east-1:123456789012:";

macro_rules! call {
    ($world:expr, $name:ident, $module:ident, $($request:tt)+) => {
        $world.call::<op::$name>(super::$module::$module, &json!($($request)+))
    };
}

pub(super) fn register(world: &mut World, family: &str, more: Value) -> String {
    let mut request = json!({"family": family, "containerDefinitions": [
        {"name": "web", "image": "nginx:1", "cpu": 10, "memory": 128,
         "portMappings": [{"containerPort": 80}]}]});
    super::world::merge(&mut request, &more);
    let answer = world
        .call::<op::RegisterTaskDefinition>(
            super::register_task_definition::register_task_definition,
            &request,
        )
        .unwrap();
    answer["taskDefinition"]["taskDefinitionArn"].as_str().unwrap().to_owned()
}

/// A task that runs revision 1 of `web` and was just created.
pub(super) fn task(n: u32) -> Task {
    // From its stored form, as an older wharf would have written it.
    serde_json::from_value(json!({
        "id": format!("{n:032x}"), "cluster": "default",
        "task_definition": {"family": "web", "revision": 1},
        "container_instance": "c".repeat(32), "group": "family:web", "launch_type": "EC2",
        "desired_status": "RUNNING", "last_status": "PENDING",
        "reserved": {"cpu": 10, "memory_mib": 128}, "version": 1, "created_at": START,
        "containers": [{"name": "web", "id": "11111111-1111-4111-8111-111111111111",
                        "last_status": "PENDING"}],
    }))
    .unwrap()
}

fn after(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp(START.0 + seconds * 1000))
}

#[test]
fn task_definitions_are_found_by_family_revision_and_arn() {
    let mut world = World::new();
    register(&mut world, "web", json!({}));
    let second = register(&mut world, "web", json!({}));
    call!(world, DeregisterTaskDefinition, deregister_task_definition,
        {"taskDefinition": "web:2"})
    .unwrap();
    let describe = |world: &mut World, name: &str| {
        let answer = call!(world, DescribeTaskDefinition, describe_task_definition,
            {"taskDefinition": name});
        answer.map(|a| {
            let definition = &a["taskDefinition"];
            format!("{} {}", definition["revision"], definition["status"].as_str().unwrap())
        })
    };
    let unable = "ClientException: Unable to describe task definition.";
    let cases = [
        ("web", Ok("1 ACTIVE")),
        ("web:1", Ok("1 ACTIVE")),
        ("web:2", Ok("2 INACTIVE")),
        (second.as_str(), Ok("2 INACTIVE")),
        ("arn:aws:ecs:us-east-1:123456789012:task-definition/web", Ok("1 ACTIVE")),
        ("web:3", Err(unable)),
        ("api", Err(unable)),
        ("web:x", Err("ClientException: Invalid revision number. Number: x")),
        ("web:0", Err("ClientException: Invalid revision number. Number: 0")),
        ("", Err("ClientException: Family contains invalid characters.")),
        ("a b", Err("ClientException: Family contains invalid characters.")),
        (
            "arn:aws:ecs:us-east-1:123456789012:cluster/web",
            Err("InvalidParameterException: Invalid identifier: \
                 arn:aws:ecs:us-east-1:123456789012:cluster/web"),
        ),
    ];
    for (name, expected) in cases {
        let expected = expected.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(describe(&mut world, name), expected, "{name}");
    }
}

#[test]
fn deregistering_and_deleting() {
    let mut world = World::new();
    for _ in 0..3 {
        register(&mut world, "web", json!({}));
    }
    let deregister = |world: &mut World, name: &str| {
        call!(world, DeregisterTaskDefinition, deregister_task_definition,
            {"taskDefinition": name})
    };
    let answer = deregister(&mut world, "web:1").unwrap();
    let part = json!({"status": "INACTIVE", "deregisteredAt": 1_795_482_000, "revision": 1});
    assert!(contains(&answer["taskDefinition"], &part), "{answer}");
    for (name, expected) in [
        ("web:1", "ClientException: The specified task definition is inactive."),
        ("web:9", "ClientException: The specified task definition does not exist."),
        ("web", "ClientException: Revision is missing."),
    ] {
        let error = deregister(&mut world, name).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
    let answer = call!(world, DeleteTaskDefinitions, delete_task_definitions,
        {"taskDefinitions": ["web:1", "web:2", "web:9"]})
    .unwrap();
    assert_eq!(answer["taskDefinitions"].as_array().unwrap().len(), 1);
    let part = json!([{"status": "DELETE_IN_PROGRESS", "deleteRequestedAt": 1_795_482_000}]);
    assert!(contains(&answer["taskDefinitions"], &part), "{answer}");
    let failures = answer["failures"].as_array().unwrap();
    assert_eq!(failures[0]["arn"], format!("{ARN}task-definition/web:2"));
    assert!(failures[0]["reason"].as_str().unwrap().contains("still in ACTIVE status"));
    assert!(failures[1]["reason"].as_str().unwrap().contains("does not exist"));
    for (names, expected) in [
        (
            vec![],
            "InvalidParameterException: size of TaskDefinition references list must be greater than 0",
        ),
        (
            vec!["web:1"; 11],
            "InvalidParameterException: Size of TaskDefinition references list cannot exceed 10",
        ),
    ] {
        let error = call!(world, DeleteTaskDefinitions, delete_task_definitions,
            {"taskDefinitions": names});
        assert_eq!(error.unwrap_err(), expected);
    }
}

#[test]
fn task_definitions_are_listed_in_both_directions_page_by_page() {
    let mut world = World::new();
    for family in ["web", "a", "a-b", "a", "ab", "a"] {
        register(&mut world, family, json!({}));
    }
    call!(world, DeregisterTaskDefinition, deregister_task_definition, {"taskDefinition": "ab:1"})
        .unwrap();
    let list = |world: &mut World, mut request: Value| {
        let mut all = Vec::new();
        request["maxResults"] = json!(2);
        loop {
            let answer = world
                .call::<op::ListTaskDefinitions>(
                    super::list_task_definitions::list_task_definitions,
                    &request,
                )
                .unwrap();
            for arn in answer["taskDefinitionArns"].as_array().unwrap() {
                all.push(arn.as_str().unwrap().rsplit('/').next().unwrap().to_owned());
            }
            match answer.get("nextToken") {
                Some(token) => request["nextToken"] = token.clone(),
                None => return all,
            }
        }
    };
    let ascending = ["a:1", "a:2", "a:3", "a-b:1", "web:1"];
    assert_eq!(list(&mut world, json!({})), ascending);
    let descending: Vec<_> = ascending.into_iter().rev().collect();
    assert_eq!(list(&mut world, json!({"sort": "DESC"})), descending);
    assert_eq!(list(&mut world, json!({"familyPrefix": "a"})), ["a:1", "a:2", "a:3"]);
    assert_eq!(list(&mut world, json!({"status": "INACTIVE"})), ["ab:1"]);

    let families = |world: &mut World, request: Value| {
        world
            .call::<op::ListTaskDefinitionFamilies>(
                super::list_task_definition_families::list_task_definition_families,
                &request,
            )
            .unwrap()["families"]
            .clone()
    };
    assert_eq!(families(&mut world, json!({})), json!(["a", "a-b", "ab", "web"]));
    assert_eq!(families(&mut world, json!({"familyPrefix": "a-"})), json!(["a-b"]));
    assert_eq!(families(&mut world, json!({"status": "INACTIVE"})), json!(["ab"]));
    assert_eq!(families(&mut world, json!({"status": "ACTIVE"})), json!(["a", "a-b", "web"]));
}

#[test]
fn a_task_as_it_is_described() {
    let mut world = World::new();
    register(&mut world, "web", json!({}));
    let mut record = task(1);
    record.overrides.containers = vec![ContainerOverride {
        name: "web".into(),
        command: Some(vec!["x".into()]),
        ..ContainerOverride::default()
    }];
    record.last_status = TaskStatus::Running;
    record.started_at = after(3);
    record.connectivity_at = after(1);
    record.tags = vec![Tag { key: "a".into(), value: "b".into() }];
    record.containers[0].last_status = TaskStatus::Running;
    record.containers[0].runtime_id = Some("r".into());
    record.containers[0].network_bindings = vec![NetworkBinding {
        range: None,
        bind_ip: "0.0.0.0".into(),
        container_port: 80,
        host_port: 32768,
        protocol: TransportProtocol::Tcp,
    }];
    world.put(record);
    let answer =
        call!(world, DescribeTasks, describe_tasks, {"tasks": [format!("{:032x}", 1)]}).unwrap();
    expect![[r#"
        {
          "tasks": [
            {
              "attachments": [],
              "attributes": [],
              "clusterArn": "arn:aws:ecs:us-east-1:123456789012:cluster/default",
              "connectivity": "CONNECTED",
              "connectivityAt": 1795482001,
              "containerInstanceArn": "arn:aws:ecs:us-east-1:123456789012:container-instance/default/cccccccccccccccccccccccccccccccc",
              "containers": [
                {
                  "containerArn": "arn:aws:ecs:us-east-1:123456789012:container/default/00000000000000000000000000000001/11111111-1111-4111-8111-111111111111",
                  "taskArn": "arn:aws:ecs:us-east-1:123456789012:task/default/00000000000000000000000000000001",
                  "name": "web",
                  "image": "nginx:1",
                  "runtimeId": "r",
                  "lastStatus": "RUNNING",
                  "networkBindings": [
                    {
                      "bindIP": "0.0.0.0",
                      "containerPort": 80,
                      "hostPort": 32768,
                      "protocol": "tcp"
                    }
                  ],
                  "networkInterfaces": [],
                  "healthStatus": "UNKNOWN",
                  "cpu": "10",
                  "memory": "128"
                }
              ],
              "cpu": "10",
              "createdAt": 1795482000,
              "desiredStatus": "RUNNING",
              "enableExecuteCommand": false,
              "group": "family:web",
              "healthStatus": "UNKNOWN",
              "lastStatus": "RUNNING",
              "launchType": "EC2",
              "memory": "128",
              "overrides": {
                "containerOverrides": [
                  {
                    "name": "web",
                    "command": [
                      "x"
                    ]
                  }
                ],
                "inferenceAcceleratorOverrides": []
              },
              "startedAt": 1795482003,
              "tags": [],
              "taskArn": "arn:aws:ecs:us-east-1:123456789012:task/default/00000000000000000000000000000001",
              "taskDefinitionArn": "arn:aws:ecs:us-east-1:123456789012:task-definition/web:1",
              "version": 1
            }
          ],
          "failures": []
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&answer).unwrap());
}

#[test]
fn a_stopped_awsvpc_task_with_tags() {
    let mut world = World::new();
    register(&mut world, "web", json!({"networkMode": "awsvpc"}));
    let mut record = task(1);
    record.network_interface = Some(NetworkInterface {
        attachment_id: "a".into(),
        eni_id: "eni-1".into(),
        mac_address: "02:00:00:00:00:01".into(),
        private_ip: "10.113.64.5".parse().unwrap(),
        subnet_id: wharf_model::network::SUBNET_IDS[1].into(),
        security_groups: Vec::new(),
        status: "DELETED".into(),
    });
    record.desired_status = TaskStatus::Stopped;
    record.last_status = TaskStatus::Stopped;
    record.stop_code = Some(StopCode::EssentialContainerExited);
    record.stopped_reason = Some("Essential container in task exited".into());
    record.stopped_at = after(9);
    record.containers[0].exit_code = Some(3);
    record.tags = vec![Tag { key: "a".into(), value: "b".into() }];
    world.put(record);
    let answer = call!(world, DescribeTasks, describe_tasks,
        {"tasks": [format!("{ARN}task/default/{:032x}", 1)], "include": ["TAGS"]})
    .unwrap();
    let part = json!({
        "availabilityZone": "us-east-1b", "desiredStatus": "STOPPED", "lastStatus": "STOPPED",
        "stopCode": "EssentialContainerExited", "stoppedAt": 1_795_482_009,
        "stoppedReason": "Essential container in task exited",
        "tags": [{"key": "a", "value": "b"}],
        "containers": [{"exitCode": 3, "networkInterfaces": [
            {"attachmentId": "a", "privateIpv4Address": "10.113.64.5"}]}],
        "attachments": [{"id": "a", "type": "ElasticNetworkInterface", "status": "DELETED",
            "details": [
                {"name": "subnetId", "value": "subnet-0a77a2f000000000b"},
                {"name": "networkInterfaceId", "value": "eni-1"},
                {"name": "macAddress", "value": "02:00:00:00:00:01"},
                {"name": "privateIPv4Address", "value": "10.113.64.5"}]}],
    });
    assert!(contains(&answer["tasks"][0], &part), "{answer:#}");
}

#[test]
fn tasks_that_cannot_be_described() {
    let mut world = World::new();
    let id = format!("{:032x}", 7);
    let answer = call!(world, DescribeTasks, describe_tasks, {"tasks": [id]}).unwrap();
    let missing = json!([{"arn": format!("{ARN}task/default/{id}"), "reason": "MISSING"}]);
    assert_eq!(answer, json!({"tasks": [], "failures": missing}));
    let cases = [
        (json!({"tasks": []}), "InvalidParameterException: Tasks cannot be empty."),
        (
            json!({"tasks": vec![id.as_str(); 101]}),
            "InvalidParameterException: taskIds can have at most 100 items.",
        ),
        (json!({"tasks": [id], "cluster": "nope"}), "ClusterNotFoundException: Cluster not found."),
        (
            json!({"tasks": [format!("{ARN}task/other/{id}")]}),
            "InvalidParameterException: Invalid identifier: Identifier is for cluster other. Your \
             cluster is default",
        ),
        (
            json!({"tasks": [""]}),
            "InvalidParameterException: taskId length should be one of [32,36]",
        ),
    ];
    for (request, expected) in cases {
        let error = call!(world, DescribeTasks, describe_tasks, request);
        assert_eq!(error.unwrap_err(), expected);
    }
}

#[test]
fn tasks_are_listed_by_every_filter() {
    let mut world = World::new();
    register(&mut world, "web", json!({}));
    let numbers = |world: &mut World, request: Value| {
        let answer = world.call::<op::ListTasks>(super::list_tasks::list_tasks, &request)?;
        let number = |arn: &Value| {
            u32::from_str_radix(arn.as_str().unwrap().rsplit('/').next().unwrap(), 16).unwrap()
        };
        let arns = answer["taskArns"].as_array().unwrap();
        Ok::<Vec<u32>, String>(arns.iter().map(number).collect())
    };
    world.put(task(1));
    let mut stopped = task(2);
    stopped.desired_status = TaskStatus::Stopped;
    stopped.last_status = TaskStatus::Stopped;
    world.put(stopped);
    let mut other = task(3);
    other.task_definition.family = "api".into();
    other.started_by = Some("me".into());
    other.launch_type = LaunchType::Fargate;
    world.put(other);
    let mut of_service = task(4);
    of_service.service = Some(ServiceName::from("gone"));
    world.put(of_service);
    let mut forgotten = task(5);
    forgotten.last_status = TaskStatus::Deleted;
    forgotten.desired_status = TaskStatus::Stopped;
    world.put(forgotten);
    let cases: [(Value, &[u32]); 9] = [
        (json!({}), &[1, 3, 4]),
        (json!({"desiredStatus": "RUNNING"}), &[1, 3, 4]),
        (json!({"desiredStatus": "STOPPED"}), &[2]),
        (json!({"desiredStatus": "PENDING"}), &[]),
        (json!({"family": "api"}), &[3]),
        (json!({"startedBy": "me"}), &[3]),
        (json!({"launchType": "FARGATE"}), &[3]),
        (json!({"launchType": "EXTERNAL"}), &[]),
        (json!({"startedBy": "me", "desiredStatus": "STOPPED"}), &[]),
    ];
    for (request, expected) in cases {
        assert_eq!(numbers(&mut world, request.clone()).unwrap(), expected, "{request}");
    }
    for (request, expected) in [
        (json!({"serviceName": "nope"}), "ServiceNotFoundException: Service not found."),
        (json!({"maxResults": 101}), "InvalidParameterException: maxResults must be between"),
        (json!({"nextToken": "x"}), "InvalidParameterException: Invalid token."),
        (json!({"daemonName": "x"}), "UnsupportedFeatureException: "),
        (
            json!({"family": "web", "startedBy": "me"}),
            "InvalidParameterException: cannot specify startedBy with other arguments",
        ),
        (
            json!({"serviceName": "gone", "startedBy": "me"}),
            "InvalidParameterException: cannot specify startedBy with other arguments",
        ),
        (
            json!({"containerInstance": "0".repeat(32)}),
            "InvalidParameterException: Container instance not found.",
        ),
    ] {
        let error = numbers(&mut world, request).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}
