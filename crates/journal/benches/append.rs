//! A raw append + fdatasync beside the journal and the store, in interleaved rounds on one disk.
//!
//! `cargo bench -p wharf-journal` prints the median of each round's ratio. Both sides write the same
//! bytes in the same second; at 16 and 200 writers the raw side is group commit without a journal:
//! one thread that takes all waiting records into one write and one fdatasync.
#![allow(clippy::unwrap_used, reason = "what fails here fails the run")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use wharf_journal::{Append, EmbeddedJournal, Journal, Options, Store};
use wharf_model::{AccountSetting, Transaction};

const RECORD: usize = 1000;
const ROUNDS: usize = 11;
const ROUND: Duration = Duration::from_millis(400);

/// Writes per second and the waiting times of a round, sorted.
struct Round {
    per_second: f64,
    waits: Vec<Duration>,
}

impl Round {
    fn wait(&self, quantile: f64) -> f64 {
        let index = ((self.waits.len() - 1) as f64 * quantile) as usize;
        self.waits[index].as_secs_f64() * 1000.0
    }
}

type Raw = mpsc::Sender<(Vec<u8>, oneshot::Sender<()>)>;

fn raw(dir: &Path) -> Raw {
    let file = File::create(dir.join("raw")).unwrap();
    let (sender, mut receiver) = mpsc::channel::<(Vec<u8>, oneshot::Sender<()>)>(4096);
    std::thread::spawn(move || {
        let (mut batch, mut offset) = (Vec::new(), 0);
        while receiver.blocking_recv_many(&mut batch, 1024) > 0 {
            let bytes: Vec<u8> = batch.iter().flat_map(|(bytes, _)| bytes).copied().collect();
            file.write_all_at(&bytes, offset).unwrap();
            file.sync_data().unwrap();
            offset += bytes.len() as u64;
            for (_, reply) in batch.drain(..) {
                let _ = reply.send(());
            }
        }
    });
    sender
}

/// One thread that appends and syncs, with nothing between.
fn raw_single(file: &File, offset: &mut u64) -> Round {
    let bytes = vec![b'x'; RECORD];
    let start = Instant::now();
    let mut waits = Vec::new();
    while start.elapsed() < ROUND {
        let begun = Instant::now();
        file.write_all_at(&bytes, *offset).unwrap();
        file.sync_data().unwrap();
        *offset += RECORD as u64;
        waits.push(begun.elapsed());
    }
    finish(start, waits)
}

fn finish(start: Instant, mut waits: Vec<Duration>) -> Round {
    let per_second = waits.len() as f64 / start.elapsed().as_secs_f64();
    waits.sort_unstable();
    Round { per_second, waits }
}

async fn round<F, Fut>(writers: usize, write: F) -> Round
where
    F: Fn(usize, u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let start = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let write = write.clone();
            tokio::spawn(async move {
                let mut waits = Vec::new();
                let mut n = 0;
                while start.elapsed() < ROUND {
                    let begun = Instant::now();
                    write(writer, n).await;
                    n += 1;
                    waits.push(begun.elapsed());
                }
                waits
            })
        })
        .collect();
    let mut waits = Vec::new();
    for task in tasks {
        waits.extend(task.await.unwrap());
    }
    finish(start, waits)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn report(name: &str, rounds: &[Round], raw: &[Round]) {
    let of = |value: fn(&Round) -> f64| median(rounds.iter().map(value).collect());
    let ratio = |value: fn(&Round) -> f64| {
        median(rounds.iter().zip(raw).map(|(round, raw)| value(round) / value(raw)).collect())
    };
    println!(
        "  {name:<28} {:>9.0}/s ({:>5.2}x raw)   p50 {:>6.3} ms ({:>5.2}x)   p99 {:>7.3} ms ({:>5.2}x)",
        of(|r| r.per_second),
        ratio(|r| r.per_second),
        of(|r| r.wait(0.5)),
        ratio(|r| r.wait(0.5)),
        of(|r| r.wait(0.99)),
        ratio(|r| r.wait(0.99)),
    );
}

async fn compare(dir: &Path, writers: usize) {
    let name = dir.join(format!("single-{writers}"));
    let (file, mut offset) = (File::create(name).unwrap(), 0);
    let raw = raw(dir);
    let open = |name: &str, preallocate| {
        // Small segments, so that every round passes through several.
        let options = Options { preallocate, segment_bytes: 2 << 20, ..Options::default() };
        Arc::new(EmbeddedJournal::open(&dir.join(name), options).unwrap())
    };
    let plain = open(&format!("plain-{writers}"), false);
    let ahead = open(&format!("ahead-{writers}"), true);
    let typed = open(&format!("typed-{writers}"), true);
    let store = Arc::new(Store::open(typed).await.unwrap());
    let mut rounds: [Vec<Round>; 5] = Default::default();
    for _ in 0..ROUNDS {
        if writers == 1 {
            rounds[0].push(tokio::task::block_in_place(|| raw_single(&file, &mut offset)));
        }
        let sender = raw.clone();
        rounds[1].push(
            round(writers, move |_, _| {
                let sender = sender.clone();
                async move {
                    let (reply, answer) = oneshot::channel();
                    sender.send((vec![b'x'; RECORD], reply)).await.unwrap();
                    answer.await.unwrap();
                }
            })
            .await,
        );
        for (slot, journal) in [(2, &plain), (3, &ahead)] {
            let journal = journal.clone();
            rounds[slot].push(
                round(writers, move |writer, n| {
                    let journal = journal.clone();
                    async move {
                        let key = format!("key/{writer}/{}", n % 100).into();
                        let writes = vec![(key, Some(vec![b'x'; RECORD].into()))];
                        journal.append(Append { writes, ..Append::default() }).await.unwrap();
                    }
                })
                .await,
            );
        }
        let store = store.clone();
        rounds[4].push(
            round(writers, move |writer, n| {
                let store = store.clone();
                async move {
                    let mut transaction = Transaction::new();
                    transaction.put(AccountSetting {
                        name: format!("setting-{writer}"),
                        principal: (n % 100).to_string(),
                        value: "x".repeat(RECORD),
                    });
                    store.commit(transaction).await.unwrap();
                }
            })
            .await,
        );
    }
    println!("{writers} writers, {RECORD}-byte records, {ROUNDS} rounds of {ROUND:?}:");
    let [single, grouped, plain, ahead, typed] = &rounds;
    let base = if writers == 1 { single } else { grouped };
    report("raw append + fdatasync", base, base);
    if writers == 1 {
        report("raw, by a committer thread", grouped, base);
    }
    report("journal, sparse segments", plain, base);
    report("journal, zeroed segments", ahead, base);
    report("store, zeroed segments", typed, base);
}

#[tokio::main]
async fn main() {
    let dir = tempfile::tempdir().unwrap();
    for writers in [1, 16, 200] {
        compare(dir.path(), writers).await;
    }
}
