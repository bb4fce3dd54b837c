//! Images made of directories and binaries: what is in them, and that it never changes.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use wharf_image::{BuildOptions, ImageStore, Source};

fn options(name: &str) -> BuildOptions {
    BuildOptions { name: name.to_owned(), ..BuildOptions::default() }
}

#[test]
fn a_directory_becomes_one_layer() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::write(root.join("bin/app"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(root.join("bin/app"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(root.join("bin/app"), root.join("bin/app2")).unwrap();
    symlink("app", root.join("bin/link")).unwrap();
    fs::write(root.join("wharf-image.json"), r#"{"cmd": ["/bin/app"], "env": ["A=1"]}"#).unwrap();

    let store = ImageStore::open(dir.path().join("images")).unwrap();
    let image = store.build(&root, &BuildOptions { env: vec!["A=2".into()], ..options("app") });
    let image = image.unwrap();
    assert_eq!(image.name, "docker.io/library/app:latest");
    assert_eq!(image.source, Source::Local);
    assert_eq!(image.config.cmd, ["/bin/app"]);
    assert!(image.config.env.contains(&"A=2".to_owned()));
    assert!(!image.config.env.contains(&"A=1".to_owned()));
    let layer = &image.layers[0];
    assert_eq!(fs::metadata(layer.join("bin/app")).unwrap().permissions().mode() & 0o7777, 0o4755);
    assert_eq!(fs::read_link(layer.join("bin/link")).unwrap(), Path::new("app"));
    assert!(!layer.join("wharf-image.json").exists());
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(layer.join("bin/app2")).unwrap().nlink(), 2);

    let other = ImageStore::open(dir.path().join("other")).unwrap();
    let again = other.build(&root, &BuildOptions { env: vec!["A=2".into()], ..options("x/y:z") });
    assert_eq!(again.unwrap().manifest, image.manifest, "the same input makes the same image");
    assert_eq!(store.resolve("app").unwrap().unwrap().id, image.id);
    assert_eq!(store.resolve(&image.id.to_string()).unwrap().unwrap().name, image.name);
}

#[test]
fn a_dynamic_binary_brings_what_its_loader_needs() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(dir.path().join("images")).unwrap();
    let image = store.build(Path::new("/bin/ls"), &options("ls")).unwrap();
    assert_eq!(image.config.entrypoint, ["/ls"]);
    // The proof is that it runs with nothing else at hand.
    let output = Command::new("chroot").arg(&image.layers[0]).args(["/ls", "/"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).lines().any(|line| line == "tmp"));
}

#[test]
fn what_cannot_be_an_image_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(dir.path().join("images")).unwrap();
    let script = dir.path().join("script");
    fs::write(&script, "#!/bin/sh\n").unwrap();
    let error = store.build(&script, &options("s")).unwrap_err().to_string();
    assert!(error.contains("not an ELF binary"), "{error}");
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    for (bad, word) in [
        (BuildOptions { expose: vec!["0".into()], ..options("a") }, "expose"),
        (BuildOptions { expose: vec!["80/x".into()], ..options("a") }, "expose"),
        (BuildOptions { env: vec!["=x".into()], ..options("a") }, "env"),
        (BuildOptions { workdir: "x".into(), ..options("a") }, "workdir"),
        (options("A"), "lowercase"),
        (options(""), "invalid reference"),
    ] {
        let error = store.build(&root, &bad).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    fs::write(root.join("wharf-image.json"), r#"{"comand": []}"#).unwrap();
    let error = store.build(&root, &options("a")).unwrap_err().to_string();
    assert!(error.contains("wharf-image.json") && error.contains("comand"), "{error}");
    fs::remove_file(root.join("wharf-image.json")).unwrap();
    fs::write(root.join(".wh.x"), "").unwrap();
    assert!(store.build(&root, &options("a")).unwrap_err().to_string().contains(".wh."));
    assert!(store.list().unwrap().is_empty());
}
