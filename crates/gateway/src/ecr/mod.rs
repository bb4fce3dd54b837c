//! Amazon ECR: repositories and their images, over wharf's own registry.
//!
//! Settings and what repositories contain are records of the journal; an operation that changes them
//! commits and answers. Bytes of layers and manifests go to the registry's store before any record
//! refers to them. What a client pushes and pulls by docker's protocol goes by [`crate::http`]'s
//! `/v2/` instead, and shows here at once: both are the same records.

mod archive;
mod images;
mod layers;
mod lifecycle;
pub(crate) mod names;
mod policies;
mod pull_through;
mod put_image;
mod referrers;
mod registry;
mod replication;
mod repositories;
mod scanning;
mod select;
pub(crate) mod settings;
mod tags;
mod templates;

use crate::app::App;
use crate::dispatch::{Call, Encoded};
use crate::error::ApiError;
use crate::identity::Verified;
use crate::registry::access::{self, Asker, Denied, Resource};
use crate::registry::content;
use std::sync::Arc;
use wharf_model::{RecordKey, RegistrySettings, Repository, Snapshot, Timestamp, Transaction};
use wharf_wire::ecr::{ErrorCode, Operation, operation};

/// What an operation works on.
pub(crate) struct Ecr<'a> {
    /// The server.
    pub app: &'a Arc<App>,
    /// Who asks.
    pub identity: &'a Verified,
    /// The time of the request.
    pub now: Timestamp,
    /// Its randomness.
    pub seed: u64,
    /// The operation's name, which is also the action that the caller must be allowed.
    pub action: &'static str,
}

macro_rules! dispatch_table {
    ($( $name:ident => $function:path; )*) => {
        /// Runs the operation.
        pub(crate) async fn dispatch(operation: Operation, call: Call<'_>) -> Encoded {
            match operation {
                $( Operation::$name => {
                    let (app, identity, now, seed) = (call.app, call.identity, call.now, call.seed);
                    let (input, encode) = call.typed::<operation::$name>()?;
                    let ecr = Ecr { app, identity, now, seed, action: operation.as_str() };
                    let output = $function(&ecr, input).await?;
                    Ok(crate::dispatch::encoded(&encode, output))
                } )*
            }
        }
    };
}

dispatch_table! {
    CreateRepository => repositories::create;
    DescribeRepositories => repositories::describe;
    DeleteRepository => repositories::delete;
    PutImageTagMutability => repositories::put_mutability;
    PutImageScanningConfiguration => repositories::put_scanning;
    GetAuthorizationToken => registry::get_token;
    DescribeRegistry => registry::describe;
    GetRegistryPolicy => registry::get_policy;
    PutRegistryPolicy => registry::put_policy;
    DeleteRegistryPolicy => registry::delete_policy;
    PutReplicationConfiguration => replication::put;
    DescribeImageReplicationStatus => replication::describe_image;
    CreatePullThroughCacheRule => pull_through::create;
    DescribePullThroughCacheRules => pull_through::describe;
    UpdatePullThroughCacheRule => pull_through::update;
    DeletePullThroughCacheRule => pull_through::delete;
    ValidatePullThroughCacheRule => pull_through::validate;
    ListImages => images::list;
    DescribeImages => images::describe;
    BatchGetImage => images::batch_get;
    BatchDeleteImage => images::batch_delete;
    PutImage => put_image::put_image;
    ListImageReferrers => referrers::list;
    BatchCheckLayerAvailability => layers::check;
    InitiateLayerUpload => layers::initiate;
    UploadLayerPart => layers::upload_part;
    CompleteLayerUpload => layers::complete;
    GetDownloadUrlForLayer => layers::download_url;
    SetRepositoryPolicy => policies::set;
    GetRepositoryPolicy => policies::get;
    DeleteRepositoryPolicy => policies::delete;
    PutLifecyclePolicy => lifecycle::put;
    GetLifecyclePolicy => lifecycle::get;
    DeleteLifecyclePolicy => lifecycle::delete;
    StartLifecyclePolicyPreview => lifecycle::start_preview;
    GetLifecyclePolicyPreview => lifecycle::get_preview;
    UpdateImageStorageClass => archive::update;
    StartImageScan => scanning::start;
    DescribeImageScanFindings => scanning::describe;
    PutRegistryScanningConfiguration => scanning::put_registry;
    GetRegistryScanningConfiguration => scanning::get_registry;
    BatchGetRepositoryScanningConfiguration => scanning::batch_get;
    GetAccountSetting => settings::get;
    PutAccountSetting => settings::put;
    CreateRepositoryCreationTemplate => templates::create;
    DescribeRepositoryCreationTemplates => templates::describe;
    UpdateRepositoryCreationTemplate => templates::update;
    DeleteRepositoryCreationTemplate => templates::delete;
    TagResource => tags::tag;
    UntagResource => tags::untag;
    ListTagsForResource => tags::list;
}

