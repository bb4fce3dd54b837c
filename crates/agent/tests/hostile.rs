//! ACS messages that no control plane should send: none stops the agent, none starts anything.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{ControlPlane, Host, arn, shell_task, until};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;
use wharf_agent::Agent;

/// Every way to put `with` in the place of one value of the document.
fn mutants(document: &Value, with: &[Value]) -> Vec<Value> {
    let mut all: Vec<Value> = with.to_vec();
    match document {
        Value::Object(members) => {
            for (name, value) in members {
                for mutant in mutants(value, with) {
                    let mut copy = members.clone();
                    copy.insert(name.clone(), mutant);
                    all.push(Value::Object(copy));
                }
            }
        }
        Value::Array(elements) => {
            for (index, value) in elements.iter().enumerate() {
                for mutant in mutants(value, with) {
                    let mut copy = elements.clone();
                    copy[index] = mutant;
                    all.push(Value::Array(copy));
                }
            }
        }
        _ => {}
    }
    all
}

/// A task that uses every member that is read, and that is refused nonetheless.
fn full_task() -> Value {
    json!({ "arn": arn("bad0"), "family": "f", "version": "1", "desiredStatus": "RUNNING",
        "cpu": 0.25, "memory": 64, "networkMode": "awsvpc", "pidMode": "task", "ipcMode": "host",
        "enableFaultInjection": true,
        "elasticNetworkInterfaces": [{ "macAddress": "02:00:00:00:00:01", "attachmentArn": "a",
            "ipv4Addresses": [{ "privateAddress": "10.0.0.9", "primary": true }],
            "subnetGatewayIpv4Address": "10.0.0.1/24", "domainNameServers": ["10.0.0.2"] }],
        "volumes": [{ "name": "v", "host": { "sourcePath": "/x" } }],
        "roleCredentials": { "credentialsId": "c", "accessKeyId": "a" },
        "containers": [{ "name": "c", "image": "box", "essential": true, "cpu": 1, "memory": 4,
            "command": ["x"], "entryPoint": ["y"], "environment": { "A": "b" },
            "portMappings": [{ "containerPort": 80, "hostPort": 0, "protocol": "tcp" }],
            "mountPoints": [{ "sourceVolume": "v", "containerPath": "/v", "readOnly": true }],
            "dependsOn": [{ "containerName": "c", "condition": "START" }],
            "links": ["c:d"], "startTimeout": 1, "stopTimeout": 1, "overrides": "{\"command\":[\"z\"]}",
            "dockerConfig": { "config": "{\"User\":\"1\",\"StopSignal\":\"SIGTERM\"}",
                "hostConfig": "{\"Tmpfs\":{\"/t\":\"size=1m\"},\"Sysctls\":{\"a\":\"1\"},\"Ulimits\":[{\"Name\":\"n\"}]}" } }] })
}

fn corpus() -> Vec<Message> {
    let texts = [
        "",
        " ",
        "{",
        "}",
        "[]",
        "null",
        "0",
        "\"x\"",
        "{}",
        "{\"type\":1}",
        "{\"type\":null}",
        "{\"type\":\"PayloadMessage\"}",
        "{\"type\":\"PayloadMessage\",\"message\":[]}",
        "{\"type\":\"PayloadMessage\",\"message\":null}",
        "{\"type\":\"Nothing\",\"message\":{}}",
        "{\"type\":\"TaskStopVerificationAck\",\"message\":{\"stopTasks\":[{}]}}",
        "{\"type\":\"CloseMessage\",\"message\":{\"message\":\"x\"}}",
        "\u{0}\u{1}\u{ffff}",
    ];
    let mut all: Vec<Message> = texts.iter().map(|text| Message::text(*text)).collect();
    all.push(Message::text("[".repeat(100_000)));
    let deep = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    all.push(Message::text(format!("{{\"type\":\"PayloadMessage\",\"message\":{deep}}}")));
    all.push(Message::binary(vec![0xff, 0xfe, 0, 1]));
    all.push(Message::Ping(vec![1, 2, 3].into()));
    let odd = [
        json!(null),
        json!(-1),
        json!(1e300),
        json!(""),
        json!("../../etc"),
        json!([]),
        json!({}),
        json!("x".repeat(5000)),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(true),
    ];
    let payload = |tasks: Value| {
        json!({ "type": "PayloadMessage", "message": {
            "clusterArn": support::CLUSTER_ARN, "containerInstanceArn": support::INSTANCE_ARN,
            "messageId": "evil", "seqNum": 1, "tasks": tasks } })
    };
    for task in mutants(&full_task(), &odd) {
        all.push(Message::text(payload(json!([task])).to_string()));
    }
    for message in mutants(&payload(json!([]))["message"], &odd) {
        for kind in ["PayloadMessage", "TaskManifestMessage", "IAMRoleCredentialsMessage"] {
            // A huge sequence number is the control plane's right, and would hide what follows.
            let tame = message["seqNum"].as_i64().is_none_or(|number| number < 1000);
            if tame {
                let text = json!({ "type": kind, "message": message }).to_string();
                all.push(Message::text(text));
            }
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn no_message_stops_the_agent_or_starts_anything() {
    let plane = ControlPlane::start().await;
    let host = Host::new();
    let stop = CancellationToken::new();
    let agent = tokio::spawn(Agent::new(host.options(&plane.url)).run(stop.clone()));
    plane.session(1).await;
    let corpus = corpus();
    assert!(corpus.len() > 500, "{} messages", corpus.len());
    for message in corpus {
        plane.send_raw(message);
    }
    plane.send("HeartbeatMessage", json!({ "messageId": "after" }));
    until("the last word", || {
        let acks = plane.messages("HeartbeatAckRequest");
        acks.iter().any(|ack| ack["messageId"] == "after").then_some(())
    })
    .await;
    assert_eq!(plane.sessions(), 1, "the session is the same");
    assert!(plane.messages("AckRequest").iter().all(|ack| ack["messageId"] != json!("x")));
    let reports = plane.reports(&arn("bad0"));
    assert!(reports.iter().all(|report| report["status"] == "STOPPED"), "nothing ran");
    let refused = reports.iter().filter_map(|report| report["reason"].as_str());
    assert!(refused.clone().any(|why| why.starts_with("UnrecogniedTaskError: ")));
    plane.payload("good", 5000, json!([shell_task("600d", "sleep 1000")])).await;
    plane.reported(&arn("600d"), "RUNNING").await;
    stop.cancel();
    agent.await.unwrap().unwrap();
    assert_eq!(host.runtime().await.list_sandboxes().await.len(), 1, "the good one alone");
}
