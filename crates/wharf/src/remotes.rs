//! How the registry reaches others: upstreams of pull-through caches, and the peers that the operator
//! has named in a file. That file is one of the AWS CLI's own form: each section is a registry, with
//! `aws_account_id`, `region`, `endpoint_url` and a key of that account.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use wharf_agent::AgentCredentials;
use wharf_agent::api::EcsClient;
use wharf_agent::api::sign::Signer;
use wharf_agent::task::Secret;
use wharf_gateway::remote::{
    PeerRepository, REPLICATED_FROM, RemoteBlob, RemoteError, RemoteFailure, RemoteManifest,
    RemoteRegistries, Upstream,
};
use wharf_image::registry::{BlobStream, Error as ClientError};
use wharf_image::{Credentials, RegistryClient, RegistryOptions, Remote};
use wharf_model::RegistryKey;
use wharf_registry::{BlobReader, Digest};
use wharf_wire::ecr;

/// Bytes of a blob that are sent at once.
const CHUNK_BYTES: usize = 8 << 20;
/// How long a peer's token is used; it is good for twelve hours.
const TOKEN_LIFE: Duration = Duration::from_secs(11 * 3600);

/// Why the peers can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be read.
    #[error("can't read the registry's peers, {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A section lacks something.
    #[error(
        "{path}: the section [{section}] has no {member}: a peer has aws_account_id, region, \
         endpoint_url, aws_access_key_id and aws_secret_access_key"
    )]
    Member {
        /// The file.
        path: PathBuf,
        /// The section.
        section: String,
        /// What it lacks.
        member: &'static str,
    },
    /// Two sections are the same registry.
    #[error("{path}: two sections are the registry {account}/{region}")]
    Twice {
        /// The file.
        path: PathBuf,
        /// The account.
        account: String,
        /// The region.
        region: String,
    },
    /// A peer's endpoint isn't usable.
    #[error("{path}: the section [{section}] can't be used")]
    Endpoint {
        /// The file.
        path: PathBuf,
        /// The section.
        section: String,
        /// Why not.
        #[source]
        source: wharf_agent::api::Error,
    },
}

/// A registry of the operator's file.
struct Peer {
    /// Its API, with the key.
    api: EcsClient,
    /// `host[:port]`.
    authority: String,
    token: Mutex<Option<(Credentials, Instant)>>,
}

/// The way to other registries.
pub struct Remotes {
    client: RegistryClient,
    peers: BTreeMap<RegistryKey, Arc<Peer>>,
}

impl Remotes {
    /// Reads the file with the peers, if there is one.
    ///
    /// # Errors
    /// If it can't be read, or isn't what it should be.
    pub fn open(peers: Option<&PathBuf>) -> Result<Self, Error> {
        let client = RegistryClient::new(RegistryOptions::default());
        let peers = peers.map(|path| read(path)).transpose()?.unwrap_or_default();
        Ok(Self { client, peers })
    }
}

fn read(path: &Path) -> Result<BTreeMap<RegistryKey, Arc<Peer>>, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let text = zeroize::Zeroizing::new(std::fs::read_to_string(path).map_err(failed)?);
    let mut peers = BTreeMap::new();
    for (section, members) in sections(&text) {
        let member = |member: &'static str| {
            let missing =
                || Error::Member { path: path.to_owned(), section: section.clone(), member };
            members.get(member).copied().ok_or_else(missing)
        };
        let key = RegistryKey {
            account: member("aws_account_id")?.to_owned(),
            region: member("region")?.to_owned(),
        };
        let credentials = AgentCredentials {
            access_key_id: member("aws_access_key_id")?.to_owned(),
            secret_access_key: Secret::new(member("aws_secret_access_key")?),
            session_token: None,
        };
        let endpoint = member("endpoint_url")?.trim_end_matches('/');
        let authority = endpoint.split_once("://").map_or(endpoint, |(_, host)| host).to_owned();
        let ca = certificates(&authority);
        let api = EcsClient::to(endpoint, ca.as_deref(), Signer::new(&credentials, &key.region));
        let unusable =
            |source| Error::Endpoint { path: path.to_owned(), section: section.clone(), source };
        let peer = Peer { api: api.map_err(unusable)?, authority, token: Mutex::default() };
        let (account, region) = (key.account.clone(), key.region.clone());
        if peers.insert(key, Arc::new(peer)).is_some() {
            return Err(Error::Twice { path: path.to_owned(), account, region });
        }
    }
    Ok(peers)
}

