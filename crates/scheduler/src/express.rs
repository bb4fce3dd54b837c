//! The end of an Express Gateway service: what was made for it goes with it, and what it shared goes
//! with the last one that shares it.

use crate::load_balancing::{forwards_to, is_rule_live};
use wharf_model::express::ExpressGateway;
use wharf_model::service::ServiceStatus;
use wharf_model::{RecordKey, Revision, Service, Snapshot, Transaction};

/// The tag that AWS puts on what ECS manages.
pub const MANAGED_TAG: &str = "AmazonECSManaged";

/// The services that share a load balancer, those that are deleted and have tasks left among them.
pub fn sharing<'a>(
    snapshot: &'a Snapshot,
    load_balancer: &'a str,
) -> impl Iterator<Item = &'a Service> {
    let shares = move |service: &&Service| {
        let express = service.express.as_ref();
        service.status != ServiceStatus::Inactive
            && express.is_some_and(|express| express.load_balancer == load_balancer)
    };
    snapshot.all_services().map(|service| &**service).filter(shares)
}

/// Takes away what was made for a service whose tasks are gone. Two that end at once meet at the
/// listener: the second is decided anew, and finds itself to be the last.
pub fn removed(snapshot: &Snapshot, service: &Service) -> Transaction {
    let mut removal = Removal { snapshot, transaction: Transaction::new() };
    if let Some(express) = &service.express {
        removal.remove(service, express);
    }
    removal.transaction
}

struct Removal<'a> {
    snapshot: &'a Snapshot,
    transaction: Transaction,
}

impl Removal<'_> {
    fn remove(&mut self, service: &Service, express: &ExpressGateway) {
        self.delete(RecordKey::ListenerRule(express.rule.clone()));
        if !self.is_forwarded_to(express) {
            // Its targets are swept once their group is gone.
            self.delete(RecordKey::TargetGroup(express.target_group.clone()));
        }
        let arn_ends_in = format!("certificate/{}", express.certificate);
        let serves = |certificates: &[String]| {
            certificates.iter().any(|certificate| certificate.ends_with(&arn_ends_in))
        };
        let others = self.snapshot.listeners().filter(|l| l.path() != express.listener);
        if !others.into_iter().any(|listener| serves(&listener.certificates)) {
            self.delete(RecordKey::Certificate(express.certificate.clone()));
        }
        let mut sharing = sharing(self.snapshot, &express.load_balancer);
        if sharing.any(|other| other.key() != service.key()) {
            if let Some(listener) = self.snapshot.listener(&express.listener) {
                let mut listener = (**listener).clone();
                listener.certificates.retain(|certificate| !certificate.ends_with(&arn_ends_in));
                self.read(RecordKey::Listener(express.listener.clone()));
                self.transaction.put(listener);
            }
        } else {
            self.delete(RecordKey::Listener(express.listener.clone()));
            // Further listeners, and rules that others added, are swept with it.
            self.delete(RecordKey::LoadBalancer(express.load_balancer.clone()));
            let shared = self.snapshot.load_balancer(&express.load_balancer);
            let own = shared.map(|shared| shared.name.clone()).unwrap_or_default();
            let groups = shared.map(|s| s.security_groups.clone()).unwrap_or_default();
            for group in groups {
                // Only the one that was made with it, which has its name.
                if self.snapshot.security_group(&group).is_some_and(|g| g.name == own) {
                    self.delete_group(&group, &express.load_balancer);
                }
            }
        }
        if let Some(group) = &express.security_group {
            self.delete_group(group, &express.load_balancer);
        }
    }

    /// Whether somebody made another rule that leads to the service's target group.
    fn is_forwarded_to(&self, express: &ExpressGateway) -> bool {
        let group = &express.target_group;
        let rules = self.snapshot.listener_rules().filter(|r| r.path() != express.rule);
        rules.into_iter().any(|r| is_rule_live(self.snapshot, r) && forwards_to(&r.actions, group))
            || self.snapshot.listeners().any(|l| forwards_to(&l.default_actions, group))
    }

    /// Deletes a security group that nobody else uses.
    fn delete_group(&mut self, group: &str, load_balancer: &str) {
        let has = |groups: &[String]| groups.iter().any(|id| id == group);
        let by_task = self.snapshot.interfaces().any(|i| has(&i.security_groups));
        let mut others = self.snapshot.load_balancers().filter(|l| l.path() != load_balancer);
        if !by_task && !others.any(|l| has(&l.security_groups)) {
            self.delete(RecordKey::SecurityGroup(group.to_owned()));
        }
    }

    fn read(&mut self, key: RecordKey) -> Revision {
        let revision = self.snapshot.revision_of(&key);
        self.transaction.read(key, revision);
        revision
    }

    fn delete(&mut self, key: RecordKey) {
        if self.read(key.clone()) != Revision::ABSENT {
            self.transaction.delete(key);
        }
    }
}
