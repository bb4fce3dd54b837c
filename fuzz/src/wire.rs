//! What must hold for any bytes given to the wire codecs. The fuzz targets run these on new inputs,
//! `crates/wire/tests/fuzz_corpus.rs` on the committed corpora.

use wharf_wire::acs::AcsMessage;
use wharf_wire::tcs::{Frame, TcsMessage};
use wharf_wire::{Form, Shape, ec2, ec2query, ecs, json, query, sts, validation};

/// A request body is refused, or decodes to a shape that encodes and decodes to itself.
pub fn json_request(data: &[u8]) {
    json_shape::<ecs::types::RegisterTaskDefinitionRequest>(data);
    json_shape::<ecs::types::SubmitTaskStateChangeRequest>(data);
    json_shape::<ecs::types::RunTaskRequest>(data);
}

fn json_shape<T: Shape + Clone + PartialEq + std::fmt::Debug>(data: &[u8]) {
    let Ok(document) = json::decode(T::schema(), data) else { return };
    let violations = validation::validate(T::schema(), &document, validation::Scope::All);
    assert_eq!(violations.is_empty(), validation::message(&violations).is_none());
    let shape = T::from_document(document).expect("a decoded document has its schema's form");
    let again = json::from_slice::<T>(&json::to_vec(shape.clone()));
    assert_eq!(again.expect("what we write, we read"), shape);
}

/// A form is refused, or decodes along any schema or is refused there, without a panic; an answer
/// that holds its text is XML whatever the text is.
pub fn form_request(data: &[u8]) {
    let Ok(form) = Form::parse(data) else { return };
    let _ = query::from_form::<sts::types::AssumeRoleRequest>(&form);
    let _ = ec2query::from_form::<ec2::types::DescribeInstancesRequest>(&form);
    let action = form.get("Action").unwrap_or_default();
    let answer = ec2query::encode_error("InvalidAction", action, "id");
    let text = String::from_utf8(answer).expect("answers are UTF-8");
    assert_eq!(text.matches('<').count(), text.matches('>').count());
}

/// An ACS message is refused, or encodes and decodes to itself.
pub fn acs_message(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(message) = AcsMessage::decode(text) else { return };
    let encoded = message.encode().expect("a decoded message encodes");
    assert_eq!(AcsMessage::decode(&encoded).expect("what we write, we read"), message);
}

/// A telemetry frame is refused, or splits into headers and a body that is a message or isn't.
pub fn tcs_frame(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(frame) = Frame::parse(text) else { return };
    let formatted = frame.format();
    assert_eq!(Frame::parse(&formatted).expect("what we write, we read").body, frame.body);
    let Ok(message) = TcsMessage::decode(frame.body) else { return };
    let encoded = message.encode().expect("a decoded message encodes");
    TcsMessage::decode(&encoded).expect("what we write, we read");
}
