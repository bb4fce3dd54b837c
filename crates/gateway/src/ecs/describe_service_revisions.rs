//! DescribeServiceRevisions: up to 20 revisions by ARN: what was, is or will be deployed.

use super::{present, resolve};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use wharf_model::arn::Resource;
use wharf_wire::ecs::types::{DescribeServiceRevisionsRequest, DescribeServiceRevisionsResponse};

/// The most revisions of one call.
const MAX_ITEMS: usize = 20;

/// DescribeServiceRevisions.
pub fn describe_service_revisions(
    context: &Context<'_>,
    input: &DescribeServiceRevisionsRequest,
) -> Result<DescribeServiceRevisionsResponse> {
    let arns = input.service_revision_arns.as_deref().unwrap_or_default();
    if arns.is_empty() {
        return Err(ApiError::invalid_parameter("Service revisions cannot be empty."));
    }
    if arns.len() > MAX_ITEMS {
        return Err(ApiError::invalid_parameter(format!(
            "serviceRevisionArns can have at most {MAX_ITEMS} items."
        )));
    }
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for arn in arns {
        let Resource::ServiceRevision(service, id) = resolve::arn(context, arn)?.resource else {
            return Err(ApiError::invalid_parameter(format!("Invalid identifier: {arn}")));
        };
        match context.snapshot.service_revision(&(service, id)) {
            Some(revision) => found.push(present::service_revision(context, revision)),
            None => failures.push(present::failure(arn, "MISSING")),
        }
    }
    Ok(Outcome::read(DescribeServiceRevisionsResponse {
        service_revisions: Some(found),
        failures: Some(failures),
    }))
}
