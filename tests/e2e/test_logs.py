"""Logs as a user meets them: tasks with the awslogs driver, read back by the stock aws CLI and boto3."""

import os
import re
import signal
import subprocess
import threading
import time

import botocore.config
import botocore.exceptions
import pytest

import debian
from conftest import eventually

NEEDS_SHELL = True

REGION = "us-east-1"
LINES = 2000


def container(name, script, group, **options):
    options = {"awslogs-group": group, "awslogs-region": REGION} | {
        option.replace("_", "-"): value for option, value in options.items()
    }
    return {
        "name": name, "image": "shell", "memory": 32, "essential": True,
        "command": ["sh", "-c", script],
        "logConfiguration": {"logDriver": "awslogs", "options": options},
    }


def messages(wharf, group, stream):
    """Every message of a stream, page by page until the token stands still."""
    logs, found, token = wharf.client("logs"), [], {}
    while True:
        page = logs.get_log_events(
            logGroupName=group, logStreamName=stream, startFromHead=True, limit=700, **token
        )
        found += [event["message"] for event in page["events"]]
        if token.get("nextToken") == page["nextForwardToken"]:
            return found
        token = {"nextToken": page["nextForwardToken"]}


def task_id(arn):
    return arn.rsplit("/", 1)[1]


def test_every_line_is_there_in_order_when_the_task_shows_stopped(wharf):
    group = "/ecs/lines"
    counter = container(
        "counter", f"seq 1 {LINES}; echo last >&2; echo; printf unfinished", group,
        awslogs_create_group="true", awslogs_stream_prefix="app",
    )
    stack = container(
        "stack", "echo 'INFO a'; echo 'ERROR b'; echo '  at c'; echo '  at d'; echo 'INFO e'", group,
        awslogs_create_group="true", awslogs_multiline_pattern="^(INFO|ERROR) ",
        mode="blocking",
    ) | {"essential": False, "cpu": 10}
    counter["dependsOn"] = [{"containerName": "stack", "condition": "COMPLETE"}]
    began = time.time()
    # With an execution role the host needs one attribute more.
    role = "arn:aws:iam::123456789012:role/ecsTaskExecutionRole"
    arn = wharf.start(wharf.register("lines", counter, stack, executionRoleArn=role))
    # The very first answer that says STOPPED.
    task = eventually(
        "stopped", lambda: (t := wharf.task(arn))["lastStatus"] == "STOPPED" and t, interval=0.05
    )
    stream = f"app/counter/{task_id(arn)}"
    found = messages(wharf, group, stream)
    assert found[:LINES] == [str(n) for n in range(1, LINES + 1)]
    assert sorted(found[LINES:]) == ["last", "unfinished"]
    # Without a prefix the stream has the container's id.
    runtime_id = next(c["runtimeId"] for c in task["containers"] if c["name"] == "stack")
    assert messages(wharf, group, runtime_id) == ["INFO a", "ERROR b\n  at c\n  at d", "INFO e"]

    # The stock CLI: groups, streams, the end of a stream, a filter.
    described = wharf.aws("logs", "describe-log-groups", "--log-group-name-prefix", "/ecs")
    [described] = described["logGroups"]
    assert described["arn"] == f"arn:aws:logs:{REGION}:123456789012:log-group:{group}:*"
    assert described["storedBytes"] > 0
    streams = wharf.aws(
        "logs", "describe-log-streams", "--log-group-name", group, "--order-by", "LastEventTime",
        "--descending",
    )["logStreams"]
    assert [s["logStreamName"] for s in streams] == [stream, runtime_id]
    assert began * 1000 - 1000 < streams[0]["firstEventTimestamp"] <= streams[0]["lastEventTimestamp"]
    tail = wharf.aws(
        "logs", "get-log-events", "--log-group-name", group, "--log-stream-name", stream,
        "--limit", "3",
    )
    assert [e["message"] for e in tail["events"]] == found[-3:]
    found = wharf.aws(
        "logs", "filter-log-events", "--log-group-name", group, "--filter-pattern", "?last ?ERROR",
    )["events"]
    assert [e["message"] for e in found] == ["ERROR b\n  at c\n  at d", "last"]
    assert [e["logStreamName"] for e in found] == [runtime_id, stream]
    pages = wharf.client("logs").get_paginator("filter_log_events").paginate(
        logGroupName=group, logStreamNamePrefix="app/", filterPattern="99 -1",
        PaginationConfig={"PageSize": 5},
    )
    assert [e["message"] for page in pages for e in page["events"]] == [
        str(n) for n in range(1, LINES + 1) if "99" in str(n) and "1" not in str(n)
    ]


def test_a_missing_group_stops_the_task_and_says_so(wharf):
    definition = wharf.register(
        "lost", container("app", "echo never", "/ecs/none", awslogs_stream_prefix="app")
    )
    task = wharf.stopped(wharf.start(definition))
    reason = task["stoppedReason"]
    assert reason.startswith("ResourceInitializationError: failed to validate logger args:"), reason
    assert "ResourceNotFoundException: The specified log group does not exist." in reason
    assert wharf.aws("logs", "describe-log-groups", "--log-group-name-prefix", "/ecs/none") == {
        "logGroups": []
    }


