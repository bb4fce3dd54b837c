//! Forgetting: what ECS describes for a while after its end and then no more.

use std::time::Duration;
use wharf_model::task_definition::TaskDefinitionStatus;
use wharf_model::{
    RecordKey, Service, ServiceDeployment, Snapshot, Timestamp, Transaction, service,
};

/// Stopped tasks, INACTIVE services, clusters and instances are described this long.
pub const DESCRIBED: Duration = Duration::from_secs(60 * 60);
/// Ended service deployments are described this long (ECS API DescribeServiceDeployments).
pub const DEPLOYMENTS_DESCRIBED: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// Most records that one sweep deletes.
const MAX_DELETED: usize = 100;

/// Deletes what has expired, up to 100 records: sweep again until it changes nothing. Deletions
/// hold only if the records are as seen, so that what was made anew meanwhile stays.
pub fn sweep(snapshot: &Snapshot, now: Timestamp) -> Transaction {
    let over = |at: Option<Timestamp>, after: Duration| at.is_some_and(|at| at.plus(after) <= now);
    let tasks = snapshot
        .all_tasks()
        .filter(|t| t.last_status.is_stopped() && over(t.stopped_at, DESCRIBED))
        .map(|t| RecordKey::Task(t.key()));
    let services = snapshot
        .all_services()
        .filter(|s| s.status == service::ServiceStatus::Inactive && over(s.deleted_at, DESCRIBED))
        .flat_map(|s| whole_service(snapshot, s));
    let deployments = snapshot
        .all_services()
        .flat_map(|s| {
            snapshot
                .service_deployments(&s.key())
                .map(move |d| (s.clone(), d.clone()))
                .collect::<Vec<_>>()
        })
        .filter(|(s, d)| over(d.finished_at, DEPLOYMENTS_DESCRIBED) && !is_current(s, d))
        .map(|(_, d)| RecordKey::ServiceDeployment((d.service.clone(), d.id.clone())));
    let instances = snapshot
        .all_container_instances()
        .filter(|i| over(i.deregistered_at, DESCRIBED))
        .flat_map(|i| [RecordKey::ContainerInstance(i.key()), RecordKey::Reservation(i.key())])
        .filter(|key| snapshot.revision_of(key) != wharf_model::Revision::ABSENT);
    let clusters = snapshot
        .clusters()
        .filter(|c| !c.active && over(c.deleted_at, DESCRIBED))
        .map(|c| RecordKey::Cluster(c.name.clone()));
    let tokens = snapshot
        .client_tokens()
        .filter(|t| t.expires_at <= now)
        .map(|t| RecordKey::ClientToken((t.cluster.clone(), t.operation.clone(), t.token.clone())));
    let expired = tasks.chain(services).chain(deployments).chain(instances).chain(clusters);
    let mut transaction = Transaction::new();
    let others = tokens.chain(definitions(snapshot)).chain(secrets(snapshot, now));
    for key in expired.chain(others).take(MAX_DELETED) {
        transaction.read(key.clone(), snapshot.revision_of(&key));
        transaction.delete(key);
    }
    transaction
}

/// What belongs to a service, the service itself last: a sweep that ends in the middle leaves
/// nothing without an owner.
fn whole_service(snapshot: &Snapshot, service: &Service) -> Vec<RecordKey> {
    let key = service.key();
    let deployments = snapshot
        .service_deployments(&key)
        .map(|d| RecordKey::ServiceDeployment((d.service.clone(), d.id.clone())));
    let revisions = snapshot
        .service_revisions(&key)
        .map(|r| RecordKey::ServiceRevision((r.service.clone(), r.id.clone())));
    deployments.chain(revisions).chain([RecordKey::Service(key.clone())]).collect()
}

fn is_current(service: &Service, record: &ServiceDeployment) -> bool {
    service.deployments.iter().any(|d| d.service_deployment_id == record.id)
}

/// Secrets whose recovery window has ended, and versions whose parameter or secret is gone: one
/// transaction couldn't delete them all with it.
fn secrets(snapshot: &Snapshot, now: Timestamp) -> impl Iterator<Item = RecordKey> {
    let gone = snapshot.secrets().filter(move |secret| secret.is_gone(now));
    let orphans = snapshot.secret_versions().filter(move |version| {
        snapshot.secret(&version.secret_name).is_none_or(|secret| secret.id != version.secret_id)
    });
    let parameters = snapshot.parameter_versions().filter(move |version| {
        let parameter = snapshot.parameter(&version.name);
        parameter.is_none_or(|parameter| parameter.id != version.parameter_id)
    });
    gone.map(|secret| RecordKey::Secret(secret.name.clone()))
        .chain(orphans.map(|v| RecordKey::SecretVersion((v.secret_id.clone(), v.id.clone()))))
        .chain(parameters.map(|v| RecordKey::ParameterVersion((v.parameter_id.clone(), v.version))))
}

/// Task definitions whose deletion was asked for and that nothing uses any more.
fn definitions(snapshot: &Snapshot) -> impl Iterator<Item = RecordKey> {
    let deleting = |d: &&std::sync::Arc<wharf_model::TaskDefinition>| {
        d.status == TaskDefinitionStatus::DeleteInProgress
    };
    snapshot
        .task_definitions()
        .filter(deleting)
        .map(|d| d.key())
        .filter(|key| {
            let by_service = snapshot.all_services().any(|s| {
                s.status != service::ServiceStatus::Inactive
                    && s.deployments.iter().any(|d| d.task_definition == *key)
            });
            !by_service && !snapshot.all_tasks().any(|t| t.task_definition == *key)
        })
        .map(RecordKey::TaskDefinition)
}
