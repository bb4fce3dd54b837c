"""The image registry by the clients that people have: skopeo, the aws CLI, boto3 and plain HTTP."""

import base64
import hashlib
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.exceptions
import pytest
from conftest import Wharf, eventually
from test_images import build_docker_archive

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
SOAK = bool(os.environ.get("WHARF_SOAK"))


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Registry:
    """The registry of one wharf, by plain HTTP."""

    def __init__(self, wharf):
        self.wharf = wharf
        self.host = wharf.listen.replace("127.0.0.1", "localhost")
        data = wharf.client("ecr").get_authorization_token()["authorizationData"][0]
        assert data["proxyEndpoint"] == f"http://{self.host}"
        self.authorization = "Basic " + data["authorizationToken"]

    def call(self, method, path, body=None, headers=None, authorized=True):
        connection = http.client.HTTPConnection(self.wharf.listen, timeout=30)
        headers = dict(headers or {})
        if authorized:
            headers["Authorization"] = self.authorization
        try:
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def refused(self, method, path, body=None, headers=None, **options):
        status, _, answer = self.call(method, path, body, headers, **options)
        return status, json.loads(answer)["errors"][0]["code"]

    def begin(self, repository):
        status, headers, _ = self.call("POST", f"/v2/{repository}/blobs/uploads/")
        assert status == 202
        return headers["location"]

    def push_blob(self, repository, data):
        digest = digest_of(data)
        status, headers, body = self.call("POST", f"/v2/{repository}/blobs/uploads/?digest={digest}", data)
        assert status == 201 and headers["docker-content-digest"] == digest, (status, body)
        return digest

    def push_manifest(self, repository, reference, manifest, media_type=OCI_MANIFEST):
        data = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
        path = f"/v2/{repository}/manifests/{reference or digest_of(data)}"
        status, headers, body = self.call("PUT", path, data, {"Content-Type": media_type})
        assert status == 201, (status, body)
        assert headers["docker-content-digest"] == digest_of(data)
        return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}, headers

    def push_image(self, repository, reference, *contents, **members):
        """An image of so many layers; its descriptor."""
        config = json.dumps({"architecture": "amd64", "os": "linux", "of": str(contents)}).encode()
        layers = [self.layer(self.push_blob(repository, c), len(c)) for c in contents]
        manifest = {
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                       "digest": self.push_blob(repository, config), "size": len(config)},
            "layers": layers, **members,
        }
        return self.push_manifest(repository, reference, manifest)[0]

    @staticmethod
    def layer(digest, size):
        return {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": size}

    def blob(self, repository, digest, **headers):
        return self.call("GET", f"/v2/{repository}/blobs/{digest}", headers=headers)


@pytest.fixture(scope="module")
def registry(wharf):
    for name in ("plain", "other", "team/app", "team/copy"):
        wharf.client("ecr").create_repository(repositoryName=name)
    return Registry(wharf)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    directory = tmp_path_factory.mktemp("image")
    root = directory / "root"
    (root / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    (root / "bin/sh").symlink_to("busybox")
    build_docker_archive(root, directory / "image.tar")
    return directory / "image.tar"


@pytest.fixture(scope="module")
def skopeo(wharf, registry, tmp_path_factory):
    """skopeo, logged in as people log in."""
    env = wharf.env() | {"REGISTRY_AUTH_FILE": str(tmp_path_factory.mktemp("auth") / "auth.json")}
    login = f"aws ecr get-login-password | skopeo login --tls-verify=false -u AWS --password-stdin {registry.host}"
    subprocess.run(["bash", "-o", "pipefail", "-c", login], env=env, check=True, timeout=60)

    def run(*arguments, check=True):
        result = subprocess.run(["skopeo", "--insecure-policy", *arguments], env=env, timeout=120,
                                capture_output=True, text=True)
        if check:
            assert result.returncode == 0, result.stderr
        return result

    return run


def error_code(call, **arguments):
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**arguments)
    return caught.value.response["Error"]["Code"]


def test_push_copy_and_pull_by_skopeo(wharf, registry, skopeo, archive, tmp_path):
    app, copy = f"docker://{registry.host}/team/app", f"docker://{registry.host}/team/copy"
    skopeo("copy", "--dest-tls-verify=false", "--format=v2s2", f"docker-archive:{archive}", f"{app}:1")
    # The same again costs no upload; in the other format, into the other repository.
    skopeo("copy", "--dest-tls-verify=false", "--format=v2s2", f"docker-archive:{archive}", f"{app}:again")
    skopeo("copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--format=oci", f"{app}:1", f"{copy}:1")
    shown = json.loads(skopeo("inspect", "--tls-verify=false", f"{app}:1").stdout)
    assert sorted(shown["RepoTags"]) == ["1", "again"]
    raw = skopeo("inspect", "--tls-verify=false", "--raw", f"{copy}:1").stdout
    assert json.loads(raw)["mediaType"] == OCI_MANIFEST
    skopeo("copy", "--src-tls-verify=false", f"{copy}:1", f"dir:{tmp_path}/back")
    for layer in json.loads(raw)["layers"]:
        data = (tmp_path / "back" / layer["digest"].split(":")[1]).read_bytes()
        assert digest_of(data) == layer["digest"]
    images = wharf.client("ecr").describe_images(repositoryName="team/app")["imageDetails"]
    assert [sorted(i["imageTags"]) for i in images] == [["1", "again"]]
    assert images[0]["imageManifestMediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert images[0]["lastRecordedPullTime"] and images[0]["imageSizeInBytes"] > 100_000
    skopeo("delete", "--tls-verify=false", f"{copy}:1")
    assert skopeo("inspect", "--tls-verify=false", f"{copy}:1", check=False).returncode != 0


def test_tasks_and_services_by_both_names(wharf, registry, skopeo, archive):
    target = f"docker://{registry.host}/team/app:run"
    skopeo("copy", "--dest-tls-verify=false", f"docker-archive:{archive}", target)
    account = wharf.client("sts").get_caller_identity()["Account"]
    ecr_name = f"{account}.dkr.ecr.us-east-1.amazonaws.com/team/app:run"
    definition = wharf.register(
        "of-ecr", {"name": "app", "image": ecr_name, "memory": 32, "command": ["sleep 600"]}
    )
    wharf.client().create_service(serviceName="of-ecr", taskDefinition=definition, desiredCount=1)
    uri = f"{registry.host}/team/app:run"
    once = wharf.stopped(wharf.start(wharf.register("of-uri", {"name": "app", "image": uri, "memory": 32})))
    assert once["containers"][0]["exitCode"] == 0, once
    found = wharf.client("ecr").describe_images(repositoryName="team/app", imageIds=[{"imageTag": "run"}])
    digest = found["imageDetails"][0]["imageDigest"]
    assert once["containers"][0]["imageDigest"] == digest
    wharf.wait("services_stable", cluster="default", services=["of-ecr"])
    # Its layers weren't copied: registry and image store have one file.
    manifest = json.loads(registry.call("GET", "/v2/team/app/manifests/run")[2])
    layer = manifest["layers"][0]["digest"].split(":")[1]
    ours = os.stat(f"{wharf.data_dir}/registry/blobs/sha256/{layer}")
    theirs = os.stat(f"{wharf.data_dir}/images/blobs/sha256/{layer}")
    assert (ours.st_ino, ours.st_dev) == (theirs.st_ino, theirs.st_dev)
    # An image in use may be deleted: the task runs on.
    gone = wharf.aws("ecr", "batch-delete-image", "--repository-name", "team/app",
                     "--image-ids", f"imageDigest={digest}")
    assert gone["imageIds"] and not gone["failures"]
    assert wharf.tasks("of-ecr")[0]["lastStatus"] == "RUNNING"
    wharf.client().delete_service(service="of-ecr", force=True)
    # Another account's name is not ours.
    other = wharf.register("of-other", {
        "name": "app", "image": ecr_name.replace(account, "999999999999"), "memory": 32,
    })
    stopped = wharf.stopped(wharf.start(other))
    assert stopped["stoppedReason"].startswith("CannotPullContainerError")


def test_push_and_pull_by_wharf_itself(wharf, registry):
    account = wharf.client("sts").get_caller_identity()["Account"]
    pushed = wharf.run("image", "push", "hello:latest", f"{registry.host}/team/app:hello").stdout.split()
    again = f"{account}.dkr.ecr.us-east-1.amazonaws.com/team/app:hello"
    wharf.run("image", "push", "hello:latest", again)
    status, headers, _ = registry.call("HEAD", "/v2/team/app/manifests/hello")
    assert status == 200 and pushed[1] == headers["docker-content-digest"]
    for name in (f"{registry.host}/team/app:hello", again):
        wharf.run("image", "pull", name)
        names = [i["name"] for i in json.loads(wharf.run("image", "ls", "--json").stdout)]
        assert name in names
        shown = json.loads(wharf.run("image", "inspect", name).stdout)
        assert shown["manifest"] == pushed[1] and shown["config"]["Entrypoint"] == ["/hello"]
        wharf.run("image", "rm", name)
    again = json.loads(wharf.run("image", "pull", name, "--json").stdout)
    assert again["manifest"] == pushed[1]
    wharf.run("image", "rm", name)
    # And what the registry itself has.
    rows = json.loads(wharf.run("image", "ls", "--registry", "team/app", "--json").stdout)
    assert [row["imageDigest"] for row in rows if "hello" in row.get("imageTags", [])] == [pushed[1]]
    assert re.search(r"team/app +\S*hello\S* +sha256:\w{12} +[0-9.]+ \w+ +20", wharf.run("image", "ls", "--registry").stdout)
    shown = json.loads(wharf.run("image", "inspect", "--registry", f"{registry.host}/team/app:hello").stdout)
    assert shown["imageDigest"] == pushed[1] and shown["imageManifest"]["layers"]
    assert wharf.run("image", "rm", "--registry", "team/app:hello").stdout == "team/app:hello\n"
    again = wharf.run("image", "rm", "--registry", "team/app:hello", check=False)
    assert again.returncode == 1 and "team/app:hello: Requested image not found" in again.stderr
    nowhere = wharf.run("image", "ls", "--registry", "nowhere", check=False)
    assert nowhere.returncode == 1 and "`wharf image ls --registry` lists" in nowhere.stderr, nowhere.stderr
    swept = json.loads(wharf.run("image", "gc", "--registry", "--json").stdout)
    assert set(swept) == {"expiredImages", "archivedImages", "uploads", "records", "blobs"}
    assert wharf.run("image", "gc", "--older-than", "86400", "--json").returncode == 0
    missing = wharf.run("image", "push", "hello:latest", f"{registry.host}/nowhere:1", check=False)
    assert missing.returncode == 1 and "does not exist in the registry" in missing.stderr


def test_nobody_is_anonymous(wharf, registry):
    status, headers, _ = registry.call("GET", "/v2/", authorized=False)
    assert status == 401 and headers["docker-distribution-api-version"] == "registry/2.0"
    assert headers["www-authenticate"].startswith('Basic realm="http://') and "ecr.amazonaws.com" in headers["www-authenticate"]
    assert registry.call("GET", "/v2/")[0] == 200
    token = base64.b64decode(registry.authorization.split()[1]).decode()
    for login in ("AWS:", "AWS:x", token[:-2] + "AA", token.replace("AWS", "root"), token + "A", ":"):
        wrong = {"Authorization": "Basic " + base64.b64encode(login.encode()).decode()}
        assert registry.call("GET", "/v2/", headers=wrong, authorized=False)[0] == 401, login
    digest = registry.push_blob("plain", b"secret")
    for method, path in (("GET", f"/v2/plain/blobs/{digest}"), ("PUT", "/v2/plain/manifests/x"),
                         ("POST", "/v2/plain/blobs/uploads/"), ("GET", "/v2/_catalog"), ("GET", "/layers/x")):
        assert registry.call(method, path, authorized=False)[0] in (401, 403), path


def test_an_upload_goes_on_after_a_cut_connection(registry):
    data = os.urandom(3 << 20)
    location = registry.begin("plain")
    with socket.create_connection(registry.wharf.listen.split(":")) as s:
        head = (f"PATCH {location} HTTP/1.1\r\nHost: {registry.host}\r\nAuthorization: {registry.authorization}\r\n"
                f"Content-Length: {len(data)}\r\n\r\n")
        s.sendall(head.encode() + data[: 2 << 20])
    arrived = int(eventually(
        "what has arrived", lambda: registry.call("GET", location)[1]["range"].split("-")[1]
    ))
    eventually("all of it", lambda: registry.call("GET", location)[1]["range"] == f"0-{(2 << 20) - 1}")
    assert arrived <= 2 << 20
    # Not where it ends: refused, and told where that is.
    wrong = {"Content-Range": f"0-{len(data) - 1}"}
    status, headers, _ = registry.call("PATCH", location, data, wrong)
    assert status == 416 and headers["range"] == f"0-{(2 << 20) - 1}"
    rest = data[2 << 20 :]
    status, headers, _ = registry.call(
        "PATCH", location, rest, {"Content-Range": f"{2 << 20}-{len(data) - 1}"}
    )
    assert status == 202 and headers["range"] == f"0-{len(data) - 1}"
    status, headers, _ = registry.call("PUT", f"{location}?digest={digest_of(data)}")
    assert status == 201
    assert registry.blob("plain", digest_of(data))[2] == data
    # Another repository knows nothing of it, and the upload is over.
    assert registry.refused("GET", f"/v2/other/blobs/{digest_of(data)}") == (404, "BLOB_UNKNOWN")
    assert registry.refused("PATCH", location, b"x") == (404, "BLOB_UPLOAD_UNKNOWN")
    status, headers, _ = registry.call(
        "POST", f"/v2/other/blobs/uploads/?mount={digest_of(data)}&from=plain"
    )
    assert status == 201 and registry.blob("other", digest_of(data))[0] == 200


def test_ranges_and_conditions(registry):
    digest = registry.push_blob("plain", b"0123456789")
    status, headers, body = registry.blob("plain", digest, Range="bytes=2-4")
    assert (status, body, headers["content-range"]) == (206, b"234", "bytes 2-4/10")
    assert registry.blob("plain", digest, Range="bytes=-3")[2] == b"789"
    assert registry.blob("plain", digest, Range="bytes=10-")[0] == 416
    many = "bytes=" + ",".join(f"{n}-{n}" for n in range(5000))
    assert registry.blob("plain", digest, Range=many)[2] == b"0123456789"
    status, headers, body = registry.call("HEAD", f"/v2/plain/blobs/{digest}")
    assert (status, headers["content-length"], body) == (200, "10", b"")
    assert registry.blob("plain", digest, **{"If-None-Match": headers["etag"]})[0] == 304
    empty = registry.push_blob("plain", b"")
    assert registry.blob("plain", empty)[::2] == (200, b"")
    long = b"by the other algorithm"
    sha512 = "sha512:" + hashlib.sha512(long).hexdigest()
    assert registry.call("POST", f"/v2/plain/blobs/uploads/?digest={sha512}", long)[0] == 201
    assert registry.blob("plain", sha512)[2] == long


def test_an_index_and_its_artifacts(wharf, registry, skopeo):
    image = registry.push_image("plain", None, b"layer one")
    arm = registry.push_image("plain", None, b"layer two")
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
        image | {"platform": {"architecture": "amd64", "os": "linux"}},
        arm | {"platform": {"architecture": "arm64", "os": "linux"}},
    ]}
    index, _ = registry.push_manifest("plain", "multi", index, OCI_INDEX)
    source, target = f"docker://{registry.host}/plain:multi", f"docker://{registry.host}/team/copy:multi"
    skopeo("copy", "--all", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false", source, target)
    copied = registry.call("GET", "/v2/team/copy/manifests/multi")
    assert copied[1]["docker-content-digest"] == index["digest"]
    # What an index needs can't be deleted before it.
    failures = wharf.client("ecr").batch_delete_image(
        repositoryName="plain", imageIds=[{"imageDigest": arm["digest"]}]
    )["failures"]
    assert [f["failureCode"] for f in failures] == ["ImageReferencedByManifestList"]
    # A signature and a bill of materials.
    empty = registry.push_blob("plain", b"{}")
    def artifact(kind, annotations):
        manifest = {
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": kind,
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2},
            "layers": [], "subject": image, "annotations": annotations,
        }
        descriptor, headers = registry.push_manifest("plain", None, manifest)
        assert headers["oci-subject"] == image["digest"]
        return descriptor["digest"]
    signature, sbom = artifact("a/signature", {"by": "jo"}), artifact("a/sbom", {})
    path = f"/v2/plain/referrers/{image['digest']}"
    status, headers, body = registry.call("GET", path)
    found = {m["digest"]: m for m in json.loads(body)["manifests"]}
    assert headers["content-type"] == OCI_INDEX and set(found) == {signature, sbom}
    assert found[signature]["annotations"] == {"by": "jo"} and found[sbom]["artifactType"] == "a/sbom"
    status, headers, body = registry.call("GET", f"{path}?artifactType=a/sbom")
    assert [m["digest"] for m in json.loads(body)["manifests"]] == [sbom]
    assert headers["oci-filters-applied"] == "artifactType"
    nothing = registry.call("GET", f"/v2/plain/referrers/{digest_of(b'nothing')}")
    assert nothing[0] == 200 and json.loads(nothing[2])["manifests"] == []
    referrers = wharf.client("ecr").list_image_referrers(
        repositoryName="plain", subjectId={"imageDigest": image["digest"]}
    )["referrers"]
    assert {r["digest"] for r in referrers} == {signature, sbom}


