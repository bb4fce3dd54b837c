//! Members that an operation doesn't carry out are refused by name, so that nothing is accepted
//! and then ignored. A value that asks for nothing (`[]`, `{}`, `false`) is no reason to refuse.
//!
//! This works on documents rather than on typed structures: a member which a later model adds is
//! refused until someone names it as carried out.

use crate::error::ApiError;
use wharf_wire::{Document, Shape};

/// True if the value changes nothing: empty, or off.
pub fn asks_for_nothing(value: &Document) -> bool {
    match value {
        Document::List(elements) => elements.is_empty(),
        Document::Structure(members) => members.iter().all(|(_, value)| asks_for_nothing(value)),
        Document::Map(entries) => entries.is_empty(),
        Document::Bool(flag) => !flag,
        _ => false,
    }
}

/// The present members of a shape that ask for something and aren't `carried_out`, by name.
pub fn not_carried_out<T: Shape>(shape: T, carried_out: &[&str]) -> Vec<&'static str> {
    let Document::Structure(members) = shape.into_document() else { return Vec::new() };
    let refused = members
        .into_iter()
        .filter(|(name, value)| !carried_out.contains(name) && !asks_for_nothing(value));
    refused.map(|(name, _)| name).collect()
}

/// An error that names what is refused, if anything is.
///
/// # Errors
/// UnsupportedFeatureException.
pub fn refuse(members: &[impl AsRef<str>]) -> Result<(), ApiError> {
    if members.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = members.iter().map(AsRef::as_ref).collect();
    Err(ApiError::unsupported_feature(format!(
        "Not supported by this server: {}.",
        names.join(", ")
    )))
}
