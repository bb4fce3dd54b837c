//! JSON from outside: what is refused, with which words, at which member.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use wharf_wire::ecs::types::{
    DescribeTasksRequest, LaunchType, RegisterTaskDefinitionRequest, RunTaskRequest,
};
use wharf_wire::{DecodeReason, Shape, Timestamp, json, validation};

fn refused<T: Shape + std::fmt::Debug>(body: &str) -> String {
    json::from_slice::<T>(body.as_bytes()).unwrap_err().to_string()
}

#[test]
fn wrong_types_carry_their_path() {
    for (body, expected) in [
        (r#"{"count":"3"}"#, "count: STRING_VALUE cannot be converted to Integer"),
        (r#"{"count":3.5}"#, "count: DECIMAL_VALUE cannot be converted to Integer"),
        (r#"{"count":true}"#, "count: TRUE_VALUE cannot be converted to Integer"),
        (r#"{"count":2147483648}"#, "count: 2147483648 is out of range"),
        (r#"{"count":1e300}"#, "count: 1e300 is out of range"),
        (r#"{"cluster":7}"#, "cluster: NUMBER_VALUE cannot be converted to String"),
        (r#"{"cluster":["a"]}"#, "cluster: Unrecognized collection type String"),
        (r#"{"cluster":{}}"#, "cluster: Start of structure or map found where not expected"),
        (
            r#"{"tags":[{"key":"a"},{"key":1}]}"#,
            "tags[1].key: NUMBER_VALUE cannot be converted to String",
        ),
        (r#"{"tags":{}}"#, "tags: Start of structure or map found where not expected"),
        (r#"{"tags":"a"}"#, "tags: Unexpected field type"),
        (r#"{"tags":[null]}"#, "tags[0]: Unexpected field type"),
        (r#"{"overrides":[]}"#, "overrides: Unrecognized collection type Structure"),
        (
            r#"{"enableECSManagedTags":"true"}"#,
            "enableECSManagedTags: Unexpected token received from parser",
        ),
        ("[]", "Unrecognized collection type Structure"),
        ("null", "Unexpected field type"),
    ] {
        let text = refused::<RunTaskRequest>(body);
        assert_eq!(text, expected, "{body}");
    }
}

#[test]
fn malformed_text_is_a_syntax_error() {
    let nested = format!(r#"{{"x":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    let cases: [&[u8]; 14] = [
        b"",
        b"{",
        b"}",
        b"{\"count\":}",
        b"{\"count\":1,}",
        b"{'count':1}",
        b"{\"count\":01}",
        b"{\"count\":1} x",
        b"{\"cluster\":\"\xff\"}",
        b"{\"cluster\":\"\\ud800\"}",
        b"{\"\xc3\x28\":1}",
        b"{\"cluster\":\"a\nb\"}",
        b"\xef\xbb\xbf{}",
        nested.as_bytes(),
    ];
    for body in cases {
        let error = json::from_slice::<RunTaskRequest>(body).unwrap_err();
        let malformed = matches!(error.reason, DecodeReason::Syntax(_) | DecodeReason::TooDeep);
        assert!(malformed, "{body:?}: {error}");
    }
}

#[test]
fn nulls_are_absent_unknown_members_are_ignored_and_the_last_duplicate_counts() {
    let body = r#"{"cluster":null,"novel":{"a":[1,{}]},"count":1,"count":2,"launchType":"MOON"}"#;
    let request: RunTaskRequest = json::from_slice(body.as_bytes()).unwrap();
    let expected = RunTaskRequest {
        count: Some(2),
        launch_type: Some(LaunchType::Unknown("MOON".to_owned())),
        ..Default::default()
    };
    assert_eq!(request, expected);
    let twice: RunTaskRequest = json::from_slice(br#"{"count":1,"count":null}"#).unwrap();
    assert_eq!(twice, RunTaskRequest::default());
}

#[test]
fn secrets_of_a_task_definition_are_not_shown() {
    let body = r#"{"family":"f","containerDefinitions":[{"name":"a","environment":
        [{"name":"PASSWORD","value":"hunter2"}],"repositoryCredentials":
        {"credentialsParameter":"hunter2"}}]}"#;
    let request: RegisterTaskDefinitionRequest = json::from_slice(body.as_bytes()).unwrap();
    let shown = format!("{request:?}");
    assert!(shown.contains("\"f\"") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn violations_are_worded_as_aws_words_them() {
    let schema = RunTaskRequest::schema();
    let document = json::decode(schema, br#"{"tags":[{"key":""}],"launchType":"MOON"}"#).unwrap();
    let check = |scope| validation::message(&validation::validate(schema, &document, scope));
    assert_eq!(
        check(validation::Scope::Required).unwrap(),
        "1 validation error detected: Value null at 'taskDefinition' failed to satisfy \
         constraint: Member must not be null"
    );
    let all = check(validation::Scope::All).unwrap();
    assert!(all.starts_with("3 validation errors detected: "), "{all}");
    assert!(all.contains("Value '' at 'tags.1.member.key' failed to satisfy constraint: Member must have length greater than or equal to 1"), "{all}");
    assert!(all.contains("Value 'MOON' at 'launchType' failed to satisfy constraint: Member must satisfy enum value set: [EC2, FARGATE, EXTERNAL"), "{all}");
    let fine = json::decode(schema, br#"{"taskDefinition":"a"}"#).unwrap();
    let found = validation::validate(schema, &fine, validation::Scope::All);
    assert_eq!(validation::message(&found), None);
}

#[test]
fn timestamps_have_milliseconds() {
    use wharf_wire::ecs::types::{DescribeTasksResponse, Task};
    let started = Some(Timestamp(1_700_000_000_123));
    let task = Task { started_at: started, ..Default::default() };
    let response = DescribeTasksResponse { tasks: Some(vec![task]), ..Default::default() };
    let body = json::to_vec(response.clone());
    assert_eq!(body, br#"{"tasks":[{"startedAt":1700000000.123}]}"#);
    assert_eq!(json::from_slice::<DescribeTasksResponse>(&body).unwrap(), response);
}

proptest! {
    #[test]
    fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = json::from_slice::<RegisterTaskDefinitionRequest>(&body);
        if let Ok(form) = wharf_wire::Form::parse(&body) {
            let _ = wharf_wire::query::from_form::<wharf_wire::sts::types::AssumeRoleRequest>(&form);
        }
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same(
        cluster in proptest::option::of(".*"),
        tasks in proptest::option::of(proptest::collection::vec(".*", 0..5)),
    ) {
        let request = DescribeTasksRequest { cluster, tasks, include: None };
        let body = json::to_vec(request.clone());
        prop_assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok());
        prop_assert_eq!(json::from_slice::<DescribeTasksRequest>(&body).unwrap(), request);
    }

    #[test]
    fn timestamps_round_trip(millis in -62_167_219_200_000_i64..253_402_300_799_999) {
        let at = Timestamp(millis);
        prop_assert_eq!(Timestamp::parse_iso8601(&at.to_iso8601()), Some(at));
        prop_assert_eq!(Timestamp::parse_rfc822(&at.to_rfc822()), Some(at));
    }
}
