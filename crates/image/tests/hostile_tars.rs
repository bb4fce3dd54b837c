//! Tars made to break out of the layer they are unpacked into.
//!
//! Beside every layer stands a canary; whatever becomes of the tar, it must not change.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use wharf_image::unpack::{Error, Limits, Unpacked, unpack};

/// A tar in the making; headers are written by hand, so that anything can stand in them.
#[derive(Default)]
struct Tar(Vec<u8>);

struct Entry<'a> {
    name: &'a [u8],
    kind: u8,
    link: &'a [u8],
    data: &'a [u8],
    mode: u32,
    size: Option<&'a [u8]>,
}

fn entry(name: &str, kind: u8) -> Entry<'_> {
    Entry { name: name.as_bytes(), kind, link: b"", data: b"", mode: 0o644, size: None }
}

impl Tar {
    fn raw(mut self, entry: Entry<'_>) -> Self {
        let mut header = [0_u8; 512];
        header[..entry.name.len().min(100)]
            .copy_from_slice(&entry.name[..entry.name.len().min(100)]);
        header[100..107].copy_from_slice(format!("{:07o}", entry.mode).as_bytes());
        header[108..115].copy_from_slice(b"0000000");
        header[116..123].copy_from_slice(b"0000000");
        let size = format!("{:011o}", entry.data.len()).into_bytes();
        let size = entry.size.unwrap_or(&size);
        header[124..124 + size.len()].copy_from_slice(size);
        header[136..147].copy_from_slice(b"00000000000");
        header[156] = entry.kind;
        header[157..157 + entry.link.len()].copy_from_slice(entry.link);
        header[257..263].copy_from_slice(b"ustar\0");
        header[263..265].copy_from_slice(b"00");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.0.extend_from_slice(&header);
        self.0.extend_from_slice(entry.data);
        self.0.resize(self.0.len().div_ceil(512) * 512, 0);
        self
    }

    fn file(self, name: &str, data: &str) -> Self {
        self.raw(Entry { data: data.as_bytes(), ..entry(name, b'0') })
    }

    fn dir(self, name: &str) -> Self {
        self.raw(Entry { mode: 0o755, ..entry(name, b'5') })
    }

    fn link(self, name: &str, kind: u8, target: &str) -> Self {
        self.raw(Entry { link: target.as_bytes(), ..entry(name, kind) })
    }

    fn pax(self, records: &[(&str, &str)]) -> Self {
        let mut body = String::new();
        for (key, value) in records {
            let mut length = key.len() + value.len() + 3;
            while format!("{length} {key}={value}\n").len() != length {
                length += 1;
            }
            body.push_str(&format!("{length} {key}={value}\n"));
        }
        self.raw(Entry { data: body.as_bytes(), ..entry("pax", b'x') })
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// A directory with a canary in it, and a layer's root beside the canary.
struct Field {
    dir: tempfile::TempDir,
}

impl Field {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("canary")).unwrap();
        fs::write(dir.path().join("canary/file"), "alive").unwrap();
        fs::create_dir(dir.path().join("layer")).unwrap();
        Self { dir }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("layer")
    }

    fn unpack(&self, tar: Vec<u8>) -> Result<Unpacked, Error> {
        let limits = Limits { entries: 1000, bytes: 1 << 20 };
        let result = unpack(tar.as_slice(), &self.root(), &[], &limits);
        self.check_canary();
        result
    }

