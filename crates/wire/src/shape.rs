//! Typed shapes over documents: the traits of generated structures and operations, and the macros
//! that generated files are tables of.

use std::collections::BTreeMap;
use std::fmt;

use crate::document::Document;
use crate::error::DecodeError;
use crate::schema::{Member, Schema};
use crate::timestamp::Timestamp;

/// A generated structure.
pub trait Shape: Sized {
    /// The structure's place in the model.
    fn schema() -> &'static Schema;

    /// Takes the structure out of a document. Members that the shape doesn't have are ignored.
    ///
    /// # Errors
    /// A value of the wrong kind, or one outside its number's range.
    fn from_document(document: Document) -> Result<Self, DecodeError>;

    /// Turns the structure into a document; absent members are left out.
    fn into_document(self) -> Document;
}

/// An operation of a service.
pub trait OperationShape {
    /// What a request carries.
    type Input: Shape;
    /// What an answer carries.
    type Output: Shape;
    /// The operation's name on the wire.
    const NAME: &'static str;
}

/// A member's value: scalars, enums, lists, maps and structures.
pub trait Value: Sized {
    /// Takes the value out of a document.
    ///
    /// # Errors
    /// As [`Shape::from_document`].
    fn from_document(document: Document) -> Result<Self, DecodeError>;

    /// Turns the value into a document.
    fn into_document(self) -> Document;
}

/// Bytes of a blob shape.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Blob(pub Vec<u8>);

macro_rules! scalar {
    ($type:ty, $expected:literal, $pattern:pat => $value:expr, $variant:ident) => {
        impl Value for $type {
            fn from_document(document: Document) -> Result<Self, DecodeError> {
                match document {
                    $pattern => Ok($value),
                    other => Err(DecodeError::wrong_type($expected, other.kind_name())),
                }
            }

            fn into_document(self) -> Document {
                Document::$variant(self.into())
            }
        }
    };
}

scalar!(String, "string", Document::String(text) => text, String);
scalar!(bool, "boolean", Document::Bool(flag) => flag, Bool);
scalar!(i64, "integer", Document::Integer(number) => number, Integer);
scalar!(f64, "float", Document::Float(number) => number, Float);
scalar!(f32, "float", Document::Float(number) => number as f32, Float);
scalar!(Timestamp, "timestamp", Document::Timestamp(at) => at, Timestamp);
scalar!(Blob, "blob", Document::Blob(bytes) => Blob(bytes), Blob);

impl From<Blob> for Vec<u8> {
    fn from(blob: Blob) -> Self {
        blob.0
    }
}

impl Value for i32 {
    fn from_document(document: Document) -> Result<Self, DecodeError> {
        match document {
            Document::Integer(number) => {
                i32::try_from(number).map_err(|_| DecodeError::out_of_range(number.to_string()))
            }
            other => Err(DecodeError::wrong_type("integer", other.kind_name())),
        }
    }

    fn into_document(self) -> Document {
        Document::Integer(self.into())
    }
}

impl Value for Document {
    fn from_document(document: Document) -> Result<Self, DecodeError> {
        Ok(document)
    }

    fn into_document(self) -> Document {
        self
    }
}

impl<T: Value> Value for Vec<T> {
    fn from_document(document: Document) -> Result<Self, DecodeError> {
        let Document::List(elements) = document else {
            return Err(DecodeError::wrong_type("list", document.kind_name()));
        };
        let typed = |(index, element)| {
            T::from_document(element).map_err(|error: DecodeError| error.within_index(index))
        };
        elements.into_iter().enumerate().map(typed).collect()
    }

    fn into_document(self) -> Document {
        Document::List(self.into_iter().map(T::into_document).collect())
    }
}

impl<T: Value> Value for BTreeMap<String, T> {
    fn from_document(document: Document) -> Result<Self, DecodeError> {
        let Document::Map(entries) = document else {
            return Err(DecodeError::wrong_type("map", document.kind_name()));
        };
        let typed = |(key, value): (String, Document)| match T::from_document(value) {
            Ok(value) => Ok((key, value)),
            Err(error) => Err(error.within(&key)),
        };
        entries.into_iter().map(typed).collect()
    }

    fn into_document(self) -> Document {
        let entries = self.into_iter().map(|(key, value)| (key, value.into_document()));
        Document::Map(entries.collect())
    }
}

impl<T: Value> Value for Box<T> {
    fn from_document(document: Document) -> Result<Self, DecodeError> {
        T::from_document(document).map(Box::new)
    }

    fn into_document(self) -> Document {
        (*self).into_document()
    }
}

/// The members of a structure's document, for [`structure!`].
pub(crate) fn members(document: Document) -> Result<Vec<(&'static str, Document)>, DecodeError> {
    match document {
        Document::Structure(members) => Ok(members),
        other => Err(DecodeError::wrong_type("structure", other.kind_name())),
    }
}

/// Adds a present member to a structure's `Debug` output, hidden where the model says sensitive.
pub(crate) fn debug_member<T: fmt::Debug>(
    output: &mut fmt::DebugStruct<'_, '_>,
    member: Option<&'static Member>,
    name: &str,
    value: Option<&T>,
) {
    let Some(value) = value else { return };
    if member.is_none_or(|member| member.schema.get().sensitive) {
        output.field(name, &format_args!("<sensitive>"));
    } else {
        output.field(name, value);
    }
}

