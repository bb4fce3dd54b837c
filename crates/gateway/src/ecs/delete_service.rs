//! DeleteService: the service becomes DRAINING, and INACTIVE once its tasks are gone.

use super::{present, resolve};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use wharf_model::service::ServiceStatus;
use wharf_model::{RecordKey, Service, Transaction};
use wharf_wire::ecs::types::{DeleteServiceRequest, DeleteServiceResponse};

/// DeleteService.
pub fn delete_service(
    context: &Context<'_>,
    input: &DeleteServiceRequest,
) -> Result<DeleteServiceResponse> {
    let cluster = resolve::cluster(context, input.cluster.as_deref())?;
    let identifier = input.service.as_deref().unwrap_or_default();
    let key = resolve::service_key(context, &cluster.name, identifier)?;
    let known = context.snapshot.service(&key);
    let known = known
        .filter(|s| s.status != ServiceStatus::Inactive)
        .ok_or_else(ApiError::service_not_found)?;
    if known.desired_count > 0 && input.force != Some(true) {
        return Err(ApiError::invalid_parameter(
            "The service cannot be stopped while it is scaled above 0.",
        ));
    }
    let service =
        Service { status: ServiceStatus::Draining, desired_count: 0, ..Service::clone(known) };
    let output =
        DeleteServiceResponse { service: Some(present::service(context, &service, false)) };
    let mut transaction = Transaction::new();
    if service != **known {
        let record_key = RecordKey::Service(key);
        transaction.read(record_key.clone(), context.snapshot.revision_of(&record_key));
        transaction.put(service);
    }
    Ok(Outcome::write(output, transaction))
}
