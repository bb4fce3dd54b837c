"""Load balancers, target groups and services behind them, by boto3; and steady traffic at them."""

import http.client
import threading
import time

from conftest import eventually, free_port

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


class Traffic:
    """Steady requests, over connections that are kept, until it is left; then all must have been
    answered."""

    def __init__(self, port, host, threads=2, pause=0.01):
        self.port, self.host, self.pause = port, host, pause
        self.failures, self.bodies, self.count = [], set(), 0
        self.ending = threading.Event()
        self.threads = [threading.Thread(target=self.send) for _ in range(threads)]

    def send(self):
        connection = None
        while not self.ending.is_set():
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
                connection.request("GET", "/", headers={"Host": self.host})
                answer = connection.getresponse()
                body = answer.read().decode()
                if answer.status != 200:
                    self.failures.append((time.monotonic(), answer.status, body[:80]))
                self.bodies.add(body)
                if answer.will_close:
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException) as error:
                self.failures.append((time.monotonic(), repr(error)))
                connection = None
            self.count += 1
            time.sleep(self.pause)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        eventually("traffic", lambda: self.count > 10)
        return self

    def __exit__(self, *_):
        self.ending.set()
        for thread in self.threads:
            thread.join()
