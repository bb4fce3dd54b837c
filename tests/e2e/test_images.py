"""Images from independent parties: Debian's docker-registry, and archives made by skopeo."""

import contextlib
import hashlib
import json
import shutil
import subprocess
import urllib.request

import pytest
from conftest import eventually, free_port


def skopeo(*arguments):
    result = subprocess.run(
        ["skopeo", "--insecure-policy", *arguments], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr


def answers(url):
    with contextlib.suppress(OSError):
        return urllib.request.urlopen(url, timeout=2).status == 200
    return False


@contextlib.contextmanager
def docker_registry(directory):
    """Debian's registry; its address."""
    address = f"127.0.0.1:{free_port()}"
    config = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(directory / "data")}},
        "http": {"addr": address},
        "log": {"level": "warn"},
    }
    (directory / "config.yml").write_text(json.dumps(config))
    process = subprocess.Popen(["docker-registry", "serve", str(directory / "config.yml")])
    try:
        eventually("the registry", lambda: answers(f"http://{address}/v2/"))
        yield address
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with docker_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


def archive_of_busybox(directory):
    """A docker-archive with one image of busybox, made by hand."""
    root = directory / "root"
    (root / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    (root / "bin/sh").symlink_to("busybox")
    archive = directory / "image.tar"
    build_docker_archive(root, archive)
    return archive


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    return archive_of_busybox(tmp_path_factory.mktemp("image"))


def build_docker_archive(root, archive):
    """A docker-archive as `docker save` writes it."""
    work = archive.parent / "save"
    work.mkdir()
    subprocess.check_call(["tar", "-C", root, "--owner=0", "--group=0", "-cf", work / "layer.tar", "."])
    diff_id = "sha256:" + hashlib.sha256((work / "layer.tar").read_bytes()).hexdigest()
    (work / "config.json").write_text(json.dumps({
        "architecture": "amd64", "os": "linux",
        "config": {"Entrypoint": ["/bin/sh", "-c"], "Cmd": ["echo by default"],
                   "Env": ["PATH=/bin", "WHERE=there"], "WorkingDir": "/bin"},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }))
    (work / "manifest.json").write_text(json.dumps([
        {"Config": "config.json", "RepoTags": ["made:here"], "Layers": ["layer.tar"]}
    ]))
    subprocess.check_call(
        ["tar", "-C", work, "-cf", archive, "manifest.json", "config.json", "layer.tar"]
    )


def run(wharf, image, *arguments):
    result = wharf.run("run", image, *arguments, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("format", ["oci", "v2s2"])
def test_a_task_from_a_registry(wharf, registry, image, format):
    name = f"{registry}/team/{format}:1"
    skopeo("copy", f"--format={format}", "--dest-tls-verify=false",
           f"docker-archive:{image}", f"docker://{name}")
    assert run(wharf, name) == "by default\n"
    assert run(wharf, name, "echo $WHERE $PWD") == "there /bin\n"
    arn = wharf.start(wharf.register(f"from-{format}", {"name": "a", "image": name, "memory": 32}))
    container = wharf.stopped(arn)["containers"][0]
    assert container["exitCode"] == 0
    assert container["imageDigest"].startswith("sha256:")
    by_digest = f"{registry}/team/{format}@{container['imageDigest']}"
    assert run(wharf, by_digest) == "by default\n"


def test_a_tag_that_isnt_in_the_registry(wharf, registry):
    arn = wharf.start(wharf.register(
        "no-tag", {"name": "a", "image": f"{registry}/team/none:1", "memory": 32}
    ))
    task = wharf.stopped(arn)
    assert task["stoppedReason"].startswith("CannotPullContainerError"), task["stoppedReason"]


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
def test_archives_by_skopeo(wharf, image, kind, tmp_path):
    archive = tmp_path / "archive.tar"
    skopeo("copy", f"docker-archive:{image}", f"{kind}:{archive}:loaded:{kind}")
    wharf.run("image", "load", str(archive), "--name", f"loaded:{kind}")
    assert run(wharf, f"loaded:{kind}") == "by default\n"
    names = [i["name"] for i in json.loads(wharf.run("image", "ls", "--json").stdout)]
    assert any(name.endswith(f"loaded:{kind}") for name in names), names
    with archive.open("rb") as file:
        wharf.run("image", "load", "-", "--name", "from:stdin", stdin=file)
    assert run(wharf, "from:stdin", "echo piped") == "piped\n"
