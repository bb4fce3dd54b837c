//! Requests against policies.

use super::{Asked, decide};
use crate::ecs::world::World;
use crate::identity::Verified;
use serde_json::{Value, json};
use wharf_model::{ArnScope, Principal};
use wharf_wire::Document;

fn document(value: &Value) -> Document {
    match value {
        Value::String(text) => Document::String(text.clone()),
        Value::Array(list) => Document::List(list.iter().map(document).collect()),
        Value::Object(map) => {
            Document::Map(map.iter().map(|(k, v)| (k.clone(), document(v))).collect())
        }
        _ => Document::Null,
    }
}

/// A world with the role `r` of one inline policy, and a definition whose roles are `app` and `pull`.
fn world(statements: &Value) -> World {
    let policy = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    let role: wharf_model::iam::Role = serde_json::from_value(json!({
        "name": "r", "path": "/", "id": "AROAR", "created_at": 0, "trust_policy": "{}",
        "max_session_seconds": 3600, "inline": {"p": policy}}))
    .unwrap();
    let mut world = World::new();
    world.put(role);
    let definition: wharf_model::TaskDefinition = serde_json::from_value(json!({
        "family": "web", "revision": 3, "status": "ACTIVE", "containers": [], "registered_at": 0,
        "registered_by": "x", "task_role_arn": "app",
        "execution_role_arn": "arn:aws:iam::123456789012:role/pull"}))
    .unwrap();
    world.put(definition);
    world
}

fn ask(world: &World, principal: Principal, action: &str, input: &Value) -> Result<(), String> {
    let (service, operation) = action.split_once(':').unwrap();
    let arns = ArnScope { region: "us-east-1".into(), account: "123456789012".into() };
    let identity = Verified::for_tests(principal, service);
    let input = document(input);
    let asked = Asked { service, operation, input: &input };
    decide(&world.snapshot, &arns, &identity, asked).map_err(|e| e.to_string())
}

fn session() -> Principal {
    Principal::RoleSession("r".into(), "s".into())
}

#[test]
fn the_resources_of_a_request_are_what_policies_name() {
    let cases = [
        ("ecs:RunTask", "task-definition/web:3", json!({"taskDefinition": "web", "cluster": "c"})),
        ("ecs:RunTask", "task-definition/web:2", json!({"taskDefinition": "web:2"})),
        ("ecs:DescribeTasks", "task/c/1", json!({"cluster": "c", "tasks": ["1"]})),
        ("ecs:StopTask", "task/default/1", json!({"task": "1"})),
        ("ecs:DescribeServices", "service/c/web", json!({"cluster": "c", "services": ["web"]})),
        (
            "ecs:UpdateService",
            "service/c/web",
            json!({"service": "arn:aws:ecs:us-east-1:123456789012:service/c/web"}),
        ),
        ("ecs:CreateCluster", "cluster/default", json!({})),
        ("ecs:ListTasks", "container-instance/c/*", json!({"cluster": "c"})),
        ("ecs:RegisterTaskDefinition", "task-definition/f:*", json!({"family": "f"})),
        (
            "ecs:TagResource",
            "cluster/c",
            json!({"resourceArn": "arn:aws:ecs:us-east-1:123456789012:cluster/c"}),
        ),
    ];
    for (action, resource, input) in cases {
        let arn = format!("arn:aws:ecs:us-east-1:123456789012:{resource}");
        let pass = json!({"Effect": "Allow", "Action": "iam:PassRole", "Resource": "*"});
        let exact = world(&json!([{"Effect": "Allow", "Action": action, "Resource": arn}, pass]));
        assert_eq!(ask(&exact, session(), action, &input), Ok(()), "{action} {resource}");
        let other = world(&json!([{"Effect": "Allow", "Action": action,
            "Resource": format!("{arn}-other")}, pass]));
        let refused = ask(&other, session(), action, &input).unwrap_err();
        assert_eq!(
            refused,
            format!(
                "AccessDeniedException: User: arn:aws:sts::123456789012:assumed-role/r/s is not \
                 authorized to perform: {action} on resource: {arn} because no identity-based \
                 policy allows the {action} action"
            )
        );
    }
}

