//! Replays the committed fuzz corpora of what images are made of.

#[path = "../../../fuzz/src/corpus.rs"]
#[allow(clippy::expect_used, missing_docs)]
mod corpus;
#[path = "../../../fuzz/src/image.rs"]
#[allow(clippy::expect_used, missing_docs)]
mod image;
#[path = "../../../fuzz/src/layer.rs"]
#[allow(clippy::expect_used, missing_docs)]
mod layer;

use corpus::replay;

#[test]
fn references() {
    replay("image_reference", 1, image::image_reference);
}

#[test]
fn manifests_and_indexes() {
    replay("image_manifest", 7, image::image_manifest);
}

#[test]
fn configurations() {
    replay("image_config", 7, image::image_config);
}

#[test]
fn layers() {
    // Members end at multiples of 512.
    replay("layer_tar", 128, layer::layer_tar);
}
