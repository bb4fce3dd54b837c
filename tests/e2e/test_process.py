"""What a task definition asks of processes, limits, names and storage, observed from inside the
containers and in the kernel's own files. Each task carries as many observations as go together."""

import pathlib
import shutil
import tempfile

from conftest import eventually

NEEDS_SHELL = True

MEMORY = pathlib.Path("/sys/fs/cgroup/memory")
CPU = pathlib.Path("/sys/fs/cgroup/cpu")


def shell(name, script, **members):
    return {"name": name, "image": "shell:latest", "memory": 64, "command": ["sh", "-c", f"exec 2>&1; {script}"]} | members


def outputs(wharf, definition, **arguments):
    """Runs a task to its end; what each of its containers wrote."""
    arn = wharf.start(definition, **arguments)
    task = wharf.stopped(arn)
    codes = {c["name"]: (c.get("exitCode"), c.get("reason")) for c in task["containers"]}
    texts = {name: wharf.run("logs", arn, name).stdout for name in codes}
    assert not any(reason for _, reason in codes.values()), (codes, texts)
    return texts


def value(text, key):
    return next(line.split()[1] for line in text.splitlines() if line.startswith(key))


def cgroup(wharf, root, arn, container, file):
    task = root / f"wharf-{wharf.instance}" / arn.rsplit("/", 1)[1]
    return (task / container / file if container else task / file).read_text().strip()


def test_linux_parameters(wharf):
    see = (
        "cat /proc/1/comm; (sleep 0.1 &); sleep 0.3; grep -l 'State:.Z' /proc/[0-9]*/status;"
        "grep -E '^(Cap|Seccomp|NoNewPrivs)' /proc/self/status; df -k /dev/shm | tail -n 1;"
        "grep ' /scratch ' /proc/mounts; head -c 3 /dev/zeroes | wc -c;"
        "cat /proc/sys/net/core/somaxconn /proc/sys/kernel/shmmax; ulimit -Sn; ulimit -Hn;"
        "id -u; id -g; touch /made 2>&1"
    )
    definition = wharf.register(
        "linux",
        shell(
            "app", see, user="1234:5678", readonlyRootFilesystem=True,
            dockerSecurityOptions=["no-new-privileges"],
            ulimits=[{"name": "nofile", "softLimit": 500, "hardLimit": 600}],
            systemControls=[
                {"namespace": "net.core.somaxconn", "value": "321"},
                {"namespace": "kernel.shmmax", "value": "65536"},
            ],
            linuxParameters={
                "capabilities": {"add": ["SYS_PTRACE"], "drop": ["MKNOD"]},
                "initProcessEnabled": True,
                "devices": [{"hostPath": "/dev/zero", "containerPath": "/dev/zeroes", "permissions": ["read"]}],
                "tmpfs": [{"containerPath": "/scratch", "size": 4, "mountOptions": ["exec", "mode=1777"]}],
                "sharedMemorySize": 16,
            },
        ),
        shell(
            "privileged", "grep -E '^(CapEff|Seccomp)' /proc/self/status; [ -c /dev/kmsg ] && echo kmsg;"
            "mount -t tmpfs none /tmp && echo mounted", privileged=True, essential=False,
        ),
        shell("plain", "cat /proc/1/comm; grep -E '^(Cap|Seccomp)' /proc/self/status", essential=False),
    )
    texts = outputs(wharf, definition)
    app = texts["app"]
    assert app.startswith("docker-init\nCapInh"), "an init is the first process, and reaps"
    # docker's default set with SYS_PTRACE (bit 19) and without MKNOD (bit 27).
    assert int(value(app, "CapBnd"), 16) == 0xA80425FB ^ 1 << 27 | 1 << 19
    assert value(app, "CapEff") == "0" * 16, "a user has nothing in force"
    assert (value(app, "NoNewPrivs"), value(app, "Seccomp")) == ("1", "2")
    assert " 16384 " in app, "16 MiB of shared memory"
    scratch = next(line for line in app.splitlines() if " /scratch " in line)
    assert "size=4096k" in scratch and "nosuid,nodev" in scratch and "noexec" not in scratch
    assert "\n3\n321\n65536\n500\n600\n1234\n5678\n" in app, app
    assert "Read-only file system" in app
    own = pathlib.Path("/proc/self/status").read_text()
    assert value(texts["privileged"], "CapEff") == value(own, "CapBnd")
    assert value(texts["privileged"], "Seccomp") == "0"
    assert "kmsg\nmounted\n" in texts["privileged"]
    assert texts["plain"].startswith("sh\n") and value(texts["plain"], "CapEff") == "00000000a80425fb"


