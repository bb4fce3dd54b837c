//! Tags of load balancers, listeners, rules, target groups and trust stores.

use super::{error, find, validation};
use crate::context::{Context, Outcome, Result as OperationResult};
use crate::error::ApiError;
use wharf_model::load_balancing::Resource;
use wharf_model::{Record, Tag, Transaction, tag};
use wharf_wire::elbv2::{ErrorCode, types};

/// Tags of one thing.
const LIMIT: usize = 50;
/// Things of one request.
const MAX_RESOURCES: usize = 20;

/// Tags that come with a new thing, or on top of `present` ones.
pub(super) fn added(present: &[Tag], sent: Option<&Vec<types::Tag>>) -> Result<Vec<Tag>, ApiError> {
    let mut new: Vec<Tag> = Vec::new();
    for tag in sent.into_iter().flatten() {
        let key = tag.key.clone().unwrap_or_default();
        if new.iter().any(|other| other.key == key) {
            return Err(error(
                ErrorCode::DuplicateTagKeysException,
                "Tag keys must be unique within a request",
            ));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(validation(
                "The tag key prefix 'aws:' is reserved for AWS use; choose another key",
            ));
        }
        new.push(Tag { key, value: tag.value.clone().unwrap_or_default() });
    }
    let all = tag::merge(present, &new);
    if all.len() > LIMIT {
        let message = format!("The maximum number of tags ('{LIMIT}') has been reached");
        return Err(error(ErrorCode::TooManyTagsException, message));
    }
    Ok(all)
}

/// The thing with this ARN and its tags.
fn tagged(context: &Context<'_>, arn: &str) -> Result<(Record, Vec<Tag>), ApiError> {
    let sent = arn.to_owned();
    let arn = Some(&sent);
    Ok(match context.arns.elb_resource(&sent) {
        Some(Resource::LoadBalancer(_)) => {
            let found = find::load_balancer(context, arn)?;
            (Record::LoadBalancer(found.clone()), found.tags.clone())
        }
        Some(Resource::Listener(_)) => {
            let found = find::listener(context, arn)?;
            (Record::Listener(found.clone()), found.tags.clone())
        }
        Some(Resource::ListenerRule(_)) => {
            let found = find::rule(context, arn)?;
            (Record::ListenerRule(found.clone()), found.tags.clone())
        }
        Some(Resource::TrustStore(_)) => {
            let found = find::trust_store(context, arn)?;
            (Record::TrustStore(found.clone()), found.tags.clone())
        }
        Some(Resource::TargetGroup(_)) => {
            let found = find::target_group(context, arn)?;
            (Record::TargetGroup(found.clone()), found.tags.clone())
        }
        None => return Err(validation(format!("'{sent}' is not a valid resource ARN"))),
    })
}

fn with_tags(record: Record, tags: Vec<Tag>) -> Record {
    macro_rules! with {
        ($found:expr) => {{
            let mut found = std::sync::Arc::unwrap_or_clone($found);
            found.tags = tags;
            found.into()
        }};
    }
    match record {
        Record::LoadBalancer(found) => with!(found),
        Record::Listener(found) => with!(found),
        Record::ListenerRule(found) => with!(found),
        Record::TrustStore(found) => with!(found),
        Record::TargetGroup(found) => with!(found),
        other => other,
    }
}

fn resources(sent: Option<&Vec<String>>) -> Result<&[String], ApiError> {
    let sent = sent.map(Vec::as_slice).unwrap_or_default();
    if sent.is_empty() {
        return Err(validation("At least one resource ARN must be specified"));
    }
    if sent.len() > MAX_RESOURCES {
        let message = format!("At most '{MAX_RESOURCES}' resource ARNs can be specified");
        return Err(validation(message));
    }
    Ok(sent)
}

pub(super) fn add(
    context: &Context<'_>,
    input: &types::AddTagsInput,
) -> OperationResult<types::AddTagsOutput> {
    let mut transaction = Transaction::new();
    for arn in resources(input.resource_arns.as_ref())? {
        let (record, tags) = tagged(context, arn)?;
        let tags = added(&tags, input.tags.as_ref())?;
        super::put(context, &mut transaction, with_tags(record, tags));
    }
    Ok(Outcome::write(types::AddTagsOutput {}, transaction))
}

pub(super) fn remove(
    context: &Context<'_>,
    input: &types::RemoveTagsInput,
) -> OperationResult<types::RemoveTagsOutput> {
    let keys = input.tag_keys.as_deref().unwrap_or_default();
    let mut transaction = Transaction::new();
    for arn in resources(input.resource_arns.as_ref())? {
        let (record, mut tags) = tagged(context, arn)?;
        tags.retain(|tag| !keys.contains(&tag.key));
        super::put(context, &mut transaction, with_tags(record, tags));
    }
    Ok(Outcome::write(types::RemoveTagsOutput {}, transaction))
}

pub(super) fn describe(
    context: &Context<'_>,
    input: &types::DescribeTagsInput,
) -> OperationResult<types::DescribeTagsOutput> {
    let mut descriptions = Vec::new();
    for arn in resources(input.resource_arns.as_ref())? {
        let (_, tags) = tagged(context, arn)?;
        let shown = |tag: Tag| types::Tag { key: Some(tag.key), value: Some(tag.value) };
        descriptions.push(types::TagDescription {
            resource_arn: Some(arn.clone()),
            tags: Some(tags.into_iter().map(shown).collect()),
        });
    }
    Ok(Outcome::read(types::DescribeTagsOutput { tag_descriptions: Some(descriptions) }))
}
