//! Container instances and their attributes, from registration to deregistration.

use super::world::{World, contains};
use serde_json::{Value, json};
use wharf_model::Principal;
use wharf_wire::ecs::operation as op;

const ARN: &str = "arn:aws:ecs:us-east-1:123456789012:container-instance/default/";

macro_rules! call {
    ($world:expr, $name:ident, $module:ident, $($request:tt)+) => {
        $world.call::<op::$name>(super::$module::$module, &json!($($request)+))
    };
}

fn registration() -> Value {
    json!({
        "instanceIdentityDocument": "", "instanceIdentityDocumentSignature": "",
        "clientToken": "2a1b", "totalResources": [
            {"name": "CPU", "type": "INTEGER", "integerValue": 2048},
            {"name": "MEMORY", "type": "INTEGER", "integerValue": 4096},
            {"name": "PORTS", "type": "STRINGSET", "stringSetValue": ["22", "2375"]},
            {"name": "PORTS_UDP", "type": "STRINGSET", "stringSetValue": []}],
        "attributes": [
            {"name": "rack", "value": "r1"}, {"name": "ecs.capability.task-eni"},
            {"name": "com.amazonaws.ecs.capability.docker-remote-api.1.18"},
            {"name": "ecs.os-type", "value": "linux"}],
    })
}

fn register(world: &mut World, request: &Value) -> Result<Value, String> {
    let answer = world.call::<op::RegisterContainerInstance>(
        super::register_container_instance::register_container_instance,
        request,
    )?;
    Ok(answer["containerInstance"].clone())
}

fn with(mut request: Value, member: &str, value: Value) -> Value {
    request[member] = value;
    request
}

fn arn(instance: &Value) -> &str {
    instance["containerInstanceArn"].as_str().unwrap()
}

#[test]
fn the_answer_echoes_every_attribute_and_names_the_zone() {
    let mut world = World::new();
    let instance = register(&mut world, &registration()).unwrap();
    assert!(arn(&instance).starts_with(ARN));
    let part = json!({
        "status": "ACTIVE", "agentConnected": true, "version": 1,
        "runningTasksCount": 0, "pendingTasksCount": 0, "tags": [], "attachments": [],
        "attributes": [
            {"name": "rack", "value": "r1"}, {"name": "ecs.capability.task-eni", "value": null},
            {"name": "com.amazonaws.ecs.capability.docker-remote-api.1.18"},
            {"name": "ecs.os-type", "value": "linux"},
            {"name": "ecs.availability-zone", "value": "us-east-1a"}],
        "registeredResources": [
            {"name": "CPU", "type": "INTEGER", "integerValue": 2048},
            {"name": "MEMORY", "type": "INTEGER", "integerValue": 4096},
            {"name": "PORTS", "type": "STRINGSET", "stringSetValue": ["22", "2375"]},
            {"name": "PORTS_UDP", "type": "STRINGSET", "stringSetValue": []}],
    });
    assert!(contains(&instance, &part), "{instance:#}");
    assert_eq!(instance["registeredResources"], instance["remainingResources"]);
    let id = instance["ec2InstanceId"].as_str().unwrap();
    assert!(id.starts_with("i-") && id.len() == 19, "{id}");
}

#[test]
fn an_identity_document_says_where_and_what_the_host_is() {
    let mut world = World::new();
    let document = json!({"instanceId": "i-0123456789abcdef0", "instanceType": "t3.large",
        "availabilityZone": "us-east-1c", "imageId": "ami-1", "privateIp": "10.0.0.5"});
    let request = with(registration(), "instanceIdentityDocument", document.to_string().into());
    let instance = register(&mut world, &request).unwrap();
    assert_eq!(instance["ec2InstanceId"], "i-0123456789abcdef0");
    let attributes = instance["attributes"].as_array().unwrap();
    for (name, value) in [
        ("ecs.availability-zone", "us-east-1c"),
        ("ecs.instance-type", "t3.large"),
        ("ecs.ami-id", "ami-1"),
    ] {
        assert!(attributes.contains(&json!({"name": name, "value": value})), "{name}");
    }
    let request = with(registration(), "instanceIdentityDocument", "{".into());
    let error = register(&mut world, &request).unwrap_err();
    assert_eq!(error, "ClientException: Instance identity document is not valid JSON.");
}

