//! From the `Input…` of a request to a user or chat of the world, checking access hashes on the way.

use grammers_tl_types::{enums, types as t};

use super::Context;
use crate::error::RpcError;
use crate::recorder::Subject;
use crate::world::{Chat, ChatKind, DialogPeer};

/// Whom or what a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    User(i64),
    /// A basic group.
    Group(i64),
    /// A supergroup, gigagroup or channel.
    Channel(i64),
}

impl Target {
    pub(super) fn peer(self) -> enums::Peer {
        match self {
            Self::User(user_id) => t::PeerUser { user_id }.into(),
            Self::Group(chat_id) => t::PeerChat { chat_id }.into(),
            Self::Channel(channel_id) => t::PeerChannel { channel_id }.into(),
        }
    }

    /// The dialog in the caller's mailbox, for what has one.
    pub(super) fn dialog(self) -> Option<DialogPeer> {
        match self {
            Self::User(id) => Some(DialogPeer::User(id)),
            Self::Group(id) => Some(DialogPeer::Group(id)),
            Self::Channel(_) => None,
        }
    }
}

impl Context<'_> {
    fn user_by_hash(&self, user: i64, access_hash: i64) -> Option<i64> {
        let me = self.account?;
        self.world.user(user)?;
        let good = access_hash == self.world.user_hash(me, user) || user == me || self.is_bot_without_hash(access_hash);
        good.then_some(user)
    }

    fn channel_by_hash(&self, chat: i64, access_hash: i64) -> Option<i64> {
        let me = self.account?;
        self.world.chat(chat).filter(|chat| chat.kind.is_channel())?;
        (access_hash == self.world.chat_hash(me, chat) || self.is_bot_without_hash(access_hash)).then_some(chat)
    }

    /// Bots may pass 0 for an access hash.
    fn is_bot_without_hash(&self, access_hash: i64) -> bool {
        access_hash == 0 && self.account.and_then(|me| self.world.user(me)).is_some_and(|me| me.bot)
    }

    /// A user known only from a message: the message has to be there and to be theirs.
    fn user_from_message(&self, peer: &enums::InputPeer, message: i32, user: i64) -> Option<i64> {
        let author = match self.target(peer).ok()? {
            Target::Channel(chat) => self.world.chat(chat)?.history.get(message)?.author,
            Target::User(_) | Target::Group(_) => self.world.mailbox(self.account?).get(message)?.message.author,
        };
        (author == user).then_some(user)
    }

    fn channel_from_message(&self, peer: &enums::InputPeer, message: i32, channel: i64) -> Option<i64> {
        let Target::Channel(chat) = self.target(peer).ok()? else { return None };
        let extras = self.world.chat(chat)?.history.get(message)?.extras.as_ref()?;
        extras.copy_of.filter(|(from, _)| *from == channel).map(|_| channel)
    }

    /// The user of an `InputUser`; a wrong or foreign access hash is `USER_ID_INVALID`.
    pub(super) fn input_user(&self, user: &enums::InputUser) -> Result<i64, RpcError> {
        let found = match user {
            enums::InputUser::Empty => None,
            enums::InputUser::UserSelf => self.account,
            enums::InputUser::User(user) => self.user_by_hash(user.user_id, user.access_hash),
            enums::InputUser::FromMessage(from) => self.user_from_message(&from.peer, from.msg_id, from.user_id),
        };
        found.ok_or(RpcError::USER_ID_INVALID)
    }

    /// The chat of an `InputChannel`, if the caller may see it; a wrong or foreign access hash is
    /// `CHANNEL_INVALID`.
    pub(super) fn input_channel(&self, channel: &enums::InputChannel) -> Result<&Chat, RpcError> {
        let found = match channel {
            enums::InputChannel::Empty => None,
            enums::InputChannel::Channel(channel) => self.channel_by_hash(channel.channel_id, channel.access_hash),
            enums::InputChannel::FromMessage(from) => {
                self.channel_from_message(&from.peer, from.msg_id, from.channel_id)
            }
        };
        self.visible_channel(found.ok_or(RpcError::CHANNEL_INVALID)?)
    }

    pub(super) fn visible_channel(&self, id: i64) -> Result<&Chat, RpcError> {
        let chat = self.world.chat(id).ok_or(RpcError::CHANNEL_INVALID)?;
        self.world.may_see(self.me()?, chat)?;
        Ok(chat)
    }

    /// A basic group of which the caller is or was a member.
    pub(super) fn group(&self, id: i64) -> Result<&Chat, RpcError> {
        let me = self.me()?;
        let chat = self.world.chat(id).filter(|chat| chat.kind == ChatKind::Group).ok_or(RpcError::CHAT_ID_INVALID)?;
        chat.roster.get(me).map(|_| chat).ok_or(RpcError::CHAT_ID_INVALID)
    }

    /// The target of an `InputPeer`; a wrong or foreign access hash is `PEER_ID_INVALID` for users and
    /// `CHANNEL_INVALID` for channels.
    pub(super) fn target(&self, peer: &enums::InputPeer) -> Result<Target, RpcError> {
        let channel = |id: Option<i64>| {
            let id = id.ok_or(RpcError::CHANNEL_INVALID)?;
            self.visible_channel(id).map(|_| Target::Channel(id))
        };
        let user = |id: Option<i64>| id.map(Target::User).ok_or(RpcError::PEER_ID_INVALID);
        match peer {
            enums::InputPeer::Empty => Err(RpcError::PEER_ID_INVALID),
            enums::InputPeer::PeerSelf => user(self.account),
            enums::InputPeer::User(peer) => user(self.user_by_hash(peer.user_id, peer.access_hash)),
            enums::InputPeer::UserFromMessage(from) => {
                user(self.user_from_message(&from.peer, from.msg_id, from.user_id))
            }
            enums::InputPeer::Chat(chat) => {
                self.group(chat.chat_id).map(|chat| Target::Group(chat.id)).map_err(|_| RpcError::PEER_ID_INVALID)
            }
            enums::InputPeer::Channel(peer) => channel(self.channel_by_hash(peer.channel_id, peer.access_hash)),
            enums::InputPeer::ChannelFromMessage(from) => {
                channel(self.channel_from_message(&from.peer, from.msg_id, from.channel_id))
            }
        }
    }
}

