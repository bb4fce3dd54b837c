//! Progress of pulls, pushes, loads and builds, told to whoever draws it.

use crate::digest::Digest;

/// Is told what happens to each layer; called from several threads.
pub trait Progress: Send + Sync {
    /// The image's layers are known, bottom first, with their compressed sizes in bytes.
    fn layers(&self, _layers: &[(Digest, u64)]) {}
    /// The layer is here already.
    fn exists(&self, _layer: &Digest) {}
    /// `done` of `total` bytes of the layer have arrived.
    fn downloaded(&self, _layer: &Digest, _done: u64, _total: u64) {}
    /// `done` of `total` bytes of the layer are at the registry.
    fn uploaded(&self, _layer: &Digest, _done: u64, _total: u64) {}
    /// `done` of `total` compressed bytes of the layer have been unpacked.
    fn unpacked(&self, _layer: &Digest, _done: u64, _total: u64) {}
    /// The layer is ready for use.
    fn ready(&self, _layer: &Digest) {}
    /// An attempt failed and another one follows.
    fn retry(&self, _attempt: u32, _reason: &str) {}
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {}
