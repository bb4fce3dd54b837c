"""What ECR does beyond keeping images: the archive, scans, and repositories that make themselves."""

import gzip
import io
import json
import os
import signal
import tarfile
import time
import zipfile

import botocore.exceptions
import pytest
from conftest import Wharf, eventually
from test_registry import OCI_INDEX, Registry, error_code

DAYS = {"countUnit": "days"}


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    return tmp_path_factory.mktemp("osv")


@pytest.fixture(scope="module")
def wharf(request, database):
    instance = Wharf("--osv-database", str(database))
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


def policy(*rules):
    numbered = [{"rulePriority": n, **rule} for n, rule in enumerate(rules, 1)]
    return json.dumps({"rules": numbered}, indent=4)


def test_an_archived_image_stays_and_cannot_be_pulled(ecr, registry):
    ecr.create_repository(repositoryName="shelf")
    image = registry.push_image("shelf", "v1", b"layer")
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [image]}
    index = registry.push_manifest("shelf", "all", index, OCI_INDEX)[0]
    name = {"repositoryName": "shelf"}
    v1 = {"imageDigest": image["digest"]}

    def move(target, digest=image["digest"]):
        return ecr.update_image_storage_class(
            **name, imageId={"imageDigest": digest}, targetStorageClass=target)["imageStatus"]

    code = error_code(ecr.update_image_storage_class, **name, imageId=v1, targetStorageClass="ARCHIVE")
    assert code == "ImageStorageClassUpdateNotSupportedException"
    assert move("ARCHIVE", index["digest"]) == "ARCHIVED"
    assert move("ARCHIVE") == move("ARCHIVE") == "ARCHIVED"
    assert registry.refused("GET", "/v2/shelf/manifests/v1") == (404, "MANIFEST_UNKNOWN")
    failure = ecr.batch_get_image(**name, imageIds=[v1])["failures"][0]
    assert failure["failureCode"] == "ImageInaccessible" and "archived" in failure["failureReason"]
    assert ecr.describe_images(**name)["imageDetails"] == []
    assert len(ecr.list_images(**name, filter={"imageStatus": "ARCHIVED"})["imageIds"]) == 2
    detail = ecr.describe_images(**name, imageIds=[v1])["imageDetails"][0]
    assert detail["imageStatus"] == "ARCHIVED" and detail["lastArchivedAt"] >= detail["imagePushedAt"]
    assert error_code(ecr.start_image_scan, **name, imageId=v1) == "ImageArchivedException"
    # Restored by the API, and by a push.
    assert move("STANDARD") == "ACTIVE"
    assert registry.call("GET", "/v2/shelf/manifests/v1")[0] == 200
    detail = ecr.describe_images(**name, imageIds=[v1])["imageDetails"][0]
    assert detail["lastActivatedAt"] >= detail["lastArchivedAt"]
    eventually("the pull to be recorded", lambda: "lastRecordedPullTime" in ecr.describe_images(
        **name, imageIds=[v1])["imageDetails"][0])
    assert move("ARCHIVE") == "ARCHIVED"
    registry.push_image("shelf", "v1", b"layer")
    assert ecr.describe_images(**name)["imageDetails"][0]["imageStatus"] == "ACTIVE"
    assert error_code(ecr.update_image_storage_class, **name, imageId={"imageTag": "none"},
                      targetStorageClass="ARCHIVE") == "ImageNotFoundException"


