//! Lifecycle policies: stored, previewed. What they say is done by the registry's upkeep.

use super::{Ecr, ecr, invalid, names, wire_time};
use crate::ecs::page;
use crate::error::ApiError;
use crate::registry::lifecycle::{self, Affected, Preview};
use wharf_model::Repository;
use wharf_registry::lifecycle::{Action, Policy};
use wharf_wire::ecr::ErrorCode;
use wharf_wire::ecr::types::{
    DeleteLifecyclePolicyRequest, DeleteLifecyclePolicyResponse, GetLifecyclePolicyPreviewRequest,
    GetLifecyclePolicyPreviewResponse, GetLifecyclePolicyRequest, GetLifecyclePolicyResponse,
    ImageActionType, LifecyclePolicyPreviewResult, LifecyclePolicyPreviewStatus,
    LifecyclePolicyPreviewSummary, LifecyclePolicyRuleAction, LifecyclePolicyStorageClass,
    LifecyclePolicyTargetStorageClass, PutLifecyclePolicyRequest, PutLifecyclePolicyResponse,
    StartLifecyclePolicyPreviewRequest, StartLifecyclePolicyPreviewResponse, TagStatus,
    TransitioningImageTotalCount,
};

/// Results on a page at most.
const PAGE: i32 = 100;

fn none(call: &Ecr<'_>, repository: &Repository) -> ApiError {
    let place = names::place(call.app.arns(), &repository.name);
    let message = format!("Lifecycle policy does not exist for the repository {place}");
    ecr(ErrorCode::LifecyclePolicyNotFoundException, message)
}

pub(super) fn parse(text: &str) -> Result<Policy, ApiError> {
    let refused = |why: String| {
        invalid("LifecyclePolicyText", format!("Lifecycle policy validation failure: {why}"))
    };
    Policy::parse(text).map_err(refused)
}

pub(super) async fn put(
    call: &Ecr<'_>,
    input: PutLifecyclePolicyRequest,
) -> Result<PutLifecyclePolicyResponse, ApiError> {
    let repository = call.repository(input.registry_id.as_ref(), input.repository_name.as_ref())?;
    let text = input.lifecycle_policy_text.unwrap_or_default();
    parse(&text)?;
    let change = |repository: &mut Repository| {
        repository.lifecycle_policy = Some(text.clone());
        Ok(())
    };
    let (_, changed) = call.change(&repository, change).await?;
    Ok(PutLifecyclePolicyResponse {
        registry_id: Some(call.id()),
        repository_name: Some(changed.name),
        lifecycle_policy_text: changed.lifecycle_policy,
    })
}

pub(super) async fn get(
    call: &Ecr<'_>,
    input: GetLifecyclePolicyRequest,
) -> Result<GetLifecyclePolicyResponse, ApiError> {
    let repository = call.repository(input.registry_id.as_ref(), input.repository_name.as_ref())?;
    let text = repository.lifecycle_policy.clone().ok_or_else(|| none(call, &repository))?;
    Ok(GetLifecyclePolicyResponse {
        registry_id: Some(call.id()),
        repository_name: Some(repository.name.clone()),
        lifecycle_policy_text: Some(text),
        last_evaluated_at: lifecycle::evaluated_at(call.app, &repository.id).map(wire_time),
    })
}

pub(super) async fn delete(
    call: &Ecr<'_>,
    input: DeleteLifecyclePolicyRequest,
) -> Result<DeleteLifecyclePolicyResponse, ApiError> {
    let repository = call.repository(input.registry_id.as_ref(), input.repository_name.as_ref())?;
    let change = |changed: &mut Repository| {
        changed.lifecycle_policy.take().map(|_| ()).ok_or_else(|| none(call, &repository))
    };
    let (before, changed) = call.change(&repository, change).await?;
    Ok(DeleteLifecyclePolicyResponse {
        registry_id: Some(call.id()),
        repository_name: Some(changed.name),
        lifecycle_policy_text: before.lifecycle_policy.clone(),
        last_evaluated_at: lifecycle::evaluated_at(call.app, &repository.id).map(wire_time),
    })
}

