//! `wharf balancer`: carries out what the server says of load balancers, and tells it what came of
//! it. It goes on without the server.

mod addresses;
mod link;
mod reported;

use crate::cli::BalancerArgs;
use crate::credentials::{self, Credentials};
use crate::data_dir::{self, DataDir};
use crate::hosts::Block;
use crate::process::{self, ProcessFile};
use addresses::Places;
use link::Link;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wharf_agent::AgentCredentials;
use wharf_agent::api::EcsClient;
use wharf_agent::api::sign::Signer;
use wharf_agent::task::Secret;
use wharf_balancer::Options;
use wharf_model::ArnScope;

/// Messages that may wait on their way in either direction.
const WAITING: usize = 64;

/// Why the balancer ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] data_dir::Error),
    /// No key.
    #[error(transparent)]
    Credentials(#[from] credentials::Error),
    /// The balancer itself.
    #[error(transparent)]
    Balancer(#[from] wharf_balancer::Error),
    /// The server's address or the authorities' certificates.
    #[error(transparent)]
    Server(#[from] wharf_agent::api::Error),
}

/// Balances until `shutdown`.
///
/// # Errors
/// If there is no key, or the server's address is none.
pub async fn run(
    data_dir: &DataDir,
    args: &BalancerArgs,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let path = data_dir.balancer_credentials();
    process::raise_open_files();
    let key: Credentials = data_dir::read_json(&path)?.ok_or(credentials::Error::Missing(path))?;
    let credentials = AgentCredentials {
        access_key_id: key.access_key_id,
        secret_access_key: Secret::new(key.secret_access_key),
        session_token: None,
    };
    let client = EcsClient::to(&args.server, None, Signer::new(&credentials, &args.region))?;
    let (updates, from_server) = mpsc::channel(WAITING);
    let (to_balancer, for_balancer) = mpsc::channel(WAITING);
    let (to_server, reports) = mpsc::channel(WAITING);
    let link = Link { client, server: args.server.clone(), updates, reports };
    ProcessFile::of_this_process("balancer", Vec::new()).write(data_dir)?;
    let link = tokio::spawn(link.run(shutdown.clone()));
    // Ordinary users can't change the hosts file, and ask for nothing of the kind.
    let names = rustix::process::geteuid().is_root() && !args.host.no_hosts;
    let block = || Block::new(args.host.etc.join("hosts"), data_dir, "balancer");
    let places = Places { instance: data_dir.instance(), names: names.then(block) };
    let addresses = tokio::spawn(addresses::keep(places, from_server, to_balancer));
    let done =
        wharf_balancer::run(options(data_dir, args), for_balancer, to_server, shutdown).await;
    addresses.abort();
    link.abort();
    Ok(done?)
}

fn options(data_dir: &DataDir, args: &BalancerArgs) -> Options {
    Options {
        public_address: args.public_address,
        zone: Some(format!("{}a", args.region)),
        access_logs: args.access_logs.clone(),
        arns: Some(ArnScope { region: args.region.clone(), account: args.account.clone() }),
        // Only a supervisor keeps sockets.
        keeper: Some(data_dir.socket_keeper()).filter(|path| path.exists()),
        ..Options::new(data_dir.balancer())
    }
}
