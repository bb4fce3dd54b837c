//! Malformed requests through the whole gateway, rightly signed: each is answered by a clear error
//! of the caller's, and the state stays as it was.
#![allow(clippy::unwrap_used)] // tests

mod support;

use serde_json::{Value, json};
use support::Fixture;
use wharf_gateway::ecs::BUILT;
use wharf_wire::{Kind, Schema};

/// Values that aren't of a kind.
fn wrong(schema: &Schema, depth: usize) -> Vec<Value> {
    let mut values = match schema.kind {
        Kind::Boolean => vec![json!("yes"), json!(1), json!([]), json!({})],
        Kind::Integer | Kind::Long => {
            vec![json!("x"), json!(true), json!([1]), json!({}), json!(1e300), json!(1.5)]
        }
        Kind::Float | Kind::Double => vec![json!("x"), json!(true), json!([]), json!({})],
        Kind::Timestamp(_) => vec![json!(true), json!([]), json!({})],
        Kind::String(_) | Kind::Blob => vec![json!(5), json!(false), json!(["a"]), json!({"a": 1})],
        Kind::Structure(_) => vec![json!("x"), json!(1), json!([]), json!(true)],
        Kind::List(_) => vec![json!("x"), json!(1), json!({"a": 1}), json!(false)],
        Kind::Map(_) => vec![json!("x"), json!(1), json!([1])],
        Kind::Document => Vec::new(),
    };
    if depth == 0 {
        return values;
    }
    match &schema.kind {
        Kind::Structure(members) => {
            for member in members.iter() {
                for value in wrong(member.schema.get(), depth - 1).into_iter().take(2) {
                    values.push(json!({ member.name: value }));
                }
            }
        }
        Kind::List(list) => {
            for value in wrong(list.element.get(), depth - 1).into_iter().take(8) {
                values.push(json!([value]));
            }
        }
        Kind::Map(map) => {
            values.extend(wrong(map.value.get(), depth - 1).into_iter().map(|v| json!({"k": v})));
        }
        _ => {}
    }
    values
}

