"""Single tasks as boto3 sees them: networks, dependencies, limits, overrides, failures, and
wharf's own commands for looking at them."""

import json
import pathlib
import time

import pytest
from conftest import CGROUPS, Wharf, eventually, free_port, get, host_ports

NEEDS_SHELL = True


def shell(name, script, **members):
    return {
        "name": name, "image": "shell:latest", "memory": 64,
        "command": ["sh", "-c", f"trap 'exit 0' TERM; {script}"],
    } | members


def by_name(task):
    return {container["name"]: container for container in task["containers"]}


def codes(task):
    return {name: c.get("exitCode") for name, c in by_name(task).items()}


def output(wharf, arn, *arguments):
    return wharf.run("logs", arn, *arguments).stdout


def vpc(wharf, **members):
    subnets = wharf.client("ec2").describe_subnets()["Subnets"]
    return {"awsvpcConfiguration": {"subnets": [subnets[0]["SubnetId"]]} | members}


def test_awsvpc_gives_an_address_and_a_shared_loopback(wharf):
    definition = wharf.register(
        "vpc",
        {"name": "app", "image": "hello:latest", "command": ["app"], "memory": 64,
         "portMappings": [{"containerPort": 8080}]},
        shell("client", "until wget -qO- http://127.0.0.1:8080/; do sleep 0.1; done; sleep 600 & wait"),
        networkMode="awsvpc",
    )
    arn = wharf.start(definition, networkConfiguration=vpc(wharf))
    task = wharf.running(arn)
    (attachment,) = task["attachments"]
    assert attachment["type"] == "ElasticNetworkInterface"
    details = {d["name"]: d["value"] for d in attachment["details"]}
    address = details["privateIPv4Address"]
    assert address.startswith(wharf.vpc.rsplit(".", 2)[0])
    assert {c["networkInterfaces"][0]["privateIpv4Address"] for c in task["containers"]} == {address}
    assert "hello from" in get(f"{address}:8080")
    eventually("the neighbour's answer", lambda: "hello from" in output(wharf, arn, "client"))
    wharf.client().stop_task(task=arn)
    assert codes(wharf.stopped(arn)) == {"app": 0, "client": 0}


def test_host_and_none_networks(wharf):
    port = free_port()
    on_host = wharf.start(wharf.register(
        "on-host",
        {"name": "app", "image": "hello:latest", "command": ["app"], "memory": 64,
         "environment": [{"name": "PORT", "value": str(port)}],
         "portMappings": [{"containerPort": port}]},
        networkMode="host",
    ))
    alone = wharf.start(wharf.register(
        "alone", shell("app", "ls /sys/class/net; ip route | wc -l"), networkMode="none",
    ))
    assert host_ports(wharf.running(on_host)) == [port]
    assert "hello from" in get(port)
    wharf.client().stop_task(task=on_host)
    assert codes(wharf.stopped(alone)) == {"app": 0}
    assert output(wharf, alone).split() == ["lo", "0"]
    wharf.stopped(on_host)


def test_a_fargate_task_has_its_size_and_no_host(wharf):
    arn = wharf.start(
        wharf.register(
            "serverless", shell("app", "echo $AWS_EXECUTION_ENV; df -P -k / | tail -1; sleep 600 & wait"),
            networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256", memory="512",
        ),
        launchType="FARGATE", networkConfiguration=vpc(wharf, assignPublicIp="ENABLED"),
    )
    task = wharf.running(arn)
    assert "containerInstanceArn" not in task
    shown = ("launchType", "platformVersion", "platformFamily", "cpu", "memory")
    assert [task[member] for member in shown] == ["FARGATE", "1.4.0", "Linux", "256", "512"]
    assert task["ephemeralStorage"] == task["fargateEphemeralStorage"] == {"sizeInGiB": 20}
    said = eventually("its words", lambda: len(words := output(wharf, arn).split()) == 7 and words)
    assert said[0] == "AWS_ECS_FARGATE" and 0.97 * (20 << 20) < int(said[2]) <= 20 << 20
    explained = wharf.run("explain", arn).stdout
    assert "on FARGATE" in explained and "chosen" in explained
    size = CGROUPS.parent.joinpath
    group = pathlib.Path(f"wharf-{wharf.instance}") / arn.rsplit("/", 1)[1]
    assert size("memory", group, "memory.limit_in_bytes").read_text().strip() == str(512 << 20)
    period, quota = (
        int(size("cpu", group, f"cpu.cfs_{name}_us").read_text()) for name in ("period", "quota")
    )
    assert quota / period == 0.25
    wharf.client().stop_task(task=arn)
    assert codes(wharf.stopped(arn)) == {"app": 0}


