//! Who of a list is one and the same person, by every key that is known of him.
//!
//! A list is a campaign or an upload. Each of its people has the keys of all
//! rows that were about him: one row with a phone number, another with a name
//! and that number, a third with the name are one person. He stays known by his
//! keys when he is no target, so that no later row brings him back.

use std::collections::{HashMap, HashSet};

use sea_orm::{ConnectionTrait, DbErr, FromQueryResult, Value};
use uuid::Uuid;

use crate::app::{execute, sql};
use crate::targets::Person;

/// Keys a statement.
const KEYS: usize = 500;

/// Who a row is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The person of the list.
    pub member: Uuid,
    /// Whether no row before was about him.
    pub is_new: bool,
    /// Whether the row says something of him that was not known.
    pub has_news: bool,
    /// Members that turned out to be him.
    pub merged: Vec<Uuid>,
}

/// A list, as far as the rows at hand are about its people.
#[derive(Debug, Default)]
pub struct List {
    by_key: HashMap<String, Uuid>,
    user_ids: HashMap<Uuid, i64>,
    changed: HashSet<String>,
}

impl List {
    /// Finds the place of a person, who becomes the member `id` when he is new.
    ///
    /// Two Telegram ids are two people. A name or number that belongs to
    /// somebody with another id is taken from the person: it has changed hands,
    /// and would bring the same one into the chat twice.
    pub fn place(&mut self, id: Uuid, person: &mut Person) -> Place {
        let (mut user_id, mut found, mut news) = (person.user_id, Vec::new(), Vec::new());
        for key in person.keys() {
            let Some(member) = self.by_key.get(&key).copied() else {
                news.push(key);
                continue;
            };
            let known = self.user_ids.get(&member).copied().unwrap_or(0);
            if user_id != 0 && known != 0 && user_id != known {
                person.forget(&key);
                continue;
            }
            user_id = user_id.max(known);
            if !found.contains(&member) {
                found.push(member);
            }
        }
        // Ids grow with time: the earliest row gives the place.
        found.sort_unstable();
        let member = found.first().copied().unwrap_or(id);
        let merged: Vec<Uuid> = found.into_iter().skip(1).collect();
        for (key, of) in &mut self.by_key {
            if merged.contains(of) {
                *of = member;
                self.changed.insert(key.clone());
            }
        }
        self.user_ids.insert(member, user_id);
        let has_news = !news.is_empty();
        for key in news {
            self.changed.insert(key.clone());
            self.by_key.insert(key, member);
        }
        Place { member, is_new: member == id, has_news, merged }
    }
}

#[derive(FromQueryResult)]
struct KeyOf {
    person_key: String,
    member_id: Uuid,
}

/// The people of a list whom these keys are about, with all that is known of them.
///
/// # Errors
/// When the database fails.
pub async fn load(conn: &impl ConnectionTrait, list_id: Uuid, keys: &[String]) -> Result<List, DbErr> {
    let mut list = List::default();
    for keys in keys.chunks(KEYS) {
        let places: Vec<String> = (2..keys.len() + 2).map(|at| format!("${at}")).collect();
        let text = format!(
            "SELECT person_key, member_id FROM person_keys WHERE list_id = $1 AND member_id IN (\
             SELECT member_id FROM person_keys WHERE list_id = $1 AND person_key IN ({}))",
            places.join(", ")
        );
        let values = std::iter::once(Value::from(list_id)).chain(keys.iter().map(|key| Value::from(key.as_str())));
        for row in KeyOf::find_by_statement(sql(conn, text, values)).all(conn).await? {
            if let Some(user_id) = row.person_key.strip_prefix("i:").and_then(|id| id.parse().ok()) {
                list.user_ids.insert(row.member_id, user_id);
            }
            list.by_key.insert(row.person_key, row.member_id);
        }
    }
    Ok(list)
}

/// Writes down what was learnt.
///
/// # Errors
/// When the database fails.
pub async fn save(conn: &impl ConnectionTrait, list_id: Uuid, list: &List) -> Result<(), DbErr> {
    let changed: Vec<_> = list.changed.iter().filter_map(|key| Some((key, *list.by_key.get(key)?))).collect();
    for keys in changed.chunks(KEYS) {
        let mut values: Vec<Value> = vec![list_id.into()];
        let mut rows = Vec::with_capacity(keys.len());
        for (key, member) in keys {
            values.extend([Value::from(key.as_str()), Value::from(*member)]);
            rows.push(format!("($1, ${}, ${})", values.len() - 1, values.len()));
        }
        let text = format!(
            "INSERT INTO person_keys (list_id, person_key, member_id) VALUES {} \
             ON CONFLICT (list_id, person_key) DO UPDATE SET member_id = excluded.member_id",
            rows.join(", ")
        );
        execute(conn, text, values).await?;
    }
    Ok(())
}

/// Forgets a list.
///
/// # Errors
/// When the database fails.
pub async fn forget(conn: &impl ConnectionTrait, list_id: Uuid) -> Result<(), DbErr> {
    let values: [Value; 1] = [list_id.into()];
    execute(conn, "DELETE FROM person_keys WHERE list_id = $1", values).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(user_id: i64, username: &str, phone: &str) -> Person {
        Person { user_id, username: username.into(), phone: phone.into(), ..Person::default() }
    }

    /// Places people in their order; answers the member of each, by number.
    fn places(people: &[(i64, &str, &str)]) -> Vec<(u128, bool, Vec<u128>)> {
        let mut list = List::default();
        let place = |(at, (user_id, username, phone)): (usize, &(i64, &str, &str))| {
            let place = list.place(Uuid::from_u128(at as u128 + 1), &mut person(*user_id, username, phone));
            (place.member.as_u128(), place.has_news, place.merged.iter().map(|id| id.as_u128()).collect())
        };
        people.iter().enumerate().map(place).collect()
    }

    #[test]
    fn any_key_makes_the_same_person() {
        let seen = places(&[(0, "", "+1"), (0, "anna", "+1"), (7, "anna", ""), (7, "", ""), (0, "boris", "")]);
        assert_eq!(
            seen,
            [(1, true, vec![]), (1, true, vec![]), (1, true, vec![]), (1, false, vec![]), (5, true, vec![])]
        );
    }

    #[test]
    fn a_row_may_show_that_two_are_one() {
        let seen = places(&[(0, "", "+1"), (0, "anna", ""), (0, "anna", "+1"), (0, "anna", "")]);
        assert_eq!(seen, [(1, true, vec![]), (2, true, vec![]), (1, false, vec![2]), (1, false, vec![])]);
    }

    #[test]
    fn two_ids_are_two_people_and_a_name_is_one_persons() {
        let mut list = List::default();
        assert!(list.place(Uuid::from_u128(1), &mut person(7, "anna", "")).is_new);
        let mut other = person(8, "anna", "+1");
        assert!(list.place(Uuid::from_u128(2), &mut other).is_new);
        assert_eq!(other, person(8, "", "+1"), "the name leads to the first");
        let mut both = person(0, "anna", "+1");
        let place = list.place(Uuid::from_u128(3), &mut both);
        assert_eq!((place.member, place.merged), (Uuid::from_u128(1), Vec::new()));
    }
}
