use super::evaluate::{Fact, Facts};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Facts of a test: what isn't there is unknown to the server if it begins with `x:`.
#[derive(Default)]
struct Known(BTreeMap<&'static str, Vec<&'static str>>);

impl Facts for Known {
    fn fact(&self, key: &str) -> Fact {
        match self.0.get(key) {
            Some(values) => Fact::Values(values.iter().map(|v| (*v).to_owned()).collect()),
            None if key.starts_with("x:") => Fact::NotUnderstood,
            None => Fact::Absent,
        }
    }
}

fn decide(document: &str, action: &str, resource: &str) -> Decision {
    let policy = Policy::parse(document, Kind::Identity).unwrap();
    let facts = Known(BTreeMap::from([
        ("ecs:cluster", vec!["arn:aws:ecs:us-east-1:1:cluster/a"]),
        ("aws:username", vec!["jo"]),
        ("aws:TagKeys", vec!["one", "two"]),
        ("s:n", vec!["5"]),
    ]));
    evaluate([&policy], &Request { action, resource, facts: &facts })
}

const DEFINITION: &str = "arn:aws:ecs:us-east-1:1:task-definition/web:3";

fn one(statement: &str) -> String {
    format!("{{\"Version\":\"2012-10-17\",\"Statement\":{{{statement}}}}}")
}

