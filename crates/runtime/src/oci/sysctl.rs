//! Kernel parameters that a container may set: those of namespaces that are its own.
//!
//! An OCI runtime writes them as root below /proc/sys, so that a name that leads elsewhere would
//! change the host.

use crate::spec::{IpcMode, NetworkMode};

use super::{Bundle, Error};

/// The parameters of an IPC namespace.
const OF_IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Refuses what isn't the container's own.
pub(super) fn check(bundle: &Bundle) -> Result<(), Error> {
    let refused = |name: &String, why: &str| {
        Err(Error::Runtime(format!("sysctl {name:?} can't be set: {why}")))
    };
    for (name, value) in &bundle.spec.sysctls {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !name.chars().all(plain) || name.contains("..") || value.contains(['\0', '\n']) {
            return refused(name, "not the name and value of a kernel parameter");
        }
        if name.starts_with("net.") {
            if bundle.network == NetworkMode::Host {
                return refused(name, "the network is the host's");
            }
        } else if OF_IPC.contains(&name.as_str()) || name.starts_with("fs.mqueue.") {
            if bundle.sharing.ipc == IpcMode::Host {
                return refused(name, "the IPC namespace is the host's");
            }
        } else {
            return refused(name, "it isn't namespaced");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::bundle;
    use super::*;
    use crate::spec::Sharing;

    fn allowed(name: &str, network: NetworkMode, ipc: IpcMode) -> bool {
        let mut bundle = bundle();
        bundle.network = network;
        bundle.sharing = Sharing { ipc, ..Sharing::default() };
        bundle.spec.sysctls.insert(name.to_owned(), "1".to_owned());
        check(&bundle).is_ok()
    }

    #[test]
    fn only_a_containers_own_parameters_can_be_set() {
        let own = |name| allowed(name, NetworkMode::Bridge, IpcMode::Private);
        assert!(own("net.core.somaxconn") && own("kernel.shmmax") && own("fs.mqueue.msg_max"));
        for host in [
            "kernel.panic",
            "vm.swappiness",
            "kernel.shm",
            "fs.file-max",
            "net/../kernel/panic",
            "net.../kernel.panic",
            "net..kernel",
        ] {
            assert!(!own(host), "{host}");
        }
        assert!(!allowed("net.core.somaxconn", NetworkMode::Host, IpcMode::Private));
        assert!(!allowed("kernel.shmmax", NetworkMode::Bridge, IpcMode::Host));
        assert!(allowed("kernel.shmmax", NetworkMode::Host, IpcMode::Task));
    }
}
