//! XML as a comparable tree: no blank text, no order among different siblings, no request id.

use quick_xml::Reader;
use quick_xml::events::Event;

/// An element.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Element {
    name: String,
    attributes: Vec<(String, String)>,
    text: String,
    children: Vec<Element>,
}

impl Element {
    /// What a map's entry is sorted by: the text of the first of two children.
    fn key(&self) -> String {
        match self.children.as_slice() {
            [key, _] => key.text.clone(),
            _ => String::new(),
        }
    }
}

/// Parses a document. Siblings are sorted by name; elements of one name keep their order.
pub fn parse(bytes: &[u8]) -> Result<Element, String> {
    let mut reader = Reader::from_reader(bytes);
    let mut stack = vec![Element::default()];
    loop {
        let event = reader.read_event().map_err(|error| error.to_string())?;
        match event {
            Event::Start(start) => stack.push(opened(&start)?),
            Event::Empty(start) => {
                let element = opened(&start)?;
                attach(&mut stack, element);
            }
            Event::End(_) => {
                let mut element = stack.pop().ok_or("an end too many")?;
                if !element.children.is_empty() || element.text.trim().is_empty() {
                    element.text.clear();
                }
                element.children.sort_by_cached_key(|child| (child.name.clone(), child.key()));
                attach(&mut stack, element);
            }
            Event::Text(text) => {
                top(&mut stack).text.push_str(&text);
            }
            Event::GeneralRef(reference) => {
                let name = reference.to_string();
                let text = match (reference.resolve_char_ref(), name.as_str()) {
                    (Ok(Some(letter)), _) => letter.to_string(),
                    (_, "amp") => "&".to_owned(),
                    (_, "lt") => "<".to_owned(),
                    (_, "gt") => ">".to_owned(),
                    (_, "quot") => "\"".to_owned(),
                    (_, "apos") => "'".to_owned(),
                    _ => return Err(format!("&{name};")),
                };
                top(&mut stack).text.push_str(&text);
            }
            Event::Eof => return stack.remove(0).children.pop().ok_or("no element".to_owned()),
            _ => {}
        }
    }
}

fn top(stack: &mut [Element]) -> &mut Element {
    stack.last_mut().unwrap()
}

fn attach(stack: &mut [Element], element: Element) {
    // Cases leave request ids out, or have their own.
    let ignored = ["ResponseMetadata", "RequestId", "requestId", "RequestID"];
    if !ignored.contains(&element.name.as_str()) {
        top(stack).children.push(element);
    }
}

fn opened(start: &quick_xml::events::BytesStart<'_>) -> Result<Element, String> {
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| error.to_string())?;
        attributes.push((attribute.key.as_ref().to_owned(), attribute.value.to_string()));
    }
    Ok(Element { name: start.name().as_ref().to_owned(), attributes, ..Element::default() })
}
