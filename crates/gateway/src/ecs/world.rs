//! A small world for the operations' tests: a snapshot that requests in JSON are run against, as
//! the dispatch would run them, and whose transactions are applied at once.

use crate::context::{Context, HistoryReader, NoHistory, Result as OperationResult};
use crate::identity::Verified;
use crate::seal::SealKey;
use crate::vault::{KEY_BYTES, Vault};
use serde_json::{Value, json};
use std::time::Duration;
use wharf_model::network::{BuiltinVpc, DEFAULT_VPC_CIDR, Ipv4Range};
use wharf_model::transaction::Revision;
use wharf_model::{
    ArnScope, Cluster, Principal, Record, ServiceKey, Snapshot, Task, TaskStatus, Timestamp,
    Transaction, Write,
};
use wharf_scheduler::{AllConnected, service};
use wharf_wire::{OperationShape, Shape, json as codec, validation};

/// 2026-11-24T01:00:00Z, in milliseconds.
pub(crate) const START: Timestamp = Timestamp(1_795_482_000_000);

/// State, time and identity of one test.
pub(crate) struct World {
    pub snapshot: Snapshot,
    pub now: Timestamp,
    pub principal: Principal,
    pub history: Box<dyn HistoryReader>,
    seed: u64,
    revision: u64,
    pub arns: ArnScope,
    vpc: BuiltinVpc,
    pub vault: Vault,
    seal: SealKey,
}

impl World {
    /// An ACTIVE cluster `default` and nothing else.
    pub fn new() -> Self {
        let region = "us-east-1".to_owned();
        let range = Ipv4Range::parse(DEFAULT_VPC_CIDR).unwrap();
        let mut world = Self {
            snapshot: Snapshot::default(),
            now: START,
            principal: Principal::Root,
            history: Box::new(NoHistory),
            seed: 1,
            revision: 0,
            vpc: BuiltinVpc::new(range, &region),
            vault: Vault::new(&[7; KEY_BYTES]).unwrap(),
            seal: SealKey::new([1; 32]),
            arns: ArnScope { region, account: "123456789012".to_owned() },
        };
        world.put(Cluster::new("default", START));
        world
    }

    /// Puts a record past all operations.
    pub fn put(&mut self, record: impl Into<Record>) {
        self.revision += 1;
        self.snapshot.apply(Revision(self.revision), &[Write::Put(record.into())]);
    }

    /// Commits a transaction; its reads must hold.
    pub fn commit(&mut self, transaction: &Transaction) {
        for (key, revision) in &transaction.reads {
            assert_eq!(self.snapshot.revision_of(key), *revision, "read of {key} is stale");
        }
        if !transaction.is_empty() {
            self.revision += 1;
            self.snapshot.apply(Revision(self.revision), &transaction.writes);
        }
    }

    /// Plays the service scheduler and the agents until a service stands still: tasks start and
    /// stop at once.
    pub fn settle(&mut self, key: &ServiceKey) {
        for _ in 0..100 {
            self.seed += 1;
            let plan = service::reconcile(
                &self.snapshot,
                &AllConnected,
                &std::collections::BTreeMap::new(),
                key,
                &self.vpc,
                self.now,
                self.seed,
            );
            self.commit(&plan.transaction);
            let moved = self.move_tasks(key);
            // A minute is longer than anything that a rolling update waits for.
            let soon = self.now.plus(Duration::from_secs(60));
            let waits = plan.wake_at.is_some_and(|at| at <= soon);
            if plan.transaction.is_empty() && !moved && !waits {
                return;
            }
            self.now = self.now.plus(Duration::from_secs(1));
        }
        panic!("{key} doesn't come to rest");
    }

    fn move_tasks(&mut self, key: &ServiceKey) -> bool {
        let tasks: Vec<Task> = self.snapshot.service_tasks(key).map(|t| Task::clone(t)).collect();
        let mut moved = false;
        for mut task in tasks {
            let next = match task.desired_status {
                TaskStatus::Stopped => TaskStatus::Stopped,
                _ => TaskStatus::Running,
            };
            if task.last_status < next {
                task.last_status = next;
                task.started_at.get_or_insert(self.now);
                if next == TaskStatus::Stopped {
                    task.stopped_at = Some(self.now);
                }
                self.put(task);
                moved = true;
            }
        }
        moved
    }

    /// Runs an operation on a request in JSON. Returns its answer, or `"Code: message"`.
    pub fn call<O: OperationShape>(
        &mut self,
        operation: fn(&Context<'_>, &O::Input) -> OperationResult<O::Output>,
        request: &Value,
    ) -> Result<Value, String> {
        let schema = <O::Input as Shape>::schema();
        let document =
            codec::decode(schema, request.to_string().as_bytes()).map_err(|e| e.to_string())?;
        let violations = validation::validate(schema, &document, validation::Scope::All);
        if let Some(text) = validation::message(&violations) {
            return Err(format!("InvalidParameterException: {text}"));
        }
        let input = <O::Input as Shape>::from_document(document).map_err(|e| e.to_string())?;
        let identity = Verified::for_tests(self.principal.clone(), "ecs");
        self.seed += 1;
        let context = Context {
            snapshot: &self.snapshot,
            identity: &identity,
            now: self.now,
            seed: self.seed,
            arns: &self.arns,
            vpc: &self.vpc,
            vault: &self.vault,
            has_object_store: true,
            endpoint: "http://127.0.0.1:4580",
            seal: &self.seal,
            soft: &AllConnected,
            history: self.history.as_ref(),
        };
        let outcome = operation(&context, &input).map_err(|e| e.to_string())?;
        let answer = serde_json::from_slice(&codec::to_vec(outcome.output)).unwrap();
        self.commit(&outcome.transaction);
        Ok(answer)
    }
}

/// RFC 7396: `patch` laid over `value`.
pub(crate) fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = json!({});
    }
    for (key, change) in changes {
        if change.is_null() {
            value.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut value[key.as_str()], change);
        }
    }
}

/// True if everything in `part` is in `whole`, with `null` for what must be absent. Lists must
/// be equal in length.
pub(crate) fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, part)| match whole.get(key) {
                None => part.is_null(),
                Some(whole) => contains(whole, part),
            })
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(w, p)| contains(w, p))
        }
        _ => whole == part,
    }
}

/// Runs the cases of a golden file: `request => answer` a line, where the answer is the part of
/// the JSON that matters, or the error as `Code: message`. `#` begins a comment.
pub(crate) fn golden(cases: &str, mut run: impl FnMut(&Value) -> Result<Value, String>) -> usize {
    let mut failures = Vec::new();
    let mut count = 0;
    for line in cases.lines().filter(|l| !l.trim().is_empty() && !l.starts_with('#')) {
        let (request, expected) = line.split_once(" => ").expect("a case has an arrow");
        let request: Value = serde_json::from_str(request).unwrap_or_else(|e| {
            panic!("{line}\n{e}");
        });
        count += 1;
        let found = run(&request);
        let good = match (&found, serde_json::from_str::<Value>(expected)) {
            (Ok(answer), Ok(part)) => contains(answer, &part),
            (Err(error), _) => error == expected,
            _ => false,
        };
        if !good {
            let found = found.map_or_else(|e| e, |answer| answer.to_string());
            failures.push(format!("{line}\n   found: {found}"));
        }
    }
    assert!(failures.is_empty(), "{} of {count}:\n{}", failures.len(), failures.join("\n"));
    count
}
