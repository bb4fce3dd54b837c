//! What we read in an archive is what GNU tar reads, also after bytes of it were changed.
//!
//! A few hundred archives by default, thousands with WHARF_SOAK=1.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use wharf_image::unpack::{Kind, TarReader};

/// Type, size and names of each member, or none if the archive is refused.
fn ours(archive: &[u8]) -> Option<Vec<String>> {
    let mut tar = TarReader::new(archive);
    let mut list = Vec::new();
    loop {
        let member = match tar.next_member() {
            Ok(Some(member)) => member,
            Ok(None) => return Some(list),
            Err(_) => return None,
        };
        let mut buffer = [0; 4096];
        while tar.read(&mut buffer).ok()? > 0 {}
        let (kind, arrow) = match member.kind {
            Kind::File => ('-', ""),
            Kind::Directory => ('d', ""),
            Kind::Symlink => ('l', " -> "),
            Kind::Hardlink => ('h', " link to "),
            Kind::Fifo => ('p', ""),
            Kind::CharDevice | Kind::BlockDevice => return None,
        };
        let link = if arrow.is_empty() { String::new() } else { escape(&member.link) };
        let name = escape(&member.path);
        let name = name.trim_end_matches('/');
        let line = format!("{kind} {} {name}{arrow}{link}", member.size);
        list.push(line.trim_end_matches('/').to_owned());
    }
}

fn gnu(archive: &Path) -> Vec<String> {
    let output = Command::new("tar")
        .env("LC_ALL", "C")
        .args(["--list", "--verbose", "--numeric-owner", "--quoting-style=escape", "-P", "-f"])
        .arg(archive)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        // C: contiguous, which is a file anywhere but on real-time systems of old.
        let kind = if line.starts_with('C') { "-" } else { &line[..1] };
        // Behind mode, owner, size, date and time, all that is left is the name.
        let mut rest = line;
        for field in fields.iter().take(5) {
            rest = &rest[rest.find(field).unwrap() + field.len()..];
        }
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        // A slash behind a link's or file's name means nothing, and isn't shown by both.
        let mut rest = rest.trim_end_matches('/').to_owned();
        for arrow in [" -> ", " link to "] {
            while rest.contains(&format!("/{arrow}")) {
                rest = rest.replace(&format!("/{arrow}"), arrow);
            }
        }
        let size = fields.get(2).unwrap_or(&"");
        format!("{kind} {size} {}", rest)
    };
    text.lines().map(line).collect()
}

/// GNU tar's `--quoting-style=escape`.
fn escape(name: &[u8]) -> String {
    let mut text = String::new();
    for byte in name {
        match byte {
            b'\\' => text.push_str("\\\\"),
            7 => text.push_str("\\a"),
            8 => text.push_str("\\b"),
            9 => text.push_str("\\t"),
            10 => text.push_str("\\n"),
            11 => text.push_str("\\v"),
            12 => text.push_str("\\f"),
            13 => text.push_str("\\r"),
            32..=126 => text.push(char::from(*byte)),
            other => text.push_str(&format!("\\{other:03o}")),
        }
    }
    text
}

/// A tree with everything that a layer may hold, archived by GNU tar in a format of its own.
fn archives(dir: &Path) -> Vec<Vec<u8>> {
    let root = dir.join("root");
    let long = root.join("long".repeat(30)).join("name".repeat(40));
    fs::create_dir_all(&long).unwrap();
    fs::write(long.join("file"), "x".repeat(1234)).unwrap();
    fs::write(root.join("a"), "").unwrap();
    fs::hard_link(root.join("a"), root.join("b")).unwrap();
    symlink("t".repeat(150), root.join("link")).unwrap();
    symlink("a", root.join("short")).unwrap();
    fs::write(root.join("caf\u{e9}"), "latte").unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    Command::new("mkfifo").arg(root.join("fifo")).status().unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(1 << 20).unwrap();
    let mut list = Vec::new();
    for (format, flags) in
        [("gnu", vec![]), ("gnu", vec!["-S"]), ("pax", vec![]), ("ustar", vec![]), ("v7", vec![])]
    {
        let output = Command::new("tar")
            .args(["--create", "--sort=name", "--format", format])
            .args(flags)
            .arg("-C")
            .arg(&root)
            .arg(".")
            .output()
            .unwrap();
        list.push(output.stdout);
    }
    list
}

/// Makes a header's checksum right again, so that changes aren't just seen as damage.
fn repair(archive: &mut [u8], block: usize) {
    let header = &mut archive[block * 512..][..512];
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn archives_read_as_gnu_tar_reads_them() {
    let soak = std::env::var_os("WHARF_SOAK").is_some();
    let rounds = if soak { 5000 } else { 300 };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("archive.tar");
    let bases = archives(dir.path());
    for base in &bases {
        fs::write(&file, base).unwrap();
        assert_eq!(ours(base).unwrap(), gnu(&file), "an unchanged archive");
    }
    let mut random = fastrand::Rng::with_seed(3);
    let mut accepted = 0;
    for round in 0..rounds {
        let mut archive = bases[round % bases.len()].clone();
        let headers: Vec<_> = (0..archive.len() / 512)
            .filter(|b| archive[b * 512 + 257..].starts_with(b"ustar"))
            .collect();
        for _ in 0..random.usize(1..4) {
            let block = match headers.is_empty() || random.bool() {
                true => random.usize(0..(archive.len() / 512).min(64)),
                false => headers[random.usize(0..headers.len())],
            };
            let at = [0, 50, 99, 124, 130, 134, 135, 156, 157, 200, 345, 386, 400, 482, 490];
            let at = if random.bool() {
                random.usize(0..512)
            } else {
                *random.choice(at.iter()).unwrap()
            };
            let value = [0, b' ', b'/', b'0', b'1', b'2', b'5', b'7', b'x', b'g', b'L', b'S', 0x80];
            archive[block * 512 + at] = *random.choice(value.iter()).unwrap();
            if headers.contains(&block) {
                repair(&mut archive, block);
            }
        }
        if let Some(list) = ours(&archive) {
            accepted += 1;
            fs::write(&file, &archive).unwrap();
            if list != gnu(&file) {
                let keep = std::env::temp_dir().join("wharf-differing.tar");
                fs::write(&keep, &archive).unwrap();
                assert_eq!(list, gnu(&file), "round {round}, kept as {}", keep.display());
            }
        }
    }
    assert!(accepted > rounds / 5, "only {accepted} archives were accepted");
}
