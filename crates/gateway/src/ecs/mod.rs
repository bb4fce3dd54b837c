//! The operations of Amazon ECS: one file each, one line each in the table below.
//!
//! An operation is a pure function `(&Context, &Input) -> Result<Output>`: see
//! [`create_cluster`] for one that writes and [`list_clusters`] for one that reads, and copy the
//! nearer one. What several operations share has a file of its own: [`resolve`] (names and ARNs),
//! [`page`] (nextToken and maxResults), [`tags`], [`cluster_view`].

pub mod account_setting;
pub mod attribute_input;
pub mod capacity_input;
pub mod carried_out;
pub mod client_token;
pub mod cluster_input;
#[cfg(test)]
mod cluster_tests;
pub mod cluster_view;
#[cfg(test)]
mod instance_tests;
pub mod launch_input;
#[cfg(test)]
mod launch_tests;
pub mod load_balancer_input;
mod network_input;
pub mod page;
pub mod placement_input;
pub mod present;
pub mod resolve;
pub mod service_change;
pub mod service_input;
#[cfg(test)]
mod service_lifecycle_tests;
#[cfg(test)]
mod service_tests;
pub mod state_change;
pub mod tags;
pub mod task_definition_reference;
pub mod task_protection;
#[cfg(test)]
mod task_tests;
#[cfg(test)]
pub(crate) mod world;

pub mod cluster_change;
pub mod create_cluster;
pub mod create_service;
pub mod delete_account_setting;
pub mod delete_attributes;
pub mod delete_cluster;
pub mod delete_service;
pub mod delete_task_definitions;
pub mod deregister_container_instance;
pub mod deregister_task_definition;
pub mod describe_clusters;
pub mod describe_container_instances;
pub mod describe_service_deployments;
pub mod describe_service_revisions;
pub mod describe_services;
pub mod describe_task_definition;
pub mod describe_tasks;
pub mod discover_poll_endpoint;
pub(crate) mod express;
pub mod get_task_protection;
pub mod list_account_settings;
pub mod list_attributes;
pub mod list_clusters;
pub mod list_container_instances;
pub mod list_service_deployments;
pub mod list_services;
pub mod list_services_by_namespace;
pub mod list_tags_for_resource;
pub mod list_task_definition_families;
pub mod list_task_definitions;
pub mod list_tasks;
pub mod put_account_setting;
pub mod put_account_setting_default;
pub mod put_attributes;
pub mod put_cluster_capacity_providers;
pub mod register_container_instance;
pub mod register_task_definition;
pub mod run_task;
pub mod start_task;
pub mod stop_service_deployment;
pub mod stop_task;
pub mod submit_attachment_state_changes;
pub mod submit_container_state_change;
pub mod submit_task_state_change;
pub mod tag_resource;
pub mod tagged;
pub mod untag_resource;
pub mod update_cluster;
pub mod update_cluster_settings;
pub mod update_container_agent;
pub mod update_container_instances_state;
pub mod update_service;
pub mod update_task_protection;

use crate::dispatch::{Call, Encoded};
use crate::error::ApiError;
use wharf_wire::ecs::{Operation, operation};

/// The dispatch table. `run` is for operations that read or write; `run_placing` for those that
/// place tasks, which take turns within their cluster.
macro_rules! dispatch_table {
    ($( $name:ident => $run:ident($function:path); )*) => {
        /// The operations that are built, in the order of the table.
        pub const BUILT: &[Operation] =
            &[Operation::CreateExpressGatewayService, $(Operation::$name),*];

        /// Runs the operation; those that aren't built answer with an error that names them.
        pub(crate) async fn dispatch(
            operation: Operation,
            call: Call<'_>,
        ) -> Encoded {
            match operation {
                Operation::CreateExpressGatewayService => express::create(call).await,
                $( Operation::$name => call.$run::<operation::$name>($function).await, )*
                #[allow(unreachable_patterns)]
                other => Err(ApiError::not_built(other)),
            }
        }
    };
}

