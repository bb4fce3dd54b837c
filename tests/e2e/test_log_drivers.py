"""Log drivers, each with a receiver that is really there, or really is not."""

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import sys
import time

import botocore.exceptions
import msgpack
import pytest

from conftest import eventually, free_port
from log_receivers import Datagrams, Forward, Lines, listen

NEEDS_SHELL = True

HOSTNAME = os.uname().nodename
LINES = [str(n) for n in range(1, 101)]
JOURNALD = pathlib.Path("/run/systemd/journal/socket")


def container(name, script, driver=None, **options):
    definition = {
        "name": name, "image": "shell", "memory": 32, "essential": False,
        "command": ["sh", "-c", script],
    }
    if driver:
        options = {option.replace("_", "-"): value for option, value in options.items()}
        definition["logConfiguration"] = {"logDriver": driver, "options": options}
    return definition


def after(*containers):
    """The containers, and one that ends the task when they have ended."""
    depends = [{"containerName": c["name"], "condition": "COMPLETE"} for c in containers]
    return *containers, container("end", "true") | {"essential": True, "dependsOn": depends}


@contextlib.contextmanager
def journald():
    """A journald at the host's usual place, if there is none."""
    if JOURNALD.exists():
        pytest.skip("this host has a journald, which the test would take over")
    made = [p for p in (JOURNALD.parent.parent, JOURNALD.parent) if not p.exists()]
    JOURNALD.parent.mkdir(parents=True, exist_ok=True)
    try:
        with Datagrams(JOURNALD) as receiver:
            yield receiver
    finally:
        JOURNALD.unlink(missing_ok=True)
        for path in reversed(made):
            path.rmdir()


def test_each_driver_says_exactly_what_was_written(wharf, tmp_path):
    script = "seq 1 100; sleep 0.3; echo bad >&2"
    unix = tmp_path / "f.sock"
    with (Datagrams() as udp, Lines(listen()) as tcp, Lines(listen(tmp_path / "s.sock")) as stream,
          Forward(listen()) as acked, Forward(listen(unix)) as plain):
        definition = wharf.register("drivers", *after(
            container("udp", script, "syslog", syslog_address=f"udp://{udp.address}",
                      syslog_format="rfc3164", syslog_facility="local3", tag="{{.ImageName}}/x"),
            container("tcp", script, "syslog", syslog_address=f"tcp://{tcp.address}",
                      syslog_format="rfc5424", tag="{{.Name}}"),
            container("stream", script, "syslog", syslog_address=f"unix://{stream.address}",
                      syslog_format="rfc5424micro"),
            container("acked", script, "fluentd", fluentd_address=acked.address,
                      fluentd_request_ack="true", fluentd_sub_second_precision="true",
                      tag="app.{{.ID}}", labels="team,com.amazonaws.ecs.container-name",
                      env_regex="^STAGE$")
            | {"dockerLabels": {"team": "blue"}, "environment": [{"name": "STAGE", "value": "t"}]},
            container("plain", script + "; head -c 40000 /dev/zero | tr '\\0' x; echo", "fluentd",
                      fluentd_address=f"unix://{unix}"),
            container("files", script, "json-file", env="STAGE")
            | {"environment": [{"name": "STAGE", "value": "t"}]},
            container("local", "for n in $(seq 1 60); do echo $n; sleep 0.01; done", "local",
                      max_size="1k", max_file="3", mode="non-blocking"),
            container("quiet", script, "none"),
        ))
        task = wharf.stopped(wharf.start(definition))
        ids = {c["name"]: c["runtimeId"] for c in task["containers"]}
        for receiver in (udp, tcp, stream, acked, plain):
            eventually("every line", lambda r=receiver: len(r.messages) >= 101)

        stamp = r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d"
        found = [re.fullmatch(rf"<(\d+)>{stamp} {HOSTNAME} shell/x\[\d+\]: (.*)", m) for m in udp.messages]
        assert [(m[1], m[2]) for m in found] == [("158", n) for n in LINES] + [("155", "bad")]
        name = rf"(ecs-drivers-\d+-tcp-[0-9a-f]+)"
        when = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:Z|[+-]\d\d:\d\d)"
        found = [re.fullmatch(rf"<(\d+)>1 {when} {HOSTNAME} {name} \d+ \2 - (.*)", m) for m in tcp.messages]
        assert [(m[1], m[3]) for m in found] == [("30", n) for n in LINES] + [("27", "bad")]
        short = ids["stream"][:12]
        found = [re.search(rf"\.\d{{6}}\S+ {HOSTNAME} {short} \d+ {short} - (.*)", m)[1] for m in stream.messages]
        assert found == [*LINES, "bad"]

        assert acked.lines() == [*LINES, "bad"]
        tag, at, record, option = acked.messages[-1]
        assert tag == f"app.{ids['acked'][:12]}"
        seconds, nanoseconds = (int.from_bytes(at.data[i:i + 4]) for i in (0, 4))
        assert abs(seconds - time.time()) < 60 and nanoseconds < 1e9
        assert record.pop("container_name").startswith("/ecs-drivers-")
        assert record == {
            "container_id": ids["acked"], "source": "stderr", "log": "bad", "team": "blue",
            "com.amazonaws.ecs.container-name": "acked", "STAGE": "t",
        }
        assert plain.lines()[:100] == LINES
        pieces = [m[2] for m in plain.messages if "partial_message" in m[2]]
        assert "".join(p["log"] for p in pieces) == "x" * 40000
        assert [(p["partial_ordinal"], p["partial_last"]) for p in pieces] == [
            ("1", "false"), ("2", "false"), ("3", "true")]
        assert len({p["partial_id"] for p in pieces}) == 1 and isinstance(plain.messages[0][1], int)

    # What lies on the host.
    logs = {p.name: p for p in pathlib.Path(wharf.data_dir).rglob("*.log") if task_id(task) in str(p)}
    written = {name: [json.loads(line) for line in path.read_text().splitlines()]
               for name, path in logs.items()}
    assert [line["log"] for line in written["files.log"]] == [f"{n}\n" for n in [*LINES, "bad"]]
    assert written["files.log"][0]["attrs"] == {"STAGE": "t"} and "attrs" not in written["udp.log"][0]
    # Compressed once full, three files at most, and read as one.
    beside = {p.name for p in logs["local.log"].parent.glob("local.*")}
    assert beside == {"local.log", "local.log.1.gz", "local.log.2.gz"}
    kept = wharf.run("logs", task["taskArn"], "local").stdout.splitlines()
    assert 15 < len(kept) < 40 and kept == [str(n) for n in range(61 - len(kept), 61)]
    assert "quiet.log" not in logs
    refused = wharf.run("logs", task["taskArn"], "quiet", check=False)
    assert refused.returncode != 0 and "log driver none" in refused.stderr
    everything = wharf.run("logs", task["taskArn"])
    assert "files | bad" in everything.stderr and "container quiet has" in everything.stderr