def test_dependencies_start_containers_in_order(wharf):
    def needs(name, condition):
        return {"dependsOn": [{"containerName": name, "condition": condition}]}

    arn = wharf.start(wharf.register(
        "ordered",
        shell("prepare", "sleep 0.3; echo prepared", essential=False),
        shell("fails", "sleep 0.2; exit 3", essential=False),
        shell("waiter", "sleep 600 & wait", essential=False, **needs("prepare", "SUCCESS")),
        shell("app", "echo app; exit 7", dependsOn=[
            {"containerName": "waiter", "condition": "START"},
            {"containerName": "fails", "condition": "COMPLETE"},
        ]),
    ))
    task = wharf.stopped(arn)
    assert codes(task) == {"prepare": 0, "fails": 3, "waiter": 0, "app": 7}
    assert task["stopCode"] == "EssentialContainerExited"

    arn = wharf.start(wharf.register(
        "impossible",
        shell("fails", "exit 3", essential=False),
        shell("app", "echo never", **needs("fails", "SUCCESS")),
    ))
    task = wharf.stopped(arn)
    # As Amazon's agent reports it: never started, and yet with an exit code.
    assert codes(task) == {"fails": 3, "app": 143}
    assert "fails did not exit successfully" in by_name(task)["app"]["reason"]
    assert "startedAt" not in task
    assert "never" not in output(wharf, arn)


def test_too_much_memory_ends_as_out_of_memory(wharf):
    hog = "x=$(dd if=/dev/zero bs=1M count=200 | tr '\\0' x); echo survived"
    arn = wharf.start(wharf.register("hog", shell("app", hog, memory=32)))
    task = wharf.stopped(arn)
    container = by_name(task)["app"]
    assert container.get("reason", "").startswith("OutOfMemoryError"), (container, output(wharf, arn))
    assert container["exitCode"] == 137
    assert task["stoppedReason"] == "Essential container in task exited"


def test_a_deaf_container_is_killed_after_its_stop_timeout(wharf):
    deaf = shell("app", "") | {"command": ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]}
    arn = wharf.start(wharf.register("deaf", deaf | {"stopTimeout": 2}))
    wharf.running(arn)
    started = time.monotonic()
    wharf.client().stop_task(task=arn, reason="enough")
    task = wharf.stopped(arn)
    assert 2 <= time.monotonic() - started < 8
    assert codes(task) == {"app": 137}
    assert task["stoppedReason"] == "enough"


def test_overrides_win_over_the_definition(wharf):
    definition = wharf.register(
        "overridden",
        shell("app", "echo $A $B", environment=[
            {"name": "A", "value": "one"}, {"name": "B", "value": "two"},
        ]),
    )
    arn = wharf.start(definition, overrides={"containerOverrides": [{
        "name": "app", "command": ["sh", "-c", "echo $A+$B+$C; exit 5"],
        "environment": [{"name": "B", "value": "2"}, {"name": "C", "value": "3"}],
    }]})
    task = wharf.stopped(arn)
    assert codes(task) == {"app": 5}
    assert output(wharf, arn).strip() == "one+2+3"
    assert task["overrides"]["containerOverrides"][0]["command"][2] == "echo $A+$B+$C; exit 5"


def test_an_image_that_isnt_there_fails_the_task(wharf):
    definition = wharf.register(
        "missing", {"name": "app", "image": "127.0.0.1:1/nothing:here", "memory": 32}
    )
    task = wharf.stopped(wharf.start(definition))
    assert task["stopCode"] == "TaskFailedToStart"
    assert task["stoppedReason"].startswith("CannotPullContainerError"), task["stoppedReason"]
    assert by_name(task)["app"]["reason"].startswith("CannotPullContainerError")
    assert "startedAt" not in task


def test_a_command_that_isnt_there_fails_the_task(wharf):
    definition = wharf.register(
        "no-command", {"name": "app", "image": "shell:latest", "memory": 32, "command": ["/none"]}
    )
    task = wharf.stopped(wharf.start(definition))
    assert task["stopCode"] == "TaskFailedToStart", task
    assert "/none" in by_name(task)["app"]["reason"], task


def test_wharfs_own_commands(wharf):
    ran = wharf.run("run", "-e", "WHO=me", "shell:latest", "sh", "-c", "echo I am $WHO; exit 9",
                    check=False)
    assert (ran.returncode, ran.stdout) == (9, "I am me\n"), ran.stderr
    arn = wharf.run("run", "-d", "-p", "8080", "hello:latest", "app").stdout.strip()
    (port,) = host_ports(wharf.running(arn), "run")
    assert "hello from" in get(port)
    eventually("the request in the log", lambda: "GET / HTTP/1.1" in output(wharf, arn))
    assert output(wharf, arn, "-n", "1").count("\n") == 1
    shown = json.loads(wharf.run("ps", "--json").stdout)
    assert [t["lastStatus"] for t in shown if t["taskArn"] == arn] == ["RUNNING"]
    assert arn in wharf.run("ps", "-q").stdout.split()
    explained = wharf.run("explain", arn).stdout
    assert "RUNNING" in explained and "placed" in explained and "running" in explained
    wharf.client().stop_task(task=arn, reason="seen enough")
    wharf.stopped(arn)
    assert "why: seen enough (UserInitiated)" in wharf.run("explain", arn).stdout
    assert arn not in wharf.run("ps", "-q").stdout.split()
    assert arn in wharf.run("ps", "--all", "-q").stdout.split()
    too_large = wharf.run("run", "--memory", "9999999", "shell:latest", "true", check=False)
    assert too_large.returncode == 1
    assert "RESOURCE:MEMORY" in too_large.stderr


