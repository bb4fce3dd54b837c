//! Makes an image of one layer from a directory or from one binary.
//!
//! The layer is reproducible: members sorted by name, times fixed, owners root. Nothing that goes
//! into the image is run. A directory is taken as the root file system as it is; of a binary, what
//! its dynamic linker would load is taken along (see [`elf`]).

mod elf;
mod tree;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Deserialize;

pub use elf::Error as ElfError;

use crate::config::{ConfigFile, HealthCheck, ImageConfig, RootFs};
use crate::digest::HashingWriter;
use crate::manifest::{Descriptor, Manifest, OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST};
use crate::platform::Platform;
use crate::progress::NoProgress;
use crate::reference::{self, Reference};
use crate::store::{self, BlobWriter, Image, ImageStore, Source};

/// The file in a source directory that may carry options; it doesn't become part of the image.
pub const OPTIONS_FILE: &str = "wharf-image.json";
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why an image couldn't be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image's name isn't a reference.
    #[error(transparent)]
    Reference(#[from] reference::Error),
    /// A digest was given as the name.
    #[error("a built image can't be named by a digest: {0}")]
    DigestName(Reference),
    /// A source file couldn't be read, or holds something that can't be in an image.
    #[error("{action} {}: {error}", .path.display())]
    Source {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// The binary's libraries couldn't be found.
    #[error("{}: {error}", .path.display())]
    Elf {
        /// The binary.
        path: PathBuf,
        /// The cause.
        error: ElfError,
    },
    /// [`OPTIONS_FILE`] isn't valid.
    #[error("{}: {error}", .path.display())]
    Options {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: serde_json::Error,
    },
    /// An option has a value that no image can have.
    #[error("{option}: {reason}")]
    Option {
        /// The option.
        option: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The store refused the result.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// What the image is called and what its containers run. The members but `name` may also stand
/// in the directory's [`OPTIONS_FILE`], in the same spelling; what is given here wins.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BuildOptions {
    /// The image's name (`app`, `team/app:v1`).
    #[serde(skip)]
    pub name: String,
    /// The program and its fixed arguments; a binary's default is the binary.
    pub entrypoint: Vec<String>,
    /// The default arguments.
    pub cmd: Vec<String>,
    /// Environment as `NAME=value`; PATH is filled in.
    pub env: Vec<String>,
    /// The user (and group) to run as.
    pub user: String,
    /// The working directory, absolute.
    pub workdir: String,
    /// Ports, `80` or `80/tcp`.
    pub expose: Vec<String>,
    /// Volumes.
    pub volumes: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The signal that stops the container.
    pub stop_signal: Option<String>,
    /// A health check.
    pub healthcheck: Option<HealthCheck>,
    /// Further files of the host, to absolute paths in the image: `(source, path)`.
    #[serde(skip)]
    pub files: Vec<(PathBuf, PathBuf)>,
}

impl ImageStore {
    /// Builds an image from `source`, a directory (the root file system) or an ELF binary (which
    /// becomes `/<its name>`, with the shared libraries that it needs), and names it. Blocks.
    pub fn build(&self, source: &Path, options: &BuildOptions) -> Result<Image, Error> {
        let name = Reference::parse(&options.name)?;
        if name.digest().is_some() {
            return Err(Error::DigestName(name));
        }
        let meta = fs::metadata(source).map_err(source_error("open", source))?;
        let mut tree = tree::Tree::default();
        let mut options = options.clone();
        if meta.is_dir() {
            options = with_options_file(source, options)?;
            tree.add_directory(source)?;
        } else {
            let program = elf::collect(source, &mut tree)?;
            if options.entrypoint.is_empty() {
                options.entrypoint = vec![program];
            }
        }
        for (file, place) in &options.files {
            tree.add_file(file, place)?;
        }
        let config = image_config(&options)?;
        let guard = self.import()?;
        let manifest = self.write_image(&tree, config)?;
        let (source, progress) = (Source::Local, &NoProgress);
        Ok(self.commit_unpacked(&guard, &name, &manifest, None, source, progress)?)
    }

    fn write_image(
        &self,
        tree: &tree::Tree,
        config: ImageConfig,
    ) -> Result<crate::digest::Digest, Error> {
        let layout = self.layout();
        let blobs = layout.tmp();
        let blob = BlobWriter::create(layout).map_err(source_error("create blob in", &blobs))?;
        let encoder = GzEncoder::new(blob, Compression::fast());
        let mut tar = HashingWriter::new(io::BufWriter::with_capacity(256 * 1024, encoder));
        tree.write_tar(&mut tar)?;
        let (buffered, diff_id, _) = tar.finish();
        let written = buffered.into_inner().map_err(io::IntoInnerError::into_error);
        let (layer, layer_size) = written
            .and_then(GzEncoder::finish)
            .and_then(|mut blob| blob.flush().map(|()| blob))
            .and_then(BlobWriter::commit)
            .map_err(source_error("write layer to", &blobs))?;
        let host = Platform::host();
        let config = ConfigFile {
            created: Some("1970-01-01T00:00:00Z".to_owned()),
            architecture: host.architecture,
            variant: host.variant,
            os: host.os,
            config,
            rootfs: RootFs { kind: "layers".to_owned(), diff_ids: vec![diff_id] },
        };
        let config = encode(&config)?;
        let config_digest = store::put_blob(layout, &config)?;
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(OCI_MANIFEST.to_owned()),
            config: Descriptor::new(OCI_CONFIG, config_digest, config.len() as u64),
            layers: vec![Descriptor::new(OCI_LAYER_GZIP, layer, layer_size)],
        };
        Ok(store::put_blob(layout, &encode(&manifest)?)?)
    }
}

fn encode(document: &impl serde::Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(document)
        .map_err(|error| Error::Option { option: "image configuration", reason: error.to_string() })
}

fn source_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |error| Error::Source { action, path, error }
}

