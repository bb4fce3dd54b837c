//! What must hold for any text given as an expression of the cluster query language.

use wharf_model::container_instance::{Attribute, ContainerInstance, InstanceStatus};
use wharf_model::cql::{self, Facts, MAX_LENGTH};
use wharf_model::resources::ResourceAmount;
use wharf_model::snapshot::{InstanceUsage, Snapshot};
use wharf_model::time::Timestamp;

/// An expression is refused at a place within it, or prints as one that means the same, and its
/// negation means the opposite.
pub fn cluster_query(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let expression = match cql::parse(text) {
        Ok(expression) => expression,
        Err(error) => {
            assert!(error.position <= text.len() && text.is_char_boundary(error.position));
            return assert!(!error.message.is_empty());
        }
    };
    let printed = expression.to_string();
    if printed.len() > MAX_LENGTH {
        return;
    }
    let again = cql::parse(&printed).expect("what we write, we read");
    assert_eq!(again, expression, "{printed}");
    let (snapshot, instance, usage) = (Snapshot::default(), instance(), usage());
    for agent_connected in [true, false] {
        let facts =
            Facts { snapshot: &snapshot, instance: &instance, usage: &usage, agent_connected };
        let holds = expression.matches(&facts);
        assert_eq!(again.matches(&facts), holds, "{printed}");
        if let Ok(negated) = cql::parse(&format!("not ({printed})")) {
            assert_ne!(negated.matches(&facts), holds, "{printed}");
        }
    }
}

fn instance() -> ContainerInstance {
    let attribute =
        |n: &str, v: Option<&str>| Attribute { name: n.to_owned(), value: v.map(str::to_owned) };
    ContainerInstance {
        gpu_ids: Vec::new(),
        id: "0123".into(),
        cluster: "default".into(),
        ec2_instance_id: "i-abcd1234".to_owned(),
        registered_by: String::new(),
        registered: ResourceAmount::default(),
        attributes: vec![
            attribute("ecs.instance-type", Some("g2.2xlarge")),
            attribute("slots", Some("9")),
            attribute("label", None),
        ],
        status: InstanceStatus::Active,
        version: 1,
        registered_at: Timestamp(1_518_479_999_000),
        deregistered_at: None,
        agent_version: "1.14.4".to_owned(),
        agent_hash: String::new(),
        docker_version: String::new(),
        capacity_provider: None,
        private_ip: None,
        client_token: None,
        tags: Vec::new(),
    }
}

fn usage() -> InstanceUsage {
    let mut usage = InstanceUsage { running: 1, ..InstanceUsage::default() };
    usage.tasks_by_group.insert("service:production".to_owned(), 2);
    usage
}
