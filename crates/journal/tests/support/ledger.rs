//! What was submitted and what was answered, and whether a journal agrees with it.

use std::collections::BTreeMap;

use wharf_journal::{Append, Error, Loaded};

use super::put;

/// How a transaction was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Durable at this revision.
    Acknowledged(u64),
    /// Not written, for certain.
    Refused,
    /// Nobody knows: the journal failed or the power did.
    Unknown,
}

/// Every transaction of a run. Each writes a record of its own, `tx/<n>`, and overwrites one of a
/// few shared ones, so that loss, invention, reordering and half transactions all show.
#[derive(Debug, Default)]
pub struct Ledger {
    outcomes: Vec<Outcome>,
}

/// Shared records.
const SHARED: usize = 5;

impl Ledger {
    /// The next transaction: its number and what to append.
    pub fn submit(&mut self) -> (usize, Append) {
        let number = self.outcomes.len();
        self.outcomes.push(Outcome::Unknown);
        let own = put(&format!("tx/{number}"), &body(number));
        let shared = put(&format!("shared/{}", number % SHARED), &body(number));
        (number, Append { writes: vec![own, shared], ..Append::default() })
    }

    /// Notes the answer.
    pub fn answer(&mut self, number: usize, result: &Result<u64, Error>) {
        self.outcomes[number] = match result {
            Ok(revision) => Outcome::Acknowledged(*revision),
            Err(Error::Failed { .. } | Error::Closed) => Outcome::Unknown,
            Err(_) => Outcome::Refused,
        };
    }

    pub fn acknowledged(&self) -> usize {
        let is_acknowledged = |outcome: &&Outcome| matches!(outcome, Outcome::Acknowledged(_));
        self.outcomes.iter().filter(is_acknowledged).count()
    }

    /// Compares a journal's state with what was answered. What was unknown becomes known: it was
    /// written, or it never will be.
    pub fn check(&mut self, loaded: &Loaded) -> Result<(), String> {
        let mut by_revision = BTreeMap::new();
        for (key, record) in &loaded.records {
            let Some(number) = key.strip_prefix("tx/") else { continue };
            let number: usize = number.parse().map_err(|_| format!("{key} was invented"))?;
            if number >= self.outcomes.len() || record.value != body(number) {
                return Err(format!("{key} was invented"));
            }
            if by_revision.insert(record.revision, number).is_some() {
                return Err(format!("revision {} holds two transactions", record.revision));
            }
        }
        if !by_revision.keys().copied().eq(1..=loaded.revision) {
            return Err(format!("of revisions 1 to {} some are missing", loaded.revision));
        }
        self.check_shared(loaded, &by_revision)?;
        let found: BTreeMap<_, _> =
            by_revision.iter().map(|(rev, number)| (*number, *rev)).collect();
        for (number, outcome) in self.outcomes.iter_mut().enumerate() {
            let found = found.get(&number).copied();
            match (*outcome, found) {
                (Outcome::Acknowledged(revision), Some(found)) if revision == found => {}
                (Outcome::Acknowledged(revision), found) => {
                    return Err(format!(
                        "transaction {number} was acknowledged at revision {revision}, found: {found:?}"
                    ));
                }
                (Outcome::Refused, Some(found)) => {
                    return Err(format!(
                        "transaction {number} was refused and stands at revision {found}"
                    ));
                }
                (Outcome::Unknown, Some(found)) => *outcome = Outcome::Acknowledged(found),
                (Outcome::Unknown | Outcome::Refused, None) => *outcome = Outcome::Refused,
            }
        }
        Ok(())
    }

    fn check_shared(
        &self,
        loaded: &Loaded,
        by_revision: &BTreeMap<u64, usize>,
    ) -> Result<(), String> {
        for shared in 0..SHARED {
            let newest = by_revision.iter().rev().find(|(_, number)| **number % SHARED == shared);
            let key = format!("shared/{shared}");
            let found = loaded.records.get(key.as_str()).map(|r| (r.revision, r.value.to_vec()));
            let expected = newest.map(|(rev, number)| (*rev, body(*number).into_bytes()));
            if found != expected {
                return Err(format!("{key} isn't what its newest transaction wrote"));
            }
        }
        Ok(())
    }
}

/// A transaction's value: of many lengths, some over several sectors.
fn body(number: usize) -> String {
    let len = match number % 7 {
        0 => 1500,
        1..=3 => 40,
        other => other * 90,
    };
    format!("{number}:{}", "x".repeat(len))
}
