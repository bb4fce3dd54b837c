//! Conditions of rules.

use super::{limits, validation};
use crate::error::ApiError;
use regex::Regex;
use std::net::IpAddr;
use wharf_model::load_balancing::Condition;
use wharf_wire::elbv2::types;

/// Longest value of a condition.
const LONGEST: usize = 128;
/// Longest name of a header, and longest method.
const LONGEST_NAME: usize = 40;
const FIELDS: &str =
    "[host-header,http-header,http-request-method,path-pattern,query-string,source-ip]";

/// The conditions of a request.
pub(super) fn parse(sent: Option<&Vec<types::RuleCondition>>) -> Result<Vec<Condition>, ApiError> {
    let sent = sent.map(Vec::as_slice).unwrap_or_default();
    if sent.is_empty() {
        return Err(validation("A condition must be specified"));
    }
    let conditions: Vec<Condition> = sent.iter().map(one).collect::<Result<_, _>>()?;
    for field in ["host-header", "http-request-method", "path-pattern", "source-ip"] {
        if conditions.iter().filter(|condition| name(condition) == field).count() > 1 {
            let message = format!("A rule can only have one '{field}' condition");
            return Err(validation(message));
        }
    }
    let values: usize = conditions.iter().map(count).sum();
    if values > limits::CONDITION_VALUES {
        return Err(validation(format!(
            "A rule can only have '{}' condition values",
            limits::CONDITION_VALUES
        )));
    }
    let wildcards: usize = conditions.iter().map(wildcards).sum();
    if wildcards > limits::WILDCARDS {
        let message = format!("A rule can only have '{}' wildcards", limits::WILDCARDS);
        return Err(validation(message));
    }
    Ok(conditions)
}

fn name(condition: &Condition) -> &'static str {
    match condition {
        Condition::HostHeader { .. } => "host-header",
        Condition::PathPattern { .. } => "path-pattern",
        Condition::HttpHeader { .. } => "http-header",
        Condition::HttpRequestMethod { .. } => "http-request-method",
        Condition::QueryString { .. } => "query-string",
        Condition::SourceIp { .. } => "source-ip",
    }
}

fn count(condition: &Condition) -> usize {
    match condition {
        Condition::HostHeader { values, regex_values }
        | Condition::PathPattern { values, regex_values }
        | Condition::HttpHeader { values, regex_values, .. } => values.len() + regex_values.len(),
        Condition::HttpRequestMethod { values } | Condition::SourceIp { values } => values.len(),
        Condition::QueryString { values } => values.len(),
    }
}

fn wildcards(condition: &Condition) -> usize {
    let of = |text: &String| text.bytes().filter(|b| matches!(b, b'*' | b'?')).count();
    match condition {
        Condition::HostHeader { values, .. }
        | Condition::PathPattern { values, .. }
        | Condition::HttpHeader { values, .. } => values.iter().map(of).sum(),
        Condition::QueryString { values } => {
            values.iter().map(|(key, value)| key.as_ref().map_or(0, of) + of(value)).sum()
        }
        Condition::HttpRequestMethod { .. } | Condition::SourceIp { .. } => 0,
    }
}

