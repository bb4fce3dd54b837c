//! kill -9 in the middle of fifty writers, again and again on one directory.
#![allow(clippy::unwrap_used, reason = "what fails here fails the run")]

mod support;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use support::sim_disk::Random;
use support::{put, soak};
use wharf_journal::{Append, EmbeddedJournal, Error, Journal, Options};

const WRITERS: usize = 50;
const CHILD: &str = "WHARF_JOURNAL_TEST_CHILD";

/// Kills the child on every way out.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn options() -> Options {
    Options { segment_bytes: 256 * 1024, compact_after_bytes: 1024 * 1024, ..Options::default() }
}

/// Not a test of its own: the process that the test below starts and kills.
#[tokio::test]
async fn child_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let journal = Arc::new(EmbeddedJournal::open(Path::new(&dir), options()).unwrap());
    let loaded = journal.load().await.unwrap();
    let writers = (0..WRITERS).map(|writer| {
        let journal = journal.clone();
        let last = loaded.records.get(format!("last/{writer}").as_str());
        let (mut revision, mut n) = last.map_or((0, 0), |record| {
            (record.revision, std::str::from_utf8(&record.value).unwrap().parse().unwrap())
        });
        tokio::spawn(async move {
            loop {
                n += 1;
                let last = format!("last/{writer}");
                let reads = vec![(last.as_str().into(), revision)];
                let slot = put(&format!("slot/{writer}/{}", n % 8), &body(writer, n));
                let writes = vec![put(&last, &n.to_string()), slot];
                let append = Append { reads, writes, attachment: None };
                revision = journal.append(append).await.unwrap();
                // One write call: a line is in the pipe as a whole, or not at all.
                let line = format!("ack {writer} {n} {revision}\n");
                if std::io::stdout().write_all(line.as_bytes()).is_err() {
                    return;
                }
            }
        })
    });
    let mut writers: Vec<tokio::task::JoinHandle<()>> = writers.collect();
    // None of them ends but by a failure.
    writers.remove(0).await.unwrap();
}

fn body(writer: usize, n: u64) -> String {
    format!("{writer}:{n}:{}", "x".repeat((n as usize * 37) % 1500))
}

/// Starts the child, reads that many acknowledgements, kills it, reads the rest.
fn run_child(
    dir: &Path,
    kill_after: usize,
    acknowledged: &mut HashMap<usize, (u64, u64)>,
) -> usize {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child_writes_until_it_is_killed", "--nocapture"]);
    let child = command.env(CHILD, dir).stdout(Stdio::piped()).spawn().unwrap();
    let mut child = Killed(child);
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let mut count = 0;
    while let Some(Ok(line)) = lines.next() {
        let Some(rest) = line.find("ack ").map(|at| &line[at + 4..]) else { continue };
        let numbers: Vec<u64> = rest.split(' ').map(|number| number.parse().unwrap()).collect();
        acknowledged.insert(numbers[0] as usize, (numbers[1], numbers[2]));
        count += 1;
        if count == kill_after {
            child.0.kill().unwrap();
        }
    }
    assert!(count >= kill_after, "the child ended by itself after {count} acknowledgements");
    count
}

/// What the directory holds must be what was acknowledged, or one step further per writer.
async fn check(dir: &Path, acknowledged: &mut HashMap<usize, (u64, u64)>) {
    let journal = loop {
        match EmbeddedJournal::open(dir, options()) {
            Ok(journal) => break journal,
            // The killed process may not be quite gone.
            Err(Error::Locked { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    let loaded = journal.load().await.unwrap();
    let mut revisions = Vec::new();
    for writer in 0..WRITERS {
        let (acked, revision) = acknowledged.get(&writer).copied().unwrap_or_default();
        let last = loaded.records.get(format!("last/{writer}").as_str());
        let found: u64 = last.map_or(0, |record| {
            revisions.push(record.revision);
            std::str::from_utf8(&record.value).unwrap().parse().unwrap()
        });
        assert!(found == acked || found == acked + 1, "writer {writer}: {acked}, found {found}");
        if found == acked && acked > 0 {
            assert_eq!(last.unwrap().revision, revision);
        }
        if let Some(record) = last {
            // What was in flight is known now, and must not be lost by the next kill.
            acknowledged.insert(writer, (found, record.revision));
        }
        for n in found.saturating_sub(7).max(1)..=found {
            let slot = loaded.records.get(format!("slot/{writer}/{}", n % 8).as_str()).unwrap();
            assert_eq!(slot.value, body(writer, n), "writer {writer}, write {n}");
        }
    }
    revisions.sort_unstable();
    revisions.dedup();
    assert_eq!(revisions.len(), loaded.records.keys().filter(|k| k.starts_with("last/")).count());
    assert_eq!(revisions.last().copied().unwrap_or_default(), loaded.revision);
    journal.close().await;
}

#[tokio::test]
async fn kill_9_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let kills = if soak() { 200 } else { 10 };
    let mut random = Random(3);
    let mut acknowledged = HashMap::new();
    let mut total = 0;
    for _ in 0..kills {
        total += run_child(dir.path(), 1 + random.below(3000), &mut acknowledged);
        check(dir.path(), &mut acknowledged).await;
    }
    println!("{kills} kills, {total} acknowledged writes, none lost");
}