impl Ecr<'_> {
    /// Demands that the caller may do this with the registry as a whole, or with what isn't a
    /// repository yet.
    fn demand(&self, resource: Resource<'_>) -> Result<(), ApiError> {
        Ok(access::demand(self.asker(&self.app.store().snapshot()), resource, self.action)?)
    }

    fn asker<'s>(&'s self, snapshot: &'s Snapshot) -> Asker<'s> {
        Asker { identity: self.identity, arns: self.app.arns(), snapshot }
    }

    /// Demands that a registry's id, where one is given, is this one's.
    fn registry(&self, id: Option<&String>) -> Result<(), ApiError> {
        match id.filter(|id| **id != self.app.arns().account) {
            None => Ok(()),
            Some(other) => Err(ecr(
                ErrorCode::InvalidParameterException,
                format!(
                    "Invalid parameter at 'registryId' failed to satisfy constraint: 'the registry \
                     with id '{other}' is not available at this endpoint'"
                ),
            )),
        }
    }

    /// The repository with this name, if the caller may do this with it.
    fn repository(
        &self,
        registry: Option<&String>,
        name: Option<&String>,
    ) -> Result<Arc<Repository>, ApiError> {
        self.registry(registry)?;
        let name = name.cloned().unwrap_or_default();
        let snapshot = self.app.store().snapshot();
        let found = snapshot.repository(&name);
        let resource = Resource::found(found.map(AsRef::as_ref), &name);
        access::demand(self.asker(&snapshot), resource, self.action)?;
        let unknown = || names::unknown_repository(self.app.arns(), &name);
        found.cloned().ok_or_else(|| ecr(ErrorCode::RepositoryNotFoundException, unknown()))
    }

    /// Changes a repository's record; what it was before and is now.
    async fn change(
        &self,
        repository: &Repository,
        change: impl Fn(&mut Repository) -> Result<(), ApiError>,
    ) -> Result<(Arc<Repository>, Repository), ApiError> {
        content::commit(self.app, self.action, |snapshot| {
            let found = snapshot.repository(&repository.name).filter(|r| r.id == repository.id);
            let unknown = || names::unknown_repository(self.app.arns(), &repository.name);
            let found =
                found.ok_or_else(|| ecr(ErrorCode::RepositoryNotFoundException, unknown()))?;
            let mut changed = Repository::clone(found);
            change(&mut changed)?;
            let mut transaction = Transaction::new();
            let key = RecordKey::Repository(repository.name.clone());
            transaction.read(key.clone(), snapshot.revision_of(&key));
            transaction.put(changed.clone());
            Ok((transaction, (Arc::clone(found), changed)))
        })
        .await
    }

    /// Changes the registry's settings; what they are now.
    async fn change_settings<T>(
        &self,
        change: impl Fn(&mut RegistrySettings) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        content::commit(self.app, self.action, |snapshot| {
            let mut settings = settings::of(snapshot);
            let told = change(&mut settings)?;
            let mut transaction = Transaction::new();
            let key = RecordKey::RegistrySettings(RegistrySettings::KEY.to_owned());
            transaction.read(key.clone(), snapshot.revision_of(&key));
            transaction.put(settings);
            Ok((transaction, told))
        })
        .await
    }

    /// This registry's id.
    fn id(&self) -> String {
        self.app.arns().account.clone()
    }
}

/// An error of ECR's model.
fn ecr(code: ErrorCode, message: impl Into<String>) -> ApiError {
    ApiError::new(code.as_str(), code.http_status(), message)
}

/// A value that ECR refuses.
fn invalid(parameter: &str, why: impl std::fmt::Display) -> ApiError {
    let text = format!("Invalid parameter at '{parameter}' failed to satisfy constraint: '{why}'");
    ecr(ErrorCode::InvalidParameterException, text)
}

/// The registry's store has failed; its log says why.
fn store_failed(error: &wharf_registry::Error) -> ApiError {
    tracing::error!(%error, "the registry's store failed");
    match error.is_full() {
        true => ecr(
            ErrorCode::ServerException,
            "The registry's disk is full: nothing was kept. Free some space, then try again.",
        ),
        false => ApiError::server(),
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        Self::new("AccessDeniedException", 400, denied.to_string())
    }
}

/// A time as the wire has it.
fn wire_time(at: Timestamp) -> wharf_wire::Timestamp {
    wharf_wire::Timestamp::from_millis(at.as_millis())
}
