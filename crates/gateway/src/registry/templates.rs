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

/// The template for a repository that something is pushed to: the one with the longest prefix.
pub(crate) fn on_push<'a>(snapshot: &'a Snapshot, name: &str) -> Option<&'a RepositoryTemplate> {
    let settings = snapshot.registry_settings(&RegistrySettings::KEY.to_owned())?;
    let fits = |template: &&RepositoryTemplate| {
        let prefix = template.prefix.trim_end_matches('/');
        let below = name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
        (below || template.prefix == ROOT)
            && template.applied_for.iter().any(|what| what == CREATE_ON_PUSH)
    };
    let length = |template: &&RepositoryTemplate| match template.prefix.as_str() {
        ROOT => 0,
        prefix => prefix.trim_end_matches('/').len(),
    };
    settings.templates.values().filter(fits).max_by_key(length)
}

/// Makes the repository `name` as a template says, unless somebody has just made it.
///
/// # Errors
/// If the journal takes nothing.
pub(crate) async fn create(
    app: &App,
    name: &str,
    template: &RepositoryTemplate,
    (now, seed): (Timestamp, u64),
) -> Result<Arc<Repository>, ApiError> {
    let repository = Arc::new(Repository {
        name: name.to_owned(),
        id: IdSource::new(seed).hex32(),
        created_at: now,
        tag_mutability: template.tag_mutability.clone(),
        exclusion_filters: template.exclusion_filters.clone(),
        scan_on_push: false,
        tags: template.tags.clone(),
        policy: template.policy.clone(),
        lifecycle_policy: template.lifecycle_policy.clone(),
    });
    let made = commit(app, "create repository on push", |snapshot| {
        if let Some(there) = snapshot.repository(&repository.name) {
            return Ok::<_, ApiError>((Transaction::new(), Arc::clone(there)));
        }
        let mut transaction = Transaction::new();
        transaction.read(RecordKey::Repository(repository.name.clone()), Revision::ABSENT);
        transaction.put(Repository::clone(&repository));
        Ok((transaction, Arc::clone(&repository)))
    })
    .await?;
    tracing::info!(repository = name, template = template.prefix, "repository created on push");
    Ok(made)
}
