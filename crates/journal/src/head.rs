//! The state in memory that transactions are checked against, in order.

use crate::error::Error;
use crate::journal::{Append, Key, Loaded, Value, Versioned};

/// Every record with its revision. Owned by whoever orders the transactions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    pub(crate) revision: u64,
    pub(crate) records: imbl::OrdMap<Key, Versioned>,
    /// Bytes of all keys and values: what a snapshot of the state will take.
    pub(crate) live_bytes: u64,
}

/// What a record was before a transaction of the current group changed it.
pub(crate) type Undo = Vec<(Key, Option<Versioned>)>;

impl Head {
    /// Whether the read set still holds.
    pub(crate) fn check(&self, append: &Append) -> Result<(), Error> {
        for (key, expected) in &append.reads {
            let found = self.records.get(key).map_or(0, |record| record.revision);
            if found != *expected {
                let key = key.to_string();
                return Err(Error::Conflict { key, expected: *expected, found });
            }
        }
        Ok(())
    }

    /// Applies a transaction's after-images at the next revision.
    pub(crate) fn apply(&mut self, writes: &[(Key, Option<Value>)], mut undo: Option<&mut Undo>) {
        self.revision += 1;
        for (key, value) in writes {
            let before = match value {
                Some(value) => {
                    self.live_bytes += (key.len() + value.len()) as u64;
                    let record = Versioned { revision: self.revision, value: value.clone() };
                    self.records.insert(key.clone(), record)
                }
                None => self.records.remove(key),
            };
            if let Some(before) = &before {
                self.live_bytes -= (key.len() + before.value.len()) as u64;
            }
            if let Some(undo) = undo.as_deref_mut() {
                undo.push((key.clone(), before));
            }
        }
    }

    /// Takes back what [`Head::apply`] noted, newest first, down to the given revision.
    pub(crate) fn roll_back(&mut self, revision: u64, undo: Undo) {
        self.revision = revision;
        for (key, before) in undo.into_iter().rev() {
            let after = match before {
                Some(record) => {
                    self.live_bytes += (key.len() + record.value.len()) as u64;
                    self.records.insert(key.clone(), record)
                }
                None => self.records.remove(&key),
            };
            if let Some(after) = after {
                self.live_bytes -= (key.len() + after.value.len()) as u64;
            }
        }
    }

    pub(crate) fn to_loaded(&self) -> Loaded {
        Loaded { revision: self.revision, records: self.records.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &str) -> (Key, Option<Value>) {
        (key.into(), Some(Value::copy_from_slice(value.as_bytes())))
    }

    #[test]
    fn rolling_back_restores_records_and_sizes() {
        let mut head = Head::default();
        head.apply(&[put("a", "1"), put("b", "22")], None);
        let before = head.clone();
        let mut undo = Undo::new();
        head.apply(&[put("a", "333"), ("b".into(), None)], Some(&mut undo));
        head.apply(&[put("a", "4"), put("c", "5")], Some(&mut undo));
        assert_eq!((head.revision, head.live_bytes), (3, 4));
        head.roll_back(1, undo);
        assert_eq!(head.records, before.records);
        assert_eq!((head.revision, head.live_bytes), (1, 5));
    }
}