def test_immutable_tags_and_pages_of_tags(wharf, registry):
    ecr = wharf.client("ecr")
    ecr.create_repository(
        repositoryName="fixed", imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
        imageTagMutabilityExclusionFilters=[{"filterType": "WILDCARD", "filter": "dev-*"}],
    )
    first = registry.push_image("fixed", "v1", b"one")
    registry.push_image("fixed", "dev-x", b"one")
    second = registry.push_image("fixed", "dev-x", b"two")
    assert registry.push_image("fixed", "v1", b"one") == first, "the same again is no change"
    manifest = registry.call("GET", f"/v2/fixed/manifests/{second['digest']}")[2]
    put = registry.refused("PUT", "/v2/fixed/manifests/v1", manifest, {"Content-Type": OCI_MANIFEST})
    assert put == (400, "TAG_INVALID")
    code = error_code(ecr.put_image, repositoryName="fixed", imageTag="v1", imageManifest=manifest.decode())
    assert code == "ImageTagAlreadyExistsException"
    code = error_code(ecr.put_image, repositoryName="fixed", imageTag="dev-x", imageManifest=manifest.decode())
    assert code == "ImageAlreadyExistsException"
    begun = time.monotonic()
    for n in range(1000 if SOAK else 100):
        registry.push_manifest("fixed", f"t{n:04}", manifest)
    assert time.monotonic() - begun < (60 if SOAK else 10)
    tags, path = [], "/v2/fixed/tags/list?n=40"
    while path:
        status, headers, body = registry.call("GET", path)
        page = json.loads(body)["tags"]
        assert status == 200 and len(page) <= 40
        tags += page
        path = headers["link"].split(">")[0][1:] if "link" in headers else None
    assert tags == sorted(tags) and len(tags) == len(set(tags)) == (1002 if SOAK else 102)
    assert json.loads(registry.call("GET", "/v2/fixed/tags/list?n=2&last=t0003")[2])["tags"] == ["t0004", "t0005"]


