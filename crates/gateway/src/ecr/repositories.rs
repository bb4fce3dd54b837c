//! Repositories: made, described, changed, removed.

use super::{Ecr, ecr, invalid, names, tags, wire_time};
use crate::ecs::page;
use crate::error::ApiError;
use crate::registry::access::{self, Resource};
use crate::registry::content;
use wharf_model::{IdSource, RecordKey, Repository, Revision, Transaction};
use wharf_registry::mutability::MAX_WILDCARDS;
use wharf_registry::route;
use wharf_wire::ecr::ErrorCode;
use wharf_wire::ecr::types::{
    self, CreateRepositoryRequest, CreateRepositoryResponse, DeleteRepositoryRequest,
    DeleteRepositoryResponse, DescribeRepositoriesRequest, DescribeRepositoriesResponse,
    EncryptionConfiguration, EncryptionType, ImageScanningConfiguration, ImageTagMutability,
    ImageTagMutabilityExclusionFilter, ImageTagMutabilityExclusionFilterType,
    PutImageScanningConfigurationRequest, PutImageScanningConfigurationResponse,
    PutImageTagMutabilityRequest, PutImageTagMutabilityResponse,
};

/// Repositories on a page at most, and where nothing is said.
const PAGE: i32 = 1000;
const DEFAULT_PAGE: i32 = 100;

pub(super) async fn create(
    call: &Ecr<'_>,
    input: CreateRepositoryRequest,
) -> Result<CreateRepositoryResponse, ApiError> {
    let name = input.repository_name.unwrap_or_default();
    call.demand(Resource::Name(&name))?;
    call.registry(input.registry_id.as_ref())?;
    if !route::is_name(&name) {
        return Err(invalid("repositoryName", "must be a repository's name"));
    }
    let encryption = input.encryption_configuration.and_then(|e| e.encryption_type);
    if let Some(kind) = encryption.filter(|kind| *kind != EncryptionType::Aes256) {
        return Err(invalid(
            "encryptionConfiguration",
            format!("encryptionType {kind} is not supported by this server"),
        ));
    }
    let filters = input.image_tag_mutability_exclusion_filters;
    let (tag_mutability, exclusion_filters) = mutability(input.image_tag_mutability, filters)?;
    let scanning = input.image_scanning_configuration.and_then(|s| s.scan_on_push);
    let repository = Repository {
        id: IdSource::new(call.seed).hex32(),
        created_at: call.now,
        tag_mutability,
        exclusion_filters,
        scan_on_push: scanning == Some(true),
        tags: tags::from_wire(input.tags.as_ref())?,
        policy: None,
        lifecycle_policy: None,
        name,
    };
    content::commit(call.app, call.action, |snapshot| {
        if snapshot.repository(&repository.name).is_some() {
            let message = format!(
                "The repository with name '{}' already exists in the registry with id '{}'",
                repository.name,
                call.id()
            );
            return Err(ecr(ErrorCode::RepositoryAlreadyExistsException, message));
        }
        let mut transaction = Transaction::new();
        transaction.read(RecordKey::Repository(repository.name.clone()), Revision::ABSENT);
        transaction.put(repository.clone());
        Ok((transaction, ()))
    })
    .await?;
    Ok(CreateRepositoryResponse { repository: Some(shown(call, &repository)) })
}

/// Mutability and its exceptions, which go together.
pub(super) fn mutability(
    kind: Option<ImageTagMutability>,
    filters: Option<Vec<ImageTagMutabilityExclusionFilter>>,
) -> Result<(String, Vec<String>), ApiError> {
    let kind = kind.unwrap_or(ImageTagMutability::Mutable);
    let filters: Vec<String> = filters.into_iter().flatten().filter_map(|f| f.filter).collect();
    let parameter = "imageTagMutabilityExclusionFilters";
    let excluding = matches!(
        kind,
        ImageTagMutability::ImmutableWithExclusion | ImageTagMutability::MutableWithExclusion
    );
    if excluding == filters.is_empty() {
        return Err(invalid(
            parameter,
            "exclusion filters go with the mutability IMMUTABLE_WITH_EXCLUSION or \
             MUTABLE_WITH_EXCLUSION, which need at least one",
        ));
    }
    if filters.iter().any(|filter| filter.matches('*').count() > MAX_WILDCARDS) {
        let text = format!("a filter has at most {MAX_WILDCARDS} wildcards");
        return Err(invalid(parameter, text));
    }
    Ok((kind.to_string(), filters))
}

pub(super) fn wire_filters(filters: &[String]) -> Option<Vec<ImageTagMutabilityExclusionFilter>> {
    let filter = |filter: &String| ImageTagMutabilityExclusionFilter {
        filter_type: Some(ImageTagMutabilityExclusionFilterType::Wildcard),
        filter: Some(filter.clone()),
    };
    let filters: Vec<_> = filters.iter().map(filter).collect();
    Some(filters).filter(|filters| !filters.is_empty())
}

