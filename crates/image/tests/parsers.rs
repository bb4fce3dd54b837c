//! Parsers of outside bytes never panic: seeds, and what random changes make of them.
#![allow(clippy::unwrap_used)]

use wharf_image::Reference;
use wharf_image::config::ConfigFile;
use wharf_image::manifest::Document;
use wharf_image::unpack::TarReader;

const SEEDS: [&str; 6] = [
    "registry.example:5000/team/app:v1@sha256:0000",
    "[::1]:5000/a/b:c",
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0},"layers":[]}"#,
    r#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":1,"platform":{"os":"linux","architecture":"amd64"}}]}"#,
    r#"{"config":{"Env":null,"ExposedPorts":{"80/tcp":{}},"Cmd":["a"]},"rootfs":{"type":"layers","diff_ids":null}}"#,
    "30 mtime=1350244992.023960108\n",
];

#[test]
fn changed_seeds_are_answers_or_errors() {
    assert!(Document::parse(SEEDS[2].as_bytes(), None).is_ok());
    assert!(Document::parse(SEEDS[3].as_bytes(), None).is_ok());
    assert_eq!(ConfigFile::parse(SEEDS[4].as_bytes()).unwrap().config.exposed_ports, ["80/tcp"]);
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..20_000 {
        let mut bytes = SEEDS[round % SEEDS.len()].as_bytes().to_vec();
        for _ in 0..random.usize(0..6) {
            let at = random.usize(0..bytes.len());
            bytes[at] = random.u8(..);
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(reference) = Reference::parse(&text) {
            let full = reference.to_string();
            assert_eq!(Reference::parse(&full).unwrap(), reference, "{text}");
        }
        let _ = Document::parse(&bytes, Some("application/json"));
        let _ = ConfigFile::parse(&bytes);
        bytes.resize(1024, 0);
        let _ = TarReader::new(bytes.as_slice()).next_member();
    }
}
