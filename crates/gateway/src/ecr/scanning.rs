//! Scans for vulnerabilities: asked for, described, and set for the registry as a whole.

use super::images::unknown_image;
use super::select::find;
use super::{Ecr, ecr, invalid, names, settings, store_failed, wire_time};
use crate::ecs::page;
use crate::error::ApiError;
use crate::registry::access::Resource;
use crate::registry::scan;
use wharf_model::{ImageScan, RegistryImage, RegistrySettings, Repository, ScanOutcome, ScanRule};
use wharf_registry::mutability;
use wharf_scan::Finding;
use wharf_wire::ecr::ErrorCode;
use wharf_wire::ecr::types::{
    Attribute, BatchGetRepositoryScanningConfigurationRequest,
    BatchGetRepositoryScanningConfigurationResponse, DescribeImageScanFindingsRequest,
    DescribeImageScanFindingsResponse, GetRegistryScanningConfigurationRequest,
    GetRegistryScanningConfigurationResponse, ImageIdentifier, ImageScanFinding, ImageScanFindings,
    ImageScanFindingsSummary, ImageScanStatus, PutRegistryScanningConfigurationRequest,
    PutRegistryScanningConfigurationResponse, RegistryScanningConfiguration, RegistryScanningRule,
    RepositoryScanningConfiguration, RepositoryScanningConfigurationFailure, ScanFrequency,
    ScanStatus, ScanType, ScanningConfigurationFailureCode, ScanningRepositoryFilter,
    ScanningRepositoryFilterType, StartImageScanRequest, StartImageScanResponse,
};

/// Findings on a page at most, and where nothing is said.
const PAGE: i32 = 1000;
const DEFAULT_PAGE: i32 = 100;
/// The longest value of a finding's attribute.
const MAX_VALUE_CHARS: usize = 256;

/// A scan's status as the API tells it.
pub(super) fn status(scan: &ImageScan) -> ImageScanStatus {
    let (status, description) = match &scan.outcome {
        None => (ScanStatus::InProgress, None),
        Some(ScanOutcome::Complete { .. }) => {
            (ScanStatus::Complete, Some("The scan was completed successfully.".to_owned()))
        }
        Some(ScanOutcome::Failed { why }) => (ScanStatus::Failed, Some(why.clone())),
    };
    ImageScanStatus { status: Some(status), description }
}

/// What DescribeImages says of a scan.
pub(super) fn summary(scan: &ImageScan) -> Option<ImageScanFindingsSummary> {
    match &scan.outcome {
        Some(ScanOutcome::Complete { at, counts, database_at, .. }) => {
            Some(ImageScanFindingsSummary {
                image_scan_completed_at: Some(wire_time(*at)),
                vulnerability_source_updated_at: Some(wire_time(*database_at)),
                finding_severity_counts: Some(wire_counts(counts)),
            })
        }
        _ => None,
    }
}

fn wire_counts(
    counts: &std::collections::BTreeMap<String, u32>,
) -> std::collections::BTreeMap<String, i32> {
    let count = |count: &u32| i32::try_from(*count).unwrap_or(i32::MAX);
    counts.iter().map(|(severity, number)| (severity.clone(), count(number))).collect()
}

fn found<'a>(
    call: &Ecr<'_>,
    snapshot: &'a wharf_model::Snapshot,
    repository: &Repository,
    id: &ImageIdentifier,
) -> Result<&'a RegistryImage, ApiError> {
    let image = find(snapshot, &repository.id, id).map_err(|_| unknown_image(call, repository, id));
    image.map(AsRef::as_ref)
}

