//! `updates.*`: what a client missed while it was away.

use grammers_tl_types::{enums, functions as f, types as t};

use super::peers::about_channel;
use super::view::Mentioned;
use super::{Answer, Context, Method, ok};
use crate::error::RpcError;
use crate::recorder::Subject;
use crate::wire::request::Field;
use crate::world::Chat;

fn state(context: &Context<'_>, pts: i32) -> enums::updates::State {
    t::updates::State { pts, qts: 0, date: context.now, seq: 0, unread_count: 0 }.into()
}

impl Method for f::updates::GetState {
    fn run(self, context: &mut Context<'_>) -> Answer {
        let pts = context.world.mailbox(context.me()?).pts();
        ok(state(context, pts))
    }
}

impl Method for f::updates::GetDifference {
    /// Channels have differences of their own; this one only says which of them have moved since `date`.
    fn run(self, context: &mut Context<'_>) -> Answer {
        if self.pts <= 0 {
            return Err(RpcError::PERSISTENT_TIMESTAMP_EMPTY);
        }
        let me = context.me()?;
        let view = context.view();
        let mailbox = context.world.mailbox(me);
        if self.pts > mailbox.pts() {
            return Err(RpcError::PERSISTENT_TIMESTAMP_INVALID);
        }
        let (letters, complete) = mailbox.difference(self.pts);
        let mut mentioned = Mentioned::default();
        for letter in &letters {
            mentioned.dialog(letter.peer);
            mentioned.message(0, &letter.message);
        }
        let mut other_updates: Vec<enums::Update> = Vec::new();
        for chat in context.world.chats_in_order() {
            let moved = chat.history.top().is_some_and(|top| top.date >= self.date);
            if moved && chat.kind.is_channel() && chat.roster.is_inside(me) {
                mentioned.chat(chat.id);
                // Without a pts the client goes on from its own; grammers would jump over what it has missed.
                other_updates.push(t::UpdateChannelTooLong { channel_id: chat.id, pts: None }.into());
            }
        }
        if letters.is_empty() && other_updates.is_empty() {
            return ok(enums::updates::Difference::Empty(t::updates::DifferenceEmpty { date: context.now, seq: 0 }));
        }
        let pts = letters.last().map_or(self.pts, |last| last.message.id.saturating_add(1));
        let new_messages = letters.into_iter().map(|letter| view.letter(letter)).collect();
        let (users, chats) = mentioned.into_tl(view);
        let state = state(context, pts);
        if complete {
            ok(enums::updates::Difference::Difference(t::updates::Difference {
                new_messages,
                new_encrypted_messages: Vec::new(),
                other_updates,
                chats,
                users,
                state,
            }))
        } else {
            ok(enums::updates::Difference::Slice(t::updates::DifferenceSlice {
                new_messages,
                new_encrypted_messages: Vec::new(),
                other_updates,
                chats,
                users,
                intermediate_state: state,
            }))
        }
    }
}

impl Method for f::updates::GetChannelDifference {
    const FIELDS: &'static [Field] = &[Field::Skip(4), Field::Channel];

    fn subject(&self) -> Subject {
        about_channel(&self.channel)
    }

    fn run(self, context: &mut Context<'_>) -> Answer {
        if self.pts <= 0 {
            return Err(RpcError::PERSISTENT_TIMESTAMP_EMPTY);
        }
        let chat = context.input_channel(&self.channel)?;
        let current = chat.history.pts();
        if self.pts >= current {
            return ok(enums::updates::ChannelDifference::Empty(t::updates::ChannelDifferenceEmpty {
                r#final: true,
                pts: current,
                timeout: Some(30),
            }));
        }
        let Some(new) = chat.history.difference(self.pts) else { return ok(too_long(context, chat)) };
        let limit = usize::try_from(self.limit.clamp(1, 1000)).unwrap_or(1);
        let shown = &new[..new.len().min(limit)];
        let view = context.view();
        let mut mentioned = Mentioned::default();
        mentioned.chat(chat.id);
        let mut new_messages = Vec::new();
        for message in shown.iter().filter_map(|id| chat.history.get(*id)) {
            mentioned.message(chat.id, message);
            new_messages.push(view.post(chat, message));
        }
        let (users, chats) = mentioned.into_tl(view);
        let pts = shown.last().map_or(current, |id| chat.history.pts_of(*id));
        ok(enums::updates::ChannelDifference::Difference(t::updates::ChannelDifference {
            r#final: shown.len() == new.len(),
            pts,
            timeout: Some(30),
            new_messages,
            other_updates: Vec::new(),
            chats,
            users,
        }))
    }
}

/// Too much has happened: the client has to begin anew from the newest messages.
fn too_long(context: &Context<'_>, chat: &Chat) -> enums::updates::ChannelDifference {
    let view = context.view();
    let mut mentioned = Mentioned::default();
    mentioned.chat(chat.id);
    let newest: Vec<_> = chat.history.messages().iter().rev().take(20).collect();
    newest.iter().for_each(|message| mentioned.message(chat.id, message));
    let messages = newest.into_iter().map(|message| view.post(chat, message)).collect();
    let (users, chats) = mentioned.into_tl(view);
    t::updates::ChannelDifferenceTooLong {
        r#final: true,
        timeout: Some(30),
        dialog: super::messages_read::channel_dialog(chat),
        messages,
        chats,
        users,
    }
    .into()
}
