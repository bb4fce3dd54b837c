//! The layers: which of our crates may depend on which. ARCHITECTURE.md's sentence that begins
//! with "Allowed edges:" is the table, so that the page and the check can't disagree.

use std::collections::{BTreeMap, BTreeSet};

use super::{File, Finding};

/// Crates that may know no async runtime, file system, clock or random source.
pub const PURE: &[&str] = &["model", "scheduler"];

/// Packages that no pure crate depends on. Generators that only take a seed are fine.
const IMPURE_PACKAGES: &[&str] = &[
    "tokio",
    "tokio-util",
    "async-trait",
    "futures-util",
    "hyper",
    "hyper-util",
    "rand",
    "rustix",
    "nix",
    "libc",
    "tempfile",
    "tracing",
    "rtnetlink",
    "nftables",
];

type Edges = BTreeMap<String, BTreeSet<String>>;

/// Edges that the page doesn't allow, and impure dependencies of pure crates.
pub fn check(architecture: &File, manifests: &[File]) -> Vec<Finding> {
    let Some(allowed) = allowed(&architecture.text) else {
        let text = "no sentence \"Allowed edges: a → b, c; …\" to check the crates against";
        return vec![Finding { path: architecture.path.clone(), line: 0, text: text.to_owned() }];
    };
    let mut findings = Vec::new();
    for manifest in manifests.iter().filter(|file| file.path.starts_with("crates")) {
        let Some(name) = manifest.path.parent().and_then(|path| path.file_name()) else { continue };
        let name = name.to_string_lossy().into_owned();
        let mut report = |line: usize, text: String| {
            findings.push(Finding { path: manifest.path.clone(), line, text });
        };
        let targets = allowed.get(&name);
        if targets.is_none() {
            report(0, format!("crate {name} has no place in ARCHITECTURE.md's allowed edges"));
        }
        for (line, dependency) in dependencies(&manifest.text) {
            if PURE.contains(&name.as_str()) && IMPURE_PACKAGES.contains(&dependency) {
                report(line, format!("{name} is pure: it may not depend on {dependency}"));
            }
            let Some(target) = dependency.strip_prefix("wharf-") else { continue };
            let fine = targets.is_some_and(|set| set.contains(target) || set.contains("all"));
            if !fine {
                report(line, format!("{name} → {target} is not among the allowed edges"));
            }
        }
    }
    findings
}

/// `Allowed edges: a → b, c; d, e → nothing of ours.` as a map.
fn allowed(page: &str) -> Option<Edges> {
    let (_, rest) = page.split_once("Allowed edges:")?;
    let (sentence, _) = rest.split_once("nothing of ours")?;
    let mut edges = Edges::new();
    for clause in sentence.split(';') {
        let (from, to) = clause.split_once('→')?;
        let names = |list: &str| -> BTreeSet<String> {
            list.split(',').map(|name| name.trim().to_owned()).filter(|n| !n.is_empty()).collect()
        };
        for crate_name in names(from) {
            edges.entry(crate_name).or_default().extend(names(to));
        }
    }
    Some(edges)
}

/// The names in `[dependencies]` and `[target.….dependencies]` with their lines; those for tests
/// and build scripts may go where they want.
fn dependencies(manifest: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut inside = false;
    for (index, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            inside = line == "[dependencies]" || line.ends_with(".dependencies]");
        } else if inside && !line.starts_with('#') {
            let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
            if !name.is_empty() {
                found.push((index + 1, name));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.into(), text: text.to_owned() }
    }

    fn findings(manifest: &File) -> Vec<String> {
        let page = file(
            "ARCHITECTURE.md",
            "Allowed edges: wharf → all; agent → runtime,\nwire; scheduler → model;\nmodel, wire → nothing of ours.",
        );
        check(&page, std::slice::from_ref(manifest)).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn edges_that_point_up_are_found() {
        let manifest = "[dependencies]\nwharf-wire = { workspace = true }\n\
            wharf-journal.workspace = true\n[dev-dependencies]\nwharf-gateway = \"1\"\n";
        let found = findings(&file("crates/agent/Cargo.toml", manifest));
        let expected = "crates/agent/Cargo.toml:3: agent → journal is not among the allowed edges";
        assert_eq!(found, [expected]);
        assert!(findings(&file("crates/wharf/Cargo.toml", manifest)).is_empty());
        assert_eq!(findings(&file("crates/model/Cargo.toml", manifest)).len(), 2);
        assert_eq!(findings(&file("crates/novel/Cargo.toml", "")).len(), 1);
    }

    #[test]
    fn pure_crates_stay_pure() {
        let found =
            findings(&file("crates/scheduler/Cargo.toml", "[dependencies]\ntokio = \"1\"\n"));
        let expected =
            "crates/scheduler/Cargo.toml:2: scheduler is pure: it may not depend on tokio";
        assert_eq!(found, [expected]);
    }
}
