//! The whole gateway over HTTP: who is let in, who is refused and how, and the three protocols.
#![allow(clippy::unwrap_used)] // tests

mod support;

use serde_json::json;
use std::sync::{Arc, Mutex};
use support::{Fixture, HOST, ROOT, USER};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wharf_gateway::agent_sessions::{AgentSessions, AgentStream, SessionRequest};
use wharf_gateway::ecs::BUILT;

#[tokio::test]
async fn ecs_speaks_json() {
    let fixture = Fixture::start().await;
    let reply = fixture.ecs("CreateCluster", json!({"clusterName": "c"})).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.json()["cluster"]["status"], "ACTIVE");
    assert_eq!(reply.header("content-type"), Some("application/x-amz-json-1.1"));
    assert_eq!(reply.header("x-amzn-requestid").map(str::len), Some(36));
    let reply = fixture.ecs("DescribeClusters", json!({"clusters": ["c"]})).await;
    assert_eq!(reply.json()["clusters"][0]["clusterName"], "c");
    let reply = fixture.ecs("UpdateCluster", json!({"cluster": "nope"})).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "ClusterNotFoundException"));
    assert_eq!(reply.json()["message"], "Cluster not found.");
    let reply = fixture.ecs("DiscoverPollEndpoint", json!({})).await;
    assert_eq!(reply.json()["endpoint"], format!("http://{}/", fixture.address));
}

#[tokio::test]
async fn sts_speaks_query() {
    let fixture = Fixture::start().await;
    let form = "Action=GetCallerIdentity&Version=2011-06-15";
    let reply = fixture.query("sts", form).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(
        reply.body.contains(
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"
        ),
        "{}",
        reply.body
    );
    assert!(reply.body.contains("<Arn>arn:aws:iam::123456789012:root</Arn>"));
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let reply = fixture.signed(USER, "sts", "POST", "/", &headers, form.as_bytes()).await;
    assert!(reply.body.contains("<Arn>arn:aws:iam::123456789012:user/jo</Arn>"), "{reply:?}");
    let target = format!("/?{form}");
    let reply = fixture.signed(ROOT, "sts", "GET", &target, &[], b"").await;
    assert!(reply.body.contains("<Account>123456789012</Account>"), "{reply:?}");
    for (form, code) in [
        ("", "MissingAction"),
        ("Action=Nonsense", "InvalidAction"),
        ("Action=GetSessionToken", "UnsupportedOperation"),
        ("Action=GetCallerIdentity&Version=1999-01-01", "NoSuchVersion"),
    ] {
        let reply = fixture.query("sts", form).await;
        assert_eq!(reply.status, 400, "{form}");
        assert!(reply.body.contains(&format!("<Code>{code}</Code>")), "{form}: {}", reply.body);
    }
}

#[tokio::test]
async fn ec2_shows_the_built_in_network() {
    let fixture = Fixture::start().await;
    for (form, parts) in [
        ("Action=DescribeVpcs", &["<vpcId>vpc-0a77a2f0000000001</vpcId>", "10.113.0.0/16"][..]),
        ("Action=DescribeVpcs&Filter.1.Name=isDefault&Filter.1.Value.1=true", &["<vpcId>"]),
        ("Action=DescribeSubnets", &["us-east-1a", "us-east-1b", "us-east-1c"]),
        (
            "Action=DescribeSubnets&Filter.1.Name=availability-zone&Filter.1.Value.1=us-east-1b",
            &["subnet-0a77a2f000000000b"],
        ),
        ("Action=DescribeSecurityGroups", &["<groupName>default</groupName>"]),
        ("Action=DescribeAvailabilityZones", &["use1-az3"]),
        ("Action=DescribeRegions", &["<regionName>us-east-1</regionName>"]),
        ("Action=DescribeInstances", &["<reservationSet"]),
        ("Action=DescribeNetworkInterfaces", &["<networkInterfaceSet"]),
    ] {
        let reply = fixture.query("ec2", &format!("{form}&Version=2016-11-15")).await;
        assert_eq!(reply.status, 200, "{form}: {reply:?}");
        for part in parts {
            assert!(reply.body.contains(part), "{form}: {part} not in {}", reply.body);
        }
    }
    let one = "Action=DescribeSubnets&Filter.1.Name=availability-zone&Filter.1.Value.1=*b";
    let reply = fixture.query("ec2", one).await;
    assert_eq!(reply.body.matches("<subnetId>").count(), 1, "{}", reply.body);
    for (form, code) in [
        ("Action=DescribeVpcs&VpcId.1=vpc-1", "InvalidVpcID.NotFound"),
        ("Action=DescribeSubnets&SubnetId.1=subnet-1", "InvalidSubnetID.NotFound"),
        ("Action=DescribeSecurityGroups&GroupId.1=sg-1", "InvalidGroup.NotFound"),
        ("Action=DescribeInstances&InstanceId.1=i-0123", "InvalidInstanceID.NotFound"),
        ("Action=DescribeInstances&InstanceId.1=nonsense", "InvalidInstanceID.Malformed"),
        ("Action=DescribeVpcs&Filter.1.Name=colour&Filter.1.Value.1=red", "InvalidParameterValue"),
        ("Action=RunInstances", "InvalidAction"),
    ] {
        let reply = fixture.query("ec2", form).await;
        assert_eq!(reply.status, 400, "{form}");
        let part = format!("<Response><Errors><Error><Code>{code}</Code>");
        assert!(reply.body.contains(&part), "{form}: {}", reply.body);
    }
}

