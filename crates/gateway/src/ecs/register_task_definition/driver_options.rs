//! `driverOpts` of docker's local driver: what it would give to mount(8).

use super::linux::is_plain_absolute;
use std::collections::BTreeMap;

/// The driver's options.
const KNOWN: &[&str] = &["type", "device", "o"];
/// What mount(8) takes for a memory file system, with their values.
const OF_MEMORY: &[&str] = &["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks"];
/// What it takes for a directory of the host.
const OF_DIRECTORY: &[&str] = &["bind", "rbind", "ro", "rw"];

/// What isn't carried out, by path.
pub(super) fn refused(options: &BTreeMap<String, String>, shared: bool, path: &str) -> Vec<String> {
    let path = format!("{path}driverOpts");
    let unknown = options.keys().filter(|key| !KNOWN.contains(&key.as_str()));
    let mut refused: Vec<String> = unknown.map(|key| format!("{path}.{key}")).collect();
    if options.is_empty() || !refused.is_empty() {
        return refused;
    }
    let text = |key: &str| options.get(key).map(String::as_str).unwrap_or_default();
    let words: Vec<&str> = text("o").split(',').filter(|word| !word.is_empty()).collect();
    let binds = words.iter().any(|word| matches!(*word, "bind" | "rbind"));
    match text("type") {
        // It would be another one for every task.
        "tmpfs" if shared => refused.push(format!("{path} of type tmpfs with scope shared")),
        "tmpfs" => {
            let bad = words.iter().filter(|word| !is_of_memory(word));
            refused.extend(bad.map(|word| format!("{path}.o {word}")));
        }
        "none" | "bind" | "" if binds => {
            let bad = words.iter().filter(|word| !OF_DIRECTORY.contains(word));
            refused.extend(bad.map(|word| format!("{path}.o {word}")));
            if !is_plain_absolute(text("device")) {
                refused.push(format!("{path}.device {}", text("device")));
            }
        }
        kind @ ("none" | "bind" | "") => {
            refused.push(format!("{path} of type {kind} without bind"));
        }
        other => refused.push(format!("{path} of type {other}")),
    }
    refused
}

fn is_of_memory(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, value)| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '%';
        OF_MEMORY.contains(&name) && !value.is_empty() && value.chars().all(plain)
    })
}
