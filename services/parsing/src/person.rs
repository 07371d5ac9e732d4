//! A user as an account saw him, in the form that is stored.

use service_kit::Time;
use tgmesh_proto::telegram::v1 as telegram;
use uuid::Uuid;

/// What one account saw of a user. Texts are fit for every database: PostgreSQL
/// refuses a NUL in a text, and names come from strangers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Person {
    /// Telegram's id.
    pub user_id: i64,
    /// Public name without "@".
    pub username: String,
    /// First name.
    pub first_name: String,
    /// Last name.
    pub last_name: String,
    /// Phone number with "+".
    pub phone: String,
    /// A bot.
    pub bot: bool,
    /// Deleted.
    pub deleted: bool,
    /// With Premium.
    pub premium: bool,
    /// Administers the chat he was found in.
    pub admin: bool,
    /// When he was last online, by the contract's number.
    pub last_seen: i32,
    /// When he was last online, when Telegram tells the time.
    pub last_seen_at: Option<Time>,
    /// What addresses him: the account, and the sealed reference.
    pub reference: Option<(Uuid, Vec<u8>)>,
}

/// The person whom a row shows, with what addresses him: the tables of people
/// have these columns alike.
macro_rules! person_of_row {
    ($row:expr, $reference:expr) => {
        $crate::person::Person {
            user_id: $row.user_id,
            username: $row.username.clone(),
            first_name: $row.first_name.clone(),
            last_name: $row.last_name.clone(),
            phone: $row.phone.clone(),
            bot: $row.bot,
            deleted: $row.deleted,
            premium: $row.premium,
            admin: $row.admin,
            last_seen: $row.last_seen,
            last_seen_at: $row.last_seen_at.map(service_kit::Time::from_millis),
            reference: $reference,
        }
    };
}
pub(crate) use person_of_row;

impl Person {
    /// From the wire.
    pub fn from_proto(person: telegram::Person) -> Self {
        let reference = person.peer_reference.and_then(|reference| {
            let account = Uuid::parse_str(&reference.account_id).ok()?;
            Some((account, reference.sealed))
        });
        Self {
            user_id: person.user_id,
            username: clean(person.username),
            first_name: clean(person.first_name),
            last_name: clean(person.last_name),
            phone: clean(person.phone),
            bot: person.bot,
            deleted: person.deleted,
            premium: person.premium,
            admin: person.admin,
            last_seen: person.last_seen,
            last_seen_at: person.last_seen_time.as_ref().map(Time::from_proto),
            reference,
        }
    }

    /// To the wire.
    pub fn into_proto(self) -> telegram::Person {
        telegram::Person {
            user_id: self.user_id,
            username: self.username,
            first_name: self.first_name,
            last_name: self.last_name,
            phone: self.phone,
            bot: self.bot,
            deleted: self.deleted,
            premium: self.premium,
            admin: self.admin,
            last_seen: self.last_seen,
            last_seen_time: self.last_seen_at.map(Time::to_proto),
            peer_reference: self
                .reference
                .map(|(account, sealed)| telegram::PeerReference { account_id: account.to_string(), sealed }),
        }
    }

    /// All names in lower case, each after a line feed, so that one pattern finds
    /// a prefix of any. Lower case is made here: SQLite's knows ASCII alone.
    pub fn search_text(&self) -> String {
        let full = format!("{} {}", self.first_name, self.last_name);
        let mut text = String::with_capacity(2 * full.len() + self.username.len() + 4);
        for name in [&self.username, &self.first_name, &self.last_name, &full] {
            let name = name.trim();
            if !name.is_empty() {
                text.push('\n');
                text.push_str(&name.to_lowercase());
            }
        }
        text
    }
}

/// The pattern that finds a prefix in a search text; `\` escapes. `None` when
/// there is nothing to search for.
pub fn search_pattern(search: &str) -> Option<String> {
    let search = search.trim();
    let search = search.strip_prefix('@').unwrap_or(search).to_lowercase();
    let search = clean(search).replace('\n', " ");
    if search.is_empty() {
        return None;
    }
    let mut pattern = String::from("%\n");
    for c in search.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    Some(pattern)
}

/// The text without NUL.
pub fn clean(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_survives_the_way_to_the_wire_and_back() {
        let person = Person {
            user_id: 7_000_000_000_000_000_007,
            username: "ann".into(),
            first_name: "Анна".into(),
            last_name: "O'Neil".into(),
            phone: "+49151234567".into(),
            bot: true,
            deleted: true,
            premium: true,
            admin: true,
            last_seen: 2,
            last_seen_at: Some(Time::from_millis(1_763_654_400_123)),
            reference: Some((Uuid::from_u128(9), vec![0, 255])),
        };
        assert_eq!(Person::from_proto(person.clone().into_proto()), person);
    }

    #[test]
    fn no_name_carries_a_nul() {
        let wire = telegram::Person { user_id: 1, first_name: "a\0b".into(), ..Default::default() };
        assert_eq!(Person::from_proto(wire).first_name, "ab");
    }

    #[test]
    fn a_search_text_has_every_name_in_lower_case() {
        let person = Person {
            username: "Ann_1".into(),
            first_name: "АННА".into(),
            last_name: "Ivanova".into(),
            ..Default::default()
        };
        assert_eq!(person.search_text(), "\nann_1\nанна\nivanova\nанна ivanova");
        assert_eq!(Person::default().search_text(), "");
    }

    #[test]
    fn a_pattern_takes_nothing_as_a_wildcard() {
        assert_eq!(search_pattern("@Ann_1%\\").as_deref(), Some("%\nann\\_1\\%\\\\%"));
        assert_eq!(search_pattern("  "), None);
        assert_eq!(search_pattern("@"), None);
        assert_eq!(search_pattern("\0"), None);
    }
}