    fn check_canary(&self) {
        let mut seen: Vec<_> = fs::read_dir(self.dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        seen.sort();
        assert_eq!(seen, ["canary", "layer"], "something was made beside the layer");
        let canary = self.dir.path().join("canary");
        assert_eq!(fs::read_dir(&canary).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(canary.join("file")).unwrap(), "alive");
        let meta = fs::metadata(canary.join("file")).unwrap();
        assert_eq!((meta.nlink(), meta.uid(), meta.mode() & 0o7777), (1, 0, 0o644));
    }
}

/// The layer is refused.
fn refused(what: &str, tar: impl FnOnce(&Path) -> Tar) {
    let field = Field::new();
    let result = field.unpack(tar(field.dir.path()).end());
    assert!(result.is_err(), "{what} was accepted: {result:?}");
}

/// The layer is accepted, but what it tries has no effect outside; `check` looks at the root.
fn neutral(what: &str, tar: impl FnOnce(&Path) -> Tar, check: impl FnOnce(&Path)) {
    let field = Field::new();
    if let Err(error) = field.unpack(tar(field.dir.path()).end()) {
        panic!("{what} was refused: {error}");
    }
    check(&field.root());
}

#[test]
fn names_that_lead_out() {
    refused("..", |_| Tar::default().file("../canary/file", "dead"));
    refused(".. inside", |_| Tar::default().dir("a").file("a/../../canary/file", "dead"));
    refused("absolute with ..", |_| Tar::default().file("/../canary/file", "dead"));
    refused(".. as a directory", |_| Tar::default().dir(".."));
    refused("PAX path", |_| {
        Tar::default().pax(&[("path", "../canary/file")]).file("innocent", "dead")
    });
    refused("GNU long name", |_| {
        Tar::default()
            .raw(Entry { data: b"../canary/file\0", ..entry("././@LongLink", b'L') })
            .file("innocent", "dead")
    });
    refused("NUL in a PAX path", |_| Tar::default().pax(&[("path", "a\0b")]).file("x", "y"));
    refused("an empty name", |_| Tar::default().file("", "x"));
    refused("an overlong component", |_| {
        Tar::default().pax(&[("path", &"a".repeat(256))]).file("x", "y")
    });
    refused("a very deep name", |_| {
        Tar::default().pax(&[("path", &"d/".repeat(1500))]).file("x", "y")
    });
    neutral(
        "an absolute name",
        |dir| Tar::default().file(&dir.join("canary/file").to_string_lossy(), "dead"),
        |root| assert_eq!(fs::read_dir(root).unwrap().count(), 1),
    );
}

#[test]
fn links_that_lead_out() {
    neutral(
        "a symlink parent, absolute",
        |dir| {
            let canary = dir.join("canary");
            Tar::default().link("l", b'2', &canary.to_string_lossy()).file("l/file", "dead")
        },
        |root| assert!(fs::symlink_metadata(root.join("l")).unwrap().is_symlink()),
    );
    neutral(
        "a symlink parent, relative",
        |_| Tar::default().link("l", b'2', "../canary").file("l/file", "dead"),
        |root| assert_eq!(fs::read_to_string(root.join("canary/file")).unwrap(), "dead"),
    );
    neutral(
        "a chain of symlinks",
        |_| {
            Tar::default()
                .link("a", b'2', "..")
                .link("b", b'2', "a/..")
                .link("c", b'2', "b/canary")
                .file("c/file", "dead")
        },
        |root| assert_eq!(fs::read_to_string(root.join("canary/file")).unwrap(), "dead"),
    );
    neutral(
        "writing through a symlink",
        |_| Tar::default().link("f", b'2', "../canary/file").file("f", "dead"),
        |root| assert!(fs::symlink_metadata(root.join("f")).unwrap().is_file()),
    );
    neutral(
        "a directory over a symlink",
        |_| Tar::default().link("d", b'2', "../canary").dir("d").file("d/file", "dead"),
        |root| assert!(fs::symlink_metadata(root.join("d")).unwrap().is_dir()),
    );
    neutral(
        "a directory swapped for a symlink between members",
        |_| {
            Tar::default()
                .dir("d")
                .file("d/a", "x")
                .link("d", b'2', "../canary")
                .file("d/file", "dead")
        },
        |root| assert!(fs::symlink_metadata(root.join("d")).unwrap().is_symlink()),
    );
    refused("a symlink loop", |_| {
        Tar::default().link("a", b'2', "b").link("b", b'2', "a").file("a/x", "y")
    });
    refused("a hard link out", |_| Tar::default().link("h", b'1', "../canary/file"));
    refused("an absolute hard link", |dir| {
        Tar::default().link("h", b'1', &dir.join("canary/file").to_string_lossy())
    });
    refused("a hard link through a symlink", |_| {
        Tar::default().link("l", b'2', "../canary").link("h", b'1', "l/file")
    });
    refused("a hard link to a directory", |_| Tar::default().dir("d").link("h", b'1', "d"));
    refused("a PAX linkpath out", |_| {
        Tar::default().file("f", "x").pax(&[("linkpath", "../canary/file")]).link("h", b'1', "f")
    });
    refused("the root as a symlink", |_| Tar::default().link(".", b'2', "../canary"));
    neutral(
        "a hard link onto a symlink, then written",
        |_| Tar::default().link("s", b'2', "../canary/file").link("h", b'1', "s").file("h", "dead"),
        |root| assert!(fs::symlink_metadata(root.join("h")).unwrap().is_file()),
    );
}

#[test]
fn whiteouts_that_reach_out() {
    refused("a whiteout of ..", |_| Tar::default().file(".wh...", ""));
    refused("a whiteout of .", |_| Tar::default().file(".wh..", ""));
    refused("a whiteout of nothing", |_| Tar::default().file(".wh.", ""));
    refused("a whiteout as a directory", |_| Tar::default().file(".wh.a/b", ""));
    neutral(
        "a whiteout through a symlink",
        |_| Tar::default().link("l", b'2', "../canary").file("l/.wh.file", ""),
        |root| {
            let kind = fs::symlink_metadata(root.join("canary/file")).unwrap();
            assert!(kind.file_type().is_char_device() && kind.rdev() == 0);
        },
    );
    neutral(
        "an opaque mark through a symlink",
        |_| Tar::default().link("l", b'2', "../canary").file("l/.wh..wh..opq", ""),
        |root| assert!(root.join("canary").is_dir()),
    );
    neutral(
        "aufs's own files",
        |_| Tar::default().file(".wh..wh.plnk/1.2", "").file(".wh..wh.aufs", ""),
        |root| assert_eq!(fs::read_dir(root).unwrap().count(), 0),
    );
}

#[test]
fn members_that_may_not_be() {
    refused("a block device", |_| Tar::default().raw(entry("disk", b'4')));
    refused("a character device", |_| Tar::default().raw(entry("mem", b'3')));
    refused("a forged overlay whiteout", |_| Tar::default().raw(entry("etc/passwd", b'3')));
    refused("a multi-volume member", |_| Tar::default().raw(entry("m", b'M')));
    refused("an unknown type", |_| Tar::default().raw(entry("m", b'Z')));
    neutral(
        "device nodes below dev",
        |_| Tar::default().dir("dev").raw(entry("dev/null", b'3')),
        |root| assert_eq!(fs::read_dir(root.join("dev")).unwrap().count(), 0),
    );
    neutral(
        "attributes that speak to overlay",
        |_| {
            Tar::default()
                .pax(&[
                    ("SCHILY.xattr.trusted.overlay.opaque", "y"),
                    ("SCHILY.xattr.trusted.overlay.redirect", "/canary"),
                    ("SCHILY.xattr.user.overlay.opaque", "y"),
                    ("SCHILY.xattr.user.kept", "a\nb"),
                ])
                .dir("d")
        },
        |root| {
            let file = fs::File::open(root.join("d")).unwrap();
            let mut names = vec![0; 1000];
            let len = rustix::fs::flistxattr(&file, &mut names).unwrap();
            assert_eq!(&names[..len], b"user.kept\0");
        },
    );
    neutral(
        "setuid is kept",
        |_| Tar::default().raw(Entry { mode: 0o4755, ..entry("su", b'0') }),
        |root| assert_eq!(fs::metadata(root.join("su")).unwrap().mode() & 0o7777, 0o4755),
    );
}

#[test]
fn sizes_that_lie() {
    refused("a directory with a size", |_| {
        Tar::default().raw(Entry { data: b"hidden", ..entry("d", b'5') })
    });
    refused("a symlink with a size", |_| {
        Tar::default().raw(Entry { data: b"x", link: b"t", ..entry("l", b'2') })
    });
    refused("a size beyond the archive", |_| {
        Tar::default().raw(Entry { size: Some(b"77777777777"), ..entry("f", b'0') })
    });
    refused("a negative size", |_| {
        Tar::default().raw(Entry { size: Some(&[0xff; 12]), ..entry("f", b'0') })
    });
    refused("a malformed PAX size", |_| Tar::default().pax(&[("size", "-1")]).file("f", "x"));
    refused("an overflowing PAX size", |_| {
        Tar::default().pax(&[("size", "18446744073709551615")]).file("f", "x")
    });
    refused("a PAX global header that renames", |_| {
        let tar = Tar::default().raw(Entry { data: b"18 path=../canary\n", ..entry("g", b'g') });
        tar.file("f", "x")
    });
    refused("PAX records that overrun", |_| {
        Tar::default().raw(Entry { data: b"999 path=x\n", ..entry("p", b'x') }).file("f", "x")
    });
    refused("two PAX headers", |_| {
        Tar::default().pax(&[("path", "a")]).pax(&[("path", "b")]).file("f", "x")
    });
    refused("a huge long name", |_| {
        let name = vec![b'a'; 2 << 20];
        Tar::default().raw(Entry { data: &name, ..entry("L", b'L') }).file("f", "x")
    });
    refused("a PAX sparse member", |_| {
        Tar::default().pax(&[("GNU.sparse.major", "1")]).file("f", "x")
    });
    // The PAX size is what counts, behind a binary attribute too: a second header hides in what
    // the ustar size would take for the next member.
    let inner = Tar::default().file("smuggled", "x").0;
    neutral(
        "a smuggled member",
        |_| {
            let size = inner.len().to_string();
            Tar::default().pax(&[("SCHILY.xattr.user.a", "x\ny"), ("size", &size)]).raw(Entry {
                data: &inner,
                size: Some(b"00000000000"),
                ..entry("f", b'0')
            })
        },
        |root| {
            assert!(!root.join("smuggled").exists());
            assert_eq!(fs::metadata(root.join("f")).unwrap().len(), inner.len() as u64);
        },
    );
    refused("too many members", |_| {
        (0..1001).fold(Tar::default(), |tar, index| tar.file(&format!("f{index}"), ""))
    });
    refused("too many bytes", |_| {
        let data = "x".repeat(600_000);
        Tar::default().file("a", &data).file("b", &data)
    });
    let field = Field::new();
    assert!(field.unpack(vec![b'x'; 4096]).is_err(), "rubbish was accepted");
    let mut cut = Tar::default().file("f", &"x".repeat(2000)).end();
    cut.truncate(1500);
    assert!(Field::new().unpack(cut).is_err(), "a cut archive was accepted");
}

/// A link that another process plants while a layer is unpacked leads nowhere either: lookups
/// never follow links on disk.
#[test]
fn links_planted_meanwhile_are_not_followed() {
    let field = Field::new();
    let root = field.root();
    symlink(field.dir.path().join("canary"), root.join("d")).unwrap();
    let tar = Tar::default().file("d/file", "dead").end();
    let _ = field.unpack(tar);
    field.check_canary();
}

#[test]
fn layers_below_lend_their_directories_and_files() {
    let field = Field::new();
    let lower = tempfile::tempdir().unwrap();
    let tar = Tar::default()
        .dir("usr")
        .dir("usr/lib")
        .file("usr/lib/base", "base")
        .link("lib", b'2', "usr/lib")
        .raw(Entry { mode: 0o1777, ..entry("tmp", b'5') })
        .end();
    unpack(tar.as_slice(), lower.path(), &[], &Limits::default()).unwrap();
    let tar = Tar::default()
        .file("lib/new", "x")
        .file("tmp/y", "y")
        .link("hard", b'1', "usr/lib/base")
        .file("gone/.wh.x", "")
        .end();
    let lowers = [lower.path().to_owned()];
    unpack(tar.as_slice(), &field.root(), &lowers, &Limits::default()).unwrap();
    field.check_canary();
    let root = field.root();
    assert_eq!(fs::read_to_string(root.join("usr/lib/new")).unwrap(), "x");
    assert!(!root.join("lib").exists(), "the base's /lib stays a link");
    assert_eq!(fs::metadata(root.join("tmp")).unwrap().mode() & 0o7777, 0o1777);
    assert_eq!(fs::read_to_string(root.join("hard")).unwrap(), "base");
    assert_eq!(fs::metadata(root.join("usr/lib/base")).unwrap().nlink(), 2);
}

#[test]
fn whiteouts_work_in_a_real_overlay() {
    let field = Field::new();
    let dir = tempfile::tempdir().unwrap();
    let (lower, merged) = (dir.path().join("lower"), dir.path().join("merged"));
    fs::create_dir(&lower).unwrap();
    fs::create_dir(&merged).unwrap();
    let tar =
        Tar::default().file("a", "1").dir("d").file("d/old", "1").dir("e").file("e/x", "").end();
    unpack(tar.as_slice(), &lower, &[], &Limits::default()).unwrap();
    let tar = Tar::default()
        .file(".wh.a", "")
        .dir("d")
        .file("d/.wh..wh..opq", "")
        .file("d/new", "")
        .file(".wh.e", "")
        .dir("e")
        .file("e/y", "")
        .end();
    unpack(tar.as_slice(), &field.root(), std::slice::from_ref(&lower), &Limits::default())
        .unwrap();
    let mut script = std::process::Command::new("unshare");
    script.args(["-m", "sh", "-ec"]).arg(format!(
        "mount -t overlay overlay -o lowerdir={}:{} {} && cd {} && find . | sort",
        field.root().display(),
        lower.display(),
        merged.display(),
        merged.display()
    ));
    let output = script.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), ".\n./d\n./d/new\n./e\n./e/y\n");
}

#[test]
fn sparse_members_and_holes_keep_their_content() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sparse");
    let mut sparse = fs::File::create(&file).unwrap();
    sparse.write_all(b"head").unwrap();
    sparse.set_len(600_000).unwrap();
    use std::os::unix::fs::FileExt;
    sparse.write_all_at(b"tail", 500_000).unwrap();
    let tar = std::process::Command::new("tar")
        .args(["-S", "--format=gnu", "-C"])
        .arg(dir.path())
        .args(["-cf", "-", "sparse"])
        .output()
        .unwrap();
    assert!(tar.stdout.len() < 100_000, "GNU tar made no sparse archive");
    let field = Field::new();
    field.unpack(tar.stdout).unwrap();
    assert_eq!(fs::read(field.root().join("sparse")).unwrap(), fs::read(&file).unwrap());
}
