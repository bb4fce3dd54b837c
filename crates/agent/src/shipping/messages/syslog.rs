//! Syslog: docker's message formats over the transports that docker has.

use std::io;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};
use wharf_model::log_driver::{Format, Syslog, SyslogAddress, Transport};

use super::Subject;
use super::connection::Connection;
use crate::shipping::events::Event;

const ERROR: u8 = 3;
const INFO: u8 = 6;
/// Where the host's own syslog listens.
const LOCAL: &[&str] = &["/dev/log", "/var/run/syslog", "/var/run/log"];

/// What a message has beside its text.
struct Header<'a> {
    priority: u8,
    time: ZonedDateTime,
    hostname: &'a str,
    tag: &'a str,
    pid: u32,
}

impl Header<'_> {
    fn message(&self, format: Format, content: &str) -> String {
        let Self { priority, time, hostname, tag, pid } = self;
        match format {
            Format::Unix => {
                format!("<{priority}>{} {tag}[{pid}]: {content}\n", time.strftime("%b %e %T"))
            }
            Format::Rfc3164 => {
                let time = time.strftime("%b %e %T");
                format!("<{priority}>{time} {hostname} {tag}[{pid}]: {content}\n")
            }
            Format::Rfc5424 | Format::Rfc5424Micro => {
                let fraction = if format == Format::Rfc5424 { "" } else { "%.6f" };
                let zone = if time.offset().is_zero() { "Z" } else { "%:z" };
                let pattern = format!("%Y-%m-%dT%H:%M:%S{fraction}{zone}");
                let time = time.strftime(&pattern);
                format!("<{priority}>1 {time} {hostname} {tag} {pid} {tag} - {content}\n")
            }
        }
    }
}

/// With its length before it, as RFC 5425 has it.
fn counted(message: &str) -> String {
    format!("{} {message}", message.len())
}

pub(super) struct Client {
    options: Syslog,
    subject: Subject,
    hostname: String,
    zone: TimeZone,
    connection: Option<Connection>,
}

impl Client {
    pub(super) fn new(options: Syslog, subject: Subject) -> Self {
        let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { options, subject, hostname, zone: TimeZone::system(), connection: None }
    }

    pub(super) async fn connect(&mut self) -> io::Result<()> {
        let connection = match &self.options.address {
            SyslogAddress::Local => local().await?,
            SyslogAddress::Unix { path, is_datagram: true } => Connection::datagram(path)?,
            SyslogAddress::Unix { path, is_datagram: false } => Connection::unix(path).await?,
            SyslogAddress::Net { transport, host, port } => match transport {
                Transport::Udp => Connection::udp(host, *port).await?,
                Transport::Tcp => Connection::tcp(host, *port).await?,
                Transport::Tls => {
                    Connection::tls(host, *port, self.options.ca_cert.as_deref()).await?
                }
            },
        };
        self.connection = Some(connection);
        Ok(())
    }

    pub(super) async fn send(&mut self, event: &Event) -> io::Result<()> {
        let bytes = self.message(event.at, event.is_error, &event.message);
        if self.connection.is_none() {
            self.connect().await?;
        }
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let written = connection.write(bytes.as_bytes()).await;
        if written.is_err() {
            self.connection = None;
        }
        written
    }

    fn message(&self, at: Timestamp, is_error: bool, content: &str) -> String {
        let severity = if is_error { ERROR } else { INFO };
        let header = Header {
            priority: self.options.facility * 8 + severity,
            time: at.to_zoned_datetime(self.zone.clone()),
            hostname: &self.hostname,
            tag: &self.subject.tag,
            pid: std::process::id(),
        };
        let message = header.message(self.options.format, content);
        let is_tls =
            matches!(self.options.address, SyslogAddress::Net { transport: Transport::Tls, .. });
        match self.options.format {
            Format::Rfc5424 | Format::Rfc5424Micro if is_tls => counted(&message),
            _ => message,
        }
    }
}

/// The host's own syslog, by datagrams or else as a stream.
async fn local() -> io::Result<Connection> {
    for path in LOCAL {
        if let Ok(connection) = Connection::datagram(path) {
            return Ok(connection);
        }
        if let Ok(connection) = Connection::unix(path).await {
            return Ok(connection);
        }
    }
    Err(io::Error::other("Unix syslog delivery error"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_look_as_docker_writes_them() {
        let at: Timestamp = "2026-03-05T04:07:09.123456789Z".parse().unwrap();
        let header = |zone: &str| Header {
            priority: 30,
            time: at.to_zoned_datetime(TimeZone::posix(zone).unwrap()),
            hostname: "host",
            tag: "web/0123",
            pid: 77,
        };
        let message = |format| header("UTC0").message(format, "it works");
        assert_eq!(message(Format::Unix), "<30>Mar  5 04:07:09 web/0123[77]: it works\n");
        assert_eq!(message(Format::Rfc3164), "<30>Mar  5 04:07:09 host web/0123[77]: it works\n");
        assert_eq!(
            message(Format::Rfc5424),
            "<30>1 2026-03-05T04:07:09Z host web/0123 77 web/0123 - it works\n"
        );
        assert_eq!(
            header("CET-1").message(Format::Rfc5424Micro, "x"),
            "<30>1 2026-03-05T05:07:09.123456+01:00 host web/0123 77 web/0123 - x\n"
        );
        assert_eq!(counted("<30>x\n"), "6 <30>x\n");
    }
}
