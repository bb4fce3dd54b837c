//! What must hold for any bytes given as an image's name, manifest, index or configuration.

use wharf_image::config::{ConfigFile, MAX_LAYERS};
use wharf_image::manifest::{
    DOCKER_LIST, DOCKER_MANIFEST, Document, MAX_MANIFEST_BYTES, OCI_INDEX, OCI_MANIFEST,
};
use wharf_image::{Digest, Platform, Reference};

/// A body is refused, or it is one thing only, whatever it was announced as, and encodes and
/// decodes to itself; what is chosen from an index is in it.
pub fn image_manifest(data: &[u8]) {
    let (mut manifests, mut indexes) = (0, 0);
    for announced in
        [None, Some(OCI_MANIFEST), Some(DOCKER_MANIFEST), Some(OCI_INDEX), Some(DOCKER_LIST)]
    {
        let Ok(document) = Document::parse(data, announced) else { continue };
        let encoded = match &document {
            Document::Manifest(manifest) => {
                manifests += 1;
                assert!(manifest.layers.len() <= MAX_LAYERS);
                serde_json::to_vec(manifest)
            }
            Document::Index(index) => {
                indexes += 1;
                if let Ok(chosen) = index.select(&Platform::host()) {
                    assert!(index.manifests.contains(chosen));
                    assert!([OCI_MANIFEST, DOCKER_MANIFEST].contains(&chosen.media_type.as_str()));
                }
                serde_json::to_vec(index)
            }
        };
        let encoded = encoded.expect("a decoded document encodes");
        // Escapes may make it longer than what was read.
        if encoded.len() as u64 <= MAX_MANIFEST_BYTES {
            let again = Document::parse(&encoded, announced).expect("what we write, we read");
            assert_eq!(again, document);
        }
    }
    assert!(manifests == 0 || indexes == 0, "a manifest to one reader and an index to another");
}

/// A text is no reference, or one that reads again as itself, also at another host and by a digest.
pub fn image_reference(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(reference) = Reference::parse(text) else { return };
    let again = |text: &str| Reference::parse(text).expect("what we write, we read");
    assert_eq!(again(&reference.to_string()), reference);
    assert!(!reference.repository().is_empty() && !reference.repository().contains(".."));
    assert!(!reference.manifest_selector().contains('/'));
    let moved = reference.at("localhost:5000");
    assert_eq!(moved.registry(), "localhost:5000");
    assert_eq!(moved.repository(), reference.repository());
    let pinned = reference.with_digest(Digest::of(data));
    assert_eq!(pinned.digest(), Some(&Digest::of(data)));
    assert_eq!(again(&pinned.to_string()), pinned);
}

/// A configuration is refused, or encodes and decodes to itself, and has a chain id per layer.
pub fn image_config(data: &[u8]) {
    let Ok(file) = ConfigFile::parse(data) else { return };
    assert_eq!(file.rootfs.kind, "layers");
    assert_eq!(file.chain_ids().len(), file.rootfs.diff_ids.len());
    let encoded = serde_json::to_vec(&file).expect("a decoded configuration encodes");
    let again = ConfigFile::parse(&encoded).expect("what we write, we read");
    assert_eq!(again.config, file.config);
    assert_eq!(again.chain_ids(), file.chain_ids());
    assert_eq!(serde_json::to_vec(&again).expect("again"), encoded);
}
