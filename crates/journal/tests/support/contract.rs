//! The contract of [`Journal`], one function a promise.

use std::sync::Arc;
use std::time::Duration;

use wharf_journal::{Append, Error, Journal, MAX_KEY_BYTES, MAX_RECORD_BYTES, MAX_RECORDS, Value};

use super::{append, append_if, put};

type Subject = Arc<dyn Journal>;

pub async fn starts_empty(journal: Subject) {
    let loaded = journal.load().await.unwrap();
    assert_eq!((loaded.revision, loaded.records.len()), (0, 0));
}

pub async fn revisions_rise_and_records_carry_them(journal: Subject) {
    let first = journal.append(append(&[("a", "1"), ("b", "2")])).await.unwrap();
    let second = journal.append(append(&[("b", "3")])).await.unwrap();
    assert!(0 < first && first < second);
    let loaded = journal.load().await.unwrap();
    assert_eq!(loaded.revision, second);
    let found: Vec<_> = loaded
        .records
        .iter()
        .map(|(key, record)| (key.to_string(), record.revision, record.value.to_vec()))
        .collect();
    assert_eq!(found, [("a".into(), first, b"1".to_vec()), ("b".into(), second, b"3".to_vec())]);
}

pub async fn read_sets_decide(journal: Subject) {
    let first = journal.append(append_if("a", 0, "1")).await.unwrap();
    let error = journal.append(append_if("a", 0, "2")).await.unwrap_err();
    assert!(
        matches!(&error, Error::Conflict { key, expected: 0, found } if key == "a" && *found == first),
        "{error}"
    );
    let second = journal.append(append_if("a", first, "3")).await.unwrap();
    let error = journal.append(append_if("a", first, "4")).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { found, .. } if found == second));
    // Records outside of the read set may change freely.
    journal.append(append(&[("b", "1")])).await.unwrap();
    journal.append(append_if("a", second, "5")).await.unwrap();
}

pub async fn a_transaction_is_all_or_nothing(journal: Subject) {
    let revision = journal.append(append(&[("a", "1")])).await.unwrap();
    let mut stale = append(&[("b", "2"), ("c", "3")]);
    stale.reads = vec![("a".into(), revision), ("z".into(), 7)];
    journal.append(stale).await.unwrap_err();
    let loaded = journal.load().await.unwrap();
    assert_eq!((loaded.revision, loaded.records.len()), (revision, 1));
}

pub async fn deleting_makes_absent(journal: Subject) {
    journal.append(append(&[("a", "1")])).await.unwrap();
    let delete = Append { writes: vec![("a".into(), None)], ..Append::default() };
    journal.append(delete.clone()).await.unwrap();
    assert!(journal.load().await.unwrap().records.is_empty());
    let again = journal.append(append_if("a", 0, "2")).await.unwrap();
    assert_eq!(journal.load().await.unwrap().records.get("a").unwrap().revision, again);
    // Deleting what isn't there is no error.
    journal.append(delete.clone()).await.unwrap();
    journal.append(delete).await.unwrap();
}

pub async fn an_append_without_writes_checks(journal: Subject) {
    let revision = journal.append(append(&[("a", "1")])).await.unwrap();
    let check = |revision| Append { reads: vec![("a".into(), revision)], ..Append::default() };
    assert_eq!(journal.append(check(revision)).await.unwrap(), revision);
    journal.append(check(revision + 1)).await.unwrap_err();
    assert_eq!(journal.load().await.unwrap().revision, revision);
}

pub async fn limits_are_enforced(journal: Subject) {
    let value = |bytes: usize| Some(Value::from(vec![b'x'; bytes]));
    let numbered = |count: usize, bytes: usize| Append {
        writes: (0..count).map(|n| (format!("key-{n}").into(), value(bytes))).collect(),
        ..Append::default()
    };
    journal.append(numbered(MAX_RECORDS, 10)).await.unwrap();
    journal.append(numbered(1, MAX_RECORD_BYTES)).await.unwrap();
    journal.append(numbered(7, MAX_RECORD_BYTES)).await.unwrap();
    let long_key = "k".repeat(MAX_KEY_BYTES + 1);
    let too_large = [
        numbered(MAX_RECORDS + 1, 10),
        numbered(1, MAX_RECORD_BYTES + 1),
        numbered(8, MAX_RECORD_BYTES),
        append(&[(&long_key, "1")]),
    ];
    let before = journal.load().await.unwrap();
    for transaction in too_large {
        let error = journal.append(transaction).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    }
    assert_eq!(journal.load().await.unwrap().revision, before.revision);
}

pub async fn invalid_transactions_are_refused(journal: Subject) {
    for transaction in [append(&[("a", "1"), ("a", "2")]), append(&[("", "1")])] {
        let error = journal.append(transaction).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    }
    assert_eq!(journal.load().await.unwrap().revision, 0);
}

