//! JSON to document, along a schema.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};

use crate::MAX_DEPTH;
use crate::document::Document;
use crate::error::{DecodeError, DecodeReason};
use crate::schema::{Kind, Map, Member, Schema, TimestampFormat};
use crate::timestamp::Timestamp;

/// Decodes a JSON object along a structure's schema.
///
/// Unknown members are ignored and null members are absent, as AWS's own services do; of a member
/// that comes twice the last one counts.
///
/// # Errors
/// Bytes that are no JSON or no UTF-8, values of the wrong kind, integers out of range, timestamps
/// and blobs of the wrong form, and nesting beyond [`MAX_DEPTH`].
pub fn decode(schema: &'static Schema, body: &[u8]) -> Result<Document, DecodeError> {
    let failure = RefCell::new(None);
    let text = std::str::from_utf8(body)
        .map_err(|error| DecodeError::new(DecodeReason::Syntax(error.to_string())))?;
    let mut parser = serde_json::Deserializer::from_str(text);
    let seed = Seed { schema, format: None, depth: 0, failure: &failure };
    let decoded = seed.deserialize(&mut parser).and_then(|value| {
        parser.end()?;
        Ok(value)
    });
    match decoded {
        Ok(Some(document)) => Ok(document),
        Ok(None) => Err(DecodeError::wrong_type(kind_word(schema), "NULL_VALUE")),
        Err(error) => Err(failure
            .take()
            .unwrap_or_else(|| DecodeError::new(DecodeReason::Syntax(error.to_string())))),
    }
}

/// What the visitor expects at one place. The answer is `None` for null.
#[derive(Clone, Copy)]
struct Seed<'a> {
    schema: &'static Schema,
    /// The member's own timestamp format.
    format: Option<TimestampFormat>,
    depth: usize,
    /// The first error with its path, which grows while the visitors return.
    failure: &'a RefCell<Option<DecodeError>>,
}

impl<'a> Seed<'a> {
    fn fail<E: serde::de::Error>(&self, error: DecodeError) -> E {
        *self.failure.borrow_mut() = Some(error);
        E::custom("see the decode error")
    }

    fn wrong<T, E: serde::de::Error>(&self, found: &'static str) -> Result<T, E> {
        Err(self.fail(DecodeError::wrong_type(kind_word(self.schema), found)))
    }

