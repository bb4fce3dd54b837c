//! The addresses that tasks reach load balancers at, on the VPC's bridge of this host, and the names of
//! load balancers in its hosts file.
//!
//! The bridge is made by the agent and may come later than the first load balancer, so what couldn't
//! be done is done again. Those of load balancers that are gone go with them; what a balancer that
//! was killed left behind goes with the bridge.

use crate::hosts::Block;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use wharf_model::load_balancing::{Item, ItemKey, LoadBalancer, Update};
use wharf_runtime::net::bridge::hold_vpc_addresses;

/// How soon it is tried again to give the bridge an address, and how often it is looked after.
const RETRY: Duration = Duration::from_secs(2);

/// What of this host is given to load balancers.
#[derive(Debug)]
pub struct Places {
    /// The wharf's name on this host.
    pub instance: String,
    /// Where names are published, if they are.
    pub names: Option<Block>,
}

/// Which addresses and names there are to be.
#[derive(Debug, Default)]
struct Addresses {
    load_balancers: BTreeMap<String, Arc<LoadBalancer>>,
    /// Those that the bridge has been given and may still have.
    held: BTreeSet<Ipv4Addr>,
}

impl Addresses {
    /// Takes in what the server tells; true if that changes an address or a name.
    fn apply(&mut self, update: &Update) -> bool {
        let before = (self.wanted(), self.names());
        if update.complete {
            self.load_balancers.clear();
        }
        for key in &update.delete {
            if let ItemKey::LoadBalancer(path) = key {
                self.load_balancers.remove(path);
            }
        }
        for item in &update.put {
            if let Item::LoadBalancer(balancer) = item {
                self.load_balancers.insert(balancer.path(), Arc::clone(balancer));
            }
        }
        before != (self.wanted(), self.names())
    }

    fn wanted(&self) -> BTreeSet<Ipv4Addr> {
        self.load_balancers.values().filter_map(|balancer| balancer.task_address).collect()
    }

    fn names(&self) -> Vec<(IpAddr, String)> {
        let named = |b: &Arc<LoadBalancer>| (IpAddr::V4(b.host_address), b.dns_name.clone());
        self.load_balancers.values().map(named).collect()
    }
}

/// Passes on what the server tells, with every load balancer's address in place before the balancer
/// hears of it. Ends with either channel.
pub async fn keep(
    places: Places,
    mut from_server: mpsc::Receiver<Update>,
    to_balancer: mpsc::Sender<Update>,
) {
    let mut addresses = Addresses::default();
    let mut retry = tokio::time::interval(RETRY);
    loop {
        tokio::select! {
            update = from_server.recv() => {
                let Some(update) = update else { return };
                // A server that stopped has taken the names along.
                if addresses.apply(&update) || update.complete {
                    hold(&places.instance, &mut addresses).await;
                    publish(&places, addresses.names()).await;
                }
                if to_balancer.send(update).await.is_err() {
                    return;
                }
            }
            // A bridge that was made anew has none of them.
            _ = retry.tick(), if !addresses.load_balancers.is_empty() => {
                hold(&places.instance, &mut addresses).await;
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

/// Puts the names into the hosts file. They are a convenience: what doesn't succeed is logged.
async fn publish(places: &Places, names: Vec<(IpAddr, String)>) {
    let Some(block) = places.names.clone() else { return };
    match tokio::task::spawn_blocking(move || block.publish(&names)).await {
        Ok(Ok(taken)) => {
            for name in taken {
                tracing::warn!(name = name.name, by = name.by, "the name is somebody else's");
            }
        }
        Ok(Err(error)) => {
            tracing::warn!(error = %crate::chain(&error), "load balancers have no names here");
        }
        Err(error) => tracing::error!(%error, "publishing names"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(addresses.names(), [(Ipv4Addr::new(127, 80, 1, 0).into(), "b".to_owned())]);
    }
}
