//! Replication: the rules, and what became of an image.

use super::images::unknown_image;
use super::select::find;
use super::{Ecr, invalid};
use crate::error::ApiError;
use crate::registry::access::Resource;
use crate::registry::replication::own_key;
use std::collections::BTreeSet;
use wharf_model::{RegistryKey, RegistrySettings, ReplicationOutcome, ReplicationRule};
use wharf_wire::ecr::types::{
    self, DescribeImageReplicationStatusRequest, DescribeImageReplicationStatusResponse,
    ImageIdentifier, ImageReplicationStatus, PutReplicationConfigurationRequest,
    PutReplicationConfigurationResponse, ReplicationConfiguration, ReplicationDestination,
    ReplicationStatus, RepositoryFilter, RepositoryFilterType,
};

/// Destinations of all rules at most, as in ECR.
const MAX_DESTINATIONS: usize = 25;

/// The rules as the API shows them.
pub(super) fn shown(rules: &[ReplicationRule]) -> ReplicationConfiguration {
    let destination = |key: &RegistryKey| ReplicationDestination {
        region: Some(key.region.clone()),
        registry_id: Some(key.account.clone()),
    };
    let filter = |prefix: &String| RepositoryFilter {
        filter: Some(prefix.clone()),
        filter_type: Some(RepositoryFilterType::PrefixMatch),
    };
    let rule = |rule: &ReplicationRule| {
        let filters: Vec<_> = rule.prefixes.iter().map(filter).collect();
        types::ReplicationRule {
            destinations: Some(rule.destinations.iter().map(destination).collect()),
            repository_filters: Some(filters).filter(|filters| !filters.is_empty()),
        }
    };
    ReplicationConfiguration { rules: Some(rules.iter().map(rule).collect()) }
}

fn read(rule: types::ReplicationRule) -> ReplicationRule {
    let destinations = rule.destinations.into_iter().flatten().map(|to| RegistryKey {
        account: to.registry_id.unwrap_or_default(),
        region: to.region.unwrap_or_default(),
    });
    let filters = rule.repository_filters.into_iter().flatten();
    ReplicationRule {
        destinations: destinations.collect(),
        prefixes: filters.filter_map(|filter| filter.filter).collect(),
    }
}

pub(super) async fn put(
    call: &Ecr<'_>,
    input: PutReplicationConfigurationRequest,
) -> Result<PutReplicationConfigurationResponse, ApiError> {
    call.demand(Resource::Registry)?;
    let rules = input.replication_configuration.and_then(|configuration| configuration.rules);
    let rules: Vec<ReplicationRule> = rules.into_iter().flatten().map(read).collect();
    check(call, &rules)?;
    let change = |settings: &mut RegistrySettings| {
        settings.replication.clone_from(&rules);
        Ok(())
    };
    call.change_settings(change).await?;
    Ok(PutReplicationConfigurationResponse { replication_configuration: Some(shown(&rules)) })
}

fn check(call: &Ecr<'_>, rules: &[ReplicationRule]) -> Result<(), ApiError> {
    let parameter = "replicationConfiguration";
    let own = own_key(call.app.arns());
    let all: BTreeSet<&RegistryKey> = rules.iter().flat_map(|rule| &rule.destinations).collect();
    if all.len() > MAX_DESTINATIONS {
        let why = format!("the rules name at most {MAX_DESTINATIONS} destinations");
        return Err(invalid(parameter, why));
    }
    for RegistryKey { account, region } in all {
        let to = RegistryKey { account: account.clone(), region: region.clone() };
        if to == own {
            return Err(invalid(parameter, "a registry isn't replicated to itself"));
        }
        if !call.app.remotes().is_some_and(|remotes| remotes.is_peer(&to)) {
            let why = format!(
                "this server knows no registry {account} in region {region}: its operator names them \
                 in the file of --registry-peers"
            );
            return Err(invalid(parameter, why));
        }
    }
    Ok(())
}

pub(super) async fn describe_image(
    call: &Ecr<'_>,
    input: DescribeImageReplicationStatusRequest,
) -> Result<DescribeImageReplicationStatusResponse, ApiError> {
    let repository = call.repository(input.registry_id.as_ref(), input.repository_name.as_ref())?;
    let id = input.image_id.unwrap_or_default();
    let snapshot = call.app.store().snapshot();
    let found = find(&snapshot, &repository.id, &id);
    let image = found.map_err(|_| unknown_image(call, &repository, &id))?;
    let status = |known: &wharf_model::Replication| {
        let (status, failure_code) = match &known.outcome {
            None => (ReplicationStatus::InProgress, None),
            Some(ReplicationOutcome::Complete) => (ReplicationStatus::Complete, None),
            Some(ReplicationOutcome::Failed { code }) => {
                (ReplicationStatus::Failed, Some(code.clone()))
            }
        };
        ImageReplicationStatus {
            region: Some(known.to.region.clone()),
            registry_id: Some(known.to.account.clone()),
            status: Some(status),
            failure_code,
        }
    };
    Ok(DescribeImageReplicationStatusResponse {
        repository_name: Some(repository.name.clone()),
        image_id: Some(ImageIdentifier {
            image_digest: Some(image.digest.clone()),
            image_tag: id.image_tag,
        }),
        replication_statuses: Some(image.replications.iter().map(status).collect()),
    })
}
