//! What Telegram pushes, as far as it wakes anybody.

use grammers_session::updates::UpdatesLike;
use grammers_tl_types::enums;

/// Ids of channels and supergroups are written below this, as the Bot API does.
const CHANNEL_BASE: i64 = -1_000_000_000_000;

/// What a push says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// There may be something new in this chat.
    Chat(i64),
    /// The code of a login was scanned.
    Login,
    /// Something happened, and it does not say where.
    Somewhere,
}

/// What these pushes say.
pub(super) fn read(pushes: &[UpdatesLike]) -> Vec<Pushed> {
    let mut found = Vec::new();
    for pushed in pushes {
        match pushed {
            UpdatesLike::Updates(updates) => updates_of(updates, &mut found),
            UpdatesLike::MalformedUpdates | UpdatesLike::ConnectionClosed => found.push(Pushed::Somewhere),
            // What the account did itself.
            UpdatesLike::ShortSentMessage { .. }
            | UpdatesLike::AffectedMessages(_)
            | UpdatesLike::AffectedChannelMessages { .. }
            | UpdatesLike::InvitedUsers(_)
            | UpdatesLike::ChatInviteJoinResult(_) => {}
        }
    }
    found.dedup();
    found
}

fn updates_of(updates: &enums::Updates, found: &mut Vec<Pushed>) {
    use enums::Updates;
    match updates {
        Updates::TooLong => found.push(Pushed::Somewhere),
        Updates::UpdateShortChatMessage(message) => found.push(Pushed::Chat(-message.chat_id)),
        Updates::UpdateShort(short) => found.extend(update(&short.update)),
        Updates::Combined(updates) => found.extend(updates.updates.iter().filter_map(update)),
        Updates::Updates(updates) => found.extend(updates.updates.iter().filter_map(update)),
        // A user's message to the account, and what the account wrote.
        Updates::UpdateShortMessage(_) | Updates::UpdateShortSentMessage(_) => {}
    }
}

fn update(update: &enums::Update) -> Option<Pushed> {
    use enums::Update;
    match update {
        Update::NewMessage(new) => chat_of(&new.message).map(Pushed::Chat),
        Update::NewChannelMessage(new) => chat_of(&new.message).map(Pushed::Chat),
        Update::ChannelTooLong(long) => Some(Pushed::Chat(CHANNEL_BASE - long.channel_id)),
        Update::LoginToken => Some(Pushed::Login),
        Update::PtsChanged => Some(Pushed::Somewhere),
        _ => None,
    }
}

/// The chat that a message stands in; `None` when it is a user's.
fn chat_of(message: &enums::Message) -> Option<i64> {
    let peer = match message {
        enums::Message::Message(message) => Some(&message.peer_id),
        enums::Message::Service(message) => Some(&message.peer_id),
        enums::Message::Empty(message) => message.peer_id.as_ref(),
    }?;
    match peer {
        enums::Peer::User(_) => None,
        enums::Peer::Chat(peer) => Some(-peer.chat_id),
        enums::Peer::Channel(peer) => Some(CHANNEL_BASE - peer.channel_id),
    }
}

#[cfg(test)]
mod tests {
    use grammers_tl_types::types;

    use super::*;

    fn written_in(peer_id: enums::Peer) -> enums::Update {
        let message = types::MessageEmpty { id: 1, peer_id: Some(peer_id) }.into();
        types::UpdateNewMessage { message, pts: 1, pts_count: 1 }.into()
    }

    #[test]
    fn a_push_names_the_chats_it_is_about() {
        let updates = vec![
            written_in(types::PeerUser { user_id: 5 }.into()),
            written_in(types::PeerChat { chat_id: 6 }.into()),
            written_in(types::PeerChannel { channel_id: 7 }.into()),
            types::UpdateChannelTooLong { channel_id: 8, pts: None }.into(),
        ];
        let all = types::Updates { updates, users: Vec::new(), chats: Vec::new(), date: 0, seq: 0 };
        assert_eq!(
            read(&[UpdatesLike::Updates(all.into()), UpdatesLike::MalformedUpdates]),
            [Pushed::Chat(-6), Pushed::Chat(-1_000_000_000_007), Pushed::Chat(-1_000_000_000_008), Pushed::Somewhere]
        );
    }
}
