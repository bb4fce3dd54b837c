//! Services with load balancers, as far as the API decides it.

use super::service_tests::{create, key, record, update};
use super::task_tests::register;
use super::world::{START, World, contains};
use serde_json::{Value, json};
use wharf_model::load_balancing::{Listener, LoadBalancer, TargetGroup};
use wharf_wire::ecs::operation as op;

const GROUPS: &str = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup";

/// `web:1`, `web:2` (bridge, port 80; the second with 81, too) and `vpc:1` (awsvpc, port 80); target
/// groups `instance`, `ip` and `idle`, of which a listener uses the first two.
fn world() -> World {
    let mut world = World::new();
    let container = |ports: &[u16]| {
        let ports: Vec<Value> = ports.iter().map(|p| json!({"containerPort": p})).collect();
        json!([{"name": "web", "image": "web", "memory": 64, "portMappings": ports}])
    };
    register(&mut world, "web", json!({"containerDefinitions": container(&[80])}));
    register(&mut world, "web", json!({"containerDefinitions": container(&[81])}));
    let vpc = json!({"networkMode": "awsvpc", "containerDefinitions": container(&[80])});
    register(&mut world, "vpc", vpc);
    for (name, kind) in [("instance", "instance"), ("ip", "ip"), ("idle", "instance")] {
        let group: TargetGroup = serde_json::from_value(json!({
            "name": name, "id": format!("{name}-id"), "protocol": "HTTP", "port": 80,
            "vpc_id": "vpc", "target_type": kind, "ip_address_type": "ipv4", "created_at": START,
            "health_check": {"enabled": true, "protocol": "HTTP", "interval_seconds": 30,
                "timeout_seconds": 5, "healthy_threshold": 5, "unhealthy_threshold": 2},
        }))
        .unwrap();
        world.put(group);
    }
    let balancer: LoadBalancer = serde_json::from_value(json!({
        "kind": "application", "name": "lb", "id": "1", "scheme": "internal", "dns_name": "lb",
        "created_at": START, "vpc_id": "vpc", "subnets": [], "ip_address_type": "ipv4",
        "host_address": "127.80.1.0",
    }))
    .unwrap();
    world.put(balancer);
    let forward = |name: &str| json!({"target_group": format!("{name}/{name}-id"), "weight": 1});
    let listener: Listener = serde_json::from_value(json!({
        "load_balancer": "app/lb/1", "id": "2", "port": 80, "protocol": "HTTP",
        "default_actions": [{"forward": {"target_groups": [forward("instance"), forward("ip")]}}],
    }))
    .unwrap();
    world.put(listener);
    world
}

fn balancer(group: &str, container: &str, port: u16) -> Value {
    json!({"targetGroupArn": format!("{GROUPS}/{group}/{group}-id"),
        "containerName": container, "containerPort": port})
}

#[test]
fn a_service_shows_its_load_balancers_and_an_update_of_them_is_a_deployment() {
    let mut world = world();
    let first = json!([balancer("instance", "web", 80)]);
    let created = create(&mut world, &json!({"loadBalancers": first})).unwrap();
    let role = "arn:aws:iam::123456789012:role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS";
    let part = json!({"loadBalancers": first, "healthCheckGracePeriodSeconds": 0, "roleArn": role});
    assert!(contains(&created, &part), "{created:#}");

    // The same again changes nothing; none at all begins a deployment, and the revision keeps its own.
    let same = update(&mut world, &json!({"loadBalancers": first})).unwrap();
    assert_eq!(same["deployments"].as_array().unwrap().len(), 1);
    let old = record(&world).deployments[0].service_revision_id.clone();
    let none = update(&mut world, &json!({"loadBalancers": []})).unwrap();
    assert_eq!(none["deployments"].as_array().unwrap().len(), 2);
    assert_eq!(none["loadBalancers"], json!([]));
    let arn = format!("arn:aws:ecs:us-east-1:123456789012:service-revision/default/app/{old}");
    let described = world
        .call::<op::DescribeServiceRevisions>(
            super::describe_service_revisions::describe_service_revisions,
            &json!({"serviceRevisionArns": [arn]}),
        )
        .unwrap();
    assert_eq!(described["serviceRevisions"][0]["loadBalancers"], first);
    assert_eq!(world.snapshot.service(&key()).unwrap().load_balancers, []);
}

#[test]
fn what_does_not_fit_is_refused_in_ecss_words() {
    let mut world = world();
    let vpc = |group: &str| {
        json!({"taskDefinition": "vpc:1", "loadBalancers": [balancer(group, "web", 80)],
            "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-0a77a2f000000000a"]}}})
    };
    let bridge = |group: &str, container: &str, port: u16| {
        json!({"loadBalancers": [balancer(group, container, port)]})
    };
    for (request, expected) in [
        (
            bridge("idle", "web", 80),
            format!("The target group with targetGroupArn {GROUPS}/idle/idle-id does not have an \
                associated load balancer."),
        ),
        (
            bridge("none", "web", 80),
            format!("Unable to validate the specified targetGroupArn {GROUPS}/none/none-id: One or \
                more target groups not found."),
        ),
        (
            bridge("instance", "app", 80),
            "The container app does not exist in the task definition.".to_owned(),
        ),
        (
            bridge("instance", "web", 8080),
            "The container web did not have a container port 8080 defined.".to_owned(),
        ),
        (
            bridge("ip", "web", 80),
            format!("The provided target group {GROUPS}/ip/ip-id has target type ip, which is \
                incompatible with the bridge network mode specified in the task definition."),
        ),
        (
            vpc("instance"),
            format!("The provided target group {GROUPS}/instance/instance-id has target type \
                instance, which is incompatible with the awsvpc network mode specified in the task \
                definition."),
        ),
    ] {
        let error = create(&mut world, &request).unwrap_err();
        assert_eq!(error, format!("InvalidParameterException: {expected}"), "{request}");
    }
    create(&mut world, &bridge("instance", "web", 80)).unwrap();
    let error = update(&mut world, &json!({"taskDefinition": "web:2"})).unwrap_err();
    let expected = "The container web did not have a container port 80 defined.";
    assert_eq!(error, format!("InvalidParameterException: {expected}"));
}
