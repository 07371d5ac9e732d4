//! `contacts.*`

use grammers_tl_types::{enums, functions as f, types as t};

use super::peers::{Target, named_user, subject_of};
use super::tl::{updates, user_peer};
use super::view::Mentioned;
use super::{Answer, Context, Method, ok};
use crate::error::RpcError;
use crate::recorder::{Effect, Subject};
use crate::wire::request::Field;
use crate::world::{Chat, ChatKind, NameOwner, User, parse_phone, searchable_name};

impl Method for f::contacts::ResolveUsername {
    fn run(self, context: &mut Context<'_>) -> Answer {
        let name = self.username.trim_start_matches('@');
        let sensible = (3..=32).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !sensible {
            return Err(RpcError::USERNAME_INVALID);
        }
        match context.world.name_owner(name).ok_or(RpcError::USERNAME_NOT_OCCUPIED)? {
            NameOwner::User(id) => ok(resolved(context, Target::User(id))),
            NameOwner::Chat(id) => ok(resolved(context, Target::Channel(id))),
        }
    }
}

fn resolved(context: &Context<'_>, target: Target) -> enums::contacts::ResolvedPeer {
    let mut mentioned = Mentioned::default();
    match target {
        Target::User(id) => mentioned.user(id),
        Target::Group(id) | Target::Channel(id) => mentioned.chat(id),
    }
    let (users, chats) = mentioned.into_tl(context.view());
    t::contacts::ResolvedPeer { peer: target.peer(), chats, users }.into()
}

/// A user to be found by phone number: not everybody lets themselves be.
fn by_phone<'a>(context: &'a Context<'_>, phone: &str) -> Option<&'a User> {
    let user = context.world.users.by_phone(parse_phone(phone)?)?;
    let me = context.account?;
    let hidden = user.phone_hidden_from_search && !context.world.is_contact(user.id, me) && user.id != me;
    (!user.deleted && !hidden).then_some(user)
}

impl Method for f::contacts::ResolvePhone {
    fn run(self, context: &mut Context<'_>) -> Answer {
        let user = by_phone(context, &self.phone).map(|user| user.id).ok_or(RpcError::PHONE_NOT_OCCUPIED)?;
        ok(resolved(context, Target::User(user)))
    }
}

/// Most results of a search.
const MAX_FOUND: usize = 50;

impl Method for f::contacts::Search {
    /// `my_results` are what the caller has in contacts or dialogs, `results` what is public.
    fn run(self, context: &mut Context<'_>) -> Answer {
        let query = self.q.trim().trim_start_matches('@').to_lowercase();
        if query.is_empty() {
            return Err(RpcError::SEARCH_QUERY_EMPTY);
        }
        if query.chars().count() < 3 {
            return Err(RpcError::QUERY_TOO_SHORT);
        }
        let limit = usize::try_from(self.limit.max(0)).unwrap_or(0).min(MAX_FOUND);
        let me = context.me()?;
        let world = &*context.world;
        let (mut mine, mut public) = (Vec::new(), Vec::new());
        for chat in world.chats_in_order() {
            if matches_chat(chat, &query) && !(self.broadcasts && chat.kind != ChatKind::Channel) && !self.bots {
                let target = if chat.kind.is_channel() { Target::Channel(chat.id) } else { Target::Group(chat.id) };
                if chat.roster.is_inside(me) {
                    mine.push(target);
                }
                if chat.is_public() {
                    public.push(target);
                }
            }
        }
        if !self.broadcasts {
            for user in world.users.iter().filter(|user| !user.deleted && (user.bot || !self.bots)) {
                let username = world.texts.get(user.username);
                let start = username.as_bytes().get(..query.len());
                let named = start.is_some_and(|start| start.eq_ignore_ascii_case(query.as_bytes()));
                let contact = world.is_contact(me, user.id);
                if contact && (named || searchable_name(&world.texts, user).contains(&query)) {
                    mine.push(Target::User(user.id));
                } else if named && public.len() < limit {
                    public.push(Target::User(user.id));
                }
            }
        }
        mine.truncate(limit);
        public.truncate(limit);
        let mut mentioned = Mentioned::default();
        for target in mine.iter().chain(&public) {
            match *target {
                Target::User(id) => mentioned.user(id),
                Target::Group(id) | Target::Channel(id) => mentioned.chat(id),
            }
        }
        let (users, chats) = mentioned.into_tl(context.view());
        ok(enums::contacts::Found::Found(t::contacts::Found {
            my_results: mine.into_iter().map(Target::peer).collect(),
            results: public.into_iter().map(Target::peer).collect(),
            chats,
            users,
        }))
    }
}

