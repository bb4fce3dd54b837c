//! Why a pull failed, in the words of containerd and the ECS agent.

use hyper::StatusCode;
use std::io;

use crate::digest::Digest;
use crate::reference::{self, Reference};
use crate::registry::{self, DockerConfigError};
use crate::store;

/// Why a pull failed; displays as the ECS agent's stopped reason.
#[derive(Debug, thiserror::Error)]
#[error("{}: {phase} has been retried {attempts} time(s): {source}", self.name())]
pub struct PullError {
    /// What was being done.
    pub phase: Phase,
    /// How often it was tried.
    pub attempts: u32,
    /// The cause of the last failure.
    pub source: Cause,
}

/// The part of a pull that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Finding out which image it is: `pull image manifest`.
    Manifest,
    /// Getting and unpacking the content: `ref pull`.
    Content,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Manifest => "pull image manifest",
            Self::Content => "ref pull",
        })
    }
}

/// The cause of a failed pull, in containerd's words.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The name isn't a reference.
    #[error(transparent)]
    Reference(#[from] reference::Error),
    /// The registry has no such image.
    #[error("failed to resolve ref {0}: {0}: not found")]
    NotFound(String),
    /// The registry wants credentials, or other ones.
    #[error(
        "failed to resolve ref {reference}: pull access denied, repository does not exist or may \
         require authorization: server message: {message}"
    )]
    Denied {
        /// The image.
        reference: String,
        /// The registry's words.
        message: String,
    },
    /// The registry couldn't be asked.
    #[error("failed to resolve ref {reference}: failed to do request: {error}")]
    Resolve {
        /// The image.
        reference: String,
        /// Why.
        error: Box<registry::Error>,
    },
    /// A blob couldn't be fetched.
    #[error("failed to copy: httpReadSeeker: failed open: {error}")]
    Copy {
        /// Why.
        error: Box<registry::Error>,
    },
    /// Credentials couldn't be found.
    #[error(transparent)]
    DockerConfig(#[from] DockerConfigError),
    /// A descriptor promises more than is accepted.
    #[error("blob {digest} has {size} bytes, at most {limit} are allowed")]
    BlobTooLarge {
        /// The blob.
        digest: Digest,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// A manifest isn't the size its index says.
    #[error("manifest {digest} has {found} bytes, its index says {expected}")]
    ManifestSize {
        /// The manifest.
        digest: Digest,
        /// In the descriptor.
        expected: u64,
        /// Received.
        found: u64,
    },
    /// A manifest isn't usable.
    #[error("{0}")]
    Manifest(#[from] crate::manifest::Error),
    /// The content couldn't be kept or unpacked.
    #[error("failed to extract: {0}")]
    Store(#[from] store::Error),
    /// A download couldn't be written.
    #[error("failed to write {digest}: {error}")]
    Write {
        /// The blob.
        digest: Digest,
        /// The kernel's answer.
        error: io::Error,
    },
    /// The pull was cut off by the end of the process.
    #[error("the pull was cancelled")]
    Cancelled,
}

impl PullError {
    /// The ECS agent's name of the error.
    pub fn name(&self) -> &'static str {
        "CannotPullContainerError"
    }

    /// True when the registry wanted credentials, or other ones.
    pub fn is_denied(&self) -> bool {
        matches!(self.source, Cause::Denied { .. })
    }

    /// True when trying again later may help, as far as anybody knows.
    pub fn is_transient(&self) -> bool {
        self.source.is_transient()
    }
}

impl Cause {
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Resolve { error, .. } | Self::Copy { error } => error.is_transient(),
            _ => false,
        }
    }

    pub(super) fn once(self, phase: Phase) -> PullError {
        PullError { phase, attempts: 1, source: self }
    }
}

/// Sorts a registry's answer to "which manifest?".
pub(super) fn resolve_cause(reference: &Reference, error: registry::Error) -> Cause {
    let reference = reference.to_string();
    let registry::Error::Status { status, code, message, .. } = &error else {
        return Cause::Resolve { reference, error: error.into() };
    };
    match *status {
        StatusCode::NOT_FOUND => Cause::NotFound(reference),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            let words = if message.is_empty() { "authorization failed" } else { message };
            let code = if code.is_empty() { "insufficient_scope" } else { code };
            let message = format!("{}: {words}", code.to_lowercase());
            Cause::Denied { reference, message }
        }
        _ => Cause::Resolve { reference, error: error.into() },
    }
}
