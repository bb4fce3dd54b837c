//! Access logs in the format of Application Load Balancers, one file for each load balancer and day,
//! with a connection log beside each.
//!
//! A worker lays its lines out itself, into a sheet of its own; a thread writes sheets to the files a
//! few times a second. So a request costs no system call, no wake-up of another thread, and nothing
//! that one thread allocates and another frees.

use crate::connection_log;
use crate::tls::TlsFacts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Version};
use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use wharf_model::ArnScope;

/// Lines wait so long to be written, at most.
const DELAY: Duration = Duration::from_millis(100);
/// Bytes on a sheet that are written at once.
const MANY: usize = 256 << 10;
/// Bytes on a sheet, at most; further lines are dropped, and counted.
const MOST: usize = 8 << 20;
const DAY: u64 = 24 * 3600;
/// What the names of files begin with.
const ACCESS: &str = "";
const CONNECTIONS: &str = "conn_log.";

/// What was asked for.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) scheme: &'static str,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) path: Option<PathAndQuery>,
    pub(crate) version: Version,
}

/// A request, as its line tells of it.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    pub(crate) kind: &'static str,
    pub(crate) balancer: Arc<str>,
    pub(crate) client: Option<SocketAddr>,
    pub(crate) target: Option<SocketAddr>,
    pub(crate) request_time: Option<Duration>,
    pub(crate) target_time: Option<Duration>,
    pub(crate) response_time: Option<Duration>,
    pub(crate) status: u16,
    pub(crate) target_status: Option<u16>,
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) asked: Asked,
    pub(crate) user_agent: Option<HeaderValue>,
    pub(crate) tls: Option<Arc<TlsFacts>>,
    pub(crate) group: Option<Arc<str>>,
    pub(crate) trace: Option<HeaderValue>,
    /// Of the connection that it came on.
    pub(crate) connection: u128,
    pub(crate) priority: Option<u32>,
    /// Since 1970, as `ended`.
    pub(crate) started: Duration,
    pub(crate) ended: Duration,
    pub(crate) action: &'static str,
    pub(crate) classification: Option<(&'static str, &'static str)>,
}

impl Entry {
    /// Lays the line out, without its end. `groups` is what ARNs of target groups begin with.
    fn lay_out(&self, line: &mut Line<'_>, groups: &str) {
        line.text(self.kind).space().time(self.ended).space();
        line.text(&self.balancer).space().address(self.client).space();
        let target = line.0.len();
        line.address(self.target);
        let target = target..line.0.len();
        line.space().seconds(self.request_time).space().seconds(self.target_time);
        line.space().seconds(self.response_time).space().number(self.status.into()).space();
        let target_status = line.0.len();
        line.optional(self.target_status.map(u64::from));
        let target_status = target_status..line.0.len();
        line.space().number(self.received_bytes).space().number(self.sent_bytes);
        line.text(" \"");
        self.asked.lay_out(line);
        line.text("\" \"").quoted(said(&self.user_agent)).text("\" ");
        let tls = self.tls.as_deref();
        line.text(tls.map_or("-", |tls| or_dash(&tls.cipher))).space();
        line.text(tls.map_or("-", |tls| or_dash(tls.version))).space();
        match &self.group {
            Some(path) => line.text(groups).text(path),
            None => line.text("-"),
        };
        line.text(" \"").quoted(said(&self.trace)).text("\" \"");
        line.text(tls.and_then(|tls| tls.server_name.as_deref()).unwrap_or("-"));
        line.text("\" \"").text(tls.and_then(|tls| tls.certificate.as_deref()).unwrap_or("-"));
        line.text("\" ").number(self.priority.unwrap_or(0).into());
        line.space().time(self.started).text(" \"").text(self.action);
        let (class, reason) = self.classification.unwrap_or(("-", "-"));
        line.text("\" \"-\" \"-\" \"").again(target).text("\" \"").again(target_status);
        line.text("\" \"").text(class).text("\" \"").text(reason).text("\" ");
        // Host and path as transforms made them aren't told.
        line.trace(self.connection).text(" \"-\" \"-\" \"-\"");
    }
}

