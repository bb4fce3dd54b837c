//! PutParameter.

use super::{client, invalid, latest, name, tags, vault};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use regex::RegexBuilder;
use wharf_model::secret::ParameterType;
use wharf_model::{Parameter, ParameterVersion, RecordKey, Revision, Transaction};
use wharf_wire::ssm::types::{self, PutParameterRequest, PutParameterResult};

/// The longest values of the two tiers, in bytes.
const MAX_STANDARD: usize = 4096;
const MAX_ADVANCED: usize = 8192;
/// The most versions of a parameter that are kept.
const MAX_VERSIONS: usize = 100;
/// The most memory that a pattern takes, compiled.
const MAX_PATTERN_BYTES: usize = 1 << 20;
/// The key of those who name none.
const DEFAULT_KEY: &str = "alias/aws/ssm";

const STANDARD: &str = "Standard";
const ADVANCED: &str = "Advanced";

/// Puts a parameter, or another version of one.
pub(super) fn put_parameter(
    context: &Context<'_>,
    input: &PutParameterRequest,
) -> Result<PutParameterResult> {
    let given = input.name.clone().unwrap_or_default();
    name::check(&given)?;
    refuse(input)?;
    let key = RecordKey::Parameter(given.clone());
    let mut transaction = Transaction::new();
    transaction.read(key.clone(), context.snapshot.revision_of(&key));
    let before = context.snapshot.parameter(&given);
    let old = before.and_then(|parameter| latest(context, parameter));
    if before.is_some() && input.overwrite != Some(true) {
        return Err(client(
            "ParameterAlreadyExists",
            "The parameter already exists. To overwrite this value, set the overwrite option in \
             the request to true.",
        ));
    }
    let kind = kind(input, old.map(|old| old.kind))?;
    let value = input.value.as_deref().unwrap_or_default();
    let pattern =
        input.allowed_pattern.clone().or_else(|| old.and_then(|o| o.allowed_pattern.clone()));
    check_value(value, pattern.as_deref())?;
    let tier = tier(input, value, old.map(|old| old.tier.as_str()))?;
    let mut parameter = match before {
        Some(parameter) => {
            let mut parameter = Parameter::clone(parameter);
            parameter.latest += 1;
            parameter
        }
        None => Parameter {
            name: given.clone(),
            id: context.ids().hex32(),
            latest: 1,
            labels: Default::default(),
            tags: tags::from_wire(input.tags.as_ref())?,
        },
    };
    make_room(context, &mut parameter, &mut transaction)?;
    let mut version = ParameterVersion {
        name: given.clone(),
        parameter_id: parameter.id.clone(),
        version: parameter.latest,
        kind,
        tier: tier.to_owned(),
        data_type: "text".to_owned(),
        description: input.description.clone().or_else(|| old.and_then(|o| o.description.clone())),
        allowed_pattern: pattern.filter(|pattern| !pattern.is_empty()),
        key_id: (kind == ParameterType::SecureString)
            .then(|| input.key_id.clone().unwrap_or_else(|| DEFAULT_KEY.to_owned())),
        value: wharf_model::Sealed::new(""),
        modified_at: context.now,
        modified_by: context.identity.principal_arn(),
    };
    let seal_name = version.seal_name();
    version.value = context.vault.seal(&seal_name, value.as_bytes()).map_err(vault(&seal_name))?;
    let key = (version.parameter_id.clone(), version.version);
    transaction.read(RecordKey::ParameterVersion(key), Revision::ABSENT);
    transaction.put(version);
    let output = PutParameterResult {
        version: i64::try_from(parameter.latest).ok(),
        tier: Some(if tier == ADVANCED {
            types::ParameterTier::Advanced
        } else {
            types::ParameterTier::Standard
        }),
    };
    transaction.put(parameter);
    Ok(Outcome::write(output, transaction))
}

/// Refuses what isn't carried out.
fn refuse(input: &PutParameterRequest) -> std::result::Result<(), ApiError> {
    let unsupported = |what: &str| Err(invalid(format!("{what} is not supported by this server.")));
    if input.policies.as_ref().is_some_and(|policies| !matches!(policies.trim(), "" | "[]" | "{}"))
    {
        return unsupported("Policies");
    }
    if let Some(kind) = input.data_type.as_ref().filter(|kind| *kind != "text") {
        return unsupported(&format!("DataType {kind}"));
    }
    if input.overwrite == Some(true) && input.tags.as_ref().is_some_and(|tags| !tags.is_empty()) {
        return Err(invalid(
            "Invalid request: tags and overwrite can't be used together. To create a parameter \
             with tags, please remove overwrite flag. To update tags for an existing parameter, \
             please use AddTagsToResource or RemoveTagsFromResource.",
        ));
    }
    Ok(())
}

