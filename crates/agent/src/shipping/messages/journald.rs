//! journald's native protocol: fields of a message in one datagram.

use std::io;

use super::Subject;
use crate::shipping::events::Event;

/// Where journald listens.
const SOCKET: &str = "/run/systemd/journal/socket";
const ERROR: &str = "3";
const INFO: &str = "6";

pub(super) struct Client {
    subject: Subject,
    connection: Option<super::connection::Connection>,
}

impl Client {
    pub(super) fn new(subject: Subject) -> Self {
        Self { subject, connection: None }
    }

    pub(super) fn connect(&mut self) -> io::Result<()> {
        let connection = super::connection::Connection::datagram(SOCKET);
        // Docker's words.
        let absent = |_| io::Error::other("journald is not enabled on this host");
        self.connection = Some(connection.map_err(absent)?);
        Ok(())
    }

    pub(super) async fn send(&mut self, event: &Event) -> io::Result<()> {
        if self.connection.is_none() {
            self.connect()?;
        }
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let written = connection.write(&datagram(&self.subject, event)).await;
        if written.is_err() {
            self.connection = None;
        }
        written
    }
}

fn datagram(subject: &Subject, event: &Event) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(event.message.len() + 512);
    let mut put = |name: &str, value: &str| {
        bytes.extend(name.as_bytes());
        if value.contains('\n') {
            bytes.push(b'\n');
            bytes.extend((value.len() as u64).to_le_bytes());
        } else {
            bytes.push(b'=');
        }
        bytes.extend(value.as_bytes());
        bytes.push(b'\n');
    };
    put("MESSAGE", &event.message);
    put("PRIORITY", if event.is_error { ERROR } else { INFO });
    put("CONTAINER_ID", subject.id.get(..12).unwrap_or(&subject.id));
    put("CONTAINER_ID_FULL", &subject.id);
    put("CONTAINER_NAME", &subject.name);
    put("CONTAINER_TAG", &subject.tag);
    put("IMAGE_NAME", &subject.image_name);
    put("SYSLOG_IDENTIFIER", &subject.tag);
    put("SYSLOG_TIMESTAMP", &event.at.to_string());
    if event.is_piece {
        put("CONTAINER_PARTIAL_MESSAGE", "true");
    }
    for (name, value) in &event.attributes {
        let name = field(name);
        if !name.is_empty() {
            put(&name, value);
        }
    }
    bytes
}

/// A name as journald takes it: capitals, digits and underscores, which aren't the first.
fn field(name: &str) -> String {
    let upper = name.chars().map(|c| match c.to_ascii_uppercase() {
        c if c.is_ascii_uppercase() || c.is_ascii_digit() => c,
        _ => '_',
    });
    upper.skip_while(|c| *c == '_').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_lines_or_have_their_length() {
        let subject = Subject {
            id: "0123456789abcdef".to_owned(),
            name: "app".to_owned(),
            image_name: "shell".to_owned(),
            tag: "t".to_owned(),
        };
        let event = Event {
            at: "2026-01-01T00:00:00.5Z".parse().unwrap(),
            message: "hello".to_owned(),
            is_error: true,
            is_piece: true,
            attributes: [("com.x-y", "1\n2"), ("__", "none")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        };
        let text = String::from_utf8(datagram(&subject, &event)).unwrap();
        assert_eq!(
            text,
            "MESSAGE=hello\nPRIORITY=3\nCONTAINER_ID=0123456789ab\n\
             CONTAINER_ID_FULL=0123456789abcdef\nCONTAINER_NAME=app\nCONTAINER_TAG=t\n\
             IMAGE_NAME=shell\nSYSLOG_IDENTIFIER=t\nSYSLOG_TIMESTAMP=2026-01-01T00:00:00.5Z\n\
             CONTAINER_PARTIAL_MESSAGE=true\nCOM_X_Y\n\u{3}\0\0\0\0\0\0\u{0}1\n2\n"
        );
    }
}
