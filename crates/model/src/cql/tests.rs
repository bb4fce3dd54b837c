//! The language: what parses, what it means, and that printing loses nothing.

use super::*;
use crate::container_instance::{Attribute, ContainerInstance, InstanceStatus};
use crate::resources::ResourceAmount;
use crate::snapshot::{InstanceUsage, Snapshot};
use crate::time::Timestamp;
use expect_test::{Expect, expect};
use proptest::prelude::*;

fn instance() -> ContainerInstance {
    let attribute =
        |n: &str, v: Option<&str>| Attribute { name: n.to_owned(), value: v.map(str::to_owned) };
    ContainerInstance {
        gpu_ids: Vec::new(),
        id: "0123".into(),
        cluster: "default".into(),
        ec2_instance_id: "i-abcd1234".to_owned(),
        registered_by: String::new(),
        registered: ResourceAmount::default(),
        attributes: vec![
            attribute("ecs.instance-type", Some("g2.2xlarge")),
            attribute("ecs.availability-zone", Some("us-east-1a")),
            attribute("slots", Some("9")),
            attribute("label", None),
        ],
        status: InstanceStatus::Active,
        version: 1,
        // 2018-02-12T23:59:59Z
        registered_at: Timestamp(1_518_479_999_000),
        deregistered_at: None,
        agent_version: "1.14.4".to_owned(),
        agent_hash: String::new(),
        docker_version: String::new(),
        capacity_provider: None,
        private_ip: None,
        client_token: None,
        tags: Vec::new(),
    }
}

fn holds(text: &str) -> bool {
    let (snapshot, instance) = (Snapshot::default(), instance());
    let mut usage = InstanceUsage { running: 1, ..InstanceUsage::default() };
    usage.tasks_by_group.insert("service:production".to_owned(), 2);
    usage.tasks_by_group.insert("family:batch".to_owned(), 1);
    let facts =
        Facts { snapshot: &snapshot, instance: &instance, usage: &usage, agent_connected: true };
    parse(text).unwrap_or_else(|e| panic!("{text}: {e}")).matches(&facts)
}

#[test]
fn what_holds_of_an_instance() {
    let yes = [
        "attribute:ecs.instance-type == g2.2xlarge",
        "attribute:ecs.instance-type equals 'g2.2xlarge'",
        "attribute:ecs.availability-zone in [us-east-1a, us-east-1b]",
        "attribute:ecs.instance-type =~ g2.* and attribute:ecs.availability-zone != us-east-1d",
        "attribute:ecs.instance-type matches '(g2|p3)\\..*'",
        "attribute:ecs.instance-type !~ g2",
        "attribute:slots > 10 or attribute:slots < 10",
        "attribute:slots in [1..3, 8..9]",
        "attribute:slots !in ['8..9']",
        "attribute:label exists",
        "attribute:other !exists",
        "attribute:other not_exists && attribute:other != x",
        "attribute:other not_in [x] and attribute:other not_matches .*",
        "task:group == service:production",
        "not(task:group == database)",
        "task:group != database",
        "task:group =~ family:.*",
        "task:group exists",
        "task:startedBy !exists",
        "runningTasksCount == 1",
        "runningTasksCount >= 1 and runningTasksCount less_than 2",
        "agentVersion < 1.14.5",
        "agentVersion >= 1.9",
        "agentVersion == 1.14.4.0",
        "registeredAt < 2018-02-13",
        "registeredAt <= 2018-02-12T23:59:59",
        "registeredAt == 2018-02-13T01:59:59+02:00",
        "registeredAt greater_than 2018-02-12T23:59:58Z",
        "ec2InstanceId in ['i-abcd1234', 'i-wxyx7890']",
        "agentConnected == true",
        "status == ACTIVE",
        "!(agentConnected == false)",
        "agentConnected==true&&status==ACTIVE||runningTasksCount==9",
        "( ( status == ACTIVE ) )",
        "status == DRAINING and status == x or status == ACTIVE",
        "status == ACTIVE or status == x and status == x",
    ];
    for text in yes {
        assert!(holds(text), "{text}");
        assert!(!holds(&format!("not ({text})")), "not ({text})");
    }
    let no = [
        "attribute:other == x",
        "attribute:other > 1",
        "attribute:ecs.instance-type =~ g2",
        "task:group in [a, b]",
        "not status == ACTIVE",
    ];
    for text in no {
        assert!(!holds(text), "{text}");
    }
}

fn fails(text: &str, expected: Expect) {
    expected.assert_eq(&parse(text).unwrap_err().to_string());
}

