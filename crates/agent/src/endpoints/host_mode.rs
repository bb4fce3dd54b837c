//! Which task a connection comes from in network mode host, where the address tells nothing: the
//! socket is looked up in the kernel's table, and its holder among the task's own processes, which
//! are known by their cgroup.

use std::net::SocketAddr;
use std::path::Path;

use wharf_runtime::net::nft::METADATA_ADDRESS;

/// The most sockets that one peer port may stand for: one an address of the host.
const MAX_SOCKETS: usize = 16;

/// Whether a process in `cgroup` or below it (`/wharf-<instance>/<task>`, in any hierarchy) holds
/// the other end of a connection from `peer` to the metadata address. Reads `/proc`: not for an
/// async thread.
pub(super) fn is_held_by(cgroup: &str, peer: SocketAddr) -> bool {
    let sockets: Vec<String> = ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
        .into_iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .flat_map(|table| sockets(&table, peer.port()))
        .take(MAX_SOCKETS)
        .collect();
    if sockets.is_empty() {
        return false;
    }
    let Ok(processes) = std::fs::read_dir("/proc") else { return false };
    let mut processes = processes.flatten().filter(|entry| {
        entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit)
            && is_in(cgroup, &entry.path())
    });
    processes.any(|process| holds_any(&process.path(), &sockets))
}

/// What `/proc/<pid>/fd` shows for the sockets of a table that lead from `port` to the metadata
/// address. Addresses stand there in the machine's byte order; in the table for version 6 the
/// last part of a mapped one is the same.
fn sockets(table: &str, port: u16) -> Vec<String> {
    let address = format!("{:08X}", u32::from_ne_bytes(METADATA_ADDRESS.octets()));
    let (local, remote) = (format!(":{port:04X}"), format!("{address}:0050"));
    let of_line = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let from = fields.next()?.ends_with(&local);
        let to = fields.next()?.ends_with(&remote);
        let inode = fields.nth(6)?;
        (from && to && inode != "0").then(|| format!("socket:[{inode}]"))
    };
    table.lines().skip(1).filter_map(of_line).collect()
}

fn is_in(cgroup: &str, process: &Path) -> bool {
    let Ok(memberships) = std::fs::read_to_string(process.join("cgroup")) else { return false };
    memberships.lines().any(|line| {
        let path = line.splitn(3, ':').nth(2).unwrap_or_default();
        path.strip_prefix(cgroup).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

fn holds_any(process: &Path, sockets: &[String]) -> bool {
    let Ok(descriptors) = std::fs::read_dir(process.join("fd")) else { return false };
    descriptors.flatten().any(|descriptor| {
        let target = std::fs::read_link(descriptor.path()).unwrap_or_default();
        target.to_str().is_some_and(|target| sockets.iter().any(|socket| socket == target))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_to_the_metadata_address_are_found_in_both_tables() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
               0: 0100007F:A2B4 02AAFEA9:0050 01 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 20 4 30 10 -1\n\
               1: 0100007F:A2B4 0100007F:0050 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4 30 10 -1\n\
               2: 0100007F:A2B5 02AAFEA9:0050 01 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 20 4 30 10 -1\n\
               3: 0000000000000000FFFF00000100007F:A2B4 0000000000000000FFFF000002AAFEA9:0050 01 00000000:00000000 00:00000000 00000000 0 0 4714 1\n\
               4: 0100007F:A2B4 02AAFEA9:0050 06 00000000:00000000 03:00000000 00000000     0        0 0 3 0\n\
            rubbish\n";
        assert_eq!(sockets(table, 0xa2b4), ["socket:[4711]", "socket:[4714]"]);
        assert!(sockets(table, 1).is_empty());
    }

    #[test]
    fn a_process_is_in_its_own_cgroup_and_in_no_neighbour() {
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = own.lines().next().unwrap().splitn(3, ':').nth(2).unwrap().to_owned();
        let this = Path::new("/proc/self");
        assert!(own == "/" || is_in(&own, this));
        assert!(!is_in(&format!("{own}x"), this));
    }
}
