"""The task definitions that users bring: each of `corpus/` registers as it is and runs, or is
refused with a reason that docs/differences.md gives.

They have the shapes of Amazon ECS's developer guide (docs-), of AWS's samples (samples-, firelens-), of
what CDK, Terraform's modules and Copilot emit, and of typical stacks; written anew, with pages and
names of our own. Their images are made here from Debian's packages, under the names that they ask for:
nginx and redis are Debian's own, whatever Debian has not (a Java server, a collector of Amazon's) is
busybox that listens on the ports."""

import contextlib
import itertools
import json
import os
import pathlib
import shutil
import signal
import socket
import stat
import tempfile
import urllib.request

import pytest

import debian
from conftest import ROOT, Wharf, eventually

CORPUS = pathlib.Path(__file__).with_name("corpus")
HTTP = "http"  # its first TCP port answers a GET
REDIS = "redis"  # its first TCP port answers PING
RUNS = "runs"  # it goes on, its dependencies met and its health checks passed
ENDS = "ends"  # it ends by itself, with exit code 0


class Refused:
    """Registration names these words, and docs/differences.md the reason, by `said` or the first."""

    def __init__(self, *words, said=None):
        self.words = words
        self.said = said or words[0]


EXPECTED = {
    "cdk-alb-fargate-service": HTTP,
    "cdk-queue-processing": RUNS,
    "cdk-scheduled-ec2": ENDS,
    "copilot-load-balanced-web": HTTP,
    "docs-app-mesh": Refused("proxyConfiguration"),
    "docs-bind-mount-host-path": HTTP,
    "docs-bind-mount-scratch": HTTP,
    "docs-cloudwatch-agent-daemon": RUNS,
    "docs-container-dependency": RUNS,
    "docs-docker-volume-local": REDIS,
    "docs-docker-volume-nfs": Refused("driverOpts", "nfs"),
    "docs-docker-volume-rexray": Refused("rexray/ebs", said="`driver` other than `local`"),
    "docs-ecr-task-role": RUNS,
    "docs-efs": Refused("efsVolumeConfiguration"),
    "docs-ephemeral-storage": RUNS,
    "docs-exec-init": RUNS,
    "docs-external-ubuntu": HTTP,
    "docs-fargate-webserver": HTTP,
    "docs-fault-injection": Refused("enableFaultInjection"),
    "docs-fluentd-secret-address": RUNS,
    "docs-gelf": Refused("gelf"),
    "docs-gpu": ENDS,
    "docs-health-check": HTTP,
    "docs-parameter-store": RUNS,
    "docs-ping": ENDS,
    "docs-restart-policy": RUNS,
    "docs-secrets-manager": RUNS,
    "docs-service-connect-ports": HTTP,
    "docs-splunk": Refused("splunk"),
    "docs-tutorial-ec2-sleep": RUNS,
    "docs-tutorial-fargate-cli": HTTP,
    "docs-volumes-from": RUNS,
    "docs-windows": Refused("operatingSystemFamily", said="Windows is not supported"),
    "docs-wordpress-mysql": HTTP,
    "docs-xray-daemon": HTTP,
    "firelens-buffer-limit": RUNS,
    "firelens-cloudwatch": RUNS,
    "firelens-config-file": RUNS,
    "firelens-fluentd": RUNS,
    "firelens-forward": RUNS,
    "firelens-health-check": RUNS,
    "samples-consul-client": RUNS,
    "samples-consul-server": RUNS,
    "samples-gunicorn-ec2": HTTP,
    "samples-gunicorn-fargate": HTTP,
    "samples-jetty-ec2": HTTP,
    "samples-jetty-fargate": HTTP,
    "samples-kibana-ec2": HTTP,
    "samples-kibana-fargate": HTTP,
    "samples-nginx-ec2": HTTP,
    "samples-nginx-fargate": HTTP,
    "samples-tomcat-ec2": HTTP,
    "samples-tomcat-fargate": HTTP,
    "samples-wildfly-ec2": HTTP,
    "samples-wildfly-fargate": HTTP,
    "stack-app-otel-collector": HTTP,
    "stack-cron-job": ENDS,
    "stack-database-with-volume": REDIS,
    "stack-hardened": HTTP,
    "stack-host-agent": RUNS,
    "stack-migration-first": HTTP,
    "stack-web-nginx-sidecar": HTTP,
    "stack-worker": RUNS,
    "terraform-aws-modules-service": RUNS,
    "terraform-cloudposse-web-app": HTTP,
}