def task_id(task):
    return task["taskArn"].rsplit("/", 1)[1]


def test_journald_gets_fields(wharf):
    with journald() as receiver:
        definition = wharf.register("journal", container(
            "app", "seq 1 3; echo bad >&2", "journald", tag="shop/{{.ID}}", labels="my-team",
        ) | {"dockerLabels": {"my-team": "blue"}, "essential": True})
        task = wharf.stopped(wharf.start(definition))
        app = next(c for c in task["containers"] if c["name"] == "app")
        eventually("every line", lambda: len(receiver.messages) >= 4)
        entries = [dict(f.split("=", 1) for f in m.splitlines()) for m in receiver.messages]
        assert sorted((e["MESSAGE"], e["PRIORITY"]) for e in entries) == [
            ("1", "6"), ("2", "6"), ("3", "6"), ("bad", "3")]
        assert [e["MESSAGE"] for e in entries if e["PRIORITY"] == "6"] == ["1", "2", "3"]
        assert entries[0]["CONTAINER_TAG"] == f"shop/{app['runtimeId'][:12]}"
        assert entries[0]["CONTAINER_ID_FULL"] == app["runtimeId"]
        assert entries[0]["MY_TEAM"] == "blue" and entries[0]["IMAGE_NAME"] == "shell"
    # The same without one.
    reason = wharf.stopped(wharf.start(definition))
    texts = [c.get("reason", "") for c in reason["containers"]]
    assert any("failed to initialize logging driver: journald is not enabled on this host" in t
               for t in texts), texts


