"""Terraform's networks: a service in a VPC of its own, applied, planned, changed, destroyed."""

import ipaddress

import pytest
from botocore.exceptions import ClientError
from test_networks import address, block
from test_terraform import Terraform


def test_a_service_in_a_network_of_its_own(wharf, tmp_path):
    terraform = Terraform(wharf, tmp_path, "network.tf")
    variables = {"cidr": block(wharf, 228)}
    terraform("init")
    terraform("apply", "-auto-approve", **variables)
    (task,) = wharf.tasks("terraform-shop")
    assert ipaddress.ip_address(address(task)) in ipaddress.ip_network(variables["cidr"])
    assert terraform("output", "-raw", "default_subnets") == "3"
    terraform("plan", "-detailed-exitcode", **variables)

    change = variables | {"port": "8081"}
    terraform("apply", "-auto-approve", **change)
    ec2, vpc = wharf.client("ec2"), terraform("output", "-raw", "vpc")
    (web,) = ec2.describe_security_groups(
        Filters=[{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": ["web"]}]
    )["SecurityGroups"]
    assert [p["FromPort"] for p in web["IpPermissions"]] == [8081]
    terraform("plan", "-detailed-exitcode", **change)

    terraform("destroy", "-auto-approve", **change)
    with pytest.raises(ClientError, match="InvalidVpcID.NotFound"):
        ec2.describe_vpcs(VpcIds=[vpc])
