//! Control's sessions and loops against agents of the test's own, over real websocket frames.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::DuplexStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Message, protocol::Role};
use tokio_util::sync::CancellationToken;
use wharf_control::{Control, Options, Sessions};
use wharf_journal::{History, HistoryOptions, MemoryJournal, Store};
use wharf_model::container_instance::InstanceStatus;
use wharf_model::network::{BuiltinVpc, Ipv4Range};
use wharf_model::service::{DeploymentConfiguration, RolloutState, ServiceStatus};
use wharf_model::status::HealthStatus;
use wharf_model::task_definition::{HealthCheck, LaunchType, TaskDefinitionStatus};
use wharf_model::{
    ArnScope, Cluster, ContainerDefinition, ContainerInstance, ContainerInstanceKey, Deployment,
    ResourceAmount, Service, ServiceKey, TaskDefinition, TaskDefinitionKey, TaskStatus, Timestamp,
    Transaction,
};
use wharf_scheduler::Connectivity as _;

const DEADLINE: Duration = Duration::from_secs(20);
const DEPLOYMENT: &str = "ecs-svc/1234567890123456789";

/// A control plane that runs until it is dropped, with one cluster and one instance.
struct World {
    store: Arc<Store>,
    sessions: Arc<Sessions>,
    history: Arc<History>,
    instance: ContainerInstanceKey,
    shutdown: CancellationToken,
    _directory: tempfile::TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(Arc::new(MemoryJournal::new())).await.unwrap());
        let history = History::open(directory.path(), HistoryOptions::default()).unwrap();
        let history = Arc::new(history);
        let control = Control::new(Options {
            open_certificate: Arc::new(|_| None),
            store: Arc::clone(&store),
            history: Arc::clone(&history),
            arns: ArnScope { region: "us-east-1".into(), account: "123456789012".into() },
            vpc: BuiltinVpc::new(Ipv4Range::parse("10.113.0.0/16").unwrap(), "us-east-1"),
            clock: Arc::new(now),
            issue_credentials: Arc::new(|role, task, role_type, expires_at, _| {
                issued(role, task, role_type, expires_at)
            }),
            credentials_life: Duration::from_secs(4),
        });
        let sessions = control.sessions();
        let shutdown = CancellationToken::new();
        tokio::spawn(control.run(shutdown.clone()));
        let instance = ContainerInstanceKey::new("default", "0123456789abcdef0123456789abcdef");
        let mut transaction = Transaction::new();
        transaction.put(Cluster::new("default", now()));
        transaction.put(task_definition());
        transaction.put(container_instance(&instance));
        store.commit(transaction).await.unwrap();
        Self { store, sessions, history, instance, shutdown, _directory: directory }
    }

    /// An agent that connects: its end of a websocket.
    async fn connect(&self) -> Agent {
        let (near, far) = tokio::io::duplex(1 << 20);
        let server = WebSocketStream::from_raw_socket(near, Role::Server, None).await;
        let (sessions, instance) = (Arc::clone(&self.sessions), self.instance.clone());
        tokio::spawn(async move { sessions.serve_acs(server, instance).await });
        Agent(WebSocketStream::from_raw_socket(far, Role::Client, None).await)
    }

    /// A TCS session of the named instance's agent.
    fn telemetry(&self, instance: &str) -> Agent {
        let (near, far) = tokio::io::duplex(1 << 20);
        let (sessions, key) =
            (Arc::clone(&self.sessions), ContainerInstanceKey::new("default", instance));
        tokio::spawn(async move {
            let server = WebSocketStream::from_raw_socket(near, Role::Server, None).await;
            sessions.serve_tcs(server, key).await;
        });
        let far = futures_util::FutureExt::now_or_never(WebSocketStream::from_raw_socket(
            far,
            Role::Client,
            None,
        ));
        Agent(far.unwrap())
    }

    async fn put_service(&self, desired_count: i32) {
        let mut transaction = Transaction::new();
        transaction.put(service(desired_count));
        self.store.commit(transaction).await.unwrap();
    }

    async fn eventually(&self, what: &str, condition: impl Fn(&wharf_model::Snapshot) -> bool) {
        let mut revisions = self.store.revisions();
        let wait = async {
            while !condition(&self.store.snapshot()) {
                // Looked at again also without a change: connectivity is no part of the state.
                let _ = tokio::time::timeout(Duration::from_millis(50), revisions.changed()).await;
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
    }
}

/// Credentials that say what they were made for.
fn issued(
    role: &wharf_model::iam::Role,
    task: &wharf_model::TaskKey,
    role_type: wharf_control::roles::RoleType,
    expires_at: Timestamp,
) -> wharf_wire::acs::IAMRoleCredentials {
    wharf_wire::acs::IAMRoleCredentials {
        credentials_id: Some(format!("{}-{}", task.id, role_type.as_str())),
        role_arn: Some(role.arn("123456789012")),
        access_key_id: Some(format!("ASIA{}", expires_at.as_millis())),
        ..Default::default()
    }
}

/// The agent's end of a session.
struct Agent(WebSocketStream<DuplexStream>);

impl Agent {
    /// The next message of the given type; others are passed over.
    async fn next(&mut self, kind: &str) -> Value {
        let wait = async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Text(text))) => {
                        let envelope: Value = serde_json::from_str(&text).unwrap();
                        if envelope["type"] == kind {
                            return envelope["message"].clone();
                        }
                    }
                    Some(Ok(_)) => {}
                    other => panic!("the session ended while waiting for {kind}: {other:?}"),
                }
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("no {kind}"))
    }

    async fn say(&mut self, text: impl Into<String>) {
        self.0.send(Message::text(text.into())).await.unwrap();
    }

    async fn acknowledge(&mut self, payload: &Value) {
        let ack = json!({ "type": "AckRequest", "message": {
            "cluster": "default", "containerInstance": "x", "messageId": payload["messageId"] } });
        self.say(ack.to_string()).await;
    }
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp(i64::try_from(since.as_millis()).unwrap())
}