# Image → the ports that the program in it listens on.
LISTENERS = {
    "123456789012.dkr.ecr.us-west-2.amazonaws.com/aws-nodejs-sample:v1": "",
    "amazon/amazon-ecs-sample": "80",
    "amazon/aws-xray-daemon": "2000",
    "amazon/cloudwatch-agent:latest": "",
    "app": "",
    "cloudposse/default-backend": "80",
    "consul": "",
    "danriti/gunicorn-flask": "5000",
    "docker.elastic.co/kibana/kibana:6.0.0": "5601",
    "jboss/wildfly": "8080 9990",
    "jetty:latest": "8080",
    "mysql": "3306",
    "public.ecr.aws/appmesh/aws-appmesh-envoy:v1.29": "",
    "public.ecr.aws/aws-containers/ecsdemo-frontend:latest": "3000",
    "public.ecr.aws/aws-observability/aws-for-fluent-bit:stable": "8877",
    "public.ecr.aws/aws-observability/aws-otel-collector:v0.40.0": "4317 4318",
    "fluent/fluentd:v1.16": "",
    "scorekeep-api": "5000",
    "tomcat": "8080",
    "wordpress": "80",
}
SHELLS = [
    "alpine:3.4", "amazonlinux:2", "amazonlinux:latest", "busybox", "nvidia/cuda:12.0.0-base",
    "public.ecr.aws/docker/library/busybox:latest",
]
SERVE = """#!/bin/sh
trap 'exit 0' TERM
for port in $PORTS; do
  httpd -p "$port" -h /srv || exit 1
done
echo "listening on ${PORTS:-nothing}"
while :; do sleep 600 & wait $!; done
"""
HTTPD = """#!/bin/sh
exec httpd -f -p 80 -h /usr/local/apache2/htdocs
"""
NVIDIA_SMI = """#!/bin/sh
test -c /dev/nvidia0 && test "$NVIDIA_VISIBLE_DEVICES" = 0
"""
NGINX_CONFIG = """daemon off; user root; error_log stderr; pid /tmp/nginx.pid;
events {} http { access_log /dev/stdout; server { listen 80; location / { %s } } }
"""


