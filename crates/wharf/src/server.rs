//! `wharf server`: opens the state, starts the control plane and serves the API.

use crate::adapters::{ControlSessions, GatewayHistory};
use crate::cli::ServerArgs;
use crate::credentials::{self, Credentials};
use crate::data_dir::{self, DataDir};
use crate::outside;
use crate::process::ProcessFile;
use crate::registry_names::{self, RegistryName};
use crate::seal_key;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use wharf_control::{Control, OpenCertificate, Options as ControlOptions, roles};
use wharf_gateway::acm;
use wharf_gateway::credentials::{Keys, task_credentials};
use wharf_gateway::http::{Options as HttpOptions, Server};
use wharf_gateway::iam::first_start;
use wharf_gateway::registry::{self, Quotas, RegistryParts};
use wharf_gateway::seal::SealKey;
use wharf_gateway::sigv4::{Clock as _, Secret, SystemClock};
use wharf_gateway::vault::Vault;
use wharf_gateway::{App, Parts};
use wharf_journal::{EmbeddedJournal, History, HistoryOptions, Store};
use wharf_logs::{LogStore, LogStoreOptions};
use wharf_model::load_balancing::KeyPair;
use wharf_model::network::{BuiltinVpc, Ipv4Range};
use wharf_model::{ArnScope, ClusterName, Principal, RecordKey, Revision, Transaction};
use wharf_registry::LocalStorage;

