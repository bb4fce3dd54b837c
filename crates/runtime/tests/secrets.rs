//! Secrets reach a container's processes and its volumes in memory, and no file on a disk, under
//! every OCI runtime.

#![allow(clippy::unwrap_used)]

mod harness;

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use harness::{Host, log_text, oci_runtimes, until};
use wharf_runtime::spec::{Mount, MountSource, SecretText, VolumeFile};
use wharf_runtime::{ContainerStatus, ExecSpec, NetworkMode, SandboxId, SandboxSpec};

const PLANTED: &str = "planted-7f3a9c";

/// The files below a directory that hold a text, without following links or entering other file
/// systems than the one that the directory is on.
fn holders(directory: &Path, text: &[u8], found: &mut Vec<String>) {
    let device = std::fs::symlink_metadata(directory).map(|m| m.dev()).unwrap_or_default();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
        if metadata.is_dir() && metadata.dev() == device {
            holders(&path, text, found);
        } else if metadata.is_file() {
            let content = std::fs::read(&path).unwrap_or_default();
            if content.windows(text.len()).any(|window| window == text) {
                found.push(path.display().to_string());
            }
        }
    }
}

async fn sandbox(host: &Host, volume: &Path) -> SandboxId {
    let id = SandboxId::new("task1").unwrap();
    let spec = SandboxSpec {
        id: id.clone(),
        network: NetworkMode::None,
        resources: Default::default(),
        dns: Default::default(),
        sharing: Default::default(),
        storage: None,
        runtime_class: None,
        memory_volumes: [(volume.to_owned(), "mode=0755,size=1m".to_owned())].into(),
        labels: Default::default(),
    };
    host.runtime.create_sandbox(spec).await.unwrap();
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_in_the_container_and_on_no_disk() {
    for oci in oci_runtimes() {
        let host = Host::with(oci.clone()).await;
        let volume = host.directory.path().join("volumes/secret");
        let task = sandbox(&host, &volume).await;
        let script = "echo $(printf %s \"$PASSWORD\" | md5sum) $PLAIN $(id -u); \
                      stat -c '%a %u %g' /run/secret/key; md5sum </run/secret/key; \
                      [ -e /again ] && exec sleep 1000; touch /again; exit 5";
        for privileged in [false, true] {
            let name = if privileged { "privileged" } else { "app" };
            let mut spec = host.shell(name, script);
            spec.privileged = privileged;
            spec.env = vec!["PASSWORD=other".to_owned(), "PLAIN=plain".to_owned()];
            spec.secret_env = vec![SecretText::new(format!("PASSWORD={PLANTED}"))];
            spec.files = vec![VolumeFile {
                volume: volume.clone(),
                name: "key".to_owned(),
                content: SecretText::new(PLANTED),
                mode: 0o440,
                uid: 33,
                gid: 44,
            }];
            spec.mounts = vec![Mount {
                target: "/run/secret".to_owned(),
                source: MountSource::Bind(volume.clone()),
                read_only: true,
            }];
            assert!(!format!("{spec:?}").contains(PLANTED));
            host.start(&task, spec).await;
            host.runtime.wait_container(&task, name).await.unwrap();
            // The same once more, as by a restart policy.
            host.runtime.restart_container(&task, name).await.unwrap();
            let expected = format!("{0} - plain 0\n440 33 44\n{0}  -\n", digest());
            until("the second output", async || {
                (log_text(&host, &task, name) == expected.repeat(2)).then_some(())
            })
            .await;
            let exec = ExecSpec {
                args: ["sh", "-c", "test ${#PASSWORD} = 14"].map(String::from).to_vec(),
                env: Vec::new(),
                cwd: String::new(),
                user: "web".to_owned(),
            };
            let done = host.runtime.exec(&task, name, exec, harness::DEADLINE).await.unwrap();
            assert_eq!(done.code, 0, "{oci:?}: {done:?}");
            let info = host.runtime.sandbox(&task).await.unwrap();
            let running = info.containers.iter().find(|container| container.name == name).unwrap();
            assert!(matches!(running.status, ContainerStatus::Running { .. }));
        }
        let mut found = Vec::new();
        for directory in [host.directory.path(), Path::new("/run")] {
            holders(directory, PLANTED.as_bytes(), &mut found);
        }
        assert!(found.is_empty(), "{oci:?}: {found:?}");
        host.runtime.remove_sandbox(&task).await.unwrap();
        host.end().await;
    }
}

/// `printf planted… | md5sum`.
fn digest() -> String {
    let mut child = std::process::Command::new("md5sum")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), PLANTED.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap().stdout;
    String::from_utf8(output).unwrap().split_whitespace().next().unwrap().to_owned()
}
