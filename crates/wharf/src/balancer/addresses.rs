//! The addresses that tasks reach load balancers at: on the VPC's bridge of this host.
//!
//! The bridge is made by the agent and may come later than the first load balancer, so what couldn't
//! be done is done again. Those of load balancers that are gone go with them; what a balancer that
//! was killed left behind goes with the bridge.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::sync::mpsc;
use wharf_model::load_balancing::{Item, ItemKey, Update};
use wharf_runtime::net::bridge::hold_vpc_addresses;

/// How soon it is tried again to give the bridge an address, and how often it is looked after.
const RETRY: Duration = Duration::from_secs(2);

/// Which addresses there are to be.
#[derive(Debug, Default)]
struct Addresses {
    by_load_balancer: BTreeMap<String, Ipv4Addr>,
    /// Those that the bridge has been given and may still have.
    held: BTreeSet<Ipv4Addr>,
}

impl Addresses {
    /// Takes in what the server tells; true if that changes an address.
    fn apply(&mut self, update: &Update) -> bool {
        let before = self.by_load_balancer.clone();
        if update.complete {
            self.by_load_balancer.clear();
        }
        for key in &update.delete {
            if let ItemKey::LoadBalancer(path) = key {
                self.by_load_balancer.remove(path);
            }
        }
        for item in &update.put {
            if let Item::LoadBalancer(balancer) = item {
                match balancer.task_address {
                    Some(address) => self.by_load_balancer.insert(balancer.path(), address),
                    None => self.by_load_balancer.remove(&balancer.path()),
                };
            }
        }
        before != self.by_load_balancer
    }

    fn wanted(&self) -> BTreeSet<Ipv4Addr> {
        self.by_load_balancer.values().copied().collect()
    }
}

/// Passes on what the server tells, with every load balancer's address in place before the balancer
/// hears of it. Ends with either channel.
pub async fn keep(
    instance: String,
    mut from_server: mpsc::Receiver<Update>,
    to_balancer: mpsc::Sender<Update>,
) {
    let mut addresses = Addresses::default();
    let mut retry = tokio::time::interval(RETRY);
    loop {
        tokio::select! {
            update = from_server.recv() => {
                let Some(update) = update else { return };
                if addresses.apply(&update) {
                    hold(&instance, &mut addresses).await;
                }
                if to_balancer.send(update).await.is_err() {
                    return;
                }
            }
            // A bridge that was made anew has none of them.
            _ = retry.tick(), if !addresses.by_load_balancer.is_empty() => {
                hold(&instance, &mut addresses).await;
            }
        }
    }
}

async fn hold(instance: &str, addresses: &mut Addresses) {
    let wanted = addresses.wanted();
    let unwanted: BTreeSet<Ipv4Addr> = addresses.held.difference(&wanted).copied().collect();
    let (name, give, take) = (instance.to_owned(), wanted.clone(), unwanted);
    let done = tokio::task::spawn_blocking(move || hold_vpc_addresses(&name, &give, &take)).await;
    match done {
        Ok(Ok(true)) => addresses.held = wanted,
        // No bridge: nothing is held, and nobody is there to reach it.
        Ok(Ok(false)) => addresses.held.clear(),
        Ok(Err(error)) => tracing::warn!(%error, "tasks can't reach the load balancers yet"),
        Err(error) => tracing::error!(%error, "looking after addresses"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use wharf_model::load_balancing::LoadBalancer;

    fn balancer(name: &str, address: Option<[u8; 4]>) -> Item {
        let record: LoadBalancer = serde_json::from_value(serde_json::json!({
            "kind": "network", "name": name, "id": "1", "scheme": "internal", "dns_name": name,
            "created_at": 0, "vpc_id": "vpc", "subnets": [], "ip_address_type": "ipv4",
            "host_address": "127.80.1.0", "task_address": address.map(Ipv4Addr::from),
        }))
        .unwrap();
        Item::LoadBalancer(Arc::new(record))
    }

    #[test]
    fn addresses_come_and_go_with_their_load_balancers() {
        let mut addresses = Addresses::default();
        let put = vec![balancer("a", Some([10, 0, 0, 4])), balancer("b", None)];
        assert!(addresses.apply(&Update { put: put.clone(), ..Update::default() }));
        assert!(!addresses.apply(&Update { put, ..Update::default() }), "the same again");
        assert_eq!(addresses.wanted(), [Ipv4Addr::new(10, 0, 0, 4)].into());
        let delete = vec![balancer("a", None).key()];
        assert!(addresses.apply(&Update { delete, ..Update::default() }));
        assert!(addresses.wanted().is_empty());
        let put = vec![balancer("b", Some([10, 0, 0, 5]))];
        assert!(addresses.apply(&Update { complete: true, put, ..Update::default() }));
        assert_eq!(addresses.wanted(), [Ipv4Addr::new(10, 0, 0, 5)].into());
    }
}
