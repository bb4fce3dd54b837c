//! Security groups: made, listed, deleted. Their rules are in [`super::group_rules`].

use super::filter::{Values, one};
use super::listing::{Asked, Kind, list, tag_values};
use super::resource::{change, group, invalid, missing, no_group, vpc};
use super::{error, permission, tags};
use crate::context::{Context, Outcome, Result as Answer};
use crate::error::ApiError;
use std::sync::Arc;
use wharf_model::network::resource::{Peer, SecurityGroup};
use wharf_model::network::{DEFAULT_GROUP_NAME, VPC_ID, egress_everywhere};
use wharf_model::{RecordKey, Transaction};
use wharf_wire::ec2::types::{
    self, CreateSecurityGroupRequest, CreateSecurityGroupResult, DeleteSecurityGroupRequest,
    DeleteSecurityGroupResult, DescribeSecurityGroupsRequest, DescribeSecurityGroupsResult,
    IpPermission,
};

const FILTERS: &[&str] = &[
    "description",
    "egress.ip-permission.cidr",
    "egress.ip-permission.from-port",
    "egress.ip-permission.group-id",
    "egress.ip-permission.protocol",
    "egress.ip-permission.to-port",
    "group-id",
    "group-name",
    "ip-permission.cidr",
    "ip-permission.from-port",
    "ip-permission.group-id",
    "ip-permission.protocol",
    "ip-permission.to-port",
    "owner-id",
    "vpc-id",
];
const MAX_TEXT: usize = 255;

fn arn(context: &Context<'_>, id: &str) -> String {
    format!("arn:aws:ec2:{}:{}:security-group/{id}", context.region(), context.account())
}

fn view(context: &Context<'_>, record: &SecurityGroup) -> types::SecurityGroup {
    let account = context.account();
    types::SecurityGroup {
        group_id: Some(record.id.clone()),
        ip_permissions_egress: Some(permission::permissions(account, record, true)),
        tags: tags::shown(&record.tags),
        vpc_id: Some(record.vpc_id.clone()),
        security_group_arn: Some(arn(context, &record.id)),
        owner_id: Some(account.to_owned()),
        group_name: Some(record.name.clone()),
        description: Some(record.description.clone()),
        ip_permissions: Some(permission::permissions(account, record, false)),
    }
}

/// DescribeSecurityGroups.
pub fn describe(
    context: &Context<'_>,
    input: &DescribeSecurityGroupsRequest,
) -> Answer<DescribeSecurityGroupsResult> {
    let mut groups = context.network().security_groups();
    if let Some(names) = input.group_names.as_ref().filter(|n| !n.is_empty()) {
        // By name alone a group is one of the default VPC.
        let of_default = |g: &Arc<SecurityGroup>| g.vpc_id == VPC_ID && names.contains(&g.name);
        for name in names {
            if !groups.iter().any(|g| g.vpc_id == VPC_ID && g.name == *name) {
                let message =
                    format!("The security group '{name}' does not exist in default VPC '{VPC_ID}'");
                return Err(error("InvalidGroup.NotFound", message));
            }
        }
        groups.retain(of_default);
    }
    for id in input.group_ids.iter().flatten() {
        group(context, id)?;
    }
    let kind = Kind {
        filters: FILTERS,
        id: |g: &types::SecurityGroup| g.group_id.as_ref(),
        not_found: no_group,
    };
    let asked = Asked {
        ids: input.group_ids.as_ref(),
        filters: input.filters.as_ref(),
        max_results: input.max_results,
        next_token: input.next_token.as_ref(),
    };
    let groups = groups.iter().map(|g| view(context, g)).collect();
    let (items, next_token) = list(&kind, groups, &asked, |g, name| value(context, g, name))?;
    Ok(Outcome::read(DescribeSecurityGroupsResult { security_groups: Some(items), next_token }))
}

fn value(context: &Context<'_>, group: &types::SecurityGroup, name: &str) -> Values {
    let text = |t: &Option<String>| Some(t.iter().cloned().collect());
    let (permissions, of_permission) = match name.strip_prefix("egress.") {
        Some(rest) => (&group.ip_permissions_egress, rest),
        None => (&group.ip_permissions, name),
    };
    let of = |get: &dyn Fn(&IpPermission) -> Vec<String>| {
        Some(permissions.iter().flatten().flat_map(get).collect())
    };
    let number = |n: Option<i32>| n.map(|n| n.to_string()).into_iter().collect();
    match of_permission {
        "ip-permission.cidr" => {
            of(&|p| p.ip_ranges.iter().flatten().filter_map(|r| r.cidr_ip.clone()).collect())
        }
        "ip-permission.from-port" => of(&|p| number(p.from_port)),
        "ip-permission.to-port" => of(&|p| number(p.to_port)),
        "ip-permission.group-id" => of(&|p| {
            p.user_id_group_pairs.iter().flatten().filter_map(|g| g.group_id.clone()).collect()
        }),
        "ip-permission.protocol" => of(&|p| p.ip_protocol.iter().cloned().collect()),
        "description" => text(&group.description),
        "group-id" => text(&group.group_id),
        "group-name" => text(&group.group_name),
        "owner-id" => one(context.account()),
        "vpc-id" => text(&group.vpc_id),
        _ => tag_values(group.tags.as_ref(), name),
    }
}

