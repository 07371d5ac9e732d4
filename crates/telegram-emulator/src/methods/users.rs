//! `users.*`

use grammers_tl_types::{enums, functions as f, types as t};

use super::peers::named_user;
use super::tl::{NO_FLAGS, blank, notify_settings, part, peer_settings};
use super::{Answer, Context, Method, ok};
use crate::recorder::Subject;
use crate::wire::request::Field;
use crate::world::MessagePrivacy;

impl Method for f::users::GetUsers {
    const FIELDS: &'static [Field] = &[Field::Users];

    fn subject(&self) -> Subject {
        Subject { users: self.id.iter().filter_map(named_user).collect(), ..Subject::default() }
    }

    /// Whoever cannot be addressed is left out as `userEmpty`, in place.
    fn run(self, context: &mut Context<'_>) -> Answer {
        let view = context.view();
        let users: Vec<enums::User> = self
            .id
            .iter()
            .map(|user| match context.input_user(user) {
                Ok(id) => view.user(id),
                Err(_) => t::UserEmpty { id: named_user(user).unwrap_or(0) }.into(),
            })
            .collect();
        ok(users)
    }
}

impl Method for f::users::GetFullUser {
    const FIELDS: &'static [Field] = &[Field::User];

    fn subject(&self) -> Subject {
        Subject { users: named_user(&self.id).into_iter().collect(), ..Subject::default() }
    }

    fn run(self, context: &mut Context<'_>) -> Answer {
        let (me, id) = (context.me()?, context.input_user(&self.id)?);
        let world = &*context.world;
        let base: t::UserFull =
            blank(&[NO_FLAGS, NO_FLAGS, &id.to_le_bytes(), &part(peer_settings()), &part(notify_settings()), &[0; 4]]);
        let messages = world.user(id).map(|user| user.messages).unwrap_or_default();
        let common = world
            .chats
            .values()
            .filter(|chat| id != me && chat.roster.is_inside(me) && chat.roster.is_inside(id))
            .count();
        let full = t::UserFull {
            blocked: world.has_blocked(me, id),
            contact_require_premium: messages == MessagePrivacy::ContactsAndPremium,
            about: Some(format!("emulated user {id}")),
            common_chats_count: i32::try_from(common).unwrap_or(i32::MAX),
            ..base
        };
        ok(enums::users::UserFull::Full(t::users::UserFull {
            full_user: full.into(),
            chats: Vec::new(),
            users: vec![context.view().user(id)],
        }))
    }
}
