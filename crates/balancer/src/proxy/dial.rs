//! Connections to targets.

use super::pieces;
use crate::tls;
use rustls_pki_types::ServerName;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A connection to a target may take so long to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to a target.
pub(crate) enum Dialed {
    /// As it is.
    Plain(TcpStream),
    /// Over TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connects to a target from `source`, or from what the host chooses.
pub(crate) async fn dial(
    address: SocketAddr,
    source: Option<Ipv4Addr>,
    tls: bool,
    http2: bool,
) -> io::Result<Dialed> {
    if !permitted(address.ip()) {
        let text = format!("{address} is no address that a target can have");
        return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, text));
    }
    tokio::time::timeout(CONNECT_TIMEOUT, connect(address, source, tls, http2))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn connect(
    address: SocketAddr,
    source: Option<Ipv4Addr>,
    tls: bool,
    http2: bool,
) -> io::Result<Dialed> {
    let stream = open(address, source).await?;
    stream.set_nodelay(true)?;
    if !tls {
        return Ok(Dialed::Plain(stream));
    }
    let connector = TlsConnector::from(tls::to_targets(http2));
    let name = ServerName::IpAddress(address.ip().into());
    // Large, and rare: boxed, so that the state of every request is small.
    Ok(Dialed::Tls(Box::new(Box::pin(connector.connect(name, stream)).await?)))
}

/// A connection over TCP.
pub(crate) async fn open(address: SocketAddr, source: Option<Ipv4Addr>) -> io::Result<TcpStream> {
    let Some(source) = source else { return TcpStream::connect(address).await };
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    socket.connect(address).await
}

/// Link-local addresses are those of metadata services, and nobody's service.
fn permitted(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(ip) => {
            !(ip.is_unspecified() || ip.is_link_local() || ip.is_multicast() || ip.is_broadcast())
        }
        IpAddr::V6(ip) => {
            let metadata = ip.segments()[..2] == [0xfd00, 0x0ec2];
            !(ip.is_unspecified() || ip.is_unicast_link_local() || ip.is_multicast() || metadata)
        }
    }
}

macro_rules! either {
    ($self:ident, $inner:ident => $call:expr) => {
        match $self.get_mut() {
            Dialed::Plain($inner) => {
                let $inner = Pin::new($inner);
                $call
            }
            Dialed::Tls($inner) => {
                let $inner = Pin::new($inner.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Dialed {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, inner => inner.poll_read(cx, buf))
    }
}

impl AsyncWrite for Dialed {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, inner => inner.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, inner => pieces::poll_write(inner, cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(inner) => inner.is_write_vectored(),
            Self::Tls(inner) => inner.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, inner => inner.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, inner => inner.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_services_are_no_targets() {
        for address in [
            "169.254.169.254",
            "0.0.0.0",
            "224.0.0.1",
            "::ffff:169.254.170.2",
            "fe80::1",
            "fd00:ec2::254",
        ] {
            assert!(!permitted(address.parse().unwrap()), "{address}");
        }
        for address in ["10.0.0.1", "127.0.0.1", "fd00::1"] {
            assert!(permitted(address.parse().unwrap()), "{address}");
        }
    }
}
