//! Parameters of the Parameter Store and secrets of Secrets Manager. Their values are sealed before
//! they enter a record: nothing here, and nothing that prints or exports a record, can read one.

use crate::tag::Tag;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A value that only the server's vault can open, in text: form, key, nonce and ciphertext.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(String);

impl Sealed {
    /// Takes what a vault has sealed.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The ciphertext with what is needed to open it, but the key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed")
    }
}

/// `Type` of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ParameterType {
    /// Text.
    String,
    /// Texts with commas between them.
    StringList,
    /// Text that is given out only to those who ask for its decryption.
    SecureString,
}

impl ParameterType {
    /// The API's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::String => "String",
            Self::StringList => "StringList",
            Self::SecureString => "SecureString",
        }
    }
}

/// A parameter: what all its versions have in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// Its name, with its leading slash if it has one.
    pub name: String,
    /// Tells it from one of the same name that was deleted before.
    pub id: String,
    /// Its newest version.
    pub latest: u64,
    /// Labels, each of one version.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, u64>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
}

/// One version of a parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParameterVersion {
    /// The parameter's name.
    pub name: String,
    /// The parameter's id.
    pub parameter_id: String,
    /// Counted from 1.
    pub version: u64,
    /// Its type.
    pub kind: ParameterType,
    /// `Standard` or `Advanced`.
    pub tier: String,
    /// `text`.
    pub data_type: String,
    /// What the user says about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What the value has to match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_pattern: Option<String>,
    /// The key that a SecureString names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The value.
    pub value: Sealed,
    /// When it was put.
    pub modified_at: Timestamp,
    /// ARN of who put it.
    pub modified_by: String,
}

impl ParameterVersion {
    /// What its value is sealed for: a value that is moved to another record doesn't open.
    pub fn seal_name(&self) -> String {
        format!("parameter/{}/{}/{}", self.parameter_id, self.version, self.name)
    }
}

/// A secret: what all its versions have in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Secret {
    /// Its name.
    pub name: String,
    /// Tells it from one of the same name that was deleted before.
    pub id: String,
    /// The six characters after the name in its ARN.
    pub suffix: String,
    /// What the user says about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The key that it names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key_id: Option<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// The versions by their ids, with their staging labels.
    #[serde(default)]
    pub versions: BTreeMap<String, Vec<String>>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub last_changed_at: Timestamp,
    /// The day on which a value of it was last given out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_accessed_at: Option<Timestamp>,
    /// When it goes for good; none unless it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_at: Option<Timestamp>,
}

impl Secret {
    /// The version that has a staging label.
    pub fn version_with(&self, stage: &str) -> Option<&str> {
        let holds = |(_, stages): &(&String, &Vec<String>)| stages.iter().any(|s| s == stage);
        self.versions.iter().find(holds).map(|(id, _)| id.as_str())
    }

    /// Moves a staging label to a version, or from all. AWSCURRENT leaves AWSPREVIOUS where it was.
    pub fn move_stage(&mut self, stage: &str, to: Option<&str>) {
        let from = self.version_with(stage).map(str::to_owned);
        if from.as_deref() == to {
            return;
        }
        for stages in self.versions.values_mut() {
            stages.retain(|other| other != stage);
        }
        if let Some(stages) = to.and_then(|id| self.versions.get_mut(id)) {
            stages.push(stage.to_owned());
        }
        if stage == CURRENT
            && let Some(from) = from
        {
            self.move_stage(PREVIOUS, Some(&from));
        }
    }

    /// True once it is gone for good.
    pub fn is_gone(&self, now: Timestamp) -> bool {
        self.deletion_at.is_some_and(|at| at <= now)
    }
}

/// The staging label of the version in force.
pub const CURRENT: &str = "AWSCURRENT";
/// The staging label of the version that was in force before.
pub const PREVIOUS: &str = "AWSPREVIOUS";

/// One version of a secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SecretVersion {
    /// The secret's name.
    pub secret_name: String,
    /// The secret's id.
    pub secret_id: String,
    /// The version's id.
    pub id: String,
    /// The value.
    pub value: Sealed,
    /// The value is bytes rather than text.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_binary: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

impl SecretVersion {
    /// What its value is sealed for.
    pub fn seal_name(&self) -> String {
        format!("secret/{}/{}/{}", self.secret_id, self.id, self.secret_name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secret(versions: &[&str]) -> Secret {
        Secret {
            name: "n".to_owned(),
            id: "i".to_owned(),
            suffix: "AbCdEf".to_owned(),
            description: None,
            kms_key_id: None,
            tags: Vec::new(),
            versions: versions.iter().map(|id| ((*id).to_owned(), Vec::new())).collect(),
            created_at: Timestamp(0),
            last_changed_at: Timestamp(0),
            last_accessed_at: None,
            deletion_at: None,
        }
    }

    #[test]
    fn the_version_before_is_the_previous_one() {
        let mut secret = secret(&["1", "2", "3"]);
        secret.move_stage(CURRENT, Some("1"));
        assert_eq!(secret.version_with(PREVIOUS), None);
        secret.move_stage(CURRENT, Some("2"));
        secret.move_stage(CURRENT, Some("3"));
        assert_eq!(secret.version_with(CURRENT), Some("3"));
        assert_eq!(secret.version_with(PREVIOUS), Some("2"));
        // A rollback.
        secret.move_stage(CURRENT, Some("2"));
        assert_eq!(secret.versions["2"], [CURRENT]);
        assert_eq!(secret.versions["3"], [PREVIOUS]);
        assert!(secret.versions["1"].is_empty());
    }

    proptest! {
        #[test]
        fn a_stage_is_on_one_version_at_most(moves in prop::collection::vec((0usize..4, 0usize..4), 0..40)) {
            let ids = ["a", "b", "c"];
            let stages = [CURRENT, PREVIOUS, "AWSPENDING", "own"];
            let mut secret = secret(&ids);
            for (stage, to) in moves {
                let before = secret.version_with(CURRENT).map(str::to_owned);
                secret.move_stage(stages[stage], ids.get(to).copied());
                for stage in stages {
                    let count = secret.versions.values().flatten().filter(|s| *s == stage).count();
                    prop_assert!(count <= 1, "{stage} is on {count} versions");
                }
                if stages[stage] == CURRENT {
                    prop_assert_eq!(secret.version_with(CURRENT), ids.get(to).copied());
                    if before.as_deref() != ids.get(to).copied() && before.is_some() {
                        prop_assert_eq!(secret.version_with(PREVIOUS), before.as_deref());
                    }
                }
            }
        }
    }

    #[test]
    fn a_sealed_value_is_in_no_debug_output() {
        assert_eq!(format!("{:?}", Sealed::new("v1.k.ciphertext")), "Sealed");
    }
}