def test_many_tags_cost_no_more_than_a_page(wharf, registry):
    """10,000 tags in one repository with WHARF_SOAK=1, 200 otherwise."""
    tags, per_image = (10_000, 500) if SOAK else (200, 20)
    ecr = wharf.client("ecr")
    ecr.create_repository(repositoryName="many")
    path = "/v2/many/tags/list?n=100"

    def costs():
        """Medians of a page of tags, of images, and of a pull by tag, in seconds."""
        def median(call):
            times = []
            for _ in range(9):
                begun = time.monotonic()
                call()
                times.append(time.monotonic() - begun)
            return sorted(times)[4]
        return [median(call) for call in (
            lambda: registry.call("GET", path),
            lambda: ecr.describe_images(repositoryName="many", maxResults=10),
            lambda: ecr.describe_images(repositoryName="many", imageIds=[{"imageTag": "t00007"}]),
            lambda: registry.call("GET", "/v2/many/manifests/t00007"),
        )]

    few = None
    for n in range(tags):
        if n % per_image == 0:
            digest = registry.push_image("many", f"t{n:05}", b"%d" % n)["digest"]
            manifest = registry.call("GET", f"/v2/many/manifests/{digest}")[2]
        else:
            registry.push_manifest("many", f"t{n:05}", manifest)
        if n == tags // 20:
            few = costs()
    many = costs()
    print("seconds for a page of tags, of images, an image by tag, a pull by tag:",
          f"{tags // 20} tags {few}, {tags} tags {many}")
    # 20 times as many; what a busy machine does to milliseconds is allowed for.
    for a, b in zip(few, many):
        assert b < 5 * a + 0.02, (few, many)
    page = json.loads(registry.call("GET", path)[2])["tags"]
    assert page == [f"t{n:05}" for n in range(100)]
    images = list(ecr.get_paginator("describe_images").paginate(
        repositoryName="many", PaginationConfig={"PageSize": 7}).search("imageDetails[]"))
    assert len(images) == tags // per_image and all(len(i["imageTags"]) == per_image for i in images)
    ids = list(ecr.get_paginator("list_images").paginate(
        repositoryName="many", PaginationConfig={"PageSize": 90}).search("imageIds[]"))
    assert sorted(i["imageTag"] for i in ids) == [f"t{n:05}" for n in range(tags)]


