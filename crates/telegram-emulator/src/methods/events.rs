//! What happens in the world, and who is told of it.

use grammers_tl_types::{enums, types as t};

use super::tl::updates;
use super::view::{Mentioned, View};
use crate::kernel::State;
use crate::world::{ChatKind, Written};

/// Something that clients are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A message arrived in an account's mailbox.
    Letter { owner: i64, id: i32 },
    /// A message was written in a supergroup or channel.
    Post { chat: i64, id: i32 },
    /// A user came into, or left, a chat.
    Membership { chat: i64, user: i64 },
    /// The QR token that a key shows was scanned.
    LoginToken { key: i64 },
}

impl Event {
    /// The events of a written message.
    pub(crate) fn of(written: &Written) -> impl Iterator<Item = Self> {
        let letters = written.letters.iter().map(|(owner, id)| Self::Letter { owner: *owner, id: *id });
        letters.chain(written.posts.iter().map(|(chat, id)| Self::Post { chat: *chat, id: *id }))
    }
}

/// The updates for each key that is to be told.
///
/// Only keys of an account's home data centre get any, as with Telegram.
pub(crate) fn render_events(state: &State, events: &[Event], now: i32) -> Vec<(i64, enums::Updates)> {
    let mut out = Vec::new();
    for event in events {
        match *event {
            Event::LoginToken { key } => {
                out.push((key, t::UpdateShort { update: enums::Update::LoginToken, date: now }.into()));
            }
            Event::Letter { owner, .. } => tell(state, owner, *event, now, &mut out),
            Event::Membership { user, .. } => tell(state, user, *event, now, &mut out),
            Event::Post { chat, .. } => {
                let Some(chat) = state.world.chat(chat) else { continue };
                for user in state.keys.users() {
                    if chat.roster.is_inside(user) {
                        tell(state, user, *event, now, &mut out);
                    }
                }
            }
        }
    }
    out
}

fn tell(state: &State, user: i64, event: Event, now: i32, out: &mut Vec<(i64, enums::Updates)>) {
    let Some(home) = state.world.user(user).map(|user| i32::from(user.dc)) else { return };
    // A revoked key hears nothing any more.
    let listens = |key: i64| state.keys.get(key).is_some_and(|key| key.dc == home && key.verdict.is_none());
    let keys = state.keys.of_user(user).iter().filter(|key| listens(**key));
    let keys: Vec<i64> = keys.copied().collect();
    if keys.is_empty() {
        return;
    }
    let view = View { world: &state.world, viewer: user, now };
    if let Some(rendered) = view.event(event) {
        out.extend(keys.into_iter().map(|key| (key, rendered.clone())));
    }
}

impl View<'_> {
    /// An event with everybody it names.
    fn event(&self, event: Event) -> Option<enums::Updates> {
        let mut mentioned = Mentioned::default();
        let update = self.event_update(event, &mut mentioned)?;
        let (users, chats) = mentioned.into_tl(*self);
        Some(updates(vec![update], users, chats, self.now))
    }

    /// The update alone; whom it names goes into `mentioned`.
    pub(super) fn event_update(&self, event: Event, mentioned: &mut Mentioned) -> Option<enums::Update> {
        match event {
            Event::Letter { owner, id } => {
                let letter = self.world.mailbox(owner).get(id)?;
                mentioned.dialog(letter.peer);
                mentioned.message(0, &letter.message);
                Some(
                    t::UpdateNewMessage { message: self.letter(letter), pts: id.saturating_add(1), pts_count: 1 }
                        .into(),
                )
            }
            Event::Post { chat, id } => {
                let chat = self.world.chat(chat)?;
                let message = chat.history.get(id)?;
                mentioned.message(chat.id, message);
                let pts = chat.history.pts_of(id);
                Some(t::UpdateNewChannelMessage { message: self.post(chat, message), pts, pts_count: 1 }.into())
            }
            Event::Membership { chat, .. } => {
                mentioned.chat(chat);
                match self.world.chat(chat)?.kind {
                    ChatKind::Group => Some(t::UpdateChat { chat_id: chat }.into()),
                    _ => Some(t::UpdateChannel { channel_id: chat }.into()),
                }
            }
            Event::LoginToken { .. } => Some(enums::Update::LoginToken),
        }
    }
}
