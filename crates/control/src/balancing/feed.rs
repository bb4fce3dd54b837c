//! What a balancer is told: all of load balancing once, then what a transaction changes of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use wharf_model::load_balancing::{Certificate, Item, ItemKey, KeyPair, Update};
use wharf_model::{Record, RecordKey, Snapshot, Write};

/// Opens a certificate's private key; nothing if it can't be opened.
pub type OpenCertificate = Arc<dyn Fn(&Certificate) -> Option<KeyPair> + Send + Sync>;

/// What one balancer has been told.
pub(super) struct Feed {
    open: OpenCertificate,
    /// The last revision that was looked at.
    revision: u64,
    /// ARNs of the certificates whose keys it has: those that listeners use, no others.
    keys: BTreeSet<String>,
}

impl Feed {
    pub(super) fn new(open: OpenCertificate) -> Self {
        Self { open, revision: 0, keys: BTreeSet::new() }
    }

    /// Everything, as of `snapshot`.
    pub(super) fn complete(&mut self, snapshot: &Snapshot) -> Update {
        self.keys.clear();
        self.revision = snapshot.revision().0;
        let mut update = Update { revision: self.revision, complete: true, ..Update::default() };
        let put = &mut update.put;
        put.extend(snapshot.trust_stores().cloned().map(Item::TrustStore));
        put.extend(snapshot.target_groups().cloned().map(Item::TargetGroup));
        put.extend(snapshot.all_targets().cloned().map(Item::Target));
        put.extend(snapshot.load_balancers().cloned().map(Item::LoadBalancer));
        put.extend(snapshot.listener_rules().cloned().map(Item::Rule));
        put.extend(snapshot.listeners().cloned().map(Item::Listener));
        self.change_keys(snapshot, &BTreeSet::new(), &mut update);
        update
    }

    /// What a transaction changes; nothing if that is nothing of load balancing, or known already.
    pub(super) fn delta(
        &mut self,
        revision: u64,
        writes: &[Write],
        snapshot: &Snapshot,
    ) -> Option<Update> {
        if revision <= self.revision {
            return None;
        }
        self.revision = revision;
        let mut update = Update { revision, ..Update::default() };
        let (mut uses_change, mut changed) = (false, BTreeSet::new());
        for write in writes {
            match write {
                Write::Put(Record::Certificate(r)) => drop(changed.insert(r.id.clone())),
                Write::Put(record) => {
                    uses_change |= matches!(record, Record::Listener(_));
                    update.put.extend(item(record));
                }
                Write::Delete(key) => {
                    uses_change |= matches!(key, RecordKey::Listener(_));
                    update.delete.extend(item_key(key));
                }
            }
        }
        if uses_change || !changed.is_empty() {
            self.change_keys(snapshot, &changed, &mut update);
        }
        (!update.put.is_empty() || !update.delete.is_empty()).then_some(update)
    }

    /// Adds the keys of certificates that have come into use or have changed, takes away the others.
    fn change_keys(
        &mut self,
        snapshot: &Snapshot,
        changed: &BTreeSet<String>,
        update: &mut Update,
    ) {
        let used: BTreeSet<&String> = snapshot.listeners().flat_map(|l| &l.certificates).collect();
        for arn in &used {
            let id = arn.rsplit('/').next().unwrap_or_default().to_owned();
            if self.keys.contains(*arn) && !changed.contains(&id) {
                continue;
            }
            let certificate = snapshot.certificate(&id);
            if let Some(pair) = certificate.and_then(|certificate| (self.open)(certificate)) {
                self.keys.insert((*arn).clone());
                // Before the listeners that use it.
                update.put.insert(0, Item::KeyPair(Arc::new(pair)));
            }
        }
        let unused: Vec<String> =
            self.keys.iter().filter(|arn| !used.contains(arn)).cloned().collect();
        for arn in unused {
            self.keys.remove(&arn);
            update.delete.push(ItemKey::KeyPair(arn));
        }
    }
}