pub(super) async fn start(
    call: &Ecr<'_>,
    input: StartImageScanRequest,
) -> Result<StartImageScanResponse, ApiError> {
    let repository = call.repository(input.registry_id.as_ref(), input.repository_name.as_ref())?;
    let id = input.image_id.unwrap_or_default();
    let snapshot = call.app.store().snapshot();
    let image = found(call, &snapshot, &repository, &id)?;
    if image.is_archived {
        let message = "The specified image is archived and cannot be scanned.";
        return Err(ecr(ErrorCode::ImageArchivedException, message));
    }
    if !scan::is_scannable(image) {
        let message = format!(
            "The image with digest '{}' is of a type that cannot be scanned: {}",
            image.digest,
            image.artifact_type.as_ref().unwrap_or(&image.media_type)
        );
        return Err(ecr(ErrorCode::UnsupportedImageTypeException, message));
    }
    let asked = scan::ask(call.app, image, call.now).await;
    asked.map_err(|error| error.unwrap_or_else(|| unknown_image(call, &repository, &id)))?;
    Ok(StartImageScanResponse {
        registry_id: Some(call.id()),
        repository_name: Some(repository.name.clone()),
        image_id: Some(ImageIdentifier {
            image_digest: Some(image.digest.clone()),
            image_tag: id.image_tag,
        }),
        image_scan_status: Some(status(&ImageScan { asked_at: call.now, outcome: None })),
    })
}

pub(super) async fn describe(
    call: &Ecr<'_>,
    input: DescribeImageScanFindingsRequest,
) -> Result<DescribeImageScanFindingsResponse, ApiError> {
    let repository = call.repository(input.registry_id.as_ref(), input.repository_name.as_ref())?;
    let id = input.image_id.unwrap_or_default();
    let snapshot = call.app.store().snapshot();
    let image = found(call, &snapshot, &repository, &id)?;
    let scan = image.scan.as_ref().ok_or_else(|| {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
        let message = format!(
            "Image scan does not exist for the image with '{{imageDigest:'{}', imageTag:'{}'}}' in \
             the repository {}",
            image.digest,
            text(&id.image_tag),
            names::place(call.app.arns(), &repository.name)
        );
        ecr(ErrorCode::ScanNotFoundException, message)
    })?;
    let (mut findings, mut next_token) = (None, None);
    if let Some(ScanOutcome::Complete { at, counts, findings: digest, database_at }) = &scan.outcome
    {
        let read = scan::findings(call.app, digest).await.map_err(|error| store_failed(&error))?;
        let read = read.ok_or_else(|| {
            tracing::error!(digest, "findings of a scan are lost");
            ApiError::server()
        })?;
        let items = read.findings.iter().enumerate();
        let request = page::Request {
            next_token: input.next_token.as_deref(),
            max_results: Some(input.max_results.unwrap_or(DEFAULT_PAGE)),
            limit: PAGE,
        };
        let page = page::page(items.map(|(at, f)| (format!("{at:08}"), shown(f))), request)?;
        next_token = page.next_token;
        findings = Some(ImageScanFindings {
            image_scan_completed_at: Some(wire_time(*at)),
            vulnerability_source_updated_at: Some(wire_time(*database_at)),
            finding_severity_counts: Some(wire_counts(counts)),
            findings: Some(page.items),
            enhanced_findings: None,
        });
    }
    Ok(DescribeImageScanFindingsResponse {
        registry_id: Some(call.id()),
        repository_name: Some(repository.name.clone()),
        image_id: Some(ImageIdentifier {
            image_digest: Some(image.digest.clone()),
            image_tag: id.image_tag,
        }),
        image_scan_status: Some(status(scan)),
        image_scan_findings: findings,
        next_token,
    })
}

fn shown(finding: &Finding) -> ImageScanFinding {
    let attribute = |(key, value): &(String, String)| Attribute {
        key: Some(key.clone()),
        value: Some(value.chars().take(MAX_VALUE_CHARS).collect()),
    };
    ImageScanFinding {
        name: Some(finding.name.clone()),
        description: finding.description.clone(),
        uri: Some(finding.uri.clone()),
        severity: Some(finding.severity.as_str().into()),
        attributes: Some(finding.attributes.iter().map(attribute).collect()),
    }
}

fn wire_filter(filter: &str) -> ScanningRepositoryFilter {
    ScanningRepositoryFilter {
        filter: Some(filter.to_owned()),
        filter_type: Some(ScanningRepositoryFilterType::Wildcard),
    }
}

fn configuration(rules: &[ScanRule]) -> RegistryScanningConfiguration {
    let rule = |rule: &ScanRule| RegistryScanningRule {
        scan_frequency: Some(rule.frequency.as_str().into()),
        repository_filters: Some(rule.filters.iter().map(|f| wire_filter(f)).collect()),
    };
    RegistryScanningConfiguration {
        scan_type: Some(ScanType::Basic),
        rules: Some(rules.iter().map(rule).collect()),
    }
}

