//! Container images on this host: where they come from, how they are kept, and what of them a
//! container is started from.
//!
//! An image enters by [`ImageStore::pull`] (OCI distribution), [`ImageStore::load`]
//! (docker-archive, oci-archive) or [`ImageStore::build`] (a directory or one binary). All three
//! end in the same place: verified blobs in a content-addressed store, and each layer unpacked
//! once into a directory that overlay takes as a lower directory.
//!
//! This crate never runs anything found in an image, and never gives a path below a layer to
//! `std::fs`: what an image names is reached through descriptors only.

pub mod archive;
pub mod build;
pub mod config;
pub mod digest;
pub mod manifest;
pub mod platform;
pub mod progress;
pub mod pull;
pub mod push;
pub mod reference;
pub mod registry;
pub mod store;
pub mod unpack;

pub use build::BuildOptions;
pub use config::{HealthCheck, ImageConfig};
pub use digest::Digest;
pub use platform::Platform;
pub use progress::{NoProgress, Progress};
pub use pull::{PullError, PullOptions};
pub use push::PushError;
pub use reference::Reference;
pub use registry::{Credentials, RegistryClient, RegistryOptions, Remote};
pub use store::{CleanupPolicy, CleanupReport, Image, ImageStore, ImageSummary, Source};
