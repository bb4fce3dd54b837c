//! Document to JSON, along a schema.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::document::Document;
use crate::schema::{Kind, Member, Schema, TimestampFormat};

/// Encodes a document along a schema. Members that the schema doesn't have are left out, so that
/// nothing undeclared ever reaches a client.
pub fn encode(schema: &Schema, document: &Document) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    value(&mut out, schema, None, document);
    out
}

fn value(out: &mut Vec<u8>, schema: &Schema, format: Option<TimestampFormat>, document: &Document) {
    match document {
        Document::Null => out.extend_from_slice(b"null"),
        Document::Bool(true) => out.extend_from_slice(b"true"),
        Document::Bool(false) => out.extend_from_slice(b"false"),
        Document::Integer(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Document::Float(number) => float(out, *number),
        Document::String(text) => string(out, text),
        Document::Blob(bytes) => string(out, &STANDARD.encode(bytes)),
        Document::Timestamp(at) => {
            let of_shape = match schema.kind {
                Kind::Timestamp(of_shape) => of_shape,
                _ => None,
            };
            match format.or(of_shape).unwrap_or(TimestampFormat::UnixTimestamp) {
                TimestampFormat::UnixTimestamp => {
                    out.extend_from_slice(at.to_epoch_seconds().as_bytes());
                }
                TimestampFormat::Iso8601 => string(out, &at.to_iso8601()),
                TimestampFormat::Rfc822 => string(out, &at.to_rfc822()),
            }
        }
        Document::List(elements) => list(out, schema, elements),
        Document::Structure(members) => structure(out, schema, members),
        Document::Map(entries) => {
            let of = match &schema.kind {
                Kind::Map(map) => map.value.get(),
                _ => &Schema::DOCUMENT,
            };
            out.push(b'{');
            for (index, (key, entry)) in entries.iter().enumerate() {
                separator(out, index);
                string(out, key);
                out.push(b':');
                value(out, of, None, entry);
            }
            out.push(b'}');
        }
    }
}

fn list(out: &mut Vec<u8>, schema: &Schema, elements: &[Document]) {
    let of = match &schema.kind {
        Kind::List(list) => list.element.get(),
        _ => &Schema::DOCUMENT,
    };
    out.push(b'[');
    for (index, element) in elements.iter().enumerate() {
        separator(out, index);
        value(out, of, None, element);
    }
    out.push(b']');
}

fn structure(out: &mut Vec<u8>, schema: &Schema, members: &[(&'static str, Document)]) {
    let declared: &[Member] = schema.members();
    let mut written = 0;
    out.push(b'{');
    for (position, (name, entry)) in members.iter().enumerate() {
        // Documents of typed shapes hold members in the schema's order, so this mostly finds its
        // member within a few steps of the position.
        let start = position.min(declared.len());
        let ahead = declared[start..].iter().chain(&declared[..start]);
        let Some(member) = ahead.into_iter().find(|member| member.name == *name) else {
            continue;
        };
        if matches!(entry, Document::Null) {
            continue;
        }
        separator(out, written);
        written += 1;
        string(out, member.wire_name());
        out.push(b':');
        value(out, member.schema.get(), member.timestamp_format, entry);
    }
    out.push(b'}');
}

fn separator(out: &mut Vec<u8>, index: usize) {
    if index > 0 {
        out.push(b',');
    }
}

fn float(out: &mut Vec<u8>, number: f64) {
    let text = if number.is_nan() {
        "\"NaN\"".to_owned()
    } else if number == f64::INFINITY {
        "\"Infinity\"".to_owned()
    } else if number == f64::NEG_INFINITY {
        "\"-Infinity\"".to_owned()
    } else {
        format!("{number:?}")
    };
    out.extend_from_slice(text.as_bytes());
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut clean = 0;
    for (position, byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..=0x1f => b"",
            _ => continue,
        };
        out.extend_from_slice(&bytes[clean..position]);
        clean = position + 1;
        if escape.is_empty() {
            out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
        } else {
            out.extend_from_slice(escape);
        }
    }
    out.extend_from_slice(&bytes[clean..]);
    out.push(b'"');
}
