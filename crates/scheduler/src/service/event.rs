//! Service events in the words of ECS's developer guide ("Service event messages").

use super::reconcile::Step;
use std::time::Duration;
use wharf_model::{TaskId, Timestamp};

/// An event isn't repeated within this time unless its cause was resolved meanwhile.
const REPEAT: Duration = Duration::from_secs(6 * 60 * 60);
/// How ECS's messages about problems end.
pub(super) const SEE: &str =
    "For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.";

/// One event of a service (ECS API `ServiceEvent`, which adds an id).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceEvent {
    /// When.
    pub at: Timestamp,
    /// What happened: `(service web) has reached a steady state.`
    pub message: String,
}

/// `(task a) (task b)`
pub(super) fn task_list<'a>(ids: impl IntoIterator<Item = &'a TaskId>) -> String {
    let names: Vec<String> = ids.into_iter().map(|id| format!("(task {id})")).collect();
    names.join(" ")
}

impl Step<'_> {
    /// Adds the event `(service <name>) <text>`.
    pub(super) fn tell(&mut self, text: &str) {
        let message = format!("(service {}) {text}", self.service.name);
        self.events.push(ServiceEvent { at: self.now, message });
    }

    /// Adds an event about a cause that lasts, unless it was told already and six hours haven't
    /// passed.
    pub(super) fn tell_once(&mut self, cause: &str, text: &str) {
        let told = self.service.reported.get(cause);
        if told.is_none_or(|at| at.plus(REPEAT) <= self.now) {
            self.service.reported.insert(cause.to_owned(), self.now);
            self.tell(text);
        }
    }

    /// The cause is resolved: should it come again, it is told again.
    pub(super) fn resolved(&mut self, cause: &str) {
        self.service.reported.retain(|known, _| !known.starts_with(cause));
    }
}
