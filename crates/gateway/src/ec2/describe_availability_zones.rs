//! DescribeAvailabilityZones: the three zones of the built-in network.

use super::filter::{keep, one};
use super::zone_id;
use crate::context::{Context, Outcome, Result};
use wharf_wire::ec2::types::{
    AvailabilityZone, DescribeAvailabilityZonesRequest, DescribeAvailabilityZonesResult,
};

const FILTERS: &[&str] = &[
    "group-name",
    "message",
    "opt-in-status",
    "parent-zone-id",
    "parent-zone-name",
    "region-name",
    "state",
    "zone-id",
    "zone-name",
    "zone-type",
];

/// DescribeAvailabilityZones.
pub fn describe_availability_zones(
    context: &Context<'_>,
    input: &DescribeAvailabilityZonesRequest,
) -> Result<DescribeAvailabilityZonesResult> {
    let region = context.region();
    let names: Vec<&str> =
        context.vpc.subnets.iter().map(|s| s.availability_zone.as_str()).collect();
    for (wanted, known) in [
        (&input.zone_names, names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()),
        (&input.zone_ids, names.iter().map(|n| zone_id(n)).collect()),
    ] {
        if let Some(wrong) = wanted.iter().flatten().find(|w| !known.contains(w)) {
            return Err(super::error(
                "InvalidParameterValue",
                format!("Invalid availability zone: [{wrong}]"),
            ));
        }
    }
    let asked = |name: &str| {
        input.zone_names.as_ref().is_none_or(|z| z.iter().any(|z| z == name))
            && input.zone_ids.as_ref().is_none_or(|z| z.contains(&zone_id(name)))
    };
    let zone = |name: &&str| AvailabilityZone {
        opt_in_status: Some("opt-in-not-required".into()),
        messages: Some(Vec::new()),
        region_name: Some(region.to_owned()),
        zone_name: Some((*name).to_owned()),
        zone_id: Some(zone_id(name)),
        group_name: Some(format!("{region}-zg-1")),
        network_border_group: Some(region.to_owned()),
        zone_type: Some("availability-zone".to_owned()),
        state: Some("available".into()),
        ..AvailabilityZone::default()
    };
    let zones: Vec<_> = names.iter().filter(|n| asked(n)).map(zone).collect();
    let zones = keep(zones, input.filters.as_ref(), FILTERS, |z, name| {
        let text = |t: &Option<String>| one(t.clone().unwrap_or_default());
        match name {
            "group-name" => text(&z.group_name),
            "message" | "parent-zone-id" | "parent-zone-name" => Some(Vec::new()),
            "opt-in-status" => one("opt-in-not-required"),
            "region-name" => text(&z.region_name),
            "state" => one("available"),
            "zone-id" => text(&z.zone_id),
            "zone-name" => text(&z.zone_name),
            "zone-type" => text(&z.zone_type),
            _ => None,
        }
    })?;
    Ok(Outcome::read(DescribeAvailabilityZonesResult { availability_zones: Some(zones) }))
}
