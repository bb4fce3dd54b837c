"""wharf's own commands: what they print, how they end, and what their errors tell one to do."""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile

import pytest
from conftest import WHARF, Wharf, eventually, free_port

CONTAINER = {"name": "app", "image": "hello:latest", "command": ["app"], "memory": 32}

# The clock that a program and its children see, moved by so many seconds.
CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t clock, struct timespec *at) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, at);
    if (result == 0 && clock == CLOCK_REALTIME) at->tv_sec += atol(getenv("CLOCK_AHEAD"));
    return result;
}
"""


def command(*arguments, **options):
    return subprocess.run([WHARF, *arguments], capture_output=True, text=True, timeout=60, **options)


@pytest.fixture(scope="module")
def nobody():
    """A way to run wharf as a user without rights, from where that user can read it."""
    with tempfile.TemporaryDirectory(prefix="wharf-e2e-nobody-") as directory:
        os.chmod(directory, 0o755)
        program = shutil.copy(WHARF, directory)
        os.chmod(program, 0o755)
        home = pathlib.Path(directory) / "home"
        home.mkdir()
        os.chown(home, 65534, 65534)

        def run(*arguments):
            env = {"PATH": os.environ["PATH"], "HOME": str(home)}
            return subprocess.run(
                [program, *arguments], user=65534, group=65534, extra_groups=[], env=env,
                capture_output=True, text=True, timeout=60,
            )
        yield run


def test_explain_says_why_a_service_does_not_run(wharf):
    definition = wharf.register("greedy", CONTAINER | {"memory": 9_999_999})
    wharf.client().create_service(serviceName="greedy", taskDefinition=definition, desiredCount=2)
    text = eventually(
        "the reason",
        lambda: "of memory wanted" in wharf.run("explain", "greedy").stdout
        and wharf.run("explain", "greedy").stdout,
        timeout=20,
    )
    assert "service greedy: ACTIVE, 2 wanted, 0 running, 0 pending" in text
    assert "placement at" in text and "0 of 2 tasks placed" in text
    assert re.search(r"host [0-9a-f]{32}: 9999999 MiB of memory wanted, \d+ free", text), text
    assert "(service greedy) was unable to place a task because no container instance met" in text
    told = json.loads(wharf.run("explain", "greedy", "--json").stdout)
    assert told["serviceName"] == "greedy" and told["desiredCount"] == 2
    (host,) = told["placement"]["hosts"]
    assert host["verdict"]["memory"]["wanted"] == 9_999_999
    wharf.client().delete_service(service="greedy", force=True)


def test_explain_shows_a_tasks_timeline(wharf):
    arn = wharf.start(wharf.register("timeline", CONTAINER))
    wharf.running(arn)
    wharf.client().stop_task(task=arn, reason="seen")
    wharf.stopped(arn)
    # A few digits of the id do.
    text = wharf.run("explain", arn.rsplit("/", 1)[1][:12]).stdout
    steps = ["placed", "pull began", "pulled", "running", "told to stop", "stopped"]
    places = [text.index(f"  {step} ") for step in steps]
    assert places == sorted(places), text
    assert len(re.findall(r"\+\d+\.\d{3} s", text)) >= len(steps), text
    assert "why: seen (UserInitiated)" in text
    assert "container app: STOPPED, exit code 0" in text
    assert re.search(r"host [0-9a-f]{32}: chosen for 1 of the tasks", text), text
    told = json.loads(wharf.run("explain", arn, "--json").stdout)
    assert told["taskArn"] == arn and told["lastStatus"] == "STOPPED"
    statuses = [entry["lastStatus"] for entry in told["timeline"]]
    assert statuses[-1] == "STOPPED" and "RUNNING" in statuses
    assert told["placement"]["placed"] == 1
    unknown = wharf.run("explain", "nothing-like-it", check=False)
    assert unknown.returncode == 1 and unknown.stdout == ""
    assert "`wharf ps --all` lists them" in unknown.stderr


def test_what_the_api_has_forgotten_is_still_shown(tmp_path):
    """Hours and days pass: the API forgets a stopped task after one hour, wharf after its history."""
    (tmp_path / "clock.c").write_text(CLOCK)
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", tmp_path / "clock.so", tmp_path / "clock.c", "-ldl"],
        check=True,
    )
    wharf = Wharf()

    def later(seconds):
        """Wharf's processes and commands from now on, with their clock ahead."""
        assert wharf.run("down").returncode == 0
        wharf.environment = {"LD_PRELOAD": str(tmp_path / "clock.so"), "CLOCK_AHEAD": str(seconds)}
        wharf.up()
    try:
        arn = wharf.start(wharf.register("forgotten", CONTAINER))
        wharf.running(arn)
        wharf.client().stop_task(task=arn, reason="long ago")
        wharf.stopped(arn)
        later(50 * 60)
        assert wharf.aws("ecs", "describe-tasks", "--tasks", arn)["tasks"]
        later(70 * 60)
        described = eventually(
            "the API's forgetting",
            lambda: (d := wharf.aws("ecs", "describe-tasks", "--tasks", arn))["failures"] and d,
            timeout=90,
        )
        assert [(f["arn"], f["reason"]) for f in described["failures"]] == [(arn, "MISSING")]
        assert arn not in wharf.run("ps", "-q").stdout
        assert arn in wharf.run("ps", "--all", "-q").stdout.split()
        (task,) = json.loads(wharf.run("ps", "--all", "--json").stdout)
        assert (task["taskArn"], task["stoppedReason"]) == (arn, "long ago")
        text = wharf.run("explain", arn).stdout
        assert "why: long ago (UserInitiated)" in text and "container app: STOPPED" in text
        later(8 * 86400)
        eventually(
            "wharf's forgetting", lambda: arn not in wharf.run("ps", "--all", "-q").stdout,
            timeout=90,
        )
        gone = wharf.run("explain", arn, check=False)
        assert gone.returncode == 1 and "`wharf ps --all` lists them" in gone.stderr
    finally:
        assert wharf.down().returncode == 0