def test_limits_and_streams(wharf):
    wait = "trap 'exit 0' TERM; sleep 600 & wait"
    definition = wharf.register(
        "limits",
        shell("app", wait, cpu=256, memory=96, memoryReservation=48,
              linuxParameters={"maxSwap": 32, "swappiness": 17}),
        shell("terminal", "tty; [ -t 0 ] && [ -t 1 ] && echo terminal; echo $TERM; " + wait,
              pseudoTerminal=True, interactive=True),
        shell("open", "timeout 0.3 cat; echo ended $?; " + wait, interactive=True, cpu=0),
        shell("closed", "timeout 0.3 cat; echo ended $?; " + wait),
        cpu="512", memory="512",
    )
    arn = wharf.start(definition)
    wharf.running(arn)
    seen = {
        "memory.limit_in_bytes": 96, "memory.soft_limit_in_bytes": 48, "memory.memsw.limit_in_bytes": 128,
    }
    for file, mib in seen.items():
        assert cgroup(wharf, MEMORY, arn, "app", file) == str(mib << 20), file
    assert cgroup(wharf, MEMORY, arn, "app", "memory.swappiness") == "17"
    assert cgroup(wharf, CPU, arn, "app", "cpu.shares") == "256"
    assert cgroup(wharf, CPU, arn, "open", "cpu.shares") == "2"
    # The task's own: half a CPU, 512 MiB, and swap left to the containers.
    assert cgroup(wharf, CPU, arn, None, "cpu.cfs_quota_us") == "50000"
    assert cgroup(wharf, CPU, arn, None, "cpu.shares") == "512"
    assert cgroup(wharf, MEMORY, arn, None, "memory.limit_in_bytes") == str(512 << 20)
    assert int(cgroup(wharf, MEMORY, arn, None, "memory.memsw.limit_in_bytes")) > 512 << 20

    def said(container):
        return wharf.run("logs", arn, container).stdout

    terminal = eventually("the terminal", lambda: "xterm" in (text := said("terminal")) and text)
    assert "/dev/pts/0" in terminal and "terminal" in terminal
    assert "ended 143" in eventually("the open input", lambda: "ended" in (t := said("open")) and t)
    assert "ended 0" in eventually("the closed input", lambda: "ended" in (t := said("closed")) and t)
    wharf.client().stop_task(task=arn)
    assert {c["exitCode"] for c in wharf.stopped(arn)["containers"]} == {0}


def test_names(wharf):
    definition = wharf.register(
        "names",
        shell("db", "hostname -i; sleep 2", hostname="database"),
        shell(
            "web", "cat /etc/hosts /etc/resolv.conf; hostname; ping -c 1 -w 2 store >/dev/null && echo reached",
            links=["db:store"], hostname="front", dnsServers=["192.0.2.53"], dnsSearchDomains=["example.org"],
            extraHosts=[{"hostname": "elsewhere", "ipAddress": "192.0.2.7"}], essential=False,
        ),
        shell("alone", "ls /sys/class/net; ip route | wc -l; env | grep -c ^ECS_", disableNetworking=True, essential=False),
        shell(
            "other", "cat /etc/resolv.conf; hostname; wget -qO- $ECS_CONTAINER_METADATA_URI_V4",
            essential=False, dockerLabels={"tier": "front"},
        ),
    )
    texts = outputs(wharf, definition)
    address = texts["db"].strip()
    web = texts["web"]
    assert f"{address}\tstore db\n" in web and "192.0.2.7\telsewhere\n" in web, web
    assert "nameserver 192.0.2.53\nsearch example.org\nfront\nreached\n" in web, web
    assert texts["alone"] == "lo\n0\n0\n"
    assert "192.0.2.53" not in texts["other"] and "\nfront\n" not in texts["other"]
    assert '"tier":"front"' in texts["other"].replace(" ", ""), texts["other"]