/// Fills in what the options leave out from the directory's own file.
fn with_options_file(dir: &Path, options: BuildOptions) -> Result<BuildOptions, Error> {
    let path = dir.join(OPTIONS_FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(options),
        Err(error) => return Err(source_error("read", &path)(error)),
    };
    let file: BuildOptions = serde_json::from_slice(&bytes)
        .map_err(|error| Error::Options { path: path.clone(), error })?;
    let list = |given: Vec<String>, default: Vec<String>| match given.is_empty() {
        true => default,
        false => given,
    };
    let text = |given: String, default: String| match given.is_empty() {
        true => default,
        false => given,
    };
    let mut labels = file.labels;
    labels.extend(options.labels);
    Ok(BuildOptions {
        name: options.name,
        entrypoint: list(options.entrypoint, file.entrypoint),
        cmd: list(options.cmd, file.cmd),
        // Later settings of a variable win.
        env: [file.env, options.env].concat(),
        user: text(options.user, file.user),
        workdir: text(options.workdir, file.workdir),
        expose: list(options.expose, file.expose),
        volumes: list(options.volumes, file.volumes),
        labels,
        stop_signal: options.stop_signal.or(file.stop_signal),
        healthcheck: options.healthcheck.or(file.healthcheck),
        files: options.files,
    })
}

/// Checks the options and turns them into the image's configuration.
fn image_config(options: &BuildOptions) -> Result<ImageConfig, Error> {
    let bad = |option, reason: String| Error::Option { option, reason };
    let mut env: Vec<String> = Vec::new();
    for setting in std::iter::once(DEFAULT_PATH).chain(options.env.iter().map(String::as_str)) {
        let Some((name, _)) = setting.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(bad("env", format!("\"{setting}\" is not NAME=value")));
        };
        env.retain(|known| known.split_once('=').is_none_or(|(known, _)| known != name));
        env.push(setting.to_owned());
    }
    if !options.workdir.is_empty() && !options.workdir.starts_with('/') {
        return Err(bad("workdir", format!("\"{}\" is not an absolute path", options.workdir)));
    }
    let mut exposed_ports = Vec::new();
    for port in &options.expose {
        let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        let fits = number.parse::<u16>().is_ok_and(|n| n != 0) && matches!(protocol, "tcp" | "udp");
        if !fits {
            return Err(bad("expose", format!("\"{port}\" is not a port such as 80 or 53/udp")));
        }
        exposed_ports.push(format!("{number}/{protocol}"));
    }
    Ok(ImageConfig {
        user: options.user.clone(),
        exposed_ports,
        env,
        entrypoint: options.entrypoint.clone(),
        cmd: options.cmd.clone(),
        volumes: options.volumes.clone(),
        working_dir: options.workdir.clone(),
        labels: options.labels.clone(),
        stop_signal: options.stop_signal.clone(),
        healthcheck: options.healthcheck.clone(),
    })
}
