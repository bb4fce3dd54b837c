"""Secrets that a task definition uses beside its containers' variables: options of log drivers, and
credentials for a registry. The values are nowhere but where they must be: this wharf logs all it can."""

import json
import os
import pathlib
import signal
import subprocess
import time

import botocore.exceptions
import pytest

from conftest import eventually, free_port
from log_receivers import Forward, Lines, listen
from test_identity import allow, make_role
from test_images import answers, image, skopeo  # noqa: F401 (a fixture)
from test_log_drivers import after, container, router, task_id
from test_secrets import PLANTED, REGION, ROLE, ObjectStore, planted, secrets, wharf  # noqa: F401

# A registry keeps passwords as bcrypt does.
USER, PASSWORD = "puller", "kept-by-the-registry"
HTPASSWD = f"{USER}:$2b$05$ldHVOFBSulwr8aKXfAvASOR6M7yadjoRWneTN7POf.Sev2ajXqsaS\n"


def found_on_disk(wharf, text):  # noqa: F811
    grep = ["grep", "--recursive", "--fixed-strings", "--files-with-matches", text, wharf.data_dir]
    return subprocess.run(grep, capture_output=True, text=True).stdout


def with_secrets(definition, **options):
    options = {name.replace("_", "-"): value for name, value in options.items()}
    definition["logConfiguration"]["secretOptions"] = secrets(**options)
    return definition


def test_options_of_log_drivers_and_an_agent_that_is_killed(wharf):  # noqa: F811
    ssm = wharf.client("ssm")
    make_role(wharf, "logs", allow("ssm:GetParameters", f"arn:aws:ssm:{REGION}:123456789012:parameter/log/*"))
    script = "for i in $(seq 1 40); do for n in $(seq 1 10); do echo $i-$n; done; sleep 0.05; done"
    with Forward(listen()) as forward, Lines(listen()) as lines:
        for name, value in {"syslog": f"tcp://{lines.address}", "forward": forward.address,
                            "tag": planted("tag"), "group": "named-by-a-secret"}.items():
            ssm.put_parameter(Name=f"/log/{name}", Type="SecureString", Value=value)
        arn = wharf.start(wharf.register("options", *after(
            with_secrets(container("forward", script, "fluentd", fluentd_request_ack="true"),
                         fluentd_address="/log/forward", tag="/log/tag"),
            with_secrets(container("syslog", script, "syslog", tag="plain"), syslog_address="/log/syslog"),
            with_secrets(container("stream", script, "awslogs", awslogs_create_group="true",
                                   awslogs_region=REGION, awslogs_stream_prefix="s"),
                         awslogs_group="/log/group"),
        ), executionRoleArn="logs"))
        eventually("some lines", lambda: len(forward.messages) > 20, interval=0.02)
        for _ in range(2):
            status = eventually("an agent", lambda: (s := wharf.status()).get("agent", {}).get("pid") and s)
            os.kill(status["agent"]["pid"], signal.SIGKILL)
            time.sleep(0.3)
        wharf.stopped(arn)
        expected = [f"{i}-{n}" for i in range(1, 41) for n in range(1, 11)]
        eventually("the end", lambda: expected[-1] in forward.lines())
        assert forward.lines() == expected
        assert {message[0] for message in forward.messages} == {planted("tag")}
        eventually("the end", lambda: any(m.endswith(expected[-1]) for m in lines.messages))
        found = [message.rsplit(": ", 1)[1] for message in lines.messages]
        assert list(dict.fromkeys(found)) == expected
        events = wharf.client("logs").get_paginator("filter_log_events").paginate(logGroupName="named-by-a-secret")
        assert [e["message"] for page in events for e in page["events"]] == expected


