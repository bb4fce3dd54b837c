//! GetParameter and GetParameters.

use super::name::{self, Reference, Selector};
use super::{client, not_found, vault};
use crate::context::{Context, Outcome, Result};
use crate::error::ApiError;
use wharf_model::ParameterVersion;
use wharf_model::secret::ParameterType;
use wharf_wire::Timestamp;
use wharf_wire::ssm::types::{
    self, GetParameterRequest, GetParameterResult, GetParametersRequest, GetParametersResult,
};

/// Gives a parameter out.
pub(super) fn get_parameter(
    context: &Context<'_>,
    input: &GetParameterRequest,
) -> Result<GetParameterResult> {
    let name = input.name.as_deref().unwrap_or_default();
    let parameter = get(context, name, input.with_decryption == Some(true))?;
    Ok(Outcome::read(GetParameterResult { parameter: Some(parameter) }))
}

/// Gives several out; those that aren't there are named.
pub(super) fn get_parameters(
    context: &Context<'_>,
    input: &GetParametersRequest,
) -> Result<GetParametersResult> {
    let (mut parameters, mut invalid) = (Vec::new(), Vec::new());
    let mut names: Vec<&String> = Vec::new();
    for name in input.names.iter().flatten() {
        if names.contains(&name) {
            continue;
        }
        names.push(name);
        match get(context, name, input.with_decryption == Some(true)) {
            Ok(parameter) => parameters.push(parameter),
            Err(error) if error.is_server_fault() => return Err(error),
            Err(_) => invalid.push(name.clone()),
        }
    }
    Ok(Outcome::read(GetParametersResult {
        parameters: Some(parameters),
        invalid_parameters: Some(invalid),
    }))
}

fn get(
    context: &Context<'_>,
    text: &str,
    decrypt: bool,
) -> std::result::Result<types::Parameter, ApiError> {
    let reference = reference(context, text)?;
    let version = version(context, &reference)?;
    let mut parameter = shown(context, version, decrypt)?;
    parameter.selector = reference.selector.map(|selector| match selector {
        Selector::Version(number) => format!(":{number}"),
        Selector::Label(label) => format!(":{label}"),
    });
    Ok(parameter)
}

/// What a text names.
pub(super) fn reference(
    context: &Context<'_>,
    text: &str,
) -> std::result::Result<Reference, ApiError> {
    let exists = |name: &str| context.snapshot.parameter(&name.to_owned()).is_some();
    name::parse(context.arns, text, exists).ok_or_else(|| not_found(text))
}

/// The version that a reference names.
fn version<'a>(
    context: &Context<'a>,
    reference: &Reference,
) -> std::result::Result<&'a ParameterVersion, ApiError> {
    let name = &reference.name;
    let parameter = context.snapshot.parameter(name).ok_or_else(|| not_found(name))?;
    let (number, what) = match &reference.selector {
        None => (Some(parameter.latest), "version".to_owned()),
        Some(Selector::Version(number)) => (Some(*number), format!("version {number}")),
        Some(Selector::Label(label)) => {
            (parameter.labels.get(label).copied(), format!("label {label}"))
        }
    };
    let found = number
        .and_then(|number| context.snapshot.parameter_version(&(parameter.id.clone(), number)));
    found.map(|version| version.as_ref()).ok_or_else(|| {
        let kind = what.split(' ').next().unwrap_or_default().to_owned();
        client(
            "ParameterVersionNotFound",
            format!(
                "Systems Manager could not find {what} of {name}. Verify the {kind} and try again."
            ),
        )
    })
}

/// The value: as it was put, or as ciphertext where a SecureString isn't to be decrypted.
pub(super) fn value(
    context: &Context<'_>,
    version: &ParameterVersion,
    decrypt: bool,
) -> std::result::Result<String, ApiError> {
    if version.kind == ParameterType::SecureString && !decrypt {
        return Ok(version.value.as_str().to_owned());
    }
    let name = version.seal_name();
    let bytes = context.vault.open(&name, &version.value).map_err(vault(&name))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A version as it is given out.
pub(super) fn shown(
    context: &Context<'_>,
    version: &ParameterVersion,
    decrypt: bool,
) -> std::result::Result<types::Parameter, ApiError> {
    Ok(types::Parameter {
        arn: Some(name::arn(context.arns, &version.name)),
        name: Some(version.name.clone()),
        r#type: Some(kind(version.kind)),
        value: Some(value(context, version, decrypt)?),
        version: i64::try_from(version.version).ok(),
        last_modified_date: Some(Timestamp::from_millis(version.modified_at.as_millis())),
        data_type: Some(version.data_type.clone()),
        ..Default::default()
    })
}

pub(super) fn kind(kind: ParameterType) -> types::ParameterType {
    match kind {
        ParameterType::String => types::ParameterType::String,
        ParameterType::StringList => types::ParameterType::StringList,
        ParameterType::SecureString => types::ParameterType::SecureString,
    }
}

pub(super) fn tier(tier: &str) -> types::ParameterTier {
    match tier {
        "Advanced" => types::ParameterTier::Advanced,
        _ => types::ParameterTier::Standard,
    }
}
