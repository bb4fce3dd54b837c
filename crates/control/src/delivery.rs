//! What an agent must still be told: a pure comparison of the snapshot with what was sent.
//!
//! Levels, not edges: a task is sent until the agent acknowledges it or its state shows that it
//! needs no telling. A new session starts with nothing sent, so that an agent that lost messages,
//! or all of its state, is told everything again; sending a known task again does no harm.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use wharf_model::{ContainerInstanceKey, Snapshot, Task, TaskId, TaskStatus, Timestamp};

/// A payload without an answer is sent again after this time.
pub const RESEND_AFTER: Duration = Duration::from_secs(5);
/// Most tasks in one payload message.
pub const MAX_TASKS: usize = 10;

/// What was sent of one task in this session.
#[derive(Debug, Clone)]
struct Sent {
    desired: TaskStatus,
    message_id: String,
    at: Timestamp,
    acknowledged: bool,
}

/// The state of one session's deliveries.
#[derive(Debug, Default)]
pub struct Delivery {
    sent: BTreeMap<TaskId, Sent>,
}

impl Delivery {
    /// The tasks that one payload message should carry now, stops before starts, at most
    /// [`MAX_TASKS`]; they count as sent with `message_id`. Empty: there is nothing to tell.
    pub fn next(
        &mut self,
        snapshot: &Snapshot,
        instance: &ContainerInstanceKey,
        message_id: &str,
        now: Timestamp,
    ) -> Vec<Arc<Task>> {
        self.sent.retain(|id, _| {
            let key = wharf_model::TaskKey { cluster: instance.cluster.clone(), id: id.clone() };
            snapshot.task(&key).is_some_and(|task| !task.last_status.is_stopped())
        });
        let mut tasks: Vec<Arc<Task>> =
            snapshot.tasks_on(instance).filter(|task| self.must_send(task, now)).cloned().collect();
        tasks.sort_by_key(|task| (task.desired_status != TaskStatus::Stopped, task.created_at));
        tasks.truncate(MAX_TASKS);
        for task in &tasks {
            let sent = Sent {
                desired: task.desired_status,
                message_id: message_id.to_owned(),
                at: now,
                acknowledged: false,
            };
            self.sent.insert(task.id.clone(), sent);
        }
        tasks
    }

    fn must_send(&self, task: &Task, now: Timestamp) -> bool {
        if task.last_status.is_stopped() {
            return false;
        }
        match self.sent.get(&task.id) {
            Some(sent) if sent.desired == task.desired_status => {
                !sent.acknowledged && now.since(sent.at) >= RESEND_AFTER
            }
            _ => true,
        }
    }

    /// The agent took the message.
    pub fn acknowledge(&mut self, message_id: &str) {
        for sent in self.sent.values_mut().filter(|s| s.message_id == message_id) {
            sent.acknowledged = true;
        }
    }

    /// True while a message waits for its answer: the session must look again later.
    pub fn is_waiting(&self) -> bool {
        self.sent.values().any(|sent| !sent.acknowledged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_model::{Revision, Write};

    fn task(id: &str, desired: TaskStatus, last: TaskStatus) -> Task {
        let wire = serde_json::json!({
            "id": id, "cluster": "c", "task_definition": { "family": "f", "revision": 1 },
            "container_instance": "i", "group": "family:f", "launch_type": "EC2",
            "desired_status": desired, "last_status": last, "reserved": {}, "containers": [],
            "version": 1, "created_at": 1,
        });
        serde_json::from_value(wire).unwrap()
    }

    fn put(snapshot: &mut Snapshot, task: Task) {
        let revision = Revision(snapshot.revision().0 + 1);
        snapshot.apply(revision, &[Write::Put(task.into())]);
    }

    #[test]
    fn a_task_is_sent_until_acknowledged_and_again_when_its_wish_changes() {
        use TaskStatus::{Pending, Running, Stopped};
        let (instance, mut snapshot) = (ContainerInstanceKey::new("c", "i"), Snapshot::default());
        put(&mut snapshot, task("a", Running, Pending));
        let mut delivery = Delivery::default();
        let ids = |tasks: Vec<Arc<Task>>| tasks.iter().map(|t| t.id.0.clone()).collect::<Vec<_>>();
        let later = |ms| Timestamp(ms);
        assert_eq!(ids(delivery.next(&snapshot, &instance, "m1", later(0))), ["a"]);
        assert!(ids(delivery.next(&snapshot, &instance, "m2", later(10))).is_empty());
        assert!(delivery.is_waiting());
        assert_eq!(ids(delivery.next(&snapshot, &instance, "m3", later(6000))), ["a"]);
        delivery.acknowledge("m1");
        assert!(delivery.is_waiting(), "the message that counts is the last one");
        delivery.acknowledge("m3");
        assert!(ids(delivery.next(&snapshot, &instance, "m4", later(60_000))).is_empty());
        put(&mut snapshot, task("b", Running, Pending));
        put(&mut snapshot, task("a", Stopped, Running));
        assert_eq!(ids(delivery.next(&snapshot, &instance, "m5", later(60_001))), ["a", "b"]);
        put(&mut snapshot, task("a", Stopped, Stopped));
        delivery.acknowledge("m5");
        assert!(ids(delivery.next(&snapshot, &instance, "m6", later(99_000))).is_empty());
        assert!(!delivery.is_waiting());
    }
}