def test_shared_namespaces(wharf):
    see = (
        "until [ -e /dev/shm/given ]; do sleep 0.05; done; cat /dev/shm/given;"
        "one=$(pidof sleep);"
        "cat /proc/1/comm; ls /proc/1/root/usr /proc/1/root/root 2>/dev/null && echo LEAK; (sleep 4712 &);"
        "kill -TERM $one"
    )
    together = wharf.register(
        "together",
        shell("one", "sleep 4711 & echo hello >/dev/shm/given; wait $!; echo $?"),
        shell("two", see, essential=False, linuxParameters={"capabilities": {"add": ["SYS_PTRACE"]}}),
        pidMode="task", ipcMode="task",
    )
    texts = outputs(wharf, together)
    assert texts["two"].startswith("hello\n") and "docker-init\n" in texts["two"]
    assert "LEAK" not in texts["two"]
    assert texts["one"].endswith("143\n"), "ended by the other"
    assert not [c for c in pathlib.Path("/proc").glob("[0-9]*/cmdline")
                if (lambda t: b"sleep\x004712" in t)(_read(c))]
    on_host = wharf.register(
        "host-namespaces",
        shell("app", "for n in pid ipc; do readlink /proc/self/ns/$n; done"),
        pidMode="host", ipcMode="host",
    )
    own = [str(pathlib.Path(f"/proc/self/ns/{kind}").readlink()) for kind in ("pid", "ipc")]
    assert outputs(wharf, on_host)["app"].split() == own
    without = wharf.register("no-ipc", shell("app", "grep -c /dev/shm /proc/mounts"), ipcMode="none")
    assert outputs(wharf, without)["app"] == "0\n"


