//! Quotas: those of an account of AWS, which are what a test should meet.

use super::page;
use crate::context::{Context, Outcome, Result as OperationResult};
use wharf_wire::elbv2::types;

/// Load balancers of a kind.
pub(super) const LOAD_BALANCERS: usize = 1000;
/// Target groups.
pub(super) const TARGET_GROUPS: usize = 3000;
/// Targets of a group.
pub(super) const TARGETS: usize = 1000;
/// Listeners of a load balancer.
pub(super) const LISTENERS: usize = 50;
/// Rules of a load balancer beside the default ones. All of them fit into one SetRulePriorities.
pub(super) const RULES: usize = 100;
/// Certificates of a listener beside the default one.
pub(super) const CERTIFICATES: usize = 25;
/// Target groups of a load balancer.
pub(super) const GROUPS_OF_LOAD_BALANCER: usize = 100;
/// Target groups of an action.
pub(super) const GROUPS_OF_ACTION: usize = 5;
/// Values of a rule's conditions.
pub(super) const CONDITION_VALUES: usize = 5;
/// Wildcards of a rule's conditions.
pub(super) const WILDCARDS: usize = 6;
/// Trust stores.
pub(super) const TRUST_STORES: usize = 20;

const ALL: [(&str, usize); 14] = [
    ("application-load-balancers", LOAD_BALANCERS),
    ("certificates-per-application-load-balancer", CERTIFICATES),
    ("certificates-per-network-load-balancer", CERTIFICATES),
    ("condition-values-per-alb-rule", CONDITION_VALUES),
    ("condition-wildcards-per-alb-rule", WILDCARDS),
    ("listeners-per-application-load-balancer", LISTENERS),
    ("listeners-per-network-load-balancer", LISTENERS),
    ("network-load-balancers", LOAD_BALANCERS),
    ("rules-per-application-load-balancer", RULES),
    ("target-groups", TARGET_GROUPS),
    ("target-groups-per-action-on-application-load-balancer", GROUPS_OF_ACTION),
    ("target-groups-per-application-load-balancer", GROUPS_OF_LOAD_BALANCER),
    ("targets-per-application-load-balancer", TARGETS),
    ("targets-per-network-load-balancer", TARGETS),
];

pub(super) fn describe(
    _: &Context<'_>,
    input: &types::DescribeAccountLimitsInput,
) -> OperationResult<types::DescribeAccountLimitsOutput> {
    let name = |limit: &(&str, usize)| limit.0.to_owned();
    let (page, next_marker) = page::page(ALL, name, input.marker.as_ref(), input.page_size)?;
    let shown = |(name, max): (&str, usize)| types::Limit {
        name: Some(name.to_owned()),
        max: Some(max.to_string()),
    };
    Ok(Outcome::read(types::DescribeAccountLimitsOutput {
        limits: Some(page.into_iter().map(shown).collect()),
        next_marker,
    }))
}
