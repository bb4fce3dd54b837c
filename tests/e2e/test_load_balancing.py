"""Services behind load balancers: registered, drained, replaced. That no request is
lost meanwhile is shown by test_nothing_dropped.py."""

import json
import os
import pathlib
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.request

import grpc
import pytest
import websockets.sync.client
from botocore.exceptions import ClientError
from conftest import Wharf, eventually, host_ports
from load_balancer_targets import address_of, grpc_server, websocket_server
from load_balancing import APP, SUBNETS, Balancer, Steady, answers, ask, forward

BRIDGE = APP | {"portMappings": [{"containerPort": 8080, "hostPort": 0}]}
AWSVPC = APP | {"portMappings": [{"containerPort": 8080}]}
NETWORK = {"awsvpcConfiguration": {"subnets": SUBNETS}}


def register(wharf, family, container, version="1", **members):
    environment = [{"name": "VERSION", "value": version}]
    return wharf.register(family, container | {"environment": environment}, **members)


def events(wharf, service):
    return [e["message"] for e in wharf.service(service)["events"]]


def create(wharf, name, definition, group, count=2, **arguments):
    balancers = [{"targetGroupArn": group, "containerName": "app", "containerPort": 8080}]
    wharf.client().create_service(
        serviceName=name, taskDefinition=definition, desiredCount=count, loadBalancers=balancers, **arguments
    )
    wharf.wait("services_stable", services=[name])


def delete(wharf, *services):
    for service in services:
        wharf.client().delete_service(service=service, force=True)
    wharf.wait("services_inactive", services=list(services))


@pytest.fixture(scope="module")
def wharf(request):
    """One that writes access and connection logs."""
    logs = tempfile.mkdtemp(prefix="wharf-e2e-logs-")
    instance = Wharf("--access-logs", logs)
    instance.access_logs = pathlib.Path(logs)
    try:
        yield instance
        if request.session.testsfailed:
            print(instance.logs())
    finally:
        shutil.rmtree(logs)
        assert instance.down().returncode == 0


@pytest.fixture(scope="module")
def web(wharf):
    """A load balancer with a service of two tasks on bridge ports behind it."""
    balancer = Balancer(wharf, "web")
    balancer.port_group = balancer.group("web")
    balancer.listener, balancer.port = balancer.listen(forward(balancer.port_group))
    create(wharf, "web", register(wharf, "web", BRIDGE), balancer.port_group)
    yield balancer
    delete(wharf, "web")
    balancer.delete(balancer.port_group)


def test_a_name_is_answered_by_the_services_tasks(wharf, web):
    """curl on the DNSName with nothing configured, as a user would."""
    url = f"http://{web.dns_name}:{web.port}/"
    seen = set()
    for _ in range(8):
        seen.add(subprocess.check_output(["curl", "-sSf", "--max-time", "10", url], text=True))
    assert len(seen) == 2 and all("version 1" in body for body in seen), seen
    assert web.health(web.port_group) == ["healthy", "healthy"]
    service = wharf.service("web")
    assert service["loadBalancers"] == [
        {"targetGroupArn": web.port_group, "containerName": "app", "containerPort": 8080}
    ]
    assert service["healthCheckGracePeriodSeconds"] == 0
    said = events(wharf, "web")
    assert any("registered" in m and f"targets in (target-group {web.port_group})" in m for m in said)
    assert any("has reached a steady state" in m for m in said)
    (listed,) = [b for b in json.loads(wharf.run("lb", "ls", "--json").stdout) if b["loadBalancerName"] == "web"]
    assert listed["listeners"][0]["url"] == url.rstrip("/")
    assert any(a == f"127.0.0.1:{web.port}" for a in listed["listeners"][0]["addresses"])
    assert listed["targetGroups"][0]["healthy"] == 2
    # Its own address has the same.
    assert answers(web.port, "anything", address=listed["hostAddress"]) in seen


