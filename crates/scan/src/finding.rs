//! Findings: which package has which vulnerability.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::database::Database;
use crate::osv::Record;
use crate::package::Package;

/// How bad a finding is, in ECR's words. The worst comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Severity {
    /// From 9.0 on.
    Critical,
    /// From 7.0 on.
    High,
    /// From 4.0 on.
    Medium,
    /// Above 0.
    Low,
    /// Nothing to be afraid of.
    Informational,
    /// Nobody has said.
    Undefined,
}

impl Severity {
    /// ECR's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "CRITICAL",
            Self::High => "HIGH",
            Self::Medium => "MEDIUM",
            Self::Low => "LOW",
            Self::Informational => "INFORMATIONAL",
            Self::Undefined => "UNDEFINED",
        }
    }

    /// CVSS's own scale.
    pub(crate) fn of_score(score: f64) -> Self {
        match score {
            score if score >= 9.0 => Self::Critical,
            score if score >= 7.0 => Self::High,
            score if score >= 4.0 => Self::Medium,
            score if score > 0.0 => Self::Low,
            _ => Self::Informational,
        }
    }

    /// Words of GitHub, Ubuntu and Debian.
    pub(crate) fn of_word(word: &str) -> Self {
        match word.to_ascii_lowercase().trim_end_matches(['*', ' ']) {
            "critical" => Self::Critical,
            "high" => Self::High,
            "moderate" | "medium" => Self::Medium,
            "low" => Self::Low,
            "negligible" | "unimportant" => Self::Informational,
            _ => Self::Undefined,
        }
    }
}

/// One vulnerability of one package.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The CVE, or the record's own name.
    pub name: String,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where more is said.
    pub uri: String,
    /// How bad it is.
    pub severity: Severity,
    /// More of it, as ECR has it: `package_name`, `package_version`, scores.
    pub attributes: Vec<(String, String)>,
}

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    /// The findings: the worst first, then by name.
    pub findings: Vec<Finding>,
    /// Milliseconds since 1970 of the database's youngest file.
    pub database_ms: i64,
}

impl Findings {
    /// How many there are of each severity.
    pub fn counts(&self) -> BTreeMap<String, u32> {
        let mut counts = BTreeMap::new();
        for finding in &self.findings {
            *counts.entry(finding.severity.as_str().to_owned()).or_default() += 1;
        }
        counts
    }
}

/// Holds packages against the database.
///
/// # Errors
/// If the database can't be read, or `stop` says so.
pub fn scan(
    database: &Database,
    packages: &[Package],
    stop: &dyn Fn() -> bool,
) -> Result<Findings, Error> {
    let mut found: BTreeMap<(String, String, String), Finding> = BTreeMap::new();
    let database_ms = database.for_each(packages, stop, &mut |record| {
        for package in packages {
            let Some(finding) = finding(record, package) else { continue };
            let key = (finding.name.clone(), package.name.clone(), package.version.clone());
            match found.get(&key) {
                // Several records tell of the same: the one that rates it worst is kept.
                Some(known) if known.severity <= finding.severity => {}
                _ => drop(found.insert(key, finding)),
            }
        }
    })?;
    let mut findings: Vec<Finding> = found.into_values().collect();
    findings.sort_by(|a, b| a.severity.cmp(&b.severity).then_with(|| a.name.cmp(&b.name)));
    Ok(Findings { findings, database_ms })
}

fn finding(record: &Record, package: &Package) -> Option<Finding> {
    let affected = record.affects(package)?;
    let rating = record.rating(affected);
    let mut attributes = vec![
        ("package_version".to_owned(), package.version.clone()),
        ("package_name".to_owned(), package.name.clone()),
    ];
    if let Some((version, score, vector)) = rating.cvss {
        attributes.push((format!("CVSS{version}_VECTOR"), vector));
        attributes.push((format!("CVSS{version}_SCORE"), format!("{score:.1}")));
    }
    if let Some(fixed) = affected.fixed_in(package) {
        attributes.push(("fixed_in_version".to_owned(), fixed));
    }
    Some(Finding {
        name: record.name(),
        description: record.description(),
        uri: record.uri(),
        severity: rating.severity,
        attributes,
    })
}

#[cfg(test)]
mod tests;
