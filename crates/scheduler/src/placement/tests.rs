//! Placement's rules, one by one and as properties.

use super::*;
use crate::AllConnected;
use crate::fixture::{self, CLUSTER, START, World};
use crate::task::{self, LaunchPlan, LaunchRequest, Target};
use expect_test::{Expect, expect};
use proptest::prelude::*;
use std::collections::BTreeSet;
use wharf_model::task::TaskOverride;
use wharf_model::task_definition::{
    LaunchType, PlacementConstraint, PlacementStrategy, PortMapping,
};
use wharf_model::{HostPort, NetworkMode, TransportProtocol};

fn strategy(steps: &[(&str, &str)]) -> Vec<PlacementStrategy> {
    let field = |f: &str| (!f.is_empty()).then(|| f.to_owned());
    steps
        .iter()
        .map(|(kind, f)| PlacementStrategy { kind: (*kind).to_owned(), field: field(f) })
        .collect()
}

fn constraint(kind: &str, expression: &str) -> PlacementConstraint {
    let expression = (!expression.is_empty()).then(|| expression.to_owned());
    PlacementConstraint { kind: kind.to_owned(), expression }
}

/// RunTask of a definition, committed.
fn run(
    world: &mut World,
    definition: &TaskDefinition,
    count: usize,
    constraints: &[PlacementConstraint],
    strategy: &[PlacementStrategy],
) -> LaunchPlan {
    let plan = plan(world, &AllConnected, definition, count, constraints, strategy);
    world.commit(&plan.transaction);
    plan
}

fn plan(
    world: &World,
    connectivity: &dyn Connectivity,
    definition: &TaskDefinition,
    count: usize,
    constraints: &[PlacementConstraint],
    strategy: &[PlacementStrategy],
) -> LaunchPlan {
    let cluster = CLUSTER.into();
    let request = LaunchRequest {
        cluster: &cluster,
        task_definition: definition,
        overrides: &TaskOverride::default(),
        target: Target::Placed { count, constraints, strategy },
        group: None,
        started_by: None,
        service: None,
        launch_type: LaunchType::Ec2,
        capacity_providers: &[],
        platform_version: None,
        network: None,
        vpc: &world.vpc,
        tags: &[],
        enable_execute_command: false,
    };
    task::launch(&world.snapshot, connectivity, &request, world.now, world.revision).unwrap()
}

fn hosts_of(plan: &LaunchPlan) -> String {
    let id = |t: &wharf_model::Task| {
        let id = t.container_instance.clone().unwrap();
        u64::from_str_radix(id.as_str(), 16).unwrap().to_string()
    };
    plan.tasks.iter().map(id).collect::<Vec<_>>().join(" ")
}

fn failures_of(plan: &LaunchPlan, expected: Expect) {
    let line = |f: &Failure| {
        let host = f.instance.as_ref().map_or("-", |i| &i.id.as_str()[30..]);
        format!("{host} {} ({})\n", f.reason, f.detail.as_deref().unwrap_or("-"))
    };
    expected.assert_eq(&plan.failures.iter().map(line).collect::<String>());
}

#[test]
fn strategies_choose_as_documented() {
    let zone = "attribute:ecs.availability-zone";
    let cases: [(&[(&str, &str)], &str); 5] = [
        (&[("binpack", "memory")], "0 0 0 0 1 1 1 1 2"),
        (&[("spread", "instanceId")], "0 1 2 3 4 5 0 1 2"),
        (&[("spread", zone)], "0 1 2 0 1 2 0 1 2"),
        (&[("spread", zone), ("binpack", "cpu")], "0 1 2 0 1 2 0 1 2"),
        (&[("spread", zone), ("spread", "host")], "0 1 2 3 4 5 0 1 2"),
    ];
    for (steps, expected) in cases {
        let mut world = World::new();
        (0..6).for_each(|n| drop(world.host(n)));
        let definition = world.definition("app", 256, 256);
        let plan = run(&mut world, &definition, 9, &[], &strategy(steps));
        assert_eq!(hosts_of(&plan), expected, "{steps:?}");
    }
}

#[test]
fn random_is_the_default_and_follows_the_seed() {
    let mut world = World::new();
    (0..20).for_each(|n| drop(world.host(n)));
    let definition = world.definition("app", 1, 1);
    let plan = run(&mut world, &definition, 10, &[], &[]);
    assert_eq!(plan.report.strategy, ["random"]);
    let hosts: BTreeSet<_> = plan.tasks.iter().map(|t| t.container_instance.clone()).collect();
    assert!(hosts.len() > 3, "{}", hosts_of(&plan));
}

