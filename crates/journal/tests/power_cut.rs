//! The power fails at every operation in turn; every operation fails once in turn.
#![allow(clippy::unwrap_used, reason = "what fails here fails the run")]

mod support;

use std::path::Path;
use std::sync::Arc;

use support::ledger::Ledger;
use support::sim_disk::{Fault, Planted, Random, SimDisk, Survival};
use support::soak;
use wharf_journal::{EmbeddedJournal, Error, Journal, OpenReport, Options};

/// How a run ends: by a power cut, or (`None`) by a kill of the process alone.
const SURVIVALS: [Option<Survival>; 5] = [
    None,
    Some(Survival::Lost),
    Some(Survival::Kept),
    Some(Survival::Torn),
    Some(Survival::Reordered),
];

/// Batches of transactions in one run, and the largest batch.
const BATCHES: usize = 14;
const BATCH: usize = 4;

fn options() -> Options {
    Options {
        segment_bytes: 4096,
        compact_after_bytes: 12_000,
        preallocate: true,
        inline_upkeep: true,
    }
}

fn open(disk: &SimDisk) -> Result<EmbeddedJournal, Error> {
    EmbeddedJournal::open_on(Arc::new(disk.clone()), Path::new("/journal"), options())
}

/// Submits batches until one isn't answered; true if all were.
async fn work(journal: &EmbeddedJournal, ledger: &mut Ledger, batches: usize) -> bool {
    let mut all = true;
    for batch in 0..batches {
        let submitted: Vec<_> = (0..1 + batch % BATCH).map(|_| ledger.submit()).collect();
        let appends = submitted
            .into_iter()
            .map(|(number, append)| async move { (number, journal.append(append).await) });
        for (number, result) in futures_join(appends).await {
            ledger.answer(number, &result);
            all &= result.is_ok();
        }
    }
    all
}

/// Runs futures together in their order.
async fn futures_join<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut ready = true;
        for (future, output) in &mut pending {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *output = Some(value),
                    std::task::Poll::Pending => ready = false,
                }
            }
        }
        if ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    pending.into_iter().filter_map(|(_, output)| output).collect()
}

/// Opens what was left and compares; then goes on, and compares again after a clean restart.
async fn verify(disk: &SimDisk, ledger: &mut Ledger) -> Result<OpenReport, String> {
    let journal = open(disk).map_err(|error| format!("does not open: {error}"))?;
    ledger.check(&journal.load().await.unwrap())?;
    let report = journal.report().clone();
    let mut disk = disk.clone();
    let mut journal = journal;
    // First little, so that nothing but recovery itself has made durable what it builds on.
    for batches in [1, 6] {
        if !work(&journal, ledger, batches).await {
            return Err("does not take writes after recovery".into());
        }
        ledger.check(&journal.load().await.unwrap())?;
        journal.close().await;
        disk = disk.after_power_cut(Survival::Lost, &mut Random(0));
        journal = open(&disk).map_err(|error| format!("does not open again: {error}"))?;
        ledger.check(&journal.load().await.unwrap())?;
    }
    journal.close().await;
    Ok(report)
}

/// A run with one fault at one operation, on a fresh disk with an optional bug.
struct Run {
    disk: SimDisk,
    ledger: Ledger,
    /// Whether the journal could be opened in spite of the fault.
    opened: bool,
    all_answered: bool,
}

async fn run(operation: u64, fault: Fault, planted: Option<Planted>) -> Run {
    let disk = SimDisk::new();
    if let Some(bug) = planted {
        disk.plant(bug);
    }
    disk.plan(operation, fault);
    let mut ledger = Ledger::default();
    let Ok(journal) = open(&disk) else {
        return Run { disk, ledger, opened: false, all_answered: false };
    };
    let all_answered = work(&journal, &mut ledger, BATCHES).await;
    journal.close().await;
    Run { disk, ledger, opened: true, all_answered }
}

/// Operations of a run without a fault.
async fn count_operations() -> u64 {
    let run = run(u64::MAX, Fault::PowerCut, None).await;
    assert!(run.all_answered);
    // All kinds of operations are in the run: segments, snapshots, removals.
    let files = run.disk.files();
    assert!(files.iter().any(|(path, _)| path.extension().is_some_and(|found| found == "snap")));
    run.disk.operations()
}

