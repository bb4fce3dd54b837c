//! The specification's error codes, and what else becomes one of them.

use super::super::answer::{Answer, answer};
use super::challenge;
use crate::error::ApiError;
use crate::registry::LIMIT_EXCEEDED;
use crate::registry::content::DeleteError;
use crate::registry::manifests::PutError;
use hyper::header::{HeaderName, HeaderValue, RETRY_AFTER};
use serde_json::{Value, json};
use wharf_registry::{Error as StoreError, UploadError, route};

/// A code of the OCI distribution specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    SizeInvalid,
    TagInvalid,
    Unauthorized,
    Denied,
    Unsupported,
    TooManyRequests,
    Unknown,
}

impl Code {
    /// The code as it is written, and the status that goes with it.
    const fn parts(self) -> (&'static str, u16) {
        match self {
            Self::BlobUnknown => ("BLOB_UNKNOWN", 404),
            Self::BlobUploadInvalid => ("BLOB_UPLOAD_INVALID", 400),
            Self::BlobUploadUnknown => ("BLOB_UPLOAD_UNKNOWN", 404),
            Self::DigestInvalid => ("DIGEST_INVALID", 400),
            Self::ManifestBlobUnknown => ("MANIFEST_BLOB_UNKNOWN", 404),
            Self::ManifestInvalid => ("MANIFEST_INVALID", 400),
            Self::ManifestUnknown => ("MANIFEST_UNKNOWN", 404),
            Self::NameInvalid => ("NAME_INVALID", 400),
            Self::NameUnknown => ("NAME_UNKNOWN", 404),
            Self::SizeInvalid => ("SIZE_INVALID", 413),
            Self::TagInvalid => ("TAG_INVALID", 400),
            Self::Unauthorized => ("UNAUTHORIZED", 401),
            Self::Denied => ("DENIED", 403),
            Self::Unsupported => ("UNSUPPORTED", 405),
            Self::TooManyRequests => ("TOOMANYREQUESTS", 429),
            Self::Unknown => ("UNKNOWN", 500),
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        self.parts().0
    }
}

/// A request that isn't carried out.
#[derive(Debug)]
pub(super) struct Refusal {
    pub code: Code,
    pub status: u16,
    message: String,
    /// In a box: refusals are returned everywhere.
    detail: Option<Box<Value>>,
    headers: Vec<(HeaderName, String)>,
}

impl Refusal {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        let (_, status) = code.parts();
        Self { code, status, message: message.into(), detail: None, headers: Vec::new() }
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(Code::Unauthorized, "authentication required: log in as AWS with a token")
    }

    /// The same with another status.
    pub(super) fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// The same with what the message is about.
    pub(super) fn detail(self, detail: Value) -> Self {
        Self { detail: Some(Box::new(detail)), ..self }
    }

    /// The same with a header.
    pub(super) fn header(mut self, name: HeaderName, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn answer(self, head: &http::request::Parts) -> Answer {
        let mut error = json!({ "code": self.code.as_str(), "message": self.message });
        if let Some(detail) = self.detail {
            error["detail"] = *detail;
        }
        let body = json!({ "errors": [error] }).to_string();
        let mut answer = answer(self.status, "application/json", body);
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                answer.headers_mut().insert(name, value);
            }
        }
        if self.code == Code::Unauthorized
            && let (name, Some(value)) = challenge(head)
        {
            answer.headers_mut().insert(name, value);
        }
        if self.code == Code::TooManyRequests {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        answer
    }
}

impl From<route::Error> for Refusal {
    fn from(error: route::Error) -> Self {
        let code = match error {
            route::Error::Unknown => {
                return Self::new(Code::Unsupported, error.to_string()).status(404);
            }
            route::Error::Name => Code::NameInvalid,
            route::Error::Tag => Code::ManifestInvalid,
            route::Error::Digest(_) => Code::DigestInvalid,
        };
        Self::new(code, error.to_string())
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Digest { expected, found } => {
                Self::new(Code::DigestInvalid, error.to_string())
                    .detail(json!({ "expected": expected.to_string(), "found": found.to_string() }))
            }
            StoreError::NoUpload(_) => Self::new(Code::BlobUploadUnknown, "no such upload"),
            _ if error.is_full() => {
                tracing::error!(%error, "the registry's disk is full");
                let text = "the registry's disk is full: nothing was kept. Free some space, then try again";
                Self::new(Code::Unknown, text).status(507)
            }
            _ => {
                tracing::error!(%error, "the registry's store failed");
                Self::new(Code::Unknown, "the registry's store failed; its log says why")
            }
        }
    }
}

impl From<UploadError> for Refusal {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Store(error) => error.into(),
            UploadError::TooMany => Self::new(Code::TooManyRequests, error.to_string()),
            UploadError::Unknown => Self::new(Code::BlobUploadUnknown, error.to_string()),
            UploadError::OutOfOrder { .. } => {
                Self::new(Code::BlobUploadInvalid, error.to_string()).status(416)
            }
            UploadError::TakenOver => {
                Self::new(Code::BlobUploadInvalid, error.to_string()).status(409)
            }
        }
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        match error.code == LIMIT_EXCEEDED {
            true => Self::new(Code::Denied, error.message),
            false => Self::new(Code::Unknown, error.message).status(error.status.max(500)),
        }
    }
}

impl From<DeleteError> for Refusal {
    fn from(error: DeleteError) -> Self {
        match error {
            DeleteError::Unknown => Self::new(Code::ManifestUnknown, "no such manifest or tag"),
            DeleteError::Referenced(by) => {
                let message = "it is needed by other manifests, which must be deleted first";
                Self::new(Code::Unsupported, message).detail(json!({ "neededBy": by }))
            }
            DeleteError::Api(error) => error.into(),
        }
    }
}

/// A manifest that wasn't taken, for a repository of this name.
pub(super) fn not_put(error: PutError, repository: &str) -> Refusal {
    use wharf_registry::manifest::Error as Manifest;
    match error {
        PutError::Manifest(error @ Manifest::TooLarge(_)) => {
            Refusal::new(Code::SizeInvalid, error.to_string())
        }
        PutError::Manifest(error) => Refusal::new(Code::ManifestInvalid, error.to_string()),
        PutError::Digest { found } => {
            Refusal::new(Code::DigestInvalid, "the manifest has another digest than was said")
                .detail(json!({ "found": found.to_string() }))
        }
        PutError::BlobsUnknown(digests) => {
            let message = "blobs that the manifest refers to are not in the repository";
            Refusal::new(Code::ManifestBlobUnknown, message).detail(json!({ "digests": digests }))
        }
        PutError::ManifestsUnknown(digests) => {
            let message = "manifests that the index refers to are not in the repository";
            Refusal::new(Code::ManifestBlobUnknown, message).detail(json!({ "digests": digests }))
        }
        PutError::TooDeep => {
            let limit = wharf_registry::manifest::MAX_DEPTH;
            let message = format!("indexes are nested deeper than {limit} levels");
            Refusal::new(Code::ManifestInvalid, message)
        }
        PutError::TagImmutable(tag) => {
            Refusal::new(Code::TagInvalid, crate::ecr::names::tag_immutable(&tag, repository))
        }
        PutError::Quota(text) => Refusal::new(Code::Denied, format!("{text}: delete some first")),
        PutError::RepositoryUnknown => Refusal::new(Code::NameUnknown, "the repository is gone"),
        PutError::Store(error) => error.into(),
        PutError::Api(error) => error.into(),
    }
}