#[test]
fn a_stored_report_names_the_nearest_hosts_and_counts_the_others() {
    let mut world = World::new();
    (0..120).for_each(|n| drop(world.host(n)));
    let definition = world.definition("app", 256, 256);
    let plan = run(&mut world, &definition, 1, &[], &strategy(&[("binpack", "memory")]));
    let stored = serde_json::to_value(&plan.report).unwrap();
    let hosts = stored["hosts"].as_array().unwrap();
    assert_eq!(hosts.len(), 10);
    assert_eq!(hosts[0]["verdict"], serde_json::json!({ "chosen": { "tasks": 1 } }));
    assert_eq!(stored["others"], serde_json::json!({ "fits": 110 }));

    let definition = world.definition("large", 1 << 20, 256);
    let plan = run(&mut world, &definition, 1, &[], &[]);
    let stored = serde_json::to_value(&plan.report).unwrap();
    assert_eq!(stored["hosts"].as_array().unwrap().len(), 100, "each with its reason");
    assert_eq!(stored["others"], serde_json::json!({ "cpu": 20 }));
}

#[test]
fn an_empty_cluster_says_so() {
    let mut world = World::new();
    let definition = world.definition("app", 1, 1);
    let plan = run(&mut world, &definition, 1, &[], &[]);
    failures_of(&plan, expect![["- No Container Instances were found in your cluster. (-)\n"]]);
}

