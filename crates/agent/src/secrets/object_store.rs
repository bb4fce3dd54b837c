//! The S3-compatible store that the operator names: a signed GET, nothing more.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::env_file::MAX_BYTES;
use crate::api::sign::Signer;
use crate::api::{Error, chain, tls_config};
use crate::options::ObjectStore as Options;

/// How long one object may take (Amazon's agent: 30 s).
const TIMEOUT: Duration = Duration::from_secs(30);
/// The most of a refusal that is looked at.
const MAX_REFUSAL_BYTES: usize = 16 << 10;

/// A client of the store. Clones share its connections.
#[derive(Clone)]
pub(super) struct ObjectStore {
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    endpoint: http::Uri,
    signer: Option<Signer>,
}

impl ObjectStore {
    pub(super) fn new(options: &Options, region: &str) -> Result<Self, Error> {
        let bad = || Error::Endpoint(options.endpoint.clone());
        let endpoint: http::Uri = options.endpoint.parse().map_err(|_| bad())?;
        if !matches!(endpoint.scheme_str(), Some("http" | "https")) || endpoint.host().is_none() {
            return Err(bad());
        }
        let tls = Arc::new(tls_config(&options.endpoint, None)?);
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config((*tls).clone())
            .https_or_http()
            .enable_http1()
            .build();
        let http = Client::builder(TokioExecutor::new()).build(connector);
        let signer = options.credentials.as_ref().map(|key| Signer::for_objects(key, region));
        Ok(Self { http, endpoint, signer })
    }

    /// An object's content, or S3's code and message.
    pub(super) async fn get(&self, bucket: &str, key: &str) -> Result<Bytes, String> {
        let request = self.request(bucket, key).map_err(|error| error.to_string())?;
        let exchange = async {
            let answer = self.http.request(request).await.map_err(|error| chain(&error))?;
            let (head, body) = answer.into_parts();
            let limit = if head.status.is_success() { MAX_BYTES } else { MAX_REFUSAL_BYTES };
            let body = Limited::new(body, limit).collect().await;
            let body = body.map_err(|error| format!("reading the object: {error}"))?.to_bytes();
            match head.status.is_success() {
                true => Ok(body),
                false => Err(refusal(head.status.as_u16(), &String::from_utf8_lossy(&body))),
            }
        };
        match tokio::time::timeout(TIMEOUT, exchange).await {
            Ok(result) => result,
            Err(_) => Err("RequestCanceled: request context canceled caused by: context deadline \
                           exceeded"
                .to_owned()),
        }
    }

    /// By path, which every such store understands.
    fn request(&self, bucket: &str, key: &str) -> Result<http::Request<Full<Bytes>>, Error> {
        let bad = || Error::Endpoint(self.endpoint.to_string());
        let mut parts = self.endpoint.clone().into_parts();
        let base = self.endpoint.path().trim_end_matches('/');
        let path = format!("{base}/{}/{}", escape(bucket), escape(key));
        parts.path_and_query = Some(path.parse().map_err(|_| bad())?);
        let uri = http::Uri::from_parts(parts).map_err(|_| bad())?;
        let mut request =
            http::Request::get(uri).body(Full::new(Bytes::new())).map_err(|_| bad())?;
        if let Some(signer) = &self.signer {
            signer.sign_for("s3", &mut request, b"")?;
        }
        Ok(request)
    }
}

/// Every byte but those that stand for themselves, and the slashes between a key's parts.
fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        match plain(byte) {
            true => out.push(char::from(byte)),
            false => out.push_str(&format!("%{byte:02X}")),
        }
        out
    })
}

/// S3's error document in the words of its clients.
fn refusal(status: u16, body: &str) -> String {
    let element = |name: &str| {
        let rest = body.split_once(&format!("<{name}>"))?.1;
        rest.split_once(&format!("</{name}>")).map(|(text, _)| text.to_owned())
    };
    match (element("Code"), element("Message")) {
        (Some(code), message) => {
            format!("{code}: {} status code: {status}", message.unwrap_or_default())
        }
        _ => format!("the object store answered with status code: {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_as_s3s_clients_tell_them() {
        let body = "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>Access Denied\
                    </Message></Error>";
        assert_eq!(refusal(403, body), "AccessDenied: Access Denied status code: 403");
        assert_eq!(refusal(502, "<html>"), "the object store answered with status code: 502");
        assert_eq!(escape("a b/ü.env"), "a%20b/%C3%BC.env");
    }
}