#[test]
fn parameters_and_secrets_are_known_by_their_arns() {
    let cases = [
        (
            "ssm:GetParameters",
            "ssm:us-east-1:123456789012:parameter/app/*",
            json!({"Names": ["/app/a", "app/b"]}),
            true,
        ),
        (
            "ssm:GetParameters",
            "ssm:us-east-1:123456789012:parameter/app/*",
            json!({"Names": ["/app/a", "/b"]}),
            false,
        ),
        (
            "ssm:GetParametersByPath",
            "ssm:us-east-1:123456789012:parameter/app",
            json!({"Path": "/app/"}),
            false,
        ),
        (
            "ssm:GetParametersByPath",
            "ssm:us-east-1:123456789012:parameter/app",
            json!({"Path": "/app"}),
            true,
        ),
        (
            "secretsmanager:GetSecretValue",
            "secretsmanager:*:*:secret:db-??????",
            json!({"SecretId": "db"}),
            true,
        ),
        (
            "secretsmanager:GetSecretValue",
            "secretsmanager:*:*:secret:db-a1B2c3",
            json!({"SecretId": "db"}),
            false,
        ),
    ];
    for (action, resource, input, allowed) in cases {
        let world = world(&json!([{"Effect": "Allow", "Action": action,
            "Resource": format!("arn:aws:{resource}")}]));
        assert_eq!(ask(&world, session(), action, &input).is_ok(), allowed, "{action} {input}");
    }
}

#[test]
fn every_resource_must_be_allowed_and_a_deny_is_told_as_one() {
    let tasks = json!({"cluster": "c", "tasks": ["1", "2"]});
    let arn = "arn:aws:ecs:us-east-1:123456789012:task/c/";
    let one =
        world(&json!([{"Effect": "Allow", "Action": "ecs:*", "Resource": format!("{arn}1")}]));
    let refused = ask(&one, session(), "ecs:DescribeTasks", &tasks).unwrap_err();
    assert!(refused.contains(&format!("on resource: {arn}2 because")), "{refused}");
    let denied = world(&json!([{"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": "ecs:Describe*", "Resource": format!("{arn}2")}]));
    let refused = ask(&denied, session(), "ecs:DescribeTasks", &tasks).unwrap_err();
    assert!(
        refused.ends_with(
            "on resource: arn:aws:ecs:us-east-1:123456789012:task/c/2 with an \
                           explicit deny in an identity-based policy"
        ),
        "{refused}"
    );
}

