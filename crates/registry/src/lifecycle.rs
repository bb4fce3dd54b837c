//! Lifecycle policies of ECR: which images of a repository have expired. Pure: the images and the
//! time come in, the digests to remove come out, each with the rule that says so.
//!
//! As ECR documents it: every rule is looked at by itself, as if no other had removed anything; an
//! image that fits the tags of a rule is out of reach of the rules behind it, whether that rule
//! removes it or not; and an image that an index refers to stays until the index is gone. What refers
//! to an image as its subject (a signature, a bill of materials) goes with it and not before.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::mutability;

/// The most rules of a policy.
pub const MAX_RULES: usize = 50;
const MAX_WILDCARDS: usize = 4;
const DAY_MS: i64 = 24 * 3600 * 1000;

/// A policy that has been checked: rules by priority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    priority: i32,
    tags: TagSelection,
    count: Count,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum TagSelection {
    Any,
    Untagged,
    /// All of these must be met, each by some tag.
    Patterns(Vec<String>),
    Prefixes(Vec<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Count {
    MoreThan(usize),
    DaysSincePushed(i64),
}

/// An image as a policy looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its digest.
    pub digest: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// When it was pushed, in milliseconds since 1970.
    pub pushed_ms: i64,
    /// An index of the repository refers to it.
    pub in_index: bool,
    /// The image of the repository that it is about.
    pub subject: Option<String>,
}

/// An image that has expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expired {
    /// Its digest.
    pub digest: String,
    /// The priority of the rule that says so.
    pub priority: i32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    rules: Vec<RuleText>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RuleText {
    rule_priority: i64,
    #[serde(default, rename = "description")]
    _description: Option<String>,
    selection: SelectionText,
    action: ActionText,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SelectionText {
    tag_status: String,
    tag_prefix_list: Option<Vec<String>>,
    tag_pattern_list: Option<Vec<String>>,
    storage_class: Option<String>,
    count_type: String,
    count_unit: Option<String>,
    count_number: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ActionText {
    #[serde(rename = "type")]
    kind: String,
    target_storage_class: Option<String>,
}

impl Policy {
    /// Reads a policy's text.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text: Text = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if text.rules.is_empty() || text.rules.len() > MAX_RULES {
            return Err(format!("a policy has 1 to {MAX_RULES} rules"));
        }
        let mut rules = text.rules.iter().map(Rule::parse).collect::<Result<Vec<_>, _>>()?;
        rules.sort_by_key(|rule| rule.priority);
        if let Some(pair) = rules.windows(2).find(|pair| pair[0].priority == pair[1].priority) {
            return Err(format!("rulePriority {} is used twice", pair[0].priority));
        }
        let last = rules.len() - 1;
        if rules[..last].iter().any(|rule| rule.tags == TagSelection::Any) {
            return Err("a rule with tagStatus 'any' must be the only one with it and have the \
                        highest rulePriority"
                .to_owned());
        }
        if rules.iter().filter(|rule| rule.tags == TagSelection::Untagged).count() > 1 {
            return Err("only one rule may have tagStatus 'untagged'".to_owned());
        }
        Ok(Self { rules })
    }

    /// The images that have expired at `now_ms`, by digest.
    pub fn evaluate(&self, images: &[Image], now_ms: i64) -> Vec<Expired> {
        let present: BTreeSet<&str> = images.iter().map(|image| image.digest.as_str()).collect();
        let is_companion = |image: &Image| {
            image.subject.as_deref().is_some_and(|subject| present.contains(subject))
        };
        let mut candidates: Vec<&Image> = images.iter().filter(|i| !is_companion(i)).collect();
        // Youngest first.
        candidates
            .sort_by(|a, b| b.pushed_ms.cmp(&a.pushed_ms).then_with(|| a.digest.cmp(&b.digest)));
        let mut claimed: BTreeSet<&str> = BTreeSet::new();
        let mut expired: BTreeMap<&str, i32> = BTreeMap::new();
        for rule in &self.rules {
            let fitting: Vec<&Image> =
                candidates.iter().copied().filter(|image| rule.tags.fits(&image.tags)).collect();
            for (position, image) in fitting.iter().enumerate() {
                let due = match rule.count {
                    Count::MoreThan(count) => position >= count,
                    Count::DaysSincePushed(days) => {
                        now_ms.saturating_sub(image.pushed_ms) > days.saturating_mul(DAY_MS)
                    }
                };
                if due && !image.in_index && !claimed.contains(image.digest.as_str()) {
                    expired.insert(&image.digest, rule.priority);
                }
            }
            claimed.extend(fitting.iter().map(|image| image.digest.as_str()));
        }
        // Companions go with what they are about, and theirs with them.
        let mut more = true;
        while more {
            let with_subject = images.iter().filter_map(|image| {
                let priority = *expired.get(image.subject.as_deref()?)?;
                let fresh = !expired.contains_key(image.digest.as_str()) && !image.in_index;
                fresh.then_some((image.digest.as_str(), priority))
            });
            let found: Vec<_> = with_subject.collect();
            more = !found.is_empty();
            expired.extend(found);
        }
        let of = |(digest, priority): (&str, i32)| Expired { digest: digest.to_owned(), priority };
        expired.into_iter().map(of).collect()
    }
}

impl Rule {
    fn parse(text: &RuleText) -> Result<Self, String> {
        let number = text.rule_priority;
        let wrong = |what: &str| format!("rule {number}: {what}");
        let priority = i32::try_from(number).ok().filter(|p| *p >= 1);
        let priority = priority.ok_or_else(|| wrong("rulePriority must be at least 1"))?;
        match (text.action.kind.as_str(), &text.action.target_storage_class) {
            ("expire", None) => {}
            ("expire", Some(_)) => return Err(wrong("targetStorageClass goes with transition")),
            ("transition", _) => {
                return Err(wrong(
                    "action type 'transition' is not supported by this server, which has no \
                     archive storage class",
                ));
            }
            _ => return Err(wrong("action type must be 'expire'")),
        }
        let selection = &text.selection;
        if selection.storage_class.as_deref().is_some_and(|class| class != "standard") {
            return Err(wrong(
                "storageClass other than 'standard' is not supported by this server",
            ));
        }
        let tags = TagSelection::parse(selection).map_err(|what| wrong(&what))?;
        let count = Count::parse(selection).map_err(|what| wrong(&what))?;
        Ok(Self { priority, tags, count })
    }
}

impl TagSelection {
    fn parse(selection: &SelectionText) -> Result<Self, String> {
        let filled = |list: &Option<Vec<String>>| list.clone().filter(|list| !list.is_empty());
        let prefixes = filled(&selection.tag_prefix_list);
        let patterns = filled(&selection.tag_pattern_list);
        match (selection.tag_status.as_str(), prefixes, patterns) {
            ("any", None, None) => Ok(Self::Any),
            ("untagged", None, None) => Ok(Self::Untagged),
            ("any" | "untagged", ..) => {
                Err("tagPrefixList and tagPatternList go with tagStatus 'tagged'".to_owned())
            }
            ("tagged", Some(prefixes), None) => Ok(Self::Prefixes(prefixes)),
            ("tagged", None, Some(patterns)) => {
                let stars = |text: &String| text.matches('*').count() > MAX_WILDCARDS;
                match patterns.iter().find(|pattern| stars(pattern) || pattern.is_empty()) {
                    Some(pattern) => Err(format!(
                        "tag pattern '{pattern}' must have at most {MAX_WILDCARDS} wildcards and \
                         not be empty"
                    )),
                    None => Ok(Self::Patterns(patterns)),
                }
            }
            ("tagged", ..) => {
                Err("tagStatus 'tagged' needs either tagPrefixList or tagPatternList".to_owned())
            }
            _ => Err("tagStatus must be 'tagged', 'untagged' or 'any'".to_owned()),
        }
    }

    fn fits(&self, tags: &[String]) -> bool {
        match self {
            Self::Any => true,
            Self::Untagged => tags.is_empty(),
            Self::Patterns(patterns) => patterns
                .iter()
                .all(|pattern| tags.iter().any(|tag| mutability::matches(pattern, tag))),
            Self::Prefixes(prefixes) => {
                prefixes.iter().all(|prefix| tags.iter().any(|tag| tag.starts_with(prefix)))
            }
        }
    }
}

impl Count {
    fn parse(selection: &SelectionText) -> Result<Self, String> {
        let number = selection.count_number;
        if number < 1 {
            return Err("countNumber must be at least 1".to_owned());
        }
        match (selection.count_type.as_str(), selection.count_unit.as_deref()) {
            ("imageCountMoreThan", None) => {
                Ok(Self::MoreThan(usize::try_from(number).unwrap_or(usize::MAX)))
            }
            ("imageCountMoreThan", Some(_)) => {
                Err("countUnit doesn't go with imageCountMoreThan".to_owned())
            }
            ("sinceImagePushed", Some("days")) => Ok(Self::DaysSincePushed(number)),
            ("sinceImagePushed", _) => Err("sinceImagePushed needs countUnit 'days'".to_owned()),
            (kind @ ("sinceImagePulled" | "sinceImageTransitioned"), _) => {
                Err(format!("countType '{kind}' is not supported by this server"))
            }
            _ => Err("countType must be 'imageCountMoreThan' or 'sinceImagePushed'".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests;
