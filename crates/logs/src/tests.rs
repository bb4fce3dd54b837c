use super::*;
use proptest::prelude::*;
use std::io::Write;

const NOW: i64 = 1_700_000_000_000;

fn group(name: &str) -> GroupInfo {
    GroupInfo {
        name: name.to_owned(),
        created_ms: NOW,
        retention_days: None,
        tags: BTreeMap::new(),
        stored_bytes: 0,
    }
}

fn events(list: &[(i64, &str)]) -> Vec<Event> {
    list.iter().map(|(at, text)| Event { at_ms: NOW + at, message: (*text).to_owned() }).collect()
}

fn query(group: &str) -> Query<'_> {
    Query {
        group,
        streams: Streams::Prefix(""),
        from_ms: None,
        until_ms: None,
        beyond: None,
        since: None,
        direction: Direction::Forward,
        limit: 10_000,
        max_bytes: 1 << 20,
        overhead: 26,
        matches: &|_| true,
        now_ms: NOW,
    }
}

fn messages(page: &Page) -> Vec<&str> {
    page.events.iter().map(|event| event.message.as_str()).collect()
}

fn all(store: &LogStore) -> Vec<String> {
    let page = store.read(&query("g")).unwrap();
    page.events.into_iter().map(|event| event.message).collect()
}

/// The newest segment of the first group.
fn newest_segment(data_dir: &Path) -> PathBuf {
    let files = std::fs::read_dir(data_dir.join("logs/00000000")).unwrap();
    let paths = files.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|e| e == "segment")).max().unwrap()
}

#[tokio::test]
async fn nothing_stands_behind_what_a_failed_first_write_left() {
    let directory = tempfile::tempdir().unwrap();
    let store = LogStore::open(directory.path(), LogStoreOptions::default()).unwrap();
    store.create_group(group("g")).await.unwrap();
    store.create_stream("g", "a", NOW).await.unwrap();
    let first = state::segment_path(&directory.path().join("logs/00000000"), 1);
    std::fs::write(first, [0; 100]).unwrap();
    store.put("g", "a", events(&[(1, "kept")]), NOW).await.unwrap();
    assert_eq!(all(&store), ["kept"]);
    drop(store);
    let store = LogStore::open(directory.path(), LogStoreOptions::default()).unwrap();
    assert_eq!(all(&store), ["kept"]);
}

#[tokio::test]
async fn what_was_acknowledged_comes_back_and_a_torn_tail_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let store = LogStore::open(directory.path(), LogStoreOptions::default()).unwrap();
    store.create_group(group("g")).await.unwrap();
    assert!(matches!(store.create_group(group("g")).await, Err(Error::GroupExists(_))));
    store.create_stream("g", "a", NOW).await.unwrap();
    assert!(matches!(store.create_stream("g", "a", NOW).await, Err(Error::StreamExists(_))));
    store.put("g", "a", events(&[(1, "one"), (2, "two")]), NOW).await.unwrap();
    let long = "x".repeat(5000);
    store.put("g", "a", events(&[(3, &long)]), NOW).await.unwrap();
    assert!(store.bytes() < 1000, "the long one is compressed");
    assert!(matches!(store.put("g", "b", events(&[(1, "")]), NOW).await, Err(Error::NoStream(_))));
    drop(store);
    let path = newest_segment(directory.path());
    let whole = std::fs::read(&path).unwrap();
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&whole[..whole.len() / 2]).unwrap();
    // A whole block at first (it is the same again), half a one behind it.
    let store = LogStore::open(directory.path(), LogStoreOptions::default()).unwrap();
    assert_eq!(all(&store)[0], "one");
    store.put("g", "a", events(&[(9, "after")]), NOW).await.unwrap();
    drop(store);
    let store = LogStore::open(directory.path(), LogStoreOptions::default()).unwrap();
    assert_eq!(all(&store).last().unwrap(), "after");
    assert!(all(&store).contains(&long));
    let stream = store.streams("g").unwrap().remove(0);
    assert_eq!((stream.first_ms, stream.last_ms), (Some(NOW + 1), Some(NOW + 9)));
}