fn task_definition() -> TaskDefinition {
    let container = ContainerDefinition {
        name: "app".into(),
        image: "app:1".into(),
        memory: Some(64),
        essential: true,
        health_check: Some(HealthCheck {
            command: vec!["CMD".to_owned(), "true".to_owned()],
            interval: 30,
            timeout: 5,
            retries: 3,
            start_period: None,
        }),
        ..ContainerDefinition::default()
    };
    let wire = json!({
        "family": "app", "revision": 1, "status": TaskDefinitionStatus::Active,
        "containers": [container], "registered_at": 0, "registered_by": "test",
    });
    serde_json::from_value(wire).unwrap()
}

fn container_instance(key: &ContainerInstanceKey) -> ContainerInstance {
    let wire = json!({
        "id": key.id, "cluster": key.cluster, "registered_by": "test",
        "registered": ResourceAmount { cpu: 2048, memory_mib: 4096, ..ResourceAmount::default() },
        "attributes": [], "status": InstanceStatus::Active, "version": 1, "registered_at": 0,
    });
    serde_json::from_value(wire).unwrap()
}

fn service(desired_count: i32) -> Service {
    let definition = TaskDefinitionKey { family: "app".into(), revision: 1 };
    let deployment = json!({
        "id": DEPLOYMENT, "primary": true, "task_definition": definition,
        "service_revision_id": "1234567890123456789", "service_deployment_id": "abc",
        "created_at": 0, "updated_at": 0, "rollout_state": RolloutState::InProgress,
        "rollout_state_reason": "",
    });
    let deployment: Deployment = serde_json::from_value(deployment).unwrap();
    let wire = json!({
        "name": "web", "cluster": "default", "status": ServiceStatus::Active,
        "desired_count": desired_count, "task_definition": definition,
        "launch_type": LaunchType::Ec2,
        "deployment_configuration": DeploymentConfiguration::default(),
        "deployments": [deployment], "created_at": 0, "created_by": "test",
    });
    serde_json::from_value(wire).unwrap()
}

