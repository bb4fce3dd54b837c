//! The shape tree that codecs and validation walk: names, traits and constraints from the model.
//!
//! Schemas are statics, written by `cargo xtask codegen`; a schema built at run time is leaked
//! (tests do that) and closes its cycles with [`SchemaRef::Late`].

use std::sync::OnceLock;

/// A reference to a schema.
#[derive(Debug, Clone, Copy)]
pub enum SchemaRef {
    /// A schema whose place is known when the reference is made.
    Known(&'static Schema),
    /// A schema that is filled in after its referrers, for cycles in schemas built at run time.
    Late(&'static OnceLock<Schema>),
}

impl SchemaRef {
    /// The schema; [`Schema::DOCUMENT`] for a late one that was never filled in.
    pub fn get(self) -> &'static Schema {
        match self {
            SchemaRef::Known(schema) => schema,
            SchemaRef::Late(cell) => cell.get().unwrap_or(&Schema::DOCUMENT),
        }
    }
}

/// One shape of a model.
#[derive(Debug)]
pub struct Schema {
    /// The shape's name in the model.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its limits.
    pub constraints: Constraints,
    /// True when values must not show up in logs.
    pub sensitive: bool,
}

/// What a shape is.
#[derive(Debug)]
pub enum Kind {
    /// true or false.
    Boolean,
    /// A 32-bit integer.
    Integer,
    /// A 64-bit integer.
    Long,
    /// A 32-bit float.
    Float,
    /// A 64-bit float.
    Double,
    /// A string; for an enum its values, otherwise empty.
    String(&'static [&'static str]),
    /// Bytes.
    Blob,
    /// A point in time in this format; `None`: the protocol's default.
    Timestamp(Option<TimestampFormat>),
    /// A free-form JSON-like value.
    Document,
    /// Named members; a union is a structure of which one member is set.
    Structure(&'static [Member]),
    /// Elements of one shape.
    List(List),
    /// String keys to values of one shape.
    Map(Map),
}

/// A list's element and how XML and Query write it.
#[derive(Debug)]
pub struct List {
    /// The element's shape.
    pub element: SchemaRef,
    /// The element's name where it isn't `member` (Query) or the protocol's default.
    pub element_name: Option<&'static str>,
    /// The XML namespace that each element declares.
    pub element_namespace: Option<Namespace>,
    /// True when elements stand directly in the parent.
    pub flattened: bool,
    /// True when elements may be null.
    pub sparse: bool,
}

/// A map's key and value and how XML and Query write them.
#[derive(Debug)]
pub struct Map {
    /// The key's shape: a string.
    pub key: SchemaRef,
    /// The value's shape.
    pub value: SchemaRef,
    /// The key's element name where it isn't `key`.
    pub key_name: Option<&'static str>,
    /// The XML namespace that each key declares.
    pub key_namespace: Option<Namespace>,
    /// The value's element name where it isn't `value`.
    pub value_name: Option<&'static str>,
    /// The XML namespace that each value declares.
    pub value_namespace: Option<Namespace>,
    /// True when entries stand directly in the parent.
    pub flattened: bool,
    /// True when values may be null.
    pub sparse: bool,
}

/// An XML namespace as an element declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Namespace {
    /// The prefix; empty for the default namespace.
    pub prefix: &'static str,
    /// The namespace's name.
    pub uri: &'static str,
}

impl Namespace {
    /// The default namespace of this name; `None` for an empty name.
    pub(crate) fn default_of(uri: &'static str) -> Option<Self> {
        (!uri.is_empty()).then_some(Namespace { prefix: "", uri })
    }
}

impl List {
    /// A dense list without names of its own.
    pub const fn of(element: SchemaRef) -> Self {
        List {
            element,
            element_name: None,
            element_namespace: None,
            flattened: false,
            sparse: false,
        }
    }
}

impl Map {
    /// A dense map without names of its own.
    pub const fn of(key: SchemaRef, value: SchemaRef) -> Self {
        Map {
            key,
            value,
            key_name: None,
            key_namespace: None,
            value_name: None,
            value_namespace: None,
            flattened: false,
            sparse: false,
        }
    }
}

/// How a timestamp is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampFormat {
    /// Seconds since the epoch, with a fraction.
    UnixTimestamp,
    /// RFC 3339.
    Iso8601,
    /// HTTP date.
    Rfc822,
}

/// One member of a structure.
#[derive(Debug)]
pub struct Member {
    /// The member's name in the model.
    pub name: &'static str,
    /// Its shape.
    pub schema: SchemaRef,
    /// True when the model says that a request must carry it.
    pub required: bool,
    /// Its name on the wire where that isn't [`Member::name`].
    pub location_name: Option<&'static str>,
    /// Its name in EC2 Query input where that follows neither name.
    pub query_name: Option<&'static str>,
    /// A format that overrides its timestamp shape's.
    pub timestamp_format: Option<TimestampFormat>,
    /// True when its list or map stands directly in the parent's element.
    pub flattened: bool,
    /// The XML namespace that its element declares.
    pub xml_namespace: Option<Namespace>,
}

