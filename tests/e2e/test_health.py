"""Health checks, the order that follows from them, and restarts in place, seen from inside the
containers, from the host and by boto3."""

import json
import os
import pathlib
import signal
import time

import pytest
from conftest import eventually

NEEDS_SHELL = True

# A container's clock that all share: seconds since the host came up.
UPTIME = '$(cut -d" " -f1 /proc/uptime)'


@pytest.fixture(scope="module", autouse=True)
def restarted(wharf):
    """A task whose container ends after a minute, the least that a restart policy may ask for:
    started before the other tests, looked at after them."""
    script = (
        "echo run >>/runs; cat /runs; test $(wc -l </runs) = 2 || { sleep 60.2; exit 5; }; "
        "until wget -qO- $ECS_CONTAINER_METADATA_URI_V4; do sleep 0.1; done; echo; sleep 600"
    )
    arn = wharf.start(wharf.register(
        "restarted",
        shell("app", script, portMappings=[{"containerPort": 80}], healthCheck=check("true"),
              restartPolicy={"enabled": True, "ignoredExitCodes": [0], "restartAttemptPeriod": 60}),
    ))
    task = wharf.running(arn)
    return task, wharf.pids(arn)["app"]


def shell(name, script, **members):
    return {
        "name": name, "image": "shell:latest", "memory": 32, "command": ["sh", "-c", script],
    } | members


def check(line, **members):
    return {"command": ["CMD-SHELL", line], "interval": 5, "timeout": 2, "retries": 1} | members


def stays(name, **members):
    """Runs until it is told to stop, and says when it was and when it ended."""
    linger = members.pop("linger", 0)
    script = members.pop("script", ":")
    return shell(
        name,
        f"trap 'echo told {UPTIME}; sleep {linger}; echo ended {UPTIME}; exit 0' TERM; "
        f"echo began {UPTIME}; {script}; sleep 600 & wait",
        **members,
    )


def by_name(task):
    return {container["name"]: container for container in task["containers"]}


def times(wharf, arn, container):
    """What a container said, with the second at which it did."""
    lines = (line.split() for line in wharf.run("logs", arn, container).stdout.splitlines())
    said = ("began", "ready", "told", "ended")
    return {words[0]: float(words[1]) for words in lines if words[:1] and words[0] in said}


def inside(wharf, arn, path, container="app"):
    """A file of a running container, from the host."""
    pid = wharf.pids(arn)[container][0]
    return pathlib.Path(f"/proc/{pid}/root{path}")


def health(wharf, arn):
    task = wharf.task(arn)
    return task["healthStatus"], {n: c["healthStatus"] for n, c in by_name(task).items()}


def test_who_waits_for_healthy_starts_after_it_and_stops_before_it(wharf):
    arn = wharf.start(wharf.register(
        "ordered",
        stays("db", script=f"sleep 1.5; echo ready {UPTIME}; touch /tmp/ready",
              environment=[{"name": "COLOUR", "value": "blue"}],
              # It runs in the container, with the container's environment.
              healthCheck=check('test -f /tmp/ready && echo "$COLOUR sky"')),
        stays("app", linger=0.7, dependsOn=[{"containerName": "db", "condition": "HEALTHY"}],
              script="wget -qO- $ECS_CONTAINER_METADATA_URI_V4/task; echo"),
        stays("side", linger=0.3, essential=False,
              dependsOn=[{"containerName": "app", "condition": "START"}]),
    ))
    # The others wait: the task isn't RUNNING while they do.
    eventually("db runs", lambda: by_name(wharf.task(arn))["db"]["lastStatus"] == "RUNNING")
    assert health(wharf, arn) == ("UNKNOWN", dict.fromkeys(("db", "app", "side"), "UNKNOWN"))
    wharf.running(arn)
    assert health(wharf, arn) == ("HEALTHY", {"db": "HEALTHY", "app": "UNKNOWN", "side": "UNKNOWN"})
    db, app = times(wharf, arn, "db"), times(wharf, arn, "app")
    assert db["began"] + 1.5 <= db["ready"] < app["began"], (db, app)

    (document,) = [line for line in wharf.run("logs", arn, "app").stdout.splitlines() if "{" in line]
    containers = {c["Name"]: c for c in json.loads(document)["Containers"]}
    told = containers["db"]["Health"]
    assert (told["status"], told["exitCode"], told["output"]) == ("HEALTHY", 0, "blue sky\n")
    assert told["statusSince"] and "Health" not in containers["app"]

    wharf.client().stop_task(task=arn)
    wharf.stopped(arn)
    db, app, side = (times(wharf, arn, name) for name in ("db", "app", "side"))
    # The kernel's uptime has two digits.
    assert side["told"] + 0.29 <= side["ended"] <= app["told"], (side, app)
    assert app["told"] + 0.69 <= app["ended"] <= db["told"] <= db["ended"], (app, db)


