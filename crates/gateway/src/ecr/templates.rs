//! Templates of repositories that come into being when something is pushed to them.

use super::{Ecr, ecr, invalid, lifecycle, repositories, settings, tags, wire_time};
use crate::ecs::page;
use crate::error::ApiError;
use crate::registry::access::Resource;
use wharf_model::policy::{Kind, Policy};
use wharf_model::{RegistrySettings, RepositoryTemplate};
use wharf_wire::ecr::ErrorCode;
use wharf_wire::ecr::types::{
    CreateRepositoryCreationTemplateRequest, CreateRepositoryCreationTemplateResponse,
    DeleteRepositoryCreationTemplateRequest, DeleteRepositoryCreationTemplateResponse,
    DescribeRepositoryCreationTemplatesRequest, DescribeRepositoryCreationTemplatesResponse,
    EncryptionConfigurationForRepositoryCreationTemplate as Encryption, EncryptionType,
    RCTAppliedFor, RepositoryCreationTemplate, UpdateRepositoryCreationTemplateRequest,
    UpdateRepositoryCreationTemplateResponse,
};

/// Templates at most, as in ECR.
const MAX_TEMPLATES: usize = 50;
/// Templates on a page at most, and where nothing is said.
const PAGE: i32 = 1000;
const DEFAULT_PAGE: i32 = 100;

fn unknown(call: &Ecr<'_>, prefix: &str) -> ApiError {
    let message = format!(
        "The repository creation template with prefix '{prefix}' does not exist in the registry \
         with id '{}'",
        call.id()
    );
    ecr(ErrorCode::TemplateNotFoundException, message)
}

/// Refuses what isn't carried out.
fn check(encryption: Option<&Encryption>, role: Option<&String>) -> Result<(), ApiError> {
    let kind = encryption.and_then(|encryption| encryption.encryption_type.as_ref());
    if let Some(kind) = kind.filter(|kind| **kind != EncryptionType::Aes256) {
        let why = format!("encryptionType {kind} is not supported by this server");
        return Err(invalid("encryptionConfiguration", why));
    }
    if role.is_some_and(|role| !role.is_empty()) {
        let why = "is not supported by this server: whoever pushes makes the repository";
        return Err(invalid("customRoleArn", why));
    }
    Ok(())
}

fn repository_policy(text: Option<String>) -> Result<Option<String>, ApiError> {
    let text = text.filter(|text| !text.is_empty());
    if let Some(text) = &text {
        let checked = Policy::parse(text, Kind::Resource);
        checked.map_err(|why| invalid("repositoryPolicy", why))?;
    }
    Ok(text)
}

fn lifecycle_policy(text: Option<String>) -> Result<Option<String>, ApiError> {
    let text = text.filter(|text| !text.is_empty());
    if let Some(text) = &text {
        lifecycle::parse(text)?;
    }
    Ok(text)
}

fn words(applied_for: Vec<RCTAppliedFor>) -> Vec<String> {
    let mut words: Vec<String> = applied_for.iter().map(ToString::to_string).collect();
    words.dedup();
    words
}

fn shown(template: &RepositoryTemplate) -> RepositoryCreationTemplate {
    RepositoryCreationTemplate {
        prefix: Some(template.prefix.clone()),
        description: template.description.clone(),
        encryption_configuration: Some(Encryption {
            encryption_type: Some(EncryptionType::Aes256),
            kms_key: None,
        }),
        resource_tags: Some(tags::to_wire(&template.tags)),
        image_tag_mutability: Some(template.tag_mutability.as_str().into()),
        image_tag_mutability_exclusion_filters: repositories::wire_filters(
            &template.exclusion_filters,
        ),
        repository_policy: template.policy.clone(),
        lifecycle_policy: template.lifecycle_policy.clone(),
        applied_for: Some(template.applied_for.iter().map(|word| word.as_str().into()).collect()),
        custom_role_arn: None,
        created_at: Some(wire_time(template.created_at)),
        updated_at: Some(wire_time(template.updated_at)),
    }
}