/// What of load balancing a record is, certificates aside.
fn item(record: &Record) -> Option<Item> {
    Some(match record {
        Record::LoadBalancer(r) => Item::LoadBalancer(Arc::clone(r)),
        Record::Listener(r) => Item::Listener(Arc::clone(r)),
        Record::ListenerRule(r) => Item::Rule(Arc::clone(r)),
        Record::TargetGroup(r) => Item::TargetGroup(Arc::clone(r)),
        Record::Target(r) => Item::Target(Arc::clone(r)),
        Record::TrustStore(r) => Item::TrustStore(Arc::clone(r)),
        _ => return None,
    })
}

fn item_key(key: &RecordKey) -> Option<ItemKey> {
    Some(match key {
        RecordKey::LoadBalancer(path) => ItemKey::LoadBalancer(path.clone()),
        RecordKey::Listener(path) => ItemKey::Listener(path.clone()),
        RecordKey::ListenerRule(path) => ItemKey::Rule(path.clone()),
        RecordKey::TargetGroup(path) => ItemKey::TargetGroup(path.clone()),
        RecordKey::Target(key) => ItemKey::Target(key.clone()),
        RecordKey::TrustStore(path) => ItemKey::TrustStore(path.clone()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_model::Revision;
    use wharf_model::load_balancing::{Configuration, Listener, Protocol, Target, TargetKey};

    const ARN: &str = "arn:aws:acm:us-east-1:123456789012:certificate/c1";

    fn certificate(chain: &str) -> Certificate {
        Certificate {
            id: "c1".into(),
            domain_name: "a.test".into(),
            names: vec!["a.test".into()],
            chain: chain.into(),
            private_key: wharf_model::Sealed::new("sealed".to_owned()),
            imported: true,
            created_at: Default::default(),
            not_before: Default::default(),
            not_after: Default::default(),
            renewed_at: None,
            tags: Vec::new(),
        }
    }

    fn listener(id: &str, certificates: &[&str]) -> Listener {
        Listener {
            load_balancer: "app/web/1".into(),
            id: id.into(),
            port: 443,
            protocol: Protocol::Https,
            ssl_policy: None,
            certificates: certificates.iter().map(|arn| (*arn).to_owned()).collect(),
            alpn_policy: None,
            mutual_authentication: None,
            default_actions: Vec::new(),
            attributes: Default::default(),
            tags: Vec::new(),
        }
    }

    fn target(port: u16) -> Target {
        Target {
            key: TargetKey { target_group: "g".into(), id: "10.0.0.1".into(), port },
            address: [10, 0, 0, 1].into(),
            zone: None,
            registered_at: Default::default(),
            deregistered_at: None,
        }
    }

    /// Writes, told as they come, lead to the same configuration as all of it told at once; and keys
    /// that no listener uses are never told.
    #[test]
    fn what_is_told_in_parts_is_what_is_told_at_once() {
        let open = || -> OpenCertificate {
            Arc::new(|c: &Certificate| {
                let chain = c.chain.clone();
                Some(KeyPair { arn: ARN.into(), chain, private_key: "opened".into() })
            })
        };
        let steps: Vec<Vec<Write>> = vec![
            vec![Write::Put(certificate("one").into())],
            vec![Write::Put(target(80).into()), Write::Put(target(81).into())],
            vec![Write::Put(listener("l1", &[ARN]).into())],
            vec![Write::Put(certificate("two").into())],
            vec![
                Write::Put(listener("l2", &[]).into()),
                Write::Delete(RecordKey::Target(target(80).key)),
            ],
            vec![Write::Delete(RecordKey::Listener("app/web/1/l1".into()))],
        ];
        let with_key = [false, false, true, true, true, false];
        let mut snapshot = Snapshot::default();
        let mut feed = Feed::new(open());
        let mut told = Configuration::default();
        told.apply(&feed.complete(&snapshot));
        for (n, writes) in (1..).zip(&steps) {
            snapshot.apply(Revision(n), writes);
            if let Some(update) = feed.delta(n, writes, &snapshot) {
                told.apply(&update);
            }
            assert_eq!(feed.delta(n, writes, &snapshot), None, "told already");
            let mut whole = Configuration::default();
            whole.apply(&Feed::new(open()).complete(&snapshot));
            told.revision = n;
            assert_eq!(told, whole, "after {n}");
            let index = usize::try_from(n).unwrap() - 1;
            assert_eq!(told.key_pairs.contains_key(ARN), with_key[index], "after {n}");
        }
    }
}
