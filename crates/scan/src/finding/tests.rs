use super::*;
use crate::package::Ecosystem;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::Path;

fn package(ecosystem: Ecosystem, name: &str, version: &str) -> Package {
    Package { ecosystem, name: name.to_owned(), version: version.to_owned() }
}

fn debian(name: &str, version: &str) -> Package {
    package(Ecosystem::Debian("12".to_owned()), name, version)
}

fn write(directory: &Path, name: &str, record: &Value) {
    std::fs::write(directory.join(name), record.to_string()).unwrap();
}

fn record(id: &str, ecosystem: &str, name: &str, events: Value) -> Value {
    json!({"id": id, "affected": [{
        "package": {"ecosystem": ecosystem, "name": name},
        "ranges": [{"type": "ECOSYSTEM", "events": events}],
    }]})
}

fn names(database: &Database, packages: &[Package]) -> Vec<String> {
    let found = scan(database, packages, &|| false).unwrap();
    found.findings.into_iter().map(|finding| finding.name).collect()
}

#[test]
fn ranges_versions_and_releases_decide() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let events = json!([{"introduced": "0"}, {"fixed": "1.0-2"}, {"introduced": "2.0-1"}]);
    write(path, "a.json", &record("CVE-2024-1", "Debian:12", "tar", events));
    write(path, "b.json", &record("CVE-2024-2", "Debian:11", "tar", json!([{"introduced": "0"}])));
    let last = json!([{"introduced": "1.0-1"}, {"last_affected": "1.5-1"}]);
    write(path, "c.json", &record("CVE-2024-3", "Debian:12", "tar", last));
    let mut withdrawn = record("CVE-2024-4", "Debian:12", "tar", json!([{"introduced": "0"}]));
    withdrawn["withdrawn"] = json!("2024-01-01T00:00:00Z");
    write(path, "d.json", &withdrawn);
    let database = Database::new(path.to_owned());
    for (version, expected) in [
        ("0.9-1", &["CVE-2024-1"][..]),
        ("1.0-1", &["CVE-2024-1", "CVE-2024-3"]),
        ("1.0-2", &["CVE-2024-3"]),
        ("1.5-1", &["CVE-2024-3"]),
        ("1.5-2", &[]),
        ("2.0-1", &["CVE-2024-1"]),
    ] {
        assert_eq!(names(&database, &[debian("tar", version)]), expected, "{version}");
    }
    assert!(names(&database, &[debian("sed", "1")]).is_empty());
    assert!(names(&database, &[package(Ecosystem::Npm, "tar", "0.9.0")]).is_empty());
}

#[test]
fn what_a_finding_says() {
    let directory = tempfile::tempdir().unwrap();
    let mut one = record("GHSA-x", "npm", "a", json!([{"introduced": "0"}, {"fixed": "1.2.0"}]));
    one["aliases"] = json!(["CVE-2024-9"]);
    one["details"] = json!("It is bad.");
    one["severity"] =
        json!([{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]);
    one["references"] = json!([{"type": "ADVISORY", "url": "https://example.com/a"}]);
    write(directory.path(), "1.json", &one);
    let mut two = record("GHSA-y", "npm", "a", json!([{"introduced": "0"}]));
    two["database_specific"] = json!({"severity": "MODERATE"});
    // Two records of one thing are one finding.
    let mut same = record("MAL-1", "npm", "a", json!([{"introduced": "0"}]));
    same["aliases"] = json!(["CVE-2024-9"]);
    let archive = std::fs::File::create(directory.path().join("npm.zip")).unwrap();
    let mut archive = zip::ZipWriter::new(archive);
    for (name, record) in [("GHSA-y.json", &two), ("MAL-1.json", &same)] {
        archive.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(record.to_string().as_bytes()).unwrap();
    }
    archive.finish().unwrap();
    let database = Database::new(directory.path().to_owned());
    let found = scan(&database, &[package(Ecosystem::Npm, "a", "1.1.9")], &|| false).unwrap();
    let expected = Finding {
        name: "CVE-2024-9".to_owned(),
        description: Some("It is bad.".to_owned()),
        uri: "https://example.com/a".to_owned(),
        severity: Severity::Critical,
        attributes: [
            ("package_version", "1.1.9"),
            ("package_name", "a"),
            ("CVSS3_VECTOR", "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"),
            ("CVSS3_SCORE", "9.8"),
            ("fixed_in_version", "1.2.0"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec(),
    };
    assert_eq!(found.findings[0], expected);
    assert_eq!(found.findings[1].name, "GHSA-y");
    assert_eq!(found.findings[1].uri, "https://osv.dev/vulnerability/GHSA-y");
    let counts = [("CRITICAL", 1), ("MEDIUM", 1)].map(|(word, count)| (word.to_owned(), count));
    assert_eq!(found.counts(), BTreeMap::from(counts));
    assert!(found.database_ms > 1_600_000_000_000);
    // New files are seen.
    write(directory.path(), "3.json", &record("CVE-1", "npm", "a", json!([{"introduced": "0"}])));
    assert_eq!(names(&database, &[package(Ecosystem::Npm, "a", "1.1.9")]).len(), 3);
}

#[test]
fn without_records_there_is_no_result() {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::new(directory.path().to_owned());
    let refused = scan(&database, &[debian("a", "1")], &|| false);
    assert!(matches!(refused, Err(Error::EmptyDatabase(_))), "{refused:?}");
    let database = Database::new(directory.path().join("not-there"));
    let refused = scan(&database, &[debian("a", "1")], &|| false);
    assert!(matches!(refused, Err(Error::Database { .. })), "{refused:?}");
    std::fs::write(directory.path().join("x.zip"), "no zip").unwrap();
    let database = Database::new(directory.path().to_owned());
    assert!(scan(&database, &[debian("a", "1")], &|| false).is_err());
}