async fn cut_at(
    operation: u64,
    survival: Option<Survival>,
    seed: u64,
    planted: Option<Planted>,
) -> Result<OpenReport, String> {
    let Run { disk, mut ledger, .. } = run(operation, Fault::PowerCut, planted).await;
    let mut random = Random(seed);
    let trace = disk.trace();
    let end = |disk: &SimDisk, random: &mut Random| match survival {
        Some(survival) => disk.after_power_cut(survival, random),
        None => disk.after_restart(),
    };
    let mut left = end(&disk, &mut random);
    // Every other time the power fails once more, during recovery.
    if random.coin() {
        left.plan(random.below(20) as u64, Fault::PowerCut);
        if let Ok(journal) = open(&left) {
            journal.close().await;
        }
        left = end(&left, &mut random);
    }
    verify(&left, &mut ledger).await.map_err(|problem| {
        format!(
            "power cut at operation {operation}, {survival:?}, seed {seed}: {problem}\n  {trace}"
        )
    })
}

#[tokio::test]
async fn a_power_cut_at_any_operation_loses_nothing_acknowledged() {
    let operations = count_operations().await;
    let seeds = if soak() { 20 } else { 2 };
    let (mut cuts, mut torn) = (0, 0);
    for operation in 0..operations + 5 {
        for survival in SURVIVALS {
            for seed in 0..seeds {
                let seed = seed * 1_000_003 + operation;
                let report = cut_at(operation, survival, seed, None).await.unwrap();
                cuts += 1;
                torn += u64::from(report.torn.is_some());
            }
        }
    }
    println!("{cuts} power cuts over {operations} operations, {torn} torn tails cut off");
    assert!(torn > 0, "no cut ever tore a group: the simulation is too kind");
}

/// Whether one operation's failure was handled as promised.
async fn fail_at(operation: u64, fault: Fault, planted: Option<Planted>) -> Result<(), String> {
    let Run { disk, mut ledger, opened, .. } = run(operation, fault, planted).await;
    let context = |problem: String| {
        format!("{fault:?} at operation {operation}: {problem}\n  {}", disk.trace())
    };
    let seed = operation;
    // The process ended; the machine went on, or lost its power then.
    let left = match seed % 3 {
        0 => disk.after_restart(),
        1 => disk.after_power_cut(Survival::Lost, &mut Random(seed)),
        _ => disk.after_power_cut(Survival::Reordered, &mut Random(seed)),
    };
    let acknowledged = ledger.acknowledged();
    if !opened && acknowledged > 0 {
        return Err(context("acknowledged without having opened".into()));
    }
    verify(&left, &mut ledger).await.map(drop).map_err(context)
}

