//! Ed25519 keys: one that signs for an issuer, and those that are trusted.

use std::collections::HashMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ed25519_dalek::pkcs8::EncodePrivateKey as _;
use jsonwebtoken::{DecodingKey, EncodingKey};
use sha2::{Digest as _, Sha256};

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("cannot use the key file {path}")]
    File {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Not a key.
    #[error("{0} is not an ed25519 key: expected 32 bytes in base64")]
    Format(String),
}

/// Signs tokens for an issuer.
#[derive(Clone)]
pub struct SigningKey {
    issuer: String,
    id: String,
    encoding: EncodingKey,
    public: [u8; 32],
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("issuer", &self.issuer).field("id", &self.id).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// From the 32 bytes of its seed.
    ///
    /// # Errors
    /// When they are no key.
    pub fn from_seed(issuer: &str, seed: &[u8]) -> Result<Self, KeyError> {
        let error = || KeyError::Format(format!("the signing key of {issuer}"));
        let seed: [u8; 32] = seed.try_into().map_err(|_| error())?;
        let key = ed25519_dalek::SigningKey::from_bytes(&seed);
        let der = key.to_pkcs8_der().map_err(|_| error())?;
        let public = key.verifying_key().to_bytes();
        Ok(Self {
            issuer: issuer.to_owned(),
            id: key_id(&public),
            encoding: EncodingKey::from_ed_der(der.as_bytes()),
            public,
        })
    }

    /// A new key.
    ///
    /// # Errors
    /// None in practice.
    pub fn generate(issuer: &str) -> Result<Self, KeyError> {
        Self::from_seed(issuer, &random_seed())
    }

    /// Reads the seed, in base64, from a file.
    ///
    /// # Errors
    /// When there is none, it cannot be read, or it holds no key.
    pub fn load(issuer: &str, path: &Path) -> Result<Self, KeyError> {
        Self::from_seed(issuer, &read_secret(path)?)
    }

    /// Reads the seed, in base64, from a file; makes the file when there is none.
    ///
    /// # Errors
    /// When the file cannot be read or written, or holds no key.
    pub fn load_or_create(issuer: &str, path: &Path) -> Result<Self, KeyError> {
        Self::from_seed(issuer, &secret_file(path, random_seed)?)
    }

    /// The name it signs for.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Its id: from the public key.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The public key in base64, as configuration writes it.
    pub fn public(&self) -> String {
        STANDARD.encode(self.public)
    }

    pub(super) fn encoding(&self) -> &EncodingKey {
        &self.encoding
    }
}

/// The public keys of those whose tokens are accepted.
#[derive(Clone, Default)]
pub struct TrustedKeys {
    keys: HashMap<(String, String), DecodingKey>,
}

impl std::fmt::Debug for TrustedKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.keys.keys()).finish()
    }
}

impl TrustedKeys {
    /// Accepts tokens of `issuer` signed by this key, given in base64.
    ///
    /// # Errors
    /// When it is no key.
    pub fn trust(&mut self, issuer: &str, public: &str) -> Result<(), KeyError> {
        let bytes = STANDARD.decode(public).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let Some(bytes) = bytes else {
            return Err(KeyError::Format(format!("the trusted key of {issuer}")));
        };
        let key = DecodingKey::from_ed_der(&bytes);
        self.keys.insert((issuer.to_owned(), key_id(&bytes)), key);
        Ok(())
    }

    pub(super) fn find(&self, issuer: &str, key_id: &str) -> Option<&DecodingKey> {
        self.keys.get(&(issuer.to_owned(), key_id.to_owned()))
    }
}

fn key_id(public: &[u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(&Sha256::digest(public)[..9])
}

/// 32 random bytes.
pub fn random_seed() -> Vec<u8> {
    let mut seed = vec![0; 32];
    getrandom::fill(&mut seed).expect("the operating system gives random bytes");
    seed
}

/// Reads a secret, in base64, from a file only its owner may read; makes the
/// file when there is none. Two processes that start at once agree on one.
///
/// # Errors
/// When the file cannot be read or written, or holds no base64.
pub fn secret_file(path: &Path, make: impl FnOnce() -> Vec<u8>) -> Result<Vec<u8>, KeyError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let error = |source| KeyError::File { path: path.display().to_string(), source };
    if !path.exists() {
        if let Some(dir) = path.parent() {
            crate::files::private_folder(dir).map_err(error)?;
        }
        // Written aside and linked into place, so that no reader sees half a file
        // and the first of two writers wins.
        let aside = path.with_extension(format!("{}.tmp", std::process::id()));
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&aside)
            .map_err(error)?;
        file.write_all(STANDARD.encode(make()).as_bytes()).and_then(|()| file.sync_all()).map_err(error)?;
        match std::fs::hard_link(&aside, path) {
            Ok(()) => {}
            Err(source) if source.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(error(source)),
        }
        std::fs::remove_file(&aside).map_err(error)?;
    }
    read_secret(path)
}

fn read_secret(path: &Path) -> Result<Vec<u8>, KeyError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| KeyError::File { path: path.display().to_string(), source })?;
    STANDARD.decode(text.trim()).map_err(|_| KeyError::Format(path.display().to_string()))
}