def test_a_receiver_that_is_not_there(wharf):
    port = free_port()
    task = wharf.stopped(wharf.start(wharf.register("refused", container(
        "app", "echo never", "syslog", syslog_address=f"tcp://127.0.0.1:{port}",
    ) | {"essential": True})))
    reason = task["containers"][0]["reason"]
    assert reason.startswith("CannotStartContainerError: Error response from daemon: failed to "
                             "initialize logging driver"), reason
    assert f"dial tcp 127.0.0.1:{port}: connect: connection refused" in reason

    # Without waiting for one, the task isn't held up; the lines come when somebody takes them.
    began = time.monotonic()
    task = wharf.stopped(wharf.start(wharf.register("async", container(
        "app", "seq 1 100", "fluentd", fluentd_address=f"127.0.0.1:{port}", fluentd_async="true",
        mode="non-blocking",
    ) | {"essential": True})))
    assert task["containers"][0]["exitCode"] == 0
    assert time.monotonic() - began < 30
    with Forward(listen(port)) as receiver:
        eventually("every line", lambda: len(receiver.messages) >= 100)
        assert receiver.lines() == LINES


def test_a_receiver_that_takes_nothing_holds_who_is_blocking(wharf):
    count = 70_000
    script = f"yes {'x' * 990} | head -n {count} | cat -n"
    with Forward(listen()) as receiver:
        receiver.takes.clear()
        options = {"fluentd_address": receiver.address}
        definition = wharf.register("slow", *after(
            container("held", script, "fluentd", mode="blocking", tag="held", **options),
            container("free", script, "fluentd", mode="non-blocking", tag="free", **options),
        ))
        arn = wharf.start(definition)

        def status(name):
            containers = {c["name"]: c for c in wharf.task(arn)["containers"]}
            return containers[name]["lastStatus"]
        eventually("the free one's end", lambda: status("free") == "STOPPED")

        def size():
            return sum(p.stat().st_size for p in pathlib.Path(wharf.data_dir).rglob("held.log*"))
        eventually("a full buffer", lambda: (size(), time.sleep(0.5))[0] == size() > 50 << 20)
        assert status("held") == "RUNNING"
        receiver.takes.set()
        wharf.stopped(arn)
        numbers = {"held": [], "free": []}
        eventually("every line", interval=0.5, condition=lambda: sum(
            message[0] == "held" for message in list(receiver.messages)) >= count)
        for message in receiver.messages:
            numbers[message[0]].append(int(message[2]["log"].split()[0]))
        assert numbers["held"] == list(range(1, count + 1))
        # In order, but for what the buffer had no place for.
        assert numbers["free"] == sorted(set(numbers["free"]))


def test_kill_9_of_the_agent_loses_no_line(wharf):
    script = "for i in $(seq 1 60); do for n in $(seq 1 10); do echo $i-$n; done; sleep 0.05; done"
    with Forward(listen()) as forward, Lines(listen()) as lines:
        arn = wharf.start(wharf.register("killed", *after(
            container("forward", script, "fluentd", fluentd_address=forward.address,
                      fluentd_request_ack="true"),
            container("syslog", script, "syslog", syslog_address=f"tcp://{lines.address}"),
        )))
        eventually("some lines", lambda: len(forward.messages) > 20, interval=0.02)
        for _ in range(3):
            status = eventually("an agent", lambda: (s := wharf.status())["agent"].get("pid") and s)
            os.kill(status["agent"]["pid"], signal.SIGKILL)
            time.sleep(0.3)
        wharf.stopped(arn)
        expected = [f"{i}-{n}" for i in range(1, 61) for n in range(1, 11)]
        eventually("the end", lambda: expected[-1] in forward.lines())
        assert forward.lines() == expected
        # What has no acknowledgement may come twice if the kill came between two instructions.
        eventually("the end", lambda: any(m.endswith(expected[-1]) for m in lines.messages))
        found = [message.rsplit(": ", 1)[1] for message in lines.messages]
        assert list(dict.fromkeys(found)) == expected
        assert len(found) <= len(expected) + 3


def test_what_no_driver_can_do_is_refused(wharf):
    def refused(driver, *more, requires=None, **options):
        fargate = {"requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc", "cpu": "256", "memory": "512"}
        with pytest.raises(botocore.exceptions.ClientError) as error:
            app = container("app", "true", driver, **options) | {"essential": True}
            wharf.register("refused", app, *more, **(fargate if requires else {}))
        return error.value.response["Error"]["Message"]
    assert "logConfiguration.logDriver gelf" in refused("gelf")
    assert refused("syslog", foo="1") == "Log driver syslog disallows options: foo"
    assert refused("syslog", syslog_facility="x") == "Log driver syslog: invalid syslog facility"
    assert "can't evaluate field Foo" in refused("fluentd", tag="{{.Foo}}")
    assert "options.tag" in refused("json-file", tag="x")
    assert "max-file is less than 2" in refused("json-file", compress="true")
    assert "when max file count is 1" in refused("local", max_file="1")
    assert refused("none", mode="blocking") == "Log driver none disallows options: mode"
    assert "logDriver other than" in refused("local", requires="FARGATE")
    assert "a firelens configuration object must be configured" in refused("awsfirelens", Name="null")
    router = container("router", "true") | {"firelensConfiguration": {"type": "fluentbit"}}
    assert "at least one container has to be configured" in refused("json-file", router)


