//! Whom a campaign is to reach.

pub mod entity;
pub mod store;

use prost::Message as _;
use service_kit::address::{AddressError, parse_phone, parse_username};
use service_kit::identity::Identity;
use service_kit::paging::Page;
use tgmesh_proto::invite::v1::{
    ListExecutionsRequest, ListExecutionsResponse, ListTargetsRequest, ListTargetsResponse,
};
use tgmesh_proto::telegram::v1 as telegram;
use uuid::Uuid;

use crate::app::App;
use crate::error::Error;
use crate::grpc::convert;

/// Longest name kept, in characters.
const LONGEST_NAME: usize = 256;

/// Longest piece of what is refused that an error repeats, in characters.
const LONGEST_QUOTE: usize = 64;

/// Somebody who can be contacted, in normal form: username in lower case
/// without "@", phone as +79990000000. This is the only place that makes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Person {
    /// Public name; empty when not known.
    pub username: String,
    /// Phone number; empty when not known.
    pub phone: String,
    /// Telegram's id; 0 when not known.
    pub user_id: i64,
    /// Name to show.
    pub display_name: String,
    /// First name.
    pub first_name: String,
    /// Last name.
    pub last_name: String,
    /// What addresses him, by account.
    pub peers: Vec<(Uuid, Vec<u8>)>,
}

/// How somebody may be written down in one text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digits {
    /// Digits alone are a phone number: audiences, where an id alone is no address.
    Phone,
    /// Digits alone are a user id: the do-not-contact list.
    UserId,
}

impl Person {
    /// Every key this person is known by.
    pub fn keys(&self) -> Vec<String> {
        let mut keys = Vec::with_capacity(3);
        if self.user_id != 0 {
            keys.push(format!("i:{}", self.user_id));
        }
        if !self.username.is_empty() {
            keys.push(format!("u:{}", self.username));
        }
        if !self.phone.is_empty() {
            keys.push(format!("p:{}", self.phone));
        }
        keys
    }

    /// The first of them: user id, else username, else phone number. The id comes
    /// first since names change hands. The trap: whether two are the same person
    /// is told by all keys, see [`crate::audience::same`].
    pub fn key(&self) -> Option<String> {
        self.keys().into_iter().next()
    }

    /// Takes a key from the person.
    pub fn forget(&mut self, key: &str) {
        match key.split_once(':') {
            Some(("u", username)) if username == self.username => self.username.clear(),
            Some(("p", phone)) if phone == self.phone => self.phone.clear(),
            _ => {}
        }
    }

    /// Takes over what another row knows of the same person.
    pub fn learn(&mut self, other: Self) {
        if self.user_id == 0 {
            self.user_id = other.user_id;
        }
        for (own, news) in [
            (&mut self.username, other.username),
            (&mut self.phone, other.phone),
            (&mut self.display_name, other.display_name),
            (&mut self.first_name, other.first_name),
            (&mut self.last_name, other.last_name),
        ] {
            if own.is_empty() {
                *own = news;
            }
        }
        for (account_id, sealed) in other.peers {
            if self.peers.iter().all(|(known, _)| *known != account_id) {
                self.peers.push((account_id, sealed));
            }
        }
    }

    /// Whether any account can address him.
    pub fn is_open(&self) -> bool {
        !self.username.is_empty() || !self.phone.is_empty()
    }

    /// Whether some account can address him.
    pub fn is_addressable(&self) -> bool {
        self.is_open() || !self.peers.is_empty()
    }

    /// Reads a username, phone number, or link.
    ///
    /// # Errors
    /// Why the text names nobody, in one line.
    pub fn parse(text: &str, digits: Digits) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("is empty".to_owned());
        }
        if digits == Digits::UserId
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && !text.starts_with('0')
            && let Ok(user_id) = text.parse::<i64>()
        {
            return Ok(Self { user_id, ..Self::default() });
        }
        let refused = |error: AddressError| format!("{} {error}", quote(text));
        if let Some(phone) = phone_link(text) {
            return Ok(Self { phone: parse_phone(phone).map_err(refused)?, ..Self::default() });
        }
        if text.starts_with(|c: char| c == '+' || c == '(' || c.is_ascii_digit()) {
            return Ok(Self { phone: parse_phone(text).map_err(refused)?, ..Self::default() });
        }
        Ok(Self { username: parse_username(text).map_err(refused)?, ..Self::default() })
    }

    /// The person that a parse task found.
    ///
    /// # Errors
    /// Why he cannot be contacted, in one line.
    pub fn from_proto(person: &telegram::Person) -> Result<Self, String> {
        let peers = person.peer_reference.iter().filter_map(|peer| {
            Some((Uuid::parse_str(&peer.account_id).ok()?, peer.sealed.clone()))
                .filter(|(_, sealed)| !sealed.is_empty())
        });
        let found = Self {
            // Names of Telegram's own making may break our rules of form: then the reference has to do.
            username: parse_username(&person.username).unwrap_or_default(),
            phone: parse_phone(&person.phone).unwrap_or_default(),
            user_id: person.user_id.max(0),
            display_name: String::new(),
            first_name: clip(&person.first_name),
            last_name: clip(&person.last_name),
            peers: peers.collect(),
        };
        if found.key().is_none() || !found.is_addressable() {
            return Err("has no username, no phone number, and no account that can address him".to_owned());
        }
        Ok(found.named())
    }

    /// With the name to show made of first and last name, unless it has one.
    #[must_use]
    pub fn named(mut self) -> Self {
        if self.display_name.is_empty() {
            self.display_name = clip(format!("{} {}", self.first_name, self.last_name).trim());
        }
        self
    }
}

