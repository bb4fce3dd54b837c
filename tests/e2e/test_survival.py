"""kill -9 of wharf's own processes while tasks run; two wharfs side by side; nothing left behind."""

import json
import os
import pathlib
import signal
import subprocess

import pytest
from conftest import CGROUPS, Wharf, eventually, get, host_ports

CONTAINER = {
    "name": "app", "image": "hello:latest", "command": ["app"], "memory": 32,
    "portMappings": [{"containerPort": 8080, "hostPort": 0}],
}


def kill(wharf, *names):
    """kill -9, of the supervisor first, so that it starts nothing again."""
    status = wharf.status()
    for name in sorted(names, key=lambda n: n != "supervisor"):
        os.kill(status[name]["pid"], signal.SIGKILL)
    for name in names:
        eventually(f"the end of {name}", lambda: not is_alive(status[name]["pid"]))
    return status


def is_alive(pid):
    try:
        return " Z" not in pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1][:2]
    except (FileNotFoundError, ProcessLookupError):
        return False


def all_pids(wharf, service):
    return {t["taskArn"]: wharf.pids(t["taskArn"])["app"] for t in wharf.tasks(service)}


@pytest.mark.parametrize(
    "victims",
    [["server"], ["agent"], ["supervisor"], ["supervisor", "server", "balancer", "agent"]],
    ids="+".join,
)
def test_tasks_outlive_wharfs_processes(wharf, victims):
    name = "-".join(victims)
    definition = wharf.register(name, CONTAINER)
    wharf.client().create_service(serviceName=name, taskDefinition=definition, desiredCount=2)
    wharf.wait("services_stable", services=[name])
    before = all_pids(wharf, name)
    assert len(before) == 2 and all(before.values())
    killed = kill(wharf, *victims)
    wharf.up()
    status = eventually(
        "all processes", lambda: len(wharf.status()) == 4 and wharf.status(), timeout=30
    )
    assert all(status[v]["pid"] != killed[v]["pid"] for v in victims)
    assert all_pids(wharf, name) == before
    wharf.client().update_service(service=name, desiredCount=3)
    wharf.wait("services_stable", services=[name])
    after = all_pids(wharf, name)
    assert len(after) == 3 and before.items() <= after.items()
    # What the containers do is still noticed, by those processes that came later.
    arn, (pid, *_) = next(iter(before.items()))
    os.kill(pid, signal.SIGKILL)
    assert wharf.stopped(arn)["containers"][0]["exitCode"] == 137
    wharf.client().delete_service(service=name, force=True)
    eventually("no task", lambda: not wharf.tasks(name), timeout=30)


def test_a_deployment_ends_although_all_is_killed_in_its_middle(wharf):
    first = wharf.register("middle", CONTAINER)
    second = wharf.register("middle", CONTAINER | {"cpu": 2})
    client = wharf.client()
    client.create_service(serviceName="middle", taskDefinition=first, desiredCount=6)
    wharf.wait("services_stable", services=["middle"])
    client.update_service(service="middle", taskDefinition=second)
    eventually(
        "a first task of the new revision",
        lambda: any(
            t["taskDefinitionArn"] == second and t["lastStatus"] == "RUNNING"
            for t in wharf.tasks("middle")
        ),
        interval=0.02,
    )
    kill(wharf, "supervisor", "server", "balancer", "agent")
    wharf.up()
    wharf.wait("services_stable", services=["middle"])
    tasks = wharf.tasks("middle")
    assert {t["taskDefinitionArn"] for t in tasks} == {second} and len(tasks) == 6
    assert all("hello from" in get(*host_ports(task)) for task in tasks)
    client.delete_service(service="middle", force=True)
    eventually("no task", lambda: not wharf.tasks("middle"), timeout=30)


def test_an_exit_while_nobody_looks_is_reported_later(wharf):
    definition = wharf.register("unseen", CONTAINER)
    arn = wharf.start(definition)
    wharf.running(arn)
    (pid, *_) = wharf.pids(arn)["app"]
    kill(wharf, "supervisor", "server", "balancer", "agent")
    os.kill(pid, signal.SIGKILL)
    eventually("its end", lambda: not is_alive(pid))
    wharf.up()
    task = wharf.stopped(arn)
    assert task["stoppedReason"] == "Essential container in task exited"
    assert task["containers"][0]["exitCode"] == 137


def left_on_host(wharf, links=(), pids=()):
    """All that carries this wharf's name, and those of `links` and `pids` that still exist."""
    mounts = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
    tables = subprocess.check_output(["nft", "list", "tables"], text=True).splitlines()
    bridges = {f"wb-{wharf.instance}", f"wv-{wharf.instance}"}
    found = json.loads(subprocess.check_output(["ip", "-json", "link", "show"], text=True))
    return {
        "mounts": [m for m in mounts if wharf.data_dir in m or f"/run/wharf/{wharf.instance}" in m],
        "tables": [t for t in tables if wharf.instance in t],
        "links": [
            link["ifname"] for link in found
            if link["ifname"] in bridges | set(links) or link.get("master") in bridges
        ],
        "cgroups": [str(p) for p in CGROUPS.parent.glob(f"*/wharf-{wharf.instance}")],
        "run": [str(p) for p in pathlib.Path("/run/wharf").glob(f"{wharf.instance}*")],
        "processes": sorted({*processes_of(wharf), *filter(is_alive, pids)}),
    }


def processes_of(wharf):
    """Processes that name the data directory, or lie in this wharf's cgroups."""
    for directory in pathlib.Path("/proc").iterdir():
        if not directory.name.isdigit() or int(directory.name) == os.getpid():
            continue
        try:
            line = (directory / "cmdline").read_bytes() + (directory / "cgroup").read_bytes()
        except OSError:
            continue
        if wharf.data_dir.encode() in line or f"wharf-{wharf.instance}".encode() in line:
            yield int(directory.name)


def test_two_wharfs_share_a_host_and_nothing_is_left_of_one(wharf):
    other = Wharf()
    try:
        for each in (wharf, other):
            definition = each.register("neighbours", CONTAINER, networkMode="bridge")
            each.client().create_service(
                serviceName="neighbours", taskDefinition=definition, desiredCount=2
            )
        for each in (wharf, other):
            each.wait("services_stable", services=["neighbours"])
        ports = [p for each in (wharf, other) for t in each.tasks("neighbours") for p in host_ports(t)]
        assert len(set(ports)) == 4
        assert all("hello from" in get(port) for port in ports)
        assert not {t["taskArn"] for t in wharf.tasks("neighbours")} & {
            t["taskArn"] for t in other.tasks("neighbours")
        }
        definition = other.register("vpc", CONTAINER | {
            "portMappings": [{"containerPort": 8080}]
        }, networkMode="awsvpc")
        subnet = other.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
        other.running(other.start(definition, networkConfiguration={
            "awsvpcConfiguration": {"subnets": [subnet]}
        }))
        there = left_on_host(other)
        # Mounts lie in each task's own mount namespace; all else must be seen, or the test is blind.
        assert all(found for what, found in there.items() if what != "mounts"), there
        assert other.run("down", "--tasks").returncode == 0
        left = eventually(
            "the end of all processes",
            lambda: (l := left_on_host(other, there["links"], there["processes"]))
            and not l["processes"] and l,
            timeout=10,
        )
        assert not any(left.values()), left
        mine = [p for t in wharf.tasks("neighbours") for p in host_ports(t)]
        assert all("hello from" in get(port) for port in mine)
    finally:
        other.down()