/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 3600 * 1000;
/// How often logs are looked through for what has expired; reads leave it out from the moment on.
const LOG_EXPIRY_INTERVAL: Duration = Duration::from_secs(600);

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] data_dir::Error),
    /// The root key.
    #[error(transparent)]
    Credentials(#[from] credentials::Error),
    /// The journal can't be opened.
    #[error("can't open the journal")]
    Journal(#[from] wharf_journal::Error),
    /// The state in it can't be read, or written.
    #[error("can't use the state in the journal")]
    Store(#[from] wharf_journal::StoreError),
    /// The history can't be opened.
    #[error(transparent)]
    History(#[from] wharf_journal::HistoryError),
    /// The server's own key.
    #[error(transparent)]
    SealKey(#[from] seal_key::Error),
    /// The log store can't be opened.
    #[error(transparent)]
    Logs(#[from] wharf_logs::Error),
    /// The image registry can't be opened.
    #[error(transparent)]
    Registry(#[from] wharf_registry::Error),
    /// The address can't be listened on.
    #[error(transparent)]
    Http(#[from] wharf_gateway::http::Error),
    /// One of its loops has panicked.
    #[error("the server can't go on")]
    Panicked(#[from] tokio::task::JoinError),
    /// The object store can't be used.
    #[error(transparent)]
    Outside(#[from] outside::Error),
    /// The VPC's range is none.
    #[error("{0:?} is no IPv4 range such as 10.113.0.0/16 with a prefix of 8 to 24")]
    VpcCidr(String),
}

/// Serves until `shutdown`.
///
/// # Errors
/// If something that it needs can't be opened.
pub async fn run(
    data_dir: &DataDir,
    args: &ServerArgs,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let range = Ipv4Range::parse(&args.vpc_cidr)
        .filter(|range| (8..=24).contains(&range.prefix))
        .ok_or_else(|| Error::VpcCidr(args.vpc_cidr.clone()))?;
    let vpc = BuiltinVpc::new(range, &args.region);
    let arns = ArnScope { region: args.region.clone(), account: args.account.clone() };
    let journal = EmbeddedJournal::open(data_dir.path(), wharf_journal::Options::default())?;
    let store = Arc::new(Store::open(Arc::new(journal)).await?);
    let history_options = HistoryOptions {
        max_age_ms: i64::from(args.history).saturating_mul(DAY_MS),
        ..HistoryOptions::default()
    };
    let history = Arc::new(History::open(data_dir.path(), history_options)?);
    let logs = LogStore::open(data_dir.path(), LogStoreOptions::default())?;
    ensure_default_cluster(&store).await?;
    ensure_roles(&store).await?;
    let (seal, vault) = seal_key::open(data_dir, &store.snapshot())?;
    let (seal, vault) = (Arc::new(seal), Arc::new(vault));
    let control = Control::new(ControlOptions {
        store: Arc::clone(&store),
        history: Arc::clone(&history),
        arns: arns.clone(),
        vpc: vpc.clone(),
        clock: Arc::new(|| SystemClock.now()),
        issue_credentials: issue_credentials(&seal, &arns),
        credentials_life: roles::LIFE,
        open_certificate: open_certificate(&vault, &arns),
    });
    let sessions = Arc::new(ControlSessions {
        agents: control.sessions(),
        balancers: control.balancers(),
        instance: data_dir.instance(),
    });
    let gateway_history = Arc::new(GatewayHistory { history, arns });
    let endpoint = format!("http://{}", args.listen);
    let name = RegistryName::new(data_dir, args);
    let app = App::new(Parts {
        region: args.region.clone(),
        account: args.account.clone(),
        vpc,
        endpoint: endpoint.clone(),
        keys: Arc::new(keys(data_dir, &endpoint, &args.region, &store, &seal)?),
        registry: RegistryParts {
            storage: Arc::new(LocalStorage::open(data_dir.path())?),
            token_key: *seal.derive("registry tokens", &[]),
            osv_database: args.osv_database.clone(),
            public_name: name.public(),
            quotas: Quotas {
                bytes: args.registry.repository_quota_mib.map(|mib| mib.saturating_mul(1 << 20)),
                ..Quotas::default()
            },
        },
        seal,
        store,
        logs: logs.clone(),
        vault,
        has_object_store: args.s3_endpoint.is_some(),
        clock: Arc::new(SystemClock),
        soft: Arc::clone(&sessions) as _,
        history: Arc::clone(&gateway_history) as _,
        history_writer: gateway_history,
        sessions,
    });
    let app = Arc::new(outside::join(app, data_dir, args)?);
    let mut server = Server::bind(HttpOptions::new(args.listen), Arc::clone(&app)).await?;
    name.serve(data_dir, args, &mut server, &shutdown).await;
    let address = format!("http://{}", server.local_addr());
    tracing::info!(%address, region = %args.region, "serving");
    ProcessFile::of_this_process("server", vec![address]).write(data_dir)?;
    // On the runtime's workers: waking this thread for each change would cost more than the work.
    let control = tokio::spawn(control.run(shutdown.clone()));
    let expiry = tokio::spawn(expire_logs(logs, shutdown.clone()));
    let renewal = tokio::spawn(acm::keep_renewed(Arc::clone(&app), shutdown.clone()));
    let upkeep = tokio::spawn(registry::upkeep(app, shutdown.clone()));
    let server = tokio::spawn(server.run(shutdown));
    let ended = tokio::try_join!(control, server, expiry, renewal, upkeep);
    registry_names::withdraw(data_dir, &args.host.etc);
    ended?;
    Ok(())
}

/// Removes from time to time what log groups keep no longer.
async fn expire_logs(logs: LogStore, shutdown: CancellationToken) {
    let mut due = tokio::time::interval(LOG_EXPIRY_INTERVAL);
    loop {
        tokio::select! {
            _ = due.tick() => {}
            () = shutdown.cancelled() => return,
        }
        if let Err(error) = logs.expire(SystemClock.now().as_millis()).await {
            tracing::warn!(%error, "logs can't expire");
        }
    }
}

/// The root's key, made on the first start, this host's agent's and the balancer's, if they have one;
/// beside them whatever the state and the seal know.
fn keys(
    data_dir: &DataDir,
    endpoint: &str,
    region: &str,
    store: &Arc<Store>,
    seal: &Arc<SealKey>,
) -> Result<Keys, Error> {
    let root = Credentials::load_or_create(&data_dir.credentials(), endpoint, region)?;
    let agent: Option<Credentials> = data_dir::read_json(&data_dir.agent_credentials())?;
    let agent = agent.map(|key| (key, Principal::Instance("local".to_owned())));
    let balancer: Option<Credentials> = data_dir::read_json(&data_dir.balancer_credentials())?;
    let balancer = balancer.map(|key| (key, Principal::Balancer));
    let fixed = [(root, Principal::Root)]
        .into_iter()
        .chain(agent)
        .chain(balancer)
        .map(|(key, owner)| (key.access_key_id, Secret::new(key.secret_access_key), owner));
    Ok(Keys::new(fixed, Arc::clone(store), Arc::clone(seal)))
}

/// How the control plane comes by credentials of tasks' roles.
fn issue_credentials(seal: &Arc<SealKey>, arns: &ArnScope) -> roles::IssueCredentials {
    let (seal, arns) = (Arc::clone(seal), arns.clone());
    Arc::new(move |role, task, role_type, expires_at, salt| {
        task_credentials(&seal, &arns, role, task, role_type.as_str(), expires_at, salt)
    })
}

/// How the control plane comes by the keys that balancers need.
fn open_certificate(vault: &Arc<Vault>, arns: &ArnScope) -> OpenCertificate {
    let (vault, arns) = (Arc::clone(vault), arns.clone());
    Arc::new(move |certificate| {
        let arn = arns.certificate(&certificate.id);
        let opened = vault.open(&arn, &certificate.private_key);
        let key = opened.map_err(|e| e.to_string()).and_then(|key| {
            String::from_utf8(key.to_vec()).map_err(|_| "the key isn't PEM".to_owned())
        });
        match key {
            Ok(private_key) => Some(KeyPair { arn, chain: certificate.chain.clone(), private_key }),
            Err(error) => {
                tracing::error!(certificate = arn, error, "can't open a certificate's key");
                None
            }
        }
    })
}

/// The roles that an account has from the start.
async fn ensure_roles(store: &Store) -> Result<(), Error> {
    let seed = u64::from_ne_bytes(credentials::random_bytes()?);
    let transaction = first_start::roles(&store.snapshot(), SystemClock.now(), seed);
    if !transaction.is_empty() {
        store.commit(transaction).await?;
    }
    Ok(())
}

/// The cluster `default` exists from the first start; one that was deleted stays deleted.
async fn ensure_default_cluster(store: &Store) -> Result<(), Error> {
    let name = ClusterName::from("default");
    if store.snapshot().cluster(&name).is_some() {
        return Ok(());
    }
    let mut transaction = Transaction::new();
    transaction.read(RecordKey::Cluster(name.clone()), Revision::ABSENT);
    transaction.put(wharf_model::Cluster::new(name, SystemClock.now()));
    store.commit(transaction).await?;
    Ok(())
}