/// Defines a structure: its type, its [`Shape`], and a `Debug` that leaves out absent members and
/// hides sensitive ones.
macro_rules! structure {
    (
        $(#[$doc:meta])*
        $name:ident: $schema:path { $($field:ident: $type:ty = $wire:literal,)* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Default, PartialEq)]
        pub struct $name {
            $(#[doc = concat!("`", $wire, "`")] pub $field: Option<$type>,)*
        }

        impl $crate::Shape for $name {
            fn schema() -> &'static $crate::Schema {
                &$schema
            }

            #[allow(unused_mut, unused_variables, clippy::never_loop, clippy::match_single_binding)]
            fn from_document(
                document: $crate::Document,
            ) -> Result<Self, $crate::DecodeError> {
                let mut shape = Self::default();
                for (name, value) in $crate::shape::members(document)? {
                    match name {
                        $($wire => {
                            let value = <$type as $crate::Value>::from_document(value);
                            shape.$field = Some(value.map_err(|error| error.within($wire))?);
                        })*
                        _ => {}
                    }
                }
                Ok(shape)
            }

            #[allow(unused_mut)]
            fn into_document(self) -> $crate::Document {
                let mut members = Vec::new();
                $(if let Some(value) = self.$field {
                    members.push(($wire, $crate::Value::into_document(value)));
                })*
                $crate::Document::Structure(members)
            }
        }

        impl $crate::Value for $name {
            fn from_document(
                document: $crate::Document,
            ) -> Result<Self, $crate::DecodeError> {
                $crate::Shape::from_document(document)
            }

            fn into_document(self) -> $crate::Document {
                $crate::Shape::into_document(self)
            }
        }

        impl std::fmt::Debug for $name {
            #[allow(unused_variables, unused_mut)]
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let schema = <Self as $crate::Shape>::schema();
                if schema.sensitive {
                    return f.write_str(concat!(stringify!($name), "(<sensitive>)"));
                }
                let mut output = f.debug_struct(stringify!($name));
                $($crate::shape::debug_member(
                    &mut output,
                    schema.member($wire),
                    stringify!($field),
                    self.$field.as_ref(),
                );)*
                output.finish()
            }
        }
    };
}

/// Defines an enum of strings with a variant for values that the model doesn't have.
macro_rules! enumeration {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $wire:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $(#[doc = concat!("`", $wire, "`")] $variant,)*
            /// A value that the model doesn't have.
            Unknown(String),
        }

        impl $name {
            /// The values of the model, in its order.
            pub const VALUES: &'static [&'static str] = &[$($wire,)*];

            /// The value on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $wire,)*
                    Self::Unknown(value) => value,
                }
            }

            /// The unknown value, if it is one.
            pub fn unknown(&self) -> Option<&str> {
                match self {
                    Self::Unknown(value) => Some(value),
                    _ => None,
                }
            }
        }

        impl From<&str> for $name {
            fn from(value: &str) -> Self {
                match value {
                    $($wire => Self::$variant,)*
                    other => Self::Unknown(other.to_owned()),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::Value for $name {
            fn from_document(
                document: $crate::Document,
            ) -> Result<Self, $crate::DecodeError> {
                let text = <String as $crate::Value>::from_document(document)?;
                Ok(Self::from(text.as_str()))
            }

            fn into_document(self) -> $crate::Document {
                $crate::Document::String(self.as_str().to_owned())
            }
        }
    };
}

/// Defines a service's operations: the enum of their names and a marker type for each.
macro_rules! operations {
    ($($name:ident($input:ty, $output:ty);)*) => {
        /// Every operation of the service.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Operation {
            $(#[doc = concat!("`", stringify!($name), "`")] $name,)*
        }

        impl Operation {
            /// All operations by name.
            pub const ALL: &'static [Operation] = &[$(Operation::$name,)*];

            /// The operation's name on the wire.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Operation::$name => stringify!($name),)*
                }
            }

            /// The schema of its input.
            pub fn input_schema(self) -> &'static $crate::Schema {
                match self {
                    $(Operation::$name => <$input as $crate::Shape>::schema(),)*
                }
            }

            /// The schema of its output.
            pub fn output_schema(self) -> &'static $crate::Schema {
                match self {
                    $(Operation::$name => <$output as $crate::Shape>::schema(),)*
                }
            }
        }

        impl std::str::FromStr for Operation {
            type Err = $crate::UnknownOperation;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                match name {
                    $(stringify!($name) => Ok(Operation::$name),)*
                    _ => Err($crate::UnknownOperation(name.to_owned())),
                }
            }
        }

        impl std::fmt::Display for Operation {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        /// A marker type for each operation.
        pub mod operation {
            #[allow(unused_imports)]
            use super::*;

            $(
                #[doc = concat!("`", stringify!($name), "`")]
                #[derive(Debug, Clone, Copy)]
                pub struct $name;

                impl $crate::OperationShape for $name {
                    type Input = $input;
                    type Output = $output;
                    const NAME: &'static str = stringify!($name);
                }
            )*
        }
    };
}

/// Defines a service's errors.
macro_rules! errors {
    ($($name:ident = $code:literal, $status:literal, $fault:ident;)*) => {
        /// The errors of the model.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ErrorCode {
            $(#[doc = concat!("`", $code, "`")] $name,)*
        }

        impl ErrorCode {
            /// All errors by name.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name,)*];

            /// The code on the wire.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(ErrorCode::$name => $code,)*
                }
            }

            /// The status of the HTTP answer.
            pub const fn http_status(self) -> u16 {
                match self {
                    $(ErrorCode::$name => $status,)*
                }
            }

            /// Whose fault it is.
            pub const fn fault(self) -> $crate::Fault {
                match self {
                    $(ErrorCode::$name => $crate::Fault::$fault,)*
                }
            }
        }

        impl std::fmt::Display for ErrorCode {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(crate) use {enumeration, errors, operations, structure};
