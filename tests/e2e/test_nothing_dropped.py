"""Steady requests at a load balancer while everything behind and beside it moves: none may fail.

A few hundred requests through each move by default, 100,000 with WHARF_SOAK=1; the figures are
printed. The client is a program (crates/bench/src/bin/steady.rs): it keeps its pace whatever is
answered, tries nothing again, and takes every status but 200 for a failure."""

import os
import signal
import subprocess
import time

import pytest
from conftest import eventually
from load_balancing import SOAK, Balancer, Steady, forward
from test_load_balancing import BRIDGE, delete, events, register

MANY = 10 if SOAK else 4


@pytest.fixture(scope="module")
def web(wharf):
    """A load balancer in front of a service of two tasks, which two target groups have."""
    balancer = Balancer(wharf, "steady")
    balancer.groups = [balancer.group("steady"), balancer.group("steady-too")]
    balancer.listener, balancer.port = balancer.listen(weights(balancer, 1, 1))
    definition = register(wharf, "steady", BRIDGE)
    balancers = [{"targetGroupArn": group, "containerName": "app", "containerPort": 8080} for group in balancer.groups]
    wharf.client().create_service(
        serviceName="steady", taskDefinition=definition, desiredCount=2, loadBalancers=balancers
    )
    wharf.wait("services_stable", services=["steady"])
    yield balancer
    delete(wharf, "steady")
    balancer.delete(*balancer.groups)


def weights(balancer, *numbers):
    groups = [{"TargetGroupArn": g, "Weight": n} for g, n in zip(balancer.groups, numbers)]
    return {"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}


def healthy(balancer, count):
    """Whether each group has so many targets, all well."""
    try:
        return all(balancer.health(group) == ["healthy"] * count for group in balancer.groups)
    except Exception:  # The server is only coming up.
        return False


def settle(wharf, web, count=2):
    wharf.wait("services_stable", services=["steady"])
    eventually("the targets", lambda: healthy(web, count))


def test_a_rolling_deployment(wharf, web):
    version = 1
    with Steady(web, web.port) as steady:
        while version == 1 or steady.goes_on():
            version += 1
            revision = register(wharf, "steady", BRIDGE, version=str(version))
            wharf.client().update_service(service="steady", taskDefinition=revision)
            settle(wharf, web)
    steady.check(f"{version - 1} rolling deployments")
    assert any(f"version {version}" in body for body in steady.seen["bodies"])
    said = events(wharf, "steady")
    assert any("has begun draining connections on" in m for m in said)
    assert any("deregistered" in m and web.groups[0] in m for m in said)


def test_scaling_out_and_in(wharf, web):
    rounds = 0
    with Steady(web, web.port) as steady:
        while rounds == 0 or steady.goes_on():
            rounds += 1
            for count in (MANY, 2):
                wharf.client().update_service(service="steady", desiredCount=count)
                settle(wharf, web, count)
    steady.check(f"{rounds} times from 2 to {MANY} tasks and back")
    assert len(steady.seen["bodies"]) > 2


def test_rules_and_weights_that_change_all_the_time(wharf, web):
    elb = web.elb
    rule = elb.create_rule(
        ListenerArn=web.listener, Priority=1, Actions=[forward(web.groups[0])],
        Conditions=[{"Field": "path-pattern", "Values": ["/"]}],
    )["Rules"][0]["RuleArn"]
    changes = 0
    with Steady(web, web.port) as steady:
        while changes < 10 or steady.goes_on():
            time.sleep(0.1)
            first, second = ((0, 1), (1, 0), (1, 9))[changes % 3]
            if changes % 20 < 10:
                elb.modify_rule(RuleArn=rule, Actions=[weights(web, first, second)])
            else:
                # The rule is out of the way: the listener's own action answers.
                elb.modify_rule(RuleArn=rule, Conditions=[{"Field": "path-pattern", "Values": [f"/{changes}"]}])
                elb.modify_listener(ListenerArn=web.listener, DefaultActions=[weights(web, second, first)])
                elb.modify_rule(RuleArn=rule, Conditions=[{"Field": "path-pattern", "Values": ["/"]}])
            changes += 1
    elb.delete_rule(RuleArn=rule)
    steady.check(f"{changes} changes of rules and weights")


def test_a_certificate_that_is_replaced(wharf, web, tmp_path):
    acm = wharf.client("acm")
    certificates = [
        acm.request_certificate(DomainName=web.dns_name, IdempotencyToken=f"t{n}")["CertificateArn"] for n in range(2)
    ]
    acm.get_waiter("certificate_validated").wait(CertificateArn=certificates[1])
    trust = tmp_path / "authority.pem"
    trust.write_text(acm.get_certificate(CertificateArn=certificates[0])["CertificateChain"])
    listener, port = web.listen(
        weights(web, 1, 1), protocol="HTTPS", Certificates=[{"CertificateArn": certificates[0]}]
    )
    eventually("TLS", lambda: subprocess.run(
        ["curl", "-sSf", "--max-time", "2", "--cacert", trust, f"https://{web.dns_name}:{port}/"],
        capture_output=True).returncode == 0)
    changes = 0
    with Steady(web, port, trust) as steady:
        while changes < 4 or steady.goes_on():
            time.sleep(0.1)
            changes += 1
            web.elb.modify_listener(
                ListenerArn=listener, Certificates=[{"CertificateArn": certificates[changes % 2]}]
            )
    steady.check(f"{changes} replacements of a certificate")
    web.elb.delete_listener(ListenerArn=listener)
    for certificate in certificates:
        acm.delete_certificate(CertificateArn=certificate)


def test_the_control_plane_killed(wharf, web):
    kills = 0
    with Steady(web, web.port) as steady:
        while kills == 0 or steady.goes_on():
            kills += 1
            before = wharf.status()["server"]["pid"]
            os.kill(before, signal.SIGKILL)
            eventually("the server", lambda: wharf.status().get("server", {}).get("pid") not in (None, before))
            eventually("the targets", lambda: healthy(web, 2))
    steady.check(f"{kills} kills of the server")


def test_a_killed_task(wharf, web):
    """GET may be asked twice: nobody notices, not even those whose requests the task had."""
    kills = 0
    with Steady(web, web.port) as steady:
        while kills == 0 or steady.goes_on():
            kills += 1
            task = wharf.tasks("steady")[0]["taskArn"]
            for pid in wharf.pids(task)["app"]:
                os.kill(pid, signal.SIGKILL)
            eventually("the end of the task", lambda: wharf.task(task)["lastStatus"] == "STOPPED")
            settle(wharf, web)
    steady.check(f"{kills} kills of a task")
