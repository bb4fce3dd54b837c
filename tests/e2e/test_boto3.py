"""Services as boto3 sees them: waiters, rolling updates under traffic, scaling, replacement."""

import contextlib
import os
import signal
import threading
import urllib.error

import pytest
from conftest import eventually, get, host_ports


def app(version, **members):
    return {
        "name": "app", "image": "hello:latest", "command": ["app"], "memory": 64, "cpu": 16,
        "portMappings": [{"containerPort": 8080, "hostPort": 0}],
        "environment": [{"name": "VERSION", "value": str(version)}],
    } | members


SIDECAR = {
    "name": "sidecar", "image": "hello:latest", "command": ["sidecar"], "memory": 32,
    "essential": False,
}


@contextlib.contextmanager
def service(wharf, name, definition, count, **arguments):
    """A service that is stable; deleted with force at the end."""
    wharf.client().create_service(
        serviceName=name, taskDefinition=definition, desiredCount=count, **arguments
    )
    try:
        yield
    finally:
        wharf.client().delete_service(service=name, force=True)
        wharf.wait("services_inactive", services=[name])


def messages(wharf, name):
    return [event["message"] for event in wharf.service(name)["events"]]


class Traffic(threading.Thread):
    """Requests every task that DescribeTasks reports RUNNING and that isn't to stop, until told to
    end. A task that was told to stop between the report and the request is no failure."""

    def __init__(self, wharf, name):
        super().__init__(daemon=True)
        self.wharf, self.name = wharf, name
        self.ended = threading.Event()
        self.answers, self.refused, self.broken = [], [], None

    def run(self):
        try:
            while not self.ended.is_set():
                for task in self.wharf.tasks(self.name):
                    if self.serves(task):
                        self.request(task)
        except Exception as error:  # noqa: BLE001
            self.broken = error

    @staticmethod
    def serves(task):
        return task["lastStatus"] == "RUNNING" and task["desiredStatus"] == "RUNNING"

    def request(self, task):
        try:
            self.answers.append(get(*host_ports(task)))
        except (OSError, urllib.error.URLError) as error:
            if self.serves(self.wharf.task(task["taskArn"])):
                self.refused.append((task["taskArn"], error))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.join(30)


def test_a_rolling_update_refuses_no_request(wharf):
    first = wharf.register("rolling", app(1), SIDECAR)
    with service(wharf, "rolling", first, 3):
        wharf.wait("services_stable", services=["rolling"])
        assert len({get(*host_ports(task)) for task in wharf.tasks("rolling")}) == 3
        second = wharf.register("rolling", app(2), SIDECAR)
        with Traffic(wharf, "rolling") as traffic:
            eventually("traffic", lambda: len(traffic.answers) > 20)
            wharf.client().update_service(service="rolling", taskDefinition=second)
            assert len(wharf.service("rolling")["deployments"]) == 2
            wharf.wait("services_stable", services=["rolling"])
            after = len(traffic.answers)
            eventually("more traffic", lambda: len(traffic.answers) > after + 20)
        assert traffic.broken is None
        assert traffic.refused == []
        assert all("version 1" in answer for answer in traffic.answers[:20])
        assert all("version 2" in answer for answer in traffic.answers[-10:])
        (deployment,) = wharf.service("rolling")["deployments"]
        assert deployment["taskDefinition"] == second
        assert deployment["rolloutState"] == "COMPLETED"
        assert {t["taskDefinitionArn"] for t in wharf.tasks("rolling")} == {second}
        for count in (6, 1):
            wharf.client().update_service(service="rolling", desiredCount=count)
            wharf.wait("services_stable", services=["rolling"])
            assert len(wharf.tasks("rolling")) == count
    gone = wharf.service("rolling")
    assert (gone["status"], gone["desiredCount"], gone["runningCount"]) == ("INACTIVE", 0, 0)
    assert eventually("no task", lambda: not wharf.tasks("rolling"), timeout=30)


def test_a_killed_container_is_replaced(wharf):
    definition = wharf.register("killed", app(1), SIDECAR)
    with service(wharf, "killed", definition, 1):
        wharf.wait("services_stable", services=["killed"])
        (task,) = wharf.tasks("killed")
        (pid, *_) = wharf.pids(task["taskArn"])["app"]
        os.kill(pid, signal.SIGKILL)
        stopped = wharf.stopped(task["taskArn"])
        assert stopped["stoppedReason"] == "Essential container in task exited"
        assert stopped["stopCode"] == "EssentialContainerExited"
        codes = {c["name"]: c.get("exitCode") for c in stopped["containers"]}
        assert codes == {"app": 137, "sidecar": 0}
        eventually(
            "a replacement",
            lambda: [t["lastStatus"] for t in wharf.tasks("killed")] == ["RUNNING"],
        )
        (replacement,) = wharf.tasks("killed")
        assert "hello from" in get(*host_ports(replacement))
        new = replacement["taskArn"].rsplit("/", 1)[1]
        eventually(
            "the event",
            lambda: f"(service killed) has started 1 tasks: (task {new})."
            in messages(wharf, "killed"),
        )
        eventually(
            "the steady state",
            lambda: messages(wharf, "killed")[0] == "(service killed) has reached a steady state.",
        )


@pytest.mark.parametrize(
    "broken",
    [{"image": "127.0.0.1:1/nothing:here"}, {"image": "shell:latest", "command": ["false"]}],
    ids=["no-such-image", "exits-1"],
)
def test_the_circuit_breaker_rolls_back(wharf, broken):
    wharf.build_shell()
    good = wharf.register("breaker", app(1))
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
    with service(wharf, "breaker", good, 1, deploymentConfiguration=breaker):
        wharf.wait("services_stable", services=["breaker"])
        (before,) = wharf.tasks("breaker")
        bad = wharf.register("breaker", app(2, **broken))
        wharf.client().update_service(service="breaker", taskDefinition=bad)

        def rolled_back():
            found = wharf.service("breaker")["deployments"]
            return found[0]["taskDefinition"] == good and found[0]["rolloutState"] == "COMPLETED"

        eventually("the rollback", rolled_back, timeout=60, interval=0.5)
        assert [t["taskArn"] for t in wharf.tasks("breaker")] == [before["taskArn"]]
        assert any("rolling back to deployment" in m for m in messages(wharf, "breaker"))
        assert any(
            m.endswith("deployment failed: tasks failed to start.")
            for m in messages(wharf, "breaker")
        ), messages(wharf, "breaker")
        assert "hello from" in get(*host_ports(before))
