//! A container from creation to removal, under every OCI runtime.

#![allow(clippy::unwrap_used)]

mod harness;

use std::time::{Duration, Instant};

use harness::{Host, log_text, oci_runtimes, until};
use wharf_runtime::spec::{PortMapping, Protocol, Ulimit};
use wharf_runtime::state::ExitReason;
use wharf_runtime::{ContainerStatus, EventKind, ExecSpec, NetworkMode, OciRuntime, SandboxSpec};

const SIGTERM: i32 = 15;

#[tokio::test(flavor = "multi_thread")]
async fn a_container_runs_and_tells_its_exit_code() {
    for oci in oci_runtimes() {
        let host = Host::with(oci.clone()).await;
        let task = host.sandbox("task1", NetworkMode::None).await;
        let mut events = host.runtime.events();
        let spec = host.shell("app", "echo hello; echo oops >&2; exit 3");
        let made = host.runtime.create_container(&task, spec).await.unwrap();
        assert!(matches!(made.status, ContainerStatus::Created { pid } if pid > 1), "{oci:?}");
        host.runtime.start_container(&task, "app").await.unwrap();
        let exit = host.runtime.wait_container(&task, "app").await.unwrap();
        assert_eq!((exit.code, exit.signal, exit.oom_killed), (3, None, false));
        let text = log_text(&host, &task, "app");
        assert!(text.contains("hello\n") && text.contains("oops\n"), "{oci:?}: {text}");
        assert!(matches!(events.recv().await.unwrap().kind, EventKind::Started { .. }));
        let told = async {
            loop {
                if let EventKind::Exited(exit) = events.recv().await.unwrap().kind {
                    return exit;
                }
            }
        };
        assert_eq!(tokio::time::timeout(harness::DEADLINE, told).await.unwrap(), exit);
        host.runtime.delete_container(&task, "app").await.unwrap();
        host.runtime.remove_sandbox(&task).await.unwrap();
        host.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_files_address_ports_and_log() {
    for oci in oci_runtimes() {
        let host = Host::with(oci.clone()).await;
        let task = host.sandbox("task1", NetworkMode::Bridge).await;
        let script = "echo run >>/runs; cat /runs; ip -4 -o addr show dev eth0; \
                      [ $(wc -l </runs) -ge 5 ] && exec sleep 1000; exit 5";
        let mut spec = host.shell("app", script);
        let port =
            PortMapping { container_port: 80, host_port: 0, protocol: Protocol::Tcp, range: None };
        spec.ports = vec![port];
        spec.resources.memory_bytes = Some(32 << 20);
        let made = host.runtime.create_container(&task, spec).await.unwrap();
        host.runtime.start_container(&task, "app").await.unwrap();
        let shim = host.runtime.sandbox(&task).await.unwrap().shim_pid.unwrap();
        let held = || std::fs::read_dir(format!("/proc/{shim}/fd")).unwrap().count();
        let (mut pids, mut first) = (Vec::new(), None);
        for _ in 0..4 {
            let exit = host.runtime.wait_container(&task, "app").await.unwrap();
            assert_eq!(exit.code, 5, "{oci:?}: {}", log_text(&host, &task, "app"));
            // No more of them than after the first end: the others' pipes are closed.
            let most = *first.get_or_insert_with(held);
            until("closed descriptors", async || (held() <= most).then_some(())).await;
            pids.push(host.runtime.restart_container(&task, "app").await.unwrap());
        }
        assert!(pids.windows(2).all(|pair| pair[0] != pair[1]), "{oci:?}: {pids:?}");
        until("the fifth run", async || {
            let text = log_text(&host, &task, "app");
            (text.matches("run\n").count() == 15 && text.matches("inet").count() == 5).then_some(())
        })
        .await;
        let text = log_text(&host, &task, "app");
        let address = format!("inet {}/", made.address.unwrap());
        assert_eq!(text.matches(&address).count(), 5, "{oci:?}: {text}");
        let info = host.runtime.sandbox(&task).await.unwrap();
        let now = &info.containers[0];
        assert_eq!((&now.runtime_id, &now.ports), (&made.runtime_id, &made.ports), "{oci:?}");
        assert!(matches!(now.status, ContainerStatus::Running { pid, .. } if pid == pids[3]));
        let stats = host.runtime.stats(&task, "app").await.unwrap();
        assert_eq!(stats.memory_limit_bytes, Some(32 << 20), "{oci:?}");
        // What runs can't be restarted, and isn't harmed by the attempt.
        let error = host.runtime.restart_container(&task, "app").await.unwrap_err();
        assert!(error.to_string().contains("can't be renewed"), "{oci:?}: {error}");
        let spec = ExecSpec {
            args: vec!["true".to_owned()],
            env: Vec::new(),
            cwd: String::new(),
            user: String::new(),
        };
        let done = host.runtime.exec(&task, "app", spec, Duration::from_secs(10)).await.unwrap();
        assert_eq!(done.code, 0, "{oci:?}");
        host.runtime.remove_sandbox(&task).await.unwrap();
        host.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_needs_no_network_of_its_own() {
    let host = Host::new().await;
    for (id, network) in [("alone", NetworkMode::None), ("on-host", NetworkMode::Host)] {
        let task = host.sandbox(id, network).await;
        let spec = host.shell("app", "echo run >>/runs; exit $(wc -l </runs)");
        host.runtime.create_container(&task, spec).await.unwrap();
        host.runtime.start_container(&task, "app").await.unwrap();
        for run in 1..4 {
            let exit = host.runtime.wait_container(&task, "app").await.unwrap();
            assert_eq!(exit.code, run, "{id}: {}", log_text(&host, &task, "app"));
            host.runtime.restart_container(&task, "app").await.unwrap();
        }
        host.runtime.remove_sandbox(&task).await.unwrap();
    }
    host.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_asks_first_and_kills_later() {
    for oci in oci_runtimes() {
        let host = Host::with(oci.clone()).await;
        let task = host.sandbox("task1", NetworkMode::None).await;
        let polite = "trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done";
        let deaf = "trap '' TERM; echo up; while :; do sleep 0.01; done";
        for (name, script) in [("polite", polite), ("deaf", deaf)] {
            host.runtime.create_container(&task, host.shell(name, script)).await.unwrap();
            host.runtime.start_container(&task, name).await.unwrap();
            until("the trap", async || log_text(&host, &task, name).contains("up").then_some(()))
                .await;
        }
        let stop = async |name, limit| {
            host.runtime.stop_container(&task, name, SIGTERM, limit).await.unwrap()
        };
        assert_eq!(stop("polite", Duration::from_secs(10)).await.code, 7);
        let killed = stop("deaf", Duration::from_millis(50)).await;
        assert_eq!((killed.code, killed.signal), (137, Some(9)), "{oci:?}");
        // Signals to what has ended are no error.
        host.runtime.signal_container(&task, "deaf", SIGTERM).await.unwrap();
        host.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_isnt_there_is_told_and_leaves_nothing() {
    for oci in oci_runtimes() {
        let host = Host::with(oci.clone()).await;
        let task = host.sandbox("task1", NetworkMode::Bridge).await;
        let mut spec = host.shell("app", "");
        spec.args = vec!["/no/such/program".to_owned()];
        // runc finds out at create, others may at start.
        let error = match host.runtime.create_container(&task, spec.clone()).await {
            Err(error) => error.to_string(),
            Ok(_) => match host.runtime.start_container(&task, "app").await {
                Err(error) => error.to_string(),
                Ok(_) => panic!("{oci:?} started it"),
            },
        };
        assert!(
            error.contains("no such file")
                || error.contains("No such file")
                || error.contains("not found"),
            "{oci:?}: {error}"
        );
        let _ = host.runtime.delete_container(&task, "app").await;
        assert!(host.runtime.sandbox(&task).await.unwrap().containers.is_empty());
        // The name is free again.
        host.runtime.create_container(&task, host.shell("app", "exit 0")).await.unwrap();
        host.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_and_running_out_of_memory_is_noticed() {
    for oci in oci_runtimes() {
        let host = Host::with(oci.clone()).await;
        let task = host.sandbox("task1", NetworkMode::None).await;
        // The shell survives: only its child is killed.
        let mut spec =
            host.shell("hog", "head -c 300m /dev/zero | tail -c 300m >/dev/null; exit 0");
        spec.resources.memory_bytes = Some(32 << 20);
        spec.resources.cpu_shares = Some(512);
        spec.resources.cpu_millis = Some(1500);
        spec.resources.pids = Some(100);
        host.runtime.create_container(&task, spec).await.unwrap();
        let stats = host.runtime.stats(&task, "hog").await.unwrap();
        assert_eq!(stats.memory_limit_bytes, Some(32 << 20), "{oci:?}");
        let cgroup = |hierarchy: &str, file: &str| {
            let instance = &host.options.instance;
            let path = format!("/sys/fs/cgroup/{hierarchy}/wharf-{instance}/task1/hog/{file}");
            std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
        };
        assert_eq!(cgroup("cpu", "cpu.shares").trim(), "512");
        assert_eq!(cgroup("cpu", "cpu.cfs_quota_us").trim(), "150000");
        assert_eq!(cgroup("pids", "pids.max").trim(), "100");
        host.runtime.start_container(&task, "hog").await.unwrap();
        let exit = host.runtime.wait_container(&task, "hog").await.unwrap();
        assert!(exit.oom_killed, "{oci:?}: {exit:?}");
        host.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tasks_limit_holds_for_all_its_containers() {
    let host = Host::new().await;
    let id = wharf_runtime::SandboxId::new("limited").unwrap();
    let resources = wharf_runtime::spec::TaskResources {
        memory_bytes: Some(32 << 20),
        cpu_millis: Some(500),
        cpu_shares: Some(256),
        may_swap: false,
    };
    let spec = SandboxSpec {
        id: id.clone(),
        network: NetworkMode::None,
        resources,
        dns: Default::default(),
        sharing: Default::default(),
        memory_volumes: Default::default(),
        storage: None,
        runtime_class: None,
        labels: Default::default(),
    };
    host.runtime.create_sandbox(spec).await.unwrap();
    let hog = host.shell("hog", "head -c 300m /dev/zero | tail -c 300m >/dev/null; exit 0");
    host.runtime.create_container(&id, hog).await.unwrap();
    host.runtime.start_container(&id, "hog").await.unwrap();
    assert!(host.runtime.wait_container(&id, "hog").await.unwrap().oom_killed);
    host.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_runs_as_it_was_asked_to() {
    for oci in oci_runtimes() {
        let host = Host::with(oci.clone()).await;
        let task = host.sandbox("task1", NetworkMode::None).await;
        let script = "id; pwd; echo $A-$B-$HOME; cat /proc/sys/kernel/hostname; ulimit -n; \
                      touch /file 2>&1; touch /scratch/file && echo tmpfs; cat /data/given";
        let mut spec = host.shell("app", script);
        spec.user = "web".to_owned();
        spec.cwd = "/made/on/demand".to_owned();
        spec.env = ["A=1", "B=2", "A=3"].map(String::from).to_vec();
        spec.hostname = Some("myhost".to_owned());
        spec.readonly_rootfs = true;
        spec.ulimits = vec![Ulimit { name: "nofile".to_owned(), soft: 500, hard: 600 }];
        let data = host.directory.path().join("data-volume");
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("given"), "from the host\n").unwrap();
        spec.mounts = vec![
            wharf_runtime::spec::Mount {
                target: "/data".to_owned(),
                source: wharf_runtime::spec::MountSource::Bind(data),
                read_only: true,
            },
            wharf_runtime::spec::Mount {
                target: "/scratch".to_owned(),
                source: wharf_runtime::spec::MountSource::Tmpfs {
                    size_bytes: 1 << 20,
                    options: vec!["mode=1777".to_owned()],
                },
                read_only: false,
            },
        ];
        host.runtime.create_container(&task, spec).await.unwrap();
        host.runtime.start_container(&task, "app").await.unwrap();
        host.runtime.wait_container(&task, "app").await.unwrap();
        let text = log_text(&host, &task, "app");
        for expected in [
            "uid=33(web) gid=33(web)",
            "44(extra)",
            "/made/on/demand\n",
            "3-2-/tmp\n",
            "myhost\n",
            "\n500\n",
            "Read-only file system",
            "tmpfs\n",
            "from the host\n",
        ] {
            assert!(text.contains(expected), "{oci:?}: no {expected:?} in {text}");
        }
        host.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn further_processes_run_in_a_container() {
    for oci in oci_runtimes() {
        let host = Host::with(oci.clone()).await;
        let task = host.sandbox("task1", NetworkMode::None).await;
        host.runtime.create_container(&task, host.shell("app", "sleep 1000")).await.unwrap();
        host.runtime.start_container(&task, "app").await.unwrap();
        let exec = |script: &str| ExecSpec {
            args: ["/bin/sh", "-c", script].map(String::from).to_vec(),
            env: vec!["MORE=yes".to_owned()],
            cwd: String::new(),
            user: "web".to_owned(),
        };
        let run =
            async |script: &str, limit| host.runtime.exec(&task, "app", exec(script), limit).await;
        let done = run("id -u; echo $MORE; exit 5", Duration::from_secs(20)).await.unwrap();
        let output = String::from_utf8(done.output).unwrap();
        assert_eq!((done.code, output.as_str()), (5, "33\nyes\n"), "{oci:?}");
        let begun_at = Instant::now();
        assert!(run("sleep 1000", Duration::from_millis(300)).await.is_err());
        assert!(begun_at.elapsed() < harness::DEADLINE);
        host.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_outlives_the_handle_and_is_adopted_again() {
    for oci in oci_runtimes() {
        let mut host = Host::with(oci.clone()).await;
        let task = host.sandbox("task1", NetworkMode::None).await;
        let scripts = [("short", "exit 4"), ("long", "while :; do date; sleep 0.02; done")];
        let mut pids = Vec::new();
        for (name, script) in scripts {
            host.runtime.create_container(&task, host.shell(name, script)).await.unwrap();
            pids.push(host.runtime.start_container(&task, name).await.unwrap());
        }
        host.runtime.wait_container(&task, "short").await.unwrap();
        host.reopen().await;
        let info = host.runtime.sandbox(&task).await.unwrap();
        assert!(info.shim_pid.is_some());
        let status =
            |name: &str| info.containers.iter().find(|c| c.name == name).unwrap().status.clone();
        assert!(matches!(status("short"), ContainerStatus::Exited(exit) if exit.code == 4));
        assert!(matches!(status("long"), ContainerStatus::Running { pid, .. } if pid == pids[1]));
        let stopped = host
            .runtime
            .stop_container(&task, "long", SIGTERM, Duration::from_millis(100))
            .await
            .unwrap();
        assert_eq!(stopped.reason, ExitReason::Exited);
        host.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_shim_takes_its_containers_with_it() {
    let mut host = Host::with(OciRuntime::Embedded).await;
    for reopened in [false, true] {
        let task = host.sandbox("task1", NetworkMode::Bridge).await;
        host.runtime.create_container(&task, host.shell("app", "sleep 1000")).await.unwrap();
        let pid = host.runtime.start_container(&task, "app").await.unwrap();
        let shim = host.runtime.sandbox(&task).await.unwrap().shim_pid.unwrap();
        kill(shim);
        if reopened {
            until("the shim's end", async || (!alive(shim)).then_some(())).await;
            host.reopen().await;
        }
        let exit = host.runtime.wait_container(&task, "app").await.unwrap();
        assert_eq!((exit.code, exit.reason), (137, ExitReason::ShimLost));
        until("the container's end", async || (!alive(pid)).then_some(())).await;
        host.runtime.remove_sandbox(&task).await.unwrap();
    }
    host.end().await;
}

fn kill(pid: i32) {
    let killed =
        std::process::Command::new("/bin/kill").args(["-9", &pid.to_string()]).status().unwrap();
    assert!(killed.success());
}

fn alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}
