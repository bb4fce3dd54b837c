//! Probes from inside a container: what it must not see, change or reach, under every runtime.

#![allow(clippy::unwrap_used)]

mod harness;

use harness::{Host, log_text, oci_runtimes};
use wharf_runtime::{ContainerSpec, NetworkMode, OciRuntime, SandboxId};

/// Runs a container to its end and answers its exit code and output.
async fn probe(host: &Host, task: &SandboxId, spec: ContainerSpec) -> (i32, String) {
    let name = spec.name.clone();
    host.runtime.create_container(task, spec).await.unwrap();
    host.runtime.start_container(task, &name).await.unwrap();
    let exit = host.runtime.wait_container(task, &name).await.unwrap();
    let text = log_text(host, task, &name);
    host.runtime.delete_container(task, &name).await.unwrap();
    (exit.code, text)
}

struct Probe {
    name: &'static str,
    /// Prints what must be there; the word LEAK must never be.
    script: &'static str,
    expected: &'static [&'static str],
}

const PROBES: [Probe; 14] = [
    Probe {
        name: "descriptors",
        // The fourth is ls's own.
        script: "ls /proc/self/fd | wc -l; for fd in 3 4 5 6 7 8 9 10 11 12 13 14 15 16 20 30; do \
                 [ -e /proc/1/fd/$fd ] && echo LEAK $fd; done",
        expected: &["4\n"],
    },
    Probe {
        name: "capabilities",
        script: "grep Cap /proc/self/status",
        expected: &[
            "CapInh:\t0000000000000000",
            "CapPrm:\t00000000a80425fb",
            "CapEff:\t00000000a80425fb",
            "CapBnd:\t00000000a80425fb",
            "CapAmb:\t0000000000000000",
        ],
    },
    Probe {
        name: "seccomp",
        script: "grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status",
        expected: &["Seccomp:\t2", "NoNewPrivs:\t0"],
    },
    Probe {
        name: "sysctl",
        script: "echo 1 >/proc/sys/kernel/panic && echo LEAK; \
                 echo '|/bin/x' >/proc/sys/kernel/core_pattern && echo LEAK; \
                 echo b >/proc/sysrq-trigger && echo LEAK; echo done",
        expected: &["done"],
    },
    Probe {
        name: "masked",
        script: "[ -s /proc/kcore ] && head -c 1 /proc/kcore && echo LEAK; \
                 head -c 10 /proc/keys | grep . && echo LEAK; \
                 ls /sys/firmware | grep . && echo LEAK; \
                 head -c 10 /proc/timer_list | grep . && echo LEAK; echo done",
        expected: &["done"],
    },
    Probe {
        name: "cgroup",
        script: "for f in $(find /sys/fs/cgroup -name cgroup.procs -o -name release_agent \
                 -o -name tasks | head -20); do echo 0 >$f 2>/dev/null && echo LEAK $f; done; \
                 mkdir /sys/fs/cgroup/memory/x 2>/dev/null && echo LEAK; echo done",
        expected: &["done"],
    },
    Probe {
        name: "mount",
        script: "mount -t tmpfs none /tmp && echo LEAK; mount -o remount,rw /proc/sys && echo LEAK; \
                 umount /proc/sys && echo LEAK; umount /proc/kcore && echo LEAK; echo done",
        expected: &["done"],
    },
    Probe {
        name: "namespaces",
        script: "unshare -m true && echo LEAK; unshare -U true && echo LEAK; \
                 unshare -n true && echo LEAK; nsenter -t 1 -n true && echo LEAK; echo done",
        expected: &["done"],
    },
    Probe {
        name: "devices",
        // The host's disk and memory may be given a node, but not opened.
        script: "mknod /tmp/mem c 1 1; head -c 1 /tmp/mem && echo LEAK; \
                 for m in 8 252 253 254 259; do mknod /tmp/b$m b $m 0; \
                 head -c 1 /tmp/b$m && echo LEAK; done; mknod /tmp/kmsg c 1 11; \
                 head -c 1 /tmp/kmsg && echo LEAK; echo x >/dev/null && ls /dev",
        expected: &["null\n", "urandom\n", "pts\n", "shm\n"],
    },
    Probe {
        name: "processes",
        // Its own and nothing else; and nobody else's to be signalled.
        script: "ls -d /proc/[0-9]* | wc -l; kill -0 2 2>/dev/null && echo other; \
                 cat /proc/1/comm; echo $$",
        expected: &["sh\n", "\n1\n"],
    },
    Probe {
        name: "workdir",
        script: "cat /proc/self/cwd/etc/passwd | head -n 1; ls -d /proc/self/cwd/data && echo LEAK; \
                 cd ..; cd ..; cd ..; ls",
        expected: &["root:x:0:0::/root", "bin\n"],
    },
    Probe {
        name: "chroot",
        script: "mkdir -p /jail/bin; cp /bin/busybox /jail/bin/sh; \
                 chroot /jail /bin/sh -c 'cd ../../../../..; [ -e /work ] && echo LEAK'; \
                 [ -e /work ] && echo LEAK; [ -e /.dockerenv ]; echo done",
        expected: &["done"],
    },
    Probe {
        name: "mountinfo",
        // The host's paths below the bundle show in mountinfo, but lead nowhere.
        script: "cat /proc/self/mountinfo | cut -d' ' -f4,5 | grep -c ' /proc'; \
                 grep upperdir= /proc/self/mounts | head -n 1 | grep -o 'upperdir=[^,]*' | \
                 cut -d= -f2 | while read p; do ls $p && echo LEAK; done; echo done",
        expected: &["done"],
    },
    Probe {
        name: "user",
        script: "id -u; dmesg 2>/dev/null | grep . && echo LEAK; \
                 hostname hacked 2>/dev/null && echo LEAK; \
                 date -s 2020-01-01 >/dev/null 2>&1; [ $(date +%Y) = 2020 ] && echo LEAK; reboot -f; echo done",
        expected: &["0\n", "done"],
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn probes_find_no_way_out() {
    for oci in oci_runtimes() {
        let host = Host::with(oci.clone()).await;
        let task = host.sandbox("task1", NetworkMode::None).await;
        for Probe { name, script, expected } in &PROBES {
            let (_, text) = probe(&host, &task, host.shell(name, script)).await;
            assert!(!text.contains("LEAK"), "{oci:?} {name}: {text}");
            for expected in *expected {
                assert!(text.contains(expected), "{oci:?} {name}: no {expected:?} in {text}");
            }
        }
        host.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn capability_sets_equal_the_specification() {
    for oci in oci_runtimes() {
        let host = Host::with(oci.clone()).await;
        let task = host.sandbox("task1", NetworkMode::None).await;
        let mut spec = host.shell("dropped", "grep Cap /proc/self/status");
        spec.capabilities.drop = vec!["ALL".to_owned()];
        spec.capabilities.add = vec!["NET_ADMIN".to_owned()];
        let (_, text) = probe(&host, &task, spec).await;
        assert_eq!(text.matches("0000000000001000").count(), 3, "{oci:?}: {text}");
        let mut spec = host.shell("user", "grep Cap /proc/self/status");
        spec.user = "web".to_owned();
        let (_, text) = probe(&host, &task, spec).await;
        assert_eq!(text.matches("0000000000000000").count(), 4, "{oci:?}: {text}");
        assert!(text.contains("CapBnd:\t00000000a80425fb"), "{oci:?}: {text}");
        // Exec has the container's sets and no descriptor more.
        let spec = host.shell("app", "sleep 1000");
        host.runtime.create_container(&task, spec).await.unwrap();
        host.runtime.start_container(&task, "app").await.unwrap();
        let script = "grep Cap /proc/self/status; ls /proc/self/fd | wc -l; \
                      grep -E ^Seccomp: /proc/self/status";
        let exec = wharf_runtime::ExecSpec {
            args: ["/bin/sh", "-c", script].map(String::from).to_vec(),
            env: Vec::new(),
            cwd: String::new(),
            user: String::new(),
        };
        let done = host.runtime.exec(&task, "app", exec, harness::DEADLINE).await.unwrap();
        let text = String::from_utf8(done.output).unwrap();
        assert_eq!(text.matches("00000000a80425fb").count(), 3, "{oci:?}: {text}");
        assert_eq!(text.matches("0000000000000000").count(), 2, "{oci:?}: {text}");
        assert!(text.contains("\n4\n") && text.contains("Seccomp:\t2"), "{oci:?}: {text}");
        host.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_root_file_systems_are_refused() {
    let host = Host::new().await;
    let task = host.sandbox("task1", NetworkMode::None).await;
    let canary = host.directory.path().join("canary");
    std::fs::create_dir(&canary).unwrap();
    for name in ["proc", "dev", "sys"] {
        for kind in ["link", "file"] {
            let layer = host.directory.path().join(format!("{name}-{kind}"));
            std::fs::create_dir(&layer).unwrap();
            if kind == "link" {
                std::os::unix::fs::symlink(&canary, layer.join(name)).unwrap();
            } else {
                std::fs::write(layer.join(name), "").unwrap();
            }
            let mut spec = host.shell("app", "true");
            spec.layers.insert(0, layer);
            let error = host.runtime.create_container(&task, spec).await.unwrap_err();
            assert!(error.to_string().contains("is not a directory"), "{name} {kind}: {error}");
        }
    }
    // Links that lead out of the image are followed inside it.
    let layer = host.directory.path().join("links");
    std::fs::create_dir_all(layer.join("etc")).unwrap();
    let outside = canary.join("passwd");
    std::fs::write(&outside, "web:x:0:0::/:/bin/sh\n").unwrap();
    std::os::unix::fs::symlink(&outside, layer.join("etc/passwd")).unwrap();
    std::os::unix::fs::symlink(&canary, layer.join("out")).unwrap();
    let mut spec = host.shell("app", "id -u");
    spec.layers.insert(0, layer);
    spec.user = "web".to_owned();
    assert!(host.runtime.create_container(&task, spec.clone()).await.is_err());
    spec.user = String::new();
    spec.cwd = "/out/made".to_owned();
    let _refused = host.runtime.create_container(&task, spec).await;
    assert_eq!(std::fs::read_dir(&canary).unwrap().count(), 1);
    host.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_runtime_is_refused_unless_it_is_allowed() {
    let host = Host::with(OciRuntime::Runc("/usr/sbin/runc".into())).await;
    let mut options = host.options.clone();
    options.allow_old_runtime = false;
    let opened = wharf_runtime::Runtime::open(options, wharf_runtime::Zygote::this_program()).await;
    let error = opened.err().unwrap().to_string();
    assert!(error.contains("runc 1.1.5"), "{error}");
    host.end().await;
}
