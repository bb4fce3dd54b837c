//! Access logs in the format of Application Load Balancers, one file for each load balancer and day,
//! with a connection log beside each.

use crate::connection_log;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use wharf_model::ArnScope;

/// Lines that may wait to be written; more are dropped, and counted.
const QUEUE: usize = 16 << 10;

/// A request, as its line tells of it.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    pub(crate) kind: &'static str,
    pub(crate) balancer: String,
    pub(crate) client: Option<SocketAddr>,
    pub(crate) target: Option<SocketAddr>,
    pub(crate) request_seconds: Option<f64>,
    pub(crate) target_seconds: Option<f64>,
    pub(crate) response_seconds: Option<f64>,
    pub(crate) status: u16,
    pub(crate) target_status: Option<u16>,
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) request: String,
    pub(crate) user_agent: String,
    pub(crate) cipher: String,
    pub(crate) tls_version: &'static str,
    /// Path of the target group.
    pub(crate) group: Option<String>,
    pub(crate) trace: String,
    pub(crate) server_name: Option<String>,
    pub(crate) certificate: Option<Arc<str>>,
    /// Of the connection that it came on.
    pub(crate) connection: u128,
    pub(crate) priority: Option<u32>,
    pub(crate) started: jiff::Timestamp,
    pub(crate) ended: jiff::Timestamp,
    pub(crate) action: &'static str,
    pub(crate) classification: Option<(&'static str, &'static str)>,
}

impl Entry {
    /// The line, without its end.
    pub(crate) fn line(&self, arns: Option<&ArnScope>) -> String {
        let dash = || "-".to_owned();
        let address = |a: Option<SocketAddr>| a.map_or_else(dash, |a| a.to_string());
        let seconds = |s: Option<f64>| s.map_or_else(|| "-1".to_owned(), |s| format!("{s:.3}"));
        let or_dash = |text: &str| if text.is_empty() { dash() } else { text.to_owned() };
        let target = address(self.target);
        let target_status = self.target_status.map_or_else(dash, |status| status.to_string());
        let mut line = String::with_capacity(512);
        // Writing to a String can't fail.
        let _ = write!(
            line,
            "{} {} {} {} {} {} {} {} {} {} {} {} \"{}\" \"{}\" {} {} {} \"{}\" \"{}\" \"{}\" {} {} \"{}\" \"-\" \"-\"",
            self.kind,
            time(self.ended),
            self.balancer,
            address(self.client),
            target,
            seconds(self.request_seconds),
            seconds(self.target_seconds),
            seconds(self.response_seconds),
            self.status,
            target_status,
            self.received_bytes,
            self.sent_bytes,
            quoted(&self.request),
            quoted(&or_dash(&self.user_agent)),
            or_dash(&self.cipher),
            or_dash(self.tls_version),
            self.group.as_ref().map_or_else(dash, |path| match arns {
                Some(arns) => arns.target_group(path),
                None => path.clone(),
            }),
            quoted(&or_dash(&self.trace)),
            self.server_name.as_deref().unwrap_or("-"),
            self.certificate.as_deref().unwrap_or("-"),
            self.priority.map_or_else(|| "0".to_owned(), |priority| priority.to_string()),
            time(self.started),
            self.action,
        );
        let (class, reason) = self.classification.unwrap_or(("-", "-"));
        let _ = write!(line, " \"{target}\" \"{target_status}\" \"{class}\" \"{reason}\"");
        // Host and path as transforms made them aren't told.
        let _ = write!(line, " {} \"-\" \"-\" \"-\"", trace(self.connection));
        line
    }
}

/// A time as the logs write it.
pub(crate) fn time(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// What a connection is called, in its own line and in those of its requests.
pub(crate) fn trace(connection: u128) -> String {
    format!("TID_{connection:032x}")
}

pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// Where lines are handed to the thread that writes them.
#[derive(Clone)]
pub(crate) struct AccessLog(SyncSender<Line>);

/// A line of a log.
pub(crate) enum Line {
    /// Of the access log.
    Request(Box<Entry>),
    /// Of the connection log.
    Connection(Box<connection_log::Entry>),
}

impl AccessLog {
    /// Writes below a directory.
    pub(crate) fn open(directory: PathBuf, arns: Option<ArnScope>) -> std::io::Result<Self> {
        std::fs::create_dir_all(&directory)?;
        let (sender, receiver) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write(&directory, arns.as_ref(), &receiver))?;
        Ok(Self(sender))
    }

    /// Takes a line; never waits.
    pub(crate) fn record(&self, line: Line) {
        // A full queue drops the line: a slow disk must not slow requests down.
        let _ = self.0.try_send(line);
    }
}

fn write(directory: &Path, arns: Option<&ArnScope>, lines: &Receiver<Line>) {
    let mut files: HashMap<PathBuf, File> = HashMap::new();
    let mut day = String::new();
    while let Ok(line) = lines.recv() {
        let (kind, balancer, at) = match &line {
            Line::Request(entry) => ("", &entry.balancer, entry.ended),
            Line::Connection(entry) => ("conn_log.", &entry.balancer, entry.at),
        };
        let today = at.strftime("%Y%m%d").to_string();
        if today != day {
            files.clear();
            day = today;
        }
        let name = balancer.replace('/', ".");
        let path = directory.join(format!("{kind}{name}_{day}.log"));
        if !files.contains_key(&path) {
            match File::options().append(true).create(true).open(&path) {
                Ok(file) => drop(files.insert(path.clone(), file)),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "no access log");
                    continue;
                }
            }
        }
        let mut line = match &line {
            Line::Request(entry) => entry.line(arns),
            Line::Connection(entry) => entry.line(),
        };
        line.push('\n');
        if let Some(file) = files.get_mut(&path)
            && let Err(error) = file.write_all(line.as_bytes())
        {
            tracing::warn!(path = %path.display(), %error, "an access log can't be written");
            files.remove(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_fields_of_the_service() {
        let entry = Entry {
            kind: "http",
            balancer: "app/a/1".into(),
            client: Some("192.0.2.1:1234".parse().unwrap()),
            target: Some("10.0.0.1:80".parse().unwrap()),
            target_seconds: Some(0.0125),
            status: 200,
            target_status: Some(200),
            request: "GET http://a:80/\"x HTTP/1.1".into(),
            user_agent: "curl".into(),
            group: Some("g/1".into()),
            priority: Some(3),
            action: "forward",
            ..Entry::default()
        };
        assert_eq!(
            entry.line(None),
            "http 1970-01-01T00:00:00.000000Z app/a/1 192.0.2.1:1234 10.0.0.1:80 -1 0.013 -1 200 200 0 0 \
             \"GET http://a:80/\\\"x HTTP/1.1\" \"curl\" - - g/1 \"-\" \"-\" \"-\" 3 \
             1970-01-01T00:00:00.000000Z \"forward\" \"-\" \"-\" \"10.0.0.1:80\" \"200\" \"-\" \"-\" \
             TID_00000000000000000000000000000000 \"-\" \"-\" \"-\""
        );
    }
}
