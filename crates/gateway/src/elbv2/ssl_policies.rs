//! DescribeSSLPolicies: the table is the model's, which balancers carry out.

use super::{error, page};
use crate::context::{Context, Outcome, Result as OperationResult};
use wharf_model::load_balancing::ssl_policy::{self, SslPolicy};
use wharf_wire::elbv2::{ErrorCode, types};

/// Load balancers of both kinds have all of them.
const KINDS: [&str; 2] = ["application", "network"];

pub(super) fn describe(
    _: &Context<'_>,
    input: &types::DescribeSSLPoliciesInput,
) -> OperationResult<types::DescribeSSLPoliciesOutput> {
    let names = input.names.as_deref().unwrap_or_default();
    if let Some(other) = input.load_balancer_type.as_ref().filter(|k| !KINDS.contains(&k.as_str()))
    {
        let message = format!("The load balancer type '{}' is not valid", other.as_str());
        return Err(super::validation(message));
    }
    if let Some(unknown) = names.iter().find(|name| ssl_policy::find(name).is_none()) {
        let message = format!("SSL policy '{unknown}' not found");
        return Err(error(ErrorCode::SSLPolicyNotFoundException, message));
    }
    let mut all: Vec<&SslPolicy> = ssl_policy::ALL
        .iter()
        .filter(|policy| names.is_empty() || names.iter().any(|name| name == policy.name))
        .collect();
    all.sort_by_key(|policy| policy.name);
    let name = |policy: &&SslPolicy| policy.name.to_owned();
    let (page, next_marker) = page::page(all, name, input.marker.as_ref(), input.page_size)?;
    Ok(Outcome::read(types::DescribeSSLPoliciesOutput {
        ssl_policies: Some(page.into_iter().map(view).collect()),
        next_marker,
    }))
}

fn view(policy: &SslPolicy) -> types::SslPolicy {
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    let cipher = |(priority, name): (i32, &str)| types::Cipher {
        name: Some(name.to_owned()),
        priority: Some(priority),
    };
    types::SslPolicy {
        ssl_protocols: Some(texts(policy.protocols)),
        ciphers: Some((1..).zip(policy.ciphers()).map(cipher).collect()),
        name: Some(policy.name.to_owned()),
        supported_load_balancer_types: Some(texts(&KINDS)),
    }
}
