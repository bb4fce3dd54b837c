//! What happens to images, kept in the history in the shape of ECR's event "ECR Image Action": the event
//! bus that is to come passes it on as it is.

use crate::app::App;
use crate::context::HistoryEntry;
use serde_json::json;
use serde_json::value::to_raw_value;
use std::sync::Arc;
use wharf_model::Repository;

/// The kind of these entries.
const IMAGE_ACTION: &str = "ecr-image-action";

/// What was done with an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// It came, or another tag for it.
    Push,
    /// It went, or one of its tags.
    Delete,
}

impl Action {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Push => "PUSH",
            Self::Delete => "DELETE",
        }
    }
}

/// Remembers an action, once it holds.
pub(crate) fn image(
    app: &App,
    repository: &Repository,
    action: Action,
    digest: &str,
    tag: Option<&str>,
) {
    let mut detail = json!({
        "result": "SUCCESS",
        "repository-name": repository.name,
        "image-digest": digest,
        "action-type": action.as_str(),
    });
    if let Some(tag) = tag {
        detail["image-tag"] = tag.into();
    }
    // Text in text: writing it doesn't fail.
    let Ok(body) = to_raw_value(&detail) else { return };
    let subject = app.arns().repository(&repository.name);
    app.remember(
        app.now(),
        vec![HistoryEntry { subject, kind: IMAGE_ACTION, body: Arc::from(body) }],
    );
}
