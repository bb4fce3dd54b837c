//! The embedded journal on a real disk: reopening, locking, compaction, segments, damage.
#![allow(clippy::unwrap_used, reason = "what fails here fails the run")]

mod support;

use std::path::Path;
use std::sync::Arc;

use support::append;
use wharf_journal::{EmbeddedJournal, Error, Journal, Options, RealDisk, export};

fn small() -> Options {
    Options { segment_bytes: 4096, compact_after_bytes: 1 << 30, ..Options::default() }
}

async fn fill(journal: &EmbeddedJournal, from: u64, to: u64) {
    for n in from..to {
        let key = format!("key-{}", n % 37);
        journal.append(append(&[(&key, &format!("value {n}"))])).await.unwrap();
    }
}

async fn state(journal: &dyn Journal) -> Vec<(String, u64, String)> {
    let loaded = journal.load().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    loaded
        .records
        .iter()
        .map(|(key, record)| (key.to_string(), record.revision, text(&record.value)))
        .collect()
}

fn files(dir: &Path, extension: &str) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir.join("journal")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    paths.sort();
    paths
}

#[tokio::test]
async fn reopening_finds_everything() {
    let dir = tempfile::tempdir().unwrap();
    let journal = EmbeddedJournal::open(dir.path(), small()).unwrap();
    fill(&journal, 0, 500).await;
    let before = state(&journal).await;
    journal.close().await;
    assert!(files(dir.path(), "log").len() > 3);
    let journal = EmbeddedJournal::open(dir.path(), small()).unwrap();
    assert_eq!(state(&journal).await, before);
    let report = journal.report();
    assert_eq!((report.revision, report.records, report.replayed), (500, 37, 500));
    assert_eq!(report.torn, None);
    fill(&journal, 500, 510).await;
    assert_eq!(journal.load().await.unwrap().revision, 510);
}

#[tokio::test]
async fn a_second_opener_is_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let journal = EmbeddedJournal::open(dir.path(), small()).unwrap();
    let error = EmbeddedJournal::open(dir.path(), small()).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }));
    assert!(error.to_string().contains(&format!("pid {}", std::process::id())), "{error}");
    journal.close().await;
    EmbeddedJournal::open(dir.path(), small()).unwrap();
}

#[tokio::test]
async fn compaction_keeps_the_state_and_frees_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let journal = EmbeddedJournal::open(dir.path(), small()).unwrap();
    fill(&journal, 0, 500).await;
    let logs = files(dir.path(), "log").len();
    journal.compact().await.unwrap();
    journal.compact().await.unwrap();
    assert_eq!(files(dir.path(), "snap").len(), 1);
    assert!(files(dir.path(), "log").len() < logs);
    fill(&journal, 500, 700).await;
    journal.compact().await.unwrap();
    fill(&journal, 700, 705).await;
    assert_eq!(files(dir.path(), "snap").len(), 1);
    let before = state(&journal).await;
    journal.close().await;
    let journal = EmbeddedJournal::open(dir.path(), small()).unwrap();
    assert_eq!(state(&journal).await, before);
    let report = journal.report();
    assert_eq!((report.snapshot_revision, report.revision), (700, 705));
    assert_eq!(report.replayed, 5);
}

