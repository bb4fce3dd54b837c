"""All that `wharf down --tasks` leaves on a host: nothing.

The host is counted before, meanwhile and after, as a whole: this file runs itself again in
namespaces of its own (mounts, network, processes, /run and /tmp), where nothing but the one wharf
changes anything."""

import json
import pathlib
import shutil
import subprocess
import sys

from conftest import CGROUPS, HELLO, Wharf, eventually, get, host_ports

CONTAINER = {"name": "app", "image": "hello:latest", "command": ["app"], "memory": 32}
PORT = {"portMappings": [{"containerPort": 8080, "hostPort": 0}]}


def alone(what, file=__file__, timeout=180):
    """Runs one of a file's functions in namespaces of its own."""
    script = f"""
        set -e
        mount -t tmpfs -o mode=0755 tmpfs /run
        mount -t tmpfs -o mode=1777 tmpfs /tmp
        ip link set lo up
        {sys.executable} -B {file} {what} & wait $!
    """
    result = subprocess.run(
        # The shell stays as process 1, which takes what is orphaned.
        ["unshare", "--mount", "--net", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc",
         "bash", "-c", script],
        capture_output=True, text=True, timeout=timeout,
    )
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    return result.stdout


def counted(wharf):
    """Everything that a wharf may leave, by kind."""
    found = {kind: set() for kind in ("processes", "mount namespaces", "network namespaces", "mounts")}
    for process in pathlib.Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            name = (process / "comm").read_text().strip()
            if (process / "stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                continue
            spaces = {kind: (process / "ns" / kind).readlink().name for kind in ("mnt", "net")}
            mounts = (process / "mountinfo").read_text().splitlines()
        except OSError:
            continue
        if name not in ("bash", "python", "python3"):
            found["processes"].add(f"{process.name} {name}")
        found["mount namespaces"].add(spaces["mnt"])
        found["network namespaces"].add(spaces["net"])
        found["mounts"] |= {f"{spaces['mnt']} {line.split()[4]}" for line in mounts}

    def lines(*command):
        return set(subprocess.check_output(command, text=True).splitlines())
    links = json.loads(subprocess.check_output(["ip", "-json", "link"]))
    found["links"] = {link["ifname"] for link in links}
    found["routes"] = lines("ip", "route", "show", "table", "all")
    found["nft rules"] = lines("nft", "list", "ruleset")
    found["cgroups"] = {str(p) for p in CGROUPS.parent.glob(f"*/wharf-{wharf.instance}/**")}
    inside = pathlib.Path(wharf.data_dir)
    found["files"] = {
        str(path)
        for root in ("/run", "/tmp") for path in pathlib.Path(root).rglob("*")
        if path != inside and inside not in path.parents
    } | {f"{p}: {p.read_text()}" for p in map(pathlib.Path, ("/etc/hosts", "/etc/resolv.conf"))}
    return found


def load(wharf):
    """Tasks in every network mode, published and used."""
    wharf.client().create_service(
        serviceName="web", desiredCount=2,
        taskDefinition=wharf.register("web", CONTAINER | PORT, networkMode="bridge"),
    )
    subnet = wharf.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    vpc = {"networkConfiguration": {"awsvpcConfiguration": {"subnets": [subnet]}}}
    for mode, members in (("awsvpc", vpc), ("host", {}), ("none", {})):
        wharf.running(wharf.start(wharf.register(mode, CONTAINER, networkMode=mode), **members))
    wharf.wait("services_stable", services=["web"])
    assert all("hello from" in get(*host_ports(task)) for task in wharf.tasks("web"))


def grown(before, now):
    return {kind: len(now[kind] - before[kind]) for kind in before}


def settle(wharf, before):
    """Waits until nothing is more than before, and says what is left otherwise."""
    def left():
        now = counted(wharf)
        return {kind: sorted(now[kind] - before[kind]) for kind in now if now[kind] - before[kind]}
    try:
        eventually("nothing more than before", lambda: not left(), timeout=15)
    except AssertionError:
        raise AssertionError(f"left on the host: {json.dumps(left(), indent=1)}") from None


def after_down():
    wharf = Wharf(start=False)
    before = counted(wharf)
    wharf.up()
    wharf.run("image", "build", "--name", "hello:latest", HELLO)
    load(wharf)
    meanwhile = grown(before, counted(wharf))
    assert all(meanwhile.values()), f"the count is blind: {meanwhile}"
    assert wharf.run("down", "--tasks").returncode == 0
    settle(wharf, before)
    print(f"came and went: {meanwhile}")


def after_lost_state():
    wharf = Wharf(start=False)
    before = counted(wharf)
    wharf.up()
    wharf.run("image", "build", "--name", "hello:latest", HELLO)
    load(wharf)
    assert wharf.run("down").returncode == 0
    shutil.rmtree(wharf.data_dir)
    meanwhile = grown(before, counted(wharf))
    assert meanwhile["processes"] and meanwhile["cgroups"] and meanwhile["links"], meanwhile
    assert wharf.run("down", "--tasks").returncode == 0
    settle(wharf, before)
    print(f"came and went: {meanwhile}")


def test_nothing_is_left_after_down():
    assert "came and went" in alone("after_down")


def test_nothing_is_left_although_the_state_was_lost():
    assert "came and went" in alone("after_lost_state")


if __name__ == "__main__":
    globals()[sys.argv[1]]()