#[tokio::test]
async fn a_service_waits_for_an_agent_and_its_tasks_are_sent_once_there_is_one() {
    let world = World::new().await;
    world.put_service(2).await;
    let key = ServiceKey::new("default", "web");
    assert!(!world.sessions.agent_connected(&world.instance));
    let mut agent = world.connect().await;
    let manifest = agent.next("TaskManifestMessage").await;
    assert!(manifest["timeline"].as_i64().unwrap() > 0);
    world.eventually("two tasks", |s| s.service_tasks(&key).count() == 2).await;
    let mut arns = Vec::new();
    while arns.len() < 2 {
        let payload = agent.next("PayloadMessage").await;
        assert!(payload["seqNum"].as_i64() > manifest["timeline"].as_i64());
        for task in payload["tasks"].as_array().unwrap() {
            assert_eq!(task["desiredStatus"], "RUNNING");
            assert_eq!(task["containers"][0]["image"], "app:1");
            arns.push(task["arn"].as_str().unwrap().to_owned());
        }
        agent.acknowledge(&payload).await;
    }
    // Scaled in: the agent is told to stop exactly one of them.
    world.put_service(1).await;
    let stop = agent.next("PayloadMessage").await;
    let stopped = stop["tasks"].as_array().unwrap();
    assert_eq!(stopped.len(), 1, "{stop}");
    assert_eq!(stopped[0]["desiredStatus"], "STOPPED");
    assert!(arns.contains(&stopped[0]["arn"].as_str().unwrap().to_owned()));
}

#[tokio::test]
async fn the_newest_session_wins_and_is_told_everything_again() {
    let world = World::new().await;
    world.put_service(1).await;
    let mut first = world.connect().await;
    let payload = first.next("PayloadMessage").await;
    first.acknowledge(&payload).await;
    let mut second = world.connect().await;
    let manifest = second.next("TaskManifestMessage").await;
    assert_eq!(manifest["tasks"][0]["taskArn"], payload["tasks"][0]["arn"]);
    let again = second.next("PayloadMessage").await;
    assert_eq!(again["tasks"][0]["arn"], payload["tasks"][0]["arn"]);
    let ended = async { while let Some(Ok(_)) = first.0.next().await {} };
    tokio::time::timeout(DEADLINE, ended).await.expect("the older session is closed");
    assert!(world.sessions.agent_connected(&world.instance));
    drop(second);
    world.eventually("disconnected", |_| !world.sessions.agent_connected(&world.instance)).await;
}

#[tokio::test]
async fn an_unknown_task_is_to_be_stopped_and_a_wanted_one_is_not() {
    let world = World::new().await;
    world.put_service(1).await;
    let mut agent = world.connect().await;
    agent.next("PayloadMessage").await;
    drop(agent);
    let mut agent = world.connect().await;
    let manifest = agent.next("TaskManifestMessage").await;
    let wanted = manifest["tasks"][0]["taskArn"].clone();
    let stranger =
        "arn:aws:ecs:us-east-1:123456789012:task/default/ffffffffffffffffffffffffffffffff";
    let candidates = json!([{ "taskArn": wanted }, { "taskArn": stranger }]);
    let question = json!({ "type": "TaskStopVerificationMessage", "message": {
        "messageId": manifest["messageId"], "stopCandidates": candidates } });
    agent.say(question.to_string()).await;
    let answer = agent.next("TaskStopVerificationAck").await;
    assert_eq!(answer["messageId"], manifest["messageId"]);
    let stop: Vec<&Value> = answer["stopTasks"].as_array().unwrap().iter().collect();
    assert_eq!(stop.len(), 1, "{answer}");
    assert_eq!(stop[0]["taskArn"], stranger);
}

#[tokio::test]
async fn hostile_messages_change_nothing_and_end_nothing() {
    let world = World::new().await;
    let mut agent = world.connect().await;
    agent.next("TaskManifestMessage").await;
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    let hostile = [
        "",
        "null",
        "[]",
        "{",
        "{}",
        "{\"type\":1}",
        "{\"type\":\"AckRequest\"}",
        "{\"type\":\"AckRequest\",\"message\":null}",
        "{\"type\":\"AckRequest\",\"message\":{\"messageId\":7}}",
        "{\"type\":\"AckRequest\",\"message\":{\"messageId\":\"nobody's\"}}",
        "{\"type\":\"PayloadMessage\",\"message\":{\"tasks\":[{}]}}",
        "{\"type\":\"TaskStopVerificationMessage\",\"message\":{\"stopCandidates\":[{}]}}",
        "{\"type\":\"NackRequest\",\"message\":{\"reason\":\"\\u0000\"}}",
        "{\"type\":\"\\ud800\",\"message\":{}}",
        deep.as_str(),
    ];
    let before = world.store.snapshot().revision();
    for text in hostile {
        agent.say(text).await;
    }
    world.put_service(1).await;
    let payload = agent.next("PayloadMessage").await;
    assert_eq!(payload["tasks"].as_array().unwrap().len(), 1);
    // The service, then its task: nothing that the messages caused.
    assert!(
        world
            .store
            .snapshot()
            .tasks(&"default".into())
            .all(|t| t.last_status == TaskStatus::Pending)
    );
    assert!(world.store.snapshot().revision() > before);
}

