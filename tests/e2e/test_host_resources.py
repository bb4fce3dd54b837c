"""What a task gets of its host beside CPU and memory: GPUs, a limit on what it writes, another OCI
runtime, a profile of AppArmor."""

import contextlib
import os
import pathlib
import shutil
import signal
import stat
import subprocess

import botocore.exceptions
import pytest

from conftest import Wharf, eventually, get

# Devices that no container may open unless it is given them: kmsg and loop-control.
GPUS = {"nvidia0": (1, 11), "nvidia1": (10, 237)}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Device files as NVIDIA's driver names them, and an OCI runtime that tells what it is asked."""
    directory = tmp_path_factory.mktemp("host")
    for name, device in (GPUS | {"nvidiactl": (1, 3), "nvidia-caps": (1, 3)}).items():
        os.mknod(directory / name, 0o666 | stat.S_IFCHR, os.makedev(*device))
        os.chmod(directory / name, 0o666)
    runtime = directory / "sandboxed"
    runtime.write_text(f'#!/bin/sh\necho "$@" >>{directory}/asked\nexec {shutil.which("crun")} "$@"\n')
    runtime.chmod(0o755)
    return directory


@pytest.fixture(scope="module")
def wharf(directory):
    instance = Wharf("--gpu-devices", str(directory), "--runtime-class", f"FARGATE={directory}/sandboxed")
    try:
        instance.build_shell()
        yield instance
    finally:
        assert instance.down().returncode == 0


def shell(name, script, **members):
    return {"name": name, "image": "shell", "memory": 32, "command": ["sh", "-c", script]} | members


def said(wharf, arn, container, last="done"):
    """What a container has said, once it has said its last word."""
    return eventually(
        f"{container}: {last}",
        lambda: last in (t := wharf.run("logs", arn, container).stdout.splitlines()) and t, timeout=30)


def gpus(count):
    return {"resourceRequirements": [{"type": "GPU", "value": str(count)}]}


def of_instance(wharf, which):
    client = wharf.client()
    arns = client.list_container_instances()["containerInstanceArns"]
    instance = client.describe_container_instances(containerInstances=arns)["containerInstances"][0]
    return {r["name"]: r.get("stringSetValue") for r in instance[which]}.get("GPU")


def test_each_container_has_the_gpus_that_it_was_given(wharf):
    tried = "; ".join(
        f"mknod /tmp/{name} c {major} {minor}; (: >/tmp/{name}) 2>/dev/null && echo may {name}"
        for name, (major, minor) in GPUS.items())
    script = (
        "echo visible ${NVIDIA_VISIBLE_DEVICES:-none}; echo nodes $(ls /dev | grep nvidia); "
        "for d in /dev/nvidia[0-9]; do (: >$d) && echo opens $d; done; " + tried + "; echo done; exec sleep 1000")
    definition = wharf.register(
        "gpu", shell("one", script, **gpus(1)), shell("two", script, **gpus(1)), shell("none", script))
    assert (of_instance(wharf, "registeredResources"), of_instance(wharf, "remainingResources")) == (
        ["0", "1"], ["0", "1"])
    arn = wharf.start(definition)
    given = {c["name"]: c.get("gpuIds") for c in wharf.task(arn)["containers"]}
    assert given == {"one": ["0"], "two": ["1"], "none": None}
    assert of_instance(wharf, "remainingResources") == []
    for name, number in (("one", 0), ("two", 1)):
        assert said(wharf, arn, name) == [
            f"visible {number}", f"nodes nvidia{number} nvidiactl", f"opens /dev/nvidia{number}",
            f"may nvidia{number}", "done"]
    assert said(wharf, arn, "none")[:2] == ["visible none", "nodes"]
    assert not any(line.startswith("may") for line in said(wharf, arn, "none"))
    answer = wharf.client().run_task(taskDefinition=definition)
    assert [f["reason"] for f in answer["failures"]] == ["RESOURCE:GPU"]
    end(wharf, arn)
    assert of_instance(wharf, "remainingResources") == ["0", "1"]
    # An override asks for another number.
    alone = wharf.register("gpu-alone", shell("one", script, **gpus(1)))
    both = wharf.start(alone, overrides={"containerOverrides": [{"name": "one"} | gpus(2)]})
    assert wharf.task(both)["containers"][0]["gpuIds"] == ["0", "1"]
    assert said(wharf, both, "one")[:2] == ["visible 0,1", "nodes nvidia0 nvidia1 nvidiactl"]
    shown = wharf.task(both)["overrides"]["containerOverrides"][0]["resourceRequirements"]
    assert shown == gpus(2)["resourceRequirements"]
    end(wharf, both)
    for wrong in ("0", "x", "-1"):
        with pytest.raises(botocore.exceptions.ClientError, match="positive integer"):
            wharf.register("wrong", shell("a", ":", **gpus(wrong)))
    with pytest.raises(botocore.exceptions.ClientError, match="InferenceAccelerator"):
        wharf.register("wrong", shell("a", ":", resourceRequirements=[
            {"type": "InferenceAccelerator", "value": "x"}]))


