//! What an agent must still be told: a pure comparison of the snapshot with what was sent.
//!
//! Levels, not edges: a task is sent until the agent acknowledges it or its state shows that it
//! needs no telling. A new session starts with nothing sent, so that an agent that lost messages,
//! or all of its state, is told everything again; sending a known task again does no harm. Only
//! tasks that somebody pointed at are compared, so that a change costs the same however many tasks
//! the host has; the session points at all of them when it begins and from time to time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use wharf_model::{ContainerInstanceKey, Snapshot, Task, TaskId, TaskKey, TaskStatus, Timestamp};

/// A payload without an answer is sent again after this time.
pub const RESEND_AFTER: Duration = Duration::from_secs(5);
/// Most tasks in one payload message.
pub const MAX_TASKS: usize = 10;

/// What the agent was last told of one task in this session.
#[derive(Debug, Clone)]
struct Sent {
    desired: TaskStatus,
    /// The message that said so, until it is acknowledged.
    unanswered: Option<String>,
}

/// A message without an answer yet.
#[derive(Debug)]
struct Message {
    at: Timestamp,
    tasks: Vec<TaskId>,
}

/// The state of one session's deliveries.
#[derive(Debug, Default)]
pub struct Delivery {
    /// Tasks to compare with what was sent.
    candidates: BTreeSet<TaskId>,
    sent: BTreeMap<TaskId, Sent>,
    unanswered: BTreeMap<String, Message>,
}

impl Delivery {
    /// These tasks may have changed.
    pub fn look_at(&mut self, tasks: impl IntoIterator<Item = TaskId>) {
        self.candidates.extend(tasks);
    }

    /// Any task of the instance may have changed.
    pub fn look_at_all(&mut self, snapshot: &Snapshot, instance: &ContainerInstanceKey) {
        self.look_at(self.sent.keys().cloned().collect::<Vec<_>>());
        self.look_at(snapshot.tasks_on(instance).map(|task| task.id.clone()));
    }

    /// The tasks that one payload message should carry now, stops before starts, at most
    /// [`MAX_TASKS`]; they count as sent with `message_id`. Empty: there is nothing to tell.
    pub fn next(
        &mut self,
        snapshot: &Snapshot,
        instance: &ContainerInstanceKey,
        message_id: &str,
        now: Timestamp,
    ) -> Vec<Arc<Task>> {
        self.take_back_unanswered(now);
        let mut tasks = Vec::new();
        for id in std::mem::take(&mut self.candidates) {
            let key = TaskKey { cluster: instance.cluster.clone(), id };
            match snapshot.task(&key).filter(|task| !task.last_status.is_stopped()) {
                Some(task) if task.container_instance.as_ref() != Some(&instance.id) => {}
                Some(task) if self.is_told(task) => {}
                Some(task) => tasks.push(Arc::clone(task)),
                None => drop(self.sent.remove(&key.id)),
            }
        }
        tasks.sort_by_key(|task| (task.told_status() != TaskStatus::Stopped, task.created_at));
        let later = tasks.split_off(tasks.len().min(MAX_TASKS));
        self.look_at(later.into_iter().map(|task| task.id.clone()));
        if !tasks.is_empty() {
            let ids = tasks.iter().map(|task| task.id.clone()).collect();
            self.unanswered.insert(message_id.to_owned(), Message { at: now, tasks: ids });
        }
        for task in &tasks {
            let unanswered = Some(message_id.to_owned());
            self.sent.insert(task.id.clone(), Sent { desired: task.told_status(), unanswered });
        }
        tasks
    }

    fn is_told(&self, task: &Task) -> bool {
        self.sent.get(&task.id).is_some_and(|sent| sent.desired == task.told_status())
    }

