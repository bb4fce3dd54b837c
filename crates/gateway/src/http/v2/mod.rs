//! `/v2/`: the OCI distribution API (1.1), as docker, podman, skopeo and oras speak it.
//!
//! Who asks shows by HTTP's Basic authentication (user `AWS`, and as a password the token that
//! GetAuthorizationToken gave) or by a signature of version 4. Nobody is anonymous. After a login bodies
//! of blobs are streamed both ways; they are never whole in memory. Every refusal has one of the
//! specification's codes.

mod blobs;
mod errors;
mod file_body;
mod identify;
mod manifests;
mod referrers;
mod replicated;
mod stream;
mod tags;
mod uploads;
mod upstream;

use super::answer::{Answer, answer};
use super::server::Limits;
use super::service::Trace;
use crate::app::App;
use crate::ecr::names::unknown_repository;
use crate::identity::Verified;
use crate::registry::access::{self, Asker, Denied, Resource};
use crate::registry::templates;
use errors::{Code, Refusal};
use http_body_util::Either;
use hyper::Method;
use hyper::body::Incoming;
use hyper::header::{EXPECT, HeaderName, HeaderValue};
use identify::{ClientBody, challenge, identify};
use std::sync::Arc;
use std::time::Duration;
use wharf_model::{RegistryKey, Repository, Snapshot};
use wharf_registry::route::{Route, Target};

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
/// The name of a blob's or manifest's digest.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// The address of a single layer: below it is a token.
const LAYERS: &str = "/layers/";

/// True if a request is the registry's.
pub(super) fn is_path(path: &str) -> bool {
    path == "/v2" || path.starts_with("/v2/")
}

/// True if a request is for a layer, by its own address.
pub(super) fn is_layer(path: &str) -> bool {
    path.starts_with(LAYERS)
}

/// A request to the registry.
pub(super) struct Call<'a> {
    app: &'a Arc<App>,
    head: &'a http::request::Parts,
    identity: &'a Verified,
    snapshot: Arc<Snapshot>,
    limits: StreamLimits,
    /// The registry that replicates an image to this one by the request.
    replicated_from: Option<RegistryKey>,
}

/// How slow a client may be.
#[derive(Debug, Clone, Copy)]
struct StreamLimits {
    /// Silence in the middle of a body.
    idle: Duration,
    /// Bytes of a body that isn't streamed.
    manifest_timeout: Duration,
}

/// Answers a request to the registry.
pub(super) async fn serve(
    app: &Arc<App>,
    limits: &Limits,
    head: &http::request::Parts,
    body: Incoming,
    trace: &mut Trace,
) -> Answer {
    let mut body = Some(Either::Left(body));
    trace.service = "ecr";
    let limits = StreamLimits { idle: limits.blob_idle, manifest_timeout: limits.body_timeout };
    let result = match head.uri.path().strip_prefix(LAYERS) {
        Some(token) => blobs::by_token(app, head, token, trace).await,
        None => authenticated(app, limits, head, &mut body, trace).await,
    };
    let mut answer = match result {
        Ok(answer) => answer,
        Err(refusal) => {
            trace.error = Some(refusal.code.as_str().to_owned());
            if let Some(body) = body.filter(|_| !head.headers.contains_key(EXPECT)) {
                stream::discard(body, stream::DISCARDED_BYTES).await;
            }
            refusal.answer(head)
        }
    };
    answer.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    answer
}

