//! Elastic Load Balancing over HTTP: the form of its answers and errors.
#![allow(clippy::unwrap_used)] // tests

mod support;

use support::Fixture;
use wharf_wire::{acm, elbv2};

fn golden(name: &str, operations: &[&str]) {
    let list = operations.iter().map(|name| format!("{name}\n")).collect::<String>();
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &list).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert_eq!(list, golden, "run with UPDATE_EXPECT=1 to accept the list as it is");
}

#[tokio::test]
async fn what_isnt_built_says_so() {
    golden("unsupported-elbv2-operations.txt", elbv2::OTHER_OPERATIONS);
    golden("unsupported-acm-operations.txt", acm::OTHER_OPERATIONS);
    let fixture = Fixture::start().await;
    let ask = |action: &str| format!("Action={action}&Version=2015-12-01");
    let service = "elasticloadbalancing";
    for (action, code) in [
        ("ModifyIpPools", "<Code>UnsupportedOperation</Code>"),
        ("MakeCoffee", "<Code>InvalidAction</Code>"),
    ] {
        let reply = fixture.query(service, &ask(action)).await;
        assert_eq!(reply.status, 400);
        assert!(format!("{reply:?}").contains(code), "{reply:?}");
    }
    // The classic service has the same signing name.
    let classic = "Action=DescribeLoadBalancers&Version=2012-06-01";
    let reply = fixture.query(service, classic).await;
    assert!(format!("{reply:?}").contains("<Code>NoSuchVersion</Code>"), "{reply:?}");
}

#[tokio::test]
async fn answers_and_errors_have_the_services_form() {
    let fixture = Fixture::start().await;
    let service = "elasticloadbalancing";
    let create = "Action=CreateTargetGroup&Version=2015-12-01&Name=web&Protocol=HTTP&Port=80\
                  &VpcId=vpc-0a77a2f0000000001&TargetType=ip";
    let reply = fixture.query(service, create).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let text = format!("{reply:?}");
    assert!(text.contains("<CreateTargetGroupResult><TargetGroups><member>"), "{text}");
    assert!(text.contains("<Matcher><HttpCode>200</HttpCode></Matcher>"), "{text}");
    let reply = fixture.query(service, &create.replace("Port=80", "Port=81")).await;
    assert_eq!(reply.status, 400);
    let text = format!("{reply:?}");
    assert!(text.contains("<Code>DuplicateTargetGroupName</Code>"), "{text}");
    assert!(text.contains("http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/"), "{text}");
}
