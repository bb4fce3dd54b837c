//! Compiles the containers' init: a program of its own that links nothing.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=init/init.rs");
    println!("cargo:rerun-if-changed=build.rs");
    let of = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let out = PathBuf::from(of("OUT_DIR")).join("init");
    let mut rustc = Command::new(of("RUSTC"));
    rustc.args(["--edition", "2024", "--crate-name", "init", "--crate-type", "bin"]);
    rustc.args(["--target", &of("TARGET")]);
    let options = [
        "panic=abort",
        "opt-level=s",
        "debuginfo=0",
        "strip=symbols",
        "relocation-model=static",
        "target-feature=+crt-static",
        "link-arg=-nostartfiles",
        "link-arg=-nostdlib",
        "link-arg=-static",
    ];
    for option in options {
        rustc.args(["-C", option]);
    }
    if let Ok(linker) = std::env::var("RUSTC_LINKER") {
        rustc.arg(format!("-Clinker={linker}"));
    }
    rustc.arg("-o").arg(&out).arg("init/init.rs");
    let status = rustc.status().expect("run rustc");
    assert!(status.success(), "init/init.rs doesn't compile");
}
