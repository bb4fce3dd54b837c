//! CloudWatch Logs over HTTP: what is refused and how, tokens, and what an agent's key may do.
#![allow(clippy::unwrap_used)] // tests

mod support;

use serde_json::{Value, json};
use support::{Fixture, HOST, ROOT};
use wharf_wire::logs::OTHER_OPERATIONS;

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_millis().try_into().unwrap()
}

async fn ok(fixture: &Fixture, operation: &str, input: Value) -> Value {
    let reply = fixture.logs(ROOT, operation, input).await;
    assert_eq!(reply.status, 200, "{operation}: {reply:?}");
    reply.json()
}

async fn refused(fixture: &Fixture, operation: &str, input: Value) -> (String, String) {
    let reply = fixture.logs(ROOT, operation, input).await;
    assert_eq!(reply.status, 400, "{operation}: {reply:?}");
    (reply.code(), reply.json()["message"].as_str().unwrap_or_default().to_owned())
}

fn messages(answer: &Value) -> Vec<&str> {
    let events = answer["events"].as_array().unwrap().iter();
    events.map(|event| event["message"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn what_isnt_built_says_so() {
    let list = OTHER_OPERATIONS.iter().map(|name| format!("{name}\n")).collect::<String>();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/unsupported-logs-operations.txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, &list).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    assert_eq!(list, golden, "run with UPDATE_EXPECT=1 to accept the list as it is");
    let fixture = Fixture::start().await;
    let (code, message) = refused(&fixture, "StartQuery", json!({})).await;
    assert_eq!(code, "UnsupportedOperationException");
    assert!(message.contains("StartQuery"));
    let reply = fixture.logs(ROOT, "MakeCoffee", json!({})).await;
    assert_eq!((reply.status, reply.code().as_str()), (404, "UnknownOperationException"));
}

/// Operation, input, and the code and a part of the text that answer it.
fn refusals() -> Vec<(&'static str, Value, &'static str, &'static str)> {
    let event = json!([{"timestamp": now_ms(), "message": "x"}]);
    vec![
        (
            "CreateLogGroup",
            json!({"logGroupName": "g"}),
            "ResourceAlreadyExistsException",
            "The specified log group already exists",
        ),
        (
            "CreateLogGroup",
            json!({"logGroupName": "a b"}),
            "InvalidParameterException",
            "regular expression pattern",
        ),
        (
            "CreateLogGroup",
            json!({"logGroupName": "h", "kmsKeyId": "k"}),
            "InvalidParameterException",
            "kmsKeyId is not supported",
        ),
        (
            "CreateLogGroup",
            json!({"logGroupName": "h", "logGroupClass": "INFREQUENT_ACCESS"}),
            "InvalidParameterException",
            "logGroupClass INFREQUENT_ACCESS is not supported",
        ),
        (
            "CreateLogStream",
            json!({"logGroupName": "g", "logStreamName": "s"}),
            "ResourceAlreadyExistsException",
            "The specified log stream already exists",
        ),
        (
            "CreateLogStream",
            json!({"logGroupName": "none", "logStreamName": "s"}),
            "ResourceNotFoundException",
            "The specified log group does not exist.",
        ),
        (
            "PutLogEvents",
            json!({"logGroupName": "g", "logStreamName": "t", "logEvents": event}),
            "ResourceNotFoundException",
            "The specified log stream does not exist.",
        ),
        (
            "PutLogEvents",
            json!({"logGroupName": "g", "logStreamName": "s", "logEvents": []}),
            "InvalidParameterException",
            "logEvents",
        ),
        (
            "GetLogEvents",
            json!({"logGroupName": "g", "logStreamName": "s", "nextToken": "f/1"}),
            "InvalidParameterException",
            "nextToken is invalid",
        ),
        (
            "FilterLogEvents",
            json!({"logGroupName": "g", "filterPattern": "[a, b"}),
            "InvalidParameterException",
            "Invalid space-delimited filter pattern",
        ),
        (
            "PutRetentionPolicy",
            json!({"logGroupName": "g", "retentionInDays": 2}),
            "InvalidParameterException",
            "enum value set: [1, 3, 5, 7,",
        ),
        (
            "DescribeLogStreams",
            json!({"logGroupName": "g", "orderBy": "LastEventTime", "logStreamNamePrefix": "s"}),
            "InvalidParameterException",
            "Cannot order by LastEventTime",
        ),
        (
            "DescribeLogGroups",
            json!({"logGroupNamePrefix": "g", "logGroupNamePattern": "g"}),
            "InvalidParameterException",
            "mutually exclusive",
        ),
        (
            "TagResource",
            json!({"resourceArn": "arn:aws:logs:us-east-1:123456789012:log-group:x",
            "tags": {"a": "b"}}),
            "ResourceNotFoundException",
            "does not exist",
        ),
    ]
}

#[tokio::test]
async fn errors_have_their_names_and_texts() {
    let fixture = Fixture::start().await;
    ok(&fixture, "CreateLogGroup", json!({"logGroupName": "g"})).await;
    ok(&fixture, "CreateLogStream", json!({"logGroupName": "g", "logStreamName": "s"})).await;
    for (operation, input, code, text) in refusals() {
        let (found, message) = refused(&fixture, operation, input).await;
        assert_eq!(found, code, "{operation}: {message}");
        assert!(message.contains(text), "{operation}: {message}");
    }
}

#[tokio::test]
async fn tokens_lead_forward_and_back_and_stand_still_at_the_end() {
    let fixture = Fixture::start().await;
    ok(&fixture, "CreateLogGroup", json!({"logGroupName": "g"})).await;
    let stream = json!({"logGroupName": "g", "logStreamName": "s"});
    ok(&fixture, "CreateLogStream", stream.clone()).await;
    let with = |more: Value| {
        let mut all = stream.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    // Before there is anything, a token waits for what comes.
    let empty = ok(&fixture, "GetLogEvents", stream.clone()).await;
    assert!(messages(&empty).is_empty());
    let now = now_ms();
    let event = |n: i64| json!({"timestamp": now - 100 + n / 2, "message": n.to_string()});
    let events: Vec<Value> = (0..5).map(event).collect();
    let put = ok(&fixture, "PutLogEvents", with(json!({"logEvents": events}))).await;
    assert_eq!(put["nextSequenceToken"].as_str().unwrap().len(), 56);
    let token = &empty["nextForwardToken"];
    let page = ok(&fixture, "GetLogEvents", with(json!({"nextToken": token}))).await;
    assert_eq!(messages(&page), ["0", "1", "2", "3", "4"]);
    let last = ok(&fixture, "GetLogEvents", with(json!({"limit": 2}))).await;
    assert_eq!(messages(&last), ["3", "4"]);
    let forward = &last["nextForwardToken"];
    let end = ok(&fixture, "GetLogEvents", with(json!({"nextToken": forward}))).await;
    assert!(messages(&end).is_empty() && end["nextForwardToken"] == *forward);
    // From an empty page back again.
    let back = json!({"nextToken": end["nextBackwardToken"], "limit": 2});
    assert_eq!(messages(&ok(&fixture, "GetLogEvents", with(back)).await), ["3", "4"]);
    let back = json!({"nextToken": last["nextBackwardToken"], "limit": 9});
    let back = ok(&fixture, "GetLogEvents", with(back)).await;
    assert_eq!(messages(&back), ["0", "1", "2"]);
    let more = json!({"nextToken": back["nextBackwardToken"]});
    let more = ok(&fixture, "GetLogEvents", with(more)).await;
    assert!(messages(&more).is_empty());
    assert_eq!(more["nextBackwardToken"], back["nextBackwardToken"]);
    let head = ok(&fixture, "GetLogEvents", with(json!({"limit": 2, "startFromHead": true}))).await;
    assert_eq!(messages(&head), ["0", "1"]);
    let tail = ok(&fixture, "FilterLogEvents", json!({"logGroupName": "g", "limit": 3})).await;
    let rest = json!({"logGroupName": "g", "nextToken": tail["nextToken"]});
    let rest = ok(&fixture, "FilterLogEvents", rest).await;
    assert_eq!((messages(&rest), &rest["nextToken"]), (vec!["3", "4"], &Value::Null));
}

#[tokio::test]
async fn an_agent_puts_events_and_reads_none() {
    let fixture = Fixture::start().await;
    let stream = json!({"logGroupName": "g", "logStreamName": "s"});
    let group = json!({"logGroupName": "g"});
    assert_eq!(fixture.logs(HOST, "CreateLogGroup", group.clone()).await.status, 200);
    assert_eq!(fixture.logs(HOST, "CreateLogStream", stream.clone()).await.status, 200);
    assert_eq!(fixture.logs(HOST, "DescribeLogStreams", group.clone()).await.status, 200);
    for (operation, input) in [
        ("GetLogEvents", stream.clone()),
        ("FilterLogEvents", group.clone()),
        ("DeleteLogGroup", group.clone()),
        ("DescribeLogGroups", json!({})),
    ] {
        let reply = fixture.logs(HOST, operation, input).await;
        assert_eq!(reply.code(), "AccessDeniedException", "{operation}: {reply:?}");
        assert!(reply.body.contains(&format!("logs:{operation}")));
    }
}
