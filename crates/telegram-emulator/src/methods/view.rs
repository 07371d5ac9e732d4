//! The world as TL objects, as one account sees it: access hashes, rights and privacy depend on who looks.

use std::collections::BTreeSet;

use grammers_tl_types::{enums, types as t};

use super::tl::{NO_FLAGS, blank, part};
use crate::world::{AdminRights, BannedRights, Chat, ChatKind, DialogPeer, LastSeen, Message, Service, World};

/// Seconds for which somebody online is promised to stay so.
const ONLINE: i32 = 300;

/// One account's eyes.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) world: &'a World,
    pub(crate) viewer: i64,
    pub(crate) now: i32,
}

impl<'a> View<'a> {
    pub(crate) fn user(&self, id: i64) -> enums::User {
        let Some(user) = self.world.user(id) else { return t::UserEmpty { id }.into() };
        let texts = &self.world.texts;
        let base: t::User = blank(&[NO_FLAGS, NO_FLAGS, &id.to_le_bytes()]);
        let access_hash = Some(self.world.user_hash(self.viewer, id));
        if user.deleted {
            return t::User { deleted: true, access_hash, ..base }.into();
        }
        let is_self = id == self.viewer;
        let contact = self.world.is_contact(self.viewer, id);
        let phone_shows = user.phone != 0 && (is_self || contact || user.phone_visible);
        t::User {
            is_self,
            contact,
            mutual_contact: self.world.is_mutual_contact(self.viewer, id),
            bot: user.bot,
            bot_info_version: user.bot.then_some(1),
            premium: user.premium,
            contact_require_premium: user.messages == crate::world::MessagePrivacy::ContactsAndPremium,
            access_hash,
            first_name: texts.some(user.first_name),
            last_name: texts.some(user.last_name),
            username: texts.some(user.username),
            phone: phone_shows.then(|| user.phone.to_string()),
            status: (!user.bot).then(|| self.status(user.last_seen)).flatten(),
            ..base
        }
        .into()
    }

    fn status(&self, last_seen: LastSeen) -> Option<enums::UserStatus> {
        Some(match last_seen {
            LastSeen::LongAgo => return None,
            LastSeen::Online => t::UserStatusOnline { expires: self.now.saturating_add(ONLINE) }.into(),
            LastSeen::At(was_online) => t::UserStatusOffline { was_online }.into(),
            LastSeen::Recently => t::UserStatusRecently { by_me: false }.into(),
            LastSeen::WithinWeek => t::UserStatusLastWeek { by_me: false }.into(),
            LastSeen::WithinMonth => t::UserStatusLastMonth { by_me: false }.into(),
        })
    }

    pub(crate) fn chat(&self, id: i64) -> enums::Chat {
        match self.world.chat(id) {
            None => t::ChatEmpty { id }.into(),
            Some(chat) if chat.kind == ChatKind::Group => self.group(chat),
            Some(chat) => self.channel(chat),
        }
    }

    fn group(&self, chat: &Chat) -> enums::Chat {
        let standing = chat.roster.standing(self.viewer);
        if standing == Some(crate::world::Standing::Kicked) {
            return t::ChatForbidden { id: chat.id, title: chat.title.clone() }.into();
        }
        let base: t::Chat = blank(&[
            NO_FLAGS,
            &chat.id.to_le_bytes(),
            &part(chat.title.clone()),
            &part(enums::ChatPhoto::Empty),
            &[0; 4],
            &chat.created.to_le_bytes(),
        ]);
        t::Chat {
            creator: standing == Some(crate::world::Standing::Creator),
            left: !chat.roster.is_inside(self.viewer),
            deactivated: chat.deactivated,
            participants_count: chat.roster.inside().cast_signed(),
            version: chat.version,
            admin_rights: chat.roster.admin_rights(self.viewer).map(admin_rights),
            default_banned_rights: Some(banned_rights(chat.default_banned, 0)),
            ..base
        }
        .into()
    }

    fn channel(&self, chat: &Chat) -> enums::Chat {
        let access_hash = self.world.chat_hash(self.viewer, chat.id);
        let (broadcast, megagroup) = (chat.kind == ChatKind::Channel, chat.kind != ChatKind::Channel);
        if self.world.may_see(self.viewer, chat).is_err() {
            return t::ChannelForbidden {
                broadcast,
                megagroup,
                monoforum: false,
                id: chat.id,
                access_hash,
                title: chat.title.clone(),
                until_date: None,
            }
            .into();
        }
        let base: t::Channel = blank(&[
            NO_FLAGS,
            NO_FLAGS,
            &chat.id.to_le_bytes(),
            &part(chat.title.clone()),
            &part(enums::ChatPhoto::Empty),
            &chat.created.to_le_bytes(),
        ]);
        let banned = chat.roster.banned_rights(self.viewer);
        t::Channel {
            creator: chat.roster.standing(self.viewer) == Some(crate::world::Standing::Creator),
            left: !chat.roster.is_inside(self.viewer),
            broadcast,
            megagroup,
            gigagroup: chat.kind == ChatKind::Gigagroup,
            restricted: chat.restricted,
            has_link: chat.linked.is_some(),
            slowmode_enabled: chat.slow_mode > 0,
            join_request: chat.join_by_request,
            access_hash: Some(access_hash),
            username: chat.is_public().then(|| chat.username.clone()),
            restriction_reason: chat.restricted.then(|| {
                vec![
                    t::RestrictionReason {
                        platform: "all".into(),
                        reason: "terms".into(),
                        text: "this chat is restricted".into(),
                    }
                    .into(),
                ]
            }),
            admin_rights: chat.roster.admin_rights(self.viewer).map(admin_rights),
            banned_rights: (banned.0 != 0).then(|| banned_rights(banned, chat.roster.details(self.viewer).until)),
            default_banned_rights: megagroup.then(|| banned_rights(chat.default_banned, 0)),
            participants_count: Some(chat.roster.inside().cast_signed()),
            ..base
        }
        .into()
    }
}

