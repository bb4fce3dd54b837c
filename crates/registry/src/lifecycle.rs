//! Lifecycle policies of ECR: which images of a repository are due, to be removed or archived. Pure:
//! the images and the time come in, the digests come out, each with the rule that says so.
//!
//! As ECR documents it: every rule is looked at by itself, as if no other had removed anything; an
//! image that fits the tags of a rule is out of reach of the rules behind it, whether that rule
//! removes it or not; and an image that an index refers to stays until the index is gone (to be
//! archived, until the index is archived). What refers to an image as its subject (a signature, a bill
//! of materials) goes with it and not before. A rule selects images of one storage class; an image that
//! was restored is as old as its restoration.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::mutability;

/// The most rules of a policy.
pub const MAX_RULES: usize = 50;
const MAX_WILDCARDS: usize = 4;
/// How long an image is archived at least, before a policy may remove it.
const MIN_ARCHIVE_DAYS: i64 = 90;
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
    archive: bool,
    tags: TagSelection,
    count: Count,
    action: Action,
}

/// What is to be done with an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is removed.
    Expire,
    /// It moves to the archive storage class.
    Archive,
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
    DaysSincePulled(i64),
    DaysSinceArchived(i64),
}

/// An image as a policy looks at it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Image {
    /// Its digest.
    pub digest: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// When it was pushed, in milliseconds since 1970.
    pub pushed_ms: i64,
    /// When it was last pulled.
    pub pulled_ms: Option<i64>,
    /// When it was last archived, if it is archived.
    pub archived_ms: Option<i64>,
    /// When it was last restored from the archive.
    pub activated_ms: Option<i64>,
    /// An index of the repository refers to it.
    pub in_index: bool,
    /// An index that isn't archived does.
    pub in_active_index: bool,
    /// The image of the repository that it is about.
    pub subject: Option<String>,
}

impl Image {
    /// Since when it is there, as policies count: an image that was restored is new.
    fn since_ms(&self) -> i64 {
        self.activated_ms.unwrap_or(self.pushed_ms)
    }

    /// What its age is counted from, within its storage class.
    fn age_ms(&self) -> i64 {
        self.archived_ms.unwrap_or_else(|| self.since_ms())
    }

    /// Its last pull, if it came after the image; else since when it is there.
    fn used_ms(&self) -> i64 {
        self.pulled_ms.map_or(self.since_ms(), |pulled| pulled.max(self.since_ms()))
    }
}

/// An image that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Its digest.
    pub digest: String,
    /// The priority of the rule that says so.
    pub priority: i32,
    /// What is to be done.
    pub action: Action,
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
        for archive in [false, true] {
            let class: Vec<&Rule> = rules.iter().filter(|rule| rule.archive == archive).collect();
            let any = class.iter().position(|rule| rule.tags == TagSelection::Any);
            if any.is_some_and(|any| any + 1 < class.len()) {
                return Err(
                    "a rule with tagStatus 'any' must be the only one with it and have the \
                            highest rulePriority"
                        .to_owned(),
                );
            }
            if class.iter().filter(|rule| rule.tags == TagSelection::Untagged).count() > 1 {
                return Err("only one rule may have tagStatus 'untagged'".to_owned());
            }
        }
        Ok(Self { rules })
    }

    /// The images that are due at `now_ms`, by digest.
    pub fn evaluate(&self, images: &[Image], now_ms: i64) -> Vec<Due> {
        let present: BTreeSet<&str> = images.iter().map(|image| image.digest.as_str()).collect();
        let is_companion = |image: &Image| {
            image.subject.as_deref().is_some_and(|subject| present.contains(subject))
        };
        let mut candidates: Vec<&Image> = images.iter().filter(|i| !is_companion(i)).collect();
        // Youngest first.
        candidates
            .sort_by(|a, b| b.age_ms().cmp(&a.age_ms()).then_with(|| a.digest.cmp(&b.digest)));
        let mut claimed: BTreeSet<&str> = BTreeSet::new();
        let mut due: BTreeMap<&str, (i32, Action)> = BTreeMap::new();
        for rule in &self.rules {
            let fits = |image: &&Image| {
                image.archived_ms.is_some() == rule.archive && rule.tags.fits(&image.tags)
            };
            let fitting: Vec<&Image> = candidates.iter().copied().filter(fits).collect();
            for (position, image) in fitting.iter().enumerate() {
                let reached = rule.count.reached(position, image, now_ms);
                if reached
                    && !rule.action.is_held(image)
                    && !claimed.contains(image.digest.as_str())
                {
                    due.insert(&image.digest, (rule.priority, rule.action));
                }
            }
            claimed.extend(fitting.iter().map(|image| image.digest.as_str()));
        }
        // Companions go with what they are about, and theirs with them.
        let mut more = true;
        while more {
            let with_subject = images.iter().filter_map(|image| {
                let (priority, action) = *due.get(image.subject.as_deref()?)?;
                let fresh = !due.contains_key(image.digest.as_str()) && !action.is_held(image);
                let moves = action == Action::Expire || image.archived_ms.is_none();
                (fresh && moves).then_some((image.digest.as_str(), (priority, action)))
            });
            let found: Vec<_> = with_subject.collect();
            more = !found.is_empty();
            due.extend(found);
        }
        let of = |(digest, (priority, action)): (&str, (i32, Action))| Due {
            digest: digest.to_owned(),
            priority,
            action,
        };
        due.into_iter().map(of).collect()
    }
}

