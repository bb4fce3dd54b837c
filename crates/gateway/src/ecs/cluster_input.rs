//! What callers may say of a cluster: settings, configuration, capacity providers. Shared by
//! CreateCluster, UpdateCluster, UpdateClusterSettings and PutClusterCapacityProviders.

use super::account_setting;
use crate::context::Context;
use crate::error::ApiError;
use wharf_model::cluster::CapacityProviderStrategyItem;
use wharf_wire::ecs::types;
use wharf_wire::{Shape, json};

/// Capacity providers that every account has.
pub const BUILTIN_PROVIDERS: [&str; 2] = ["FARGATE", "FARGATE_SPOT"];
const MAX_PROVIDERS: usize = 20;
const CONTAINER_INSIGHTS: &str = "containerInsights";

/// Settings by name. `containerInsights` is always there: where the request leaves it out, with
/// the account's setting.
///
/// # Errors
/// `InvalidParameterException` for another name, another value or a name twice.
pub fn settings(
    context: &Context<'_>,
    input: Option<&[types::ClusterSetting]>,
) -> Result<Vec<(String, String)>, ApiError> {
    let mut checked: Vec<(String, String)> = Vec::new();
    for setting in input.unwrap_or_default() {
        let name = setting.name.as_ref().map_or("", types::ClusterSettingName::as_str);
        let value = setting.value.as_deref().unwrap_or_default();
        if name != CONTAINER_INSIGHTS {
            return Err(ApiError::invalid_parameter(format!(
                "Invalid cluster setting name: '{name}'. Valid names: [{CONTAINER_INSIGHTS}]"
            )));
        }
        if !["enabled", "disabled", "enhanced"].contains(&value) {
            return Err(ApiError::invalid_parameter(format!(
                "Invalid value '{value}' for the cluster setting '{name}'. Valid values: \
                 [enhanced, enabled, disabled]"
            )));
        }
        if !checked.is_empty() {
            return Err(ApiError::invalid_parameter(format!(
                "The cluster setting '{name}' is specified more than once."
            )));
        }
        checked.push((name.to_owned(), value.to_owned()));
    }
    if checked.is_empty() {
        let value = account_setting::effective(context, CONTAINER_INSIGHTS);
        checked.push((CONTAINER_INSIGHTS.to_owned(), value));
    }
    Ok(checked)
}

/// The configuration as it is stored.
///
/// # Errors
/// `InvalidParameterException` for parts that contradict each other,
/// `UnsupportedFeatureException` for managed storage: wharf can't encrypt with a KMS key.
pub fn configuration(
    input: Option<&types::ClusterConfiguration>,
) -> Result<Option<serde_json::Value>, ApiError> {
    let Some(configuration) = input else { return Ok(None) };
    if configuration.managed_storage_configuration.is_some() {
        return Err(ApiError::unsupported_feature(
            "configuration.managedStorageConfiguration is not supported by this server.",
        ));
    }
    if let Some(execute) = &configuration.execute_command_configuration {
        let log = execute.log_configuration.as_ref();
        match execute.logging.as_ref().map(types::ExecuteCommandLogging::as_str) {
            Some("OVERRIDE") => {
                let named = log.is_some_and(|l| {
                    l.cloud_watch_log_group_name.is_some() || l.s3_bucket_name.is_some()
                });
                if !named {
                    return Err(ApiError::invalid_parameter(
                        "The logConfiguration must be specified when the logging is OVERRIDE.",
                    ));
                }
            }
            _ if log.is_some() => {
                return Err(ApiError::invalid_parameter(
                    "The logConfiguration can only be specified when the logging is OVERRIDE.",
                ));
            }
            _ => {}
        }
    }
    let bytes =
        json::encode(types::ClusterConfiguration::schema(), &configuration.clone().into_document());
    serde_json::from_slice(&bytes).map(Some).map_err(|_| ApiError::server())
}

/// Service Connect needs a namespace that nothing here can serve yet.
///
/// # Errors
/// `UnsupportedFeatureException` if `given`.
pub fn refuse_service_connect(given: bool) -> Result<(), ApiError> {
    if given {
        return Err(ApiError::unsupported_feature(
            "serviceConnectDefaults is not supported by this server.",
        ));
    }
    Ok(())
}

/// Names of capacity providers.
///
/// # Errors
/// `InvalidParameterException` for one that doesn't exist, for more than 20, and for one twice.
pub fn capacity_providers(input: Option<&[String]>) -> Result<Vec<String>, ApiError> {
    let providers = input.unwrap_or_default();
    if providers.len() > MAX_PROVIDERS {
        return Err(ApiError::invalid_parameter(format!(
            "The number of capacity providers for a cluster can not exceed {MAX_PROVIDERS}."
        )));
    }
    for (n, name) in providers.iter().enumerate() {
        if !BUILTIN_PROVIDERS.contains(&name.as_str()) {
            return Err(ApiError::invalid_parameter(
                "The specified capacity provider was not found. Specify a valid capacity provider \
                 and try again.",
            ));
        }
        if providers[..n].contains(name) {
            return Err(ApiError::invalid_parameter(format!(
                "The capacity provider {name} is specified more than once."
            )));
        }
    }
    Ok(providers.to_vec())
}

/// A capacity provider strategy over the cluster's `providers`.
///
/// # Errors
/// `InvalidParameterException` in ECS's words for a strategy that can't place anything.
pub fn strategy(
    input: Option<&[types::CapacityProviderStrategyItem]>,
    providers: &[String],
) -> Result<Vec<CapacityProviderStrategyItem>, ApiError> {
    let items = input.unwrap_or_default();
    if items.len() > MAX_PROVIDERS {
        return Err(ApiError::invalid_parameter(format!(
            "A capacity provider strategy can contain a maximum of {MAX_PROVIDERS} capacity \
             providers."
        )));
    }
    let mut strategy: Vec<CapacityProviderStrategyItem> = Vec::new();
    for item in items {
        let capacity_provider = item.capacity_provider.clone().unwrap_or_default();
        if !providers.contains(&capacity_provider) {
            return Err(ApiError::invalid_parameter(
                "The specified capacity provider strategy cannot contain a capacity provider that \
                 is not associated with the cluster. Associate the capacity provider with the \
                 cluster and try again.",
            ));
        }
        if strategy.iter().any(|s| s.capacity_provider == capacity_provider) {
            return Err(ApiError::invalid_parameter(
                "A capacity provider strategy cannot contain duplicate capacity providers.",
            ));
        }
        let (weight, base) = (item.weight.unwrap_or(0), item.base.unwrap_or(0));
        strategy.push(CapacityProviderStrategyItem { capacity_provider, weight, base });
    }
    if strategy.iter().filter(|s| s.base > 0).count() > 1 {
        return Err(ApiError::invalid_parameter(
            "Only one capacity provider in a capacity provider strategy can have a base defined.",
        ));
    }
    // ECS API `CapacityProviderStrategyItem$weight`: "when multiple capacity providers are
    // specified"; one alone takes all tasks.
    if strategy.len() > 1 && strategy.iter().all(|s| s.weight == 0) {
        return Err(ApiError::invalid_parameter(
            "A capacity provider strategy must contain at least one capacity provider with a \
             weight greater than 0.",
        ));
    }
    Ok(strategy)
}
