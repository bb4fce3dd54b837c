//! botocore's protocol cases against the codecs, seen from the server: what a client sends decodes
//! to the case's parameters, and the case's result encodes to what a client reads.
//!
//! The cases are another project's text and not in this repository: `cargo xtask fetch-cases` gets
//! them, and the test fails when they aren't there. Cases that say nothing about a server stand in
//! `not-applicable.txt` with the reason; that list is exact in both directions.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod model;
mod xml;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;
use wharf_wire::{Document, Form, Schema, Service, ec2query, json, query};

use model::Shapes;

const REQUEST_ID: &str = "7a62c49f-347e-4fc4-9331-6e8eEXAMPLE";

/// The file of each protocol.
const FILES: &[&str] = &["ec2", "json", "json_1_0", "json_1_0-query-compatible", "query"];

fn cases_directory() -> PathBuf {
    let directory = std::env::var_os("WHARF_BOTOCORE_CASES").map(PathBuf::from);
    let fetched = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/botocore-cases");
    let directory = directory.unwrap_or_else(fetched);
    let present = directory.join("input/json.json").exists();
    assert!(
        present,
        "no protocol cases in {}: run `cargo xtask fetch-cases` or set WHARF_BOTOCORE_CASES",
        directory.display()
    );
    directory
}

#[test]
fn requests_decode() {
    run("input", check_input);
}

#[test]
fn answers_encode() {
    run("output", check_output);
}

/// Runs every case of a direction, and compares what fails with the list.
fn run(direction: &str, check: fn(&Case<'_>) -> Result<(), String>) {
    let directory = cases_directory().join(direction);
    let mut failed = BTreeMap::new();
    let mut count = 0;
    for file in FILES {
        let text = std::fs::read_to_string(directory.join(format!("{file}.json"))).unwrap();
        let suites: Value = serde_json::from_str(&text).unwrap();
        for suite in suites.as_array().unwrap() {
            let shapes = Shapes::new(&suite["shapes"]);
            for case in suite["cases"].as_array().unwrap() {
                let case = Case { suite, case, shapes: &shapes };
                count += 1;
                if let Err(text) = check(&case) {
                    failed.insert(format!("{direction}/{file} {}", case.text("id")), text);
                }
            }
        }
    }
    let listed = include_str!("not-applicable.txt");
    let listed: BTreeMap<String, &str> = listed
        .lines()
        .filter(|line| line.starts_with(direction))
        .filter_map(|line| line.split_once(": "))
        .map(|(case, reason)| (case.to_owned(), reason))
        .collect();
    let unexpected: Vec<_> =
        failed.iter().filter(|(case, _)| !listed.contains_key(*case)).collect();
    let stale: Vec<_> = listed.keys().filter(|case| !failed.contains_key(*case)).collect();
    println!("{direction}: {count} cases, {} not applicable", listed.len());
    assert!(count > 140, "only {count} cases found");
    assert!(
        unexpected.is_empty() && stale.is_empty(),
        "{unexpected:#?}\nlisted but passing: {stale:#?}"
    );
}

struct Case<'a> {
    suite: &'a Value,
    case: &'a Value,
    shapes: &'a Shapes,
}

impl Case<'_> {
    fn text(&self, name: &str) -> &str {
        self.case[name].as_str().unwrap_or_default()
    }

    fn protocol(&self) -> &str {
        self.suite["metadata"]["protocol"].as_str().unwrap_or_default()
    }

    fn operation(&self) -> &str {
        self.case["given"]["name"].as_str().unwrap_or_default()
    }

    /// The operation's input or output; an empty structure where it has none.
    fn schema(&self, side: &str) -> &'static Schema {
        match self.case["given"][side]["shape"].as_str() {
            Some(name) => self.shapes.schema(name),
            None => Box::leak(Box::new(Schema::structure("Empty", &[]))),
        }
    }

    fn service(&self) -> Service {
        Service {
            name: "test",
            api_version: "2020-01-08",
            signing_name: "test",
            target_prefix: "",
            xml_namespace: "https://example.com/",
        }
    }
}

