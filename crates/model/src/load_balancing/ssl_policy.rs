//! Security policies of listeners with TLS: protocols and ciphers, by the names that AWS has given
//! them (User Guide for Application Load Balancers, "Security policies").

/// The policy of a listener that names none.
pub const DEFAULT: &str = "ELBSecurityPolicy-2016-08";

/// A security policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SslPolicy {
    /// API `Name`.
    pub name: &'static str,
    /// API `SslProtocols`: `TLSv1` to `TLSv1.3`.
    pub protocols: &'static [&'static str],
    /// Its ciphers in groups, by the names of OpenSSL (RFC's for TLS 1.3).
    groups: &'static [&'static [&'static str]],
}

impl SslPolicy {
    /// API `Ciphers`, by their priority.
    pub fn ciphers(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.groups.iter().flat_map(|group| group.iter().copied())
    }

    /// Whether it has post-quantum key exchange.
    pub fn is_post_quantum(&self) -> bool {
        self.name.contains("-PQ-")
    }
}

/// The policy of this name.
pub fn find(name: &str) -> Option<&'static SslPolicy> {
    ALL.iter().find(|policy| policy.name == name)
}

type Ciphers = &'static [&'static str];

const TLS13: Ciphers =
    &["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];
const TLS13_FIPS: Ciphers = &["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"];
const ECDHE_GCM: Ciphers = &[
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
];
const ECDHE_CBC: Ciphers = &[
    "ECDHE-ECDSA-AES128-SHA256",
    "ECDHE-RSA-AES128-SHA256",
    "ECDHE-ECDSA-AES256-SHA384",
    "ECDHE-RSA-AES256-SHA384",
];
const ECDHE_SHA1: Ciphers = &[
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-RSA-AES256-SHA",
    "ECDHE-ECDSA-AES256-SHA",
];
const RSA: Ciphers = &["AES128-GCM-SHA256", "AES128-SHA256", "AES256-GCM-SHA384", "AES256-SHA256"];
const RSA_SHA1: Ciphers = &["AES128-SHA", "AES256-SHA"];
const DES: Ciphers = &["DES-CBC3-SHA"];

const FROM_1_0: Ciphers = &["TLSv1", "TLSv1.1", "TLSv1.2"];
const FROM_1_1: Ciphers = &["TLSv1.1", "TLSv1.2"];
const ONLY_1_2: Ciphers = &["TLSv1.2"];
const ONLY_1_3: Ciphers = &["TLSv1.3"];
const FROM_1_2_TO_1_3: Ciphers = &["TLSv1.2", "TLSv1.3"];
const FROM_1_1_TO_1_3: Ciphers = &["TLSv1.1", "TLSv1.2", "TLSv1.3"];
const FROM_1_0_TO_1_3: Ciphers = &["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"];

const fn policy(
    name: &'static str,
    protocols: &'static [&'static str],
    groups: &'static [Ciphers],
) -> SslPolicy {
    SslPolicy { name, protocols, groups }
}

