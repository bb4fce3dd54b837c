"""VPCs, subnets and security groups: EC2's API, and what holds between tasks. Connections are tried
inside the tasks' network namespaces."""

import ipaddress
import json
import subprocess

import pytest
from botocore.exceptions import ClientError
from conftest import eventually, free_port, get
from load_balancing import answers


def block(wharf, second):
    """A /24 of this wharf's own outside of every built-in VPC."""
    return f"10.{second}.{wharf.vpc.split('.')[1]}.0/24"


def halves(cidr):
    return [str(n) for n in ipaddress.ip_network(cidr).subnets(prefixlen_diff=1)]


def refused(code, call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    assert error.value.response["Error"]["Code"] == code, error.value
    return error.value.response["Error"]["Message"]


def tcp(port, *groups, cidr=None):
    permission = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port}
    if groups:
        permission["UserIdGroupPairs"] = [{"GroupId": group} for group in groups]
    if cidr:
        permission["IpRanges"] = [{"CidrIp": cidr}]
    return [permission]


EVERYTHING = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]


class Network:
    """A VPC with a subnet in each of two zones."""

    def __init__(self, wharf, second):
        self.ec2, self.cidr = wharf.client("ec2"), block(wharf, second)
        self.vpc = self.ec2.create_vpc(CidrBlock=self.cidr)["Vpc"]["VpcId"]
        zones = self.ec2.describe_availability_zones()["AvailabilityZones"]
        self.subnets = [
            self.ec2.create_subnet(
                VpcId=self.vpc, CidrBlock=half, AvailabilityZone=zone["ZoneName"]
            )["Subnet"]["SubnetId"]
            for half, zone in zip(halves(self.cidr), zones)
        ]

    def group(self, name):
        return self.ec2.create_security_group(
            GroupName=name, Description=name, VpcId=self.vpc
        )["GroupId"]

    def delete(self):
        for subnet in self.subnets:
            self.ec2.delete_subnet(SubnetId=subnet)
        self.ec2.delete_vpc(VpcId=self.vpc)


def run(wharf, definition, *subnets, groups=()):
    """Starts a task; its ARN."""
    configuration = {"subnets": list(subnets)} | ({"securityGroups": list(groups)} if groups else {})
    return wharf.start(definition, networkConfiguration={"awsvpcConfiguration": configuration})


def address(task):
    (attachment,) = task["attachments"]
    return {d["name"]: d["value"] for d in attachment["details"]}["privateIPv4Address"]


def connects(wharf, task, url, timeout=1):
    """True if a process in the task's network gets an answer from `url`."""
    (pid, *_), *_ = wharf.pids(task["taskArn"]).values()
    curl = ["curl", "-so", "/dev/null", "-m", str(timeout), url]
    return subprocess.run(["nsenter", "-n", "-t", str(pid), *curl]).returncode == 0


