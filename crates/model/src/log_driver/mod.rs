//! Log drivers: the options that each takes and what they mean, in docker's names and words. Checked
//! when a task definition is registered, and read again by the agent that carries them out.

mod attributes;
mod fluentd;
mod syslog;
mod tag;

use std::collections::BTreeMap;
use std::time::Duration;

pub use attributes::Attributes;
pub use fluentd::{Fluentd, FluentdAddress};
pub use syslog::{Format, Syslog, SyslogAddress, Transport};
pub use tag::{Names, Tag};

/// The options of a driver, by name.
pub type Options = BTreeMap<String, String>;

/// A driver that is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// Files on the host.
    JsonFile,
    /// Files on the host, compressed once they are full. Not ECS's; docker's.
    Local,
    /// What is written goes nowhere. Not ECS's; docker's.
    None,
    /// CloudWatch Logs.
    Awslogs,
    /// Another container of the task.
    Awsfirelens,
    /// A syslog server.
    Syslog,
    /// The host's journald.
    Journald,
    /// A receiver of fluentd's forward protocol.
    Fluentd,
}

/// Options that say how much is kept for a receiver that is slow, and what happens then.
const BUFFER: &[&str] = &["mode", "max-buffer-size"];
/// Options that name what goes with each line.
const ATTRIBUTES: &[&str] = &["labels", "labels-regex", "env", "env-regex"];

impl Driver {
    /// Every driver.
    pub const ALL: [Self; 8] = [
        Self::JsonFile,
        Self::Local,
        Self::None,
        Self::Awslogs,
        Self::Awsfirelens,
        Self::Syslog,
        Self::Journald,
        Self::Fluentd,
    ];

    /// The driver of a task definition; what isn't said is `json-file`.
    pub fn parse(name: &str) -> Option<Self> {
        let name = if name.is_empty() { "json-file" } else { name };
        Self::ALL.into_iter().find(|driver| driver.as_str() == name)
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JsonFile => "json-file",
            Self::Local => "local",
            Self::None => "none",
            Self::Awslogs => "awslogs",
            Self::Awsfirelens => "awsfirelens",
            Self::Syslog => "syslog",
            Self::Journald => "journald",
            Self::Fluentd => "fluentd",
        }
    }

    /// Whether an option of that name is carried out.
    pub fn has(self, option: &str) -> bool {
        let (own, has_attributes): (&[&str], bool) = match self {
            // Passed to the router, whatever they are called.
            Self::Awsfirelens => return true,
            Self::JsonFile => (FILES, true),
            Self::Local => (FILES, false),
            Self::None => (&[], false),
            Self::Awslogs => (AWSLOGS, false),
            Self::Syslog => (syslog::OPTIONS, true),
            Self::Journald => (&["tag"], true),
            Self::Fluentd => (fluentd::OPTIONS, true),
        };
        // A file that is written to at once needs no buffer; `local` takes both words all the same.
        let has_buffer = !matches!(self, Self::JsonFile | Self::None);
        own.contains(&option)
            || has_attributes && ATTRIBUTES.contains(&option)
            || has_buffer && BUFFER.contains(&option)
    }

    /// Whether docker has an option of that name, which isn't carried out.
    pub fn lacks(self, option: &str) -> bool {
        let others: &[&str] = match self {
            Self::JsonFile => &["tag", "mode", "max-buffer-size"],
            Self::Awslogs => AWSLOGS_OTHERS,
            Self::Syslog => syslog::OTHERS,
            Self::Fluentd => fluentd::OTHERS,
            Self::Awsfirelens | Self::Journald | Self::Local | Self::None => &[],
        };
        others.contains(&option)
    }
}

/// Options of the drivers that keep files.
const FILES: &[&str] = &["max-size", "max-file", "compress"];
/// Options of the awslogs driver that are carried out, beside those of the buffer.
const AWSLOGS: &[&str] = &[
    "awslogs-create-group",
    "awslogs-datetime-format",
    "awslogs-group",
    "awslogs-multiline-pattern",
    "awslogs-region",
    "awslogs-stream-prefix",
];
/// Options that Amazon ECS takes as well.
const AWSLOGS_OTHERS: &[&str] = &[
    "awslogs-credentials-endpoint",
    "awslogs-endpoint",
    "awslogs-force-flush-interval-seconds",
    "awslogs-format",
    "awslogs-max-buffered-events",
    "tag",
];

