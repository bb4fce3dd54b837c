//! DescribeRegions: the one region that this server is.

use super::filter::{keep, one};
use crate::context::{Context, Outcome, Result};
use wharf_wire::ec2::types::{DescribeRegionsRequest, DescribeRegionsResult, Region};

const FILTERS: &[&str] = &["endpoint", "opt-in-status", "region-name"];

/// DescribeRegions.
pub fn describe_regions(
    context: &Context<'_>,
    input: &DescribeRegionsRequest,
) -> Result<DescribeRegionsResult> {
    for name in input.region_names.iter().flatten() {
        if name != context.region() {
            return Err(super::error(
                "InvalidParameterValue",
                format!("Invalid region provided: [{name}]"),
            ));
        }
    }
    let region = Region {
        opt_in_status: Some("opt-in-not-required".to_owned()),
        region_name: Some(context.region().to_owned()),
        endpoint: Some(context.endpoint.to_owned()),
        ..Region::default()
    };
    let regions = keep(vec![region], input.filters.as_ref(), FILTERS, |r, name| match name {
        "endpoint" => one(r.endpoint.clone().unwrap_or_default()),
        "opt-in-status" => one("opt-in-not-required"),
        "region-name" => one(r.region_name.clone().unwrap_or_default()),
        _ => None,
    })?;
    Ok(Outcome::read(DescribeRegionsResult { regions: Some(regions) }))
}
