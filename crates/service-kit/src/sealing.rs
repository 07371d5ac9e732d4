//! Seals secrets with authenticated encryption (AES-256-GCM).
//!
//! A sealed value names the key it was sealed with, so keys can be rotated: the
//! first key seals, all open. The context is authenticated too: a value sealed
//! for one row cannot be passed off as another's.
//!
//! What must be recognised and never read again is kept as a fingerprint instead:
//! without the key nobody can guess what it was.

use std::sync::Arc;

use aes_gcm::aead::{Aead as _, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

/// Version byte, key id, nonce.
const HEADER: usize = 1 + 4 + 12;
const VERSION: u8 = 1;
/// Parts the key of fingerprints from the one that seals.
const FINGERPRINTS: &[u8] = b"tgmesh fingerprints 1";

/// Why a value could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealingError {
    /// No key was given.
    #[error("no sealing key is configured")]
    NoKey,
    /// A key has the wrong length.
    #[error("a sealing key must be 32 bytes")]
    KeyLength,
    /// The value was sealed with a key that is not here.
    #[error("the value was sealed with key {0:08x}, which is not configured")]
    UnknownKey(u32),
    /// The value is not one of ours, was changed, or belongs to another context.
    #[error("the sealed value is damaged or belongs elsewhere")]
    Damaged,
}

/// Seals and opens.
#[derive(Clone)]
pub struct Sealer {
    keys: Arc<[Key]>,
}

struct Key {
    id: u32,
    cipher: Aes256Gcm,
    fingerprints: Hmac<Sha256>,
}

impl Key {
    fn new(key: &[u8]) -> Result<Self, SealingError> {
        let cipher = Aes256Gcm::new_from_slice(key).map_err(|_| SealingError::KeyLength)?;
        let mut derive = Hmac::<Sha256>::new_from_slice(key).map_err(|_| SealingError::KeyLength)?;
        derive.update(FINGERPRINTS);
        let derived = derive.finalize().into_bytes();
        let fingerprints = Hmac::new_from_slice(&derived).map_err(|_| SealingError::KeyLength)?;
        Ok(Self { id: key_id(key), cipher, fingerprints })
    }

    fn fingerprint(&self, context: &str, plain: &[u8]) -> Hmac<Sha256> {
        let mut fingerprint = self.fingerprints.clone();
        // The length parts one from the other.
        fingerprint.update(&(context.len() as u64).to_be_bytes());
        fingerprint.update(context.as_bytes());
        fingerprint.update(plain);
        fingerprint
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids: Vec<String> = self.keys.iter().map(|key| format!("{:08x}", key.id)).collect();
        f.debug_struct("Sealer").field("keys", &ids).finish()
    }
}

impl Sealer {
    /// With these keys of 32 bytes; the first seals.
    ///
    /// # Errors
    /// When there is none, or one has another length.
    pub fn new(keys: &[Vec<u8>]) -> Result<Self, SealingError> {
        if keys.is_empty() {
            return Err(SealingError::NoKey);
        }
        Ok(Self { keys: keys.iter().map(|key| Key::new(key)).collect::<Result<_, _>>()? })
    }

    /// A fingerprint of `plain` in `context`: tells equal from different, and
    /// nothing else to whoever has no key.
    pub fn fingerprint(&self, context: &str, plain: &[u8]) -> Vec<u8> {
        self.keys[0].fingerprint(context, plain).finalize().into_bytes().to_vec()
    }

    /// Whether a fingerprint is of `plain` in `context`, made with any of the keys.
    pub fn is_fingerprint(&self, context: &str, plain: &[u8], fingerprint: &[u8]) -> bool {
        self.keys.iter().any(|key| key.fingerprint(context, plain).verify_slice(fingerprint).is_ok())
    }

    /// Seals `plain` for `context`.
    pub fn seal(&self, context: &str, plain: &[u8]) -> Vec<u8> {
        let Key { id, cipher, .. } = &self.keys[0];
        let mut nonce = [0; 12];
        getrandom::fill(&mut nonce).expect("the operating system gives random bytes");
        let payload = Payload { msg: plain, aad: context.as_bytes() };
        let sealed = cipher.encrypt(&Nonce::from(nonce), payload).expect("a secret is shorter than 64 GiB");
        let mut out = Vec::with_capacity(HEADER + sealed.len());
        out.push(VERSION);
        out.extend(id.to_be_bytes());
        out.extend(nonce);
        out.extend(sealed);
        out
    }

    /// Opens what was sealed for `context`.
    ///
    /// # Errors
    /// When the key is not here, or the value is not what was sealed.
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, SealingError> {
        let Some((header, body)) = sealed.split_at_checked(HEADER) else {
            return Err(SealingError::Damaged);
        };
        if header[0] != VERSION {
            return Err(SealingError::Damaged);
        }
        let id = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
        let nonce: [u8; 12] = header[5..].try_into().map_err(|_| SealingError::Damaged)?;
        let key = self.keys.iter().find(|key| key.id == id).ok_or(SealingError::UnknownKey(id))?;
        key.cipher
            .decrypt(&Nonce::from(nonce), Payload { msg: body, aad: context.as_bytes() })
            .map_err(|_| SealingError::Damaged)
    }
}

fn key_id(key: &[u8]) -> u32 {
    let hash = Sha256::digest(key);
    u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_in_its_context() {
        let sealer = Sealer::new(&[vec![7; 32]]).unwrap();
        let sealed = sealer.seal("session:a", b"secret");
        assert_eq!(sealer.open("session:a", &sealed).unwrap(), b"secret");
        assert!(matches!(sealer.open("session:b", &sealed), Err(SealingError::Damaged)));
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let sealer = Sealer::new(&[vec![7; 32]]).unwrap();
        let sealed = sealer.seal("x", b"secret");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(sealer.open("x", &changed).is_err(), "byte {at}");
            assert!(sealer.open("x", &sealed[..at]).is_err(), "length {at}");
        }
    }

    #[test]
    fn a_fingerprint_tells_nothing_without_its_key() {
        let (ours, others) = (Sealer::new(&[vec![7; 32]]).unwrap(), Sealer::new(&[vec![8; 32]]).unwrap());
        let fingerprint = ours.fingerprint("a", b"12345");
        assert!(ours.is_fingerprint("a", b"12345", &fingerprint));
        for (sealer, context, plain) in
            [(&ours, "a", b"12346"), (&ours, "b", b"12345"), (&others, "a", b"12345"), (&ours, "a1", b"2345\0")]
        {
            assert!(!sealer.is_fingerprint(context, plain, &fingerprint), "{context} {plain:?}");
        }
        assert_ne!(fingerprint, Sha256::digest(b"12345").to_vec());
        let rotated = Sealer::new(&[vec![9; 32], vec![7; 32]]).unwrap();
        assert!(rotated.is_fingerprint("a", b"12345", &fingerprint), "made before the rotation");
        assert!(!ours.is_fingerprint("a", b"12345", &rotated.fingerprint("a", b"12345")), "the first key makes them");
    }

    #[test]
    fn old_keys_open_and_the_first_seals() {
        let old = Sealer::new(&[vec![1; 32]]).unwrap();
        let both = Sealer::new(&[vec![2; 32], vec![1; 32]]).unwrap();
        let sealed = old.seal("x", b"secret");
        assert_eq!(both.open("x", &sealed).unwrap(), b"secret");
        assert!(matches!(old.open("x", &both.seal("x", b"secret")), Err(SealingError::UnknownKey(_))));
    }
}
