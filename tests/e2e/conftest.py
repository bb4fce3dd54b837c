"""A wharf of its own for every test module: own data directory, port and VPC range, so that modules
can run side by side. Everything is taken down again, also after a failure, and what is left behind
fails the run."""

import itertools
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request

import boto3
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("WHARF_BIN", ROOT / "target/debug"))
WHARF = str(BIN / "wharf")
HELLO = str(BIN / "hello")
CGROUPS = pathlib.Path("/sys/fs/cgroup/pids")

# Wharfs beside each other leave the host's /etc as it is.
os.environ["WHARF_NO_HOSTS"] = "true"

# Workers of one run are told apart by their number, runs beside each other by chance.
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_networks = itertools.count(os.getpid() % 45 + 45 * _worker)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def get(address, timeout=5):
    """The body that an HTTP server at host:port (or at a port of loopback) answers with."""
    address = f"127.0.0.1:{address}" if isinstance(address, int) else address
    with urllib.request.urlopen(f"http://{address}/", timeout=timeout) as answer:
        return answer.read().decode()


def eventually(what, condition, timeout=60, interval=0.1):
    """Waits until condition() is true (its value is returned); fails with `what` and the last value."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what}: not within {timeout} s (last: {value!r})"
        time.sleep(interval)


class Wharf:
    """One running wharf."""

    def __init__(self, *up_arguments, start=True, etc=None):
        # One that is to publish its names gets a directory in the place of /etc.
        self.etc = [] if etc is None else ["--etc", str(etc)]
        self.data_dir = tempfile.mkdtemp(prefix="wharf-e2e-")
        self.listen = f"127.0.0.1:{free_port()}"
        # Apart from the ranges of the Rust tests, 10.120 to 10.219.
        self.vpc = f"10.{20 + next(_networks) % 90}.0.0/16"
        self.up_arguments = up_arguments
        # Beside the environment that the test has.
        self.environment = {} if etc is None else {"WHARF_NO_HOSTS": "false"}
        self._clients = {}
        if start:
            try:
                self.up()
                self.run("image", "build", "--name", "hello:latest", HELLO)
            except BaseException:
                self.down()
                raise

    def run(self, *arguments, check=True, **options):
        result = subprocess.run(
            [WHARF, "--data-dir", self.data_dir, *arguments],
            capture_output=True, text=True, timeout=120, env=os.environ | self.environment, **options,
        )
        if check and result.returncode != 0:
            raise AssertionError(
                f"wharf {' '.join(arguments)}: exit {result.returncode}\n{result.stdout}{result.stderr}"
            )
        return result

    def up(self):
        network = ["--listen", self.listen, "--vpc-cidr", self.vpc]
        return self.run("up", *network, *self.etc, *self.up_arguments)

    def env(self):
        """The environment that `eval "$(wharf env)"` gives."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        env |= json.loads(self.run("env", "--json").stdout)
        env["PATH"] = f"{BIN}:{ROOT / 'target/venv/bin'}:{env['PATH']}"
        env["WHARF_DATA_DIR"] = self.data_dir
        env["AWS_PAGER"] = ""
        return env | self.environment

    def client(self, service="ecs"):
        if service not in self._clients:
            self._clients[service] = self.new_client(service)
        return self._clients[service]

    def new_client(self, service, **options):
        env = self.env()
        return boto3.client(
            service,
            endpoint_url=env["AWS_ENDPOINT_URL"],
            region_name=env["AWS_REGION"],
            aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
            **options,
        )

    def wait(self, waiter, **arguments):
        """boto3's waiter, asking every second."""
        config = {"Delay": 1, "MaxAttempts": 90}
        self.client().get_waiter(waiter).wait(WaiterConfig=config, **arguments)

    def register(self, family, *containers, **members):
        """Registers a task definition; its ARN."""
        answer = self.client().register_task_definition(
            family=family, containerDefinitions=list(containers), **members
        )
        return answer["taskDefinition"]["taskDefinitionArn"]

    def start(self, definition, **arguments):
        """Runs one task; its ARN."""
        answer = self.client().run_task(taskDefinition=definition, **arguments)
        assert not answer["failures"], answer["failures"]
        return answer["tasks"][0]["taskArn"]

    def running(self, arn):
        """The task, once it is RUNNING."""
        self.wait("tasks_running", tasks=[arn])
        return self.task(arn)

    def stopped(self, arn):
        """The task, once it is STOPPED."""
        self.wait("tasks_stopped", tasks=[arn])
        return self.task(arn)

    def task(self, arn):
        return self.client().describe_tasks(tasks=[arn])["tasks"][0]

    def tasks(self, service, **filters):
        """The tasks of a service."""
        client = self.client()
        arns = client.list_tasks(serviceName=service, **filters)["taskArns"]
        return client.describe_tasks(tasks=arns)["tasks"] if arns else []

    def service(self, name):
        return self.client().describe_services(services=[name])["services"][0]

    def status(self):
        return json.loads(self.run("status", "--json").stdout)

    def build_shell(self):
        """`shell:latest`: busybox, with every applet that it has."""
        root = pathlib.Path(self.data_dir) / "shell-root"
        for directory in ("bin", "tmp", "etc"):
            (root / directory).mkdir(parents=True, exist_ok=True)
        shutil.copy("/bin/busybox", root / "bin/busybox")
        for applet in subprocess.check_output(["/bin/busybox", "--list"], text=True).split():
            if applet != "busybox" and not (root / "bin" / applet).is_symlink():
                (root / "bin" / applet).symlink_to("busybox")
        self.run("image", "build", "--name", "shell:latest", str(root))

    @property
    def instance(self):
        """The name that this wharf's things carry on the host: FNV-1a of the data directory."""
        value = 0x811C9DC5
        for byte in self.data_dir.encode():
            value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
        return f"{value:08x}"

    def pids(self, task_arn):
        """Container name → pids of its processes on the host, by the task's cgroup."""
        task = CGROUPS / f"wharf-{self.instance}" / task_arn.rsplit("/", 1)[1]
        return {
            d.name: sorted(map(int, (d / "cgroup.procs").read_text().split()))
            for d in (task.iterdir() if task.is_dir() else ()) if d.is_dir()
        }

    def aws(self, *arguments, check=True):
        """The stock aws CLI, with nothing but wharf's environment."""
        result = subprocess.run(
            ["aws", "--output", "json", *arguments],
            env=self.env(), capture_output=True, text=True, timeout=180,
        )
        if check and result.returncode != 0:
            raise AssertionError(f"aws {' '.join(arguments)}: exit {result.returncode}\n{result.stderr}")
        return json.loads(result.stdout) if result.stdout.strip() else result

    def logs(self):
        log = pathlib.Path(self.data_dir) / "log"
        return "\n".join(
            f"--- {f.name}\n{f.read_text(errors='replace')[-4000:]}" for f in sorted(log.glob("*.log"))
        )

    def down(self):
        result = self.run("down", "--tasks", *self.etc, check=False)
        if result.returncode == 0:
            # Otherwise it still says what is to be cleaned up, and how.
            shutil.rmtree(self.data_dir, ignore_errors=True)
        return result


@pytest.fixture(scope="module")
def wharf(request):
    """The module's wharf; with the image `shell` if the module says NEEDS_SHELL."""
    instance = Wharf()
    try:
        if getattr(request.module, "NEEDS_SHELL", False):
            instance.build_shell()
        yield instance
        if request.session.testsfailed:
            print(instance.logs())
    finally:
        assert instance.down().returncode == 0


def host_ports(task, container="app"):
    """The published host ports of a described task's container."""
    return [
        binding["hostPort"]
        for c in task["containers"] if c["name"] == container
        for binding in c.get("networkBindings", [])
    ]
