//! The init of containers that want one: our own program, put beside the bundle and mounted where
//! docker has its own.

use std::os::unix::fs::OpenOptionsExt;

use serde_json::{Value, json};

use super::{Bundle, Error, failed};

/// Where docker has it.
const PATH: &str = "/sbin/docker-init";
/// The program, linked to nothing (`init/init.rs`).
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/init"));

/// Puts the program into the bundle.
pub(super) fn write(bundle: &Bundle) -> Result<(), Error> {
    if !bundle.spec.init_process {
        return Ok(());
    }
    let path = bundle.directory.join("init");
    let mut options = std::fs::File::options();
    let file = options.write(true).create(true).truncate(true).mode(0o755).open(&path);
    file.and_then(|mut file| std::io::Write::write_all(&mut file, PROGRAM))
        .map_err(failed(format!("write {}", path.display())))
}

/// The command line with the init before it; an init without a command reaps for ever.
pub(super) fn arguments(bundle: &Bundle) -> Vec<String> {
    let command = &bundle.spec.args;
    match (bundle.spec.init_process, command.is_empty()) {
        (false, _) => command.clone(),
        (true, true) => vec![PATH.to_owned()],
        (true, false) => {
            [PATH, "--"].iter().map(|text| (*text).to_owned()).chain(command.clone()).collect()
        }
    }
}

/// Where the container has it.
pub(super) fn mount(bundle: &Bundle) -> Option<Value> {
    bundle.spec.init_process.then(|| {
        json!({
            "destination": PATH,
            "type": "bind",
            "source": bundle.directory.join("init"),
            "options": ["rbind", "rprivate", "ro", "nosuid", "nodev"],
        })
    })
}
