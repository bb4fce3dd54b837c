"""Who may do what: roles and their policies as the stock clients make them, credentials inside tasks
(an unmodified boto3 finds them), AssumeRole, users' keys, and what is refused in AWS's words."""

import json
import os
import pathlib
import signal
import sys

import boto3
import pytest
from botocore.exceptions import ClientError
from conftest import HELLO, Wharf, eventually
from test_terraform import Terraform

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/"
TASKS = {"Service": "ecs-tasks.amazonaws.com"}


def document(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def trust(principal):
    return document({"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"})


def allow(actions, resource="*", **more):
    return {"Effect": "Allow", "Action": actions, "Resource": resource} | more


def make_role(wharf, name, *statements, principal=TASKS):
    iam = wharf.client("iam")
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust(principal))
    if statements:
        iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=document(*statements))
    return ROLE + name


def refused(call, *arguments, **members):
    """Code, status and text of the refusal of a call."""
    with pytest.raises(ClientError) as error:
        call(*arguments, **members)
    answer = error.value.response
    code = answer["Error"]["Code"]
    return code, answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Message"]


def client(wharf, service, key):
    """A client that signs with a key as the API gives it out."""
    env = wharf.env()
    return boto3.client(
        service, endpoint_url=env["AWS_ENDPOINT_URL"], region_name=env["AWS_REGION"],
        aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"],
        aws_session_token=key.get("SessionToken"),
    )


# This machine's own Python with boto3, seen from inside a container.
PYTHON = os.path.realpath(sys.executable)
PACKAGES = os.path.dirname(os.path.dirname(boto3.__file__))
HOST_DIRECTORIES = sorted({"/usr", sys.base_prefix, PACKAGES})


def build_python(wharf):
    """`python:latest`: an empty system into which the host's is mounted."""
    root = pathlib.Path(wharf.data_dir) / "python-root"
    for directory in ("usr", "tmp", "etc", "shared"):
        (root / directory).mkdir(parents=True)
    for link in ("bin", "lib", "lib64"):
        (root / link).symlink_to(f"usr/{link}")
    wharf.run("image", "build", "--name", "python:latest", str(root))