/// Limits of a shape: on length for strings, blobs, lists and maps; on the value for numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Constraints {
    /// Least length or value.
    pub min: Option<i64>,
    /// Greatest length or value.
    pub max: Option<i64>,
    /// A regular expression that the whole string must match.
    pub pattern: Option<&'static str>,
}

impl Schema {
    /// The schema of a free-form document.
    pub const DOCUMENT: Schema = Schema::new("Document", Kind::Document);

    /// A schema without constraints or traits.
    pub const fn new(name: &'static str, kind: Kind) -> Self {
        let constraints = Constraints { min: None, max: None, pattern: None };
        Schema { name, kind, constraints, sensitive: false }
    }

    /// A structure.
    pub const fn structure(name: &'static str, members: &'static [Member]) -> Self {
        Schema::new(name, Kind::Structure(members))
    }

    /// A dense list whose elements carry the default name.
    pub const fn list(name: &'static str, element: &'static Schema) -> Self {
        let element = SchemaRef::Known(element);
        Schema::new(name, Kind::List(List::of(element)))
    }

    /// A dense list whose elements are named `element_name` in XML and Query.
    pub const fn named_list(
        name: &'static str,
        element: &'static Schema,
        element_name: &'static str,
    ) -> Self {
        let element = SchemaRef::Known(element);
        let list = List { element_name: Some(element_name), ..List::of(element) };
        Schema::new(name, Kind::List(list))
    }

    /// A dense map.
    pub const fn map(name: &'static str, key: &'static Schema, value: &'static Schema) -> Self {
        let map = Map::of(SchemaRef::Known(key), SchemaRef::Known(value));
        Schema::new(name, Kind::Map(map))
    }

    /// Sets the least length or value.
    pub const fn min(mut self, min: i64) -> Self {
        self.constraints.min = Some(min);
        self
    }

    /// Sets the greatest length or value.
    pub const fn max(mut self, max: i64) -> Self {
        self.constraints.max = Some(max);
        self
    }

    /// Sets the pattern.
    pub const fn pattern(mut self, pattern: &'static str) -> Self {
        self.constraints.pattern = Some(pattern);
        self
    }

    /// Marks values as not to be shown.
    pub const fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }

    /// The members of a structure; empty for every other kind.
    pub fn members(&self) -> &'static [Member] {
        match self.kind {
            Kind::Structure(members) => members,
            _ => &[],
        }
    }

    /// The member with this name in the model.
    pub fn member(&self, name: &str) -> Option<&'static Member> {
        self.members().iter().find(|member| member.name == name)
    }
}

impl Member {
    /// A member without traits.
    pub const fn new(name: &'static str, schema: &'static Schema) -> Self {
        Member::of(name, SchemaRef::Known(schema))
    }

    /// A member without traits by any reference.
    pub const fn of(name: &'static str, schema: SchemaRef) -> Self {
        Member {
            name,
            schema,
            required: false,
            location_name: None,
            query_name: None,
            timestamp_format: None,
            flattened: false,
            xml_namespace: None,
        }
    }

    /// Marks the member as required.
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Sets the name on the wire.
    pub const fn location(mut self, name: &'static str) -> Self {
        self.location_name = Some(name);
        self
    }

    /// Sets the name in EC2 Query input.
    pub const fn query(mut self, name: &'static str) -> Self {
        self.query_name = Some(name);
        self
    }

    /// Sets the timestamp format.
    pub const fn format(mut self, format: TimestampFormat) -> Self {
        self.timestamp_format = Some(format);
        self
    }

    /// The name on the wire in JSON and XML.
    pub fn wire_name(&self) -> &'static str {
        self.location_name.unwrap_or(self.name)
    }
}

/// Schemas of scalars without traits, shared by all services.
#[allow(dead_code, reason = "which ones are in use depends on the models")]
pub(crate) mod prelude {
    use super::{Kind, Schema};

    pub static BOOLEAN: Schema = Schema::new("Boolean", Kind::Boolean);
    pub static INTEGER: Schema = Schema::new("Integer", Kind::Integer);
    pub static LONG: Schema = Schema::new("Long", Kind::Long);
    pub static FLOAT: Schema = Schema::new("Float", Kind::Float);
    pub static DOUBLE: Schema = Schema::new("Double", Kind::Double);
    pub static STRING: Schema = Schema::new("String", Kind::String(&[]));
    pub static BLOB: Schema = Schema::new("Blob", Kind::Blob);
    pub static TIMESTAMP: Schema = Schema::new("Timestamp", Kind::Timestamp(None));
    pub static DOCUMENT: Schema = Schema::DOCUMENT;
    pub static EMPTY: Schema = Schema::structure("Empty", &[]);
}
