//! Seals what the journal must not hold in clear: values of parameters and secrets.
//!
//! A value is sealed by ChaCha20-Poly1305 under one key that lies in a file of its own, for the
//! record that it is in: moved to another record it doesn't open. What a vault sealed names its key,
//! so that a wrong key is told from a damaged value; neither ever gives a wrong value.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use sha2::{Digest as _, Sha256};
use std::fmt;
use wharf_model::Sealed;
use zeroize::Zeroizing;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// The form of what is sealed.
const FORM: &str = "v1";

/// Why a value can't be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Sealed with another key.
    #[error("the value was sealed with the key {sealed}, but the server has the key {ours}")]
    OtherKey {
        /// The key that it was sealed with, by its id.
        sealed: String,
        /// The vault's key.
        ours: String,
    },
    /// The text isn't what a vault made.
    #[error("the value isn't in a form that this server knows")]
    Form,
    /// The ciphertext isn't what was sealed for this record.
    #[error("the value is damaged, or was sealed for another record")]
    Damaged,
    /// The system gives no random bytes.
    #[error("the system has no random bytes")]
    Random,
}

/// Seals and opens with one key.
pub struct Vault {
    key: LessSafeKey,
    id: String,
    random: SystemRandom,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("key", &self.id).finish_non_exhaustive()
    }
}

impl Vault {
    /// A vault with this key.
    ///
    /// # Errors
    /// Never with a key of [`KEY_BYTES`].
    pub fn new(key: &[u8; KEY_BYTES]) -> Result<Self, Error> {
        let mut hash = Sha256::new();
        hash.update(b"wharf vault key id\0");
        hash.update(key);
        let id = hex::encode(&hash.finalize()[..8]);
        let key = UnboundKey::new(&CHACHA20_POLY1305, key).map_err(|_| Error::Form)?;
        Ok(Self { key: LessSafeKey::new(key), id, random: SystemRandom::new() })
    }

    /// Names the key without telling anything of it.
    pub fn key_id(&self) -> &str {
        &self.id
    }

    /// The id of the key that something was sealed with.
    pub fn key_of(sealed: &Sealed) -> Option<&str> {
        let mut parts = sealed.as_str().split('.');
        parts.next().filter(|form| *form == FORM)?;
        parts.next()
    }

    /// Seals a value for the record that is called `name`. Nonces are random: with 96 bits, one
    /// key is good for billions of values.
    ///
    /// # Errors
    /// If the system has no random bytes.
    pub fn seal(&self, name: &str, value: &[u8]) -> Result<Sealed, Error> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| Error::Random)?;
        // With room for the tag, so that no copy of the value is left behind by a reallocation.
        let mut buffer =
            Zeroizing::new(Vec::with_capacity(value.len() + CHACHA20_POLY1305.tag_len()));
        buffer.extend_from_slice(value);
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(name.as_bytes()),
                &mut *buffer,
            )
            .map_err(|_| Error::Form)?;
        let bytes = [nonce.as_slice(), buffer.as_slice()].concat();
        Ok(Sealed::new(format!("{FORM}.{}.{}", self.id, STANDARD.encode(bytes))))
    }

    /// Opens what was sealed for the record that is called `name`.
    ///
    /// # Errors
    /// If it was sealed with another key or for another record, or is damaged.
    pub fn open(&self, name: &str, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, Error> {
        let mut parts = sealed.as_str().splitn(3, '.');
        let (Some(FORM), Some(key), Some(text)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Error::Form);
        };
        if key != self.id {
            return Err(Error::OtherKey { sealed: key.to_owned(), ours: self.id.clone() });
        }
        let mut bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| Error::Damaged)?);
        if bytes.len() < NONCE_LEN {
            return Err(Error::Damaged);
        }
        let (nonce, ciphertext) = bytes.split_at_mut(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Error::Damaged)?;
        let plain = self
            .key
            .open_in_place(nonce, Aad::from(name.as_bytes()), ciphertext)
            .map_err(|_| Error::Damaged)?;
        Ok(Zeroizing::new(plain.to_vec()))
    }

    /// Random bytes of the system.
    ///
    /// # Errors
    /// If it has none.
    pub fn fill_random(&self, bytes: &mut [u8]) -> Result<(), Error> {
        self.random.fill(bytes).map_err(|_| Error::Random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vault(byte: u8) -> Vault {
        Vault::new(&[byte; KEY_BYTES]).unwrap()
    }

    #[test]
    fn another_key_is_named_and_never_gives_a_value() {
        let (one, two) = (vault(1), vault(2));
        let sealed = one.seal("a", b"hunter2").unwrap();
        assert_eq!(Vault::key_of(&sealed), Some(one.key_id()));
        let error = two.open("a", &sealed).unwrap_err();
        assert!(matches!(error, Error::OtherKey { .. }), "{error}");
        // Also with the key's id forged.
        let forged = Sealed::new(sealed.as_str().replace(one.key_id(), two.key_id()));
        assert_eq!(two.open("a", &forged).unwrap_err(), Error::Damaged);
        assert_eq!(one.open("b", &sealed).unwrap_err(), Error::Damaged);
        for text in ["", "v1", "v1.x", "v2.x.y"] {
            assert!(one.open("a", &Sealed::new(text)).is_err(), "{text}");
        }
        assert!(!format!("{one:?} {sealed:?}").contains("hunter2"));
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens_and_a_flipped_bit_does_not(
            value in prop::collection::vec(any::<u8>(), 0..200), at in any::<usize>(), bit in 0u8..8,
        ) {
            let vault = vault(7);
            let sealed = vault.seal("name", &value).unwrap();
            prop_assert_eq!(&*vault.open("name", &sealed).unwrap(), &value);
            let (head, text) = sealed.as_str().rsplit_once('.').unwrap();
            let mut bytes = STANDARD.decode(text).unwrap();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            let damaged = Sealed::new(format!("{head}.{}", STANDARD.encode(bytes)));
            prop_assert_eq!(vault.open("name", &damaged).unwrap_err(), Error::Damaged);
        }
    }
}