pub(super) fn admin_rights(rights: AdminRights) -> enums::ChatAdminRights {
    blank::<t::ChatAdminRights>(&[&rights.0.to_le_bytes()]).into()
}

pub(super) fn banned_rights(rights: BannedRights, until: i32) -> enums::ChatBannedRights {
    blank::<t::ChatBannedRights>(&[&rights.0.to_le_bytes(), &until.to_le_bytes()]).into()
}

/// Users and chats that an answer mentions; every answer has to bring along those it names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mentioned {
    users: BTreeSet<i64>,
    chats: BTreeSet<i64>,
}

impl Mentioned {
    pub(crate) fn user(&mut self, id: i64) {
        if id != 0 {
            self.users.insert(id);
        }
    }

    pub(crate) fn chat(&mut self, id: i64) {
        if id != 0 {
            self.chats.insert(id);
        }
    }

    pub(crate) fn dialog(&mut self, peer: DialogPeer) {
        match peer {
            DialogPeer::User(id) => self.user(id),
            DialogPeer::Group(id) => self.chat(id),
        }
    }

    /// Everybody named in a message of `chat`.
    pub(crate) fn message(&mut self, chat: i64, message: &Message) {
        self.chat(chat);
        self.user(message.author);
        let Some(extras) = &message.extras else { return };
        if let Some((channel, _)) = extras.copy_of {
            self.chat(channel);
        }
        match &extras.service {
            Some(Service::Added(users)) => users.iter().for_each(|user| self.user(*user)),
            Some(Service::JoinedByLink(inviter)) => self.user(*inviter),
            Some(Service::Created) | None => {}
        }
        extras.reactions.iter().take(super::render::RECENT_REACTIONS).for_each(|reaction| self.user(reaction.user));
    }

    pub(crate) fn into_tl(self, view: View<'_>) -> (Vec<enums::User>, Vec<enums::Chat>) {
        (
            self.users.into_iter().map(|id| view.user(id)).collect(),
            self.chats.into_iter().map(|id| view.chat(id)).collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{Member, Standing, User};

    fn world() -> World {
        let mut world = World::new(1);
        let name = world.texts.add("Ada");
        world.add_user(User { first_name: name, phone: 4930, ..User::new(1) }).unwrap();
        world.add_user(User { deleted: true, first_name: name, ..User::new(2) }).unwrap();
        world.add_user(User { bot: true, ..User::new(3) }).unwrap();
        for (id, kind) in [(10, ChatKind::Group), (11, ChatKind::Supergroup), (12, ChatKind::Channel)] {
            let mut chat = Chat::new(id, kind, "t", 5);
            chat.roster.put(Member { user: 1, inviter: 0, date: 1, standing: Standing::Creator });
            world.chats.insert(id, chat);
        }
        world
    }

    #[test]
    fn what_shows_depends_on_who_looks() {
        let world = world();
        let view = |viewer| View { world: &world, viewer, now: 100 };
        let enums::User::User(own) = view(1).user(1) else { panic!("empty") };
        let enums::User::User(other) = view(3).user(1) else { panic!("empty") };
        assert!(own.is_self && own.phone.as_deref() == Some("4930"));
        assert!(!other.is_self && other.phone.is_none());
        assert_ne!(own.access_hash, other.access_hash);
        let enums::User::User(gone) = view(1).user(2) else { panic!("empty") };
        assert!(gone.deleted && gone.first_name.is_none());
        assert!(matches!(view(1).user(99), enums::User::Empty(_)));
    }

    #[test]
    fn private_chats_are_forbidden_to_strangers() {
        let world = world();
        let view = |viewer| View { world: &world, viewer, now: 100 };
        assert!(matches!(view(1).chat(10), enums::Chat::Chat(chat) if chat.creator && !chat.left));
        assert!(matches!(view(1).chat(11), enums::Chat::Channel(chat) if chat.megagroup && chat.creator));
        assert!(matches!(view(1).chat(12), enums::Chat::Channel(chat) if chat.broadcast));
        assert!(matches!(view(3).chat(11), enums::Chat::ChannelForbidden(_)));
        assert!(matches!(view(3).chat(99), enums::Chat::Empty(_)));
    }
}
