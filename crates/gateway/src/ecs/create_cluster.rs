//! CreateCluster: a new ACTIVE cluster, or the existing one if it is asked for in the same words.

use super::cluster_view::{Include, view};
use super::{cluster_input, resolve, tags};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use wharf_model::{Cluster, ClusterName, RecordKey, Transaction};
use wharf_wire::ecs::types::{CreateClusterRequest, CreateClusterResponse};

/// CreateCluster.
pub fn create_cluster(
    context: &Context<'_>,
    input: &CreateClusterRequest,
) -> Result<CreateClusterResponse> {
    let name = input.cluster_name.as_deref().unwrap_or(resolve::DEFAULT_CLUSTER);
    resolve::valid_name("Cluster", name)?;
    let name = ClusterName::from(name);
    let wanted = wanted_cluster(context, &name, input)?;

    if let Some(existing) = context.snapshot.cluster(&name).filter(|c| c.active) {
        if !asked_the_same(existing, &wanted, input) {
            return Err(ApiError::invalid_parameter(
                "Arguments on this idempotent request are inconsistent with arguments used in \
                 previous request(s).",
            ));
        }
        let cluster = Some(view(context, existing, Include::AFTER_CHANGE)?);
        return Ok(Outcome::read(CreateClusterResponse { cluster }));
    }

    // The read makes two calls for one name conflict; the second one then finds the first's.
    let mut transaction = Transaction::new();
    let key = RecordKey::Cluster(name);
    transaction.read(key.clone(), context.snapshot.revision_of(&key));
    let cluster = Some(view(context, &wanted, Include::AFTER_CHANGE)?);
    transaction.put(wanted);
    Ok(Outcome::write(CreateClusterResponse { cluster }, transaction))
}

/// The cluster that the request describes.
fn wanted_cluster(
    context: &Context<'_>,
    name: &ClusterName,
    input: &CreateClusterRequest,
) -> std::result::Result<Cluster, ApiError> {
    cluster_input::refuse_service_connect(input.service_connect_defaults.is_some())?;
    let providers = cluster_input::capacity_providers(input.capacity_providers.as_deref())?;
    let strategy =
        cluster_input::strategy(input.default_capacity_provider_strategy.as_deref(), &providers)?;
    Ok(Cluster {
        settings: cluster_input::settings(context, input.settings.as_deref())?,
        configuration: cluster_input::configuration(input.configuration.as_ref())?,
        capacity_providers: providers,
        default_capacity_provider_strategy: strategy,
        tags: tags::from_wire(input.tags.as_ref())?,
        ..Cluster::new(name.clone(), context.now)
    })
}

/// True if whatever the request names is already so. What it leaves out doesn't count.
fn asked_the_same(existing: &Cluster, wanted: &Cluster, input: &CreateClusterRequest) -> bool {
    let mut sorted = [existing.tags.clone(), wanted.tags.clone()];
    sorted.iter_mut().for_each(|tags| tags.sort());
    (input.settings.is_none() || existing.settings == wanted.settings)
        && (input.configuration.is_none() || existing.configuration == wanted.configuration)
        && (input.tags.is_none() || sorted[0] == sorted[1])
        && (input.capacity_providers.is_none()
            || existing.capacity_providers == wanted.capacity_providers)
        && (input.default_capacity_provider_strategy.is_none()
            || existing.default_capacity_provider_strategy
                == wanted.default_capacity_provider_strategy)
}
