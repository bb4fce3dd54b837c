"""The registry under the name that ECR gives it: TLS, /etc/hosts, and whom this host's clients trust.

A directory stands for /etc, so that the host's own is left alone."""

import http.client
import os
import signal
import socket
import ssl
import subprocess

import pytest
from conftest import Wharf, eventually
from test_registry import Registry

NAME = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
HOSTS = "127.0.0.1 localhost\n# a comment\r\n10.0.0.1 last.example"


@pytest.fixture(scope="module")
def etc(tmp_path_factory):
    directory = tmp_path_factory.mktemp("etc")
    (directory / "hosts").write_bytes(HOSTS.encode())
    return directory


@pytest.fixture(scope="module")
def wharf(etc):
    instance = Wharf(etc=etc)
    try:
        yield instance
    finally:
        assert instance.down().returncode == 0


def address_of(etc, name):
    """What /etc/hosts says of a name."""
    for line in (etc / "hosts").read_bytes().decode().splitlines():
        fields = line.split("#")[0].split()
        if name in fields[1:]:
            return fields[0]
    return None


def request(wharf, etc, path, name=NAME, headers=None):
    """GET by TLS, as a client that trusts wharf's authority."""
    trust = ssl.create_default_context(cadata=wharf.run("ca").stdout)
    stream = socket.create_connection((address_of(etc, name), 443), timeout=10)
    connection = http.client.HTTPSConnection(name)
    connection.sock = trust.wrap_socket(stream, server_hostname=name)
    connection.request("GET", path, headers=headers or {})
    answer = connection.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read()


def repository_uri(wharf, name="app"):
    return wharf.client("ecr").describe_repositories(repositoryNames=[name])["repositories"][0]["repositoryUri"]


def test_name_tls_and_trust(wharf, etc):
    assert (etc / "hosts").read_bytes().decode().endswith(HOSTS)
    status, headers, _ = request(wharf, etc, "/v2/")
    assert (status, headers["www-authenticate"]) == (401, f'Basic realm="https://{NAME}/",service="ecr.amazonaws.com"')
    ecr = wharf.client("ecr")
    data = ecr.get_authorization_token()["authorizationData"][0]
    assert data["proxyEndpoint"] == f"https://{NAME}"
    login = {"Authorization": f"Basic {data['authorizationToken']}"}
    assert request(wharf, etc, "/v2/", headers=login)[0] == 200
    assert request(wharf, etc, "/healthz")[0] == 404, "the registry alone is served there"
    assert ecr.create_repository(repositoryName="app")["repository"]["repositoryUri"] == f"{NAME}/app"
    plain = http.client.HTTPConnection(address_of(etc, NAME), 80, timeout=10)
    for host, status in ((NAME, 401), ("evil.example", 403)):
        plain.request("GET", "/v2/", headers={"Host": host})
        answer = plain.getresponse()
        answer.read()
        assert answer.status == status
    # One that doesn't trust the authority.
    with pytest.raises(ssl.SSLCertVerificationError):
        stream = socket.create_connection((address_of(etc, NAME), 443), timeout=10)
        ssl.create_default_context().wrap_socket(stream, server_hostname=NAME)
    authority = wharf.run("ca").stdout
    for client in ("docker", "containers"):
        assert (etc / client / "certs.d" / NAME / "ca.crt").read_text().endswith(authority)
    assert os.stat(f"{wharf.data_dir}/authority").st_mode & 0o777 == 0o600
    # Tasks name images by it, without any network's name.
    wharf.run("image", "push", "hello:latest", f"{NAME}/app:1")
    container = {"name": "app", "image": f"{NAME}/app:1", "command": ["app"], "memory": 32}
    task = wharf.running(wharf.start(wharf.register("named", container)))
    assert task["containers"][0]["imageDigest"].startswith("sha256:"), task
    # The ports stay everybody's: a task publishes them beside it.
    container["portMappings"] = [{"containerPort": 8080, "hostPort": 443}]
    task = wharf.running(eventually("the port, which another test may have", lambda: started(wharf, container), 240, 1))
    assert request(wharf, etc, "/v2/")[0] == 401
    with socket.create_connection(("127.0.0.1", 443), timeout=10) as stream:
        stream.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert b"200" in stream.recv(100)
    wharf.client().stop_task(task=task["taskArn"])
    # It stands as long as its entry.
    block = (etc / "hosts").read_bytes()
    (etc / "hosts").write_bytes(HOSTS.encode())
    eventually("the address", lambda: repository_uri(wharf) == f"{wharf.listen.replace('127.0.0.1', 'localhost')}/app")
    (etc / "hosts").write_bytes(block)
    eventually("the name", lambda: repository_uri(wharf) == f"{NAME}/app")


