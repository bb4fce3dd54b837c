//! The server's history as the CLI reads it: tasks that the API has forgotten, and reports.

use crate::client::{Client, Error, id_of};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use wharf_wire::ecs::{operation, types};

/// Kind of a task's entries.
const TASK_STATUS: &str = "task-status";
/// The server's limit on one answer.
const MAX_EVENTS: usize = 1000;

/// One entry.
#[derive(Debug, Clone, Deserialize)]
pub struct Event {
    /// When, in milliseconds since the epoch.
    pub at: i64,
    /// The ARN that it is about.
    pub subject: String,
    /// Its content.
    pub body: Value,
}

#[derive(Debug, Deserialize)]
struct Answer {
    events: Vec<Event>,
}

/// The newest entries of a subject, newest first.
///
/// # Errors
/// If the server can't be asked.
pub async fn of_subject(client: &Client, subject: &str, limit: usize) -> Result<Vec<Event>, Error> {
    ask(client, &format!("subject={}&limit={limit}", escaped(subject))).await
}

/// What was last known of the cluster's tasks that wharf remembers, by ARN.
///
/// # Errors
/// If the server can't be asked.
pub async fn tasks(client: &Client) -> Result<BTreeMap<String, types::Task>, Error> {
    let input = types::DescribeClustersRequest {
        clusters: Some(vec![client.cluster.clone()]),
        ..types::DescribeClustersRequest::default()
    };
    let answer = client.call::<operation::DescribeClusters>(input).await?;
    let arn = answer.clusters.into_iter().flatten().find_map(|c| c.cluster_arn);
    let Some(arn) = arn else { return Ok(BTreeMap::new()) };
    let prefix = format!("{}/", arn.replacen(":cluster/", ":task/", 1));
    let query = format!("prefix={}&kind={TASK_STATUS}&limit={MAX_EVENTS}", escaped(&prefix));
    let events = ask(client, &query).await?;
    Ok(events.into_iter().filter_map(|e| Some((e.subject.clone(), task(&e)?))).collect())
}

/// The newest placement report of a task, service or cluster that isn't younger than `before`
/// (milliseconds).
///
/// # Errors
/// If the server can't be asked.
pub async fn placement(client: &Client, arn: &str, before: i64) -> Result<Option<Event>, Error> {
    let events = of_subject(client, &format!("{arn}#placement"), MAX_EVENTS).await?;
    Ok(events.into_iter().find(|event| event.at <= before))
}

/// The task of a status entry, in the API's shape.
pub fn task(event: &Event) -> Option<types::Task> {
    let bytes = serde_json::to_vec(event.body.get("task")?).ok()?;
    wharf_wire::json::from_slice(&bytes).ok()
}

/// The hosts of a placement report, each with its reason, as rows for a table.
pub fn hosts(report: &Value) -> Vec<(String, String)> {
    let hosts = report.get("hosts").and_then(Value::as_array).into_iter().flatten();
    hosts
        .map(|host| {
            let id = host.get("instance").and_then(Value::as_str).unwrap_or_default();
            (id_of(id).to_owned(), verdict(host.get("verdict").unwrap_or(&Value::Null)))
        })
        .collect()
}

/// The hosts that a report only counts, in words; none if it names them all.
pub fn other_hosts(report: &Value) -> Option<String> {
    let others = report.get("others").and_then(Value::as_object)?;
    let words = others.iter().map(|(kind, count)| match kind.as_str() {
        "fits" => format!("{count} that fit; others ranked better"),
        "inactive" => format!("{count} deregistered"),
        "draining" => format!("{count} DRAINING"),
        "agentDisconnected" => format!("{count} whose agent isn't connected"),
        "missingAttribute" => format!("{count} that lack an attribute"),
        "memberOf" => format!("{count} for which memberOf is false"),
        "distinctInstance" => format!("{count} that run a task of the group"),
        "cpu" => format!("{count} with too little CPU"),
        "memory" => format!("{count} with too little memory"),
        "port" => format!("{count} whose host port is taken"),
        "networkInterfaces" => format!("{count} without a free network interface"),
        "gpus" => format!("{count} with too few GPUs"),
        "storage" => format!("{count} with too little ephemeral storage"),
        "addresses" => format!("{count} without a free address"),
        other => format!("{count} {other}"),
    });
    Some(words.collect::<Vec<_>>().join(", "))
}

/// A verdict in words.
fn verdict(verdict: &Value) -> String {
    let Some((kind, members)) = verdict.as_object().and_then(|v| v.iter().next()) else {
        let text = verdict.as_str().unwrap_or("unknown");
        return match text {
            "fits" => "fits; others ranked better".to_owned(),
            "inactive" => "deregistered".to_owned(),
            "draining" => "DRAINING: takes no new tasks".to_owned(),
            "agentDisconnected" => "its agent isn't connected".to_owned(),
            "distinctInstance" => "distinctInstance: a task of the group runs on it".to_owned(),
            "networkInterfaces" => "no network interface is free".to_owned(),
            "addresses" => "no address is free in the subnets".to_owned(),
            other => other.to_owned(),
        };
    };
    let member = |name: &str| match members.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    };
    let (wanted, free) = (member("wanted"), member("free"));
    match kind.as_str() {
        "chosen" => format!("chosen for {} of the tasks", member("tasks")),
        "missingAttribute" => format!("lacks the attribute {}", member("attribute")),
        "memberOf" => format!("memberOf is false: {}", member("expression")),
        "cpu" => format!("{wanted} CPU units wanted, {free} free"),
        "memory" => format!("{wanted} MiB of memory wanted, {free} free"),
        "gpus" => format!("{wanted} GPUs wanted, {free} free"),
        "storage" => format!("{wanted} GiB of ephemeral storage wanted, {free} free"),
        "port" => {
            let port = members.get("port").unwrap_or(&Value::Null);
            let number = port.get("port").map(Value::to_string).unwrap_or_default();
            format!("host port {number} is taken")
        }
        other => format!("{other} {members}"),
    }
}

async fn ask(client: &Client, query: &str) -> Result<Vec<Event>, Error> {
    let body = client.get("history", &format!("/wharf/v1/history?{query}")).await?;
    let unreadable = |error: serde_json::Error| wharf_agent::api::Error::Answer {
        operation: "history",
        reason: error.to_string(),
    };
    Ok(serde_json::from_slice::<Answer>(&body).map_err(unreadable)?.events)
}

/// Percent-encoded as SigV4's canonical query wants it.
fn escaped(text: &str) -> String {
    let byte = |b: u8| match b {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(b).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_host_has_its_reason_in_words() {
        let report = json!({ "hosts": [
            { "instance": "a", "verdict": { "chosen": { "tasks": 1 } } },
            { "instance": "b", "verdict": "agentDisconnected" },
            { "instance": "c", "verdict": { "memory": { "wanted": 64, "free": 3 } } },
            { "instance": "d", "verdict": { "port": { "port": { "port": 80 } } } },
        ] });
        let expected = [
            ("a", "chosen for 1 of the tasks"),
            ("b", "its agent isn't connected"),
            ("c", "64 MiB of memory wanted, 3 free"),
            ("d", "host port 80 is taken"),
        ];
        let expected = expected.map(|(id, text)| (id.to_owned(), text.to_owned()));
        assert_eq!(hosts(&report), expected);
        assert!(hosts(&json!({})).is_empty());
    }

    #[test]
    fn subjects_are_escaped() {
        assert_eq!(escaped("arn:aws/x#placement"), "arn%3Aaws%2Fx%23placement");
    }
}
