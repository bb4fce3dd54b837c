//! The name server of tasks, at 169.254.169.253 as in a VPC of Amazon's: load balancers by their names
//! as soon as they are there, everything else as the host's own name servers have it.
//!
//! It listens on the bridge's own address, where the runtime leads that one to. While no agent runs
//! tasks ask the host's name servers, which stand behind it in their resolv.conf.

mod answer;
mod upstream;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use wharf_wire::acs::NetworkPolicyMessage;

use answer::{Answer, answer, failure};
use upstream::Upstream;

/// The longest question by UDP; longer ones come by TCP.
const MAX_DATAGRAM: usize = 4096;
/// Questions that are passed on at once; resolvers ask again for what is dropped.
const MAX_FORWARDED: usize = 512;
/// Connections at once.
const MAX_CONNECTIONS: usize = 128;
/// How long a client may say nothing.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a port is looked for that is free for both UDP and TCP.
const PORT_ATTEMPTS: usize = 16;

/// The names of load balancers with the addresses that tasks reach them at. Nothing is said of them
/// before the control plane has told which there are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names(Arc<RwLock<Option<BTreeMap<String, Ipv4Addr>>>>);

impl Names {
    /// Takes what the control plane tells.
    pub(crate) fn apply(&self, message: &NetworkPolicyMessage) {
        let Some(names) = &message.load_balancers else { return };
        let told = names.iter().filter_map(|one| {
            Some((one.name.as_ref()?.to_ascii_lowercase(), one.address.as_ref()?.parse().ok()?))
        });
        let told = told.collect();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(told);
    }

    fn answer(&self, question: &[u8]) -> Answer {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        answer(question, known.as_ref())
    }
}

/// The name server.
#[derive(Clone)]
pub(crate) struct Resolver {
    names: Names,
    upstream: Arc<Upstream>,
}

impl Resolver {
    /// With names of its own, and the name servers that a resolv.conf has at the time.
    pub(crate) fn new(names: Names, resolv_conf: PathBuf) -> Self {
        Self { names, upstream: Arc::new(Upstream::new(resolv_conf)) }
    }

    /// Listens on an address until `stop`; the port.
    pub(crate) async fn start(
        self,
        address: Ipv4Addr,
        stop: CancellationToken,
    ) -> std::io::Result<u16> {
        let (udp, tcp) = bind(address).await?;
        let port = tcp.local_addr()?.port();
        tokio::spawn(self.clone().datagrams(Arc::new(udp), stop.clone()));
        tokio::spawn(self.connections(tcp, stop));
        Ok(port)
    }

    async fn datagrams(self, socket: Arc<UdpSocket>, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(MAX_FORWARDED));
        let mut buffer = vec![0; MAX_DATAGRAM];
        loop {
            let received = tokio::select! {
                received = socket.recv_from(&mut buffer) => received,
                () = stop.cancelled() => return,
            };
            // An error is that of an answer whose client has gone.
            let Ok((length, client)) = received else { continue };
            let question = &buffer[..length];
            match self.names.answer(question) {
                Answer::Own(answer) => drop(socket.send_to(&answer, client).await),
                Answer::Nothing => {}
                Answer::Upstream => {
                    let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                    let (question, socket) = (question.to_vec(), Arc::clone(&socket));
                    let upstream = Arc::clone(&self.upstream);
                    tokio::spawn(async move {
                        let answered = upstream.by_udp(&question).await;
                        reply(&socket, client, answered.or_else(|| failure(&question))).await;
                        drop(place);
                    });
                }
            }
        }
    }

    async fn connections(self, listener: TcpListener, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => return,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
            let resolver = self.clone();
            tokio::spawn(async move {
                // Who breaks off has no use for an answer.
                let _ = resolver.converse(stream).await;
                drop(place);
            });
        }
    }

    /// One question after the other.
    async fn converse(&self, mut stream: TcpStream) -> std::io::Result<()> {
        loop {
            let question =
                tokio::time::timeout(CLIENT_TIMEOUT, upstream::read(&mut stream)).await??;
            let answer = match self.names.answer(&question) {
                Answer::Own(answer) => Some(answer),
                Answer::Nothing => None,
                Answer::Upstream => {
                    self.upstream.by_tcp(&question).await.or_else(|| failure(&question))
                }
            };
            let Some(answer) = answer else { return Ok(()) };
            tokio::time::timeout(CLIENT_TIMEOUT, upstream::write(&mut stream, &answer)).await??;
        }
    }
}

