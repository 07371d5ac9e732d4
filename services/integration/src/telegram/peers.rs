//! Chats and users that an account can address.

use grammers_tl_types::{enums, functions, types};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _};
use service_kit::address::{ChatAddress, parse_chat};
use tgmesh_proto::ErrorReason;
use tgmesh_proto::quota::v1::Action;

use super::caller::{About, Caller, Failure};
use super::people;
use crate::entity::peer;
use crate::error::{Error, Result};
use crate::quotas::{Ask, Settlement};

/// Ids of channels and supergroups are written below this.
const CHANNEL_BASE: i64 = -1_000_000_000_000;

/// A chat that an account can address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChatPeer {
    /// A basic group; needs no hash.
    Basic {
        /// Telegram's own id: positive.
        id: i64,
    },
    /// A supergroup, gigagroup or channel.
    Channel {
        /// Telegram's own id: positive.
        id: i64,
        /// Good for this account only.
        access_hash: i64,
    },
}

impl ChatPeer {
    /// The id as the Bot API writes it.
    pub fn chat_id(self) -> i64 {
        match self {
            Self::Basic { id } => -id,
            Self::Channel { id, .. } => CHANNEL_BASE - id,
        }
    }

    /// For calls that take any peer.
    pub fn input(self) -> enums::InputPeer {
        match self {
            Self::Basic { id } => types::InputPeerChat { chat_id: id }.into(),
            Self::Channel { id, access_hash } => types::InputPeerChannel { channel_id: id, access_hash }.into(),
        }
    }

    /// For calls that take a channel.
    pub fn channel(self) -> Option<enums::InputChannel> {
        match self {
            Self::Basic { .. } => None,
            Self::Channel { id, access_hash } => Some(types::InputChannel { channel_id: id, access_hash }.into()),
        }
    }
}

/// What a name stands for.
#[derive(Debug, Clone)]
pub enum Resolved {
    /// A user.
    User(Box<types::User>),
    /// A chat.
    Chat(ChatPeer, Box<enums::Chat>),
    /// A chat that Telegram lets others see: the account was removed from it.
    Hidden,
}

