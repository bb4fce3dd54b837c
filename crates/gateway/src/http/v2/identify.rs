//! Who asks the registry: by a login's token, or by a signature as the API takes it.

use super::super::guard::is_of_a_task;
use super::super::service::{ByTls, verify};
use super::errors::{Code, Refusal};
use crate::app::App;
use crate::identity::Verified;
use crate::registry::tokens::{self, Login};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Full, LengthLimitError, Limited};
use hyper::HeaderMap;
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, WWW_AUTHENTICATE,
};
use std::time::Duration;

/// A request's body: on its way, or already here because it had to be hashed.
pub(super) type ClientBody = Either<Incoming, Full<Bytes>>;

/// The largest body of a signed request, which is in memory as a whole: as large as a request of the
/// ECR API. Whoever logs in sends blobs of any size.
const MAX_SIGNED_BYTES: usize = 28 << 20;
/// Larger ones take a place among the large bodies of the API.
const SMALL_BYTES: usize = 1 << 20;

/// Who asks. A signed request's body is then complete.
pub(super) async fn identify(
    app: &App,
    head: &http::request::Parts,
    body: &mut Option<ClientBody>,
    timeout: Duration,
) -> Result<Verified, Refusal> {
    if is_signed(head) {
        return signed(app, head, body, timeout).await;
    }
    // Tokens belong to docker and its like; what comes from a task is signed.
    match is_of_a_task(&head.headers) {
        true => Err(Refusal::unauthorized()),
        false => logged_in(app, &head.headers),
    }
}

/// True if the request says that it is signed, in a header or in its query.
fn is_signed(head: &http::request::Parts) -> bool {
    let query = head.uri.query().unwrap_or_default();
    let values = head.headers.get_all(AUTHORIZATION);
    values.iter().any(|value| value.as_bytes().starts_with(b"AWS4-"))
        || form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "X-Amz-Signature")
}

async fn signed(
    app: &App,
    head: &http::request::Parts,
    body: &mut Option<ClientBody>,
    timeout: Duration,
) -> Result<Verified, Refusal> {
    let said = head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let large = said.and_then(|text| text.parse().ok()).is_some_and(|n: usize| n > SMALL_BYTES);
    let _place = match large {
        true => app.registry().large_bodies().acquire().await.ok(),
        false => None,
    };
    let limit = if large { MAX_SIGNED_BYTES } else { SMALL_BYTES };
    let bytes = match body.take() {
        None => Bytes::new(),
        Some(body) => {
            let collected =
                tokio::time::timeout(timeout, Limited::new(body, limit).collect()).await;
            let invalid = |text: &str| Refusal::new(Code::Unknown, text);
            match collected {
                Ok(Ok(collected)) => collected.to_bytes(),
                Ok(Err(error)) if error.is::<LengthLimitError>() => {
                    let text = format!(
                        "a signed request's body has at most {limit} bytes here, and says so in \
                         Content-Length if it has more than {SMALL_BYTES}: log in to send more"
                    );
                    return Err(Refusal::new(Code::SizeInvalid, text));
                }
                Ok(Err(_)) => {
                    return Err(
                        invalid("the request's body ended before it was complete").status(400)
                    );
                }
                Err(_) => {
                    return Err(invalid("the request's body did not arrive in time").status(408));
                }
            }
        }
    };
    let verified = verify(app, head, &bytes)
        .and_then(|identity| identity.demand_service("ecr").map(|()| identity));
    *body = Some(Either::Right(Full::new(bytes)));
    verified.map_err(|error| Refusal::new(Code::Denied, error.to_string()))
}

/// By HTTP's Basic authentication: user `AWS`, and a token.
fn logged_in(app: &App, headers: &HeaderMap) -> Result<Verified, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Refusal::unauthorized());
    };
    let basic = value.to_str().ok().and_then(|text| text.split_once(' '));
    let basic = basic.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
    let decoded = basic.and_then(|(_, encoded)| STANDARD.decode(encoded.trim()).ok());
    let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let login = text.as_deref().and_then(|text| text.split_once(':'));
    let Some(("AWS", token)) = login else { return Err(Refusal::unauthorized()) };
    match tokens::redeem(app, token, app.now()) {
        Login::Good(identity) => Ok(identity),
        Login::Wrong => Err(Refusal::unauthorized()),
        Login::Expired => Err(Refusal::new(
            Code::Denied,
            "Your authorization token has expired. Reauthenticate and try again.",
        )),
    }
}

/// The challenge of a request that says not who asks, as ECR words it.
pub(super) fn challenge(head: &http::request::Parts) -> (HeaderName, Option<HeaderValue>) {
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let scheme = if head.extensions.get::<ByTls>().is_some() { "https" } else { "http" };
    let text = format!("Basic realm=\"{scheme}://{host}/\",service=\"ecr.amazonaws.com\"");
    (WWW_AUTHENTICATE, HeaderValue::from_str(&text).ok())
}
