//! What a container definition asks of its processes, seen from inside, under every runtime.

#![allow(clippy::unwrap_used)]

mod harness;

use harness::{Host, log_text, oci_runtimes, until};
use wharf_runtime::spec::{Device, IpcMode, Mount, MountSource, PidMode, Sharing};
use wharf_runtime::{NetworkMode, OciRuntime};

fn sharing(pid: PidMode, ipc: IpcMode) -> Sharing {
    Sharing { pid, ipc, shm_bytes: Some(8 << 20) }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_init_reaps_and_passes_signals_on() {
    for oci in oci_runtimes() {
        let host = Host::with(oci.clone()).await;
        let task = host.sandbox("task1", NetworkMode::None).await;
        // An orphan ends while nobody but the first process can reap it.
        let orphan = "(sleep 0.1 &); sleep 0.4; cat /proc/1/comm; ls /proc/1/fd | tr '\\n' ' '; \
                      grep -c 'State:.Z' /proc/[0-9]*/status | grep -c ':1'; exit 7";
        let mut spec = host.shell("reaps", orphan);
        spec.init_process = true;
        spec.readonly_rootfs = true;
        let (code, text) = host.probe(&task, spec).await;
        assert_eq!((code, text.as_str()), (7, "docker-init\n0 1 2 0\n"), "{oci:?}");
        let mut spec = host.shell(
            "passes",
            "trap 'echo got it; exit 9' TERM; echo up; while :; do sleep 0.05; done",
        );
        spec.init_process = true;
        // A user that can't change what the first process is.
        spec.user = "web".to_owned();
        host.start(&task, spec).await;
        until("the trap", async || log_text(&host, &task, "passes").contains("up").then_some(()))
            .await;
        host.runtime.signal_container(&task, "passes", 15).await.unwrap();
        let exit = host.runtime.wait_container(&task, "passes").await.unwrap();
        assert_eq!((exit.code, exit.signal), (9, None), "{oci:?}");
        assert!(log_text(&host, &task, "passes").contains("got it"));
        // Without a shell's help: the name is looked for, and an end by a signal is told.
        let mut spec = host.shell("missing", "");
        spec.init_process = true;
        spec.args = vec!["no-such-program".to_owned()];
        let (code, text) = host.probe(&task, spec).await;
        assert_eq!((code, text.as_str()), (127, "exec: no-such-program: not found\n"), "{oci:?}");
        // In most images /sbin is a link, in some an absolute one.
        let merged = host.directory.path().join("merged");
        std::fs::create_dir_all(merged.join("usr/sbin")).unwrap();
        std::os::unix::fs::symlink("usr/sbin", merged.join("sbin")).unwrap();
        let absolute = host.directory.path().join("absolute");
        std::fs::create_dir_all(absolute.join("usr/sbin")).unwrap();
        std::os::unix::fs::symlink("/usr/sbin", absolute.join("sbin")).unwrap();
        for layer in [merged, absolute] {
            let name = layer.file_name().unwrap().to_str().unwrap().to_owned();
            let mut spec = host.shell(&name, "ls /usr/sbin; cat /proc/1/comm");
            spec.layers.insert(0, layer);
            spec.init_process = true;
            let (_, text) = host.probe(&task, spec).await;
            assert_eq!(text, "docker-init\ndocker-init\n", "{oci:?} {name}");
        }
        assert!(!std::path::Path::new("/usr/sbin/docker-init").exists());
        let mut spec = host.shell("killed", "kill -9 $$");
        spec.init_process = true;
        assert_eq!(host.probe(&task, spec).await.0, 137, "{oci:?}");
        host.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_a_terminal_or_stay_open() {
    for oci in oci_runtimes() {
        let host = Host::with(oci.clone()).await;
        let task = host.sandbox("task1", NetworkMode::None).await;
        let script = "ls -1 /proc/1/fd; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && tty; [ -c /dev/console ] && echo console; \
                      echo err >&2; timeout 0.3 cat; echo $?";
        let mut spec = host.shell("tty", script);
        spec.tty = true;
        spec.user = "web".to_owned();
        let (code, text) = host.probe(&task, spec).await;
        assert_eq!(code, 0, "{oci:?}: {text}");
        assert!(
            text.starts_with("0\r\n1\r\n2\r\n/dev/pts/0\r\nconsole\r\nerr\r\n"),
            "{oci:?}: {text:?}"
        );
        assert!(!text.ends_with("\n0\r\n"), "standard input ended: {oci:?}: {text:?}");
        let mut spec = host.shell("stdin", "timeout 0.3 cat; echo $?; ls -l /proc/self/fd/0");
        spec.stdin = true;
        let (_, text) = host.probe(&task, spec).await;
        assert!(text.contains("143\n") && text.contains("pipe:"), "{oci:?}: {text:?}");
        let (_, text) = host.probe(&task, host.shell("null", "timeout 0.3 cat; echo $?")).await;
        assert_eq!(text, "0\n", "{oci:?}");
        host.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_name_others_and_disabled_networks_are_alone() {
    for oci in oci_runtimes() {
        let host = Host::with(oci.clone()).await;
        let task = host.sandbox("task1", NetworkMode::Bridge).await;
        let mut early = host.shell("early", "true");
        early.links = vec![("db".to_owned(), "data".to_owned())];
        let error = host.runtime.create_container(&task, early).await.unwrap_err().to_string();
        assert!(error.contains("link to db: it has no address"), "{error}");
        host.start(&task, host.shell("db", "sleep 600")).await;
        let address = host.runtime.sandbox(&task).await.unwrap().containers[0].address.unwrap();
        let mut spec = host.shell(
            "web",
            "grep data /etc/hosts; ping -c 1 -w 2 data >/dev/null && echo reached; \
             cat /etc/resolv.conf",
        );
        spec.links = vec![("db".to_owned(), "data".to_owned())];
        spec.dns.servers = vec!["192.0.2.53".parse().unwrap()];
        spec.dns.search = vec!["example.org".to_owned()];
        let (_, text) = host.probe(&task, spec).await;
        let expected =
            format!("{address}\tdata db\nreached\nnameserver 192.0.2.53\nsearch example.org\n");
        assert_eq!(text, expected, "{oci:?}");
        let mut spec = host.shell("alone", "ls /sys/class/net; ip route | wc -l");
        spec.network_disabled = true;
        assert_eq!(host.probe(&task, spec).await.1, "lo\n0\n", "{oci:?}");
        let (_, text) = host.probe(&task, host.shell("plain", "cat /etc/resolv.conf")).await;
        assert!(!text.contains("192.0.2.53"), "{oci:?}: {text}");
        host.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_shares_its_processes_and_memory_and_nothing_more() {
    for oci in oci_runtimes() {
        let mut host = Host::with(oci.clone()).await;
        let shared = sharing(PidMode::Task, IpcMode::Task);
        let task = host.sharing_sandbox("task1", NetworkMode::None, shared).await;
        assert!(host.runtime.sandbox(&task).await.unwrap().containers.is_empty());
        host.start(&task, host.shell("one", "sleep 4711 & echo hello >/dev/shm/given; wait")).await;
        let mut spec = host.shell(
            "two",
            "until [ -e /dev/shm/given ]; do sleep 0.05; done; cat /dev/shm/given; \
             df -k /dev/shm | tail -n 1; one=$(pidof sleep); \
             [ $one ] && echo seen; \
             cat /proc/1/comm; ls /proc/1/root/ | tr '\\n' ' '; \
             ls /proc/1/root/root /proc/1/root/usr 2>/dev/null && echo LEAK; \
             kill -9 1; kill -15 1; (sleep 4712 &); kill -9 $one",
        );
        spec.capabilities.add = vec!["SYS_PTRACE".to_owned()];
        let (_, text) = host.probe(&task, spec).await;
        for expected in ["hello\n", " 8192 ", "seen\n", "docker-init\n"] {
            assert!(text.contains(expected), "{oci:?}: no {expected:?} in {text}");
        }
        assert!(!text.contains("LEAK") && !text.contains(" home"), "{oci:?}: {text}");
        // What the second left behind ended with it, and it could end the first.
        host.runtime.wait_container(&task, "one").await.unwrap();
        let instance = &host.options.instance;
        let procs = format!("/sys/fs/cgroup/pids/wharf-{instance}/task1/two/cgroup.procs");
        until("its orphan's end", async || {
            std::fs::read_to_string(&procs).unwrap().is_empty().then_some(())
        })
        .await;
        // An agent that comes back finds it as it was.
        host.reopen().await;
        assert_eq!(host.runtime.sandbox(&task).await.unwrap().containers.len(), 2);
        let script =
            "pidof sleep && echo LEAK; cat /proc/1/comm /dev/shm/given; readlink /proc/self/ns/ipc";
        let (_, text) = host.probe(&task, host.shell("three", script)).await;
        let own = std::fs::read_link("/proc/self/ns/ipc").unwrap();
        assert!(!text.contains("LEAK") && !text.contains(&*own.to_string_lossy()), "{text}");
        assert!(text.starts_with("docker-init\nhello\n"), "{oci:?}: {text}");
        host.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn host_namespaces_are_entered_when_asked_for() {
    for oci in oci_runtimes() {
        let host = Host::with(oci.clone()).await;
        let shared = sharing(PidMode::Host, IpcMode::Host);
        let task = host.sharing_sandbox("task1", NetworkMode::None, shared).await;
        let script = "for n in pid ipc; do readlink /proc/self/ns/$n; done; grep -c ' /dev/shm ' \
                      /proc/mounts; (sleep 4713 &); exit 3";
        let (code, text) = host.probe(&task, host.shell("app", script)).await;
        let link = |name: &str| std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        let expected = format!("{}\n{}\n1\n", link("pid").display(), link("ipc").display());
        assert_eq!((code, text), (3, expected), "{oci:?}");
        let instance = &host.options.instance;
        let procs = format!("/sys/fs/cgroup/pids/wharf-{instance}/task1/app/cgroup.procs");
        until("its orphan's end", async || {
            std::fs::read_to_string(&procs).unwrap().is_empty().then_some(())
        })
        .await;
        let shared = sharing(PidMode::Private, IpcMode::None);
        let task = host.sharing_sandbox("task2", NetworkMode::None, shared).await;
        let script = "grep -c ' /dev/shm ' /proc/mounts; readlink /proc/self/ns/ipc";
        let (_, text) = host.probe(&task, host.shell("app", script)).await;
        assert!(text.starts_with("0\n"), "{oci:?}: {text}");
        assert!(!text.contains(&*link("ipc").to_string_lossy()), "{oci:?}: {text}");
        host.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_is_told_what_was_asked_for() {
    for oci in oci_runtimes() {
        let host = Host::with(oci.clone()).await;
        let task = host.sandbox("task1", NetworkMode::None).await;
        let script = "cat /proc/sys/net/core/somaxconn /proc/sys/kernel/shmmax; \
                      df -k /dev/shm | tail -n 1; grep ' /scratch ' /proc/mounts; \
                      head -c 3 /dev/given | wc -c; echo x >/dev/given; \
                      grep NoNewPrivs /proc/self/status; head -c 2 /dev/many/two | wc -c; \
                      cat /dev/many/one; echo x 2>&1 >/dev/linked";
        // As docker takes them: a link to a device, and a directory of devices.
        let devices = host.directory.path().join("devices");
        std::fs::create_dir_all(&devices).unwrap();
        for (name, minor) in [("one", 3), ("two", 5)] {
            let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
            let number = nix::sys::stat::makedev(1, minor);
            let kind = nix::sys::stat::SFlag::S_IFCHR;
            nix::sys::stat::mknod(&devices.join(name), kind, mode, number).unwrap();
        }
        let link = host.directory.path().join("link");
        std::os::unix::fs::symlink("/dev/full", &link).unwrap();
        let mut spec = host.shell("app", script);
        for (name, value) in [("net.core.somaxconn", "321"), ("kernel.shmmax", "65536")] {
            spec.sysctls.insert(name.to_owned(), value.to_owned());
        }
        spec.shm_bytes = Some(16 << 20);
        spec.no_new_privileges = true;
        spec.devices = vec![Device {
            host_path: "/dev/zero".into(),
            container_path: Some("/dev/given".to_owned()),
            permissions: "r".to_owned(),
        }];
        for (path, inside) in [(&devices, "/dev/many"), (&link, "/dev/linked")] {
            spec.devices.push(Device {
                host_path: path.clone(),
                container_path: Some(inside.to_owned()),
                permissions: "rw".to_owned(),
            });
        }
        let options = ["exec", "noatime", "mode=1777"].map(String::from).to_vec();
        let source = MountSource::Tmpfs { size_bytes: 4 << 20, options };
        spec.mounts = vec![Mount { target: "/scratch".to_owned(), source, read_only: false }];
        spec.resources.memory_bytes = Some(64 << 20);
        spec.resources.memory_reservation_bytes = Some(32 << 20);
        spec.resources.memory_swap_bytes = Some(96 << 20);
        spec.resources.swappiness = Some(17);
        host.runtime.create_container(&task, spec).await.unwrap();
        for (file, expected) in [
            ("memory.limit_in_bytes", "67108864"),
            ("memory.soft_limit_in_bytes", "33554432"),
            ("memory.memsw.limit_in_bytes", "100663296"),
            ("memory.swappiness", "17"),
        ] {
            let instance = &host.options.instance;
            let path = format!("/sys/fs/cgroup/memory/wharf-{instance}/task1/app/{file}");
            assert_eq!(std::fs::read_to_string(path).unwrap().trim(), expected, "{oci:?}: {file}");
        }
        host.runtime.start_container(&task, "app").await.unwrap();
        host.runtime.wait_container(&task, "app").await.unwrap();
        let text = log_text(&host, &task, "app");
        for expected in
            ["321\n65536\n", " 16384 ", "size=4096k", "\n3\n", "NoNewPrivs:\t1\n2\n", "No space"]
        {
            assert!(text.contains(expected), "{oci:?}: no {expected:?} in {text}");
        }
        let scratch = text.lines().find(|line| line.contains(" /scratch ")).unwrap();
        assert!(scratch.contains("nosuid,nodev,noatime"), "{oci:?}: {scratch}");
        assert!(!scratch.contains("noexec"), "{oci:?}: {scratch}");
        // /dev/zero is an allowed device as it is: what is allowed for the new name doesn't matter.
        let mut spec = host.shell(
            "all",
            "grep -E '^(CapEff|Seccomp):' /proc/self/status; [ -c /dev/kmsg ] && echo kmsg; \
             mount -t tmpfs none /tmp && echo mounted; echo 1 >/proc/sys/net/ipv4/ip_forward && \
             echo written",
        );
        spec.privileged = true;
        let (_, text) = host.probe(&task, spec).await;
        let own = std::fs::read_to_string("/proc/self/status").unwrap();
        let bounding = own.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap();
        for expected in [bounding, "Seccomp:\t0", "kmsg", "mounted", "written"] {
            assert!(text.contains(expected), "{oci:?}: no {expected:?} in {text}");
        }
        host.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_reach_beyond_the_container_is_refused() {
    let host = Host::with(OciRuntime::Embedded).await;
    let task = host.sandbox("task1", NetworkMode::None).await;
    let refused = async |change: &dyn Fn(&mut wharf_runtime::ContainerSpec), why: &str| {
        let mut spec = host.shell("app", "true");
        change(&mut spec);
        let error = host.runtime.create_container(&task, spec).await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    };
    for name in ["kernel.panic", "net/../kernel/panic", "net.../../kernel.panic"] {
        refused(&|spec| drop(spec.sysctls.insert(name.into(), "1".into())), "can't be set").await;
    }
    for path in ["/etc/null", "/dev/../etc/null", "/dev", "/dev/vol/null"] {
        let change = |spec: &mut wharf_runtime::ContainerSpec| {
            spec.devices = vec![Device {
                host_path: "/dev/null".into(),
                container_path: Some(path.to_owned()),
                permissions: "rwm".to_owned(),
            }];
            let source = MountSource::Tmpfs { size_bytes: 0, options: Vec::new() };
            spec.mounts = vec![Mount { target: "/dev/vol".into(), source, read_only: false }];
        };
        refused(&change, "no place for a device").await;
    }
    for option in ["bind", "remount"] {
        let change = |spec: &mut wharf_runtime::ContainerSpec| {
            let source = MountSource::Tmpfs { size_bytes: 0, options: vec![option.to_owned()] };
            spec.mounts = vec![Mount { target: "/t".into(), source, read_only: false }];
        };
        refused(&change, "no option of a new tmpfs").await;
    }
    let mut spec = host.shell("~internal~ecs~pause", "true");
    spec.privileged = true;
    assert!(host.runtime.create_container(&task, spec).await.is_err());
    host.end().await;
}