fn one(sent: &types::RuleCondition) -> Result<Condition, ApiError> {
    let field = sent.field.as_deref().unwrap_or_default();
    check_members(field, sent)?;
    let list = |list: Option<&Vec<String>>| list.cloned().unwrap_or_default();
    match field {
        "host-header" => {
            let config = sent.host_header_config.as_ref();
            let values = config.and_then(|c| c.values.as_ref()).or(sent.values.as_ref());
            let regex = config.and_then(|c| c.regex_values.as_ref()).or(sent.regex_values.as_ref());
            let (values, regex_values) = patterns(field, list(values), list(regex), host)?;
            Ok(Condition::HostHeader { values, regex_values })
        }
        "path-pattern" => {
            let config = sent.path_pattern_config.as_ref();
            let values = config.and_then(|c| c.values.as_ref()).or(sent.values.as_ref());
            let regex = config.and_then(|c| c.regex_values.as_ref()).or(sent.regex_values.as_ref());
            let (values, regex_values) = patterns(field, list(values), list(regex), path)?;
            Ok(Condition::PathPattern { values, regex_values })
        }
        "http-header" => {
            let config = sent.http_header_config.clone().unwrap_or_default();
            let name = header_name(config.http_header_name)?;
            let regex = config.regex_values.or_else(|| sent.regex_values.clone());
            let (values, regex_values) = patterns(
                field,
                config.values.unwrap_or_default(),
                regex.unwrap_or_default(),
                |text| text.bytes().all(|b| (b' '..=b'~').contains(&b)),
            )?;
            Ok(Condition::HttpHeader { name, values, regex_values })
        }
        "http-request-method" => {
            let config = sent.http_request_method_config.as_ref();
            let values = list(config.and_then(|c| c.values.as_ref()));
            let is_method = |text: &str| {
                text.len() <= LONGEST_NAME
                    && text.bytes().all(|b| b.is_ascii_uppercase() || matches!(b, b'-' | b'_'))
            };
            let (values, _) = patterns(field, values, Vec::new(), is_method)?;
            Ok(Condition::HttpRequestMethod { values })
        }
        "source-ip" => {
            let config = sent.source_ip_config.as_ref();
            let values = list(config.and_then(|c| c.values.as_ref()));
            let (values, _) = patterns(field, values, Vec::new(), is_network)?;
            Ok(Condition::SourceIp { values })
        }
        "query-string" => query_string(sent.query_string_config.as_ref()),
        other => Err(validation(format!("Condition field '{other}' must be one of '{FIELDS}'"))),
    }
}

/// Each field has a configuration of its own; the two oldest also have plain values.
fn check_members(field: &str, sent: &types::RuleCondition) -> Result<(), ApiError> {
    let configs = [
        ("host-header", "HostHeaderConfig", sent.host_header_config.is_some()),
        ("path-pattern", "PathPatternConfig", sent.path_pattern_config.is_some()),
        ("http-header", "HttpHeaderConfig", sent.http_header_config.is_some()),
        ("query-string", "QueryStringConfig", sent.query_string_config.is_some()),
        (
            "http-request-method",
            "HttpRequestMethodConfig",
            sent.http_request_method_config.is_some(),
        ),
        ("source-ip", "SourceIpConfig", sent.source_ip_config.is_some()),
    ];
    for (owner, member, is_sent) in configs {
        if is_sent && owner != field {
            let message = format!("{member} cannot be specified for the condition field '{field}'");
            return Err(validation(message));
        }
    }
    let has_config = configs.iter().any(|(_, _, is_sent)| *is_sent);
    if has_config && sent.values.as_ref().is_some_and(|values| !values.is_empty()) {
        return Err(validation(
            "You cannot specify both 'Values' and a condition field configuration",
        ));
    }
    let plain = matches!(field, "host-header" | "path-pattern");
    if !plain && sent.values.as_ref().is_some_and(|values| !values.is_empty()) {
        return Err(validation(format!(
            "'Values' cannot be specified for the condition field '{field}'"
        )));
    }
    Ok(())
}

/// Values with wildcards, or regular expressions, in the end at least one.
fn patterns(
    field: &str,
    values: Vec<String>,
    regex_values: Vec<String>,
    is_valid: impl Fn(&str) -> bool,
) -> Result<(Vec<String>, Vec<String>), ApiError> {
    if values.is_empty() && regex_values.is_empty() {
        return Err(validation("A condition value must be specified"));
    }
    if !values.is_empty() && !regex_values.is_empty() {
        return Err(validation("You cannot specify both 'Values' and 'RegexValues'"));
    }
    for value in values.iter().chain(&regex_values) {
        length(field, value)?;
    }
    if let Some(value) = values.iter().find(|value| !is_valid(value)) {
        return Err(validation(format!("The '{field}' value '{value}' is not valid")));
    }
    for value in &regex_values {
        regular_expression(value)?;
    }
    Ok((values, regex_values))
}

fn length(field: &str, value: &str) -> Result<(), ApiError> {
    if value.is_empty() {
        return Err(validation("A condition value must be specified"));
    }
    if value.chars().count() > LONGEST {
        return Err(validation(format!(
            "The '{field}' value '{value}' is too long; the limit is '{LONGEST}'"
        )));
    }
    Ok(())
}

