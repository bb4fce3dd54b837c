//! UpdateContainerAgent: wharf's agent is part of the wharf binary, so there is never an update
//! that the control plane could install.

use super::resolve;
use crate::context::{Context, Result};
use crate::error::ApiError;
use wharf_model::container_instance::InstanceStatus;
use wharf_wire::ecs::ErrorCode;
use wharf_wire::ecs::types::{UpdateContainerAgentRequest, UpdateContainerAgentResponse};

/// UpdateContainerAgent.
pub fn update_container_agent(
    context: &Context<'_>,
    input: &UpdateContainerAgentRequest,
) -> Result<UpdateContainerAgentResponse> {
    let cluster = resolve::cluster(context, input.cluster.as_deref())?;
    let identifier = input.container_instance.as_deref().unwrap_or_default();
    let key = resolve::container_instance_key(context, &cluster.name, identifier)?;
    let found = context.snapshot.container_instance(&key);
    if found.is_none_or(|i| i.status == InstanceStatus::Inactive) {
        return Err(ApiError::client("Container instance not found."));
    }
    Err(ApiError::ecs(
        ErrorCode::NoUpdateAvailableException,
        "There is no update available for this container agent: it is part of the wharf binary on \
         its host and is updated together with it.",
    ))
}