def test_hostile_requests(registry):
    image = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [],
             "config": {"mediaType": "x", "digest": digest_of(b"absent"), "size": 6}}
    put = {"Content-Type": OCI_MANIFEST}
    for path, expected in (
        ("/v2/..%2F..%2Fetc/manifests/x", 400), ("/v2/a/../b/manifests/x", 400), ("/v2/A/manifests/x", 400),
        ("/v2/plain/manifests/..", 400), ("/v2/plain/blobs/sha256:..%2Fx", 404), ("/v2/nowhere/tags/list", 404),
        ("/v2/plain/blobs/uploads/..%2F..%2Fx", 404), ("/v2/plain/nothing", 404), ("/v2/%ff/tags/list", 404),
    ):
        assert registry.call("GET", path)[0] == expected, path
    refused = registry.refused
    assert refused("PUT", "/v2/plain/manifests/x", json.dumps(image), put) == (404, "MANIFEST_BLOB_UNKNOWN")
    assert refused("PUT", "/v2/plain/manifests/x", b"{" * 100_000, put) == (400, "MANIFEST_INVALID")
    assert refused("PUT", "/v2/plain/manifests/x", b" " * (10 << 20), put) == (413, "SIZE_INVALID")
    wrong = digest_of(b"another")
    assert refused("PUT", f"/v2/plain/manifests/{wrong}", json.dumps(image), put) == (400, "DIGEST_INVALID")
    assert refused("POST", f"/v2/plain/blobs/uploads/?digest={wrong}", b"x") == (400, "DIGEST_INVALID")
    assert refused("POST", "/v2/plain/blobs/uploads/?digest=md5:00", b"x") == (400, "DIGEST_INVALID")
    assert refused("POST", "/v2/nowhere/blobs/uploads/", b"x") == (404, "NAME_UNKNOWN")
    # Indexes of indexes have an end.
    member = registry.push_image("plain", None, b"deep")
    for depth in range(100):
        index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [member]}).encode()
        path = f"/v2/plain/manifests/{digest_of(index)}"
        status, _, _ = registry.call("PUT", path, index, {"Content-Type": OCI_INDEX})
        member = {"mediaType": OCI_INDEX, "digest": digest_of(index), "size": len(index)}
        if status != 201:
            break
    assert (status, depth) == (400, 5)
    # A size that is a lie.
    layer = registry.push_blob("plain", b"four")
    config = registry.push_blob("plain", b"{}")
    lie = image | {"config": {"mediaType": "x", "digest": config, "size": 2},
                   "layers": [registry.layer(layer, 5)]}
    assert refused("PUT", "/v2/plain/manifests/x", json.dumps(lie), put)[0] == 404
    # A blob that an image needs stays; one that none needs goes.
    registry.push_image("plain", "needed", b"needed")
    assert refused("DELETE", f"/v2/plain/blobs/{digest_of(b'needed')}") == (405, "UNSUPPORTED")
    assert registry.call("DELETE", f"/v2/plain/blobs/{layer}")[0] == 202
    assert refused("GET", f"/v2/plain/blobs/{layer}") == (404, "BLOB_UNKNOWN")
    location = registry.begin("plain")
    assert registry.call("DELETE", location)[0] == 204
    assert registry.refused("GET", location) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_layers_by_the_api(wharf, registry):
    ecr = wharf.client("ecr")
    ecr.create_repository(repositoryName="by-api")
    name, data = {"repositoryName": "by-api"}, os.urandom(6 << 20)
    config = b"{}"
    for content in (data, config):
        upload = ecr.initiate_layer_upload(**name)
        at = 0
        for part in (content[: 5 << 20], content[5 << 20 :]):
            if part:
                ecr.upload_layer_part(**name, uploadId=upload["uploadId"], partFirstByte=at,
                                      partLastByte=at + len(part) - 1, layerPartBlob=part)
                at += len(part)
        done = ecr.complete_layer_upload(**name, uploadId=upload["uploadId"], layerDigests=[digest_of(content)])
        assert done["layerDigest"] == digest_of(content)
    upload = ecr.initiate_layer_upload(**name)["uploadId"]
    code = error_code(ecr.upload_layer_part, **name, uploadId=upload, partFirstByte=5, partLastByte=5, layerPartBlob=b"x")
    assert code == "InvalidLayerPartException"
    code = error_code(ecr.complete_layer_upload, **name, uploadId=upload, layerDigests=[digest_of(data)])
    assert code == "EmptyUploadException"
    layers = ecr.batch_check_layer_availability(**name, layerDigests=[digest_of(data), digest_of(b"none")])["layers"]
    assert [layer["layerAvailability"] for layer in layers] == ["AVAILABLE", "UNAVAILABLE"]
    manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [registry.layer(digest_of(data), len(data))],
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(config), "size": 2}}
    image = ecr.put_image(**name, imageManifest=json.dumps(manifest), imageTag="v1")["image"]
    got = ecr.batch_get_image(**name, imageIds=[{"imageTag": "v1"}, {"imageTag": "v2"}])
    assert json.loads(got["images"][0]["imageManifest"]) == manifest
    assert got["failures"][0]["failureCode"] == "ImageNotFound"
    url = ecr.get_download_url_for_layer(**name, layerDigest=digest_of(data))["downloadUrl"]
    assert urllib.request.urlopen(url).read() == data
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(url[:-4] + "AAAA")
    del manifest["layers"][0]["size"]
    assert error_code(ecr.put_image, **name, imageManifest=json.dumps(manifest)) == "InvalidParameterException"
    code = error_code(ecr.delete_repository, **name)
    assert code == "RepositoryNotEmptyException"
    ecr.delete_repository(**name, force=True)
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(url)
    ecr.create_repository(**name)
    assert ecr.list_images(**name)["imageIds"] == [], "a new one of the same name is empty"
    code = error_code(ecr.batch_get_image, **name | {"repositoryName": "none"}, imageIds=[{"imageTag": "x"}])
    assert code == "RepositoryNotFoundException"
    assert image["imageId"]["imageTag"] == "v1"


