"""PyPI's ecs-deploy deploys a new revision and scales, with nothing but `wharf env`."""

import subprocess

from conftest import get, host_ports


def ecs(wharf, *arguments):
    result = subprocess.run(
        ["ecs", *arguments], env=wharf.env(), capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, f"ecs {' '.join(arguments)}\n{result.stdout}{result.stderr}"
    return result.stdout


def test_deploy_and_scale(wharf):
    definition = wharf.register("deployed", {
        "name": "app", "image": "hello:latest", "command": ["app"], "memory": 64,
        "portMappings": [{"containerPort": 8080, "hostPort": 0}],
    })
    wharf.client().create_service(
        serviceName="deployed", taskDefinition=definition, desiredCount=1
    )
    wharf.wait("services_stable", services=["deployed"])
    said = ecs(
        wharf, "deploy", "default", "deployed", "-e", "app", "VERSION", "deployed",
        "--timeout", "60", "--sleep-time", "1",
    )
    assert "Deployment successful" in said
    (task,) = wharf.tasks("deployed")
    assert task["taskDefinitionArn"].endswith("deployed:2")
    assert "version deployed" in get(*host_ports(task))
    old = wharf.client().describe_task_definition(taskDefinition="deployed:1")
    assert old["taskDefinition"]["status"] == "INACTIVE"
    said = ecs(wharf, "scale", "default", "deployed", "3", "--timeout", "60", "--sleep-time", "1")
    assert "Scaling successful" in said
    assert len(wharf.tasks("deployed")) == 3
    said = ecs(wharf, "run", "default", "deployed", "-c", "app", "sidecar")
    assert "Successfully started 1 instances" in said
