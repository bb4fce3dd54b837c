"""Parameters, secrets and files of variables, as containers see them; and that their values are
nowhere else: this module's wharf logs all that it can."""

import contextlib
import hashlib
import http.server
import json
import pathlib
import subprocess
import threading
import uuid

import botocore.exceptions
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from conftest import Wharf, eventually
from test_identity import allow, make_role

REGION = "us-east-1"
ROLE = "arn:aws:iam::123456789012:role/execution"
# What every value that must not be found has in it.
PLANTED = f"planted-{uuid.uuid4().hex}"
S3_KEY = Credentials("AKIDSTORE", f"{PLANTED}-s3")


def planted(name):
    return f"{PLANTED}-{name}"


class ObjectStore(http.server.BaseHTTPRequestHandler):
    """A small S3: objects by path, to those whose signature botocore makes as well."""

    objects = {}

    def signature(self):
        fields = self.headers["Authorization"].split(" ", 1)[1].split(", ")
        fields = dict(field.split("=", 1) for field in fields)
        signed = fields["SignedHeaders"].split(";")
        url = f"http://{self.headers['Host']}{self.path}"
        request = AWSRequest("GET", url, headers={name: self.headers[name] for name in signed})
        request.context["timestamp"] = self.headers["x-amz-date"]
        auth = S3SigV4Auth(S3_KEY, "s3", REGION)
        text = auth.string_to_sign(request, auth.canonical_request(request))
        return fields["Signature"], auth.signature(text, request)

    def do_GET(self):
        sent, expected = self.signature() if "Authorization" in self.headers else ("", "x")
        if sent != expected:
            self.answer(403, error("SignatureDoesNotMatch", "The signatures differ."))
        elif self.path in self.objects:
            self.answer(200, self.objects[self.path])
        else:
            self.answer(404, error("NoSuchKey", "The specified key does not exist."))

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def error(code, message):
    return f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


@pytest.fixture(scope="module")
def wharf(tmp_path_factory):
    store = http.server.ThreadingHTTPServer(("127.0.0.1", 0), ObjectStore)
    threading.Thread(target=store.serve_forever, daemon=True).start()
    key = tmp_path_factory.mktemp("s3") / "credentials"
    key.write_text(
        f"[default]\naws_access_key_id = {S3_KEY.access_key}\n"
        f"aws_secret_access_key = {S3_KEY.secret_key}\n"
    )
    instance = Wharf(
        "--s3-endpoint", f"http://127.0.0.1:{store.server_port}", "--s3-credentials", str(key),
        start=False,
    )
    instance.environment["WHARF_LOG"] = "trace"
    try:
        instance.up()
        instance.build_shell()
        ours = f"arn:aws:%s:{REGION}:123456789012:%s"
        make_role(
            instance, "execution",
            allow("ssm:GetParameters", ours % ("ssm", "parameter/*")),
            allow("secretsmanager:GetSecretValue", ours % ("secretsmanager", "secret:*")),
        )
        make_role(instance, "narrow", allow("ssm:GetParameters", ours % ("ssm", "parameter/app/*")))
        yield instance
    finally:
        store.shutdown()
        assert instance.down().returncode == 0


@pytest.fixture(scope="module")
def values(wharf):
    """Parameters and secrets with two versions each; their ARNs by name."""
    ssm, asm = wharf.client("ssm"), wharf.client("secretsmanager")
    ssm.put_parameter(Name="plain", Type="String", Value=planted("plain"))
    ssm.put_parameter(Name="/app/secure", Type="SecureString", Value=planted("old"))
    ssm.label_parameter_version(Name="/app/secure", ParameterVersion=1, Labels=["old"])
    ssm.put_parameter(Name="/app/secure", Value=planted("secure"), Overwrite=True)
    ssm.put_parameter(Name="/app/max-size", Type="String", Value="2k")
    before = {"user": planted("before")}
    secret = asm.create_secret(Name="app/db", SecretString=json.dumps(before))["ARN"]
    now = {"user": planted("user"), "port": 5432}
    asm.put_secret_value(SecretId="app/db", SecretString=json.dumps(now))
    parameter = ssm.get_parameter(Name="/app/secure")["Parameter"]["ARN"]
    return {"secret": secret, "parameter": parameter, "json": json.dumps(now)}


