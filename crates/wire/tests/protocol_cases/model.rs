//! A case's little model as a schema, and a case's JSON values as documents.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::Value;
use wharf_wire::{
    Document, Kind, List, Map, Member, Namespace, Schema, SchemaRef, Timestamp, TimestampFormat,
};

/// The schemas of a suite, leaked: a handful for the life of a test.
pub struct Shapes(BTreeMap<String, &'static OnceLock<Schema>>);

impl Shapes {
    pub fn new(shapes: &Value) -> Shapes {
        let shapes = shapes.as_object().unwrap();
        let cell = |name: &String| (name.clone(), &*Box::leak(Box::new(OnceLock::new())));
        let all = Shapes(shapes.keys().map(cell).collect());
        for (name, raw) in shapes {
            all.0[name].set(all.build(name, raw)).unwrap();
        }
        all
    }

    pub fn schema(&self, name: &str) -> &'static Schema {
        self.0[name].get().unwrap()
    }

    fn target(&self, raw: &Value) -> SchemaRef {
        SchemaRef::Late(self.0[raw["shape"].as_str().unwrap()])
    }

    fn build(&self, name: &str, raw: &Value) -> Schema {
        let kind = match raw["type"].as_str().unwrap() {
            "structure" if raw["document"] == true => Kind::Document,
            "structure" => {
                let members = raw["members"].as_object().unwrap();
                let members: Vec<Member> =
                    members.iter().map(|(name, raw)| self.member(name, raw)).collect();
                Kind::Structure(members.leak())
            }
            "list" => Kind::List(List {
                element_name: text(&raw["member"]["locationName"]),
                element_namespace: namespace(&raw["member"]["xmlNamespace"]),
                flattened: raw["flattened"] == true,
                ..List::of(self.target(&raw["member"]))
            }),
            "map" => Kind::Map(Map {
                key_name: text(&raw["key"]["locationName"]),
                key_namespace: namespace(&raw["key"]["xmlNamespace"]),
                value_name: text(&raw["value"]["locationName"]),
                value_namespace: namespace(&raw["value"]["xmlNamespace"]),
                flattened: raw["flattened"] == true,
                ..Map::of(self.target(&raw["key"]), self.target(&raw["value"]))
            }),
            "string" => Kind::String(&[]),
            "boolean" => Kind::Boolean,
            "integer" => Kind::Integer,
            "long" => Kind::Long,
            "float" => Kind::Float,
            "double" => Kind::Double,
            "blob" => Kind::Blob,
            "timestamp" => Kind::Timestamp(format(&raw["timestampFormat"])),
            other => panic!("{name}: type {other}"),
        };
        Schema::new(text(&Value::from(name)).unwrap(), kind)
    }

    fn member(&self, name: &str, raw: &Value) -> Member {
        Member {
            location_name: text(&raw["locationName"]),
            query_name: text(&raw["queryName"]),
            timestamp_format: format(&raw["timestampFormat"]),
            flattened: raw["flattened"] == true,
            xml_namespace: namespace(&raw["xmlNamespace"]),
            ..Member::of(text(&Value::from(name)).unwrap(), self.target(raw))
        }
    }
}

fn text(raw: &Value) -> Option<&'static str> {
    raw.as_str().map(|text| &*text.to_owned().leak())
}

fn namespace(raw: &Value) -> Option<Namespace> {
    let uri = text(&raw["uri"]).or(text(raw))?;
    Some(Namespace { prefix: text(&raw["prefix"]).unwrap_or_default(), uri })
}

fn format(raw: &Value) -> Option<TimestampFormat> {
    Some(match raw.as_str()? {
        "iso8601" => TimestampFormat::Iso8601,
        "rfc822" => TimestampFormat::Rfc822,
        "unixTimestamp" => TimestampFormat::UnixTimestamp,
        other => panic!("format {other}"),
    })
}

/// A case's value along a schema: timestamps are seconds, blobs are text.
pub fn document(schema: &'static Schema, value: &Value) -> Document {
    match &schema.kind {
        Kind::Structure(members) => {
            let present = members.iter().filter(|member| !value[member.name].is_null());
            let one =
                |member: &Member| (member.name, document(member.schema.get(), &value[member.name]));
            Document::Structure(present.map(one).collect())
        }
        Kind::List(list) => {
            let elements = value.as_array().unwrap();
            Document::List(elements.iter().map(|e| document(list.element.get(), e)).collect())
        }
        Kind::Map(map) => {
            let entries = value.as_object().unwrap();
            let one =
                |(key, entry): (&String, &Value)| (key.clone(), document(map.value.get(), entry));
            Document::Map(entries.iter().map(one).collect())
        }
        Kind::Blob => Document::Blob(value.as_str().unwrap().as_bytes().to_vec()),
        Kind::Float | Kind::Double => Document::Float(match value.as_str() {
            Some("NaN") => f64::NAN,
            Some("Infinity") => f64::INFINITY,
            Some("-Infinity") => f64::NEG_INFINITY,
            _ => value.as_f64().unwrap(),
        }),
        Kind::Timestamp(_) => {
            Document::Timestamp(Timestamp::from_seconds_f64(value.as_f64().unwrap()).unwrap())
        }
        Kind::Boolean => Document::Bool(value.as_bool().unwrap()),
        Kind::Integer | Kind::Long => Document::Integer(value.as_i64().unwrap()),
        Kind::String(_) => Document::String(value.as_str().unwrap().to_owned()),
        Kind::Document => free_form(value),
    }
}

fn free_form(value: &Value) -> Document {
    match value {
        Value::Null => Document::Null,
        Value::Bool(flag) => Document::Bool(*flag),
        Value::Number(number) => number
            .as_i64()
            .map_or_else(|| Document::Float(number.as_f64().unwrap()), Document::Integer),
        Value::String(text) => Document::String(text.clone()),
        Value::Array(elements) => Document::List(elements.iter().map(free_form).collect()),
        Value::Object(entries) => Document::Map(
            entries.iter().map(|(key, value)| (key.clone(), free_form(value))).collect(),
        ),
    }
}

/// JSON in which 1 and 1.0 are the same and member order doesn't count.
pub fn plain(value: &Value) -> Value {
    match value {
        Value::Number(number) => serde_json::json!(number.as_f64().unwrap()),
        Value::Array(elements) => elements.iter().map(plain).collect(),
        Value::Object(entries) => {
            let sorted: BTreeMap<&String, Value> = entries
                .iter()
                .map(|(key, value)| (key, plain(value)))
                .filter(|(_, value)| !value.is_null())
                .collect();
            serde_json::json!(sorted)
        }
        other => other.clone(),
    }
}
