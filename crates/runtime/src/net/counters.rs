//! Interface counters of a process's network namespace.

use std::collections::BTreeMap;

use crate::state::NetworkStats;

/// The counters of every interface but loopback, as the process `pid` sees them.
pub fn of_process(pid: i32) -> BTreeMap<String, NetworkStats> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default())
}

fn parse(text: &str) -> BTreeMap<String, NetworkStats> {
    text.lines()
        .filter_map(|line| {
            let (name, counters) = line.split_once(':')?;
            let name = name.trim();
            let counters: Vec<u64> =
                counters.split_whitespace().map_while(|field| field.parse().ok()).collect();
            let [rx_bytes, rx_packets, rx_errors, rx_dropped, _, _, _, _, tx @ ..] = &counters[..]
            else {
                return None;
            };
            let [tx_bytes, tx_packets, tx_errors, tx_dropped, ..] = tx else { return None };
            let stats = NetworkStats {
                rx_bytes: *rx_bytes,
                rx_packets: *rx_packets,
                rx_errors: *rx_errors,
                rx_dropped: *rx_dropped,
                tx_bytes: *tx_bytes,
                tx_packets: *tx_packets,
                tx_errors: *tx_errors,
                tx_dropped: *tx_dropped,
            };
            (name != "lo").then(|| (name.to_owned(), stats))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn counters_are_read_by_column() {
        let text = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop
    lo:     100       1    0    0    0     0          0         0      100       1    0    0 0 0 0 0
  eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16
";
        let stats = super::parse(text);
        assert_eq!(stats.len(), 1);
        let eth0 = &stats["eth0"];
        assert_eq!((eth0.rx_bytes, eth0.rx_dropped, eth0.tx_bytes, eth0.tx_dropped), (1, 4, 9, 12));
    }
}
