//! Who may do what with which repository: the same rule for `/v2/` and for the ECR API, by ECR's
//! names of actions.

use crate::identity::{Kind, Verified};
use wharf_model::{ArnScope, Repository};
use wharf_registry::policy::{Decision, Policy};

/// Asking for a token.
pub(crate) const LOGIN: &str = "GetAuthorizationToken";
/// Reading a manifest.
pub(crate) const PULL_IMAGE: &str = "BatchGetImage";
/// Reading a blob.
pub(crate) const PULL_LAYER: &str = "GetDownloadUrlForLayer";
/// Asking whether a blob is there.
pub(crate) const CHECK_LAYER: &str = "BatchCheckLayerAvailability";
/// Beginning an upload.
pub(crate) const BEGIN_UPLOAD: &str = "InitiateLayerUpload";
/// Going on with an upload.
pub(crate) const UPLOAD: &str = "UploadLayerPart";
/// Ending an upload.
pub(crate) const END_UPLOAD: &str = "CompleteLayerUpload";
/// Writing a manifest.
pub(crate) const PUT_IMAGE: &str = "PutImage";
/// Listing tags.
pub(crate) const LIST: &str = "ListImages";
/// Removing.
pub(crate) const DELETE: &str = "BatchDeleteImage";

/// What a container instance's agent may do: pull.
const AGENTS: &[&str] = &[LOGIN, PULL_IMAGE, PULL_LAYER, CHECK_LAYER];
/// What no policy takes away from the account's root, so that nobody locks everybody out.
const ROOTS: &[&str] = &["GetRepositoryPolicy", "SetRepositoryPolicy", "DeleteRepositoryPolicy"];

/// Why somebody may not, in AWS's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Denied(String);

/// Demands that `identity` may do `action` with `repository`, or with the registry as a whole or a
/// repository that isn't there.
///
/// # Errors
/// If not.
pub(crate) fn demand(
    identity: &Verified,
    arns: &ArnScope,
    repository: Option<&Repository>,
    action: &str,
) -> Result<(), Denied> {
    let kind = identity.kind();
    let by_identity = match kind {
        Kind::Root | Kind::User => true,
        Kind::ContainerInstance => AGENTS.contains(&action),
        // What a role may do stands in the repositories' policies alone.
        Kind::RoleSession => action == LOGIN,
    };
    let decision = repository
        .map_or(Decision::Silent, |repository| decide(repository, identity, arns, action));
    let allowed = match decision {
        Decision::Deny => kind == Kind::Root && ROOTS.contains(&action),
        Decision::Allow => by_identity || kind == Kind::RoleSession,
        Decision::Silent => by_identity,
    };
    if allowed {
        return Ok(());
    }
    let resource =
        repository.map_or("*".to_owned(), |repository| arns.repository(&repository.name));
    let why = match decision {
        Decision::Deny => "with an explicit deny in a resource-based policy".to_owned(),
        _ => format!("because no identity-based policy allows the ecr:{action} action"),
    };
    Err(Denied(format!(
        "User: {} is not authorized to perform: ecr:{action} on resource: {resource} {why}",
        identity.principal_arn()
    )))
}

fn decide(repository: &Repository, identity: &Verified, arns: &ArnScope, action: &str) -> Decision {
    let Some(text) = &repository.policy else { return Decision::Silent };
    match Policy::parse(text) {
        Ok(policy) => {
            let action = format!("ecr:{action}");
            policy.decide(&identity.principal_arn(), &arns.account, &action)
        }
        // It was checked when it was set: whatever can't be read now allows nothing.
        Err(error) => {
            tracing::error!(repository = repository.name, error, "unreadable repository policy");
            Decision::Deny
        }
    }
}
