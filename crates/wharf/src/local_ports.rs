//! Ports that everybody wants, on one address of loopback, without taking them from anybody: packets to
//! them are translated to ports that nobody wants. A socket that listened on 127.80.0.1:443 would keep
//! every task from publishing 443, and every web server from listening there.

use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

/// One translation: connections of this host to `address:from` go to `address:to`.
#[derive(Debug, Clone, Copy)]
pub struct Translation {
    /// An address of loopback.
    pub address: Ipv4Addr,
    /// The port that clients connect to.
    pub from: u16,
    /// The port that is listened on.
    pub to: u16,
}

/// Before the published ports of tasks, which are translated at -100 on every local address.
const PRIORITY: i32 = -110;

fn table(instance: &str) -> String {
    format!("wharf_names_{instance}")
}

fn ruleset(instance: &str, translations: &[Translation]) -> String {
    let name = table(instance);
    let rule = |Translation { address, from, to }: &Translation| {
        format!("    ip daddr {address} tcp dport {from} dnat to {address}:{to}\n")
    };
    let rules: String = translations.iter().map(rule).collect();
    format!(
        "add table ip {name}\ndelete table ip {name}\ntable ip {name} {{\n  chain output {{\n    \
         type nat hook output priority {PRIORITY}; policy accept;\n{rules}  }}\n}}\n"
    )
}

/// Translates, in place of what this wharf translated before.
///
/// # Errors
/// If nft isn't there or refuses.
pub fn translate(instance: &str, translations: &[Translation]) -> io::Result<()> {
    nft(&ruleset(instance, translations))
}

/// Ends it. Where there is nothing to end, nothing happens.
///
/// # Errors
/// As [`translate`].
pub fn end(instance: &str) -> io::Result<()> {
    let name = table(instance);
    nft(&format!("add table ip {name}\ndelete table ip {name}\n"))
}

fn nft(commands: &str) -> io::Result<()> {
    let mut command = Command::new("nft");
    command.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(commands.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let text = String::from_utf8_lossy(&output.stderr);
            Err(io::Error::other(format!("nft: {}", text.lines().next().unwrap_or_default())))
        }
    }
}