@pytest.fixture(scope="module")
def wharf(tmp_path_factory):
    """A host with a GPU, as far as its device files go."""
    gpus = tmp_path_factory.mktemp("gpus")
    os.mknod(gpus / "nvidia0", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    instance = Wharf("--gpu-devices", str(gpus))
    try:
        instance.build_shell()
        yield instance
    finally:
        assert instance.down().returncode == 0


@pytest.fixture(scope="module")
def images(wharf):
    """The images, under the names that the definitions ask for."""
    root = pathlib.Path(wharf.data_dir) / "shell-root"
    for path, text in {"bin/serve": SERVE, "usr/local/bin/docker-entrypoint.sh": SERVE,
                       "usr/local/bin/httpd-foreground": HTTPD, "bin/nvidia-smi": NVIDIA_SMI}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
        (root / path).chmod(0o755)
    for path in ("srv", "usr/local/apache2/htdocs"):
        (root / path).mkdir(parents=True, exist_ok=True)
    (root / "srv/index.html").write_text("served\n")
    for image in SHELLS:
        wharf.run("image", "build", "--name", image, str(root))
    wharf.run("image", "build", "--name", "public.ecr.aws/docker/library/httpd:latest", str(root))
    for image, ports in LISTENERS.items():
        wharf.run("image", "build", "--name", image, "--entrypoint", "/bin/serve", "--env", f"PORTS={ports}",
                  str(root))
    with tempfile.TemporaryDirectory(dir=wharf.data_dir) as directory:
        of_debian(wharf, pathlib.Path(directory), root)


def of_debian(wharf, directory, shell):
    nginx, redis = directory / "nginx", directory / "redis"
    for root, packages in ((nginx, debian.NGINX), (redis, debian.REDIS)):
        debian.unpack(root, packages)
        # What health checks and commands call.
        shutil.copytree(shell / "bin", root / "bin", symlinks=True, dirs_exist_ok=True)
        for path in ("tmp", "data", "run"):
            (root / path).mkdir(parents=True, exist_ok=True)
    (nginx / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
    (nginx / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
    (nginx / "var/lib/nginx").mkdir(parents=True, exist_ok=True)
    (nginx / "usr/share/nginx/html").mkdir(parents=True, exist_ok=True)
    (nginx / "usr/share/nginx/html/index.html").write_text("served\n")
    for location, names in {
        "root /usr/share/nginx/html;": ["nginx", "public.ecr.aws/nginx/nginx:latest"],
        "proxy_pass http://127.0.0.1:3000;": ["nginx-proxy"],
    }.items():
        (nginx / "etc/nginx/nginx.conf").write_text(NGINX_CONFIG % location)
        for name in names:
            wharf.run("image", "build", "--name", name, "--entrypoint", "/usr/sbin/nginx", str(nginx))
    words = ["/usr/bin/redis-server", "--protected-mode", "no"]
    wharf.run("image", "build", "--name", "redis:7", *(f"--entrypoint={word}" for word in words), str(redis))


@pytest.fixture(scope="module")
def account(wharf, images):
    """What the definitions name: roles, log groups, secrets and parameters. Name → secret's ARN."""
    iam, trust = wharf.client("iam"), json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}]})
    for role in ("AmazonECSTaskS3BucketRole", "ecsTaskRole", "Stack-ServiceTaskDefTaskRole",
                 "Stack-ServiceTaskDefExecutionRole"):
        iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust)
    execution = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
    iam.attach_role_policy(RoleName="Stack-ServiceTaskDefExecutionRole", PolicyArn=execution)
    secrets = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Resource": "*", "Action": [
        "secretsmanager:GetSecretValue", "ssm:GetParameters", "logs:CreateLogGroup"]}]}
    iam.put_role_policy(RoleName="ecsTaskExecutionRole", PolicyName="secrets", PolicyDocument=json.dumps(secrets))
    wharf.client("logs").create_log_group(logGroupName="Stack-ServiceTaskDefwebLogGroup")
    ssm = wharf.client("ssm")
    ssm.put_parameter(Name="/corpus/level", Value="debug", Type="String")
    ssm.put_parameter(Name="/corpus/otel", Value="receivers: {}", Type="SecureString")
    manager = wharf.client("secretsmanager")
    values = {
        "appauth": json.dumps({"username": "admin", "password": "planted"}),
        "fluentd-address": "127.0.0.1:24224",
        "splunk-token": "token",
    }
    return {n: manager.create_secret(Name=n, SecretString=v)["ARN"] for n, v in values.items()}


def test_each_file_is_expected_to_do_something():
    assert sorted(p.stem for p in CORPUS.glob("*.json")) == sorted(EXPECTED)
    assert len(EXPECTED) >= 40


