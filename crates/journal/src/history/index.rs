//! Where each subject's events are, in the order of their time.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use super::Event;
use super::files::{File, Place, read_line};

/// Events kept in memory beside their place on disk; older ones are read when they are asked for.
const HOT: usize = 20_000;

/// Every subject's events.
#[derive(Default)]
pub(super) struct Index {
    subjects: BTreeMap<Arc<str>, Vec<Entry>>,
    /// Which entries still have their event in memory, oldest first.
    hot: VecDeque<(Arc<str>, i64, u64)>,
    next_id: u64,
}

/// One event, in memory, on disk, or both. Neither: it was dropped.
struct Entry {
    at_ms: i64,
    id: u64,
    event: Option<Arc<Event>>,
    place: Option<Place>,
}

/// An event that a query found, still to be read outside of the lock.
pub(super) enum Found {
    Hot(Arc<Event>),
    Cold(Place),
}

impl Found {
    /// The event; `None` if its file has gone meanwhile.
    pub(super) fn read(self) -> Option<Event> {
        match self {
            Self::Hot(event) => Some(event.as_ref().clone()),
            Self::Cold(place) => read_line(&place),
        }
    }
}

impl Entry {
    fn found(&self) -> Option<Found> {
        let hot = self.event.clone().map(Found::Hot);
        hot.or_else(|| self.place.clone().map(Found::Cold))
    }
}

impl Index {
    /// The number that the next event gets.
    pub(super) fn next_id(&self) -> u64 {
        self.next_id
    }

    /// Adds an event that isn't on disk yet.
    pub(super) fn insert(&mut self, id: u64, event: Arc<Event>) {
        self.add(id, event, None);
    }

    /// Adds an event that was found on disk.
    pub(super) fn load(&mut self, event: Event, place: Place) {
        let id = self.next_id;
        self.next_id += 1;
        self.add(id, Arc::new(event), Some(place));
    }

    fn add(&mut self, id: u64, event: Arc<Event>, place: Option<Place>) {
        let at_ms = event.at_ms;
        let subject = match self.subjects.get_key_value(event.subject.as_str()) {
            Some((subject, _)) => subject.clone(),
            None => Arc::from(event.subject.as_str()),
        };
        let entries = self.subjects.entry(subject.clone()).or_default();
        let position = entries.partition_point(|entry| (entry.at_ms, entry.id) < (at_ms, id));
        entries.insert(position, Entry { at_ms, id, event: Some(event), place });
        self.hot.push_back((subject, at_ms, id));
        if self.hot.len() > HOT
            && let Some((subject, at_ms, id)) = self.hot.pop_front()
            && let Some(entry) = self.entry(&subject, at_ms, id)
        {
            entry.event = None;
        }
    }

    fn entry(&mut self, subject: &str, at_ms: i64, id: u64) -> Option<&mut Entry> {
        let entries = self.subjects.get_mut(subject)?;
        let found = entries.binary_search_by_key(&(at_ms, id), |entry| (entry.at_ms, entry.id));
        entries.get_mut(found.ok()?)
    }

    /// Notes where an event came to lie.
    pub(super) fn written(&mut self, id: u64, event: &Event, place: Place) {
        if let Some(entry) = self.entry(&event.subject, event.at_ms, id) {
            entry.place = Some(place);
        }
    }

    pub(super) fn newest(&self, subject: &str, limit: usize) -> Vec<Found> {
        let entries = self.subjects.get(subject).into_iter().flatten();
        entries.rev().filter_map(Entry::found).take(limit).collect()
    }

    pub(super) fn range(&self, subject: &str, from_ms: i64, to_ms: i64) -> Vec<Found> {
        let Some(entries) = self.subjects.get(subject) else { return Vec::new() };
        let from = entries.partition_point(|entry| entry.at_ms < from_ms);
        let to = entries.partition_point(|entry| entry.at_ms < to_ms);
        entries.get(from..to).into_iter().flatten().filter_map(Entry::found).collect()
    }

    pub(super) fn subjects(&self, prefix: &str) -> Vec<String> {
        let from_prefix =
            self.subjects.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        let matching = from_prefix.take_while(|(subject, _)| subject.starts_with(prefix));
        matching.map(|(subject, _)| subject.to_string()).collect()
    }

    /// Forgets what is older than `before_ms`, and what lies in files that are gone.
    pub(super) fn expire(&mut self, before_ms: i64, gone: &[Arc<File>]) {
        let gone: HashSet<_> = gone.iter().map(Arc::as_ptr).collect();
        self.subjects.retain(|_, entries| {
            entries.retain(|entry| {
                let is_gone = entry
                    .place
                    .as_ref()
                    .is_some_and(|place| gone.contains(&Arc::as_ptr(&place.file)));
                entry.at_ms >= before_ms && !is_gone
            });
            !entries.is_empty()
        });
    }
}
