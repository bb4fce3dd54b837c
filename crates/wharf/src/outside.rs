//! What the API needs from outside of the state: the operator's object store, other registries, and the
//! authority that signs certificates.

use crate::authority::Authority;
use crate::cli::ServerArgs;
use crate::data_dir::DataDir;
use crate::remotes::{self, Remotes};
use crate::s3;
use async_trait::async_trait;
use jiff::Timestamp;
use std::sync::Arc;
use wharf_agent::ObjectReader as Reader;
use wharf_gateway::App;
use wharf_gateway::outside::{CertificateAuthority, IssuedCertificate, ObjectReader};

/// Why the object store can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its key.
    #[error(transparent)]
    Key(#[from] s3::Error),
    /// Its endpoint.
    #[error("can't use the object store")]
    Endpoint(#[from] wharf_agent::api::Error),
    /// The registry's peers.
    #[error(transparent)]
    Peers(#[from] remotes::Error),
}

/// Gives the front what there is.
///
/// # Errors
/// If the object store's endpoint or key can't be used, or the registry's peers.
pub fn join(app: App, data_dir: &DataDir, args: &ServerArgs) -> Result<App, Error> {
    let app = match s3::store(args.s3_endpoint.as_ref(), args.s3_credentials.as_ref())? {
        Some(store) => app.with_objects(Arc::new(Objects(Reader::new(&store, &args.region)?))),
        None => app,
    };
    let remotes = Remotes::open(args.registry.registry_peers.as_ref())?;
    let app = app.with_remotes(Arc::new(remotes));
    Ok(match Authority::load_or_create(data_dir, Timestamp::now()) {
        Ok(authority) => app.with_authority(Arc::new(LocalAuthority(authority))),
        Err(error) => {
            tracing::warn!(error = %crate::chain(&error), "certificates can't be requested");
            app
        }
    })
}

struct Objects(Reader);

#[async_trait]
impl ObjectReader for Objects {
    async fn read(&self, bucket: &str, key: &str) -> Result<Vec<u8>, String> {
        self.0.read(bucket, key).await
    }
}

struct LocalAuthority(Authority);

impl CertificateAuthority for LocalAuthority {
    fn issue(
        &self,
        names: &[String],
        not_before_ms: i64,
        not_after_ms: i64,
    ) -> Result<IssuedCertificate, String> {
        let at = |ms| Timestamp::from_millisecond(ms).map_err(|error| error.to_string());
        let issued = self.0.issue_pem(names, at(not_before_ms)?, at(not_after_ms)?);
        let (leaf, private_key) = issued.map_err(|error| error.to_string())?;
        Ok(IssuedCertificate { chain: format!("{leaf}{}", self.0.certificate()), private_key })
    }
}