def test_a_router_gets_secrets_as_variables_and_its_configuration_from_a_store(wharf, tmp_path):  # noqa: F811
    ObjectStore.objects["/config/extra.conf"] = b"# from the store\n"
    wharf.client("ssm").put_parameter(Name="/router/key", Type="SecureString", Value=planted("key"))
    volumes, log_router = router(
        tmp_path, **{"config-file-type": "s3", "config-file-value": "arn:aws:s3:::config/extra.conf"})
    app = with_secrets(container("app", "echo said; exec sleep 1000", "awsfirelens", Name="stdout"), apikey="/router/key")
    arn = wharf.start(wharf.register(
        "routed", log_router, app | {"essential": True}, volumes=volumes, executionRoleArn=ROLE))
    wharf.running(arn)
    routed = tmp_path / "routed"
    eventually("a line", lambda: routed.exists() and len(routed.read_text().splitlines()) > 1)
    first, *lines = map(json.loads, routed.read_text().splitlines())
    assert "\n    apikey ${apikey_1}\n" in first["config"] and PLANTED not in first["config"]
    assert f"\n    apikey {planted('key')}\n" in first["expanded"]
    assert "\n@INCLUDE /fluent-bit/etc/external.conf\n" in first["config"]
    assert first["external"] == "# from the store\n"
    assert lines[0]["record"]["log"] == "said"
    # Nobody else has it.
    pids = wharf.pids(arn)
    environment = {name: pathlib.Path(f"/proc/{pids[name][0]}/environ").read_bytes() for name in pids}
    assert planted("key").encode() in environment["log_router"]
    assert planted("key").encode() not in environment["app"]
    wharf.client().stop_task(task=arn)
    # A shell as process 1 ignores SIGTERM.
    os.kill(pids["app"][0], signal.SIGKILL)
    wharf.stopped(arn)
    missing = dict(log_router)
    missing["firelensConfiguration"] = {"type": "fluentbit", "options": {
        "config-file-type": "s3", "config-file-value": "arn:aws:s3:::config/gone.conf"}}
    task = wharf.stopped(wharf.start(wharf.register(
        "unrouted", missing, app | {"essential": True}, volumes=volumes, executionRoleArn=ROLE)))
    assert task["stoppedReason"] == (
        "ResourceInitializationError: unable to create firelens resource: unable to download s3 config "
        "gone.conf from bucket config: NoSuchKey: The specified key does not exist. status code: 404")
    assert not any(pathlib.Path(wharf.data_dir).glob(f"**/firelens/{task_id(task)}"))


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """docker-registry that lets one user in."""
    directory = tmp_path_factory.mktemp("registry")
    address = f"127.0.0.1:{free_port()}"
    (directory / "htpasswd").write_text(HTPASSWD)
    (directory / "config.yml").write_text(json.dumps({
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(directory / "data")}},
        "http": {"addr": address},
        "auth": {"htpasswd": {"realm": "here", "path": str(directory / "htpasswd")}},
        "log": {"level": "warn"},
    }))
    process = subprocess.Popen(["docker-registry", "serve", str(directory / "config.yml")])
    try:
        eventually("the registry", lambda: answers(f"http://{address}/"))
        yield address
    finally:
        process.kill()
        process.wait()


def test_credentials_for_a_registry(wharf, registry, image):  # noqa: F811
    name, other = f"{registry}/team/app:1", f"{registry}/team/app:2"
    for copy in (name, other):
        skopeo("copy", "--dest-tls-verify=false", f"--dest-creds={USER}:{PASSWORD}",
               f"docker-archive:{image}", f"docker://{copy}")
    manager = wharf.client("secretsmanager")

    def secret(name, value):
        return manager.create_secret(Name=name, SecretString=value)["ARN"]
    right = secret("registry", json.dumps({"username": USER, "password": PASSWORD}))
    wrong = secret("wrong", json.dumps({"username": USER, "password": planted("wrong")}))
    odd = secret("odd", planted("odd"))

    def start(family, image, secret, **members):
        app = {"name": "app", "image": image, "memory": 32}
        if secret:
            app["repositoryCredentials"] = {"credentialsParameter": secret}
        return wharf.start(wharf.register(family, app, executionRoleArn=ROLE, **members))
    gone = f"arn:aws:secretsmanager:{REGION}:123456789012:secret:gone-AbCdEf"
    tasks = {name: wharf.stopped(start(name, *of)) for name, of in {
        "without": (name, None), "gone": (name, gone), "odd": (name, odd), "wrong": (name, wrong),
        "right": (name, right), "by-name": (other, "registry")}.items()}
    for family in ("right", "by-name"):
        assert tasks[family]["containers"][0]["exitCode"] == 0, tasks[family]
    for family in ("without", "wrong"):
        assert tasks[family]["stoppedReason"].startswith("CannotPullContainerError"), tasks[family]
    assert tasks["gone"]["stoppedReason"] == (
        f"asm fetching secret from the service for {gone}: ResourceNotFoundException: Secrets Manager "
        "can't find the specified secret.")
    assert tasks["odd"]["stoppedReason"] == (
        "asm fetching authorization data: unable to unmarshal secret value, invalid schema")
    definition = wharf.client().describe_task_definition(taskDefinition="right")["taskDefinition"]
    assert definition["containerDefinitions"][0]["repositoryCredentials"] == {"credentialsParameter": right}
    attributes = {a["name"] for a in definition["requiresAttributes"]}
    assert "ecs.capability.private-registry-authentication.secretsmanager" in attributes
    for bad in ("arn:aws:ssm:us-east-1:123456789012:parameter/a", f"{right}:key::"):
        with pytest.raises(botocore.exceptions.ClientError, match="credentialsParameter"):
            start("bad", name, bad)


def test_no_value_is_on_a_disk(wharf):  # noqa: F811
    for text in (PLANTED, PASSWORD):
        assert found_on_disk(wharf, text) == ""