fn said(value: &Option<HeaderValue>) -> &[u8] {
    value.as_ref().map(HeaderValue::as_bytes).filter(|value| !value.is_empty()).unwrap_or(b"-")
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

impl Asked {
    fn lay_out(&self, line: &mut Line<'_>) {
        line.text(self.method.as_str()).space().text(self.scheme).text("://");
        line.quoted(self.host.as_bytes()).text(":").number(self.port.into());
        line.quoted(self.path.as_ref().map_or("/", PathAndQuery::as_str).as_bytes()).space();
        line.text(match self.version {
            Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_2 => "HTTP/2.0",
            _ => "HTTP/1.1",
        });
    }
}

/// Where a line is laid out, and the second that was written out last.
pub(crate) struct Line<'a>(&'a mut Vec<u8>, &'a mut Second);

impl Line<'_> {
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    pub(crate) fn space(&mut self) -> &mut Self {
        self.0.push(b' ');
        self
    }

    /// What stands in the buffer already.
    fn again(&mut self, range: std::ops::Range<usize>) -> &mut Self {
        self.0.extend_from_within(range);
        self
    }

    pub(crate) fn number(&mut self, number: u64) -> &mut Self {
        self.digits(number, 1)
    }

    /// A number with so many digits at least.
    fn digits(&mut self, mut number: u64, least: usize) -> &mut Self {
        let mut digits = [b'0'; 20];
        let mut at = digits.len();
        while number > 0 || digits.len() - at < least {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
        }
        self.0.extend_from_slice(&digits[at..]);
        self
    }

    fn optional(&mut self, number: Option<u64>) -> &mut Self {
        match number {
            Some(number) => self.number(number),
            None => self.text("-"),
        }
    }

    /// To the millisecond; -1 is what there is none of.
    pub(crate) fn seconds(&mut self, duration: Option<Duration>) -> &mut Self {
        let Some(duration) = duration else { return self.text("-1") };
        let millis = (duration.as_micros().min(u128::from(u64::MAX - 500)) as u64 + 500) / 1000;
        self.number(millis / 1000).text(".").digits(millis % 1000, 3)
    }

    fn address(&mut self, address: Option<SocketAddr>) -> &mut Self {
        match address {
            Some(SocketAddr::V4(address)) => {
                let [a, b, c, d] = address.ip().octets().map(u64::from);
                self.number(a).text(".").number(b).text(".").number(c).text(".").number(d);
                self.text(":").number(address.port().into())
            }
            Some(address) => {
                // Writing to a Vec can't fail.
                let _ = write!(self.0, "{address}");
                self
            }
            None => self.text("-"),
        }
    }

    /// ISO 8601 with microseconds.
    pub(crate) fn time(&mut self, at: Duration) -> &mut Self {
        let second = self.1.of(at.as_secs());
        self.0.extend_from_slice(second.as_bytes());
        self.text(".").digits(at.subsec_micros().into(), 6).text("Z")
    }

    /// What a connection is called, in its own line and in those of its requests.
    pub(crate) fn trace(&mut self, connection: u128) -> &mut Self {
        // Writing to a Vec can't fail.
        let _ = write!(self.0, "TID_{connection:032x}");
        self
    }

    /// What stands between quotation marks.
    pub(crate) fn quoted(&mut self, text: &[u8]) -> &mut Self {
        let plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        if text.iter().all(plain) {
            self.0.extend_from_slice(text);
            return self;
        }
        for c in String::from_utf8_lossy(text).chars() {
            // Writing to a Vec can't fail.
            let _ = match c {
                '"' | '\\' => write!(self.0, "\\{c}"),
                c if c.is_control() => write!(self.0, "\\x{:02x}", u32::from(c)),
                c => write!(self.0, "{c}"),
            };
        }
        self
    }
}

/// A second as text: requests of the same second share it.
#[derive(Debug, Default)]
struct Second {
    number: u64,
    text: String,
}

impl Second {
    fn of(&mut self, number: u64) -> &str {
        if self.text.is_empty() || self.number != number {
            let at = i64::try_from(number).ok().and_then(|n| jiff::Timestamp::from_second(n).ok());
            self.text = at.unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%S").to_string();
            self.number = number;
        }
        &self.text
    }
}

/// Lines of one file.
#[derive(Debug)]
struct Column {
    log: &'static str,
    balancer: Arc<str>,
    day: u64,
    lines: Vec<u8>,
}

#[derive(Debug, Default)]
struct Lines {
    columns: Vec<Column>,
    bytes: usize,
    dropped: u64,
    second: Second,
}

/// What one worker writes on.
#[derive(Debug, Clone)]
pub(crate) struct Sheet {
    lines: Arc<Mutex<Lines>>,
    signal: Arc<Signal>,
    /// What ARNs of target groups begin with.
    groups: Arc<str>,
}

impl Sheet {
    /// Takes a request; never waits for the disk.
    pub(crate) fn record(&self, entry: &Entry) {
        self.add(ACCESS, &entry.balancer, entry.ended, |line| entry.lay_out(line, &self.groups));
    }

    /// Takes a connection; never waits for the disk.
    pub(crate) fn connection(&self, entry: &connection_log::Entry) {
        self.add(CONNECTIONS, &entry.balancer, entry.at, |line| entry.lay_out(line));
    }

