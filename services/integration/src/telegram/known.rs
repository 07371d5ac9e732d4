//! What the room of leases needs to know of chats.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use async_trait::async_trait;
use sea_orm::{ColumnTrait as _, EntityTrait as _, JoinType, QueryFilter as _, QuerySelect as _};
use service_kit::address::{ChatAddress, parse_chat};
use service_kit::db::Db;
use uuid::Uuid;

use super::rights;
use crate::accounts::store;
use crate::core::Core;
use crate::entity::{account, peer};
use crate::error::{Error, Result};
use crate::leases::Chats;

/// Knows chats by what accounts have learnt, and asks Telegram in the background.
#[derive(Debug)]
pub struct KnownChats {
    db: Db,
    core: OnceLock<Weak<Core>>,
    /// Accounts and chats that are being asked for.
    asking: Arc<Mutex<HashSet<(Uuid, i64)>>>,
}

impl KnownChats {
    /// Over the service's database; asks nothing until the core is known.
    pub fn new(db: Db) -> Self {
        Self { db, core: OnceLock::new(), asking: Arc::default() }
    }

    /// Makes the core known.
    pub fn begin(&self, core: &Arc<Core>) {
        // Set once; a second core would be a mistake of the caller's, and is ignored.
        self.core.set(Arc::downgrade(core)).ok();
    }
}

#[async_trait]
impl Chats for KnownChats {
    async fn chat_id(&self, workspace_id: Uuid, chat: &str) -> Result<Option<i64>> {
        let link = parse_chat(chat).map_err(|error| Error::field("chat", error.to_string()))?;
        let name = match link.chat {
            ChatAddress::Id(id) => return Ok(Some(id)),
            ChatAddress::InviteHash(_) => return Ok(None),
            ChatAddress::Username(name) => name,
        };
        let relation =
            account::Entity::belongs_to(peer::Entity).from(account::Column::Id).to(peer::Column::AccountId).into();
        let found = peer::Entity::find()
            .join_rev(JoinType::InnerJoin, relation)
            .filter(account::Column::WorkspaceId.eq(workspace_id))
            .filter(peer::Column::Username.eq(name))
            .filter(peer::Column::PeerId.lt(0))
            .one(self.db.conn())
            .await
            .map_err(|error| Error::database(&self.db, &error))?;
        Ok(found.map(|peer| peer.peer_id))
    }

    fn check_rights(&self, workspace_id: Uuid, chat_id: i64, chat: &str, accounts: &[Uuid]) {
        let Some(core) = self.core.get().and_then(Weak::upgrade) else {
            return;
        };
        let fresh: Vec<Uuid> = {
            let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
            accounts.iter().copied().filter(|account| asking.insert((*account, chat_id))).collect()
        };
        if fresh.is_empty() {
            return;
        }
        let (asking, chat) = (self.asking.clone(), chat.to_owned());
        let task = core.clone();
        task.tasks.spawn("a check of rights", async move {
            let mut learnt = false;
            match store::all(core.db.conn(), workspace_id, &fresh).await {
                Ok(rows) => {
                    for row in rows {
                        match rights::refresh(&core, &row.account, &chat).await {
                            Ok(()) => learnt = true,
                            Err(error) => {
                                tracing::info!(account_id = %row.account.id, %error, "rights not checked");
                            }
                        }
                    }
                }
                Err(error) => tracing::warn!(%error, "rights not checked"),
            }
            let mut asking = asking.lock().unwrap_or_else(PoisonError::into_inner);
            for account in fresh {
                asking.remove(&(account, chat_id));
            }
            drop(asking);
            // Who waits would only ask again, at once and in vain.
            if learnt {
                core.leases.poke(workspace_id);
            }
        });
    }
}
