//! `wharf env`: the shell exports that point AWS clients at this wharf.

use crate::cli::Env;
use crate::credentials::{Credentials, Error};
use crate::data_dir::DataDir;
use std::process::Command;

/// Prints the exports for a POSIX shell, or JSON.
///
/// # Errors
/// If no key is found.
pub fn run(data_dir: &DataDir, args: &Env) -> Result<(), Error> {
    let key = Credentials::find(data_dir)?;
    let disabled = "true".to_owned();
    let variables = [
        ("AWS_ENDPOINT_URL", &key.endpoint),
        ("AWS_REGION", &key.region),
        ("AWS_DEFAULT_REGION", &key.region),
        ("AWS_ACCESS_KEY_ID", &key.access_key_id),
        ("AWS_SECRET_ACCESS_KEY", &key.secret_access_key),
        // The endpoint has one name: `aws logs start-live-tail` would put another before it.
        ("AWS_DISABLE_HOST_PREFIX_INJECTION", &disabled),
    ];
    if args.json {
        let object: serde_json::Map<_, _> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).clone().into()))
            .collect();
        println!("{:#}", serde_json::Value::Object(object));
        return Ok(());
    }
    println!("unset AWS_SESSION_TOKEN AWS_PROFILE AWS_IGNORE_CONFIGURED_ENDPOINT_URLS");
    for (name, value) in variables {
        println!("export {name}='{value}'");
    }
    if let Some(version) = old_aws_cli() {
        eprintln!(
            "wharf: the aws CLI on your PATH is {version}, which ignores AWS_ENDPOINT_URL: \
             add --endpoint-url \"$AWS_ENDPOINT_URL\" to its calls, or install 2.13 or newer \
             (`pip install awscli`)"
        );
    }
    Ok(())
}

/// The version of the aws CLI if it predates AWS_ENDPOINT_URL (before 1.29 and 2.13).
pub fn old_aws_cli() -> Option<String> {
    let output = Command::new("aws").arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split_whitespace().next()?.strip_prefix("aws-cli/")?.to_owned();
    is_old(&version).then_some(version)
}

fn is_old(version: &str) -> bool {
    let mut parts = version.split('.').map_while(|p| p.parse::<u32>().ok());
    match (parts.next(), parts.next()) {
        (Some(1), Some(minor)) => minor < 29,
        (Some(2), Some(minor)) => minor < 13,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn old_versions_are_known() {
        for (version, old) in [
            ("2.9.19", true),
            ("2.13.0", false),
            ("1.27.1", true),
            ("1.45.11", false),
            ("x", false),
        ] {
            assert_eq!(super::is_old(version), old, "{version}");
        }
    }
}
