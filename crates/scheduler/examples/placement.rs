//! Placement's bench: 10,000 tasks onto 1,000 hosts with spread by zone, binpack on memory and a
//! memberOf, in calls of ten as RunTask makes them and in single calls.
//!
//! `cargo run --release -p wharf-scheduler --example placement`

use std::time::{Duration, Instant};
use wharf_model::network::{BuiltinVpc, DEFAULT_VPC_CIDR, Ipv4Range};
use wharf_model::task::TaskOverride;
use wharf_model::task_definition::{LaunchType, PlacementConstraint, PlacementStrategy};
use wharf_model::{
    Cluster, ClusterName, ContainerInstance, Record, Revision, Snapshot, TaskDefinition, Timestamp,
    Write,
};
use wharf_scheduler::AllConnected;
use wharf_scheduler::task::{LaunchRequest, Target, launch};

const HOSTS: usize = 1_000;
const TASKS: usize = 10_000;
const NOW: Timestamp = Timestamp(1_795_482_000_000);

fn host(n: usize) -> Result<ContainerInstance, serde_json::Error> {
    serde_json::from_value(serde_json::json!({
        "id": format!("{n:032x}"), "cluster": "default", "registered_by": "root",
        "registered": {"cpu": 16_384, "memory_mib": 32_768}, "status": "ACTIVE",
        "version": 1, "registered_at": NOW,
        "attributes": [
            {"n": "ecs.availability-zone", "v": format!("us-east-1{}", ["a", "b", "c"][n % 3])},
            {"n": "ecs.instance-type", "v": if n.is_multiple_of(4) { "t3.small" } else { "m5.4xlarge" }},
        ],
    }))
}

fn definition() -> Result<TaskDefinition, serde_json::Error> {
    serde_json::from_value(serde_json::json!({
        "family": "web", "revision": 1, "status": "ACTIVE", "registered_by": "root",
        "containers": [{"name": "web", "image": "web", "cpu": 512, "memory": 1024}],
        "registered_at": NOW,
    }))
}

fn step(kind: &str, field: &str) -> PlacementStrategy {
    PlacementStrategy { kind: kind.to_owned(), field: Some(field.to_owned()) }
}

fn run(batch: usize) -> Result<(), Box<dyn std::error::Error>> {
    let (mut snapshot, mut revision) = (Snapshot::default(), 0);
    let mut apply = |snapshot: &mut Snapshot, writes: &[Write]| {
        revision += 1;
        snapshot.apply(Revision(revision), writes);
    };
    apply(&mut snapshot, &[Write::Put(Cluster::new("default", NOW).into())]);
    for n in 0..HOSTS {
        apply(&mut snapshot, &[Write::Put(Record::from(host(n)?))]);
    }
    let definition = definition()?;
    apply(&mut snapshot, &[Write::Put(definition.clone().into())]);
    let vpc = BuiltinVpc::new(Ipv4Range::parse(DEFAULT_VPC_CIDR).ok_or("range")?, "us-east-1");
    let constraints = [PlacementConstraint {
        kind: "memberOf".to_owned(),
        expression: Some("attribute:ecs.instance-type =~ m5.*".to_owned()),
    }];
    let strategy = [step("spread", "attribute:ecs.availability-zone"), step("binpack", "memory")];
    let cluster = ClusterName::from("default");
    let overrides = TaskOverride::default();
    let (mut placed, mut took) = (0, Vec::new());
    while placed < TASKS {
        let request = LaunchRequest {
            cluster: &cluster,
            task_definition: &definition,
            overrides: &overrides,
            target: Target::Placed { count: batch, constraints: &constraints, strategy: &strategy },
            group: None,
            started_by: None,
            service: None,
            launch_type: LaunchType::Ec2,
            capacity_providers: &[],
            platform_version: None,
            network: None,
            vpc: &vpc,
            tags: &[],
            enable_execute_command: false,
        };
        #[allow(clippy::disallowed_methods)] // a bench measures
        let start = Instant::now();
        let plan = launch(&snapshot, &AllConnected, &request, NOW, placed as u64)?;
        took.push(start.elapsed());
        if plan.tasks.is_empty() {
            return Err("a task found no host".into());
        }
        placed += plan.tasks.len();
        apply(&mut snapshot, &plan.transaction.writes);
    }
    let tenth = took.len() / 10;
    let mean =
        |part: &[Duration]| part.iter().sum::<Duration>() / u32::try_from(part.len()).unwrap_or(1);
    let total: Duration = took.iter().sum();
    let (first, last) = (mean(&took[..tenth]), mean(&took[took.len() - tenth..]));
    let hosts = snapshot.container_instances(&cluster);
    let used = hosts.filter(|h| !snapshot.usage(&h.key()).tasks.is_empty()).count();
    println!(
        "{TASKS} tasks, {HOSTS} hosts, {batch} a call: {total:.2?} in all, {:.1} µs a task; \
         a call among the first tenth {first:.1?}, among the last {last:.1?} ({:.2}×); \
         {used} hosts used, best fit needs {}",
        total.as_secs_f64() * 1e6 / TASKS as f64,
        last.as_secs_f64() / first.as_secs_f64(),
        TASKS.div_ceil(3).div_ceil(32) * 3,
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    run(10)?;
    run(1)
}
