//! Security policies: which versions and ciphers they stand for, as far as rustls has them. It has no
//! TLS 1.0 and 1.1, and no cipher without forward secrecy or without authenticated encryption.

use rustls::crypto::{CryptoProvider, ring};
use rustls::{CipherSuite, SupportedProtocolVersion, version};
use std::sync::Arc;

static BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
static NEW: &[&SupportedProtocolVersion] = &[&version::TLS13];
static OLD: &[&SupportedProtocolVersion] = &[&version::TLS12];

/// What a policy allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Policy {
    tls12: bool,
    tls13: bool,
    /// ECDHE-…-CHACHA20 isn't in any policy's list of TLS 1.2.
    chacha: bool,
}

/// The policy of a name; the default of the API where none is given or known.
pub(super) fn of(name: Option<&str>) -> Policy {
    let name = name.unwrap_or("ELBSecurityPolicy-2016-08");
    let tls13 = name.contains("TLS13");
    let only_13 = name.contains("TLS13-1-3");
    Policy { tls12: !only_13, tls13, chacha: tls13 }
}

impl Policy {
    pub(super) fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        match (self.tls12, self.tls13) {
            (true, true) => BOTH,
            (false, true) => NEW,
            _ => OLD,
        }
    }

    pub(super) fn provider(self) -> Arc<CryptoProvider> {
        let mut provider = ring::default_provider();
        provider.cipher_suites.retain(|suite| {
            let chacha = suite.suite() == CipherSuite::TLS13_CHACHA20_POLY1305_SHA256;
            let tls13 = suite.tls13().is_some();
            (tls13 && (self.chacha || !chacha)) || is_gcm(suite.suite())
        });
        Arc::new(provider)
    }
}

fn is_gcm(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
    )
}

/// The name of a cipher that OpenSSL, and with it Elastic Load Balancing, has for it.
pub(super) fn openssl_name(suite: CipherSuite) -> String {
    match suite {
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => {
            "ECDHE-ECDSA-AES128-GCM-SHA256".into()
        }
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => {
            "ECDHE-ECDSA-AES256-GCM-SHA384".into()
        }
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256".into(),
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384".into(),
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256".into(),
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384".into(),
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256".into(),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_the_versions_that_their_names_say() {
        let versions =
            |name| of(Some(name)).versions().iter().map(|v| v.version).collect::<Vec<_>>();
        use rustls::ProtocolVersion::{TLSv1_2, TLSv1_3};
        assert_eq!(versions("ELBSecurityPolicy-2016-08"), [TLSv1_2]);
        assert_eq!(versions("ELBSecurityPolicy-TLS-1-2-2017-01"), [TLSv1_2]);
        assert_eq!(versions("ELBSecurityPolicy-TLS13-1-2-2021-06"), [TLSv1_3, TLSv1_2]);
        assert_eq!(versions("ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09"), [TLSv1_3, TLSv1_2]);
        assert_eq!(versions("ELBSecurityPolicy-TLS13-1-3-2021-06"), [TLSv1_3]);
    }
}
