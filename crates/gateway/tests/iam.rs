//! IAM and STS over HTTP: keys that are good for what their policies say, and until they end.
#![allow(clippy::unwrap_used)] // tests

mod support;

use support::Fixture;
use wharf_wire::iam::OTHER_OPERATIONS;

#[tokio::test]
async fn what_isnt_built_says_so() {
    let list = OTHER_OPERATIONS.iter().map(|name| format!("{name}\n")).collect::<String>();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/unsupported-iam-operations.txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, &list).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    assert_eq!(list, golden, "run with UPDATE_EXPECT=1 to accept the list as it is");
    let fixture = Fixture::start().await;
    let reply = fixture.query("iam", "Action=CreateGroup&Version=2010-05-08&GroupName=g").await;
    assert_eq!(reply.status, 400);
    let text = format!("{reply:?}");
    assert!(text.contains("UnsupportedOperation") && text.contains("CreateGroup"), "{text}");
    let reply = fixture.query("iam", "Action=MakeCoffee&Version=2010-05-08").await;
    assert_eq!(reply.status, 400);
    assert!(format!("{reply:?}").contains("InvalidAction"));
}

#[tokio::test]
async fn documents_are_shown_encoded_and_errors_have_iams_form() {
    let fixture = Fixture::start().await;
    let trust = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22\
                 Allow%22%2C%22Principal%22%3A%7B%22Service%22%3A%22ecs-tasks.amazonaws.com%22%7D%2C\
                 %22Action%22%3A%22sts%3AAssumeRole%22%7D%5D%7D";
    let create = format!(
        "Action=CreateRole&Version=2010-05-08&RoleName=Web&AssumeRolePolicyDocument={trust}"
    );
    let reply = fixture.query("iam", &create).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let text = format!("{reply:?}");
    assert!(text.contains("arn:aws:iam::123456789012:role/Web") && text.contains("AROA"), "{text}");
    assert!(text.contains(trust), "{text}");
    let again = fixture.query("iam", &create.replace("RoleName=Web", "RoleName=WEB")).await;
    assert_eq!(again.status, 409, "{again:?}");
    let text = format!("{again:?}");
    assert!(text.contains("<Code>EntityAlreadyExists</Code>"), "{text}");
    assert!(text.contains("Role with name WEB already exists."), "{text}");
}
