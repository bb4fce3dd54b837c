//! Signed websockets to the control plane, and the pauses between them.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Uri};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use wharf_wire::acs::Refusal;

use crate::api::{EcsClient, chain};

/// How long dialling and the handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest message that is taken.
const MAX_MESSAGE_BYTES: usize = 16 << 20;
/// Bytes read from the socket at once.
const READ_BUFFER_BYTES: usize = 4096;

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint of DiscoverPollEndpoint isn't a URL that can be dialled.
    #[error("the endpoint {0:?} is not an http or https URL")]
    Endpoint(String),
    /// The connection couldn't be made.
    #[error("{0}")]
    Connect(String),
    /// The control plane refused the upgrade.
    #[error("refused: {}: {}", .0.exception, .0.message)]
    Refused(Refusal),
    /// The session broke.
    #[error("{0}")]
    Broken(String),
    /// Nothing was heard for too long.
    #[error("nothing was heard for {0:?}")]
    Silent(Duration),
}

impl Error {
    /// The instance is deregistered.
    pub(crate) fn is_inactive(&self) -> bool {
        matches!(self, Self::Refused(refusal)
            if refusal.exception.starts_with(Refusal::INACTIVE_INSTANCE))
    }
}

/// What a session runs over: plain TCP or TLS.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A session's stream.
pub type Stream = WebSocketStream<Box<dyn Io>>;

/// The URL of a session, as it is signed: endpoint, `ws`, sorted query.
///
/// # Errors
/// If the endpoint is no URL that can be dialled.
pub fn session_url(endpoint: &str, query: &[(&str, &str)]) -> Result<Uri, Error> {
    let bad = || Error::Endpoint(endpoint.to_owned());
    // Endpoints may come as ws:// or wss:// as well; the signature covers neither.
    let http = endpoint.replacen("wss://", "https://", 1).replacen("ws://", "http://", 1);
    let base: Uri = http.parse().map_err(|_| bad())?;
    if base.host().is_none_or(str::is_empty) {
        return Err(bad());
    }
    let slash = if http.ends_with('/') { "" } else { "/" };
    let mut pairs: Vec<_> = query.to_vec();
    pairs.sort_unstable();
    let encoded: Vec<String> =
        pairs.iter().map(|(key, value)| format!("{key}={}", percent(value))).collect();
    let uri: Uri = format!("{http}{slash}ws?{}", encoded.join("&")).parse().map_err(|_| bad())?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.host().is_some() => Ok(uri),
        _ => Err(bad()),
    }
}

/// SigV4's encoding: everything but the unreserved characters.
fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(byte as char);
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Headers that sign a GET of `url` with this body: for the upgrade, and for TCS's frames.
pub(crate) fn signed_headers(
    client: &EcsClient,
    url: &Uri,
    body: &[u8],
) -> Result<Vec<(String, String)>, Error> {
    let host = url.authority().map_or("", |authority| authority.as_str());
    let mut request = http::Request::get(url.clone())
        .header(http::header::HOST, host)
        .body(())
        .map_err(|error| Error::Connect(error.to_string()))?;
    client.signer().sign(&mut request, body).map_err(|error| Error::Connect(error.to_string()))?;
    let headers = request.headers().iter();
    Ok(headers
        .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
        .collect())
}

/// Opens a session.
///
/// # Errors
/// If no connection comes about, or the server refuses.
pub async fn connect(client: &EcsClient, url: &Uri) -> Result<Stream, Error> {
    tokio::time::timeout(HANDSHAKE_TIMEOUT, open(client, url))
        .await
        .map_err(|_| Error::Connect(format!("no session within {HANDSHAKE_TIMEOUT:?}")))?
}

async fn open(client: &EcsClient, url: &Uri) -> Result<Stream, Error> {
    let failed = |error: &dyn std::error::Error| Error::Connect(chain(error));
    let host = url.host().unwrap_or_default().to_owned();
    let secure = url.scheme_str() == Some("https");
    let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let tcp = TcpStream::connect((bare.as_str(), port)).await.map_err(|error| failed(&error))?;
    tcp.set_nodelay(true).map_err(|error| failed(&error))?;
    let io: Box<dyn Io> = if secure {
        let name = rustls_pki_types::ServerName::try_from(bare).map_err(|error| failed(&error))?;
        let connector = tokio_rustls::TlsConnector::from(client.tls());
        Box::new(connector.connect(name, tcp).await.map_err(|error| failed(&error))?)
    } else {
        Box::new(tcp)
    };
    let target = url.to_string().replacen("http", "ws", 1);
    let mut request = target.into_client_request().map_err(|error| failed(&error))?;
    for (name, value) in signed_headers(client, url, b"")? {
        let name = HeaderName::try_from(name).map_err(|error| failed(&error))?;
        let value = value.parse().map_err(|_| Error::Connect("a header's value".to_owned()))?;
        request.headers_mut().insert(name, value);
    }
    let config = WebSocketConfig::default()
        // It is zeroed at every read: no larger than the usual message.
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    match tokio_tungstenite::client_async_with_config(request, io, Some(config)).await {
        Ok((stream, _)) => Ok(stream),
        Err(tungstenite::Error::Http(answer)) => Err(refusal(&answer)),
        Err(error) => Err(failed(&error)),
    }
}

