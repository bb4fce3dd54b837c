//! What must hold for any text given as a policy document.

use wharf_model::policy::{Decision, Fact, Facts, Kind, Policy, Request, evaluate};

struct Nothing;

impl Facts for Nothing {
    fn fact(&self, key: &str) -> Fact {
        if key.contains("a:b") { Fact::Absent } else { Fact::NotUnderstood }
    }
}

/// A document is refused with a reason, or decides the same each time, and a Deny of everything
/// beside it denies.
pub fn policy_document(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(error) = Policy::parse(text, Kind::Trust) {
        assert!(!error.to_string().is_empty());
    }
    let policy = match Policy::parse(text, Kind::Identity) {
        Ok(policy) => policy,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let deny = r#"{"Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}"#;
    let deny = Policy::parse(deny, Kind::Identity).expect("a document");
    for action in ["ecs:RunTask", "iam:PassRole"] {
        for resource in ["*", "arn:aws:ecs:us-east-1:123456789012:task-definition/web:3"] {
            let request = Request { action, resource, facts: &Nothing };
            let decision = evaluate([&policy], &request);
            assert_eq!(evaluate([&policy], &request), decision);
            assert_eq!(evaluate([&policy, &deny], &request), Decision::Denied);
        }
    }
}
