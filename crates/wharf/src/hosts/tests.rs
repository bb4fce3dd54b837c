use super::*;
use std::os::unix::fs::PermissionsExt as _;

const MINE: Mark<'_> = Mark { instance: "11111111", part: "registry", data_dir: "/a b" };
const OTHERS: Mark<'_> = Mark { instance: "22222222", part: "registry", data_dir: "/other" };

fn entry(address: &str, name: &str) -> (IpAddr, String) {
    (address.parse().unwrap(), name.to_owned())
}

#[test]
fn a_block_comes_and_goes_and_the_rest_stays_byte_for_byte() {
    let entries = [entry("127.80.0.1", "one.example"), entry("127.80.0.2", "two.example")];
    for text in [
        &b""[..],
        b"127.0.0.1 localhost\n",
        b"127.0.0.1 localhost",
        b"\xff\xfe not text\r\n\r\n# wharf\n# wharf 11111111/registryx\n",
        b"# wharf 11111111/balancer begin /a b\n127.81.0.1 lb # wharf 11111111/balancer\n",
    ] {
        let (changed, taken) = with_block(text, MINE, &entries, &|_| true);
        assert!(taken.is_empty() && changed.ends_with(text), "{text:?}");
        let block = String::from_utf8_lossy(&changed[..changed.len() - text.len()]).into_owned();
        assert_eq!(block.lines().count(), 4, "{block}");
        assert!(block.contains("127.80.0.2\ttwo.example\t# wharf 11111111/registry\n"), "{block}");
        let (again, _) = with_block(&changed, MINE, &entries, &|_| true);
        assert_eq!(again, changed);
        let (gone, _) = with_block(&changed, MINE, &[], &|_| true);
        assert_eq!(gone, text);
    }
}

#[test]
fn a_name_that_others_have_is_left_to_them() {
    let name = [entry("127.80.0.1", "name.example")];
    let theirs = b"10.0.0.1 other.example Name.Example # mine\n";
    let (changed, taken) = with_block(theirs, MINE, &name, &|_| true);
    assert_eq!((changed.as_slice(), taken.len()), (&theirs[..], 1));
    assert!(taken[0].by.contains("10.0.0.1"), "{taken:?}");
    // In a comment it is nobody's.
    let (_, taken) = with_block(b"10.0.0.1 other # name.example\n", MINE, &name, &|_| true);
    assert!(taken.is_empty());
    let (text, _) = with_block(b"x\n", OTHERS, &name, &|_| true);
    let (changed, taken) = with_block(&text, MINE, &name, &|_| true);
    assert_eq!(changed, text);
    assert_eq!(taken[0].by, "the wharf that runs on /other");
    // Another one that was killed, and nobody took its block out.
    let (changed, taken) = with_block(&text, MINE, &name, &|directory| directory != "/other");
    assert!(taken.is_empty());
    assert!(!String::from_utf8(changed).unwrap().contains("22222222"));
    // Two wharfs with names of their own.
    let (both, taken) = with_block(&text, MINE, &[entry("127.80.0.2", "b.example")], &|_| true);
    assert!(taken.is_empty() && both.ends_with(&text));
    assert_eq!(without(&both, "# wharf 11111111/"), text);
}

#[test]
fn lines_between_those_of_a_block_survive_it() {
    let (text, _) = with_block(b"end", MINE, &[entry("127.80.0.1", "name")], &|_| true);
    let text = String::from_utf8(text).unwrap();
    let torn = text.replacen("\n127.80", "\n10.0.0.9 somebody\n127.80", 1);
    let torn = torn.lines().filter(|line| !line.contains(" end ")).collect::<Vec<_>>().join("\n");
    assert_eq!(without(torn.as_bytes(), &MINE.text()), b"10.0.0.9 somebody\nend");
}

#[test]
fn the_file_is_replaced_with_its_mode_and_many_take_turns() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hosts");
    fs::write(&path, "127.0.0.1 localhost").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let wharfs: Vec<DataDir> = (0..8)
        .map(|n| DataDir::open(Some(&directory.path().join(format!("wharf-{n}")))).unwrap())
        .collect();
    std::thread::scope(|scope| {
        for (n, wharf) in wharfs.iter().enumerate() {
            let block = Block::new(path.clone(), wharf, "registry");
            scope.spawn(move || {
                for round in 0..20 {
                    let entries = [entry("127.80.0.1", &format!("name-{n}-{round}"))];
                    assert!(block.publish(&entries).unwrap().is_empty());
                }
                assert!(block.has(&format!("name-{n}-19")) && !block.has(&format!("name-{n}-18")));
            });
        }
    });
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 8 * 3 + 1, "{text}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    for wharf in &wharfs {
        Block::new(path.clone(), wharf, "balancer").withdraw_all().unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "127.0.0.1 localhost");
    // Where there is no file, one is made for a name and none for nothing.
    let path = directory.path().join("none");
    let block = Block::new(path.clone(), &wharfs[0], "registry");
    block.withdraw_all().unwrap();
    assert!(!path.exists());
    block.publish(&[entry("127.80.0.1", "name")]).unwrap();
    assert!(block.has("name"));
}
