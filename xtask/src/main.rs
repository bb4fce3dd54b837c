//! Developer tasks, run as `cargo xtask TASK`. Few dependencies, so that it starts at once.

mod bench;
mod codegen;
mod fetch_cases;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask TASK

  bench launch|api|placement|registry measure, beside crun, runc, docker, etcd, nginx and moto where
                                      they are installed; see docs/benchmarks.md
  codegen [--check] [--botocore DIR]  write crates/wire/src/generated from botocore's models;
                                      with --check only compare
  fetch-cases                         get botocore's protocol cases and signature vectors, which
                                      the tests read from target/botocore-cases
  tidy                                check layers, sizes, names, left-overs, licences and sources
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.first().map(String::as_str) {
        Some("codegen") => {
            codegen::run(&workspace_root(), &arguments[1..]).map_err(|error| error.to_string())
        }
        Some("bench") => {
            bench::run(&workspace_root(), &arguments[1..]).map_err(|error| error.to_string())
        }
        Some("tidy") => tidy::run(&workspace_root()).map_err(|error| error.to_string()),
        Some("fetch-cases") => {
            fetch_cases::run(&workspace_root()).map_err(|error| error.to_string())
        }
        Some("-h" | "--help") => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The directory of the workspace's Cargo.toml.
fn workspace_root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}
