"""Services behind load balancers: registered, drained, replaced. That no request is
lost meanwhile is shown by test_nothing_dropped.py."""

import json
import os
import pathlib
import signal
import subprocess

import pytest
from botocore.exceptions import ClientError
from conftest import eventually
from load_balancing import APP, SUBNETS, Balancer, answers, ask, forward

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


def test_wharf_goes_down_with_load_balancers_and_comes_back(wharf, web):
    """The balancer alone killed: its successor answers, the service stays as it is."""
    before = {t["taskArn"] for t in wharf.tasks("web")}
    pid = wharf.status()["balancer"]["pid"]
    os.kill(pid, signal.SIGKILL)
    again = lambda: wharf.status().get("balancer", {}).get("pid") not in (None, pid)
    eventually("another balancer", again)
    eventually("an answer", lambda: answers(web.port, web.dns_name))
    eventually("healthy targets", lambda: web.health(web.port_group) == ["healthy", "healthy"])
    assert {t["taskArn"] for t in wharf.tasks("web")} == before
    log = pathlib.Path(wharf.data_dir) / "log" / "balancer.log"
    assert "panicked" not in log.read_text()
