//! Chats, as the contract writes them.

use grammers_tl_types::{enums, functions, types};
use tgmesh_proto::ErrorReason;
use tgmesh_proto::telegram::v1::{Chat, ChatKind};

use super::caller::{About, Caller, Failure};
use super::peers::{ChatPeer, chat_peer};
use crate::error::{Error, Result};

/// A chat in full, and what addresses it.
#[derive(Debug, Clone)]
pub struct FullChat {
    /// What addresses it.
    pub peer: ChatPeer,
    /// As the contract writes it.
    pub chat: Chat,
    /// The chat as Telegram shows it to this account.
    pub seen: enums::Chat,
    /// Members of a basic group, which come with the chat itself.
    pub participants: Vec<enums::ChatParticipant>,
    /// Users that came with it.
    pub users: Vec<enums::User>,
}

impl Caller<'_> {
    /// A chat in full.
    ///
    /// # Errors
    /// As [`Caller::chat`]; `CHAT_UNAVAILABLE` when Telegram does not show it.
    pub async fn full_chat(&self, text: &str) -> Result<FullChat> {
        let peer = self.chat(text).await?;
        let (full, chats, users) = match peer.channel() {
            Some(channel) => {
                let about = About::reading("channels.getFullChannel", peer.chat_id());
                let enums::messages::ChatFull::Full(full) =
                    self.invoke(about, &functions::channels::GetFullChannel { channel }).await.map_err(gone)?;
                (full.full_chat, full.chats, full.users)
            }
            None => {
                let about = About::reading("messages.getFullChat", peer.chat_id());
                let chat_id = -peer.chat_id();
                let enums::messages::ChatFull::Full(full) =
                    self.invoke(about, &functions::messages::GetFullChat { chat_id }).await.map_err(gone)?;
                (full.full_chat, full.chats, full.users)
            }
        };
        self.learn(&[], &chats).await?;
        let seen = chats
            .into_iter()
            .find(|chat| chat_peer(chat).is_some_and(|found| found.chat_id() == peer.chat_id()))
            .ok_or_else(|| Error::plain(ErrorReason::ChatNotFound, "telegram does not show the chat to the account"))?;
        let mut chat = show(peer, &seen);
        let mut participants = Vec::new();
        match full {
            enums::ChatFull::ChannelFull(full) => {
                chat.member_count = full.participants_count.or(chat.member_count);
                chat.linked_chat_id = full
                    .linked_chat_id
                    .map(|id| ChatPeer::Channel { id, access_hash: 0 }.chat_id())
                    .unwrap_or_default();
                chat.members_hidden = full.participants_hidden || !full.can_view_participants;
                chat.description = full.about;
            }
            enums::ChatFull::Full(full) => {
                chat.description = full.about;
                match full.participants {
                    enums::ChatParticipants::Participants(found) => participants = found.participants,
                    enums::ChatParticipants::Forbidden(_) => chat.members_hidden = true,
                }
            }
            // A community groups chats; nobody is a member of it.
            enums::ChatFull::CommunityFull(_) => {
                return Err(Error::plain(ErrorReason::ChatKindUnsuitable, "a community has no members of its own")
                    .with("kind", "COMMUNITY"));
            }
        }
        Ok(FullChat { peer, chat, seen, participants, users })
    }
}

fn gone(failure: Failure) -> Error {
    match failure {
        Failure::Error(error) if error.reason() == ErrorReason::ChatUnavailable => {
            let name = error.telegram_error().unwrap_or_default().to_owned();
            Error::plain(ErrorReason::ChatNotFound, format!("the chat cannot be found: {name}"))
                .with("telegram_error", name)
        }
        other => other.into(),
    }
}

/// A chat as Telegram shows it, without what only the full form tells.
pub fn show(peer: ChatPeer, chat: &enums::Chat) -> Chat {
    let empty = Chat { chat_id: peer.chat_id(), ..Default::default() };
    match chat {
        enums::Chat::Chat(chat) => Chat {
            kind: ChatKind::BasicGroup.into(),
            title: chat.title.clone(),
            member_count: Some(chat.participants_count),
            member: !chat.left,
            ..empty
        },
        enums::Chat::Channel(chat) => Chat {
            kind: kind(chat).into(),
            title: chat.title.clone(),
            username: chat.username.clone().unwrap_or_default(),
            member_count: chat.participants_count,
            member: !chat.left,
            ..empty
        },
        enums::Chat::Empty(_) | enums::Chat::Community(_) | enums::Chat::CommunityForbidden(_) => empty,
        enums::Chat::Forbidden(chat) => Chat { title: chat.title.clone(), ..empty },
        enums::Chat::ChannelForbidden(chat) => Chat { title: chat.title.clone(), ..empty },
    }
}

fn kind(chat: &types::Channel) -> ChatKind {
    if chat.gigagroup {
        ChatKind::Gigagroup
    } else if chat.megagroup {
        ChatKind::Supergroup
    } else {
        ChatKind::Channel
    }
}