#[test]
fn errors_say_what_and_where() {
    fails("", expect!["Invalid expression: expected a subject at position 0."]);
    fails("zone == a", expect!["Invalid expression: 'zone' is no subject at position 0."]);
    fails(
        "attribute: == a",
        expect!["Invalid expression: 'attribute:' is no subject at position 0."],
    );
    fails("attribute:x", expect!["Invalid expression: expected an operator at position 11."]);
    fails(
        "attribute:x like y",
        expect!["Invalid expression: expected an operator at position 12."],
    );
    fails("attribute:x ==", expect!["Invalid expression: expected a value at position 14."]);
    fails(
        "attribute:x == 'y",
        expect!["Invalid expression: expected a closing quote at position 17."],
    );
    fails(
        "attribute:x in y",
        expect!["Invalid expression: expected a list in brackets at position 15."],
    );
    fails("attribute:x in [y", expect!["Invalid expression: expected ',' or ']' at position 17."]);
    fails(
        "attribute:x == y z",
        expect!["Invalid expression: expected 'and', 'or' or the end at position 17."],
    );
    fails("(attribute:x == y", expect!["Invalid expression: expected ')' at position 17."]);
    fails(
        "attribute:x =~ [",
        expect!["Invalid expression: '[' is no valid regular expression at position 15."],
    );
    fails(
        "attribute:x =~ 'a)|(b'",
        expect!["Invalid expression: 'a)|(b' is no valid regular expression at position 15."],
    );
    fails(
        "agentConnected > true",
        expect![
            "Invalid expression: this operator can't be used with agentConnected at position 15."
        ],
    );
    fails(
        "agentConnected == yes",
        expect![
            "Invalid expression: agentConnected is compared with 'yes', which isn't true or false at position 18."
        ],
    );
    fails(
        "registeredAt < 2018-2-1",
        expect![
            "Invalid expression: registeredAt is compared with '2018-2-1', which isn't a date at position 15."
        ],
    );
    fails(
        "runningTasksCount == some",
        expect![
            "Invalid expression: runningTasksCount is compared with 'some', which isn't a number at position 21."
        ],
    );
}

#[test]
fn size_and_depth_are_limited() {
    let long = format!("attribute:x == {}", "y".repeat(MAX_LENGTH));
    assert!(parse(&long).is_err());
    let deep = format!("{}status == A{}", "(".repeat(100), ")".repeat(100));
    assert!(parse(&deep).unwrap_err().message.starts_with("nested deeper"));
    assert!(parse(&format!("{}status == A", "!".repeat(500))).is_err());
    assert!(parse("attribute:x =~ '(a{1000}){1000}'").unwrap_err().message.contains("too large"));
    let wide = vec!["status == A"; 100].join(" or ");
    assert!(parse(&wide).is_ok());
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9._:-]{1,8}",
        "[ -~]{0,10}",
        "\\PC{0,5}",
        Just("and".to_owned()),
        Just("1..3".to_owned()),
        Just("it's \"so\"".to_owned()),
    ]
}

fn test_expr() -> impl Strategy<Value = Expr> {
    use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
    let comparison =
        prop::sample::select(vec![Equal, NotEqual, Greater, GreaterOrEqual, Less, LessOrEqual]);
    let item = prop_oneof![
        word().prop_map(Item::Value),
        (-50i64..50, -50i64..50).prop_map(|(a, b)| Item::Range(a, b)),
    ];
    let condition = prop_oneof![
        (comparison, word()).prop_map(|(c, w)| Condition::Compare(c, w)),
        any::<bool>().prop_map(Condition::Exists),
        (any::<bool>(), prop::collection::vec(item, 1..4)).prop_map(|(is, i)| Condition::In(is, i)),
        (any::<bool>(), "[a-z.*+|()' ]{1,8}").prop_filter_map("no pattern", |(is, text)| {
            Some(Condition::Matches(is, Pattern::new(&text).ok()?))
        }),
    ];
    let name = "[a-z][a-z0-9.-]{0,6}";
    (name, condition).prop_map(|(n, c)| Expr::Test(Subject::Attribute(n), c))
}

fn any_expr() -> impl Strategy<Value = Expr> {
    test_expr().prop_recursive(5, 24, 2, |inner| {
        let both = (inner.clone(), inner.clone());
        prop_oneof![
            both.clone().prop_map(|(a, b)| Expr::And(Box::new(a), Box::new(b))),
            both.prop_map(|(a, b)| Expr::Or(Box::new(a), Box::new(b))),
            inner.prop_map(|a| Expr::Not(Box::new(a))),
        ]
    })
}

proptest! {
    #[test]
    fn printing_loses_nothing(expr in any_expr()) {
        let text = expr.to_string();
        prop_assume!(text.len() <= MAX_LENGTH);
        match parse(&text) {
            Ok(parsed) => prop_assert_eq!(parsed, expr, "{}", text),
            Err(e) => prop_assert!(false, "{}: {}", text, e),
        }
    }

    #[test]
    fn rubbish_is_refused_without_harm(text in "\\PC{0,60}") {
        if let Ok(expr) = parse(&text) {
            prop_assert_eq!(parse(&expr.to_string()).ok(), Some(expr));
        }
    }
}
