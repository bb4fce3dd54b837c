//! An operator's OCI runtime must be newer than its known holes.

use tokio::process::Command;

use crate::error::Error;
use crate::options::{OciRuntime, RuntimeOptions};

/// Refuses a runtime that is missing or, unless the options say otherwise, too old.
pub(crate) async fn check(options: &RuntimeOptions) -> Result<(), Error> {
    for runtime in std::iter::once(&options.oci_runtime).chain(options.classes.values()) {
        check_one(runtime, options.allow_old_runtime).await?;
    }
    Ok(())
}

async fn check_one(runtime: &OciRuntime, allow_old: bool) -> Result<(), Error> {
    let Some(program) = runtime.program() else { return Ok(()) };
    let path = program.path.display();
    let output = Command::new(&program.path)
        .arg("--version")
        .output()
        .await
        .map_err(|error| Error::OciRuntime(format!("run {path} --version: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let Some((name, minimum)) = runtime.minimum() else { return Ok(()) };
    match parse(name, &text) {
        None => Err(Error::OciRuntime(format!("{path} doesn't say that it is {name}"))),
        Some(version) if allow_old || is_new_enough(version, minimum) => Ok(()),
        Some([major, minor, patch]) => Err(Error::OciRuntime(format!(
            "{path} is {name} {major}.{minor}.{patch}, which has known ways out of a container; \
             at least {} is needed, or the flag that allows old runtimes",
            wanted(minimum)
        ))),
    }
}

fn parse(name: &str, text: &str) -> Option<[u32; 3]> {
    let version = text.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?.trim_start();
        Some(rest.strip_prefix("version").unwrap_or(rest).trim())
    })?;
    let mut numbers = version.split('.').map(|part| {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or(0)
    });
    Some([numbers.next()?, numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)])
}

/// Each maintained line has a lowest patch; newer lines are fine.
fn is_new_enough(version: [u32; 3], minimum: &[[u32; 3]]) -> bool {
    let same_line = minimum.iter().find(|lowest| lowest[..2] == version[..2]);
    match (same_line, minimum.last()) {
        (Some(lowest), _) => version >= *lowest,
        (None, Some(newest)) => version >= *newest,
        (None, None) => true,
    }
}

fn wanted(minimum: &[[u32; 3]]) -> String {
    let each = minimum.iter().map(|[major, minor, patch]| format!("{major}.{minor}.{patch}"));
    each.collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_within_their_line() {
        let runc: &[[u32; 3]] = &[[1, 3, 6], [1, 4, 3]];
        assert_eq!(parse("runc", "runc version 1.1.5+ds1\ncommit: x\n"), Some([1, 1, 5]));
        assert_eq!(parse("crun", "crun version 1.27\ncommit: x\n"), Some([1, 27, 0]));
        assert_eq!(parse("crun", "runc version 1.1.5\n"), None);
        let checks = [
            ([1, 1, 5], false),
            ([1, 3, 5], false),
            ([1, 3, 6], true),
            ([1, 4, 0], false),
            ([1, 4, 3], true),
            ([1, 5, 0], true),
            ([2, 0, 0], true),
        ];
        for (version, expected) in checks {
            assert_eq!(is_new_enough(version, runc), expected, "{version:?}");
        }
    }
}
