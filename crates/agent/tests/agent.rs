//! The agent against a control plane of loopback, with real containers.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use serde_json::json;
use support::{ControlPlane, Host, arn, log, shell, shell_task, task, until};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wharf_agent::Agent;

/// An agent in this process. The agent goes before the host under it.
struct Running {
    plane: ControlPlane,
    stop: CancellationToken,
    agent: Option<JoinHandle<Result<(), wharf_agent::Error>>>,
    host: Host,
}

impl Running {
    async fn start() -> Self {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let plane = ControlPlane::start().await;
        let mut running =
            Self { plane, stop: CancellationToken::new(), agent: None, host: Host::new() };
        running.launch();
        running.plane.session(1).await;
        running
    }

    fn launch(&mut self) {
        self.stop = CancellationToken::new();
        let options = self.host.options(&self.plane.url);
        self.agent = Some(tokio::spawn(Agent::new(options).run(self.stop.clone())));
    }

    async fn shut_down(&mut self) {
        self.stop.cancel();
        if let Some(agent) = self.agent.take() {
            tokio::time::timeout(Duration::from_secs(20), agent).await.unwrap().unwrap().unwrap();
        }
    }

    async fn end(mut self) {
        self.shut_down().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_runs_is_stopped_and_is_told() {
    let running = Running::start().await;
    let plane = &running.plane;
    let id = "0a11";
    let mut app = shell("app", "echo $ECS_CONTAINER_METADATA_URI_V4 $FROM_IMAGE $MINE; sleep 1000");
    app["portMappings"] = json!([{ "containerPort": 80, "hostPort": 0, "protocol": "tcp" }]);
    app["environment"] = json!({ "MINE": "too" });
    plane.payload("m1", 1, json!([task(id, json!([app]))])).await;

    let report = plane.reported(&arn(id), "RUNNING").await;
    assert_eq!(report["cluster"], "default");
    assert_eq!(report["reason"], "");
    let container = &report["containers"][0];
    assert_eq!(container["containerName"], "app");
    assert_eq!(container["status"], "RUNNING");
    assert_eq!(container["runtimeId"].as_str().unwrap().len(), 64);
    assert!(container["imageDigest"].as_str().unwrap().starts_with("sha256:"));
    let binding = &container["networkBindings"][0];
    assert_eq!((&binding["bindIP"], &binding["containerPort"]), (&json!("0.0.0.0"), &json!(80)));
    assert!(binding["hostPort"].as_i64().unwrap() >= 32768);

    let log = until("the log", || {
        Some(support::log(running.host.path(), id)).filter(|log| log.contains("/v4/"))
    })
    .await;
    assert!(log.contains("http://169.254.170.2/v4/") && log.contains("yes too"), "{log}");

    plane.payload("m2", 2, json!([{ "arn": arn(id), "desiredStatus": "STOPPED" }])).await;
    let report = plane.reported(&arn(id), "STOPPED").await;
    assert_eq!(report["containers"][0]["exitCode"], 137, "{report}");
    assert!(report["executionStoppedAt"].as_f64().unwrap() > 1e9);
    // Sent again, it is told again and nothing starts.
    plane.payload("m3", 3, json!([shell_task(id, "echo again")])).await;
    until("the second word", || (plane.reports(&arn(id)).len() >= 3).then_some(())).await;
    let last = plane.reports(&arn(id)).pop().unwrap();
    assert_eq!(last["status"], "STOPPED");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dependencies_exit_codes_and_failures_are_told_as_ecs_does() {
    let running = Running::start().await;
    let plane = &running.plane;
    let mut init = shell("init", "exit 0");
    init["essential"] = json!(false);
    let mut main = shell("main", "sleep 1000");
    main["dependsOn"] = json!([{ "containerName": "init", "condition": "SUCCESS" }]);
    let mut missing = shell("app", "");
    missing["command"] = json!(["/no/such/program"]);
    let mut unpullable = shell("app", "");
    unpullable["image"] = json!("127.0.0.1:1/none");
    let mut hog = shell("app", "x=a; while :; do x=$x$x$x$x; done");
    hog["memory"] = json!(8);
    plane
        .payload(
            "m1",
            1,
            json!([
                task("0b01", json!([init, main])),
                shell_task("0b02", "exit 3"),
                task("0b03", json!([missing])),
                task("0b04", json!([unpullable])),
                task("0b05", json!([hog])),
            ]),
        )
        .await;

    let report = plane.reported(&arn("0b01"), "RUNNING").await;
    let seen: Vec<String> = report["containers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| format!("{} {}", c["containerName"], c["status"]).replace('"', ""))
        .collect();
    assert_eq!(seen, ["init RUNNING", "init STOPPED", "main RUNNING"]);

    let report = plane.reported(&arn("0b02"), "STOPPED").await;
    assert_eq!(report["reason"], "");
    assert_eq!(plane.reports(&arn("0b02")).first().unwrap()["status"], "RUNNING");
    assert_eq!(report["containers"][0]["exitCode"], 3);

    let report = plane.reported(&arn("0b03"), "STOPPED").await;
    let reason = report["containers"][0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("CannotStartContainerError: "), "{reason}");
    assert!(report["containers"][0].get("exitCode").is_none());

    let report = plane.reported(&arn("0b05"), "STOPPED").await;
    let reason = report["containers"][0]["reason"].as_str().unwrap_or_default();
    assert_eq!(reason, "OutOfMemoryError: Container killed due to memory usage", "{report}");

    let report = plane.reported(&arn("0b04"), "STOPPED").await;
    let reason = report["containers"][0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("CannotPullContainerError: "), "{reason}");
    assert!(report["pullStartedAt"].is_number() && report["pullStoppedAt"].is_number());
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_stop_what_isnt_wanted_and_tasks_outlive_a_shutdown() {
    let mut running = Running::start().await;
    let plane = running.plane.clone();
    let run = "sleep 1000";
    plane.payload("m1", 5, json!([shell_task("0c01", run), shell_task("0c02", run)])).await;
    plane.reported(&arn("0c01"), "RUNNING").await;
    plane.reported(&arn("0c02"), "RUNNING").await;
    running.shut_down().await;
    running.launch();
    plane.session(2).await;
    let again = plane.calls("RegisterContainerInstance").pop().unwrap();
    assert_eq!(again["containerInstanceArn"], support::INSTANCE_ARN);

    let manifest = |id: &str, timeline: i64| {
        json!({ "messageId": id, "clusterArn": support::CLUSTER_ARN, "timeline": timeline,
                "containerInstanceArn": support::INSTANCE_ARN,
                "tasks": [{ "taskArn": arn("0c01"), "desiredStatus": "RUNNING" }] })
    };
    plane.send("TaskManifestMessage", manifest("old", 5));
    plane.send("TaskManifestMessage", manifest("new", 6));
    let question = until("the question", || plane.messages("TaskStopVerificationMessage").pop());
    let question = question.await;
    assert_eq!(question["messageId"], "new");
    assert_eq!(question["stopCandidates"].as_array().unwrap().len(), 1);
    assert!(!plane.messages("AckRequest").iter().any(|ack| ack["messageId"] == "old"));
    let ack = json!({ "messageId": "new", "stopTasks": question["stopCandidates"] });
    plane.send("TaskStopVerificationAck", ack);
    plane.reported(&arn("0c02"), "STOPPED").await;
    assert!(plane.reports(&arn("0c01")).iter().all(|report| report["status"] != "STOPPED"));
    running.end().await;
}

/// Asks the agent from inside a container and prints the answer.
fn get(path: &str) -> String {
    format!("printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' | nc 169.254.170.2 80; echo")
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_and_credentials_answer_to_their_task_only() {
    let running = Running::start().await;
    let plane = &running.plane;
    let credentials = |task: &str, key: &str| {
        json!({ "credentialsId": format!("{task}-credentials"), "accessKeyId": key,
                "secretAccessKey": format!("{task}-secret"), "sessionToken": "token",
                "roleArn": "arn:aws:iam::123456789012:role/r", "expiration": "2030-01-01T00:00:00Z" })
    };
    let asks = |ids: &[&str]| {
        let mut script = ids
            .iter()
            .map(|id| get(&format!("/v2/credentials/{id}-credentials")))
            .collect::<Vec<_>>();
        script.push(
            "P=${ECS_CONTAINER_METADATA_URI_V4#http://169.254.170.2}; for p in $P $P/task $P/stats; \
             do printf \"GET $p HTTP/1.0\\r\\n\\r\\n\" | nc 169.254.170.2 80; echo; done"
                .to_owned(),
        );
        script.push("sleep 1000".to_owned());
        script.join("; ")
    };
    let mut tasks = Vec::new();
    for (id, key) in [("f001", "AKIDONE"), ("f002", "AKIDTWO"), ("f003", "")] {
        let mut task = shell_task(id, &asks(&["f001", "f002", "f003"]));
        task["roleCredentials"] = credentials(id, key);
        tasks.push(task);
    }
    plane.payload("m1", 1, json!(tasks)).await;
    assert_eq!(plane.messages("IAMRoleCredentialsAckRequest").len(), 3);
    for id in ["f001", "f002", "f003"] {
        let log = until("the answers", || {
            let log = support::log(running.host.path(), id);
            Some(log).filter(|log| log.contains("cpu_stats"))
        })
        .await;
        for other in ["f001", "f002"] {
            let secret = log.contains(&format!("{other}-secret"));
            assert_eq!(secret, id == other, "{id} asked for {other}: {log}");
        }
        assert_eq!(log.contains("CredentialsUninitialized"), id == "f003", "{log}");
        assert!(log.contains("InvalidIdInRequest"), "{log}");
        assert!(log.contains("DockerId") && log.contains(&arn(id)), "{log}");
        assert!(log.contains("com.amazonaws.ecs.task-definition-family"), "{log}");
    }
    let socket = running.host.path().join("agent/introspection.sock");
    let asked = tokio::task::spawn_blocking(move || {
        use std::io::{Read, Write};
        let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
        stream.write_all(b"GET /v1/tasks HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    });
    let text = asked.await.unwrap();
    assert!(text.contains(&arn("f002")) && text.contains("\"KnownStatus\":\"RUNNING\""), "{text}");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn telemetry_tells_metrics_health_and_status() {
    let running = Running::start().await;
    let plane = &running.plane;
    let first = until("idle metrics", || plane.telemetry("PublishMetricsRequest").pop()).await;
    assert_eq!(first["metadata"]["idle"], true);
    assert_eq!(first["metadata"]["fin"], true);
    let check = |command: &str| {
        json!({ "Healthcheck": { "Test": ["CMD-SHELL", command], "Interval": 1_000_000_000i64,
                "Timeout": 2_000_000_000i64, "Retries": 1 } })
    };
    let mut good = shell("good", "sleep 1000");
    good["dockerConfig"] = json!({ "config": check("true").to_string() });
    let mut waits = shell("waits", "sleep 1000");
    waits["dependsOn"] = json!([{ "containerName": "good", "condition": "HEALTHY" }]);
    let mut bad = shell("bad", "sleep 1000");
    bad["dockerConfig"] = json!({ "config": check("exit 1").to_string() });
    plane.payload("m1", 1, json!([task("fa01", json!([good, waits, bad]))])).await;
    plane.reported(&arn("fa01"), "RUNNING").await;
    let verdict = |name: &str, word: &str| {
        let (name, word) = (name.to_owned(), word.to_owned());
        until("a verdict", move || {
            let all = plane.telemetry("PublishHealthRequest");
            let containers = all.iter().flat_map(|m| m["tasks"].as_array().unwrap().clone());
            let mut each = containers.flat_map(|t| t["containers"].as_array().unwrap().clone());
            each.find(|c| c["containerName"] == *name && c["healthStatus"] == *word).map(drop)
        })
    };
    verdict("good", "HEALTHY").await;
    verdict("bad", "UNHEALTHY").await;
    plane.send("HeartbeatMessage", json!({ "healthy": true, "messageId": "h1" }));
    until("the heartbeat's ack", || plane.messages("HeartbeatAckRequest").pop()).await;
    let status = until("status", || plane.telemetry("PublishInstanceStatusRequest").pop()).await;
    assert_eq!(status["statuses"][0]["type"], "ContainerRuntime");
    let metrics = until("metrics", || {
        let all = plane.telemetry("PublishMetricsRequest");
        all.into_iter().find(|m| m["metadata"]["idle"] == false)
    })
    .await;
    let container = &metrics["taskMetrics"][0]["containerMetrics"][0];
    assert!(container["memoryStatsSet"]["max"].as_f64().unwrap() > 0.0, "{metrics}");
    assert!(container["cpuStatsSet"]["sampleCount"].as_i64().unwrap() > 0);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_awsvpc_task_is_attached_reachable_and_shares_localhost() {
    let running = Running::start().await;
    let plane = &running.plane;
    let block = running.host.options(&plane.url).vpc_cidr;
    let (address, gateway) = (block.nth(9).unwrap(), block.nth(1).unwrap());
    let web = shell("web", "echo hello from the task > /tmp/index.html; httpd -f -p 80 -h /tmp");
    let mut probe = shell(
        "probe",
        "while ! printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc 127.0.0.1 80; do sleep 0.1; done; sleep 1000",
    );
    probe["dependsOn"] = json!([{ "containerName": "web", "condition": "START" }]);
    let mut vpc = task("fb01", json!([web, probe]));
    vpc["networkMode"] = json!("awsvpc");
    vpc["elasticNetworkInterfaces"] = json!([{
        "ec2Id": "eni-1", "macAddress": "02:11:22:33:44:55", "attachmentArn": "arn:attachment",
        "ipv4Addresses": [{ "privateAddress": address.to_string(), "primary": true }],
        "subnetGatewayIpv4Address": format!("{gateway}/24") }]);
    let mut host = shell_task("fb02", "hostname; sleep 1000");
    host["networkMode"] = json!("host");
    let mut none = shell_task("fb03", "echo none; sleep 1000");
    none["networkMode"] = json!("none");
    plane.payload("m1", 1, json!([vpc, host, none])).await;
    for id in ["fb01", "fb02", "fb03"] {
        plane.reported(&arn(id), "RUNNING").await;
    }
    let first = plane.reports(&arn("fb01")).remove(0);
    let expected = json!([{ "attachmentArn": "arn:attachment", "status": "ATTACHED" }]);
    assert_eq!(first["attachments"], expected);
    assert!(first.get("status").is_none());
    until("the sidecar's answer", || {
        let log = support::log(running.host.path(), "fb01");
        log.contains("hello from the task").then_some(())
    })
    .await;
    let text = tokio::task::spawn_blocking(move || {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect((address, 80)).unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    });
    assert!(text.await.unwrap().contains("hello from the task"));
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_answers_at_its_link_local_address_under_that_name_only() {
    let running = Running::start().await;
    let plane = &running.plane;
    // The control plane of these tests takes every request with a signature of this key.
    let call = |host: &str| {
        format!(
            "printf 'POST / HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close, host\\r\\n\
             Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20300101/us-east-1/ecs\\r\\n\
             X-Amz-Target: Any.ListClusters\\r\\nContent-Length: 15\\r\\n\\r\\n\
             {{\"from\":\"task\"}}' | nc -w 5 169.254.170.4 80; echo; "
        )
    };
    let addresses = "echo url $AWS_ENDPOINT_URL $AWS_REGION $AWS_DEFAULT_REGION; ";
    let script =
        [addresses, &call("127.0.0.1:4580"), &call("169.254.170.4"), "sleep 1000"].concat();
    let mut mine = shell("mine", &format!("{addresses} sleep 1000"));
    mine["environment"] = json!({ "AWS_ENDPOINT_URL": "http://mine", "AWS_REGION": "eu-west-9" });
    for (sequence, id, mode) in [(1, "a001", "bridge"), (2, "a002", "host"), (3, "a003", "none")] {
        let mut task = task(id, json!([shell("app", &script), mine.clone()]));
        task["networkMode"] = json!(mode);
        plane.payload(id, sequence, json!([task])).await;
        let log = until("both containers' words", || {
            let log = support::log(running.host.path(), id);
            let all = log.contains("url http://mine eu-west-9\\n")
                && log.matches("\"url ").count() == 2
                && (mode == "none" || log.contains("acknowledgment"));
            Some(log).filter(|_| all)
        })
        .await;
        if mode == "none" {
            assert!(log.contains("url us-east-1 us-east-1\\n"), "{log}");
        } else {
            assert!(log.contains("url http://169.254.170.4 us-east-1 us-east-1\\n"), "{log}");
            assert_eq!(log.matches("AccessDeniedException").count(), 1 + 1, "{log}");
        }
    }
    // One of each task with a network, and none under a name that isn't the task's.
    let calls = plane.calls("ListClusters");
    assert_eq!(calls, vec![json!({ "from": "task" }); 2]);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_started_again_in_its_task_whether_or_not_the_agent_was_there() {
    let mut running = Running::start().await;
    let id = "fb01";
    let script = "echo run >>/runs; cat /runs; sleep 0.3; \
                  wget -qO- $ECS_CONTAINER_METADATA_URI_V4; echo; sleep 1; exit 4";
    let mut app = shell("app", script);
    let policy = json!({ "enabled": true, "ignoredExitCodes": [9], "restartAttemptPeriod": 1 });
    app["restartPolicy"] = policy.clone();
    let mut ignored = shell("ignored", "sleep 1.3; exit 9");
    ignored["essential"] = json!(false);
    ignored["restartPolicy"] = policy;
    running.plane.payload("m1", 1, json!([task(id, json!([app, ignored]))])).await;
    running.plane.reported(&arn(id), "RUNNING").await;
    let data = running.host.path().to_owned();
    let runs = async |count: usize| {
        // Its file survives: the nth run says "run" n times.
        let said = count * (count + 1) / 2;
        let enough = || (log(&data, id).matches(r"run\n").count() >= said).then_some(());
        until("another run", enough).await;
    };
    runs(2).await;
    // As json-file writes it.
    let counted = |count: u32| log(&data, id).contains(&format!(r#"RestartCount\":{count}"#));
    until("the first count", || counted(1).then_some(())).await;
    running.shut_down().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    running.launch();
    runs(3).await;
    until("the second count", || counted(2).then_some(())).await;
    assert!(counted(0), "{}", log(&data, id));
    let reports = running.plane.reports(&arn(id));
    let containers = reports.iter().flat_map(|r| r["containers"].as_array().cloned()).flatten();
    let ends: Vec<_> = containers.filter(|c| c["status"] == "STOPPED").collect();
    assert!(reports.iter().all(|report| report["status"] != "STOPPED"), "{reports:?}");
    assert_eq!(ends.len(), 1, "{ends:?}");
    assert_eq!((&ends[0]["containerName"], &ends[0]["exitCode"]), (&json!("ignored"), &json!(9)));
    running.end().await;
}
