//! What every journal must do, run against each implementation as it is.
#![allow(clippy::unwrap_used, reason = "what fails here fails the run")]

mod support;

use std::sync::Arc;

use wharf_journal::{EmbeddedJournal, Journal, MemoryJournal, Options};

macro_rules! contract {
    ($($case:ident),* $(,)?) => {
        mod embedded {
            $(
                #[tokio::test]
                async fn $case() {
                    let dir = tempfile::tempdir().unwrap();
                    let options = super::Options { preallocate: false, ..Default::default() };
                    let journal = super::EmbeddedJournal::open(dir.path(), options).unwrap();
                    let journal: super::Arc<dyn super::Journal> = super::Arc::new(journal);
                    super::support::contract::$case(journal).await;
                }
            )*
        }
        mod memory {
            $(
                #[tokio::test]
                async fn $case() {
                    let journal: super::Arc<dyn super::Journal> =
                        super::Arc::new(super::MemoryJournal::new());
                    super::support::contract::$case(journal).await;
                }
            )*
        }
    };
}

contract! {
    starts_empty,
    revisions_rise_and_records_carry_them,
    read_sets_decide,
    a_transaction_is_all_or_nothing,
    deleting_makes_absent,
    an_append_without_writes_checks,
    limits_are_enforced,
    invalid_transactions_are_refused,
    of_racing_writers_one_wins,
    increments_are_never_lost,
    watches_tell_everything_in_order,
    a_watch_resumes_from_a_revision,
    entries_precede_answers,
    attachments_reach_watchers,
    leases_exclude,
}
