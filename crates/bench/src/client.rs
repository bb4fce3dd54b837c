//! A lean HTTP/1.1 client that signs with SigV4: one keep-alive connection, one request at a time.
//!
//! Lean, since it shares the cores with what is measured; it knows only what the benches' servers
//! answer (Content-Length, no chunks).

use crate::Result;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What ECS's protocol calls its bodies.
const CONTENT_TYPE: &str = "application/x-amz-json-1.1";
/// What the Query protocol calls its bodies.
const FORM: &str = "application/x-www-form-urlencoded";

/// An access key with the signing key of one day.
#[derive(Debug, Clone)]
pub struct Key {
    access_key_id: String,
    secret: String,
    region: String,
    service: &'static str,
    day: String,
    signing_key: Vec<u8>,
}

impl Key {
    /// The root key in the data directory of a wharf.
    ///
    /// # Errors
    /// If there is none.
    pub fn of(data_dir: &Path) -> Result<Self> {
        let text = std::fs::read(data_dir.join("credentials"))?;
        let json: serde_json::Value = serde_json::from_slice(&text)?;
        let field = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        Ok(Self::new(field("AccessKeyId"), field("SecretAccessKey"), field("Region")))
    }

    /// A key; for servers that don't verify, any.
    pub fn new(access_key_id: String, secret: String, region: String) -> Self {
        let (day, signing_key) = (String::new(), Vec::new());
        Self { access_key_id, secret, region, service: "ecs", day, signing_key }
    }

    /// No key, to be replaced.
    pub fn new_empty() -> Self {
        Self::new(String::new(), String::new(), String::new())
    }

    /// The same for requests to another service than ECS.
    #[must_use]
    pub fn of_service(self, service: &'static str) -> Self {
        Self { service, day: String::new(), ..self }
    }

    /// The headers `x-amz-date` and `authorization` over `host` and, if there are any, the content
    /// type and `x-amz-target`.
    ///
    /// # Errors
    /// If the clock can't be read as a date.
    pub fn sign(&mut self, request: &Signable<'_>) -> Result<String> {
        let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let scope = format!("{}/{}/{}/aws4_request", &now[..8], self.region, self.service);
        if self.day != now[..8] {
            let mut key = mac(format!("AWS4{}", self.secret).as_bytes(), &now.as_bytes()[..8])?;
            for part in [self.region.as_str(), self.service, "aws4_request"] {
                key = mac(&key, part.as_bytes())?;
            }
            (self.day, self.signing_key) = (now[..8].to_owned(), key);
        }
        let Signable { method, path, query, host, content_type, target, body } = request;
        let mut canonical = format!("{method}\n{path}\n{query}\n");
        let mut signed = String::new();
        if let Some(content_type) = content_type {
            writeln!(canonical, "content-type:{content_type}")?;
            signed.push_str("content-type;");
        }
        signed.push_str("host;x-amz-date");
        writeln!(canonical, "host:{host}\nx-amz-date:{now}")?;
        if let Some(target) = target {
            writeln!(canonical, "x-amz-target:{target}")?;
            signed.push_str(";x-amz-target");
        }
        write!(canonical, "\n{signed}\n{}", hex::encode(Sha256::digest(body)))?;
        let digest = hex::encode(Sha256::digest(&canonical));
        let text = format!("AWS4-HMAC-SHA256\n{now}\n{scope}\n{digest}");
        let signature = hex::encode(mac(&self.signing_key, text.as_bytes())?);
        let id = &self.access_key_id;
        Ok(format!(
            "x-amz-date: {now}\r\nauthorization: AWS4-HMAC-SHA256 Credential={id}/{scope}, \
             SignedHeaders={signed}, Signature={signature}\r\n"
        ))
    }
}

/// What a signature covers.
#[derive(Debug, Clone, Copy)]
pub struct Signable<'a> {
    /// HTTP method.
    pub method: &'a str,
    /// Path, encoded.
    pub path: &'a str,
    /// Query, encoded and sorted.
    pub query: &'a str,
    /// The Host header.
    pub host: &'a str,
    /// The Content-Type header.
    pub content_type: Option<&'a str>,
    /// The X-Amz-Target header.
    pub target: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
}

