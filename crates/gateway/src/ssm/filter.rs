//! ParameterFilters of DescribeParameters and GetParametersByPath.

use super::client;
use crate::error::ApiError;
use wharf_model::{Parameter, ParameterVersion};
use wharf_wire::ssm::types::ParameterStringFilter;

/// A filter that was found right.
pub(super) struct Filter {
    key: Key,
    option: Option,
    values: Vec<String>,
}

enum Key {
    Name,
    Path,
    Kind,
    Encryption,
    Tier,
    DataType,
    Label,
    Tag(String),
}

#[derive(PartialEq)]
enum Option {
    Equals,
    BeginsWith,
    Contains,
    Recursive,
    OneLevel,
}

/// Which operation filters: each has keys of its own.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Of {
    Describe,
    ByPath,
}

/// Reads the filters of a request.
pub(super) fn parse(
    filters: std::option::Option<&Vec<ParameterStringFilter>>,
    of: Of,
) -> Result<Vec<Filter>, ApiError> {
    filters.into_iter().flatten().map(|filter| one(filter, of)).collect()
}

fn one(filter: &ParameterStringFilter, of: Of) -> Result<Filter, ApiError> {
    let word = filter.key.as_deref().unwrap_or_default();
    let key = match (word, of) {
        ("Name", Of::Describe) => Key::Name,
        ("Path", Of::Describe) => Key::Path,
        ("Type", _) => Key::Kind,
        ("KeyId", _) => Key::Encryption,
        ("Tier", Of::Describe) => Key::Tier,
        ("DataType", Of::Describe) => Key::DataType,
        ("Label", Of::ByPath) => Key::Label,
        (tag, Of::Describe) if tag.starts_with("tag:") => Key::Tag(tag[4..].to_owned()),
        _ => {
            let message = format!("The following filter key is not valid: {word}.");
            return Err(client("InvalidFilterKey", message));
        }
    };
    let default = if matches!(key, Key::Path) { "OneLevel" } else { "Equals" };
    let given = filter.option.as_deref().unwrap_or(default);
    let option = match (given, &key) {
        ("Recursive", Key::Path) => Option::Recursive,
        ("OneLevel", Key::Path) => Option::OneLevel,
        ("Equals", Key::Path) => return Err(no_option(given, word)),
        ("Equals", _) => Option::Equals,
        ("BeginsWith", Key::Name | Key::Kind | Key::Encryption | Key::DataType) => {
            Option::BeginsWith
        }
        ("Contains", Key::Name) => Option::Contains,
        _ => return Err(no_option(given, word)),
    };
    let values = filter.values.clone().unwrap_or_default();
    let optional = matches!(key, Key::Tag(_));
    if values.is_empty() && !optional {
        return Err(client(
            "InvalidFilterValue",
            format!("The following filter values are missing : null for filter key {word}."),
        ));
    }
    if matches!(key, Key::Path) && values.iter().any(|path| !path.starts_with('/')) {
        return Err(client(
            "InvalidFilterValue",
            "The parameter path is not valid: it begins with a slash.",
        ));
    }
    Ok(Filter { key, option, values })
}

fn no_option(option: &str, key: &str) -> ApiError {
    client(
        "InvalidFilterOption",
        format!("The following filter option is not valid for the key {key}: {option}."),
    )
}

/// Whether `name` is below `path`, anywhere or on the next level.
pub(super) fn is_below(name: &str, path: &str, recursive: bool) -> bool {
    let path = path.trim_end_matches('/');
    let Some(rest) = name.strip_prefix(path).and_then(|rest| rest.strip_prefix('/')) else {
        // Names without a slash stand on the first level.
        return path.is_empty() && !name.contains('/');
    };
    recursive || !rest.contains('/')
}

/// Whether a parameter fits all filters.
pub(super) fn fits(filters: &[Filter], parameter: &Parameter, version: &ParameterVersion) -> bool {
    filters.iter().all(|filter| filter.fits(parameter, version))
}

impl Filter {
    fn fits(&self, parameter: &Parameter, version: &ParameterVersion) -> bool {
        let text = |text: &str| {
            self.values.iter().any(|value| match self.option {
                Option::BeginsWith => text.starts_with(value),
                Option::Contains => text.contains(value),
                _ => text == value,
            })
        };
        match &self.key {
            Key::Name => text(&parameter.name) || text(parameter.name.trim_start_matches('/')),
            Key::Path => {
                let recursive = self.option == Option::Recursive;
                self.values.iter().any(|path| is_below(&parameter.name, path, recursive))
            }
            Key::Kind => text(version.kind.as_str()),
            Key::Encryption => version.key_id.as_deref().is_some_and(text),
            Key::Tier => text(&version.tier),
            Key::DataType => text(&version.data_type),
            Key::Label => self.values.iter().any(|label| parameter.labels.contains_key(label)),
            Key::Tag(key) => parameter
                .tags
                .iter()
                .any(|tag| tag.key == *key && (self.values.is_empty() || text(&tag.value))),
        }
    }

    /// The label that is asked for: its version is given out instead of the newest.
    pub(super) fn label(&self) -> std::option::Option<&str> {
        match self.key {
            Key::Label => self.values.first().map(String::as_str),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_levels() {
        assert!(is_below("/a/b", "/a", false) && is_below("/a/b", "/a/", false));
        assert!(!is_below("/a/b/c", "/a", false) && is_below("/a/b/c", "/a", true));
        assert!(!is_below("/ab/c", "/a", true) && !is_below("/a", "/a", true));
        assert!(is_below("/a", "/", false) && is_below("a", "/", false));
        assert!(!is_below("/a/b", "/", false) && is_below("/a/b", "/", true));
    }
}
