//! A form body (`application/x-www-form-urlencoded`) as a tree of dotted names, and that tree to a
//! document. Query and EC2 Query differ only in names, so both read through here.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::MAX_DEPTH;
use crate::document::Document;
use crate::error::{DecodeError, DecodeReason};
use crate::schema::{Kind, List, Map, Member, Schema, TimestampFormat};
use crate::timestamp::Timestamp;

/// The most parameters that a request may have.
pub const MAX_PARAMETERS: usize = 10_000;

/// A parsed form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Form {
    root: Node,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Node {
    value: Option<String>,
    children: BTreeMap<String, Node>,
}

/// What differs between the protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Query,
    Ec2,
}

impl Form {
    /// Reads a form body, or the query part of a URL. Of a name that comes twice the last one
    /// counts.
    ///
    /// # Errors
    /// Bytes that decode to no UTF-8, more than [`MAX_PARAMETERS`], names nested beyond
    /// [`MAX_DEPTH`].
    pub fn parse(body: &[u8]) -> Result<Self, DecodeError> {
        let syntax = |text: String| DecodeError::new(DecodeReason::Syntax(text));
        let mut form = Form::default();
        let pairs = body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
        for (count, pair) in pairs.enumerate() {
            if count >= MAX_PARAMETERS {
                return Err(syntax(format!("more than {MAX_PARAMETERS} parameters")));
            }
            let (name, value) = match pair.iter().position(|byte| *byte == b'=') {
                Some(at) => (&pair[..at], &pair[at + 1..]),
                None => (pair, &pair[..0]),
            };
            let not_text = |_| syntax("parameters are not UTF-8".to_owned());
            let name = String::from_utf8(unescape(name)).map_err(not_text)?;
            let value = String::from_utf8(unescape(value)).map_err(not_text)?;
            if name.split('.').count() > MAX_DEPTH {
                return Err(DecodeError::new(DecodeReason::TooDeep));
            }
            let mut node = &mut form.root;
            for step in name.split('.') {
                node = node.children.entry(step.to_owned()).or_default();
            }
            node.value = Some(value);
        }
        Ok(form)
    }

    /// The value of a top-level parameter (`Action`, `Version`).
    pub fn get(&self, name: &str) -> Option<&str> {
        self.root.children.get(name)?.value.as_deref()
    }

    pub(crate) fn decode(
        &self,
        schema: &'static Schema,
        dialect: Dialect,
    ) -> Result<Document, DecodeError> {
        dialect.structure(&self.root, schema.members())
    }
}

/// `+` and `%XX` to bytes; a `%` that no two hex digits follow stays as it is.
fn unescape(text: &[u8]) -> Vec<u8> {
    let hex = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += 1;
        match (byte, hex(text.get(at)), hex(text.get(at + 1))) {
            (b'+', ..) => out.push(b' '),
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            _ => out.push(*byte),
        }
    }
    out
}

impl Dialect {
    /// A member's name in a request.
    fn name_of(self, member: &Member) -> String {
        match (self, member.query_name) {
            (Dialect::Ec2, Some(name)) => name.to_owned(),
            (Dialect::Ec2, None) => capitalized(member.wire_name()),
            (Dialect::Query, _) => member.wire_name().to_owned(),
        }
    }

    fn structure(self, node: &Node, members: &'static [Member]) -> Result<Document, DecodeError> {
        let mut document = Vec::new();
        for member in members {
            let Some(child) = node.children.get(&self.name_of(member)) else { continue };
            let value = self
                .value(child, member.schema.get(), Some(member))
                .map_err(|error| error.within(member.name))?;
            document.extend(value.map(|value| (member.name, value)));
        }
        Ok(Document::Structure(document))
    }

    fn value(
        self,
        node: &Node,
        schema: &'static Schema,
        member: Option<&'static Member>,
    ) -> Result<Option<Document>, DecodeError> {
        let flattened = member.is_some_and(|member| member.flattened);
        match &schema.kind {
            Kind::Structure(members) => {
                aggregate(node, "a Structure")?;
                self.structure(node, members).map(Some)
            }
            Kind::List(list) => self.list(node, list, flattened || list.flattened).map(Some),
            Kind::Map(map) => self.map(node, map, flattened || map.flattened).map(Some),
            _ => {
                let format = member.and_then(|member| member.timestamp_format);
                match (&node.value, node.children.is_empty()) {
                    (Some(text), true) => scalar(text, schema, format).map(Some),
                    (None, true) => Ok(None),
                    (_, false) => Err(DecodeError::wrong_type("a scalar", "a structure")),
                }
            }
        }
    }

