"""Terraform with the stock AWS provider and nothing but `wharf env`: apply, an empty second plan, a
change, destroy."""

import os
import pathlib
import shutil
import subprocess
import threading
import warnings

import pytest
from botocore.exceptions import ClientError
from conftest import Wharf, eventually, get, host_ports

CONFIGURATIONS = pathlib.Path(__file__).parent / "terraform"
PROVIDER = "registry.terraform.io/hashicorp/aws"


def mirrors():
    """Directories that hold the provider: the one named, then where packages put things."""
    named = os.environ.get("WHARF_TF_MIRROR")
    usual = [
        path
        for base in ("/opt", "/usr/share", "/usr/local/share")
        for path in sorted(pathlib.Path(base).glob("*"))
    ]
    candidates = ([pathlib.Path(named)] if named else []) + usual
    return [str(path) for path in candidates if (path / PROVIDER).is_dir()]


def mirror():
    """The directory of providers; None if Terraform is configured by its own file."""
    own = os.environ.get("TF_CLI_CONFIG_FILE", "")
    if os.path.isfile(own) and "WHARF_TF_MIRROR" not in os.environ and shutil.which("terraform"):
        return None
    found = mirrors()
    if not found or shutil.which("terraform") is None:
        missing = "terraform on PATH" if found else "a mirror of its AWS provider (WHARF_TF_MIRROR)"
        text = f"TERRAFORM IS NOT TESTED: this machine has no {missing}"
        warnings.warn(text, stacklevel=1)
        pytest.skip(text)
    return found[0]


class Terraform:
    def __init__(self, wharf, directory, configuration):
        self.wharf, self.directory = wharf, directory
        shutil.copy(CONFIGURATIONS / configuration, directory)
        self.environment = {}
        if (path := mirror()) is not None:
            config = directory / "terraform.rc"
            config.write_text(
                f'provider_installation {{\n  filesystem_mirror {{\n    path = "{path}"\n  }}\n}}\n'
            )
            self.environment["TF_CLI_CONFIG_FILE"] = str(config)

    def __call__(self, *arguments, codes=(0,), **variables):
        env = self.wharf.env() | self.environment | {"TF_IN_AUTOMATION": "1", "TF_INPUT": "0"}
        env |= {f"TF_VAR_{name}": str(value) for name, value in variables.items()}
        result = subprocess.run(
            ["terraform", *arguments, "-no-color"],
            cwd=self.directory, env=env, capture_output=True, text=True, timeout=240,
        )
        assert result.returncode in codes, (
            f"terraform {' '.join(arguments)}: exit {result.returncode}\n"
            f"{result.stdout}{result.stderr}"
        )
        return result.stdout


def test_apply_plan_change_destroy(wharf, tmp_path):
    terraform = Terraform(wharf, tmp_path, "main.tf")
    terraform("init")
    terraform("apply", "-auto-approve")
    wharf.wait("services_stable", services=["terraform-hello"])
    tasks = wharf.tasks("terraform-hello")
    assert len(tasks) == 2
    assert all("version 1" in get(*host_ports(task)) for task in tasks)
    terraform("plan", "-detailed-exitcode")
    secret = terraform("output", "-raw", "secret")

    change = {"revision": "2", "desired_count": "3"}
    terraform("apply", "-auto-approve", **change)
    tasks = wharf.tasks("terraform-hello")
    assert len(tasks) == 3
    assert all("version 2" in get(*host_ports(task)) for task in tasks)
    described = wharf.client().describe_tasks(
        tasks=[task["taskArn"] for task in tasks], include=["TAGS"]
    )["tasks"]
    assert [task["tags"] for task in described] == [[{"key": "story", "value": "terraform"}]] * 3
    parameter = wharf.client("ssm").get_parameter(Name="/terraform/password", WithDecryption=True)
    assert (parameter["Parameter"]["Value"], parameter["Parameter"]["Version"]) == ("2", 2)
    secrets = wharf.client("secretsmanager")
    assert secrets.get_secret_value(SecretId=secret)["SecretString"] == '{"password":"2"}'
    terraform("plan", "-detailed-exitcode", **change)

    terraform("destroy", "-auto-approve", **change)
    assert wharf.service("terraform-hello")["status"] == "INACTIVE"
    found = wharf.client().describe_clusters(clusters=["terraform-story"])["clusters"]
    assert [cluster["status"] for cluster in found] == ["INACTIVE"]
    with pytest.raises(ClientError, match="can't find the specified secret"):
        secrets.describe_secret(SecretId=secret)


def test_the_cluster_of_the_host_is_managed_too(tmp_path):
    wharf = Wharf("--cluster", "shop")
    try:
        terraform = Terraform(wharf, tmp_path, "cluster/main.tf")
        client = wharf.client()
        found = client.describe_clusters(clusters=["shop"])["clusters"][0]
        assert (found["status"], found["registeredContainerInstancesCount"]) == ("ACTIVE", 1)
        terraform("init")
        terraform("apply", "-auto-approve")
        service = client.describe_services(cluster="shop", services=["shop-hello"])["services"][0]
        assert (service["status"], service["runningCount"]) == ("ACTIVE", 2)
        assert service["clusterArn"] == found["clusterArn"]
        tasks = client.list_tasks(cluster="shop")["taskArns"]
        tasks = client.describe_tasks(cluster="shop", tasks=tasks)["tasks"]
        assert all("hello from" in get(*host_ports(task)) for task in tasks)
        terraform("plan", "-detailed-exitcode")
        # The provider deletes the service, and goes on trying until the cluster has no more hosts.
        destroyed = []
        destroy = threading.Thread(
            target=lambda: destroyed.append(terraform("destroy", "-auto-approve"))
        )
        destroy.start()
        eventually("the refused deletion", lambda: refused_deletions(wharf), timeout=120)
        with pytest.raises(ClientError) as refused:
            client.delete_cluster(cluster="shop")
        assert refused.value.response["Error"]["Code"] == "ClusterContainsContainerInstancesException"
        assert client.describe_clusters(clusters=["shop"])["clusters"][0]["status"] == "ACTIVE"
        hosts = client.list_container_instances(cluster="shop")["containerInstanceArns"]
        for host in hosts:
            client.deregister_container_instance(cluster="shop", containerInstance=host, force=True)
        destroy.join(timeout=120)
        assert destroyed and "Destroy complete" in destroyed[0]
        found = client.describe_clusters(clusters=["shop"])["clusters"]
        assert [cluster["status"] for cluster in found] == ["INACTIVE"]
    finally:
        assert wharf.down().returncode == 0


def refused_deletions(wharf):
    """How often DeleteCluster was refused, by the access log."""
    log = (pathlib.Path(wharf.data_dir) / "log/server.log").read_text()
    return sum('"DeleteCluster"' in line and '"status":400' in line for line in log.splitlines())