def test_completions_are_what_the_shells_understand(tmp_path):
    scripts = {shell: command("completions", shell) for shell in ("bash", "zsh", "fish")}
    for shell, result in scripts.items():
        assert result.returncode == 0 and result.stderr == ""
        for word in ("explain", "completions", "--data-dir"):
            assert word.removeprefix("--") in result.stdout, (shell, word)
    script = tmp_path / "wharf.bash"
    script.write_text(scripts["bash"].stdout)
    completed = subprocess.run(
        ["bash", "--norc", "-ec", f"""
            source {script}
            COMP_WORDS=(wharf exp) COMP_CWORD=1
            _wharf wharf exp wharf
            echo "${{COMPREPLY[@]}}"
        """],
        capture_output=True, text=True, timeout=30,
    )
    assert (completed.stdout, completed.stderr) == ("explain\n", "")
    wrong = command("completions", "cmd")
    assert wrong.returncode == 2 and "possible values" in wrong.stderr


@pytest.mark.parametrize("code", [0, 1, 7, 124, 255])
def test_run_returns_the_containers_code(wharf, code):
    script = f"echo out; echo err >&2; exit {code}"
    if not (pathlib.Path(wharf.data_dir) / "shell-root").exists():
        wharf.build_shell()
    ran = wharf.run("run", "shell:latest", "sh", "-c", script, check=False)
    assert ran.returncode == code
    assert "out" in ran.stdout


def test_run_tells_signals_and_failures(wharf):
    if not (pathlib.Path(wharf.data_dir) / "shell-root").exists():
        wharf.build_shell()
    with subprocess.Popen(
        [WHARF, "--data-dir", wharf.data_dir, "run", "shell:latest", "sleep", "600"]
    ) as followed:
        (arn,) = eventually("the task", lambda: wharf.client().list_tasks(
            family="run-shell_latest", desiredStatus="RUNNING")["taskArns"])
        wharf.running(arn)
        os.kill(wharf.pids(arn)["run"][0], signal.SIGKILL)
        assert followed.wait(30) == 137
    missing = wharf.run("run", "127.0.0.1:1/not/there:1", check=False)
    assert missing.returncode == 1 and missing.stdout == ""
    assert "CannotPullContainerError" in missing.stderr
    absent = wharf.run("run", "shell:latest", "/none", check=False)
    assert absent.returncode not in (0, 2) and "/none" in absent.stderr


