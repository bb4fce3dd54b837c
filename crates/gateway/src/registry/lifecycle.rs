//! Lifecycle policies at work: previews, and the evaluation that removes and archives.

use super::archive::{self, MoveError};
use super::content::{self, DeleteError};
use super::events;
use crate::app::App;
use std::collections::HashMap;
use std::sync::Arc;
use wharf_model::{Repository, Snapshot, Timestamp};
use wharf_registry::lifecycle::{Action, Due, Image, Policy};

/// What a policy would remove and archive, as it was when the preview was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Preview {
    /// The policy's text.
    pub text: String,
    /// What would go.
    pub results: Vec<Affected>,
}

/// One image that would go.
#[derive(Debug, Clone)]
pub(crate) struct Affected {
    /// Its digest.
    pub digest: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// When it was pushed.
    pub pushed_at: Timestamp,
    /// The rule's priority.
    pub priority: i32,
    /// What would become of it.
    pub action: Action,
    /// It is archived already.
    pub is_archived: bool,
}

/// A repository's images as policies look at them.
fn images(snapshot: &Snapshot, repository: &str) -> Vec<Image> {
    let members = content::in_indexes(snapshot, repository, |_| true);
    let of_active = content::in_indexes(snapshot, repository, |index| !index.is_archived);
    let images = snapshot.registry_images(repository);
    images
        .map(|image| Image {
            digest: image.digest.clone(),
            tags: snapshot.tags_of_image(repository, &image.digest).cloned().collect(),
            pushed_ms: image.pushed_at.as_millis(),
            pulled_ms: image.pulled_at.map(Timestamp::as_millis),
            archived_ms: image.archived_at.filter(|_| image.is_archived).map(Timestamp::as_millis),
            activated_ms: image.activated_at.map(Timestamp::as_millis),
            in_index: members.contains(&image.digest),
            in_active_index: of_active.contains(&image.digest),
            subject: image.subject.clone(),
        })
        .collect()
}

/// What a policy finds due.
pub(crate) fn evaluate(
    snapshot: &Snapshot,
    repository: &str,
    policy: &Policy,
    now: Timestamp,
) -> Vec<Affected> {
    let images = images(snapshot, repository);
    let due = policy.evaluate(&images, now.as_millis());
    let by_digest: HashMap<&str, &Image> =
        images.iter().map(|image| (image.digest.as_str(), image)).collect();
    let details = |Due { digest, priority, action }: Due| {
        let image = by_digest.get(digest.as_str())?;
        let (pushed_at, is_archived) = (Timestamp(image.pushed_ms), image.archived_ms.is_some());
        Some(Affected {
            tags: image.tags.clone(),
            pushed_at,
            digest,
            priority,
            action,
            is_archived,
        })
    };
    due.into_iter().filter_map(details).collect()
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

/// Carries out what the repositories' policies find due at `now`; how many images were removed, and
/// how many archived.
pub(super) async fn apply(app: &App, now: Timestamp) -> (usize, usize) {
    let (mut gone, mut archived) = (0, 0);
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
        for affected in evaluate(&app.store().snapshot(), &repository.id, &policy, now) {
            let done = match affected.action {
                Action::Expire => expire(app, &repository, &affected.digest).await,
                Action::Archive => move_away(app, &repository, &affected.digest, now).await,
            };
            if done {
                *if affected.action == Action::Expire { &mut gone } else { &mut archived } += 1;
                tracing::info!(
                    repository = repository.name,
                    digest = affected.digest,
                    rule = affected.priority,
                    action = ?affected.action,
                    "lifecycle policy carried out"
                );
            }
        }
        app.registry().evaluated().insert(repository.id.clone(), now);
    }
    (gone, archived)
}

/// What is gone or referred to since is looked at again by the next evaluation.
async fn expire(app: &App, repository: &Repository, digest: &str) -> bool {
    let result = content::delete_image(app, &repository.id, digest).await;
    if let Err(DeleteError::Api(error)) = &result {
        tracing::warn!(%error, "an expired image couldn't be removed");
    }
    if result.is_ok() {
        events::image(app, repository, events::Action::Delete, digest, None);
    }
    result.is_ok()
}

async fn move_away(app: &App, repository: &Repository, digest: &str, now: Timestamp) -> bool {
    let result = archive::set(app, &repository.id, digest, true, now).await;
    if let Err(MoveError::Api(error)) = &result {
        tracing::warn!(%error, "an image couldn't be archived");
    }
    result.is_ok()
}
