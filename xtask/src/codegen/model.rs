//! A service model as the generator sees it: the shapes that the wanted operations reach.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Error, Service};

/// Enums with more values than this are plain strings: EC2's instance types would be a thousand
/// variants that nothing matches on.
const ENUM_LIMIT: usize = 200;

/// A model reduced to the wanted operations.
pub struct Model {
    /// The service's name.
    pub service: &'static str,
    /// `metadata` of the model.
    pub metadata: Value,
    /// The operations by name.
    pub operations: BTreeMap<String, Operation>,
    /// Names of the model's other operations.
    pub others: Vec<String>,
    /// The shapes that they reach, by name.
    pub shapes: BTreeMap<String, Shape>,
    /// Names of the shapes that are errors.
    pub errors: BTreeSet<String>,
}

/// An operation's shapes.
pub struct Operation {
    /// The input's shape; `None` for an operation without members.
    pub input: Option<String>,
    /// The output's shape.
    pub output: Option<String>,
}

/// A shape and its traits.
pub struct Shape {
    /// What it is.
    pub kind: Kind,
    /// The model's entry.
    pub raw: Value,
}

/// What a shape is.
pub enum Kind {
    /// A scalar by the model's word (`integer`, `timestamp`, …).
    Scalar(String),
    /// A string with values.
    Enum(Vec<String>),
    /// A free-form document.
    Document,
    /// Members in the model's order.
    Structure(Vec<Member>),
    /// The element's shape.
    List(String),
    /// The key's and value's shapes.
    Map(String, String),
}

/// A member of a structure.
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its shape's name.
    pub shape: String,
    /// Whether it is required.
    pub required: bool,
    /// The model's entry.
    pub raw: Value,
}

impl Model {
    /// Reads a model.
    ///
    /// # Errors
    /// A model that is no JSON, or misses an operation or a shape.
    pub fn parse(service: &Service, text: &str) -> Result<Model, Error> {
        let fail = |text: String| Error::Model { service: service.name, text };
        let raw: Value = serde_json::from_str(text).map_err(|error| fail(error.to_string()))?;
        let mut model = Model {
            service: service.name,
            metadata: raw["metadata"].clone(),
            operations: BTreeMap::new(),
            others: Vec::new(),
            shapes: BTreeMap::new(),
            errors: BTreeSet::new(),
        };
        let all = raw["operations"].as_object().ok_or_else(|| fail("no operations".to_owned()))?;
        let wanted: Vec<&str> = match service.operations {
            [] => all.keys().map(String::as_str).collect(),
            named => named.to_vec(),
        };
        model.others =
            all.keys().filter(|name| !wanted.contains(&name.as_str())).cloned().collect();
        let mut pending = Vec::new();
        for name in wanted {
            let entry = all.get(name).ok_or_else(|| fail(format!("no operation {name}")))?;
            let operation = Operation {
                input: text_of(&entry["input"]["shape"]),
                output: text_of(&entry["output"]["shape"]),
            };
            pending.extend(operation.input.clone());
            pending.extend(operation.output.clone());
            for error in entry["errors"].as_array().into_iter().flatten() {
                pending.extend(text_of(&error["shape"]));
                model.errors.extend(text_of(&error["shape"]));
            }
            model.operations.insert(name.to_owned(), operation);
        }
        if service.operations.is_empty() {
            // Some errors of the model are attached to no operation.
            for (name, shape) in raw["shapes"].as_object().into_iter().flatten() {
                if shape["exception"].as_bool() == Some(true) {
                    pending.push(name.clone());
                    model.errors.insert(name.clone());
                }
            }
        }
        while let Some(name) = pending.pop() {
            if model.shapes.contains_key(&name) {
                continue;
            }
            let raw = &raw["shapes"][&name];
            let mut shape = Shape::parse(raw).map_err(|text| fail(format!("{name}: {text}")))?;
            shape.extend(service.name, &name);
            pending.extend(shape.targets());
            model.shapes.insert(name, shape);
        }
        Ok(model)
    }

    /// A model's metadata as text; empty where it isn't there.
    pub fn metadata(&self, name: &str) -> &str {
        self.metadata[name].as_str().unwrap_or_default()
    }

    /// Whether a structure holds itself through structures alone, which Rust wants in a box.
    pub fn holds(&self, outer: &str, wanted: &str) -> bool {
        let mut seen = BTreeSet::new();
        let mut pending = vec![outer];
        while let Some(name) = pending.pop() {
            if name == wanted {
                return true;
            }
            if let Some(Kind::Structure(members)) = self.shapes.get(name).map(|shape| &shape.kind)
                && seen.insert(name)
            {
                pending.extend(members.iter().map(|member| member.shape.as_str()));
            }
        }
        false
    }
}

/// Words beyond an enum's that are taken and carried out: clients send them unhindered.
const OWN_WORDS: &[(&str, &str, &[&str])] = &[("ecs", "LogDriver", &["local", "none"])];

impl Shape {
    fn extend(&mut self, service: &str, name: &str) {
        let Kind::Enum(values) = &mut self.kind else { return };
        let own = OWN_WORDS.iter().filter(|(of, shape, _)| (*of, *shape) == (service, name));
        values.extend(own.flat_map(|(_, _, words)| *words).map(|word| (*word).to_owned()));
    }

    fn parse(raw: &Value) -> Result<Shape, String> {
        let kind = match raw["type"].as_str().unwrap_or_default() {
            "structure" if raw["document"].as_bool() == Some(true) => Kind::Document,
            "structure" => Kind::Structure(members(raw)?),
            "list" => Kind::List(shape_of(&raw["member"])?),
            "map" => Kind::Map(shape_of(&raw["key"])?, shape_of(&raw["value"])?),
            "string" => match raw["enum"].as_array() {
                Some(values) if values.len() <= ENUM_LIMIT => {
                    Kind::Enum(values.iter().filter_map(text_of).collect())
                }
                _ => Kind::Scalar("string".to_owned()),
            },
            scalar @ ("boolean" | "integer" | "long" | "float" | "double" | "blob"
            | "timestamp") => Kind::Scalar(scalar.to_owned()),
            other => return Err(format!("unknown type '{other}'")),
        };
        Ok(Shape { kind, raw: raw.clone() })
    }

    fn targets(&self) -> Vec<String> {
        match &self.kind {
            Kind::Structure(members) => members.iter().map(|m| m.shape.clone()).collect(),
            Kind::List(element) => vec![element.clone()],
            Kind::Map(key, value) => vec![key.clone(), value.clone()],
            Kind::Scalar(_) | Kind::Enum(_) | Kind::Document => Vec::new(),
        }
    }
}

fn members(raw: &Value) -> Result<Vec<Member>, String> {
    let required: BTreeSet<&str> =
        raw["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let entries = raw["members"].as_object().ok_or("no members")?;
    let member = |(name, raw): (&String, &Value)| {
        Ok(Member {
            name: name.clone(),
            shape: shape_of(raw)?,
            required: required.contains(name.as_str()),
            raw: raw.clone(),
        })
    };
    entries.iter().map(member).collect()
}

fn shape_of(raw: &Value) -> Result<String, String> {
    text_of(&raw["shape"]).ok_or_else(|| "a reference without a shape".to_owned())
}

fn text_of(raw: &Value) -> Option<String> {
    raw.as_str().map(str::to_owned)
}