def test_https_grpc_and_websockets_by_real_clients(wharf, web):
    """One HTTPS listener: two certificates told apart by SNI, a service, a gRPC and a WebSocket target."""
    authority = wharf.run("ca").stdout
    trust = ssl.create_default_context(cadata=authority)
    acm, elb = wharf.client("acm"), web.elb
    arns = [acm.request_certificate(DomainName=name)["CertificateArn"] for name in ("a.test", "b.test")]
    listener, port = web.listen(
        forward(web.port_group), protocol="HTTPS", Certificates=[{"CertificateArn": arns[0]}]
    )
    elb.add_listener_certificates(ListenerArn=listener, Certificates=[{"CertificateArn": arns[1]}])
    (listed,) = [b for b in json.loads(wharf.run("lb", "ls", "--json").stdout) if b["loadBalancerName"] == "web"]
    own, here = listed["hostAddress"], address_of(wharf)
    for name in ("a.test", "b.test"):
        with trust.wrap_socket(socket.create_connection((own, port)), server_hostname=name) as client:
            assert (("DNS", name),) == client.getpeercert()["subjectAltName"]
            client.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
            assert b"hello from" in client.makefile("rb").read()
    with grpc_server(here) as grpc_port, websocket_server(here) as socket_port:
        grpc_group = web.group("grpc", "ip", ProtocolVersion="GRPC")
        socket_group = web.group("socket", "ip")
        targets = (("/echo.Echo/*", grpc_group, grpc_port), ("/ws*", socket_group, socket_port))
        for priority, (path, group, target) in enumerate(targets, 1):
            elb.create_rule(ListenerArn=listener, Priority=priority, Actions=[forward(group)],
                            Conditions=[{"Field": "path-pattern", "Values": [path]}])
            elb.register_targets(TargetGroupArn=group, Targets=[{"Id": here, "Port": target}])
        for group in (grpc_group, socket_group):
            eventually("a healthy target", lambda: web.health(group) == ["healthy"])
        credentials = grpc.ssl_channel_credentials(authority.encode())
        options = [("grpc.ssl_target_name_override", "b.test")]
        with grpc.secure_channel(f"{own}:{port}", credentials, options) as channel:
            once = channel.unary_unary("/echo.Echo/Once")
            answer, call = once.with_call(b"wharf", timeout=10)
            assert (answer, dict(call.trailing_metadata())["proto"]) == (b"frahw", "https")
            with pytest.raises(grpc.RpcError) as refused:
                once(b"fail", timeout=10)
            assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            assert refused.value.details() == "as asked"
            each = channel.stream_stream("/echo.Echo/Each")
            assert list(each(iter([b"ab", b"cd", b"x" * 100_000]), timeout=10)) == [b"ba", b"dc", b"x" * 100_000]
        url = f"wss://{own}:{port}/ws?a=1"
        with websockets.sync.client.connect(url, ssl=trust, server_hostname="a.test") as client:
            for message in ("one", "two", "x" * 100_000):
                client.send(message)
                assert client.recv(timeout=10) == f"/ws?a=1 {message}"
        elb.delete_listener(ListenerArn=listener)
    for group in (grpc_group, socket_group):
        elb.delete_target_group(TargetGroupArn=group)
    for arn in arns:
        acm.delete_certificate(CertificateArn=arn)


def metrics(wharf):
    """Name and labels → value, of what balancers count."""
    text = urllib.request.urlopen(f"http://{wharf.listen}/metrics", timeout=5).read().decode()
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("wharf_elb_")]
    return {name: float(value) for name, value in lines}