def test_retention_tags_and_deletion(wharf):
    logs = wharf.client("logs")
    logs.create_log_group(logGroupName="kept", tags={"team": "a"})
    logs.put_retention_policy(logGroupName="kept", retentionInDays=7)
    with pytest.raises(logs.exceptions.InvalidParameterException, match="enum value set"):
        logs.put_retention_policy(logGroupName="kept", retentionInDays=2)
    [group] = logs.describe_log_groups(logGroupNamePattern="ep")["logGroups"]
    assert group["retentionInDays"] == 7
    logs.create_log_stream(logGroupName="kept", logStreamName="s")
    now, day = int(time.time() * 1000), 86_400_000
    # Older than the retention, and within it: a batch may span a day at most.
    answer = logs.put_log_events(
        logGroupName="kept", logStreamName="s",
        logEvents=[
            {"timestamp": now - 7 * day - 60_000, "message": "old"},
            {"timestamp": now - 7 * day + 60_000, "message": "kept"},
        ],
    )
    assert answer["rejectedLogEventsInfo"] == {"expiredLogEventEndIndex": 1}
    assert messages(wharf, "kept", "s") == ["kept"]
    events = ['{"level": "info"}', '{"level": "error", "code": 503}', "level error"]
    logs.put_log_events(
        logGroupName="kept", logStreamName="s",
        logEvents=[{"timestamp": now - 6 * day, "message": event} for event in events],
    )
    found = logs.filter_log_events(
        logGroupName="kept", filterPattern='{ $.level = "error" && $.code >= 500 }'
    )["events"]
    assert [event["message"] for event in found] == events[1:2]
    logs.tag_resource(resourceArn=group["logGroupArn"], tags={"env": "test"})
    logs.untag_resource(resourceArn=group["logGroupArn"], tagKeys=["team"])
    assert logs.list_tags_for_resource(resourceArn=group["logGroupArn"])["tags"] == {"env": "test"}
    logs.put_retention_policy(logGroupName="kept", retentionInDays=1)
    assert messages(wharf, "kept", "s") == []
    logs.delete_log_group(logGroupName="kept")
    with pytest.raises(botocore.exceptions.ClientError, match="log group does not exist"):
        messages(wharf, "kept", "s")


class Follower:
    """Asks what `aws logs tail --follow` asks: that command is the CLI's version 2, and the tests have
    version 1. Everything since the newest event seen, each event once."""

    def __init__(self, logs, group):
        self.logs, self.asked, self.seen, self.messages = logs, {"logGroupName": group}, {}, []

    def ask(self):
        """The messages so far; a server that is away is asked again later."""
        try:
            page = self.logs.filter_log_events(interleaved=True, **self.asked)
        except (botocore.exceptions.ClientError, botocore.exceptions.HTTPClientError):
            return self.messages
        for event in page["events"]:
            ids = self.seen.setdefault(event["timestamp"], set())
            if event["eventId"] not in ids:
                ids.add(event["eventId"])
                self.messages.append(event["message"])
        self.asked.pop("nextToken", None)
        if "nextToken" in page:
            self.asked["nextToken"] = page["nextToken"]
        elif self.seen:
            newest = max(self.seen)
            self.seen, self.asked["startTime"] = {newest: self.seen[newest]}, newest
        return self.messages


def test_kill_9_of_server_and_agent_loses_and_doubles_no_line(wharf):
    group = "/ecs/killed"
    script = "for i in $(seq 1 60); do for n in $(seq 1 20); do echo $i-$n; done; sleep 0.05; done"
    definition = wharf.register("killed", container(
        "app", script, group, awslogs_create_group="true", awslogs_stream_prefix="p"
    ))
    arn = wharf.start(definition)
    follower = Follower(wharf.client("logs"), group)
    eventually("some lines", lambda: len(follower.ask()) > 20, interval=0.05)
    for process in ("server", "agent", "server", "agent"):
        status = eventually(
            "a process to kill", lambda: (s := wharf.status())[process].get("pid") and s
        )
        os.kill(status[process]["pid"], signal.SIGKILL)
        time.sleep(0.3)
        follower.ask()
    eventually("the end", lambda: (follower.ask(), wharf.task(arn)["lastStatus"])[1] == "STOPPED")
    expected = [f"{i}-{n}" for i in range(1, 61) for n in range(1, 21)]
    assert messages(wharf, group, f"p/app/{task_id(arn)}") == expected
    eventually("a follower with all", lambda: len(follower.ask()) >= len(expected))
    assert follower.messages == expected