/// All policies.
pub const ALL: &[SslPolicy] = &[
    policy(
        "ELBSecurityPolicy-2016-08",
        FROM_1_0,
        &[ECDHE_GCM, ECDHE_CBC, ECDHE_SHA1, RSA, RSA_SHA1],
    ),
    policy(
        "ELBSecurityPolicy-2015-05",
        FROM_1_0,
        &[ECDHE_GCM, ECDHE_CBC, ECDHE_SHA1, RSA, RSA_SHA1],
    ),
    policy(
        "ELBSecurityPolicy-TLS-1-0-2015-04",
        FROM_1_0,
        &[ECDHE_GCM, ECDHE_CBC, ECDHE_SHA1, RSA, RSA_SHA1, DES],
    ),
    policy(
        "ELBSecurityPolicy-TLS-1-1-2017-01",
        FROM_1_1,
        &[ECDHE_GCM, ECDHE_CBC, ECDHE_SHA1, RSA, RSA_SHA1],
    ),
    policy("ELBSecurityPolicy-TLS-1-2-2017-01", ONLY_1_2, &[ECDHE_GCM, ECDHE_CBC, RSA]),
    policy(
        "ELBSecurityPolicy-TLS-1-2-Ext-2018-06",
        ONLY_1_2,
        &[ECDHE_GCM, ECDHE_CBC, ECDHE_SHA1, RSA, RSA_SHA1],
    ),
    policy("ELBSecurityPolicy-FS-2018-06", FROM_1_0, &[ECDHE_GCM, ECDHE_CBC, ECDHE_SHA1]),
    policy("ELBSecurityPolicy-FS-1-1-2019-08", FROM_1_1, &[ECDHE_GCM, ECDHE_CBC, ECDHE_SHA1]),
    policy("ELBSecurityPolicy-FS-1-2-2019-08", ONLY_1_2, &[ECDHE_GCM, ECDHE_CBC, ECDHE_SHA1]),
    policy("ELBSecurityPolicy-FS-1-2-Res-2019-08", ONLY_1_2, &[ECDHE_GCM, ECDHE_CBC]),
    policy("ELBSecurityPolicy-FS-1-2-Res-2020-10", ONLY_1_2, &[ECDHE_GCM]),
    policy("ELBSecurityPolicy-TLS13-1-3-2021-06", ONLY_1_3, &[TLS13]),
    policy("ELBSecurityPolicy-TLS13-1-2-Res-2021-06", FROM_1_2_TO_1_3, &[TLS13, ECDHE_GCM]),
    policy("ELBSecurityPolicy-TLS13-1-2-2021-06", FROM_1_2_TO_1_3, &[TLS13, ECDHE_GCM, ECDHE_CBC]),
    policy(
        "ELBSecurityPolicy-TLS13-1-2-Ext1-2021-06",
        FROM_1_2_TO_1_3,
        &[TLS13, ECDHE_GCM, ECDHE_CBC, RSA],
    ),
    policy(
        "ELBSecurityPolicy-TLS13-1-2-Ext2-2021-06",
        FROM_1_2_TO_1_3,
        &[TLS13, ECDHE_GCM, ECDHE_CBC, ECDHE_SHA1, RSA, RSA_SHA1],
    ),
    policy(
        "ELBSecurityPolicy-TLS13-1-1-2021-06",
        FROM_1_1_TO_1_3,
        &[TLS13, ECDHE_GCM, ECDHE_CBC, ECDHE_SHA1, RSA, RSA_SHA1],
    ),
    policy(
        "ELBSecurityPolicy-TLS13-1-0-2021-06",
        FROM_1_0_TO_1_3,
        &[TLS13, ECDHE_GCM, ECDHE_CBC, ECDHE_SHA1, RSA, RSA_SHA1],
    ),
    policy("ELBSecurityPolicy-TLS13-1-3-FIPS-2023-04", ONLY_1_3, &[TLS13_FIPS]),
    policy(
        "ELBSecurityPolicy-TLS13-1-2-Res-FIPS-2023-04",
        FROM_1_2_TO_1_3,
        &[TLS13_FIPS, ECDHE_GCM],
    ),
    policy(
        "ELBSecurityPolicy-TLS13-1-2-FIPS-2023-04",
        FROM_1_2_TO_1_3,
        &[TLS13_FIPS, ECDHE_GCM, ECDHE_CBC],
    ),
    policy(
        "ELBSecurityPolicy-TLS13-1-2-Ext0-FIPS-2023-04",
        FROM_1_2_TO_1_3,
        &[TLS13_FIPS, ECDHE_GCM, ECDHE_CBC, ECDHE_SHA1],
    ),
    policy(
        "ELBSecurityPolicy-TLS13-1-2-Ext1-FIPS-2023-04",
        FROM_1_2_TO_1_3,
        &[TLS13_FIPS, ECDHE_GCM, ECDHE_CBC, RSA],
    ),
    policy(
        "ELBSecurityPolicy-TLS13-1-2-Ext2-FIPS-2023-04",
        FROM_1_2_TO_1_3,
        &[TLS13_FIPS, ECDHE_GCM, ECDHE_CBC, ECDHE_SHA1, RSA, RSA_SHA1],
    ),
    policy("ELBSecurityPolicy-TLS13-1-3-PQ-2025-09", ONLY_1_3, &[TLS13]),
    policy("ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09", FROM_1_2_TO_1_3, &[TLS13, ECDHE_GCM]),
    policy(
        "ELBSecurityPolicy-TLS13-1-2-PQ-2025-09",
        FROM_1_2_TO_1_3,
        &[TLS13, ECDHE_GCM, ECDHE_CBC],
    ),
    policy(
        "ELBSecurityPolicy-TLS13-1-2-Ext1-PQ-2025-09",
        FROM_1_2_TO_1_3,
        &[TLS13, ECDHE_GCM, ECDHE_CBC, RSA],
    ),
    policy(
        "ELBSecurityPolicy-TLS13-1-2-Ext2-PQ-2025-09",
        FROM_1_2_TO_1_3,
        &[TLS13, ECDHE_GCM, ECDHE_CBC, ECDHE_SHA1, RSA, RSA_SHA1],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_policy_has_what_its_protocols_need() {
        for policy in ALL {
            assert_eq!(ALL.iter().filter(|other| other.name == policy.name).count(), 1);
            let has_1_3 = policy.protocols.contains(&"TLSv1.3");
            let cipher_of_1_3 = policy.ciphers().any(|cipher| cipher.starts_with("TLS_"));
            assert_eq!(has_1_3, cipher_of_1_3, "{}", policy.name);
        }
        assert!(find(DEFAULT).is_some());
    }
}
