//! What of networks is in a snapshot.

use super::{Snapshot, values};
use crate::network::resource::{InternetGateway, RouteTable, SecurityGroup, Vpc, VpcSubnet};
use crate::task::NetworkInterface;
use imbl::ordmap::DiffItem;
use std::net::Ipv4Addr;
use std::sync::Arc;

impl Snapshot {
    /// All VPCs that have records, by id.
    pub fn vpcs(&self) -> impl Iterator<Item = &Arc<Vpc>> {
        values(&self.vpcs)
    }

    /// All subnets that have records, by id.
    pub fn vpc_subnets(&self) -> impl Iterator<Item = &Arc<VpcSubnet>> {
        values(&self.vpc_subnets)
    }

    /// All security groups that have records, by id.
    pub fn security_groups(&self) -> impl Iterator<Item = &Arc<SecurityGroup>> {
        values(&self.security_groups)
    }

    /// All internet gateways that have records, by id.
    pub fn internet_gateways(&self) -> impl Iterator<Item = &Arc<InternetGateway>> {
        values(&self.internet_gateways)
    }

    /// All route tables that have records, by id.
    pub fn route_tables(&self) -> impl Iterator<Item = &Arc<RouteTable>> {
        values(&self.route_tables)
    }

    /// The interfaces of tasks that haven't stopped.
    pub fn interfaces(&self) -> impl Iterator<Item = &NetworkInterface> {
        self.addresses.iter().filter_map(|(_, task)| self.task(task)?.network_interface.as_ref())
    }

    /// True if no network, subnet, group, gateway or route has changed since `earlier`.
    pub fn networks_unchanged_since(&self, earlier: &Self) -> bool {
        self.vpcs.ptr_eq(&earlier.vpcs)
            && self.vpc_subnets.ptr_eq(&earlier.vpc_subnets)
            && self.security_groups.ptr_eq(&earlier.security_groups)
            && self.internet_gateways.ptr_eq(&earlier.internet_gateways)
            && self.route_tables.ptr_eq(&earlier.route_tables)
    }

    /// The interfaces that are new since `earlier`, and the addresses that nobody has any more.
    /// What hasn't changed isn't looked at.
    pub fn interfaces_since(&self, earlier: &Self) -> (Vec<&NetworkInterface>, Vec<Ipv4Addr>) {
        let (mut new, mut gone) = (Vec::new(), Vec::new());
        for item in earlier.addresses.diff(&self.addresses) {
            match item {
                DiffItem::Add(_, task) | DiffItem::Update { new: (_, task), .. } => {
                    new.extend(self.task(task).and_then(|t| t.network_interface.as_ref()));
                }
                DiffItem::Remove(address, _) => gone.push(*address),
            }
        }
        (new, gone)
    }
}