def test_security_groups_hold_between_tasks(wharf):
    network = Network(wharf, 225)
    ec2, (first, second) = network.ec2, network.subnets
    web, client = network.group("web"), network.group("client")
    ec2.authorize_security_group_ingress(GroupId=web, IpPermissions=tcp(8080, client))
    hello = {"name": "app", "image": "hello:latest", "command": ["app"], "memory": 64}
    definition = wharf.register("member", hello, networkMode="awsvpc")
    builtin = ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])
    arns = [
        run(wharf, definition, first, groups=[web]),
        run(wharf, definition, second, groups=[client]),
        run(wharf, definition, second),
        run(wharf, definition, second),
        run(wharf, definition, builtin["Subnets"][0]["SubnetId"]),
    ]
    server, caller, outsider, neighbour, elsewhere = [wharf.running(arn) for arn in arns]
    inside = ipaddress.ip_network(halves(network.cidr)[0])
    assert ipaddress.ip_address(address(server)) in inside
    url = f"http://{address(server)}:8080/"

    assert connects(wharf, caller, url, timeout=5)
    assert not connects(wharf, outsider, url)
    # The same from a VPC that none of the group's rules could name, and from the host.
    assert not connects(wharf, elsewhere, url)
    assert "hello from" in get(f"{address(server)}:8080")
    # Members of a default group reach each other, and nobody else's members reach them.
    assert connects(wharf, outsider, f"http://{address(neighbour)}:8080/", timeout=5)
    assert not connects(wharf, caller, f"http://{address(neighbour)}:8080/")
    # What every task has, whatever its groups say.
    for task in (server, caller, elsewhere):
        assert connects(wharf, task, "http://169.254.170.2/v2/metadata", timeout=5)

    # Changes hold at once for tasks that run: for addresses, for groups, in both directions.
    alone = tcp(8080, cidr=f"{address(outsider)}/32")
    ec2.authorize_security_group_ingress(GroupId=web, IpPermissions=alone)
    eventually("the new rule", lambda: connects(wharf, outsider, url), timeout=5)
    assert not connects(wharf, neighbour, url)
    ec2.revoke_security_group_ingress(GroupId=web, IpPermissions=alone)
    eventually("its end", lambda: not connects(wharf, outsider, url), timeout=5)
    ec2.revoke_security_group_egress(GroupId=client, IpPermissions=EVERYTHING)
    eventually("the end of egress", lambda: not connects(wharf, caller, url), timeout=5)
    ec2.authorize_security_group_egress(GroupId=client, IpPermissions=tcp(8080, web))
    eventually("egress to a group", lambda: connects(wharf, caller, url), timeout=5)
    # A rule for everybody still doesn't join two VPCs.
    ec2.authorize_security_group_ingress(GroupId=web, IpPermissions=EVERYTHING)
    eventually("everybody's rule", lambda: connects(wharf, neighbour, url), timeout=5)
    assert not connects(wharf, elsewhere, url)

    # The interfaces are seen, and hold what they are in.
    (interface,) = ec2.describe_network_interfaces(
        Filters=[{"Name": "group-id", "Values": [web]}]
    )["NetworkInterfaces"]
    assert interface["VpcId"] == network.vpc
    assert interface["Groups"] == [{"GroupId": web, "GroupName": "web"}]
    refused("DependencyViolation", ec2.delete_security_group, GroupId=web)
    refused("DependencyViolation", ec2.delete_subnet, SubnetId=first)
    for arn in arns:
        wharf.client().stop_task(task=arn)
    for arn in arns:
        wharf.stopped(arn)
    # Each is named by a rule of the other: first that rule goes.
    refused("DependencyViolation", ec2.delete_security_group, GroupId=client)
    ec2.revoke_security_group_egress(GroupId=client, IpPermissions=tcp(8080, web))
    ec2.delete_security_group(GroupId=web)
    ec2.delete_security_group(GroupId=client)
    network.delete()
    bridge = f"wv-{wharf.instance}"
    listed = lambda: subprocess.check_output(["ip", "-br", "addr", "show", bridge], text=True)
    eventually("the network's end", lambda: "10.225." not in listed(), timeout=5)


