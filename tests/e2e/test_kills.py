"""kill -9 of all of wharf's own processes in the middle of a 20-task deployment, each time at another
moment: nothing acknowledged is lost, what ran runs on with the same PIDs, the deployment ends.

Three times by default, 20 times with WHARF_SOAK=1; the figures are printed."""

import os
import pathlib
import signal
import threading
import time

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from conftest import CGROUPS, eventually, get, host_ports

KILLS = 20 if os.environ.get("WHARF_SOAK") else 3
TASKS = 20
CONTAINER = {
    "name": "app", "image": "hello:latest", "command": ["app"], "cpu": 1, "memory": 16,
    "portMappings": [{"containerPort": 8080, "hostPort": 0}],
}
PROCESSES = ("supervisor", "server", "balancer", "agent")


def revision(wharf, number):
    return wharf.register("kills", CONTAINER | {
        "environment": [{"name": "REVISION", "value": str(number)}],
    })


class Writer(threading.Thread):
    """Writes one thing after the other until it is no longer answered, and remembers what was
    acknowledged."""

    def __init__(self, wharf, kill):
        super().__init__()
        # What isn't answered isn't tried again: it may have been done or not.
        self.client = wharf.new_client("ecs", config=Config(retries={"max_attempts": 0}))
        self.kill = kill
        self.families, self.clusters, self.tags, self.tasks = [], [], {}, []
        self.service = wharf.service("kills")["serviceArn"]
        self.begun = threading.Event()

    def run(self):
        number = 0
        while True:
            try:
                self.write(number)
            except (BotoCoreError, ClientError):
                return
            self.begun.set()
            number += 1

    def write(self, number):
        name, kind = f"kill-{self.kill}-{number}", number % 4
        if kind == 0:
            answer = self.client.register_task_definition(
                family=name, containerDefinitions=[CONTAINER]
            )
            self.families.append(answer["taskDefinition"]["taskDefinitionArn"])
        elif kind == 1:
            self.clusters.append(
                self.client.create_cluster(clusterName=name)["cluster"]["clusterArn"]
            )
        elif kind == 2:
            key = f"k{number % 40}"
            value = f"{self.kill}-{number}"
            self.client.tag_resource(
                resourceArn=self.service, tags=[{"key": key, "value": value}]
            )
            self.tags[key] = value
        elif len(self.tasks) < 4:
            run = self.client.run_task(taskDefinition="kills-alone", startedBy=name)
            self.tasks += [task["taskArn"] for task in run["tasks"]]

    def check(self, wharf):
        """All of it is there; how much that is."""
        client = wharf.client()
        for arn in self.families:
            definition = client.describe_task_definition(taskDefinition=arn)["taskDefinition"]
            assert definition["status"] == "ACTIVE"
        for first in range(0, len(self.clusters), 100):
            some = self.clusters[first:first + 100]
            found = client.describe_clusters(clusters=some)["clusters"]
            assert {c["clusterArn"] for c in found} == set(some)
        tags = client.list_tags_for_resource(resourceArn=self.service)["tags"]
        tags = {tag["key"]: tag["value"] for tag in tags}
        for key, value in self.tags.items():
            # A later write of the key may have been done without having been acknowledged.
            kill, at = map(int, tags[key].split("-"))
            assert kill == self.kill and at >= int(value.split("-")[1]), (key, value, tags[key])
        for arn in self.tasks:
            assert wharf.running(arn)["lastStatus"] == "RUNNING"
        return sum(map(len, (self.families, self.clusters, self.tags, self.tasks)))


def is_alive(pid):
    try:
        return " Z" not in pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1][:2]
    except (FileNotFoundError, ProcessLookupError):
        return False


def app_pids(wharf, arns):
    return {arn: pids["app"] for arn in arns if (pids := wharf.pids(arn)).get("app")}


def kill_all(status):
    """The supervisor first, so that it starts nothing again."""
    for name in PROCESSES:
        os.kill(status[name]["pid"], signal.SIGKILL)
    for name in PROCESSES:
        eventually(f"the end of {name}", lambda: not is_alive(status[name]["pid"]))


def answers(port):
    try:
        return "hello from" in get(port)
    except OSError:
        return False


