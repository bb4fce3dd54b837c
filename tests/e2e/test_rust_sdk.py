"""The story by the AWS SDK for Rust (tests/sdk), with nothing but `wharf env`."""

import json
import subprocess

from conftest import BIN


def test_the_story(wharf):
    env = json.loads(wharf.run("env", "--json").stdout)
    result = subprocess.run(
        [str(BIN / "sdk-story")], env=env, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == [
        "a task", "errors", "a service",
    ]
