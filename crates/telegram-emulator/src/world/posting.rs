//! Writing messages.

use super::chats::ChatKind;
use super::history::{MediaKind, Message, Service};
use super::mailbox::{DialogPeer, Letter};
use super::{Text, World};
use crate::error::RpcError;

/// A message about to be written into a chat.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft<'a> {
    /// The user who writes; 0 for the channel itself.
    pub(crate) author: i64,
    pub(crate) text: &'a str,
    /// The message that it answers; 0 for none.
    pub(crate) reply_to: i32,
    pub(crate) date: i32,
    pub(crate) media: MediaKind,
}

/// A message that lies in the box of several accounts, or in a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// Id in the author's own numbering.
    pub(crate) id: i32,
    /// (owner, id) of every mailbox that got it.
    pub(crate) letters: Vec<(i64, i32)>,
    /// (chat, id) of every channel history that got it.
    pub(crate) posts: Vec<(i64, i32)>,
}

impl World {
    /// Writes a message into a supergroup or channel. A post of a channel is copied into its discussion group.
    pub(crate) fn post(&mut self, chat: i64, draft: &Draft<'_>) -> Result<Written, RpcError> {
        let text = self.texts.add(draft.text);
        let target =
            self.chats.get_mut(&chat).filter(|chat| chat.kind.is_channel()).ok_or(RpcError::PEER_ID_INVALID)?;
        let broadcast = target.kind == ChatKind::Channel;
        let linked = target.linked.filter(|_| broadcast);
        let mut message = Message::new(0, draft.date, if broadcast { 0 } else { draft.author }, text);
        if draft.reply_to != 0 {
            if target.history.get(draft.reply_to).is_none() {
                return Err(RpcError::MSG_ID_INVALID);
            }
            message.reply_to = draft.reply_to;
            message.thread = target.history.thread_of_reply(draft.reply_to);
        }
        if broadcast {
            message.views = 1;
        }
        if draft.media != MediaKind::None {
            message.extras_mut().media = draft.media;
        }
        let id = target.history.push(message);
        if target.slow_mode > 0 {
            target.last_written.insert(draft.author, draft.date);
        }
        let mut posts = vec![(chat, id)];
        if let Some(group) = linked {
            posts.extend(self.copy_to_discussion(chat, id, group, text, draft.date));
        }
        Ok(Written { id, letters: Vec::new(), posts })
    }

    fn copy_to_discussion(&mut self, channel: i64, post: i32, group: i64, text: Text, date: i32) -> Option<(i64, i32)> {
        let mut copy = Message::new(0, date, 0, text);
        copy.extras_mut().copy_of = Some((channel, post));
        let id = self.chats.get_mut(&group)?.history.push(copy);
        self.chats.get_mut(&channel)?.history.set_copy(post, id);
        Some((group, id))
    }

    /// Writes a service message into any chat.
    pub(crate) fn post_service(&mut self, chat: i64, author: i64, service: Service, date: i32) -> Option<Written> {
        let mut message = Message::new(0, date, author, Text::default());
        message.extras_mut().service = Some(service);
        let target = self.chats.get_mut(&chat)?;
        match target.kind {
            // Channels and gigagroups do not report who comes and goes.
            ChatKind::Channel | ChatKind::Gigagroup => None,
            ChatKind::Supergroup => {
                let id = target.history.push(message);
                Some(Written { id, letters: Vec::new(), posts: vec![(chat, id)] })
            }
            ChatKind::Group => Some(self.distribute(chat, author, &message)),
        }
    }

    /// Writes a message into a basic group: one letter in each member's box.
    pub(crate) fn post_in_group(&mut self, chat: i64, draft: &Draft<'_>) -> Result<Written, RpcError> {
        let text = self.texts.add(draft.text);
        self.chat(chat).filter(|chat| chat.kind == ChatKind::Group).ok_or(RpcError::PEER_ID_INVALID)?;
        let mut message = Message::new(0, draft.date, draft.author, text);
        message.reply_to = draft.reply_to;
        Ok(self.distribute(chat, draft.author, &message))
    }

    /// Members without a phone number are nobody's account, and get no box.
    fn distribute(&mut self, chat: i64, author: i64, message: &Message) -> Written {
        let readers: Vec<i64> = self.chats.get(&chat).map_or_else(Vec::new, |chat| {
            let members = chat.roster.members().map(|member| member.user);
            members.filter(|user| *user == author || self.is_reader(*user)).collect()
        });
        let mut letters = Vec::with_capacity(readers.len());
        for reader in readers {
            let letter = Letter { peer: DialogPeer::Group(chat), out: reader == author, message: message.clone() };
            letters.push((reader, self.mailbox_mut(reader).push(letter)));
        }
        let id = letters.iter().find(|(owner, _)| *owner == author).or(letters.first()).map_or(0, |letter| letter.1);
        Written { id, letters, posts: Vec::new() }
    }

    fn is_reader(&self, user: i64) -> bool {
        self.user(user).is_some_and(|user| user.phone != 0 || user.bot)
    }

    /// Writes a private message: one letter in each of the two boxes, or one in the author's own.
    pub(crate) fn write_to(&mut self, author: i64, user: i64, draft: &Draft<'_>) -> Written {
        let text = self.texts.add(draft.text);
        let mut message = Message::new(0, draft.date, author, text);
        message.reply_to = draft.reply_to;
        let own = Letter { peer: DialogPeer::User(user), out: true, message: message.clone() };
        let id = self.mailbox_mut(author).push(own);
        let mut letters = vec![(author, id)];
        if user != author {
            message.reply_to = 0;
            let theirs = Letter { peer: DialogPeer::User(author), out: false, message };
            letters.push((user, self.mailbox_mut(user).push(theirs)));
        }
        Written { id, letters, posts: Vec::new() }
    }
}
