//! Clients: HTTP/1.1 in the clear and over TLS, HTTP/2 over TLS; in a closed loop (by
//! [`crate::rounds::round`]) and at a steady rate.

use super::pace::Pace;
use crate::Result;
use crate::client::dial;
use crate::rounds::{Operation, Round};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::ring::{cipher_suite, default_provider};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What a client trusts: the certificates of a PEM file.
#[derive(Debug, Clone)]
pub struct Trust(RootCertStore);

impl Trust {
    /// Reads the file.
    ///
    /// # Errors
    /// If it can't be read, or has no certificate.
    pub fn of(path: &Path) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(path)? {
            roots.add(certificate?)?;
        }
        Ok(Self(roots))
    }

    /// AES with keys of 128 bits alone, so that all servers have the same work.
    fn connector(&self, protocol: &str) -> Result<TlsConnector> {
        let mut provider = default_provider();
        provider.cipher_suites = vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        ];
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.0.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.into()];
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

/// A client of HTTP/1.1 that asks for the same over and over on one connection.
#[derive(Debug)]
pub struct H1<S> {
    stream: S,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

/// The answer to a request of [`H1`].
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// Its status.
    pub status: u16,
    /// The connection ends with it.
    pub closes: bool,
    /// Its body.
    pub body: &'a [u8],
}

impl<S: AsyncRead + AsyncWrite + Unpin> H1<S> {
    /// A client that asks `host` for `path`.
    pub fn new(stream: S, host: &str, path: &str) -> Self {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: bench/1\r\naccept: */*\r\n\r\n"
        );
        Self { stream, request: request.into_bytes(), buffer: Vec::with_capacity(8 << 10) }
    }

    /// Asks once.
    ///
    /// # Errors
    /// If the connection breaks, or the answer has no length.
    pub async fn ask(&mut self) -> Result<Answer<'_>> {
        self.stream.write_all(&self.request).await?;
        self.stream.flush().await?;
        self.buffer.clear();
        let end = loop {
            self.fill().await?;
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let head = std::str::from_utf8(&self.buffer[..end])?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or("an answer without a status")?;
        let length: usize = header(head, "content-length").ok_or("no length")?.parse()?;
        let closes = header(head, "connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
        while self.buffer.len() < end + length {
            self.fill().await?;
        }
        Ok(Answer { status, closes, body: &self.buffer[end..] })
    }

    async fn fill(&mut self) -> Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 if self.buffer.is_empty() => Err("closed before an answer".into()),
            0 => Err("closed in the middle of an answer".into()),
            _ => Ok(()),
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Operation for H1<S> {
    async fn once(&mut self) -> Result<()> {
        let answer = self.ask().await?;
        match answer.status {
            200 => Ok(()),
            status => Err(format!("{status}: {}", String::from_utf8_lossy(answer.body)).into()),
        }
    }
}

/// Connects in the clear.
///
/// # Errors
/// If nobody listens.
pub async fn connect_plain(address: &str, host: &str, path: &str) -> Result<H1<TcpStream>> {
    Ok(H1::new(dial(address).await?, host, path))
}

/// Connects over TLS, for HTTP/1.1.
///
/// # Errors
/// If nobody listens, or who does isn't trusted.
pub async fn connect_tls(
    address: &str,
    host: &str,
    path: &str,
    trust: &Trust,
) -> Result<H1<TlsStream<TcpStream>>> {
    Ok(H1::new(secure(address, host, trust, "http/1.1").await?, host, path))
}

/// Connects over TLS, for a protocol by ALPN.
///
/// # Errors
/// If nobody listens, or who does isn't trusted.
pub async fn secure(
    address: &str,
    host: &str,
    trust: &Trust,
    protocol: &str,
) -> Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned())?;
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(trust.connector(protocol)?.connect(name, stream).await?)
}

/// A client of HTTP/2: one of a connection's streams at a time.
#[derive(Debug, Clone)]
pub struct H2 {
    send: SendRequest<Empty<Bytes>>,
    uri: String,
}

/// Connects over TLS, for HTTP/2: as many clients as the connection shall have streams at a time.
///
/// # Errors
/// If nobody listens, who does isn't trusted, or doesn't speak HTTP/2.
pub async fn connect_h2(
    address: &str,
    host: &str,
    path: &str,
    trust: &Trust,
    streams: usize,
) -> Result<Vec<H2>> {
    let stream = secure(address, host, trust, "h2").await?;
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(format!("{address} doesn't speak HTTP/2").into());
    }
    let (send, connection) = Builder::new(TokioExecutor::new())
        .initial_connection_window_size(1 << 20)
        .handshake(TokioIo::new(stream))
        .await?;
    tokio::spawn(connection);
    let client = H2 { send, uri: format!("https://{host}{path}") };
    Ok(vec![client; streams])
}

impl Operation for H2 {
    async fn once(&mut self) -> Result<()> {
        let request = hyper::Request::get(&self.uri)
            .header("user-agent", "bench/1")
            .header("accept", "*/*")
            .body(Empty::new())?;
        self.send.ready().await?;
        let answer = self.send.send_request(request).await?;
        let status = answer.status();
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        if status == 200 { Ok(()) } else { Err(status.to_string().into()) }
    }
}

/// Lets the operations together begin `per_second` times a second, at even distances, for `time`.
/// An operation's wait counts from the moment at which it was due, so that a server that stands
/// still can't hide behind clients that wait for it.
///
/// # Errors
/// If one of them fails.
pub async fn paced<O: Operation>(
    operations: &mut Vec<O>,
    per_second: f64,
    time: Duration,
) -> Result<Round> {
    let pace = Pace::begin(per_second);
    let ending = Arc::clone(&pace);
    tokio::spawn(async move {
        tokio::time::sleep(time).await;
        ending.end();
    });
    let start = Instant::now();
    let tasks: Vec<_> = operations
        .drain(..)
        .map(|mut operation| {
            let pace = Arc::clone(&pace);
            tokio::spawn(async move {
                let mut waits = Vec::new();
                while let Some(due) = pace.next().await {
                    operation.once().await?;
                    waits.push(due.elapsed());
                }
                Result::Ok((operation, waits))
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        let (operation, waits) = task.await??;
        operations.push(operation);
        all.extend(waits);
    }
    Ok(Round::ended(start, all))
}