/// The id that an `InputUser` names, true or not.
pub(super) fn named_user(user: &enums::InputUser) -> Option<i64> {
    match user {
        enums::InputUser::Empty | enums::InputUser::UserSelf => None,
        enums::InputUser::User(user) => Some(user.user_id),
        enums::InputUser::FromMessage(from) => Some(from.user_id),
    }
}

/// The id that an `InputChannel` names, true or not.
pub(super) fn named_channel(channel: &enums::InputChannel) -> Option<i64> {
    match channel {
        enums::InputChannel::Empty => None,
        enums::InputChannel::Channel(channel) => Some(channel.channel_id),
        enums::InputChannel::FromMessage(from) => Some(from.channel_id),
    }
}

/// What an `InputPeer` names, for faults and the flight recorder.
pub(super) fn subject_of(peer: &enums::InputPeer) -> Subject {
    let (chat, user) = match peer {
        enums::InputPeer::Empty | enums::InputPeer::PeerSelf => (None, None),
        enums::InputPeer::Chat(chat) => (Some(chat.chat_id), None),
        enums::InputPeer::Channel(channel) => (Some(channel.channel_id), None),
        enums::InputPeer::ChannelFromMessage(from) => (Some(from.channel_id), None),
        enums::InputPeer::User(user) => (None, Some(user.user_id)),
        enums::InputPeer::UserFromMessage(from) => (None, Some(from.user_id)),
    };
    Subject { chat, users: user.into_iter().collect(), random_id: None }
}

/// The subject of a call about one channel.
pub(super) fn about_channel(channel: &enums::InputChannel) -> Subject {
    Subject { chat: named_channel(channel), ..Subject::default() }
}