def shell(name, script, **members):
    return {
        "name": name, "image": "shell:latest", "memory": 32, "essential": True,
        "command": ["sh", "-c", script],
    } | members


def secrets(**references):
    return [{"name": name, "valueFrom": value} for name, value in references.items()]


def digest(text):
    return hashlib.md5(text.encode()).hexdigest()


# Containers say what they have by its digest: what they write is kept on a disk.
SHOW = 'show() { echo "$1 $(printf %s "$2" | md5sum | cut -d" " -f1)"; }; '


def shown(wharf, arn, container, last="done"):
    """What a container has said, by name, once it has said its last word."""
    text = eventually(
        f"{container}: {last}",
        lambda: last in (t := wharf.run("logs", arn, container).stdout).splitlines() and t,
        timeout=30,
    )
    return dict(line.split(" ", 1) for line in text.splitlines() if " " in line)


def volume(name, driver, **options):
    configuration = {"scope": "task", "driver": driver, "driverOpts": options}
    return {"name": name, "dockerVolumeConfiguration": configuration}


def mount(name, path):
    return {"sourceVolume": name, "containerPath": path}


@pytest.fixture(scope="module")
def running(wharf, values):
    """A task with all of it, which runs until the end of the module."""
    ObjectStore.objects["/config/a%20b.env"] = (
        f"# variables\nFILE={planted('file')}=x\nSHARED=file\nPLAIN=file\nTWICE=first\n"
    ).encode()
    ObjectStore.objects["/config/second.env"] = b"TWICE=second\r\nQUOTED=\"q\"\n"
    secret = values["secret"]
    names = "PLAIN SECURE OLD WHOLE USER PORT BEFORE FILE SHARED TWICE QUOTED"
    app = shell(
        "app",
        SHOW + f"for n in {names}; do eval v=\\$$n; show $n \"$v\"; done; "
        "show file \"$(cat /etc/app.conf)\"; show inner \"$(cat /etc/app/inner.conf)\"; "
        "echo key $(stat -c '%a %u %g' /run/keys/key) $(ls /run/keys | wc -l); "
        "echo kind $(grep ' /run/keys ' /proc/mounts | cut -d' ' -f1-3); "
        "(echo x >/run/keys/key || echo x >/etc/app.conf) 2>/dev/null || echo kept yes; "
        "echo done; exec sleep 1000",
        secrets=secrets(
            PLAIN="plain", SECURE=values["parameter"], OLD="/app/secure:old", WHOLE=secret,
            USER=f"{secret}:user::", PORT=f"{secret}:port::", BEFORE=f"{secret}:user:AWSPREVIOUS:",
        ),
        environment=[{"name": "SHARED", "value": "definition"}],
        environmentFiles=[
            {"type": "s3", "value": "arn:aws:s3:::config/a b.env"},
            {"type": "s3", "value": "arn:aws:s3:::config/second.env"},
        ],
        healthCheck={"command": ["CMD-SHELL", f"test ${{#PLAIN}} = {len(planted('plain'))}"]},
        mountPoints=[
            mount("file", "/etc/app.conf"), mount("inner", "/etc/app"), mount("keys", "/run/keys"),
        ],
    )
    reader = shell(
        "reader", SHOW + "show key \"$(cat /run/keys/key)\"; echo done; exec sleep 1000",
        user="1000:1001", mountPoints=[mount("keys", "/run/keys")],
    )
    stranger = shell(
        "stranger", "cat /run/keys/key || echo key denied; echo done; exec sleep 1000",
        user="1002", volumesFrom=[{"sourceContainer": "reader"}],
    )
    talker = shell(
        "talker", "for n in $(seq 20); do seq 150; sleep 0.05; done; echo done; exec sleep 1000",
        logConfiguration={
            "logDriver": "json-file", "options": {"max-file": "1"},
            "secretOptions": secrets(**{"max-size": "/app/max-size"}),
        },
    )
    return wharf.start(wharf.register(
        "all", app, reader, stranger, talker, executionRoleArn=ROLE,
        volumes=[
            volume("file", "wharf-file", content="a = b\n"),
            volume("inner", "wharf-file", path="inner.conf", content="c", mode="0600"),
            volume("keys", "wharf-secret", key=f"{secret}:user::", other="plain",
                   mode="0400", uid="1000", gid="1001"),
        ],
    ))