def test_a_process_is_what_its_definition_says_and_the_overrides_win(wharf):
    script = (
        "echo host $(hostname); echo user $(id -u):$(id -g); echo in $(pwd); echo args $0 $1; "
        "touch /x 2>/dev/null || echo read-only; echo files $(ulimit -n) $(ulimit -Hn); "
        "wget -qO- $ECS_CONTAINER_METADATA_URI_V4; echo; sleep 600"
    )
    definition = wharf.register(
        "process",
        {"name": "app", "image": "shell:latest", "cpu": 64, "memory": 48, "memoryReservation": 24,
         "entryPoint": ["sh", "-c", script], "command": ["zero", "one"], "hostname": "box",
         "user": "65534:100", "workingDirectory": "/srv/data", "readonlyRootFilesystem": True,
         "ulimits": [{"name": "nofile", "softLimit": 100, "hardLimit": 200}],
         "dockerLabels": {"team": "blue"}, "stopTimeout": 2,
         "logConfiguration": {"logDriver": "json-file", "options": {"max-size": "1m"}}},
        cpu="128", memory="96", tags=[{"key": "colour", "value": "red"}],
    )
    plain = wharf.start(definition, propagateTags="TASK_DEFINITION")
    other = wharf.start(definition, overrides={
        "cpu": "256", "memory": "128",
        "containerOverrides": [{"name": "app", "cpu": 96, "memory": 64, "memoryReservation": 32}],
    })

    def cgroup(arn, hierarchy, file):
        task = f"/sys/fs/cgroup/{hierarchy}/wharf-{wharf.instance}/{arn.rsplit('/', 1)[1]}"
        return int(pathlib.Path(f"{task}/{file}").read_text())

    def limits(arn):
        soft = "memory.soft_limit_in_bytes"
        return {
            "shares": cgroup(arn, "cpu", "app/cpu.shares"),
            "memory": cgroup(arn, "memory", "app/memory.limit_in_bytes") >> 20,
            "soft": cgroup(arn, "memory", f"app/{soft}") >> 20,
            "task cpu": cgroup(arn, "cpu", "cpu.cfs_quota_us") * 1024
            // cgroup(arn, "cpu", "cpu.cfs_period_us"),
            "task memory": cgroup(arn, "memory", "memory.limit_in_bytes") >> 20,
        }

    assert wharf.running(plain)["cpu"] == "128"
    assert wharf.running(other)["cpu"] == "256"
    wanted = {"shares": 64, "memory": 48, "soft": 24, "task cpu": 128, "task memory": 96}
    assert limits(plain) == wanted
    wanted = {"shares": 96, "memory": 64, "soft": 32, "task cpu": 256, "task memory": 128}
    assert limits(other) == wanted
    text = eventually("the metadata", lambda: "{" in output(wharf, plain) and output(wharf, plain))
    *said, document = text.splitlines()[:7]
    assert said == [
        "host box", "user 65534:100", "in /srv/data", "args zero one", "read-only", "files 100 200",
    ]
    document = json.loads(document)
    assert document["Labels"]["team"] == "blue"
    assert (document["LogDriver"], document["LogOptions"]) == ("json-file", {"max-size": "1m"})
    tags = wharf.client().describe_tasks(tasks=[plain, other], include=["TAGS"])["tasks"]
    assert [task["tags"] for task in tags] == [[{"key": "colour", "value": "red"}], []]
    for arn in (plain, other):
        wharf.client().stop_task(task=arn)


def test_a_definition_is_placed_where_it_can_run(wharf):
    app = {"name": "app", "image": "shell:latest", "memory": 16}
    for members in (
        {"placementConstraints": [
            {"type": "memberOf", "expression": "attribute:ecs.os-type == windows"}]},
        {"runtimePlatform": {"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"}},
    ):
        definition = wharf.register("elsewhere", app, **members)
        answer = wharf.client().run_task(taskDefinition=definition)
        assert answer["failures"] and not answer["tasks"], members
    with pytest.raises(wharf.client().exceptions.InvalidParameterException):
        wharf.client().run_task(
            taskDefinition=wharf.register("ec2-only", app, requiresCompatibilities=["EC2"]),
            launchType="FARGATE",
        )
