//! EC2 Query: a form in, XML out, with EC2's own naming rules.
//!
//! In requests lists are always flattened and names begin with a capital letter; in answers members
//! stand directly in the response beside `requestId`, and errors have an envelope of their own.

use crate::Service;
use crate::document::Document;
use crate::error::DecodeError;
use crate::form::{Dialect, Form};
use crate::schema::{Namespace, Schema};
use crate::shape::{OperationShape, Shape};
use crate::xml::Writer;

/// The content type of an answer.
pub const CONTENT_TYPE: &str = "text/xml;charset=UTF-8";

/// Decodes a request's parameters along a structure's schema.
///
/// # Errors
/// Values that are not of their member's type, and list indices that are no numbers.
pub fn decode(schema: &'static Schema, form: &Form) -> Result<Document, DecodeError> {
    form.decode(schema, Dialect::Ec2)
}

/// Decodes a request's parameters into a typed shape.
///
/// # Errors
/// As [`decode()`].
pub fn from_form<T: Shape>(form: &Form) -> Result<T, DecodeError> {
    T::from_document(decode(T::schema(), form)?)
}

/// Encodes an answer: `<OpResponse><requestId>…</requestId>…</OpResponse>`.
pub fn encode(
    service: &Service,
    operation: &str,
    schema: &Schema,
    output: &Document,
    request_id: &str,
) -> Vec<u8> {
    let mut writer = Writer::new("member");
    let response = format!("{operation}Response");
    writer.open(&response, Namespace::default_of(service.xml_namespace));
    writer.leaf("requestId", request_id);
    writer.members(schema, output);
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
pub fn encode_error(code: &str, message: &str, request_id: &str) -> Vec<u8> {
    let mut writer = Writer::new("member");
    writer.open("Response", None);
    writer.open("Errors", None);
    writer.open("Error", None);
    writer.leaf("Code", code);
    writer.leaf("Message", message);
    writer.close("Error");
    writer.close("Errors");
    writer.leaf("RequestID", request_id);
    writer.close("Response");
    writer.finish()
}
