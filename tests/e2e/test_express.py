"""Express Gateway services by boto3: an image in, an HTTPS URL out, and nothing left behind."""

import json
import re
import subprocess

import pytest
from botocore.exceptions import ClientError
from conftest import eventually

ROLE = "arn:aws:iam::123456789012:role"


def container(version, **members):
    return {
        "image": "hello:latest", "environment": [{"name": "VERSION", "value": version}],
    } | members


def ask(wharf, host, ca):
    """What curl is answered under the name, with nothing but the authority's certificate."""
    # Other wharfs of this host may have the port on the shared front; the own address has it then.
    listed = json.loads(wharf.run("lb", "ls", "--json").stdout)
    addresses = [a for b in listed for listener in b["listeners"] for a in listener["addresses"]]
    for address in addresses:
        resolve = f"{host}:443:{address.rsplit(':', 1)[0]}"
        answer = subprocess.run(
            ["curl", "-sSf", "--max-time", "5", "--cacert", ca, "--resolve", resolve, f"https://{host}/"],
            capture_output=True, text=True)
        if answer.returncode == 0:
            return answer.stdout
    return None


def test_an_image_becomes_an_https_url(wharf, tmp_path):
    ecs, elb, acm, logs = (wharf.client(s) for s in ("ecs", "elbv2", "acm", "logs"))
    ca = tmp_path / "ca.pem"
    ca.write_text(wharf.run("ca").stdout)
    service = ecs.create_express_gateway_service(
        serviceName="shop", executionRoleArn=f"{ROLE}/ecsTaskExecutionRole", infrastructureRoleArn=f"{ROLE}/infra",
        primaryContainer=container("1", containerPort=8080, command=["app"]), tags=[{"key": "team", "value": "a"}],
    )["service"]
    arn = service["serviceArn"]
    assert service["status"] == {"statusCode": "ACTIVE"}
    [path] = service["activeConfigurations"][0]["ingressPaths"]
    host = path["endpoint"]
    assert path["accessType"] == "PUBLIC" and re.fullmatch(r"sh-[0-9a-f]{32}\.ecs\.us-east-1\.localhost", host)
    assert "version 1" in eventually("an answer", lambda: ask(wharf, host, ca))

    # All of it is there as if somebody had made it.
    [plain] = ecs.describe_services(services=["shop"])["services"]
    assert plain["resourceManagementType"] == "ECS" and plain["launchType"] == "FARGATE"
    assert ecs.list_services(resourceManagementType="ECS")["serviceArns"] == [arn]
    assert plain["taskDefinition"].endswith("task-definition/default-shop:1")
    [balancer] = elb.describe_load_balancers()["LoadBalancers"]
    [listener] = elb.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
    assert (listener["Protocol"], listener["Port"]) == ("HTTPS", 443)
    rules = elb.describe_rules(ListenerArn=listener["ListenerArn"])["Rules"]
    assert rules[0]["Conditions"][0]["HostHeaderConfig"]["Values"] == [host]
    [certificate] = acm.list_certificates()["CertificateSummaryList"]
    assert certificate["DomainName"] == host and certificate["InUse"]
    [group] = logs.describe_log_groups(logGroupNamePrefix="/aws/ecs/default/shop-")["logGroups"]
    assert group["storedBytes"] >= 0
    with pytest.raises(ClientError, match="not idempotent"):
        ecs.create_express_gateway_service(
            serviceName="shop", executionRoleArn=f"{ROLE}/ecsTaskExecutionRole",
            infrastructureRoleArn=f"{ROLE}/infra", primaryContainer=container("1"))

    updated = ecs.update_express_gateway_service(
        serviceArn=arn, primaryContainer=container("2"), scalingTarget={"minTaskCount": 2, "maxTaskCount": 3},
    )["service"]
    target = updated["targetConfiguration"]
    assert target["primaryContainer"]["containerPort"] == 8080
    assert "minTaskCount tasks" in updated["status"]["statusReason"]
    eventually("the new revision", lambda: "version 2" in (ask(wharf, host, ca) or ""))
    described = ecs.describe_express_gateway_service(serviceArn=arn, include=["TAGS"])["service"]
    assert described["tags"] == [{"key": "team", "value": "a"}]
    assert described["activeConfigurations"][0] == target

    deleted = ecs.delete_express_gateway_service(serviceArn=arn)["service"]
    assert deleted["status"]["statusCode"] == "DRAINING"

    def is_gone():
        described = ecs.describe_express_gateway_service(serviceArn=arn)["service"]
        return described["status"]["statusCode"] == "INACTIVE"
    eventually("its end", is_gone)
    assert elb.describe_load_balancers()["LoadBalancers"] == elb.describe_target_groups()["TargetGroups"] == []
    assert acm.list_certificates()["CertificateSummaryList"] == []
    groups = wharf.client("ec2").describe_security_groups()["SecurityGroups"]
    assert [g["GroupName"] for g in groups] == ["default"]