fn refusal(answer: &http::Response<Option<Vec<u8>>>) -> Error {
    let body = answer.body().as_deref().unwrap_or_default();
    match Refusal::decode(body) {
        Some(refusal) => Error::Refused(refusal),
        None => Error::Connect(format!("the upgrade was answered with {}", answer.status())),
    }
}

/// What a frame means to a session.
pub enum Incoming {
    /// A message's text.
    Text(String),
    /// Something without a message (ping, pong).
    Nothing,
    /// The session ended in an orderly way.
    End,
}

/// Reads what the stream gave.
///
/// # Errors
/// If the session broke.
pub fn incoming(next: Option<Result<Message, tungstenite::Error>>) -> Result<Incoming, Error> {
    use tungstenite::error::ProtocolError;
    match next {
        None | Some(Err(tungstenite::Error::ConnectionClosed)) => Ok(Incoming::End),
        Some(Err(tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => {
            Ok(Incoming::End)
        }
        Some(Err(error)) => Err(Error::Broken(chain(&error))),
        Some(Ok(Message::Text(text))) => Ok(Incoming::Text(text.to_string())),
        Some(Ok(Message::Binary(bytes))) => match String::from_utf8(bytes.to_vec()) {
            Ok(text) => Ok(Incoming::Text(text)),
            Err(_) => Ok(Incoming::Nothing),
        },
        Some(Ok(Message::Close(frame))) => {
            let code = frame.as_ref().map_or(1005, |frame| u16::from(frame.code));
            match code {
                1000 | 1001 | 1005 | 1006 | 1011 => Ok(Incoming::End),
                _ => Err(Error::Broken(format!("closed with code {code}"))),
            }
        }
        Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(Incoming::Nothing),
    }
}

/// Growing pauses with jitter.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    last: Duration,
    factor: f64,
    next: Duration,
}

impl Backoff {
    /// Pauses from the first to the last, each longer by the factor.
    pub fn new(first: Duration, last: Duration, factor: f64) -> Self {
        Self { first, last, factor, next: first }
    }

    /// The next pause is the first one again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// The next pause, up to a fifth longer or shorter.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next.mul_f64(0.8 + 0.4 * fastrand::f64());
        self.next = self.next.mul_f64(self.factor).min(self.last);
        pause
    }
}

/// A duration between `base` and twice that.
pub(crate) fn jittered(base: Duration) -> Duration {
    base.mul_f64(1.0 + fastrand::f64())
}

/// The endpoints of DiscoverPollEndpoint.
#[derive(Debug, Clone)]
pub(crate) struct PollEndpoints {
    pub(crate) acs: Arc<str>,
    pub(crate) tcs: Option<Arc<str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_encoded_and_sorted() {
        let query = [("sendCredentials", "true"), ("clusterArn", "a:b/c d")];
        let url = session_url("http://127.0.0.1:4580/acs", &query).unwrap();
        let expected = "http://127.0.0.1:4580/acs/ws?clusterArn=a%3Ab%2Fc%20d&sendCredentials=true";
        assert_eq!(url.to_string(), expected);
        let url = session_url("wss://host/", &[]).unwrap();
        assert_eq!(url.to_string(), "https://host/ws?");
        for bad in ["", "ftp://x", "http://", "nonsense", "http://a b"] {
            assert!(session_url(bad, &[]).is_err(), "{bad}");
        }
    }

    #[test]
    fn pauses_grow_to_a_limit() {
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(120), 1.5);
        let mut sum = Duration::ZERO;
        for _ in 0..40 {
            let pause = backoff.pause();
            assert!(pause <= Duration::from_secs(144));
            sum += pause;
        }
        assert!(sum > Duration::from_secs(600));
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(300));
    }
}
