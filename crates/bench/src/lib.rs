//! Benches of the whole: what a client of the API sees, beside peers that do comparable work.
//!
//! The programs in `src/bin` are run by `cargo xtask bench`; what they share is here. They start
//! wharf and its peers as processes of their own in a temporary directory, in interleaved rounds,
//! and print medians of per-round ratios, since a machine's speed wanders. Nothing of wharf
//! depends on this crate.

pub mod balancer;
pub mod client;
pub mod containerd;
pub mod debian_image;
pub mod docker;
pub mod etcd;
pub mod hosts;
pub mod peers;
pub mod processes;
pub mod rounds;
pub mod trace;
pub mod up;

/// What ends a bench: the text is for whoever runs it.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// A result of these benches.
pub type Result<T> = std::result::Result<T, Error>;
