//! Fluentd's forward protocol: a message each, acknowledged if that is asked for.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rmpv::Value;
use sha2::{Digest, Sha256};
use wharf_model::log_driver::{Fluentd, FluentdAddress};
use wharf_runtime::logs::Position;

use super::Subject;
use super::connection::Connection;
use crate::shipping::events::Event;

/// How long an acknowledgement is waited for before the message is sent again.
const ACK_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer that is read.
const MAX_ANSWER: usize = 4096;
/// The socket of a router within its directory.
pub(super) const ROUTER_SOCKET: &str = "fluent.sock";
/// The extension type of a time with nanoseconds.
const EVENT_TIME: i8 = 0;

enum Place {
    Address(FluentdAddress),
    Router(PathBuf),
}

pub(super) struct Client {
    place: Place,
    subject: Subject,
    sub_second: bool,
    request_ack: bool,
    /// The long line that is on its way in pieces: its id, and how many went before.
    pieces: Option<(String, u64)>,
    connection: Option<Connection>,
}

impl Client {
    pub(super) fn new(options: &Fluentd, subject: Subject) -> Self {
        Self {
            place: Place::Address(options.address.clone()),
            subject,
            sub_second: options.sub_second,
            request_ack: options.request_ack,
            pieces: None,
            connection: None,
        }
    }

    /// To a router of the same task, as Amazon's agent has docker do it.
    pub(super) fn to_router(directory: PathBuf, subject: Subject) -> Self {
        Self {
            place: Place::Router(directory),
            subject,
            sub_second: true,
            request_ack: false,
            pieces: None,
            connection: None,
        }
    }

    pub(super) async fn connect(&mut self) -> io::Result<()> {
        let connection = match &self.place {
            Place::Address(FluentdAddress::Tcp { host, port }) => {
                Connection::tcp(host, *port).await?
            }
            Place::Address(FluentdAddress::Unix(path)) => Connection::unix(path).await?,
            Place::Router(directory) => Connection::within(directory, ROUTER_SOCKET).await?,
        };
        self.connection = Some(connection);
        Ok(())
    }

    pub(super) async fn send(&mut self, event: &Event, end: Position) -> io::Result<()> {
        // The same for a message that is sent again: a receiver can tell.
        let chunk = self.request_ack.then(|| chunk(&self.subject.id, end));
        let place = self.place_of(event, end);
        let message =
            message(&self.subject, event, place.as_ref(), self.sub_second, chunk.as_deref());
        let mut bytes = Vec::with_capacity(event.message.len() + 256);
        rmpv::encode::write_value(&mut bytes, &message).map_err(io::Error::other)?;
        if self.connection.is_none() {
            self.connect().await?;
        }
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let mut sent = connection.write(&bytes).await;
        if let (Ok(()), Some(chunk)) = (&sent, &chunk) {
            let answer = tokio::time::timeout(ACK_TIMEOUT, acknowledged(connection, chunk)).await;
            sent = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        }
        match &sent {
            Ok(()) => {
                let next = place.filter(|place| !place.is_last);
                self.pieces = next.map(|place| (place.id, place.ordinal));
            }
            Err(_) => self.connection = None,
        }
        sent
    }

    /// Where a piece of a long line stands in it.
    fn place_of(&self, event: &Event, end: Position) -> Option<Piece> {
        let before = self.pieces.clone();
        if before.is_none() && !event.is_piece {
            return None;
        }
        let (id, before) = before.unwrap_or_else(|| (chunk(&self.subject.id, end), 0));
        Some(Piece { id, ordinal: before + 1, is_last: !event.is_piece })
    }
}

struct Piece {
    id: String,
    ordinal: u64,
    is_last: bool,
}

fn chunk(id: &str, end: Position) -> String {
    let mut hasher = Sha256::new();
    hasher.update(id.as_bytes());
    hasher.update(end.inode.to_le_bytes());
    hasher.update(end.offset.to_le_bytes());
    hex::encode(&hasher.finalize()[..16])
}

