"""The story by the stock aws CLI, with nothing but `wharf env`."""

import json
import urllib.request

from conftest import ROOT, eventually, host_ports

TASK_DEFINITION = str(ROOT / "examples/hello/task-definition.json")


def get(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
        return answer.read().decode()


def test_a_task_from_registration_to_stop(wharf):
    assert wharf.aws("sts", "get-caller-identity")["Account"] == "123456789012"
    cluster = wharf.aws("ecs", "create-cluster", "--cluster-name", "story")["cluster"]
    assert cluster["status"] == "ACTIVE"
    registered = wharf.aws(
        "ecs", "register-task-definition", "--cli-input-json", f"file://{TASK_DEFINITION}"
    )["taskDefinition"]
    assert registered["taskDefinitionArn"].endswith("task-definition/hello:1")

    run = wharf.aws("ecs", "run-task", "--task-definition", "hello", "--started-by", "story")
    assert run["failures"] == []
    (task,) = run["tasks"]
    assert task["lastStatus"] in ("PROVISIONING", "PENDING")
    arn = task["taskArn"]
    wharf.aws("ecs", "wait", "tasks-running", "--tasks", arn)
    (task,) = wharf.aws("ecs", "describe-tasks", "--tasks", arn)["tasks"]
    assert task["lastStatus"] == "RUNNING"
    assert task["startedBy"] == "story"
    (port,) = host_ports(task)
    assert "hello from" in get(port)

    listed = wharf.aws("ecs", "list-tasks", "--started-by", "story")["taskArns"]
    assert listed == [arn]
    stopped = wharf.aws("ecs", "stop-task", "--task", arn, "--reason", "the story ends")["task"]
    assert stopped["desiredStatus"] == "STOPPED"
    wharf.aws("ecs", "wait", "tasks-stopped", "--tasks", arn)
    (task,) = wharf.aws("ecs", "describe-tasks", "--tasks", arn)["tasks"]
    assert task["stopCode"] == "UserInitiated"
    assert task["stoppedReason"] == "the story ends"
    assert {c["name"]: c["exitCode"] for c in task["containers"]} == {"app": 0, "sidecar": 0}


def test_a_service_from_creation_to_deletion(wharf):
    wharf.aws("ecs", "register-task-definition", "--cli-input-json", f"file://{TASK_DEFINITION}")
    service = wharf.aws(
        "ecs", "create-service", "--service-name", "web", "--task-definition", "hello",
        "--desired-count", "3",
    )["service"]
    assert service["status"] == "ACTIVE" and service["desiredCount"] == 3
    wharf.aws("ecs", "wait", "services-stable", "--services", "web")
    arns = wharf.aws("ecs", "list-tasks", "--service-name", "web")["taskArns"]
    assert len(arns) == 3
    tasks = wharf.aws("ecs", "describe-tasks", "--tasks", *arns)["tasks"]
    assert len({get(*host_ports(task)) for task in tasks}) == 3

    for count in (6, 1):
        wharf.aws("ecs", "update-service", "--service", "web", "--desired-count", str(count))
        wharf.aws("ecs", "wait", "services-stable", "--services", "web")
        assert len(wharf.aws("ecs", "list-tasks", "--service-name", "web")["taskArns"]) == count

    messages = [
        e["message"]
        for e in wharf.aws("ecs", "describe-services", "--services", "web")["services"][0]["events"]
    ]
    assert any("has started 3 tasks" in m for m in messages), messages
    assert any("has reached a steady state" in m for m in messages), messages

    wharf.aws("ecs", "delete-service", "--service", "web", "--force")
    wharf.aws("ecs", "wait", "services-inactive", "--services", "web")
    eventually(
        "all tasks stop",
        lambda: wharf.aws("ecs", "list-tasks", "--service-name", "web", check=False),
        timeout=5,
    )


def test_errors_are_awss_own(wharf):
    result = wharf.aws("ecs", "run-task", "--task-definition", "nothing-like-it", check=False)
    assert "(ClientException) when calling the RunTask operation: TaskDefinition not found." in result.stderr
    result = wharf.aws("ecs", "describe-services", "--cluster", "nowhere", "--services", "x", check=False)
    assert "ClusterNotFoundException" in result.stderr
    result = wharf.aws("s3api", "list-buckets", check=False)
    assert "s3" in result.stderr.lower()
    assert json.dumps(wharf.aws("ecs", "list-clusters")["clusterArns"])