def end(wharf, arn):
    """A shell as process 1 ignores SIGTERM, and would be waited for for 30 seconds."""
    wharf.client().stop_task(task=arn)
    for pid in sum(wharf.pids(arn).values(), []):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wharf.stopped(arn)


def loop_devices(wharf):
    listed = subprocess.run(["losetup", "--list", "--noheadings", "-O", "BACK-FILE"], capture_output=True, text=True)
    return [line for line in listed.stdout.splitlines() if wharf.data_dir in line]


def test_a_task_writes_no_more_than_its_storage_holds(wharf):
    size = "echo $1 $(df -P -k $1 | tail -1 | tr -s ' ' | cut -d' ' -f2)"
    script = (
        f"size() {{ {size}; }}; size /; size /shared; "
        "fallocate -l 10737418240 /own && echo own; fallocate -l 9663676416 /shared/theirs && echo shared; "
        "fallocate -l 3221225472 /more 2>&1; echo $?; echo done; exec sleep 1000")
    mounts = [{"sourceVolume": "shared", "containerPath": "/shared"}]
    definition = wharf.register(
        "stored", shell("app", script, mountPoints=mounts),
        shell("other", "until test -e /shared/theirs; do sleep 0.1; done; ls -l /shared; echo done; "
              "exec sleep 1000", mountPoints=mounts),
        volumes=[{"name": "shared"}], ephemeralStorage={"sizeInGiB": 21})
    arn = wharf.start(definition)
    lines = said(wharf, arn, "app")
    sizes = dict(line.split() for line in lines if line.startswith("/"))
    assert set(sizes) == {"/", "/shared"} and sizes["/"] == sizes["/shared"]
    assert 0.97 * (21 << 20) < int(sizes["/"]) <= 21 << 20
    assert lines[2:4] == ["own", "shared"] and "No space left on device" in lines[4] and lines[5] == "1"
    assert any("9663676416" in line for line in said(wharf, arn, "other"))
    assert wharf.task(arn)["ephemeralStorage"] == {"sizeInGiB": 21}
    assert len(loop_devices(wharf)) == 1
    [instance] = wharf.client().describe_container_instances(
        containerInstances=wharf.client().list_container_instances()["containerInstanceArns"])["containerInstances"]
    registered, remaining = (
        {r["name"]: r["integerValue"] for r in instance[f"{which}Resources"]} for which in ("registered", "remaining"))
    assert registered["EPHEMERAL_STORAGE"] == shutil.disk_usage(wharf.data_dir).total >> 30
    assert registered["EPHEMERAL_STORAGE"] - remaining["EPHEMERAL_STORAGE"] == 21
    # What the task has goes with it, also for an agent that didn't make it.
    status = wharf.status()
    os.kill(status["agent"]["pid"], signal.SIGKILL)
    eventually("another agent", lambda: wharf.status().get("agent", {}).get("pid") not in (None, status["agent"]["pid"]))
    assert len(loop_devices(wharf)) == 1
    end(wharf, arn)
    eventually("no loop device", lambda: not loop_devices(wharf))
    task = arn.rsplit("/", 1)[1]
    left = [p for p in pathlib.Path(wharf.data_dir).glob(f"**/{task}") if "logs" not in p.parts]
    eventually("nothing left", lambda: not any(p.exists() for p in left))

    def connected():
        arns = wharf.client().list_container_instances()["containerInstanceArns"]
        all = wharf.client().describe_container_instances(containerInstances=arns)["containerInstances"]
        return all[0]["agentConnected"]
    eventually("connected", connected)
    # Without being asked for, nothing is limited; an override says how much.
    plain = wharf.register("plain", shell("app", f"size() {{ {size}; }}; size /; echo done; exec sleep 1000"))
    free, limited = wharf.start(plain), wharf.start(plain, overrides={"ephemeralStorage": {"sizeInGiB": 30}})
    of_host = shutil.disk_usage(wharf.data_dir).total >> 10
    assert said(wharf, free, "app")[0] == f"/ {of_host}"
    assert 29 << 20 < int(said(wharf, limited, "app")[0].split()[1]) <= 30 << 20
    assert wharf.task(limited)["overrides"]["ephemeralStorage"] == {"sizeInGiB": 30}
    for arn in (free, limited):
        end(wharf, arn)
    for wrong in (20, 201):
        with pytest.raises(botocore.exceptions.ClientError, match="between 21 and 200"):
            wharf.register("wrong", shell("a", ":"), ephemeralStorage={"sizeInGiB": wrong})


