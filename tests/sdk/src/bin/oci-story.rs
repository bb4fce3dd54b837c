//! The registry by the crate oci-client as it comes from crates.io: push, pull, mount, an index of two
//! platforms, an artifact with its referrers, a copy into another registry.
//!
//! `oci-story HOST PASSWORD OTHER-HOST OTHER-PASSWORD`: two registries with the repositories `story`
//! and `story/copy`, over plain HTTP. tests/e2e/test_registry_clients.py starts them.

use oci_client::client::{ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::manifest::{
    ImageIndexEntry, OciDescriptor, OciImageIndex, OciImageManifest, OciManifest,
};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use std::error::Error;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const SIGNATURE: &str = "application/vnd.example.signature";

/// A registry, and how to log in to it.
struct Registry {
    host: String,
    auth: RegistryAuth,
}

impl Registry {
    fn reference(&self, name: &str) -> Outcome<Reference> {
        Ok(format!("{}/{name}", self.host).parse()?)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    // The client's own choice would be another library, which takes minutes to compile.
    rustls::crypto::ring::default_provider().install_default().map_err(|_| "a second provider")?;
    let mut arguments = std::env::args().skip(1);
    let mut registry = || -> Outcome<Registry> {
        let host = arguments.next().ok_or("two hosts with a password each")?;
        let password = arguments.next().ok_or("a password is missing")?;
        Ok(Registry { host, auth: RegistryAuth::Basic("AWS".to_owned(), password) })
    };
    let (here, there) = (registry()?, registry()?);
    let client =
        Client::new(ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() });
    let amd64 = push(&client, &here, "story:amd64", b"for amd64").await?;
    let arm64 = push(&client, &here, "story:arm64", b"for arm64").await?;
    println!("pushed and pulled");
    let index = push_index(&client, &here, &[("amd64", amd64.clone()), ("arm64", arm64)]).await?;
    println!("an index");
    artifacts(&client, &here, &amd64).await?;
    println!("artifacts");
    mount(&client, &here).await?;
    println!("mounted");
    copy(&client, &here, &there, &index).await?;
    println!("copied");
    Ok(())
}

/// Pushes an image of one layer and pulls it again; its descriptor.
async fn push(
    client: &Client,
    to: &Registry,
    name: &str,
    layer: &'static [u8],
) -> Outcome<OciDescriptor> {
    let reference = to.reference(name)?;
    let layers = [ImageLayer::new(layer, LAYER.to_owned(), None)];
    let config = Config::oci_v1(format!("{{\"of\":\"{name}\"}}").into_bytes(), None);
    let manifest = OciImageManifest::build(&layers, &config, None);
    client.push(&reference, &layers, config, &to.auth, Some(manifest)).await?;
    let pulled = client.pull(&reference, &to.auth, vec![LAYER]).await?;
    assert_eq!(&*pulled.layers[0].data, layer);
    let (bytes, digest) = client.pull_manifest_raw(&reference, &to.auth, &[MANIFEST]).await?;
    Ok(descriptor(MANIFEST, digest, bytes.len()))
}

fn descriptor(media_type: &str, digest: String, size: usize) -> OciDescriptor {
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    OciDescriptor { media_type: media_type.to_owned(), digest, size, ..OciDescriptor::default() }
}

async fn push_index(
    client: &Client,
    to: &Registry,
    members: &[(&str, OciDescriptor)],
) -> Outcome<String> {
    let entry = |(architecture, member): &(&str, OciDescriptor)| -> Outcome<ImageIndexEntry> {
        // The fields are many and change; what is on the wire doesn't.
        let entry = serde_json::json!({
            "mediaType": member.media_type, "digest": member.digest, "size": member.size,
            "platform": { "architecture": architecture, "os": "linux" },
        });
        Ok(serde_json::from_value(entry)?)
    };
    let manifests = members.iter().map(entry).collect::<Outcome<Vec<_>>>()?;
    let index = OciImageIndex {
        schema_version: 2,
        media_type: Some(INDEX.to_owned()),
        manifests,
        artifact_type: None,
        annotations: None,
    };
    let reference = to.reference("story:all")?;
    client.push_manifest_list(&reference, &to.auth, index).await?;
    let (found, digest) = client.pull_manifest(&reference, &to.auth).await?;
    assert!(matches!(found, OciManifest::ImageIndex(index) if index.manifests.len() == 2));
    Ok(digest)
}

/// Two artifacts about an image, and their list by kind.
async fn artifacts(client: &Client, to: &Registry, subject: &OciDescriptor) -> Outcome {
    for (artifact_type, content) in [(SIGNATURE, &b"signed"[..]), ("application/sbom", b"[]")] {
        let layers = [ImageLayer::new(content.to_vec(), artifact_type.to_owned(), None)];
        let config =
            Config::new(b"{}".to_vec(), "application/vnd.oci.empty.v1+json".to_owned(), None);
        let mut manifest = OciImageManifest::build(&layers, &config, None);
        manifest.subject = Some(subject.clone());
        manifest.artifact_type = Some(artifact_type.to_owned());
        let bytes = serde_json::to_vec(&OciManifest::Image(manifest))?;
        let digest = ImageLayer::new(bytes.clone(), MANIFEST.to_owned(), None).sha256_digest();
        let reference = to.reference(&format!("story@{digest}"))?;
        client.push_blob(&reference, content.to_vec(), &layers[0].sha256_digest()).await?;
        client.push_blob(&reference, b"{}".to_vec(), &config.sha256_digest()).await?;
        client.push_manifest_raw(&reference, bytes, MANIFEST.parse()?).await?;
    }
    let about = to.reference(&format!("story@{}", subject.digest))?;
    let all = client.pull_referrers(&about, None).await?;
    assert_eq!(all.manifests.len(), 2, "{all:?}");
    let signatures = client.pull_referrers(&about, Some(SIGNATURE)).await?;
    assert_eq!(signatures.manifests.len(), 1, "{signatures:?}");
    Ok(())
}

/// A blob of one repository in another one, without its bytes.
async fn mount(client: &Client, to: &Registry) -> Outcome {
    let (from, into) = (to.reference("story:amd64")?, to.reference("story/copy:mounted")?);
    let layer = ImageLayer::new(&b"for amd64"[..], LAYER.to_owned(), None).sha256_digest();
    assert!(!client.blob_exists(&into, &layer).await?);
    client.mount_blob(&into, &from, &layer).await?;
    assert!(client.blob_exists(&into, &layer).await?);
    Ok(())
}

/// Everything below an index into another registry, bit for bit.
async fn copy(client: &Client, from: &Registry, to: &Registry, index: &str) -> Outcome {
    client.store_auth_if_needed(&to.host, &to.auth).await;
    let accepted = [INDEX, MANIFEST];
    let all = from.reference(&format!("story@{index}"))?;
    let (bytes, _) = client.pull_manifest_raw(&all, &from.auth, &accepted).await?;
    let list: OciImageIndex = serde_json::from_slice(&bytes)?;
    for member in list.manifests {
        let source = from.reference(&format!("story@{}", member.digest))?;
        let target = to.reference(&format!("story@{}", member.digest))?;
        let (manifest, _) = client.pull_manifest_raw(&source, &from.auth, &accepted).await?;
        let image: OciImageManifest = serde_json::from_slice(&manifest)?;
        for blob in image.layers.iter().chain([&image.config]) {
            let mut content = Vec::new();
            client.pull_blob(&source, blob, &mut content).await?;
            client.push_blob(&target, content, &blob.digest).await?;
        }
        client.push_manifest_raw(&target, manifest.to_vec(), MANIFEST.parse()?).await?;
    }
    let target = to.reference("story:all")?;
    client.push_manifest_raw(&target, bytes.to_vec(), INDEX.parse()?).await?;
    assert_eq!(client.fetch_manifest_digest(&target, &to.auth).await?, index);
    let tags = client.list_tags(&target, &to.auth, None, None).await?;
    assert_eq!(tags.tags, ["all"]);
    Ok(())
}
