//! DescribeNetworkInterfaces: the interfaces of tasks in awsvpc mode.

use super::filter::{Values, keep, one};
use super::zone_id;
use crate::context::{Context, Outcome, Result};
use wharf_model::task::NetworkInterface as TaskInterface;
use wharf_wire::ec2::types::{
    DescribeNetworkInterfacesRequest, DescribeNetworkInterfacesResult, GroupIdentifier,
    NetworkInterface, NetworkInterfacePrivateIpAddress,
};

const FILTERS: &[&str] = &[
    "addresses.private-ip-address",
    "availability-zone",
    "description",
    "group-id",
    "group-name",
    "mac-address",
    "network-interface-id",
    "owner-id",
    "private-ip-address",
    "status",
    "subnet-id",
    "vpc-id",
];

/// DescribeNetworkInterfaces.
pub fn describe_network_interfaces(
    context: &Context<'_>,
    input: &DescribeNetworkInterfacesRequest,
) -> Result<DescribeNetworkInterfacesResult> {
    let mut interfaces: Vec<NetworkInterface> = context
        .snapshot
        .all_tasks()
        .filter(|task| !task.last_status.is_stopped())
        .filter_map(|task| {
            let interface = task.network_interface.as_ref()?;
            Some(view(context, interface, &context.arns.attachment(&interface.attachment_id)))
        })
        .collect();
    if let Some(ids) = &input.network_interface_ids {
        for id in ids {
            if !interfaces.iter().any(|i| i.network_interface_id.as_ref() == Some(id)) {
                return Err(super::error(
                    "InvalidNetworkInterfaceID.NotFound",
                    format!("The networkInterface ID '{id}' does not exist"),
                ));
            }
        }
        interfaces.retain(|i| ids.iter().any(|id| i.network_interface_id.as_ref() == Some(id)));
    }
    let filters = input.filters.as_ref();
    let interfaces = keep(interfaces, filters, FILTERS, |i, name| value(context, i, name))?;
    Ok(Outcome::read(DescribeNetworkInterfacesResult {
        network_interfaces: Some(interfaces),
        next_token: None,
    }))
}

fn value(context: &Context<'_>, interface: &NetworkInterface, name: &str) -> Values {
    let text = |t: &Option<String>| Some(t.iter().cloned().collect());
    let groups = || interface.groups.iter().flatten();
    match name {
        "addresses.private-ip-address" | "private-ip-address" => {
            text(&interface.private_ip_address)
        }
        "availability-zone" => text(&interface.availability_zone),
        "description" => text(&interface.description),
        "group-id" => Some(groups().filter_map(|g| g.group_id.clone()).collect()),
        "group-name" => Some(groups().filter_map(|g| g.group_name.clone()).collect()),
        "mac-address" => text(&interface.mac_address),
        "network-interface-id" => text(&interface.network_interface_id),
        "owner-id" => one(context.account()),
        "status" => one("in-use"),
        "subnet-id" => text(&interface.subnet_id),
        "vpc-id" => text(&interface.vpc_id),
        _ => None,
    }
}

fn view(context: &Context<'_>, interface: &TaskInterface, attachment: &str) -> NetworkInterface {
    let network = context.network();
    let subnet = network.subnet(&interface.subnet_id);
    let zone = subnet.as_ref().map(|s| s.availability_zone.clone());
    let ip = interface.private_ip.to_string();
    let dns = format!("ip-{}.{}.compute.internal", ip.replace('.', "-"), context.region());
    let group = |id: &String| GroupIdentifier {
        group_id: Some(id.clone()),
        group_name: network.security_group(id).map(|g| g.name.clone()),
    };
    NetworkInterface {
        availability_zone_id: zone.as_deref().map(zone_id),
        availability_zone: zone,
        description: Some(attachment.to_owned()),
        groups: Some(interface.security_groups.iter().map(group).collect()),
        interface_type: Some("interface".into()),
        mac_address: Some(interface.mac_address.clone()),
        network_interface_id: Some(interface.eni_id.clone()),
        owner_id: Some(context.account().to_owned()),
        private_dns_name: Some(dns.clone()),
        private_ip_address: Some(ip.clone()),
        private_ip_addresses: Some(vec![NetworkInterfacePrivateIpAddress {
            primary: Some(true),
            private_dns_name: Some(dns),
            private_ip_address: Some(ip),
            association: None,
        }]),
        requester_managed: Some(true),
        source_dest_check: Some(true),
        status: Some("in-use".into()),
        subnet_id: Some(interface.subnet_id.clone()),
        vpc_id: subnet.map(|s| s.vpc_id.clone()),
        ..NetworkInterface::default()
    }
}
