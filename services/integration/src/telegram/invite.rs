//! Adding one user to a chat, and finding out what became of it.

use grammers_tl_types::{enums, functions, types};
use sea_orm::EntityTrait as _;
use service_kit::identity::Identity;
use service_kit::requests::{Opened, Past, Slot};
use sha2::{Digest as _, Sha256};
use tgmesh_proto::ErrorReason;
use tgmesh_proto::quota::v1::Action;
use tgmesh_proto::quota::v1::usage_entry::State;
use tgmesh_proto::telegram::v1 as pb;
use tgmesh_proto::telegram::v1::Outcome;
use tgmesh_proto::telegram::v1::reconcile_invite_response::Finding;
use uuid::Uuid;

use super::caller::{About, Caller, Failure, not_written};
use super::peers::{ChatPeer, Resolved, settlement};
use super::{people, rights};
use crate::core::Core;
use crate::entity::usage_entry;
use crate::error::{Error, Result};
use crate::quotas::{Reservation, Settlement};

/// The method's name in the store of requests.
const METHOD: &str = "InviteToChat";

/// A user that this account can address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UserPeer {
    pub(super) id: i64,
    pub(super) access_hash: i64,
}

impl UserPeer {
    pub(super) fn input(self) -> enums::InputUser {
        types::InputUser { user_id: self.id, access_hash: self.access_hash }.into()
    }

    pub(super) fn peer(self) -> enums::InputPeer {
        types::InputPeerUser { user_id: self.id, access_hash: self.access_hash }.into()
    }
}

/// Adds one user to a chat.
///
/// # Errors
/// As the contract says.
pub async fn invite(
    core: &Core,
    who: &Identity,
    request: &pb::InviteToChatRequest,
) -> Result<pb::InviteToChatResponse> {
    let opened = core.requests.open(who, METHOD, request).await;
    let slot = match opened.map_err(|error| Error::request(&core.db, error))? {
        Opened::Repeat(answer) => return Ok(answer),
        Opened::New(slot) => slot,
        Opened::Interrupted(slot) => {
            if begun(core, ledger_id(who, METHOD, slot.request_id())).await? {
                return Err(unknown());
            }
            slot
        }
    };
    let result = attempt(core, who, request, &slot).await;
    if let Err(error) = &result
        && error.reason() != ErrorReason::OutcomeUnknown
    {
        // It had no effect: made again under the same id, it is a new call.
        forget(core, &slot).await;
    }
    result
}

/// Forgets a call that had no effect. When that fails, a repeat learns less than
/// it could, and nothing is done twice.
pub(super) async fn forget(core: &Core, slot: &Slot) {
    if let Err(error) = slot.forget(core.db.conn()).await {
        tracing::warn!(%error, "a call without effect could not be forgotten");
    }
}

async fn attempt(
    core: &Core,
    who: &Identity,
    request: &pb::InviteToChatRequest,
    slot: &Slot,
) -> Result<pb::InviteToChatResponse> {
    let lease = super::lease(core, who, request.lease.as_ref()).await?;
    let caller = Caller::under(core, lease);
    let chat = caller.chat(&request.chat).await?;
    let Some(user) = find_user(&caller, request.user.as_ref()).await? else {
        // Nothing was sent to the user, and the look-up was counted by itself.
        let answer = answer(Outcome::NotFound, "", 0);
        slot.answer(core.db.conn(), &answer).await.map_err(|error| core.failed(&error))?;
        return Ok(answer);
    };
    let about = About {
        method: if chat.channel().is_some() { "channels.inviteToChannel" } else { "messages.addChatUser" },
        class: Action::Invite,
        chat_id: chat.chat_id(),
        acting: true,
    };
    let ledger = ledger_id(who, METHOD, slot.request_id());
    let ask = caller.ask(Action::Invite, chat.chat_id(), about.method, Some(ledger));
    let reservation = core.quotas.reserve(&ask).await?;
    if reservation.begun {
        return Err(unknown());
    }
    let sent = send(&caller, &reservation, about, chat, user).await;
    let handed_over = !matches!(sent, Err(Failure::NotSent(_)));
    let mut settled = settlement(&sent);
    let answered = match sent {
        Ok(mut answer) => {
            if Outcome::try_from(answer.outcome) == Ok(Outcome::Invited) && sampled(core, ledger) {
                // A look that fails proves nothing.
                if matches!(is_member(&caller, chat, user).await, Ok(false)) {
                    answer.outcome = Outcome::NotJoined.into();
                }
            }
            if let Settlement::Counted { success, .. } = &mut settled {
                *success = answer.outcome == Outcome::Invited as i32;
            }
            Ok(answer)
        }
        Err(Failure::Target(outcome, name)) => Ok(answer(outcome, &name, user.id)),
        Err(Failure::Refused(error)) => Ok(answer(Outcome::Refused, &error.full_name(), user.id)),
        Err(Failure::NotSent(error) | Failure::Error(error)) => Err(error),
    };
    let kept = async {
        if let Err(error) = &answered
            && error.reason() == ErrorReason::NoRights
        {
            rights::lost(core, caller.account_id, chat.chat_id(), error.telegram_error().unwrap_or_default()).await?;
        }
        keep(core, Some((&reservation, &settled)), slot, &answered).await
    };
    match kept.await {
        Ok(()) => core.leases.poke(caller.workspace_id),
        Err(error) if handed_over => return Err(not_written(&error)),
        // The sweep counts what was reserved; the caller may try again.
        Err(error) => tracing::warn!(%error, "a reservation of what was not sent could not be given back"),
    }
    answered
}