/// The sections of a file as the AWS CLI keeps it, with their members.
fn sections(text: &str) -> Vec<(String, BTreeMap<&str, &str>)> {
    let mut found: Vec<(String, BTreeMap<&str, &str>)> = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            found.push((name.trim().to_owned(), BTreeMap::new()));
        } else if let (Some((name, value)), Some((_, members))) =
            (line.split_once('='), found.last_mut())
        {
            members.insert(name.trim(), value.trim());
        }
    }
    found
}

/// The authority that docker and podman would be told to trust for a registry, too.
fn certificates(authority: &str) -> Option<PathBuf> {
    let directories = RegistryOptions::default().certs_dirs;
    let mut files = directories.iter().map(|directory| directory.join(authority).join("ca.crt"));
    files.find(|file| file.is_file())
}

impl Peer {
    async fn login(&self) -> Result<Credentials, RemoteError> {
        let mut known = self.token.lock().await;
        if let Some((credentials, since)) = known.as_ref()
            && since.elapsed() < TOKEN_LIFE
        {
            return Ok(credentials.clone());
        }
        let input = ecr::types::GetAuthorizationTokenRequest::default();
        let answer = self.api.call_ecr::<ecr::operation::GetAuthorizationToken>(input).await;
        let answer = answer.map_err(|error| RemoteError {
            failure: match error.is_transient() {
                true => RemoteFailure::Unavailable,
                false => RemoteFailure::Denied,
            },
            code: "LOGIN".to_owned(),
            text: format!("no token from {}: {}", self.authority, crate::chain(&error)),
        })?;
        let data = answer.authorization_data.unwrap_or_default().into_iter().next();
        let token = data.and_then(|data| data.authorization_token).unwrap_or_default();
        let text = STANDARD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = text.as_deref().and_then(|text| text.split_once(':'));
        let (user, password) = pair.ok_or_else(|| other("the peer's token can't be read"))?;
        let credentials = Credentials::basic(user, password);
        *known = Some((credentials.clone(), Instant::now()));
        Ok(credentials)
    }
}

fn other(text: impl Into<String>) -> RemoteError {
    RemoteError { failure: RemoteFailure::Other, code: "INVALID".to_owned(), text: text.into() }
}

fn failed(error: ClientError) -> RemoteError {
    let failure = match &error {
        error if error.is_absent() => RemoteFailure::Absent,
        error if error.is_denied() => RemoteFailure::Denied,
        error if error.is_throttled() => RemoteFailure::TooMany,
        error if error.is_transient() => RemoteFailure::Unavailable,
        _ => RemoteFailure::Other,
    };
    let default = match failure {
        RemoteFailure::Absent => "NOT_FOUND",
        RemoteFailure::Denied => "DENIED",
        RemoteFailure::TooMany => "TOOMANYREQUESTS",
        RemoteFailure::Unavailable => "UNAVAILABLE",
        RemoteFailure::Other => "UNKNOWN",
    };
    let code = error.code().unwrap_or(default).to_owned();
    RemoteError { failure, code, text: crate::chain(&error) }
}

/// Registries' clients know SHA-256 alone.
fn sha256(digest: &Digest) -> Result<wharf_image::Digest, RemoteError> {
    let text = digest.to_string();
    text.parse()
        .map_err(|_| other(format!("{text} is of no kind that other registries are asked for")))
}

impl Remotes {
    fn remote(&self, upstream: &Upstream) -> Result<Remote, RemoteError> {
        let login = upstream.login.as_ref();
        let login = login.map(|login| Credentials::basic(&login.username, login.secret.as_str()));
        let client = self.client.clone();
        let remote = Remote::new(client, &upstream.host, &upstream.repository, login, Vec::new());
        remote.map_err(|error| other(error.to_string()))
    }
}

struct Blob(BlobStream);

#[async_trait]
impl RemoteBlob for Blob {
    fn offset(&self) -> u64 {
        self.0.offset
    }

    async fn next(&mut self) -> Result<Option<Bytes>, RemoteError> {
        self.0.next().await.map_err(failed)
    }
}

#[async_trait]
impl RemoteRegistries for Remotes {
    async fn check(&self, upstream: &Upstream) -> Result<(), RemoteError> {
        self.remote(upstream)?.check().await.map_err(failed)
    }

    async fn digest(&self, upstream: &Upstream, tag: &str) -> Result<Option<String>, RemoteError> {
        let digest = self.remote(upstream)?.digest(tag).await.map_err(failed)?;
        Ok(digest.map(|digest| digest.to_string()))
    }

