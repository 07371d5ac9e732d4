//! What the room of leases needs to know of chats.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use sea_orm::{ColumnTrait as _, EntityTrait as _, JoinType, QueryFilter as _, QuerySelect as _};
use service_kit::address::ChatAddress;
use service_kit::db::Db;
use tgmesh_proto::lease::v1::unavailability::Reason;
use uuid::Uuid;

use super::rights::{self, Checked};
use crate::accounts::store;
use crate::availability::Slot;
use crate::core::Core;
use crate::entity::{account, peer};
use crate::error::{Error, Result};
use crate::leases::{Chats, Looked};
use crate::quotas::Next;

/// A failed check is made again after so long.
const RETRY: Duration = Duration::from_secs(10);
/// Accounts that are asked about one chat at once. Few: a chat is new to each of
/// them, and looking its name up is limited; and often the first one will do.
const AT_ONCE: usize = 4;
/// An account that takes longer to answer holds up no other.
const PATIENCE: Duration = Duration::from_secs(1);

/// A workspace, and a chat as it is named there.
type Place = (Uuid, ChatAddress);

/// Knows chats by what accounts have learnt, and asks Telegram in the background.
#[derive(Debug)]
pub struct KnownChats {
    db: Db,
    core: OnceLock<Weak<Core>>,
    looks: Arc<Mutex<HashMap<Place, Looks>>>,
}

/// How accounts look at one chat. Times are of the monotonic clock.
#[derive(Debug, Default)]
struct Looks {
    /// When the last one began.
    begun: Duration,
    /// The chat's id, once an account has seen it.
    chat_id: Option<i64>,
    /// Until when the name is believed to stand for no chat.
    nobody_until: Duration,
    accounts: HashMap<Uuid, Look>,
}

/// How one account looks at a chat. Gone once `chat_rights` has the answer.
#[derive(Debug, Clone, Copy)]
enum Look {
    /// Is being asked, since then.
    Begun(Duration),
    /// Cannot tell: why, and until when this is believed.
    Ended(Slot, Duration),
}

impl Looks {
    /// Picks those of these accounts to be asked now.
    fn begin(&mut self, now: Duration, accounts: &[Uuid], at_once: usize) -> Vec<Uuid> {
        self.accounts.retain(|_, look| !matches!(look, Look::Ended(_, until) if *until <= now));
        let is_busy = |look: &&Look| matches!(look, Look::Begun(since) if now < *since + PATIENCE);
        let room = at_once.saturating_sub(self.accounts.values().filter(is_busy).count());
        let free = accounts.iter().copied().filter(|account| !self.accounts.contains_key(account));
        let begun: Vec<Uuid> = free.take(room).collect();
        for account in &begun {
            self.accounts.insert(*account, Look::Begun(now));
            self.begun = now;
        }
        begun
    }
}

impl KnownChats {
    /// Over the service's database; asks nothing until the core is known.
    pub fn new(db: Db) -> Self {
        Self { db, core: OnceLock::new(), looks: Arc::default() }
    }

    /// Makes the core known.
    pub fn begin(&self, core: &Arc<Core>) {
        // Set once; a second core would be a mistake of the caller's, and is ignored.
        self.core.set(Arc::downgrade(core)).ok();
    }

    fn core(&self) -> Option<Arc<Core>> {
        self.core.get().and_then(Weak::upgrade)
    }
}

