"""A wharf of its own for every test module: own data directory, port and VPC range, so that modules
can run side by side. Everything is taken down again, also after a failure, and what is left behind
fails the run."""

import itertools
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

import boto3
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("WHARF_BIN", ROOT / "target/debug"))
WHARF = str(BIN / "wharf")
HELLO = str(BIN / "hello")

_networks = itertools.count(os.getpid() % 100)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


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

    def __init__(self, *up_arguments, start=True):
        self.data_dir = tempfile.mkdtemp(prefix="wharf-e2e-")
        self.listen = f"127.0.0.1:{free_port()}"
        self.vpc = f"10.{114 + next(_networks) % 100}.0.0/16"
        self.up_arguments = up_arguments
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
            capture_output=True, text=True, timeout=120, **options,
        )
        if check and result.returncode != 0:
            raise AssertionError(
                f"wharf {' '.join(arguments)}: exit {result.returncode}\n{result.stdout}{result.stderr}"
            )
        return result

    def up(self):
        return self.run("up", "--listen", self.listen, "--vpc-cidr", self.vpc, *self.up_arguments)

    def env(self):
        """The environment that `eval "$(wharf env)"` gives."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        env |= json.loads(self.run("env", "--json").stdout)
        env["PATH"] = f"{BIN}:{ROOT / 'target/venv/bin'}:{env['PATH']}"
        env["WHARF_DATA_DIR"] = self.data_dir
        env["AWS_PAGER"] = ""
        return env

    def client(self, service="ecs"):
        env = self.env()
        return boto3.client(
            service,
            endpoint_url=env["AWS_ENDPOINT_URL"],
            region_name=env["AWS_REGION"],
            aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        )

    def status(self):
        return json.loads(self.run("status", "--json").stdout)

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
        result = self.run("down", "--tasks", check=False)
        shutil.rmtree(self.data_dir, ignore_errors=True)
        return result


@pytest.fixture(scope="module")
def wharf(request):
    instance = Wharf()
    yield instance
    if request.session.testsfailed:
        print(instance.logs())
    assert instance.down().returncode == 0


def host_ports(task, container="app"):
    """The published host ports of a described task's container."""
    return [
        binding["hostPort"]
        for c in task["containers"] if c["name"] == container
        for binding in c.get("networkBindings", [])
    ]
