//! CreateTags, DeleteTags, DescribeTags, and tags at creation.

use super::filter::{keep, one};
use super::listing::tag_values;
use super::resource::{change, group, invalid, missing, no_rule};
use super::{error, resource};
use crate::context::{Context, Outcome, Result as Answer};
use crate::error::ApiError;
use wharf_model::network::Network;
use wharf_model::tag::{Tag, merge};
use wharf_model::{Record, Transaction};
use wharf_wire::Empty;
use wharf_wire::ec2::types::{
    self, CreateTagsRequest, DeleteTagsRequest, DescribeTagsRequest, DescribeTagsResult,
    TagDescription, TagSpecification,
};

/// The most tags of a resource.
const MOST: usize = 50;
const MAX_KEY: usize = 128;
const MAX_VALUE: usize = 256;
const FILTERS: &[&str] = &["key", "resource-id", "resource-type", "value"];

/// The tags that a new resource of this type gets.
pub(super) fn at_creation(
    specifications: Option<&Vec<TagSpecification>>,
    resource_type: &str,
) -> Result<Vec<Tag>, ApiError> {
    let mut tags = Vec::new();
    for specification in specifications.into_iter().flatten() {
        let of = specification.resource_type.as_ref().map_or("", |t| t.as_str());
        if of != resource_type {
            return Err(invalid(format!(
                "'{of}' is not a valid taggable resource type for this operation."
            )));
        }
        tags = merge(&tags, &checked(specification.tags.as_ref())?);
    }
    at_most(&tags)?;
    Ok(tags)
}

/// Tags in the API's form; none if there are none.
pub(super) fn shown(tags: &[Tag]) -> Option<Vec<types::Tag>> {
    let shown = |t: &Tag| types::Tag { key: Some(t.key.clone()), value: Some(t.value.clone()) };
    Some(tags.iter().map(shown).collect())
}

fn checked(tags: Option<&Vec<types::Tag>>) -> Result<Vec<Tag>, ApiError> {
    let check = |tag: &types::Tag| {
        let (key, value) = (tag.key.clone().unwrap_or_default(), tag.value.clone());
        let value = value.unwrap_or_default();
        if key.is_empty() || key.chars().count() > MAX_KEY {
            return Err(invalid(format!(
                "Tag key exceeds the maximum length of {MAX_KEY} characters, or is empty"
            )));
        }
        if value.chars().count() > MAX_VALUE {
            return Err(invalid(format!(
                "Tag value exceeds the maximum length of {MAX_VALUE} characters"
            )));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(invalid("Tag keys starting with 'aws:' are reserved for internal use"));
        }
        Ok(Tag { key, value })
    };
    tags.into_iter().flatten().map(check).collect()
}

fn at_most(tags: &[Tag]) -> Result<(), ApiError> {
    if tags.len() > MOST {
        let message = format!("The maximum number of {MOST} tags for a resource has been reached.");
        return Err(error("TagLimitExceeded", message));
    }
    Ok(())
}

/// The resource with other tags.
fn retagged(
    context: &Context<'_>,
    id: &str,
    tags: impl Fn(&[Tag]) -> Vec<Tag>,
) -> Result<(Record, Vec<Tag>), ApiError> {
    macro_rules! with {
        ($find:path) => {{
            let mut record = $find(context, id)?.as_ref().clone();
            record.tags = tags(&record.tags);
            let now = record.tags.clone();
            Ok((record.into(), now))
        }};
    }
    match id.split('-').next().unwrap_or_default() {
        "vpc" => with!(resource::vpc),
        "subnet" => with!(resource::subnet),
        "sg" => with!(group),
        "igw" => with!(resource::gateway),
        "rtb" => with!(resource::table),
        "sgr" => {
            let groups = context.network().security_groups();
            let has = |g: &&std::sync::Arc<_>| rule_at(g, id).is_some();
            let mut owner = groups.iter().find(has).ok_or_else(|| no_rule(id))?.as_ref().clone();
            let mut now = Vec::new();
            for rule in owner.rules.iter_mut().filter(|r| r.id == id) {
                rule.tags = tags(&rule.tags);
                now.clone_from(&rule.tags);
            }
            Ok((owner.into(), now))
        }
        "acl" | "dopt" => Err(resource::unsupported("To tag network ACLs and DHCP options")),
        _ => Err(error("InvalidID", format!("The ID '{id}' is not valid"))),
    }
}

