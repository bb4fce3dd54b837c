//! The server's own key: seals what must not be read or changed outside of it, and derives
//! secrets that nobody else can compute.
//!
//! Sealing is ChaCha20-Poly1305 with a nonce that follows from the content, so that the same
//! request gives the same bytes in every run of it. What was sealed for one purpose doesn't open
//! for another.

use hmac::{Hmac, KeyInit, Mac};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Bytes of the key.
pub const KEY_BYTES: usize = 32;

/// The key. It has no `Debug`, and never leaves the server.
pub struct SealKey {
    root: Zeroizing<[u8; KEY_BYTES]>,
    aead: LessSafeKey,
}

impl SealKey {
    /// Takes a key over.
    pub fn new(root: [u8; KEY_BYTES]) -> Self {
        let root = Zeroizing::new(root);
        let key = mac(&root, &[b"seal"]);
        // The length is the algorithm's.
        #[allow(clippy::expect_used)]
        let key = UnboundKey::new(&CHACHA20_POLY1305, &*key).expect("a key of 32 bytes");
        Self { root, aead: LessSafeKey::new(key) }
    }

    /// 32 bytes that follow from the key, the purpose and the parts.
    pub fn derive(&self, purpose: &str, parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        let mut all = vec![purpose.as_bytes()];
        all.extend_from_slice(parts);
        mac(&self.root, &all)
    }

    /// `content`, readable and valid only for whoever has the key, for this purpose.
    pub fn seal(&self, purpose: &str, content: &[u8]) -> Vec<u8> {
        let derived = self.derive("nonce", &[purpose.as_bytes(), content]);
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&derived[..NONCE_LEN]);
        let mut bytes = content.to_vec();
        let aad = Aad::from(purpose.as_bytes());
        let nonce_value = Nonce::assume_unique_for_key(nonce);
        // Fails only for content of more than 2^38 bytes.
        match self.aead.seal_in_place_append_tag(nonce_value, aad, &mut bytes) {
            Ok(()) => [nonce.as_slice(), &bytes].concat(),
            Err(_) => Vec::new(),
        }
    }

    /// What was sealed for this purpose; none if it wasn't, or was changed.
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, bytes) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut bytes = Zeroizing::new(bytes.to_vec());
        let aad = Aad::from(purpose.as_bytes());
        let length = self.aead.open_in_place(nonce, aad, &mut bytes).ok()?.len();
        bytes.truncate(length);
        Some(bytes)
    }
}

/// HMAC-SHA256 over the parts, each with its length before it.
fn mac(key: &[u8; KEY_BYTES], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    // HMAC takes keys of every length, so this can't fail.
    #[allow(clippy::expect_used)]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes any key length");
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_for_its_purpose_unchanged_only() {
        let key = SealKey::new([7; KEY_BYTES]);
        let sealed = key.seal("a", b"text");
        assert_eq!(sealed, key.seal("a", b"text"));
        assert_ne!(sealed, key.seal("b", b"text"));
        assert_eq!(key.open("a", &sealed).unwrap().as_slice(), b"text");
        assert!(key.open("b", &sealed).is_none());
        assert!(SealKey::new([8; KEY_BYTES]).open("a", &sealed).is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key.open("a", &changed).is_none(), "byte {at}");
            assert!(key.open("a", &sealed[..at]).is_none(), "cut at {at}");
        }
        assert_ne!(*key.derive("a", &[b"b", b"c"]), *key.derive("a", &[b"bc"]));
    }
}