    fn list(
        self,
        node: &Node,
        list: &'static List,
        flattened: bool,
    ) -> Result<Document, DecodeError> {
        aggregate(node, "a List")?;
        let elements = if flattened || self == Dialect::Ec2 {
            Some(node)
        } else {
            // Some clients write the element's own name, some write `member`.
            let named = list.element_name.and_then(|name| node.children.get(name));
            named.or_else(|| node.children.get("member"))
        };
        let mut document = Vec::new();
        for (position, element) in numbered(elements)? {
            let value = self
                .value(element, list.element.get(), None)
                .map_err(|error| error.within_index(position))?;
            document.extend(value);
        }
        Ok(Document::List(document))
    }

    fn map(self, node: &Node, map: &'static Map, flattened: bool) -> Result<Document, DecodeError> {
        aggregate(node, "a Map")?;
        let entries = if flattened { Some(node) } else { node.children.get("entry") };
        let mut document = BTreeMap::new();
        for (position, entry) in numbered(entries)? {
            let part = |name: &str| entry.children.get(name);
            let key = part(map.key_name.unwrap_or("key")).and_then(|key| key.value.clone());
            let missing = || DecodeError::bad_text("", "a map's key").within_index(position);
            let key = key.ok_or_else(missing)?;
            let value = match part(map.value_name.unwrap_or("value")) {
                Some(value) => self.value(value, map.value.get(), None),
                None => Ok(None),
            };
            let value = value.map_err(|error| error.within(&key))?;
            document.extend(value.map(|value| (key, value)));
        }
        Ok(Document::Map(document))
    }
}

/// Refuses text where members, elements or entries belong. Empty text is how clients write an
/// empty list.
fn aggregate(node: &Node, expected: &'static str) -> Result<(), DecodeError> {
    match &node.value {
        Some(text) if !text.is_empty() => Err(DecodeError::bad_text(text, expected)),
        _ => Ok(()),
    }
}

/// The numbered children in order: positions from 0, whatever gaps the numbers have.
fn numbered(node: Option<&Node>) -> Result<Vec<(usize, &Node)>, DecodeError> {
    let mut found: Vec<(u64, &Node)> = Vec::new();
    for (name, child) in node.into_iter().flat_map(|node| &node.children) {
        let digits = name.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| name.parse().ok()).flatten();
        let number = number.ok_or_else(|| DecodeError::bad_text(name, "a list index"))?;
        found.push((number, child));
    }
    found.sort_by_key(|(number, _)| *number);
    Ok(found.into_iter().map(|(_, child)| child).enumerate().collect())
}

fn scalar(
    text: &str,
    schema: &'static Schema,
    format: Option<TimestampFormat>,
) -> Result<Document, DecodeError> {
    let refused = |expected| DecodeError::bad_text(text, expected);
    Ok(match schema.kind {
        Kind::Boolean => match text {
            "true" => Document::Bool(true),
            "false" => Document::Bool(false),
            _ => return Err(refused("a Boolean")),
        },
        Kind::Integer => {
            Document::Integer(text.parse::<i32>().map_err(|_| refused("an Integer"))?.into())
        }
        Kind::Long => Document::Integer(text.parse().map_err(|_| refused("a Long"))?),
        Kind::Float | Kind::Double => Document::Float(match text {
            "NaN" => f64::NAN,
            "Infinity" => f64::INFINITY,
            "-Infinity" => f64::NEG_INFINITY,
            _ => {
                let number: Option<f64> = text.parse().ok();
                let plain = !text.contains(|c: char| c.is_alphabetic() && c != 'e' && c != 'E');
                number.filter(|n| plain && n.is_finite()).ok_or_else(|| refused("a Double"))?
            }
        }),
        Kind::Blob => Document::Blob(STANDARD.decode(text).map_err(|_| refused("base64"))?),
        Kind::Timestamp(of_shape) => {
            let at = match format.or(of_shape).unwrap_or(TimestampFormat::Iso8601) {
                TimestampFormat::Iso8601 => Timestamp::parse_iso8601(text),
                TimestampFormat::Rfc822 => Timestamp::parse_rfc822(text),
                TimestampFormat::UnixTimestamp => {
                    text.parse().ok().and_then(Timestamp::from_seconds_f64)
                }
            };
            Document::Timestamp(at.ok_or_else(|| refused("a Timestamp"))?)
        }
        _ => Document::String(text.to_owned()),
    })
}

/// EC2 Query's names begin with a capital letter.
fn capitalized(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
