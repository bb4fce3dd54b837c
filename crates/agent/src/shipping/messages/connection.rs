//! A connection to a receiver of messages.

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, UnixStream};
use tokio_rustls::client::TlsStream;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A socket that is connected.
pub(super) enum Connection {
    Udp(UdpSocket),
    Datagram(UnixDatagram),
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection {
    pub(super) async fn udp(host: &str, port: u16) -> io::Result<Self> {
        let addresses =
            resolve(host, port).await.map_err(|error| told("udp", host, port, &error))?;
        let address = addresses.into_iter().next().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(address).await.map_err(|error| told("udp", host, port, &error))?;
        Ok(Self::Udp(socket))
    }

    pub(super) async fn tcp(host: &str, port: u16) -> io::Result<Self> {
        Ok(Self::Tcp(connect(host, port).await?))
    }

    /// TLS, by the host's certificates or those of a file.
    pub(super) async fn tls(host: &str, port: u16, ca_cert: Option<&str>) -> io::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        match ca_cert {
            Some(path) => {
                let read = |error: &dyn std::fmt::Display| {
                    io::Error::other(format!("could not read CA certificate {path:?}: {error}"))
                };
                for certificate in CertificateDer::pem_file_iter(path).map_err(|e| read(&e))? {
                    let certificate = certificate.map_err(|error| read(&error))?;
                    roots.add(certificate).map_err(|error| read(&error))?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = connector.connect(name, connect(host, port).await?);
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, stream)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
        Ok(Self::Tls(Box::new(stream.map_err(|error| told("tcp", host, port, &error))?)))
    }

    pub(super) async fn unix(path: &str) -> io::Result<Self> {
        let stream = UnixStream::connect(path).await;
        let told = |error| io::Error::other(format!("dial unix {path}: {error}"));
        Ok(Self::Unix(stream.map_err(told)?))
    }

    pub(super) fn datagram(path: &str) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        let told = |error| io::Error::other(format!("dial unixgram {path}: {error}"));
        socket.connect(path).map_err(told)?;
        Ok(Self::Datagram(socket))
    }

    /// A socket that a container has made in a directory of its own. It leads nowhere else: a link
    /// isn't followed.
    pub(super) async fn within(directory: &Path, name: &str) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let opened = |directory: &Path| -> io::Result<_> {
            let flags = flags | OFlags::DIRECTORY;
            let directory = rustix::fs::openat(CWD, directory, flags, Mode::empty())?;
            Ok(rustix::fs::openat(&directory, name, OFlags::PATH | flags_of_file(), Mode::empty())?)
        };
        let socket = opened(directory)?;
        if FileType::from_raw_mode(rustix::fs::fstat(&socket)?.st_mode) != FileType::Socket {
            return Err(io::Error::other(format!("{name} is no socket")));
        }
        let path = format!("/proc/self/fd/{}", socket.as_raw_fd());
        Ok(Self::Unix(UnixStream::connect(path).await?))
    }

    /// Writes all of it. What was written to a receiver that has gone in the same moment is lost, as
    /// with any stream that isn't acknowledged; one that has gone before is an error.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.check_open()?;
        match self {
            // There is nobody to wait for, and no promise.
            Self::Udp(socket) => match socket.send(bytes).await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    drop(socket.send(bytes).await);
                    Ok(())
                }
                sent => sent.map(drop),
            },
            Self::Datagram(socket) => socket.send(bytes).await.map(drop),
            Self::Tcp(stream) => stream.write_all(bytes).await,
            Self::Unix(stream) => stream.write_all(bytes).await,
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }

    /// The next bytes of a stream; an end is an error.
    pub(super) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match self {
            Self::Tcp(stream) => stream.read(buffer).await?,
            Self::Unix(stream) => stream.read(buffer).await?,
            Self::Tls(stream) => stream.read(buffer).await?,
            Self::Udp(_) | Self::Datagram(_) => 0,
        };
        if count == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(count) }
    }

    /// An error if the other end was closed. What it sends unasked is passed over.
    fn check_open(&self) -> io::Result<()> {
        let mut byte = [0; 64];
        let tried = match self {
            Self::Tcp(stream) => stream.try_read(&mut byte),
            Self::Unix(stream) => stream.try_read(&mut byte),
            Self::Tls(_) | Self::Udp(_) | Self::Datagram(_) => return Ok(()),
        };
        match tried {
            Ok(0) => Err(io::ErrorKind::ConnectionReset.into()),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn flags_of_file() -> OFlags {
    OFlags::CLOEXEC | OFlags::NOFOLLOW
}

async fn resolve(host: &str, port: u16) -> io::Result<Vec<std::net::SocketAddr>> {
    Ok(tokio::net::lookup_host((host, port)).await?.collect())
}

async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect((host, port))).await;
    let stream = stream.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    stream.map_err(|error| told("tcp", host, port, &error))
}

/// An error of connecting, as docker says it.
fn told(network: &str, host: &str, port: u16, error: &io::Error) -> io::Error {
    let why = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => error.to_string(),
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    io::Error::new(error.kind(), format!("dial {network} {host}:{port}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[tokio::test]
    async fn a_routers_socket_is_a_socket_and_no_link() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let error = |name| async move { Connection::within(path, name).await.err().unwrap() };
        assert_eq!(error("none").await.kind(), io::ErrorKind::NotFound);
        std::fs::write(path.join("file"), "").unwrap();
        assert!(error("file").await.to_string().contains("is no socket"));
        let listener = UnixListener::bind(path.join("socket")).unwrap();
        std::os::unix::fs::symlink("socket", path.join("link")).unwrap();
        assert!(error("link").await.to_string().contains("is no socket"));
        let mut connection = Connection::within(path, "socket").await.unwrap();
        connection.write(b"hello").await.unwrap();
        let (mut taken, _) = listener.accept().unwrap();
        let mut buffer = [0; 5];
        std::io::Read::read_exact(&mut taken, &mut buffer).unwrap();
        assert_eq!(&buffer, b"hello");
        // One that has gone is told before something is lost.
        drop(taken);
        assert!(connection.write(b"lost").await.is_err());
    }

    /// A server that says what came first over TLS, and the file of its certificate.
    async fn tls_server(directory: &Path) -> (u16, String, tokio::task::JoinHandle<String>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let file = directory.join("ca.pem");
        std::fs::write(&file, made.cert.pem()).unwrap();
        let key =
            rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { return String::new() };
            let mut buffer = [0; 64];
            let count = stream.read(&mut buffer).await.unwrap_or(0);
            String::from_utf8_lossy(&buffer[..count]).into_owned()
        });
        (port, file.to_str().unwrap().to_owned(), server)
    }

    #[tokio::test]
    async fn tls_believes_the_certificates_that_it_is_given() {
        let directory = tempfile::tempdir().unwrap();
        let (port, file, server) = tls_server(directory.path()).await;
        let mut connection = Connection::tls("localhost", port, Some(&file)).await.unwrap();
        connection.write(b"3 abc").await.unwrap();
        assert_eq!(server.await.unwrap(), "3 abc");
        let (port, ..) = tls_server(directory.path()).await;
        let refused = Connection::tls("localhost", port, None).await.err().unwrap();
        assert!(refused.to_string().contains("certificate"), "{refused}");
        let missing = Connection::tls("localhost", port, Some("/none")).await.err().unwrap();
        assert!(missing.to_string().contains("CA certificate"), "{missing}");
    }
}
