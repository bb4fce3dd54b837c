//! Addresses of load balancers: one on hosts, one that tasks reach.

use crate::task::address::Addresses;
use std::net::Ipv4Addr;
use wharf_model::network::{AwsVpcConfiguration, BuiltinVpc, Network, SubnetAllocation};
use wharf_model::{RecordKey, Snapshot, Transaction};

/// What the allocation record of addresses on hosts is filed under.
const HOST_RANGE: &str = "127.80.0.0/16";
/// The range of addresses on hosts begins here; what is before 127.80.1.0 stays free.
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 80, 1, 0);
const LAST: Ipv4Addr = Ipv4Addr::new(127, 80, 255, 254);

/// The first free address on hosts; none once all 65,000 are taken. The transaction takes what the
/// choice depends on.
pub fn host_address(snapshot: &Snapshot, transaction: &mut Transaction) -> Option<Ipv4Addr> {
    let address = (u32::from(FIRST)..=u32::from(LAST))
        .map(Ipv4Addr::from)
        .find(|address| snapshot.load_balancer_at(*address).is_none())?;
    let range = HOST_RANGE.to_owned();
    let sequence = snapshot.subnet_allocation(&range).map_or(0, |a| a.sequence);
    let key = RecordKey::SubnetAllocation(range.clone());
    transaction.read(key.clone(), snapshot.revision_of(&key));
    transaction.put(SubnetAllocation { subnet_id: range, sequence: sequence.wrapping_add(1) });
    Some(address)
}

/// A free address of the subnets, as tasks get theirs; none if all are taken. The transaction takes
/// what the choice depends on.
pub fn task_address(
    snapshot: &Snapshot,
    vpc: &BuiltinVpc,
    subnets: &[String],
    transaction: &mut Transaction,
) -> Option<Ipv4Addr> {
    let network =
        AwsVpcConfiguration { subnets: subnets.to_vec(), ..AwsVpcConfiguration::default() };
    let mut addresses = Addresses::new(snapshot, &Network::new(snapshot, vpc), &network);
    let (_, address) = addresses.take(None)?;
    addresses.commit(transaction);
    Some(address)
}
