//! What Cargo.lock may hold: packages of crates.io and of ours, and none that deny.toml bans. The
//! licences are cargo-deny's to check (`make deny`); this needs nothing installed.

use std::path::Path;

use super::{File, Finding};

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Packages from elsewhere and banned ones.
pub fn check(lock: &File, deny: &File) -> Vec<Finding> {
    let banned: Vec<&str> = deny.text.lines().filter_map(banned).collect();
    let mut findings = Vec::new();
    let mut report = |path: &Path, line: usize, text: String| {
        findings.push(Finding { path: path.to_owned(), line, text });
    };
    if banned.is_empty() {
        report(&deny.path, 0, "no line `{ crate = \"NAME\", …` to check Cargo.lock against".into());
    }
    for (index, line) in lock.text.lines().enumerate() {
        if let Some(name) = value(line, "name").filter(|name| banned.contains(name)) {
            report(&lock.path, index + 1, format!("{name} is banned; deny.toml says why"));
        }
        if let Some(source) = value(line, "source").filter(|source| *source != CRATES_IO) {
            report(&lock.path, index + 1, format!("{source}: only crates.io is a source"));
        }
    }
    findings
}

/// The crate of a line of deny.toml's `deny` list.
fn banned(line: &str) -> Option<&str> {
    line.trim().strip_prefix("{ crate = \"")?.split('"').next()
}

/// The text of a line `key = "text"`.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_and_banned_packages_are_found() {
        let file = |path: &str, text: &str| File { path: path.into(), text: text.to_owned() };
        let deny = file("deny.toml", "deny = [\n    { crate = \"bad\", reason = \"it is\" },\n]\n");
        let lock = format!(
            "[[package]]\nname = \"good\"\nsource = \"{CRATES_IO}\"\ndependencies = [\n \"bad\",\n]\n\
             [[package]]\nname = \"bad\"\nsource = \"git+https://example.com/bad\"\n"
        );
        let found = check(&file("Cargo.lock", &lock), &deny);
        let found: Vec<String> = found.iter().map(Finding::to_string).collect();
        let expected = [
            "Cargo.lock:8: bad is banned; deny.toml says why",
            "Cargo.lock:9: git+https://example.com/bad: only crates.io is a source",
        ];
        assert_eq!(found, expected);
        assert_eq!(check(&file("Cargo.lock", ""), &file("deny.toml", "")).len(), 1);
    }
}