/// Writes down what became of a request, the answer under its id and the quota
/// in one step.
pub(super) async fn keep<R: prost::Message>(
    core: &Core,
    settled: Option<(&Reservation, &Settlement)>,
    slot: &Slot,
    answered: &Result<R>,
) -> Result<()> {
    let tx = core.begin().await?;
    if let Some((reservation, settlement)) = settled {
        core.quotas.settle(&tx, reservation, settlement).await?;
    }
    if let Ok(answer) = answered {
        slot.answer(&*tx, answer).await.map_err(|error| core.failed(&error))?;
    }
    core.commit(tx).await
}

async fn send(
    caller: &Caller<'_>,
    reserved: &Reservation,
    about: About,
    chat: ChatPeer,
    user: UserPeer,
) -> std::result::Result<pb::InviteToChatResponse, Failure> {
    let invited = match chat.channel() {
        Some(channel) => {
            let request = functions::channels::InviteToChannel { channel, users: vec![user.input()] };
            caller.send_reserved(reserved, about, &request).await?
        }
        None => {
            let request =
                functions::messages::AddChatUser { chat_id: -chat.chat_id(), user_id: user.input(), fwd_limit: 0 };
            caller.send_reserved(reserved, about, &request).await?
        }
    };
    let enums::messages::InvitedUsers::Users(invited) = invited;
    // A user who cannot be added is no error: he is listed as missing.
    let missing = invited.missing_invitees.into_iter().find_map(|missing| {
        let enums::MissingInvitee::Invitee(missing) = missing;
        (missing.user_id == user.id).then_some(missing)
    });
    Ok(match missing {
        None => answer(Outcome::Invited, "", user.id),
        Some(missing) => pb::InviteToChatResponse {
            premium_would_allow_invite: missing.premium_would_allow_invite,
            premium_required_for_message: missing.premium_required_for_pm,
            ..answer(Outcome::PrivacyRestricted, "", user.id)
        },
    })
}

/// Finds out what became of an invite.
///
/// # Errors
/// As the contract says.
pub async fn reconcile(
    core: &Core,
    who: &Identity,
    request: &pb::ReconcileInviteRequest,
) -> Result<pb::ReconcileInviteResponse> {
    let id = crate::accounts::parse_id(&request.invite_request_id);
    let found = |finding: Finding| pb::ReconcileInviteResponse { finding: finding.into(), answer: None };
    let past = core.requests.past::<pb::InviteToChatResponse>(who, METHOD, id).await;
    match past.map_err(|error| Error::request(&core.db, error))? {
        Past::Answered(answer) => {
            return Ok(pb::ReconcileInviteResponse { finding: Finding::Answered.into(), answer: Some(answer) });
        }
        // The ledger knows longer than requests are kept.
        Past::Never | Past::Unfinished => {}
    }
    let ledger = ledger_id(who, METHOD, id);
    if !begun(core, ledger).await? {
        return Ok(found(Finding::NotSent));
    }
    let lease = super::lease(core, who, request.lease.as_ref()).await?;
    let caller = Caller::under(core, lease);
    let chat = caller.chat(&request.chat).await?;
    let Some(user) = find_user(&caller, request.user.as_ref()).await? else {
        return Ok(found(Finding::NotInChat));
    };
    let member = is_member(&caller, chat, user).await?;
    let tx = core.begin().await?;
    core.quotas.reconciled(&tx, ledger, member).await?;
    core.commit(tx).await?;
    Ok(found(if member { Finding::InChat } else { Finding::NotInChat }))
}