    fn nested<E: serde::de::Error>(&self, schema: &'static Schema) -> Result<Seed<'a>, E> {
        if self.depth >= MAX_DEPTH {
            return Err(self.fail(DecodeError::new(DecodeReason::TooDeep)));
        }
        Ok(Seed { schema, format: None, depth: self.depth + 1, failure: self.failure })
    }

    /// Adds a step to the path of the error that passes through here, giving a syntax error its
    /// place too.
    fn located<E: fmt::Display>(
        &self,
        error: E,
        step: impl FnOnce(DecodeError) -> DecodeError,
    ) -> E {
        let mut failure = self.failure.borrow_mut();
        let inner = failure
            .take()
            .unwrap_or_else(|| DecodeError::new(DecodeReason::Syntax(error.to_string())));
        *failure = Some(step(inner));
        error
    }

    fn timestamp_format(&self) -> TimestampFormat {
        match self.schema.kind {
            Kind::Timestamp(of_shape) => self.format.or(of_shape),
            _ => self.format,
        }
        .unwrap_or(TimestampFormat::UnixTimestamp)
    }

    fn integer<E: serde::de::Error>(&self, number: i64) -> Result<Option<Document>, E> {
        match self.schema.kind {
            Kind::Integer if i32::try_from(number).is_err() => {
                Err(self.fail(DecodeError::out_of_range(number.to_string())))
            }
            Kind::Integer | Kind::Long | Kind::Document => Ok(Some(Document::Integer(number))),
            _ => self.float(number as f64),
        }
    }

    fn float<E: serde::de::Error>(&self, number: f64) -> Result<Option<Document>, E> {
        match self.schema.kind {
            Kind::Float | Kind::Double | Kind::Document => Ok(Some(Document::Float(number))),
            Kind::Integer | Kind::Long if number.fract() == 0.0 => {
                if number.abs() >= 9_007_199_254_740_992.0 {
                    return Err(self.fail(DecodeError::out_of_range(format!("{number:e}"))));
                }
                self.integer(number as i64)
            }
            Kind::Timestamp(_) if self.timestamp_format() == TimestampFormat::UnixTimestamp => {
                match Timestamp::from_seconds_f64(number) {
                    Some(at) => Ok(Some(Document::Timestamp(at))),
                    None => Err(self.fail(DecodeError::out_of_range(format!("{number:e}")))),
                }
            }
            _ => self.wrong(if number.fract() == 0.0 { "NUMBER_VALUE" } else { "DECIMAL_VALUE" }),
        }
    }

    fn string<E: serde::de::Error>(&self, text: &str) -> Result<Option<Document>, E> {
        let refuse = |expected| Err(self.fail(DecodeError::bad_text(text, expected)));
        match self.schema.kind {
            Kind::String(_) | Kind::Document => Ok(Some(Document::String(text.to_owned()))),
            Kind::Blob => match STANDARD.decode(text) {
                Ok(bytes) => Ok(Some(Document::Blob(bytes))),
                Err(_) => refuse("base64"),
            },
            Kind::Float | Kind::Double => match text {
                "NaN" => Ok(Some(Document::Float(f64::NAN))),
                "Infinity" => Ok(Some(Document::Float(f64::INFINITY))),
                "-Infinity" => Ok(Some(Document::Float(f64::NEG_INFINITY))),
                _ => self.wrong("STRING_VALUE"),
            },
            Kind::Timestamp(_) => {
                let (at, expected) = match self.timestamp_format() {
                    TimestampFormat::UnixTimestamp => return self.wrong("STRING_VALUE"),
                    TimestampFormat::Iso8601 => {
                        (Timestamp::parse_iso8601(text), "an ISO 8601 timestamp")
                    }
                    TimestampFormat::Rfc822 => (Timestamp::parse_rfc822(text), "an HTTP date"),
                };
                at.map_or_else(|| refuse(expected), |at| Ok(Some(Document::Timestamp(at))))
            }
            _ => self.wrong("STRING_VALUE"),
        }
    }

    fn structure<'de, A: MapAccess<'de>>(
        &self,
        members: &'static [Member],
        mut entries: A,
    ) -> Result<Document, A::Error> {
        let mut document: Vec<(&'static str, Document)> = Vec::new();
        while let Some(position) = entries.next_key_seed(MemberSeed { members })? {
            let Some(member) = position.map(|position| &members[position]) else {
                // Read like a known one, so that depth and text are checked there too.
                entries.next_value_seed(self.nested(&DOCUMENT)?)?;
                continue;
            };
            let mut seed = self.nested(member.schema.get())?;
            seed.format = member.timestamp_format;
            let value = entries
                .next_value_seed(seed)
                .map_err(|error| self.located(error, |inner| inner.within(member.name)))?;
            document.retain(|(name, _)| *name != member.name);
            document.extend(value.map(|value| (member.name, value)));
        }
        let rank = |name: &str| members.iter().position(|member| member.name == name);
        document.sort_by_key(|(name, _)| rank(name));
        Ok(Document::Structure(document))
    }

    fn map<'de, A: MapAccess<'de>>(
        &self,
        map: &'static Map,
        mut entries: A,
    ) -> Result<Document, A::Error> {
        let mut document = BTreeMap::new();
        while let Some(key) = entries.next_key::<String>()? {
            let seed = self.nested(map.value.get())?;
            let value = entries
                .next_value_seed(seed)
                .and_then(|value| self.dense(value, map.sparse, map.value.get()))
                .map_err(|error| self.located(error, |inner| inner.within(&key)))?;
            document.insert(key, value);
        }
        Ok(Document::Map(document))
    }

    /// An element's or entry's value, where null is allowed only in sparse lists and maps.
    fn dense<E: serde::de::Error>(
        &self,
        value: Option<Document>,
        sparse: bool,
        schema: &'static Schema,
    ) -> Result<Document, E> {
        match value {
            Some(value) => Ok(value),
            None if sparse => Ok(Document::Null),
            None => Err(self.fail(DecodeError::wrong_type(kind_word(schema), "NULL_VALUE"))),
        }
    }

    fn free_form_map<'de, A: MapAccess<'de>>(&self, mut entries: A) -> Result<Document, A::Error> {
        let mut document = BTreeMap::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries
                .next_value_seed(self.nested(&DOCUMENT)?)
                .map_err(|error| self.located(error, |inner| inner.within(&key)))?;
            document.insert(key, value.unwrap_or_default());
        }
        Ok(Document::Map(document))
    }
}

static DOCUMENT: Schema = Schema::DOCUMENT;

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Option<Document>;