async fn authenticated(
    app: &Arc<App>,
    limits: StreamLimits,
    head: &http::request::Parts,
    body: &mut Option<ClientBody>,
    trace: &mut Trace,
) -> Result<Answer, Refusal> {
    let identity = identify(app, head, body, limits.manifest_timeout).await?;
    trace.principal = Some(identity.principal_arn());
    let snapshot = app.store().snapshot();
    let replicated_from = replicated::source(head)?;
    let call = Call { app, head, identity: &identity, snapshot, limits, replicated_from };
    let (name, target) = match Route::parse(head.uri.path())? {
        Route::Base => {
            trace.operation = "Login";
            call.demand(Resource::Registry, access::LOGIN)?;
            only(&head.method, &[Method::GET, Method::HEAD])?;
            return Ok(answer(200, "application/json", "{}"));
        }
        Route::Catalog => {
            trace.operation = "DescribeRepositories";
            call.demand(Resource::Name("*"), "DescribeRepositories")?;
            only(&head.method, &[Method::GET])?;
            return tags::catalog(&call);
        }
        Route::Repository { name, target } => (name, target),
    };
    let method = &head.method;
    match target {
        Target::Manifest(reference) => {
            only(method, &[Method::GET, Method::HEAD, Method::PUT, Method::DELETE])?;
            manifests::serve(&call, &name, &reference, body, trace).await
        }
        Target::Blob(digest) => {
            only(method, &[Method::GET, Method::HEAD, Method::DELETE])?;
            blobs::serve(&call, &name, &digest, trace).await
        }
        Target::Uploads => {
            only(method, &[Method::POST])?;
            uploads::begin(&call, &name, body, trace).await
        }
        Target::Upload(id) => {
            only(method, &[Method::GET, Method::PATCH, Method::PUT, Method::DELETE])?;
            uploads::serve(&call, &name, &id, body, trace).await
        }
        Target::Tags => {
            only(method, &[Method::GET])?;
            trace.operation = access::LIST;
            tags::list(&call, &name)
        }
        Target::Referrers(digest) => {
            only(method, &[Method::GET])?;
            trace.operation = "ListImageReferrers";
            referrers::list(&call, &name, &digest).await
        }
    }
}

impl Call<'_> {
    fn demand(&self, resource: Resource<'_>, action: &str) -> Result<(), Refusal> {
        let (identity, arns) = (self.identity, self.app.arns());
        let asker = Asker { identity, arns, snapshot: &self.snapshot };
        let demanded = match &self.replicated_from {
            Some(from) => replicated::demand(asker, from, resource, action),
            None => access::demand(asker, resource, action),
        };
        Ok(demanded?)
    }

    /// The repository with this name, if the caller may do `action` with it.
    fn repository(&self, name: &str, action: &str) -> Result<Arc<Repository>, Refusal> {
        self.repository_of(&self.snapshot, name, action)
    }

    /// The repository with this name as a snapshot has it, if the caller may do `action` with it.
    fn repository_of(
        &self,
        snapshot: &Snapshot,
        name: &str,
        action: &str,
    ) -> Result<Arc<Repository>, Refusal> {
        let found = snapshot.repository(&name.to_owned());
        self.demand(Resource::found(found.map(AsRef::as_ref), name), action)?;
        let unknown = || {
            let message = unknown_repository(self.app.arns(), name);
            Refusal::new(Code::NameUnknown, message)
        };
        found.cloned().ok_or_else(unknown)
    }

    /// The repository with this name, made if a template of the registry says so and the caller may.
    async fn repository_to_push(
        &self,
        name: &str,
        action: &str,
    ) -> Result<Arc<Repository>, Refusal> {
        let name_is_free = self.snapshot.repository(&name.to_owned()).is_none();
        let way = match self.replicated_from {
            Some(_) => templates::REPLICATION,
            None => templates::CREATE_ON_PUSH,
        };
        let template = templates::template_for(&self.snapshot, name, way);
        if name_is_free && (template.is_some() || self.replicated_from.is_some()) {
            for action in [action, access::CREATE] {
                self.demand(Resource::Name(name), action)?;
            }
            let when = (self.app.now(), uuid::Uuid::new_v4().as_u64_pair().0);
            return Ok(templates::create(self.app, name, template, when).await?);
        }
        self.repository(name, action)
    }

    /// A parameter of the query.
    fn parameter(&self, name: &str) -> Option<String> {
        let query = self.head.uri.query().unwrap_or_default();
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
    }

    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.head.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Self::new(Code::Denied, denied.to_string())
    }
}

fn only(method: &Method, allowed: &[Method]) -> Result<(), Refusal> {
    match allowed.contains(method) {
        true => Ok(()),
        false => Err(Refusal::new(Code::Unsupported, format!("{method} isn't supported here"))),
    }
}
