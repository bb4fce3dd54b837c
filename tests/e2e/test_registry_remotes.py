"""Other registries: upstreams that are pulled through, and peers that images are replicated to."""

import base64
import json
import time

import pytest
from conftest import Wharf, eventually
from test_images import archive_of_busybox, docker_registry, skopeo
from test_registry import OCI_INDEX, Registry, digest_of, error_code

THERE = "999999999999"
HERE = "123456789012"
REGION = "us-east-1"


@pytest.fixture(scope="module")
def there():
    """The registry that is replicated to, of another account."""
    instance = Wharf("--no-agent", "--account", THERE, start=False)
    try:
        instance.up()
        yield instance
    finally:
        assert instance.down().returncode == 0


@pytest.fixture(scope="module")
def peers(tmp_path_factory, there):
    env = there.env()
    path = tmp_path_factory.mktemp("peers") / "peers"
    path.write_text(
        f"[there]\naws_account_id = {THERE}\nregion = {REGION}\nendpoint_url = {env['AWS_ENDPOINT_URL']}\n"
        f"aws_access_key_id = {env['AWS_ACCESS_KEY_ID']}\n"
        f"aws_secret_access_key = {env['AWS_SECRET_ACCESS_KEY']}\n")
    return path


@pytest.fixture(scope="module")
def wharf(request, peers):
    instance = Wharf("--registry-peers", str(peers), "--repository-quota-mib", "4")
    try:
        yield instance
        if request.session.testsfailed:
            print(instance.logs())
    finally:
        assert instance.down().returncode == 0


@pytest.fixture(scope="module")
def ecr(wharf):
    return wharf.client("ecr")


@pytest.fixture(scope="module")
def registry(wharf):
    return Registry(wharf)


def test_images_are_pulled_through_and_kept(wharf, ecr, registry, tmp_path):
    with docker_registry(tmp_path) as upstream:
        archive = archive_of_busybox(tmp_path)
        host = upstream.replace("127.0.0.1", "localhost")
        for tag in ("1", "2"):
            skopeo("copy", "--dest-tls-verify=false", f"docker-archive:{archive}", f"docker://{upstream}/team/app:{tag}")
        rule = ecr.create_pull_through_cache_rule(
            ecrRepositoryPrefix="up", upstreamRegistryUrl=host, upstreamRepositoryPrefix="team")
        assert (rule["upstreamRegistryUrl"], rule["upstreamRepositoryPrefix"]) == (host, "team")
        assert error_code(ecr.create_pull_through_cache_rule, ecrRepositoryPrefix="up",
                          upstreamRegistryUrl=host) == "PullThroughCacheRuleAlreadyExistsException"
        assert ecr.validate_pull_through_cache_rule(ecrRepositoryPrefix="up")["isValid"] is True
        ecr.create_repository_creation_template(
            prefix="up", appliedFor=["PULL_THROUGH_CACHE"], resourceTags=[{"Key": "made", "Value": "by itself"}])

        # A task names the image, and the first pull makes the repository.
        task = wharf.start(wharf.register(
            "through", {"name": "app", "image": f"{registry.host}/up/app:1", "memory": 32, "command": ["exit 7"]}))
        assert wharf.stopped(task)["containers"][0]["exitCode"] == 7
        eventually("the image to be kept", lambda: ecr.describe_images(repositoryName="up/app")["imageDetails"])
        repository = ecr.describe_repositories(repositoryNames=["up/app"])["repositories"][0]
        assert ecr.list_tags_for_resource(resourceArn=repository["repositoryArn"])["tags"] == [
            {"Key": "made", "Value": "by itself"}]
        assert registry.refused("GET", "/v2/up/none/manifests/1") == (404, "MANIFEST_UNKNOWN")
        assert error_code(ecr.describe_repositories, repositoryNames=["up/none"]) == "RepositoryNotFoundException"

        # By plain HTTP: the manifest is answered at once, its blobs while they come.
        status, headers, manifest = registry.call("GET", "/v2/up/app/manifests/2")
        assert status == 200 and headers["docker-content-digest"] == digest_of(manifest)
        for blob in (json.loads(manifest)["config"], *json.loads(manifest)["layers"]):
            status, _, content = registry.blob("up/app", blob["digest"])
            assert status == 200 and digest_of(content) == blob["digest"]
        eventually("the tag", lambda: {"1", "2"} == {
            image.get("imageTag") for image in ecr.list_images(repositoryName="up/app")["imageIds"]})

    # The upstream is gone: what is here is answered, what isn't is told.
    assert registry.call("GET", "/v2/up/app/manifests/1")[0] == 200
    assert registry.call("GET", "/v2/up/app/manifests/3")[0] == 503
    answer = ecr.validate_pull_through_cache_rule(ecrRepositoryPrefix="up")
    assert answer["isValid"] is False and "refused" in answer["failure"]
    assert [r["ecrRepositoryPrefix"] for r in ecr.describe_pull_through_cache_rules()["pullThroughCacheRules"]] == ["up"]
    ecr.delete_pull_through_cache_rule(ecrRepositoryPrefix="up")
    assert registry.refused("GET", "/v2/up/app/manifests/3") == (404, "MANIFEST_UNKNOWN")