fn mac(key: &[u8], data: &[u8]) -> Result<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key)?;
    mac.update(data);
    Ok(mac.finalize().into_bytes().to_vec())
}

/// A connection to an API.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    host: String,
    key: Key,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects to `host` (`address:port`), trying for ten seconds: it may be starting.
    ///
    /// # Errors
    /// If nobody listens.
    pub async fn connect(host: &str, key: &Key) -> Result<Self> {
        let stream = dial(host).await?;
        let (host, key) = (host.to_owned(), key.clone());
        Ok(Self { stream, host, key, buffer: Vec::with_capacity(16 << 10) })
    }

    /// Calls an operation of ECS with a JSON body; answers the body.
    ///
    /// # Errors
    /// If the connection breaks or the answer's status isn't 200.
    pub async fn call(&mut self, operation: &str, body: &[u8]) -> Result<&[u8]> {
        let target = format!("AmazonEC2ContainerServiceV20141113.{operation}");
        self.call_target(&target, body).await
    }

    /// As [`Client::call`], of any service whose key this is.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn call_target(&mut self, target: &str, body: &[u8]) -> Result<&[u8]> {
        let request = Signable {
            method: "POST",
            path: "/",
            query: "",
            host: &self.host,
            content_type: Some(CONTENT_TYPE),
            target: Some(target),
            body,
        };
        let signature = self.key.sign(&request)?;
        let mut head = format!(
            "POST / HTTP/1.1\r\nhost: {}\r\ncontent-type: {CONTENT_TYPE}\r\n\
             x-amz-target: {target}\r\n{signature}content-length: {}\r\n\r\n",
            self.host,
            body.len()
        )
        .into_bytes();
        head.extend_from_slice(body);
        self.exchange(&head).await
    }

    /// Posts a form, as the services of the Query protocol want it; answers the body.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn form(&mut self, form: &str) -> Result<String> {
        let request = Signable {
            method: "POST",
            path: "/",
            query: "",
            host: &self.host,
            content_type: Some(FORM),
            target: None,
            body: form.as_bytes(),
        };
        let signature = self.key.sign(&request)?;
        let head = format!(
            "POST / HTTP/1.1\r\nhost: {}\r\ncontent-type: {FORM}\r\n\
             {signature}content-length: {}\r\n\r\n{form}",
            self.host,
            form.len()
        );
        let answer = self.exchange(head.as_bytes()).await?;
        Ok(std::str::from_utf8(answer)?.to_owned())
    }

    /// As [`Client::call`], with values.
    ///
    /// # Errors
    /// As [`Client::call`], or if the answer isn't JSON.
    pub async fn json(
        &mut self,
        operation: &str,
        body: serde_json::Value,
    ) -> Result<serde_json::Value> {
        let answer = self.call(operation, body.to_string().as_bytes()).await?;
        Ok(serde_json::from_slice(answer)?)
    }

    /// Sends a GET with headers of about an API call's size.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn get(&mut self, path: &str) -> Result<&[u8]> {
        let head = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.host);
        self.exchange(head.as_bytes()).await
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<&[u8]> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let end = loop {
            self.fill().await?;
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let head = std::str::from_utf8(&self.buffer[..end])?.to_ascii_lowercase();
        let ok = head.split(' ').nth(1) == Some("200");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.ok_or("no content-length")?.trim().parse()?;
        while self.buffer.len() < end + length {
            self.fill().await?;
        }
        let body = &self.buffer[end..];
        if ok { Ok(body) } else { Err(String::from_utf8_lossy(&self.buffer).into()) }
    }

    async fn fill(&mut self) -> Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err("the server closed the connection".into()),
            _ => Ok(()),
        }
    }
}

/// Connects, trying for ten seconds.
///
/// # Errors
/// If nobody listens by then.
pub async fn dial(host: &str) -> Result<TcpStream> {
    for _ in 0..1000 {
        if let Ok(stream) = TcpStream::connect(host).await {
            stream.set_nodelay(true)?;
            return Ok(stream);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err(format!("nobody listens on {host}").into())
}
