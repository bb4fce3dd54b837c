//! Uploads: whole in one request, in chunks, taken up again after a cut, mounted from another
//! repository, and given up.

use super::super::answer::{Answer, answer};
use super::super::service::Trace;
use super::errors::{Code, Refusal};
use super::identify::ClientBody;
use super::{CONTENT_DIGEST, Call, stream};
use crate::app::App;
use crate::ecr::settings;
use crate::registry::access::{self, Resource};
use crate::registry::content;
use hyper::Method;
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderName, HeaderValue, LOCATION, RANGE};
use std::sync::Arc;
use std::time::Duration;
use wharf_model::Repository;
use wharf_registry::{Digest, UploadWriter, range};

const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// `POST /v2/<name>/blobs/uploads/`
pub(super) async fn begin(
    call: &Call<'_>,
    name: &str,
    body: &mut Option<ClientBody>,
    trace: &mut Trace,
) -> Result<Answer, Refusal> {
    trace.operation = access::BEGIN_UPLOAD;
    let repository = call.repository_to_push(name, access::BEGIN_UPLOAD).await?;
    if let Some(digest) = call.parameter("mount") {
        let digest: Digest = parse_digest(&digest)?;
        let from = call.parameter("from");
        if mount(call, &repository, &digest, from.as_deref()).await? {
            return Ok(created(name, &digest));
        }
    }
    let digest = call.parameter("digest").map(|digest| parse_digest(&digest)).transpose()?;
    if digest.is_some() {
        call.demand(Resource::Repository(&repository), access::END_UPLOAD)?;
    }
    let id = uuid::Uuid::new_v4().to_string();
    call.app.registry().uploads().begin(&id, &repository.id).await?;
    let Some(digest) = digest else { return Ok(under_way(202, name, &id, 0)) };
    let owner = repository.id.clone();
    let writer = call.app.registry().uploads().writer(&id, &owner).await?;
    let work = Work { app: Arc::clone(call.app), repository, idle: call.limits.idle };
    let finished = work.spawn(writer, body.take(), Some(digest.clone())).await;
    if finished.is_err() {
        // Nobody knows its id, so nobody can go on with it. It may be over already.
        let _ = call.app.registry().uploads().cancel(&id, &owner).await;
    }
    finished?;
    Ok(created(name, &digest))
}

/// Gives a repository a blob of another one, if the caller may read it there. Whether it isn't there
/// or may not be read makes no difference to be seen.
async fn mount(
    call: &Call<'_>,
    repository: &Repository,
    digest: &Digest,
    from: Option<&str>,
) -> Result<bool, Refusal> {
    let source = match from {
        // Without a source only what the repository has itself: anything else would tell who has what.
        None => Some(repository),
        // Who may replicate may not read for that.
        Some(_) if call.replicated_from.is_some() => None,
        Some(from) if from != repository.name && !settings::mounts(&call.snapshot) => None,
        Some(from) => call.snapshot.repository(&from.to_owned()).map(AsRef::as_ref),
    };
    let Some(source) = source else { return Ok(false) };
    if call.demand(Resource::Repository(source), access::PULL_LAYER).is_err() {
        return Ok(false);
    }
    let _adding = call.app.registry().adding().await;
    let snapshot = call.app.store().snapshot();
    let Some(blob) = content::blob(&snapshot, &source.id, digest) else { return Ok(false) };
    link(call.app, repository, digest, blob.bytes).await?;
    Ok(true)
}

async fn link(
    app: &App,
    repository: &Repository,
    digest: &Digest,
    bytes: u64,
) -> Result<(), Refusal> {
    let gone = || Refusal::new(Code::NameUnknown, "the repository is gone");
    let linked = content::link(app, repository, digest, bytes).await;
    linked.map_err(|error| error.map_or_else(gone, Refusal::from))
}

