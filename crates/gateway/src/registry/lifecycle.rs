//! Lifecycle policies at work: previews, and the evaluation that removes.

use super::content::{self, DeleteError};
use super::events::{self, Action};
use crate::app::App;
use std::sync::Arc;
use wharf_model::{Repository, Snapshot, Timestamp};
use wharf_registry::lifecycle::{Expired, Image, Policy};

/// What a policy would remove, as it was when the preview was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Preview {
    /// The policy's text.
    pub text: String,
    /// What would go.
    pub results: Vec<Expiring>,
}

/// One image that would go.
#[derive(Debug, Clone)]
pub(crate) struct Expiring {
    /// Its digest.
    pub digest: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// When it was pushed.
    pub pushed_at: Timestamp,
    /// The rule's priority.
    pub priority: i32,
}

/// A repository's images as policies look at them.
fn images(snapshot: &Snapshot, repository: &str) -> Vec<Image> {
    let mut tags = content::tags_by_image(snapshot, repository);
    let members = content::in_indexes(snapshot, repository);
    let images = snapshot.registry_images(repository);
    images
        .map(|image| Image {
            digest: image.digest.clone(),
            tags: tags.remove(&image.digest).unwrap_or_default(),
            pushed_ms: image.pushed_at.as_millis(),
            in_index: members.contains(&image.digest),
            subject: image.subject.clone(),
        })
        .collect()
}

/// What a policy finds expired.
pub(crate) fn evaluate(
    snapshot: &Snapshot,
    repository: &str,
    policy: &Policy,
    now: Timestamp,
) -> Vec<Expiring> {
    let images = images(snapshot, repository);
    let expired = policy.evaluate(&images, now.as_millis());
    let details = |Expired { digest, priority }: Expired| {
        let image = images.iter().find(|image| image.digest == digest)?;
        let pushed_at = Timestamp(image.pushed_ms);
        Some(Expiring { tags: image.tags.clone(), pushed_at, digest, priority })
    };
    expired.into_iter().filter_map(details).collect()
}

/// Remembers a preview. Previews live in memory only: ECR forgets them after a day, too.
pub(crate) fn remember(app: &App, repository: &str, preview: Preview) {
    app.registry().previews().insert(repository.to_owned(), preview);
}

/// The last preview of a repository.
pub(crate) fn preview(app: &App, repository: &str) -> Option<Preview> {
    app.registry().previews().get(repository).cloned()
}

/// When a repository's policy was last evaluated.
pub(crate) fn evaluated_at(app: &App, repository: &str) -> Option<Timestamp> {
    app.registry().evaluated().get(repository).copied()
}

/// Removes what the repositories' policies find expired at `now`; how many images went.
pub(super) async fn apply(app: &App, now: Timestamp) -> usize {
    let mut gone = 0;
    let snapshot = app.store().snapshot();
    let with_policy = snapshot.repositories().filter(|r| r.lifecycle_policy.is_some());
    let repositories: Vec<Arc<Repository>> = with_policy.cloned().collect();
    app.registry().evaluated().retain(|id, _| repositories.iter().any(|r| r.id == *id));
    for repository in repositories {
        let text = repository.lifecycle_policy.as_deref().unwrap_or_default();
        let policy = match Policy::parse(text) {
            Ok(policy) => policy,
            Err(error) => {
                tracing::error!(repository = repository.name, error, "unreadable lifecycle policy");
                continue;
            }
        };
        for expiring in evaluate(&app.store().snapshot(), &repository.id, &policy, now) {
            match content::delete_image(app, &repository.id, &expiring.digest).await {
                Ok(()) => {
                    gone += 1;
                    events::image(app, &repository, Action::Delete, &expiring.digest, None);
                    tracing::info!(
                        repository = repository.name,
                        digest = expiring.digest,
                        rule = expiring.priority,
                        "image expired"
                    );
                }
                // Gone or referred to since: the next evaluation looks again.
                Err(DeleteError::Unknown | DeleteError::Referenced(_)) => {}
                Err(DeleteError::Api(error)) => {
                    tracing::warn!(%error, "an expired image couldn't be removed");
                }
            }
        }
        app.registry().evaluated().insert(repository.id.clone(), now);
    }
    gone
}
