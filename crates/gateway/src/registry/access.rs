//! Who may do what with which repository: the same rule for `/v2/` and for the ECR API, by ECR's
//! names of actions. The caller's own policies or the repository's allow it, and neither denies it.

use crate::authorize;
use crate::identity::{Kind, Verified};
use wharf_model::policy::{Decision, Kind as PolicyKind, Policy};
use wharf_model::{ArnScope, RegistryKey, RegistrySettings, Repository, Snapshot};

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

/// Bringing an image from the upstream of a pull-through cache.
pub(crate) const IMPORT: &str = "BatchImportUpstreamImage";
/// Making a repository.
pub(crate) const CREATE: &str = "CreateRepository";

/// What a container instance's agent may do: pull, and have what it pulls brought from an upstream.
const AGENTS: &[&str] = &[LOGIN, PULL_IMAGE, PULL_LAYER, CHECK_LAYER, IMPORT];
/// What no policy takes away from the account's root, so that nobody locks everybody out.
const ROOTS: &[&str] = &[
    "GetRepositoryPolicy",
    "SetRepositoryPolicy",
    "DeleteRepositoryPolicy",
    "GetRegistryPolicy",
    "PutRegistryPolicy",
    "DeleteRegistryPolicy",
];

/// Why somebody may not, in AWS's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Denied(String);

/// Who asks, and what is known of the account.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'a> {
    /// Who.
    pub identity: &'a Verified,
    /// The account and its region.
    pub arns: &'a ArnScope,
    /// The state that policies are read from.
    pub snapshot: &'a Snapshot,
}

/// What something is to be done with.
#[derive(Clone, Copy)]
pub(crate) enum Resource<'a> {
    /// The registry as a whole.
    Registry,
    /// A name that no repository has, yet.
    Name(&'a str),
    /// A repository.
    Repository(&'a Repository),
}

impl<'a> Resource<'a> {
    /// The repository that was found under a name, or the name.
    pub(crate) fn found(repository: Option<&'a Repository>, name: &'a str) -> Self {
        repository.map_or(Self::Name(name), Self::Repository)
    }
}

/// Demands that the caller may do `action` with the resource.
///
/// # Errors
/// If not.
pub(crate) fn demand(asker: Asker<'_>, resource: Resource<'_>, action: &str) -> Result<(), Denied> {
    let Asker { identity, arns, snapshot } = asker;
    let (full, kind) = (format!("ecr:{action}"), identity.kind());
    let arn = match resource {
        Resource::Registry => "*".to_owned(),
        Resource::Name(name) => arns.repository(name),
        Resource::Repository(repository) => arns.repository(&repository.name),
    };
    let own = match kind {
        Kind::Root => Decision::Allowed,
        Kind::ContainerInstance if AGENTS.contains(&action) => Decision::Allowed,
        Kind::ContainerInstance | Kind::Balancer => Decision::NotAllowed,
        Kind::User | Kind::RoleSession => authorize::allows(snapshot, arns, identity, &full, &arn),
    };
    let of_repository = match resource {
        Resource::Repository(repository) => decide(asker, repository, &full, &arn),
        Resource::Registry | Resource::Name(_) => Decision::NotAllowed,
    };
    let of_registry = of_registry(asker, &full, &arn, None);
    let of_resource = match (of_repository, of_registry) {
        (Decision::Denied, _) | (_, Decision::Denied) => Decision::Denied,
        (Decision::Allowed, _) | (_, Decision::Allowed) => Decision::Allowed,
        _ => Decision::NotAllowed,
    };
    let why = match (own, of_resource) {
        (Decision::Denied, _) => "with an explicit deny in an identity-based policy".to_owned(),
        (_, Decision::Denied) if kind == Kind::Root && ROOTS.contains(&action) => return Ok(()),
        (_, Decision::Denied) => "with an explicit deny in a resource-based policy".to_owned(),
        (Decision::Allowed, _) | (_, Decision::Allowed) => return Ok(()),
        (Decision::NotAllowed, Decision::NotAllowed) => {
            format!("because no identity-based policy allows the {full} action")
        }
    };
    Err(Denied(format!(
        "User: {} is not authorized to perform: {full} on resource: {arn} {why}",
        identity.principal_arn()
    )))
}

/// What the registry's policy says, which is about every action (API `REGISTRY_POLICY_SCOPE` V2): of the
/// caller, or of another account, in whose name the caller acts.
fn of_registry(asker: Asker<'_>, action: &str, arn: &str, account: Option<&str>) -> Decision {
    let Asker { identity, arns, snapshot } = asker;
    let settings = snapshot.registry_settings(&RegistrySettings::KEY.to_owned());
    let Some(text) = settings.and_then(|settings| settings.policy.as_ref()) else {
        return Decision::NotAllowed;
    };
    match Policy::parse(text, PolicyKind::Registry) {
        Ok(policy) => {
            authorize::of_registry(snapshot, arns, identity, &policy, (action, arn), account)
        }
        // It was checked when it was put: whatever can't be read now allows nothing.
        Err(error) => {
            tracing::error!(%error, "unreadable registry policy");
            Decision::Denied
        }
    }
}

/// Demands that the caller may replicate images of the registry `from` into the repository `name`. Its
/// own policies must allow it; and for a registry of another account the registry's policy must, as in
/// ECR.
///
/// # Errors
/// If not.
pub(crate) fn demand_replication(
    asker: Asker<'_>,
    from: &RegistryKey,
    name: &str,
    action: &str,
) -> Result<(), Denied> {
    let Asker { identity, arns, snapshot } = asker;
    let (full, arn) = (format!("ecr:{action}"), arns.repository(name));
    let own = authorize::allows(snapshot, arns, identity, "ecr:ReplicateImage", &arn);
    let foreign = Some(from.account.as_str()).filter(|account| *account != arns.account);
    let of_registry = of_registry(asker, &full, &arn, foreign);
    let (who, why) = match (own, of_registry) {
        (Decision::Denied | Decision::NotAllowed, _) => {
            let user = identity.principal_arn();
            (user, "because no identity-based policy allows the ecr:ReplicateImage action")
        }
        (_, Decision::Denied) => {
            (from.account.clone(), "with an explicit deny in a resource-based policy")
        }
        (_, Decision::NotAllowed) if foreign.is_some() => {
            (from.account.clone(), "because the registry's policy doesn't allow the account to")
        }
        (Decision::Allowed, _) => return Ok(()),
    };
    Err(Denied(format!("{who} is not authorized to perform: {full} on resource: {arn} {why}")))
}

fn decide(asker: Asker<'_>, repository: &Repository, action: &str, arn: &str) -> Decision {
    let Some(text) = &repository.policy else { return Decision::NotAllowed };
    match Policy::parse(text, PolicyKind::Resource) {
        Ok(policy) => {
            let Asker { identity, arns, snapshot } = asker;
            authorize::of_resource(snapshot, arns, identity, &policy, action, arn)
        }
        // It was checked when it was set: whatever can't be read now allows nothing.
        Err(error) => {
            tracing::error!(repository = repository.name, %error, "unreadable repository policy");
            Decision::Denied
        }
    }
}
