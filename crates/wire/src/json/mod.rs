//! awsJson 1.0 and 1.1: one JSON object each way.
//!
//! The codec knows no service and no HTTP; the two protocol versions differ only in the content
//! type. Decoding walks the schema while it parses, so that unknown members cost nothing and an
//! error carries the member's path.

mod decode;
mod encode;

pub use decode::decode;
pub use encode::encode;

use crate::error::DecodeError;
use crate::shape::Shape;

/// The content type of awsJson 1.0.
pub const CONTENT_TYPE_1_0: &str = "application/x-amz-json-1.0";
/// The content type of awsJson 1.1.
pub const CONTENT_TYPE_1_1: &str = "application/x-amz-json-1.1";

/// Decodes a body into a typed shape: a server's input or a client's output.
///
/// # Errors
/// As [`decode()`].
pub fn from_slice<T: Shape>(body: &[u8]) -> Result<T, DecodeError> {
    T::from_document(decode(T::schema(), body)?)
}

/// Encodes a typed shape: a server's output or a client's input.
pub fn to_vec<T: Shape>(shape: T) -> Vec<u8> {
    encode(T::schema(), &shape.into_document())
}

/// The body of an error answer: `{"__type":CODE,"message":TEXT}`.
pub fn encode_error(code: &str, message: &str) -> Vec<u8> {
    let body = serde_json::json!({ "__type": code, "message": message });
    body.to_string().into_bytes()
}

/// Code and message of an error answer; the code without its namespace and without a URL behind it.
///
/// `header` is the answer's `x-amzn-errortype`, which goes before the body's `__type` or `code`.
pub fn decode_error(body: &[u8], header: Option<&str>) -> (String, String) {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text =
        |names: &[&str]| names.iter().find_map(|name| body.get(name)?.as_str()).map(str::to_owned);
    let code = header.map(str::to_owned).or_else(|| text(&["__type", "code", "Code"]));
    let code = code.unwrap_or_default();
    let code = code.split(':').next().unwrap_or_default();
    let code = code.rsplit('#').next().unwrap_or_default().to_owned();
    (code, text(&["message", "Message", "errorMessage"]).unwrap_or_default())
}