def test_a_range_of_ports(wharf):
    ports = [{"containerPortRange": "9000-9004"}, {"containerPort": 9100}]
    script = "mkdir /srv; for p in 9000 9004 9100; do mkdir /srv/$p; " \
             "echo $p >/srv/$p/index.html; httpd -p $p -h /srv/$p; done; echo done; exec sleep 1000"
    definition = wharf.register("range", shell("app", script, portMappings=ports))
    described = wharf.client().describe_task_definition(taskDefinition=definition)["taskDefinition"]
    shown = described["containerDefinitions"][0]["portMappings"][0]
    assert shown == {"containerPortRange": "9000-9004", "protocol": "tcp"}
    arns = [wharf.start(definition) for _ in range(2)]
    taken = set()
    for arn in arns:
        bindings = wharf.running(arn)["containers"][0]["networkBindings"]
        said(wharf, arn, "app")
        ranged = next(b for b in bindings if "containerPortRange" in b)
        assert ranged["containerPortRange"] == "9000-9004" and "hostPort" not in ranged
        first, last = map(int, ranged["hostPortRange"].split("-"))
        assert last - first == 4 and not taken & set(range(first, last + 1))
        taken |= set(range(first, last + 1))
        assert [get(first).strip(), get(last).strip()] == ["9000", "9004"]
        assert [b["containerPort"] for b in bindings if "containerPort" in b] == [9100]
        with pytest.raises(OSError):
            get(first + 1)
    for arn in arns:
        end(wharf, arn)


def test_a_launch_type_has_a_runtime_of_its_own(wharf, directory):
    asked = directory / "asked"
    wharf.run("run", "shell:latest", "true")
    assert "create" not in (asked.read_text() if asked.exists() else "")
    subnet = wharf.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    app = {"name": "app", "image": "shell", "command": ["sh", "-c", "echo here; exit 3"]}
    definition = wharf.register(
        "apart", app, networkMode="awsvpc", cpu="256", memory="512", requiresCompatibilities=["FARGATE"])
    arn = wharf.start(definition, launchType="FARGATE", networkConfiguration={
        "awsvpcConfiguration": {"subnets": [subnet]}})
    container = wharf.stopped(arn)["containers"][0]
    assert container["exitCode"] == 3
    assert "create" in asked.read_text() and container["runtimeId"] in asked.read_text()
    assert "here" in wharf.run("logs", arn).stdout


def test_a_profile_of_apparmor_is_for_hosts_that_have_it(wharf):
    enabled = pathlib.Path("/sys/module/apparmor/parameters/enabled")
    has_it = enabled.exists() and enabled.read_text().startswith("Y")
    attribute = "com.amazonaws.ecs.capability.apparmor"
    script = "cat /proc/self/attr/current 2>/dev/null; echo done"
    definition = wharf.register("confined", shell("app", script, dockerSecurityOptions=["apparmor:unconfined"]))
    described = wharf.client().describe_task_definition(taskDefinition=definition)["taskDefinition"]
    assert attribute in {a["name"] for a in described["requiresAttributes"]}
    answer = wharf.client().run_task(taskDefinition=definition)
    if has_it:
        assert "unconfined" in said(wharf, answer["tasks"][0]["taskArn"], "app")[0]
    else:
        failure = answer["failures"][0]
        assert failure["reason"] == "ATTRIBUTE" and attribute in failure["detail"], failure
    with pytest.raises(botocore.exceptions.ClientError, match="dockerSecurityOptions label:type:x"):
        wharf.register("wrong", shell("a", ":", dockerSecurityOptions=["label:type:x"]))
