//! Contacts: adding users, and finding them by phone number.

use grammers_tl_types::{enums, functions, types};
use service_kit::identity::Identity;
use service_kit::requests::Opened;
use tgmesh_proto::ErrorReason;
use tgmesh_proto::quota::v1::Action;
use tgmesh_proto::telegram::v1 as pb;
use tgmesh_proto::telegram::v1::Outcome;
use tgmesh_proto::telegram::v1::user_address::Address;

use super::caller::{About, Caller, Failure, not_written};
use super::invite::forget;
use super::peers::settlement;
use super::people;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::quotas::Reservation;

/// Adds a phone number to the account's contacts, and tells whose it is;
/// `None` when Telegram knows nobody, or does not tell.
pub(super) async fn import(
    caller: &Caller<'_>,
    phone: &str,
    first_name: &str,
    last_name: &str,
) -> Result<Option<types::User>> {
    let about = About { method: "contacts.importContacts", class: Action::AddContact, chat_id: 0, acting: true };
    let reservation = caller.core.quotas.reserve(&caller.ask(Action::AddContact, 0, about.method, None)).await?;
    let contact = types::InputPhoneContact {
        client_id: 1,
        phone: phone.to_owned(),
        first_name: first_name.to_owned(),
        last_name: last_name.to_owned(),
        note: None,
    };
    let request = functions::contacts::ImportContacts { contacts: vec![contact.into()] };
    let answer = caller.send_reserved(&reservation, about, &request).await;
    settle(caller, &reservation, &answer).await?;
    let enums::contacts::ImportedContacts::Contacts(found) = answer.map_err(Error::from)?;
    caller.learn(&found.users, &[]).await?;
    let id = found.imported.first().map(|imported| {
        let enums::ImportedContact::Contact(imported) = imported;
        imported.user_id
    });
    Ok(found.users.into_iter().find_map(|user| match user {
        enums::User::User(user) if Some(user.id) == id => Some(user),
        _ => None,
    }))
}

/// Adds a contact.
///
/// # Errors
/// As the contract says.
pub async fn add(core: &Core, who: &Identity, request: &pb::AddContactRequest) -> Result<pb::AddContactResponse> {
    let opened = core.requests.open(who, "AddContact", request).await;
    let slot = match opened.map_err(|error| Error::request(&core.db, error))? {
        Opened::Repeat(answer) => return Ok(answer),
        // Adding the same contact again changes nothing.
        Opened::New(slot) | Opened::Interrupted(slot) => slot,
    };
    let result: Result<pb::AddContactResponse> = async {
        let lease = super::lease(core, who, request.lease.as_ref()).await?;
        let caller = Caller::under(core, lease);
        let answer = add_one(&caller, request).await?;
        // Telegram was asked: what cannot be written down now is not undone.
        let kept = slot.answer(core.db.conn(), &answer).await;
        kept.map_err(|error| not_written(&core.failed(&error)))?;
        Ok(answer)
    }
    .await;
    if let Err(error) = &result
        && error.reason() != ErrorReason::OutcomeUnknown
    {
        forget(core, &slot).await;
    }
    result
}

async fn add_one(caller: &Caller<'_>, request: &pb::AddContactRequest) -> Result<pb::AddContactResponse> {
    let sealer = &caller.core.sealer;
    let found = |user: &types::User| pb::AddContactResponse {
        person: Some(people::person(sealer, caller.account_id, user, false)),
        outcome: Outcome::Unspecified.into(),
    };
    let nobody = pb::AddContactResponse { person: None, outcome: Outcome::NotFound.into() };
    if let Some(Address::Phone(phone)) = request.user.as_ref().and_then(|user| user.address.as_ref()) {
        let phone =
            service_kit::address::parse_phone(phone).map_err(|error| Error::field("user.phone", error.to_string()))?;
        let imported = import(caller, &phone, &request.first_name, &request.last_name).await?;
        return Ok(imported.as_ref().map_or(nobody, found));
    }
    let Some(user) = super::invite::find_user(caller, request.user.as_ref()).await? else {
        return Ok(nobody);
    };
    let about = About { method: "contacts.addContact", class: Action::AddContact, chat_id: 0, acting: true };
    let reservation = caller.core.quotas.reserve(&caller.ask(Action::AddContact, 0, about.method, None)).await?;
    let call = functions::contacts::AddContact {
        add_phone_privacy_exception: false,
        id: user.input(),
        first_name: request.first_name.clone(),
        last_name: request.last_name.clone(),
        phone: String::new(),
        note: None,
    };
    let answer = caller.send_reserved(&reservation, about, &call).await;
    settle(caller, &reservation, &answer).await?;
    let users = match answer {
        Ok(enums::Updates::Updates(updates)) => updates.users,
        Ok(enums::Updates::Combined(updates)) => updates.users,
        Ok(_) => Vec::new(),
        Err(Failure::Target(..)) => return Ok(nobody),
        Err(failure) => return Err(failure.into()),
    };
    users
        .iter()
        .find_map(|seen| match seen {
            enums::User::User(seen) if seen.id == user.id => Some(found(seen)),
            _ => None,
        })
        .ok_or_else(|| Error::plain(ErrorReason::OutcomeUnknown, "telegram did not show the contact it added"))
}

async fn settle<T>(
    caller: &Caller<'_>,
    reservation: &Reservation,
    answer: &std::result::Result<T, Failure>,
) -> Result<()> {
    let settled = async {
        let tx = caller.core.begin().await?;
        caller.core.quotas.settle(&tx, reservation, &settlement(answer)).await?;
        caller.core.commit(tx).await
    };
    match (settled.await, answer) {
        (Err(error), Err(Failure::NotSent(_))) => Err(error),
        (Err(error), _) => Err(not_written(&error)),
        (Ok(()), _) => Ok(()),
    }
}