pub(super) async fn start_preview(
    call: &Ecr<'_>,
    input: StartLifecyclePolicyPreviewRequest,
) -> Result<StartLifecyclePolicyPreviewResponse, ApiError> {
    let repository = call.repository(input.registry_id.as_ref(), input.repository_name.as_ref())?;
    let text = input.lifecycle_policy_text.or_else(|| repository.lifecycle_policy.clone());
    let text = text.ok_or_else(|| none(call, &repository))?;
    let policy = parse(&text)?;
    let snapshot = call.app.store().snapshot();
    let results = lifecycle::evaluate(&snapshot, &repository.id, &policy, call.now);
    lifecycle::remember(call.app, &repository.id, Preview { text: text.clone(), results });
    Ok(StartLifecyclePolicyPreviewResponse {
        registry_id: Some(call.id()),
        repository_name: Some(repository.name.clone()),
        lifecycle_policy_text: Some(text),
        // It is complete already, and the next call says so; clients wait for that.
        status: Some(LifecyclePolicyPreviewStatus::InProgress),
    })
}

pub(super) async fn get_preview(
    call: &Ecr<'_>,
    input: GetLifecyclePolicyPreviewRequest,
) -> Result<GetLifecyclePolicyPreviewResponse, ApiError> {
    let repository = call.repository(input.registry_id.as_ref(), input.repository_name.as_ref())?;
    let missing = || {
        let place = names::place(call.app.arns(), &repository.name);
        let message = format!("Lifecycle policy preview does not exist for the repository {place}");
        ecr(ErrorCode::LifecyclePolicyPreviewNotFoundException, message)
    };
    let preview = lifecycle::preview(call.app, &repository.id).ok_or_else(missing)?;
    let status = input.filter.and_then(|filter| filter.tag_status).unwrap_or(TagStatus::Any);
    let named = input.image_ids.as_ref();
    let fits = |result: &&Affected| {
        let by_status = match status {
            TagStatus::Tagged => !result.tags.is_empty(),
            TagStatus::Untagged => result.tags.is_empty(),
            _ => true,
        };
        by_status
            && named.is_none_or(|ids| {
                ids.iter().any(|id| {
                    id.image_digest.as_ref().is_none_or(|digest| *digest == result.digest)
                        && id.image_tag.as_ref().is_none_or(|tag| result.tags.contains(tag))
                })
            })
    };
    let total = |action: Action| {
        let count = preview.results.iter().filter(|result| result.action == action).count();
        i32::try_from(count).unwrap_or(i32::MAX)
    };
    let results = preview.results.iter().filter(fits).map(|r| (r.digest.clone(), shown(r)));
    let request = page::Request {
        next_token: input.next_token.as_deref(),
        max_results: input.max_results,
        limit: PAGE,
    };
    let page = page::page(results, request)?;
    Ok(GetLifecyclePolicyPreviewResponse {
        registry_id: Some(call.id()),
        repository_name: Some(repository.name.clone()),
        lifecycle_policy_text: Some(preview.text.clone()),
        status: Some(LifecyclePolicyPreviewStatus::Complete),
        next_token: page.next_token,
        preview_results: Some(page.items),
        summary: Some(LifecyclePolicyPreviewSummary {
            expiring_image_total_count: Some(total(Action::Expire)),
            transitioning_image_total_counts: Some(vec![TransitioningImageTotalCount {
                target_storage_class: Some(LifecyclePolicyTargetStorageClass::Archive),
                image_total_count: Some(total(Action::Archive)),
            }]),
        }),
    })
}

fn shown(result: &Affected) -> LifecyclePolicyPreviewResult {
    LifecyclePolicyPreviewResult {
        image_tags: Some(result.tags.clone()),
        image_digest: Some(result.digest.clone()),
        image_pushed_at: Some(wire_time(result.pushed_at)),
        action: Some(match result.action {
            Action::Expire => LifecyclePolicyRuleAction {
                r#type: Some(ImageActionType::Expire),
                target_storage_class: None,
            },
            Action::Archive => LifecyclePolicyRuleAction {
                r#type: Some(ImageActionType::Transition),
                target_storage_class: Some(LifecyclePolicyTargetStorageClass::Archive),
            },
        }),
        applied_rule_priority: Some(result.priority),
        storage_class: Some(match result.is_archived {
            true => LifecyclePolicyStorageClass::Archive,
            false => LifecyclePolicyStorageClass::Standard,
        }),
    }
}
