//! The registry over HTTP: who may read what, what is swept and what isn't, and what isn't built.
#![allow(clippy::unwrap_used)] // tests

mod support;

use serde_json::{Value, json};
use std::time::Duration;
use support::{Fixture, HOST, ROOT, Reply, USER};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wharf_gateway::agent_sessions::NoSessions;
use wharf_gateway::registry::{Swept, sweep};
use wharf_model::Timestamp;
use wharf_registry::Digest;
use wharf_registry::manifest::OCI_MANIFEST;
use wharf_wire::ecr::OTHER_OPERATIONS;

const HOUR_MS: i64 = 3600 * 1000;

/// One user of the registry.
struct Login<'a> {
    fixture: &'a Fixture,
    authorization: String,
}

impl<'a> Login<'a> {
    async fn of(fixture: &'a Fixture, key: &str) -> Self {
        let answer = fixture.ecr(key, "GetAuthorizationToken", json!({})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let data = &answer.json()["authorizationData"][0];
        let token = data["authorizationToken"].as_str().unwrap();
        Self { fixture, authorization: format!("Basic {token}") }
    }

    async fn call(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Reply {
        let host = self.fixture.address.to_string();
        self.call_at(&host, method, path, headers, body).await
    }

    async fn call_at(
        &self,
        host: &str,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> Reply {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: {}\r\n{headers}\
             connection: close\r\ncontent-length: {}\r\n\r\n",
            self.authorization,
            body.len(),
        );
        self.fixture.raw(&[head.as_bytes(), body].concat()).await
    }

    async fn push_blob(&self, repository: &str, content: &[u8]) -> Digest {
        let digest = Digest::of(content);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let reply = self.call("POST", &path, "", content).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        digest
    }

    /// An image of one layer; its digest.
    async fn push_image(&self, repository: &str, tag: &str, content: &[u8]) -> Digest {
        let (config, layer) =
            (self.push_blob(repository, b"{}").await, self.push_blob(repository, content).await);
        let manifest = json!({
            "schemaVersion": 2,
            "config": {"mediaType": "c", "digest": config, "size": 2},
            "layers": [{"mediaType": "l", "digest": layer, "size": content.len()}],
        })
        .to_string();
        let path = format!("/v2/{repository}/manifests/{tag}");
        let headers = format!("content-type: {OCI_MANIFEST}\r\n");
        let reply = self.call("PUT", &path, &headers, manifest.as_bytes()).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        Digest::of(manifest.as_bytes())
    }

    async fn status(&self, method: &str, path: &str) -> u16 {
        self.call(method, path, "", b"").await.status
    }
}

async fn create(fixture: &Fixture, name: &str) {
    let reply = fixture.ecr(ROOT, "CreateRepository", json!({"repositoryName": name})).await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

async fn ok(fixture: &Fixture, operation: &str, input: Value) -> Value {
    let reply = fixture.ecr(ROOT, operation, input).await;
    assert_eq!(reply.status, 200, "{operation}: {reply:?}");
    reply.json()
}

fn blobs(fixture: &Fixture) -> usize {
    fixture.store.snapshot().all_repository_blobs().count()
}

fn later(fixture: &Fixture, hours: i64) -> Timestamp {
    Timestamp(fixture.app.now().as_millis() + hours * HOUR_MS)
}

#[tokio::test]
async fn what_isnt_built_says_so() {
    let list = OTHER_OPERATIONS.iter().map(|name| format!("{name}\n")).collect::<String>();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/unsupported-ecr-operations.txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, &list).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    assert_eq!(list, golden, "run with UPDATE_EXPECT=1 to accept the list as it is");
    let fixture = Fixture::start().await;
    let reply = fixture.ecr(ROOT, "PutSigningConfiguration", json!({})).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "UnsupportedOperationException"));
}