/// Bodies that no operation can take.
fn bodies() -> Vec<Vec<u8>> {
    let deep = |open: &str, close: &str, n: usize| {
        format!("{{\"tags\":{}1{}}}", open.repeat(n), close.repeat(n)).into_bytes()
    };
    let mut bodies: Vec<Vec<u8>> = [
        "",
        " ",
        "{",
        "}",
        "[]",
        "null",
        "1",
        "\"x\"",
        "true",
        "{]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{'a':1}",
        "{\"a\":1}}",
        "{} {}",
        "{}x",
        "nul",
        "{\"cluster\":\"",
        "{\"cluster\":\"\\ud800\"}",
        "{\"cluster\":\"\\q\"}",
        "{\"cluster\":NaN}",
        "{\"cluster\":+1}",
        "{\"cluster\":01}",
        "{\"cluster\":1e}",
        "\u{feff}{",
        "<xml/>",
        "Action=ListClusters",
        "{\"cluster\":\"a\nb\"}",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    bodies.push(b"{\"cluster\":\"\xff\xfe\"}".to_vec());
    bodies.push(b"\xff\xfe{\x00}\x00".to_vec());
    bodies.push(b"{\"cluster\":\"\xed\xa0\x80\"}".to_vec());
    bodies.push(b"{\"cluster\":\"\xc0\xaf\"}".to_vec());
    bodies.push(b"{\"\xff\":1}".to_vec());
    bodies.push(vec![0; 64]);
    for n in [65, 200, 10_000, 100_000] {
        bodies.push(deep("[", "]", n));
        bodies.push(deep("{\"a\":", "}", n));
    }
    bodies.push("[".repeat(500_000).into_bytes());
    bodies
}

#[tokio::test]
async fn every_malformed_request_is_refused_and_changes_nothing() {
    let fixture = Fixture::start().await;
    fixture.ecs("CreateCluster", json!({})).await;
    let before = fixture.store.snapshot().revision();
    let mut tried = 0;
    let mut check = |reply: support::Reply, what: String| {
        tried += 1;
        assert!((400..500).contains(&reply.status), "{what}: {reply:?}");
        let body = reply.json();
        assert!(body["__type"].as_str().is_some_and(|t| !t.is_empty()), "{what}: {reply:?}");
        assert!(body["message"].as_str().is_some_and(|m| !m.is_empty()), "{what}: {reply:?}");
        assert_eq!(fixture.store.snapshot().revision(), before, "{what} changed the state");
    };
    for (n, body) in bodies().iter().enumerate() {
        for operation in ["CreateCluster", "RegisterTaskDefinition", "RunTask"] {
            let reply = fixture.ecs_bytes(operation, body).await;
            check(reply, format!("{operation} with body {n}"));
        }
    }
    let depth = if std::env::var_os("WHARF_SOAK").is_some() { 4 } else { 2 };
    for operation in BUILT {
        for member in operation.input_schema().members() {
            for value in wrong(member.schema.get(), depth) {
                let body = json!({ member.name: value });
                let reply = fixture.ecs(operation.as_str(), body.clone()).await;
                check(reply, format!("{operation} {body}"));
            }
        }
    }
    println!("{tried} malformed requests refused");
    assert!(tried >= 300, "{tried}");
}

/// Values of the right type that no member of the schema may have.
fn out_of_range(schema: &Schema) -> Vec<Value> {
    match &schema.kind {
        Kind::Integer => {
            vec![json!(1_i64 << 31), json!(-(1_i64 << 31) - 1), json!(i64::MIN), json!(u64::MAX)]
        }
        Kind::Long => vec![json!(u64::MAX)],
        Kind::String(values) if !values.is_empty() => vec![json!("NO_SUCH_VALUE"), json!("")],
        Kind::List(list) => {
            out_of_range(list.element.get()).into_iter().map(|value| json!([value])).collect()
        }
        _ => Vec::new(),
    }
}

/// What is missing in a body: nothing of it is there, or an element without what it must have.
fn missing(schema: &Schema) -> Vec<Value> {
    let lacks = |schema: &Schema| schema.members().iter().any(|member| member.required);
    let mut bodies: Vec<Value> = lacks(schema).then(|| json!({})).into_iter().collect();
    for member in schema.members() {
        match &member.schema.get().kind {
            Kind::List(list) if lacks(list.element.get()) => {
                bodies.push(json!({ member.name: [{}] }));
            }
            Kind::Structure(_) if lacks(member.schema.get()) => {
                bodies.push(json!({ member.name: {} }));
            }
            _ => {}
        }
    }
    bodies
}

/// Numbers and texts that only the operations' own rules refuse.
fn beyond_the_rules() -> Vec<(&'static str, Value)> {
    let container = |members: Value| {
        let mut container = json!({ "name": "a", "image": "b", "memory": 8 });
        let object = container.as_object_mut().unwrap();
        object.extend(members.as_object().unwrap().clone());
        ("RegisterTaskDefinition", json!({ "family": "f", "containerDefinitions": [container] }))
    };
    vec![
        ("CreateCluster", json!({ "clusterName": "a b" })),
        ("CreateCluster", json!({ "clusterName": "a".repeat(256) })),
        ("CreateCluster", json!({ "tags": vec![json!({ "key": "k", "value": "v" }); 51] })),
        ("CreateCluster", json!({ "tags": [{ "key": "k".repeat(129) }] })),
        ("RegisterTaskDefinition", json!({ "family": "f", "containerDefinitions": [] })),
        ("RegisterTaskDefinition", json!({ "family": "a/b", "containerDefinitions": [{}] })),
        container(json!({ "memory": 0 })),
        container(json!({ "memory": -1 })),
        container(json!({ "cpu": -1 })),
        container(json!({ "name": "a b" })),
        container(json!({ "name": "a".repeat(256) })),
        container(json!({ "image": "b".repeat(256) })),
        container(json!({ "portMappings": [{ "containerPort": 0 }] })),
        container(json!({ "portMappings": [{ "containerPort": 65536 }] })),
        container(json!({ "portMappings": [{ "containerPort": 80, "hostPort": -1 }] })),
        container(json!({ "stopTimeout": -1 })),
        container(json!({ "dependsOn": [{ "containerName": "a", "condition": "START" }] })),
        ("RunTask", json!({ "taskDefinition": "f", "count": 0 })),
        ("RunTask", json!({ "taskDefinition": "f", "count": 11 })),
        ("RunTask", json!({ "taskDefinition": "f", "count": -1 })),
        ("RunTask", json!({ "taskDefinition": "f", "startedBy": "s".repeat(129) })),
        ("CreateService", json!({ "serviceName": "s", "taskDefinition": "f", "desiredCount": -1 })),
        ("CreateService", json!({ "serviceName": "a b", "taskDefinition": "f" })),
        ("ListTasks", json!({ "maxResults": 0 })),
        ("ListTasks", json!({ "maxResults": 101 })),
        ("ListTasks", json!({ "nextToken": "invented" })),
        ("DescribeTasks", json!({ "tasks": [] })),
        ("DescribeTasks", json!({ "tasks": vec!["a"; 101] })),
        ("DescribeServices", json!({ "services": vec!["a"; 11] })),
        ("ListContainerInstances", json!({ "filter": "(".repeat(2001) })),
    ]
}

#[tokio::test]
async fn what_is_missing_or_out_of_range_is_refused_and_changes_nothing() {
    let fixture = Fixture::start().await;
    fixture.ecs("CreateCluster", json!({})).await;
    let before = fixture.store.snapshot().revision();
    let mut bodies = beyond_the_rules();
    for operation in BUILT {
        let schema = operation.input_schema();
        bodies.extend(missing(schema).into_iter().map(|body| (operation.as_str(), body)));
        for member in schema.members() {
            let values = out_of_range(member.schema.get()).into_iter();
            bodies.extend(values.map(|value| (operation.as_str(), json!({ member.name: value }))));
        }
    }
    let mut accepted = Vec::new();
    for (operation, body) in &bodies {
        let reply = fixture.ecs(operation, body.clone()).await;
        let told = reply.json()["message"].as_str().is_some_and(|text| !text.is_empty());
        if !(400..500).contains(&reply.status) || !told {
            accepted.push(format!("{operation} {body}: {reply:?}"));
        }
    }
    assert!(accepted.is_empty(), "{} of {}: {accepted:#?}", accepted.len(), bodies.len());
    assert_eq!(fixture.store.snapshot().revision(), before, "the state was changed");
    println!("{} requests refused", bodies.len());
    assert!(bodies.len() > 150, "{}", bodies.len());
}

#[tokio::test]
async fn malformed_forms_and_heads() {
    let fixture = Fixture::start().await;
    let before = fixture.store.snapshot().revision();
    let deep = format!("Action=DescribeVpcs&{}=1", "a.".repeat(5000));
    let many = format!("Action=DescribeVpcs&{}", "a=1&".repeat(20_000));
    for form in [
        "Action=DescribeVpcs&VpcId.x=1",
        "Action=DescribeVpcs&MaxResults=abc",
        "Action=DescribeVpcs&MaxResults=99999999999999999999",
        "Action=DescribeVpcs&DryRun=perhaps",
        "Action=%FF",
        "Action",
        "=",
        "&&&",
        "Action=DescribeVpcs&Version=%00",
        deep.as_str(),
        many.as_str(),
    ] {
        let reply = fixture.query("ec2", form).await;
        let shown: String = form.chars().take(80).collect();
        assert_eq!(reply.status, 400, "{shown}: {reply:?}");
        assert!(reply.body.contains("<Code>"), "{shown}: {reply:?}");
    }
    let host = fixture.address;
    for head in [
        "GARBAGE\r\n\r\n".to_owned(),
        format!("GET / HTTP/9.9\r\nHost: {host}\r\n\r\n"),
        format!("GET  / HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost : {host}\r\n\r\n"),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
        format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: -1\r\n\r\n"),
        format!(
            "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"
        ),
        format!("POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: gzip\r\n\r\n"),
        format!("POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    ] {
        let reply = fixture.raw(head.as_bytes()).await;
        assert!((400..500).contains(&reply.status) || reply.status == 505, "{head}: {reply:?}");
    }
    assert_eq!(fixture.store.snapshot().revision(), before);
}
