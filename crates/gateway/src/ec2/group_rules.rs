//! What security groups allow: authorized, revoked, modified, listed.

use super::filter::one;
use super::listing::{Asked, Kind, list, tag_values};
use super::permission::{self, Described};
use super::resource::{change, invalid, missing, no_rule};
use super::security_groups::find;
use super::{error, tags};
use crate::context::{Context, Outcome, Result as Answer};
use crate::error::ApiError;
use wharf_model::network::resource::{Peer, SecurityGroup, SecurityGroupRule};
use wharf_model::{IdSource, Transaction};
use wharf_wire::ec2::types::{
    self, AuthorizeSecurityGroupEgressRequest, AuthorizeSecurityGroupEgressResult,
    AuthorizeSecurityGroupIngressRequest, AuthorizeSecurityGroupIngressResult,
    DescribeSecurityGroupRulesRequest, DescribeSecurityGroupRulesResult, IpPermission, IpRange,
    ModifySecurityGroupRulesRequest, ModifySecurityGroupRulesResult,
    RevokeSecurityGroupEgressRequest, RevokeSecurityGroupEgressResult,
    RevokeSecurityGroupIngressRequest, RevokeSecurityGroupIngressResult, RevokedSecurityGroupRule,
    SecurityGroupRuleDescription, TagSpecification,
    UpdateSecurityGroupRuleDescriptionsEgressRequest,
    UpdateSecurityGroupRuleDescriptionsEgressResult,
    UpdateSecurityGroupRuleDescriptionsIngressRequest,
    UpdateSecurityGroupRuleDescriptionsIngressResult, UserIdGroupPair,
};

/// The most rules of a group in one direction (EC2's default quota).
const MOST_RULES: usize = 60;

/// What an operation names of a group's rules: a list, or one rule in the old flat form.
macro_rules! permissions_of {
    ($input:expr) => {{
        let flat = IpPermission {
            ip_protocol: $input.ip_protocol.clone(),
            from_port: $input.from_port,
            to_port: $input.to_port,
            ip_ranges: $input
                .cidr_ip
                .clone()
                .map(|cidr| vec![IpRange { cidr_ip: Some(cidr), description: None }]),
            user_id_group_pairs: $input.source_security_group_name.clone().map(|name| {
                vec![UserIdGroupPair {
                    group_name: Some(name),
                    user_id: $input.source_security_group_owner_id.clone(),
                    ..UserIdGroupPair::default()
                }]
            }),
            ..IpPermission::default()
        };
        match &$input.ip_permissions {
            Some(list) if !list.is_empty() => list.clone(),
            _ if $input.ip_protocol.is_some()
                || $input.cidr_ip.is_some()
                || $input.source_security_group_name.is_some() =>
            {
                vec![flat]
            }
            _ => Vec::new(),
        }
    }};
}

fn put(group: SecurityGroup) -> Transaction {
    let mut transaction = Transaction::new();
    transaction.put(group);
    transaction
}

/// The group with further rules, and these.
fn with_rules(
    context: &Context<'_>,
    group: &SecurityGroup,
    egress: bool,
    permissions: &[IpPermission],
    specifications: Option<&Vec<TagSpecification>>,
) -> Result<(SecurityGroup, Vec<SecurityGroupRule>), ApiError> {
    let tags = tags::at_creation(specifications, "security-group-rule")?;
    let mut changed = group.clone();
    let mut ids: IdSource = context.ids();
    let mut added = Vec::new();
    for (traffic, description) in permission::parse(context, group, permissions)? {
        if changed.rules.iter().any(|r| r.egress == egress && r.traffic == traffic) {
            let what = permission::named(&traffic);
            let message = format!("the specified rule \"{what}\" already exists");
            return Err(error("InvalidPermission.Duplicate", message));
        }
        let id = format!("sgr-{}", ids.hex17());
        let rule = SecurityGroupRule { id, egress, traffic, description, tags: tags.clone() };
        added.push(rule.clone());
        changed.rules.push(rule);
    }
    if changed.rules.iter().filter(|r| r.egress == egress).count() > MOST_RULES {
        return Err(error(
            "RulesPerSecurityGroupLimitExceeded",
            "The maximum number of rules per security group has been reached.",
        ));
    }
    Ok((changed, added))
}

/// AuthorizeSecurityGroupIngress.
pub fn authorize_ingress(
    context: &Context<'_>,
    input: &AuthorizeSecurityGroupIngressRequest,
) -> Answer<AuthorizeSecurityGroupIngressResult> {
    let group = find(context, input.group_id.as_ref(), input.group_name.as_ref())?;
    let permissions = permissions_of!(input);
    let tags = input.tag_specifications.as_ref();
    let (changed, added) = with_rules(context, &group, false, &permissions, tags)?;
    let rules = added.iter().map(|r| permission::view(context, &group, r)).collect();
    let output = AuthorizeSecurityGroupIngressResult {
        r#return: Some(true),
        security_group_rules: Some(rules),
    };
    change(context, output, put(changed))
}

