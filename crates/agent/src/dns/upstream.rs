//! The host's name servers, as its resolv.conf has them when a question comes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

const PORT: u16 = 53;
/// Name servers that are asked, as resolvers do.
const MAX_SERVERS: usize = 3;
/// How long one of them has to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Those of hosts that name none, as docker has it.
const FALLBACK: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)), IpAddr::V4(Ipv4Addr::new(8, 8, 4, 4))];

/// Who is asked.
pub(super) struct Upstream {
    resolv_conf: PathBuf,
    port: u16,
}

impl Upstream {
    /// Those of a resolv.conf.
    pub(super) fn new(resolv_conf: PathBuf) -> Self {
        Self { resolv_conf, port: PORT }
    }

    /// The answer of the first that gives one; none if nobody does.
    pub(super) async fn by_udp(&self, question: &[u8]) -> Option<Vec<u8>> {
        for server in self.servers().await {
            match tokio::time::timeout(PATIENCE, ask_udp(server, question)).await {
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(error)) => tracing::debug!(%server, %error, "a name server"),
                Err(_) => tracing::debug!(%server, "a name server doesn't answer"),
            }
        }
        None
    }

    /// As [`Upstream::by_udp`], by TCP.
    pub(super) async fn by_tcp(&self, question: &[u8]) -> Option<Vec<u8>> {
        for server in self.servers().await {
            match tokio::time::timeout(PATIENCE, ask_tcp(server, question)).await {
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(error)) => tracing::debug!(%server, %error, "a name server"),
                Err(_) => tracing::debug!(%server, "a name server doesn't answer"),
            }
        }
        None
    }

    async fn servers(&self) -> Vec<SocketAddr> {
        let text = tokio::fs::read_to_string(&self.resolv_conf).await.unwrap_or_default();
        let servers = servers(&text);
        servers.into_iter().map(|ip| SocketAddr::new(ip, self.port)).collect()
    }
}

/// The name servers of a resolv.conf. Those with a zone (`fe80::1%eth0`) are left out.
fn servers(resolv_conf: &str) -> Vec<IpAddr> {
    let address = |line: &str| {
        let rest = line.trim_start().strip_prefix("nameserver")?;
        rest.starts_with([' ', '\t']).then(|| rest.trim().parse().ok()).flatten()
    };
    let found: Vec<IpAddr> = resolv_conf.lines().filter_map(address).take(MAX_SERVERS).collect();
    if found.is_empty() { FALLBACK.to_vec() } else { found }
}

async fn ask_udp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // A socket, and a port, of its own: an answer can't be guessed by its number alone.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut answer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut answer).await?;
        if is_answer(question, &answer[..length]) {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

async fn ask_tcp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    write(&mut stream, question).await?;
    let answer = read(&mut stream).await?;
    if is_answer(question, &answer) { Ok(answer) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Whether it has the question's number and is a response.
fn is_answer(question: &[u8], answer: &[u8]) -> bool {
    answer.len() >= 12 && answer.get(..2) == question.get(..2) && answer[2] & 0x80 != 0
}

/// A message with its length before it.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Writes a message with its length before it.
pub(super) async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &[u8],
) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut whole = Vec::with_capacity(message.len() + 2);
    whole.extend_from_slice(&length.to_be_bytes());
    whole.extend_from_slice(message);
    stream.write_all(&whole).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn name_servers_are_read_as_resolvers_read_them() {
        let text = "# nameserver 192.0.2.9\nsearch a\nnameserver 127.0.0.53\nnameserver\t2001:db8::1\n\
                    nameserverx 192.0.2.8\nnameserver fe80::1%eth0\nnameserver 192.0.2.1\n\
                    nameserver 192.0.2.2\n";
        let expected: [IpAddr; 3] =
            ["127.0.0.53", "2001:db8::1", "192.0.2.1"].map(|text| text.parse().unwrap());
        assert_eq!(servers(text), expected);
        assert_eq!(servers("search a\n"), FALLBACK);
    }

    /// Two name servers: the first answers others' questions and then none, the second answers.
    #[tokio::test]
    async fn the_first_that_answers_counts() {
        let deaf = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = deaf.local_addr().unwrap().port();
        let server = UdpSocket::bind(("127.0.0.2", port)).await.unwrap();
        let tcp = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
        let question = [1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let answer = [1, 2, 0x81, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        tokio::spawn(async move {
            let mut buffer = [0; 64];
            let (_, client) = server.recv_from(&mut buffer).await.unwrap();
            server.send_to(&[9; 12], client).await.unwrap();
            server.send_to(&answer, client).await.unwrap();
        });
        tokio::spawn(async move {
            let (mut stream, _) = tcp.accept().await.unwrap();
            assert_eq!(read(&mut stream).await.unwrap(), question);
            write(&mut stream, &answer).await.unwrap();
        });
        let directory = tempfile::tempdir().unwrap();
        let resolv_conf = directory.path().join("resolv.conf");
        std::fs::write(&resolv_conf, "nameserver 127.0.0.1\nnameserver 127.0.0.2\n").unwrap();
        // Nothing listens on the first one any more: it says so at once.
        drop(deaf);
        let upstream = Upstream { resolv_conf, port };
        assert_eq!(upstream.by_udp(&question).await.unwrap(), answer);
        assert_eq!(upstream.by_tcp(&question).await.unwrap(), answer);
    }
}
