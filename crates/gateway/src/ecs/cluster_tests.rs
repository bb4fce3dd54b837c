//! Clusters, account settings, tags and the poll endpoint: each request with its answer.

use super::world::{World, golden};
use serde_json::{Value, json};
use wharf_model::Principal;
use wharf_wire::ecs::operation as op;

/// Runs `{"Operation": {…}}`.
fn run(world: &mut World, request: &Value) -> Result<Value, String> {
    let (name, input) = request.as_object().unwrap().iter().next().unwrap();
    macro_rules! table {
        ($( $name:ident => $module:ident; )*) => {
            match name.as_str() {
                $( stringify!($name) => {
                    world.call::<op::$name>(super::$module::$module, input)
                } )*
                other => panic!("no operation {other}"),
            }
        };
    }
    table! {
        CreateCluster => create_cluster;
        DeleteAccountSetting => delete_account_setting;
        DeleteCluster => delete_cluster;
        DescribeClusters => describe_clusters;
        DiscoverPollEndpoint => discover_poll_endpoint;
        ListAccountSettings => list_account_settings;
        ListClusters => list_clusters;
        ListTagsForResource => list_tags_for_resource;
        PutAccountSetting => put_account_setting;
        PutAccountSettingDefault => put_account_setting_default;
        PutClusterCapacityProviders => put_cluster_capacity_providers;
        TagResource => tag_resource;
        UntagResource => untag_resource;
        UpdateCluster => update_cluster;
        UpdateClusterSettings => update_cluster_settings;
        CreateService => create_service;
        RegisterTaskDefinition => register_task_definition;
        RegisterContainerInstance => register_container_instance;
    }
}

#[test]
fn golden_cases() {
    let mut world = World::new();
    let count = golden(include_str!("cluster_cases.txt"), |request| run(&mut world, request));
    assert!(count >= 90, "{count}");
}

#[test]
fn a_new_cluster_answers_with_every_member_of_ecs() {
    let mut world = World::new();
    let answer = run(&mut world, &json!({"CreateCluster": {"clusterName": "c"}})).unwrap();
    assert_eq!(
        answer["cluster"],
        json!({
            "clusterArn": "arn:aws:ecs:us-east-1:123456789012:cluster/c",
            "clusterName": "c",
            "status": "ACTIVE",
            "registeredContainerInstancesCount": 0,
            "runningTasksCount": 0,
            "pendingTasksCount": 0,
            "activeServicesCount": 0,
            "statistics": [],
            "tags": [],
            "settings": [{"name": "containerInsights", "value": "disabled"}],
            "capacityProviders": [],
            "defaultCapacityProviderStrategy": [],
        })
    );
}

#[test]
fn pages_hold_every_cluster_once() {
    let mut world = World::new();
    for n in 0..25 {
        run(&mut world, &json!({"CreateCluster": {"clusterName": format!("n{n:02}")}})).unwrap();
    }
    let (mut token, mut seen) = (Value::Null, Vec::new());
    loop {
        let mut request = json!({"maxResults": 10});
        if !token.is_null() {
            request["nextToken"] = token;
        }
        let answer = run(&mut world, &json!({"ListClusters": request})).unwrap();
        seen.extend(answer["clusterArns"].as_array().unwrap().clone());
        token = answer["nextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    assert_eq!(seen.len(), 26);
    seen.dedup();
    assert_eq!(seen.len(), 26);
}

#[test]
fn a_users_setting_goes_before_the_accounts() {
    let mut world = World::new();
    let effective = |world: &mut World| {
        let request = json!({"ListAccountSettings":
            {"name": "containerInsights", "effectiveSettings": true}});
        run(world, &request).unwrap()["settings"][0]["value"].clone()
    };
    let put = |world: &mut World, operation: &str, value: &str| {
        run(world, &json!({operation: {"name": "containerInsights", "value": value}})).unwrap();
    };
    put(&mut world, "PutAccountSettingDefault", "enabled");
    world.principal = Principal::User("jo".into());
    assert_eq!(effective(&mut world), "enabled");
    put(&mut world, "PutAccountSetting", "enhanced");
    assert_eq!(effective(&mut world), "enhanced");
    world.principal = Principal::Root;
    assert_eq!(effective(&mut world), "enabled");
    world.principal = Principal::User("jo".into());
    run(&mut world, &json!({"DeleteAccountSetting": {"name": "containerInsights"}})).unwrap();
    assert_eq!(effective(&mut world), "enabled");
    let created = run(&mut world, &json!({"CreateCluster": {"clusterName": "c"}})).unwrap();
    assert_eq!(created["cluster"]["settings"][0]["value"], "enabled");
}
