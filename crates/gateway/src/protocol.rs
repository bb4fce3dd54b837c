//! The one place where answers and errors become bytes.
//!
//! A protocol knows how a body is laid out and which code AWS uses in it; it knows no operation.

use crate::error::ApiError;
use crate::sigv4;
use bytes::Bytes;
use std::fmt::Write as _;

/// A wire protocol of AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// awsJson 1.0.
    Json10,
    /// awsJson 1.1: ECS.
    Json11,
    /// Query: STS.
    Query,
    /// EC2 Query.
    Ec2Query,
    /// RPC v2 CBOR; answers errors only, until a service of wharf speaks it.
    Cbor,
    /// REST with JSON; answers errors only.
    RestJson,
    /// REST with XML: S3. Answers errors only.
    RestXml,
}

impl Protocol {
    /// Content type of its answers.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json10 => "application/x-amz-json-1.0",
            Self::Json11 => "application/x-amz-json-1.1",
            Self::Query | Self::Ec2Query => "text/xml;charset=UTF-8",
            Self::Cbor => "application/cbor",
            Self::RestJson => "application/json",
            Self::RestXml => "application/xml",
        }
    }

    /// What a caller hears whose signature was refused: each protocol has codes of its own.
    pub fn refusal(self, error: &sigv4::Error) -> ApiError {
        use sigv4::Reason;
        let json = ApiError::from(error);
        match self {
            Self::Json10 | Self::Json11 | Self::Cbor | Self::RestJson => json,
            Self::Query | Self::RestXml => {
                let code = match error.reason() {
                    Reason::Missing => "MissingAuthenticationToken",
                    Reason::Incomplete => "IncompleteSignature",
                    Reason::Signature => "SignatureDoesNotMatch",
                    Reason::TokenExpired => "ExpiredToken",
                };
                let message = match error.reason() {
                    Reason::Missing => "Request is missing Authentication Token".to_owned(),
                    _ => json.message,
                };
                ApiError::new(code, json.status, message)
            }
            Self::Ec2Query => match error {
                sigv4::Error::Mismatch => ApiError::new(
                    "AuthFailure",
                    401,
                    "AWS was not able to validate the provided access credentials",
                ),
                sigv4::Error::Expired { .. } => {
                    ApiError::new("RequestExpired", 400, "Request has expired.")
                }
                _ => Self::Query.refusal(error),
            },
        }
    }

    /// The body of an error. `namespace` is the addressed service's, for XML.
    pub fn error_body(self, error: &ApiError, namespace: &str, request_id: &str) -> Bytes {
        let (code, message) = (escape(&error.code), escape(&error.message));
        let text = match self {
            Self::Json10 | Self::Json11 => json_error(error, true),
            Self::RestJson => json_error(error, false),
            Self::Query => {
                let kind = if error.is_server_fault() { "Receiver" } else { "Sender" };
                let xmlns = xmlns(namespace);
                format!(
                    "<ErrorResponse{xmlns}><Error><Type>{kind}</Type><Code>{code}</Code>\
                     <Message>{message}</Message></Error><RequestId>{request_id}</RequestId>\
                     </ErrorResponse>"
                )
            }
            Self::Ec2Query => format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{code}\
                 </Code><Message>{message}</Message></Error></Errors><RequestID>{request_id}\
                 </RequestID></Response>"
            ),
            Self::RestXml => format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>\
                 {message}</Message><RequestId>{request_id}</RequestId></Error>"
            ),
            Self::Cbor => {
                let mut body = vec![0xa2];
                for text in ["__type", &error.code, "message", &error.message] {
                    cbor_text(text, &mut body);
                }
                return body.into();
            }
        };
        text.into()
    }
}

fn json_error(error: &ApiError, with_type: bool) -> String {
    let mut body = serde_json::Map::new();
    if with_type {
        body.insert("__type".to_owned(), error.code.as_ref().into());
    }
    body.insert("message".to_owned(), error.message.as_str().into());
    for (member, value) in &error.extra {
        body.insert((*member).to_owned(), value.clone());
    }
    serde_json::Value::Object(body).to_string()
}

/// A text string of CBOR (RFC 8949, major type 3).
fn cbor_text(text: &str, out: &mut Vec<u8>) {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    out.push(0x7a);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn xmlns(namespace: &str) -> String {
    if namespace.is_empty() { String::new() } else { format!(" xmlns=\"{namespace}\"") }
}

/// Text as XML content. Characters that XML 1.0 can't carry become U+FFFD.
fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' => out.push(c),
            '\r' => out.push_str("&#xD;"),
            c if c < ' ' || c == '\u{fffe}' || c == '\u{ffff}' => out.push('\u{fffd}'),
            c => {
                // Writing to a String doesn't fail.
                let _ = out.write_char(c);
            }
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(protocol: Protocol, error: &ApiError) -> String {
        let bytes = protocol.error_body(error, "https://sts.amazonaws.com/doc/2011-06-15/", "id-1");
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn each_protocol_lays_an_error_out_as_aws_does() {
        let error = ApiError::conflict("a <b> & \u{1}", vec!["x".to_owned()]);
        assert_eq!(
            body(Protocol::Json11, &error),
            "{\"__type\":\"ConflictException\",\"message\":\"a <b> & \\u0001\",\
             \"resourceIds\":[\"x\"]}"
        );
        assert_eq!(
            body(Protocol::Query, &error),
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error>\
             <Type>Sender</Type><Code>ConflictException</Code><Message>a &lt;b&gt; &amp; \u{fffd}\
             </Message></Error><RequestId>id-1</RequestId></ErrorResponse>"
        );
        assert_eq!(
            body(Protocol::Ec2Query, &error),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error>\
             <Code>ConflictException</Code><Message>a &lt;b&gt; &amp; \u{fffd}</Message></Error>\
             </Errors><RequestID>id-1</RequestID></Response>"
        );
        let cbor = Protocol::Cbor.error_body(&ApiError::client("m"), "", "");
        assert_eq!(cbor[0], 0xa2);
        assert!(cbor.ends_with(b"\x7a\x00\x00\x00\x01m"));
    }

    #[test]
    fn a_refused_signature_has_each_protocols_code() {
        let code = |p: Protocol, e: &sigv4::Error| {
            let error = p.refusal(e);
            (error.code.into_owned(), error.status)
        };
        let (missing, wrong) = (sigv4::Error::Missing, sigv4::Error::Mismatch);
        let pair = |c: &str, s: u16| (c.to_owned(), s);
        assert_eq!(
            code(Protocol::Json11, &missing),
            pair("MissingAuthenticationTokenException", 403)
        );
        assert_eq!(code(Protocol::Query, &missing), pair("MissingAuthenticationToken", 403));
        assert_eq!(code(Protocol::Json11, &wrong), pair("InvalidSignatureException", 403));
        assert_eq!(code(Protocol::Query, &wrong), pair("SignatureDoesNotMatch", 403));
        assert_eq!(code(Protocol::Ec2Query, &wrong), pair("AuthFailure", 401));
    }
}
