//! Files that list packages. Each parser takes what it understands and passes over the rest: a list
//! that is half broken still tells what is in it.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The longest name or version; longer ones are none.
const MAX_TEXT_BYTES: usize = 512;

/// A package as a file lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub name: String,
    pub version: String,
}

/// What kind of list a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `/var/lib/dpkg/status` and files of `status.d`.
    Dpkg,
    /// `/lib/apk/db/installed`.
    Apk,
    /// `package-lock.json` and npm's own copy in `node_modules`.
    Npm,
    /// `yarn.lock`, of either format.
    Yarn,
    /// `requirements.txt`: what it pins.
    Requirements,
    /// `METADATA` of an installed Python distribution.
    PythonMetadata,
    /// `poetry.lock`.
    Poetry,
    /// `Cargo.lock`.
    Cargo,
    /// `go.mod`.
    GoMod,
    /// `Gemfile.lock`.
    Gemfile,
    /// `composer.lock`.
    Composer,
}

impl Kind {
    /// What a file is, by its path from the root without a slash before it.
    pub(crate) fn of(path: &str) -> Option<Self> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        match (parent, name) {
            ("var/lib/dpkg", "status") => return Some(Self::Dpkg),
            // Images without dpkg itself have one file a package there, and sums beside it.
            ("var/lib/dpkg/status.d", name) => {
                return (!name.ends_with(".md5sums")).then_some(Self::Dpkg);
            }
            ("lib/apk/db" | "usr/lib/apk/db", "installed") => return Some(Self::Apk),
            _ => {}
        }
        match name {
            "package-lock.json" | ".package-lock.json" | "npm-shrinkwrap.json" => Some(Self::Npm),
            "yarn.lock" => Some(Self::Yarn),
            "requirements.txt" => Some(Self::Requirements),
            "METADATA" if parent.ends_with(".dist-info") => Some(Self::PythonMetadata),
            "poetry.lock" => Some(Self::Poetry),
            "Cargo.lock" => Some(Self::Cargo),
            "go.mod" => Some(Self::GoMod),
            "Gemfile.lock" => Some(Self::Gemfile),
            "composer.lock" => Some(Self::Composer),
            _ => None,
        }
    }

    /// The packages that a file of this kind lists.
    pub(crate) fn parse(self, bytes: &[u8]) -> Vec<Listed> {
        let text = String::from_utf8_lossy(bytes);
        match self {
            Self::Dpkg => dpkg(&text),
            Self::Apk => apk(&text),
            Self::Npm => npm(&text),
            Self::Yarn => yarn(&text),
            Self::Requirements => requirements(&text),
            Self::PythonMetadata => metadata(&text),
            Self::Poetry => {
                let lower = |p: Listed| Listed { name: python_name(&p.name), ..p };
                toml_packages(&text, |_| true).into_iter().map(lower).collect()
            }
            // What has no source is the project itself.
            Self::Cargo => toml_packages(&text, |source| source.starts_with("registry+")),
            Self::GoMod => go_mod(&text),
            Self::Gemfile => gemfile(&text),
            Self::Composer => composer(&text),
        }
    }
}

/// What `/etc/os-release` says: `ID` and `VERSION_ID`.
pub(crate) fn os_release(bytes: &[u8]) -> (String, String) {
    let text = String::from_utf8_lossy(bytes);
    let value = |key: &str| {
        let found = text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
        found.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
    };
    (value("ID"), value("VERSION_ID"))
}

fn listed(name: &str, version: &str) -> Option<Listed> {
    let (name, version) = (name.trim(), version.trim());
    let good = |text: &str| (1..=MAX_TEXT_BYTES).contains(&text.len());
    (good(name) && good(version))
        .then(|| Listed { name: name.to_owned(), version: version.to_owned() })
}

