//! What the balancer's bench is made of: an origin, clients, and the proxies that stand side by side.
//!
//! A network of its own holds all of it: targets need an address that a load balancer may reach, and
//! nothing of the host's is in the way of the packets. The proxies have the first core to themselves,
//! origin, clients and wharf's server share the second.

mod api;
mod load;
mod origin;
mod pace;
mod proxies;
mod scale;

pub use api::{Api, field};
pub use load::{H1, H2, Trust, connect_h2, connect_plain, connect_tls, paced, secure};
pub use origin::{ORIGIN, serve};
pub use pace::Pace;
pub use proxies::{Certificate, Kind, Proxy, start};
pub use scale::{Load, scale};

use crate::Result;
use crate::processes::run;
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, unshare};
use nix::unistd::Pid;
use std::process::Command;

/// The core of the proxies.
pub const PROXY_CORE: usize = 0;
/// The core of everything else.
pub const OTHER_CORE: usize = 1;

/// Takes this thread, and those that it starts, into a network of its own on the second core.
///
/// # Errors
/// If that isn't allowed, or there is no second core.
pub fn settle_in() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|error| format!("a network of its own: {error}"))?;
    let origin = format!("{}/32", ORIGIN.ip());
    run(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    run(Command::new("ip").args(["address", "add", &origin, "dev", "lo"]))?;
    let mut cores = CpuSet::new();
    cores.set(OTHER_CORE)?;
    sched_setaffinity(Pid::from_raw(0), &cores)
        .map_err(|e| format!("two cores are needed: {e}"))?;
    Ok(())
}

/// A command on the proxies' core.
pub fn on_proxy_core(program: &std::ffi::OsStr) -> Command {
    let mut command = Command::new("taskset");
    command.arg("-c").arg(PROXY_CORE.to_string()).arg(program);
    command
}