def test_security_groups_hold_for_load_balancers(wharf):
    network = Network(wharf, 228)
    ec2, elb = network.ec2, wharf.client("elbv2")
    web, front = network.group("web"), network.group("front")
    # First, so that the host knows its groups before it has a target.
    (balancer,) = elb.create_load_balancer(
        Name="held", Subnets=network.subnets, SecurityGroups=[front]
    )["LoadBalancers"]
    hello = {"name": "app", "image": "hello:latest", "command": ["app"], "memory": 64}
    definition = wharf.register("member", hello, networkMode="awsvpc")
    arns = [run(wharf, definition, network.subnets[0], groups=[web]), run(wharf, definition, network.subnets[1])]
    server, client = [wharf.running(arn) for arn in arns]
    (group,) = elb.create_target_group(
        Name="held", Protocol="HTTP", Port=8080, VpcId=network.vpc, TargetType="ip",
        HealthCheckTimeoutSeconds=2, HealthCheckIntervalSeconds=5,
        HealthyThresholdCount=2, UnhealthyThresholdCount=2,
    )["TargetGroups"]
    target, balancer = group["TargetGroupArn"], balancer["LoadBalancerArn"]
    port = free_port()
    elb.create_listener(
        LoadBalancerArn=balancer, Protocol="HTTP", Port=port,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": target}],
    )
    elb.register_targets(TargetGroupArn=target, Targets=[{"Id": address(server), "Port": 8080}])

    def health():
        (described,) = elb.describe_target_health(TargetGroupArn=target)["TargetHealthDescriptions"]
        return described["TargetHealth"]["State"], described["TargetHealth"].get("Reason")

    (listed,) = [b for b in json.loads(wharf.run("lb", "ls", "--json").stdout) if b["loadBalancerName"] == "held"]
    inside = f"http://{listed['taskAddress']}:{port}/"
    # The mistake that everybody makes once: the tasks' group doesn't know the load balancer's.
    from_it = ["curl", "-so", "/dev/null", "-m", "1", "--interface", listed["taskAddress"], f"{address(server)}:8080"]
    assert subprocess.run(from_it).returncode != 0
    assert "hello from" in get(f"{address(server)}:8080"), "the host itself is let through"
    assert health() == ("initial", "Elb.InitialHealthChecking")
    assert not connects(wharf, client, inside)
    ec2.authorize_security_group_ingress(GroupId=web, IpPermissions=tcp(8080, front))
    eventually("a check that passes", lambda: health() == ("healthy", None), timeout=15)
    # Who may speak with the load balancer is its own group's to say.
    assert not connects(wharf, client, inside)
    ec2.authorize_security_group_ingress(GroupId=front, IpPermissions=tcp(port, cidr=network.cidr))
    eventually("the new rule", lambda: connects(wharf, client, inside), timeout=5)
    assert "hello from" in answers(port, listed["dnsName"])

    elb.delete_load_balancer(LoadBalancerArn=balancer)
    elb.delete_target_group(TargetGroupArn=target)
    for arn in arns:
        wharf.client().stop_task(task=arn)
    for arn in arns:
        wharf.stopped(arn)
    ec2.revoke_security_group_ingress(GroupId=web, IpPermissions=tcp(8080, front))
    ec2.delete_security_group(GroupId=web)
    ec2.delete_security_group(GroupId=front)
    network.delete()