def test_a_live_tail_shows_what_is_put_from_now_on(wharf):
    logs = wharf.client("logs")
    logs.create_log_group(logGroupName="live")
    [group] = logs.describe_log_groups(logGroupNamePrefix="live")["logGroups"]
    for stream in ("a", "b", "t-old"):
        logs.create_log_stream(logGroupName="live", logStreamName=stream)

    def put(stream, *lines):
        now = int(time.time() * 1000)
        logs.put_log_events(logGroupName="live", logStreamName=stream, logEvents=[
            {"timestamp": now, "message": line} for line in lines])
    put("a", "ERROR before")
    hour_ago = int(time.time() * 1000) - 3_600_000
    logs.put_log_events(logGroupName="live", logStreamName="t-old", logEvents=[
        {"timestamp": hour_ago, "message": "ancient"}])
    ticker = wharf.start(wharf.register("ticker", container(
        "app", "n=0; while true; do n=$((n + 1)); echo tick $n; sleep 0.2; done", "live", awslogs_stream_prefix="t")))
    eventually("a tick", lambda: logs.filter_log_events(logGroupName="live", filterPattern="tick")["events"])
    tail = subprocess.Popen(
        [*debian.aws_cli_2(), "--endpoint-url", wharf.env()["AWS_ENDPOINT_URL"], "logs", "tail", "live",
         # It asks for what is newer than the newest that it has: other streams are ahead of a task's.
         "--log-stream-name-prefix", "t", "--follow", "--since", "5m", "--format", "short"],
        env=wharf.env() | {"PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, text=True)
    tailed = []
    threading.Thread(target=lambda: tailed.extend(tail.stdout), daemon=True).start()
    client = wharf.new_client("logs", config=botocore.config.Config(inject_host_prefix=False))
    answer = client.start_live_tail(
        logGroupIdentifiers=[group["logGroupArn"]], logEventFilterPattern="%ERR[A-Z]+% -skip")
    events = iter(answer["responseStream"])
    start = next(events)["sessionStart"]
    assert start["logGroupIdentifiers"] == [group["logGroupArn"]] and start["sessionId"]
    # The stock CLI beside it, with nothing but what `wharf env` says.
    cli = subprocess.Popen(
        ["aws", "logs", "start-live-tail", "--log-group-identifiers", group["logGroupArn"],
         "--log-stream-names", "b"],
        env=wharf.env() | {"PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, text=True)
    try:
        found, shown = [], []
        reader = threading.Thread(target=lambda: shown.extend(cli.stdout), daemon=True)
        reader.start()
        # It follows from some moment on.
        number = 0
        while not shown and number < 60:
            number += 1
            put("b", f"ERROR {number}")
            time.sleep(0.5)
        put("a", "ERROR of a", "INFO of a", "ERROR skip")
        while "ERROR of a" not in found:
            update = next(events)["sessionUpdate"]
            assert update["sessionMetadata"] == {"sampled": False}
            found += [event["message"] for event in update["sessionResults"]]
        assert found == [*(f"ERROR {n}" for n in range(1, number + 1)), "ERROR of a"]
        assert "ERROR" in shown[0] and not any("of a" in line for line in shown)

        def ticks():
            short = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d (.*)\n"
            messages = [re.fullmatch(short, line)[1] for line in list(tailed)]
            assert "ancient" not in messages
            return [int(m.split()[1]) for m in messages if m.startswith("tick ")]
        first = eventually("a tail", ticks)
        eventually("more of it", lambda: len(ticks()) > len(first))
        assert ticks()[:len(first) + 1] == list(range(1, len(first) + 2))
        assert not any("ERROR" in line for line in tailed), "of streams that were not asked for"
    finally:
        cli.kill()
        tail.kill()
        wharf.client().stop_task(task=ticker)
        answer["responseStream"].close()
    with pytest.raises(botocore.exceptions.ClientError, match="does not exist"):
        client.start_live_tail(logGroupIdentifiers=[group["logGroupArn"][:-1] + "x"])


def test_patterns_for_columns(wharf):
    logs, now = wharf.client("logs"), int(time.time() * 1000)
    logs.create_log_group(logGroupName="access")
    logs.create_log_stream(logGroupName="access", logStreamName="s")
    lines = [f'127.0.0.1 - - [1/Jan/2026:00:00:00] "GET /{status} HTTP/1.1" {status} {size}'
             for status, size in ((200, 9), (404, 10), (410, 99), (500, 100))]
    logs.put_log_events(logGroupName="access", logStreamName="s", logEvents=[
        {"timestamp": now, "message": line} for line in lines])
    for pattern, wanted in (
        ("[ip, id, user, time, request, status = 4*, bytes]", lines[1:3]),
        ("[..., status = 4* && status != 410, bytes]", lines[1:2]),
        ("[..., bytes >= 99]", lines[2:]),
        ("[ip, bytes]", []),
        (r"%\s5\d\d\s%", lines[3:]),
    ):
        found = logs.filter_log_events(logGroupName="access", filterPattern=pattern)["events"]
        assert [event["message"] for event in found] == wanted, pattern