#[tokio::test]
async fn damage_in_a_segment_costs_what_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let options = || LogStoreOptions { max_bytes: 1 << 20, segment_bytes: 2_000 };
    let store = LogStore::open(directory.path(), options()).unwrap();
    store.create_group(group("g")).await.unwrap();
    store.create_stream("g", "a", NOW).await.unwrap();
    for number in 0..3 {
        store.put("g", "a", events(&[(number, &format!("event {number}"))]), NOW).await.unwrap();
    }
    drop(store);
    let path = newest_segment(directory.path());
    let mut bytes = std::fs::read(&path).unwrap();
    let length = bytes.len();
    bytes[length / 3 + block::HEADER + 30] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let store = LogStore::open(directory.path(), options()).unwrap();
    assert_eq!(all(&store), ["event 0", "event 2"]);
    // Nothing of it goes when the segment is full, and what is written goes behind it.
    let mut seed = 1u32;
    let mut letter = |_| {
        // Nothing that compresses well.
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'0' + (seed >> 24) as u8 % 64)
    };
    let filler: String = (0..2_000).map(&mut letter).collect();
    for number in 3..8 {
        store.put("g", "a", events(&[(number, &format!("{number} {filler}"))]), NOW).await.unwrap();
    }
    drop(store);
    assert_ne!(newest_segment(directory.path()), path);
    let store = LogStore::open(directory.path(), options()).unwrap();
    assert_eq!(all(&store).len(), 7);
    let huge = "x".repeat(block::MAX_BODY);
    let refused = store.put("g", "a", events(&[(9, &huge)]), NOW).await;
    assert!(matches!(refused, Err(Error::TooLarge(_))), "{refused:?}");
}

#[tokio::test]
async fn half_a_line_in_the_list_of_streams_spoils_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let store = LogStore::open(directory.path(), LogStoreOptions::default()).unwrap();
    store.create_group(group("g")).await.unwrap();
    store.create_stream("g", "a", NOW).await.unwrap();
    let list = directory.path().join("logs/00000000/streams");
    let mut file = std::fs::OpenOptions::new().append(true).open(&list).unwrap();
    file.write_all(b"01234567 {\"created\"").unwrap();
    store.create_stream("g", "b", NOW).await.unwrap();
    drop(store);
    let store = LogStore::open(directory.path(), LogStoreOptions::default()).unwrap();
    let names: Vec<_> = store.streams("g").unwrap().into_iter().map(|s| s.name).collect();
    assert_eq!(names, ["a".into(), "b".into()]);
}

#[tokio::test]
async fn streams_are_interleaved_and_deleted_ones_do_not_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let store = LogStore::open(directory.path(), LogStoreOptions::default()).unwrap();
    store.create_group(group("g")).await.unwrap();
    for stream in ["a/1", "a/2", "b/1"] {
        store.create_stream("g", stream, NOW).await.unwrap();
    }
    store.put("g", "a/1", events(&[(1, "1"), (4, "4")]), NOW).await.unwrap();
    store.put("g", "a/2", events(&[(2, "2"), (4, "4b"), (5, "5")]), NOW).await.unwrap();
    store.put("g", "b/1", events(&[(3, "3")]), NOW).await.unwrap();
    assert_eq!(all(&store), ["1", "2", "3", "4", "4b", "5"]);
    let page = store.read(&Query { streams: Streams::Prefix("a/"), ..query("g") }).unwrap();
    assert_eq!(messages(&page), ["1", "2", "4", "4b", "5"]);
    let range = Query { from_ms: Some(NOW + 2), until_ms: Some(NOW + 4), ..query("g") };
    assert_eq!(messages(&store.read(&range).unwrap()), ["2", "3"]);
    let matches = |text: &str| text.contains('4');
    let back = Query { direction: Direction::Backward, limit: 1, matches: &matches, ..query("g") };
    let page = store.read(&back).unwrap();
    assert_eq!(messages(&page), ["4b"]);
    let page = store.read(&Query { beyond: page.next, ..back }).unwrap();
    assert_eq!((messages(&page), page.next), (vec!["4"], None));
    store.delete_stream("g", "a/2").await.unwrap();
    store.create_stream("g", "a/2", NOW).await.unwrap();
    drop(store);
    let store = LogStore::open(directory.path(), LogStoreOptions::default()).unwrap();
    assert_eq!(all(&store), ["1", "3", "4"]);
    store.delete_group("g").await.unwrap();
    drop(store);
    let store = LogStore::open(directory.path(), LogStoreOptions::default()).unwrap();
    assert!(store.groups().is_empty());
}

