//! The registry beside the control plane: which images are its, and how they are pulled.
//!
//! An image is its by the name that Amazon ECR would give it (this account, this region) or by the
//! control plane's own address. It is asked with the agent's own identity, and needs no DNS: another
//! account's or region's name is never taken for it. Where the registry's blobs lie on this host, they
//! are linked into the image store instead of downloaded.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::Mutex;
use wharf_image::{Credentials, PullOptions, Reference};
use wharf_wire::ecr;

use crate::api::EcsClient;
use crate::options::AgentOptions;

/// How long a token is used; it is good for twelve hours.
const TOKEN_LIFE: Duration = Duration::from_secs(11 * 3600);

/// The pauses between attempts to get a token.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(4);

/// The registry beside the control plane. Clones share its token.
#[derive(Clone)]
pub struct OwnRegistry {
    inner: Arc<Inner>,
}

struct Inner {
    client: EcsClient,
    /// `host[:port]` of the control plane.
    authority: String,
    region: String,
    /// Known once the host is registered.
    account: OnceLock<String>,
    blobs: PathBuf,
    token: Mutex<Option<(Credentials, Instant)>>,
}

impl OwnRegistry {
    /// The registry of `options.server`, asked by `client`.
    pub fn new(client: EcsClient, options: &AgentOptions) -> Self {
        let inner = Inner {
            client,
            authority: authority(&options.server).to_owned(),
            region: options.region.clone(),
            account: OnceLock::new(),
            blobs: options.data_dir.join("registry/blobs"),
            token: Mutex::new(None),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Learns the account from the container instance's ARN.
    pub(crate) fn registered(&self, container_instance_arn: &str) {
        if let Some(account) = container_instance_arn.split(':').nth(4) {
            // It never changes.
            let _ = self.inner.account.set(account.to_owned());
        }
    }

    /// Asks the registry for the account, for whoever isn't registered.
    ///
    /// # Errors
    /// If it doesn't answer.
    pub async fn ask_account(&self) -> Result<(), crate::api::Error> {
        let input = ecr::types::DescribeRegistryRequest::default();
        let answer = self.inner.client.call_ecr::<ecr::operation::DescribeRegistry>(input).await?;
        if let Some(account) = answer.registry_id {
            // It never changes.
            let _ = self.inner.account.set(account);
        }
        Ok(())
    }

    /// How an image of this registry is pulled; none for all others.
    ///
    /// # Errors
    /// Why there is no token.
    pub async fn options(&self, image: &str) -> Result<Option<PullOptions>, String> {
        let Ok(reference) = Reference::parse(image) else { return Ok(None) };
        let account = self.inner.account.get().map(String::as_str);
        if !is_own(reference.registry(), &self.inner.authority, account, &self.inner.region) {
            return Ok(None);
        }
        Ok(Some(PullOptions {
            credentials: Some(self.token().await?),
            served_by: Some(self.inner.authority.clone()),
            blobs: Some(self.inner.blobs.clone()).filter(|directory| directory.is_dir()),
        }))
    }

    /// Forgets the token: the registry didn't take it.
    pub(crate) async fn forget_token(&self) {
        *self.inner.token.lock().await = None;
    }

    async fn token(&self) -> Result<Credentials, String> {
        let mut known = self.inner.token.lock().await;
        if let Some((credentials, since)) = known.as_ref()
            && since.elapsed() < TOKEN_LIFE
        {
            return Ok(credentials.clone());
        }
        let answer = self.ask_token().await.map_err(|error| error.to_string())?;
        let data = answer.authorization_data.unwrap_or_default().into_iter().next();
        let token = data.and_then(|data| data.authorization_token).unwrap_or_default();
        let text = STANDARD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let text = text.as_deref().and_then(|text| text.split_once(':'));
        let (user, password) = text.ok_or("the registry's token can't be read")?;
        let credentials = Credentials::basic(user, password);
        *known = Some((credentials.clone(), Instant::now()));
        Ok(credentials)
    }

    /// Asks for a token, again for some seconds while trying again may help: the control plane may be
    /// about to start.
    async fn ask_token(
        &self,
    ) -> Result<ecr::types::GetAuthorizationTokenResponse, crate::api::Error> {
        let mut pause = FIRST_PAUSE;
        loop {
            let input = ecr::types::GetAuthorizationTokenRequest::default();
            let call = self.inner.client.call_ecr::<ecr::operation::GetAuthorizationToken>(input);
            match call.await {
                Err(error) if error.is_transient() && pause <= LAST_PAUSE => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                answer => return answer,
            }
        }
    }
}

fn authority(server: &str) -> &str {
    server.split_once("://").map_or(server, |(_, rest)| rest).trim_end_matches('/')
}

/// True if `registry`, the host of an image's name, is the control plane's own.
fn is_own(registry: &str, authority: &str, account: Option<&str>, region: &str) -> bool {
    if let Some(account) = account
        && registry == format!("{account}.dkr.ecr.{region}.amazonaws.com")
    {
        return true;
    }
    let loopback = |host: &str| matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    match (registry.rsplit_once(':'), authority.rsplit_once(':')) {
        (Some((host, port)), Some((own, own_port))) if loopback(own) => {
            loopback(host) && port == own_port
        }
        _ => registry.eq_ignore_ascii_case(authority),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_account_and_this_region_alone() {
        let own = |registry| is_own(registry, "127.0.0.1:4580", Some("123456789012"), "us-east-1");
        for registry in [
            "123456789012.dkr.ecr.us-east-1.amazonaws.com",
            "localhost:4580",
            "127.0.0.1:4580",
            "[::1]:4580",
        ] {
            assert!(own(registry), "{registry}");
        }
        for registry in [
            "999999999999.dkr.ecr.us-east-1.amazonaws.com",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com:4580",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com.example.com",
            "localhost:5000",
            "localhost",
            "docker.io",
            "example.com:4580",
        ] {
            assert!(!own(registry), "{registry}");
        }
        assert!(is_own("10.0.0.5:4580", authority("http://10.0.0.5:4580/"), None, "us-east-1"));
        assert!(!is_own("localhost:4580", authority("http://10.0.0.5:4580/"), None, "us-east-1"));
        let name = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
        assert!(!is_own(name, "127.0.0.1:4580", None, "us-east-1"));
    }
}