pub(super) async fn put_registry(
    call: &Ecr<'_>,
    input: PutRegistryScanningConfigurationRequest,
) -> Result<PutRegistryScanningConfigurationResponse, ApiError> {
    call.demand(Resource::Registry)?;
    if let Some(other) = input.scan_type.filter(|kind| *kind != ScanType::Basic) {
        return Err(invalid(
            "scanType",
            format!("{other} is not supported by this server, BASIC is"),
        ));
    }
    let rule = |rule: RegistryScanningRule| {
        let frequency = rule.scan_frequency.unwrap_or(ScanFrequency::Manual);
        if frequency == ScanFrequency::ContinuousScan {
            let why = "CONTINUOUS_SCAN goes with the scanType ENHANCED, which is not supported";
            return Err(invalid("scanFrequency", why));
        }
        let filters = rule.repository_filters.into_iter().flatten().filter_map(|f| f.filter);
        Ok(ScanRule { frequency: frequency.to_string(), filters: filters.collect() })
    };
    let rules = input.rules.unwrap_or_default().into_iter().map(rule);
    let rules = rules.collect::<Result<Vec<_>, ApiError>>()?;
    if rules.len() == 2 && rules[0].frequency == rules[1].frequency {
        return Err(invalid("rules", "each scanFrequency has one rule"));
    }
    let change = |settings: &mut RegistrySettings| {
        settings.scan_rules = Some(rules.clone()).filter(|rules| !rules.is_empty());
        Ok(())
    };
    call.change_settings(change).await?;
    Ok(PutRegistryScanningConfigurationResponse {
        registry_scanning_configuration: Some(configuration(&rules)),
    })
}

pub(super) async fn get_registry(
    call: &Ecr<'_>,
    _: GetRegistryScanningConfigurationRequest,
) -> Result<GetRegistryScanningConfigurationResponse, ApiError> {
    call.demand(Resource::Registry)?;
    let rules = settings::of(&call.app.store().snapshot()).scan_rules.unwrap_or_default();
    Ok(GetRegistryScanningConfigurationResponse {
        registry_id: Some(call.id()),
        scanning_configuration: Some(configuration(&rules)),
    })
}

pub(super) async fn batch_get(
    call: &Ecr<'_>,
    input: BatchGetRepositoryScanningConfigurationRequest,
) -> Result<BatchGetRepositoryScanningConfigurationResponse, ApiError> {
    let (mut configurations, mut failures) = (Vec::new(), Vec::new());
    let snapshot = call.app.store().snapshot();
    let rules = settings::of(&snapshot).scan_rules.unwrap_or_default();
    for name in input.repository_names.unwrap_or_default() {
        let repository = match call.repository(None, Some(&name)) {
            Ok(repository) => repository,
            Err(error) if snapshot.repository(&name).is_some() => return Err(error),
            Err(_) => {
                failures.push(RepositoryScanningConfigurationFailure {
                    failure_code: Some(ScanningConfigurationFailureCode::RepositoryNotFound),
                    failure_reason: Some(names::unknown_repository(call.app.arns(), &name)),
                    repository_name: Some(name),
                });
                continue;
            }
        };
        let on_push = scan::on_push(&snapshot, &repository);
        let filters = rules.iter().filter(|rule| rule.frequency == "SCAN_ON_PUSH");
        let fitting = filters.flat_map(|rule| &rule.filters);
        let fitting = fitting.filter(|filter| mutability::matches(filter, &name));
        configurations.push(RepositoryScanningConfiguration {
            repository_arn: Some(call.app.arns().repository(&name)),
            scan_on_push: Some(on_push),
            scan_frequency: Some(match on_push {
                true => ScanFrequency::ScanOnPush,
                false => ScanFrequency::Manual,
            }),
            applied_scan_filters: Some(fitting.map(|filter| wire_filter(filter)).collect()),
            repository_name: Some(name),
        });
    }
    Ok(BatchGetRepositoryScanningConfigurationResponse {
        scanning_configurations: Some(configurations),
        failures: Some(failures),
    })
}