/// Checks the values of docker's own drivers; `awslogs` and `awsfirelens` are ECS's.
///
/// # Errors
/// What is wrong, in docker's words.
pub fn check(driver: Driver, options: &Options) -> Result<(), String> {
    if let Some(mode) = options.get("mode")
        && driver != Driver::Awsfirelens
        && !matches!(mode.as_str(), "blocking" | "non-blocking")
    {
        return Err(format!("logger: logging mode not supported: {mode}"));
    }
    if let Some(size) = options.get("max-buffer-size")
        && driver != Driver::Awsfirelens
        && parse_size(size).is_none()
    {
        return Err(format!("error parsing option max-buffer-size: invalid size: '{size}'"));
    }
    match driver {
        Driver::JsonFile | Driver::Local => drop(Files::parse(driver, options)?),
        Driver::None => {}
        Driver::Syslog => drop(Syslog::parse(options)?),
        Driver::Fluentd => drop(Fluentd::parse(options)?),
        Driver::Journald => drop(Tag::of(options)?),
        Driver::Awslogs | Driver::Awsfirelens => {}
    }
    Attributes::parse(options).map(drop)
}

/// How the drivers that keep files keep them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Files {
    /// A file is full at this many bytes (`max-size`); the driver's own default unless said.
    pub max_bytes: Option<u64>,
    /// How many there are at most (`max-file`); the driver's own default unless said.
    pub max_files: Option<u32>,
    /// Full ones are compressed (`compress`).
    pub is_compressed: bool,
}

/// Docker's defaults of `local`: 20 MiB a file, five of them.
const LOCAL_BYTES: u64 = 20 << 20;
const LOCAL_FILES: u32 = 5;

impl Files {
    /// Reads the options of `json-file` or `local`.
    ///
    /// # Errors
    /// What is wrong, in docker's words.
    pub fn parse(driver: Driver, options: &Options) -> Result<Self, String> {
        let is_local = driver == Driver::Local;
        let max_bytes = match options.get("max-size") {
            Some(size) => Some(
                parse_size(size)
                    .ok_or_else(|| format!("invalid value for max-size: invalid size: '{size}'"))?,
            ),
            None => is_local.then_some(LOCAL_BYTES),
        };
        let max_files = match options.get("max-file") {
            Some(count) => Some(
                count
                    .parse()
                    .ok()
                    .filter(|count| *count > 0)
                    .ok_or("max-file cannot be less than 1")?,
            ),
            None => is_local.then_some(LOCAL_FILES),
        };
        let is_compressed = match options.get("compress") {
            Some(flag) => parse_flag(flag)
                .ok_or_else(|| format!("invalid value for compress: invalid flag: '{flag}'"))?,
            None => is_local,
        };
        // Only what is full is compressed, so there has to be a second file.
        if is_compressed && max_files.is_none_or(|count| count < 2) {
            return Err(match is_local {
                true => "compression cannot be enabled when max file count is 1".to_owned(),
                false => "compress cannot be true when max-file is less than 2 or unset".to_owned(),
            });
        }
        Ok(Self { max_bytes, max_files, is_compressed })
    }
}

/// A number of bytes with one of docker's suffixes.
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let text = text.strip_suffix('b').unwrap_or(&text);
    let (digits, shift) = match text.chars().last()? {
        'k' => (&text[..text.len() - 1], 10),
        'm' => (&text[..text.len() - 1], 20),
        'g' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let size = digits.parse::<u64>().ok()?;
    size.checked_mul(1 << shift).filter(|size| *size > 0)
}