/// The requests to an upload.
pub(super) async fn serve(
    call: &Call<'_>,
    name: &str,
    id: &str,
    body: &mut Option<ClientBody>,
    trace: &mut Trace,
) -> Result<Answer, Refusal> {
    let action = match call.head.method {
        Method::PUT => access::END_UPLOAD,
        _ => access::UPLOAD,
    };
    trace.operation = action;
    let repository = call.repository(name, action)?;
    let uploads = call.app.registry().uploads();
    match call.head.method {
        Method::GET => {
            let size = uploads.get(id, &repository.id).await?.size;
            Ok(under_way(204, name, id, size))
        }
        Method::DELETE => {
            uploads.cancel(id, &repository.id).await?;
            Ok(answer(204, "text/plain", ""))
        }
        Method::PATCH => {
            let writer = in_order(call, name, id, &repository).await?;
            let work = Work { app: Arc::clone(call.app), repository, idle: call.limits.idle };
            let size = work.spawn(writer, body.take(), None).await?;
            Ok(under_way(202, name, id, size))
        }
        _ => {
            let missing = || Refusal::new(Code::DigestInvalid, "the parameter digest is missing");
            let digest = parse_digest(&call.parameter("digest").ok_or_else(missing)?)?;
            let writer = in_order(call, name, id, &repository).await?;
            let work = Work { app: Arc::clone(call.app), repository, idle: call.limits.idle };
            work.spawn(writer, body.take(), Some(digest.clone())).await?;
            Ok(created(name, &digest))
        }
    }
}

/// The right to write to an upload what the request's `Content-Range` says.
async fn in_order(
    call: &Call<'_>,
    name: &str,
    id: &str,
    repository: &Repository,
) -> Result<UploadWriter, Refusal> {
    let writer = call.app.registry().uploads().writer(id, &repository.id).await?;
    let Some(text) = call.header(&CONTENT_RANGE) else { return Ok(writer) };
    let wrong = |what: &str| Refusal::new(Code::BlobUploadInvalid, what);
    let (start, length) = range::chunk(text).ok_or_else(|| wrong("unreadable Content-Range"))?;
    if let Err(error) = writer.demand_start(start) {
        return Err(Refusal::from(error)
            .header(RANGE, received(writer.size()))
            .header(LOCATION, upload_path(name, id)));
    }
    let said = call.header(&CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
    if said.is_some_and(|said| said != length) {
        return Err(wrong("Content-Range and Content-Length disagree"));
    }
    Ok(writer)
}

/// What goes on when the connection breaks: an append under way is never dropped halfway.
struct Work {
    app: Arc<App>,
    repository: Arc<Repository>,
    idle: Duration,
}

impl Work {
    /// Takes the body in and, with a digest, makes a blob of the upload. The upload's size.
    async fn spawn(
        self,
        writer: UploadWriter,
        body: Option<ClientBody>,
        digest: Option<Digest>,
    ) -> Result<u64, Refusal> {
        let cut_off = || Refusal::new(Code::Unknown, "the upload was cut off").status(503);
        let work = tokio::spawn(self.run(writer, body, digest));
        work.await.unwrap_or_else(|_| Err(cut_off()))
    }

    async fn run(
        self,
        mut writer: UploadWriter,
        body: Option<ClientBody>,
        digest: Option<Digest>,
    ) -> Result<u64, Refusal> {
        if let Some(body) = body {
            let counted = self.app.metrics().blob_bytes_in();
            stream::receive(&mut writer, body, self.idle, &counted).await?;
        }
        let Some(digest) = digest else { return Ok(writer.size()) };
        let _adding = self.app.registry().adding().await;
        let size = self.app.registry().uploads().finish(writer, &digest).await?;
        link(&self.app, &self.repository, &digest, size).await?;
        Ok(size)
    }
}

fn parse_digest(text: &str) -> Result<Digest, Refusal> {
    text.parse().map_err(|error: wharf_registry::digest::Error| {
        Refusal::new(Code::DigestInvalid, error.to_string())
    })
}

fn upload_path(name: &str, id: &str) -> String {
    format!("/v2/{name}/blobs/uploads/{id}")
}

/// What has arrived, in the specification's notation, which has none for nothing.
fn received(size: u64) -> String {
    format!("0-{}", size.saturating_sub(1))
}

fn under_way(status: u16, name: &str, id: &str, size: u64) -> Answer {
    let mut answer = answer(status, "text/plain", "");
    let mut set = |header: HeaderName, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            answer.headers_mut().insert(header, value);
        }
    };
    set(LOCATION, &upload_path(name, id));
    set(RANGE, &received(size));
    set(UPLOAD_UUID, id);
    answer
}

fn created(name: &str, digest: &Digest) -> Answer {
    let mut answer = answer(201, "text/plain", "");
    for (header, text) in
        [(LOCATION, format!("/v2/{name}/blobs/{digest}")), (CONTENT_DIGEST, digest.to_string())]
    {
        if let Ok(value) = HeaderValue::from_str(&text) {
            answer.headers_mut().insert(header, value);
        }
    }
    answer
}