def test_what_a_task_names_its_containers_have(wharf, values, running):
    wharf.running(running)
    found = shown(wharf, running, "app")
    expected = {
        "PLAIN": planted("plain"), "SECURE": planted("secure"), "OLD": planted("old"),
        "WHOLE": values["json"], "USER": planted("user"), "PORT": "5432",
        "BEFORE": planted("before"), "FILE": planted("file") + "=x", "SHARED": "definition",
        "TWICE": "first", "QUOTED": '"q"', "file": "a = b", "inner": "c",
    }
    digests = {name: digest(value) for name, value in expected.items()}
    assert {name: found[name] for name in digests} == digests
    assert (found["key"], found["kind"]) == ("400 1000 1001 2", "tmpfs /run/keys tmpfs")
    assert found["kept"] == "yes"
    assert shown(wharf, running, "reader")["key"] == digest(planted("user"))
    assert shown(wharf, running, "stranger")["key"] == "denied"
    # Whoever reads while it is written may see more than what is kept.
    shown(wharf, running, "talker")
    lines = wharf.run("logs", running, "talker").stdout.splitlines()
    assert lines[-1] == "done" and len(lines) < 1000, len(lines)
    # The check runs with the container's environment.
    eventually("healthy", lambda: wharf.task(running)["healthStatus"] == "HEALTHY", timeout=20)


def test_a_role_fetches_what_it_may_and_nothing_else(wharf, values):
    def start(name, reference):
        app = shell("app", SHOW + 'show value "$VALUE"; echo done', secrets=secrets(VALUE=reference))
        return wharf.start(wharf.register(name, app, executionRoleArn="narrow"))

    allowed, denied = start("may", "/app/secure:old"), start("may-not", "plain")
    assert shown(wharf, allowed, "app")["value"] == digest(planted("old"))
    who = f"arn:aws:sts::123456789012:assumed-role/narrow/{denied.rsplit('/', 1)[1]}"
    assert wharf.stopped(denied)["stoppedReason"] == (
        f"Fetching secret data from SSM Parameter Store in {REGION}: AccessDeniedException: User: "
        f"{who} is not authorized to perform: ssm:GetParameters on resource: "
        f"arn:aws:ssm:{REGION}:123456789012:parameter/plain because no identity-based policy allows "
        "the ssm:GetParameters action"
    )


def test_the_next_task_has_the_next_value(wharf, values):
    asm = wharf.client("secretsmanager")
    asm.create_secret(Name="rotated", SecretString=planted("first"))
    reference = asm.describe_secret(SecretId="rotated")["ARN"]
    script = SHOW + 'show value "$VALUE"; echo done'
    definition = wharf.register(
        "rotated", shell("app", script, secrets=secrets(VALUE=reference)), executionRoleArn=ROLE
    )
    first = wharf.start(definition)
    assert shown(wharf, first, "app")["value"] == digest(planted("first"))
    asm.put_secret_value(SecretId="rotated", SecretString=planted("second"))
    second = wharf.start(definition)
    assert shown(wharf, second, "app")["value"] == digest(planted("second"))


def test_files_of_variables_in_an_override(wharf):
    ObjectStore.objects["/config/own.env"] = b"OWN=definition\nBOTH=definition\n"
    ObjectStore.objects["/config/other.env"] = b"BOTH=override\n"
    script = 'echo own ${OWN:-none}; echo both $BOTH; echo done'
    own = [{"type": "s3", "value": "arn:aws:s3:::config/own.env"}]
    definition = wharf.register(
        "files", shell("app", script, environmentFiles=own), executionRoleArn=ROLE
    )
    other = [{"type": "s3", "value": "arn:aws:s3:::config/other.env"}]
    arn = wharf.start(
        definition,
        overrides={"containerOverrides": [{"name": "app", "environmentFiles": other}]},
    )
    # Instead of those of the definition.
    assert shown(wharf, arn, "app") == {"own": "none", "both": "override"}
    overrides = wharf.task(arn)["overrides"]["containerOverrides"]
    assert overrides[0]["environmentFiles"] == other