impl Action {
    /// True if an index keeps the image where it is.
    fn is_held(self, image: &Image) -> bool {
        match self {
            Self::Expire => image.in_index,
            Self::Archive => image.in_active_index,
        }
    }
}

impl Rule {
    fn parse(text: &RuleText) -> Result<Self, String> {
        let number = text.rule_priority;
        let wrong = |what: &str| format!("rule {number}: {what}");
        let priority = i32::try_from(number).ok().filter(|p| *p >= 1);
        let priority = priority.ok_or_else(|| wrong("rulePriority must be at least 1"))?;
        let target = text.action.target_storage_class.as_deref();
        let action = match (text.action.kind.as_str(), target) {
            ("expire", None) => Action::Expire,
            ("expire", Some(_)) => return Err(wrong("targetStorageClass goes with transition")),
            ("transition", Some("archive")) => Action::Archive,
            ("transition", _) => {
                return Err(wrong("action type 'transition' needs targetStorageClass 'archive'"));
            }
            _ => return Err(wrong("action type must be 'expire' or 'transition'")),
        };
        let selection = &text.selection;
        let archive = match selection.storage_class.as_deref() {
            None | Some("standard") => false,
            Some("archive") => true,
            Some(_) => return Err(wrong("storageClass must be 'standard' or 'archive'")),
        };
        let tags = TagSelection::parse(selection).map_err(|what| wrong(&what))?;
        let count = Count::parse(selection).map_err(|what| wrong(&what))?;
        if archive != matches!(count, Count::DaysSinceArchived(_)) {
            return Err(wrong(
                "storageClass 'archive' goes with countType 'sinceImageTransitioned', and no other",
            ));
        }
        if archive && action == Action::Archive {
            return Err(wrong("images of the storageClass 'archive' can only expire"));
        }
        Ok(Self { priority, archive, tags, count, action })
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
            ("sinceImagePulled", Some("days")) => Ok(Self::DaysSincePulled(number)),
            ("sinceImageTransitioned", Some("days")) if number < MIN_ARCHIVE_DAYS => Err(format!(
                "countNumber of sinceImageTransitioned must be at least {MIN_ARCHIVE_DAYS}"
            )),
            ("sinceImageTransitioned", Some("days")) => Ok(Self::DaysSinceArchived(number)),
            (kind @ ("sinceImagePushed" | "sinceImagePulled" | "sinceImageTransitioned"), _) => {
                Err(format!("{kind} needs countUnit 'days'"))
            }
            _ => Err("countType must be 'imageCountMoreThan', 'sinceImagePushed', \
                      'sinceImagePulled' or 'sinceImageTransitioned'"
                .to_owned()),
        }
    }

    /// True for the image at this position of those that the rule selects, youngest first.
    fn reached(self, position: usize, image: &Image, now_ms: i64) -> bool {
        let older =
            |than: i64, days: i64| now_ms.saturating_sub(than) > days.saturating_mul(DAY_MS);
        match self {
            Self::MoreThan(count) => position >= count,
            Self::DaysSincePushed(days) | Self::DaysSinceArchived(days) => {
                older(image.age_ms(), days)
            }
            Self::DaysSincePulled(days) => older(image.used_ms(), days),
        }
    }
}

#[cfg(test)]
mod tests;
