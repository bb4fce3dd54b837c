//! Linux capabilities: docker's default set, and what a task definition adds and drops.

use crate::spec::Capabilities;

use super::Error;

/// docker's default set.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// Every capability by its number.
const ALL: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The set for a container, as `CAP_…` in the order of their numbers.
pub(super) fn of(wanted: &Capabilities, privileged: bool) -> Result<Vec<String>, Error> {
    let add = normal(&wanted.add)?;
    let drop = normal(&wanted.drop)?;
    let everything = |list: &[String]| list.iter().any(|name| name == "ALL");
    let holds = |list: &[String], name: &str| list.iter().any(|other| other == name);
    let granted = |name: &&&str| {
        if privileged {
            return true;
        }
        if holds(&add, name) {
            return true;
        }
        let base = if everything(&drop) {
            everything(&add)
        } else {
            everything(&add) || DEFAULT.contains(*name)
        };
        base && !holds(&drop, name)
    };
    let available = bounding_set();
    Ok(ALL
        .iter()
        .enumerate()
        // What wharf's own process lacks can't be given on; docker leaves it out as well.
        .filter(|(number, name)| available & (1 << number) != 0 || add.iter().any(|a| a == *name))
        .map(|(_, name)| name)
        .filter(|name| granted(name))
        .map(|name| format!("CAP_{name}"))
        .collect())
}

fn normal(names: &[String]) -> Result<Vec<String>, Error> {
    names
        .iter()
        .map(|name| {
            let upper = name.to_ascii_uppercase();
            let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
            if short == "ALL" || ALL.contains(&short) {
                Ok(short.to_owned())
            } else {
                Err(Error::Unknown { what: "capability", name: name.clone() })
            }
        })
        .collect()
}

/// This process's bounding set; everything if it can't be read.
fn bounding_set() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix("CapBnd:")?.trim(), 16).ok())
        .unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(add: &[&str], drop: &[&str]) -> Vec<String> {
        let strings = |list: &[&str]| list.iter().map(|name| name.to_string()).collect();
        of(&Capabilities { add: strings(add), drop: strings(drop) }, false).unwrap()
    }

    #[test]
    fn docker_rules_hold() {
        assert_eq!(set(&[], &[]).len(), 14);
        assert!(set(&[], &["ALL"]).is_empty());
        assert_eq!(set(&["NET_ADMIN"], &["ALL"]), ["CAP_NET_ADMIN"]);
        assert!(!set(&[], &["cap_kill"]).contains(&"CAP_KILL".to_owned()));
        assert!(!set(&["ALL"], &["KILL"]).contains(&"CAP_KILL".to_owned()));
        let unknown = Capabilities { add: vec!["FLY".to_owned()], drop: Vec::new() };
        assert!(of(&unknown, false).is_err());
    }
}