@pytest.mark.parametrize("name", EXPECTED)
def test_definition(wharf, account, tmp_path, name):
    text = (CORPUS / f"{name}.json").read_text()
    for secret, arn in account.items():
        text = text.replace("{secret:%s}" % secret, arn)
    (tmp_path / "index.html").write_text("served\n")
    definition = json.loads(text.replace("{directory}", str(tmp_path)))
    client, expected = wharf.client(), EXPECTED[name]
    if isinstance(expected, Refused):
        with pytest.raises(client.exceptions.ClientException) as refused:
            client.register_task_definition(**definition)
        message = refused.value.response["Error"]["Message"]
        assert all(word in message for word in expected.words), message
        assert expected.said in (ROOT / "docs/differences.md").read_text()
        return
    arn = client.register_task_definition(**definition)["taskDefinition"]["taskDefinitionArn"]
    task = wharf.start(arn, **launch(wharf, definition))
    try:
        OBSERVE[expected](wharf, definition, task)
    finally:
        client.stop_task(task=task)
        # A shell's child as process 1 ignores SIGTERM, and would be waited for for 30 seconds.
        for pid in itertools.chain.from_iterable(wharf.pids(task).values()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wharf.stopped(task)


def launch(wharf, definition):
    arguments = {}
    for kind in definition.get("requiresCompatibilities", []):
        # External instances take what EC2's take here: there is one kind of host.
        arguments["launchType"] = "EC2" if kind == "EXTERNAL" else kind
    if definition.get("networkMode") == "awsvpc":
        subnets = wharf.client("ec2").describe_subnets()["Subnets"]
        arguments["networkConfiguration"] = {"awsvpcConfiguration": {"subnets": [subnets[0]["SubnetId"]]}}
    return arguments


def address(task):
    """Where the task's first TCP port is reached."""
    for container in task["containers"]:
        for binding in container.get("networkBindings", []):
            if binding["protocol"] == "tcp":
                return "127.0.0.1", binding["hostPort"]
    return None


def first_port(definition, task):
    found = address(task)
    if found and definition.get("networkMode") != "awsvpc":
        return found
    ports = [p["containerPort"] for c in definition["containerDefinitions"] for p in c.get("portMappings", [])
             if p.get("protocol", "tcp") == "tcp"]
    details = {d["name"]: d["value"] for a in task["attachments"] for d in a["details"]}
    return details["privateIPv4Address"], ports[0]


def answers_http(wharf, definition, task):
    host, port = first_port(definition, runs(wharf, definition, task))

    def answer():
        try:
            with urllib.request.urlopen(f"http://{host}:{port}/", timeout=2) as response:
                return response.read().decode()
        except OSError:
            return None

    body = eventually(f"{host}:{port} answers", answer, timeout=15)
    assert "served" in body or "Amazon ECS Sample App" in body


def answers_redis(wharf, definition, task):
    host, port = first_port(definition, runs(wharf, definition, task))
    with socket.create_connection((host, port), timeout=5) as connection:
        connection.sendall(b"SET kept 1\r\nGET kept\r\n")
        connection.settimeout(5)
        answer = b""
        while b"$1\r\n1\r\n" not in answer:
            part = connection.recv(100)
            assert part, answer
            answer += part


def runs(wharf, definition, arn):
    """The task, once it runs; what waits in it for others has started, and who has a check is HEALTHY."""
    task = wharf.running(arn)
    checked = {c["name"] for c in definition["containerDefinitions"] if "healthCheck" in c}

    def well():
        now = wharf.task(arn)
        assert now["lastStatus"] == "RUNNING", now
        unhealthy = [c for c in now["containers"] if c["name"] in checked and c["healthStatus"] != "HEALTHY"]
        return None if unhealthy else now

    if checked:
        # Terraform's module checks every 30 seconds.
        task = eventually(f"{arn} is healthy", well, timeout=60)
    essential = {c["name"] for c in definition["containerDefinitions"] if c.get("essential", True)}
    assert all(c["lastStatus"] == "RUNNING" for c in task["containers"] if c["name"] in essential), task
    return task


def ends(wharf, _definition, arn):
    task = wharf.stopped(arn)
    assert [c.get("exitCode") for c in task["containers"]] == [0], task


OBSERVE = {HTTP: answers_http, REDIS: answers_redis, RUNS: runs, ENDS: ends}
