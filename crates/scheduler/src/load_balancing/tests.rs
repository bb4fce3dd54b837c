use super::*;
use crate::fixture::World;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;
use wharf_model::load_balancing::*;

const GROUP: &str = "blue/1";
const LOAD_BALANCER: &str = "app/web/2";

fn target_group() -> TargetGroup {
    TargetGroup {
        name: "blue".into(),
        id: "1".into(),
        protocol: Protocol::Http,
        protocol_version: Some(ProtocolVersion::Http1),
        port: 80,
        vpc_id: wharf_model::network::VPC_ID.into(),
        target_type: TargetType::Ip,
        ip_address_type: "ipv4".into(),
        health_check: HealthCheck {
            enabled: true,
            protocol: Protocol::Http,
            port: None,
            path: Some("/".into()),
            matcher: Some("200".into()),
            interval_seconds: 30,
            timeout_seconds: 5,
            healthy_threshold: 5,
            unhealthy_threshold: 2,
        },
        created_at: crate::fixture::START,
        attributes: BTreeMap::new(),
        tags: Vec::new(),
    }
}

fn load_balancer(world: &World) -> (LoadBalancer, wharf_model::Transaction) {
    let mut transaction = wharf_model::Transaction::new();
    let subnets: Vec<String> = world.vpc.subnets.iter().map(|s| s.id.clone()).collect();
    let record = LoadBalancer {
        kind: LoadBalancerType::Application,
        name: "web".into(),
        id: "2".into(),
        scheme: Scheme::Internal,
        dns_name: "web".into(),
        created_at: world.now,
        vpc_id: wharf_model::network::VPC_ID.into(),
        host_address: host_address(&world.snapshot, &mut transaction).unwrap(),
        task_address: task_address(&world.snapshot, &world.vpc, &subnets, &mut transaction),
        vpc_range: None,
        subnets,
        security_groups: Vec::new(),
        ip_address_type: "ipv4".into(),
        attributes: BTreeMap::new(),
        tags: Vec::new(),
    };
    transaction.put(record.clone());
    (record, transaction)
}

fn listener() -> Listener {
    let group = WeightedTargetGroup { target_group: GROUP.into(), weight: None };
    Listener {
        load_balancer: LOAD_BALANCER.into(),
        id: "3".into(),
        port: 80,
        protocol: Protocol::Http,
        ssl_policy: None,
        certificates: Vec::new(),
        alpn_policy: None,
        mutual_authentication: None,
        default_actions: vec![Action::Forward(Forward {
            target_groups: vec![group],
            stickiness_seconds: None,
        })],
        attributes: BTreeMap::new(),
        tags: Vec::new(),
    }
}

fn key() -> TargetKey {
    TargetKey { target_group: "1".into(), id: "10.113.0.9".into(), port: 80 }
}

fn registered(in_use: bool) -> World {
    let mut world = World::new();
    world.put(target_group());
    if in_use {
        let (_, transaction) = load_balancer(&world);
        world.commit(&transaction);
        world.put(listener());
    }
    let new =
        NewTarget { id: key().id, port: 80, address: IpAddr::from([10, 113, 0, 9]), zone: None };
    let transaction = register(&world.snapshot, &target_group(), &[new], world.now);
    world.commit(&transaction);
    world
}

#[test]
fn a_target_of_an_unused_group_goes_at_once() {
    let mut world = registered(false);
    let transaction = deregister(&world.snapshot, &target_group(), &[key()], world.now);
    world.commit(&transaction);
    assert!(world.snapshot.target(&key()).is_none());
}

#[test]
fn a_used_one_drains_until_its_delay_is_over_or_it_has_drained_and_can_come_back() {
    for drained in [false, true] {
        let mut world = registered(true);
        let transaction = deregister(&world.snapshot, &target_group(), &[key()], world.now);
        world.commit(&transaction);
        let target = world.snapshot.target(&key()).unwrap();
        let usage = Usage::of(&world.snapshot);
        let shown = health(&usage, &target_group(), target, None);
        assert_eq!(shown.reason, Some(HealthReason::DeregistrationInProgress));
        assert!(due(&world.snapshot, world.now, &BTreeSet::new()).is_empty());

        let (later, report) = match drained {
            true => (world.now, BTreeSet::from([key()])),
            false => (world.now.plus(Duration::from_secs(300)), BTreeSet::new()),
        };
        let transaction = due(&world.snapshot, later, &report);
        world.commit(&transaction);
        assert!(world.snapshot.target(&key()).is_none());
    }
    let mut world = registered(true);
    let transaction = deregister(&world.snapshot, &target_group(), &[key()], world.now);
    world.commit(&transaction);
    let again = NewTarget { id: key().id, port: 80, address: [10, 113, 0, 9].into(), zone: None };
    let transaction = register(&world.snapshot, &target_group(), &[again], world.now);
    world.commit(&transaction);
    assert_eq!(world.snapshot.target(&key()).unwrap().deregistered_at, None);
}

#[test]
fn what_a_deleted_load_balancer_leaves_behind_counts_no_more_and_is_swept() {
    let mut world = registered(true);
    let mut transaction = wharf_model::Transaction::new();
    transaction.delete(wharf_model::RecordKey::LoadBalancer(LOAD_BALANCER.into()));
    transaction.delete(wharf_model::RecordKey::TargetGroup(GROUP.into()));
    world.commit(&transaction);
    assert!(!Usage::of(&world.snapshot).is_used(GROUP));
    let transaction = due(&world.snapshot, world.now, &BTreeSet::new());
    world.commit(&transaction);
    assert_eq!(world.snapshot.listeners().count(), 0);
    assert_eq!(world.snapshot.all_targets().count(), 0);
    assert!(due(&world.snapshot, world.now, &BTreeSet::new()).is_empty());
}

#[test]
fn addresses_are_taken_until_their_load_balancer_is_gone() {
    let mut world = World::new();
    let (first, transaction) = load_balancer(&world);
    world.commit(&transaction);
    assert_eq!(first.host_address.to_string(), "127.80.1.0");
    let held = first.task_address.unwrap();
    assert!(!world.snapshot.is_free_address(held));
    let (second, _) = load_balancer(&world);
    assert_eq!(second.host_address.to_string(), "127.80.1.1");
    assert_ne!(second.task_address, Some(held));
    let mut transaction = wharf_model::Transaction::new();
    transaction.delete(wharf_model::RecordKey::LoadBalancer(LOAD_BALANCER.into()));
    world.commit(&transaction);
    assert!(world.snapshot.is_free_address(held));
}

#[test]
fn the_board_remembers_the_last_report_and_forgets_what_is_gone() {
    let mut world = registered(true);
    let mut board = TargetHealthBoard::default();
    let healthy = TargetHealth { state: HealthState::Healthy, reason: None, description: None };
    let health = vec![(key(), healthy.clone())];
    board.apply(&Report { revision: 1, health, ..Report::default() });
    board.retain(&world.snapshot);
    assert_eq!(board.health(&key()), Some(&healthy));
    let mut transaction = wharf_model::Transaction::new();
    transaction.delete(wharf_model::RecordKey::Target(key()));
    world.commit(&transaction);
    board.retain(&world.snapshot);
    assert_eq!(board.health(&key()), None);
}