/// The source packages of what is installed.
fn dpkg(text: &str) -> Vec<Listed> {
    let paragraph = |text: &str| {
        let field = |name: &str| {
            let of = |line: &str| {
                line.split_once(':')
                    .filter(|(key, _)| *key == name)
                    .map(|(_, v)| v.trim().to_owned())
            };
            text.lines().find_map(of)
        };
        // Removed packages whose configuration is left are still listed.
        if field("Status").is_some_and(|status| !status.ends_with(" installed")) {
            return None;
        }
        let (name, version) = (field("Package")?, field("Version")?);
        match field("Source") {
            None => listed(&name, &version),
            // `Source: glibc (2.36-9)` where the versions differ.
            Some(source) => match source.split_once(" (") {
                None => listed(&source, &version),
                Some((source, version)) => listed(source, version.trim_end_matches(')')),
            },
        }
    };
    text.split("\n\n").filter_map(paragraph).collect()
}

/// The origins of what is installed.
fn apk(text: &str) -> Vec<Listed> {
    let paragraph = |text: &str| {
        let field = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
        listed(field("o:").or_else(|| field("P:"))?, field("V:")?)
    };
    text.split("\n\n").filter_map(paragraph).collect()
}

#[derive(Deserialize)]
struct NpmLock {
    #[serde(default)]
    packages: Option<BTreeMap<String, NpmPackage>>,
    #[serde(default)]
    dependencies: BTreeMap<String, NpmPackage>,
}

#[derive(Deserialize)]
struct NpmPackage {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    version: Option<String>,
    /// Of the format before npm 7; now it holds ranges, which don't matter.
    #[serde(default)]
    dependencies: Option<NpmTree>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NpmTree {
    Packages(BTreeMap<String, NpmPackage>),
    Ranges(serde::de::IgnoredAny),
}

fn npm(text: &str) -> Vec<Listed> {
    let Ok(lock) = serde_json::from_str::<NpmLock>(text) else { return Vec::new() };
    let mut found = Vec::new();
    if let Some(packages) = lock.packages {
        for (path, package) in packages {
            // The project itself has the empty path, and what is linked lies elsewhere.
            let Some((_, name)) = path.rsplit_once("node_modules/") else { continue };
            let name = package.name.as_deref().unwrap_or(name);
            found.extend(listed(name, package.version.as_deref().unwrap_or_default()));
        }
        return found;
    }
    // The format before npm 7: trees. The depth of JSON that is read bounds this.
    let mut pending = vec![lock.dependencies];
    while let Some(tree) = pending.pop() {
        for (name, package) in tree {
            found.extend(listed(&name, package.version.as_deref().unwrap_or_default()));
            if let Some(NpmTree::Packages(below)) = package.dependencies {
                pending.push(below);
            }
        }
    }
    found
}

/// Both formats have an unindented line of ranges, and the version below it.
fn yarn(text: &str) -> Vec<Listed> {
    let mut found = Vec::new();
    let mut name: Option<String> = None;
    for line in text.lines() {
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        if !line.starts_with(' ') {
            let first = line.split(',').next().unwrap_or_default().trim();
            let first = first.trim_end_matches(':').trim_matches('"');
            // The last `@` that isn't a scope's: `@babel/core@^7.0.0`, `left-pad@npm:^1`.
            let at = first.char_indices().skip(1).find(|(_, c)| *c == '@');
            name = at.map(|(at, _)| first[..at].to_owned()).filter(|name| !name.is_empty());
        } else if let Some(rest) = line.trim().strip_prefix("version")
            && let Some(name) = name.take()
        {
            found.extend(listed(&name, rest.trim_start_matches(':').trim().trim_matches('"')));
        }
    }
    // Yarn's own workspaces stand there, too, with a version that says so.
    found.retain(|package| package.version != "0.0.0-use.local");
    found
}

/// PEP 503.
fn python_name(name: &str) -> String {
    let parts = name.split(['-', '_', '.']).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

fn requirements(text: &str) -> Vec<Listed> {
    let line = |line: &str| {
        let line = line.split(['#', ';']).next()?.split(" --").next()?.trim();
        let (name, version) = line.split_once("==")?;
        let name = name.split('[').next()?.trim();
        let version = version.trim_start_matches('=').trim().trim_end_matches('\\').trim();
        let plain = !version.contains(['*', ',', ' ']);
        listed(&python_name(name), version).filter(|_| plain)
    };
    text.lines().filter_map(line).collect()
}

fn metadata(text: &str) -> Vec<Listed> {
    let head = text.split("\n\n").next().unwrap_or_default();
    let field = |key: &str| head.lines().find_map(|line| line.strip_prefix(key));
    let (name, version) = (field("Name:"), field("Version:"));
    listed(&python_name(name.unwrap_or_default()), version.unwrap_or_default())
        .into_iter()
        .collect()
}

/// The `[[package]]` tables of lock files that programs write, one key a line.
fn toml_packages(text: &str, source_fits: impl Fn(&str) -> bool) -> Vec<Listed> {
    let mut found = Vec::new();
    for table in text.split("[[package]]").skip(1) {
        let value = |key: &str| {
            // Sub-tables have names and versions of their own.
            let own = table.lines().skip(1).take_while(|line| !line.starts_with('['));
            own.filter_map(|line| line.split_once('='))
                .find(|(found, _)| found.trim() == key)
                .map(|(_, value)| value.trim().trim_matches('"').to_owned())
                .unwrap_or_default()
        };
        if source_fits(&value("source")) {
            found.extend(listed(&value("name"), &value("version")));
        }
    }
    found
}

fn go_mod(text: &str) -> Vec<Listed> {
    let mut found = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default().trim();
        let entry = match line.strip_prefix("require") {
            Some(rest) if rest.trim() == "(" => {
                in_block = true;
                continue;
            }
            Some(rest) if rest.starts_with([' ', '\t']) => rest,
            _ if line == ")" => {
                in_block = false;
                continue;
            }
            _ if in_block => line,
            _ => continue,
        };
        let mut words = entry.split_whitespace();
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            found.extend(listed(name.trim_matches('"'), version.trim_start_matches('v')));
        }
    }
    found
}