def test_who_isnt_healthy_in_time_or_at_all(wharf):
    needs = [{"containerName": "db", "condition": "HEALTHY"}]
    late = wharf.start(wharf.register(
        "late",
        stays("db", healthCheck=check("exit 1"), startTimeout=2),
        stays("app", dependsOn=needs),
    ))
    # Whoever isn't part of a service goes on, whatever its health.
    ill = wharf.start(wharf.register(
        "ill",
        stays("app", healthCheck=check("echo no; exit 3")),
        stays("slow", healthCheck=check("sleep 60"), essential=False),
    ))
    stopped = wharf.stopped(late)
    app = by_name(stopped)["app"]
    assert app["exitCode"] == 143
    assert app["reason"] == (
        "TaskDependencyError: dependency db has timed out: it was not HEALTHY within 2 seconds"
    )
    assert wharf.run("logs", late, "app").stdout == ""
    both = {"app": "UNHEALTHY", "slow": "UNHEALTHY"}
    eventually("unhealthy", lambda: health(wharf, ill) == ("UNHEALTHY", both), timeout=20)
    assert wharf.task(ill)["lastStatus"] == "RUNNING"
    wharf.client().stop_task(task=ill)

    with pytest.raises(wharf.client().exceptions.ClientException) as refused:
        wharf.register("no-check", stays("db"), stays("app", dependsOn=needs))
    assert "A dependency container with HEALTHY condition must have a health check" in str(refused)


def test_a_service_replaces_what_is_unhealthy_and_updates_to_what_is_healthy(wharf):
    client = wharf.client()
    app = stays("app", script="touch /tmp/well", healthCheck=check("test -f /tmp/well"))
    client.create_service(
        serviceName="web", taskDefinition=wharf.register("web", app), desiredCount=1,
    )
    wharf.wait("services_stable", services=["web"])
    (first,) = wharf.tasks("web")
    assert first["healthStatus"] == "HEALTHY"
    inside(wharf, first["taskArn"], "/tmp/well").unlink()
    stopped = wharf.stopped(first["taskArn"])
    assert stopped["stopCode"] == "ServiceSchedulerInitiated"
    assert stopped["stoppedReason"] == "Task failed container health checks"
    wharf.wait("services_stable", services=["web"])
    (second,) = wharf.tasks("web")
    assert second["taskArn"] != first["taskArn"] and second["healthStatus"] == "HEALTHY"
    said = [event["message"] for event in wharf.service("web")["events"]]
    assert f"(service web) (task {first['taskArn'].split('/')[-1]}) failed container health checks." in said

    # The next revision runs, and isn't healthy before it is told so.
    app = stays("app", healthCheck=check("test -f /tmp/well", startPeriod=120))
    client.update_service(service="web", taskDefinition=wharf.register("web", app))

    def third():
        new = [t for t in wharf.tasks("web") if t["taskArn"] != second["taskArn"]]
        return new[0] if new and new[0]["lastStatus"] == "RUNNING" else None

    arn = eventually("the new task runs", third)["taskArn"]
    # Longer than what a task without a check would take to be trusted.
    deadline = time.monotonic() + 4
    while time.monotonic() < deadline:
        assert wharf.task(second["taskArn"])["desiredStatus"] == "RUNNING"
        assert wharf.task(arn)["healthStatus"] == "UNKNOWN"
        assert len(wharf.service("web")["deployments"]) == 2
    inside(wharf, arn, "/tmp/well").touch()
    wharf.stopped(second["taskArn"])
    wharf.wait("services_stable", services=["web"])
    assert [t["taskArn"] for t in wharf.tasks("web")] == [arn]
    assert wharf.task(arn)["healthStatus"] == "HEALTHY"
    client.delete_service(service="web", force=True)
    wharf.stopped(arn)


def test_a_container_is_started_again_in_the_same_task(wharf, restarted):
    before, pids = restarted
    arn = before["taskArn"]

    def output():
        return wharf.run("logs", arn).stdout

    # An agent that is killed knows again what was known, before it has checked anything.
    os.kill(wharf.status()["agent"]["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        assert wharf.task(arn)["healthStatus"] == "HEALTHY"

    # The second run has what the first one wrote; it ends with its metadata.
    text = eventually("the second run", lambda: "RestartCount" in output() and output(), timeout=90)
    *runs, document = text.split("\n")[:4]
    assert runs == ["run", "run", "run"]
    document = json.loads(document)
    assert (document["RestartCount"], document["KnownStatus"]) == (1, "RUNNING")
    assert not set(pids) & set(wharf.pids(arn)["app"])
    eventually("healthy again", lambda: wharf.task(arn)["healthStatus"] == "HEALTHY")
    after = wharf.task(arn)
    assert after["lastStatus"] == after["desiredStatus"] == "RUNNING"
    assert after["startedAt"] == before["startedAt"]
    for member in ("runtimeId", "networkBindings"):
        assert by_name(after)["app"][member] == by_name(before)["app"][member]
    assert "exitCode" not in by_name(after)["app"]
    # Its second end comes too early to be answered.
    (pid, *_) = wharf.pids(arn)["app"]
    os.kill(pid, signal.SIGKILL)
    stopped = wharf.stopped(arn)
    assert stopped["stopCode"] == "EssentialContainerExited"
    assert by_name(stopped)["app"]["exitCode"] == 137
