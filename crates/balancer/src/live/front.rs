//! The shared front: many load balancers on one address and port, told by host name.

use super::listener::ListenerCell;
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::sync::Arc;

/// The listeners on one address and port.
#[derive(Default)]
pub(crate) struct Front {
    by_name: HashMap<String, Arc<ListenerCell>>,
    all: Vec<Arc<ListenerCell>>,
    any_tls: bool,
    /// A listener that has the port to itself answers to every name. So it is on a public address,
    /// where names are the operator's; on the loopback any web page could make up such a name.
    lone_takes_all: bool,
}

impl Front {
    pub(crate) fn new(
        listeners: impl Iterator<Item = Arc<ListenerCell>>,
        lone_takes_all: bool,
    ) -> Self {
        let mut front = Self { lone_takes_all, ..Self::default() };
        for cell in listeners {
            if let Some(listener) = cell.load() {
                front.any_tls |= listener.is_tls();
                front.by_name.insert(listener.balancer.dns_name.clone(), Arc::clone(&cell));
            }
            front.all.push(cell);
        }
        front
    }

    /// The listener for a host name, without its port.
    pub(crate) fn find(&self, host: &str) -> Option<Arc<ListenerCell>> {
        let named = self
            .by_name
            .get(host)
            .or_else(|| self.by_name.get(&host.trim_end_matches('.').to_ascii_lowercase()));
        if let Some(cell) = named {
            return Some(Arc::clone(cell));
        }
        if let ([only], true) = (&self.all[..], self.lone_takes_all) {
            return Some(Arc::clone(only));
        }
        let claims = |cell: &&Arc<ListenerCell>| {
            cell.load().is_some_and(|listener| listener.rules.claims_host(host))
        };
        let mut claiming = self.all.iter().filter(claims);
        let first = claiming.next()?;
        claiming.next().is_none().then(|| Arc::clone(first))
    }

    /// Whether clients may begin with TLS.
    pub(crate) const fn any_tls(&self) -> bool {
        self.any_tls
    }

    /// The DNS names of all.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.by_name.keys().cloned().collect();
        names.sort();
        names
    }
}

/// Where a front is found.
pub(crate) struct FrontCell(ArcSwap<Front>);

impl FrontCell {
    pub(crate) fn new(front: Front) -> Arc<Self> {
        Arc::new(Self(ArcSwap::from_pointee(front)))
    }

    pub(crate) fn load(&self) -> Arc<Front> {
        self.0.load_full()
    }

    pub(crate) fn store(&self, front: Front) {
        self.0.store(Arc::new(front));
    }
}