    fn deserialize<D: serde::Deserializer<'de>>(self, parser: D) -> Result<Self::Value, D::Error> {
        parser.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Option<Document>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(kind_word(self.schema))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E: serde::de::Error>(self, flag: bool) -> Result<Self::Value, E> {
        match self.schema.kind {
            Kind::Boolean | Kind::Document => Ok(Some(Document::Bool(flag))),
            _ => self.wrong(if flag { "TRUE_VALUE" } else { "FALSE_VALUE" }),
        }
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Self::Value, E> {
        self.integer(number)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Self::Value, E> {
        match (i64::try_from(number), &self.schema.kind) {
            (Ok(number), _) => self.integer(number),
            (Err(_), Kind::Integer | Kind::Long) => {
                Err(self.fail(DecodeError::out_of_range(number.to_string())))
            }
            (Err(_), _) => self.float(number as f64),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Self::Value, E> {
        self.float(number)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        self.string(text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let (element, sparse) = match &self.schema.kind {
            Kind::List(list) => (list.element.get(), list.sparse),
            Kind::Document => (&DOCUMENT, true),
            _ => return self.wrong("START_ARRAY"),
        };
        let mut document = Vec::new();
        loop {
            let seed = self.nested(element)?;
            let index = document.len();
            let next = elements
                .next_element_seed(seed)
                .and_then(|next| next.map(|value| self.dense(value, sparse, element)).transpose())
                .map_err(|error| self.located(error, |inner| inner.within_index(index)))?;
            match next {
                Some(value) => document.push(value),
                None => return Ok(Some(Document::List(document))),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Self::Value, A::Error> {
        match &self.schema.kind {
            Kind::Structure(members) => self.structure(members, entries).map(Some),
            Kind::Map(map) => self.map(map, entries).map(Some),
            Kind::Document => self.free_form_map(entries).map(Some),
            _ => self.wrong("START_OBJECT"),
        }
    }
}

/// Finds a structure's member by the name on the wire, without allocating it.
struct MemberSeed {
    members: &'static [Member],
}

impl<'de> DeserializeSeed<'de> for MemberSeed {
    type Value = Option<usize>;

    fn deserialize<D: serde::Deserializer<'de>>(self, parser: D) -> Result<Self::Value, D::Error> {
        parser.deserialize_str(self)
    }
}

impl Visitor<'_> for MemberSeed {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.members.iter().position(|member| member.wire_name() == name))
    }
}

/// The kind in the words of AWS's own error texts.
fn kind_word(schema: &Schema) -> &'static str {
    match schema.kind {
        Kind::Boolean => "Boolean",
        Kind::Integer => "Integer",
        Kind::Long => "Long",
        Kind::Float => "Float",
        Kind::Double => "Double",
        Kind::String(_) => "String",
        Kind::Blob => "Blob",
        Kind::Timestamp(_) => "Timestamp",
        Kind::Document => "Document",
        Kind::Structure(_) => "Structure",
        Kind::List(_) => "List",
        Kind::Map(_) => "Map",
    }
}