/// Every word of the query begins a word of the title, or the query begins the public name.
pub(super) fn matches_chat(chat: &Chat, query: &str) -> bool {
    let title = chat.title.to_lowercase();
    let words: Vec<&str> = title.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let by_title = query.split_whitespace().all(|part| words.iter().any(|word| word.starts_with(part)));
    by_title || (chat.is_public() && chat.username.to_lowercase().starts_with(query))
}

impl Method for f::contacts::AddContact {
    const FIELDS: &'static [Field] = &[Field::Skip(4), Field::User];

    fn subject(&self) -> Subject {
        Subject { users: named_user(&self.id).into_iter().collect(), ..Subject::default() }
    }

    fn run(self, context: &mut Context<'_>) -> Answer {
        let me = context.me()?;
        context.world.may_act(me)?;
        let user = context.input_user(&self.id)?;
        if user == me {
            return Err(RpcError::CONTACT_ID_INVALID);
        }
        if self.first_name.trim().is_empty() {
            return Err(RpcError::CONTACT_NAME_EMPTY);
        }
        if context.world.add_contact(me, user) {
            context.effects.push(Effect::ContactAdded { user });
        }
        ok(settings_update(context, user))
    }
}

fn settings_update(context: &Context<'_>, user: i64) -> enums::Updates {
    let update = t::UpdatePeerSettings { peer: user_peer(user), settings: super::tl::peer_settings() }.into();
    updates(vec![update], vec![context.view().user(user)], Vec::new(), context.now)
}

impl Method for f::contacts::ImportContacts {
    fn run(self, context: &mut Context<'_>) -> Answer {
        let me = context.me()?;
        context.world.may_act(me)?;
        let mut imported = Vec::new();
        let mut mentioned = Mentioned::default();
        for contact in self.contacts {
            let enums::InputContact::InputPhoneContact(contact) = contact;
            let Some(user_id) = by_phone(context, &contact.phone).map(|user| user.id) else { continue };
            if context.world.add_contact(me, user_id) {
                context.effects.push(Effect::ContactAdded { user: user_id });
            }
            mentioned.user(user_id);
            imported.push(t::ImportedContact { user_id, client_id: contact.client_id }.into());
        }
        let (users, _) = mentioned.into_tl(context.view());
        ok(enums::contacts::ImportedContacts::Contacts(t::contacts::ImportedContacts {
            imported,
            popular_invites: Vec::new(),
            retry_contacts: Vec::new(),
            users,
        }))
    }
}

impl Method for f::contacts::GetContacts {
    fn run(self, context: &mut Context<'_>) -> Answer {
        let me = context.me()?;
        let ids = context.world.contacts_of(me);
        let view = context.view();
        let contacts = ids
            .iter()
            .map(|id| t::Contact { user_id: *id, mutual: context.world.is_mutual_contact(me, *id) }.into())
            .collect();
        ok(enums::contacts::Contacts::Contacts(t::contacts::Contacts {
            contacts,
            saved_count: 0,
            users: ids.iter().map(|id| view.user(*id)).collect(),
        }))
    }
}

impl Method for f::contacts::DeleteContacts {
    const FIELDS: &'static [Field] = &[Field::Users];

    fn subject(&self) -> Subject {
        Subject { users: self.id.iter().filter_map(named_user).collect(), ..Subject::default() }
    }

    fn run(self, context: &mut Context<'_>) -> Answer {
        let me = context.me()?;
        let mut users = Vec::new();
        for user in &self.id {
            let user = context.input_user(user)?;
            context.world.remove_contact(me, user);
            users.push(context.view().user(user));
        }
        ok(updates(Vec::new(), users, Vec::new(), context.now))
    }
}

fn set_blocked(context: &mut Context<'_>, peer: &enums::InputPeer, blocked: bool) -> Answer {
    let me = context.me()?;
    let Target::User(user) = context.target(peer)? else { return Err(RpcError::PEER_ID_INVALID) };
    context.world.set_blocked(me, user, blocked);
    ok(true)
}

impl Method for f::contacts::Block {
    fn subject(&self) -> Subject {
        subject_of(&self.id)
    }

    fn run(self, context: &mut Context<'_>) -> Answer {
        set_blocked(context, &self.id, true)
    }
}

impl Method for f::contacts::Unblock {
    fn subject(&self) -> Subject {
        subject_of(&self.id)
    }

    fn run(self, context: &mut Context<'_>) -> Answer {
        set_blocked(context, &self.id, false)
    }
}
