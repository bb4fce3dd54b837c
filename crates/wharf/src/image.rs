//! `wharf image`: builds, loads, pulls, pushes, lists and removes images of this host's store; what it does
//! to this wharf's registry stands in `registry_images`.

use crate::cli::{self, Format};
use crate::client::{self, Client};
use crate::data_dir::DataDir;
use crate::output::{Listing, spinner};
use crate::registry_images;
use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use wharf_image::{
    BuildOptions, CleanupPolicy, Digest, Image, ImageStore, Progress, PullOptions, RegistryClient,
    RegistryOptions,
};

use wharf_registry::scrub;

/// Why an image command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store.
    #[error(transparent)]
    Store(#[from] wharf_image::store::Error),
    /// A build.
    #[error(transparent)]
    Build(#[from] wharf_image::build::Error),
    /// An archive.
    #[error(transparent)]
    Load(#[from] wharf_image::archive::Error),
    /// A pull.
    #[error(transparent)]
    Pull(#[from] wharf_image::PullError),
    /// A push.
    #[error(transparent)]
    Push(#[from] wharf_image::PushError),
    /// This wharf's own registry.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// The registry's blobs can't be looked at.
    #[error("can't read the registry's blobs below {0}")]
    Scrub(PathBuf, #[source] std::io::Error),
    /// Some of them are damaged.
    #[error(
        "{0} of the registry's blobs are damaged: move their files away, then push the images that \
         have them again"
    )]
    Damaged(usize),
    /// The registry's images.
    #[error(transparent)]
    Registry(#[from] registry_images::Error),
    /// Standard input can't be kept.
    #[error("can't keep standard input in a file")]
    Stdin(#[source] std::io::Error),
}

/// Carries one image command out.
///
/// # Errors
/// As the command meets them.
pub async fn run(data_dir: &DataDir, command: cli::Image) -> Result<(), Error> {
    let store = ImageStore::open(data_dir.images())?;
    match command {
        cli::Image::Build(args) => built(&build(&store, args)?),
        cli::Image::Load { file, name } => {
            for image in load(&store, &file, name.as_deref())? {
                built(&image);
            }
        }
        cli::Image::Ls { registry: None, output } => list(&store, output.format())?,
        cli::Image::Ls { registry: Some(repository), output } => {
            registry_images::list(data_dir, &repository, output.format()).await?;
        }
        cli::Image::Inspect { name, registry: false } => println!("{:#}", inspect(&store, &name)?),
        cli::Image::Inspect { name, registry: true } => {
            println!("{:#}", registry_images::inspect(data_dir, &name).await?);
        }
        cli::Image::Rm { names, registry: false } => {
            for name in names {
                store.remove(&name)?;
                println!("{name}");
            }
        }
        cli::Image::Rm { names, registry: true } => {
            registry_images::remove(data_dir, &names).await?;
        }
        cli::Image::Gc { registry: false, older_than, output } => {
            collect(&store, older_than, output.format())?;
        }
        cli::Image::Gc { registry: true, older_than, output } => {
            registry_images::collect(data_dir, older_than, output.format()).await?;
        }
        cli::Image::Scan { name, output } => {
            registry_images::scan(data_dir, &name, output.format()).await?;
        }
        cli::Image::Pull { reference, json } => {
            let client = RegistryClient::new(RegistryOptions::default());
            let progress = Arc::new(Bars::default());
            let options = own_options(data_dir, &reference).await?;
            let image = store.pull(&client, &reference, &options, progress).await?;
            match json {
                true => println!("{:#}", shown(&image)),
                false => built(&image),
            }
        }
        cli::Image::Scrub(output) => scrub(data_dir, output.format())?,
        cli::Image::Push { name, target, json } => {
            let target = target.unwrap_or_else(|| name.clone());
            let client = RegistryClient::new(RegistryOptions::default());
            let progress = Arc::new(Bars::default());
            let options = own_options(data_dir, &target).await?;
            let digest = store.push(&client, &name, &target, &options, progress).await?;
            match json {
                true => println!("{:#}", json!({ "name": target, "digest": digest })),
                false => println!("{target} {digest}"),
            }
        }
    }
    Ok(())
}

/// An image with what its containers run.
fn inspect(store: &ImageStore, name: &str) -> Result<serde_json::Value, Error> {
    let image = store.resolve(name)?;
    let image = image.ok_or_else(|| wharf_image::store::Error::NoSuchImage(name.to_owned()))?;
    Ok(shown(&image))
}

fn shown(image: &Image) -> serde_json::Value {
    json!({
        "name": image.name,
        "id": image.id,
        "manifest": image.manifest,
        "repo_digest": image.repo_digest.as_ref().map(ToString::to_string),
        "source": image.source,
        "size_bytes": image.size_bytes,
        "platform": image.platform,
        "config": image.config,
        "layers": image.layers,
    })
}

/// Removes what no container of this host uses.
fn collect(store: &ImageStore, older_than: Option<u32>, format: Format) -> Result<(), Error> {
    let default = CleanupPolicy::default();
    let minimum_age = older_than.map_or(default.minimum_age, |s| Duration::from_secs(s.into()));
    let policy = CleanupPolicy { minimum_age, images_per_cycle: usize::MAX, ..default };
    let bar = spinner("removing images");
    let report = store.gc(&BTreeSet::new(), &policy, SystemTime::now());
    bar.finish_and_clear();
    let report = report?;
    let json = json!({
        "names": report.names,
        "layers": report.layers,
        "blobs": report.blobs,
        "blobBytes": report.blob_bytes,
    });
    let rows = report.names.iter().map(|name| vec![name.clone()]).collect();
    Listing { columns: vec!["REMOVED"], rows, json }.print(format);
    eprintln!("{} blobs, {}", report.blobs, HumanBytes(report.blob_bytes));
    if report.content_deferred {
        eprintln!("wharf: an image is being pulled: content stays until the next time");
    }
    Ok(())
}

/// How an image of this wharf's own registry is reached; for all others docker's configuration says so.
async fn own_options(data_dir: &DataDir, reference: &str) -> Result<PullOptions, Error> {
    // Without a wharf that runs here there is no registry of its own either.
    let Ok(own) = Client::new(data_dir, "default") else { return Ok(PullOptions::default()) };
    Ok(own.pull_options(reference).await?.unwrap_or_default())
}

/// Reads the registry's blobs again, and tells which are damaged.
fn scrub(data_dir: &DataDir, format: Format) -> Result<(), Error> {
    let bar = spinner("reading blobs");
    let mut bytes = 0;
    let scrubbed = scrub::scrub(data_dir.path(), |read| {
        bytes += read;
        bar.set_message(format!("reading blobs: {}", HumanBytes(bytes)));
    });
    bar.finish_and_clear();
    let scrubbed = scrubbed.map_err(|source| Error::Scrub(data_dir.path().to_owned(), source))?;
    let damaged = &scrubbed.damaged;
    let rows = damaged.iter().map(|blob| vec![blob.path.display().to_string(), blob.why.clone()]);
    let json = json!({
        "blobs": scrubbed.blobs,
        "bytes": scrubbed.bytes,
        "damaged": damaged.iter().map(|blob| json!({ "path": blob.path, "why": blob.why })).collect::<Vec<_>>(),
    });
    Listing { columns: vec!["DAMAGED", "WHY"], rows: rows.collect(), json }.print(format);
    eprintln!("{} blobs, {}", scrubbed.blobs, HumanBytes(scrubbed.bytes));
    match damaged.len() {
        0 => Ok(()),
        count => Err(Error::Damaged(count)),
    }
}

fn built(image: &Image) {
    println!("{} {}", image.name, image.id);
}

fn build(store: &ImageStore, args: cli::ImageBuild) -> Result<Image, Error> {
    let stem = args.source.file_name().map(|n| n.to_string_lossy().to_lowercase());
    let options = BuildOptions {
        name: args.name.or(stem).unwrap_or_default(),
        entrypoint: args.entrypoint,
        cmd: args.cmd,
        env: args.environment,
        user: args.user.unwrap_or_default(),
        workdir: args.workdir.unwrap_or_default(),
        ..BuildOptions::default()
    };
    Ok(store.build(&args.source, &options)?)
}

fn load(store: &ImageStore, file: &Path, name: Option<&str>) -> Result<Vec<Image>, Error> {
    let bars = Bars::default();
    if file != Path::new("-") {
        return Ok(store.load(file, name, &bars)?);
    }
    // Archives are read twice, so standard input is kept in a file that nobody else can see.
    let mut kept = tempfile::NamedTempFile::new().map_err(Error::Stdin)?;
    std::io::copy(&mut std::io::stdin().lock(), &mut kept).map_err(Error::Stdin)?;
    Ok(store.load(kept.path(), name, &bars)?)
}

fn list(store: &ImageStore, format: Format) -> Result<(), Error> {
    let images = store.list()?;
    let rows = images.iter().map(|image| {
        let id = image.id.to_string();
        let id = id.strip_prefix("sha256:").unwrap_or(&id);
        let size = HumanBytes(image.size_bytes).to_string();
        vec![image.name.clone(), id[..12.min(id.len())].to_owned(), size]
    });
    Listing { columns: vec!["NAME", "ID", "SIZE"], rows: rows.collect(), json: json!(images) }
        .print(format);
    Ok(())
}

/// One bar a layer on a terminal; nothing elsewhere.
#[derive(Default)]
struct Bars {
    all: MultiProgress,
    bars: Mutex<BTreeMap<Digest, ProgressBar>>,
}

impl Bars {
    fn with(&self, layer: &Digest, change: impl FnOnce(&ProgressBar)) {
        if let Some(bar) = self.bars.lock().unwrap_or_else(PoisonError::into_inner).get(layer) {
            change(bar);
        }
    }
}

impl Progress for Bars {
    fn layers(&self, layers: &[(Digest, u64)]) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        let style =
            ProgressStyle::with_template("{prefix} {msg:11} {wide_bar} {bytes}/{total_bytes}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        for (layer, size) in layers {
            let bar = ProgressBar::new(*size).with_style(style.clone());
            let prefix = layer.to_string().chars().skip(7).take(12).collect::<String>();
            bars.insert(*layer, self.all.add(bar.with_prefix(prefix)));
        }
    }

    fn exists(&self, layer: &Digest) {
        self.with(layer, |bar| bar.finish_with_message("exists"));
    }

    fn downloaded(&self, layer: &Digest, done: u64, _total: u64) {
        self.with(layer, |bar| {
            bar.set_message("downloading");
            bar.set_position(done);
        });
    }

    fn uploaded(&self, layer: &Digest, done: u64, _total: u64) {
        self.with(layer, |bar| {
            bar.set_message("uploading");
            bar.set_position(done);
        });
    }

    fn unpacked(&self, layer: &Digest, done: u64, _total: u64) {
        self.with(layer, |bar| {
            bar.set_message("unpacking");
            bar.set_position(done);
        });
    }

    fn ready(&self, layer: &Digest) {
        self.with(layer, |bar| bar.finish_with_message("ready"));
    }

    fn retry(&self, attempt: u32, reason: &str) {
        eprintln!("wharf: attempt {attempt} failed, trying again: {reason}");
    }
}