def test_lifecycle_policies_archive_and_say_so_before(ecr, registry):
    ecr.create_repository(repositoryName="lifecycle")
    for tag in ("1", "2", "3"):
        registry.push_image("lifecycle", tag, tag.encode())
        time.sleep(0.01)
    archive = {"type": "transition", "targetStorageClass": "archive"}
    old = {"tagStatus": "any", "storageClass": "archive", "countType": "sinceImageTransitioned", **DAYS}
    text = policy(
        {"selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1}, "action": archive},
        {"selection": {**old, "countNumber": 90}, "action": {"type": "expire"}})
    name = {"repositoryName": "lifecycle"}
    ecr.start_lifecycle_policy_preview(**name, lifecyclePolicyText=text)
    ecr.get_waiter("lifecycle_policy_preview_complete").wait(**name, WaiterConfig={"Delay": 1})
    preview = ecr.get_lifecycle_policy_preview(**name)
    assert sorted(r["imageTags"] for r in preview["previewResults"]) == [["1"], ["2"]]
    for result in preview["previewResults"]:
        assert result["action"] == {"type": "TRANSITION", "targetStorageClass": "ARCHIVE"}
        assert result["storageClass"] == "STANDARD"
    assert preview["summary"] == {
        "expiringImageTotalCount": 0,
        "transitioningImageTotalCounts": [{"targetStorageClass": "ARCHIVE", "imageTotalCount": 2}]}
    ecr.put_lifecycle_policy(**name, lifecyclePolicyText=text)
    early = policy({"selection": {**old, "countNumber": 89}, "action": {"type": "expire"}})
    with pytest.raises(botocore.exceptions.ClientError, match="at least 90"):
        ecr.put_lifecycle_policy(**name, lifecyclePolicyText=early)


def tar(files, compress=False):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, text in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return gzip.compress(buffer.getvalue()) if compress else buffer.getvalue()


def record(identifier, ecosystem, name, fixed, **members):
    events = [{"introduced": "0"}, {"fixed": fixed}]
    kind = "SEMVER" if ecosystem == "npm" else "ECOSYSTEM"
    return {"id": identifier, "modified": "2024-01-01T00:00:00Z", **members, "affected": [
        {"package": {"ecosystem": ecosystem, "name": name}, "ranges": [{"type": kind, "events": events}]}]}


BASE = {
    "etc/os-release": 'ID=debian\nVERSION_ID="12"\n',
    "var/lib/dpkg/status": (
        "Package: libssl3\nStatus: install ok installed\nSource: openssl\nVersion: 3.0.9-1\n\n"
        "Package: tar\nStatus: install ok installed\nVersion: 1.34+dfsg-1.2\n"),
    "app/package-lock.json": json.dumps(
        {"lockfileVersion": 3, "packages": {"": {}, "node_modules/minimist": {"version": "1.2.5"}}}),
    "old/requirements.txt": "django==4.2.0\n",
}
CRITICAL = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"
LIMIT = {"Delay": 1, "MaxAttempts": 60}


def test_scans_find_what_is_installed_and_known(wharf, ecr, registry, database):
    ecr.create_repository(repositoryName="scanned", imageScanningConfiguration={"scanOnPush": True})
    name = {"repositoryName": "scanned"}
    # Nothing is known yet: that is no clean bill.
    registry.push_image("scanned", "early", tar(BASE))
    early = {**name, "imageId": {"imageTag": "early"}}
    with pytest.raises(botocore.exceptions.WaiterError):
        ecr.get_waiter("image_scan_complete").wait(**early, WaiterConfig=LIMIT)
    status = ecr.describe_image_scan_findings(**early)["imageScanStatus"]
    assert status["status"] == "FAILED" and "no OSV records" in status["description"]

    (database / "Debian").mkdir()
    one = record("DEBIAN-CVE-2023-5363", "Debian:12", "openssl", "3.0.11-1", upstream=["CVE-2023-5363"],
                 details="Keys and IVs are cut short.", severity=[{"type": "CVSS_V3", "score": CRITICAL}])
    (database / "Debian" / "one.json").write_text(json.dumps(one))
    with zipfile.ZipFile(database / "npm.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for other in (
            record("GHSA-xvch-5gv4-984h", "npm", "minimist", "1.2.6", aliases=["CVE-2021-44906"],
                   database_specific={"severity": "MODERATE"}),
            record("GHSA-y", "npm", "left-pad", "9.0.0"),
        ):
            archive.writestr(other["id"] + ".json", json.dumps(other))
    (database / "PyPI.json").write_text(json.dumps(record("PYSEC-1", "PyPI", "django", "4.2.1")))
    (database / "fixed.json").write_text(json.dumps(record("CVE-1", "Debian:12", "tar", "1.34+dfsg-1.2")))

    # The second layer removes one list.
    registry.push_image("scanned", "v1", tar(BASE, compress=True), tar({"old/.wh.requirements.txt": ""}))
    v1 = {**name, "imageId": {"imageTag": "v1"}}
    ecr.get_waiter("image_scan_complete").wait(**v1, WaiterConfig=LIMIT)
    answer = ecr.describe_image_scan_findings(**v1)
    assert answer["imageScanStatus"]["status"] == "COMPLETE"
    found = answer["imageScanFindings"]
    assert found["findingSeverityCounts"] == {"CRITICAL": 1, "MEDIUM": 1}
    first, second = found["findings"]
    assert (first["name"], first["severity"]) == ("CVE-2023-5363", "CRITICAL")
    assert first["description"] == "Keys and IVs are cut short."
    attributes = {a["key"]: a["value"] for a in first["attributes"]}
    assert attributes == {"package_name": "openssl", "package_version": "3.0.9-1", "CVSS3_SCORE": "9.8",
                          "CVSS3_VECTOR": CRITICAL, "fixed_in_version": "3.0.11-1"}
    assert (second["name"], second["severity"]) == ("CVE-2021-44906", "MEDIUM")
    pages = ecr.get_paginator("describe_image_scan_findings").paginate(**v1, PaginationConfig={"PageSize": 1})
    assert [f["name"] for page in pages for f in page["imageScanFindings"]["findings"]] == [
        "CVE-2023-5363", "CVE-2021-44906"]
    detail = ecr.describe_images(**name, imageIds=[{"imageTag": "v1"}])["imageDetails"][0]
    assert detail["imageScanStatus"]["status"] == "COMPLETE"
    assert detail["imageScanFindingsSummary"]["findingSeverityCounts"] == {"CRITICAL": 1, "MEDIUM": 1}

    # Asked for again, what failed is found; the lower layer's list is there in this image.
    listed = json.loads(wharf.run("image", "scan", "scanned:early", "--json").stdout)
    names = {f["name"] for f in ecr.describe_image_scan_findings(**early)["imageScanFindings"]["findings"]}
    assert names == {finding["name"] for finding in listed} == {"CVE-2023-5363", "CVE-2021-44906", "PYSEC-1"}
    # What has no package manager, what is no archive, and what is no image.
    registry.push_image("scanned", "empty", tar({"bin/app": "x"}))
    registry.push_image("scanned", "junk", os.urandom(5000))
    for tag, why in (("empty", "UnsupportedImageError"), ("junk", "layer")):
        scan = {**name, "imageId": {"imageTag": tag}}
        status = eventually(tag, lambda scan=scan: (
            s := ecr.describe_image_scan_findings(**scan)["imageScanStatus"])["status"] != "IN_PROGRESS" and s)
        assert status["status"] == "FAILED" and why in status["description"], status
    digest = registry.push_image("scanned", "v2", tar(BASE))
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [digest]}
    registry.push_manifest("scanned", "index", index, OCI_INDEX)
    assert error_code(ecr.start_image_scan, **name, imageId={"imageTag": "index"}) == "UnsupportedImageTypeException"
    assert error_code(ecr.describe_image_scan_findings, **name, imageId={"imageTag": "index"}) == "ScanNotFoundException"


