//! Tokens that this server gives out and takes back: signed by one key, by one fixed algorithm, for
//! one purpose each. A token says what it is for and holds what was granted; it names no algorithm,
//! so nobody can choose one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// The longest token that is looked at.
const MAX_TOKEN_BYTES: usize = 8192;
/// Bytes of the signature.
const MAC_BYTES: usize = 32;

/// What a token is for. One made for one purpose is none for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The password of a registry's user.
    Login,
    /// The address of one layer.
    Layer,
}

impl Purpose {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Login => b"wharf registry login 1\0",
            Self::Layer => b"wharf registry layer 1\0",
        }
    }
}

/// Makes and checks tokens. Has no `Debug`.
pub struct Tokens {
    key: Zeroizing<[u8; 32]>,
}

impl Tokens {
    /// Tokens by a key that the server alone knows.
    pub fn new(key: [u8; 32]) -> Self {
        Self { key: Zeroizing::new(key) }
    }

    fn mac(&self, purpose: Purpose, content: &[u8]) -> Hmac<Sha256> {
        // HMAC takes keys of every length, so this can't fail.
        #[allow(clippy::expect_used)]
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&*self.key).expect("HMAC takes any key length");
        mac.update(purpose.label());
        mac.update(content);
        mac
    }

    /// A token for `purpose` with this content.
    pub fn issue(&self, purpose: Purpose, content: &[u8]) -> String {
        let mut bytes = self.mac(purpose, content).finalize().into_bytes().to_vec();
        bytes.extend_from_slice(content);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The content of a token that was issued for `purpose`; none of anything else.
    pub fn open(&self, purpose: Purpose, token: &str) -> Option<Vec<u8>> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (signature, content) = bytes.split_at_checked(MAC_BYTES)?;
        // In constant time.
        self.mac(purpose, content).verify_slice(signature).ok()?;
        Some(content.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn only_what_was_issued_opens(content in any::<Vec<u8>>(), at in any::<usize>(), to in any::<char>()) {
            let tokens = Tokens::new([7; 32]);
            let token = tokens.issue(Purpose::Login, &content);
            prop_assert_eq!(tokens.open(Purpose::Login, &token), Some(content));
            prop_assert_eq!(tokens.open(Purpose::Layer, &token), None);
            prop_assert_eq!(Tokens::new([8; 32]).open(Purpose::Login, &token), None);
            let mut other: Vec<char> = token.chars().collect();
            let at = at % other.len();
            if other[at] != to {
                other[at] = to;
                let other: String = other.into_iter().collect();
                prop_assert_eq!(tokens.open(Purpose::Login, &other), None);
            }
        }
    }
}