/// AuthorizeSecurityGroupEgress.
pub fn authorize_egress(
    context: &Context<'_>,
    input: &AuthorizeSecurityGroupEgressRequest,
) -> Answer<AuthorizeSecurityGroupEgressResult> {
    let group = find(context, input.group_id.as_ref(), None)?;
    let permissions = permissions_of!(input);
    let tags = input.tag_specifications.as_ref();
    let (changed, added) = with_rules(context, &group, true, &permissions, tags)?;
    let rules = added.iter().map(|r| permission::view(context, &group, r)).collect();
    let output = AuthorizeSecurityGroupEgressResult {
        r#return: Some(true),
        security_group_rules: Some(rules),
    };
    change(context, output, put(changed))
}

/// The group without the rules that are named by id or by what they allow, and these.
fn without_rules(
    context: &Context<'_>,
    group: &SecurityGroup,
    egress: bool,
    ids: Option<&Vec<String>>,
    permissions: &[IpPermission],
) -> Result<(SecurityGroup, Vec<SecurityGroupRule>), ApiError> {
    let mut changed = group.clone();
    let mut gone = Vec::new();
    for id in ids.into_iter().flatten() {
        let index = changed.rules.iter().position(|r| r.egress == egress && r.id == *id);
        gone.push(changed.rules.remove(index.ok_or_else(|| no_rule(id))?));
    }
    if ids.is_none_or(Vec::is_empty) {
        for (traffic, _) in permission::parse(context, group, permissions)? {
            let same = |r: &SecurityGroupRule| r.egress == egress && r.traffic == traffic;
            let index = changed.rules.iter().position(same).ok_or_else(unknown_rule)?;
            gone.push(changed.rules.remove(index));
        }
    }
    Ok((changed, gone))
}