def python_task(wharf, family, script, shared, **members):
    """Registers a task that runs a script with boto3; `shared` is a directory of the host."""
    volumes = [{"name": f"host{n}", "host": {"sourcePath": path}}
               for n, path in enumerate(HOST_DIRECTORIES)]
    mounts = [{"sourceVolume": f"host{n}", "containerPath": path, "readOnly": True}
              for n, path in enumerate(HOST_DIRECTORIES)]
    container = {
        "name": "app", "image": "python:latest", "memory": 128,
        "command": [PYTHON, "-c", script, family],
        "environment": [{"name": "PYTHONPATH", "value": PACKAGES},
                        {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"}],
        "mountPoints": [*mounts, {"sourceVolume": "shared", "containerPath": "/shared"}],
    }
    return wharf.register(
        family, container,
        volumes=[*volumes, {"name": "shared", "host": {"sourcePath": str(shared)}}], **members,
    )


@pytest.fixture(scope="module")
def wharf():
    instance = Wharf(start=False)
    # As an operator of Amazon's agent has it who wants execution roles for logs on EC2, too.
    instance.environment["ECS_ENABLE_AWSLOGS_EXECUTIONROLE_OVERRIDE"] = "true"
    try:
        instance.up()
        instance.run("image", "build", "--name", "hello:latest", HELLO)
        build_python(instance)
        yield instance
    finally:
        assert instance.down().returncode == 0


# Tells where its credentials are, waits until all have told, and asks for everybody's.
ASKER = """
import json, os, pathlib, sys, time, urllib.error, urllib.request
name, shared = sys.argv[1], pathlib.Path("/shared")
own = os.environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "")
(shared / (name + ".new")).write_text(own)
(shared / (name + ".new")).rename(shared / (name + ".uri"))
while len(told := sorted(shared.glob("*.uri"))) < COUNT:
    time.sleep(0.05)
answers = {}
for other in told:
    path = other.read_text()
    if path:
        try:
            with urllib.request.urlopen("http://169.254.170.2" + path, timeout=10) as answer:
                answers[other.stem] = json.load(answer)
        except urllib.error.HTTPError as error:
            answers[other.stem] = json.load(error)
made = {}
if name in CALLERS:
    import boto3, botocore.exceptions
for service, operation in () if name not in CALLERS else (("sts", "get_caller_identity"), ("ecs", "list_clusters"),
                           ("ecs", "list_task_definitions"), ("ecs", "describe_clusters")):
    try:
        answer = getattr(boto3.client(service), operation)()
        made[operation] = answer.get("Arn") or answer.get("clusterArns")
    except botocore.exceptions.ClientError as error:
        made[operation] = error.response["Error"]["Code"] + ": " + error.response["Error"]["Message"]
    except botocore.exceptions.NoCredentialsError:
        made[operation] = "none"
print(json.dumps({"answers": answers, "made": made, "uri": own}))
# What asks late finds nothing changed.
(shared / (name + ".done")).touch()
while len(list(shared.glob("*.done"))) < COUNT:
    time.sleep(0.05)
"""


def test_credentials_answer_on_the_diagonal_alone(wharf, tmp_path):
    modes = ["bridge", "bridge", "awsvpc", "awsvpc", "host", "host", "bridge", "host"]
    # The last two have no role.
    names = [f"matrix-{n}-{mode}" for n, mode in enumerate(modes)]
    with_role = names[:6]
    subnet = wharf.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    network = {"networkConfiguration": {"awsvpcConfiguration": {"subnets": [subnet]}}}
    # One of each mode calls the API, and one without a role.
    callers = [names[n] for n in (0, 2, 4, 6)]
    script = ASKER.replace("COUNT", str(len(names))).replace("CALLERS", repr(callers))
    tasks = {}
    for name, mode in zip(names, modes):
        members = {"networkMode": mode}
        if name in with_role:
            cluster = f"arn:aws:ecs:us-east-1:{ACCOUNT}:cluster/default"
            statements = [
                allow(["ecs:ListClusters", "ecs:Describe*"]),
                {"Effect": "Deny", "Action": "ecs:DescribeClusters", "Resource": cluster},
            ]
            members["taskRoleArn"] = make_role(wharf, name, *statements)
        definition = python_task(wharf, name, script, tmp_path, **members)
        tasks[name] = wharf.start(definition, **(network if mode == "awsvpc" else {}))
    for arn in tasks.values():
        wharf.stopped(arn)
    for name, arn in tasks.items():
        output = wharf.run("logs", arn).stdout
        told = json.loads(output.splitlines()[-1])
        task_id = arn.rsplit("/", 1)[1]
        for other, answer in told["answers"].items():
            if other == name:
                assert answer["RoleArn"] == ROLE + name, answer
                assert answer["AccessKeyId"].startswith("ASIA") and answer["Token"], answer
            else:
                assert answer["code"] == "InvalidIdInRequest", (name, other, answer)
        assert sorted(told["answers"]) == with_role
        made = told["made"]
        if name not in with_role:
            assert told["uri"] == "" and set(made.values()) <= {"none"}, told
            continue
        assert told["uri"].startswith("/v2/credentials/")
        if name not in callers:
            continue
        # An unmodified boto3 finds them, and may what the role may.
        session = f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/{task_id}"
        assert made["get_caller_identity"] == session
        assert made["list_clusters"] == [f"arn:aws:ecs:us-east-1:{ACCOUNT}:cluster/default"]
        who = f"AccessDeniedException: User: {session} is not authorized to perform: ecs:"
        assert made["list_task_definitions"] == (
            f"{who}ListTaskDefinitions on resource: * because no identity-based policy allows the "
            "ecs:ListTaskDefinitions action"
        )
        assert made["describe_clusters"].startswith(f"{who}DescribeClusters on resource: ")
        assert made["describe_clusters"].endswith("with an explicit deny in an identity-based policy")


# Answers every wish in the shared directory by a call with what boto3 finds just then.
SERVANT = """
import boto3, botocore.exceptions, pathlib, time
shared = pathlib.Path("/shared")
held = boto3.client("ecs")
while not (shared / "stop").exists():
    for wish in shared.glob("*.wish"):
        answers = []
        for client in (held, boto3.Session().client("ecs")):
            try:
                answers.append("%d" % len(client.list_clusters()["clusterArns"]))
            except botocore.exceptions.ClientError as error:
                answers.append(error.response["Error"]["Code"])
            except Exception as error:
                answers.append(type(error).__name__)
        wish.unlink()
        (shared / (wish.stem + ".new")).write_text(" ".join(answers))
        (shared / (wish.stem + ".new")).rename(shared / (wish.stem + ".told"))
    time.sleep(0.05)
"""


def test_credentials_outlive_a_kill_and_end_with_their_role(wharf, tmp_path):
    role = make_role(wharf, "servant", allow("ecs:ListClusters"))
    arn = wharf.start(python_task(wharf, "servant", SERVANT, tmp_path, taskRoleArn=role))
    wharf.running(arn)

    def wish(name):
        (tmp_path / f"{name}.wish").touch()
        told = tmp_path / f"{name}.told"
        return eventually("an answer", lambda: told.exists() and told.read_text(), interval=0.05)

    assert wish("first") == "1 1"
    status = wharf.status()
    for process in ("server", "agent"):
        os.kill(status[process]["pid"], signal.SIGKILL)
    # The old key is still good, and the new agent has been sent another.
    numbers = iter(range(1000))
    eventually("both again", lambda: wish(f"again-{next(numbers)}") == "1 1", interval=0.2)
    # No secret of a session lies on the disk; its id does, as in the container's environment.
    kept = (pathlib.Path(wharf.data_dir) / f"agent/tasks/{arn.rsplit('/', 1)[1]}.json").read_text()
    assert role in kept and "ASIA" not in kept and "session_token" not in kept
    iam = wharf.client("iam")
    iam.delete_role_policy(RoleName="servant", PolicyName="own")
    assert wish("denied") == "AccessDeniedException AccessDeniedException"
    iam.delete_role(RoleName="servant")
    make_role(wharf, "servant", allow("*"))
    # The role of that name is another one: keys of the first are good for nothing.
    assert wish("gone").split()[0] == "InvalidSignatureException"
    (tmp_path / "stop").touch()
    wharf.stopped(arn)


# Every document of the metadata endpoint, by its path.
METADATA = '''
import json, os, urllib.request
base = "http://169.254.170.2"
def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)
told = {"v2/metadata": get(base + "/v2/metadata")}
own = told["v2/metadata"]["Containers"][0]["DockerId"]
for path in ("v2/metadataWithTags", "v2/stats", "v2/metadata/" + own, "v2/stats/" + own):
    told[path.replace(own, "ID")] = get(base + "/" + path)
for version, name in (("v3", "ECS_CONTAINER_METADATA_URI"), ("v4", "ECS_CONTAINER_METADATA_URI_V4")):
    for path in ("", "/task", "/taskWithTags", "/stats", "/task/stats"):
        told[version + path] = get(os.environ[name] + path)
print(json.dumps(told | {"own": own}))
'''


def test_metadata_answers_in_every_version(wharf, tmp_path):
    definition = python_task(wharf, "metadata", METADATA, tmp_path, networkMode="awsvpc")
    subnet = wharf.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    arn = wharf.start(
        definition, tags=[{"key": "team", "value": "harbour"}],
        networkConfiguration={"awsvpcConfiguration": {"subnets": [subnet]}},
    )
    wharf.stopped(arn)
    told = json.loads(wharf.run("logs", arn).stdout)
    own = told["own"]
    for path in ("v2/metadata", "v2/metadataWithTags", "v3/task", "v3/taskWithTags", "v4/task",
                 "v4/taskWithTags"):
        document = told[path]
        assert (document["TaskARN"], document["Family"]) == (arn, "metadata"), path
        assert [c["DockerId"] for c in document["Containers"]] == [own]
        assert document.get("TaskTags") == ({"team": "harbour"} if "Tags" in path else None), path
    for path in ("v2/metadata/ID", "v3", "v4"):
        document = told[path]
        assert (document["DockerId"], document["Name"], document["Type"]) == (own, "app", "NORMAL")
        assert document["Networks"][0]["NetworkMode"] == "awsvpc"
    assert told["v4"]["ContainerARN"] and told["v4"]["Networks"][0]["MACAddress"]
    # docker's own form.
    for path in ("v2/stats/ID", "v3/stats", "v4/stats"):
        assert told[path]["cpu_stats"]["cpu_usage"]["total_usage"] > 0, path
        assert told[path]["memory_stats"]["usage"] > 0, path
    for path in ("v2/stats", "v3/task/stats", "v4/task/stats"):
        assert list(told[path]) == [own] and told[path][own]["read"], path


def test_an_execution_role_writes_the_logs_of_fargate(wharf):
    logs = wharf.client("logs")
    logs.create_log_group(logGroupName="/ecs/execution")
    options = {"awslogs-group": "/ecs/execution", "awslogs-region": "us-east-1",
               "awslogs-stream-prefix": "app"}
    container = {"name": "app", "image": "hello:latest", "command": ["app"],
                 "logConfiguration": {"logDriver": "awslogs", "options": options}}
    subnet = wharf.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    network = {"launchType": "FARGATE",
               "networkConfiguration": {"awsvpcConfiguration": {"subnets": [subnet]}}}

    def start(family, role):
        members = {"requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc", "cpu": "256",
                   "memory": "512", "executionRoleArn": role}
        return wharf.start(wharf.register(family, container, **members), **network)

    # The role of AWS's tutorials is there from the first start.
    good = start("execution", "ecsTaskExecutionRole")
    weak = start("weak", make_role(wharf, "weak", allow("logs:PutLogEvents")))
    on_ec2 = wharf.start(
        wharf.register("weak-ec2", container | {"memory": 64}, executionRoleArn=ROLE + "weak")
    )
    nobody = start("nobody", ROLE + "nobody")
    wrong = start("wrong", make_role(wharf, "wrong", principal={"Service": "ec2.amazonaws.com"}))
    wharf.running(good)
    stream = f"app/app/{good.rsplit('/', 1)[1]}"
    found = lambda: logs.get_log_events(logGroupName="/ecs/execution", logStreamName=stream)["events"]  # noqa: E731
    eventually("its lines", found)
    for arn in (weak, on_ec2):
        task = wharf.stopped(arn)
        assert task["stopCode"] == "TaskFailedToStart"
        assert task["stoppedReason"].startswith("ResourceInitializationError: ")
        session = f"arn:aws:sts::{ACCOUNT}:assumed-role/weak/{arn.rsplit('/', 1)[1]}"
        text = f"User: {session} is not authorized to perform: logs:CreateLogStream on resource: "
        assert text in task["stoppedReason"]
    for arn, role in ((nobody, "nobody"), (wrong, "wrong")):
        task = wharf.stopped(arn)
        assert task["stopCode"] == "TaskFailedToStart"
        assert task["stoppedReason"] == (
            f"ECS was unable to assume the role '{ROLE}{role}' that was provided for this task. "
            "Please verify that the role being passed has the proper trust relationship and "
            "permissions and that your IAM user has permissions to pass this role."
        )
    # A service says so in an event.
    wharf.register("unassumable", container | {"memory": 64}, taskRoleArn=ROLE + "nobody")
    wharf.client().create_service(
        serviceName="unassumable", taskDefinition="unassumable", desiredCount=1
    )
    text = "failed to launch a task with (error ECS was unable to assume the role"
    eventually("the event", lambda: [
        e for e in wharf.service("unassumable")["events"] if text in e["message"]
    ])
    wharf.client().delete_service(service="unassumable", force=True)
    wharf.client().stop_task(task=good)
    wharf.stopped(good)


WHO = "import boto3; print(boto3.client('sts').get_caller_identity()['Arn'])"


def test_overrides_name_other_roles(wharf, tmp_path):
    first, second = make_role(wharf, "first"), make_role(wharf, "second")
    definition = python_task(wharf, "overridden", WHO, tmp_path, taskRoleArn=first)
    arn = wharf.start(definition, overrides={"taskRoleArn": second})
    # A role by its bare name, as well.
    container = {"name": "app", "image": "hello:latest", "logConfiguration": {
        "logDriver": "awslogs", "options": {
            "awslogs-group": "/ecs/none", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "a"}}}
    fargate = wharf.register(
        "overridden-execution", container, requiresCompatibilities=["FARGATE"], networkMode="awsvpc",
        cpu="256", memory="512", executionRoleArn="ecsTaskExecutionRole",
    )
    subnet = wharf.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    other = wharf.start(
        fargate, launchType="FARGATE", overrides={"executionRoleArn": first},
        networkConfiguration={"awsvpcConfiguration": {"subnets": [subnet]}},
    )
    wharf.stopped(arn)
    session = f"arn:aws:sts::{ACCOUNT}:assumed-role/second/{arn.rsplit('/', 1)[1]}"
    assert wharf.run("logs", arn).stdout.split() == [session]
    assert "assumed-role/first/" in wharf.stopped(other)["stoppedReason"]


def test_a_user_a_role_and_its_session(wharf):
    iam, sts = wharf.client("iam"), wharf.client("sts")
    iam.create_user(UserName="jo", Path="/ops/")
    key = iam.create_access_key(UserName="jo")["AccessKey"]
    jo = client(wharf, "sts", key)
    me = jo.get_caller_identity()
    assert me["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/ops/jo"
    assert me["UserId"] == iam.get_user(UserName="jo")["User"]["UserId"]
    ecs = client(wharf, "ecs", key)
    code, status, text = refused(ecs.list_clusters)
    assert (code, status) == ("AccessDeniedException", 400)
    assert text == (
        f"User: {me['Arn']} is not authorized to perform: ecs:ListClusters on resource: * because "
        "no identity-based policy allows the ecs:ListClusters action"
    )
    code, status, _ = refused(client(wharf, "iam", key).list_users)
    assert (code, status) == ("AccessDenied", 403)
    code, status, _ = refused(client(wharf, "ec2", key).describe_vpcs)
    assert (code, status) == ("UnauthorizedOperation", 403)
    # The account is trusted, so jo's own policies decide.
    deployer = make_role(
        wharf, "deployer", allow("ecs:*"),
        allow("iam:PassRole", ROLE + "ecsTask*",
              Condition={"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}),
        principal={"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
    )
    ask = {"RoleArn": deployer, "RoleSessionName": "deploy"}
    code, status, text = refused(jo.assume_role, **ask)
    assert (code, status) == ("AccessDenied", 403)
    assert text == f"User: {me['Arn']} is not authorized to perform: sts:AssumeRole on resource: {deployer}"
    iam.put_user_policy(UserName="jo", PolicyName="assume",
                        PolicyDocument=document(allow("sts:AssumeRole", deployer)))
    assumed = jo.assume_role(DurationSeconds=900, **ask)
    session = f"arn:aws:sts::{ACCOUNT}:assumed-role/deployer/deploy"
    assert assumed["AssumedRoleUser"]["Arn"] == session
    credentials = assumed["Credentials"]
    assert credentials["AccessKeyId"].startswith("ASIA")
    role_id = iam.get_role(RoleName="deployer")["Role"]["RoleId"]
    me = client(wharf, "sts", credentials).get_caller_identity()
    assert (me["Arn"], me["UserId"]) == (session, f"{role_id}:deploy")
    ecs = client(wharf, "ecs", credentials)
    assert ecs.list_clusters()["clusterArns"]
    # Handing a role on needs leave for that role.
    container = {"name": "app", "image": "hello:latest", "memory": 64}
    ecs.register_task_definition(
        family="passed", containerDefinitions=[container], executionRoleArn=ROLE + "ecsTaskExecutionRole"
    )
    code, _, text = refused(
        ecs.register_task_definition, family="passed", containerDefinitions=[container],
        taskRoleArn=deployer,
    )
    assert code == "AccessDeniedException"
    assert f"is not authorized to perform: iam:PassRole on resource: {deployer} because" in text
    # Without its token, with another's, or with a word changed, a key is nobody's.
    for wrong in (None, credentials["SessionToken"][:-8] + "AAAAAAA=", "x"):
        code, *_ = refused(client(wharf, "sts", credentials | {"SessionToken": wrong}).get_caller_identity)
        assert code == "SignatureDoesNotMatch"
    for members, part in (
        ({"DurationSeconds": 7200}, "MaxSessionDuration set for this role"),
        ({"Policy": document(allow("*"))}, "Policy is not supported by this server"),
        ({"Tags": [{"Key": "a", "Value": "b"}]}, "Tags is not supported by this server"),
    ):
        code, _, text = refused(jo.assume_role, **ask, **members)
        assert code == "ValidationError" and part in text, text
    # A session's key changes nothing of a trust policy that asks for more.
    external = make_role(wharf, "external", allow("ecs:*"), principal={"AWS": ROLE + "deployer"})
    iam.update_assume_role_policy(RoleName="external", PolicyDocument=document(
        {"Effect": "Allow", "Principal": {"AWS": deployer}, "Action": "sts:AssumeRole",
         "Condition": {"StringEquals": {"sts:ExternalId": "secret"}}}))
    chained = client(wharf, "sts", credentials)
    ask = {"RoleArn": external, "RoleSessionName": "next"}
    assert refused(chained.assume_role, **ask)[0] == "AccessDenied"
    assert refused(chained.assume_role, ExternalId="wrong", **ask)[0] == "AccessDenied"
    assert chained.assume_role(ExternalId="secret", **ask)["AssumedRoleUser"]
    assert refused(sts.assume_role, RoleArn=ROLE + "none", RoleSessionName="none")[0] == "AccessDenied"
    # An inactive key is nobody's, and so is a deleted one.
    iam.update_access_key(UserName="jo", AccessKeyId=key["AccessKeyId"], Status="Inactive")
    assert refused(jo.get_caller_identity)[0] == "SignatureDoesNotMatch"
    iam.update_access_key(UserName="jo", AccessKeyId=key["AccessKeyId"], Status="Active")
    assert jo.get_caller_identity()["Account"] == ACCOUNT
    iam.delete_access_key(UserName="jo", AccessKeyId=key["AccessKeyId"])
    assert refused(jo.get_caller_identity)[0] == "SignatureDoesNotMatch"


def test_the_stock_cli_makes_roles_and_policies(wharf):
    iam = wharf.client("iam")
    for name in ("ecsTaskExecutionRole", "ecsInstanceRole"):
        assert len(iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]) == 1
    own = iam.get_role(RoleName="AWSServiceRoleForECS")["Role"]
    assert own["Arn"] == f"{ROLE}aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS"
    made = wharf.aws(
        "iam", "create-policy", "--policy-name", "cli", "--policy-document",
        document(allow("ecs:List*")), "--tags", "Key=a,Value=b",
    )["Policy"]
    arn = made["Arn"]
    shown = wharf.aws("iam", "get-policy-version", "--policy-arn", arn, "--version-id", "v1")
    # The CLI decodes documents.
    assert shown["PolicyVersion"]["Document"] == json.loads(document(allow("ecs:List*")))
    wharf.aws("iam", "create-role", "--role-name", "cli", "--assume-role-policy-document", trust(TASKS))
    iam.attach_role_policy(RoleName="cli", PolicyArn=arn)
    entities = iam.list_entities_for_policy(PolicyArn=arn)
    assert [role["RoleName"] for role in entities["PolicyRoles"]] == ["cli"]
    managed = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
    assert iam.get_policy(PolicyArn=managed)["Policy"]["IsAttachable"]
    pages = iam.get_paginator("list_policies").paginate(Scope="AWS", PaginationConfig={"PageSize": 5})
    assert managed in [policy["Arn"] for page in pages for policy in page["Policies"]]
    result = wharf.aws("iam", "delete-policy", "--policy-arn", arn, check=False)
    assert "(DeleteConflict)" in result.stderr and result.returncode != 0
    result = wharf.aws("iam", "get-role", "--role-name", "nobody", check=False)
    assert "(NoSuchEntity)" in result.stderr
    assert "The role with name nobody cannot be found." in result.stderr
    result = wharf.aws("iam", "create-group", "--group-name", "g", check=False)
    assert "The operation CreateGroup is not supported by this server." in result.stderr
    iam.detach_role_policy(RoleName="cli", PolicyArn=arn)
    iam.delete_policy(PolicyArn=arn)
    iam.delete_role(RoleName="cli")


def test_terraform_makes_roles_and_takes_them_away(wharf, tmp_path):
    terraform = Terraform(wharf, tmp_path, "identity.tf")
    terraform("init")
    terraform("apply", "-auto-approve")
    terraform("plan", "-detailed-exitcode")
    iam = wharf.client("iam")
    role = iam.get_role(RoleName="terraform-task")["Role"]
    assert role["Path"] == "/story/" and role["MaxSessionDuration"] == 7200
    definition = wharf.client().describe_task_definition(taskDefinition="terraform-identity")
    assert definition["taskDefinition"]["taskRoleArn"] == role["Arn"]
    arn = wharf.start("terraform-identity")
    wharf.running(arn)
    wharf.client().stop_task(task=arn)
    terraform("destroy", "-auto-approve")
    assert refused(iam.get_role, RoleName="terraform-task")[0] == "NoSuchEntity"