#[tokio::test]
async fn knowing_a_digest_reads_nothing() {
    let fixture = Fixture::start().await;
    create(&fixture, "secret").await;
    create(&fixture, "mine").await;
    let root = Login::of(&fixture, ROOT).await;
    let digest = root.push_blob("secret", b"secret").await;
    let image = root.push_image("secret", "v1", b"of the image").await;
    let deny = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Deny",
        "Principal": {"AWS": "arn:aws:iam::123456789012:user/jo"},
        "Action": "ecr:*",
    }]});
    let policy = json!({"repositoryName": "secret", "policyText": deny.to_string()});
    ok(&fixture, "SetRepositoryPolicy", policy).await;
    // Whatever jo's own policies allow.
    let allow = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A\
                 %22Allow%22%2C%22Action%22%3A%22ecr%3A%2A%22%2C%22Resource%22%3A%22%2A%22%7D%5D%7D";
    for form in [
        "Action=CreateUser&UserName=jo&Version=2010-05-08".to_owned(),
        format!(
            "Action=PutUserPolicy&UserName=jo&PolicyName=all&PolicyDocument={allow}\
             &Version=2010-05-08"
        ),
    ] {
        let reply = fixture.query("iam", &form).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    let jo = Login::of(&fixture, USER).await;
    assert_eq!(jo.status("GET", &format!("/v2/secret/blobs/{digest}")).await, 403);
    assert_eq!(jo.status("GET", "/v2/secret/manifests/v1").await, 403);
    assert_eq!(jo.status("GET", "/v2/secret/tags/list").await, 403);
    assert_eq!(jo.status("POST", "/v2/secret/blobs/uploads/").await, 403);
    // In a repository that jo may read, the digest names nothing; to mount it makes an upload of it,
    // as for a digest that nobody has.
    let unknown = Digest::of(b"nobody has this");
    for known in [&digest, &unknown] {
        assert_eq!(jo.status("GET", &format!("/v2/mine/blobs/{known}")).await, 404);
        for from in ["&from=secret", "&from=none", ""] {
            let path = format!("/v2/mine/blobs/uploads/?mount={known}{from}");
            assert_eq!(jo.status("POST", &path).await, 202, "{path}");
        }
    }
    // A manifest that names it isn't taken, and tells no more.
    let manifest = json!({
        "schemaVersion": 2,
        "config": {"mediaType": "c", "digest": digest, "size": 6}, "layers": [],
    });
    let reply = jo.call("PUT", "/v2/mine/manifests/x", "", manifest.to_string().as_bytes()).await;
    assert_eq!(reply.status, 404, "{reply:?}");
    let index = json!({
        "schemaVersion": 2,
        "manifests": [{"mediaType": OCI_MANIFEST, "digest": image, "size": 1}],
    });
    let reply = jo.call("PUT", "/v2/mine/manifests/x", "", index.to_string().as_bytes()).await;
    assert_eq!(reply.status, 404, "{reply:?}");
    // The API says the same, and the catalogue doesn't show it.
    let input = json!({"repositoryName": "secret", "layerDigest": digest});
    let reply = fixture.ecr(USER, "GetDownloadUrlForLayer", input).await;
    assert_eq!(reply.code(), "AccessDeniedException");
    let reply = jo.call("GET", "/v2/_catalog", "", b"").await;
    assert_eq!(reply.json()["repositories"], json!(["mine"]));
    let path = format!("/v2/mine/blobs/uploads/?mount={digest}&from=secret");
    assert_eq!(root.status("POST", &path).await, 201);
}

