//! Document to XML, along a schema: what the answers of Query and EC2 Query have in common.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::document::Document;
use crate::schema::{Kind, Member, Namespace, Schema, TimestampFormat};

/// XML text under construction.
pub(crate) struct Writer {
    text: String,
    /// What a list's elements are called unless the model says otherwise.
    element_name: &'static str,
}

impl Writer {
    pub(crate) fn new(element_name: &'static str) -> Self {
        let text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
        Writer { text, element_name }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.text.into_bytes()
    }

    pub(crate) fn open(&mut self, name: &str, namespace: Option<Namespace>) {
        self.text.extend(["<", name]);
        if let Some(Namespace { prefix, uri }) = namespace {
            self.text.push_str(" xmlns");
            if !prefix.is_empty() {
                self.text.extend([":", prefix]);
            }
            self.text.push_str("=\"");
            self.escape(uri);
            self.text.push('"');
        }
        self.text.push('>');
    }

    pub(crate) fn close(&mut self, name: &str) {
        self.text.extend(["</", name, ">"]);
    }

    /// An element with text only.
    pub(crate) fn leaf(&mut self, name: &str, text: &str) {
        self.open(name, None);
        self.escape(text);
        self.close(name);
    }

    /// The members of a structure, without an element around them.
    pub(crate) fn members(&mut self, schema: &Schema, document: &Document) {
        for member in schema.members() {
            match document.get(member.name) {
                None | Some(Document::Null) => {}
                Some(value) => self.member(member, value),
            }
        }
    }

    fn member(&mut self, member: &Member, value: &Document) {
        let schema = member.schema.get();
        match (&schema.kind, value) {
            (Kind::List(list), Document::List(elements)) if list.flattened || member.flattened => {
                for element in elements {
                    let name = member.wire_name();
                    let namespace = list.element_namespace.or(member.xml_namespace);
                    self.element(name, namespace, list.element.get(), None, element);
                }
            }
            (Kind::Map(map), Document::Map(_)) if map.flattened || member.flattened => {
                self.entries(member.wire_name(), member.xml_namespace, schema, value);
            }
            _ => {
                let namespace = member.xml_namespace;
                let format = member.timestamp_format;
                self.element(member.wire_name(), namespace, schema, format, value);
            }
        }
    }

    fn element(
        &mut self,
        name: &str,
        namespace: Option<Namespace>,
        schema: &Schema,
        format: Option<TimestampFormat>,
        value: &Document,
    ) {
        self.open(name, namespace);
        match (&schema.kind, value) {
            (Kind::Structure(_), _) => self.members(schema, value),
            (Kind::List(list), Document::List(elements)) => {
                let name = list.element_name.unwrap_or(self.element_name);
                for element in elements {
                    self.element(name, list.element_namespace, list.element.get(), None, element);
                }
            }
            (Kind::Map(_), Document::Map(_)) => self.entries("entry", None, schema, value),
            _ => self.scalar(schema, format, value),
        }
        self.close(name);
    }

    fn entries(
        &mut self,
        name: &str,
        namespace: Option<Namespace>,
        schema: &Schema,
        document: &Document,
    ) {
        let (Kind::Map(map), Document::Map(entries)) = (&schema.kind, document) else { return };
        for (key, value) in entries {
            self.open(name, namespace);
            let key_name = map.key_name.unwrap_or("key");
            self.open(key_name, map.key_namespace);
            self.escape(key);
            self.close(key_name);
            let value_name = map.value_name.unwrap_or("value");
            self.element(value_name, map.value_namespace, map.value.get(), None, value);
            self.close(name);
        }
    }

    fn scalar(&mut self, schema: &Schema, format: Option<TimestampFormat>, value: &Document) {
        match value {
            Document::Bool(flag) => self.text.push_str(if *flag { "true" } else { "false" }),
            Document::Integer(number) => self.text.push_str(&number.to_string()),
            Document::Float(number) => self.text.push_str(&float(*number)),
            Document::String(text) => self.escape(text),
            Document::Blob(bytes) => self.text.push_str(&STANDARD.encode(bytes)),
            Document::Timestamp(at) => {
                let of_shape = match schema.kind {
                    Kind::Timestamp(of_shape) => of_shape,
                    _ => None,
                };
                let text = match format.or(of_shape).unwrap_or(TimestampFormat::Iso8601) {
                    TimestampFormat::Iso8601 => at.to_iso8601(),
                    TimestampFormat::Rfc822 => at.to_rfc822(),
                    TimestampFormat::UnixTimestamp => at.to_epoch_seconds(),
                };
                self.text.push_str(&text);
            }
            Document::Null | Document::List(_) | Document::Structure(_) | Document::Map(_) => {}
        }
    }

    /// Characters that XML 1.0 doesn't have at all become U+FFFD: an answer must stay readable.
    fn escape(&mut self, text: &str) {
        for letter in text.chars() {
            match letter {
                '&' => self.text.push_str("&amp;"),
                '<' => self.text.push_str("&lt;"),
                '>' => self.text.push_str("&gt;"),
                '"' => self.text.push_str("&quot;"),
                '\r' => self.text.push_str("&#xD;"),
                '\n' | '\t' => self.text.push(letter),
                '\0'..'\x20' | '\u{fffe}' | '\u{ffff}' => self.text.push('\u{fffd}'),
                _ => self.text.push(letter),
            }
        }
    }
}

fn float(number: f64) -> String {
    if number == f64::INFINITY {
        "Infinity".to_owned()
    } else if number == f64::NEG_INFINITY {
        "-Infinity".to_owned()
    } else {
        format!("{number:?}")
    }
}