#[test]
fn every_host_says_why() {
    let mut world = World::new();
    let mut definition = fixture::definition("app", 256, 512);
    definition.requires_attributes = vec!["rack".to_owned()];
    definition.containers[0].port_mappings = vec![PortMapping {
        last_port: None,
        container_port: 80,
        host_port: Some(80),
        protocol: TransportProtocol::Tcp,
        name: None,
        app_protocol: None,
    }];
    world.put(definition.clone());
    let change = |n: usize, f: fn(&mut ContainerInstance)| {
        let mut host = fixture::host(n, 1024, 1024);
        f(&mut host);
        host
    };
    world.put(change(0, |h| h.registered.cpu = 255));
    world.put(change(1, |h| h.registered.memory_mib = 511));
    world.put(change(2, |h| h.attributes.retain(|a| a.name != "rack")));
    let port = HostPort { protocol: TransportProtocol::Tcp, port: 80 };
    let mut taken = fixture::host(3, 1024, 1024);
    taken.registered.ports.insert(port);
    world.put(taken);
    world.put(change(4, |h| h.status = InstanceStatus::Draining));
    world.put(change(5, |_| ()));
    world.put(change(6, |_| ()));
    let connected: BTreeSet<_> = (0..6).map(|n| fixture::host(n, 1, 1).key()).collect();
    let only = [constraint("memberOf", "attribute:rack != r5")];
    let plan = plan(&world, &connected, &definition, 1, &only, &[]);
    failures_of(
        &plan,
        expect![[r#"
            00 RESOURCE:CPU (exhausted: 256 CPU units wanted, 255 free)
            01 RESOURCE:MEMORY (exhausted: 512 MiB of memory wanted, 511 free)
            02 ATTRIBUTE (filtered: lacks attribute rack)
            03 RESOURCE:PORTS (exhausted: port 80/tcp taken)
            05 MemberOf placement constraint unsatisfied. (filtered: memberOf attribute:rack != r5)
            06 AGENT (filtered: agent not connected)
        "#]],
    );
    expect!["The closest matching (container-instance 00000000000000000000000000000003) is already using a port required by your task."]
        .assert_eq(&plan.report.event_text());
    let stored = serde_json::to_value(&plan.report).unwrap();
    assert_eq!(stored["hosts"][0]["verdict"]["cpu"]["free"], 255);
}

#[test]
fn distinct_instance_counts_the_group() {
    let mut world = World::new();
    (0..3).for_each(|n| drop(world.host(n)));
    let definition = world.definition("app", 1, 1);
    let distinct = [constraint("distinctInstance", "")];
    let plan = run(&mut world, &definition, 5, &distinct, &[]);
    assert_eq!(plan.tasks.len(), 3);
    assert_eq!(plan.failures.len(), 3);
    assert_eq!(plan.failures[0].reason, FailureReason::DistinctInstance);
}

#[test]
fn interfaces_and_addresses_run_out() {
    let mut world = World::new();
    world.host(0);
    let mut definition = fixture::definition("app", 1, 1);
    definition.network_mode = Some(NetworkMode::Awsvpc);
    world.put(definition.clone());
    let plan = run(&mut world, &definition, 5, &[], &[]);
    assert_eq!((plan.tasks.len(), plan.failures[0].reason), (4, FailureReason::NetworkInterfaces));
}

#[test]
fn architecture_and_system_must_fit() {
    let mut world = World::new();
    world.host(0);
    let mut definition = fixture::definition("app", 1, 1);
    definition.runtime_platform = Some(wharf_model::task_definition::RuntimePlatform {
        cpu_architecture: Some("ARM64".to_owned()),
        operating_system_family: Some("LINUX".to_owned()),
    });
    world.put(definition.clone());
    let plan = run(&mut world, &definition, 1, &[], &[]);
    failures_of(
        &plan,
        expect![["00 ATTRIBUTE (filtered: lacks attribute ecs.cpu-architecture=arm64)\n"]],
    );
}

#[test]
fn strategies_and_constraints_are_checked() {
    let bad = [
        strategy(&[("pack", "")]),
        strategy(&[("binpack", "")]),
        strategy(&[("binpack", "disk")]),
        strategy(&[("spread", "zone")]),
        strategy(&[("random", "cpu")]),
        strategy(&[("random", ""); 6]),
    ];
    for steps in bad {
        assert!(crate::placement::Strategy::parse(&steps).is_err(), "{steps:?}");
    }
    let bad = [
        constraint("near", ""),
        constraint("memberOf", ""),
        constraint("memberOf", "attribute:x =="),
        constraint("distinctInstance", "attribute:x == 1"),
    ];
    for constraint in bad {
        assert!(Constraints::parse([&constraint]).is_err(), "{constraint:?}");
    }
}

/// What the naive best fit does: the fullest host that still has room, the lowest id of equals.
fn best_fit(capacity: &[i64], sizes: &[i64]) -> Vec<Option<usize>> {
    let mut free = capacity.to_vec();
    let place = |size: &i64| {
        let fits = (0..free.len()).filter(|n| free[*n] >= *size);
        let host = fits.min_by_key(|n| (free[*n], *n))?;
        free[host] -= size;
        Some(host)
    };
    sizes.iter().map(place).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn binpack_is_online_best_fit(
        capacity in prop::collection::vec(100i64..2000, 1..8),
        sizes in prop::collection::vec(1i64..900, 1..30),
    ) {
        let mut world = World::new();
        for (n, memory) in capacity.iter().enumerate() {
            world.put(fixture::host(n, 1 << 20, *memory));
        }
        let steps = strategy(&[("binpack", "memory")]);
        let mut found = Vec::new();
        for (n, size) in sizes.iter().enumerate() {
            let definition = world.definition(&format!("f{n}"), 0, *size);
            let plan = run(&mut world, &definition, 1, &[], &steps);
            let host = plan.tasks.first().and_then(|t| t.container_instance.clone());
            found.push(host.map(|id| usize::from_str_radix(id.as_str(), 16).unwrap()));
        }
        prop_assert_eq!(found, best_fit(&capacity, &sizes));
    }

    /// `World::commit` checks that no host is overcommitted.
    #[test]
    fn never_overcommits_nor_breaks_a_constraint(
        hosts in 1usize..12,
        tasks in prop::collection::vec((0i64..600, 1i64..600, 0u16..3, 1usize..8, 0usize..4), 1..20),
    ) {
        let mut world = World::new();
        (0..hosts).for_each(|n| drop(world.host(n)));
        let steps: [&[(&str, &str)]; 4] = [
            &[], &[("binpack", "cpu")], &[("spread", "attribute:rack"), ("random", "")],
            &[("spread", "instanceId"), ("binpack", "memory")],
        ];
        for (n, (cpu, memory, port, count, kind)) in tasks.into_iter().enumerate() {
            let mut definition = fixture::definition(&format!("f{n}"), cpu, memory);
            if port > 0 {
                definition.network_mode = Some(NetworkMode::Host);
                definition.containers[0].port_mappings = vec![PortMapping {
                    last_port: None,
                    container_port: 8000 + port, host_port: None,
                    protocol: TransportProtocol::Tcp, name: None, app_protocol: None,
                }];
            } else if kind == 3 {
                definition.network_mode = Some(NetworkMode::Awsvpc);
            }
            world.put(definition.clone());
            let constraints = [
                constraint("memberOf", "attribute:ecs.availability-zone in [us-east-1a, us-east-1b]"),
                constraint("distinctInstance", ""),
            ];
            let constraints = &constraints[..kind % 3];
            let plan = run(&mut world, &definition, count, constraints, &strategy(steps[kind]));
            prop_assert_eq!(plan.report.hosts.len(), hosts);
            prop_assert!(plan.tasks.len() == count || !plan.failures.is_empty());
            let on: Vec<_> = plan.tasks.iter().map(|t| t.container_instance.clone().unwrap()).collect();
            if kind % 3 > 0 {
                let third = |id: &wharf_model::ContainerInstanceId| {
                    usize::from_str_radix(id.as_str(), 16).unwrap() % 3 == 2
                };
                prop_assert!(!on.iter().any(third));
            }
            if kind % 3 > 1 {
                let distinct: BTreeSet<_> = on.iter().collect();
                prop_assert_eq!(distinct.len(), on.len());
            }
        }
        prop_assert!(world.now == START);
    }
}