def test_networks_are_refused_what_ec2_refuses(wharf):
    ec2 = wharf.client("ec2")
    network = Network(wharf, 226)
    vpc, cidr = network.vpc, network.cidr
    outside = block(wharf, 227)
    assert "overlaps" in refused("InvalidVpc.Range", ec2.create_vpc, CidrBlock=cidr)
    assert "overlaps" in refused("InvalidVpc.Range", ec2.create_vpc, CidrBlock=wharf.vpc)
    refused("InvalidVpc.Range", ec2.create_vpc, CidrBlock="10.0.0.0/8")
    refused("InvalidParameterValue", ec2.create_vpc, CidrBlock="10.0.0.0/33")
    refused("DryRunOperation", ec2.create_vpc, CidrBlock=outside, DryRun=True)
    refused("UnsupportedOperation", ec2.create_vpc, CidrBlock=outside,
            AmazonProvidedIpv6CidrBlock=True)
    refused("InvalidVpcID.NotFound", ec2.delete_vpc, VpcId="vpc-0123456789abcdef0")
    refused("DependencyViolation", ec2.delete_vpc, VpcId=vpc)
    refused("InvalidSubnet.Conflict", ec2.create_subnet, VpcId=vpc, CidrBlock=halves(cidr)[0])
    refused("InvalidSubnet.Range", ec2.create_subnet, VpcId=vpc, CidrBlock=outside)
    group = network.group("web")
    refused("InvalidGroup.Duplicate", ec2.create_security_group, GroupName="web",
            Description="again", VpcId=vpc)
    refused("InvalidParameterValue", ec2.create_security_group, GroupName="default",
            Description="no", VpcId=vpc)
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=tcp(80, cidr="10.0.0.0/8"))
    message = refused("InvalidPermission.Duplicate", ec2.authorize_security_group_ingress,
                      GroupId=group, IpPermissions=tcp(80, cidr="10.0.0.0/8"))
    assert "peer: 10.0.0.0/8, TCP, from port: 80, to port: 80, ALLOW" in message
    refused("InvalidPermission.NotFound", ec2.revoke_security_group_ingress, GroupId=group,
            IpPermissions=tcp(81, cidr="10.0.0.0/8"))
    refused("InvalidParameterValue", ec2.authorize_security_group_ingress, GroupId=group,
            IpPermissions=tcp(70000, cidr="10.0.0.0/8"))
    refused("InvalidGroup.NotFound", ec2.authorize_security_group_ingress, GroupId=group,
            IpPermissions=tcp(80, "sg-0123456789abcdef0"))
    (default,) = ec2.describe_security_groups(Filters=[
        {"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": ["default"]},
    ])["SecurityGroups"]
    refused("CannotDelete", ec2.delete_security_group, GroupId=default["GroupId"])

    # Both ends of ECS: a group of another VPC, and a subnet that isn't there.
    hello = {"name": "app", "image": "hello:latest", "command": ["app"], "memory": 64}
    definition = wharf.register("misplaced", hello, networkMode="awsvpc")
    for configuration in (
        {"subnets": [network.subnets[0]], "securityGroups": ["sg-0a77a2f0000000001"]},
        {"subnets": ["subnet-0123456789abcdef0"]},
    ):
        refused("InvalidParameterException", wharf.client().run_task, taskDefinition=definition,
                networkConfiguration={"awsvpcConfiguration": configuration})

    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    route = {"RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0", "GatewayId": gateway}
    refused("InvalidParameterValue", ec2.create_route, **route)
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    refused("Resource.AlreadyAssociated", ec2.attach_internet_gateway, InternetGatewayId=gateway,
            VpcId=vpc)
    ec2.create_route(**route)
    refused("RouteAlreadyExists", ec2.create_route, **route)
    refused("UnsupportedOperation", ec2.create_route, RouteTableId=table,
            DestinationCidrBlock="192.0.2.0/24", NatGatewayId="nat-0123456789abcdef0")
    association = ec2.associate_route_table(
        RouteTableId=table, SubnetId=network.subnets[0]
    )["AssociationId"]
    refused("DependencyViolation", ec2.delete_route_table, RouteTableId=table)
    refused("DependencyViolation", ec2.delete_internet_gateway, InternetGatewayId=gateway)
    refused("InvalidAction", ec2.allocate_address)

    # Tags, pages, filters.
    ec2.create_tags(Resources=[vpc, table], Tags=[{"Key": "story", "Value": "network"}])
    tagged = ec2.describe_tags(Filters=[{"Name": "key", "Values": ["story"]}])["Tags"]
    assert {t["ResourceId"]: t["ResourceType"] for t in tagged} == {
        vpc: "vpc", table: "route-table",
    }
    found = ec2.describe_vpcs(Filters=[{"Name": "tag:story", "Values": ["net*"]}])["Vpcs"]
    assert [v["VpcId"] for v in found] == [vpc]
    ec2.delete_tags(Resources=[vpc], Tags=[{"Key": "story"}])
    assert ec2.describe_vpcs(Filters=[{"Name": "tag-key", "Values": ["story"]}])["Vpcs"] == []
    first = ec2.describe_subnets(MaxResults=5)
    assert len(first["Subnets"]) == 5 and "NextToken" not in first
    (acl,) = ec2.describe_network_acls(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["NetworkAcls"]
    assert {a["SubnetId"] for a in acl["Associations"]} == set(network.subnets)

    ec2.disassociate_route_table(AssociationId=association)
    ec2.delete_route_table(RouteTableId=table)
    ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    ec2.delete_internet_gateway(InternetGatewayId=gateway)
    ec2.delete_security_group(GroupId=group)
    network.delete()
    refused("InvalidVpcID.NotFound", ec2.describe_vpcs, VpcIds=[vpc])