#[async_trait]
impl Chats for KnownChats {
    async fn chat_id(&self, workspace_id: Uuid, chat: &ChatAddress) -> Result<Option<i64>> {
        let place = (workspace_id, chat.clone());
        if let Some(id) = lock(&self.looks).get(&place).and_then(|looks| looks.chat_id) {
            return Ok(Some(id));
        }
        let name = match chat {
            ChatAddress::Id(id) => return Ok(Some(*id)),
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

    fn looked(&self, workspace_id: Uuid, chat: &ChatAddress) -> Looked {
        let Some(core) = self.core() else { return Looked::default() };
        let now = core.clock.monotonic();
        let place = (workspace_id, chat.clone());
        let looks = lock(&self.looks);
        let Some(looks) = looks.get(&place) else { return Looked::default() };
        let ended = looks.accounts.iter().filter_map(|(account, look)| match look {
            Look::Ended(obstacle, until) if now < *until => Some((*account, *obstacle)),
            Look::Ended(..) | Look::Begun(_) => None,
        });
        Looked { nobody: now < looks.nobody_until, obstacles: ended.collect() }
    }

    fn check_rights(&self, workspace_id: Uuid, chat: &ChatAddress, chat_id: Option<i64>, accounts: &[Uuid]) {
        let Some(core) = self.core() else { return };
        let now = core.clock.monotonic();
        let place = (workspace_id, chat.clone());
        let (chat_id, begun) = {
            let mut looks = lock(&self.looks);
            looks.retain(|_, looks| now < looks.begun + core.settings.rights_life.max(RETRY));
            let looks = looks.entry(place.clone()).or_insert_with(|| Looks { begun: now, ..Looks::default() });
            if now < looks.nobody_until {
                return;
            }
            let chat_id = chat_id.or(looks.chat_id);
            // What nobody knows may be nothing: one account finds that out for all.
            (chat_id, looks.begin(now, accounts, if chat_id.is_some() { AT_ONCE } else { 1 }))
        };
        for account in begun {
            let (task, looks, place) = (core.clone(), self.looks.clone(), place.clone());
            core.tasks.spawn("a check of rights", async move {
                let checked = check(&task, &place, chat_id, account).await;
                let (now, life) = (task.clock.monotonic(), task.settings.rights_life);
                if let Some(looks) = lock(&looks).get_mut(&place) {
                    looks.accounts.remove(&account);
                    match checked {
                        Ok(Checked::Kept(chat_id)) => looks.chat_id = Some(chat_id),
                        Ok(Checked::Nobody) => looks.nobody_until = now + RETRY,
                        Ok(Checked::Unseen) => {
                            let unseen = Slot { ready: Next::Never, reason: Reason::NoRights };
                            looks.accounts.insert(account, Look::Ended(unseen, now + life));
                        }
                        Err(error) => {
                            tracing::info!(account_id = %account, %error, "rights not checked");
                            let obstacle = rights::kept_from(&error, task.now(), task.now() + RETRY);
                            looks.accounts.insert(account, Look::Ended(obstacle, now + RETRY));
                        }
                    }
                }
                task.leases.poke(place.0);
            });
        }
    }
}

async fn check(core: &Core, place: &Place, chat_id: Option<i64>, account: Uuid) -> Result<Checked> {
    let (workspace_id, chat) = place;
    let found = store::find(core.db.conn(), *workspace_id, account).await;
    let row = found.map_err(|error| core.failed(&error))?.ok_or_else(|| Error::account_not_found(account))?;
    rights::refresh(core, &row.account, chat, chat_id).await
}

fn lock(looks: &Mutex<HashMap<Place, Looks>>) -> MutexGuard<'_, HashMap<Place, Looks>> {
    looks.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn each_is_asked_once_and_few_at_once() {
        let accounts: Vec<Uuid> = (0..6).map(Uuid::from_u128).collect();
        let mut looks = Looks::default();
        assert_eq!(looks.begin(secs(10), &accounts, 4), accounts[..4]);
        assert!(looks.begin(secs(10), &accounts, 4).is_empty());
        // One answered; its rights are known to the store, which names it no more.
        looks.accounts.remove(&accounts[1]);
        let left = [accounts[0], accounts[2], accounts[3], accounts[4], accounts[5]];
        assert_eq!(looks.begin(secs(10), &left, 4), [accounts[4]]);
        // Those that do not answer hold up no other, and are not asked twice.
        assert_eq!(looks.begin(secs(11), &left, 4), [accounts[5]]);
        assert!(looks.begin(secs(300), &left, 4).is_empty());
    }

    #[test]
    fn who_could_not_answer_is_asked_again_later() {
        let accounts = [Uuid::from_u128(1), Uuid::from_u128(2)];
        let mut looks = Looks::default();
        assert_eq!(looks.begin(secs(10), &accounts, 1), accounts[..1]);
        let offline = Slot { ready: Next::Never, reason: Reason::Offline };
        looks.accounts.insert(accounts[0], Look::Ended(offline, secs(20)));
        assert_eq!(looks.begin(secs(10), &accounts, 1), accounts[1..]);
        looks.accounts.remove(&accounts[1]);
        assert!(looks.begin(secs(19), &accounts[..1], 1).is_empty());
        assert_eq!(looks.begin(secs(20), &accounts[..1], 1), accounts[..1]);
    }
}
