//! What an account has from its first start: the roles that ECS's console makes, so that task
//! definitions of tutorials run unchanged, and ECS's own.

use super::service_linked;
use wharf_model::iam::{self, DEFAULT_SESSION_SECONDS, InstanceProfile, Role};
use wharf_model::{IdSource, RecordKey, Revision, Snapshot, Timestamp, Transaction};

/// The transaction that makes them, unless they have been made: then `AWSServiceRoleForECS` is
/// there, which nobody can delete.
pub fn roles(snapshot: &Snapshot, now: Timestamp, seed: u64) -> Transaction {
    let mut transaction = Transaction::new();
    let mut ids = IdSource::new(seed);
    let Some(own) = service_linked::role(service_linked::ECS, ids.iam_id("AROA"), now) else {
        return transaction;
    };
    if snapshot.role(&iam::key(&own.name)).is_some() {
        return transaction;
    }
    let service_role = |policy: &str| format!("arn:aws:iam::aws:policy/service-role/{policy}");
    let mut role = |name: &str, service: &str, policy: &str| Role {
        name: name.to_owned(),
        path: "/".to_owned(),
        id: ids.iam_id("AROA"),
        created_at: now,
        trust_policy: format!(
            "{{\"Version\":\"2012-10-17\",\"Statement\":[{{\"Sid\":\"\",\"Effect\":\"Allow\",\
             \"Principal\":{{\"Service\":\"{service}\"}},\"Action\":\"sts:AssumeRole\"}}]}}"
        ),
        description: None,
        max_session_seconds: DEFAULT_SESSION_SECONDS,
        inline: Default::default(),
        attached: vec![service_role(policy)],
        instance_profiles: Vec::new(),
        tags: Vec::new(),
    };
    let execution =
        role("ecsTaskExecutionRole", iam::TASKS_SERVICE, "AmazonECSTaskExecutionRolePolicy");
    let mut instance =
        role("ecsInstanceRole", "ec2.amazonaws.com", "AmazonEC2ContainerServiceforEC2Role");
    let profile = InstanceProfile {
        name: instance.name.clone(),
        path: "/".to_owned(),
        id: ids.iam_id("AIPA"),
        created_at: now,
        role: Some(instance.name.clone()),
        tags: Vec::new(),
    };
    instance.instance_profiles.push(profile.name.clone());
    for role in [own, execution, instance] {
        let key = RecordKey::Role(iam::key(&role.name));
        if snapshot.revision_of(&key) == Revision::ABSENT {
            transaction.read(key, Revision::ABSENT);
            transaction.put(role);
        }
    }
    let key = RecordKey::InstanceProfile(iam::key(&profile.name));
    if snapshot.revision_of(&key) == Revision::ABSENT {
        transaction.read(key, Revision::ABSENT);
        transaction.put(profile);
    }
    transaction
}
