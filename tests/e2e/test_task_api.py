"""What a task's containers reach of wharf itself: the API at its link-local address, signed."""

import json
import pathlib
import re
import shutil
import subprocess

import pytest
from conftest import Wharf, eventually

API = "http://169.254.170.4"
CALL = (
    "curl --silent --max-time 10 {sign} --header 'content-type: application/x-amz-json-1.1' "
    "--header 'x-amz-target: AmazonEC2ContainerServiceV20141113.ListClusters' --data '{{}}' "
    "--write-out ' %{{http_code}}\\n' ${{AWS_ENDPOINT_URL:-http://169.254.170.4}}"
)
SIGN = "--aws-sigv4 aws:amz:$AWS_REGION:ecs --user $KEY:$SECRET"


def build_curl(wharf):
    """`curl:latest`: Debian's curl with the libraries that it needs, beside busybox."""
    root = pathlib.Path(wharf.data_dir) / "curl-root"
    (root / "bin").mkdir(parents=True)
    (root / "tmp").mkdir()
    shutil.copy("/bin/busybox", root / "bin/busybox")
    (root / "bin/sh").symlink_to("busybox")
    program = shutil.which("curl")
    shutil.copy(program, root / "bin/curl")
    for library in re.findall(r"(/\S+) \(0x", subprocess.check_output(["ldd", program], text=True)):
        target = root / library.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)
    wharf.run("image", "build", "--name", "curl:latest", str(root))


@pytest.fixture(scope="module")
def wharf():
    instance = Wharf()
    try:
        build_curl(instance)
        yield instance
    finally:
        assert instance.down().returncode == 0


@pytest.mark.parametrize("mode", ["bridge", "awsvpc", "host", "none"])
def test_a_container_calls_the_api_with_keys_and_not_without(wharf, mode):
    env = wharf.env()
    unsigned, signed = CALL.format(sign=""), CALL.format(sign=SIGN)
    script = f"echo $AWS_ENDPOINT_URL; {unsigned}; {signed}; exit 0"
    definition = wharf.register(
        f"caller-{mode}",
        {"name": "app", "image": "curl:latest", "memory": 64, "command": ["sh", "-c", script],
         "environment": [{"name": "KEY", "value": env["AWS_ACCESS_KEY_ID"]},
                         {"name": "SECRET", "value": env["AWS_SECRET_ACCESS_KEY"]}]},
        networkMode=mode,
    )
    subnet = wharf.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    network = {"networkConfiguration": {"awsvpcConfiguration": {"subnets": [subnet]}}}
    arn = wharf.start(definition, **(network if mode == "awsvpc" else {}))
    wharf.stopped(arn)
    lines = wharf.run("logs", arn).stdout.splitlines()
    if mode == "none":
        assert lines == ["", " 000", " 000"], lines
        return
    url, without, with_keys = lines
    assert url == API
    body, status = without.rsplit(" ", 1)
    assert (status, json.loads(body)["__type"]) == ("403", "MissingAuthenticationTokenException")
    body, status = with_keys.rsplit(" ", 1)
    assert status == "200", with_keys
    assert [a.rsplit("/", 1)[1] for a in json.loads(body)["clusterArns"]] == ["default"]


def test_a_task_protects_itself_and_reads_its_tags(wharf):
    ask = "curl --silent --max-time 10 --write-out ' %{http_code}\\n'"
    state = "$ECS_AGENT_URI/task-protection/v1/state"
    put = f"{ask} --request PUT {state} --data"
    script = "; ".join([
        f"{put} '{{\"ProtectionEnabled\": true, \"ExpiresInMinutes\": 30}}'", f"{ask} {state}",
        f"{put} '{{}}'", f"{put} '{{\"ProtectionEnabled\": true, \"ExpiresInMinutes\": 5000}}'",
        f"{ask} --request DELETE {state}", f"{ask} $ECS_CONTAINER_METADATA_URI_V4/taskWithTags",
        "echo END; trap 'exit 0' TERM; sleep 600 & wait",
    ])
    definition = wharf.register(
        "protected",
        {"name": "app", "image": "curl:latest", "memory": 64, "command": ["sh", "-c", script]},
    )
    client = wharf.client()
    client.create_service(
        serviceName="protected", taskDefinition=definition, desiredCount=1,
        propagateTags="SERVICE", tags=[{"key": "team", "value": "harbour"}],
    )
    wharf.wait("services_stable", services=["protected"])
    (task,) = wharf.tasks("protected")
    arn = task["taskArn"]
    eventually("the answers", lambda: "END" in wharf.run("logs", arn).stdout)
    lines = wharf.run("logs", arn).stdout.splitlines()[:-1]
    answers = [(int(line.rsplit(" ", 1)[1]), json.loads(line.rsplit(" ", 1)[0])) for line in lines]
    put, got, without, too_long, deleted, tagged = answers
    assert put == got and put[0] == 200, answers
    protection = put[1]["protection"]
    assert (protection["ProtectionEnabled"], protection["TaskArn"]) == (True, arn)
    (known,) = client.get_task_protection(cluster="default", tasks=[arn])["protectedTasks"]
    assert known["protectionEnabled"]
    assert known["expirationDate"].strftime("%Y-%m-%dT%H:%M") == protection["ExpirationDate"][:16]
    for status, body in (without, too_long):
        assert (status, body["error"]["Code"]) == (400, "InvalidParameterException"), body
    assert deleted[0] == 405
    assert (tagged[0], tagged[1]["TaskARN"], tagged[1]["TaskTags"]) == (200, arn, {"team": "harbour"})
    # The task holds its place: scaled to none, the service keeps it until it is given up.
    client.update_service(service="protected", desiredCount=0)
    assert wharf.task(arn)["desiredStatus"] == "RUNNING"
    client.update_task_protection(cluster="default", tasks=[arn], protectionEnabled=False)
    wharf.stopped(arn)
    client.delete_service(service="protected", force=True)
