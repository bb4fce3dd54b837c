use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use wharf_model::load_balancing::{Condition, Protocol, WeightedTargetGroup};

fn forward(groups: &[(&str, u32)]) -> Action {
    Action::Forward(Forward {
        target_groups: groups
            .iter()
            .map(|(name, weight)| WeightedTargetGroup {
                target_group: (*name).into(),
                weight: Some(*weight),
            })
            .collect(),
        stickiness_seconds: None,
    })
}

fn table(rules: Vec<(u32, Vec<Condition>, &str)>) -> RuleTable<String> {
    let listener = Listener {
        load_balancer: "app/a/1".into(),
        id: "2".into(),
        port: 80,
        protocol: Protocol::Http,
        ssl_policy: None,
        certificates: vec![],
        alpn_policy: None,
        mutual_authentication: None,
        default_actions: vec![forward(&[("default", 1)])],
        attributes: BTreeMap::new(),
        tags: vec![],
    };
    let rules: Vec<Rule> = rules
        .into_iter()
        .map(|(priority, conditions, group)| Rule {
            listener: listener.path(),
            id: priority.to_string(),
            priority,
            conditions,
            actions: vec![forward(&[(group, 1)])],
            transforms: vec![],
            tags: vec![],
        })
        .collect();
    RuleTable::new(&listener, rules.iter(), &mut |path| path.to_owned())
}

fn texts(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn path(values: &[&str]) -> Condition {
    Condition::PathPattern { values: texts(values), regex_values: vec![] }
}

fn host(values: &[&str]) -> Condition {
    Condition::HostHeader { values: texts(values), regex_values: vec![] }
}

fn chosen<'a>(table: &'a RuleTable<String>, request: &Request<'_>) -> &'a str {
    match &table.find(request).decision {
        Some(Decision::Forward(choice)) => choice.pick(0).unwrap(),
        _ => "none",
    }
}

fn request<'a>(headers: &'a HeaderMap, host: &'a str, target: &'a str) -> Request<'a> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Request {
        host,
        path,
        query,
        method: "GET",
        headers,
        source: [10, 1, 2, 3].into(),
        port: 80,
        tls: false,
    }
}

#[test]
fn the_lowest_priority_that_matches_decides() {
    let table = table(vec![
        (20, vec![path(&["/api/*"])], "api"),
        (10, vec![path(&["/api/v2/*"])], "v2"),
        (30, vec![host(&["*.shop.example"]), path(&["/cart*"])], "cart"),
    ]);
    let headers = HeaderMap::new();
    let check = |host: &str, target: &str| {
        let found: String = chosen(&table, &request(&headers, host, target)).into();
        found
    };
    assert_eq!(check("x", "/api/v2/a"), "v2");
    assert_eq!(check("x", "/api/v1/a"), "api");
    assert_eq!(check("x", "/API/v1/a"), "default");
    assert_eq!(check("www.shop.EXAMPLE", "/cart"), "cart");
    assert_eq!(check("shop.example", "/cart"), "default");
    assert!(table.claims_host("a.shop.example"));
    assert!(!table.claims_host("other.example"));
}

#[test]
fn every_kind_of_condition_matches_what_it_should() {
    let regex = Condition::PathPattern {
        values: vec![],
        regex_values: texts(&["^/item/[0-9]+$", "(unclosed"]),
    };
    let header = Condition::HttpHeader {
        name: "X-Version".into(),
        values: texts(&["beta-*"]),
        regex_values: vec![],
    };
    let query = Condition::QueryString {
        values: vec![(Some("debug".into()), "*".into()), (None, "magic".into())],
    };
    let table = table(vec![
        (1, vec![regex], "regex"),
        (2, vec![header], "header"),
        (3, vec![query], "query"),
        (4, vec![Condition::HttpRequestMethod { values: texts(&["PUT"]) }], "method"),
        (5, vec![Condition::SourceIp { values: texts(&["192.168.0.0/16"]) }], "source"),
        (
            6,
            vec![Condition::HttpHeader {
                name: "a b".into(),
                values: texts(&["*"]),
                regex_values: vec![],
            }],
            "never",
        ),
    ]);
    let mut headers = HeaderMap::new();
    assert_eq!(chosen(&table, &request(&headers, "x", "/item/12")), "regex");
    assert_eq!(chosen(&table, &request(&headers, "x", "/item/12a")), "default");
    assert_eq!(chosen(&table, &request(&headers, "x", "/?DEBUG=1")), "query");
    assert_eq!(chosen(&table, &request(&headers, "x", "/?a=b&c=Magic")), "query");
    assert_eq!(chosen(&table, &request(&headers, "x", "/?a=b&c=d")), "default");
    let put = Request { method: "PUT", ..request(&headers, "x", "/") };
    assert_eq!(chosen(&table, &put), "method");
    let near = Request { source: [192, 168, 3, 4].into(), ..request(&headers, "x", "/") };
    assert_eq!(chosen(&table, &near), "source");
    headers.append("x-version", "stable".parse().unwrap());
    headers.append("x-version", "BETA-7".parse().unwrap());
    assert_eq!(chosen(&table, &request(&headers, "x", "/")), "header");
}

proptest! {
    #[test]
    fn groups_are_chosen_by_their_weights(weights in prop::collection::vec(0u32..1000, 1..6)) {
        let groups: Vec<(usize, u32)> = weights.iter().copied().enumerate().collect();
        let choice = Choice { groups, stickiness: None };
        let total: u64 = weights.iter().map(|w| u64::from(*w)).sum();
        let mut seen = vec![0u32; weights.len()];
        for random in 0..total {
            seen[*choice.pick(random).unwrap()] += 1;
        }
        if weights.len() > 1 {
            prop_assert_eq!(seen, weights);
        }
        prop_assert_eq!(choice.pick(7).is_none(), total == 0);
    }
}