/// Whether a user is in a chat.
async fn is_member(caller: &Caller<'_>, chat: ChatPeer, user: UserPeer) -> Result<bool> {
    let Some(channel) = chat.channel() else {
        let full = caller.full_chat(&chat.chat_id().to_string()).await?;
        return Ok(full.participants.iter().any(|participant| participant_id(participant) == user.id));
    };
    let about = About::reading("channels.getParticipant", chat.chat_id());
    let request = functions::channels::GetParticipant { channel, participant: user.peer() };
    match caller.invoke(about, &request).await {
        Ok(enums::channels::ChannelParticipant::Participant(found)) => {
            use enums::ChannelParticipant::{Banned, Left};
            Ok(!matches!(found.participant, Banned(_) | Left(_)))
        }
        Err(Failure::Refused(error)) if error.name == "USER_NOT_PARTICIPANT" => Ok(false),
        Err(failure) => Err(failure.into()),
    }
}

fn participant_id(participant: &enums::ChatParticipant) -> i64 {
    match participant {
        enums::ChatParticipant::Participant(found) => found.user_id,
        enums::ChatParticipant::Admin(found) => found.user_id,
        enums::ChatParticipant::Creator(found) => found.user_id,
    }
}

/// The user behind an address; `None` when there is none.
pub(super) async fn find_user(caller: &Caller<'_>, address: Option<&pb::UserAddress>) -> Result<Option<UserPeer>> {
    use pb::user_address::Address;
    match address.and_then(|address| address.address.as_ref()) {
        Some(Address::PeerReference(reference)) => {
            let (id, access_hash) = people::open_reference(&caller.core.sealer, caller.account_id, reference)?;
            Ok(Some(UserPeer { id, access_hash }))
        }
        Some(Address::Username(name)) => {
            let name = service_kit::address::parse_username(name)
                .map_err(|error| Error::field("user.username", error.to_string()))?;
            if let Some(known) = caller.known_name(&name).await?.filter(|known| known.peer_id > 0) {
                return Ok(Some(UserPeer { id: known.peer_id, access_hash: known.access_hash }));
            }
            match caller.resolve(&name).await? {
                Some(Resolved::User(user)) => {
                    Ok(user.access_hash.map(|access_hash| UserPeer { id: user.id, access_hash }))
                }
                Some(Resolved::Chat(..) | Resolved::Hidden) | None => Ok(None),
            }
        }
        Some(Address::Phone(phone)) => {
            let phone = service_kit::address::parse_phone(phone)
                .map_err(|error| Error::field("user.phone", error.to_string()))?;
            let found = super::contacts::import(caller, &phone, &phone, "").await?;
            Ok(found.and_then(|user| user.access_hash.map(|access_hash| UserPeer { id: user.id, access_hash })))
        }
        None => Err(Error::field("user.address", "one of the choices is required")),
    }
}

fn answer(outcome: Outcome, telegram_error: &str, user_id: i64) -> pb::InviteToChatResponse {
    pb::InviteToChatResponse {
        outcome: outcome.into(),
        telegram_error: telegram_error.to_owned(),
        user_id,
        ..Default::default()
    }
}

fn unknown() -> Error {
    Error::plain(ErrorReason::OutcomeUnknown, "the invite was begun and its answer was lost: it may have happened")
}

/// The ledger's entry of a call, by the call's own id: what was begun can be
/// told from what never was, whoever died in between.
pub(super) fn ledger_id(who: &Identity, method: &str, request_id: Uuid) -> Uuid {
    let mut hash = Sha256::new();
    hash.update(method.as_bytes());
    hash.update(who.workspace_id.as_bytes());
    hash.update(who.user_id.as_bytes());
    hash.update(who.service_name().as_bytes());
    hash.update(request_id.as_bytes());
    let hash = hash.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// Whether a call of which only its entry in the ledger is known may have been
/// handed over.
pub(super) async fn begun(core: &Core, entry: Uuid) -> Result<bool> {
    let found = usage_entry::Entity::find_by_id(entry).one(core.db.conn()).await;
    let found = found.map_err(|error| core.failed(&error))?;
    Ok(found.is_some_and(|entry| entry.state != State::GivenBack as i32))
}

/// Whether this invite is one of those that are looked after.
fn sampled(core: &Core, id: Uuid) -> bool {
    match core.settings.check_one_invite_in {
        0 => false,
        every => id.as_u128().is_multiple_of(u128::from(every)),
    }
}