def router(out, **options):
    """A container that routes logs: this very interpreter, from the host."""
    package = pathlib.Path(msgpack.__file__).parents[1]
    here = pathlib.Path(__file__).parent
    shared = ["/lib", "/lib64", "/usr", sys.base_prefix, str(package), str(here)]
    paths = [p for p in dict.fromkeys(shared)
             if not any(p != q and pathlib.Path(q) in pathlib.Path(p).parents for q in shared)]
    volumes = [{"name": f"v{n}", "host": {"sourcePath": p}} for n, p in enumerate(paths)]
    mounts = [{"sourceVolume": f"v{n}", "containerPath": p, "readOnly": True}
              for n, p in enumerate(paths)]
    volumes.append({"name": "out", "host": {"sourcePath": str(out)}})
    mounts.append({"sourceVolume": "out", "containerPath": "/out"})
    return volumes, {
        "name": "log_router", "image": "shell", "memory": 64, "essential": True, "mountPoints": mounts,
        "firelensConfiguration": {"type": "fluentbit", "options": options},
        "environment": [{"name": "PYTHONPATH", "value": str(package)}],
        "entryPoint": [os.path.realpath(sys.executable), "-B"],
        "command": [str(here / "log_router.py")],
    }


@pytest.mark.parametrize("mode", ["bridge", "awsvpc"])
def test_a_router_takes_the_others_lines(wharf, tmp_path, mode):
    volumes, log_router = router(tmp_path, **{"enable-ecs-log-metadata": "true"})
    # It ends a second after the router was asked to, if the order were another.
    app = container(
        "app", "echo $FLUENT_HOST:$FLUENT_PORT; seq 1 100; trap 'echo last; exit 0' TERM; "
        "while :; do sleep 0.1; done", "awsfirelens", Name="stdout", **{"log-driver-buffer-limit": "100"},
    )
    other = container("other", "echo other", "awsfirelens", Name="null")
    definition = wharf.register(
        f"routed-{mode}", app | {"essential": True}, other, log_router, volumes=volumes, networkMode=mode)
    network = {}
    if mode == "awsvpc":
        subnet = wharf.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
        network = {"networkConfiguration": {"awsvpcConfiguration": {"subnets": [subnet]}}}
    arn = wharf.start(definition, **network)
    wharf.running(arn)

    def routed():
        text = (tmp_path / "routed").read_text() if (tmp_path / "routed").exists() else ""
        return [json.loads(line) for line in text.splitlines()]
    eventually("the lines", lambda: len([e for e in routed() if "record" in e]) >= 102)
    wharf.client().stop_task(task=arn)
    task = wharf.stopped(arn)
    first, *entries = routed()
    address = {"bridge": "0.0.0.0", "awsvpc": "127.0.0.1"}[mode]
    assert f"    Listen {address}\n    Port 24224\n" in first["config"]
    assert "log-driver-buffer-limit" not in first["config"]
    # Everything that was written before the router was asked to stop went through it.
    assert entries[-1] == {"stopped": True}
    lines = [e for e in entries[:-1] if e["tag"].startswith("app-")]
    host = "127.0.0.1" if mode == "awsvpc" else lines[0]["record"]["log"].split(":")[0]
    assert [e["record"]["log"] for e in lines] == [f"{host}:24224", *LINES, "last"]
    socket.inet_aton(host)
    assert {e["tag"] for e in entries[:-1]} == {f"{name}-firelens-{task_id(task)}" for name in ("app", "other")}
    assert lines[0]["output"] == {"Name": "stdout", "Match": "app-firelens*"}
    record = lines[0]["record"]
    assert (record["ecs_cluster"], record["ecs_task_arn"]) == ("default", arn)
    assert record["ecs_task_definition"] == f"routed-{mode}:1" and record["source"] == "stdout"
    left = f"**/firelens/{task_id(task)}"
    eventually("nothing left", lambda: not any(pathlib.Path(wharf.data_dir).glob(left)))
