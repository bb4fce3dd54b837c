//! The options `labels`, `env` and their regular expressions: what goes with each line.

use std::collections::BTreeMap;

use regex::Regex;

use super::Options;

/// Which labels and variables of a container go with its lines.
#[derive(Debug, Clone)]
pub struct Attributes {
    labels: Vec<String>,
    labels_regex: Option<Regex>,
    env: Vec<String>,
    env_regex: Option<Regex>,
}

impl Attributes {
    /// Reads the options.
    ///
    /// # Errors
    /// If a regular expression isn't one.
    pub fn parse(options: &Options) -> Result<Self, String> {
        let list = |name: &str| -> Vec<String> {
            let text = options.get(name).map(String::as_str).unwrap_or_default();
            text.split(',').filter(|item| !item.is_empty()).map(str::to_owned).collect()
        };
        let regex = |name: &str| {
            let text = options.get(name).filter(|text| !text.is_empty());
            let compiled = text.map(|text| {
                Regex::new(text).map_err(|_| {
                    format!("error parsing option {name}: invalid regular expression '{text}'")
                })
            });
            compiled.transpose()
        };
        Ok(Self {
            labels: list("labels"),
            labels_regex: regex("labels-regex")?,
            env: list("env"),
            env_regex: regex("env-regex")?,
        })
    }

    /// Those of a container with these labels and this environment (`NAME=value`).
    pub fn of(
        &self,
        labels: &BTreeMap<String, String>,
        environment: &[String],
    ) -> BTreeMap<String, String> {
        let wanted = |list: &[String], regex: &Option<Regex>, name: &str| {
            list.iter().any(|item| item == name)
                || regex.as_ref().is_some_and(|regex| regex.is_match(name))
        };
        let labels = labels
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .filter(|(name, _)| wanted(&self.labels, &self.labels_regex, name));
        let variables = environment
            .iter()
            .filter_map(|entry| entry.split_once('='))
            .filter(|(name, _)| wanted(&self.env, &self.env_regex, name));
        labels.chain(variables).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::options_of;
    use super::*;

    #[test]
    fn names_and_expressions_choose() {
        let labels = options_of(&[("team", "a"), ("tier.web", "b"), ("other", "c")]);
        let environment = ["STAGE=test=1", "APP_X=x", "HOME=/"].map(String::from);
        let chosen = |options: &[(&str, &str)]| {
            let attributes = Attributes::parse(&options_of(options)).unwrap();
            let found = attributes.of(&labels, &environment);
            found.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
        };
        assert!(chosen(&[]).is_empty());
        assert_eq!(
            chosen(&[("labels", "team,none"), ("env", "STAGE")]),
            ["STAGE=test=1", "team=a"]
        );
        let both = [("labels-regex", "^tier"), ("env-regex", "^APP_")];
        assert_eq!(chosen(&both), ["APP_X=x", "tier.web=b"]);
        assert!(Attributes::parse(&options_of(&[("labels-regex", "(")])).is_err());
    }
}
