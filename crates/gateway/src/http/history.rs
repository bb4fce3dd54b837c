//! `GET /wharf/v1/history`: the history for wharf's own command line.
//!
//! Not a part of the AWS API, but behind the same gate: signed for `ecs`, by the account's root or
//! a user. Query: `subject` (an ARN, newest entries first) or `prefix` (the newest entry of every
//! subject that begins with it), `kind` (entries of that kind alone) and `limit`. The answer is
//! `{"events": [{"at", "subject", "kind", "body"}]}`, `at` in milliseconds. A task's record in a
//! `task-status` entry comes as DescribeTasks would show it.

use super::answer::{Answer, answer};
use crate::app::App;
use crate::authorize::{allows, denied};
use crate::context::RecentEntry;
use crate::ecs::present;
use crate::error::ApiError;
use crate::identity::Verified;
use hyper::Method;
use serde_json::{Value, json};
use wharf_model::policy::Decision;
use wharf_model::{Snapshot, Task};

/// Where it is.
pub(super) const PATH: &str = "/wharf/v1/history";
/// Entries in one answer at most.
const MAX_LIMIT: usize = 1000;
/// Entries in one answer unless told.
const DEFAULT_LIMIT: usize = 100;
/// Member of a task's status entry that holds its record.
const TASK: &str = "task";

/// What is asked for.
#[derive(Debug, Default)]
struct Asked {
    subject: Option<String>,
    prefix: Option<String>,
    kind: Option<String>,
    limit: Option<usize>,
}

impl Asked {
    fn parse(query: &str) -> Result<Self, ApiError> {
        let mut asked = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.into_owned();
            match name.as_ref() {
                "subject" => asked.subject = Some(value),
                "prefix" => asked.prefix = Some(value),
                "kind" => asked.kind = Some(value),
                "limit" => {
                    let limit = value.parse().ok().filter(|n| (1..=MAX_LIMIT).contains(n));
                    let wrong = || format!("limit should be between 1 and {MAX_LIMIT}");
                    asked.limit = Some(limit.ok_or_else(|| ApiError::invalid_parameter(wrong()))?);
                }
                // A presigned request carries its signature here.
                other if other.starts_with("X-Amz-") => {}
                other => {
                    return Err(ApiError::invalid_parameter(format!("Unknown parameter: {other}")));
                }
            }
        }
        if asked.subject.is_some() == asked.prefix.is_some() {
            let message = "Exactly one of subject and prefix is required.";
            return Err(ApiError::invalid_parameter(message));
        }
        Ok(asked)
    }
}

/// Answers.
pub(super) fn call(
    app: &App,
    head: &http::request::Parts,
    identity: &Verified,
) -> Result<Answer, ApiError> {
    // It tells of everything: whoever may describe every task may read it.
    let action = "ecs:DescribeTasks";
    let snapshot = app.store().snapshot();
    if allows(&snapshot, app.arns(), identity, action, "*") != Decision::Allowed {
        return Err(denied(identity, "ecs", action, Some("*"), false));
    }
    if head.method != Method::GET {
        let message = format!("The method {} is not GET.", head.method);
        return Err(ApiError::new("MethodNotAllowedException", 405, message));
    }
    let asked = Asked::parse(head.uri.query().unwrap_or_default())?;
    let entries = find(app, &asked);
    let events: Vec<Value> =
        entries.into_iter().map(|entry| shown(app, &snapshot, identity, entry)).collect();
    Ok(answer(200, "application/json", json!({ "events": events }).to_string()))
}

fn find(app: &App, asked: &Asked) -> Vec<RecentEntry> {
    let limit = asked.limit.unwrap_or(DEFAULT_LIMIT);
    let history = app.history();
    let fits = |entry: &RecentEntry| asked.kind.as_ref().is_none_or(|kind| entry.kind == *kind);
    let mut entries: Vec<RecentEntry> = match (&asked.subject, &asked.prefix) {
        (Some(subject), _) => history.recent(subject, limit),
        (None, Some(prefix)) => {
            let subjects = history.subjects(prefix);
            // A placement report's subject has a suffix; nobody's own ARN has.
            let own = subjects.iter().filter(|subject| !subject.contains('#'));
            own.flat_map(|subject| history.recent(subject, 1)).collect()
        }
        (None, None) => Vec::new(),
    };
    entries.retain(fits);
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.at));
    entries.truncate(limit);
    entries
}

fn shown(app: &App, snapshot: &Snapshot, identity: &Verified, mut entry: RecentEntry) -> Value {
    if let Some(record) = entry.body.get_mut(TASK)
        && let Ok(task) = serde_json::from_value::<Task>(record.clone())
    {
        let context = app.context(snapshot, identity, app.now(), 0);
        let task = wharf_wire::json::to_vec(present::task(&context, &task, true));
        *record = serde_json::from_slice(&task).unwrap_or_default();
    }
    json!({
        "at": entry.at.as_millis(),
        "subject": entry.subject,
        "kind": entry.kind,
        "body": entry.body,
    })
}
