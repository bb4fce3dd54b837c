//! `docs/task-definition.md` against the model, the code and the tests.

use super::super::launch_input;
use super::{Registration, members, validate};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use wharf_model::{TaskDefinition, Timestamp};
use wharf_wire::ecs::types;
use wharf_wire::{Document, Kind, Schema, Shape};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const PAGE: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/task-definition.md"));
/// What each row may say of its member.
const STATES: [&str; 3] = ["carried out", "recorded", "refused"];

#[derive(Debug)]
struct Row {
    path: &'static str,
    state: &'static str,
    remark: &'static str,
}

/// The rows below one of the page's headings.
fn rows(headings: &[&str]) -> Vec<Row> {
    let sections = PAGE.split("\n## ").skip(1);
    let wanted = sections.filter(|s| headings.iter().any(|h| s.lines().next() == Some(h)));
    let lines = wanted.flat_map(str::lines).filter_map(|line| line.strip_prefix("| `"));
    let row = |line: &'static str| {
        let (path, rest) = line.split_once("` | ").unwrap();
        let (state, remark) = rest.split_once(" | ").unwrap();
        Row { path, state, remark: remark.trim_end_matches('|').trim() }
    };
    lines.map(row).collect()
}

/// The paths of a shape's innermost members, each with values for it alone that ask for something.
fn leaves(schema: &Schema) -> Vec<(String, Vec<Document>)> {
    match &schema.kind {
        Kind::Structure(members) => {
            let mut all = Vec::new();
            for member in *members {
                for (path, values) in leaves(member.schema.get()) {
                    let path = match path.strip_prefix("[]") {
                        Some("") => format!("{}[]", member.name),
                        Some(rest) => format!("{}[].{}", member.name, rest.trim_start_matches('.')),
                        None if path.is_empty() => member.name.to_owned(),
                        None => format!("{}.{path}", member.name),
                    };
                    let within = |value| Document::Structure(vec![(member.name, value)]);
                    all.push((path, values.into_iter().map(within).collect()));
                }
            }
            all
        }
        Kind::List(list) => {
            let within = |value| Document::List(vec![value]);
            let below = |path: String| match path.is_empty() {
                true => "[]".to_owned(),
                false => format!("[].{path}"),
            };
            let elements = leaves(list.element.get()).into_iter();
            elements.map(|(p, v)| (below(p), v.into_iter().map(within).collect())).collect()
        }
        Kind::Map(_) => {
            let map = |(key, value): (&str, &str)| {
                let value = Document::String(value.to_owned());
                Document::Map(BTreeMap::from([(key.to_owned(), value)]))
            };
            let options = [("x", "x"), ("max-size", "1m"), ("type", "tmpfs")];
            vec![(String::new(), options.map(map).to_vec())]
        }
        // What takes a few words alone takes one of these.
        Kind::String([]) => {
            let words = ["x", "local", "no-new-privileges", "max-size"];
            vec![(String::new(), words.map(|word| Document::String(word.to_owned())).to_vec())]
        }
        Kind::String(words) => {
            let word = |word: &&str| Document::String((*word).to_owned());
            vec![(String::new(), words.iter().map(word).collect())]
        }
        Kind::Boolean => vec![(String::new(), vec![Document::Bool(true)])],
        _ => vec![(String::new(), vec![Document::Integer(1)])],
    }
}

/// Holds the rows against a shape's members; `refuses` says it of a request with one member.
fn check(headings: &[&str], schema: &Schema, refuses: impl Fn(Document) -> bool) -> Vec<String> {
    let rows = rows(headings);
    let members = leaves(schema);
    let mut wrong = Vec::new();
    let known: BTreeSet<&str> = members.iter().map(|(path, _)| path.as_str()).collect();
    for row in &rows {
        if !known.contains(row.path) {
            wrong.push(format!("{}: no such member", row.path));
        }
        if !STATES.contains(&row.state) {
            wrong.push(format!("{}: {:?} is none of {STATES:?}", row.path, row.state));
        }
        if row.remark.is_empty() {
            wrong.push(format!("{}: neither a test nor a reason", row.path));
        }
    }
    for (path, values) in members {
        let of_member: Vec<&Row> = rows.iter().filter(|row| row.path == path).collect();
        let [row] = of_member[..] else {
            wrong.push(format!("{path}: stands there {} times", of_member.len()));
            continue;
        };
        // Some words of a member may be refused where others aren't.
        let refused = values.into_iter().all(&refuses);
        if refused != (row.state == "refused") {
            wrong.push(format!("{path}: {}, but the code refuses it: {refused}", row.state));
        }
    }
    wrong
}

#[test]
fn each_member_of_a_task_definition_stands_there_once_and_is_what_it_says() {
    type Request = types::RegisterTaskDefinitionRequest;
    let refuses = |document: Document| {
        let request = Request::from_document(document).unwrap();
        let containers = request.container_definitions.iter().flatten().enumerate();
        let of_containers = containers.map(|(n, c)| members::of_container(n, c).refused);
        let refused = of_containers.chain([members::of_request(&request).refused]);
        refused.flatten().count() > 0
    };
    let wrong = check(&["The task", "Containers"], Request::schema(), refuses);
    assert!(wrong.is_empty(), "docs/task-definition.md:\n{}", wrong.join("\n"));
}

#[test]
fn each_override_stands_there_once_and_is_what_it_says() {
    let definition = definition();
    let refuses = |document: Document| {
        let sent = types::TaskOverride::from_document(document).unwrap();
        let answer = launch_input::overrides(&definition, Some(&sent), true);
        answer.is_err_and(|error| error.to_string().contains("Not supported by this server"))
    };
    let wrong = check(&["Overrides"], types::TaskOverride::schema(), refuses);
    assert!(wrong.is_empty(), "docs/task-definition.md:\n{}", wrong.join("\n"));
}

fn definition() -> TaskDefinition {
    let request = json!({"family": "web", "containerDefinitions": [
        {"name": "app", "image": "app", "memory": 64}]});
    let request = wharf_wire::json::from_slice::<types::RegisterTaskDefinitionRequest>(
        request.to_string().as_bytes(),
    );
    let at = Timestamp(0);
    let by = "arn:aws:iam::123456789012:root".to_owned();
    validate(&request.unwrap(), Registration { revision: 1, at, by, tags: Vec::new() }).unwrap()
}

#[test]
fn the_tests_that_it_names_exist() {
    let mut wrong = Vec::new();
    for row in rows(&["The task", "Containers", "Overrides"]) {
        let named: Vec<(&str, &str)> =
            row.remark.split('`').filter_map(|text| text.split_once("::")).collect();
        if row.state == "carried out" && named.is_empty() {
            wrong.push(format!("{}: no test", row.path));
        }
        for (file, test) in named {
            let text = std::fs::read_to_string(Path::new(ROOT).join(file)).unwrap_or_default();
            let keyword = if file.ends_with(".py") { "def" } else { "fn" };
            if !text.contains(&format!("{keyword} {test}(")) {
                wrong.push(format!("{}: no test {test} in {file}", row.path));
            }
        }
    }
    assert!(wrong.is_empty(), "docs/task-definition.md:\n{}", wrong.join("\n"));
}