def test_the_registry_says_what_is_scanned(wharf, ecr, registry):
    ecr.create_repository(repositoryName="prod/app")
    ecr.create_repository(repositoryName="dev/app")
    assert ecr.get_registry_scanning_configuration()["scanningConfiguration"] == {"scanType": "BASIC", "rules": []}
    rules = [{"scanFrequency": "SCAN_ON_PUSH", "repositoryFilters": [{"filter": "prod/*", "filterType": "WILDCARD"}]}]
    put = ecr.put_registry_scanning_configuration(scanType="BASIC", rules=rules)
    assert put["registryScanningConfiguration"]["rules"] == rules
    answer = ecr.batch_get_repository_scanning_configuration(repositoryNames=["prod/app", "dev/app", "none"])
    shown = {c["repositoryName"]: (c["scanOnPush"], c["scanFrequency"], len(c["appliedScanFilters"]))
             for c in answer["scanningConfigurations"]}
    assert shown == {"prod/app": (True, "SCAN_ON_PUSH", 1), "dev/app": (False, "MANUAL", 0)}
    assert answer["failures"][0]["failureCode"] == "REPOSITORY_NOT_FOUND"
    for repository in ("prod/app", "dev/app"):
        registry.push_image(repository, "v", tar(BASE))
    assert "imageScanStatus" in ecr.describe_images(repositoryName="prod/app")["imageDetails"][0]
    assert "imageScanStatus" not in ecr.describe_images(repositoryName="dev/app")["imageDetails"][0]
    with pytest.raises(botocore.exceptions.ClientError, match="ENHANCED is not supported"):
        ecr.put_registry_scanning_configuration(scanType="ENHANCED")