fn message(
    subject: &Subject,
    event: &Event,
    piece: Option<&Piece>,
    sub_second: bool,
    chunk: Option<&str>,
) -> Value {
    let seconds = event.at.as_second();
    let time = if sub_second {
        let seconds = u32::try_from(seconds).unwrap_or_default();
        let nanoseconds = u32::try_from(event.at.subsec_nanosecond()).unwrap_or_default();
        let bytes = [seconds.to_be_bytes(), nanoseconds.to_be_bytes()].concat();
        Value::Ext(EVENT_TIME, bytes)
    } else {
        Value::from(seconds)
    };
    let mut record: Vec<(&str, String)> = vec![
        ("container_id", subject.id.clone()),
        ("container_name", format!("/{}", subject.name)),
        ("source", if event.is_error { "stderr" } else { "stdout" }.to_owned()),
        ("log", event.message.clone()),
    ];
    if let Some(piece) = piece {
        record.push(("partial_message", "true".to_owned()));
        record.push(("partial_id", piece.id.clone()));
        record.push(("partial_ordinal", piece.ordinal.to_string()));
        record.push(("partial_last", piece.is_last.to_string()));
    }
    let own = event.attributes.iter().map(|(name, value)| (name.as_str(), value.clone()));
    record.extend(own);
    let record = record.into_iter().map(|(name, value)| (Value::from(name), Value::from(value)));
    let mut all = vec![Value::from(subject.tag.as_str()), time, Value::Map(record.collect())];
    if let Some(chunk) = chunk {
        all.push(Value::Map(vec![(Value::from("chunk"), Value::from(chunk))]));
    }
    Value::Array(all)
}

/// Waits for the acknowledgement of a message.
async fn acknowledged(connection: &mut Connection, chunk: &str) -> io::Result<()> {
    let mut answer = Vec::new();
    let mut buffer = [0; 512];
    loop {
        let count = connection.read(&mut buffer).await?;
        answer.extend(&buffer[..count]);
        let mut rest = answer.as_slice();
        match rmpv::decode::read_value(&mut rest) {
            Ok(value) if is_ack(&value, chunk) => return Ok(()),
            Ok(_) => return Err(io::Error::other("the answer acknowledges another message")),
            Err(error)
                if error.kind() == io::ErrorKind::UnexpectedEof && answer.len() < MAX_ANSWER => {}
            Err(error) => return Err(io::Error::other(error)),
        }
    }
}

fn is_ack(value: &Value, chunk: &str) -> bool {
    let pairs = value.as_map().into_iter().flatten();
    pairs.into_iter().any(|(name, id)| name.as_str() == Some("ack") && id.as_str() == Some(chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(message: &str, is_piece: bool) -> Event {
        Event {
            at: "2026-01-01T00:00:00.000000007Z".parse().unwrap(),
            message: message.to_owned(),
            is_error: false,
            is_piece,
            attributes: [("stage".to_owned(), "test".to_owned())].into(),
        }
    }

    #[test]
    fn a_message_is_what_docker_sends() {
        let subject =
            Subject { id: "id".into(), name: "n".into(), tag: "t".into(), ..Subject::default() };
        let made = message(&subject, &event("hello", false), None, false, Some("c"));
        let text = made.to_string();
        assert_eq!(
            text,
            r#"["t", 1767225600, {"container_id": "id", "container_name": "/n", "source": "stdout", "log": "hello", "stage": "test"}, {"chunk": "c"}]"#
        );
        let precise = message(&subject, &event("x", false), None, true, None);
        let bytes = [1_767_225_600u32.to_be_bytes(), 7u32.to_be_bytes()].concat();
        assert_eq!(precise[1], Value::Ext(0, bytes));
        assert!(is_ack(&Value::Map(vec![("ack".into(), "c".into())]), "c"));
        assert!(!is_ack(&Value::Map(vec![("ack".into(), "d".into())]), "c"));
        assert!(!is_ack(&Value::Nil, "c"));
    }

    #[test]
    fn pieces_of_a_line_are_numbered() {
        let mut client = Client::to_router("/x".into(), Subject::default());
        let at = |offset| Position { inode: 1, offset };
        assert!(client.place_of(&event("short", false), at(1)).is_none());
        let first = client.place_of(&event("long", true), at(2)).unwrap();
        assert_eq!((first.ordinal, first.is_last), (1, false));
        client.pieces = Some((first.id.clone(), first.ordinal));
        let second = client.place_of(&event("end", false), at(3)).unwrap();
        assert_eq!((second.ordinal, second.is_last, &second.id), (2, true, &first.id));
    }
}
