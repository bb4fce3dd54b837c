//! The ECS API as the agent calls it: signed awsJson 1.1 over one pooled HTTP client.
//!
//! [`sign`] is SigV4, [`register`] is RegisterContainerInstance with what this host offers,
//! [`report`] is SubmitTaskStateChange.

pub mod register;
pub mod report;
pub mod sign;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls_pki_types::pem::PemObject;
use wharf_wire::{OperationShape, Service, ecr, ecs, json, logs};

use crate::options::{AgentCredentials, AgentOptions};
use sign::Signer;

/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest answer that is read.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// Why a call to the control plane failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint isn't a URL that can be called.
    #[error("the server's address {0:?} is not an http or https URL")]
    Endpoint(String),
    /// The certificate authorities couldn't be read.
    #[error("certificate authorities: {0}")]
    Certificates(String),
    /// Signing failed.
    #[error("signing a request: {0}")]
    Sign(String),
    /// No answer came.
    #[error("{operation}: {reason}")]
    Unreachable {
        /// The operation.
        operation: &'static str,
        /// What went wrong on the way.
        reason: String,
    },
    /// The control plane refused.
    #[error("{operation}: {code}: {message}")]
    Refused {
        /// The operation.
        operation: &'static str,
        /// The HTTP status.
        status: u16,
        /// The error's code (`ClientException`).
        code: String,
        /// Its text.
        message: String,
    },
    /// The answer isn't what the API says.
    #[error("{operation}: the answer can't be read: {reason}")]
    Answer {
        /// The operation.
        operation: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// Whether the same call may succeed later: network trouble, throttling, errors of the
    /// server. Everything else is final.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Answer { .. } => true,
            Self::Refused { status, code, .. } => {
                *status >= 500 || *status == 429 || code.contains("Throttl")
            }
            Self::Endpoint(_) | Self::Certificates(_) | Self::Sign(_) => false,
        }
    }
}

/// The client. Clones share the pool.
#[derive(Clone)]
pub struct EcsClient {
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    endpoint: http::Uri,
    signer: Signer,
    tls: Arc<rustls::ClientConfig>,
}

impl EcsClient {
    /// A client of `options.server` with the agent's key.
    pub fn new(options: &AgentOptions) -> Result<Self, Error> {
        let signer = Signer::new(&options.credentials, &options.region);
        Self::to(&options.server, options.ca_file.as_deref(), signer)
    }