fn shown(call: &Ecr<'_>, repository: &Repository) -> types::Repository {
    types::Repository {
        repository_arn: Some(call.app.arns().repository(&repository.name)),
        registry_id: Some(call.id()),
        repository_name: Some(repository.name.clone()),
        repository_uri: Some(names::uri(call.app, &repository.name)),
        created_at: Some(wire_time(repository.created_at)),
        image_tag_mutability: Some(repository.tag_mutability.as_str().into()),
        image_tag_mutability_exclusion_filters: wire_filters(&repository.exclusion_filters),
        image_scanning_configuration: Some(ImageScanningConfiguration {
            scan_on_push: Some(repository.scan_on_push),
        }),
        encryption_configuration: Some(EncryptionConfiguration {
            encryption_type: Some(EncryptionType::Aes256),
            kms_key: None,
        }),
    }
}

pub(super) async fn describe(
    call: &Ecr<'_>,
    input: DescribeRepositoriesRequest,
) -> Result<DescribeRepositoriesResponse, ApiError> {
    if let Some(names) = &input.repository_names {
        if input.next_token.is_some() || input.max_results.is_some() {
            let why = "nextToken and maxResults don't go with repositoryNames";
            return Err(invalid("repositoryNames", why));
        }
        let one = |name: &String| {
            let repository = call.repository(input.registry_id.as_ref(), Some(name))?;
            Ok(shown(call, &repository))
        };
        let repositories = names.iter().map(one).collect::<Result<Vec<_>, ApiError>>()?;
        return Ok(DescribeRepositoriesResponse {
            repositories: Some(repositories),
            next_token: None,
        });
    }
    call.registry(input.registry_id.as_ref())?;
    call.demand(Resource::Name("*"))?;
    let snapshot = call.app.store().snapshot();
    let asker = call.asker(&snapshot);
    let readable = snapshot.repositories().filter(|repository| {
        access::demand(asker, Resource::Repository(repository), call.action).is_ok()
    });
    let request = page::Request {
        next_token: input.next_token.as_deref(),
        max_results: Some(input.max_results.unwrap_or(DEFAULT_PAGE)),
        limit: PAGE,
    };
    let page = page::page(readable.map(|r| (r.name.clone(), shown(call, r))), request)?;
    Ok(DescribeRepositoriesResponse { repositories: Some(page.items), next_token: page.next_token })
}

pub(super) async fn delete(
    call: &Ecr<'_>,
    input: DeleteRepositoryRequest,
) -> Result<DeleteRepositoryResponse, ApiError> {
    let repository = call.repository(input.registry_id.as_ref(), input.repository_name.as_ref())?;
    let _removing = call.app.registry().removing().await;
    content::commit(call.app, call.action, |snapshot| {
        if snapshot.registry_images(&repository.id).next().is_some() && input.force != Some(true) {
            let message = format!(
                "The repository with name '{}' in registry with id '{}' cannot be deleted because \
                 it still contains images",
                repository.name,
                call.id()
            );
            return Err(ecr(ErrorCode::RepositoryNotEmptyException, message));
        }
        // What is in it can't be reached any more from now on, and is swept later.
        let mut transaction = Transaction::new();
        let key = RecordKey::Repository(repository.name.clone());
        let same = snapshot.repository(&repository.name).is_some_and(|r| r.id == repository.id);
        if same {
            transaction.read(key.clone(), snapshot.revision_of(&key));
            transaction.delete(key);
        }
        Ok((transaction, ()))
    })
    .await?;
    Ok(DeleteRepositoryResponse { repository: Some(shown(call, &repository)) })
}

pub(super) async fn put_mutability(
    call: &Ecr<'_>,
    input: PutImageTagMutabilityRequest,
) -> Result<PutImageTagMutabilityResponse, ApiError> {
    let repository = call.repository(input.registry_id.as_ref(), input.repository_name.as_ref())?;
    let filters = input.image_tag_mutability_exclusion_filters;
    let (kind, filters) = mutability(input.image_tag_mutability, filters)?;
    let change = |repository: &mut Repository| {
        repository.tag_mutability.clone_from(&kind);
        repository.exclusion_filters.clone_from(&filters);
        Ok(())
    };
    let (_, changed) = call.change(&repository, change).await?;
    Ok(PutImageTagMutabilityResponse {
        registry_id: Some(call.id()),
        repository_name: Some(changed.name.clone()),
        image_tag_mutability: Some(changed.tag_mutability.as_str().into()),
        image_tag_mutability_exclusion_filters: wire_filters(&changed.exclusion_filters),
    })
}

pub(super) async fn put_scanning(
    call: &Ecr<'_>,
    input: PutImageScanningConfigurationRequest,
) -> Result<PutImageScanningConfigurationResponse, ApiError> {
    let repository = call.repository(input.registry_id.as_ref(), input.repository_name.as_ref())?;
    let scan = input.image_scanning_configuration.and_then(|s| s.scan_on_push) == Some(true);
    let change = |repository: &mut Repository| {
        repository.scan_on_push = scan;
        Ok(())
    };
    let (_, changed) = call.change(&repository, change).await?;
    Ok(PutImageScanningConfigurationResponse {
        registry_id: Some(call.id()),
        repository_name: Some(changed.name),
        image_scanning_configuration: Some(ImageScanningConfiguration { scan_on_push: Some(scan) }),
    })
}
