//! DiscoverPollEndpoint: where ACS and TCS are, remembered for twelve hours.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use wharf_wire::ecs;
use wharf_wire::ecs::types::DiscoverPollEndpointRequest;

use crate::api::EcsClient;
use crate::tasks::locked;
use crate::websocket::{Error, PollEndpoints};

/// How long an answer is good.
const REMEMBER: Duration = Duration::from_secs(12 * 60 * 60);

/// Knows the endpoints. Clones share the memory.
#[derive(Clone)]
pub(crate) struct Discovery {
    client: EcsClient,
    cluster: Arc<str>,
    container_instance_arn: Arc<str>,
    known: Arc<Mutex<Option<(Instant, bool, PollEndpoints)>>>,
}

impl Discovery {
    pub(crate) fn new(client: EcsClient, cluster: &str, container_instance_arn: &str) -> Self {
        Self {
            client,
            cluster: cluster.into(),
            container_instance_arn: container_instance_arn.into(),
            known: Arc::default(),
        }
    }

    /// The next look asks again; what is known stays as the fallback.
    pub(crate) fn forget(&self) {
        if let Some((_, fresh, _)) = &mut *locked(&self.known) {
            *fresh = false;
        }
    }

    /// The endpoints: remembered, asked for, or, where asking fails, the old ones.
    pub(crate) async fn endpoints(&self) -> Result<PollEndpoints, Error> {
        let known = locked(&self.known).clone();
        if let Some((at, true, endpoints)) = &known
            && at.elapsed() < REMEMBER
        {
            return Ok(endpoints.clone());
        }
        let request = DiscoverPollEndpointRequest {
            cluster: Some(self.cluster.to_string()),
            container_instance: Some(self.container_instance_arn.to_string()),
        };
        let answer = match self.client.call::<ecs::operation::DiscoverPollEndpoint>(request).await {
            Ok(answer) => answer,
            Err(error) => {
                let fallback = known.map(|(_, _, endpoints)| endpoints);
                return fallback.ok_or_else(|| Error::Connect(error.to_string()));
            }
        };
        let acs = answer.endpoint.filter(|endpoint| !endpoint.is_empty());
        let endpoints = PollEndpoints {
            acs: acs.ok_or_else(|| Error::Endpoint(String::new()))?.into(),
            tcs: answer.telemetry_endpoint.filter(|e| !e.is_empty()).map(Into::into),
        };
        *locked(&self.known) = Some((Instant::now(), true, endpoints.clone()));
        Ok(endpoints)
    }
}