async fn reply(socket: &UdpSocket, client: SocketAddr, answer: Option<Vec<u8>>) {
    if let Some(answer) = answer {
        // A client that has gone is no trouble.
        let _ = socket.send_to(&answer, client).await;
    }
}

/// Two sockets on the same port.
async fn bind(address: Ipv4Addr) -> std::io::Result<(UdpSocket, TcpListener)> {
    let mut attempts = 0;
    loop {
        let udp = UdpSocket::bind((address, 0)).await?;
        match TcpListener::bind((address, udp.local_addr()?.port())).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if attempts >= PORT_ATTEMPTS => return Err(error),
            Err(_) => attempts += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simple_dns::{CLASS, Name, Packet, QCLASS, QTYPE, Question, RCODE, TYPE, rdata::RData};
    use wharf_wire::acs::PolicyLoadBalancer;

    fn question(name: &str) -> Vec<u8> {
        let mut packet = Packet::new_query(4711);
        let name = Name::new(name).unwrap();
        let (kind, class) = (QTYPE::TYPE(TYPE::A), QCLASS::CLASS(CLASS::IN));
        packet.questions.push(Question::new(name, kind, class, false));
        packet.build_bytes_vec().unwrap()
    }

    fn told(names: &[(&str, &str)]) -> NetworkPolicyMessage {
        let text = |t: &str| Some(t.to_owned());
        let name = |(name, address): &(&str, &str)| PolicyLoadBalancer {
            name: text(name),
            address: text(address),
            groups: None,
        };
        NetworkPolicyMessage {
            load_balancers: Some(names.iter().map(name).collect()),
            ..NetworkPolicyMessage::default()
        }
    }

    async fn by_udp(port: u16, question: &[u8]) -> Vec<u8> {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(question, ("127.0.0.1", port)).await.unwrap();
        let mut buffer = vec![0; 512];
        let received =
            tokio::time::timeout(Duration::from_secs(10), socket.recv(&mut buffer)).await;
        buffer.truncate(received.unwrap().unwrap());
        buffer
    }

    fn address(answer: &[u8]) -> (RCODE, Option<Ipv4Addr>) {
        let packet = Packet::parse(answer).unwrap();
        let found = packet.answers.iter().find_map(|record| match &record.rdata {
            RData::A(a) => Some(Ipv4Addr::from(a.address)),
            _ => None,
        });
        (packet.rcode(), found)
    }

    /// The loopback has a name server on port 53 only if the test makes one: a resolv.conf can't name
    /// a port, so what is passed on ends there, or as a failure that says so.
    #[tokio::test]
    async fn names_are_answered_as_soon_as_they_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let resolv_conf = directory.path().join("resolv.conf");
        // Nobody is there.
        std::fs::write(&resolv_conf, "nameserver 127.251.253.7\n").unwrap();
        let names = Names::default();
        let stop = CancellationToken::new();
        let resolver = Resolver::new(names.clone(), resolv_conf);
        let port = resolver.start(Ipv4Addr::LOCALHOST, stop.clone()).await.unwrap();
        let ours = question("Web-1.us-east-1.elb.localhost");
        assert_eq!(address(&by_udp(port, &ours).await), (RCODE::ServerFailure, None), "not told");
        names.apply(&told(&[]));
        assert_eq!(address(&by_udp(port, &ours).await), (RCODE::NameError, None));
        names.apply(&told(&[("web-1.us-east-1.elb.localhost", "10.0.0.9")]));
        let found = (RCODE::NoError, Some(Ipv4Addr::new(10, 0, 0, 9)));
        assert_eq!(address(&by_udp(port, &ours).await), found);

        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        for (name, expected) in [
            ("web-1.us-east-1.elb.localhost", found),
            ("other.example", (RCODE::ServerFailure, None)),
        ] {
            upstream::write(&mut stream, &question(name)).await.unwrap();
            assert_eq!(address(&upstream::read(&mut stream).await.unwrap()), expected, "{name}");
        }
        let elsewhere = by_udp(port, &question("other.example")).await;
        assert_eq!(address(&elsewhere), (RCODE::ServerFailure, None));
        stop.cancel();
    }
}