fn rule_at(group: &wharf_model::network::resource::SecurityGroup, id: &str) -> Option<usize> {
    group.rules.iter().position(|r| r.id == id)
}

/// CreateTags.
pub fn create(context: &Context<'_>, input: &CreateTagsRequest) -> Answer<Empty> {
    let added = checked(input.tags.as_ref())?;
    if added.is_empty() {
        return Err(missing("tagSet"));
    }
    let mut transaction = Transaction::new();
    for id in ids(input.resources.as_ref())? {
        let (record, tags) = retagged(context, id, |tags| merge(tags, &added))?;
        at_most(&tags)?;
        transaction.put(record);
    }
    change(context, Empty::default(), transaction)
}

/// DeleteTags: those named, or with this value where one is named; without names all.
pub fn delete(context: &Context<'_>, input: &DeleteTagsRequest) -> Answer<Empty> {
    let named = input.tags.as_deref().unwrap_or_default();
    let goes = |tag: &Tag| {
        named.is_empty()
            || named.iter().any(|n| {
                n.key.as_ref() == Some(&tag.key) && n.value.as_ref().is_none_or(|v| *v == tag.value)
            })
    };
    let mut transaction = Transaction::new();
    for id in ids(input.resources.as_ref())? {
        let kept = |tags: &[Tag]| tags.iter().filter(|t| !goes(t)).cloned().collect();
        transaction.put(retagged(context, id, kept)?.0);
    }
    change(context, Empty::default(), transaction)
}

/// The resources' ids. Two rules of one group would be two writes of one record.
fn ids(resources: Option<&Vec<String>>) -> Result<&[String], ApiError> {
    let ids = resources.map(Vec::as_slice).unwrap_or_default();
    if ids.is_empty() {
        return Err(missing("resourceIdSet"));
    }
    if ids.len() > 1 && ids.iter().any(|id| id.starts_with("sgr-") || id.starts_with("sg-")) {
        return Err(resource::unsupported("To tag several resources with security groups at once"));
    }
    Ok(ids)
}

/// DescribeTags.
pub fn describe(context: &Context<'_>, input: &DescribeTagsRequest) -> Answer<DescribeTagsResult> {
    let all = everything(&context.network());
    let tags = keep(all, input.filters.as_ref(), FILTERS, |t, name| match name {
        "key" => one(t.key.clone().unwrap_or_default()),
        "value" => one(t.value.clone().unwrap_or_default()),
        "resource-id" => one(t.resource_id.clone().unwrap_or_default()),
        "resource-type" => one(t.resource_type.as_ref().map_or("", |t| t.as_str())),
        _ => {
            tag_values(Some(&vec![types::Tag { key: t.key.clone(), value: t.value.clone() }]), name)
        }
    })?;
    Ok(Outcome::read(DescribeTagsResult { next_token: None, tags: Some(tags) }))
}

fn everything(network: &Network<'_>) -> Vec<TagDescription> {
    let mut all = Vec::new();
    let mut of = |kind: &str, id: &str, tags: &[Tag]| {
        all.extend(tags.iter().map(|tag| TagDescription {
            key: Some(tag.key.clone()),
            value: Some(tag.value.clone()),
            resource_id: Some(id.to_owned()),
            resource_type: Some(kind.into()),
        }));
    };
    network.vpcs().iter().for_each(|r| of("vpc", &r.id, &r.tags));
    network.subnets().iter().for_each(|r| of("subnet", &r.id, &r.tags));
    network.internet_gateways().iter().for_each(|r| of("internet-gateway", &r.id, &r.tags));
    network.route_tables().iter().for_each(|r| of("route-table", &r.id, &r.tags));
    for group in network.security_groups() {
        of("security-group", &group.id, &group.tags);
        group.rules.iter().for_each(|r| of("security-group-rule", &r.id, &r.tags));
    }
    all
}