    fn add(
        &self,
        log: &'static str,
        balancer: &Arc<str>,
        at: Duration,
        lay_out: impl FnOnce(&mut Line<'_>),
    ) {
        let mut guard = lock(&self.lines);
        let lines = &mut *guard;
        if lines.bytes >= MOST {
            lines.dropped += 1;
            return;
        }
        let before = lines.bytes;
        let day = at.as_secs() / DAY;
        let same = |c: &Column| c.day == day && c.log == log && c.balancer == *balancer;
        let found = lines.columns.iter().position(same);
        let at = found.unwrap_or_else(|| {
            let balancer = Arc::clone(balancer);
            lines.columns.push(Column { log, balancer, day, lines: Vec::new() });
            lines.columns.len() - 1
        });
        let Some(column) = lines.columns.get_mut(at) else { return };
        let length = column.lines.len();
        lay_out(&mut Line(&mut column.lines, &mut lines.second));
        column.lines.push(b'\n');
        lines.bytes += column.lines.len() - length;
        let after = lines.bytes;
        drop(guard);
        if before == 0 {
            self.signal.give(|wants| wants.something = true);
        }
        if before < MANY && after >= MANY {
            self.signal.give(|wants| wants.much = true);
        }
    }
}

/// What the writing thread waits for.
#[derive(Debug, Default)]
struct Signal {
    wants: Mutex<Wants>,
    given: Condvar,
}

#[derive(Debug, Default)]
struct Wants {
    something: bool,
    much: bool,
    end: bool,
}

impl Signal {
    fn give(&self, change: impl FnOnce(&mut Wants)) {
        change(&mut lock(&self.wants));
        self.given.notify_one();
    }

    /// Waits until there is something to write; whether it goes on.
    fn wait(&self) -> bool {
        let wants = lock(&self.wants);
        let idle = |wants: &mut Wants| !wants.something && !wants.end;
        let wants = self.given.wait_while(wants, idle).unwrap_or_else(PoisonError::into_inner);
        let little = |wants: &mut Wants| !wants.much && !wants.end;
        let waited = self.given.wait_timeout_while(wants, DELAY, little);
        let mut wants = waited.unwrap_or_else(PoisonError::into_inner).0;
        (wants.something, wants.much) = (false, false);
        !wants.end
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread that writes, and the sheets that it looks at.
pub(crate) struct AccessLog {
    sheets: Arc<Mutex<Vec<Arc<Mutex<Lines>>>>>,
    signal: Arc<Signal>,
    thread: Mutex<Option<JoinHandle<()>>>,
    groups: Arc<str>,
}

impl AccessLog {
    /// Writes below a directory.
    pub(crate) fn open(directory: PathBuf, arns: Option<&ArnScope>) -> std::io::Result<Self> {
        std::fs::create_dir_all(&directory)?;
        let sheets: Arc<Mutex<Vec<Arc<Mutex<Lines>>>>> = Arc::default();
        let signal = Arc::<Signal>::default();
        let (all, waiting) = (Arc::clone(&sheets), Arc::clone(&signal));
        let thread = std::thread::Builder::new().name("access-log".into()).spawn(move || {
            let mut files = Files::new(directory);
            let mut goes_on = true;
            while goes_on {
                goes_on = waiting.wait();
                let sheets = lock(&all).clone();
                sheets.iter().for_each(|sheet| files.write(sheet));
            }
        })?;
        let groups = arns.map(|arns| arns.target_group("")).unwrap_or_default().into();
        Ok(Self { sheets, signal, thread: Mutex::new(Some(thread)), groups })
    }

    /// A sheet for a worker.
    pub(crate) fn sheet(&self) -> Sheet {
        let lines = Arc::<Mutex<Lines>>::default();
        lock(&self.sheets).push(Arc::clone(&lines));
        let (signal, groups) = (Arc::clone(&self.signal), Arc::clone(&self.groups));
        Sheet { lines, signal, groups }
    }

    /// Writes what is still there; nothing is written afterwards.
    pub(crate) fn close(&self) {
        self.signal.give(|wants| wants.end = true);
        if let Some(thread) = lock(&self.thread).take() {
            // It has told of what went wrong.
            let _ = thread.join();
        }
    }
}

struct Files {
    directory: PathBuf,
    open: HashMap<PathBuf, File>,
    day: u64,
    /// Used again and again, so that the sheets keep their memory.
    spare: Vec<Column>,
}

impl Files {
    fn new(directory: PathBuf) -> Self {
        Self { directory, open: HashMap::new(), day: 0, spare: Vec::new() }
    }

    fn write(&mut self, sheet: &Mutex<Lines>) {
        let mut columns = std::mem::take(&mut self.spare);
        let dropped = {
            let mut lines = lock(sheet);
            std::mem::swap(&mut lines.columns, &mut columns);
            lines.bytes = 0;
            std::mem::take(&mut lines.dropped)
        };
        if dropped > 0 {
            tracing::warn!(dropped, "lines of access logs came faster than they can be written");
        }
        for column in &columns {
            if column.day > self.day {
                self.open.clear();
                self.day = column.day;
            }
            self.append(column);
        }
        // What was written to lately is kept, empty.
        columns.retain(|column| !column.lines.is_empty() && column.day == self.day);
        columns.iter_mut().for_each(|column| column.lines.clear());
        self.spare = columns;
    }

    fn append(&mut self, column: &Column) {
        if column.lines.is_empty() {
            return;
        }
        let path = path(&self.directory, column);
        if !self.open.contains_key(&path) {
            match File::options().append(true).create(true).open(&path) {
                Ok(file) => drop(self.open.insert(path.clone(), file)),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "no access log");
                    return;
                }
            }
        }
        if let Some(file) = self.open.get_mut(&path)
            && let Err(error) = file.write_all(&column.lines)
        {
            tracing::warn!(path = %path.display(), %error, "an access log can't be written");
            self.open.remove(&path);
        }
    }
}

fn path(directory: &Path, column: &Column) -> PathBuf {
    let mut second = Second::default();
    let day = second.of(column.day * DAY).get(..10).unwrap_or_default().replace('-', "");
    directory.join(format!("{}{}_{day}.log", column.log, column.balancer.replace('/', ".")))
}

/// A line as text.
#[cfg(test)]
pub(crate) fn laid_out(lay_out: impl FnOnce(&mut Line<'_>)) -> String {
    let mut line = Vec::new();
    lay_out(&mut Line(&mut line, &mut Second::default()));
    String::from_utf8_lossy(&line).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            kind: "http",
            balancer: "app/a/1".into(),
            client: Some("192.0.2.1:1234".parse().unwrap()),
            target: Some("10.0.0.1:80".parse().unwrap()),
            target_time: Some(Duration::from_micros(12_500)),
            status: 200,
            target_status: Some(200),
            asked: Asked {
                scheme: "http",
                host: "a".into(),
                port: 80,
                path: Some("/\"x".parse().unwrap()),
                ..Asked::default()
            },
            user_agent: Some(HeaderValue::from_static("curl")),
            group: Some("g/1".into()),
            priority: Some(3),
            action: "forward",
            connection: 11,
            ..Entry::default()
        }
    }