#[tokio::test]
async fn an_agent_pulls_and_a_task_needs_a_signature() {
    let fixture = Fixture::start().await;
    create(&fixture, "app").await;
    let root = Login::of(&fixture, ROOT).await;
    let digest = root.push_blob("app", b"layer").await;
    let agent = Login::of(&fixture, HOST).await;
    assert_eq!(agent.status("GET", &format!("/v2/app/blobs/{digest}")).await, 200);
    assert_eq!(agent.status("POST", "/v2/app/blobs/uploads/").await, 403);
    assert_eq!(agent.status("PUT", "/v2/app/manifests/x").await, 403);
    assert_eq!(agent.status("DELETE", &format!("/v2/app/blobs/{digest}")).await, 403);
    assert_eq!(agent.status("GET", "/v2/app/tags/list").await, 403);
    let reply = fixture.ecr(HOST, "CreateRepository", json!({"repositoryName": "theirs"})).await;
    assert_eq!(reply.code(), "AccessDeniedException");
    // By way of an agent only what is signed is answered.
    let path = format!("/v2/app/blobs/{digest}");
    let reply = root.call_at("169.254.170.4", "GET", &path, "", b"").await;
    assert!(!reply.body.contains("layer") && reply.status >= 400, "{reply:?}");
    let reply = root.call_at("evil.example", "GET", &path, "", b"").await;
    assert_eq!(reply.status, 403);
}

#[tokio::test]
async fn a_signature_is_as_good_as_a_login() {
    let fixture = Fixture::start().await;
    create(&fixture, "app").await;
    let signed = async |key: &str, service: &str, method: &str, path: &str, body: &[u8]| {
        fixture.signed(key, service, method, path, &[("content-type", OCI_MANIFEST)], body).await
    };
    assert_eq!(signed(ROOT, "ecr", "GET", "/v2/", b"").await.status, 200);
    let (config, layer) = (Digest::of(b"{}"), Digest::of(b"layer"));
    for (digest, content) in [(&config, &b"{}"[..]), (&layer, b"layer")] {
        let path = format!("/v2/app/blobs/uploads/?digest={digest}");
        assert_eq!(signed(ROOT, "ecr", "POST", &path, content).await.status, 201);
    }
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": 5}],
    });
    let manifest = manifest.to_string();
    let reply = signed(ROOT, "ecr", "PUT", "/v2/app/manifests/v1", manifest.as_bytes()).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    let blob = format!("/v2/app/blobs/{layer}");
    assert_eq!(signed(HOST, "ecr", "GET", &blob, b"").await.body, "layer");
    // What holds for everybody holds for whoever signs, and nothing but the signature counts.
    assert_eq!(signed(HOST, "ecr", "DELETE", &blob, b"").await.status, 403);
    assert_eq!(signed(USER, "ecr", "GET", &blob, b"").await.status, 403);
    assert_eq!(signed("AKIANOBODY", "ecr", "GET", &blob, b"").await.status, 403);
    assert_eq!(signed(ROOT, "ecs", "GET", &blob, b"").await.status, 403);
    let put = [("content-type", OCI_MANIFEST)];
    let path = "/v2/app/manifests/v2";
    let mut bytes = fixture.signed_bytes(ROOT, "ecr", "PUT", path, &put, manifest.as_bytes());
    // Another body of the same length.
    bytes.pop();
    bytes.push(b' ');
    let reply = fixture.raw(&bytes).await;
    assert_eq!(reply.status, 403, "{reply:?}");
    let long = vec![b'x'; (28 << 20) + 1];
    let reply = signed(ROOT, "ecr", "PUT", path, &long).await;
    assert_eq!(reply.status, 413, "{reply:?}");
}