#[tokio::test]
async fn every_operation_may_fail_once() {
    let operations = count_operations().await;
    for operation in 0..operations {
        for fault in [Fault::Broken, Fault::Full(1), Fault::Full(25)] {
            fail_at(operation, fault, None).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_full_disk_refuses_and_writing_resumes() {
    let operations = count_operations().await;
    let mut refused = 0;
    for operation in 0..operations {
        let disk = SimDisk::new();
        let mut ledger = Ledger::default();
        let journal = open(&disk).unwrap();
        disk.plan(operation, Fault::Full(30));
        for _ in 0..60 {
            let (number, append) = ledger.submit();
            let result = journal.append(append).await;
            if let Err(error) = &result {
                assert!(matches!(error, Error::NoSpace { .. }), "{error}");
                refused += 1;
            }
            ledger.answer(number, &result);
        }
        disk.plan(u64::MAX, Fault::Full(1));
        assert!(work(&journal, &mut ledger, 8).await, "writing did not resume");
        ledger.check(&journal.load().await.unwrap()).unwrap();
        journal.close().await;
        verify(&disk.after_restart(), &mut ledger).await.unwrap();
    }
    assert!(refused > 0);
    println!("{refused} writes refused on a full disk");
}

#[tokio::test]
async fn a_failed_sync_is_final() {
    let operations = count_operations().await;
    let mut failed = 0;
    for operation in 0..operations {
        let disk = SimDisk::new();
        let mut ledger = Ledger::default();
        let journal = open(&disk).unwrap();
        disk.plan(operation, Fault::Broken);
        let mut watch = journal.watch(0).await.unwrap();
        let mut is_final = false;
        for _ in 0..60 {
            let (number, append) = ledger.submit();
            let result = journal.append(append).await;
            is_final |= matches!(&result, Err(Error::Failed { .. }));
            assert!(
                !is_final || matches!(&result, Err(Error::Failed { .. })),
                "acknowledged after"
            );
            ledger.answer(number, &result);
        }
        let is_sync = disk.has_failed("sync_data") || disk.has_failed("sync_dir");
        assert!(!is_sync || is_final, "a failed sync was not final:\n  {}", disk.trace());
        if is_final {
            failed += 1;
            // Readers are shown no more than what is durable, and watchers are told.
            let loaded = journal.load().await.unwrap();
            assert_eq!(loaded.revision, ledger.acknowledged() as u64);
            let seen: usize = watch.next().await.map_or(0, |entries| entries.len());
            assert_eq!(seen, ledger.acknowledged());
            assert!(matches!(watch.next().await, Err(Error::Failed { .. })));
        }
        journal.close().await;
        let left = disk.after_power_cut(Survival::Lost, &mut Random(operation));
        verify(&left, &mut ledger).await.unwrap();
    }
    assert!(failed > 20, "{failed}");
}

#[tokio::test]
async fn the_checker_notices_planted_bugs() {
    let operations = count_operations().await;
    let mut skipped_sync = 0;
    let mut swallowed_error = 0;
    for operation in 0..operations {
        let skipped = Some(Planted::SkippedSync);
        skipped_sync +=
            u64::from(cut_at(operation, Some(Survival::Lost), 1, skipped).await.is_err());
        let swallowed = Some(Planted::SwallowedError);
        for fault in [Fault::Broken, Fault::Full(1)] {
            swallowed_error += u64::from(fail_at(operation, fault, swallowed).await.is_err());
        }
    }
    println!("noticed: skipped sync {skipped_sync} times, swallowed error {swallowed_error} times");
    assert!(skipped_sync > 10 && swallowed_error > 10);
}

#[tokio::test]
async fn no_flipped_bit_is_silent() {
    let disk = SimDisk::new();
    let mut ledger = Ledger::default();
    let journal = open(&disk).unwrap();
    assert!(work(&journal, &mut ledger, 23).await);
    let whole = journal.load().await.unwrap();
    journal.close().await;
    let disk = disk.after_restart();
    let files = disk.files();
    let kinds: Vec<_> = files.iter().filter_map(|(path, _)| path.extension()?.to_str()).collect();
    assert!(kinds.contains(&"log") && kinds.contains(&"snap"), "{kinds:?}");
    let journal_files: Vec<_> = files
        .iter()
        .filter(|(path, _)| path.extension().is_some_and(|found| found == "log" || found == "snap"))
        .collect();
    let flips = if soak() { 20_000 } else { 1_000 };
    let mut random = Random(7);
    let (mut refused, mut reported) = (0, 0);
    for _ in 0..flips {
        let (path, len) = journal_files[random.below(journal_files.len())];
        let bit = random.below(len * 8);
        let flipped = disk.flipped(path, bit);
        match open(&flipped) {
            Err(Error::Corrupt { .. } | Error::NewerFormat { .. }) => refused += 1,
            Err(error) => panic!("bit {bit} of {}: {error}", path.display()),
            Ok(journal) => {
                match &journal.report().torn {
                    Some(torn) => assert!(torn.offset <= (bit / 8) as u64),
                    // A segment that a snapshot covers is nobody's any more, and is removed.
                    None => assert!(
                        flipped.files().iter().all(|(found, _)| found != path),
                        "bit {bit} of {} was silent",
                        path.display()
                    ),
                }
                // Only space that nothing had been written to may be cut off.
                let loaded = journal.load().await.unwrap();
                assert_eq!(
                    (loaded.revision, loaded.records),
                    (whole.revision, whole.records.clone())
                );
                journal.close().await;
                reported += 1;
            }
        }
    }
    println!("{flips} flipped bits: {refused} refused, {reported} reported and harmless, 0 silent");
    assert!(refused > 0 && reported > 0);
}
