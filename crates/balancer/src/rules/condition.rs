//! Conditions of rules, compiled.

use super::Request;
use super::pattern::Pattern;
use http::HeaderName;
use ipnet::IpNet;
use regex::Regex;
use std::net::IpAddr;
use wharf_model::load_balancing::Condition;

/// Patterns and regular expressions of which any may fit.
#[derive(Debug, Clone, Default)]
pub(super) struct Texts {
    patterns: Vec<Pattern>,
    expressions: Vec<Regex>,
}

impl Texts {
    fn new(values: &[String], expressions: &[String], pattern: fn(&str) -> Pattern) -> Self {
        Self {
            patterns: values.iter().map(|value| pattern(value)).collect(),
            // One that doesn't compile was refused by the API; it fits nothing.
            expressions: expressions.iter().filter_map(|text| regex(text)).collect(),
        }
    }

    fn fit(&self, text: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(text.as_bytes()))
            || self.expressions.iter().any(|expression| expression.is_match(text))
    }
}

/// Bytes that a compiled expression may take.
const REGEX_BYTES: usize = 1 << 20;

/// Compiles a regular expression within bounds.
pub(super) fn regex(text: &str) -> Option<Regex> {
    regex::RegexBuilder::new(text).size_limit(REGEX_BYTES).build().ok()
}

/// A compiled condition.
#[derive(Debug, Clone)]
pub(super) enum Compiled {
    Host(Box<Texts>),
    Path(Box<Texts>),
    Header(HeaderName, Box<Texts>),
    Method(Vec<String>),
    Query(Vec<(Option<Pattern>, Pattern)>),
    Source(Vec<IpNet>),
    /// What it names can't exist.
    Never,
}

impl Compiled {
    pub(super) fn new(condition: &Condition) -> Self {
        match condition {
            Condition::HostHeader { values, regex_values } => {
                Self::Host(Box::new(Texts::new(values, regex_values, Pattern::any_case)))
            }
            Condition::PathPattern { values, regex_values } => {
                Self::Path(Box::new(Texts::new(values, regex_values, Pattern::exact_case)))
            }
            Condition::HttpHeader { name, values, regex_values } => match name.parse() {
                Ok(name) => Self::Header(
                    name,
                    Box::new(Texts::new(values, regex_values, Pattern::any_case)),
                ),
                Err(_) => Self::Never,
            },
            Condition::HttpRequestMethod { values } => Self::Method(values.clone()),
            Condition::QueryString { values } => Self::Query(
                values
                    .iter()
                    .map(|(key, value)| {
                        (key.as_deref().map(Pattern::any_case), Pattern::any_case(value))
                    })
                    .collect(),
            ),
            Condition::SourceIp { values } => {
                Self::Source(values.iter().filter_map(|text| network(text)).collect())
            }
        }
    }

    pub(super) fn matches(&self, request: &Request<'_>) -> bool {
        match self {
            Self::Host(texts) => texts.fit(request.host),
            Self::Path(texts) => texts.fit(request.path),
            Self::Header(name, texts) => request
                .headers
                .get_all(name)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .any(|value| texts.fit(value)),
            Self::Method(methods) => methods.iter().any(|method| method == request.method),
            Self::Query(pairs) => query_matches(pairs, request.query),
            Self::Source(networks) => networks.iter().any(|net| net.contains(&request.source)),
            Self::Never => false,
        }
    }

    pub(super) fn claims_host(&self, host: &str) -> bool {
        matches!(self, Self::Host(texts) if texts.fit(host))
    }
}

/// Reads a network, or an address as the network of itself alone.
pub(super) fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn query_matches(pairs: &[(Option<Pattern>, Pattern)], query: &str) -> bool {
    query.split('&').filter(|part| !part.is_empty()).any(|part| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        pairs.iter().any(|(wanted, pattern)| {
            pattern.matches(value.as_bytes())
                && wanted.as_ref().is_none_or(|wanted| wanted.matches(key.as_bytes()))
        })
    })
}