    /// Forgets having sent what had no answer for too long, so that it is sent again.
    fn take_back_unanswered(&mut self, now: Timestamp) {
        let late = |message: &Message| now.since(message.at) >= RESEND_AFTER;
        if !self.unanswered.values().any(late) {
            return;
        }
        let (lost, waiting) = std::mem::take(&mut self.unanswered)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(_, message)| late(message));
        self.unanswered = waiting;
        for (message_id, message) in lost {
            for id in message.tasks {
                if self.sent.get(&id).is_some_and(|s| s.unanswered.as_ref() == Some(&message_id)) {
                    self.sent.remove(&id);
                }
                self.candidates.insert(id);
            }
        }
    }

    /// The agent took the message.
    pub fn acknowledge(&mut self, message_id: &str) {
        let Some(message) = self.unanswered.remove(message_id) else { return };
        for id in &message.tasks {
            if let Some(sent) = self.sent.get_mut(id)
                && sent.unanswered.as_deref() == Some(message_id)
            {
                sent.unanswered = None;
            }
        }
    }

    /// True while a message waits for its answer: the session must look again later.
    pub fn is_waiting(&self) -> bool {
        !self.unanswered.is_empty()
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

    fn put(snapshot: &mut Snapshot, delivery: &mut Delivery, task: Task) {
        delivery.look_at([task.id.clone()]);
        let revision = Revision(snapshot.revision().0 + 1);
        snapshot.apply(revision, &[Write::Put(task.into())]);
    }

    #[test]
    fn a_task_is_sent_until_acknowledged_and_again_when_its_wish_changes() {
        use TaskStatus::{Pending, Running, Stopped};
        let (instance, mut snapshot) = (ContainerInstanceKey::new("c", "i"), Snapshot::default());
        let mut delivery = Delivery::default();
        put(&mut snapshot, &mut delivery, task("a", Running, Pending));
        let ids =
            |tasks: Vec<Arc<Task>>| tasks.iter().map(|t| t.id.to_string()).collect::<Vec<_>>();
        let later = |ms| Timestamp(ms);
        assert_eq!(ids(delivery.next(&snapshot, &instance, "m1", later(0))), ["a"]);
        assert!(ids(delivery.next(&snapshot, &instance, "m2", later(10))).is_empty());
        assert!(delivery.is_waiting());
        assert_eq!(ids(delivery.next(&snapshot, &instance, "m3", later(6000))), ["a"]);
        delivery.acknowledge("m1");
        assert!(delivery.is_waiting(), "the message that counts is the last one");
        delivery.acknowledge("m3");
        assert!(ids(delivery.next(&snapshot, &instance, "m4", later(60_000))).is_empty());
        put(&mut snapshot, &mut delivery, task("b", Running, Pending));
        put(&mut snapshot, &mut delivery, task("a", Stopped, Running));
        assert_eq!(ids(delivery.next(&snapshot, &instance, "m5", later(60_001))), ["a", "b"]);
        put(&mut snapshot, &mut delivery, task("a", Stopped, Stopped));
        delivery.acknowledge("m5");
        assert!(ids(delivery.next(&snapshot, &instance, "m6", later(99_000))).is_empty());
        assert!(!delivery.is_waiting());
    }

    #[test]
    fn looking_at_all_sends_what_nobody_pointed_at_and_no_more_than_fits() {
        use TaskStatus::{Pending, Running, Stopped};
        let (instance, mut snapshot) = (ContainerInstanceKey::new("c", "i"), Snapshot::default());
        let mut unused = Delivery::default();
        for n in 0..MAX_TASKS + 2 {
            put(&mut snapshot, &mut unused, task(&format!("t{n:02}"), Running, Pending));
        }
        let mut delivery = Delivery::default();
        assert!(delivery.next(&snapshot, &instance, "m0", Timestamp(0)).is_empty());
        delivery.look_at_all(&snapshot, &instance);
        let lengths: Vec<usize> = (1..4)
            .map(|n| delivery.next(&snapshot, &instance, &format!("m{n}"), Timestamp(0)).len())
            .collect();
        assert_eq!(lengths, [MAX_TASKS, 2, 0]);
        put(&mut snapshot, &mut unused, task("t00", Stopped, Stopped));
        delivery.look_at_all(&snapshot, &instance);
        assert!(delivery.next(&snapshot, &instance, "m4", Timestamp(0)).is_empty());
        assert!(!delivery.sent.contains_key(&TaskId::from("t00")), "forgotten once stopped");
    }
}
