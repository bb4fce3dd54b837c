//! Whether a container listens on the TCP ports that its task definition maps.
//!
//! A process is started some milliseconds before it listens. Whoever connects by what DescribeTasks
//! says about a RUNNING task would be refused meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use procfs::ProcResult;
use procfs::net::TcpState;
use procfs::process::Process;
use tokio::time::Instant;
use wharf_runtime::spec::{PortMapping, Protocol};

/// How long a start waits for its ports at most: whoever listens later, or never, is told as
/// started all the same.
const PATIENCE: Duration = Duration::from_secs(1);
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LAST_LOOK: Duration = Duration::from_millis(25);

/// Returns once the process with the id `pid` can be reached on all TCP ports of `mappings`, has
/// ended, or a second has passed.
pub(super) async fn wait(pid: i32, mappings: &[PortMapping]) {
    // Of a range some ports may be for later.
    let single = mappings.iter().filter(|mapping| mapping.range.is_none());
    let tcp = single.filter(|mapping| mapping.protocol == Protocol::Tcp);
    let wanted: BTreeSet<u16> = tcp.map(|mapping| mapping.container_port).collect();
    if wanted.is_empty() {
        return;
    }
    let (until, mut pause) = (Instant::now() + PATIENCE, FIRST_LOOK);
    while Instant::now() < until {
        // The table is that of a whole network namespace, with `host` that of the host: it may be
        // long.
        match tokio::task::spawn_blocking(move || ports(pid)).await {
            Ok(Ok(open)) if wanted.is_subset(&open) => return,
            Ok(Ok(_)) => {}
            // The process has ended, which the runtime tells.
            Ok(Err(_)) | Err(_) => return,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LAST_LOOK);
    }
}

/// The TCP ports that are listened on in the process's network namespace, loopback aside.
fn ports(pid: i32) -> ProcResult<BTreeSet<u16>> {
    let process = Process::new(pid)?;
    // Without IPv6 in the kernel there is no such table.
    let v6 = process.tcp6().unwrap_or_default();
    let all = process.tcp()?.into_iter().chain(v6);
    let open = all
        .filter(|entry| entry.state == TcpState::Listen && !entry.local_address.ip().is_loopback());
    Ok(open.map(|entry| entry.local_address.port()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn here() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    fn mapping(container_port: u16, protocol: Protocol) -> PortMapping {
        PortMapping { container_port, host_port: 0, protocol, range: None }
    }

    #[tokio::test]
    async fn a_start_waits_until_its_ports_are_listened_on() {
        let port = TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
        let late = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            TcpListener::bind(("0.0.0.0", port)).unwrap()
        });
        wait(here(), &[mapping(port, Protocol::Tcp)]).await;
        assert!(ports(here()).unwrap().contains(&port));
        drop(late.await.unwrap());
    }

    #[tokio::test]
    async fn loopback_is_not_reachable_and_nobody_waits_for_ever() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(!ports(here()).unwrap().contains(&port));
        let begun = Instant::now();
        wait(here(), &[mapping(port, Protocol::Tcp)]).await;
        assert!(begun.elapsed() >= PATIENCE);
    }

    #[tokio::test]
    async fn without_tcp_ports_or_a_process_nobody_waits() {
        let begun = Instant::now();
        wait(here(), &[mapping(1, Protocol::Udp)]).await;
        // Process ids end far below.
        wait(i32::MAX, &[mapping(1, Protocol::Tcp)]).await;
        assert!(begun.elapsed() < PATIENCE);
    }
}
