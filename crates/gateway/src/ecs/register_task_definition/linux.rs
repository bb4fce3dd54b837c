//! `linuxParameters` and `systemControls` of a container: checked, and put into the record's form.

use super::{Error, word};
use wharf_model::NetworkMode;
use wharf_model::container_settings::{
    Device, IpcMode, KernelCapabilities, LinuxParameters, Tmpfs,
};
use wharf_wire::ecs::types;

/// What ECS takes for capabilities (ECS API `KernelCapabilities$add`).
const CAPABILITIES: &[&str] = &[
    "ALL",
    "AUDIT_CONTROL",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "SYSLOG",
    "WAKE_ALARM",
];
/// Options of a new memory file system. Those that change or share a mount that is there already
/// (`remount`, `bind`, `shared` and their kind) say nothing about a new one.
const TMPFS_OPTIONS: &[&str] = &[
    "defaults",
    "ro",
    "rw",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "exec",
    "noexec",
    "sync",
    "async",
    "dirsync",
    "mand",
    "nomand",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "private",
    "rprivate",
];
/// Those of them that have a value.
const TMPFS_VALUES: &[&str] = &["mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"];
/// Kernel parameters of an IPC namespace (ECS API `SystemControl$value`).
const IPC_CONTROLS: &[&str] = &[
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// The profile of AppArmor that a security option names, as docker writes it with either mark.
pub(super) fn apparmor(option: &str) -> Option<&str> {
    let rest = option.strip_prefix("apparmor")?;
    rest.strip_prefix([':', '=']).filter(|profile| !profile.is_empty())
}

/// The parameters of the container as sent.
pub(super) fn parameters(
    container: &str,
    sent: &types::LinuxParameters,
    limited: bool,
) -> Result<LinuxParameters, Error> {
    let setting = |member| Error::ContainerSetting { member, container: container.to_owned() };
    if sent.shared_memory_size.is_some_and(|mib| mib < 0) {
        return Err(setting("sharedMemorySize"));
    }
    // What is added to the memory limit needs one.
    if sent.max_swap.is_some_and(|mib| mib < 0 || !limited) {
        return Err(setting("maxSwap"));
    }
    if sent.swappiness.is_some_and(|value| !(0..=100).contains(&value)) {
        return Err(setting("swappiness"));
    }
    let tmpfs = sent.tmpfs.as_ref().map(|all| {
        let known = all.iter().map(|tmpfs| self::tmpfs(container, tmpfs));
        known.collect::<Result<Vec<_>, _>>()
    });
    let devices = sent.devices.as_ref().map(|all| {
        all.iter().map(|device| self::device(container, device)).collect::<Result<Vec<_>, _>>()
    });
    Ok(LinuxParameters {
        capabilities: sent.capabilities.as_ref().map(capabilities).transpose()?,
        devices: devices.transpose()?,
        init_process_enabled: sent.init_process_enabled,
        shared_memory_size: sent.shared_memory_size,
        tmpfs: tmpfs.transpose()?,
        max_swap: sent.max_swap,
        swappiness: sent.swappiness,
    })
}

fn capabilities(sent: &types::KernelCapabilities) -> Result<KernelCapabilities, Error> {
    let unknown = |name: &&String| !CAPABILITIES.contains(&name.as_str());
    let all = sent.add.iter().flatten().chain(sent.drop.iter().flatten());
    match all.clone().find(unknown) {
        Some(_) => {
            Err(Error::NotAWord { member: "linuxParameters.capabilities", allowed: CAPABILITIES })
        }
        None => Ok(KernelCapabilities { add: sent.add.clone(), drop: sent.drop.clone() }),
    }
}

fn device(container: &str, sent: &types::Device) -> Result<Device, Error> {
    let setting = |member| Error::ContainerSetting { member, container: container.to_owned() };
    let host_path = sent.host_path.clone().filter(|path| !path.is_empty());
    let host_path = host_path.ok_or(Error::Required("Device.hostPath"))?;
    let container_path = sent.container_path.clone().filter(|path| !path.is_empty());
    if !is_plain_absolute(&host_path) {
        return Err(setting("hostPath"));
    }
    // /dev is the one place that no image and no other container can prepare.
    let inside = container_path.as_ref().unwrap_or(&host_path);
    if !is_plain_absolute(inside) || !inside.starts_with("/dev/") {
        return Err(setting("containerPath"));
    }
    let permission = |sent: &types::DeviceCgroupPermission| {
        let allowed = types::DeviceCgroupPermission::VALUES;
        word("permissions", sent.unknown(), allowed, sent.as_str())
    };
    let permissions = sent.permissions.as_ref();
    let permissions =
        permissions.map(|all| all.iter().map(permission).collect::<Result<Vec<_>, _>>());
    Ok(Device { host_path, container_path, permissions: permissions.transpose()? })
}

fn tmpfs(container: &str, sent: &types::Tmpfs) -> Result<Tmpfs, Error> {
    let setting = |member| Error::ContainerSetting { member, container: container.to_owned() };
    let container_path = sent.container_path.clone().filter(|path| !path.is_empty());
    let container_path = container_path.ok_or(Error::Required("Tmpfs.containerPath"))?;
    if !is_plain_absolute(&container_path) {
        return Err(setting("containerPath"));
    }
    let size = sent.size.ok_or(Error::Required("Tmpfs.size"))?;
    if size <= 0 {
        return Err(setting("size"));
    }
    if !sent.mount_options.iter().flatten().all(|option| is_tmpfs_option(option)) {
        return Err(setting("mountOptions"));
    }
    Ok(Tmpfs { container_path, size, mount_options: sent.mount_options.clone() })
}

fn is_tmpfs_option(option: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '=');
    match option.split_once('=') {
        Some((name, value)) => {
            TMPFS_VALUES.contains(&name) && !value.is_empty() && value.chars().all(plain)
        }
        None => TMPFS_OPTIONS.contains(&option),
    }
}

/// Absolute, without `..` and without the characters that lists of options and mounts split at.
pub(super) fn is_plain_absolute(path: &str) -> bool {
    path.starts_with('/')
        && !path.contains(['\0', '\n', ':'])
        && !path.split('/').any(|component| component == "..")
}

/// `systemControls`: those that the container has for itself.
pub(super) fn controls(
    container: &str,
    sent: &[types::SystemControl],
    mode: NetworkMode,
    ipc: Option<IpcMode>,
) -> Result<Vec<(String, String)>, Error> {
    let mut controls: Vec<(String, String)> = Vec::with_capacity(sent.len());
    for control in sent {
        let name = control.namespace.clone().filter(|name| !name.is_empty());
        let name = name.ok_or(Error::Required("SystemControl.namespace"))?;
        let value = control.value.clone().ok_or(Error::Required("SystemControl.value"))?;
        let refused =
            || Error::SystemControl { container: container.to_owned(), namespace: name.clone() };
        let of_ipc = IPC_CONTROLS.contains(&name.as_str()) || name.starts_with("fs.mqueue.");
        let of_network = name.starts_with("net.");
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !(of_ipc || of_network)
            || !name.chars().all(plain)
            || name.contains("..")
            || value.contains(['\0', '\n'])
            || controls.iter().any(|(known, _)| *known == name)
        {
            return Err(refused());
        }
        if of_network && mode == NetworkMode::Host {
            let member = "systemControls of the network";
            return Err(Error::NotInNetworkMode { member, mode: mode.as_str() });
        }
        if of_ipc && ipc == Some(IpcMode::Host) {
            return Err(refused());
        }
        controls.push((name, value));
    }
    Ok(controls)
}
