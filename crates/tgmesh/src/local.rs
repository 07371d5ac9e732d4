//! The embedded profile's own user: made once, kept in the data folder.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use service_kit::SharedClock;
use service_kit::client::TokenSource;
use service_kit::clock::new_id;
use service_kit::files::{private_folder, write_private};
use service_kit::identity::{Acting, Issuer, SigningKey, USERS};
use uuid::Uuid;

/// Where it is kept.
const FILE: &str = "user.json";

/// The user on this machine, and the workspace.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct LocalUser {
    /// The user.
    pub user_id: Uuid,
    /// The workspace.
    pub workspace_id: Uuid,
}

impl LocalUser {
    /// Reads the user of a data folder; makes one when there is none. For those
    /// that serve: clients only read.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn load_or_create(data_dir: &Path, clock: &SharedClock) -> anyhow::Result<Self> {
        if let Some(user) = Self::load(data_dir)? {
            return Ok(user);
        }
        let user = Self { user_id: new_id(&**clock), workspace_id: new_id(&**clock) };
        private_folder(data_dir).with_context(|| format!("{} cannot be made", data_dir.display()))?;
        let (file, aside) = (data_dir.join(FILE), data_dir.join(format!("user.{}.new", std::process::id())));
        write_private(&aside, &serde_json::to_vec_pretty(&user)?)?;
        // The first of two processes wins.
        std::fs::hard_link(&aside, &file)
            .or_else(|error| if error.kind() == std::io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })?;
        std::fs::remove_file(&aside)?;
        Self::load(data_dir)?.with_context(|| format!("{} is gone", file.display()))
    }

    /// Reads the user of a data folder; `None` when nothing was ever served there.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn load(data_dir: &Path) -> anyhow::Result<Option<Self>> {
        let file = data_dir.join(FILE);
        match std::fs::read(&file) {
            Ok(text) => {
                serde_json::from_slice(&text).map(Some).with_context(|| format!("{} is no user", file.display()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("{} cannot be read", file.display())),
        }
    }
}

/// Makes tokens for a user with the key of the issuer of users: the embedded
/// profile's stand-in for logging in at the gateway.
#[derive(Debug)]
pub struct LocalTokens {
    issuer: Issuer,
    acting: Acting,
    operator: bool,
}

impl LocalTokens {
    /// With the key that lies in `key_dir`.
    ///
    /// # Errors
    /// When there is none: those that serve make it.
    pub fn new(key_dir: &Path, user: LocalUser, operator: bool, clock: SharedClock) -> anyhow::Result<Arc<Self>> {
        let key = SigningKey::load(USERS, &key_dir.join(format!("{USERS}.key")))?;
        let acting = Acting { user_id: user.user_id, workspace_id: user.workspace_id };
        Ok(Arc::new(Self { issuer: Issuer::new(key, clock), acting, operator }))
    }
}

impl TokenSource for LocalTokens {
    fn token(&self) -> String {
        self.issuer.user(self.acting, self.operator)
    }
}