impl Caller<'_> {
    /// The chat behind a link, name or id, as this account can address it.
    ///
    /// # Errors
    /// `FIELD_INVALID` when the text names no chat, `CHAT_NOT_FOUND` when there
    /// is none, or the account cannot see it.
    pub async fn chat(&self, text: &str) -> Result<ChatPeer> {
        let link = parse_chat(text).map_err(|error| Error::field("chat", error.to_string()))?;
        match link.chat {
            ChatAddress::Username(name) => {
                if let Some(known) = self.known_name(&name).await?
                    && let Some(peer) = to_chat(&known)
                {
                    return Ok(peer);
                }
                match self.resolve(&name).await? {
                    Some(Resolved::Chat(peer, _)) => Ok(peer),
                    Some(Resolved::User(_)) => Err(not_found("it is a user, not a chat")),
                    Some(Resolved::Hidden) => Err(not_found("the account cannot see it")),
                    None => Err(not_found("telegram knows no such name")),
                }
            }
            ChatAddress::Id(id) if id > CHANNEL_BASE => Ok(ChatPeer::Basic { id: -id }),
            ChatAddress::Id(id) => {
                if let Some(known) = self.known(id).await? {
                    return to_chat(&known).ok_or_else(|| not_found("it is no chat"));
                }
                // A chat that the account is in shows among its dialogs.
                self.read_dialogs().await?;
                let known = self.known(id).await?;
                known.as_ref().and_then(to_chat).ok_or_else(|| not_found("the account does not know this id"))
            }
            ChatAddress::InviteHash(hash) => self.chat_of_invite(&hash).await,
        }
    }

    async fn chat_of_invite(&self, hash: &str) -> Result<ChatPeer> {
        let about = About::reading("messages.checkChatInvite", 0);
        let request = functions::messages::CheckChatInvite { hash: hash.to_owned() };
        match self.invoke(about, &request).await {
            Ok(enums::ChatInvite::Already(found)) => {
                self.learn(&[], std::slice::from_ref(&found.chat)).await?;
                chat_peer(&found.chat).ok_or_else(|| not_found("the account cannot see it"))
            }
            Ok(enums::ChatInvite::Peek(found)) => {
                self.learn(&[], std::slice::from_ref(&found.chat)).await?;
                chat_peer(&found.chat).ok_or_else(|| not_found("the account cannot see it"))
            }
            Ok(enums::ChatInvite::Invite(_)) => Err(not_found("the account is not a member: let it join first")),
            Err(Failure::Refused(error)) => Err(not_found(&error.full_name())),
            Err(failure) => Err(failure.into()),
        }
    }

    /// What a public name stands for; `None` when nobody has it. Asking Telegram
    /// is limited; what it says is kept.
    ///
    /// # Errors
    /// As [`Failure`] tells.
    pub async fn resolve(&self, name: &str) -> Result<Option<Resolved>> {
        let about =
            About { method: "contacts.resolveUsername", class: Action::ResolveUsername, chat_id: 0, acting: false };
        let reservation = self.core.quotas.reserve(&self.ask(Action::ResolveUsername, 0, about.method, None)).await?;
        let request = functions::contacts::ResolveUsername { username: name.to_owned(), referer: None };
        let answer = self.send_reserved(&reservation, about, &request).await;
        let settlement = settlement(&answer);
        let tx = self.core.begin().await?;
        self.core.quotas.settle(&tx, &reservation, &settlement).await?;
        if let Ok(enums::contacts::ResolvedPeer::Peer(found)) = &answer {
            self.learn_in(&*tx, &found.users, &found.chats).await?;
        }
        self.core.commit(tx).await?;
        let found = match answer {
            Ok(enums::contacts::ResolvedPeer::Peer(found)) => found,
            Err(Failure::Target(_, _)) => return Ok(None),
            Err(failure) => return Err(failure.into()),
        };
        Ok(match found.peer {
            enums::Peer::User(peer) => found.users.into_iter().find_map(|user| match user {
                enums::User::User(user) if user.id == peer.user_id => Some(Resolved::User(Box::new(user))),
                _ => None,
            }),
            enums::Peer::Channel(_) | enums::Peer::Chat(_) => {
                let seen = found
                    .chats
                    .into_iter()
                    .find_map(|chat| chat_peer(&chat).map(|peer| Resolved::Chat(peer, Box::new(chat))));
                Some(seen.unwrap_or(Resolved::Hidden))
            }
        })
    }

    /// What a reservation asks for.
    pub fn ask(&self, action: Action, chat_id: i64, method: &'static str, id: Option<uuid::Uuid>) -> Ask {
        Ask {
            id,
            account_id: self.account_id,
            workspace_id: self.workspace_id,
            action,
            chat_id,
            method,
            lease: self.lease().map(|lease| (lease.lease_id, lease.token)),
        }
    }

    /// Reads the account's dialogs, so that the chats it is in can be addressed by id.
    async fn read_dialogs(&self) -> Result<()> {
        let about = About::reading("messages.getDialogs", 0);
        let request = functions::messages::GetDialogs {
            exclude_pinned: false,
            folder_id: None,
            offset_date: 0,
            offset_id: 0,
            offset_peer: enums::InputPeer::Empty,
            limit: 500,
            hash: 0,
        };
        let (users, chats) = match self.invoke(about, &request).await.map_err(Error::from)? {
            enums::messages::Dialogs::Dialogs(found) => (found.users, found.chats),
            enums::messages::Dialogs::Slice(found) => (found.users, found.chats),
            enums::messages::Dialogs::NotModified(_) => return Ok(()),
        };
        self.learn(&users, &chats).await
    }

    /// Keeps the hashes of users and chats that were looked up by name or id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn learn(&self, users: &[enums::User], chats: &[enums::Chat]) -> Result<()> {
        self.learn_in(&*self.core.db.writing().await, users, chats).await
    }

    async fn learn_in(&self, conn: &impl ConnectionTrait, users: &[enums::User], chats: &[enums::Chat]) -> Result<()> {
        let now = self.core.now().millis();
        let mut rows = Vec::new();
        for user in users {
            if let enums::User::User(user) = user
                && let Some(hash) = user.access_hash.filter(|_| !user.min)
            {
                let name = people::username(user);
                rows.push((user.id, hash, (!name.is_empty()).then_some(name)));
            }
        }
        for chat in chats {
            if let Some(peer @ ChatPeer::Channel { access_hash, .. }) = chat_peer(chat) {
                rows.push((peer.chat_id(), access_hash, chat_username(chat)));
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        // In one order for all: two look-ups that keep the same people must not wait for each other.
        rows.sort_unstable();
        let rows = rows.into_iter().map(|(peer_id, access_hash, username)| peer::ActiveModel {
            account_id: Set(self.account_id),
            peer_id: Set(peer_id),
            access_hash: Set(access_hash),
            username: Set(username),
            seen_at: Set(now),
        });
        peer::Entity::insert_many(rows)
            .on_conflict(
                OnConflict::columns([peer::Column::AccountId, peer::Column::PeerId])
                    .update_columns([peer::Column::AccessHash, peer::Column::Username, peer::Column::SeenAt])
                    .to_owned(),
            )
            .exec_without_returning(conn)
            .await
            .map(|_| ())
            .map_err(|error| self.core.failed(&error))
    }

    async fn known(&self, peer_id: i64) -> Result<Option<peer::Model>> {
        let found = peer::Entity::find_by_id((self.account_id, peer_id)).one(self.core.db.conn()).await;
        found.map_err(|error| self.core.failed(&error))
    }

    /// What was learnt of a name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn known_name(&self, name: &str) -> Result<Option<peer::Model>> {
        peer::Entity::find()
            .filter(peer::Column::AccountId.eq(self.account_id))
            .filter(peer::Column::Username.eq(name))
            .one(self.core.db.conn())
            .await
            .map_err(|error| self.core.failed(&error))
    }
}