def test_repositories_make_themselves_as_templates_say(wharf, ecr, registry):
    assert registry.refused("POST", "/v2/team/web/blobs/uploads/") == (404, "NAME_UNKNOWN")
    ecr.create_repository_creation_template(
        prefix="team", appliedFor=["CREATE_ON_PUSH"], imageTagMutability="IMMUTABLE",
        resourceTags=[{"Key": "owner", "Value": "team"}], description="the team's")
    assert error_code(ecr.create_repository_creation_template, prefix="team",
                      appliedFor=["CREATE_ON_PUSH"]) == "TemplateAlreadyExistsException"
    with pytest.raises(botocore.exceptions.ClientError, match="customRoleArn"):
        ecr.create_repository_creation_template(prefix="ROOT", appliedFor=["REPLICATION"],
                                                customRoleArn="arn:aws:iam::123456789012:role/maker")
    # As clients push: they ask for blobs first, and begin uploads then.
    assert registry.refused("GET", "/v2/team/web/tags/list") == (404, "NAME_UNKNOWN")
    registry.push_image("team/web", "v1", b"one")
    made = ecr.describe_repositories(repositoryNames=["team/web"])["repositories"][0]
    assert made["imageTagMutability"] == "IMMUTABLE"
    tags = ecr.list_tags_for_resource(resourceArn=made["repositoryArn"])["tags"]
    assert tags == [{"Key": "owner", "Value": "team"}]
    assert registry.refused("POST", "/v2/teamwork/blobs/uploads/") == (404, "NAME_UNKNOWN")
    ecr.update_repository_creation_template(prefix="team", imageTagMutability="MUTABLE")
    template = ecr.describe_repository_creation_templates(prefixes=["team"])["repositoryCreationTemplates"][0]
    assert (template["imageTagMutability"], template["description"]) == ("MUTABLE", "the team's")
    ecr.delete_repository_creation_template(prefix="team")
    assert error_code(ecr.describe_repository_creation_templates, prefixes=["team"]) == "TemplateNotFoundException"
    assert registry.refused("POST", "/v2/team/other/blobs/uploads/") == (404, "NAME_UNKNOWN")


def test_account_settings(ecr, registry):
    assert ecr.get_account_setting(name="BASIC_SCAN_TYPE_VERSION")["value"] == "AWS_NATIVE"
    assert ecr.get_account_setting(name="BLOB_MOUNTING")["value"] == "ENABLED"
    for name in ("mount/from", "mount/to"):
        ecr.create_repository(repositoryName=name)
    digest = registry.push_blob("mount/from", b"blob")
    path = f"/v2/mount/to/blobs/uploads/?mount={digest}&from=mount/from"
    ecr.put_account_setting(name="BLOB_MOUNTING", value="DISABLED")
    assert registry.call("POST", path)[0] == 202, "an upload instead"
    ecr.put_account_setting(name="BLOB_MOUNTING", value="ENABLED")
    assert registry.call("POST", path)[0] == 201
    assert error_code(ecr.put_account_setting, name="X", value="Y") == "InvalidParameterException"
    with pytest.raises(botocore.exceptions.ClientError, match="CLAIR"):
        ecr.put_account_setting(name="BASIC_SCAN_TYPE_VERSION", value="CLAIR")


def test_a_scan_that_was_asked_for_survives_a_kill(wharf, ecr, registry, database):
    ecr.create_repository(repositoryName="killed")
    registry.push_image("killed", "v", tar(BASE))
    image = {"repositoryName": "killed", "imageId": {"imageTag": "v"}}
    ecr.start_image_scan(**image)
    os.kill(wharf.status()["server"]["pid"], signal.SIGKILL)

    def complete():
        try:
            return ecr.describe_image_scan_findings(**image)["imageScanStatus"]["status"] == "COMPLETE"
        except (botocore.exceptions.EndpointConnectionError, botocore.exceptions.ConnectionClosedError):
            return False

    eventually("the scan to be complete", complete)

