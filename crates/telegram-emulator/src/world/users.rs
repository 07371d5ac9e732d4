//! Users: people and bots.

use super::hashing::IdMap;
use super::text::{Text, Texts};

/// Who may add a user to chats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InvitePrivacy {
    /// Everybody.
    #[default]
    Everybody,
    /// The user's contacts.
    Contacts,
    /// The user's contacts, and premium accounts.
    ContactsAndPremium,
    /// Nobody; the invitation is answered with the user among `missing_invitees`.
    Nobody,
    /// Nobody; the invitation is answered with the error `USER_PRIVACY_RESTRICTED`, as basic groups and older
    /// servers do.
    NobodyByError,
}

/// Who may write to a user first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MessagePrivacy {
    /// Everybody.
    #[default]
    Everybody,
    /// The user's contacts, and premium accounts.
    ContactsAndPremium,
    /// Nobody but the user's contacts.
    Contacts,
}

/// When a user was last seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LastSeen {
    /// The user shows nothing, or has not been seen for long.
    #[default]
    LongAgo,
    /// Online now.
    Online,
    /// At this second since the epoch.
    At(i32),
    /// Within three days.
    Recently,
    /// Within a week.
    WithinWeek,
    /// Within a month.
    WithinMonth,
}

/// A user as the world keeps it; small, as there may be a million.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) id: i64,
    /// Digits of the phone number; 0 for none.
    pub(crate) phone: u64,
    pub(crate) first_name: Text,
    pub(crate) last_name: Text,
    pub(crate) username: Text,
    pub(crate) last_seen: LastSeen,
    /// Channels and supergroups joined outside this world, which count towards the limit.
    pub(crate) channels_elsewhere: u16,
    pub(crate) dc: u8,
    pub(crate) invites: InvitePrivacy,
    pub(crate) messages: MessagePrivacy,
    pub(crate) bot: bool,
    pub(crate) premium: bool,
    /// Deleted accounts keep their id and nothing else.
    pub(crate) deleted: bool,
    /// The number shows to everybody, not only to contacts.
    pub(crate) phone_visible: bool,
    /// The account is banned: its number cannot log in.
    pub(crate) banned: bool,
    /// `contacts.resolvePhone` and `importContacts` do not find it.
    pub(crate) phone_hidden_from_search: bool,
}

impl User {
    pub(crate) fn new(id: i64) -> Self {
        Self {
            id,
            phone: 0,
            first_name: Text::default(),
            last_name: Text::default(),
            username: Text::default(),
            last_seen: LastSeen::default(),
            channels_elsewhere: 0,
            dc: 2,
            invites: InvitePrivacy::default(),
            messages: MessagePrivacy::default(),
            bot: false,
            premium: false,
            deleted: false,
            phone_visible: false,
            banned: false,
            phone_hidden_from_search: false,
        }
    }
}

/// All users, by id and by phone number.
#[derive(Debug, Default)]
pub(crate) struct Users {
    all: Vec<User>,
    by_id: IdMap<i64, u32>,
    by_phone: IdMap<u64, i64>,
}

impl Users {
    pub(crate) fn reserve(&mut self, more: usize) {
        self.all.reserve(more);
        self.by_id.reserve(more);
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Adds a user; false when its id or phone number is taken.
    pub(crate) fn add(&mut self, user: User) -> bool {
        if self.by_id.contains_key(&user.id) || (user.phone != 0 && self.by_phone.contains_key(&user.phone)) {
            return false;
        }
        let Ok(at) = u32::try_from(self.all.len()) else { return false };
        self.by_id.insert(user.id, at);
        if user.phone != 0 {
            self.by_phone.insert(user.phone, user.id);
        }
        self.all.push(user);
        true
    }

    pub(crate) fn get(&self, id: i64) -> Option<&User> {
        self.by_id.get(&id).and_then(|at| self.all.get(*at as usize))
    }

    /// A user to be changed; its id and phone number must stay as they are.
    pub(crate) fn get_mut(&mut self, id: i64) -> Option<&mut User> {
        self.by_id.get(&id).and_then(|at| self.all.get_mut(*at as usize))
    }

    pub(crate) fn by_phone(&self, phone: u64) -> Option<&User> {
        self.by_phone.get(&phone).and_then(|id| self.get(*id))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &User> {
        self.all.iter()
    }

    /// Up to `limit` users in the order they were added, from index `from`.
    pub(crate) fn slice(&self, from: usize, limit: usize) -> &[User] {
        let from = from.min(self.all.len());
        &self.all[from..self.all.len().min(from.saturating_add(limit))]
    }
}

/// The digits of a phone number as users write it; `None` when it cannot be one.
pub(crate) fn parse_phone(text: &str) -> Option<u64> {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let clean = text.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | ' ' | '-' | '(' | ')'));
    (clean && (5..=15).contains(&digits.len())).then(|| digits.parse().ok()).flatten().filter(|phone| *phone != 0)
}

/// The full name, lower case, for searches.
pub(crate) fn searchable_name(texts: &Texts, user: &User) -> String {
    format!("{} {}", texts.get(user.first_name), texts.get(user.last_name)).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_stays_small() {
        assert!(size_of::<User>() <= 72, "{}", size_of::<User>());
    }

    #[test]
    fn ids_and_phones_are_unique() {
        let mut users = Users::default();
        assert!(users.add(User { phone: 4930, ..User::new(1) }));
        assert!(!users.add(User::new(1)));
        assert!(!users.add(User { phone: 4930, ..User::new(2) }));
        assert!(users.get(2).is_none());
        assert_eq!(users.by_phone(4930).map(|user| user.id), Some(1));
        assert_eq!(users.slice(0, 10).len(), 1);
        assert!(users.slice(5, 10).is_empty());
    }

    #[test]
    fn phones_are_digits_however_written() {
        assert_eq!(parse_phone("+49 (30) 12-34"), Some(49_301_234));
        for bad in ["", "+1", "hello12345", "99999999999999999999"] {
            assert_eq!(parse_phone(bad), None, "{bad}");
        }
    }
}