#[tokio::test]
async fn quotas_hold_and_are_told() {
    // The fixture's are 12 images and 6 tags of an image.
    let fixture = Fixture::start().await;
    create(&fixture, "app").await;
    let root = Login::of(&fixture, ROOT).await;
    for n in 0..6 {
        root.push_image("app", &format!("same-{n}"), b"one").await;
    }
    let manifest = root.call("GET", "/v2/app/manifests/same-0", "", b"").await.body;
    let put = async |tag: &str, text: &str| {
        let headers = format!("content-type: {OCI_MANIFEST}\r\n");
        root.call("PUT", &format!("/v2/app/manifests/{tag}"), &headers, text.as_bytes()).await
    };
    let reply = put("same-6", &manifest).await;
    assert_eq!(reply.status, 403, "{reply:?}");
    assert!(reply.body.contains("an image has at most 6 tags"), "{reply:?}");
    // What it has already costs nothing.
    assert_eq!(put("same-5", &manifest).await.status, 201);
    let input = json!({"repositoryName": "app", "imageManifest": manifest, "imageTag": "same-6"});
    assert_eq!(fixture.ecr(ROOT, "PutImage", input).await.code(), "LimitExceededException");
    for n in 1..12 {
        root.push_image("app", &format!("v{n}"), format!("{n}").as_bytes()).await;
    }
    let another = format!("{manifest} ");
    let reply = put("one-more", &another).await;
    assert_eq!(reply.status, 403, "{reply:?}");
    assert!(reply.body.contains("a repository holds at most 12 images"), "{reply:?}");
    assert_eq!(root.status("DELETE", "/v2/app/manifests/v1").await, 202, "its tag");
    assert_eq!(put("one-more", &another).await.status, 403, "the image is still there");
    let id = json!([{"imageTag": "v2"}]);
    ok(&fixture, "BatchDeleteImage", json!({"repositoryName": "app", "imageIds": id})).await;
    assert_eq!(put("one-more", &another).await.status, 201);
}

#[tokio::test]
async fn a_sweep_takes_what_nothing_needs() {
    let fixture = Fixture::start().await;
    create(&fixture, "app").await;
    let root = Login::of(&fixture, ROOT).await;
    let loose = root.push_blob("app", b"loose").await;
    root.push_image("app", "v1", b"layer").await;
    root.status("POST", "/v2/app/blobs/uploads/").await;
    assert_eq!(sweep(&fixture.app, fixture.app.now()).await, Swept::default(), "all is young");
    assert_eq!(blobs(&fixture), 3);
    let swept = sweep(&fixture.app, later(&fixture, 2)).await;
    assert_eq!(swept, Swept { records: 1, blobs: 1, ..Swept::default() });
    assert_eq!(root.status("GET", &format!("/v2/app/blobs/{loose}")).await, 404);
    assert_eq!(root.status("GET", "/v2/app/manifests/v1").await, 200);
    let layer = Digest::of(b"layer");
    assert_eq!(root.status("GET", &format!("/v2/app/blobs/{layer}")).await, 200);
    assert_eq!(sweep(&fixture.app, later(&fixture, 26)).await.uploads, 1);
    // An image's layers go after the image, and a repository's content after the repository.
    assert_eq!(root.status("DELETE", "/v2/app/manifests/v1").await, 202);
    assert_eq!(sweep(&fixture.app, later(&fixture, 28)).await.records, 0, "untagged isn't gone");
    create(&fixture, "other").await;
    root.push_image("other", "v1", b"layer").await;
    ok(&fixture, "DeleteRepository", json!({"repositoryName": "app", "force": true})).await;
    let swept = sweep(&fixture.app, later(&fixture, 30)).await;
    assert_eq!((swept.records, swept.blobs), (3, 0), "the other repository has the same bytes");
    assert_eq!(root.status("GET", &format!("/v2/other/blobs/{layer}")).await, 200);
    ok(&fixture, "DeleteRepository", json!({"repositoryName": "other", "force": true})).await;
    let swept = sweep(&fixture.app, later(&fixture, 32)).await;
    assert_eq!((swept.records, swept.blobs), (4, 3));
    assert_eq!(blobs(&fixture), 0);
}

