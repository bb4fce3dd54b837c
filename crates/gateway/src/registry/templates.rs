//! Repositories that come into being when something is pushed to them, as templates say.

use super::content::commit;
use crate::app::App;
use crate::error::ApiError;
use std::sync::Arc;
use wharf_model::{
    IdSource, RecordKey, RegistrySettings, Repository, RepositoryTemplate, Revision, Snapshot,
    Timestamp, Transaction,
};

/// The prefix of the template for names that no other is for.
pub(crate) const ROOT: &str = "ROOT";
/// What a template must be for to be used here.
pub(crate) const CREATE_ON_PUSH: &str = "CREATE_ON_PUSH";

/// And for a repository of a pull-through cache, or one that is replicated to.
pub(crate) const PULL_THROUGH_CACHE: &str = "PULL_THROUGH_CACHE";
pub(crate) const REPLICATION: &str = "REPLICATION";

/// The template for a repository that comes into being in this way: the one with the longest prefix.
pub(crate) fn template_for<'a>(
    snapshot: &'a Snapshot,
    name: &str,
    way: &str,
) -> Option<&'a RepositoryTemplate> {
    let settings = snapshot.registry_settings(&RegistrySettings::KEY.to_owned())?;
    let fits = |template: &&RepositoryTemplate| {
        let prefix = template.prefix.trim_end_matches('/');
        let below = name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
        (below || template.prefix == ROOT) && template.applied_for.iter().any(|what| what == way)
    };
    let length = |template: &&RepositoryTemplate| match template.prefix.as_str() {
        ROOT => 0,
        prefix => prefix.trim_end_matches('/').len(),
    };
    settings.templates.values().filter(fits).max_by_key(length)
}

/// Makes the repository `name` as a template says, or with ECR's defaults, unless somebody has just
/// made it.
///
/// # Errors
/// If the journal takes nothing.
pub(crate) async fn create(
    app: &App,
    name: &str,
    template: Option<&RepositoryTemplate>,
    (now, seed): (Timestamp, u64),
) -> Result<Arc<Repository>, ApiError> {
    let repository = Arc::new(Repository {
        name: name.to_owned(),
        id: IdSource::new(seed).hex32(),
        created_at: now,
        tag_mutability: template.map_or("MUTABLE", |t| t.tag_mutability.as_str()).to_owned(),
        exclusion_filters: template.map(|t| t.exclusion_filters.clone()).unwrap_or_default(),
        scan_on_push: false,
        tags: template.map(|t| t.tags.clone()).unwrap_or_default(),
        policy: template.and_then(|t| t.policy.clone()),
        lifecycle_policy: template.and_then(|t| t.lifecycle_policy.clone()),
    });
    let made = commit(app, "create repository by itself", |snapshot| {
        if let Some(there) = snapshot.repository(&repository.name) {
            return Ok::<_, ApiError>((Transaction::new(), Arc::clone(there)));
        }
        let mut transaction = Transaction::new();
        transaction.read(RecordKey::Repository(repository.name.clone()), Revision::ABSENT);
        transaction.put(Repository::clone(&repository));
        Ok((transaction, Arc::clone(&repository)))
    })
    .await?;
    let template = template.map(|template| template.prefix.as_str());
    tracing::info!(repository = name, template, "repository created by itself");
    Ok(made)
}
