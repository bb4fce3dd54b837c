//! Account settings: which there are, what they may be, and what holds for a principal.

use crate::context::Context;
use crate::error::ApiError;
use wharf_model::AccountSetting;
use wharf_wire::ecs::types;

/// The record's principal for the account's default.
pub const DEFAULT_PRINCIPAL: &str = "default";

/// One setting as ECS defines it.
pub struct Definition {
    /// Its name.
    pub name: &'static str,
    /// What it is until someone says otherwise.
    pub initial: &'static str,
    /// What it may be.
    pub values: &'static [&'static str],
    /// True where only AWS sets it (`type` is `aws_managed`).
    pub aws_managed: bool,
}

const fn user(
    name: &'static str,
    initial: &'static str,
    values: &'static [&'static str],
) -> Definition {
    Definition { name, initial, values, aws_managed: false }
}

const ON_OFF: &[&str] = &["enabled", "disabled"];

/// All settings by name. ARNs are always long here, as they are for every account of today.
pub const DEFINITIONS: &[Definition] = &[
    user("awsvpcTrunking", "disabled", ON_OFF),
    user("containerInsights", "disabled", &["enhanced", "enabled", "disabled"]),
    user("containerInstanceLongArnFormat", "enabled", ON_OFF),
    user("defaultLogDriverMode", "non-blocking", &["blocking", "non-blocking"]),
    user("fargateEventWindows", "disabled", ON_OFF),
    user("fargateFIPSMode", "disabled", ON_OFF),
    user("fargateTaskRetirementWaitPeriod", "7", &["0", "7", "14"]),
    Definition { aws_managed: true, ..user("guardDutyActivate", "off", &["on", "off"]) },
    user("serviceLongArnFormat", "enabled", ON_OFF),
    user("tagResourceAuthorization", "off", &["on", "off"]),
    user("taskLongArnFormat", "enabled", ON_OFF),
];

/// The setting called `name`.
///
/// # Errors
/// `InvalidParameterException` where there is none.
pub fn definition(name: Option<&types::SettingName>) -> Result<&'static Definition, ApiError> {
    let name = name.map_or("", types::SettingName::as_str);
    DEFINITIONS.iter().find(|d| d.name == name).ok_or_else(|| {
        ApiError::invalid_parameter(format!("Invalid account setting name: '{name}'"))
    })
}

/// Checks a value that a caller wants to set.
///
/// # Errors
/// `InvalidParameterException` for a value that the setting can't have or that can't be set.
pub fn check_value(definition: &Definition, value: &str) -> Result<(), ApiError> {
    if definition.aws_managed {
        return Err(ApiError::invalid_parameter(format!(
            "The account setting {} is managed by AWS and can not be modified.",
            definition.name
        )));
    }
    if !definition.values.contains(&value) {
        return Err(ApiError::invalid_parameter(format!(
            "Invalid value '{value}' for the account setting {}. Valid values: [{}]",
            definition.name,
            definition.values.join(", ")
        )));
    }
    Ok(())
}

/// The principal that a call is about: the given one, or who asks. The root's settings are the
/// account's defaults.
///
/// # Errors
/// `InvalidParameterException` for what is no principal of this account.
pub fn principal(context: &Context<'_>, given: Option<&str>) -> Result<String, ApiError> {
    let root = wharf_model::Principal::Root.arn(context.account());
    let own = context.identity.principal_arn();
    let arn = given.unwrap_or(&own);
    if arn == root {
        return Ok(DEFAULT_PRINCIPAL.to_owned());
    }
    let in_account = ["iam", "sts"]
        .iter()
        .any(|service| arn.starts_with(&format!("arn:aws:{service}::{}:", context.account())));
    let kinds = [":root", ":user/", ":role/", ":assumed-role/"];
    if !in_account || !kinds.iter().any(|kind| arn.contains(kind)) {
        return Err(ApiError::invalid_parameter(
            "The principalArn must be the ARN of a root user, an IAM user or an IAM role of this \
             account.",
        ));
    }
    Ok(arn.to_owned())
}

/// What was set for `principal` itself, if anything was.
pub fn stored(context: &Context<'_>, name: &str, principal: &str) -> Option<String> {
    let key = (name.to_owned(), principal.to_owned());
    context.snapshot.account_setting(&key).map(|setting| setting.value.clone())
}

/// What holds for `principal`: its own setting, the account's default, or the initial value.
pub fn effective_for(context: &Context<'_>, name: &str, principal: &str) -> String {
    stored(context, name, principal)
        .or_else(|| stored(context, name, DEFAULT_PRINCIPAL))
        .or_else(|| DEFINITIONS.iter().find(|d| d.name == name).map(|d| d.initial.to_owned()))
        .unwrap_or_default()
}

/// What would hold for `principal` without a setting of its own.
pub fn effective_without(
    context: &Context<'_>,
    definition: &Definition,
    principal: &str,
) -> String {
    let inherited = (principal != DEFAULT_PRINCIPAL)
        .then(|| stored(context, definition.name, DEFAULT_PRINCIPAL))
        .flatten();
    inherited.unwrap_or_else(|| definition.initial.to_owned())
}

/// What holds for the caller.
pub fn effective(context: &Context<'_>, name: &str) -> String {
    effective_for(context, name, &context.identity.principal_arn())
}

/// A setting as the API shows it. `principal` is a principal's ARN or [`DEFAULT_PRINCIPAL`].
pub fn view(
    context: &Context<'_>,
    definition: &Definition,
    principal: &str,
    value: String,
) -> types::Setting {
    // The account's default is shown as the root's.
    let shown = if principal == DEFAULT_PRINCIPAL {
        wharf_model::Principal::Root.arn(context.account())
    } else {
        principal.to_owned()
    };
    let kind = if definition.aws_managed {
        types::SettingType::AwsManaged
    } else {
        types::SettingType::User
    };
    types::Setting {
        name: Some(definition.name.into()),
        value: Some(value),
        principal_arn: Some(shown),
        r#type: Some(kind),
    }
}

/// The record of a setting.
pub fn record(definition: &Definition, principal: &str, value: &str) -> AccountSetting {
    AccountSetting {
        name: definition.name.to_owned(),
        principal: principal.to_owned(),
        value: value.to_owned(),
    }
}
