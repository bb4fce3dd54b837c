use super::*;
use serde_json::json;

fn event(at_ms: i64, subject: &str, n: i64) -> Event {
    Event::new(at_ms, subject, "service-event", &json!({ "n": n }))
}

fn numbers(events: &[Event]) -> Vec<i64> {
    events.iter().filter_map(|event| event.payload()["n"].as_i64()).collect()
}

#[tokio::test]
async fn newest_first_by_subject_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let history = History::open(dir.path(), HistoryOptions::default()).unwrap();
    history.record((0..250).map(|n| event(1000 + n, if n % 2 == 0 { "a" } else { "b" }, n)));
    assert_eq!(numbers(&history.recent("a", 3)), [248, 246, 244]);
    history.flush().await;
    drop(history);
    let history = History::open(dir.path(), HistoryOptions::default()).unwrap();
    assert_eq!(numbers(&history.recent("b", 3)), [249, 247, 245]);
    assert_eq!(history.recent("b", 1000).len(), 125);
    assert_eq!(numbers(&history.range("a", 1010, 1016)), [10, 12, 14]);
    assert_eq!(history.subjects(""), ["a", "b"]);
    assert!(history.recent("c", 3).is_empty());
}

#[tokio::test]
async fn events_stand_in_the_order_of_their_time() {
    let dir = tempfile::tempdir().unwrap();
    let history = History::open(dir.path(), HistoryOptions::default()).unwrap();
    history.record([event(30, "a", 3), event(10, "a", 1), event(20, "a", 2)]);
    assert_eq!(numbers(&history.recent("a", 10)), [3, 2, 1]);
}

#[tokio::test]
async fn size_and_age_are_capped() {
    let dir = tempfile::tempdir().unwrap();
    let options = HistoryOptions { max_age_ms: 1000, max_bytes: 20_000, file_bytes: 2000 };
    let history = History::open(dir.path(), options.clone()).unwrap();
    for n in 0..1000 {
        history.record([event(5000, "a", n)]);
    }
    history.flush().await;
    let bytes = || {
        let entries = std::fs::read_dir(dir.path().join("history")).unwrap();
        entries.map(|entry| entry.unwrap().metadata().unwrap().len()).sum::<u64>()
    };
    assert!(bytes() <= 22_000, "{} bytes", bytes());
    let kept = numbers(&history.recent("a", 10_000));
    assert!(kept.len() > 100 && kept.len() < 500, "{}", kept.len());
    assert_eq!(kept[0], 999);
    history.expire(6001);
    history.flush().await;
    assert!(history.recent("a", 10).is_empty());
    assert_eq!(bytes(), 0);
    history.record([event(6002, "a", 1)]);
    history.flush().await;
    assert_eq!(numbers(&history.recent("a", 10)), [1]);
}

#[tokio::test]
async fn damaged_lines_are_skipped_and_writing_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let history = History::open(dir.path(), HistoryOptions::default()).unwrap();
    history.record((0..10).map(|n| event(n, "a", n)));
    history.flush().await;
    drop(history);
    let path = dir.path().join("history/000000000000.events");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[40] ^= 1;
    bytes.truncate(bytes.len() - 7);
    std::fs::write(&path, bytes).unwrap();
    let history = History::open(dir.path(), HistoryOptions::default()).unwrap();
    assert_eq!(numbers(&history.recent("a", 20)), [8, 7, 6, 5, 4, 3, 2, 1]);
    history.record([event(11, "a", 11)]);
    history.flush().await;
    drop(history);
    let history = History::open(dir.path(), HistoryOptions::default()).unwrap();
    assert_eq!(numbers(&history.recent("a", 2)), [11, 8]);
}

#[tokio::test]
async fn what_no_longer_fits_into_memory_is_read_from_disk() {
    let dir = tempfile::tempdir().unwrap();
    let history = History::open(dir.path(), HistoryOptions::default()).unwrap();
    for batch in 0..25 {
        history.record((0..1000).map(|n| event(batch * 1000 + n, "a", batch * 1000 + n)));
        history.flush().await;
    }
    assert_eq!(numbers(&history.range("a", 5, 8)), [5, 6, 7]);
    assert_eq!(history.recent("a", 100_000).len(), 25_000);
}
