//! The core of an image registry: what an OCI Distribution 1.1 server and Amazon ECR's API both
//! stand on.
//!
//! Here are the store of blobs ([`Storage`], each content once, whatever repositories have it), the
//! uploads that fill it ([`Uploads`]), and what is pure: digests, routes, ranges, manifests, tokens,
//! lifecycle policies and the mutability of tags. Which repositories there are, and which of them has
//! which blob, image and tag, is not known here: that is the journal's. So nothing here can answer
//! whether somebody may read a blob, and whoever serves must ask first.

pub mod digest;
pub mod lifecycle;
mod local;
pub mod manifest;
pub mod mutability;
pub mod range;
pub mod route;
pub mod scrub;
mod storage;
pub mod token;
mod uploads;

pub use digest::Digest;
pub use local::LocalStorage;
pub use storage::{BlobReader, Error, Storage, UploadInfo};
pub use token::Tokens;
pub use uploads::{UPLOAD_LIFE, UploadError, UploadWriter, Uploads};
