//! The emulated world: users, chats, messages, contacts.
//!
//! It is kept in small structures of its own; TL objects are made from it when they are asked for, as seen by the
//! account that asks. Nothing in here knows about connections or keys.

mod actions;
mod chats;
pub(crate) mod hashing;
mod history;
mod mailbox;
mod members;
mod posting;
mod rules;
mod text;
mod users;

use hashing::{IdMap, IdSet, mix};

pub use chats::ChatKind;
pub use history::MediaKind;
pub use members::{AdminRights, BannedRights, Standing};
pub use users::{InvitePrivacy, LastSeen, MessagePrivacy};

pub(crate) use chats::{Chat, InviteLink};
pub(crate) use history::{Message, Reaction, Service};
pub(crate) use mailbox::{DialogPeer, Letter, Mailbox};
pub(crate) use members::{Details, Member};
pub(crate) use posting::{Draft, Written};
pub(crate) use rules::Invitation;
pub(crate) use text::{Text, Texts};
pub(crate) use users::{User, Users, parse_phone, searchable_name};

use crate::wire::srp::Verifier;

/// Who or what a public name belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameOwner {
    User(i64),
    Chat(i64),
}

/// What a login of an account meets instead of a code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoginDemand {
    /// Nothing: the code is sent.
    #[default]
    None,
    /// An e-mail address has to be set up first.
    Email,
    /// A fee has to be paid first.
    Payment,
}

/// What few users have: those whose side of Telegram is played by the product.
#[derive(Default)]
pub(crate) struct Account {
    password: Option<String>,
    verifier: Option<std::sync::Arc<Verifier>>,
    pub(crate) hint: String,
    pub(crate) demand: LoginDemand,
    /// May read, but acting is refused with `FROZEN_METHOD_INVALID`.
    pub(crate) frozen: bool,
    /// May not write to strangers or invite them: `PEER_FLOOD`.
    pub(crate) spam_limited: bool,
    /// May not write in public groups: `USER_BANNED_IN_CHANNEL`.
    pub(crate) banned_in_channels: bool,
    /// What a bot logs in with.
    pub(crate) bot_token: String,
}

impl Account {
    pub(crate) fn set_password(&mut self, password: Option<String>, hint: &str) {
        self.password = password.filter(|password| !password.is_empty());
        self.verifier = None;
        self.hint = hint.to_owned();
    }

    pub(crate) fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// The password's verifier, derived when first asked for: that takes tens of milliseconds.
    pub(crate) fn verifier(&mut self) -> Option<std::sync::Arc<Verifier>> {
        if self.verifier.is_none() {
            self.verifier = self.password.as_deref().map(|password| std::sync::Arc::new(Verifier::new(password)));
        }
        self.verifier.clone()
    }
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("has_password", &self.has_password()).finish_non_exhaustive()
    }
}

/// The world.
#[derive(Debug, Default)]
pub(crate) struct World {
    seed: u64,
    pub(crate) texts: Texts,
    pub(crate) users: Users,
    pub(crate) chats: IdMap<i64, Chat>,
    /// Public names by the hash of their lower-case form.
    names: IdMap<u64, NameOwner>,
    accounts: IdMap<i64, Account>,
    mailboxes: IdMap<i64, Mailbox>,
    empty_mailbox: Mailbox,
    /// (owner, contact)
    contacts: IdSet<(i64, i64)>,
    /// (who blocked, who is blocked)
    blocks: IdSet<(i64, i64)>,
    /// (account, random id of a message it has sent)
    random_ids: IdSet<(i64, i64)>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// The access hash by which `viewer` may address a user.
    ///
    /// It is a keyed function of both, so that one account's hash is useless to another, as with Telegram, and
    /// nothing has to be stored.
    pub(crate) fn user_hash(&self, viewer: i64, user: i64) -> i64 {
        self.access_hash(viewer, user, 0x75)
    }

    /// The access hash by which `viewer` may address a channel or supergroup.
    pub(crate) fn chat_hash(&self, viewer: i64, chat: i64) -> i64 {
        self.access_hash(viewer, chat, 0x63)
    }

    fn access_hash(&self, viewer: i64, target: i64, kind: u64) -> i64 {
        let mut state = mix(self.seed ^ 0x0061_6363_6573_7321);
        for word in [viewer.cast_unsigned(), target.cast_unsigned(), kind] {
            state = mix(state ^ word);
        }
        let hash = state.cast_signed();
        if hash == 0 { 1 } else { hash }
    }

    pub(crate) fn user(&self, id: i64) -> Option<&User> {
        self.users.get(id)
    }

    pub(crate) fn chat(&self, id: i64) -> Option<&Chat> {
        self.chats.get(&id)
    }

