"""Load balancers, target groups and services behind them, by boto3; and steady requests at them."""

import contextlib
import http.client
import json
import os
import subprocess
import time

from conftest import BIN, free_port

SOAK = bool(os.environ.get("WHARF_SOAK"))
RATE, COUNT = (1000, 100_000) if SOAK else (400, 200)

SUBNETS = ["subnet-0a77a2f000000000a", "subnet-0a77a2f000000000b"]
APP = {"name": "app", "image": "hello:latest", "command": ["app"], "cpu": 1, "memory": 16}
# Checks that come soon: a service is steady within a second or two.
CHECKS = {
    "HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 2,
    "HealthyThresholdCount": 2, "UnhealthyThresholdCount": 2,
}


class Balancer:
    """A load balancer of either kind."""

    def __init__(self, wharf, name, **arguments):
        self.wharf, self.elb, self.name = wharf, wharf.client("elbv2"), name
        created = self.elb.create_load_balancer(Name=name, Subnets=SUBNETS, **arguments)
        (description,) = created["LoadBalancers"]
        self.arn, self.dns_name = description["LoadBalancerArn"], description["DNSName"]

    def group(self, name, target_type="instance", delay=5, **arguments):
        """A target group's ARN."""
        arguments = CHECKS | {"Protocol": "HTTP", "Port": 8080} | arguments
        created = self.elb.create_target_group(
            Name=name, VpcId="vpc-0a77a2f0000000001", TargetType=target_type, **arguments
        )
        arn = created["TargetGroups"][0]["TargetGroupArn"]
        delay = {"Key": "deregistration_delay.timeout_seconds", "Value": str(delay)}
        self.elb.modify_target_group_attributes(TargetGroupArn=arn, Attributes=[delay])
        return arn

    def listen(self, *actions, protocol="HTTP", **arguments):
        """A listener on a free port: its ARN and its port."""
        port = free_port()
        created = self.elb.create_listener(
            LoadBalancerArn=self.arn, Protocol=protocol, Port=port, DefaultActions=list(actions), **arguments
        )
        return created["Listeners"][0]["ListenerArn"], port

    def health(self, group):
        """The targets' states, sorted."""
        described = self.elb.describe_target_health(TargetGroupArn=group)
        return sorted(t["TargetHealth"]["State"] for t in described["TargetHealthDescriptions"])

    def delete(self, *groups):
        self.elb.delete_load_balancer(LoadBalancerArn=self.arn)
        for group in groups:
            self.elb.delete_target_group(TargetGroupArn=group)


def forward(group):
    return {"Type": "forward", "TargetGroupArn": group}


def ask(port, host, path="/", address="127.0.0.1", timeout=10):
    """Status, headers and body of one request to the shared front."""
    connection = http.client.HTTPConnection(address, port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, headers, answer.read().decode()
    finally:
        connection.close()


def answers(port, host, path="/", address="127.0.0.1"):
    """The body, if it is answered by 200."""
    try:
        status, _, body = ask(port, host, path, address)
    except OSError:
        return None
    return body if status == 200 else None


class Steady:
    """Requests at a steady rate, from entering until leaving, and COUNT of them at least."""

    def __init__(self, balancer, port, trust=None):
        self.command = [str(BIN / "steady"), f"127.0.0.1:{port}", balancer.dns_name, str(RATE), str(COUNT)]
        self.command += [str(trust)] if trust else []

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "going\n"
        self.ends = time.monotonic() + COUNT / RATE
        return self

    def goes_on(self):
        return time.monotonic() < self.ends

    def __exit__(self, *_):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.seen = json.loads(self.process.stdout.read())
        self.process.wait()

    def check(self, what):
        """Nothing failed."""
        seen = self.seen
        print(f"{what}: {seen['count']} requests, {seen['failed']} failed, {seen['per_second']:.0f}/s, "
              f"p50 {seen['p50_ms']:.2f} ms, p99 {seen['p99_ms']:.2f} ms, longest {seen['longest_ms']:.0f} ms")
        assert seen["count"] >= COUNT and seen["failed"] == 0, (seen["count"], seen["failed"], seen["failures"])