def test_policies_and_previews_by_the_aws_cli(wharf, registry, tmp_path):
    def aws(*arguments):
        return wharf.aws("ecr", *arguments)
    made = aws("create-repository", "--repository-name", "cli/app", "--tags", "Key=a,Value=b")["repository"]
    assert made["repositoryUri"] == f"{registry.host}/cli/app"
    assert made["repositoryArn"].endswith(":repository/cli/app")
    ecr = wharf.client("ecr")
    assert ecr.list_tags_for_resource(resourceArn=made["repositoryArn"])["tags"] == [{"Key": "a", "Value": "b"}]
    for n in range(3):
        registry.push_image("cli/app", f"prod-{n}", f"image {n}".encode())
    policy = {"rules": [{"rulePriority": 1, "description": "keep one", "selection": {
        "tagStatus": "tagged", "tagPatternList": ["prod-*"], "countType": "imageCountMoreThan", "countNumber": 1,
    }, "action": {"type": "expire"}}]}
    text = json.dumps(policy)
    ecr.put_lifecycle_policy(repositoryName="cli/app", lifecyclePolicyText=text)
    aws("start-lifecycle-policy-preview", "--repository-name", "cli/app")
    wharf.aws("ecr", "wait", "lifecycle-policy-preview-complete", "--repository-name", "cli/app")
    preview = aws("get-lifecycle-policy-preview", "--repository-name", "cli/app")
    assert sorted(r["imageTags"] for r in preview["previewResults"]) == [["prod-0"], ["prod-1"]]
    assert preview["summary"]["expiringImageTotalCount"] == 2
    assert len(ecr.list_images(repositoryName="cli/app")["imageIds"]) == 3, "a preview removes nothing"
    statement = {"Effect": "Deny", "Principal": "*", "Action": "ecr:BatchGetImage"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    ecr.set_repository_policy(repositoryName="cli/app", policyText=policy)
    assert registry.refused("GET", "/v2/cli/app/manifests/prod-1") == (403, "DENIED")
    ecr.delete_repository_policy(repositoryName="cli/app")
    assert registry.call("GET", "/v2/cli/app/manifests/prod-1")[0] == 200
    # This wharf has no vulnerability database: a scan says so, and what to do.
    image = ("--repository-name", "cli/app", "--image-id", "imageTag=prod-1")
    aws("start-image-scan", *image)
    status = eventually("the scan's end", lambda: (
        s := aws("describe-image-scan-findings", *image)["imageScanStatus"])["status"] != "IN_PROGRESS" and s)
    assert status["status"] == "FAILED" and "--osv-database" in status["description"]
    refused = wharf.aws("ecr", "list-pull-time-update-exclusions", check=False)
    assert "UnsupportedOperationException" in refused.stderr


def test_what_operators_see(wharf, registry):
    """Events of what happens to images, metrics, and blobs that the disk has damaged."""
    wharf.client("ecr").create_repository(repositoryName="seen")
    def metric(name):
        lines = urllib.request.urlopen(f"http://{wharf.listen}/metrics").read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))
    sent, images = metric('wharf_registry_blob_bytes_total{direction="in"}'), metric("wharf_registry_images")
    image = registry.push_image("seen", "1", b"seen" * 1000)
    registry.blob("seen", digest_of(b"seen" * 1000))
    assert metric('wharf_registry_blob_bytes_total{direction="in"}') >= sent + 4000
    assert metric('wharf_registry_blob_bytes_total{direction="out"}') >= 4000
    assert metric("wharf_registry_images") == images + 1
    wharf.aws("ecr", "batch-delete-image", "--repository-name", "seen", "--image-ids", "imageTag=1")
    arn = "arn:aws:ecr:us-east-1:123456789012:repository/seen"
    events = [event["body"] for event in history(wharf, arn) if event["kind"] == "ecr-image-action"]
    assert [event["action-type"] for event in events] == ["DELETE", "PUSH"]
    for event in events:
        assert (event["image-digest"], event["image-tag"]) == (image["digest"], "1")
        assert (event["repository-name"], event["result"]) == ("seen", "SUCCESS")
    assert wharf.run("image", "scrub").stderr.count("blobs") == 1
    kept = registry.push_image("seen", "kept", b"kept")
    path = f"{wharf.data_dir}/registry/blobs/sha256/{digest_of(b'kept').split(':')[1]}"
    with open(path, "r+b") as file:
        file.write(b"K")
    found = wharf.run("image", "scrub", "--json", check=False)
    assert found.returncode == 1 and "1 of the registry's blobs are damaged" in found.stderr
    assert [d["path"] for d in json.loads(found.stdout)["damaged"]] == [path]
    # As it says: away with it, and pushed again.
    os.remove(path)
    registry.push_blob("seen", b"kept")
    assert registry.blob("seen", digest_of(b"kept"))[2] == b"kept" and kept
    wharf.run("image", "scrub")