def _read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_volumes(wharf):
    host = pathlib.Path(tempfile.mkdtemp(prefix="wharf-e2e-volume-"))
    try:
        volumes = [
            {"name": "own"},
            {"name": "filled", "host": {}},
            {"name": "host", "host": {"sourcePath": str(host / "missing/directory")}},
            {"name": "docker", "dockerVolumeConfiguration": {"scope": "task", "driver": "local"}},
            {"name": "kept", "dockerVolumeConfiguration": {"scope": "shared", "autoprovision": True}},
            {"name": "memory", "dockerVolumeConfiguration": {"scope": "task", "driverOpts": {
                "type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=1000"}}},
            {"name": "given", "dockerVolumeConfiguration": {"scope": "shared", "driverOpts": {
                "type": "none", "device": str(host), "o": "bind,ro"}}},
        ]
        (host / "present").write_text("present\n")
        writer = shell(
            "writer",
            "for d in own host docker kept memory; do echo $d >/$d/file; done; echo >/bin/new; ls -l /bin | wc -l",
            mountPoints=[
                {"sourceVolume": name, "containerPath": f"/{name}"}
                for name in ("own", "host", "docker", "kept", "memory")
                # What the image has there is in the volume, or there would be no shell.
            ] + [{"sourceVolume": "filled", "containerPath": "/bin"}],
        )
        reader = shell(
            "reader", "cat /own/file /host/file /docker/file /kept/file /memory/file /given/present;"
            "stat -c %u /memory; grep -c ' /memory tmpfs .*size=1024k' /proc/mounts; touch /given/x; echo x >/own/file; echo y >/ro/file;"
            "ls -d /outer/given | cut -d/ -f3; ls /outer/given | grep present",
            volumesFrom=[{"sourceContainer": "writer", "readOnly": True}], essential=False,
            # The outer one comes first, whatever the order.
            mountPoints=[
                {"sourceVolume": "given", "containerPath": "/outer/given"},
                {"sourceVolume": "own", "containerPath": "/outer"},
                {"sourceVolume": "given", "containerPath": "/given"},
                {"sourceVolume": "docker", "containerPath": "/ro", "readOnly": True},
            ],
            dependsOn=[{"containerName": "writer", "condition": "COMPLETE"}],
        )
        writer["essential"] = False
        main = shell("main", "[ -e /bin/new ]; echo $?", dependsOn=[{"containerName": "reader", "condition": "COMPLETE"}])
        texts = outputs(wharf, wharf.register("volumes", writer, reader, main, volumes=volumes))
        assert texts["reader"].startswith("own\nhost\ndocker\nkept\nmemory\npresent\n1000\n1\n"), texts
        assert texts["main"] == "1\n", "the image itself is as it was"
        assert int(texts["writer"]) > 100, "the image's files are in the new volume"
        assert texts["reader"].count("Read-only file system") == 3, texts
        assert texts["reader"].endswith("given\npresent\n"), texts
        assert (host / "missing/directory/file").read_text() == "host\n"
        # A shared volume outlives its task; the task's own are gone with it.
        again = wharf.register(
            "volumes-again",
            shell("app", "cat /kept/file; ls /own", mountPoints=[
                {"sourceVolume": "kept", "containerPath": "/kept"}, {"sourceVolume": "own", "containerPath": "/own"},
            ]),
            volumes=[volumes[0], {"name": "kept", "dockerVolumeConfiguration": {"scope": "shared"}}],
        )
        assert outputs(wharf, again)["app"] == "kept\n"
        unknown = wharf.register(
            "volumes-unknown", shell("app", "true", mountPoints=[{"sourceVolume": "x", "containerPath": "/x"}]),
            volumes=[{"name": "x", "dockerVolumeConfiguration": {"scope": "shared"}}],
        )
        (container,) = wharf.stopped(wharf.start(unknown))["containers"]
        assert "CannotCreateVolumeError: volume x: there is no shared volume" in container["reason"]
        (shared,) = pathlib.Path(wharf.data_dir).rglob("volumes/shared/kept")
        own = shared.parents[1] / "task"
        eventually("the removal of the tasks' volumes", lambda: not list(own.iterdir()))
    finally:
        shutil.rmtree(host)


def test_what_fargate_has(wharf):
    """Two containers in one network and one process namespace, as sidecars on Fargate are built."""
    subnets = wharf.client("ec2").describe_subnets()["Subnets"]
    network = {"awsvpcConfiguration": {"subnets": [subnets[0]["SubnetId"]]}}
    volume = [{"sourceVolume": "between", "containerPath": "/between"}]
    definition = wharf.register(
        "fargate-sidecar",
        shell("app", "sleep 4711 & touch /between/up; wait $!", mountPoints=volume,
              linuxParameters={"initProcessEnabled": True}),
        shell(
            "sidecar",
            "until [ -e /between/up ]; do sleep 0.05; done; cat /proc/sys/net/core/somaxconn /proc/1/comm;"
            "ls -l /proc/$(pidof sleep)/root/between; grep CapEff /proc/self/status; kill $(pidof sleep)",
            essential=False, mountPoints=volume,
            systemControls=[{"namespace": "net.core.somaxconn", "value": "321"}],
            linuxParameters={"capabilities": {"add": ["SYS_PTRACE"]}},
        ),
        networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256", memory="512",
        pidMode="task", volumes=[{"name": "between"}],
    )
    texts = outputs(wharf, definition, launchType="FARGATE", networkConfiguration=network)
    sidecar = texts["sidecar"]
    assert sidecar.startswith("321\ndocker-init\n"), sidecar
    assert " up\n" in sidecar, "the neighbour's files"
    assert int(value(sidecar, "CapEff"), 16) == 0xA80425FB | 1 << 19
