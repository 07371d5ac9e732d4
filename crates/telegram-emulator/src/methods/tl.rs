//! Short ways to make TL objects.

use grammers_tl_types::{Deserializable, Serializable, enums, types as t};

/// A structure with nothing set but the given mandatory parts, which begin with the flags.
///
/// Generated structures have no `Default`, and some have sixty fields. Their own decoder makes one: no flags set,
/// then the mandatory parts in the order of the schema, then zeros.
///
/// # Panics
/// When `parts` are not what the schema demands: every use is covered by a test.
pub(super) fn blank<T: Deserializable>(parts: &[&[u8]]) -> T {
    let mut bytes = parts.concat();
    bytes.resize(bytes.len() + 256, 0);
    T::from_bytes(&bytes).expect("the mandatory parts follow the schema")
}

/// The bytes of `flags:#` with nothing set.
pub(super) const NO_FLAGS: &[u8] = &[0; 4];

pub(super) fn user_peer(user_id: i64) -> enums::Peer {
    t::PeerUser { user_id }.into()
}

pub(super) fn notify_settings() -> enums::PeerNotifySettings {
    blank::<t::PeerNotifySettings>(&[]).into()
}

pub(super) fn no_photo() -> enums::Photo {
    t::PhotoEmpty { id: 0 }.into()
}

pub(super) fn emoji(emoticon: &str) -> enums::Reaction {
    t::ReactionEmoji { emoticon: emoticon.to_owned() }.into()
}

pub(super) fn updates(
    updates: Vec<enums::Update>,
    users: Vec<enums::User>,
    chats: Vec<enums::Chat>,
    date: i32,
) -> enums::Updates {
    t::Updates { updates, users, chats, date, seq: 0 }.into()
}

/// An empty settings object of a user's or chat's first contact.
pub(super) fn peer_settings() -> enums::PeerSettings {
    blank::<t::PeerSettings>(&[]).into()
}

/// Bytes of a TL object, for [`blank`].
pub(super) fn part(object: impl Serializable) -> Vec<u8> {
    object.to_bytes()
}