#[tokio::test]
async fn retention_and_size_take_the_oldest() {
    let directory = tempfile::tempdir().unwrap();
    let options = LogStoreOptions { max_bytes: 3000, segment_bytes: 500 };
    let store = LogStore::open(directory.path(), options).unwrap();
    store.create_group(group("g")).await.unwrap();
    store.create_stream("g", "a", NOW).await.unwrap();
    for number in 0..100 {
        let text = format!("line {number}");
        store.put("g", "a", events(&[(number * DAY_MS, &text)]), NOW).await.unwrap();
    }
    assert!(store.bytes() <= 3000 + 600, "{}", store.bytes());
    let kept = all(&store);
    assert!(kept.len() > 10 && kept.last().unwrap() == "line 99", "{kept:?}");
    let now_ms = NOW + 99 * DAY_MS;
    store.set_retention("g", Some(3)).await.unwrap();
    let page = store.read(&Query { now_ms, ..query("g") }).unwrap();
    assert_eq!(messages(&page), ["line 96", "line 97", "line 98", "line 99"]);
    let before = store.bytes();
    store.expire(now_ms + 10 * DAY_MS).await.unwrap();
    assert!(before > 0 && store.bytes() == 0);
    // What remains to be told of a stream whose events went.
    drop(store);
    let store = LogStore::open(directory.path(), LogStoreOptions::default()).unwrap();
    assert_eq!(store.streams("g").unwrap()[0].last_ms, Some(now_ms));
    store.put("g", "a", events(&[(99 * DAY_MS, "new")]), now_ms).await.unwrap();
    assert_eq!(all(&store), ["new"]);
}

#[tokio::test]
async fn a_full_segment_is_packed_while_it_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let options = LogStoreOptions { segment_bytes: 20_000, ..LogStoreOptions::default() };
    let store = LogStore::open(directory.path(), options.clone()).unwrap();
    store.create_group(group("g")).await.unwrap();
    store.create_stream("g", "a", NOW).await.unwrap();
    let reader = store.clone();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    let reading = std::thread::spawn(move || {
        let mut longest = 0;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            let found = all(&reader);
            let expected: Vec<String> = (0..found.len()).map(|n| format!("line {n}")).collect();
            assert_eq!(found, expected);
            assert!(found.len() >= longest);
            longest = found.len();
        }
    });
    for number in 0..1000 {
        let text = format!("line {number}");
        store.put("g", "a", events(&[(number, &text)]), NOW).await.unwrap();
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    reading.join().unwrap();
    // A block for each line would be 90 KB and more.
    assert!(store.bytes() < 35_000, "{}", store.bytes());
    let blocks = store.shared.read().groups["g"].streams["a"].blocks.len();
    assert!(blocks < 250, "{blocks}");
    drop(store);
    let store = LogStore::open(directory.path(), options).unwrap();
    assert_eq!(all(&store).len(), 1000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever is put, in whatever pieces, is read as one sorted list: whole, in pages of any size,
    /// in either direction, and after a restart.
    #[test]
    fn pages_are_the_sorted_list(
        puts in prop::collection::vec(
            (0..3usize, prop::collection::vec(0..50i64, 1..8)), 1..20),
        size in 1..7usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let options = || LogStoreOptions { segment_bytes: 400, ..LogStoreOptions::default() };
        let names = ["a", "b", "c"];
        let mut expected = Vec::new();
        runtime.block_on(async {
            let store = LogStore::open(directory.path(), options()).unwrap();
            store.create_group(group("g")).await.unwrap();
            for name in names {
                store.create_stream("g", name, NOW).await.unwrap();
            }
            let mut number = 0;
            for (stream, mut times) in puts {
                times.sort_unstable();
                let put: Vec<Event> = times.iter().map(|at| {
                    number += 1;
                    expected.push((NOW + at, number));
                    Event { at_ms: NOW + at, message: number.to_string() }
                }).collect();
                store.put("g", names[stream], put, NOW).await.unwrap();
            }
        });
        expected.sort_unstable();
        let store = LogStore::open(directory.path(), options()).unwrap();
        for direction in [Direction::Forward, Direction::Backward] {
            let mut found = Vec::new();
            let mut beyond = None;
            loop {
                let page = store.read(&Query { direction, limit: size, beyond, ..query("g") }).unwrap();
                prop_assert!(page.events.len() <= size);
                let events = page.events.iter().map(|e| (e.at_ms, e.message.parse().unwrap()));
                match direction {
                    Direction::Forward => found.extend(events),
                    Direction::Backward => { found.splice(0..0, events); }
                }
                beyond = page.next;
                if beyond.is_none() {
                    break;
                }
            }
            prop_assert_eq!(&found, &expected);
        }
    }
}
