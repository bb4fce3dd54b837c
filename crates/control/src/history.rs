//! Keeps tasks' timelines: follows the changes and writes what happened beside the journal.

use crate::Options;
use std::collections::BTreeMap;
use tokio_util::sync::CancellationToken;
use wharf_journal::{Event, Next};
use wharf_model::{Record, RecordKey, Task, TaskKey, TaskStatus, Write};

/// Kind of a service's events: `{"id", "message"}`, subject the service's ARN.
pub const SERVICE_EVENT: &str = "service-event";
/// Kind of a service's placement reports; their subject is the service's ARN and `#placement`, so
/// that they never crowd out its events.
pub const SERVICE_REPORT: &str = "placement-report";
/// Kind of a task's status changes: see [`TaskStatusEntry`], subject the task's ARN.
pub const TASK_STATUS: &str = "task-status";

/// Names of the members of a [`TASK_STATUS`] entry's payload.
#[derive(Debug, Clone, Copy)]
pub struct TaskStatusEntry;

impl TaskStatusEntry {
    /// Member with the task's record as it was after the change.
    pub const TASK: &'static str = "task";
}

/// Runs until `shutdown`.
pub(crate) async fn run(options: Options, shutdown: CancellationToken) {
    let mut changes = options.store.changes();
    let mut seen: BTreeMap<TaskKey, (TaskStatus, TaskStatus)> = options
        .store
        .snapshot()
        .all_tasks()
        .map(|task| (task.key(), (task.desired_status, task.last_status)))
        .collect();
    loop {
        let next = tokio::select! {
            next = changes.next() => next,
            () = shutdown.cancelled() => break,
        };
        match next {
            Next::Change(change) => {
                let now = (options.clock)();
                let moved = change.writes.iter().filter_map(|write| follow(&mut seen, write));
                let events: Vec<Event> = moved
                    .map(|task| {
                        let payload = BTreeMap::from([(TaskStatusEntry::TASK, task)]);
                        let subject = options.arns.task(&task.key());
                        Event::new(now.as_millis(), subject, TASK_STATUS, &payload)
                    })
                    .collect();
                options.history.record(events);
            }
            // The timeline has a gap then; the records themselves hold every time that counts.
            Next::Lagged => {}
            Next::Closed => break,
        }
    }
    options.history.flush().await;
}

/// The task of a write that moved its status.
fn follow<'a>(
    seen: &mut BTreeMap<TaskKey, (TaskStatus, TaskStatus)>,
    write: &'a Write,
) -> Option<&'a Task> {
    match write {
        Write::Put(Record::Task(task)) => {
            let status = (task.desired_status, task.last_status);
            (seen.insert(task.key(), status) != Some(status)).then_some(task.as_ref())
        }
        Write::Delete(RecordKey::Task(key)) => {
            seen.remove(key);
            None
        }
        _ => None,
    }
}