/// A flag as Go reads it.
pub fn parse_flag(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A span of time as Go writes it: `1.5s`, `300ms`, `1m30s`.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0;
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let units = [
            ("ms", 1e-3),
            ("us", 1e-6),
            ("µs", 1e-6),
            ("ns", 1e-9),
            ("h", 3600.0),
            ("m", 60.0),
            ("s", 1.0),
        ];
        let (unit, factor) = units.into_iter().find(|(unit, _)| rest.starts_with(unit))?;
        seconds += number * factor;
        rest = &rest[unit.len()..];
    }
    if text.is_empty() { None } else { Duration::try_from_secs_f64(seconds).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(driver: Driver, options: &[(&str, &str)]) -> String {
        check(driver, &options_of(options)).unwrap_err()
    }

    pub(super) fn options_of(options: &[(&str, &str)]) -> Options {
        options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn names_go_both_ways() {
        for driver in Driver::ALL {
            assert_eq!(Driver::parse(driver.as_str()), Some(driver));
        }
        assert_eq!(Driver::parse(""), Some(Driver::JsonFile));
        assert_eq!(Driver::parse("gelf"), None);
    }

    #[test]
    fn values_are_checked_in_dockers_words() {
        let cases = [
            (Driver::Syslog, ("mode", "x"), "logger: logging mode not supported: x"),
            (
                Driver::Fluentd,
                ("max-buffer-size", "x"),
                "error parsing option max-buffer-size: invalid size: 'x'",
            ),
            (Driver::JsonFile, ("max-file", "0"), "max-file cannot be less than 1"),
            (Driver::JsonFile, ("max-size", "0"), "invalid value for max-size: invalid size: '0'"),
            (
                Driver::JsonFile,
                ("compress", "true"),
                "compress cannot be true when max-file is less than 2 or unset",
            ),
            (
                Driver::Local,
                ("max-file", "1"),
                "compression cannot be enabled when max file count is 1",
            ),
            (Driver::Local, ("compress", "x"), "invalid value for compress: invalid flag: 'x'"),
        ];
        for (driver, option, expected) in cases {
            assert_eq!(why(driver, &[option]), expected);
        }
        assert!(why(Driver::JsonFile, &[("env-regex", "(")]).contains("env-regex"));
        assert!(why(Driver::Journald, &[("tag", "{{.Foo}}")]).contains("Foo"));
        let fine = [("max-size", "10m"), ("max-file", "3"), ("labels", "a,b")];
        assert_eq!(check(Driver::JsonFile, &options_of(&fine)), Ok(()));
        assert_eq!(check(Driver::Awsfirelens, &options_of(&[("mode", "any")])), Ok(()));
    }

    #[test]
    fn files_are_kept_as_docker_keeps_them() {
        let files = |driver, options: &[(&str, &str)]| {
            let files = Files::parse(driver, &options_of(options)).unwrap();
            (files.max_bytes, files.max_files, files.is_compressed)
        };
        assert_eq!(files(Driver::JsonFile, &[]), (None, None, false));
        assert_eq!(files(Driver::Local, &[]), (Some(20 << 20), Some(5), true));
        let few = [("max-size", "1k"), ("max-file", "1"), ("compress", "false")];
        assert_eq!(files(Driver::Local, &few), (Some(1024), Some(1), false));
        for (option, has) in [("mode", true), ("compress", true), ("labels", false), ("tag", false)]
        {
            assert_eq!(Driver::Local.has(option), has, "{option}");
            assert!(!Driver::None.has(option), "{option}");
        }
    }

    #[test]
    fn sizes_and_durations() {
        assert_eq!(parse_size("25M"), Some(25 << 20));
        assert_eq!(parse_size("1kb"), Some(1 << 10));
        assert_eq!(parse_size("7"), Some(7));
        for wrong in ["", "b", "x", "-1", "0", "99999999999999g"] {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
        assert_eq!(parse_duration("1m1.5s"), Some(Duration::from_millis(61_500)));
        assert_eq!(parse_duration("300ms"), Some(Duration::from_millis(300)));
        assert_eq!(parse_duration("0"), Some(Duration::ZERO));
        for wrong in ["", "1", "s", "1x", "1..s", "ä"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }
}
