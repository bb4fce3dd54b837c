//! Addresses for tasks in awsvpc mode, and for load balancers.
//!
//! Which addresses are taken follows from both; the subnet's small allocation record is
//! rewritten with every allocation, so that two decisions never hand out one address. The search
//! begins where the last one ended: an address that was just given back rests for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use wharf_model::network::resource::VpcSubnet;
use wharf_model::network::{AwsVpcConfiguration, Network, SubnetAllocation};
use wharf_model::{RecordKey, Snapshot, Transaction};

/// First address of a subnet that tasks get: as in a VPC the four before it are reserved.
const FIRST: u64 = 4;
/// Reserved addresses: the first four and the last.
const RESERVED: u64 = 5;

/// Gives out addresses during one launch.
pub(crate) struct Addresses<'a> {
    snapshot: &'a Snapshot,
    subnets: Vec<Arc<VpcSubnet>>,
    taken: BTreeSet<Ipv4Addr>,
    sequences: BTreeMap<String, u64>,
}

impl<'a> Addresses<'a> {
    /// Addresses in the configuration's subnets.
    pub(crate) fn new(
        snapshot: &'a Snapshot,
        networks: &Network<'_>,
        network: &AwsVpcConfiguration,
    ) -> Self {
        let subnets = network.subnets.iter().filter_map(|id| networks.subnet(id)).collect();
        Self { snapshot, subnets, taken: BTreeSet::new(), sequences: BTreeMap::new() }
    }

    /// A free address; in a subnet of the host's zone where there is one, else in the first of
    /// the subnets that has room (an overlay spans all hosts, so any subnet will do).
    pub(crate) fn take(&mut self, zone: Option<&str>) -> Option<(Arc<VpcSubnet>, Ipv4Addr)> {
        let mut order = self.subnets.clone();
        order.sort_by_key(|s| Some(s.availability_zone.as_str()) != zone);
        order.into_iter().find_map(|subnet| {
            let address = self.take_from(&subnet)?;
            Some((subnet, address))
        })
    }

    fn take_from(&mut self, subnet: &VpcSubnet) -> Option<Ipv4Addr> {
        let size = subnet.range.size().saturating_sub(RESERVED);
        let recorded = self.snapshot.subnet_allocation(&subnet.id).map_or(0, |a| a.sequence);
        let sequence = *self.sequences.get(subnet.id.as_str()).unwrap_or(&recorded);
        for step in 0..size {
            let offset = FIRST + sequence.wrapping_add(step) % size;
            let address = subnet.range.nth(u32::try_from(offset).ok()?);
            let free = self.snapshot.is_free_address(address);
            if free && self.taken.insert(address) {
                self.sequences.insert(subnet.id.clone(), sequence.wrapping_add(step + 1));
                return Some(address);
            }
        }
        None
    }

    /// Writes the allocation records.
    pub(crate) fn commit(self, transaction: &mut Transaction) {
        for (subnet, sequence) in self.sequences {
            let key = RecordKey::SubnetAllocation(subnet.clone());
            transaction.read(key.clone(), self.snapshot.revision_of(&key));
            transaction.put(SubnetAllocation { subnet_id: subnet, sequence });
        }
    }
}