#[test]
fn statements_decide_as_iam_documents() {
    use Decision::{Allowed, Denied, NotAllowed};
    let cases = [
        (r#""Effect":"Allow","Action":"ecs:RunTask","Resource":"*""#, Allowed),
        (r#""Effect":"Allow","Action":"ECS:runtask","Resource":"*""#, Allowed),
        (
            r#""Effect":"Allow","Action":["ecs:Run*","iam:*"],"Resource":["arn:aws:ecs:*:*:task-definition/web:*"]"#,
            Allowed,
        ),
        (
            r#""Effect":"Allow","Action":"ecs:RunTas?","Resource":"arn:aws:ecs:us-east-1:1:task-definition/web:?""#,
            Allowed,
        ),
        (r#""Effect":"Allow","Action":"ecs:StopTask","Resource":"*""#, NotAllowed),
        (
            r#""Effect":"Allow","Action":"*","Resource":"arn:aws:ecs:us-east-1:1:task-definition/WEB:*""#,
            NotAllowed,
        ),
        (r#""Effect":"Allow","NotAction":"iam:*","Resource":"*""#, Allowed),
        (r#""Effect":"Allow","NotAction":"ecs:*","Resource":"*""#, NotAllowed),
        (r#""Effect":"Allow","Action":"ecs:*","NotResource":"arn:aws:ecs:*:*:cluster/*""#, Allowed),
        (
            r#""Effect":"Allow","Action":"ecs:*","NotResource":"arn:aws:ecs:*:*:task-definition/*""#,
            NotAllowed,
        ),
        (r#""Effect":"Deny","Action":"ecs:*","Resource":"*""#, Denied),
    ];
    for (statement, expected) in cases {
        assert_eq!(decide(&one(statement), "ecs:RunTask", DEFINITION), expected, "{statement}");
    }
}

#[test]
fn conditions_must_hold() {
    use Decision::{Allowed, NotAllowed};
    let cases = [
        (
            r#""Effect":"Allow","Action":"*","Resource":"*","Condition":{"ArnEquals":{"ecs:cluster":"arn:aws:ecs:*:1:cluster/a"}}"#,
            Allowed,
        ),
        (
            r#""Effect":"Allow","Action":"*","Resource":"*","Condition":{"ArnEquals":{"ecs:cluster":"arn:aws:ecs:*:cluster/a"}}"#,
            NotAllowed,
        ),
        (
            r#""Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"ecs:cluster":["x","arn:aws:ecs:us-east-1:1:cluster/a"]}}"#,
            Allowed,
        ),
        (
            r#""Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringNotEquals":{"ecs:cluster":["x","arn:aws:ecs:us-east-1:1:cluster/a"]}}"#,
            NotAllowed,
        ),
        (
            r#""Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"ecs:absent":"x"}}"#,
            NotAllowed,
        ),
        (
            r#""Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEqualsIfExists":{"ecs:absent":"x"}}"#,
            Allowed,
        ),
        (
            r#""Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringNotLike":{"ecs:absent":"x*"}}"#,
            Allowed,
        ),
        (
            r#""Effect":"Allow","Action":"*","Resource":"*","Condition":{"Null":{"ecs:absent":"true"}}"#,
            Allowed,
        ),
        (
            r#""Effect":"Allow","Action":"*","Resource":"*","Condition":{"Null":{"ecs:cluster":true}}"#,
            NotAllowed,
        ),
        (
            r#""Effect":"Allow","Action":"*","Resource":"*","Condition":{"ForAllValues:StringEquals":{"aws:TagKeys":["one","two","three"]}}"#,
            Allowed,
        ),
        (
            r#""Effect":"Allow","Action":"*","Resource":"*","Condition":{"ForAllValues:StringEquals":{"aws:TagKeys":["one"]}}"#,
            NotAllowed,
        ),
        (
            r#""Effect":"Allow","Action":"*","Resource":"*","Condition":{"ForAnyValue:StringEquals":{"aws:TagKeys":["one"]}}"#,
            Allowed,
        ),
        (
            r#""Effect":"Allow","Action":"*","Resource":"*","Condition":{"NumericLessThan":{"s:n":10}}"#,
            Allowed,
        ),
        (
            r#""Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:username":"${aws:username}"}}"#,
            Allowed,
        ),
    ];
    for (statement, expected) in cases {
        assert_eq!(decide(&one(statement), "ecs:RunTask", DEFINITION), expected, "{statement}");
    }
}

#[test]
fn what_isnt_understood_grants_nothing_and_denies() {
    use Decision::{Denied, NotAllowed};
    let cases = [
        (
            r#""Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"x:y":"z"}}"#,
            NotAllowed,
        ),
        (
            r#""Effect":"Allow","Action":"*","Resource":"*","Condition":{"IpAddress":{"ecs:cluster":"10.0.0.0/8"}}"#,
            NotAllowed,
        ),
        (
            r#""Effect":"Allow","Action":"*","Resource":"*","Condition":{"ForSome:StringEquals":{"ecs:cluster":"a"}}"#,
            NotAllowed,
        ),
        (
            r#""Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:username":"${x:y}"}}"#,
            NotAllowed,
        ),
        (
            r#""Effect":"Deny","Action":"*","Resource":"*","Condition":{"StringNotEquals":{"x:y":"z"}}"#,
            Denied,
        ),
        (
            r#""Effect":"Deny","Action":"*","Resource":"*","Condition":{"StringEquals":{"x:y":"z","aws:username":"me"}}"#,
            NotAllowed,
        ),
        (
            r#""Effect":"Deny","Action":"*","Resource":"arn:aws:ecs:*:*:task-definition/${x:y}""#,
            Denied,
        ),
        (
            r#""Effect":"Allow","Action":"*","NotResource":"arn:aws:ecs:*:*:task-definition/${x:y}""#,
            NotAllowed,
        ),
        (
            r#""Effect":"Allow","Action":"*","Resource":"arn:aws:ecs:*:*:task-definition/${*}""#,
            NotAllowed,
        ),
    ];
    for (statement, expected) in cases {
        assert_eq!(decide(&one(statement), "ecs:RunTask", DEFINITION), expected, "{statement}");
    }
}

#[test]
fn a_deny_wins_wherever_it_stands() {
    let allow = r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#;
    let deny = r#"{"Effect":"Deny","Action":"iam:*","Resource":"*"}"#;
    for list in [format!("{allow},{deny}"), format!("{deny},{allow}")] {
        let document = format!("{{\"Version\":\"2012-10-17\",\"Statement\":[{list}]}}");
        assert_eq!(decide(&document, "iam:GetRole", "*"), Decision::Denied);
        assert_eq!(decide(&document, "ecs:RunTask", "*"), Decision::Allowed);
    }
    assert_eq!(
        evaluate([], &Request { action: "a:b", resource: "*", facts: &Known::default() }),
        Decision::NotAllowed
    );
}

#[test]
fn trust_policies_name_services_accounts_and_roles() {
    let says = |principal: &str, effect: &str, caller: Caller<'_>| {
        let document = format!(
            "{{\"Version\":\"2012-10-17\",\"Statement\":[{{\"Effect\":\"{effect}\",\
             \"Principal\":{principal},\"Action\":\"sts:AssumeRole\"}}]}}"
        );
        trust(
            &Policy::parse(&document, Kind::Trust).unwrap(),
            "sts:AssumeRole",
            caller,
            &Known::default(),
        )
    };
    let tasks = Caller::Service("ecs-tasks.amazonaws.com");
    let session = Caller::Identity {
        account: "123456789012",
        arn: "arn:aws:sts::123456789012:assumed-role/web/s",
        role_arn: Some("arn:aws:iam::123456789012:role/web"),
    };
    let service = r#"{"Service":["ecs.amazonaws.com","ecs-tasks.amazonaws.com"]}"#;
    assert_eq!(says(service, "Allow", tasks), Trust::Named);
    assert_eq!(says(service, "Deny", tasks), Trust::No);
    assert_eq!(says(service, "Allow", session), Trust::No);
    assert_eq!(says(r#"{"Service":"ec2.amazonaws.com"}"#, "Allow", tasks), Trust::No);
    assert_eq!(
        says(r#"{"AWS":"arn:aws:iam::123456789012:root"}"#, "Allow", session),
        Trust::ByAccount
    );
    assert_eq!(says(r#"{"AWS":"123456789012"}"#, "Allow", session), Trust::ByAccount);
    assert_eq!(says(r#"{"AWS":"arn:aws:iam::999999999999:root"}"#, "Allow", session), Trust::No);
    assert_eq!(
        says(r#"{"AWS":"arn:aws:iam::123456789012:role/web"}"#, "Allow", session),
        Trust::Named
    );
    assert_eq!(
        says(r#"{"AWS":"arn:aws:iam::123456789012:role/other"}"#, "Allow", session),
        Trust::No
    );
    assert_eq!(says(r#""*""#, "Allow", session), Trust::Named);
    assert_eq!(says(r#""*""#, "Allow", tasks), Trust::No);
}

#[test]
fn a_resources_policy_allows_whom_it_names_and_leaves_accounts_to_their_own() {
    let session = Caller::Identity {
        account: "123456789012",
        arn: "arn:aws:sts::123456789012:assumed-role/web/s",
        role_arn: Some("arn:aws:iam::123456789012:role/web"),
    };
    let says = |statements: &str, action: &str| {
        let document = format!("{{\"Statement\":[{statements}]}}");
        let policy = Policy::parse(&document, Kind::Resource).unwrap();
        by_resource(&policy, action, session, &Known::default())
    };
    let role = r#"{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:role/web"},
        "Action":["ecr:BatchGetImage","ecr:Put*"]}"#;
    let account = r#"{"Effect":"Allow","Principal":{"AWS":"123456789012"},"Action":"*"}"#;
    let denied = r#"{"Effect":"Deny","Principal":"*","Action":"ecr:PutImage"}"#;
    assert_eq!(says(role, "ecr:PutImage"), Decision::Allowed);
    assert_eq!(says(role, "ecr:DeleteRepository"), Decision::NotAllowed);
    assert_eq!(says(account, "ecr:PutImage"), Decision::NotAllowed);
    assert_eq!(says(&format!("{role},{denied}"), "ecr:PutImage"), Decision::Denied);
    assert_eq!(says(&format!("{denied},{role}"), "ecr:BatchGetImage"), Decision::Allowed);
    for (statement, why) in [
        (r#"{"Effect":"Allow","Action":"*"}"#, "Missing required field Principal"),
        (
            r#"{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}"#,
            "Has prohibited field Resource",
        ),
    ] {
        let document = format!("{{\"Statement\":[{statement}]}}");
        assert_eq!(Policy::parse(&document, Kind::Resource).unwrap_err().to_string(), why);
    }
}

#[test]
fn a_registrys_policy_names_whom_and_what() {
    let arn = "arn:aws:iam::999999999999:root";
    let foreign = Caller::Identity { account: "999999999999", arn, role_arn: None };
    let says = |statements: &str, resource: &str, is_foreign: bool| {
        let document = format!("{{\"Statement\":[{statements}]}}");
        let policy = Policy::parse(&document, Kind::Registry).unwrap();
        let facts = Known::default();
        let request = Request { action: "ecr:ReplicateImage", resource, facts: &facts };
        by_registry(&policy, &request, foreign, is_foreign)
    };
    let app = "arn:aws:ecr:us-east-1:123456789012:repository/app";
    let other = "arn:aws:ecr:us-east-1:123456789012:repository/other";
    let allow = r#"{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::999999999999:root"},
        "Action":["ecr:ReplicateImage"],
        "Resource":["arn:aws:ecr:us-east-1:123456789012:repository/app*"]}"#;
    let deny = r#"{"Effect":"Deny","Principal":"*","Action":"ecr:*","Resource":"*"}"#;
    assert_eq!(says(allow, app, true), Decision::Allowed);
    assert_eq!(says(allow, app, false), Decision::NotAllowed);
    assert_eq!(says(allow, other, true), Decision::NotAllowed);
    assert_eq!(says(&format!("{allow},{deny}"), app, true), Decision::Denied);
    for (statement, why) in [
        (r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#, "Missing required field Principal"),
        (
            r#"{"Effect":"Allow","Principal":"*","Action":"*"}"#,
            "Policy statement must contain resources.",
        ),
    ] {
        let document = format!("{{\"Statement\":[{statement}]}}");
        assert_eq!(Policy::parse(&document, Kind::Registry).unwrap_err().to_string(), why);
    }
}

#[test]
fn malformed_documents_are_refused_in_iams_words() {
    let identity = [
        ("", "This policy contains invalid Json"),
        ("[]", "Syntax errors in policy."),
        ("{}", "Syntax errors in policy."),
        (r#"{"Version":"2012-10-17","Statement":[]}"#, "Syntax errors in policy."),
        (
            r#"{"Version":"2013-01-01","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#,
            "The policy must contain a valid version string.",
        ),
        (
            r#"{"Statement":[{"Effect":"allow","Action":"*","Resource":"*"}]}"#,
            "Syntax errors in policy.",
        ),
        (
            r#"{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*","More":1}]}"#,
            "Syntax errors in policy.",
        ),
        (
            r#"{"Statement":[{"Effect":"Allow","Resource":"*"}]}"#,
            "Policy statement must contain actions.",
        ),
        (
            r#"{"Statement":[{"Effect":"Allow","Action":"*"}]}"#,
            "Policy statement must contain resources.",
        ),
        (
            r#"{"Statement":[{"Effect":"Allow","Action":"RunTask","Resource":"*"}]}"#,
            "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.",
        ),
        (
            r#"{"Statement":[{"Effect":"Allow","Action":"*","Resource":"web"}]}"#,
            "Resource web must be in ARN format or \"*\".",
        ),
        (
            r#"{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Principal":"*"}]}"#,
            "Policy document should not specify a principal.",
        ),
        (
            r#"{"Statement":[{"Sid":"a","Effect":"Allow","Action":"*","Resource":"*"},{"Sid":"a","Effect":"Allow","Action":"*","Resource":"*"}]}"#,
            "Statement IDs (SID) in a single policy must be unique.",
        ),
    ];
    for (document, message) in identity {
        assert_eq!(
            Policy::parse(document, Kind::Identity).unwrap_err().to_string(),
            message,
            "{document}"
        );
    }
    let trust = [
        (
            r#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole","Resource":"*"}]}"#,
            "Has prohibited field Resource",
        ),
        (
            r#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":"ecs:RunTask"}]}"#,
            "AssumeRole policy may only specify STS AssumeRole actions.",
        ),
        (
            r#"{"Statement":[{"Effect":"Allow","Principal":{"Service":"ecs"},"Action":"sts:AssumeRole"}]}"#,
            "Invalid principal in policy: \"SERVICE\":\"ecs\"",
        ),
        (
            r#"{"Statement":[{"Effect":"Allow","Principal":{"AWS":"me"},"Action":"sts:AssumeRole"}]}"#,
            "Invalid principal in policy: \"AWS\":\"me\"",
        ),
    ];
    for (document, message) in trust {
        assert_eq!(
            Policy::parse(document, Kind::Trust).unwrap_err().to_string(),
            message,
            "{document}"
        );
    }
}

fn naive(pattern: &[char], text: &[char]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (None, Some(_)) => false,
        (Some(('*', rest)), _) => (0..=text.len()).any(|n| naive(rest, &text[n..])),
        (Some((p, rest)), Some((t, text))) => (*p == '?' || p == t) && naive(rest, text),
        (Some(_), None) => false,
    }
}

proptest! {
    #[test]
    fn wildcards_match_as_the_plain_definition_says(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        prop_assert_eq!(matches(&pattern, &text), naive(&chars(&pattern), &chars(&text)));
    }

    /// More statements that deny never allow more, more that allow never deny.
    #[test]
    fn denies_only_take_and_allows_only_give(
        statements in proptest::collection::vec(
            (any::<bool>(), "(ecs|iam|\\*):?(Run|Stop|\\*)?[A-Z*]?", any::<bool>()), 1..6),
        extra_action in "(ecs|iam):(\\*|RunTask)",
        extra_denies in any::<bool>(),
    ) {
        let text = |(allow, action, all): &(bool, String, bool)| format!(
            "{{\"Effect\":\"{}\",\"Action\":\"{}\",\"Resource\":\"{}\"}}",
            if *allow { "Allow" } else { "Deny" }, action,
            if *all { "*" } else { "arn:aws:ecs:us-east-1:1:cluster/b" });
        let document = |list: &[String]| format!("{{\"Statement\":[{}]}}", list.join(","));
        let mut list: Vec<String> = statements.iter().map(text).collect();
        let Ok(before) = Policy::parse(&document(&list), Kind::Identity) else { return Ok(()) };
        list.push(text(&(!extra_denies, extra_action, true)));
        let after = Policy::parse(&document(&list), Kind::Identity).unwrap();
        let facts = Known::default();
        let request = Request { action: "ecs:RunTask", resource: "*", facts: &facts };
        let (before, after) = (evaluate([&before], &request), evaluate([&after], &request));
        if extra_denies {
            prop_assert!(after == before || after == Decision::Denied);
        } else {
            prop_assert!(after == before || (before == Decision::NotAllowed && after == Decision::Allowed));
        }
    }

    #[test]
    fn parsing_never_panics(text in "\\PC{0,60}", statement in "[\\[\\]{}\":,A-Za-z*]{0,60}") {
        for text in [&text, &one(&statement)] {
            let _ = Policy::parse(text, Kind::Identity);
            let _ = Policy::parse(text, Kind::Trust);
        }
    }
}