def test_what_goes_through_is_seen(wharf, web):
    """Metrics by CloudWatch's names, `lb top`, `lb open`, access and connection logs."""
    path = web.arn.split("loadbalancer/")[1]
    group = web.port_group.rsplit(":", 1)[1]
    of_balancer = f'{{load_balancer="{path}",target_group="",availability_zone="us-east-1a"}}'
    of_group = f'{{load_balancer="{path}",target_group="{group}",availability_zone="us-east-1a"}}'
    before = metrics(wharf).get(f"wharf_elb_request_count_total{of_balancer}", 0)
    with Steady(web, web.port) as steady:
        top = json.loads(wharf.run("lb", "top", "--json").stdout)
    steady.check("while it is looked at")
    (balancer, below) = [one for one in top if one["name"] == "web"]
    assert balancer["loadBalancerArn"] == web.arn and below["targetGroupArn"] == web.port_group
    assert balancer["requestsPerSecond"] > 1 and balancer["counts"]["ActiveConnectionCount"] >= 2
    assert (below["healthy"], below["targets"]) == (2, 2)
    assert 0 < below["p50Seconds"] <= below["p99Seconds"] < 5
    table = wharf.run("lb", "top").stdout.splitlines()
    assert table[0].split()[:4] == ["NAME", "REQ/S", "P50", "P99"], table
    sent = lambda: metrics(wharf).get(f"wharf_elb_request_count_total{of_balancer}", 0) - before
    eventually("the requests", lambda: sent() >= steady.seen["count"])
    counted = metrics(wharf)
    assert counted[f"wharf_elb_http_code_target_2xx_count_total{of_group}"] >= steady.seen["count"]
    assert counted[f"wharf_elb_target_response_time_seconds_count{of_group}"] >= steady.seen["count"]
    assert counted[f"wharf_elb_healthy_host_count{of_group}"] == 2
    assert counted[f"wharf_elb_processed_bytes_total{of_balancer}"] > 0
    assert wharf.run("lb", "open", "web").stdout == f"http://{web.dns_name}:{web.port}\n"
    assert "known: web" in wharf.run("lb", "open", "other", check=False).stderr

    def log(kind):
        # At midnight the next one begins.
        *_, file = sorted(wharf.access_logs.glob(f"{kind}{path.replace('/', '.')}_*.log"))
        return [shlex.split(line) for line in file.read_text().splitlines()]

    request = log("")[-1]
    assert len(request) == 33, request
    assert (request[0], request[2], request[8], request[9]) == ("http", path, "200", "200"), request
    assert request[12] == f"GET http://{web.dns_name}:{web.port}/ HTTP/1.1" and request[16] == web.port_group
    connection = next(one for one in log("conn_log.") if one[11] == request[29])
    assert len(connection) == 12 and request[3] == f"{connection[1]}:{connection[2]}", connection
    assert connection[3:11] == [str(web.port), *["-"] * 7], connection


def test_a_killed_task_is_taken_out_and_replaced(wharf, web):
    (first, _) = wharf.tasks("web")
    for pid in wharf.pids(first["taskArn"])["app"]:
        os.kill(pid, signal.SIGKILL)
    stopped = lambda: wharf.task(first["taskArn"])["lastStatus"] == "STOPPED"
    eventually("the end of the task", stopped)
    wharf.wait("services_stable", services=["web"])
    eventually("two healthy targets", lambda: web.health(web.port_group).count("healthy") == 2)
    for _ in range(6):
        assert answers(web.port, web.dns_name)


def test_an_unhealthy_target_has_its_task_replaced(wharf):
    """A target group whose checks want what the tasks never answer."""
    balancer = Balancer(wharf, "sick")
    group = balancer.group("sick", Matcher={"HttpCode": "204"})
    balancer.listen(forward(group))
    balancers = [{"targetGroupArn": group, "containerName": "app", "containerPort": 8080}]
    client = wharf.client()
    client.create_service(
        serviceName="sick", taskDefinition=register(wharf, "sick", BRIDGE), desiredCount=1,
        loadBalancers=balancers, healthCheckGracePeriodSeconds=1,
        deploymentConfiguration={"deploymentCircuitBreaker": {"enable": True, "rollback": False}},
    )
    failed = eventually("a task that failed its checks", lambda: [
        t for t in wharf.tasks("sick", desiredStatus="STOPPED")
        if t["stoppedReason"] == f"Task failed ELB health checks in (target-group {group})"
    ])
    assert failed[0]["stopCode"] == "ServiceSchedulerInitiated"
    unhealthy = f"is unhealthy in (target-group {group}) due to (reason Health checks failed with these codes: [200])"
    assert any(unhealthy in m for m in events(wharf, "sick")), events(wharf, "sick")
    delete(wharf, "sick")
    balancer.delete(group)


