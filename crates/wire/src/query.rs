//! AWS Query: a form in, XML out. STS speaks it.

use crate::Service;
use crate::document::Document;
use crate::error::{DecodeError, Fault};
use crate::form::{Dialect, Form};
use crate::schema::{Namespace, Schema};
use crate::shape::{OperationShape, Shape};
use crate::xml::Writer;

/// The content type of a request.
pub const REQUEST_CONTENT_TYPE: &str = "application/x-www-form-urlencoded";
/// The content type of an answer.
pub const CONTENT_TYPE: &str = "text/xml";

/// Decodes a request's parameters along a structure's schema.
///
/// # Errors
/// Values that are not of their member's type, and list indices that are no numbers.
pub fn decode(schema: &'static Schema, form: &Form) -> Result<Document, DecodeError> {
    form.decode(schema, Dialect::Query)
}

/// Decodes a request's parameters into a typed shape.
///
/// # Errors
/// As [`decode()`].
pub fn from_form<T: Shape>(form: &Form) -> Result<T, DecodeError> {
    T::from_document(decode(T::schema(), form)?)
}

/// Encodes an answer: `<OpResponse><OpResult>…</OpResult><ResponseMetadata>…`.
pub fn encode(
    service: &Service,
    operation: &str,
    schema: &Schema,
    output: &Document,
    request_id: &str,
) -> Vec<u8> {
    let mut writer = Writer::new("member");
    let (response, result) = (format!("{operation}Response"), format!("{operation}Result"));
    writer.open(&response, Namespace::default_of(service.xml_namespace));
    // An output without members has an element, too: clients look into it. No output has none.
    if schema.name != crate::schema::prelude::EMPTY.name {
        writer.open(&result, None);
        writer.members(schema, output);
        writer.close(&result);
    }
    writer.open("ResponseMetadata", None);
    writer.leaf("RequestId", request_id);
    writer.close("ResponseMetadata");
    writer.close(&response);
    writer.finish()
}

/// Encodes a typed output.
pub fn to_vec<O: OperationShape>(
    service: &Service,
    output: O::Output,
    request_id: &str,
) -> Vec<u8> {
    encode(service, O::NAME, O::Output::schema(), &output.into_document(), request_id)
}

/// Encodes an error answer.
pub fn encode_error(
    service: &Service,
    fault: Fault,
    code: &str,
    message: &str,
    request_id: &str,
) -> Vec<u8> {
    let mut writer = Writer::new("member");
    writer.open("ErrorResponse", Namespace::default_of(service.xml_namespace));
    writer.open("Error", None);
    writer.leaf("Type", if fault == Fault::Client { "Sender" } else { "Receiver" });
    writer.leaf("Code", code);
    writer.leaf("Message", message);
    writer.close("Error");
    writer.leaf("RequestId", request_id);
    writer.close("ErrorResponse");
    writer.finish()
}
