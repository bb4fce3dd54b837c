"""Tasks of two containers with health checks and awslogs, in a loop: nothing is left of them but their
logs, and those are complete and in order.

Some rounds of a few tasks by default; with WHARF_SOAK=1, 300 at a time for ten minutes. The whole host
is counted, in namespaces of its own where nothing but the one wharf changes anything."""

import json
import os
import pathlib
import sys
import time

from conftest import Wharf, eventually
from test_nothing_left import alone, counted

SOAK = bool(os.environ.get("WHARF_SOAK"))
TOGETHER = 300 if SOAK else 6
ROUNDS = None if SOAK else 3
SECONDS = 600 if SOAK else 0
GROUP = "/soak"
LINES = 50
# More than before, of a server or an agent: files of the store are opened and closed. Connections that
# nobody uses are closed within a minute and a half.
DESCRIPTORS = 10


def container(name, script):
    return {
        "name": name, "image": "shell", "memory": 16, "cpu": 0, "essential": name == "app",
        "command": ["sh", "-c", script],
        "healthCheck": {"command": ["CMD-SHELL", "test -e /tmp/ready"], "interval": 5, "timeout": 5},
        "mountPoints": [{"sourceVolume": "scratch", "containerPath": "/scratch"}],
        "logConfiguration": {"logDriver": "awslogs", "options": {
            "awslogs-group": GROUP, "awslogs-region": "us-east-1", "awslogs-stream-prefix": "soak",
            "awslogs-create-group": "true",
        }},
    }


def register(wharf):
    lines = f"for n in $(seq 1 {LINES}); do echo $n; done"
    side = container("side", f"touch /tmp/ready; {lines}; trap 'echo end; exit 0' TERM; "
                             "while :; do sleep 0.2; done")
    app = container("app", f"touch /tmp/ready; {lines}; echo end; exit 3")
    app["dependsOn"] = [{"containerName": "side", "condition": "HEALTHY"}]
    side["healthCheck"]["interval"] = 5
    return wharf.register("soak", app, side, volumes=[{"name": "scratch"}])


def run(wharf, definition, count):
    """Starts so many tasks, and waits for their end."""
    client, arns = wharf.client(), []
    while len(arns) < count:
        answer = client.run_task(taskDefinition=definition, count=min(10, count - len(arns)))
        arns += [task["taskArn"] for task in answer["tasks"]]
        if answer["failures"]:
            # The host is full: what runs makes room.
            time.sleep(1)
    left = set(arns)

    def ended():
        waiting = sorted(left)
        for some in [waiting[n:n + 100] for n in range(0, len(waiting), 100)]:
            for task in client.describe_tasks(tasks=some)["tasks"]:
                if task["lastStatus"] == "STOPPED":
                    codes = {c["name"]: c.get("exitCode") for c in task["containers"]}
                    assert codes == {"app": 3, "side": 0}, task
                    left.discard(task["taskArn"])
        return not left
    eventually("the end of all", ended, timeout=60 + count * 2, interval=1)
    return arns


def check_logs(wharf, arns):
    logs = wharf.client("logs")
    expected = [*map(str, range(1, LINES + 1)), "end"]
    for arn in arns:
        for name in ("app", "side"):
            stream = f"soak/{name}/{arn.rsplit('/', 1)[1]}"
            page = logs.get_log_events(
                logGroupName=GROUP, logStreamName=stream, startFromHead=True, limit=1000)
            assert [event["message"] for event in page["events"]] == expected, stream


def descriptors(wharf):
    status = wharf.status()
    return {
        name: len(list(pathlib.Path(f"/proc/{status[name]['pid']}/fd").iterdir()))
        for name in ("server", "agent")
    }


def state(wharf):
    """What is there of a wharf without tasks, but its files in /tmp that grow."""
    found = counted(wharf)
    found.pop("files")
    found["volumes"] = {str(p) for p in pathlib.Path(wharf.data_dir).glob("**/volumes/task/*")}
    return found


def soak():
    wharf = Wharf(start=False)
    wharf.up()
    wharf.build_shell()
    definition = register(wharf)
    run(wharf, definition, 2)
    # What the first tasks leave once (a bridge, its rules, caches) is no leak.
    before = eventually("rest", lambda: (state(wharf), time.sleep(1))[0] == (s := state(wharf)) and s)
    open_before, rounds, tasks = descriptors(wharf), 0, 0
    until = time.monotonic() + SECONDS
    while rounds != ROUNDS and (ROUNDS or time.monotonic() < until):
        arns = run(wharf, definition, TOGETHER)
        check_logs(wharf, arns)
        rounds, tasks = rounds + 1, tasks + len(arns)

    def left():
        now = state(wharf)
        return {kind: sorted(now[kind] - before[kind]) for kind in now if now[kind] - before[kind]}
    eventually("nothing more than before", lambda: not left() or print(json.dumps(left())), timeout=60)
    most = {name: count + DESCRIPTORS for name, count in open_before.items()}
    open_now = eventually(
        f"descriptors as before ({open_before})", timeout=150, interval=1,
        condition=lambda: all((d := descriptors(wharf))[n] <= most[n] for n in most) and d)
    assert wharf.run("down", "--tasks").returncode == 0
    print(f"soaked: {tasks} tasks in {rounds} rounds, descriptors {open_before} then {open_now}")


def test_nothing_is_left_of_many_tasks_but_their_lines():
    output = alone("soak", __file__, timeout=SECONDS + 1200)
    print(output)
    assert "soaked" in output


if __name__ == "__main__":
    globals()[sys.argv[1]]()