def test_an_upstream_with_a_login_and_an_index_that_comes_piece_by_piece(wharf, ecr, there, registry):
    """The upstream is another wharf, which lets nobody in without a token."""
    source = Registry(there)
    there.client("ecr").create_repository(repositoryName="multi")
    images = [source.push_image("multi", None, layer) for layer in (b"one", b"two" * 500_000)]
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": images}
    source.push_manifest("multi", "all", index, OCI_INDEX)
    token = there.client("ecr").get_authorization_token()["authorizationData"][0]["authorizationToken"]
    user, password = base64.b64decode(token).decode().split(":")
    secret = wharf.client("secretsmanager").create_secret(
        Name="ecr-pullthroughcache/there", SecretString=json.dumps({"username": user, "accessToken": password}))["ARN"]
    missing = secret.replace("there", "nowhere")
    rule = {"ecrRepositoryPrefix": "ROOT", "upstreamRegistryUrl": source.host}
    assert error_code(ecr.create_pull_through_cache_rule, **rule, credentialArn=missing) == "SecretNotFoundException"
    own = {**rule, "upstreamRegistryUrl": registry.host}
    assert error_code(ecr.create_pull_through_cache_rule, **own) == "UnsupportedUpstreamRegistryException"
    ecr.create_pull_through_cache_rule(**rule)
    assert registry.refused("GET", "/v2/multi/manifests/all") == (403, "DENIED")
    assert ecr.validate_pull_through_cache_rule(ecrRepositoryPrefix="ROOT")["isValid"] is False
    ecr.update_pull_through_cache_rule(ecrRepositoryPrefix="ROOT", credentialArn=secret)
    assert ecr.validate_pull_through_cache_rule(ecrRepositoryPrefix="ROOT")["isValid"] is True

    # The registry's policy has a word in it.
    deny = {"Version": "2012-10-17", "Statement": [{
        "Effect": "Deny", "Principal": "*", "Action": "ecr:BatchImportUpstreamImage",
        "Resource": f"arn:aws:ecr:{REGION}:{HERE}:repository/multi"}]}
    assert error_code(ecr.get_registry_policy) == "RegistryPolicyNotFoundException"
    assert error_code(ecr.put_registry_policy, policyText="{}") == "InvalidParameterException"
    ecr.put_registry_policy(policyText=json.dumps(deny))
    assert json.loads(ecr.get_registry_policy()["policyText"]) == deny
    assert registry.refused("GET", "/v2/multi/manifests/all") == (403, "DENIED")
    ecr.delete_registry_policy()
    assert registry.call("GET", "/v2/multi/manifests/all")[2] == json.dumps(index).encode()
    # Of an index's images those come that are asked for.
    assert len(ecr.describe_images(repositoryName="multi")["imageDetails"]) == 1
    manifest = json.loads(registry.call("GET", f"/v2/multi/manifests/{images[1]['digest']}")[2])
    status, headers, content = registry.blob("multi", manifest["layers"][0]["digest"], Range="bytes=2-4")
    assert (status, content) == (206, b"otw")
    eventually("the image", lambda: len(ecr.describe_images(repositoryName="multi")["imageDetails"]) == 2)
    ecr.delete_pull_through_cache_rule(ecrRepositoryPrefix="ROOT")