fn unknown_rule() -> ApiError {
    error("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
}

fn revoked(group: &SecurityGroup, rule: &SecurityGroupRule) -> RevokedSecurityGroupRule {
    let traffic = &rule.traffic;
    let mut shown = RevokedSecurityGroupRule {
        security_group_rule_id: Some(rule.id.clone()),
        group_id: Some(group.id.clone()),
        is_egress: Some(rule.egress),
        ip_protocol: Some(traffic.protocol.clone()),
        from_port: Some(traffic.from_port.unwrap_or(-1)),
        to_port: Some(traffic.to_port.unwrap_or(-1)),
        description: rule.description.clone(),
        ..RevokedSecurityGroupRule::default()
    };
    match &traffic.peer {
        Peer::Ipv4(range) => shown.cidr_ipv4 = Some(range.to_string()),
        Peer::Ipv6(range) => shown.cidr_ipv6 = Some(range.clone()),
        Peer::Group(id) => shown.referenced_group_id = Some(id.clone()),
    }
    shown
}

/// RevokeSecurityGroupIngress.
pub fn revoke_ingress(
    context: &Context<'_>,
    input: &RevokeSecurityGroupIngressRequest,
) -> Answer<RevokeSecurityGroupIngressResult> {
    let group = find(context, input.group_id.as_ref(), input.group_name.as_ref())?;
    let ids = input.security_group_rule_ids.as_ref();
    let (changed, gone) = without_rules(context, &group, false, ids, &permissions_of!(input))?;
    let output = RevokeSecurityGroupIngressResult {
        r#return: Some(true),
        unknown_ip_permissions: Some(Vec::new()),
        revoked_security_group_rules: Some(gone.iter().map(|r| revoked(&group, r)).collect()),
    };
    change(context, output, put(changed))
}

/// RevokeSecurityGroupEgress.
pub fn revoke_egress(
    context: &Context<'_>,
    input: &RevokeSecurityGroupEgressRequest,
) -> Answer<RevokeSecurityGroupEgressResult> {
    let group = find(context, input.group_id.as_ref(), None)?;
    let ids = input.security_group_rule_ids.as_ref();
    let (changed, gone) = without_rules(context, &group, true, ids, &permissions_of!(input))?;
    let output = RevokeSecurityGroupEgressResult {
        r#return: Some(true),
        unknown_ip_permissions: Some(Vec::new()),
        revoked_security_group_rules: Some(gone.iter().map(|r| revoked(&group, r)).collect()),
    };
    change(context, output, put(changed))
}

/// ModifySecurityGroupRules.
pub fn modify(
    context: &Context<'_>,
    input: &ModifySecurityGroupRulesRequest,
) -> Answer<ModifySecurityGroupRulesResult> {
    let group = find(context, input.group_id.as_ref(), None)?;
    let mut changed = group.as_ref().clone();
    let updates = input.security_group_rules.as_deref().unwrap_or_default();
    if updates.is_empty() {
        return Err(missing("securityGroupRules"));
    }
    for update in updates {
        let id = update.security_group_rule_id.as_deref().unwrap_or_default();
        let sent = update.security_group_rule.as_ref().ok_or_else(|| missing("ipProtocol"))?;
        let (traffic, description) = permission::parse_request(context, &group, sent)?;
        let index = changed.rules.iter().position(|r| r.id == id).ok_or_else(|| no_rule(id))?;
        let egress = changed.rules[index].egress;
        let duplicate =
            |r: &SecurityGroupRule| r.id != id && r.egress == egress && r.traffic == traffic;
        if changed.rules.iter().any(duplicate) {
            let what = permission::named(&traffic);
            let message = format!("the specified rule \"{what}\" already exists");
            return Err(error("InvalidPermission.Duplicate", message));
        }
        changed.rules[index].traffic = traffic;
        changed.rules[index].description = description;
    }
    change(context, ModifySecurityGroupRulesResult { r#return: Some(true) }, put(changed))
}

/// The group with other descriptions: of rules by id, or of those that allow the same.
fn described(
    context: &Context<'_>,
    group: &SecurityGroup,
    egress: bool,
    permissions: Option<&Vec<IpPermission>>,
    by_id: Option<&Vec<SecurityGroupRuleDescription>>,
) -> Result<SecurityGroup, ApiError> {
    let mut changed = group.clone();
    let by_id = by_id.map(Vec::as_slice).unwrap_or_default();
    for sent in by_id {
        let id = sent.security_group_rule_id.as_deref().unwrap_or_default();
        let rule = changed.rules.iter_mut().find(|r| r.egress == egress && r.id == id);
        rule.ok_or_else(|| no_rule(id))?.description = permission::checked(&sent.description)?;
    }
    match permissions {
        Some(permissions) if !permissions.is_empty() => {
            let rules: Vec<Described> = permission::parse(context, group, permissions)?;
            for (traffic, description) in rules {
                let same = |r: &&mut SecurityGroupRule| r.egress == egress && r.traffic == traffic;
                let rule = changed.rules.iter_mut().find(same);
                rule.ok_or_else(unknown_rule)?.description = description;
            }
        }
        _ if by_id.is_empty() => {
            return Err(invalid(
                "Either IpPermissions or SecurityGroupRuleDescriptions should be provided.",
            ));
        }
        _ => {}
    }
    Ok(changed)
}

/// UpdateSecurityGroupRuleDescriptionsIngress.
pub fn describe_ingress(
    context: &Context<'_>,
    input: &UpdateSecurityGroupRuleDescriptionsIngressRequest,
) -> Answer<UpdateSecurityGroupRuleDescriptionsIngressResult> {
    let group = find(context, input.group_id.as_ref(), input.group_name.as_ref())?;
    let by_id = input.security_group_rule_descriptions.as_ref();
    let changed = described(context, &group, false, input.ip_permissions.as_ref(), by_id)?;
    let output = UpdateSecurityGroupRuleDescriptionsIngressResult { r#return: Some(true) };
    change(context, output, put(changed))
}

/// UpdateSecurityGroupRuleDescriptionsEgress.
pub fn describe_egress(
    context: &Context<'_>,
    input: &UpdateSecurityGroupRuleDescriptionsEgressRequest,
) -> Answer<UpdateSecurityGroupRuleDescriptionsEgressResult> {
    let group = find(context, input.group_id.as_ref(), input.group_name.as_ref())?;
    let by_id = input.security_group_rule_descriptions.as_ref();
    let changed = described(context, &group, true, input.ip_permissions.as_ref(), by_id)?;
    let output = UpdateSecurityGroupRuleDescriptionsEgressResult { r#return: Some(true) };
    change(context, output, put(changed))
}

/// DescribeSecurityGroupRules.
pub fn describe(
    context: &Context<'_>,
    input: &DescribeSecurityGroupRulesRequest,
) -> Answer<DescribeSecurityGroupRulesResult> {
    let groups = context.network().security_groups();
    let of_group = |g: &std::sync::Arc<SecurityGroup>| -> Vec<types::SecurityGroupRule> {
        g.rules.iter().map(|r| permission::view(context, g, r)).collect()
    };
    let mut rules: Vec<types::SecurityGroupRule> = groups.iter().flat_map(of_group).collect();
    rules.sort_by(|a, b| a.security_group_rule_id.cmp(&b.security_group_rule_id));
    let kind = Kind {
        filters: &["group-id", "security-group-rule-id"],
        id: |r: &types::SecurityGroupRule| r.security_group_rule_id.as_ref(),
        not_found: no_rule,
    };
    let asked = Asked {
        ids: input.security_group_rule_ids.as_ref(),
        filters: input.filters.as_ref(),
        max_results: input.max_results,
        next_token: input.next_token.as_ref(),
    };
    let (items, next_token) = list(&kind, rules, &asked, |r, name| match name {
        "group-id" => one(r.group_id.clone().unwrap_or_default()),
        "security-group-rule-id" => one(r.security_group_rule_id.clone().unwrap_or_default()),
        _ => tag_values(r.tags.as_ref(), name),
    })?;
    Ok(Outcome::read(DescribeSecurityGroupRulesResult {
        security_group_rules: Some(items),
        next_token,
    }))
}