    pub(crate) fn chat_mut(&mut self, id: i64) -> Option<&mut Chat> {
        self.chats.get_mut(&id)
    }

    /// Chats by ascending id, so that what is answered does not depend on the table's order.
    pub(crate) fn chats_in_order(&self) -> Vec<&Chat> {
        let mut chats: Vec<&Chat> = self.chats.values().collect();
        chats.sort_unstable_by_key(|chat| chat.id);
        chats
    }

    pub(crate) fn account(&self, user: i64) -> Option<&Account> {
        self.accounts.get(&user)
    }

    pub(crate) fn account_mut(&mut self, user: i64) -> &mut Account {
        self.accounts.entry(user).or_default()
    }

    pub(crate) fn bot_by_token(&self, token: &str) -> Option<i64> {
        let found = self.accounts.iter().find(|(_, account)| !token.is_empty() && account.bot_token == token);
        found.map(|(user, _)| *user)
    }

    pub(crate) fn mailbox(&self, user: i64) -> &Mailbox {
        self.mailboxes.get(&user).unwrap_or(&self.empty_mailbox)
    }

    pub(crate) fn mailbox_mut(&mut self, user: i64) -> &mut Mailbox {
        self.mailboxes.entry(user).or_default()
    }

    /// Gives a public name to a user or chat; false when it is taken.
    pub(crate) fn claim_name(&mut self, name: &str, owner: NameOwner) -> bool {
        match self.names.entry(name_key(name)) {
            std::collections::hash_map::Entry::Occupied(_) => false,
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(owner);
                true
            }
        }
    }

    pub(crate) fn name_owner(&self, name: &str) -> Option<NameOwner> {
        let owner = *self.names.get(&name_key(name))?;
        let held = match owner {
            NameOwner::User(id) => self.texts.get(self.user(id)?.username),
            NameOwner::Chat(id) => &self.chat(id)?.username,
        };
        held.eq_ignore_ascii_case(name).then_some(owner)
    }

    pub(crate) fn reserve_users(&mut self, more: usize) {
        self.users.reserve(more);
        self.names.reserve(more);
    }

    pub(crate) fn is_contact(&self, owner: i64, contact: i64) -> bool {
        self.contacts.contains(&(owner, contact))
    }

    pub(crate) fn is_mutual_contact(&self, a: i64, b: i64) -> bool {
        self.is_contact(a, b) && self.is_contact(b, a)
    }

    /// Makes `contact` a contact of `owner`; false when it was one.
    pub(crate) fn add_contact(&mut self, owner: i64, contact: i64) -> bool {
        self.contacts.insert((owner, contact))
    }

    pub(crate) fn remove_contact(&mut self, owner: i64, contact: i64) -> bool {
        self.contacts.remove(&(owner, contact))
    }

    pub(crate) fn contacts_of(&self, owner: i64) -> Vec<i64> {
        let mut contacts: Vec<i64> = self.contacts.iter().filter(|pair| pair.0 == owner).map(|pair| pair.1).collect();
        contacts.sort_unstable();
        contacts
    }

    pub(crate) fn has_blocked(&self, who: i64, whom: i64) -> bool {
        self.blocks.contains(&(who, whom))
    }

    pub(crate) fn set_blocked(&mut self, who: i64, whom: i64, blocked: bool) {
        if blocked {
            self.blocks.insert((who, whom));
        } else {
            self.blocks.remove(&(who, whom));
        }
    }

    /// Takes note of a message's random id; false when the account has used it before.
    pub(crate) fn claim_random_id(&mut self, account: i64, random_id: i64) -> bool {
        self.random_ids.insert((account, random_id))
    }

    pub(crate) fn random_id_is_used(&self, account: i64, random_id: i64) -> bool {
        self.random_ids.contains(&(account, random_id))
    }
}

/// FNV-1a over the lower-case name.
fn name_key(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_hash_is_good_for_one_viewer_and_one_target() {
        let world = World::new(1);
        let hash = world.user_hash(10, 20);
        assert_eq!(hash, World::new(1).user_hash(10, 20));
        assert_ne!(hash, world.user_hash(11, 20));
        assert_ne!(hash, world.user_hash(10, 21));
        assert_ne!(hash, world.chat_hash(10, 20));
        assert_ne!(hash, World::new(2).user_hash(10, 20));
    }

    #[test]
    fn names_are_unique_whatever_their_case() {
        let mut world = World::new(1);
        let username = world.texts.add("Ada");
        world.users.add(User { username, ..User::new(5) });
        assert!(world.claim_name("Ada", NameOwner::User(5)));
        assert!(!world.claim_name("aDA", NameOwner::Chat(6)));
        assert_eq!(world.name_owner("ADA"), Some(NameOwner::User(5)));
        assert_eq!(world.name_owner("adam"), None);
    }
}
