//! Rules for one source file: sizes, names, left-overs, and what pure crates may not call.

use std::path::Path;

use super::layers::PURE;
use super::{File, Finding};

/// A file that needs a table of contents is two files.
const FILE_LINES: usize = 800;
/// Longer functions are split, whatever they do.
const FUNCTION_LINES: usize = 90;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] =
    &["util", "utils", "helper", "helpers", "common", "manager", "managers", "misc"];

/// Left-overs, in two halves so that this file doesn't find itself.
const LEFT_OVERS: &[(&str, &str)] =
    &[("todo", "!("), ("unimplemented", "!("), ("dbg", "!("), ("#[ig", "nore")];

/// What reads the world.
const IMPURE_PATHS: &[&str] = &[
    "std::fs",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "std::env",
    "std::process",
    "std::thread",
    "SystemTime",
    "Instant::now",
    "thread_rng",
    "HashMap",
    "HashSet",
    "Timestamp::now",
    "Zoned::now",
];

/// Everything that isn't as the rules want it.
pub fn check(file: &File) -> Vec<Finding> {
    if file.path.components().any(|part| part.as_os_str() == "generated") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let mut report = |line: usize, text: String| {
        findings.push(Finding { path: file.path.clone(), line, text });
    };
    let lines: Vec<&str> = file.text.lines().collect();
    if lines.len() > FILE_LINES {
        report(0, format!("{} lines: split it ({FILE_LINES} at most)", lines.len()));
    }
    // A module of tests beside its module is explained by that one.
    let tests = file.path.ends_with("tests.rs");
    if !tests
        && !lines.iter().take(3).any(|line| line.starts_with("//!") || line.starts_with("#!["))
    {
        report(1, "no module comment: say what the module is for, beginning with //!".to_owned());
    }
    if let Some(name) = empty_name(&file.path) {
        report(0, format!("'{name}' says nothing: name it after what is inside"));
    }
    for (line, length) in long_functions(&lines) {
        report(line, format!("function of {length} lines ({FUNCTION_LINES} at most)"));
    }
    let pure =
        PURE.iter().any(|name| file.path.starts_with(Path::new("crates").join(name).join("src")));
    let mut in_tests = false;
    for (index, line) in lines.iter().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        in_tests = in_tests || code.trim() == "#[cfg(test)]";
        for (first, second) in LEFT_OVERS {
            let whole = format!("{first}{second}");
            if code.contains(&whole) {
                report(index + 1, format!("{whole}…: finish it, or take it out"));
            }
        }
        for path in IMPURE_PATHS.iter().filter(|_| pure && !in_tests) {
            if code.contains(path) {
                report(index + 1, format!("{path} in a pure crate: take it as an input"));
            }
        }
        if let Some(name) = declared(code).filter(|name| name.ends_with("Manager")) {
            report(index + 1, format!("{name}: name it after what it does"));
        }
    }
    findings
}

/// A file or directory of the path whose name says nothing.
fn empty_name(path: &Path) -> Option<String> {
    let stems = path.components().filter_map(|part| Path::new(part.as_os_str()).file_stem());
    stems
        .map(|stem| stem.to_string_lossy().into_owned())
        .find(|stem| EMPTY_NAMES.contains(&stem.as_str()))
}

/// The name of a type that a line declares.
fn declared(code: &str) -> Option<&str> {
    let mut words = code.split_whitespace().skip_while(|word| word.starts_with("pub"));
    match words.next()? {
        "struct" | "enum" | "trait" => {
            words.next()?.split(|c: char| !c.is_alphanumeric() && c != '_').next()
        }
        _ => None,
    }
}

/// First lines and lengths of the functions that are too long. Formatted code ends a function with
/// a brace in the column where it began, so indentation is all that is needed.
fn long_functions(lines: &[&str]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let words = code.split_whitespace().take_while(|word| !word.contains('('));
        let starts = code.starts_with("fn ")
            || (code.starts_with("pub") || code.starts_with("async") || code.starts_with("const"))
                && code.split_whitespace().take(5).any(|word| word == "fn")
                && words.count() <= 6;
        // One without a body, or with one that is empty, ends where it begins.
        if !starts || code.ends_with(';') || code.ends_with("{}") {
            continue;
        }
        let ends = |line: &&str| line.len() == indent + 1 && line.ends_with('}');
        let Some(length) = lines[index..].iter().position(ends) else { continue };
        if length + 1 > FUNCTION_LINES {
            found.push((index + 1, length + 1));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        let file = File { path: path.into(), text: text.to_owned() };
        check(&file).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn sizes() {
        let long = format!("//! A.\n\npub(crate) fn a() {{\n{}}}\n", "    b();\n".repeat(89));
        let expected = "crates/a/src/b.rs:3: function of 91 lines (90 at most)";
        assert_eq!(findings("crates/a/src/b.rs", &long), [expected]);
        let short = format!(
            "//! A.\n\ntrait A {{\n    fn a();\n    fn b() {{}}\n{}    }}\n",
            "\n".repeat(90)
        );
        assert!(findings("crates/a/src/b.rs", &short).is_empty());
        let file = format!("//! A.\n{}", "\n".repeat(800));
        let expected = "crates/a/src/b.rs: 801 lines: split it (800 at most)";
        assert_eq!(findings("crates/a/src/b.rs", &file), [expected]);
        assert!(findings("crates/a/src/generated/b.rs", &file).is_empty());
    }

    #[test]
    fn names_and_left_overs() {
        assert_eq!(findings("crates/a/src/utils.rs", "//! A.\n").len(), 1);
        assert_eq!(findings("crates/a/src/helpers/a.rs", "//! A.\n").len(), 1);
        assert_eq!(findings("crates/a/src/b.rs", "//! A.\npub struct TaskManager {}\n").len(), 1);
        assert_eq!(findings("crates/a/src/b.rs", "fn a() {}\n").len(), 1);
        let left = format!("//! A.\nfn a() {{\n    {}{}\n}}\n", "todo", "!()");
        assert_eq!(findings("crates/a/src/b.rs", &left).len(), 1);
    }

    #[test]
    fn pure_crates_read_nothing() {
        let text = "//! A.\nuse std::fs; // std::fs\n#[cfg(test)]\nuse std::env;\n";
        let expected = "crates/model/src/b.rs:2: std::fs in a pure crate: take it as an input";
        assert_eq!(findings("crates/model/src/b.rs", text), [expected]);
        assert!(findings("crates/agent/src/b.rs", text).is_empty());
    }
}