pub async fn of_racing_writers_one_wins(journal: Subject) {
    for round in 0..20 {
        let key = format!("race-{round}");
        let racers = (0..10).map(|n| {
            let (journal, append) = (journal.clone(), append_if(&key, 0, &n.to_string()));
            tokio::spawn(async move { journal.append(append).await })
        });
        let mut won = 0;
        for racer in racers.collect::<Vec<_>>() {
            match racer.await.unwrap() {
                Ok(_) => won += 1,
                Err(Error::Conflict { found, .. }) => assert_ne!(found, 0),
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(won, 1);
    }
}

pub async fn increments_are_never_lost(journal: Subject) {
    const WRITERS: u64 = 8;
    const EACH: u64 = 25;
    let writers = (0..WRITERS).map(|_| {
        let journal = journal.clone();
        tokio::spawn(async move {
            for _ in 0..EACH {
                loop {
                    let loaded = journal.load().await.unwrap();
                    let (revision, count) =
                        loaded.records.get("counter").map_or((0, 0), |record| {
                            let text = std::str::from_utf8(&record.value).unwrap();
                            (record.revision, text.parse::<u64>().unwrap())
                        });
                    let append = append_if("counter", revision, &(count + 1).to_string());
                    match journal.append(append).await {
                        Ok(_) => break,
                        Err(Error::Conflict { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let loaded = journal.load().await.unwrap();
    let counter = &loaded.records.get("counter").unwrap().value;
    assert_eq!(&counter[..], (WRITERS * EACH).to_string().as_bytes());
}

pub async fn watches_tell_everything_in_order(journal: Subject) {
    let mut watch = journal.watch(0).await.unwrap();
    let writers = (0..5).map(|writer| {
        let journal = journal.clone();
        tokio::spawn(async move {
            for n in 0..20 {
                let key = format!("{writer}/{n}");
                journal.append(append(&[(&key, "x")])).await.unwrap();
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut seen = Vec::new();
    while seen.len() < 100 {
        let entries = tokio::time::timeout(Duration::from_secs(20), watch.next()).await;
        for entry in entries.unwrap().unwrap() {
            seen.push((entry.revision, entry.writes[0].0.to_string()));
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(seen.is_sorted_by_key(|(revision, _)| *revision));
    for writer in 0..5 {
        let prefix = format!("{writer}/");
        let own: Vec<_> = seen.iter().filter(|(_, key)| key.starts_with(&prefix)).collect();
        let expected: Vec<_> = (0..20).map(|n| format!("{writer}/{n}")).collect();
        assert!(own.iter().map(|(_, key)| key).eq(&expected));
    }
    let loaded = journal.load().await.unwrap();
    for (revision, key) in &seen {
        assert_eq!(loaded.records.get(key.as_str()).unwrap().revision, *revision);
    }
}

pub async fn a_watch_resumes_from_a_revision(journal: Subject) {
    let mut revisions = Vec::new();
    for n in 0..5 {
        revisions.push(journal.append(append(&[("a", &n.to_string())])).await.unwrap());
    }
    let mut watch = journal.watch(revisions[1]).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.extend(watch.next().await.unwrap().iter().map(|entry| entry.revision));
    }
    assert_eq!(seen, revisions[2..]);
    // Waiting may be given up without losing anything.
    let nothing = tokio::time::timeout(Duration::from_millis(5), watch.next()).await;
    assert!(nothing.is_err());
    let next = journal.append(append(&[("a", "next")])).await.unwrap();
    assert_eq!(watch.next().await.unwrap()[0].revision, next);
}

pub async fn entries_precede_answers(journal: Subject) {
    let mut watch = journal.watch(0).await.unwrap();
    for n in 0..20 {
        let revision = journal.append(append(&[("a", &n.to_string())])).await.unwrap();
        let mut seen = watch.try_next().unwrap();
        // A journal of other processes may need a moment.
        if seen.is_empty() {
            seen = watch.next().await.unwrap();
        }
        assert_eq!(seen.last().unwrap().revision, revision);
    }
}

pub async fn attachments_reach_watchers(journal: Subject) {
    let mut watch = journal.watch(0).await.unwrap();
    let mut append = append(&[("a", "1")]);
    append.attachment = Some(Arc::new(42u32));
    journal.append(append).await.unwrap();
    let entry = watch.next().await.unwrap().remove(0);
    let attached = entry.attachment.as_ref().and_then(|any| any.downcast_ref::<u32>());
    assert_eq!(attached, Some(&42));
    assert_eq!(entry.writes[0], put("a", "1"));
}

pub async fn leases_exclude(journal: Subject) {
    let first = journal.lease("cluster/default").await.unwrap();
    assert!(first.is_held());
    let other = journal.lease("cluster/other").await.unwrap();
    assert_eq!(other.name(), "cluster/other");
    let waiting = journal.lease("cluster/default");
    tokio::pin!(waiting);
    let blocked = tokio::time::timeout(Duration::from_millis(20), &mut waiting).await;
    assert!(blocked.is_err());
    drop(first);
    let second = tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
    assert!(second.is_held());
}