#[tokio::test]
async fn compaction_runs_by_itself_beside_writers() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { compact_after_bytes: 20_000, ..small() };
    let journal = Arc::new(EmbeddedJournal::open(dir.path(), options.clone()).unwrap());
    let writers = (0..8).map(|writer| {
        let journal = journal.clone();
        tokio::spawn(async move {
            for n in 0..200 {
                let key = format!("{writer}/{}", n % 10);
                journal.append(append(&[(&key, &"x".repeat(100))])).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let before = state(journal.as_ref()).await;
    journal.close().await;
    assert!(!files(dir.path(), "snap").is_empty());
    let journal = EmbeddedJournal::open(dir.path(), options).unwrap();
    assert_eq!(state(&journal).await, before);
    assert_eq!(journal.report().revision, 1600);
}

#[tokio::test]
async fn after_closing_everything_answers_closed() {
    let dir = tempfile::tempdir().unwrap();
    let journal = EmbeddedJournal::open(dir.path(), small()).unwrap();
    let mut watch = journal.watch(0).await.unwrap();
    let mut lease = journal.lease("a").await.unwrap();
    fill(&journal, 0, 1).await;
    journal.close().await;
    assert!(matches!(journal.append(append(&[("a", "1")])).await, Err(Error::Closed)));
    assert!(matches!(journal.load().await, Err(Error::Closed)));
    assert_eq!(watch.next().await.unwrap().len(), 1);
    assert!(matches!(watch.next().await, Err(Error::Closed)));
    assert!(!lease.is_held());
    lease.lost().await;
}

#[tokio::test]
async fn export_reads_around_damage() {
    let dir = tempfile::tempdir().unwrap();
    let journal = EmbeddedJournal::open(dir.path(), small()).unwrap();
    fill(&journal, 0, 100).await;
    journal.compact().await.unwrap();
    fill(&journal, 100, 200).await;
    let binary = wharf_journal::Append {
        writes: vec![("bin".into(), Some(vec![0xff, 0].into())), ("key-1".into(), None)],
        ..Default::default()
    };
    journal.append(binary).await.unwrap();
    journal.close().await;
    let path = files(dir.path(), "log").remove(1);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1000] ^= 4;
    std::fs::write(&path, bytes).unwrap();

    let error = EmbeddedJournal::open(dir.path(), small()).unwrap_err();
    assert!(matches!(&error, Error::Corrupt { file, offset, .. } if *file == path && *offset > 64));
    assert!(error.to_string().contains("wharf journal export"), "{error}");

    let mut out = Vec::new();
    let report = export(&RealDisk, &dir.path().join("journal"), &mut out).unwrap();
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    let out = String::from_utf8(out).unwrap();
    let lines: Vec<serde_json::Value> =
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // Everything but the one damaged group: 37 records, 100 writes and the last two.
    assert!(lines.len() >= 137, "{}", lines.len());
    assert!(lines.iter().any(|line| line["revision"] == 200 && line["value"] == "value 199"));
    assert!(lines.iter().any(|line| line["key"] == "bin" && line["value_base64"] == "/wA="));
    assert!(lines.iter().any(|line| line["key"] == "key-1" && line["deleted"] == true));
    assert!(lines.iter().any(|line| line["problem"].is_string()));
}

#[tokio::test]
async fn a_newer_format_and_foreign_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let journal = EmbeddedJournal::open(dir.path(), small()).unwrap();
    fill(&journal, 0, 300).await;
    journal.close().await;
    let logs = files(dir.path(), "log");
    let original = std::fs::read(&logs[1]).unwrap();

    let mut newer = original.clone();
    newer[8] = 2;
    let crc = crc32c::crc32c(&newer[..60]);
    newer[60..64].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&logs[1], newer).unwrap();
    let error = EmbeddedJournal::open(dir.path(), small()).unwrap_err();
    assert!(matches!(error, Error::NewerFormat { found: 2, supported: 1, .. }), "{error}");

    let other = tempfile::tempdir().unwrap();
    let journal = EmbeddedJournal::open(other.path(), small()).unwrap();
    fill(&journal, 0, 300).await;
    journal.close().await;
    std::fs::copy(&files(other.path(), "log")[1], &logs[1]).unwrap();
    let error = EmbeddedJournal::open(dir.path(), small()).unwrap_err();
    assert!(error.to_string().contains("another"), "{error}");

    std::fs::remove_file(&logs[1]).unwrap();
    let error = EmbeddedJournal::open(dir.path(), small()).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
    std::fs::write(&logs[1], original).unwrap();
    EmbeddedJournal::open(dir.path(), small()).unwrap();
}
