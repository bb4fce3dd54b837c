//! What can be wrong with bytes from outside, and where.

use std::fmt;

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The caller's.
    Client,
    /// The service's.
    Server,
}

/// An operation name that the service doesn't have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown operation {0}")]
pub struct UnknownOperation(pub String);

/// Why a message could not be decoded, and at which member.
#[derive(Debug, Clone, PartialEq)]
pub struct DecodeError {
    /// The member's path (`containerDefinitions[0].cpu`); empty for the whole message.
    pub path: String,
    /// What is wrong there.
    pub reason: DecodeReason,
}

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DecodeReason {
    /// The bytes don't follow the format's grammar.
    #[error("malformed message: {0}")]
    Syntax(String),
    /// A value of another kind than the model's, in AWS's words.
    #[error("{}", wrong_type_text(expected, found))]
    WrongType {
        /// The model's kind (`Integer`, `List`).
        expected: &'static str,
        /// The token that was found (`STRING_VALUE`, `START_ARRAY`).
        found: &'static str,
    },
    /// A number outside the range of its type.
    #[error("{0} is out of range")]
    OutOfRange(String),
    /// Text that doesn't have its type's form (a timestamp, base64, a number in Query).
    #[error("'{value}' is not {expected}")]
    BadText {
        /// The text, cut to a reasonable length.
        value: String,
        /// What it should have been.
        expected: &'static str,
    },
    /// Nesting beyond [`crate::MAX_DEPTH`].
    #[error("nested more than {} levels deep", crate::MAX_DEPTH)]
    TooDeep,
}

/// What AWS's JSON services answer (their names for tokens, seen in public error reports).
fn wrong_type_text(expected: &str, found: &str) -> String {
    match (expected, found) {
        (_, "START_OBJECT") => "Start of structure or map found where not expected".to_owned(),
        (_, "START_ARRAY") => format!("Unrecognized collection type {expected}"),
        ("Boolean", "STRING_VALUE") => "Unexpected token received from parser".to_owned(),
        ("Blob", _) => "only base-64-encoded strings are convertible to bytes".to_owned(),
        ("Structure" | "List" | "Map", _) => "Unexpected field type".to_owned(),
        _ => format!("{found} cannot be converted to {expected}"),
    }
}

impl DecodeError {
    /// An error about the whole message so far; [`DecodeError::within`] adds the path outwards.
    pub fn new(reason: DecodeReason) -> Self {
        DecodeError { path: String::new(), reason }
    }

    /// A value of the wrong kind.
    pub fn wrong_type(expected: &'static str, found: &'static str) -> Self {
        DecodeError::new(DecodeReason::WrongType { expected, found })
    }

    /// A number outside its range.
    pub fn out_of_range(value: impl Into<String>) -> Self {
        DecodeError::new(DecodeReason::OutOfRange(value.into()))
    }

    /// Text of the wrong form.
    pub fn bad_text(value: &str, expected: &'static str) -> Self {
        let value = value.chars().take(64).collect();
        DecodeError::new(DecodeReason::BadText { value, expected })
    }

    /// Puts a member or key before the path.
    pub fn within(mut self, name: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{name}{dot}{}", self.path);
        self
    }

    /// Puts a list index before the path.
    pub fn within_index(mut self, index: usize) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("[{index}]{dot}{}", self.path);
        self
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            self.reason.fmt(f)
        } else {
            write!(f, "{}: {}", self.path, self.reason)
        }
    }
}

impl std::error::Error for DecodeError {}
