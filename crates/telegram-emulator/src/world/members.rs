//! Who is in a chat, and with which rights.

use super::hashing::IdMap;

/// Rights of an administrator, in the bits of `chatAdminRights`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdminRights(pub u32);

impl AdminRights {
    /// May change title and description.
    pub const CHANGE_INFO: Self = Self(1);
    /// May post in a channel.
    pub const POST_MESSAGES: Self = Self(1 << 1);
    /// May delete messages.
    pub const DELETE_MESSAGES: Self = Self(1 << 3);
    /// May ban and unban.
    pub const BAN_USERS: Self = Self(1 << 4);
    /// May invite.
    pub const INVITE_USERS: Self = Self(1 << 5);
    /// Everything that a creator may.
    pub const ALL: Self = Self(0x001f_feff);

    /// Whether all of `wanted` is included.
    pub fn has(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }
}

/// What somebody may not do, in the bits of `chatBannedRights`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BannedRights(pub u32);

impl BannedRights {
    /// May not see the chat: kicked.
    pub const VIEW_MESSAGES: Self = Self(1);
    /// May not write.
    pub const SEND_MESSAGES: Self = Self(1 << 1);
    /// May not invite.
    pub const INVITE_USERS: Self = Self(1 << 15);

    /// Whether all of `wanted` is included.
    pub fn has(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }
}

/// How somebody stands to a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Made the chat.
    Creator,
    /// Administrator.
    Admin,
    /// Ordinary member.
    Member,
    /// Member who may not do everything.
    Restricted,
    /// Left of their own accord.
    Left,
    /// Removed, and cannot come back by themselves.
    Kicked,
}

impl Standing {
    /// Whether this is a member of any kind.
    pub fn is_inside(self) -> bool {
        !matches!(self, Self::Left | Self::Kicked)
    }
}

/// An entry of a member list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub(crate) user: i64,
    /// Who brought the user in; 0 when nobody did.
    pub(crate) inviter: i64,
    pub(crate) date: i32,
    pub(crate) standing: Standing,
}

/// What only few members have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Details {
    pub(crate) admin: AdminRights,
    pub(crate) banned: BannedRights,
    /// Who promoted, restricted or removed the user.
    pub(crate) by: i64,
    /// When the ban ends; 0 for never.
    pub(crate) until: i32,
    pub(crate) rank: String,
}

/// A member list. Entries keep their place for ever, so that paging through it is stable while people come and go.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    entries: Vec<Member>,
    by_user: IdMap<i64, u32>,
    details: IdMap<i64, Details>,
    inside: u32,
}

impl Roster {
    pub(crate) fn reserve(&mut self, more: usize) {
        self.entries.reserve(more);
        self.by_user.reserve(more);
    }

    /// Number of members.
    pub(crate) fn inside(&self) -> u32 {
        self.inside
    }

    /// All entries, also of those who left or were removed, in order of first joining.
    pub(crate) fn entries(&self) -> &[Member] {
        &self.entries
    }

    /// Members, in order of first joining.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.entries.iter().filter(|member| member.standing.is_inside())
    }

    pub(crate) fn get(&self, user: i64) -> Option<&Member> {
        self.by_user.get(&user).and_then(|at| self.entries.get(*at as usize))
    }

    pub(crate) fn is_inside(&self, user: i64) -> bool {
        self.get(user).is_some_and(|member| member.standing.is_inside())
    }

    pub(crate) fn standing(&self, user: i64) -> Option<Standing> {
        self.get(user).map(|member| member.standing)
    }

    pub(crate) fn details(&self, user: i64) -> Details {
        self.details.get(&user).cloned().unwrap_or_default()
    }

    /// Rights of an administrator; none for others.
    pub(crate) fn admin_rights(&self, user: i64) -> Option<AdminRights> {
        match self.standing(user)? {
            Standing::Creator => Some(AdminRights::ALL),
            Standing::Admin => Some(self.details(user).admin),
            _ => None,
        }
    }

    /// What a restricted member may not do.
    pub(crate) fn banned_rights(&self, user: i64) -> BannedRights {
        match self.standing(user) {
            Some(Standing::Restricted | Standing::Kicked) => self.details(user).banned,
            _ => BannedRights::default(),
        }
    }

    /// Puts a user into a standing, adding an entry when there is none.
    pub(crate) fn put(&mut self, member: Member) {
        match self.by_user.get(&member.user).and_then(|at| self.entries.get_mut(*at as usize)) {
            Some(entry) => {
                self.inside -= u32::from(entry.standing.is_inside());
                *entry = member;
            }
            None => {
                let Ok(at) = u32::try_from(self.entries.len()) else { return };
                self.by_user.insert(member.user, at);
                self.entries.push(member);
            }
        }
        self.inside += u32::from(member.standing.is_inside());
        if matches!(member.standing, Standing::Member | Standing::Left) {
            self.details.remove(&member.user);
        }
    }

    pub(crate) fn put_details(&mut self, user: i64, details: Details) {
        self.details.insert(user, details);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(user: i64, standing: Standing) -> Member {
        Member { user, inviter: 0, date: 1, standing }
    }

    #[test]
    fn entries_keep_their_place_and_the_count_is_right() {
        let mut roster = Roster::default();
        for user in 1..=5 {
            roster.put(member(user, Standing::Member));
        }
        roster.put(member(3, Standing::Left));
        roster.put(member(4, Standing::Kicked));
        assert_eq!(roster.inside(), 3);
        assert_eq!(roster.members().map(|m| m.user).collect::<Vec<_>>(), [1, 2, 5]);
        roster.put(member(3, Standing::Member));
        assert_eq!(roster.members().map(|m| m.user).collect::<Vec<_>>(), [1, 2, 3, 5]);
        assert!(!roster.is_inside(4) && roster.standing(4) == Some(Standing::Kicked));
    }

    #[test]
    fn rights_follow_the_standing() {
        let mut roster = Roster::default();
        roster.put(member(1, Standing::Creator));
        roster.put(member(2, Standing::Admin));
        roster.put_details(2, Details { admin: AdminRights::BAN_USERS, ..Details::default() });
        assert!(roster.admin_rights(1).unwrap().has(AdminRights::INVITE_USERS));
        assert!(!roster.admin_rights(2).unwrap().has(AdminRights::INVITE_USERS));
        roster.put(member(2, Standing::Member));
        assert_eq!(roster.admin_rights(2), None);
        roster.put(member(2, Standing::Admin));
        assert_eq!(roster.admin_rights(2), Some(AdminRights::default()), "old rights do not come back");
    }

    #[test]
    fn an_entry_stays_small() {
        assert!(size_of::<Member>() <= 24, "{}", size_of::<Member>());
    }
}