#[tokio::test]
async fn lifecycle_policies_are_carried_out() {
    let fixture = Fixture::start().await;
    create(&fixture, "app").await;
    let root = Login::of(&fixture, ROOT).await;
    for tag in ["prod-1", "prod-2", "dev-1"] {
        root.push_image("app", tag, tag.as_bytes()).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let policy = json!({"rules": [
        {"rulePriority": 1, "selection": {"tagStatus": "tagged", "tagPrefixList": ["prod"],
            "countType": "imageCountMoreThan", "countNumber": 1}, "action": {"type": "expire"}},
        {"rulePriority": 2, "selection": {"tagStatus": "any", "countType": "sinceImagePushed",
            "countUnit": "days", "countNumber": 2}, "action": {"type": "expire"}},
    ]});
    let text = policy.to_string();
    let input = json!({"repositoryName": "app", "lifecyclePolicyText": text});
    ok(&fixture, "PutLifecyclePolicy", input).await;
    assert_eq!(sweep(&fixture.app, later(&fixture, 24)).await.expired_images, 1);
    assert_eq!(root.status("GET", "/v2/app/manifests/prod-1").await, 404);
    assert_eq!(sweep(&fixture.app, later(&fixture, 49)).await.expired_images, 1);
    assert_eq!(root.status("GET", "/v2/app/manifests/dev-1").await, 404);
    assert_eq!(root.status("GET", "/v2/app/manifests/prod-2").await, 200);
    let got = ok(&fixture, "GetLifecyclePolicy", json!({"repositoryName": "app"})).await;
    assert!(got["lastEvaluatedAt"].is_number(), "{got}");
    let wrong = text.replace("\"expire\"", "\"transition\"");
    let input = json!({"repositoryName": "app", "lifecyclePolicyText": wrong});
    let reply = fixture.ecr(ROOT, "PutLifecyclePolicy", input).await;
    assert_eq!(reply.code(), "InvalidParameterException");
    assert!(reply.body.contains("targetStorageClass"), "{reply:?}");
    // Not pulled for a month: into the archive, and out of it by a push.
    let policy = json!({"rules": [{"rulePriority": 1, "selection": {"tagStatus": "any",
        "countType": "sinceImagePulled", "countUnit": "days", "countNumber": 30},
        "action": {"type": "transition", "targetStorageClass": "archive"}}]});
    let input = json!({"repositoryName": "app", "lifecyclePolicyText": policy.to_string()});
    ok(&fixture, "PutLifecyclePolicy", input).await;
    let swept = sweep(&fixture.app, later(&fixture, 32 * 24)).await;
    assert_eq!((swept.expired_images, swept.archived_images), (0, 1));
    assert_eq!(root.status("GET", "/v2/app/manifests/prod-2").await, 404);
    let listed = ok(&fixture, "ListImages", json!({"repositoryName": "app"})).await;
    assert_eq!(
        listed["imageIds"],
        json!([]),
        "archived images are listed where they are asked for"
    );
    root.push_image("app", "prod-2", b"prod-2").await;
    assert_eq!(root.status("GET", "/v2/app/manifests/prod-2").await, 200);
}

#[tokio::test]
async fn who_sends_nothing_is_cut_and_what_came_is_kept() {
    let limits = |options: &mut wharf_gateway::http::Options| {
        options.limits.blob_idle = Duration::from_millis(200);
    };
    let fixture = Fixture::start_with(std::sync::Arc::new(NoSessions), limits).await;
    create(&fixture, "app").await;
    let root = Login::of(&fixture, ROOT).await;
    let reply = root.call("POST", "/v2/app/blobs/uploads/", "", b"").await;
    let location = reply.header("location").unwrap().to_owned();
    let mut stream = tokio::net::TcpStream::connect(fixture.address).await.unwrap();
    let head = format!(
        "PATCH {location} HTTP/1.1\r\nhost: {}\r\nauthorization: {}\r\ncontent-length: 100\r\n\r\nabc",
        fixture.address, root.authorization
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer))
        .await
        .expect("an end")
        .unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.contains("BLOB_UPLOAD_INVALID"), "{answer}");
    let reply = root.call("GET", &location, "", b"").await;
    assert_eq!((reply.status, reply.header("range")), (204, Some("0-2")));
}