#[tokio::test]
async fn what_isnt_built_says_so() {
    let built: Vec<_> = BUILT.iter().collect();
    let missing: Vec<&str> = wharf_wire::ecs::Operation::ALL
        .iter()
        .filter(|o| !built.contains(o))
        .map(|o| o.as_str())
        .collect();
    let list = missing.iter().map(|name| format!("{name}\n")).collect::<String>();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/unsupported-operations.txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, &list).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    assert_eq!(list, golden, "run with UPDATE_EXPECT=1 to accept the list as it is");
    let fixture = Fixture::start().await;
    for name in missing {
        let reply = fixture.ecs(name, json!({})).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "UnsupportedFeatureException"));
        assert!(reply.json()["message"].as_str().unwrap().contains(name));
    }
    let reply = fixture.ecs("MakeCoffee", json!({})).await;
    assert_eq!((reply.status, reply.code().as_str()), (404, "UnknownOperationException"));
}

#[tokio::test]
async fn a_service_that_wharf_lacks_is_named_in_its_own_protocol() {
    let fixture = Fixture::start().await;
    let json_headers = [
        ("content-type", "application/x-amz-json-1.1"),
        ("x-amz-target", "GraniteServiceVersion20100801.X"),
    ];
    let reply = fixture.signed(ROOT, "monitoring", "POST", "/", &json_headers, b"{}").await;
    assert_eq!(reply.code(), "UnsupportedOperationException");
    assert!(reply.body.contains("'monitoring'"));
    let reply = fixture.query("sns", "Action=ListTopics&Version=2010-03-31").await;
    assert!(reply.body.starts_with("<ErrorResponse"), "{reply:?}");
    assert!(reply.body.contains("'sns'"));
    let reply = fixture.signed(ROOT, "s3", "GET", "/bucket", &[], b"").await;
    assert!(reply.body.contains("<Error><Code>UnsupportedOperation</Code>"), "{reply:?}");
    let reply = fixture.signed(ROOT, "lambda", "GET", "/2015-03-31/functions", &[], b"").await;
    assert_eq!(reply.header("x-amzn-errortype"), Some("UnsupportedOperationException"));
    assert!(reply.body.contains("'lambda'"));
    let cbor = [("content-type", "application/cbor"), ("smithy-protocol", "rpc-v2-cbor")];
    let reply = fixture.signed(ROOT, "monitoring", "POST", "/service/x", &cbor, b"").await;
    assert!(reply.body.contains("'monitoring'"), "{reply:?}");
    // Signed for one service, sent to another.
    let reply = fixture
        .signed(
            ROOT,
            "logs",
            "POST",
            "/",
            &[
                ("content-type", "application/x-amz-json-1.1"),
                ("x-amz-target", "AmazonEC2ContainerServiceV20141113.ListClusters"),
            ],
            b"{}",
        )
        .await;
    assert_eq!((reply.status, reply.code().as_str()), (404, "UnknownOperationException"));
    assert!(!reply.body.contains("clusterArns"));
}

#[tokio::test]
async fn without_a_right_signature_nobody_gets_in() {
    let fixture = Fixture::start().await;
    let host = fixture.address;
    let body = r#"{"clusterName":"evil"}"#;
    let target = "AmazonEC2ContainerServiceV20141113.CreateCluster";
    let unsigned = format!(
        "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-amz-json-1.1\r\n\
         X-Amz-Target: {target}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let reply = fixture.raw(unsigned.as_bytes()).await;
    assert_eq!((reply.status, reply.code().as_str()), (403, "MissingAuthenticationTokenException"));
    let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target)];
    let stranger =
        fixture.signed("AKIANOBODY", "ecs", "POST", "/", &headers, body.as_bytes()).await;
    let good = fixture.signed_bytes(ROOT, "ecs", "POST", "/", &headers, body.as_bytes());
    let tampered = String::from_utf8(good).unwrap().replace("evil", "good");
    let tampered = fixture.raw(tampered.as_bytes()).await;
    assert_eq!((tampered.status, tampered.code().as_str()), (403, "InvalidSignatureException"));
    assert_eq!(stranger.body, tampered.body, "an unknown key is answered as a wrong signature");
    assert_eq!(stranger.status, tampered.status);
    assert_eq!(fixture.store.snapshot().clusters().count(), 0);
}

