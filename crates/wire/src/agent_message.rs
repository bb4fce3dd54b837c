//! Macros of the agent's messages: serde structures and tagged envelopes.

/// Defines a message or a part of one. Every member is optional on the wire; `secret` members
/// follow after a `@secret` mark and are hidden in `Debug`.
macro_rules! message {
    (
        $(#[$doc:meta])*
        $name:ident {
            $($(#[$attribute:meta])* $field:ident: $type:ty,)*
            $(@secret { $($secret:ident: $secret_type:ty,)* })?
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name {
            $(
                #[doc = concat!("Member `", stringify!($field), "`.")]
                $(#[$attribute])*
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $field: Option<$type>,
            )*
            $($(
                #[doc = concat!("Member `", stringify!($secret), "`; hidden in `Debug`.")]
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $secret: Option<$secret_type>,
            )*)?
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let mut output = f.debug_struct(stringify!($name));
                $(if let Some(value) = &self.$field {
                    output.field(stringify!($field), value);
                })*
                $($(if self.$secret.is_some() {
                    output.field(stringify!($secret), &format_args!("<sensitive>"));
                })*)?
                output.finish()
            }
        }
    };
}

/// Defines the enum of a session's messages with its envelope `{"type":NAME,"message":{…}}`.
macro_rules! envelope {
    ($(#[$doc:meta])* $name:ident { $($variant:ident,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub enum $name {
            $(#[doc = concat!("`", stringify!($variant), "`")] $variant($variant),)*
            /// A type that isn't known here: logged and dropped by both sides.
            Unknown {
                /// The envelope's `type`.
                kind: String,
                /// The envelope's `message`.
                message: serde_json::Value,
            },
        }

        impl $name {
            /// The envelope's `type`.
            pub fn kind(&self) -> &str {
                match self {
                    $(Self::$variant(_) => stringify!($variant),)*
                    Self::Unknown { kind, .. } => kind,
                }
            }

            /// The envelope as JSON text.
            ///
            /// # Errors
            /// A number that JSON doesn't have (not a number, infinite) in a member.
            pub fn encode(&self) -> Result<String, serde_json::Error> {
                match self {
                    $(Self::$variant(message) => {
                        $crate::agent_message::seal(stringify!($variant), message)
                    })*
                    Self::Unknown { kind, message } => $crate::agent_message::seal(kind, message),
                }
            }

            /// Reads an envelope. A `type` that isn't known is no error.
            ///
            /// # Errors
            /// Text that is no envelope, or a known type whose message has another form.
            pub fn decode(text: &str) -> Result<Self, serde_json::Error> {
                let (kind, message) = $crate::agent_message::open(text)?;
                Ok(match kind.as_str() {
                    $(stringify!($variant) => {
                        Self::$variant($crate::agent_message::body(message)?)
                    })*
                    _ => {
                        let message = $crate::agent_message::body(message)?;
                        Self::Unknown { kind, message }
                    }
                })
            }
        }

        $(impl From<$variant> for $name {
            fn from(message: $variant) -> Self {
                Self::$variant(message)
            }
        })*
    };
}

pub(crate) use {envelope, message};

#[derive(serde::Serialize)]
struct Sealed<'a, T> {
    #[serde(rename = "type")]
    kind: &'a str,
    message: &'a T,
}

#[derive(serde::Deserialize)]
struct Opened<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow, default)]
    message: Option<&'a serde_json::value::RawValue>,
}

/// Writes an envelope.
pub(crate) fn seal<T: serde::Serialize>(
    kind: &str,
    message: &T,
) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Sealed { kind, message })
}

/// An envelope's type and its message, not yet read.
pub(crate) fn open(
    text: &str,
) -> Result<(String, Option<&serde_json::value::RawValue>), serde_json::Error> {
    let opened: Opened<'_> = serde_json::from_str(text)?;
    Ok((opened.kind, opened.message))
}

/// Reads an envelope's message; an absent one is an empty one.
pub(crate) fn body<T: serde::de::DeserializeOwned>(
    message: Option<&serde_json::value::RawValue>,
) -> Result<T, serde_json::Error> {
    serde_json::from_str(message.map_or("{}", serde_json::value::RawValue::get))
}
