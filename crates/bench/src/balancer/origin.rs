//! What the proxies forward to: 1 KiB for every request, as cheaply as it can be said.

use crate::Result;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Where the origin listens.
pub const ORIGIN: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 99, 0, 1), 9000);
/// Bytes of an answer.
const BYTES: usize = 1024;

/// Serves on a thread of its own until the process ends.
///
/// # Errors
/// If the address is taken.
pub fn serve(address: SocketAddr) -> Result<()> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("origin".into()).spawn(move || {
        runtime.block_on(async move {
            let Ok(listener) = TcpListener::from_std(listener) else { return };
            let answer: &'static [u8] = answer().leak();
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(connection(stream, answer));
                }
            }
        });
    })?;
    Ok(())
}

fn answer() -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\nserver: origin\r\n\
         content-length: {BYTES}\r\n\r\n"
    );
    [head.into_bytes(), vec![b'x'; BYTES]].concat()
}

/// Requests have no bodies here, so each ends with its head.
async fn connection(mut stream: TcpStream, answer: &[u8]) {
    // It is about latency only; a socket that can't have it still answers.
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::with_capacity(4096);
    loop {
        match stream.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if !buffer.ends_with(b"\r\n\r\n") {
            continue;
        }
        let requests = buffer.windows(4).filter(|four| four == b"\r\n\r\n").count();
        buffer.clear();
        for _ in 0..requests {
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
    }
}