def started(wharf, container):
    """The ARN of a task of the container that runs; None if something else has its port."""
    arn = wharf.start(wharf.register("named", container))
    status = eventually("the task to run or to stop", lambda: {"RUNNING", "STOPPED"} & {wharf.task(arn)["lastStatus"]})
    if status == {"RUNNING"}:
        return arn
    reasons = [str(c.get("reason")) for c in wharf.task(arn)["containers"]]
    assert any("in use" in reason for reason in reasons), reasons
    return None


def test_wharfs_beside_each_other(wharf, etc):
    """Each has a block and an address; a name has one owner; one that was killed loses it."""
    same = Wharf("--no-agent", etc=etc, start=False)
    other = Wharf("--no-agent", "--account", "999999999999", etc=etc, start=False)
    others_name = NAME.replace("123456789012", "999999999999")
    try:
        for one in (same, other):
            one.up()
            one.client("ecr").create_repository(repositoryName="app")
        before = address_of(etc, NAME)
        assert repository_uri(same) == f"{same.listen.replace('127.0.0.1', 'localhost')}/app"
        assert "has the registry's name" in same.logs()
        assert repository_uri(other) == f"{others_name}/app"
        assert address_of(etc, others_name) != before
        assert request(other, etc, "/v2/", name=others_name)[0] == 401
        for directory in (etc / "docker/certs.d", etc / "containers/certs.d"):
            assert sorted(path.name for path in directory.iterdir()) == [NAME, others_name]
        other.run("down", "--etc", str(etc))
        assert address_of(etc, others_name) is None and address_of(etc, NAME) == before
        # Killed, with its block left: who comes next has the name.
        killed = wharf.status()
        for process in ("supervisor", "server"):
            os.kill(killed[process]["pid"], signal.SIGKILL)
        same.run("down", "--etc", str(etc))
        assert address_of(etc, NAME) == before
        same.up()
        assert repository_uri(same) == f"{NAME}/app"
        assert request(same, etc, "/v2/")[0] == 401
        wharf.up()
        assert repository_uri(wharf).startswith("localhost:")
    finally:
        for one in (same, other):
            assert one.down().returncode == 0
    # And back, with a restart.
    os.kill(wharf.status()["server"]["pid"], signal.SIGKILL)
    eventually("the name", lambda: address_of(etc, NAME))
    wharf.run("down", "--etc", str(etc))
    assert (etc / "hosts").read_bytes().decode() == HOSTS
    assert [path.name for path in etc.iterdir()] == ["hosts"]


def test_taken_ports_cost_the_name_alone(tmp_path):
    """Somebody listens everywhere: in a network of its own, so that nobody else misses the ports."""
    script = f"""
        set -e
        ip link set lo up
        python3 -m http.server 4443 --directory {tmp_path} >/dev/null 2>&1 & taken=$!
        trap 'kill $taken' EXIT
        {os.sys.executable} -B {__file__} {tmp_path}
    """
    result = subprocess.run(["unshare", "--net", "bash", "-c", script], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"


def beside_another_server(etc):
    eventually("port 4443", lambda: socket.socket().connect_ex(("127.80.0.1", 4443)) == 0)
    wharf = Wharf("--no-agent", etc=etc, start=False)
    try:
        wharf.up()
        made = wharf.client("ecr").create_repository(repositoryName="app")["repository"]
        assert made["repositoryUri"] == f"{Registry(wharf).host}/app"
        assert "the registry has no name of its own" in wharf.logs()
        assert "ports 4443 and 4480 are taken" in wharf.logs()
    finally:
        assert wharf.down().returncode == 0


if __name__ == "__main__":
    import pathlib
    import sys

    beside_another_server(pathlib.Path(sys.argv[1]))
