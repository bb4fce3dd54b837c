//! The header of the PROXY protocol, version 2, that tells a target of its client.

use std::net::SocketAddr;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY.
const VERSION_AND_COMMAND: u8 = 0x21;

/// The header for a TCP connection of a client to an address of the load balancer.
pub(super) fn header(client: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.push(VERSION_AND_COMMAND);
    match (client, to) {
        (SocketAddr::V4(client), SocketAddr::V4(to)) => {
            header.extend_from_slice(&[0x11, 0, 12]);
            header.extend_from_slice(&client.ip().octets());
            header.extend_from_slice(&to.ip().octets());
        }
        (client, to) => {
            let octets = |address: SocketAddr| match address {
                SocketAddr::V4(v4) => v4.ip().to_ipv6_mapped().octets(),
                SocketAddr::V6(v6) => v6.ip().octets(),
            };
            header.extend_from_slice(&[0x21, 0, 36]);
            header.extend_from_slice(&octets(client));
            header.extend_from_slice(&octets(to));
        }
    }
    header.extend_from_slice(&client.port().to_be_bytes());
    header.extend_from_slice(&to.port().to_be_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_the_specification_says() {
        let made = header("10.1.2.3:258".parse().unwrap(), "10.0.0.1:80".parse().unwrap());
        let mut expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
        expected.extend_from_slice(&[10, 1, 2, 3, 10, 0, 0, 1, 1, 2, 0, 80]);
        assert_eq!(made, expected);
        let made = header("[::1]:1".parse().unwrap(), "10.0.0.1:80".parse().unwrap());
        assert_eq!((made.len(), made[13]), (52, 0x21));
    }
}
