//! A protocol-neutral value: what every codec reads into and writes from.
//!
//! It never knows a service. Structures carry member names taken from a [`Schema`](crate::Schema),
//! so that decoding a request allocates no names; maps and free-form documents own their keys.

use std::collections::BTreeMap;

use crate::timestamp::Timestamp;

/// One value of any shape.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Document {
    /// An explicit null: an absent element of a sparse list, or a null inside a free-form document.
    #[default]
    Null,
    /// A boolean.
    Bool(bool),
    /// A byte, short, integer or long.
    Integer(i64),
    /// A float or double.
    Float(f64),
    /// A string or an enum's value.
    String(String),
    /// Bytes.
    Blob(Vec<u8>),
    /// A point in time.
    Timestamp(Timestamp),
    /// A list.
    List(Vec<Document>),
    /// A structure: members in the schema's order; absent members are left out.
    Structure(Vec<(&'static str, Document)>),
    /// A map with string keys, or an object inside a free-form document.
    Map(BTreeMap<String, Document>),
}

impl Document {
    /// The value's kind in the words of [`crate::DecodeError`].
    pub fn kind_name(&self) -> &'static str {
        match self {
            Document::Null => "null",
            Document::Bool(_) => "boolean",
            Document::Integer(_) => "integer",
            Document::Float(_) => "float",
            Document::String(_) => "string",
            Document::Blob(_) => "blob",
            Document::Timestamp(_) => "timestamp",
            Document::List(_) => "list",
            Document::Structure(_) => "structure",
            Document::Map(_) => "map",
        }
    }

    /// The member of a structure, or the entry of a map, with this name.
    pub fn get(&self, name: &str) -> Option<&Document> {
        match self {
            Document::Structure(members) => {
                members.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
            }
            Document::Map(entries) => entries.get(name),
            _ => None,
        }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Document::String(text) => Some(text),
            _ => None,
        }
    }
}