/// What a reservation becomes after an answer.
pub fn settlement<T>(answer: &std::result::Result<T, Failure>) -> Settlement {
    match answer {
        Ok(_) => Settlement::Counted { telegram_error: String::new(), success: false },
        Err(Failure::Target(_, name)) => Settlement::Counted { telegram_error: name.clone(), success: false },
        Err(Failure::Refused(error)) => Settlement::Counted { telegram_error: error.full_name(), success: false },
        // Only what surely was not sent is given back.
        Err(Failure::NotSent(_)) => Settlement::GivenBack,
        Err(Failure::Error(error)) if error.reason() == ErrorReason::OutcomeUnknown => Settlement::Unknown,
        Err(Failure::Error(error)) => Settlement::Counted {
            telegram_error: error.telegram_error().unwrap_or(error.reason().as_reason()).to_owned(),
            success: false,
        },
    }
}

fn to_chat(known: &peer::Model) -> Option<ChatPeer> {
    (known.peer_id < CHANNEL_BASE)
        .then(|| ChatPeer::Channel { id: CHANNEL_BASE - known.peer_id, access_hash: known.access_hash })
}

/// What addresses a chat that Telegram showed; `None` when it cannot be addressed.
pub fn chat_peer(chat: &enums::Chat) -> Option<ChatPeer> {
    match chat {
        enums::Chat::Chat(chat) => Some(ChatPeer::Basic { id: chat.id }),
        enums::Chat::Channel(chat) => {
            chat.access_hash.map(|access_hash| ChatPeer::Channel { id: chat.id, access_hash })
        }
        enums::Chat::Empty(_)
        | enums::Chat::Forbidden(_)
        | enums::Chat::ChannelForbidden(_)
        | enums::Chat::Community(_)
        | enums::Chat::CommunityForbidden(_) => None,
    }
}

fn chat_username(chat: &enums::Chat) -> Option<String> {
    match chat {
        enums::Chat::Channel(chat) => chat.username.as_ref().map(|name| name.to_lowercase()),
        _ => None,
    }
}

fn not_found(why: &str) -> Error {
    Error::plain(ErrorReason::ChatNotFound, format!("the chat cannot be found: {why}"))
}
