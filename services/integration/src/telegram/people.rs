//! Users, as the contract writes them, and what addresses them.

use grammers_tl_types::{enums, functions, types};
use service_kit::Time;
use service_kit::sealing::Sealer;
use tgmesh_proto::ErrorReason;
use tgmesh_proto::telegram::v1::{LastSeen, PeerReference, Person};
use uuid::Uuid;

use super::caller::{About, Caller};
use crate::error::{Error, Result};

/// A user's public name, lower case: the plain one, or the first active one of several.
pub fn username(user: &types::User) -> String {
    let several = user.usernames.as_deref().unwrap_or_default();
    user.username
        .clone()
        .or_else(|| {
            several.iter().find_map(|name| {
                let enums::Username::Username(name) = name;
                name.active.then(|| name.username.clone())
            })
        })
        .unwrap_or_default()
        .to_lowercase()
}

/// A user's phone number in the form +79990000000; empty when it is not shown.
pub fn phone(user: &types::User) -> String {
    user.phone.as_deref().map(|phone| format!("+{}", phone.trim_start_matches('+'))).unwrap_or_default()
}

/// A user as the contract writes him; `account` is who sees him.
pub fn person(sealer: &Sealer, account: Uuid, user: &types::User, admin: bool) -> Person {
    let (last_seen, at) = last_seen(user.status.as_ref());
    Person {
        user_id: user.id,
        username: username(user),
        first_name: user.first_name.clone().unwrap_or_default(),
        last_name: user.last_name.clone().unwrap_or_default(),
        phone: phone(user),
        bot: user.bot,
        deleted: user.deleted,
        premium: user.premium,
        admin,
        last_seen: last_seen.into(),
        last_seen_time: at.map(Time::to_proto),
        // A "min" user's hash is not good for addressing him.
        peer_reference: user.access_hash.filter(|_| !user.min).map(|hash| reference(sealer, account, user.id, hash)),
    }
}

fn last_seen(status: Option<&enums::UserStatus>) -> (LastSeen, Option<Time>) {
    match status {
        Some(enums::UserStatus::Online(_)) => (LastSeen::Online, None),
        Some(enums::UserStatus::Offline(status)) => {
            (LastSeen::Recently, Some(Time::from_secs(status.was_online.into())))
        }
        Some(enums::UserStatus::Recently(_)) => (LastSeen::Recently, None),
        Some(enums::UserStatus::LastWeek(_)) => (LastSeen::Week, None),
        Some(enums::UserStatus::LastMonth(_)) => (LastSeen::Month, None),
        Some(enums::UserStatus::Empty) | None => (LastSeen::Unspecified, None),
    }
}

/// Seals what addresses a user for one account.
pub fn reference(sealer: &Sealer, account: Uuid, user_id: i64, access_hash: i64) -> PeerReference {
    let mut plain = user_id.to_be_bytes().to_vec();
    plain.extend(access_hash.to_be_bytes());
    PeerReference { account_id: account.to_string(), sealed: sealer.seal(&context(account), &plain) }
}

/// Opens a reference for the account that is to use it: the user's id and access hash.
///
/// # Errors
/// `PEER_NOT_ADDRESSABLE` when the reference is another account's; `FIELD_INVALID`
/// when it is not one of ours.
pub fn open_reference(sealer: &Sealer, account: Uuid, reference: &PeerReference) -> Result<(i64, i64)> {
    if reference.account_id != account.to_string() {
        return Err(Error::plain(ErrorReason::PeerNotAddressable, "the reference is good for another account only")
            .with("account_id", account));
    }
    let invalid = || Error::field("user.peer_reference.sealed", "is not a reference of this deployment");
    let plain = sealer.open(&context(account), &reference.sealed).map_err(|_| invalid())?;
    let (id, hash) = plain.split_at_checked(8).ok_or_else(invalid)?;
    let number = |bytes: &[u8]| bytes.try_into().map(i64::from_be_bytes).map_err(|_| invalid());
    Ok((number(id)?, number(hash)?))
}

impl Caller<'_> {
    /// Whether Telegram keeps the account frozen: the application's configuration
    /// says since when (<https://core.telegram.org/api/auth#frozen-accounts>).
    ///
    /// # Errors
    /// When Telegram cannot be asked.
    pub async fn is_frozen(&self) -> Result<bool> {
        let about = About::reading("help.getAppConfig", 0);
        let answer = self.invoke(about, &functions::help::GetAppConfig { hash: 0 }).await.map_err(Error::from)?;
        let enums::help::AppConfig::Config(types::help::AppConfig {
            config: enums::Jsonvalue::JsonObject(config), ..
        }) = answer
        else {
            return Err(Error::internal("telegram's configuration of applications is no object"));
        };
        Ok(config.value.iter().any(|enums::JsonobjectValue::JsonObjectValue(entry)| {
            entry.key == "freeze_since_date"
                && matches!(&entry.value, enums::Jsonvalue::JsonNumber(at) if at.value > 0.0)
        }))
    }
}

fn context(account: Uuid) -> String {
    format!("peer:{account}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_good_for_its_account_only() {
        let sealer = Sealer::new(&[vec![1; 32]]).unwrap();
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let sealed = reference(&sealer, a, 42, -7);
        assert_eq!(open_reference(&sealer, a, &sealed).unwrap(), (42, -7));
        assert_eq!(open_reference(&sealer, b, &sealed).unwrap_err().reason(), ErrorReason::PeerNotAddressable);
        let claimed = PeerReference { account_id: b.to_string(), sealed: sealed.sealed };
        assert_eq!(open_reference(&sealer, b, &claimed).unwrap_err().reason(), ErrorReason::FieldInvalid);
    }
}