FARGATE = "unable to pull secrets or registry auth: execution resource retrieval failed: unable to"
GONE = f"arn:aws:secretsmanager:{REGION}:123456789012:secret:gone-AbCdEf"
NO_SECRET = "ResourceNotFoundException: Secrets Manager can't find the specified secret."
NO_FILE = "NoSuchKey: The specified key does not exist. status code: 404"


def test_what_is_missing_stops_the_task_with_its_reason(wharf, values):
    files = [{"type": "s3", "value": "arn:aws:s3:::config/gone.env"}]
    key = f"{values['secret']}:none::"
    cases = {
        "parameter": (
            {"secrets": secrets(A="/gone", B="plain")},
            f"Fetching secret data from SSM Parameter Store in {REGION}: invalid parameters: /gone",
            f"ResourceInitializationError: {FARGATE} retrieve secrets from ssm: service call has "
            "been retried 1 time(s): invalid ssm parameters: /gone",
        ),
        "secret": (
            {"secrets": secrets(A=GONE)},
            f"Fetching secret data from AWS Secrets Manager in region {REGION}: secret {GONE}: "
            f"{NO_SECRET}",
            f"ResourceInitializationError: {FARGATE} retrieve secret from asm: service call has been "
            f"retried 1 time(s): failed to fetch secret {GONE} from secrets manager: {NO_SECRET}",
        ),
        "key": (
            {"secrets": secrets(A=key)},
            f"Fetching secret data from AWS Secrets Manager in region {REGION}: secret "
            f"{values['secret']}: retrieved secret from Secrets Manager did not contain json key none",
            None,
        ),
        "file": (
            {"environmentFiles": files},
            "unable to download env file with key gone.env from bucket config, error: " + NO_FILE,
            "ResourceInitializationError: failed to download env files: file download command: non "
            "empty error stream: service call has been retried 1 time(s): " + NO_FILE,
        ),
    }
    subnet = wharf.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    fargate = {
        "launchType": "FARGATE",
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": [subnet]}},
    }
    expected = {}
    for name, (members, on_ec2, on_fargate) in cases.items():
        app = shell("app", "sleep 1000", **members)
        task = wharf.start(wharf.register(f"missing-{name}", app, executionRoleArn=ROLE))
        expected[task] = on_ec2
        if on_fargate:
            definition = wharf.register(
                f"missing-{name}-f", app, executionRoleArn=ROLE, networkMode="awsvpc", cpu="256",
                memory="512", requiresCompatibilities=["FARGATE"],
            )
            expected[wharf.start(definition, **fargate)] = on_fargate
    wharf.wait("tasks_stopped", tasks=list(expected))
    for arn, reason in expected.items():
        task = wharf.task(arn)
        assert (task["stopCode"], task["stoppedReason"]) == ("TaskFailedToStart", reason)


def test_registration_says_what_is_wrong(wharf):
    twice = (
        "The secret name must be unique and not shared with any new or existing environment "
        "variables set on the container, such as 'A'."
    )
    role = "you must also specify a value for 'executionRoleArn'."
    file = {"type": "s3", "value": "arn:aws:s3:::b/k.env"}
    keys = volume("v", "wharf-secret", key="plain")
    elsewhere = f"arn:aws:ssm:eu-west-1:123456789012:parameter/a"
    for members, more, text in [
        ({"secrets": secrets(A="a") * 2}, {}, twice),
        ({"secrets": secrets(A="a"), "environment": [{"name": "A", "value": ""}]}, {}, twice),
        ({"secrets": secrets(A="a")}, {"executionRoleArn": ""}, f"specifying container secrets, {role}"),
        ({"secrets": secrets(A="arn:aws:s3:::b/k")}, {}, "Invalid 'valueFrom' setting for secret 'A'"),
        ({"secrets": secrets(A=elsewhere)}, {}, "in the region 'eu-west-1'"),
        ({"environmentFiles": [file]}, {"executionRoleArn": ""}, f"specifying environment files, {role}"),
        ({"environmentFiles": [file] * 11}, {}, "Too many environment files"),
        ({"environmentFiles": [file | {"value": "arn:aws:s3:::b/k"}]}, {}, "must end with '.env'"),
        ({}, {"volumes": [keys], "executionRoleArn": ""}, role),
        ({}, {"volumes": [volume("v", "wharf-file")]}, "content is required"),
        ({}, {"volumes": [volume("v", "wharf-secret", key="a", mode="rw")]}, "mode: not an octal"),
    ]:
        with pytest.raises(botocore.exceptions.ClientError, match="ClientException") as refused:
            wharf.register("wrong", shell("app", ":", **members), **{"executionRoleArn": ROLE} | more)
        assert text in str(refused.value)


