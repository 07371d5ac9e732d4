//! The key of a session: as good as the account itself.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretBox};
use sha2::{Digest as _, Sha256};

/// Layout of a key that is to be sealed: a version byte, the data centre, the key.
const VERSION: u8 = 1;
/// Parts fingerprints from other hashes of keys: Telegram's own name of a key is one.
const FINGERPRINTS: &[u8] = b"tgmesh session key 1";

/// An authorisation key, and the data centre that knows it.
pub struct SessionKey {
    /// The data centre.
    pub dc_id: i32,
    key: SecretBox<[u8; 256]>,
}

impl SessionKey {
    /// Length of [`SessionKey::to_bytes`].
    pub const BYTES: usize = 1 + 4 + 256;

    /// A key that a data centre knows.
    pub fn new(dc_id: i32, key: [u8; 256]) -> Self {
        Self { dc_id, key: SecretBox::new(Box::new(key)) }
    }

    /// The key itself.
    pub fn expose(&self) -> &[u8; 256] {
        self.key.expose_secret()
    }

    /// Tells keys apart without telling them. Nobody can guess a key, so its hash
    /// needs no secret of its own, and stays the same when sealing keys change.
    pub fn fingerprint(&self) -> Vec<u8> {
        Sha256::new().chain_update(FINGERPRINTS).chain_update(self.expose()).finalize().to_vec()
    }

    /// To be sealed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(self.dc_id.to_be_bytes());
        bytes.extend(self.expose());
        bytes
    }

    /// From what was sealed.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (head, key) = bytes.split_at_checked(5)?;
        if head[0] != VERSION {
            return None;
        }
        let dc_id = i32::from_be_bytes(head[1..].try_into().ok()?);
        Some(Self::new(dc_id, key.try_into().ok()?))
    }
}

impl Clone for SessionKey {
    fn clone(&self) -> Self {
        Self::new(self.dc_id, *self.expose())
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionKey").field("dc_id", &self.dc_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_storage_and_hides_itself() {
        let key = SessionKey::new(2, [0xab; 256]);
        let back = SessionKey::from_bytes(&key.to_bytes()).unwrap();
        assert_eq!((back.dc_id, back.expose()), (2, key.expose()));
        assert!(!format!("{key:?}").contains("171"));
        assert!(SessionKey::from_bytes(&key.to_bytes()[1..]).is_none());
        assert!(SessionKey::from_bytes(&[]).is_none());
    }

    #[test]
    fn a_fingerprint_is_the_keys_alone() {
        let key = SessionKey::new(2, [0xab; 256]);
        assert_eq!(key.fingerprint(), key.clone().fingerprint());
        assert_eq!(key.fingerprint().len(), 32);
        assert_ne!(key.fingerprint(), SessionKey::new(2, [0xac; 256]).fingerprint());
        // An import may name another data centre than the login did; the key is the same.
        assert_eq!(key.fingerprint(), SessionKey::new(4, [0xab; 256]).fingerprint());
    }
}
