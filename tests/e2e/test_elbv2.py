"""Elastic Load Balancing's API by the stock aws CLI, boto3 and Terraform. Traffic isn't here."""

import datetime

import pytest
from botocore.exceptions import ClientError
from conftest import Wharf
from test_terraform import Terraform

NOT_FOUND = "LoadBalancerNotFound"


@pytest.fixture(scope="module")
def server():
    """A server without an agent: what is looked at here runs nothing."""
    instance = Wharf("--no-agent", start=False)
    instance.up()
    try:
        yield instance
    finally:
        assert instance.down().returncode == 0


@pytest.fixture
def network(server):
    ec2 = server.client("ec2")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    return vpc, [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]]


def test_aws_cli_story(server, network):
    vpc, subnets = network
    aws = server.aws
    arn = aws("elbv2", "create-load-balancer", "--name", "story", "--subnets", *subnets)[
        "LoadBalancers"][0]["LoadBalancerArn"]
    aws("elbv2", "wait", "load-balancer-available", "--load-balancer-arns", arn)
    groups = [
        aws("elbv2", "create-target-group", "--name", name, "--protocol", "HTTP", "--port", "80",
            "--vpc-id", vpc, "--target-type", "ip")["TargetGroups"][0]["TargetGroupArn"]
        for name in ("story-a", "story-b")
    ]
    listener = aws(
        "elbv2", "create-listener", "--load-balancer-arn", arn, "--protocol", "HTTP", "--port", "80",
        "--default-actions", f"Type=forward,TargetGroupArn={groups[0]}",
    )["Listeners"][0]["ListenerArn"]
    rule = aws(
        "elbv2", "create-rule", "--listener-arn", listener, "--priority", "5",
        "--conditions", "Field=host-header,Values=b.example", "Field=path-pattern,Values=/b/*",
        "--actions", f"Type=forward,TargetGroupArn={groups[1]}",
    )["Rules"][0]
    assert [c["Field"] for c in rule["Conditions"]] == ["host-header", "path-pattern"]
    aws("elbv2", "register-targets", "--target-group-arn", groups[0],
        "--targets", "Id=10.0.0.5", "Id=10.0.0.6,Port=8080")
    health = aws("elbv2", "describe-target-health", "--target-group-arn", groups[0])
    ports = {h["Target"]["Port"]: h["TargetHealth"]["State"] for h in health["TargetHealthDescriptions"]}
    assert ports == {80: "initial", 8080: "initial"}
    rules = aws("elbv2", "describe-rules", "--listener-arn", listener)["Rules"]
    assert [r["Priority"] for r in rules] == ["5", "default"]
    aws("elbv2", "delete-load-balancer", "--load-balancer-arn", arn)
    aws("elbv2", "wait", "load-balancers-deleted", "--load-balancer-arns", arn)
    for group in groups:
        aws("elbv2", "delete-target-group", "--target-group-arn", group)
    refused = aws("elbv2", "describe-listeners", "--load-balancer-arn", arn, check=False)
    assert NOT_FOUND in refused.stderr


