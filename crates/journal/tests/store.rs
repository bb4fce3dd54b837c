//! The typed store against a model that is too simple to be wrong.
#![allow(clippy::unwrap_used, reason = "what fails here fails the run")]

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use wharf_journal::{
    Append, EmbeddedJournal, Journal, MemoryJournal, Next, Options, Store, StoreError,
};
use wharf_model::{AccountSetting, RecordKey, Revision, Snapshot, Transaction, Write};

fn key(name: u8) -> RecordKey {
    RecordKey::AccountSetting((format!("setting-{name}"), "default".into()))
}

fn put(transaction: &mut Transaction, name: u8, value: u16) {
    transaction.put(AccountSetting {
        name: format!("setting-{name}"),
        principal: "default".into(),
        value: value.to_string(),
    });
}

fn values(snapshot: &Snapshot) -> BTreeMap<String, (u64, String)> {
    let settings = snapshot.account_settings().map(|setting| {
        let key = RecordKey::AccountSetting((setting.name.clone(), setting.principal.clone()));
        (key.to_string(), (snapshot.revision_of(&key).0, setting.value.clone()))
    });
    settings.collect()
}

/// One transaction: records read (`true`: at their revision, `false`: at a stale one) and written.
#[derive(Debug, Clone)]
struct Step {
    reads: Vec<(u8, bool)>,
    writes: Vec<(u8, Option<u16>)>,
}

fn step() -> impl Strategy<Value = Step> {
    let reads = prop::collection::vec((0..6u8, prop::bool::weighted(0.9)), 0..3);
    let writes = prop::collection::vec((0..6u8, prop::option::weighted(0.8, any::<u16>())), 0..4);
    (reads, writes).prop_map(|(reads, writes)| Step { reads, writes })
}

/// Runs the steps against a store and the model; returns what the model holds.
async fn run(store: &Store, steps: &[Step]) -> (u64, BTreeMap<String, (u64, String)>) {
    let mut changes = store.changes();
    let mut model: BTreeMap<String, (u64, String)> = BTreeMap::new();
    let mut revision = 0;
    for step in steps {
        let mut transaction = Transaction::new();
        let mut holds = true;
        for (name, is_current) in &step.reads {
            let current = model.get(&key(*name).to_string()).map_or(0, |(revision, _)| *revision);
            let claimed = if *is_current { current } else { current + 1 };
            transaction.read(key(*name), Revision(claimed));
        }
        for (name, claimed) in &transaction.reads {
            let current = model.get(&name.to_string()).map_or(0, |(revision, _)| *revision);
            holds &= claimed.0 == current;
        }
        for (name, value) in &step.writes {
            match value {
                Some(value) => put(&mut transaction, *name, *value),
                None => drop(transaction.delete(key(*name))),
            }
        }
        let result = store.commit(transaction.clone()).await;
        if !holds {
            assert!(matches!(result, Err(StoreError::Conflict { .. })), "{result:?}");
            continue;
        }
        if !transaction.is_empty() {
            revision += 1;
        }
        assert_eq!(result.unwrap(), Revision(revision));
        for write in &transaction.writes {
            match write {
                Write::Delete(key) => drop(model.remove(&key.to_string())),
                Write::Put(record) => {
                    let wharf_model::Record::AccountSetting(setting) = record else { panic!() };
                    model.insert(record.key().to_string(), (revision, setting.value.clone()));
                }
            }
        }
        let snapshot = store.snapshot();
        assert_eq!(snapshot.revision(), Revision(revision));
        assert_eq!(values(&snapshot), model);
        if !transaction.is_empty() {
            let Next::Change(change) = changes.next().await else { panic!("no change was told") };
            assert_eq!(
                (change.revision.0, &change.writes[..]),
                (revision, &transaction.writes[..])
            );
        }
    }
    (revision, model)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_store_is_a_map_with_revisions(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let store = Store::open(Arc::new(MemoryJournal::new())).await.unwrap();
            run(&store, &steps).await;
        });
    }

    #[test]
    fn a_store_finds_itself_again(steps in prop::collection::vec(step(), 1..20), compact: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let options = Options { segment_bytes: 1024, preallocate: false, ..Options::default() };
            let journal = Arc::new(EmbeddedJournal::open(dir.path(), options.clone()).unwrap());
            let store = Store::open(journal.clone()).await.unwrap();
            let (revision, model) = run(&store, &steps).await;
            drop(store);
            if compact {
                journal.compact().await.unwrap();
            }
            journal.close().await;
            let journal = Arc::new(EmbeddedJournal::open(dir.path(), options).unwrap());
            let store = Store::open(journal).await.unwrap();
            assert_eq!(store.snapshot().revision(), Revision(revision));
            assert_eq!(values(&store.snapshot()), model);
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn stores_of_one_journal_see_each_other_in_order() {
    let journal = Arc::new(MemoryJournal::new());
    let stores = [
        Arc::new(Store::open(journal.clone()).await.unwrap()),
        Arc::new(Store::open(journal.clone()).await.unwrap()),
    ];
    let mut changes = stores[1].changes();
    let writers = (0..8u8).map(|writer| {
        let store = stores[usize::from(writer % 2)].clone();
        tokio::spawn(async move {
            for n in 0..100 {
                loop {
                    let read = store.snapshot().revision_of(&key(writer % 3));
                    let mut transaction = Transaction::new();
                    transaction.read(key(writer % 3), read);
                    put(&mut transaction, writer % 3, n);
                    match store.commit(transaction).await {
                        Ok(revision) => {
                            // What was acknowledged to this caller is in its store's snapshot.
                            assert!(store.snapshot().revision() >= revision);
                            break;
                        }
                        // The other store's write may not have come here yet.
                        Err(StoreError::Conflict { found, .. }) => {
                            store.wait_for(found).await.unwrap();
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    for expected in 1..=800 {
        let Next::Change(change) = changes.next().await else { panic!("a change was skipped") };
        assert_eq!(change.revision, Revision(expected));
    }
    stores[0].wait_for(Revision(800)).await.unwrap();
    assert_eq!(values(&stores[0].snapshot()), values(&stores[1].snapshot()));
}

#[tokio::test]
async fn a_subscriber_that_sleeps_is_told_that_it_lags() {
    let store = Store::open(Arc::new(MemoryJournal::new())).await.unwrap();
    let mut changes = store.changes();
    for n in 0..9000u16 {
        let mut transaction = Transaction::new();
        put(&mut transaction, 0, n);
        store.commit(transaction).await.unwrap();
    }
    assert!(matches!(changes.next().await, Next::Lagged));
    assert!(matches!(changes.next().await, Next::Change(_)));
}

#[tokio::test]
async fn unreadable_records_are_named() {
    let journal = Arc::new(MemoryJournal::new());
    let writes = vec![("task/default/1".into(), Some(vec![250, b'{', b'}'].into()))];
    journal.append(Append { writes, ..Append::default() }).await.unwrap();
    let error = Store::open(journal).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Decode { key, revision: 1, .. } if key == "task/default/1")
    );
    assert!(error.to_string().contains("version 250"), "{error}");
}