#[tokio::test]
async fn pages_of_a_browser_are_refused() {
    let fixture = Fixture::start().await;
    let host = fixture.address;
    let port = host.port();
    let get = |path: &str, headers: &str| {
        format!("GET {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n").into_bytes()
    };
    let own = format!("Host: {host}\r\n");
    assert_eq!(fixture.raw(&get("/healthz", &own)).await.status, 200);
    assert_eq!(fixture.raw(&get("/readyz", &own)).await.status, 200);
    let reply = fixture.raw(&get("/metrics", &own)).await;
    assert!(reply.body.contains("wharf_build_info"), "{reply:?}");
    for headers in [
        format!("Host: evil.example:{port}\r\n"),
        format!("Host: {host}\r\nOrigin: http://evil.example\r\n"),
        format!("Host: {host}\r\nOrigin: null\r\n"),
        format!("Host: {host}\r\nSec-Fetch-Site: cross-site\r\n"),
    ] {
        for path in ["/healthz", "/metrics", "/", "/ws"] {
            assert_eq!(fixture.raw(&get(path, &headers)).await.status, 403, "{headers}");
        }
    }
    let name = format!("Host: localhost:{port}\r\n");
    assert_eq!(fixture.raw(&get("/healthz", &name)).await.status, 200);
}

#[tokio::test]
async fn tasks_are_answered_nothing_without_a_signature() {
    let fixture = Fixture::start().await;
    for host in ["169.254.170.4", "169.254.170.4:80"] {
        for path in ["/", "/healthz", "/readyz", "/metrics", "/ws"] {
            let request =
                format!("GET {path} HTTP/1.1\r\nConnection: close\r\nHost: {host}\r\n\r\n");
            let reply = fixture.raw(request.as_bytes()).await;
            assert_eq!(reply.status, 403, "{host} {path}: {reply:?}");
            assert!(!reply.body.contains("wharf_"), "{reply:?}");
        }
    }
    let unknown = b"GET /healthz HTTP/1.1\r\nConnection: close\r\nHost: 169.254.170.5\r\n\r\n";
    assert_eq!(fixture.raw(unknown).await.status, 403);
}

#[tokio::test]
async fn limits_on_heads_bodies_and_time() {
    let fixture = Fixture::start_with(Arc::new(wharf_gateway::agent_sessions::NoSessions), |o| {
        o.limits.body_bytes = 1000;
        o.limits.body_timeout = std::time::Duration::from_millis(200);
        o.limits.head_timeout = std::time::Duration::from_millis(200);
    })
    .await;
    let reply = fixture.ecs_bytes("ListClusters", &vec![b' '; 1001]).await;
    assert_eq!((reply.status, reply.code().as_str()), (413, "RequestEntityTooLargeException"));
    let host = fixture.address;
    let slow_body = format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 10\r\n\r\nab");
    assert_eq!(fixture.raw(slow_body.as_bytes()).await.status, 408);
    let slow_head = format!("POST / HTTP/1.1\r\nHost: {host}\r\n");
    assert!([0, 408].contains(&fixture.raw(slow_head.as_bytes()).await.status));
    let long_head =
        format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nX: {}\r\n\r\n", "x".repeat(70_000));
    assert!([400, 431, 0].contains(&fixture.raw(long_head.as_bytes()).await.status));
    let many: String = (0..150).map(|n| format!("X-{n}: 1\r\n")).collect();
    let many = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n{many}\r\n");
    assert_eq!(fixture.raw(many.as_bytes()).await.status, 431);
}

#[tokio::test]
async fn a_shutdown_answers_what_is_running_and_closes_what_is_idle() {
    let mut fixture = Fixture::start().await;
    let mut idle = tokio::net::TcpStream::connect(fixture.address).await.unwrap();
    idle.write_all(
        format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", fixture.address).as_bytes(),
    )
    .await
    .unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    fixture.stop();
    let ended = tokio::time::timeout(std::time::Duration::from_secs(10), &mut fixture.server).await;
    ended.expect("the server ends").unwrap();
    assert!(tokio::net::TcpStream::connect(fixture.address).await.is_err());
}

#[derive(Default)]
struct Recorder(Mutex<Vec<(bool, SessionRequest)>>);