/// A group's name or description, as EC2 takes them in a VPC.
fn checked<'a>(value: &'a Option<String>, name: &str) -> Result<&'a str, ApiError> {
    let text = value.as_deref().filter(|t| !t.is_empty()).ok_or_else(|| missing(name))?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(c);
    if text.len() > MAX_TEXT || !text.chars().all(allowed) {
        return Err(invalid(format!(
            "Value ({text}) for parameter {name} is invalid. Valid values are up to 255 \
             characters of a-z, A-Z, 0-9, spaces, and ._-:/()#,@[]+=&;{{}}!$*"
        )));
    }
    Ok(text)
}

/// CreateSecurityGroup.
pub fn create(
    context: &Context<'_>,
    input: &CreateSecurityGroupRequest,
) -> Answer<CreateSecurityGroupResult> {
    let name = checked(&input.group_name, "GroupName")?;
    let description = checked(&input.description, "GroupDescription")?;
    let vpc = vpc(context, input.vpc_id.as_deref().unwrap_or(VPC_ID))?;
    if name.starts_with("sg-") {
        return Err(invalid(format!(
            "Value ({name}) for parameter GroupName is invalid. Group names may not be in the \
             format sg-*."
        )));
    }
    if name.eq_ignore_ascii_case(DEFAULT_GROUP_NAME) {
        return Err(invalid(format!("Cannot use reserved security group name: {name}")));
    }
    let groups = context.network().security_groups();
    if groups.iter().any(|g| g.vpc_id == vpc.id && g.name == name) {
        return Err(error(
            "InvalidGroup.Duplicate",
            format!("The security group '{name}' already exists for VPC '{}'", vpc.id),
        ));
    }
    let id = format!("sg-{}", context.ids().hex17());
    let made = SecurityGroup {
        vpc_id: vpc.id.clone(),
        name: name.to_owned(),
        description: description.to_owned(),
        rules: vec![egress_everywhere(&id)],
        tags: tags::at_creation(input.tag_specifications.as_ref(), "security-group")?,
        id,
    };
    let output = CreateSecurityGroupResult {
        group_id: Some(made.id.clone()),
        tags: tags::shown(&made.tags),
        security_group_arn: Some(arn(context, &made.id)),
    };
    let mut transaction = Transaction::new();
    transaction.put(made);
    change(context, output, transaction)
}

/// DeleteSecurityGroup.
pub fn delete(
    context: &Context<'_>,
    input: &DeleteSecurityGroupRequest,
) -> Answer<DeleteSecurityGroupResult> {
    let network = context.network();
    let found = find(context, input.group_id.as_ref(), input.group_name.as_ref())?;
    if found.name == DEFAULT_GROUP_NAME {
        return Err(error(
            "CannotDelete",
            format!(
                "the specified group: \"{}\" name: \"{DEFAULT_GROUP_NAME}\" cannot be deleted by \
                 a user",
                found.id
            ),
        ));
    }
    let refers = |g: &Arc<SecurityGroup>| {
        g.id != found.id && g.rules.iter().any(|r| r.traffic.peer == Peer::Group(found.id.clone()))
    };
    let snapshot = context.snapshot;
    if network.security_groups().iter().any(refers)
        || snapshot.interfaces().any(|i| i.security_groups.contains(&found.id))
        || snapshot.load_balancers().any(|l| l.security_groups.contains(&found.id))
    {
        let message = format!("resource {} has a dependent object", found.id);
        return Err(error("DependencyViolation", message));
    }
    let mut transaction = Transaction::new();
    transaction.delete(RecordKey::SecurityGroup(found.id.clone()));
    let output =
        DeleteSecurityGroupResult { r#return: Some(true), group_id: Some(found.id.clone()) };
    change(context, output, transaction)
}

/// The group with this id, or the default VPC's of this name.
pub(super) fn find(
    context: &Context<'_>,
    id: Option<&String>,
    name: Option<&String>,
) -> Result<Arc<SecurityGroup>, ApiError> {
    match (id, name) {
        (Some(id), _) => group(context, id),
        (None, Some(name)) => {
            let mut groups = context.network().security_groups().into_iter();
            groups.find(|g| g.vpc_id == VPC_ID && g.name == *name).ok_or_else(|| no_group(name))
        }
        (None, None) => Err(missing("groupId")),
    }
}
