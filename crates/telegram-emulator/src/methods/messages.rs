//! `messages.*` that write.

use grammers_tl_types::{enums, functions as f, types as t};

use super::peers::{Target, subject_of};
use super::tl::updates;
use super::view::Mentioned;
use super::{Answer, Context, Event, Method, ok};
use crate::error::RpcError;
use crate::recorder::{Effect, Subject};
use crate::world::{Draft, Reaction, Written};

/// Longest text of a message, in characters.
pub(super) const MAX_TEXT: usize = 4096;

impl Method for f::messages::SendMessage {
    fn subject(&self) -> Subject {
        Subject { random_id: Some(self.random_id), ..subject_of(&self.peer) }
    }

    fn run(self, context: &mut Context<'_>) -> Answer {
        let me = context.me()?;
        let target = context.target(&self.peer)?;
        if self.message.trim().is_empty() {
            return Err(RpcError::MESSAGE_EMPTY);
        }
        if self.message.chars().count() > MAX_TEXT {
            return Err(RpcError::MESSAGE_TOO_LONG);
        }
        match target {
            Target::User(user) => context.world.may_write_to(me, user)?,
            Target::Group(id) | Target::Channel(id) => {
                let chat = context.world.chat(id).ok_or(RpcError::PEER_ID_INVALID)?;
                context.world.may_write(me, chat, context.now)?;
            }
        }
        // Claimed last, so that a refused message may be tried again; checked before anything is written.
        if context.world.random_id_is_used(me, self.random_id) {
            return Err(RpcError::RANDOM_ID_DUPLICATE);
        }
        let reply_to = reply_to(self.reply_to.as_ref());
        let draft = Draft { author: me, text: &self.message, reply_to, date: context.now, ..Draft::default() };
        let written = match target {
            Target::User(user) => context.world.write_to(me, user, &draft),
            Target::Group(chat) => context.world.post_in_group(chat, &draft)?,
            Target::Channel(chat) => context.world.post(chat, &draft)?,
        };
        context.world.claim_random_id(me, self.random_id);
        context.effects.push(match target {
            Target::User(user) => Effect::MessageSentToUser { user, message: written.id },
            Target::Group(chat) | Target::Channel(chat) => Effect::MessageSentToChat { chat, message: written.id },
        });
        context.events.extend(Event::of(&written));
        ok(sent(context, target, &written, self.random_id))
    }
}

fn reply_to(reply: Option<&enums::InputReplyTo>) -> i32 {
    match reply {
        Some(enums::InputReplyTo::Message(reply)) => reply.reply_to_msg_id,
        _ => 0,
    }
}

/// The short form only for messages to users: clients take it for nothing else.
fn sent(context: &Context<'_>, target: Target, written: &Written, random_id: i64) -> enums::Updates {
    if matches!(target, Target::User(_)) {
        return t::UpdateShortSentMessage {
            out: true,
            id: written.id,
            pts: written.id.saturating_add(1),
            pts_count: 1,
            date: context.now,
            media: None,
            entities: None,
            ttl_period: None,
        }
        .into();
    }
    let mut out: Vec<enums::Update> = vec![t::UpdateMessageId { id: written.id, random_id }.into()];
    own_updates(context, written, &mut out)
}

/// What the caller is told of messages that its call has written, after the updates in `out`.
pub(super) fn own_updates(context: &Context<'_>, written: &Written, out: &mut Vec<enums::Update>) -> enums::Updates {
    let me = context.account.unwrap_or(0);
    let view = context.view();
    let mut mentioned = Mentioned::default();
    mentioned.user(me);
    for event in Event::of(written) {
        let concerns_me = match event {
            Event::Letter { owner, .. } => owner == me,
            // The copy in the discussion group has its own way to those who are in it.
            Event::Post { chat, .. } => written.posts.first().is_some_and(|(first, _)| *first == chat),
            Event::Membership { .. } | Event::LoginToken { .. } => true,
        };
        if concerns_me {
            out.extend(view.event_update(event, &mut mentioned));
        }
    }
    let (users, chats) = mentioned.into_tl(view);
    updates(std::mem::take(out), users, chats, context.now)
}

impl Method for f::messages::SendReaction {
    fn subject(&self) -> Subject {
        subject_of(&self.peer)
    }

    fn run(self, context: &mut Context<'_>) -> Answer {
        let me = context.me()?;
        context.world.may_act(me)?;
        let target = context.target(&self.peer)?;
        let now = context.now;
        let chosen: Vec<Reaction> = self
            .reaction
            .unwrap_or_default()
            .into_iter()
            .filter_map(|reaction| match reaction {
                enums::Reaction::Emoji(emoji) => Some(Reaction { user: me, date: now, emoji: emoji.emoticon }),
                _ => None,
            })
            .take(1)
            .collect();
        let message = match target {
            Target::Channel(chat) => context.world.chat_mut(chat).and_then(|chat| chat.history.get_mut(self.msg_id)),
            Target::User(_) | Target::Group(_) => {
                context.world.mailbox_mut(me).get_mut(self.msg_id).map(|letter| &mut letter.message)
            }
        };
        let reactions = &mut message.ok_or(RpcError::MESSAGE_ID_INVALID)?.extras_mut().reactions;
        reactions.retain(|reaction| reaction.user != me);
        reactions.extend(chosen);
        ok(updates(Vec::new(), Vec::new(), Vec::new(), now))
    }
}

impl Method for f::messages::ReadHistory {
    fn subject(&self) -> Subject {
        subject_of(&self.peer)
    }

    /// Nothing is marked: the emulator does not count unread messages.
    fn run(self, context: &mut Context<'_>) -> Answer {
        context.target(&self.peer)?;
        let pts = context.world.mailbox(context.me()?).pts();
        ok(enums::messages::AffectedMessages::Messages(t::messages::AffectedMessages { pts, pts_count: 0 }))
    }
}
