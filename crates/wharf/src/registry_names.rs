//! The name that ECR would give the registry: `<account>.dkr.ecr.<region>.amazonaws.com`, served with
//! TLS at an address of its own on loopback, and told to the clients of this host.
//!
//! None of it is needed: where a port is taken or a file can't be changed, the log says so, and images
//! are named by the server's own address.

use crate::authority::Authority;
use crate::cli::ServerArgs;
use crate::data_dir::DataDir;
use crate::hosts::Block;
use crate::local_ports::{self, Translation};
use crate::trust;
use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use wharf_gateway::http::{RegistryDoor, Server};
use wharf_gateway::registry::PublicName;

/// The part of the hosts file that is the registry's.
const PART: &str = "registry";
/// The addresses to choose from: each wharf of a host takes the first that is free.
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 80, 0, 1);
const ADDRESSES: u32 = 64;
/// What clients connect to, and what is listened on.
const TLS: (u16, u16) = (443, 4443);
const PLAIN: (u16, u16) = (80, 4480);
/// How often the certificate is made anew; it is good for three times as long.
const RENEWAL: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long what the hosts file said is taken for true.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The registry's name on this host.
pub struct RegistryName {
    name: String,
    block: Block,
    no_hosts: bool,
}

impl RegistryName {
    /// The name of this account's and region's registry.
    pub fn new(data_dir: &DataDir, args: &ServerArgs) -> Self {
        let name = format!("{}.dkr.ecr.{}.amazonaws.com", args.account, args.region);
        let no_hosts = args.host.no_hosts;
        Self { name, block: block(data_dir, &args.host.etc), no_hosts }
    }

    /// Says whether clients reach the registry by its name: while it stands in the hosts file.
    pub fn public(&self) -> PublicName {
        if self.no_hosts {
            return Arc::new(|| None);
        }
        let (name, block) = (self.name.clone(), self.block.clone());
        let known: Mutex<Option<(Instant, bool)>> = Mutex::default();
        Arc::new(move || {
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            let fresh = known.filter(|(at, _)| at.elapsed() < LOOK_AGAIN);
            let (_, stands) = *known.insert(match fresh {
                Some(fresh) => fresh,
                None => (Instant::now(), block.has(&name)),
            });
            stands.then(|| name.clone())
        })
    }

    /// Listens for the registry with TLS and without, and publishes the name. What doesn't succeed is
    /// logged.
    pub async fn serve(
        &self,
        data_dir: &DataDir,
        args: &ServerArgs,
        server: &mut Server,
        shutdown: &CancellationToken,
    ) {
        if let Err(error) = self.try_serve(data_dir, args, server, shutdown).await {
            tracing::warn!(
                name = self.name,
                error = %crate::chain(error.as_ref()),
                "the registry has no name of its own: images are named by the API's address"
            );
            // One of an earlier run would lead nowhere.
            withdraw(data_dir, &args.host.etc);
        }
    }

    async fn try_serve(
        &self,
        data_dir: &DataDir,
        args: &ServerArgs,
        server: &mut Server,
        shutdown: &CancellationToken,
    ) -> Result<(), crate::AnyError> {
        // Ordinary users can publish nothing, and ask for nothing of the kind.
        if self.no_hosts || !rustix::process::geteuid().is_root() {
            withdraw(data_dir, &args.host.etc);
            return Ok(());
        }
        let authority = Authority::load_or_create(data_dir, Timestamp::now())?;
        let certificate = authority.certificate().to_owned();
        let (address, tls, plain) = listen().await?;
        let names = vec![self.name.clone(), address.to_string()];
        let served =
            Arc::new(Served(ArcSwap::from_pointee(authority.issue(&names, Timestamp::now())?)));
        let config = tls_config(Arc::clone(&served))?;
        server.open_registry_door(RegistryDoor {
            listener: tls,
            names: names.clone(),
            tls: Some(Arc::new(config)),
        })?;
        server.open_registry_door(RegistryDoor {
            listener: plain,
            names: names.clone(),
            tls: None,
        })?;
        tokio::spawn(renew(authority, names, served, shutdown.clone()));
        tracing::info!(%address, name = self.name, "serving the registry with TLS");
        let translations = [TLS, PLAIN].map(|(from, to)| Translation { address, from, to });
        local_ports::translate(&data_dir.instance(), &translations)?;
        let entries = [(IpAddr::V4(address), self.name.clone())];
        if let Some(taken) = self.block.publish(&entries)?.pop() {
            tracing::warn!(
                name = taken.name,
                "{} has the registry's name: images are named by the API's address",
                taken.by
            );
            return Ok(());
        }
        trust::publish(data_dir, &args.host.etc, &self.name, &certificate)?;
        Ok(())
    }
}

fn block(data_dir: &DataDir, etc: &Path) -> Block {
    Block::new(etc.join("hosts"), data_dir, PART)
}

/// Takes the names of all of this wharf's parts out of the hosts file, and what else [`withdraw`] does:
/// for when none of its processes runs any more.
pub fn withdraw_all(data_dir: &DataDir, etc: &Path) {
    withdraw(data_dir, etc);
    if rustix::process::geteuid().is_root()
        && let Err(error) = block(data_dir, etc).withdraw_all()
    {
        eprintln!("wharf: names stay in the hosts file: {}", crate::chain(&error));
    }
}

/// Takes the registry's name out of the hosts file, and the authority away from clients.
pub fn withdraw(data_dir: &DataDir, etc: &Path) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let own = block(data_dir, etc);
    if own.exists()
        && let Err(error) = own.publish(&[])
    {
        tracing::warn!(error = %crate::chain(&error), "names stay in the hosts file");
    }
    // A host without nft has nothing to end.
    if let Err(error) = local_ports::end(&data_dir.instance()) {
        tracing::debug!(%error, "ports can't be given back");
    }
    if let Err(error) = trust::withdraw(data_dir, etc) {
        tracing::warn!(error = %crate::chain(&error), "certificates stay where clients find them");
    }
}

/// The first address where both ports are free.
async fn listen() -> std::io::Result<(Ipv4Addr, TcpListener, TcpListener)> {
    for n in 0..ADDRESSES {
        let address = Ipv4Addr::from_bits(FIRST.to_bits() + n);
        match bind(address).await {
            Ok((tls, plain)) => return Ok((address, tls, plain)),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
    let (tls, plain) = (TLS.1, PLAIN.1);
    let text = format!("ports {tls} and {plain} are taken at {FIRST} and the {ADDRESSES} after it");
    Err(std::io::Error::new(std::io::ErrorKind::AddrInUse, text))
}

async fn bind(address: Ipv4Addr) -> std::io::Result<(TcpListener, TcpListener)> {
    let tls = TcpListener::bind((address, TLS.1)).await?;
    Ok((tls, TcpListener::bind((address, PLAIN.1)).await?))
}

/// The certificate of the moment.
#[derive(Debug)]
struct Served(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

fn tls_config(served: Arc<Served>) -> Result<rustls::ServerConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(served);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Makes the certificate anew, long before it ends.
async fn renew(
    authority: Authority,
    names: Vec<String>,
    served: Arc<Served>,
    shutdown: CancellationToken,
) {
    while shutdown.run_until_cancelled(tokio::time::sleep(RENEWAL)).await.is_some() {
        match authority.issue(&names, Timestamp::now()) {
            Ok(key) => served.0.store(Arc::new(key)),
            Err(error) => tracing::error!(%error, "the registry's certificate isn't renewed"),
        }
    }
}