def test_what_is_pushed_is_replicated(wharf, ecr, there, registry):
    far, target = there.client("ecr"), Registry(there)
    rules = {"rules": [{"destinations": [{"region": REGION, "registryId": THERE}],
                        "repositoryFilters": [{"filter": "prod", "filterType": "PREFIX_MATCH"}]}]}
    for unknown in ("111111111111", HERE):
        bad = {"rules": [{"destinations": [{"region": REGION, "registryId": unknown}]}]}
        assert error_code(ecr.put_replication_configuration, replicationConfiguration=bad) == "InvalidParameterException"
    ecr.put_replication_configuration(replicationConfiguration=rules)
    assert ecr.describe_registry()["replicationConfiguration"] == rules
    for name in ("prod/app", "test/app"):
        ecr.create_repository(repositoryName=name)

    def status(tag, name="prod/app"):
        answer = ecr.describe_image_replication_status(repositoryName=name, imageId={"imageTag": tag})
        return [(s["registryId"], s["region"], s["status"], s.get("failureCode")) for s in answer["replicationStatuses"]]

    def settled(tag, outcome):
        eventually(f"{tag} to be {outcome}", lambda: status(tag)[0][2:] == outcome, timeout=20)

    # The other account's policy lets nobody in, yet.
    registry.push_image("prod/app", "1", b"refused")
    settled("1", ("FAILED", "DENIED"))
    allow = {"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{HERE}:root"},
        "Action": ["ecr:ReplicateImage", "ecr:CreateRepository"],
        "Resource": f"arn:aws:ecr:{REGION}:{THERE}:repository/prod/*"}]}
    far.put_registry_policy(policyText=json.dumps(allow))
    image = registry.push_image("prod/app", "2", b"layer" * 1000)
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [image]}
    registry.push_manifest("prod/app", "all", index, OCI_INDEX)
    registry.push_image("test/app", "2", b"stays")
    for tag in ("2", "all"):
        settled(tag, ("COMPLETE", None))
    assert status("2", "test/app") == []
    assert target.call("GET", "/v2/prod/app/manifests/all")[2] == json.dumps(index).encode()
    manifest = json.loads(target.call("GET", "/v2/prod/app/manifests/2")[2])
    assert target.blob("prod/app", manifest["layers"][0]["digest"])[2] == b"layer" * 1000
    assert error_code(far.describe_repositories, repositoryNames=["test/app"]) == "RepositoryNotFoundException"

    # Pushed while the other one is away: it arrives when both are back, also over a restart of this one.
    there.run("down")
    registry.push_image("prod/app", "3", b"later")
    time.sleep(0.2)
    assert status("3") == [(THERE, REGION, "IN_PROGRESS", None)]
    wharf.run("down")
    there.up()
    wharf.up()
    settled("3", ("COMPLETE", None))
    assert target.call("GET", "/v2/prod/app/manifests/3")[0] == 200

    # Whoever replicates reads nothing by that.
    mark = {"X-Wharf-Replicated-From": f"{HERE}/{REGION}"}
    assert target.refused("GET", "/v2/prod/app/manifests/3", headers=mark) == (405, "UNSUPPORTED")
    assert target.refused("POST", "/v2/other/blobs/uploads/", headers=mark) == (403, "DENIED")


def test_a_repository_holds_so_many_bytes_and_no_more(ecr, registry):
    ecr.create_repository(repositoryName="full")
    data = bytes(3 << 20)
    registry.push_blob("full", data)
    more = b"1" + data
    path = f"/v2/full/blobs/uploads/?digest={digest_of(more)}"
    assert registry.refused("POST", path, more) == (403, "DENIED")
    upload = ecr.initiate_layer_upload(repositoryName="full")["uploadId"]
    ecr.upload_layer_part(repositoryName="full", uploadId=upload, partFirstByte=0, partLastByte=len(more) - 1,
                          layerPartBlob=more)
    assert error_code(ecr.complete_layer_upload, repositoryName="full", uploadId=upload,
                      layerDigests=[digest_of(more)]) == "LimitExceededException"
    # What is there already costs nothing.
    registry.push_blob("full", data)
