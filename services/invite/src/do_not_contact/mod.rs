//! Those who must not be contacted: kept out of audiences, and looked up again
//! in the transaction in which a target goes on the wire.

pub mod entity;
pub mod store;

use std::collections::HashSet;

use service_kit::Time;
use service_kit::address::parse_phone;
use service_kit::identity::{Acting, Identity};
use service_kit::paging::Page;
use service_kit::requests::Claim;
use tgmesh_proto::ErrorReason;
use tgmesh_proto::invite::v1::{
    AddDoNotContactRequest, AddDoNotContactResponse, DoNotContact, ListDoNotContactRequest, ListDoNotContactResponse,
    RemoveDoNotContactRequest, RemoveDoNotContactResponse,
};
use tgmesh_proto::lease::v1::LeaseKey;
use tgmesh_proto::telegram::v1::ResolvePeerRequest;
use tgmesh_proto::telegram::v1::resolve_peer_response::Peer;
use tonic::Status;
use uuid::Uuid;

use self::entity::Model;
use crate::app::App;
use crate::error::Error;
use crate::targets::{Digits, Person};

pub use self::store::knows_more_than_names;

/// Who is behind a name, as the account of a lease sees him.
///
/// # Errors
/// As `ResolvePeer`; `PEER_NOT_FOUND` also for a chat.
pub async fn behind(app: &App, acting: Acting, lease: LeaseKey, name: &str) -> Result<Person, Status> {
    let request = ResolvePeerRequest { lease: Some(lease), peer: format!("@{name}") };
    let found = app.telegram().resolve_peer(acting.request(request)).await?.into_inner();
    let Some(Peer::Person(person)) = found.peer else {
        let text = "it is a chat, not a person";
        return Err(tgmesh_proto::status::status(ErrorReason::PeerNotFound, text).build());
    };
    Ok(Person {
        username: name.to_owned(),
        phone: parse_phone(&person.phone).unwrap_or_default(),
        user_id: person.user_id.max(0),
        ..Person::default()
    })
}

fn view(entry: &Model) -> DoNotContact {
    DoNotContact {
        id: entry.id.to_string(),
        username: entry.username.clone(),
        phone: entry.phone.clone(),
        user_id: entry.user_id,
        reason: entry.reason.clone(),
        create_time: Some(Time::from_millis(entry.created_at).to_proto()),
    }
}

/// Serves `ListDoNotContact`.
///
/// # Errors
/// `Token`, or when the database fails.
pub async fn list(
    app: &App,
    who: &Identity,
    request: &ListDoNotContactRequest,
) -> Result<ListDoNotContactResponse, Error> {
    let binding = (who.workspace_id, &request.search);
    let page: Page<Uuid> = app.tokens.page("ListDoNotContact", &binding, request.page_size, &request.page_token)?;
    let found = store::list(app.db.conn(), who.workspace_id, &request.search, &page).await?;
    let (found, next_page_token) = app.tokens.finish(&page, found, |entry| entry.id);
    Ok(ListDoNotContactResponse { entries: found.iter().map(view).collect(), next_page_token })
}

/// Serves `AddDoNotContact`.
///
/// # Errors
/// Those of its contract.
pub async fn add(
    app: &App,
    who: &Identity,
    request: &AddDoNotContactRequest,
) -> Result<AddDoNotContactResponse, Error> {
    if request.reason.contains('\0') {
        return Err(Error::field("reason", "must not contain a NUL character"));
    }
    let mut entries = Vec::with_capacity(request.people.len());
    let mut seen = HashSet::new();
    for (at, text) in request.people.iter().enumerate() {
        let person = Person::parse(text, Digits::UserId)
            .map_err(|problem| Error::Item { field: format!("people[{at}]"), problem })?;
        let Some(person_key) = person.key() else { continue };
        if seen.insert(person_key.clone()) {
            entries.push(Model {
                id: app.new_id(),
                workspace_id: who.workspace_id,
                person_key,
                username: person.username,
                phone: person.phone,
                user_id: person.user_id,
                reason: request.reason.clone(),
                created_at: app.now(),
            });
        }
    }
    let tx = app.db.begin().await?;
    let slot = match app.requests.claim(&*tx, who, "AddDoNotContact", request).await? {
        Claim::Repeat(answer) => return Ok(answer),
        Claim::New(slot) => slot,
    };
    let entries = store::add(&*tx, who.workspace_id, entries).await?;
    let answer = AddDoNotContactResponse { entries: entries.iter().map(view).collect() };
    slot.answer(&*tx, &answer).await?;
    tx.commit().await?;
    Ok(answer)
}

/// Serves `RemoveDoNotContact`.
///
/// # Errors
/// Those of its contract.
pub async fn remove(
    app: &App,
    who: &Identity,
    request: &RemoveDoNotContactRequest,
) -> Result<RemoveDoNotContactResponse, Error> {
    let ids: Vec<Uuid> = request.entry_ids.iter().filter_map(|id| Uuid::parse_str(id).ok()).collect();
    let tx = app.db.begin().await?;
    let slot = match app.requests.claim(&*tx, who, "RemoveDoNotContact", request).await? {
        Claim::Repeat(answer) => return Ok(answer),
        Claim::New(slot) => slot,
    };
    let removed = store::remove(&*tx, who.workspace_id, ids).await?;
    let answer = RemoveDoNotContactResponse { removed: i32::try_from(removed).unwrap_or(i32::MAX) };
    slot.answer(&*tx, &answer).await?;
    tx.commit().await?;
    Ok(answer)
}