#[async_trait::async_trait]
impl AgentSessions for Recorder {
    async fn accept_acs(&self, mut stream: AgentStream, request: SessionRequest) {
        self.0.lock().unwrap().push((true, request));
        let _ = stream.close(None).await;
    }
    async fn accept_tcs(&self, mut stream: AgentStream, request: SessionRequest) {
        self.0.lock().unwrap().push((false, request));
        let _ = stream.close(None).await;
    }
}

#[tokio::test]
async fn agents_are_handed_over_after_the_gate() {
    let recorder = Arc::new(Recorder::default());
    let fixture = Fixture::start_with(recorder.clone(), |_| {}).await;
    fixture.ecs("CreateCluster", json!({})).await;
    let registration = json!({
        "cluster": "default",
        "totalResources": [
            {"name": "CPU", "type": "INTEGER", "integerValue": 1024},
            {"name": "MEMORY", "type": "INTEGER", "integerValue": 1024},
            {"name": "PORTS", "type": "STRINGSET", "stringSetValue": []},
            {"name": "PORTS_UDP", "type": "STRINGSET", "stringSetValue": []}]
    });
    let target = "AmazonEC2ContainerServiceV20141113.RegisterContainerInstance";
    let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target)];
    let body = registration.to_string();
    let reply = fixture.signed(HOST, "ecs", "POST", "/", &headers, body.as_bytes()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let arn =
        reply.json()["containerInstance"]["containerInstanceArn"].as_str().unwrap().to_owned();
    let upgrade = [
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let escaped = arn.replace(':', "%3A").replace('/', "%2F");
    let acs = format!("/ws?clusterArn=default&containerInstanceArn={escaped}&seqNum=1");
    let tcs = format!("/tcs/ws?cluster=default&containerInstance={escaped}");
    for target in [&acs, &tcs] {
        let reply = fixture.signed(HOST, "ecs", "GET", target, &upgrade, b"").await;
        assert_eq!(reply.status, 101, "{reply:?}");
        assert_eq!(reply.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }
    let seen: Vec<_> = recorder
        .0
        .lock()
        .unwrap()
        .iter()
        .map(|(acs, r)| (*acs, r.container_instance.cluster.to_string(), r.query.len()))
        .collect();
    assert_eq!(seen, [(true, "default".to_owned(), 3), (false, "default".to_owned(), 2)]);
    let other = acs.replace(&escaped[escaped.len() - 32..], &"0".repeat(32));
    let wrong = [
        (ROOT, acs.clone(), 403, "AccessDeniedException"),
        (HOST, other, 400, "InvalidInstanceException"),
        (HOST, acs.replace("clusterArn=default", "clusterArn=x"), 400, "InvalidClusterException"),
        (HOST, "/nowhere".to_owned(), 404, "BadRequestException"),
    ];
    for (key, target, status, name) in wrong {
        let reply = fixture.signed(key, "ecs", "GET", &target, &upgrade, b"").await;
        assert_eq!(reply.status, status, "{target}: {reply:?}");
        assert!(reply.json()[name].is_string(), "{reply:?}");
    }
    let reply = fixture.signed("AKIANOBODY", "ecs", "GET", &acs, &upgrade, b"").await;
    assert_eq!(reply.status, 403);
    assert_eq!(recorder.0.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn the_history_is_for_root_and_whoever_may_describe_all_tasks() {
    let fixture = Fixture::start().await;
    let get = async |key: &'static str, query: &str| {
        let target = format!("/wharf/v1/history?{query}");
        fixture.signed(key, "ecs", "GET", &target, &[], b"").await
    };
    let subject = "subject=arn%3Aaws%3Aecs%3A%3A%3Atask%2Fdefault%2F1%23placement&limit=5";
    let reply = get(USER, subject).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "AccessDeniedException"));
    let jo = json!({ "name": "jo", "path": "/", "id": "AIDAJO", "created_at": 0,
        "attached": ["arn:aws:iam::aws:policy/ReadOnlyAccess"] });
    let mut transaction = wharf_model::Transaction::new();
    transaction.put(serde_json::from_value::<wharf_model::iam::User>(jo).unwrap());
    fixture.store.commit(transaction).await.unwrap();
    for key in [ROOT, USER] {
        let reply = get(key, subject).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "{\"events\":[]}"), "{reply:?}");
    }
    let reply = get(HOST, subject).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "AccessDeniedException"));
    for query in ["", "subject=a&prefix=b", "subject=a&limit=0", "limit=1001&subject=a", "x=y"] {
        let reply = get(ROOT, query).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "InvalidParameterException"));
    }
    let reply = fixture.raw(b"GET /wharf/v1/history?subject=a HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert!(reply.await.status >= 400);
    let reply = fixture.signed(ROOT, "ecs", "POST", "/wharf/v1/history", &[], b"").await;
    assert_eq!(reply.status, 405, "{reply:?}");
}
