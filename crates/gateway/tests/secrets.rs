//! Parameter Store and Secrets Manager over HTTP: what isn't built, that an agent's key fetches nothing, and
//! that no value is where it isn't asked for.
#![allow(clippy::unwrap_used)] // tests

mod support;

use serde_json::json;
use support::{Fixture, HOST, ROOT};
use wharf_wire::{Service, secretsmanager, ssm};

fn golden(name: &str, operations: &[&str]) {
    let list = operations.iter().map(|name| format!("{name}\n")).collect::<String>();
    let path = format!("{}/tests/golden/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &list).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert_eq!(list, golden, "run with UPDATE_EXPECT=1 to accept the list as it is");
}

#[tokio::test]
async fn what_isnt_built_says_so() {
    golden("unsupported-ssm-operations", ssm::OTHER_OPERATIONS);
    golden("unsupported-secretsmanager-operations", secretsmanager::OTHER_OPERATIONS);
    let fixture = Fixture::start().await;
    let services: [(Service, &str); 2] =
        [(ssm::SERVICE, "SendCommand"), (secretsmanager::SERVICE, "RotateSecret")];
    for (service, operation) in services {
        let reply = fixture.json_call(ROOT, service, operation, json!({})).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "UnsupportedOperationException"));
        assert!(reply.body.contains(operation), "{reply:?}");
        let reply = fixture.json_call(ROOT, service, "MakeCoffee", json!({})).await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "UnknownOperationException"));
    }
    let reply = fixture.json_call(ROOT, ssm::SERVICE, "GetParameters", json!({"Names": []})).await;
    assert_eq!(reply.code(), "ValidationException");
    assert!(reply.body.contains("1 validation error detected"), "{reply:?}");
}

#[tokio::test]
async fn an_agents_own_key_fetches_nothing() {
    let fixture = Fixture::start().await;
    let secret = json!({"Name": "s", "SecretString": "hunter2-secret"});
    let parameter = json!({"Name": "p", "Type": "SecureString", "Value": "hunter2-parameter"});
    let made = [
        fixture.json_call(ROOT, secretsmanager::SERVICE, "CreateSecret", secret.clone()).await,
        fixture.json_call(ROOT, ssm::SERVICE, "PutParameter", parameter.clone()).await,
    ];
    assert!(made.iter().all(|reply| reply.status == 200), "{made:?}");
    let value = json!({"SecretId": "s"});
    let names = json!({"Names": ["p"], "WithDecryption": true});
    let fetched = [
        fixture.json_call(ROOT, secretsmanager::SERVICE, "GetSecretValue", value.clone()).await,
        fixture.json_call(ROOT, ssm::SERVICE, "GetParameters", names.clone()).await,
    ];
    assert!(fetched.iter().all(|reply| reply.body.contains("hunter2")), "{fetched:?}");
    for (service, operation, input) in [
        (secretsmanager::SERVICE, "GetSecretValue", value),
        (ssm::SERVICE, "GetParameters", names),
        (secretsmanager::SERVICE, "ListSecrets", json!({})),
        (secretsmanager::SERVICE, "PutSecretValue", json!({"SecretId": "s", "SecretString": "x"})),
        (secretsmanager::SERVICE, "DeleteSecret", json!({"SecretId": "s"})),
        (ssm::SERVICE, "GetParametersByPath", json!({"Path": "/"})),
        (ssm::SERVICE, "DescribeParameters", json!({})),
        (ssm::SERVICE, "PutParameter", parameter),
    ] {
        let reply = fixture.json_call(HOST, service, operation, input).await;
        assert_eq!(reply.code(), "AccessDeniedException", "{operation}: {reply:?}");
        assert!(reply.body.contains(&format!("{}:{operation}", service.name)), "{reply:?}");
    }
    // No record holds a value, however it is looked at.
    let snapshot = fixture.store.snapshot();
    let text = format!("{snapshot:?}");
    assert!(text.contains("SecretVersion") && !text.contains("hunter2"), "{text}");
    for version in snapshot.secret_versions() {
        let record = wharf_model::Record::SecretVersion(version.clone());
        assert!(!String::from_utf8(record.encode()).unwrap().contains("hunter2"));
    }
}