/// A name of bounded length without control characters, which no table or
/// terminal has a use for, and PostgreSQL refuses one of.
pub fn clip(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect::<String>().trim().to_owned()
}

/// What was refused, for whoever has to find it.
pub fn quote(text: &str) -> String {
    format!("\"{}\"", clip(text).chars().take(LONGEST_QUOTE).collect::<String>())
}

/// The number in a link such as `t.me/+79990000000`. The hashes of invite
/// links look alike, but are never digits alone.
fn phone_link(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    let digits = rest.strip_prefix("t.me/+").or_else(|| rest.strip_prefix("telegram.me/+"))?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(digits)
}

/// Serves `ListTargets`.
///
/// # Errors
/// `CampaignNotFound`, `Token`.
pub async fn list(app: &App, who: &Identity, request: &ListTargetsRequest) -> Result<ListTargetsResponse, Error> {
    let campaign_id = crate::campaigns::id(&request.campaign_id)?;
    crate::campaigns::store::find(app.db.conn(), who.workspace_id, campaign_id).await?;
    let mut binding = request.clone();
    (binding.page_size, binding.page_token) = (0, String::new());
    let binding = (who.workspace_id, binding.encode_to_vec());
    let page: Page<i64> = app.tokens.page("ListTargets", &binding, request.page_size, &request.page_token)?;
    let filter = store::Filter {
        states: request.states.clone(),
        outcomes: request.outcomes.clone(),
        search: request.search.clone(),
    };
    let found = store::list(app.db.conn(), who.workspace_id, campaign_id, &filter, &page).await?;
    let (found, next_page_token) = app.tokens.finish(&page, found, |target| target.seq);
    Ok(ListTargetsResponse { targets: found.iter().map(convert::target).collect(), next_page_token })
}

/// Serves `ListExecutions`.
///
/// # Errors
/// `CampaignNotFound`, `TargetNotFound`, `Token`.
pub async fn executions(
    app: &App,
    who: &Identity,
    request: &ListExecutionsRequest,
) -> Result<ListExecutionsResponse, Error> {
    let campaign_id = crate::campaigns::id(&request.campaign_id)?;
    crate::campaigns::store::find(app.db.conn(), who.workspace_id, campaign_id).await?;
    let target_id = match request.target_id.as_str() {
        "" => None,
        id => {
            let id = Uuid::parse_str(id).map_err(|_| Error::TargetNotFound)?;
            store::find(app.db.conn(), who.workspace_id, campaign_id, id).await?;
            Some(id)
        }
    };
    let binding = (who.workspace_id, campaign_id, target_id);
    let page: Page<Uuid> = app.tokens.page("ListExecutions", &binding, request.page_size, &request.page_token)?;
    let found = store::executions(app.db.conn(), who.workspace_id, campaign_id, target_id, &page).await?;
    let (found, next_page_token) = app.tokens.finish(&page, found, |execution| execution.id);
    Ok(ListExecutionsResponse { executions: found.iter().map(convert::execution).collect(), next_page_token })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str, digits: Digits) -> Result<String, String> {
        Person::parse(text, digits).map(|person| person.key().unwrap())
    }

    #[test]
    fn reads_people_however_they_are_written() {
        for (text, expected) in [
            ("@Anna_1", "u:anna_1"),
            (" anna_1 ", "u:anna_1"),
            ("https://t.me/Anna_1", "u:anna_1"),
            ("+49 151 234-567", "p:+49151234567"),
            ("0049151234567", "p:+49151234567"),
            ("49151234567", "p:+49151234567"),
            ("(49) 151 234567", "p:+49151234567"),
            ("https://t.me/+49151234567", "p:+49151234567"),
        ] {
            assert_eq!(key(text, Digits::Phone).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(key("49151234567", Digits::UserId).as_deref(), Ok("i:49151234567"));
        assert_eq!(key("+49151234567", Digits::UserId).as_deref(), Ok("p:+49151234567"));
    }

    #[test]
    fn refuses_what_names_nobody() {
        for text in ["", "@", "a", "anna@example.com", "t.me/+AbC", "99999999999999999999", "имя", "\u{0}"] {
            assert!(key(text, Digits::Phone).is_err(), "{text}");
            assert!(key(text, Digits::UserId).is_err(), "{text}");
        }
    }

    #[test]
    fn an_id_without_a_reference_is_no_address() {
        let mut person = telegram::Person { user_id: 7, first_name: "Anna\0".into(), ..Default::default() };
        assert!(Person::from_proto(&person).is_err());
        person.peer_reference =
            Some(telegram::PeerReference { account_id: Uuid::from_u128(1).to_string(), sealed: vec![1] });
        let found = Person::from_proto(&person).unwrap();
        assert_eq!((found.key().as_deref(), found.is_open(), found.peers.len()), (Some("i:7"), false, 1));
        assert_eq!(found.display_name, "Anna");
    }
}