def check_what_ran(wharf, ran, pids, new):
    """Tasks that ran at the kill run on, or were stopped in good order by the deployment; how many
    do so."""
    client, arns, going_on = wharf.client(), list(ran), 0
    described = client.describe_tasks(tasks=arns)
    assert not described["failures"], described["failures"]
    for task in described["tasks"]:
        arn = task["taskArn"]
        if task["desiredStatus"] == "RUNNING":
            assert task["lastStatus"] == "RUNNING", task
            assert wharf.pids(arn)["app"] == pids[arn], "another process than before the kill"
            assert task["startedAt"] == ran[arn]["startedAt"]
            going_on += 1
        else:
            assert task["taskDefinitionArn"] != new, f"a new task was stopped: {task}"
            assert task["stoppedReason"].startswith("Scaling activity initiated by"), task
            assert [c.get("exitCode") for c in task["containers"]] == [0], task
    return going_on


def service_tasks(wharf):
    """The tasks of the service that are RUNNING now, by ARN."""
    client = wharf.client()
    arns = client.list_tasks(serviceName="kills")["taskArns"]
    tasks = client.describe_tasks(tasks=arns)["tasks"] if arns else []
    return {t["taskArn"]: t for t in tasks if t["lastStatus"] == "RUNNING"}


def one_kill(wharf, number, delay):
    """A deployment with a kill `delay` seconds after it was acknowledged; its figures."""
    new = revision(wharf, number)
    status = wharf.status()
    writer = Writer(wharf, number)
    writer.start()
    assert writer.begun.wait(30)
    begun = time.monotonic()
    wharf.client().update_service(service="kills", taskDefinition=new)
    ran = service_tasks(wharf)
    while (left := begun + delay - time.monotonic()) > 0:
        # The moment is what the test is about: it is waited for, looking at the tasks meanwhile.
        threading.Event().wait(min(left, 0.05))
        ran = service_tasks(wharf)
    deployed = sum(task["taskDefinitionArn"] == new for task in ran.values())
    kill_all(status)
    writer.join()
    pids = app_pids(wharf, ran)
    for arn, task in ran.items():
        if task["taskDefinitionArn"] == new:
            # RUNNING means started: it may be about to listen.
            eventually(f"an answer of {arn} without wharf", lambda: answers(*host_ports(task)))
    killed = time.monotonic()
    wharf.up()
    up = time.monotonic() - killed
    service = wharf.service("kills")
    assert service["taskDefinition"] == new, "an acknowledged UpdateService was lost"
    wharf.wait("services_stable", services=["kills"])
    ended = time.monotonic() - killed
    service = wharf.service("kills")
    assert [d["rolloutState"] for d in service["deployments"]] == ["COMPLETED"]
    now = service_tasks(wharf)
    assert len(now) == TASKS and {t["taskDefinitionArn"] for t in now.values()} == {new}
    acknowledged = writer.check(wharf)
    going_on = check_what_ran(wharf, ran, pids, new)
    # Also the one that may have been started without an answer.
    for arn in wharf.client().list_tasks(family="kills-alone")["taskArns"]:
        wharf.client().stop_task(task=arn)
    check_nothing_else_runs(wharf, set(now))
    return (
        f"kill {number:2} after {delay:5.2f} s: {deployed:2} of {TASKS} deployed, {len(ran)} ran, "
        f"{going_on} of them go on with their PIDs; {acknowledged} acknowledged writes kept; "
        f"up in {up:.1f} s, deployed in {ended:.1f} s"
    )


def check_nothing_else_runs(wharf, wanted):
    """No container is left that no task owns."""
    root = CGROUPS / f"wharf-{wharf.instance}"
    wanted = {arn.rsplit("/", 1)[1] for arn in wanted}

    def strangers():
        tasks = {d.name for d in root.iterdir() if d.is_dir()}
        return tasks ^ wanted
    eventually("only the service's tasks", lambda: not strangers() or None, timeout=60)


def test_a_deployment_survives_kills_at_any_moment(wharf, capsys):
    wharf.register("kills-alone", CONTAINER)
    first = revision(wharf, "first")
    client = wharf.client()
    client.create_service(serviceName="kills", taskDefinition=first, desiredCount=TASKS)
    wharf.wait("services_stable", services=["kills"])
    begun = time.monotonic()
    client.update_service(service="kills", taskDefinition=revision(wharf, "undisturbed"))
    wharf.wait("services_stable", services=["kills"])
    undisturbed = time.monotonic() - begun
    figures = [f"an undisturbed deployment of {TASKS} tasks: {undisturbed:.1f} s"]
    for number in range(KILLS):
        delay = undisturbed * (number + 0.5) / KILLS
        try:
            figures.append(one_kill(wharf, number, delay))
        except BaseException:
            print(f"at kill {number}, {delay:.2f} s into a deployment of {undisturbed:.1f} s")
            raise
    with capsys.disabled():
        print("", *figures, sep="\n")
    client.delete_service(service="kills", force=True)
    wharf.wait("services_inactive", services=["kills"])
