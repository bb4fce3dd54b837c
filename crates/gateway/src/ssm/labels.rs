//! LabelParameterVersion and UnlabelParameterVersion.

use super::{client, for_change};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use wharf_model::Parameter;
use wharf_wire::ssm::types::{
    LabelParameterVersionRequest, LabelParameterVersionResult, UnlabelParameterVersionRequest,
    UnlabelParameterVersionResult,
};

/// The most labels of a version.
const MAX_LABELS: usize = 10;

/// True for what can be a label.
fn is_label(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let lower = text.to_ascii_lowercase();
    !text.is_empty()
        && text.chars().all(plain)
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && !lower.starts_with("aws")
        && !lower.starts_with("ssm")
}

fn version(
    context: &Context<'_>,
    parameter: &Parameter,
    asked: Option<i64>,
) -> std::result::Result<u64, ApiError> {
    let number = match asked {
        None => Some(parameter.latest),
        Some(number) => u64::try_from(number).ok(),
    };
    let exists = |number: &u64| {
        context.snapshot.parameter_version(&(parameter.id.clone(), *number)).is_some()
    };
    number.filter(exists).ok_or_else(|| {
        client(
            "ParameterVersionNotFound",
            format!(
                "Systems Manager could not find version {} of {}. Verify the version and try again.",
                asked.unwrap_or_default(),
                parameter.name
            ),
        )
    })
}

/// Puts labels on a version, taking them from where they were.
pub(super) fn label_parameter_version(
    context: &Context<'_>,
    input: &LabelParameterVersionRequest,
) -> Result<LabelParameterVersionResult> {
    let (mut parameter, mut transaction) =
        for_change(context, input.name.as_deref().unwrap_or_default())?;
    let number = version(context, &parameter, input.parameter_version)?;
    let labels = input.labels.clone().unwrap_or_default();
    let (valid, invalid): (Vec<String>, Vec<String>) =
        labels.into_iter().partition(|label| is_label(label));
    for label in valid {
        parameter.labels.insert(label, number);
    }
    if parameter.labels.values().filter(|version| **version == number).count() > MAX_LABELS {
        return Err(client(
            "ParameterVersionLabelLimitExceeded",
            format!(
                "A parameter version can have maximum {MAX_LABELS} labels. Move one or more \
                 labels to another version and try again."
            ),
        ));
    }
    transaction.put(parameter);
    let output = LabelParameterVersionResult {
        invalid_labels: Some(invalid),
        parameter_version: i64::try_from(number).ok(),
    };
    Ok(Outcome::write(output, transaction))
}

/// Takes labels off a version.
pub(super) fn unlabel_parameter_version(
    context: &Context<'_>,
    input: &UnlabelParameterVersionRequest,
) -> Result<UnlabelParameterVersionResult> {
    let (mut parameter, mut transaction) =
        for_change(context, input.name.as_deref().unwrap_or_default())?;
    let number = version(context, &parameter, input.parameter_version)?;
    let labels = input.labels.clone().unwrap_or_default();
    let (removed, invalid): (Vec<String>, Vec<String>) =
        labels.into_iter().partition(|label| parameter.labels.get(label) == Some(&number));
    for label in &removed {
        parameter.labels.remove(label);
    }
    transaction.put(parameter);
    let output = UnlabelParameterVersionResult {
        removed_labels: Some(removed),
        invalid_labels: Some(invalid),
    };
    Ok(Outcome::write(output, transaction))
}