dispatch_table! {
    CreateCluster => run(create_cluster::create_cluster);
    ListClusters => run(list_clusters::list_clusters);
    DescribeClusters => run(describe_clusters::describe_clusters);
    UpdateCluster => run(update_cluster::update_cluster);
    UpdateClusterSettings => run(update_cluster_settings::update_cluster_settings);
    PutClusterCapacityProviders => run(put_cluster_capacity_providers::put_cluster_capacity_providers);
    DeleteCluster => run(delete_cluster::delete_cluster);
    DiscoverPollEndpoint => run(discover_poll_endpoint::discover_poll_endpoint);
    PutAccountSetting => run(put_account_setting::put_account_setting);
    PutAccountSettingDefault => run(put_account_setting_default::put_account_setting_default);
    DeleteAccountSetting => run(delete_account_setting::delete_account_setting);
    ListAccountSettings => run(list_account_settings::list_account_settings);
    TagResource => run(tag_resource::tag_resource);
    UntagResource => run(untag_resource::untag_resource);
    ListTagsForResource => run(list_tags_for_resource::list_tags_for_resource);
    DeleteAttributes => run(delete_attributes::delete_attributes);
    DeleteTaskDefinitions => run(delete_task_definitions::delete_task_definitions);
    DeregisterTaskDefinition => run(deregister_task_definition::deregister_task_definition);
    DescribeContainerInstances => run(describe_container_instances::describe_container_instances);
    DescribeTaskDefinition => run(describe_task_definition::describe_task_definition);
    DescribeTasks => run(describe_tasks::describe_tasks);
    ListAttributes => run(list_attributes::list_attributes);
    ListContainerInstances => run(list_container_instances::list_container_instances);
    ListTaskDefinitionFamilies => run(list_task_definition_families::list_task_definition_families);
    ListTaskDefinitions => run(list_task_definitions::list_task_definitions);
    ListTasks => run(list_tasks::list_tasks);
    PutAttributes => run(put_attributes::put_attributes);
    RegisterContainerInstance => run(register_container_instance::register_container_instance);
    UpdateContainerAgent => run(update_container_agent::update_container_agent);
    UpdateContainerInstancesState => run(update_container_instances_state::update_container_instances_state);
    CreateService => run(create_service::create_service);
    DeleteService => run(delete_service::delete_service);
    DescribeServiceDeployments => run(describe_service_deployments::describe_service_deployments);
    DescribeServiceRevisions => run(describe_service_revisions::describe_service_revisions);
    DescribeServices => run(describe_services::describe_services);
    ListServiceDeployments => run(list_service_deployments::list_service_deployments);
    ListServices => run(list_services::list_services);
    ListServicesByNamespace => run(list_services_by_namespace::list_services_by_namespace);
    UpdateService => run(update_service::update_service);
    RunTask => run_placing(run_task::run_task);
    StartTask => run_placing(start_task::start_task);
    StopTask => run(stop_task::stop_task);
    SubmitAttachmentStateChanges => run(submit_attachment_state_changes::submit_attachment_state_changes);
    SubmitContainerStateChange => run(submit_container_state_change::submit_container_state_change);
    SubmitTaskStateChange => run(submit_task_state_change::submit_task_state_change);
    GetTaskProtection => run(get_task_protection::get_task_protection);
    UpdateTaskProtection => run(update_task_protection::update_task_protection);
    DescribeExpressGatewayService => run(express::describe);
    UpdateExpressGatewayService => run(express::update);
    DeleteExpressGatewayService => run(express::delete);
    DeregisterContainerInstance => run(deregister_container_instance::deregister_container_instance);
    StopServiceDeployment => run(stop_service_deployment::stop_service_deployment);
    RegisterTaskDefinition => run(register_task_definition::register_task_definition);
}
