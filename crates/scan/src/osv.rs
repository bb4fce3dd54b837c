//! Records of the OSV format (osv.dev), as far as a scan reads them.

use std::cmp::Ordering;

use serde::Deserialize;
use serde_json::Value;

use crate::finding::Severity;
use crate::package::Package;

/// A record.
#[derive(Debug, Deserialize)]
pub(crate) struct Record {
    pub id: String,
    #[serde(default)]
    aliases: Option<Vec<String>>,
    #[serde(default)]
    upstream: Option<Vec<String>>,
    #[serde(default)]
    withdrawn: Option<String>,
    #[serde(default)]
    summary: Option<String>,
    #[serde(default)]
    details: Option<String>,
    #[serde(default)]
    severity: Option<Vec<Score>>,
    #[serde(default)]
    pub affected: Option<Vec<Affected>>,
    #[serde(default)]
    references: Option<Vec<Reference>>,
    #[serde(default)]
    database_specific: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Score {
    #[serde(rename = "type")]
    kind: String,
    score: String,
}

#[derive(Debug, Deserialize)]
struct Reference {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    url: String,
}

/// What a record says of one package.
#[derive(Debug, Deserialize)]
pub(crate) struct Affected {
    #[serde(default)]
    pub package: Option<Name>,
    #[serde(default)]
    severity: Option<Vec<Score>>,
    #[serde(default)]
    ranges: Option<Vec<Range>>,
    #[serde(default)]
    versions: Option<Vec<String>>,
    #[serde(default)]
    ecosystem_specific: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Name {
    pub ecosystem: String,
    pub name: String,
}

#[derive(Debug, Deserialize)]
struct Range {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    events: Vec<Event>,
}

#[derive(Debug, Deserialize)]
struct Event {
    introduced: Option<String>,
    fixed: Option<String>,
    last_affected: Option<String>,
}

/// What a record's scores say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rating {
    pub severity: Severity,
    /// Version, score and vector of CVSS.
    pub cvss: Option<(u8, f64, String)>,
}

impl Record {
    /// What the record says of the package at its version, if it affects it.
    pub(crate) fn affects(&self, package: &Package) -> Option<&Affected> {
        if self.withdrawn.is_some() {
            return None;
        }
        let mut entries = self.affected.iter().flatten();
        entries.find(|affected| {
            let named = affected.package.as_ref().is_some_and(|named| {
                named.name == package.name && package.ecosystem.is(&named.ecosystem)
            });
            named && affected.contains(package)
        })
    }

    /// The CVE that this is about, where it is about one; else the record's own name.
    pub(crate) fn name(&self) -> String {
        let is_cve = |id: &&String| id.starts_with("CVE-");
        if is_cve(&&self.id) {
            return self.id.clone();
        }
        let others = self.aliases.iter().flatten().chain(self.upstream.iter().flatten());
        let mut cves: Vec<&String> = others.filter(is_cve).collect();
        cves.sort_unstable();
        cves.dedup();
        match cves.as_slice() {
            [one] => (*one).clone(),
            _ => self.id.clone(),
        }
    }

    pub(crate) fn description(&self) -> Option<String> {
        let filled = |text: &&String| !text.trim().is_empty();
        let text = self.details.as_ref().filter(filled).or(self.summary.as_ref().filter(filled))?;
        Some(text.chars().take(4096).collect())
    }

    pub(crate) fn uri(&self) -> String {
        let advisory = self.references.iter().flatten().find(|r| r.kind == "ADVISORY");
        let web = advisory.map(|r| r.url.clone()).filter(|url| url.starts_with("https://"));
        web.unwrap_or_else(|| format!("https://osv.dev/vulnerability/{}", self.id))
    }

    /// How bad it is: by CVSS, else in the words of whoever wrote the record.
    pub(crate) fn rating(&self, affected: &Affected) -> Rating {
        let scores = affected.severity.iter().flatten().chain(self.severity.iter().flatten());
        let rated: Vec<(u8, f64, String)> = scores.clone().filter_map(cvss).collect();
        // Version 3 is what people compare by.
        let best = rated.iter().find(|(version, ..)| *version == 3).or(rated.first()).cloned();
        if let Some((_, score, _)) = best {
            return Rating { severity: Severity::of_score(score), cvss: best };
        }
        let text = |value: &Option<Value>, key: &str| {
            value.as_ref().and_then(|value| value[key].as_str()).map(str::to_owned)
        };
        let said = scores
            .filter(|score| score.kind == "Ubuntu")
            .map(|score| score.score.clone())
            .next()
            .or_else(|| text(&affected.ecosystem_specific, "severity"))
            .or_else(|| text(&affected.ecosystem_specific, "urgency"))
            .or_else(|| text(&self.database_specific, "severity"));
        let severity = said.map_or(Severity::Undefined, |said| Severity::of_word(&said));
        Rating { severity, cvss: None }
    }
}

fn cvss(score: &Score) -> Option<(u8, f64, String)> {
    let version = match score.kind.as_str() {
        "CVSS_V3" => 3,
        "CVSS_V4" => 4,
        _ => return None,
    };
    let parsed: cvss::Cvss = score.score.parse().ok()?;
    Some((version, parsed.score(), score.score.clone()))
}

impl Affected {
    fn contains(&self, package: &Package) -> bool {
        if self.versions.iter().flatten().any(|version| *version == package.version) {
            return true;
        }
        let mut ranges = self.ranges.iter().flatten();
        ranges.any(|range| {
            matches!(range.kind.as_str(), "ECOSYSTEM" | "SEMVER") && range.contains(package)
        })
    }

    /// The version that fixes it, as the record says.
    pub(crate) fn fixed_in(&self, package: &Package) -> Option<String> {
        let events = self.ranges.iter().flatten().flat_map(|range| &range.events);
        let fixes = events.filter_map(|event| event.fixed.as_ref());
        let later = fixes.filter(|fix| {
            package.ecosystem.compare(fix, &package.version) == Some(Ordering::Greater)
        });
        later.min_by(|a, b| package.ecosystem.compare(a, b).unwrap_or(Ordering::Equal)).cloned()
    }
}

impl Range {
    /// OSV's evaluation: the last event at or before the version decides.
    fn contains(&self, package: &Package) -> bool {
        let compare = |a: &str, b: &str| match (a, b) {
            ("0", "0") => Some(Ordering::Equal),
            // `0` is before every version, whatever the ecosystem would make of it.
            ("0", _) => Some(Ordering::Less),
            (_, "0") => Some(Ordering::Greater),
            _ => package.ecosystem.compare(a, b),
        };
        let mut last: Option<(&str, bool)> = None;
        for event in &self.events {
            let (at, is_in, reached) = match (&event.introduced, &event.fixed, &event.last_affected)
            {
                (Some(at), ..) => (at, true, compare(at, &package.version)),
                (_, Some(at), _) => (at, false, compare(at, &package.version)),
                // What it was last affected in is still affected.
                (_, _, Some(at)) => {
                    let order = compare(at, &package.version);
                    (
                        at,
                        false,
                        order.map(|order| if order.is_eq() { Ordering::Greater } else { order }),
                    )
                }
                _ => continue,
            };
            if reached.is_none_or(Ordering::is_gt) {
                continue;
            }
            let later = last.is_none_or(|(best, _)| compare(at, best).is_some_and(Ordering::is_ge));
            if later {
                last = Some((at, is_in));
            }
        }
        last.is_some_and(|(_, is_in)| is_in)
    }
}