def test_two_services_behind_rules_and_tasks_with_addresses_of_their_own(wharf):
    """Path and host rules, redirect and fixed response; awsvpc targets; a task that calls the load
    balancer by its name."""
    balancer = Balancer(wharf, "rules")
    one, two = balancer.group("one", "ip"), balancer.group("two", "ip")
    fixed = {"Type": "fixed-response", "FixedResponseConfig": {
        "StatusCode": "418", "ContentType": "text/plain", "MessageBody": "short and stout"}}
    listener, port = balancer.listen(fixed)

    def rule(priority, action, **condition):
        ((kind, value),) = condition.items()
        balancer.elb.create_rule(
            ListenerArn=listener, Priority=priority, Actions=[action],
            Conditions=[{"Field": kind.replace("_", "-"), "Values": [value]}],
        )

    rule(1, forward(one), path_pattern="/one/*")
    rule(2, forward(two), host_header="two.test")
    rule(3, {"Type": "redirect", "RedirectConfig": {"StatusCode": "HTTP_301", "Path": "/one/#{path}"}},
         path_pattern="/old")
    for name, group in (("one", one), ("two", two)):
        definition = register(wharf, name, AWSVPC, version=name, networkMode="awsvpc")
        create(wharf, name, definition, group, count=1, networkConfiguration=NETWORK)
    (task,) = wharf.tasks("one")
    (target,) = balancer.elb.describe_target_health(TargetGroupArn=one)["TargetHealthDescriptions"]
    address = {d["name"]: d["value"] for d in task["attachments"][0]["details"]}["privateIPv4Address"]
    assert (target["Target"]["Id"], target["Target"]["Port"]) == (address, 8080)

    assert "version one" in answers(port, balancer.dns_name, "/one/x")
    # The shared front finds the load balancer by its rules, too.
    assert "version two" in answers(port, "two.test")
    status, headers, body = ask(port, balancer.dns_name)
    assert (status, body) == (418, "short and stout"), headers
    status, headers, _ = ask(port, balancer.dns_name, "/old")
    assert status == 301 and headers["location"].endswith("/one/old"), headers

    wharf.build_shell()
    script = f"wget -q -O - http://{balancer.dns_name}:{port}/one/x"
    caller = wharf.register("caller", {
        "name": "app", "image": "shell:latest", "memory": 16, "command": ["/bin/sh", "-c", script],
    })
    arn = wharf.start(caller)
    assert wharf.stopped(arn)["containers"][0]["exitCode"] == 0, wharf.run("logs", arn).stdout
    assert "version one" in wharf.run("logs", arn).stdout
    delete(wharf, "one", "two")
    balancer.delete(one, two)


def test_what_ecs_refuses(wharf):
    balancer = Balancer(wharf, "refused")
    idle = balancer.group("idle")
    definition = register(wharf, "refused", BRIDGE)

    def refused(**balancers):
        with pytest.raises(ClientError) as error:
            wharf.client().create_service(
                serviceName="refused", taskDefinition=definition, desiredCount=1, loadBalancers=[balancers]
            )
        return str(error.value)

    where = {"containerName": "app", "containerPort": 8080}
    expected = f"The target group with targetGroupArn {idle} does not have an associated load balancer."
    assert expected in refused(targetGroupArn=idle, **where)
    assert "loadBalancerName" in refused(loadBalancerName="classic", **where)
    balancer.listen(forward(idle))
    text = refused(targetGroupArn=idle, containerName="app", containerPort=1)
    assert "The container app did not have a container port 1 defined." in text
    balancer.delete(idle)


def connect_until(port, name, ended, connected):
    """Connects anew for each request, and notes what came of it."""
    request = f"GET / HTTP/1.0\r\nHost: {name}\r\n\r\n".encode()
    while not ended.is_set():
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                connection.sendall(request)
                answer = connection.makefile("rb").read()
            connected.append("answered" if b" 200 OK" in answer else "broken")
        except ConnectionRefusedError:
            connected.append("refused")
        except OSError:
            connected.append("broken")
        time.sleep(0.005)


FOUND = {"Type": "fixed-response", "FixedResponseConfig": {
    "StatusCode": "200", "ContentType": "text/plain", "MessageBody": "found"}}
ASK = r"""
read name port
set -- $(getent ahostsv4 $name)
head -n 1 /etc/resolv.conf
nslookup -type=a $name | sed -n "s/^Address: //p"
wget -q -O - --header "Host: $name" http://$1:$port/
"""


