//! ListServicesByNamespace: there are no namespaces, because no service can use Service Connect.

use crate::context::{Context, Result};
use crate::error::ApiError;
use wharf_wire::ecs::types::{ListServicesByNamespaceRequest, ListServicesByNamespaceResponse};

/// ListServicesByNamespace.
pub fn list_services_by_namespace(
    _: &Context<'_>,
    input: &ListServicesByNamespaceRequest,
) -> Result<ListServicesByNamespaceResponse> {
    let namespace = input.namespace.as_deref().unwrap_or_default();
    if namespace.is_empty() {
        return Err(ApiError::invalid_parameter("Namespace can not be blank."));
    }
    Err(ApiError::namespace_not_found("The specified namespace wasn't found."))
}