    /// A client of any component of wharf: to this server, signed by this signer.
    ///
    /// # Errors
    /// If the server's address is no URL, or the certificate authorities can't be read.
    pub fn to(server: &str, ca_file: Option<&Path>, signer: Signer) -> Result<Self, Error> {
        let bad = || Error::Endpoint(server.to_owned());
        let endpoint: http::Uri = server.parse().map_err(|_| bad())?;
        if !matches!(endpoint.scheme_str(), Some("http" | "https")) || endpoint.host().is_none() {
            return Err(bad());
        }
        let tls = Arc::new(tls_config(server, ca_file)?);
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config((*tls).clone())
            .https_or_http()
            .enable_http1()
            .build();
        let http = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(20))
            .build(connector);
        Ok(Self { http, endpoint, signer, tls })
    }

    /// The same way to the server, signed with another key.
    pub(crate) fn signed_by(&self, credentials: &AgentCredentials) -> Self {
        Self { signer: self.signer.with_key(credentials), ..self.clone() }
    }

    /// The signer, for websocket upgrades.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// The TLS settings, for websockets.
    pub fn tls(&self) -> Arc<rustls::ClientConfig> {
        self.tls.clone()
    }

    /// Calls an operation of ECS once.
    pub async fn call<O: OperationShape>(&self, input: O::Input) -> Result<O::Output, Error> {
        self.call_service::<O>(ecs::SERVICE, input).await
    }

    /// Calls an operation of CloudWatch Logs once.
    pub async fn call_logs<O: OperationShape>(&self, input: O::Input) -> Result<O::Output, Error> {
        self.call_service::<O>(logs::SERVICE, input).await
    }

    /// Calls an operation of ECR once.
    pub async fn call_ecr<O: OperationShape>(&self, input: O::Input) -> Result<O::Output, Error> {
        self.call_service::<O>(ecr::SERVICE, input).await
    }

    /// Calls an operation of any service once.
    pub(crate) async fn call_service<O: OperationShape>(
        &self,
        service: Service,
        input: O::Input,
    ) -> Result<O::Output, Error> {
        let operation = O::NAME;
        let body = json::to_vec(input);
        let mut request = http::Request::post(self.endpoint.clone())
            .header(http::header::CONTENT_TYPE, json::CONTENT_TYPE_1_1)
            .header("x-amz-target", format!("{}.{operation}", service.target_prefix))
            .body(Full::new(Bytes::from(body.clone())))
            .map_err(|_| Error::Endpoint(self.endpoint.to_string()))?;
        self.signer.sign_for(service.signing_name, &mut request, &body)?;
        let body = self.exchange(operation, request).await?;
        json::from_slice(&body)
            .map_err(|error| Error::Answer { operation, reason: error.to_string() })
    }

    /// GETs a path with its query, signed as any operation; the whole answer's body. `operation`
    /// names the call in errors.
    pub async fn get(&self, operation: &'static str, path_and_query: &str) -> Result<Bytes, Error> {
        self.bare(http::Method::GET, operation, path_and_query).await
    }

    /// POSTs nothing to a path with its query; otherwise as [`EcsClient::get`].
    ///
    /// # Errors
    /// What the server or the connection answers.
    pub async fn post(
        &self,
        operation: &'static str,
        path_and_query: &str,
    ) -> Result<Bytes, Error> {
        self.bare(http::Method::POST, operation, path_and_query).await
    }

    async fn bare(
        &self,
        method: http::Method,
        operation: &'static str,
        path_and_query: &str,
    ) -> Result<Bytes, Error> {
        let bad = || Error::Endpoint(self.endpoint.to_string());
        let mut parts = self.endpoint.clone().into_parts();
        parts.path_and_query = Some(path_and_query.parse().map_err(|_| bad())?);
        let uri = http::Uri::from_parts(parts).map_err(|_| bad())?;
        let request = http::Request::builder().method(method).uri(uri);
        let mut request = request.body(Full::new(Bytes::new())).map_err(|_| bad())?;
        self.signer.sign(&mut request, b"")?;
        self.exchange(operation, request).await
    }

    /// Sends on what somebody else has signed: method, path, headers and body stay as they are.
    pub(crate) async fn forward(
        &self,
        mut request: http::Request<Full<Bytes>>,
    ) -> Result<http::Response<hyper::body::Incoming>, String> {
        let mut parts = self.endpoint.clone().into_parts();
        parts.path_and_query = request.uri().path_and_query().cloned();
        *request.uri_mut() = http::Uri::from_parts(parts).map_err(|error| error.to_string())?;
        match tokio::time::timeout(CALL_TIMEOUT, self.http.request(request)).await {
            Ok(answer) => answer.map_err(|error| chain(&error)),
            Err(_) => Err(format!("no answer within {CALL_TIMEOUT:?}")),
        }
    }

    /// Sends a signed request; the body of an answer that is no error.
    async fn exchange(
        &self,
        operation: &'static str,
        request: http::Request<Full<Bytes>>,
    ) -> Result<Bytes, Error> {
        let unreachable = |reason: String| Error::Unreachable { operation, reason };
        let exchange = async {
            let answer = self.http.request(request).await.map_err(|e| unreachable(chain(&e)))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
            let body = body.map_err(|error| unreachable(error.to_string()))?.to_bytes();
            Ok::<_, Error>((head, body))
        };
        let (head, body) = tokio::time::timeout(CALL_TIMEOUT, exchange)
            .await
            .map_err(|_| unreachable(format!("no answer within {CALL_TIMEOUT:?}")))??;
        if !head.status.is_success() {
            let kind = head.headers.get("x-amzn-errortype").and_then(|v| v.to_str().ok());
            let (code, message) = json::decode_error(&body, kind);
            return Err(Error::Refused { operation, status: head.status.as_u16(), code, message });
        }
        Ok(body)
    }
}

/// An error with its sources: hyper's own text alone says "client error (Connect)".
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let inner = error.to_string();
        if !text.ends_with(&inner) {
            text = format!("{text}: {inner}");
        }
        source = error.source();
    }
    text
}

/// TLS for an endpoint: the system's certificate authorities, and those of a file.
pub(crate) fn tls_config(
    endpoint: &str,
    ca_file: Option<&Path>,
) -> Result<rustls::ClientConfig, Error> {
    let mut roots = rustls::RootCertStore::empty();
    if endpoint.starts_with("https") {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if let Some(path) = ca_file {
        let failed = |error: &dyn std::fmt::Display| {
            Error::Certificates(format!("{}: {error}", path.display()))
        };
        let found = rustls_pki_types::CertificateDer::pem_file_iter(path)
            .map_err(|error| failed(&error))?;
        for certificate in found {
            let certificate = certificate.map_err(|error| failed(&error))?;
            roots.add(certificate).map_err(|error| failed(&error))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Certificates(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