pub(super) async fn create(
    call: &Ecr<'_>,
    input: CreateRepositoryCreationTemplateRequest,
) -> Result<CreateRepositoryCreationTemplateResponse, ApiError> {
    call.demand(Resource::Registry)?;
    let (encryption, role) =
        (input.encryption_configuration.as_ref(), input.custom_role_arn.as_ref());
    check(encryption, role)?;
    let filters = input.image_tag_mutability_exclusion_filters;
    let (tag_mutability, exclusion_filters) =
        repositories::mutability(input.image_tag_mutability, filters)?;
    let template = RepositoryTemplate {
        prefix: input.prefix.unwrap_or_default(),
        description: input.description,
        tags: tags::from_wire(input.resource_tags.as_ref())?,
        tag_mutability,
        exclusion_filters,
        policy: repository_policy(input.repository_policy)?,
        lifecycle_policy: lifecycle_policy(input.lifecycle_policy)?,
        applied_for: words(input.applied_for.unwrap_or_default()),
        created_at: call.now,
        updated_at: call.now,
    };
    let change = |settings: &mut RegistrySettings| {
        if settings.templates.contains_key(&template.prefix) {
            let message = format!(
                "The repository creation template with prefix '{}' already exists in the registry \
                 with id '{}'",
                template.prefix,
                call.id()
            );
            return Err(ecr(ErrorCode::TemplateAlreadyExistsException, message));
        }
        if settings.templates.len() >= MAX_TEMPLATES {
            let message = format!("A registry has at most {MAX_TEMPLATES} templates.");
            return Err(ecr(ErrorCode::LimitExceededException, message));
        }
        settings.templates.insert(template.prefix.clone(), template.clone());
        Ok(())
    };
    call.change_settings(change).await?;
    Ok(CreateRepositoryCreationTemplateResponse {
        registry_id: Some(call.id()),
        repository_creation_template: Some(shown(&template)),
    })
}

pub(super) async fn update(
    call: &Ecr<'_>,
    input: UpdateRepositoryCreationTemplateRequest,
) -> Result<UpdateRepositoryCreationTemplateResponse, ApiError> {
    call.demand(Resource::Registry)?;
    let (encryption, role) =
        (input.encryption_configuration.as_ref(), input.custom_role_arn.as_ref());
    check(encryption, role)?;
    let filters = input.image_tag_mutability_exclusion_filters;
    let mutability = match (input.image_tag_mutability, filters) {
        (None, None) => None,
        (kind, filters) => Some(repositories::mutability(kind, filters)?),
    };
    let tags = input.resource_tags.as_ref().map(|list| tags::from_wire(Some(list))).transpose()?;
    // What isn't sent stays as it is; an empty policy takes it away.
    let policy = input.repository_policy.map(|text| repository_policy(Some(text))).transpose()?;
    let lifecycle = input.lifecycle_policy.map(|text| lifecycle_policy(Some(text))).transpose()?;
    let applied_for = input.applied_for.map(words);
    let prefix = input.prefix.unwrap_or_default();
    let change = |settings: &mut RegistrySettings| {
        let template = settings.templates.get_mut(&prefix).ok_or_else(|| unknown(call, &prefix))?;
        if let Some((kind, filters)) = &mutability {
            template.tag_mutability.clone_from(kind);
            template.exclusion_filters.clone_from(filters);
        }
        if let Some(description) = &input.description {
            template.description = Some(description.clone());
        }
        if let Some(tags) = &tags {
            template.tags.clone_from(tags);
        }
        if let Some(policy) = &policy {
            template.policy.clone_from(policy);
        }
        if let Some(policy) = &lifecycle {
            template.lifecycle_policy.clone_from(policy);
        }
        if let Some(applied_for) = &applied_for {
            template.applied_for.clone_from(applied_for);
        }
        template.updated_at = call.now;
        Ok(shown(template))
    };
    let template = call.change_settings(change).await?;
    Ok(UpdateRepositoryCreationTemplateResponse {
        registry_id: Some(call.id()),
        repository_creation_template: Some(template),
    })
}

pub(super) async fn delete(
    call: &Ecr<'_>,
    input: DeleteRepositoryCreationTemplateRequest,
) -> Result<DeleteRepositoryCreationTemplateResponse, ApiError> {
    call.demand(Resource::Registry)?;
    let prefix = input.prefix.unwrap_or_default();
    let change = |settings: &mut RegistrySettings| {
        let gone = settings.templates.remove(&prefix).ok_or_else(|| unknown(call, &prefix))?;
        Ok(shown(&gone))
    };
    let template = call.change_settings(change).await?;
    Ok(DeleteRepositoryCreationTemplateResponse {
        registry_id: Some(call.id()),
        repository_creation_template: Some(template),
    })
}

pub(super) async fn describe(
    call: &Ecr<'_>,
    input: DescribeRepositoryCreationTemplatesRequest,
) -> Result<DescribeRepositoryCreationTemplatesResponse, ApiError> {
    call.demand(Resource::Registry)?;
    let templates = settings::of(&call.app.store().snapshot()).templates;
    if let Some(missing) = input.prefixes.iter().flatten().find(|p| !templates.contains_key(*p)) {
        return Err(unknown(call, missing));
    }
    let named = |prefix: &String| input.prefixes.as_ref().is_none_or(|list| list.contains(prefix));
    let wanted = templates.iter().filter(|(prefix, _)| named(prefix));
    let request = page::Request {
        next_token: input.next_token.as_deref(),
        max_results: Some(input.max_results.unwrap_or(DEFAULT_PAGE)),
        limit: PAGE,
    };
    let page = page::page(wanted.map(|(prefix, t)| (prefix.clone(), shown(t))), request)?;
    Ok(DescribeRepositoryCreationTemplatesResponse {
        registry_id: Some(call.id()),
        repository_creation_templates: Some(page.items),
        next_token: page.next_token,
    })
}