def test_certificates_of_the_local_authority(server, network):
    acm, elb = server.client("acm"), server.client("elbv2")
    names = ["shop.example", "*.shop.example"]
    request = {"DomainName": names[0], "SubjectAlternativeNames": names[1:], "IdempotencyToken": "t1"}
    certificate = acm.request_certificate(**request)["CertificateArn"]
    assert acm.request_certificate(**request)["CertificateArn"] == certificate
    acm.get_waiter("certificate_validated").wait(CertificateArn=certificate)
    shown = acm.describe_certificate(CertificateArn=certificate)["Certificate"]
    assert shown["SubjectAlternativeNames"] == names and shown["Status"] == "ISSUED"
    left = shown["NotAfter"] - datetime.datetime.now(datetime.timezone.utc)
    assert datetime.timedelta(days=390) < left < datetime.timedelta(days=396)
    assert "BEGIN CERTIFICATE" in acm.get_certificate(CertificateArn=certificate)["CertificateChain"]
    other = acm.request_certificate(DomainName="other.example")["CertificateArn"]

    balancer = elb.create_load_balancer(Name="tls", Subnets=network[1])["LoadBalancers"][0]
    fixed = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200"}}
    listener = elb.create_listener(
        LoadBalancerArn=balancer["LoadBalancerArn"], Protocol="HTTPS", Port=443,
        Certificates=[{"CertificateArn": certificate}], DefaultActions=[fixed],
    )["Listeners"][0]
    assert listener["SslPolicy"] == "ELBSecurityPolicy-2016-08"
    assert listener["MutualAuthentication"]["Mode"] == "off"
    arn = listener["ListenerArn"]
    elb.add_listener_certificates(ListenerArn=arn, Certificates=[{"CertificateArn": other}])
    served = elb.describe_listener_certificates(ListenerArn=arn)["Certificates"]
    assert {c["CertificateArn"]: c["IsDefault"] for c in served} == {certificate: True, other: False}
    users = acm.describe_certificate(CertificateArn=other)["Certificate"]["InUseBy"]
    assert users == [balancer["LoadBalancerArn"]]
    with pytest.raises(acm.exceptions.ResourceInUseException):
        acm.delete_certificate(CertificateArn=other)
    elb.remove_listener_certificates(ListenerArn=arn, Certificates=[{"CertificateArn": other}])
    acm.delete_certificate(CertificateArn=other)
    with pytest.raises(elb.exceptions.CertificateNotFoundException):
        elb.add_listener_certificates(ListenerArn=arn, Certificates=[{"CertificateArn": other}])
    elb.delete_load_balancer(LoadBalancerArn=balancer["LoadBalancerArn"])
    acm.delete_certificate(CertificateArn=certificate)


def test_what_isnt_carried_out_is_refused_by_name(server, network):
    elb, vpc = server.client("elbv2"), network[0]
    refusals = {
        "Load balancer type 'gateway'": lambda: elb.create_load_balancer(
            Name="gw", Type="gateway", Subnets=network[1]),
        "Target type 'lambda'": lambda: elb.create_target_group(Name="fn", TargetType="lambda"),
        "IpAddressType 'ipv6'": lambda: elb.create_target_group(
            Name="v6", Protocol="HTTP", Port=80, VpcId=vpc, IpAddressType="ipv6"),
        "The operation ModifyIpPools": lambda: elb.modify_ip_pools(
            LoadBalancerArn="arn:aws:elasticloadbalancing:x"),
        "without an object store": lambda: elb.create_trust_store(
            Name="t", CaCertificatesBundleS3Bucket="b", CaCertificatesBundleS3Key="k"),
    }
    for text, call in refusals.items():
        with pytest.raises(ClientError, match=text):
            call()
    assert elb.describe_target_groups()["TargetGroups"] == []


def test_terraform(server, network, tmp_path):
    terraform = Terraform(server, tmp_path, "load_balancer.tf")
    variables = {"vpc_id": network[0]}
    terraform("init")
    terraform("apply", "-auto-approve", **variables)
    terraform("plan", "-detailed-exitcode", **variables)
    variables["revision"] = 2
    terraform("apply", "-auto-approve", **variables)
    terraform("plan", "-detailed-exitcode", **variables)
    elb = server.client("elbv2")
    arns = {b["LoadBalancerName"]: b["LoadBalancerArn"]
            for b in elb.describe_load_balancers()["LoadBalancers"]}
    listeners = elb.describe_listeners(LoadBalancerArn=arns["terraform-web"])["Listeners"]
    https = next(one["ListenerArn"] for one in listeners if one["Protocol"] == "HTTPS")
    rules = elb.describe_rules(ListenerArn=https)["Rules"]
    assert [rule["Priority"] for rule in rules] == ["50", "default"]
    terraform("destroy", "-auto-approve", **variables)
    assert elb.describe_load_balancers()["LoadBalancers"] == []
    assert elb.describe_target_groups()["TargetGroups"] == []