    async fn manifest(
        &self,
        upstream: &Upstream,
        selector: &str,
    ) -> Result<RemoteManifest, RemoteError> {
        let sent = self.remote(upstream)?.manifest(selector).await.map_err(failed)?;
        Ok(RemoteManifest { bytes: sent.bytes.into(), media_type: sent.media_type })
    }

    async fn blob(
        &self,
        upstream: &Upstream,
        digest: &Digest,
        offset: u64,
    ) -> Result<Box<dyn RemoteBlob>, RemoteError> {
        let stream = self.remote(upstream)?.blob(&sha256(digest)?, offset).await;
        Ok(Box::new(Blob(stream.map_err(failed)?)))
    }

    fn is_peer(&self, peer: &RegistryKey) -> bool {
        self.peers.contains_key(peer)
    }

    async fn peer(
        &self,
        peer: &RegistryKey,
        from: &RegistryKey,
        repository: &str,
    ) -> Result<Box<dyn PeerRepository>, RemoteError> {
        let known = self.peers.get(peer).ok_or_else(|| RemoteError {
            failure: RemoteFailure::Other,
            code: "UNKNOWN_DESTINATION".to_owned(),
            text: format!("{}/{} is not among the registry's peers", peer.account, peer.region),
        })?;
        let credentials = Some(known.login().await?);
        let headers = vec![(REPLICATED_FROM, format!("{}/{}", from.account, from.region))];
        let client = self.client.clone();
        let remote = Remote::new(client, &known.authority, repository, credentials, headers);
        let remote = remote.map_err(|error| other(error.to_string()))?;
        Ok(Box::new(PeerOf { remote, peer: Arc::clone(known) }))
    }
}

/// A repository of a peer.
struct PeerOf {
    remote: Remote,
    peer: Arc<Peer>,
}

impl PeerOf {
    /// An error; one of who asks has a new token made, for the peer may have forgotten the old one.
    async fn failed(&self, error: ClientError) -> RemoteError {
        if error.is_denied() {
            *self.peer.token.lock().await = None;
        }
        failed(error)
    }
}

#[async_trait]
impl PeerRepository for PeerOf {
    async fn has_blob(&self, digest: &Digest) -> Result<bool, RemoteError> {
        match self.remote.has_blob(&sha256(digest)?).await {
            Ok(has) => Ok(has),
            Err(error) => Err(self.failed(error).await),
        }
    }

    async fn push_blob(&self, digest: &Digest, blob: &dyn BlobReader) -> Result<(), RemoteError> {
        let digest = sha256(digest)?;
        let sent = async {
            let mut upload = self.remote.begin().await?;
            let mut offset = 0;
            while offset < blob.size() {
                let chunk = match blob.read(offset, CHUNK_BYTES).await {
                    Ok(chunk) if !chunk.is_empty() => chunk,
                    Ok(_) => return Ok(Err("a blob of the store is too short".to_owned())),
                    Err(error) => return Ok(Err(error.to_string())),
                };
                offset += chunk.len() as u64;
                self.remote.append(&mut upload, chunk).await?;
            }
            self.remote.finish(upload, &digest).await.map(Ok)
        };
        match sent.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(text)) => Err(other(text)),
            Err(error) => Err(self.failed(error).await),
        }
    }

    async fn put_manifest(
        &self,
        selector: &str,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<(), RemoteError> {
        match self.remote.put_manifest(selector, media_type, bytes).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.failed(error).await),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_section_is_a_registry() {
        let text = "# ours\n[ west ]\naws_account_id = 1\nendpoint_url=https://w/?a=b\n\n[east]\n\
                    ; old\nregion = e\n";
        let found = sections(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].0, "west");
        assert_eq!(found[0].1["endpoint_url"], "https://w/?a=b");
        assert_eq!(found[1].1["region"], "e");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("peers");
        let whole = "[a]\naws_account_id=999999999999\nregion=us-east-1\nendpoint_url=http://h:1/\n\
                     aws_access_key_id=A\naws_secret_access_key=S\n";
        std::fs::write(&path, whole).unwrap();
        let key =
            RegistryKey { account: "999999999999".to_owned(), region: "us-east-1".to_owned() };
        let peers = read(&path).unwrap();
        assert_eq!(peers[&key].authority, "h:1");
        std::fs::write(&path, format!("{whole}{whole}")).unwrap();
        assert!(matches!(read(&path), Err(Error::Twice { .. })));
        std::fs::write(&path, whole.replace("region", "regio")).unwrap();
        assert!(matches!(read(&path), Err(Error::Member { member: "region", .. })));
    }
}
