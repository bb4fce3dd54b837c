//! Pushes an image of this host to a registry: what the registry hasn't got, blob after blob, and the
//! manifest last, so that nobody sees an image whose layers are on their way.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;

use crate::digest::Digest;
use crate::manifest::{self, Descriptor, Document, MAX_MANIFEST_BYTES, Manifest, OCI_MANIFEST};
use crate::progress::Progress;
use crate::pull::PullOptions;
use crate::reference::{self, Reference};
use crate::registry::{self, Destination, DockerConfigError, RegistryClient};
use crate::store::{self, ImageStore};

/// Bytes sent at once.
const CHUNK_BYTES: usize = 8 << 20;

/// Why an image wasn't pushed.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The target isn't a reference.
    #[error(transparent)]
    Reference(#[from] reference::Error),
    /// The image can't be read.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Its manifest isn't usable.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    /// Credentials couldn't be found.
    #[error(transparent)]
    DockerConfig(#[from] DockerConfigError),
    /// The registry.
    #[error("can't push {what} to {reference}: {error}")]
    Registry {
        /// What was on its way.
        what: String,
        /// Where.
        reference: String,
        /// What the registry answered.
        error: Box<registry::Error>,
    },
    /// A blob can't be read.
    #[error("can't read blob {digest}: {error}")]
    Read {
        /// The blob.
        digest: Digest,
        /// The kernel's answer.
        error: io::Error,
    },
    /// The work was cut off by the end of the process.
    #[error("the push was cancelled")]
    Cancelled,
}

impl ImageStore {
    /// Pushes the image called `name` as `target`; the digest of its manifest.
    ///
    /// # Errors
    /// See [`PushError`].
    pub async fn push(
        &self,
        client: &RegistryClient,
        name: &str,
        target: &str,
        options: &PullOptions,
        progress: Arc<dyn Progress>,
    ) -> Result<Digest, PushError> {
        let reference = Reference::parse(target)?;
        let image = self.resolve(name)?;
        let image = image.ok_or_else(|| store::Error::NoSuchImage(name.to_owned()))?;
        let bytes = store::read_blob(self.layout(), &image.manifest, MAX_MANIFEST_BYTES)?;
        let bytes = bytes.ok_or(store::Error::Missing { digest: image.manifest })?;
        let Document::Manifest(manifest) = Document::parse(&bytes, None)? else {
            return Err(manifest::Error::NestedIndex.into());
        };
        let credentials = client.credentials(&reference, options.credentials.as_ref())?;
        let asked = match &options.served_by {
            Some(host) => reference.at(host),
            None => reference.clone(),
        };
        let credentials = credentials.as_ref();
        let destination = Destination { client, reference: &asked, credentials, headers: &[] };
        let push = Push { store: self, reference: &reference, destination, progress };
        push.blobs(&manifest).await?;
        let media_type = manifest.media_type.as_deref().unwrap_or(OCI_MANIFEST);
        let put = push.destination.put_manifest(media_type, Bytes::from(bytes)).await;
        put.map_err(|error| push.failed("the manifest", error))?;
        Ok(image.manifest)
    }
}

struct Push<'a> {
    store: &'a ImageStore,
    reference: &'a Reference,
    destination: Destination<'a>,
    progress: Arc<dyn Progress>,
}

impl Push<'_> {
    fn failed(&self, what: &str, error: registry::Error) -> PushError {
        let reference = self.reference.to_string();
        PushError::Registry { what: what.to_owned(), reference, error: error.into() }
    }

    async fn blobs(&self, manifest: &Manifest) -> Result<(), PushError> {
        let sizes: Vec<_> = manifest.layers.iter().map(|l| (l.digest, l.size)).collect();
        self.progress.layers(&sizes);
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            self.blob(blob).await?;
        }
        Ok(())
    }

    async fn blob(&self, blob: &Descriptor) -> Result<(), PushError> {
        let digest = blob.digest;
        let failed = |error| self.failed(&format!("blob {digest}"), error);
        if self.destination.has_blob(&digest).await.map_err(failed)? {
            self.progress.exists(&digest);
            return Ok(());
        }
        let read = |error| PushError::Read { digest, error };
        let mut file = File::open(self.store.layout().blob(&digest)).map_err(read)?;
        let mut upload = self.destination.begin().await.map_err(failed)?;
        let mut done = 0;
        loop {
            let part = tokio::task::spawn_blocking(move || {
                let mut buffer = Vec::new();
                let count = (&file).take(CHUNK_BYTES as u64).read_to_end(&mut buffer);
                count.map(|_| (file, buffer))
            });
            let (rest, chunk) = part.await.map_err(|_| PushError::Cancelled)?.map_err(read)?;
            file = rest;
            if chunk.is_empty() {
                break;
            }
            done += chunk.len() as u64;
            self.destination.append(&mut upload, chunk.into()).await.map_err(failed)?;
            self.progress.uploaded(&digest, done, blob.size);
        }
        self.destination.finish(upload, &digest).await.map_err(failed)?;
        self.progress.ready(&digest);
        Ok(())
    }
}