fn kind(
    input: &PutParameterRequest,
    old: Option<ParameterType>,
) -> std::result::Result<ParameterType, ApiError> {
    let asked = match input.r#type.as_ref().map(types::ParameterType::as_str) {
        None => None,
        Some("String") => Some(ParameterType::String),
        Some("StringList") => Some(ParameterType::StringList),
        Some("SecureString") => Some(ParameterType::SecureString),
        Some(other) => {
            return Err(client(
                "UnsupportedParameterType",
                format!("{other} is not a parameter type."),
            ));
        }
    };
    if input.key_id.is_some() && asked.or(old) != Some(ParameterType::SecureString) {
        return Err(invalid("KeyId is required for SecureString type parameter only."));
    }
    match (asked, old) {
        (None, None) => Err(invalid("A parameter type is required when you create a parameter.")),
        (Some(asked), Some(old)) if asked != old => Err(client(
            "HierarchyTypeMismatchException",
            format!(
                "The parameter is of type {}, which can't be changed to {}. Delete the parameter \
                 first, or put one of another name.",
                old.as_str(),
                asked.as_str()
            ),
        )),
        (asked, old) => Ok(asked.or(old).unwrap_or(ParameterType::String)),
    }
}

fn check_value(value: &str, pattern: Option<&str>) -> std::result::Result<(), ApiError> {
    if value.is_empty() {
        return Err(invalid(
            "1 validation error detected: Value at 'value' failed to satisfy constraint: Member \
             must have length greater than or equal to 1.",
        ));
    }
    let Some(pattern) = pattern.filter(|pattern| !pattern.is_empty()) else { return Ok(()) };
    let whole =
        RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(MAX_PATTERN_BYTES).build();
    let whole = whole.map_err(|_| {
        client(
            "InvalidAllowedPatternException",
            "The request does not meet the regular expression requirement.",
        )
    })?;
    match whole.is_match(value) {
        true => Ok(()),
        false => Err(client(
            "ParameterPatternMismatchException",
            format!("Parameter value, cannot be validated against allowedPattern: {pattern}"),
        )),
    }
}

/// The tier, which goes up with the value where that is asked for, and never down.
fn tier(
    input: &PutParameterRequest,
    value: &str,
    old: Option<&str>,
) -> std::result::Result<&'static str, ApiError> {
    let was_advanced = old == Some(ADVANCED);
    let asked = input.tier.as_ref().map(types::ParameterTier::as_str);
    let tier = match asked {
        Some("Intelligent-Tiering") if value.len() > MAX_STANDARD => ADVANCED,
        Some(ADVANCED) => ADVANCED,
        Some(STANDARD) if was_advanced => {
            return Err(invalid(
                "This parameter uses the advanced-parameter tier. You can't downgrade a parameter \
                 from the advanced-parameter tier to the standard-parameter tier. If necessary, \
                 you can delete the advanced parameter and recreate it as a standard parameter.",
            ));
        }
        _ if was_advanced => ADVANCED,
        _ => STANDARD,
    };
    match value.len() {
        length if tier == STANDARD && length > MAX_STANDARD => Err(invalid(format!(
            "Standard tier parameters support a maximum parameter value of {MAX_STANDARD} \
             characters. To create a larger parameter value, upgrade the parameter to use the \
             advanced-parameter tier. For more information, see \
             https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html"
        ))),
        length if length > MAX_ADVANCED => Err(invalid(format!(
            "Advanced tier parameters support a maximum parameter value of {MAX_ADVANCED} \
             characters."
        ))),
        _ => Ok(tier),
    }
}

/// The oldest version goes when there are too many, unless it has a label.
fn make_room(
    context: &Context<'_>,
    parameter: &mut Parameter,
    transaction: &mut Transaction,
) -> std::result::Result<(), ApiError> {
    let mut versions = context.snapshot.versions_of_parameter(&parameter.id);
    let count = context.snapshot.versions_of_parameter(&parameter.id).count();
    let Some(oldest) = versions.next().filter(|_| count >= MAX_VERSIONS) else { return Ok(()) };
    if parameter.labels.values().any(|version| *version == oldest.version) {
        return Err(client(
            "ParameterMaxVersionLimitExceeded",
            format!(
                "You attempted to create a new version of {} by calling the PutParameter API with \
                 the overwrite flag. Version {}, the oldest version, can't be deleted because it \
                 has a label associated with it. Move the label to another version of the \
                 parameter, and try again.",
                parameter.name, oldest.version
            ),
        ));
    }
    transaction.delete(RecordKey::ParameterVersion((parameter.id.clone(), oldest.version)));
    Ok(())
}
