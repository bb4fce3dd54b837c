//! etcd as a peer: `KV.Put` over gRPC, one HTTP/2 connection per client.
//!
//! The message is two byte fields, so it is written by hand: etcd's JSON gateway would cost etcd
//! more, and a generated client would cost this workspace a protobuf compiler.

use crate::Result;
use crate::client::dial;
use crate::processes::Process;
use crate::rounds::Operation;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::path::Path;
use std::process::Command;

/// Starts etcd with its data in `directory`; answers its client address.
///
/// # Errors
/// If it isn't installed.
pub fn start(directory: &Path) -> Result<(Process, String)> {
    let (client, peer) = (crate::processes::free_address()?, crate::processes::free_address()?);
    let (client_url, peer_url) = (format!("http://{client}"), format!("http://{peer}"));
    let mut command = Command::new("etcd");
    command.arg("--data-dir").arg(directory.join("etcd"));
    command.args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url]);
    command.args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url]);
    command.args(["--initial-cluster", &format!("default={peer_url}")]);
    command.args(["--quota-backend-bytes", "8589934592", "--log-level", "warn"]);
    Ok((Process::start(&mut command, &directory.join("etcd.log"))?, client))
}

/// A client that puts values of one size under keys of its own.
#[derive(Debug)]
pub struct Putter {
    send: SendRequest<Full<Bytes>>,
    uri: String,
    name: String,
    value: Vec<u8>,
    count: u64,
}

impl Putter {
    /// Connects to etcd at `address`.
    ///
    /// # Errors
    /// If it doesn't answer.
    pub async fn connect(address: &str, name: String, value_bytes: usize) -> Result<Self> {
        let io = TokioIo::new(dial(address).await?);
        let (send, connection) = handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(connection);
        let uri = format!("http://{address}/etcdserverpb.KV/Put");
        let mut putter = Self { send, uri, name, value: vec![b'x'; value_bytes], count: 0 };
        for _ in 0..50 {
            // It listens before it has elected itself.
            if putter.once().await.is_ok() {
                return Ok(putter);
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        putter.once().await.map(|()| putter)
    }
}

impl Operation for Putter {
    async fn once(&mut self) -> Result<()> {
        self.count += 1;
        let key = format!("/bench/{}/{}", self.name, self.count);
        let mut message = Vec::with_capacity(self.value.len() + 64);
        for (tag, bytes) in [(0x0a, key.as_bytes()), (0x12, self.value.as_slice())] {
            message.push(tag);
            varint(bytes.len(), &mut message);
            message.extend_from_slice(bytes);
        }
        // gRPC's frame: not compressed, length, message.
        let mut body = vec![0];
        body.extend_from_slice(&u32::try_from(message.len())?.to_be_bytes());
        body.extend_from_slice(&message);
        let request = hyper::Request::post(&self.uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(Bytes::from(body)))?;
        self.send.ready().await?;
        let answer = self.send.send_request(request).await?;
        let early = answer.headers().get("grpc-status").cloned();
        let body = answer.into_body().collect().await?;
        let status = body.trailers().and_then(|all| all.get("grpc-status").cloned()).or(early);
        match status {
            Some(status) if status == "0" => Ok(()),
            other => Err(format!("etcd answered {other:?}").into()),
        }
    }
}

fn varint(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