#[tokio::test]
async fn telemetry_is_taken_in_and_answered() {
    let world = World::new().await;
    let (near, far) = tokio::io::duplex(1 << 20);
    let server = WebSocketStream::from_raw_socket(near, Role::Server, None).await;
    let (sessions, instance) = (Arc::clone(&world.sessions), world.instance.clone());
    tokio::spawn(async move { sessions.serve_tcs(server, instance).await });
    let mut agent = Agent(WebSocketStream::from_raw_socket(far, Role::Client, None).await);
    let status = json!({ "type": "PublishInstanceStatusRequest", "message": {
        "statuses": [{ "type": "ContainerRuntime", "status": "OK" }] } });
    agent.say(format!("Authorization: x\r\nHost: y\r\n\r\n{status}")).await;
    agent.next("AckPublishInstanceStatus").await;
    let health = world.sessions.instance_health(&world.instance).unwrap();
    assert_eq!(health.status, "OK");
    agent.say("Authorization without a colon\r\n\r\n{}").await;
    agent.say(json!({ "type": "PublishMetricsRequest", "message": {} }).to_string()).await;
    agent.next("AckPublishMetric").await;
}

#[tokio::test]
async fn a_sick_task_is_replaced_and_another_hosts_word_on_it_is_not_taken() {
    let world = World::new().await;
    world.put_service(1).await;
    let mut acs = world.connect().await;
    let key = ServiceKey::new("default", "web");
    world.eventually("a task", |s| s.service_tasks(&key).count() == 1).await;
    let payload = acs.next("PayloadMessage").await;
    acs.acknowledge(&payload).await;
    let arn = payload["tasks"][0]["arn"].as_str().unwrap().to_owned();
    let first = world.store.snapshot().service_tasks(&key).next().unwrap().key();
    let mut running = wharf_model::Task::clone(world.store.snapshot().task(&first).unwrap());
    running.last_status = TaskStatus::Running;
    running.started_at = Some(now());
    for container in &mut running.containers {
        container.last_status = TaskStatus::Running;
    }
    let mut transaction = Transaction::new();
    transaction.put(running);
    world.store.commit(transaction).await.unwrap();
    let report = |status: &str| {
        json!({ "type": "PublishHealthRequest", "message": { "tasks": [
            { "taskArn": "nonsense" },
            { "taskArn": arn, "containers": [
                { "containerName": "app", "healthStatus": status },
                { "containerName": "stranger", "healthStatus": status },
                { "containerName": "app" } ] } ] } })
    };
    let mut stranger = world.telemetry("ffffffffffffffffffffffffffffffff");
    stranger.say(report("UNHEALTHY").to_string()).await;
    stranger.next("AckPublishHealth").await;
    let health = |s: &wharf_model::Snapshot| s.task(&first).unwrap().containers[0].health;
    assert_eq!(health(&world.store.snapshot()), HealthStatus::Unknown);
    let mut agent = world.telemetry(world.instance.id.as_str());
    for (status, expected) in [
        ("HEALTHY", HealthStatus::Healthy),
        ("COLOURFUL", HealthStatus::Healthy),
        ("UNHEALTHY", HealthStatus::Unhealthy),
    ] {
        agent.say(report(status).to_string()).await;
        agent.next("AckPublishHealth").await;
        assert_eq!(health(&world.store.snapshot()), expected, "{status}");
    }
    world.eventually("a replacement", |s| s.service_tasks(&key).any(|t| t.key() != first)).await;
}