def test_the_aws_cli_keeps_parameters_and_secrets(wharf):
    aws, ssm, asm = wharf.aws, wharf.client("ssm"), wharf.client("secretsmanager")
    aws("ssm", "put-parameter", "--name", "/cli/a", "--type", "String", "--value", "1",
        "--tags", "Key=k,Value=v")
    ssm.put_parameter(Name="/cli/b/c", Type="SecureString", Value=planted("cli"))
    with pytest.raises(ssm.exceptions.ParameterAlreadyExists):
        ssm.put_parameter(Name="/cli/a", Type="String", Value="2")
    path = aws("ssm", "get-parameters-by-path", "--path", "/cli", "--recursive", "--with-decryption")
    found = {p["Name"]: p["Value"] for p in path["Parameters"]}
    assert found == {"/cli/a": "1", "/cli/b/c": planted("cli")}
    with pytest.raises(ssm.exceptions.ParameterNotFound):
        ssm.get_parameter(Name="/none")
    pages = ssm.get_paginator("describe_parameters").paginate(
        ParameterFilters=[{"Key": "Path", "Option": "Recursive", "Values": ["/cli"]}],
        PaginationConfig={"PageSize": 1},
    )
    assert [p["Name"] for page in pages for p in page["Parameters"]] == ["/cli/a", "/cli/b/c"]

    made = aws("secretsmanager", "create-secret", "--name", "cli", "--secret-string", planted("one"))
    # Bytes, and those of the very first version again.
    asm.put_secret_value(SecretId="cli", SecretBinary=planted("two").encode())
    assert asm.get_secret_value(SecretId="cli")["SecretBinary"] == planted("two").encode()
    value = aws(
        "secretsmanager", "get-secret-value", "--secret-id", made["ARN"],
        "--version-stage", "AWSPREVIOUS",
    )
    assert value["SecretString"] == planted("one")
    asm.delete_secret(SecretId="cli", RecoveryWindowInDays=7)
    with pytest.raises(asm.exceptions.InvalidRequestException):
        asm.get_secret_value(SecretId="cli")
    asm.restore_secret(SecretId="cli")
    asm.delete_secret(SecretId="cli", ForceDeleteWithoutRecovery=True)
    gone = aws("secretsmanager", "describe-secret", "--secret-id", "cli", check=False)
    assert "Secrets Manager can't find the specified secret." in gone.stderr


def test_values_are_nowhere_but_where_they_must_be(wharf, values, running):
    """While the task runs, and after all that the tests before have done."""
    log = pathlib.Path(wharf.data_dir) / "log"
    assert any('"TRACE"' in f.read_text(errors="replace") for f in log.glob("*.log"))
    found = subprocess.run(
        ["grep", "--recursive", "--fixed-strings", "--files-with-matches", PLANTED, wharf.data_dir],
        capture_output=True, text=True,
    )
    assert (found.returncode, found.stdout) == (1, "")
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            command = path.read_bytes()
            # The test's own children, such as the aws CLI, are not wharf's.
            assert PLANTED.encode() not in command, path
    assert PLANTED not in wharf.run("journal", "export").stdout
    definition = wharf.client().describe_task_definition(taskDefinition="all")
    assert PLANTED not in str(definition) + str(wharf.task(running))
    assert PLANTED not in str(wharf.client("secretsmanager").list_secrets())
    assert PLANTED not in str(wharf.client("ssm").describe_parameters())
