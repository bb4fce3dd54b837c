"""Terraform with the stock AWS provider and nothing but `wharf env`: apply, an empty second plan, a
change, destroy."""

import os
import pathlib
import shutil
import subprocess
import warnings

import pytest
from conftest import get, host_ports

CONFIGURATION = pathlib.Path(__file__).parent / "terraform/main.tf"
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
    def __init__(self, wharf, directory):
        self.wharf, self.directory = wharf, directory
        shutil.copy(CONFIGURATION, directory)
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
    terraform = Terraform(wharf, tmp_path)
    terraform("init")
    terraform("apply", "-auto-approve")
    wharf.wait("services_stable", services=["terraform-hello"])
    tasks = wharf.tasks("terraform-hello")
    assert len(tasks) == 2
    assert all("version 1" in get(*host_ports(task)) for task in tasks)
    terraform("plan", "-detailed-exitcode")

    change = {"revision": "2", "desired_count": "3"}
    terraform("apply", "-auto-approve", **change)
    tasks = wharf.tasks("terraform-hello")
    assert len(tasks) == 3
    assert all("version 2" in get(*host_ports(task)) for task in tasks)
    described = wharf.client().describe_tasks(
        tasks=[task["taskArn"] for task in tasks], include=["TAGS"]
    )["tasks"]
    assert [task["tags"] for task in described] == [[{"key": "story", "value": "terraform"}]] * 3
    terraform("plan", "-detailed-exitcode", **change)

    terraform("destroy", "-auto-approve", **change)
    assert wharf.service("terraform-hello")["status"] == "INACTIVE"
    found = wharf.client().describe_clusters(clusters=["terraform-story"])["clusters"]
    assert [cluster["status"] for cluster in found] == ["INACTIVE"]