def build_asker(wharf):
    """An image with a shell and glibc's own resolver: it looks names up for whoever connects."""
    wharf.build_shell()
    root = pathlib.Path(wharf.data_dir) / "asker-root"
    shutil.copytree(pathlib.Path(wharf.data_dir) / "shell-root", root, symlinks=True)
    for file in ["/usr/bin/getent", *needs("/usr/bin/getent")]:
        (root / file.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, root / file.lstrip("/"))
    (root / "bin/getent").symlink_to("../usr/bin/getent")
    (root / "ask").write_text(ASK)
    wharf.run("image", "build", "--name", "asker:latest", str(root))
    return {"name": "app", "image": "asker:latest", "cpu": 1, "memory": 16,
            "command": ["/bin/nc", "-ll", "-p", "8080", "-e", "/bin/sh", "/ask"],
            "portMappings": [{"containerPort": 8080}]}


def needs(program):
    """The shared libraries of a program."""
    words = subprocess.check_output(["ldd", program], text=True).split()
    return {word for word in words if word.startswith("/")}


def test_a_task_finds_a_load_balancer_that_was_made_after_it_began(wharf):
    """By glibc and by a bare question, from bridge and awsvpc."""
    asker = build_asker(wharf)
    bridge = wharf.register("asker", asker)
    awsvpc = wharf.register("asker-vpc", asker, networkMode="awsvpc")
    tasks = [wharf.start(bridge), wharf.start(awsvpc, networkConfiguration=NETWORK)]
    bridged, own = [wharf.running(arn) for arn in tasks]
    details = {d["name"]: d["value"] for d in own["attachments"][0]["details"]}
    later = Balancer(wharf, "later")
    _, port = later.listen(FOUND)
    (listed,) = [b for b in json.loads(wharf.run("lb", "ls", "--json").stdout) if b["loadBalancerName"] == "later"]
    for place in (("127.0.0.1", *host_ports(bridged)), (details["privateIPv4Address"], 8080)):
        answer = eventually("an answer", lambda: asked(place, f"{later.dns_name} {port}\n"))
        assert answer[:2] == ["nameserver 169.254.169.253", listed["taskAddress"]], (place, answer)
        assert answer[2] == "found", (place, answer)
    later.delete()
    for arn in tasks:
        wharf.client().stop_task(task=arn)


def asked(place, question):
    """The lines of an answer, if all of it came."""
    with socket.create_connection(place, timeout=10) as connection:
        connection.sendall(question.encode())
        answer = connection.makefile().read().splitlines()
    return answer if len(answer) == 3 else None


def test_wharf_goes_down_with_load_balancers_and_comes_back(wharf, web):
    """The balancer alone killed: nobody who connects meanwhile is refused, its successor answers them,
    the service stays as it is."""
    before = {t["taskArn"] for t in wharf.tasks("web")}
    pid = wharf.status()["balancer"]["pid"]
    ended, connected = threading.Event(), []
    # A listener that the killed one has hardly had the time to write down.
    fresh, port = web.listen(FOUND)
    eventually("the listener", lambda: answers(port, web.dns_name), interval=0.01)
    connecting = threading.Thread(target=connect_until, args=(port, web.dns_name, ended, connected))
    connecting.start()
    eventually("connections", lambda: len(connected) > 5)
    os.kill(pid, signal.SIGKILL)
    killed = len(connected)
    again = lambda: wharf.status().get("balancer", {}).get("pid") not in (None, pid)
    eventually("another balancer", again)
    eventually("connections at the successor", lambda: len(connected) > killed + 20)
    ended.set()
    connecting.join()
    web.elb.delete_listener(ListenerArn=fresh)
    assert "refused" not in connected, connected
    # One may have been in the killed one's hands.
    assert connected.count("broken") <= 1 and connected[-1] == "answered", connected
    eventually("an answer", lambda: answers(web.port, web.dns_name))
    eventually("healthy targets", lambda: web.health(web.port_group) == ["healthy", "healthy"])
    assert {t["taskArn"] for t in wharf.tasks("web")} == before
    log = pathlib.Path(wharf.data_dir) / "log" / "balancer.log"
    assert "panicked" not in log.read_text()
