//! SigV4 for API calls, websocket upgrades and TCS frames.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;

use super::Error;
use crate::options::AgentCredentials;

/// The service that is signed for unless another is named: API, ACS and TCS alike.
const SERVICE: &str = "ecs";

/// Signs for one key in one region.
#[derive(Clone)]
pub struct Signer {
    credentials: Credentials,
    region: String,
    /// S3 takes paths as they are, and wants the body's hash as a header.
    is_for_objects: bool,
}

impl Signer {
    /// A signer with the agent's key.
    pub fn new(credentials: &AgentCredentials, region: &str) -> Self {
        let credentials = Credentials::new(
            &credentials.access_key_id,
            credentials.secret_access_key.expose(),
            credentials.session_token.as_ref().map(|token| token.expose().to_owned()),
            None,
            "wharf-agent",
        );
        Self { credentials, region: region.to_owned(), is_for_objects: false }
    }

    /// A signer for an S3-compatible store.
    pub(crate) fn for_objects(credentials: &AgentCredentials, region: &str) -> Self {
        Self { is_for_objects: true, ..Self::new(credentials, region) }
    }

    fn settings(&self) -> SigningSettings {
        let mut settings = SigningSettings::default();
        if self.is_for_objects {
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        }
        settings
    }

    /// A signer with another key for the same region.
    pub(crate) fn with_key(&self, credentials: &AgentCredentials) -> Self {
        Self::new(credentials, &self.region)
    }

    /// Adds `x-amz-date`, `authorization` and, where there is one, the session token.
    pub fn sign<B>(&self, request: &mut http::Request<B>, body: &[u8]) -> Result<(), Error> {
        self.sign_for(SERVICE, request, body)
    }

    /// As [`Signer::sign`], for any service.
    pub fn sign_for<B>(
        &self,
        service: &str,
        request: &mut http::Request<B>,
        body: &[u8],
    ) -> Result<(), Error> {
        let failed = |error: &dyn std::fmt::Display| Error::Sign(error.to_string());
        let identity = self.credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(service)
            .time(SystemTime::now())
            .settings(self.settings())
            .build()
            .map_err(|error| failed(&error))?
            .into();
        let uri = request.uri().to_string();
        let headers: Vec<(String, String)> = request
            .headers()
            .iter()
            .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
            .collect();
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let body = SignableBody::Bytes(body);
        let signable = SignableRequest::new(request.method().as_str(), &uri, headers, body)
            .map_err(|error| failed(&error))?;
        let (instructions, _) =
            sign(signable, &params).map_err(|error| failed(&error))?.into_parts();
        instructions.apply_to_request_http1x(request);
        Ok(())
    }
}