def history(wharf, subject):
    """The history of wharf's own, newest first."""
    env = wharf.env()
    credentials = botocore.credentials.Credentials(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"])
    query = urllib.parse.urlencode({"subject": subject})
    request = botocore.awsrequest.AWSRequest("GET", f"http://{wharf.listen}/wharf/v1/history?{query}")
    botocore.auth.SigV4Auth(credentials, "ecs", "us-east-1").add_auth(request)
    answer = urllib.request.urlopen(urllib.request.Request(request.url, headers=dict(request.headers)))
    return json.loads(answer.read())["events"]


def test_a_full_disk():
    """Clear errors while it is full, nothing half-written, and pushes again when there is room."""
    full = Wharf("--no-agent", start=False)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=0700", "tmpfs", full.data_dir], check=True)
    try:
        full.up()
        ecr = full.client("ecr")
        ecr.create_repository(repositoryName="app")
        registry = Registry(full)
        image = registry.push_image("app", "1", b"before")
        large = os.urandom(100 << 20)
        status, _, body = registry.call("POST", f"/v2/app/blobs/uploads/?digest={digest_of(large)}", large)
        assert status == 507 and b"full" in body, (status, body)
        assert registry.call("GET", "/v2/app/manifests/1")[0] == 200
        # What didn't fit is gone: smaller ones go on as if nothing had been.
        small = os.urandom(8 << 20)
        assert registry.blob("app", registry.push_blob("app", small))[2] == small
        assert registry.push_image("app", "2", b"after")["digest"] != image["digest"]
        full.run("image", "scrub")
        assert [i["imageTag"] for i in ecr.list_images(repositoryName="app")["imageIds"]] == ["1", "2"]
    finally:
        stopped = full.run("down", "--tasks", check=False)
        subprocess.run(["umount", full.data_dir], check=True)
        os.rmdir(full.data_dir)
        assert stopped.returncode == 0


def test_kill_9_during_pushes(wharf, registry):
    """Each acknowledged push pulls back bit for bit; nothing half-written is to be seen, and nothing is
    left over after the next collection. With WHARF_SOAK=1 a thousand pushes and 50 kills."""
    wharf.client("ecr").create_repository(repositoryName="killed")
    kills, workers = (50, 8) if SOAK else (3, 4)
    acknowledged, stop, lock = {}, threading.Event(), threading.Lock()

    def push(worker):
        n = 0
        while not stop.is_set():
            n += 1
            tag, data = f"w{worker}-{n}", os.urandom(200_000)
            try:
                image = registry.push_image("killed", tag, data)
            except (OSError, AssertionError, http.client.HTTPException):
                time.sleep(0.05)
                continue
            with lock:
                acknowledged[tag] = (image["digest"], data)

    threads = [threading.Thread(target=push, args=(n,)) for n in range(workers)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(kills):
            until = len(acknowledged) + random.randint(5, 35 if SOAK else 8)
            moment = random.random() * 0.05
            eventually("pushes", lambda: len(acknowledged) >= until)
            time.sleep(moment)
            os.kill(wharf.status()["server"]["pid"], signal.SIGKILL)
        eventually("the rest", lambda: len(acknowledged) >= (1000 if SOAK else 0), timeout=300)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    eventually("the registry", lambda: answers(registry))
    for tag, (digest, data) in acknowledged.items():
        status, headers, body = registry.call("GET", f"/v2/killed/manifests/{tag}")
        assert status == 200 and digest_of(body) == digest == headers["docker-content-digest"], tag
        assert registry.blob("killed", digest_of(data))[2] == data, tag
    # Whatever is visible is whole.
    blobs = f"{wharf.data_dir}/registry/blobs/sha256"
    for name in os.listdir(blobs):
        with open(f"{blobs}/{name}", "rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == name
    assert os.listdir(f"{wharf.data_dir}/registry/tmp") == []
    assert len(acknowledged) >= (1000 if SOAK else 5 * kills)
    # What was cut off is garbage now, and goes; what was acknowledged stays.
    left = set(os.listdir(blobs))
    swept = json.loads(wharf.run("image", "gc", "--registry", "--older-than", "0", "--json").stdout)
    assert os.listdir(f"{wharf.data_dir}/registry/uploads") == []
    kept = set(os.listdir(blobs))
    for tag, (digest, data) in acknowledged.items():
        assert {digest.split(":")[1], hashlib.sha256(data).hexdigest()} <= kept, tag
    assert left - kept == set() or swept["blobs"] >= len(left - kept)
    assert wharf.run("image", "gc", "--registry", "--older-than", "0", "--json").stdout.count(": 0") == 5
    print(f"{kills} kills, {len(acknowledged)} acknowledged pushes, none lost; then swept {swept}")


def answers(registry):
    try:
        return registry.call("GET", "/v2/")[0] == 200
    except OSError:
        return False