#[test]
fn a_registration_that_lacks_something_is_refused() {
    let mut world = World::new();
    let cases = [
        ("cluster", json!("nope"), "ClusterNotFoundException: Cluster not found."),
        (
            "totalResources",
            json!([]),
            "ClientException: totalResources must have a positive integer CPU.",
        ),
        (
            "attributes",
            json!([{"name": "a b"}]),
            "InvalidParameterException: Invalid attribute name: a b",
        ),
        (
            "containerInstanceArn",
            json!(format!("{ARN}0123456789abcdef0123456789abcdef")),
            "ClientException: Container instance not found.",
        ),
    ];
    for (member, value, expected) in cases {
        let error = register(&mut world, &with(registration(), member, value)).unwrap_err();
        assert_eq!(error, expected);
    }
}

#[test]
fn the_agent_comes_back_with_its_arn_and_operators_attributes_stay() {
    let mut world = World::new();
    let first = register(&mut world, &registration()).unwrap();
    call!(world, PutAttributes, put_attributes,
        {"attributes": [{"name": "stack", "value": "prod", "targetId": arn(&first)}]})
    .unwrap();
    let mut again = with(registration(), "containerInstanceArn", arn(&first).into());
    again["attributes"] = json!([{"name": "ecs.capability.full-sync"}]);
    again["totalResources"][0]["integerValue"] = json!(4096);
    let second = register(&mut world, &again).unwrap();
    assert_eq!(arn(&first), arn(&second));
    assert_eq!(second["registeredResources"][0]["integerValue"], 4096);
    let names: Vec<&str> = second["attributes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["name"].as_str().unwrap())
        .collect();
    // Capabilities that weren't sent again are gone.
    assert_eq!(
        names,
        ["ecs.capability.full-sync", "ecs.availability-zone", "rack", "ecs.os-type", "stack"]
    );
    world.principal = Principal::Instance("other".to_owned());
    let error = register(&mut world, &again).unwrap_err();
    assert_eq!(error, "ClientException: Container instance not found.");
}

#[test]
fn attributes_are_put_listed_and_deleted() {
    let mut world = World::new();
    let instance = register(&mut world, &registration()).unwrap();
    let target = arn(&instance);
    let id = target.rsplit('/').next().unwrap();
    let put = call!(world, PutAttributes, put_attributes, {"attributes": [
        {"name": "stack", "value": "prod", "targetId": id, "targetType": "container-instance"},
        {"name": "empty", "targetId": target}]})
    .unwrap();
    assert_eq!(
        put,
        json!({"attributes": [{"name": "stack", "value": "prod", "targetId": target},
                              {"name": "empty", "targetId": target}]})
    );
    let list = |world: &mut World, request: Value| {
        let request = &with(request, "targetType", "container-instance".into());
        world.call::<op::ListAttributes>(super::list_attributes::list_attributes, request)
    };
    let stack = json!([{"name": "stack", "value": "prod", "targetId": target}]);
    assert_eq!(list(&mut world, json!({"attributeName": "stack"})).unwrap()["attributes"], stack);
    let request = json!({"attributeName": "stack", "attributeValue": "test"});
    assert_eq!(list(&mut world, request).unwrap()["attributes"], json!([]));
    let all = list(&mut world, json!({})).unwrap();
    assert_eq!(all["attributes"].as_array().unwrap().len(), 7);
    let page = list(&mut world, json!({"maxResults": 4})).unwrap();
    let rest = list(&mut world, json!({"maxResults": 4, "nextToken": page["nextToken"]})).unwrap();
    assert_eq!(rest["attributes"].as_array().unwrap().len(), 3);
    assert_eq!(rest["nextToken"], Value::Null);

    call!(world, DeleteAttributes, delete_attributes,
        {"attributes": [{"name": "stack", "targetId": target}]})
    .unwrap();
    let request = json!({"attributeName": "stack"});
    assert_eq!(list(&mut world, request).unwrap()["attributes"], json!([]));
}

#[test]
fn attributes_that_cannot_be_put() {
    let mut world = World::new();
    let instance = register(&mut world, &registration()).unwrap();
    let target = arn(&instance);
    let many = |count: usize| -> Vec<Value> {
        (0..count).map(|n| json!({"name": format!("a{n}"), "targetId": target})).collect()
    };
    let gone = format!("{ARN}0123456789abcdef0123456789abcdef");
    let cases = [
        (json!([]), "InvalidParameterException: Attributes cannot be empty."),
        (json!(many(11)), "InvalidParameterException: attributes can have at most 10 items."),
        // With the instance's own custom attribute (rack) these are eleven.
        (json!(many(10)), "AttributeLimitExceededException: You can apply up to 10 custom"),
        (
            json!([{"name": "ecs.os-type", "targetId": target}]),
            "InvalidParameterException: The attribute ecs.os-type is reserved for Amazon ECS.",
        ),
        (
            json!([{"name": "a", "targetId": gone}]),
            "TargetNotFoundException: The specified target wasn't found.",
        ),
        (
            json!([{"name": "a", "targetId": "0123456789abcdef0123456789abcdef"}]),
            "InvalidParameterException: targetType is required when targetId is not an ARN.",
        ),
        (json!([{"name": "a"}]), "InvalidParameterException: targetId should not be empty."),
        (
            json!([{"name": "a", "value": " b", "targetId": target}]),
            "InvalidParameterException: Invalid value for attribute a:  b",
        ),
    ];
    for (attributes, expected) in cases {
        let error = call!(world, PutAttributes, put_attributes, {"attributes": attributes});
        let error = error.unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn instances_are_described_listed_and_filtered() {
    let mut world = World::new();
    let mut arns = Vec::new();
    for rack in ["r1", "r2"] {
        let mut request = registration();
        request["attributes"][0]["value"] = rack.into();
        arns.push(arn(&register(&mut world, &request).unwrap()).to_owned());
    }
    let missing = format!("{ARN}0123456789abcdef0123456789abcdef");
    let answer = call!(world, DescribeContainerInstances, describe_container_instances,
        {"containerInstances": [arns[1], missing], "include": ["CONTAINER_INSTANCE_HEALTH"]})
    .unwrap();
    assert_eq!(answer["containerInstances"][0]["containerInstanceArn"], arns[1]);
    assert_eq!(
        answer["containerInstances"][0]["healthStatus"]["overallStatus"],
        "INSUFFICIENT_DATA"
    );
    assert_eq!(answer["failures"], json!([{"arn": missing, "reason": "MISSING"}]));
    call!(world, UpdateContainerInstancesState, update_container_instances_state,
        {"containerInstances": [arns[1]], "status": "DRAINING"})
    .unwrap();
    let mut sorted = arns.clone();
    sorted.sort();
    let list = |world: &mut World, request: Value| {
        let answer = world.call::<op::ListContainerInstances>(
            super::list_container_instances::list_container_instances,
            &request,
        );
        answer.map(|a| a["containerInstanceArns"].clone())
    };
    let cases = [
        (json!({}), json!(sorted)),
        (json!({"filter": "attribute:rack == r1"}), json!([arns[0]])),
        (json!({"status": "ACTIVE"}), json!([arns[0]])),
        (json!({"status": "DRAINING"}), json!([arns[1]])),
        (json!({"status": "REGISTERING"}), json!([])),
        (json!({"status": "DRAINING", "filter": "attribute:rack == r1"}), json!([])),
    ];
    for (request, expected) in cases {
        assert_eq!(list(&mut world, request.clone()).unwrap(), expected, "{request}");
    }
    let error = list(&mut world, json!({"filter": "attribute:rack =="})).unwrap_err();
    assert!(error.starts_with("InvalidParameterException: Invalid expression"), "{error}");
}

#[test]
fn states_that_cannot_be_set() {
    let mut world = World::new();
    let instance = register(&mut world, &registration()).unwrap();
    let target = arn(&instance);
    let cases = [
        (
            json!({"containerInstances": [target], "status": "REGISTERING"}),
            "InvalidParameterException: Container instances status should be one of \
             [ACTIVE,DRAINING]",
        ),
        (
            json!({"containerInstances": [], "status": "ACTIVE"}),
            "InvalidParameterException: Container instances cannot be empty.",
        ),
        (
            json!({"containerInstances": vec![target; 11], "status": "ACTIVE"}),
            "InvalidParameterException: instanceIds can have at most 10 items.",
        ),
    ];
    for (request, expected) in cases {
        let error =
            call!(world, UpdateContainerInstancesState, update_container_instances_state, request);
        assert_eq!(error.unwrap_err(), expected);
    }
    let error = call!(world, UpdateContainerAgent, update_container_agent,
        {"containerInstance": target});
    assert!(error.unwrap_err().starts_with("NoUpdateAvailableException: "));
}

#[test]
fn deregistration_is_final() {
    let mut world = World::new();
    let instance = register(&mut world, &registration()).unwrap();
    let target = arn(&instance);
    let answer = call!(world, DeregisterContainerInstance, deregister_container_instance,
        {"containerInstance": target})
    .unwrap();
    let part = json!({"status": "INACTIVE", "agentConnected": false});
    assert!(contains(&answer["containerInstance"], &part));
    let error = call!(world, DeregisterContainerInstance, deregister_container_instance,
        {"containerInstance": target});
    assert_eq!(error.unwrap_err(), "InvalidParameterException: Container instance not found.");
    let again = with(registration(), "containerInstanceArn", target.into());
    let error = register(&mut world, &again).unwrap_err();
    assert_eq!(error, "ClientException: The referenced container instance is INACTIVE.");
    let answer = call!(world, UpdateContainerInstancesState, update_container_instances_state,
        {"containerInstances": [target], "status": "ACTIVE"})
    .unwrap();
    assert_eq!(answer["failures"], json!([{"arn": target, "reason": "INACTIVE"}]));
    let described = call!(world, DescribeContainerInstances, describe_container_instances,
        {"containerInstances": [target]})
    .unwrap();
    assert_eq!(described["containerInstances"][0]["status"], "INACTIVE");
    let listed = call!(world, ListContainerInstances, list_container_instances, {}).unwrap();
    assert_eq!(listed["containerInstanceArns"], json!([]));
}

#[test]
fn tasks_hold_an_instance_unless_it_is_forced_out() {
    let mut world = World::new();
    let instance = register(&mut world, &registration()).unwrap();
    let target = arn(&instance);
    super::task_tests::register(&mut world, "web", json!({}));
    let mut task = super::task_tests::task(1);
    task.container_instance = Some(target.rsplit('/').next().unwrap().into());
    world.put(task.clone());
    let described = call!(world, DescribeContainerInstances, describe_container_instances,
        {"containerInstances": [target]})
    .unwrap();
    let part = json!({"pendingTasksCount": 1, "runningTasksCount": 0, "remainingResources": [
        {"integerValue": 2038}, {"integerValue": 3968}, {}, {}]});
    assert!(contains(&described["containerInstances"][0], &part), "{described:#}");

    let deregister = |world: &mut World, force: bool| {
        call!(world, DeregisterContainerInstance, deregister_container_instance,
            {"containerInstance": target, "force": force})
    };
    let error = deregister(&mut world, false).unwrap_err();
    assert_eq!(error, "InvalidParameterException: Found running tasks on the instance.");
    deregister(&mut world, true).unwrap();
    let stopped = world.snapshot.task(&task.key()).unwrap();
    assert_eq!(stopped.last_status, wharf_model::TaskStatus::Stopped);
    assert_eq!(
        stopped.stopped_reason.as_deref(),
        Some("Container instance deregistration forced by user")
    );
}
