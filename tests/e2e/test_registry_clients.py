"""The registry by the clients that people have, as Debian has them: docker, podman, buildah and skopeo,
under the name that ECR would give it, over TLS that they verify; and oci-client, out of a Rust program.

Each client runs with an /etc of its own over the host's, which has the two wharfs' names and authorities
in it, as their /etc would have them if they were the only ones there."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

import pytest
from conftest import BIN, Wharf, eventually

ACCOUNTS = ("123456789012", "999999999999")
HERE, THERE = (f"{account}.dkr.ecr.us-east-1.amazonaws.com" for account in ACCOUNTS)

# The directories that are mounted over each other are the namespace's own, and go with it.
OWN_ETC = """
    set -e
    mkdir -p "$SCRATCH"
    mount -t tmpfs tmpfs "$SCRATCH"
    mkdir "$SCRATCH/upper" "$SCRATCH/work"
    mount -t overlay overlay -o "lowerdir=$ETC:/etc,upperdir=$SCRATCH/upper,workdir=$SCRATCH/work" /etc
    exec "$@"
"""


class Clients:
    """Clients on the host of two wharfs."""

    def __init__(self, directory, here, there):
        self.directory, self.here, self.there = directory, here, there
        proxies = ("http_proxy", "https_proxy", "all_proxy")
        self.env = {k: v for k, v in here.env().items() if k.lower() not in proxies}
        self.env |= {
            "HOME": str(directory / "home"), "SCRATCH": str(directory / "scratch"), "ETC": here.etc[1],
            "REGISTRY_AUTH_FILE": str(directory / "auth.json"), "DOCKER_CONFIG": str(directory / "docker"),
            "DOCKER_HOST": f"unix://{directory}/docker.sock",
        }
        (directory / "home").mkdir()
        storage = ["--root", directory / "storage", "--runroot", directory / "run", "--storage-driver", "vfs"]
        self.storage = [str(argument) for argument in storage]

    def command(self, *arguments):
        return ["unshare", "--mount", "bash", "-c", OWN_ETC, "bash", *map(str, arguments)]

    def run(self, *arguments, check=True, **options):
        result = subprocess.run(self.command(*arguments), env=self.env, capture_output=True, text=True,
                                timeout=120, **options)
        if check:
            assert result.returncode == 0, f"{arguments}\n{result.stdout}{result.stderr}"
        return result

    def login(self, program, *options):
        """As people log in: by the aws CLI."""
        for wharf, host in ((self.here, HERE), (self.there, THERE)):
            password = password_of(wharf)
            self.run(program, *options, "login", "-u", "AWS", "--password-stdin", host, input=password)

    def podman(self, *arguments):
        return self.run("podman", *self.storage, "--cgroup-manager", "cgroupfs", *arguments)

    def buildah(self, *arguments):
        return self.run("buildah", *self.storage, *arguments)

    def skopeo(self, *arguments, **options):
        return self.run("skopeo", "--insecure-policy", *arguments, **options)

    def docker(self, *arguments, **options):
        return self.run("docker", *arguments, **options)


def password_of(wharf):
    result = subprocess.run(["aws", "ecr", "get-login-password"], env=wharf.env(), check=True,
                            capture_output=True, text=True, timeout=60)
    return result.stdout.strip()


@pytest.fixture(scope="module")
def etc(tmp_path_factory):
    directory = tmp_path_factory.mktemp("etc")
    (directory / "hosts").write_text("127.0.0.1 localhost\n")
    return directory


@pytest.fixture(scope="module")
def wharf(etc):
    instance = Wharf(etc=etc)
    try:
        instance.client("ecr").create_repository(repositoryName="app")
        yield instance
    finally:
        assert instance.down().returncode == 0


@pytest.fixture(scope="module")
def other(wharf, etc):
    """A second registry on the same host: of another account."""
    instance = Wharf("--no-agent", "--account", ACCOUNTS[1], etc=etc, start=False)
    try:
        instance.up()
        instance.client("ecr").create_repository(repositoryName="app")
        yield instance
    finally:
        assert instance.down().returncode == 0


@pytest.fixture(scope="module")
def clients(wharf, other):
    # podman wants short names of directories.
    with tempfile.TemporaryDirectory(prefix="clients-") as directory:
        yield Clients(pathlib.Path(directory), wharf, other)


@pytest.fixture(scope="module")
def docker(clients):
    """Debian's dockerd, with all that it has in a directory of the test's, and no network."""
    at = clients.directory
    log = open(at / "dockerd.log", "w")
    command = ["dockerd", "--data-root", at / "data", "--exec-root", at / "exec", "-p", at / "docker.pid",
               "-H", f"unix://{at}/docker.sock", "--storage-driver", "vfs", "--iptables=false",
               "--ip-forward=false", "--bridge=none"]
    daemon = subprocess.Popen(clients.command(*command), env=clients.env, stdout=log, stderr=log)
    try:
        eventually("dockerd", lambda: clients.docker("info", check=False).returncode == 0, timeout=30)
        clients.login("docker")
        yield clients.docker
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(30)


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    """What an image is built of."""
    directory = tmp_path_factory.mktemp("context")
    shutil.copy("/bin/busybox", directory / "busybox")
    (directory / "Dockerfile").write_text(
        'FROM scratch\nCOPY busybox /bin/busybox\nENTRYPOINT ["/bin/busybox"]\nCMD ["sleep", "600"]\n'
    )
    return directory


def manifest(clients, image):
    return json.loads(clients.skopeo("inspect", "--raw", f"docker://{image}").stdout)




def test_each_pushes_and_each_pulls(clients, context, tmp_path):
    for program in ("podman", "skopeo"):
        clients.login(program)
    clients.buildah("bud", "--isolation", "chroot", "-t", f"{HERE}/app:buildah", context)
    clients.buildah("push", f"{HERE}/app:buildah")
    clients.podman("tag", f"{HERE}/app:buildah", f"{THERE}/app:podman")
    clients.podman("push", "--format", "v2s2", f"{THERE}/app:podman")
    clients.podman("rmi", "--all", "--force")
    clients.podman("pull", f"{THERE}/app:podman")
    clients.podman("pull", f"{HERE}/app:buildah")
    # From one wharf's registry to the other's and back.
    clients.skopeo("copy", f"docker://{HERE}/app:buildah", f"docker://{THERE}/app:skopeo")
    clients.skopeo("copy", f"docker://{THERE}/app:podman", f"docker://{HERE}/app:podman")
    assert manifest(clients, f"{HERE}/app:buildah") == manifest(clients, f"{THERE}/app:skopeo")
    clients.skopeo("copy", f"docker://{THERE}/app:skopeo", f"dir:{tmp_path}/back")
    # Nobody who isn't logged in.
    anonymous = clients.skopeo("inspect", "--no-creds", f"docker://{HERE}/app:podman", check=False)
    assert "authentication required" in anonymous.stderr
    clients.skopeo("delete", f"docker://{THERE}/app:skopeo")
    gone = clients.skopeo("inspect", f"docker://{THERE}/app:skopeo", check=False)
    assert gone.returncode != 0 and "manifest unknown" in gone.stderr


def test_an_index_of_two_platforms(clients, context):
    """Made by buildah, copied by skopeo with all that it refers to, pulled by podman for each platform."""
    clients.login("podman")
    platforms = ("amd64", "arm64")
    clients.buildah("bud", "--isolation", "chroot", "--platform", ",".join(f"linux/{p}" for p in platforms),
                    "--manifest", "multi", context)
    clients.buildah("manifest", "push", "--all", "multi", f"docker://{HERE}/app:multi")
    clients.skopeo("copy", "--all", f"docker://{HERE}/app:multi", f"docker://{THERE}/app:multi")
    index = manifest(clients, f"{THERE}/app:multi")
    assert index == manifest(clients, f"{HERE}/app:multi")
    assert sorted(m["platform"]["architecture"] for m in index["manifests"]) == sorted(platforms)
    for platform in platforms:
        clients.podman("pull", "--arch", platform, f"{THERE}/app:multi")
        image = json.loads(clients.podman("image", "inspect", f"{THERE}/app:multi").stdout)[0]
        assert image["Architecture"] == platform


def test_a_users_path(wharf, clients, docker, context):
    """create-repository, docker login, docker push, a lifecycle preview, a service of it, an update by
    digest, and the removal of an image that runs."""
    image = f"{HERE}/shop"
    made = wharf.aws("ecr", "create-repository", "--repository-name", "shop")["repository"]
    assert made["repositoryUri"] == image
    tar = ["tar", "-C", context, "-c", "busybox"]
    for tag in ("1", "2"):
        archive = subprocess.run(tar, check=True, capture_output=True).stdout
        result = subprocess.run(
            clients.command("docker", "import", "-c", 'ENTRYPOINT ["/busybox"]', "-c", 'CMD ["sleep", "600"]',
                            "-c", f"LABEL of={tag}", "-", f"{image}:{tag}"),
            env=clients.env, input=archive, capture_output=True, timeout=60)
        assert result.returncode == 0, result.stderr
        docker("push", f"{image}:{tag}")
    docker("rmi", f"{image}:1")
    docker("pull", f"{image}:1")
    policy = {"rules": [{"rulePriority": 1, "selection": {
        "tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1}, "action": {"type": "expire"}}]}
    wharf.aws("ecr", "start-lifecycle-policy-preview", "--repository-name", "shop",
              "--lifecycle-policy-text", json.dumps(policy))
    preview = wharf.aws("ecr", "get-lifecycle-policy-preview", "--repository-name", "shop")
    assert [r["imageTags"] for r in preview["previewResults"]] == [["1"]]
    digests = {
        i["imageTag"]: i["imageDigest"]
        for i in wharf.aws("ecr", "list-images", "--repository-name", "shop")["imageIds"]
    }
    container = {"name": "app", "image": f"{image}:1", "memory": 32, "stopTimeout": 2}
    service = {"service": "shop"}
    wharf.client().create_service(serviceName="shop", desiredCount=1, taskDefinition=wharf.register("shop", container))
    wharf.wait("services_stable", services=["shop"])
    assert running(wharf, digests["1"])
    container["image"] = f"{image}@{digests['2']}"
    wharf.client().update_service(**service, taskDefinition=wharf.register("shop", container))
    wharf.wait("services_stable", services=["shop"])
    task = running(wharf, digests["2"])
    pids = wharf.pids(task["taskArn"])["app"]
    removed = wharf.aws("ecr", "batch-delete-image", "--repository-name", "shop",
                        "--image-ids", f"imageDigest={digests['2']}")
    assert [i["imageDigest"] for i in removed["imageIds"]] == [digests["2"]] and not removed["failures"]
    assert wharf.task(task["taskArn"])["lastStatus"] == "RUNNING"
    assert wharf.pids(task["taskArn"])["app"] == pids and all(os.path.exists(f"/proc/{pid}") for pid in pids)
    wharf.client().delete_service(**service, force=True)


def running(wharf, digest):
    """The one task of the service that runs an image."""
    (task,) = [t for t in wharf.tasks("shop") if t["containers"][0].get("imageDigest") == digest]
    assert task["lastStatus"] == "RUNNING"
    return task


def test_oci_client(wharf, other):
    arguments = []
    for registry in (wharf, other):
        for name in ("story", "story/copy"):
            registry.client("ecr").create_repository(repositoryName=name)
        arguments += [registry.listen, password_of(registry)]
    result = subprocess.run([str(BIN / "oci-story"), *arguments], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    assert result.stdout.splitlines() == ["pushed and pulled", "an index", "artifacts", "mounted", "copied"]
