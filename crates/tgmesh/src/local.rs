//! The embedded profile's own user: made once, kept in the data folder.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use service_kit::SharedClock;
use service_kit::client::TokenSource;
use service_kit::clock::new_id;
use service_kit::identity::{Acting, Issuer, SigningKey, USERS};
use uuid::Uuid;

/// The user on this machine, and the workspace.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct LocalUser {
    /// The user.
    pub user_id: Uuid,
    /// The workspace.
    pub workspace_id: Uuid,
}

impl LocalUser {
    /// Reads the user of a data folder; makes one when there is none.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn load_or_create(data_dir: &Path, clock: &SharedClock) -> anyhow::Result<Self> {
        let file = data_dir.join("user.json");
        if !file.exists() {
            let user = Self { user_id: new_id(&**clock), workspace_id: new_id(&**clock) };
            std::fs::create_dir_all(data_dir).with_context(|| format!("{} cannot be made", data_dir.display()))?;
            let aside = file.with_extension(format!("{}.tmp", std::process::id()));
            std::fs::write(&aside, serde_json::to_vec_pretty(&user)?)?;
            // The first of two processes wins.
            std::fs::hard_link(&aside, &file)
                .or_else(|error| if error.kind() == std::io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })?;
            std::fs::remove_file(&aside)?;
        }
        let text = std::fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is no user", file.display()))
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
    /// When there is none, and none can be made.
    pub fn new(key_dir: &Path, user: LocalUser, operator: bool, clock: SharedClock) -> anyhow::Result<Arc<Self>> {
        let key = SigningKey::load_or_create(USERS, &key_dir.join(format!("{USERS}.key")))?;
        let acting = Acting { user_id: user.user_id, workspace_id: user.workspace_id };
        Ok(Arc::new(Self { issuer: Issuer::new(key, clock), acting, operator }))
    }
}

impl TokenSource for LocalTokens {
    fn token(&self) -> String {
        self.issuer.user(self.acting, self.operator)
    }
}