def test_usage_errors_are_2():
    for arguments in (
        [], ["nothing"], ["run"], ["ps", "--nothing"], ["up", "--listen", "here"],
        ["up", "--account", "12"], ["image", "rm"], ["ps", "-o", "xml"],
    ):
        result = command(*arguments)
        assert result.returncode == 2, (arguments, result)
        assert result.stdout == "", (arguments, result)
        assert "Usage: wharf" in result.stderr or "try '--help'" in result.stderr, (arguments, result)
    assert command("--help").returncode == command("--version").returncode == 0


def test_nothing_runs_yet():
    with tempfile.TemporaryDirectory(prefix="wharf-e2e-") as directory:
        status = command("--data-dir", directory, "status")
        assert status.returncode == 1 and "start it with `wharf up`" in status.stderr
        told = command("--data-dir", directory, "status", "--json")
        assert told.returncode == 1 and json.loads(told.stdout) == {}
        for arguments in (["ps"], ["explain", "x"], ["run", "x"], ["env"], ["logs", "x"]):
            result = command("--data-dir", directory, *arguments)
            assert result.returncode == 1 and result.stdout == "", (arguments, result)
            assert "wharf up" in result.stderr, (arguments, result)
        # Nothing to stop is no failure.
        assert command("--data-dir", directory, "down", "--tasks").returncode == 0


def test_the_server_is_down():
    own = Wharf(start=False)
    try:
        own.up()
        assert own.run("down").returncode == 0
        for arguments in (["ps"], ["explain", "x"], ["run", "x"], ["logs", "x"]):
            result = own.run(*arguments, check=False)
            assert result.returncode == 1 and result.stdout == "", (arguments, result)
            assert own.listen in result.stderr and "wharf up" in result.stderr, (arguments, result)
    finally:
        assert own.down().returncode == 0


def test_up_tells_what_is_in_its_way(nobody):
    refused = nobody("up")
    assert refused.returncode == 1
    assert "needs root" in refused.stderr and "sudo" in refused.stderr and "--no-agent" in refused.stderr
    forbidden = nobody("--data-dir", "/root/wharf", "ps")
    assert forbidden.returncode == 1
    assert "/root/wharf" in forbidden.stderr and "--data-dir" in forbidden.stderr, forbidden.stderr
    with tempfile.TemporaryDirectory(prefix="wharf-e2e-") as directory:
        file = pathlib.Path(directory) / "file"
        file.write_text("")
        for path in (file, file / "below"):
            result = command("--data-dir", str(path), "up")
            assert result.returncode == 1
            assert str(path) in result.stderr and "--data-dir" in result.stderr, result.stderr
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = "127.0.0.1:%d" % taken.getsockname()[1]
            result = command("--data-dir", directory, "up", "--no-agent", "--listen", address)
        assert result.returncode == 1
        assert f"can't listen on {address}" in result.stderr and "--listen" in result.stderr
        assert f"pid {os.getpid()}" in result.stderr


def test_a_wait_that_ran_out_is_124():
    own = Wharf(start=False)
    try:
        late = own.run(
            "up", "--no-agent", "--timeout", "0", "--listen", f"127.0.0.1:{free_port()}", check=False
        )
        assert late.returncode == 124, late
        assert "did not answer within 0 s" in late.stderr
    finally:
        assert own.down().returncode == 0


def test_json_has_the_apis_own_names(wharf):
    arn = wharf.start(wharf.register("names", CONTAINER))
    wharf.running(arn)
    (shown,) = [t for t in json.loads(wharf.run("ps", "--json").stdout) if t["taskArn"] == arn]
    described = wharf.aws("ecs", "describe-tasks", "--tasks", arn)["tasks"][0]
    assert shown.keys() == described.keys()
    assert {c["name"] for c in shown["containers"]} == {"app"}
    assert [i["name"] for i in json.loads(wharf.run("image", "ls", "--json").stdout)]
    status = json.loads(wharf.run("status", "-o", "json").stdout)
    assert set(status) == {"supervisor", "server", "balancer", "agent"}
    env = json.loads(wharf.run("env", "--json").stdout)
    assert env["AWS_ENDPOINT_URL"] == f"http://{wharf.listen}"
    (line,) = [l for l in wharf.run("ps", "-o", "tsv").stdout.splitlines() if arn[-32:][:12] in l]
    assert "RUNNING" in line.split("\t")
    wharf.client().stop_task(task=arn)