/// A regular expression that compiles.
pub(super) fn regular_expression(text: &str) -> Result<(), ApiError> {
    /// No expression of a balancer's compiles into more.
    const LARGEST: usize = 1 << 20;
    match regex::RegexBuilder::new(text).size_limit(LARGEST).build() {
        Ok(_) => Ok(()),
        Err(_) if Regex::new(text).is_ok() => {
            Err(validation(format!("The regular expression '{text}' is too large")))
        }
        Err(_) => Err(validation(format!("The regular expression '{text}' is not valid"))),
    }
}

fn host(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'*' | b'?' | b'_'))
}

fn path(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || br#"_-.$/~"'@:+&*?%=,;!()#[]|"#.contains(&b))
}

fn header_name(sent: Option<String>) -> Result<String, ApiError> {
    let name = sent.unwrap_or_default();
    if name.is_empty() {
        return Err(validation("An HTTP header name must be specified"));
    }
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.len() > LONGEST_NAME || !name.bytes().all(token) {
        return Err(validation(format!("The HTTP header name '{name}' is not valid")));
    }
    if name.eq_ignore_ascii_case("host") {
        return Err(validation("Use the condition field 'host-header' for the header 'Host'"));
    }
    Ok(name)
}

fn is_network(text: &str) -> bool {
    let Some((address, prefix)) = text.split_once('/') else { return false };
    let Ok(prefix) = prefix.parse::<u8>() else { return false };
    match address.parse() {
        Ok(IpAddr::V4(address)) => prefix <= 32 && !(address.is_broadcast() && prefix == 32),
        Ok(IpAddr::V6(_)) => prefix <= 128,
        Err(_) => false,
    }
}

fn query_string(config: Option<&types::QueryStringConditionConfig>) -> Result<Condition, ApiError> {
    let sent = config.and_then(|config| config.values.as_deref()).unwrap_or_default();
    if sent.is_empty() {
        return Err(validation("A condition value must be specified"));
    }
    let mut values = Vec::new();
    for pair in sent {
        let value = pair.value.clone().unwrap_or_default();
        length("query-string", &value)?;
        if let Some(key) = &pair.key {
            length("query-string", key)?;
        }
        values.push((pair.key.clone(), value));
    }
    Ok(Condition::QueryString { values })
}

/// Conditions as ELBv2 shows them: the two oldest fields have their values twice.
pub(super) fn view(conditions: &[Condition]) -> Vec<types::RuleCondition> {
    conditions.iter().map(shown).collect()
}

fn shown(condition: &Condition) -> types::RuleCondition {
    let some = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    let mut shown =
        types::RuleCondition { field: Some(name(condition).to_owned()), ..Default::default() };
    match condition {
        Condition::HostHeader { values, regex_values } => {
            (shown.values, shown.regex_values) = (some(values), some(regex_values));
            let (values, regex_values) = (some(values), some(regex_values));
            let config = types::HostHeaderConditionConfig { values, regex_values };
            shown.host_header_config = Some(config);
        }
        Condition::PathPattern { values, regex_values } => {
            (shown.values, shown.regex_values) = (some(values), some(regex_values));
            let (values, regex_values) = (some(values), some(regex_values));
            let config = types::PathPatternConditionConfig { values, regex_values };
            shown.path_pattern_config = Some(config);
        }
        Condition::HttpHeader { name, values, regex_values } => {
            shown.http_header_config = Some(types::HttpHeaderConditionConfig {
                http_header_name: Some(name.clone()),
                values: some(values),
                regex_values: some(regex_values),
            });
        }
        Condition::HttpRequestMethod { values } => {
            let config = types::HttpRequestMethodConditionConfig { values: some(values) };
            shown.http_request_method_config = Some(config);
        }
        Condition::SourceIp { values } => {
            shown.source_ip_config = Some(types::SourceIpConditionConfig { values: some(values) });
        }
        Condition::QueryString { values } => {
            let pair = |(key, value): &(Option<String>, String)| types::QueryStringKeyValuePair {
                key: key.clone(),
                value: Some(value.clone()),
            };
            let values = Some(values.iter().map(pair).collect());
            shown.query_string_config = Some(types::QueryStringConditionConfig { values });
        }
    }
    shown
}