/// Lines of four spaces below `specs:`; what a gem needs stands deeper.
fn gemfile(text: &str) -> Vec<Listed> {
    let mut found = Vec::new();
    let mut is_gem = false;
    for line in text.lines() {
        if !line.starts_with(' ') {
            is_gem = line == "GEM";
            continue;
        }
        let entry = line.strip_prefix("    ").filter(|rest| !rest.starts_with(' '));
        if let Some((name, version)) = entry.filter(|_| is_gem).and_then(|e| e.split_once(" (")) {
            let version = version.trim_end_matches(')');
            // `1.15.4-x86_64-linux`: the platform is none of the version.
            found.extend(listed(name, version.split('-').next().unwrap_or_default()));
        }
    }
    found
}

#[derive(Deserialize)]
struct ComposerLock {
    #[serde(default)]
    packages: Vec<ComposerPackage>,
    #[serde(default, rename = "packages-dev")]
    development: Vec<ComposerPackage>,
}

#[derive(Deserialize)]
struct ComposerPackage {
    name: String,
    version: String,
}

fn composer(text: &str) -> Vec<Listed> {
    let Ok(lock) = serde_json::from_str::<ComposerLock>(text) else { return Vec::new() };
    let packages = lock.packages.iter().chain(&lock.development);
    packages.filter_map(|p| listed(&p.name, p.version.trim_start_matches('v'))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str, expected: &[(&str, &str)]) {
        let kind = Kind::of(path).expect(path);
        let found = kind.parse(text.as_bytes());
        let found: Vec<_> = found.iter().map(|p| (p.name.as_str(), p.version.as_str())).collect();
        assert_eq!(found, expected, "{path}");
    }

    #[test]
    fn every_kind_of_list() {
        check(
            "var/lib/dpkg/status",
            "Package: libc6\nStatus: install ok installed\nSource: glibc (2.36-9)\nVersion: 2.36-9+b1\n\n\
             Package: tar\nStatus: install ok installed\nVersion: 1.34+dfsg-1.2\nDescription: GNU tar\n Source: none\n\n\
             Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n",
            &[("glibc", "2.36-9"), ("tar", "1.34+dfsg-1.2")],
        );
        check("var/lib/dpkg/status.d/base", "Package: base\nVersion: 12\n", &[("base", "12")]);
        assert_eq!(Kind::of("var/lib/dpkg/status.d/base.md5sums"), None);
        check(
            "lib/apk/db/installed",
            "C:Q1\nP:libssl3\nV:3.1.2-r0\no:openssl\n\nP:musl\nV:1.2.4-r1\n",
            &[("openssl", "3.1.2-r0"), ("musl", "1.2.4-r1")],
        );
        check(
            "app/package-lock.json",
            r#"{"packages": {"": {"version": "1.0.0"}, "node_modules/a/node_modules/@s/b": {"version": "2.0.0"}}}"#,
            &[("@s/b", "2.0.0")],
        );
        check(
            "app/package-lock.json",
            r#"{"dependencies": {"a": {"version": "1.0.0", "dependencies": {"b": {"version": "2.0.0"}}}}}"#,
            &[("a", "1.0.0"), ("b", "2.0.0")],
        );
        check(
            "app/yarn.lock",
            "# yarn lockfile v1\n\n\"@babel/core@^7.0.0\", \"@babel/core@^7.1.0\":\n  version \"7.2.0\"\n  \
             resolved \"x\"\n\n\"left-pad@npm:^1.0.0\":\n  version: 1.3.0\n\"me@workspace:.\":\n  version: 0.0.0-use.local\n",
            &[("@babel/core", "7.2.0"), ("left-pad", "1.3.0")],
        );
        check(
            "srv/requirements.txt",
            "Django[argon2]==4.2.1 ; python_version > '3'\nrequests>=2\nzope.interface == 5.0 --hash=sha256:x\n-r other.txt\nx==1.*\n",
            &[("django", "4.2.1"), ("zope-interface", "5.0")],
        );
        check(
            "usr/lib/python3/Jinja2-3.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: Jinja2\nVersion: 3.0\n\nVersion: not this\n",
            &[("jinja2", "3.0")],
        );
        check(
            "app/poetry.lock",
            "[[package]]\nname = \"Flask\"\nversion = \"2.0.1\"\n\n[package.dependencies]\nname = \"x\"\n\n[metadata]\nlock-version = \"2.0\"\n",
            &[("flask", "2.0.1")],
        );
        check(
            "app/Cargo.lock",
            "version = 4\n\n[[package]]\nname = \"me\"\nversion = \"0.1.0\"\n\n[[package]]\nname = \"time\"\nversion = \"0.1.40\"\nsource = \"registry+https://x\"\n",
            &[("time", "0.1.40")],
        );
        check(
            "go/go.mod",
            "module x\ngo 1.21\nrequire golang.org/x/net v0.1.0\nrequire (\n\tgolang.org/x/text v0.3.5 // indirect\n)\nexclude (\n)\n",
            &[("golang.org/x/net", "0.1.0"), ("golang.org/x/text", "0.3.5")],
        );
        check(
            "app/Gemfile.lock",
            "GIT\n  specs:\n    own (1.0)\nGEM\n  remote: https://rubygems.org/\n  specs:\n    rails (7.0.1)\n      rack (~> 2.0)\n    nokogiri (1.13.0-x86_64-linux)\n\nPLATFORMS\n  ruby\n",
            &[("rails", "7.0.1"), ("nokogiri", "1.13.0")],
        );
        check(
            "app/composer.lock",
            r#"{"packages": [{"name": "symfony/http-kernel", "version": "v5.0.0"}], "packages-dev": [{"name": "a/b", "version": "1.0"}]}"#,
            &[("symfony/http-kernel", "5.0.0"), ("a/b", "1.0")],
        );
        for kind in ["package-lock.json", "composer.lock", "yarn.lock", "Cargo.lock", "go.mod"] {
            check(kind, "\u{0}{[\"@", &[]);
        }
        let text = b"PRETTY_NAME=\"Debian\"\nVERSION_ID=\"12\"\nID=debian\n";
        assert_eq!(os_release(text), ("debian".to_owned(), "12".to_owned()));
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_odd(text in "(\\PC|\n|\\[\\[package\\]\\]|@|==| \\(|: |\\{\"packages\":|require \\(){0,40}") {
            for path in [
                "var/lib/dpkg/status", "lib/apk/db/installed", "yarn.lock", "package-lock.json", "requirements.txt",
                "a.dist-info/METADATA", "poetry.lock", "Cargo.lock", "go.mod", "Gemfile.lock", "composer.lock",
            ] {
                for package in Kind::of(path).unwrap().parse(text.as_bytes()) {
                    proptest::prop_assert!(!package.name.is_empty() && !package.version.is_empty());
                }
            }
        }
    }
}
