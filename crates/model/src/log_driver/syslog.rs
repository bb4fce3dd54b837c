//! The driver `syslog`: where lines go, and how they are written.

use std::net::Ipv4Addr;

use super::{Options, Tag};

/// Options that are carried out, beside those that all drivers have.
pub(super) const OPTIONS: &[&str] =
    &["syslog-address", "syslog-facility", "syslog-format", "syslog-tls-ca-cert", "tag"];
/// Options that docker has as well.
pub(super) const OTHERS: &[&str] = &["syslog-tls-cert", "syslog-tls-key", "syslog-tls-skip-verify"];

const FACILITIES: &[&str] = &[
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp",
];
/// The first of `local0` to `local7`.
const LOCAL: u8 = 16;
const DAEMON: u8 = 3;
const DEFAULT_PORT: u16 = 514;
const LAST_FACILITY: u8 = 23;

/// How a message is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A datagram each.
    Udp,
    /// A stream.
    Tcp,
    /// A stream within TLS.
    Tls,
}

/// Where messages go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyslogAddress {
    /// The host's own syslog, at the sockets where it is looked for.
    Local,
    /// A unix socket.
    Unix {
        /// Its path.
        path: String,
        /// `unixgram`: a socket of datagrams, and nothing else.
        is_datagram: bool,
    },
    /// A server.
    Net {
        /// How.
        transport: Transport,
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
}

/// What a message looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Without the host's name, as for the host's own syslog.
    Unix,
    /// `rfc3164`.
    Rfc3164,
    /// `rfc5424`.
    Rfc5424,
    /// `rfc5424micro`: with microseconds.
    Rfc5424Micro,
}

/// The driver's options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Syslog {
    /// Where to.
    pub address: SyslogAddress,
    /// As whom: the facility's number.
    pub facility: u8,
    /// How.
    pub format: Format,
    /// The mark of each message.
    pub tag: Tag,
    /// A file on the host with certificates to believe, for TLS.
    pub ca_cert: Option<String>,
}

impl Syslog {
    /// Reads options.
    ///
    /// # Errors
    /// What is wrong, in docker's words.
    pub fn parse(options: &Options) -> Result<Self, String> {
        let option = |name: &str| options.get(name).filter(|value| !value.is_empty());
        let format = match option("syslog-format").map(String::as_str) {
            None => Format::Unix,
            Some("rfc3164") => Format::Rfc3164,
            Some("rfc5424") => Format::Rfc5424,
            Some("rfc5424micro") => Format::Rfc5424Micro,
            Some(_) => return Err("invalid syslog format".to_owned()),
        };
        Ok(Self {
            address: option("syslog-address").map_or(Ok(SyslogAddress::Local), |a| address(a))?,
            facility: option("syslog-facility").map_or(Ok(DAEMON), |name| facility(name))?,
            format,
            tag: Tag::of(options)?,
            ca_cert: option("syslog-tls-ca-cert").cloned(),
        })
    }
}

fn address(text: &str) -> Result<SyslogAddress, String> {
    let wrong = || format!("syslog-address should be in form proto://address, got {text}");
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    let transport = match scheme {
        "unix" | "unixgram" if rest.starts_with('/') => {
            let is_datagram = scheme == "unixgram";
            return Ok(SyslogAddress::Unix { path: rest.to_owned(), is_datagram });
        }
        "udp" => Transport::Udp,
        "tcp" => Transport::Tcp,
        "tcp+tls" => Transport::Tls,
        _ => return Err(wrong()),
    };
    let (host, port) = host_port(rest, DEFAULT_PORT).ok_or_else(wrong)?;
    Ok(SyslogAddress::Net { transport, host, port })
}

/// `host`, `host:port`, `[address]:port`. No host is this one.
pub(super) fn host_port(text: &str, default: u16) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = port.map_or(Some(default), |port| port.parse().ok().filter(|port| *port > 0))?;
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    if text.is_empty() || !host.chars().all(is_host) {
        return None;
    }
    let host = if host.is_empty() { Ipv4Addr::LOCALHOST.to_string() } else { host.to_owned() };
    Some((host, port))
}

fn facility(name: &str) -> Result<u8, String> {
    let known = FACILITIES.iter().position(|known| *known == name);
    let known = known.and_then(|number| u8::try_from(number).ok());
    let local = name.strip_prefix("local").and_then(|digit| digit.parse::<u8>().ok());
    let local = local.filter(|digit| *digit < 8).map(|digit| LOCAL + digit);
    let number = name.parse::<u8>().ok().filter(|number| *number <= LAST_FACILITY);
    known.or(local).or(number).ok_or_else(|| "invalid syslog facility".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::tests::options_of;
    use super::*;

    fn parse(options: &[(&str, &str)]) -> Result<Syslog, String> {
        Syslog::parse(&options_of(options))
    }

    #[test]
    fn addresses_are_read_as_docker_reads_them() {
        let address = |text| parse(&[("syslog-address", text)]).unwrap().address;
        let net = |transport, host: &str, port| SyslogAddress::Net {
            transport,
            host: host.to_owned(),
            port,
        };
        assert_eq!(address(""), SyslogAddress::Local);
        assert_eq!(address("udp://10.0.0.1:1514"), net(Transport::Udp, "10.0.0.1", 1514));
        assert_eq!(address("tcp://logs.example"), net(Transport::Tcp, "logs.example", 514));
        assert_eq!(address("tcp+tls://[::1]:6514"), net(Transport::Tls, "::1", 6514));
        assert_eq!(address("tcp://:99"), net(Transport::Tcp, "127.0.0.1", 99));
        let unix = SyslogAddress::Unix { path: "/dev/log".to_owned(), is_datagram: false };
        assert_eq!(address("unix:///dev/log"), unix);
        for wrong in [
            "10.0.0.1:514",
            "http://a",
            "udp://",
            "tcp://a:b",
            "tcp://a:0",
            "unix://x",
            "tcp://a/b",
            "tcp://[::1",
        ] {
            let why = parse(&[("syslog-address", wrong)]).unwrap_err();
            assert_eq!(
                why,
                format!("syslog-address should be in form proto://address, got {wrong}")
            );
        }
    }

    #[test]
    fn facilities_and_formats() {
        let facility = |name| parse(&[("syslog-facility", name)]).map(|syslog| syslog.facility);
        assert_eq!(facility(""), Ok(3));
        assert_eq!(facility("kern"), Ok(0));
        assert_eq!(facility("authpriv"), Ok(10));
        assert_eq!(facility("local7"), Ok(23));
        assert_eq!(facility("12"), Ok(12));
        for wrong in ["local8", "local", "24", "DAEMON", "x"] {
            assert_eq!(facility(wrong), Err("invalid syslog facility".to_owned()), "{wrong}");
        }
        assert_eq!(parse(&[("syslog-format", "rfc5424")]).unwrap().format, Format::Rfc5424);
        assert_eq!(parse(&[("syslog-format", "x")]), Err("invalid syslog format".to_owned()));
    }
}