#[tokio::test]
async fn a_placement_report_is_remembered_once_until_it_changes() {
    let world = World::new().await;
    world.put_service(1).await;
    let arns = ArnScope { region: "us-east-1".into(), account: "123456789012".into() };
    let key = ServiceKey::new("default", "web");
    let subject = format!("{}#placement", arns.service(&key));
    let reports = async || {
        world.history.flush().await;
        world.history.recent(&subject, 100)
    };
    let wait = async |count: usize| {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while reports().await.len() < count {
            assert!(tokio::time::Instant::now() < deadline, "never {count} reports");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    wait(1).await;
    // Each change of the host makes the service look again, and find the same.
    for version in 2..30 {
        let mut instance = container_instance(&world.instance);
        instance.version = version;
        let mut transaction = Transaction::new();
        transaction.put(instance);
        world.store.commit(transaction).await.unwrap();
    }
    let _agent = world.connect().await;
    world.eventually("a task", |s| s.service_tasks(&key).count() == 1).await;
    wait(2).await;
    let kept = reports().await;
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert_eq!(kept[1].payload()["hosts"][0]["verdict"], "agentDisconnected");
}

/// A role that trusts `service`.
fn role(name: &str, service: &str) -> wharf_model::iam::Role {
    let trust = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": { "Service": service }, "Action": "sts:AssumeRole" }] });
    serde_json::from_value(json!({
        "name": name, "path": "/", "id": format!("AROA{name}"), "created_at": 0,
        "trust_policy": trust.to_string(), "max_session_seconds": 3600 }))
    .unwrap()
}

async fn with_roles(world: &World, task_role: &str, execution_role: &str) {
    let mut transaction = Transaction::new();
    transaction.put(TaskDefinition {
        task_role_arn: Some(task_role.to_owned()),
        execution_role_arn: Some(execution_role.to_owned()),
        ..task_definition()
    });
    transaction.put(role("app", "ecs-tasks.amazonaws.com"));
    transaction.put(role("pull", "ecs-tasks.amazonaws.com"));
    transaction.put(role("host", "ec2.amazonaws.com"));
    world.store.commit(transaction).await.unwrap();
}

#[tokio::test]
async fn credentials_come_with_the_task_and_again_before_they_end() {
    let world = World::new().await;
    with_roles(&world, "arn:aws:iam::123456789012:role/app", "pull").await;
    world.put_service(1).await;
    let mut agent = world.connect().await;
    let payload = agent.next("PayloadMessage").await;
    agent.acknowledge(&payload).await;
    let task = &payload["tasks"][0];
    let (application, execution) = (&task["roleCredentials"], &task["executionRoleCredentials"]);
    assert_eq!(application["roleArn"], "arn:aws:iam::123456789012:role/app");
    assert_eq!(execution["roleArn"], "arn:aws:iam::123456789012:role/pull");
    assert_ne!(application["credentialsId"], execution["credentialsId"]);
    // Of four seconds of life two are left when the next ones come, under the same id.
    for _ in 0..2 {
        let renewed = agent.next("IAMRoleCredentialsMessage").await;
        assert_eq!(renewed["taskArn"], task["arn"]);
        let before = match renewed["roleType"].as_str() {
            Some("TaskApplication") => application,
            Some("TaskExecution") => execution,
            other => panic!("{other:?}"),
        };
        let new = &renewed["roleCredentials"];
        assert_eq!(new["credentialsId"], before["credentialsId"]);
        assert_ne!(new["accessKeyId"], before["accessKeyId"]);
    }
}

#[tokio::test]
async fn a_task_whose_role_cant_be_assumed_never_starts() {
    for bad in ["arn:aws:iam::123456789012:role/none", "host"] {
        let world = World::new().await;
        with_roles(&world, "app", bad).await;
        world.put_service(1).await;
        let mut agent = world.connect().await;
        // The agent hears of it as of something to stop.
        let payload = agent.next("PayloadMessage").await;
        assert_eq!(payload["tasks"][0]["desiredStatus"], "STOPPED");
        let key = ServiceKey::new("default", "web");
        let snapshot = world.store.snapshot();
        let task = snapshot.service_tasks(&key).next().unwrap();
        assert_eq!(task.stop_code, Some(wharf_model::status::StopCode::TaskFailedToStart));
        let arn = format!("arn:aws:iam::123456789012:role/{}", bad.rsplit('/').next().unwrap());
        let reason = task.stopped_reason.clone().unwrap();
        assert!(reason.starts_with(&format!(
            "ECS was unable to assume the role '{arn}' that was provided for this task."
        )));
    }
}