    const LINE: &str = "http 1970-01-01T00:00:00.000000Z app/a/1 192.0.2.1:1234 10.0.0.1:80 -1 0.013 -1 200 200 0 0 \
         \"GET http://a:80/\\\"x HTTP/1.1\" \"curl\" - - arn:g/1 \"-\" \"-\" \"-\" 3 \
         1970-01-01T00:00:00.000000Z \"forward\" \"-\" \"-\" \"10.0.0.1:80\" \"200\" \"-\" \"-\" \
         TID_0000000000000000000000000000000b \"-\" \"-\" \"-\"";

    #[test]
    fn a_line_has_the_fields_of_the_service() {
        assert_eq!(laid_out(|line| entry().lay_out(line, "arn:")), LINE);
    }

    #[test]
    fn what_clients_say_stays_within_its_quotation_marks() {
        let line = laid_out(|line| {
            line.quoted("a\"b\\c\nd\u{e9}".as_bytes());
        });
        assert_eq!(line, "a\\\"b\\\\c\\x0ad\u{e9}");
    }

    #[test]
    fn every_line_is_in_its_days_file_when_the_log_is_closed() {
        let directory = tempfile::tempdir().unwrap();
        let log = AccessLog::open(directory.path().to_owned(), None).unwrap();
        let sheet = log.sheet();
        for second in [1, 2, DAY + 1, 3] {
            sheet.record(&Entry { ended: Duration::from_secs(second), ..entry() });
        }
        log.close();
        let lines = |day| {
            let path = directory.path().join(format!("app.a.1_{day}.log"));
            std::fs::read_to_string(path).unwrap().lines().count()
        };
        assert_eq!((lines("19700101"), lines("19700102")), (3, 1));
    }

    #[test]
    fn a_sheet_that_nobody_takes_away_stays_bounded() {
        let (lines, signal, groups) = (Arc::default(), Arc::default(), "".into());
        let sheet = Sheet { lines, signal, groups };
        let entry = entry();
        while lock(&sheet.lines).dropped == 0 {
            sheet.record(&entry);
        }
        assert!(lock(&sheet.lines).bytes < MOST + 1024);
    }
}
