//! Changes of membership.

use super::members::{Details, Member, Standing};
use super::posting::Written;
use super::{InviteLink, NameOwner, Service, User, World, mix};
use crate::error::RpcError;

impl World {
    /// Makes a user a member, whatever the rules say; reports it in the chat.
    pub(crate) fn add_member(&mut self, chat: i64, user: i64, inviter: i64, now: i32) -> Option<Written> {
        self.seat(chat, user, inviter, Standing::Member, now)?;
        self.post_service(chat, inviter, Service::Added(vec![user]), now)
    }

    /// Makes an account a member by its own will.
    pub(crate) fn join(&mut self, chat: i64, user: i64, inviter: i64, now: i32) -> Option<Written> {
        self.seat(chat, user, inviter, Standing::Member, now)?;
        let service = if inviter == 0 { Service::Added(vec![user]) } else { Service::JoinedByLink(inviter) };
        self.post_service(chat, user, service, now)
    }

    /// Gives a user a standing in a chat, without a word.
    pub(crate) fn seat(&mut self, chat: i64, user: i64, inviter: i64, standing: Standing, now: i32) -> Option<()> {
        let chat = self.chats.get_mut(&chat)?;
        chat.roster.put(Member { user, inviter, date: now, standing });
        chat.requests.retain(|asked| *asked != user);
        chat.version += 1;
        Some(())
    }

    /// Gives a member's rights or bans.
    pub(crate) fn set_details(&mut self, chat: i64, user: i64, details: Details) {
        if let Some(chat) = self.chats.get_mut(&chat) {
            chat.roster.put_details(user, details);
        }
    }

    /// Adds a user with a public name; refused when id, phone number or name is taken.
    pub(crate) fn add_user(&mut self, user: User) -> Result<(), &'static str> {
        let (id, name) = (user.id, self.texts.get(user.username).to_owned());
        if !name.is_empty() && self.name_owner(&name).is_some() {
            return Err("the username is taken");
        }
        if !self.users.add(user) {
            return Err("the id or phone number is taken");
        }
        if !name.is_empty() {
            self.claim_name(&name, NameOwner::User(id));
        }
        Ok(())
    }

    /// Makes a new invite link.
    pub(crate) fn add_link(&mut self, chat: i64, mut link: InviteLink) -> Option<InviteLink> {
        let seed = self.seed;
        let chat = self.chats.get_mut(&chat)?;
        if link.hash.is_empty() {
            let words = [chat.id.cast_unsigned(), chat.links.len() as u64];
            let hash = words.into_iter().fold(mix(seed ^ 0x6c69_6e6b), |state, word| mix(state ^ word));
            link.hash = format!("E{hash:016x}");
        }
        chat.links.push(link.clone());
        Some(link)
    }

    /// The chat and link of an invite hash.
    pub(crate) fn link(&self, hash: &str, now: i32) -> Result<(i64, &InviteLink), RpcError> {
        if hash.is_empty() {
            return Err(RpcError::INVITE_HASH_EMPTY);
        }
        let found = self
            .chats
            .values()
            .find_map(|chat| chat.links.iter().find(|link| link.hash == hash).map(|link| (chat.id, link)));
        let (chat, link) = found.ok_or(RpcError::INVITE_HASH_INVALID)?;
        if link.is_usable(now) { Ok((chat, link)) } else { Err(RpcError::INVITE_HASH_EXPIRED) }
    }

    /// Counts a use of an invite link.
    pub(crate) fn use_link(&mut self, chat: i64, hash: &str) {
        let links = self.chats.get_mut(&chat).map(|chat| &mut chat.links);
        if let Some(link) = links.and_then(|links| links.iter_mut().find(|link| link.hash == hash)) {
            link.usage += 1;
        }
    }
}