#[test]
fn conditions_see_the_cluster_the_role_and_the_tags() {
    let cluster = "arn:aws:ecs:us-east-1:123456789012:cluster/c";
    let in_cluster = world(&json!([{"Effect": "Allow", "Action": "ecs:List*", "Resource": "*",
        "Condition": {"ArnEquals": {"ecs:cluster": cluster}}}]));
    assert_eq!(ask(&in_cluster, session(), "ecs:ListTasks", &json!({"cluster": "c"})), Ok(()));
    assert_eq!(
        ask(&in_cluster, session(), "ecs:ListServices", &json!({"cluster": cluster})),
        Ok(())
    );
    assert!(ask(&in_cluster, session(), "ecs:ListTasks", &json!({"cluster": "d"})).is_err());
    let role =
        world(&json!([{"Effect": "Allow", "Action": "ecs:*", "Resource": "*", "Condition": {
        "ArnEquals": {"aws:PrincipalArn": "arn:aws:iam::123456789012:role/r"},
        "StringEquals": {"aws:RequestedRegion": "us-east-1"}}}]));
    assert_eq!(ask(&role, session(), "ecs:ListClusters", &json!({})), Ok(()));
    let tagged = world(&json!([{"Effect": "Allow", "Action": "ecs:CreateCluster", "Resource": "*",
        "Condition": {"StringEquals": {"aws:RequestTag/team": "a"},
            "ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}}}]));
    let with = |key: &str, value: &str| json!({"tags": [{"key": key, "value": value}]});
    assert_eq!(ask(&tagged, session(), "ecs:CreateCluster", &with("team", "a")), Ok(()));
    assert!(ask(&tagged, session(), "ecs:CreateCluster", &with("team", "b")).is_err());
    assert!(ask(&tagged, session(), "ecs:CreateCluster", &json!({})).is_err());
    let unknown = world(&json!([{"Effect": "Allow", "Action": "*", "Resource": "*",
        "Condition": {"StringEquals": {"aws:ResourceTag/team": "a"}}}]));
    assert!(ask(&unknown, session(), "ecs:ListClusters", &json!({})).is_err());
}

#[test]
fn whoever_hands_a_role_on_needs_passrole_on_it() {
    let run = json!({"taskDefinition": "web:3"});
    let statement = |pass: &str, to: &str| {
        json!([
        {"Effect": "Allow", "Action": "ecs:*", "Resource": "*"},
        {"Effect": "Allow", "Action": "iam:PassRole", "Resource": pass,
         "Condition": {"StringEquals": {"iam:PassedToService": to}}}])
    };
    let role = "arn:aws:iam::123456789012:role/";
    let tasks = "ecs-tasks.amazonaws.com";
    let all = world(&statement(&format!("{role}*"), tasks));
    assert_eq!(ask(&all, session(), "ecs:RunTask", &run), Ok(()));
    let one = world(&statement(&format!("{role}app"), tasks));
    let refused = ask(&one, session(), "ecs:RunTask", &run).unwrap_err();
    assert!(
        refused.contains(&format!("iam:PassRole on resource: {role}pull because")),
        "{refused}"
    );
    let overrides = json!({"taskDefinition": "web:3", "overrides": {
        "executionRoleArn": format!("{role}app")}});
    assert_eq!(ask(&one, session(), "ecs:RunTask", &overrides), Ok(()));
    let elsewhere = world(&statement("*", "ec2.amazonaws.com"));
    assert!(ask(&elsewhere, session(), "ecs:RunTask", &run).is_err());
    let register = json!({"family": "f", "taskRoleArn": "other"});
    let refused = ask(&one, session(), "ecs:RegisterTaskDefinition", &register).unwrap_err();
    assert!(refused.contains(&format!("iam:PassRole on resource: {role}other")), "{refused}");
    // Of an Express Gateway service's roles one is handed to ECS itself.
    let express = json!({"serviceName": "shop", "executionRoleArn": format!("{role}app"),
        "infrastructureRoleArn": format!("{role}infra")});
    for operation in ["ecs:CreateExpressGatewayService", "ecs:UpdateExpressGatewayService"] {
        let refused = ask(&all, session(), operation, &express).unwrap_err();
        assert!(refused.contains(&format!("iam:PassRole on resource: {role}infra")), "{refused}");
    }
}

#[test]
fn log_groups_are_known_by_both_of_their_forms() {
    let group = "arn:aws:logs:us-east-1:123456789012:log-group:/ecs/web";
    let put = json!({"logGroupName": "/ecs/web", "logStreamName": "s/1"});
    for resource in
        [format!("{group}:*"), format!("{group}:log-stream:s/*"), "arn:aws:logs:*:*:*".to_owned()]
    {
        let world = world(&json!([{"Effect": "Allow", "Action": "logs:*", "Resource": resource}]));
        assert_eq!(ask(&world, session(), "logs:PutLogEvents", &put), Ok(()), "{resource}");
    }
    for resource in [group.to_owned(), format!("{group}:*")] {
        let world = world(&json!([{"Effect": "Allow", "Action": "logs:*", "Resource": resource}]));
        assert_eq!(ask(&world, session(), "logs:CreateLogGroup", &put), Ok(()), "{resource}");
        let tail = |groups: &[&str]| json!({"logGroupIdentifiers": groups});
        let asked = |groups: &[&str]| ask(&world, session(), "logs:StartLiveTail", &tail(groups));
        assert_eq!(asked(&[group, "/ecs/web"]), Ok(()), "{resource}");
        assert!(asked(&[group, "/ecs/we"]).is_err(), "every group counts");
        assert!(
            ask(&world, session(), "logs:CreateLogGroup", &json!({"logGroupName": "/ecs/we"}))
                .is_err()
        );
    }
}

#[test]
fn the_root_may_everything_an_agent_what_agents_do_and_nobody_nothing() {
    let world = world(&json!([]));
    assert_eq!(ask(&world, Principal::Root, "iam:DeleteRole", &json!({})), Ok(()));
    let agent = || Principal::Instance("local".into());
    assert_eq!(ask(&world, agent(), "ecs:RegisterContainerInstance", &json!({})), Ok(()));
    assert_eq!(ask(&world, agent(), "logs:PutLogEvents", &json!({})), Ok(()));
    for action in [
        "logs:GetLogEvents",
        "iam:CreateRole",
        "ecs:RunTask",
        "sts:GetAccessKeyInfo",
        "ssm:GetParameter",
    ] {
        assert!(ask(&world, agent(), action, &json!({})).is_err(), "{action}");
    }
    for stranger in
        [Principal::User("none".into()), Principal::RoleSession("none".into(), "s".into())]
    {
        assert!(ask(&world, stranger.clone(), "ecs:ListClusters", &json!({})).is_err());
        assert_eq!(ask(&world, stranger, "sts:GetCallerIdentity", &json!({})), Ok(()));
    }
    let refused = ask(&world, session(), "iam:GetRole", &json!({"RoleName": "r"})).unwrap_err();
    assert!(
        refused.starts_with("AccessDenied: ") && refused.contains("role/r because"),
        "{refused}"
    );
    let refused = ask(&world, session(), "ec2:DescribeVpcs", &json!({})).unwrap_err();
    assert!(refused.starts_with("UnauthorizedOperation: You are not authorized"), "{refused}");
}
