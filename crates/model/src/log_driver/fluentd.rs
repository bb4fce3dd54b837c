//! The driver `fluentd`: where lines go by the forward protocol, and how patiently.

use std::time::Duration;

use super::syslog::host_port;
use super::{Options, Tag, parse_duration, parse_flag, parse_size};

/// Options that are carried out, beside those that all drivers have.
pub(super) const OPTIONS: &[&str] = &[
    "fluentd-address",
    "fluentd-async",
    "fluentd-async-connect",
    "fluentd-buffer-limit",
    "fluentd-max-retries",
    "fluentd-request-ack",
    "fluentd-retry-wait",
    "fluentd-sub-second-precision",
    "tag",
];
/// Options that docker has as well.
pub(super) const OTHERS: &[&str] =
    &["fluentd-async-reconnect-interval", "fluentd-read-timeout", "fluentd-write-timeout"];

const DEFAULT_PORT: u16 = 24224;
const DEFAULT_WAIT: Duration = Duration::from_secs(1);

/// Where messages go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FluentdAddress {
    /// A server.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A unix socket, by its path.
    Unix(String),
}

/// The driver's options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fluentd {
    /// Where to.
    pub address: FluentdAddress,
    /// The mark of each message.
    pub tag: Tag,
    /// The container starts whether the receiver is there or not.
    pub is_async: bool,
    /// What is kept for the receiver at the least, in bytes.
    pub buffer_limit: Option<u64>,
    /// The pause after a failure.
    pub retry_wait: Duration,
    /// How often a message is tried again before it is given up; for ever if unset.
    pub max_retries: Option<u32>,
    /// Times have nanoseconds.
    pub sub_second: bool,
    /// Each message is acknowledged by the receiver.
    pub request_ack: bool,
}

impl Fluentd {
    /// Reads options.
    ///
    /// # Errors
    /// What is wrong, in docker's words.
    pub fn parse(options: &Options) -> Result<Self, String> {
        let option = |name: &str| options.get(name).filter(|value| !value.is_empty());
        let flag = |name: &str| {
            option(name).map_or(Ok(false), |value| {
                parse_flag(value)
                    .ok_or_else(|| format!("invalid value for {name}: {value:?} is no flag"))
            })
        };
        let number = |name: &str| {
            let parsed = option(name).map(|value| {
                value.parse::<u32>().map_err(|_| format!("invalid value for {name}: {value:?}"))
            });
            parsed.transpose()
        };
        let limit = option("fluentd-buffer-limit").map(|size| {
            parse_size(size).ok_or_else(|| format!("invalid fluentd-buffer-limit: {size}"))
        });
        let wait = option("fluentd-retry-wait").map(|wait| {
            parse_duration(wait).ok_or_else(|| format!("invalid fluentd-retry-wait: {wait}"))
        });
        let address = option("fluentd-address").map(String::as_str).unwrap_or_default();
        Ok(Self {
            address: self::address(address)
                .map_err(|why| format!("invalid fluentd-address ({address}): {why}"))?,
            tag: Tag::of(options)?,
            // The second is its name in older versions of docker.
            is_async: flag("fluentd-async")? || flag("fluentd-async-connect")?,
            buffer_limit: limit.transpose()?,
            retry_wait: wait.transpose()?.unwrap_or(DEFAULT_WAIT),
            max_retries: number("fluentd-max-retries")?,
            sub_second: flag("fluentd-sub-second-precision")?,
            request_ack: flag("fluentd-request-ack")?,
        })
    }
}

fn address(text: &str) -> Result<FluentdAddress, String> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
    match scheme {
        "unix" if rest.starts_with('/') => Ok(FluentdAddress::Unix(rest.to_owned())),
        "unix" => Err("path is empty".to_owned()),
        "tcp" if rest.contains('/') => Err("should not contain a path element".to_owned()),
        "tcp" => {
            let rest = if rest.is_empty() { ":" } else { rest };
            let rest = rest
                .strip_suffix(':')
                .map_or_else(|| rest.to_owned(), |host| format!("{host}:{DEFAULT_PORT}"));
            let (host, port) = host_port(&rest, DEFAULT_PORT).ok_or("invalid host or port")?;
            Ok(FluentdAddress::Tcp { host, port })
        }
        scheme => Err(format!("unsupported scheme: '{scheme}'")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::options_of;
    use super::*;

    fn parse(options: &[(&str, &str)]) -> Result<Fluentd, String> {
        Fluentd::parse(&options_of(options))
    }

    #[test]
    fn addresses_are_read_as_docker_reads_them() {
        let address = |text| parse(&[("fluentd-address", text)]).unwrap().address;
        let tcp = |host: &str, port| FluentdAddress::Tcp { host: host.to_owned(), port };
        assert_eq!(address(""), tcp("127.0.0.1", 24224));
        assert_eq!(address("logs:1"), tcp("logs", 1));
        assert_eq!(address("tcp://logs"), tcp("logs", 24224));
        assert_eq!(address("logs:"), tcp("logs", 24224));
        assert_eq!(address("unix:///run/f.sock"), FluentdAddress::Unix("/run/f.sock".to_owned()));
        let why = |text| parse(&[("fluentd-address", text)]).unwrap_err();
        assert_eq!(why("tls://a"), "invalid fluentd-address (tls://a): unsupported scheme: 'tls'");
        assert!(why("a/b").contains("should not contain a path element"));
        assert!(why("unix://").contains("path is empty"));
        assert!(why("a:b").contains("invalid host or port"));
    }

    #[test]
    fn the_rest_has_dockers_defaults() {
        let plain = parse(&[]).unwrap();
        assert_eq!((plain.is_async, plain.sub_second, plain.request_ack), (false, false, false));
        assert_eq!((plain.retry_wait, plain.max_retries), (Duration::from_secs(1), None));
        let all = parse(&[
            ("fluentd-async", "true"),
            ("fluentd-request-ack", "1"),
            ("fluentd-sub-second-precision", "t"),
            ("fluentd-buffer-limit", "8MB"),
            ("fluentd-retry-wait", "250ms"),
            ("fluentd-max-retries", "7"),
        ])
        .unwrap();
        assert_eq!((all.is_async, all.sub_second, all.request_ack), (true, true, true));
        assert_eq!((all.buffer_limit, all.max_retries), (Some(8 << 20), Some(7)));
        assert_eq!(all.retry_wait, Duration::from_millis(250));
        assert!(parse(&[("fluentd-async-connect", "true")]).unwrap().is_async);
        for (name, value) in [
            ("fluentd-async", "maybe"),
            ("fluentd-buffer-limit", "x"),
            ("fluentd-retry-wait", "soon"),
            ("fluentd-max-retries", "-1"),
        ] {
            assert!(parse(&[(name, value)]).unwrap_err().contains(name));
        }
    }
}
