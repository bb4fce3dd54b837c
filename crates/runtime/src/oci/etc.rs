//! The files in /etc that every container gets: hosts, hostname, resolv.conf.

use std::fmt::Write as _;

use crate::spec::NetworkMode;

use super::{Bundle, Error, failed};

/// What docker uses when the host has only name servers on loopback.
const FALLBACK_SERVERS: &str = "nameserver 8.8.8.8\nnameserver 8.8.4.4\n";

/// The names of the files, in the bundle and in the container's /etc.
pub(super) const FILES: [&str; 3] = ["hosts", "hostname", "resolv.conf"];

/// Writes the three files into the bundle.
pub(super) fn write(bundle: &Bundle) -> Result<(), Error> {
    let host_resolv = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let contents =
        [hosts(bundle), format!("{}\n", bundle.hostname()), resolv_conf(bundle, &host_resolv)];
    for (name, content) in FILES.into_iter().zip(contents) {
        let path = bundle.directory.join(name);
        std::fs::write(&path, content).map_err(failed(format!("write {}", path.display())))?;
    }
    Ok(())
}

/// The host's own name.
pub(super) fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

fn hosts(bundle: &Bundle) -> String {
    let mut text = match bundle.network {
        NetworkMode::Host => std::fs::read_to_string("/etc/hosts").unwrap_or_default(),
        _ => "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned(),
    };
    if let Some(address) = bundle.address {
        let _ = writeln!(text, "{address}\t{}", bundle.hostname());
    }
    for (address, names) in &bundle.links {
        let _ = writeln!(text, "{address}\t{names}");
    }
    for (name, address) in &bundle.spec.extra_hosts {
        let _ = writeln!(text, "{address}\t{name}");
    }
    text
}

fn resolv_conf(bundle: &Bundle, host: &str) -> String {
    let dns = &bundle.dns;
    let mut text = String::new();
    if dns.servers.is_empty() {
        let unreachable = |server: &str| server.starts_with("127.") || server == "::1";
        let own_network = bundle.network != NetworkMode::Host;
        let mut servers = 0;
        if let Some(resolver) = dns.resolver {
            let _ = writeln!(text, "nameserver {resolver}");
        }
        for line in host.lines() {
            if let Some(server) = line.strip_prefix("nameserver") {
                if own_network && unreachable(server.trim()) {
                    continue;
                }
                servers += 1;
            }
            let _ = writeln!(text, "{line}");
        }
        if servers == 0 {
            text.push_str(FALLBACK_SERVERS);
        }
    }
    for server in &dns.servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !dns.search.is_empty() {
        let _ = writeln!(text, "search {}", dns.search.join(" "));
    }
    if !dns.options.is_empty() {
        let _ = writeln!(text, "options {}", dns.options.join(" "));
    }
    text
}