fn check_input(case: &Case<'_>) -> Result<(), String> {
    let schema = case.schema("input");
    let expected = model::document(schema, &case.case["params"]);
    let body = case.case["serialized"]["body"].as_str().unwrap_or_default();
    let failed = |error: wharf_wire::DecodeError| error.to_string();
    let decoded = match case.protocol() {
        "json" => json::decode(schema, body.as_bytes()).map_err(failed)?,
        protocol => {
            let form = Form::parse(body.as_bytes()).map_err(failed)?;
            if form.get("Action") != Some(case.operation()) {
                return Err("another action".to_owned());
            }
            let decode = if protocol == "ec2" { ec2query::decode } else { query::decode };
            decode(schema, &form).map_err(failed)?
        }
    };
    same(&decoded, &expected)
}

fn check_output(case: &Case<'_>) -> Result<(), String> {
    let body = case.case["response"]["body"].as_str().unwrap_or_default();
    if let Some(code) = case.case["errorCode"].as_str() {
        return check_error(case, code, body);
    }
    let schema = case.schema("output");
    let result = model::document(schema, &case.case["result"]);
    let service = case.service();
    match case.protocol() {
        "json" => {
            let text = json::encode(schema, &result);
            let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes);
            let (ours, theirs) = (read(&text), read(body.as_bytes()));
            let (ours, theirs) = (ours.map_err(|e| e.to_string())?, theirs.unwrap_or(Value::Null));
            // The client's direction: what the case's server sends decodes to the result.
            let body = if body.is_empty() { "{}" } else { body };
            let decoded = json::decode(schema, body.as_bytes()).map_err(|e| e.to_string())?;
            same(&decoded, &result)?;
            equal(&model::plain(&ours), &model::plain(&theirs))
        }
        protocol => {
            let encode = if protocol == "ec2" { ec2query::encode } else { query::encode };
            let ours = encode(&service, case.operation(), schema, &result, REQUEST_ID);
            equal(&xml::parse(&ours)?, &xml::parse(body.as_bytes())?)
        }
    }
}

/// Error answers: ours carries the code and message that the case's client reads.
fn check_error(case: &Case<'_>, code: &str, body: &str) -> Result<(), String> {
    let error = &case.case["error"];
    let texts = [&case.case["errorMessage"], &error["message"], &error["Message"]];
    let message = texts.iter().find_map(|text| text.as_str()).unwrap_or_default();
    match case.protocol() {
        "json" => {
            let headers = case.case["response"]["headers"].as_object();
            let header = headers
                .into_iter()
                .flatten()
                .find(|(name, _)| name.eq_ignore_ascii_case("x-amzn-errortype"));
            let header = header.and_then(|(_, value)| value.as_str());
            let (decoded, text) = json::decode_error(body.as_bytes(), header);
            equal(&(decoded.as_str(), text.as_str()), &(code, message))?;
            let ours = json::encode_error(code, message);
            equal(&json::decode_error(&ours, None), &(code.to_owned(), message.to_owned()))
        }
        "ec2" => {
            let ours = ec2query::encode_error(code, message, "foo-id");
            equal(&xml::parse(&ours)?, &xml::parse(body.as_bytes())?)
        }
        _ => {
            let fault = wharf_wire::Fault::Client;
            let service = Service { xml_namespace: "", ..case.service() };
            let ours = query::encode_error(&service, fault, code, message, "foo-id");
            equal(&xml::parse(&ours)?, &xml::parse(body.as_bytes())?)
        }
    }
}

/// Equality in which not-a-number equals itself.
fn same(ours: &Document, theirs: &Document) -> Result<(), String> {
    equal(&format!("{ours:?}"), &format!("{theirs:?}"))
}

fn equal<T: PartialEq + std::fmt::Debug>(ours: &T, theirs: &T) -> Result<(), String> {
    if ours == theirs { Ok(()) } else { Err(format!("ours {ours:?}, theirs {theirs:?}")) }
}
