//! What must hold for any bytes given to the registry as a path, a range, a token, a manifest or a
//! policy.

use wharf_registry::manifest::{MAX_REFERENCES, Manifest};
use wharf_registry::range::{self, Asked};
use wharf_registry::route::{Route, Target, is_name};
use wharf_registry::token::Purpose;
use wharf_registry::{Tokens, lifecycle};

/// A path names nothing, or something whose name is one; a range stays inside; a chunk has bytes; a
/// token that wasn't issued opens nothing.
pub fn registry_request(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(Route::Repository { name, target }) = Route::parse(text) {
        assert!(is_name(&name) && !name.contains(".."));
        if let Target::Upload(id) = target {
            assert!(id.is_empty() || id.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit()));
        }
    }
    for size in [0, 1, 10, u64::MAX] {
        if let Asked::Part(part) = range::asked(Some(text), size) {
            assert!(part.start < part.end && part.end <= size);
        }
    }
    if let Some((start, length)) = range::chunk(text) {
        assert!(length > 0 && start.checked_add(length - 1).is_some());
    }
    assert!(Tokens::new([7; 32]).open(Purpose::Login, text).is_none());
}

/// A manifest is refused, or is one thing only, within its limits; policies are refused or say
/// something.
pub fn registry_document(data: &[u8]) {
    if let Ok(manifest) = Manifest::parse(data, None) {
        assert!(manifest.layers.len() + manifest.manifests.len() <= MAX_REFERENCES);
        assert_eq!(manifest.is_index(), manifest.config.is_none());
        assert!(manifest.manifests.is_empty() || manifest.layers.is_empty());
        assert!(Manifest::parse(data, Some(&manifest.media_type)).is_ok());
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(policy) = lifecycle::Policy::parse(text) {
        assert!(policy.evaluate(&[], 0).is_empty());
    }
}
