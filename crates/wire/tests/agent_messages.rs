//! ACS and TCS messages as Amazon's agent writes and reads them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use wharf_wire::Timestamp;
use wharf_wire::acs::{self, AcsMessage};
use wharf_wire::tcs::{self, Frame, FrameError, TcsMessage};

#[test]
fn a_payload_round_trips() {
    let text = concat!(
        r#"{"type":"PayloadMessage","message":{"clusterArn":"c","containerInstanceArn":"i","#,
        r#""messageId":"m","tasks":[{"arn":"t","family":"f","desiredStatus":"RUNNING","#,
        r#""containers":[{"name":"app","essential":true,"cpu":10,"memory":64,"#,
        r#""portMappings":[{"containerPort":80,"hostPort":0,"protocol":"tcp"}],"#,
        r#""dependsOn":[{"containerName":"init","condition":"SUCCESS"}],"#,
        r#""dockerConfig":{"version":"1.17","config":"{\"User\":\"1\"}","hostConfig":"{}"},"#,
        r#""environment":{"A":"b"}}],"volumes":[{"name":"v","type":"host","host":{}}],"#,
        r#""cpu":0.25,"#,
        r#""elasticNetworkInterfaces":[{"ec2Id":"eni-1","macAddress":"02:00:00:00:00:01","#,
        r#""ipv4Addresses":[{"privateAddress":"10.0.0.2","primary":true}],"#,
        r#""subnetGatewayIpv4Address":"10.0.0.1/24"}],"networkMode":"bridge"}],"generatedAt":1,"seqNum":7}}"#
    );
    let message = AcsMessage::decode(text).unwrap();
    assert_eq!(message.encode().unwrap(), text);
    let AcsMessage::PayloadMessage(payload) = message else { panic!("another type") };
    let tasks = payload.tasks.unwrap();
    let container = &tasks[0].containers.as_ref().unwrap()[0];
    let config = container.docker_config.as_ref().unwrap().config.as_ref().unwrap();
    assert_eq!(acs::docker::Config::from_json(config).unwrap().user.as_deref(), Some("1"));
}

#[test]
fn secrets_are_not_shown() {
    let message = AcsMessage::from(acs::IAMRoleCredentialsMessage {
        role_credentials: Some(acs::IAMRoleCredentials {
            credentials_id: Some("id".to_owned()),
            secret_access_key: Some("hunter2".to_owned()),
            session_token: Some("hunter2".to_owned()),
            ..Default::default()
        }),
        ..Default::default()
    });
    let shown = format!("{message:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(message.encode().unwrap().contains("hunter2"));
}

#[test]
fn unknown_types_and_members_are_tolerated() {
    let message = AcsMessage::decode(r#"{"type":"Novel","message":{"a":1}}"#).unwrap();
    assert_eq!(message.kind(), "Novel");
    assert_eq!(message.encode().unwrap(), r#"{"type":"Novel","message":{"a":1}}"#);
    let known =
        r#"{"type":"HeartbeatMessage","message":{"healthy":true,"novel":[1],"messageId":null}}"#;
    let expected = acs::HeartbeatMessage { healthy: Some(true), message_id: None };
    assert_eq!(AcsMessage::decode(known).unwrap(), AcsMessage::from(expected));
    assert!(AcsMessage::decode(r#"{"type":"AckRequest"}"#).is_ok());
}

#[test]
fn malformed_envelopes_are_refused() {
    let deep = format!(r#"{{"type":"Novel","message":{}{}}}"#, "[".repeat(500), "]".repeat(500));
    for text in [
        "",
        "[]",
        "{}",
        "null",
        r#"{"type":1}"#,
        r#"{"message":{}}"#,
        r#"{"type":"HeartbeatMessage","message":[]"#,
        r#"{"type":"HeartbeatMessage","message":{"healthy":"yes"}}"#,
        r#"{"type":"PayloadMessage","message":{"seqNum":1e99}}"#,
        r#"{"type":"PayloadMessage","message":{"tasks":{}}}"#,
        r#"{"type":"AckRequest","message":{}} trailing"#,
        deep.as_str(),
    ] {
        assert!(AcsMessage::decode(text).is_err(), "{text}");
    }
}

#[test]
fn refusals() {
    let refusal = acs::Refusal {
        exception: acs::Refusal::INACTIVE_INSTANCE.to_owned(),
        message: "gone".to_owned(),
    };
    let body = refusal.encode();
    assert_eq!(body, r#"{"InactiveInstanceException":"gone"}"#);
    assert_eq!(acs::Refusal::decode(body.as_bytes()), Some(refusal.clone()));
    let enveloped = br#"{"type":"InactiveInstanceException","message":{"message":"gone"}}"#;
    assert_eq!(acs::Refusal::decode(enveloped), Some(refusal));
    assert_eq!(acs::Refusal::decode(b"gone"), None);
}

#[test]
fn telemetry_frames() {
    let envelope = concat!(
        r#"{"type":"PublishMetricsRequest","message":{"metadata":{"cluster":"c","idle":true},"#,
        r#""timestamp":1700000000.25}}"#
    );
    let text = format!("Authorization: AWS4\r\nHost: a:1\r\nX-Amz-Date: d\r\n\r\n{envelope}");
    let frame = Frame::parse(&text).unwrap();
    assert_eq!(frame.header("x-amz-date"), Some("d"));
    assert_eq!(frame.format(), text);
    let message = TcsMessage::decode(frame.body).unwrap();
    assert_eq!(message.encode().unwrap(), envelope);
    let TcsMessage::PublishMetricsRequest(request) = message else { panic!("another type") };
    assert_eq!(request.timestamp, Some(Timestamp(1_700_000_000_250)));
    assert_eq!(Frame::parse(envelope).unwrap().body, envelope);
    assert_eq!(Frame::parse("Host: a"), Err(FrameError::NoEnd));
    assert_eq!(Frame::parse("Host\r\n\r\n{}"), Err(FrameError::Header));
    let ack = TcsMessage::from(tcs::AckPublishMetric { message: Some("ok".to_owned()) });
    assert_eq!(ack.encode().unwrap(), r#"{"type":"AckPublishMetric","message":{"message":"ok"}}"#);
}
