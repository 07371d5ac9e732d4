//! Accounts: their state, their journal, and what is done to them.

pub mod check;
pub mod connect;
pub mod effects;
pub mod log_out;
pub mod state;
pub mod store;
pub mod wire;

use sea_orm::{ActiveValue::Set, EntityTrait as _};
use service_kit::db::Tx;
use service_kit::identity::Identity;
use service_kit::requests::Claim;
use tgmesh_proto::ErrorReason;
use tgmesh_proto::integration::v1 as pb;
use tgmesh_proto::integration::v1::account_event::Kind;
use tgmesh_proto::lease::v1::Purpose;
use uuid::Uuid;

use crate::connections::LineId;
use crate::core::Core;
use crate::entity::account;
use crate::error::{Error, Result};
use crate::leases::RevokeCause;
use crate::quotas::Scope;
use effects::{record, touch};
use store::{AccountRow, Event};

/// An account of the caller's workspace.
///
/// # Errors
/// `ACCOUNT_NOT_FOUND` when there is none.
pub async fn get(core: &Core, workspace: Uuid, id: Uuid) -> Result<AccountRow> {
    store::find(core.db.conn(), workspace, id)
        .await
        .map_err(|error| core.failed(&error))?
        .ok_or_else(|| Error::account_not_found(id))
}

/// An account as the contract writes it.
pub fn show(core: &Core, row: &AccountRow) -> pb::Account {
    wire::account(row, core.connections.state(LineId::Account(row.account.id)), core.now())
}

/// Changes label or purposes.
///
/// # Errors
/// As the contract says.
pub async fn update(
    core: &Core,
    who: &Identity,
    request: &pb::UpdateAccountRequest,
) -> Result<pb::UpdateAccountResponse> {
    let id = parse_id(&request.account_id);
    let mut change = account::ActiveModel::default();
    for path in request.update_mask.iter().flat_map(|mask| &mask.paths) {
        match path.as_str() {
            "label" => change.label = Set(request.label.clone()),
            "purposes" => {
                let purposes = request.purposes.iter().filter_map(|purpose| Purpose::try_from(*purpose).ok());
                change.purposes = Set(wire::purpose_mask(purposes));
            }
            other => {
                return Err(Error::field(
                    "update_mask",
                    format!("{other} cannot be changed: expected label, purposes"),
                ));
            }
        }
    }
    let etag = match request.etag.as_str() {
        "" => None,
        etag => Some(etag.parse::<i64>().map_err(|_| etag_mismatch())?),
    };
    let tx = core.begin().await?;
    let slot = match core
        .requests
        .claim(&*tx, who, "UpdateAccount", request)
        .await
        .map_err(|e| Error::request(&core.db, e))?
    {
        Claim::Repeat(answer) => return Ok(answer),
        Claim::New(slot) => slot,
    };
    find_in(core, &tx, who.workspace_id, id).await?;
    let done = store::update(&*tx, id, etag, change, core.now()).await.map_err(|error| core.failed(&error))?;
    if !done {
        return Err(etag_mismatch());
    }
    record(core, &tx, id, who.workspace_id, Event::by(Kind::Updated, who.actor())).await?;
    core.refresh(&tx, id).await?;
    let row = find_in(core, &tx, who.workspace_id, id).await?;
    let answer = pb::UpdateAccountResponse { account: Some(show(core, &row)) };
    slot.answer(&*tx, &answer).await.map_err(|error| core.failed(&error))?;
    core.commit(tx).await?;
    core.changed(who.workspace_id);
    Ok(answer)
}

/// Pauses an account, and ends its lease.
///
/// # Errors
/// As the contract says.
pub async fn pause(core: &Core, who: &Identity, request: &pb::PauseAccountRequest) -> Result<pb::PauseAccountResponse> {
    let id = parse_id(&request.account_id);
    let tx = core.begin().await?;
    let slot =
        match core.requests.claim(&*tx, who, "PauseAccount", request).await.map_err(|e| Error::request(&core.db, e))? {
            Claim::Repeat(answer) => return Ok(answer),
            Claim::New(slot) => slot,
        };
    let home = reached(core, &tx, who, id).await?;
    let before = find_in(core, &tx, home, id).await?;
    refuse_deleting(&before)?;
    if before.account.paused_at.is_none() {
        let change = account::ActiveModel { paused_at: Set(Some(core.now().millis())), ..Default::default() };
        touch(core, &tx, id, change).await?;
        record(core, &tx, id, home, Event::by(Kind::Paused, who.actor())).await?;
        core.refresh(&tx, id).await?;
    }
    let row = find_in(core, &tx, home, id).await?;
    let answer = pb::PauseAccountResponse { account: Some(show(core, &row)) };
    slot.answer(&*tx, &answer).await.map_err(|error| core.failed(&error))?;
    core.commit(tx).await?;
    core.leases.revoke_account(id, RevokeCause::Paused).await?;
    core.changed(home);
    Ok(answer)
}

/// The workspace in which the caller may pause an account and resume it: an operator may in all.
async fn reached(core: &Core, tx: &Tx, who: &Identity, id: Uuid) -> Result<Uuid> {
    match Scope::of(who) {
        Scope::Workspace(home) => Ok(home),
        Scope::All => {
            let found = account::Entity::find_by_id(id).one(&**tx).await.map_err(|error| core.failed(&error))?;
            found.map(|account| account.workspace_id).ok_or_else(|| Error::account_not_found(id))
        }
    }
}

/// Ends the pause.
///
/// # Errors
/// As the contract says.
pub async fn resume(
    core: &Core,
    who: &Identity,
    request: &pb::ResumeAccountRequest,
) -> Result<pb::ResumeAccountResponse> {
    let id = parse_id(&request.account_id);
    let tx = core.begin().await?;
    let slot = match core
        .requests
        .claim(&*tx, who, "ResumeAccount", request)
        .await
        .map_err(|e| Error::request(&core.db, e))?
    {
        Claim::Repeat(answer) => return Ok(answer),
        Claim::New(slot) => slot,
    };
    let home = reached(core, &tx, who, id).await?;
    let before = find_in(core, &tx, home, id).await?;
    refuse_deleting(&before)?;
    if before.account.paused_at.is_some() {
        touch(core, &tx, id, account::ActiveModel { paused_at: Set(None), ..Default::default() }).await?;
        record(core, &tx, id, home, Event::by(Kind::Resumed, who.actor())).await?;
        core.refresh(&tx, id).await?;
    }
    let row = find_in(core, &tx, home, id).await?;
    let answer = pb::ResumeAccountResponse { account: Some(show(core, &row)) };
    slot.answer(&*tx, &answer).await.map_err(|error| core.failed(&error))?;
    core.commit(tx).await?;
    core.changed(home);
    Ok(answer)
}

/// Takes an account out of use. It is erased once Telegram has logged it out.
///
/// # Errors
/// As the contract says.
pub async fn delete(
    core: &Core,
    who: &Identity,
    request: &pb::DeleteAccountRequest,
) -> Result<pb::DeleteAccountResponse> {
    let id = parse_id(&request.account_id);
    let tx = core.begin().await?;
    let slot = match core
        .requests
        .claim(&*tx, who, "DeleteAccount", request)
        .await
        .map_err(|e| Error::request(&core.db, e))?
    {
        Claim::Repeat(answer) => return Ok(answer),
        Claim::New(slot) => slot,
    };
    let before = find_in(core, &tx, who.workspace_id, id).await?;
    let mut answer = pb::DeleteAccountResponse { account: None };
    let mut waits = before.account.deleting_at.is_some();
    if !waits {
        let change = account::ActiveModel { deleting_at: Set(Some(core.now().millis())), ..Default::default() };
        touch(core, &tx, id, change).await?;
        record(core, &tx, id, who.workspace_id, Event::by(Kind::Deleting, who.actor())).await?;
        waits = connect::end_session(core, &tx, id, Some(id)).await?;
    }
    if waits {
        core.refresh(&tx, id).await?;
        let row = find_in(core, &tx, who.workspace_id, id).await?;
        answer.account = Some(show(core, &row));
    } else {
        // Without a session there is nothing to log out.
        connect::erase_rows(core, &tx, id).await?;
    }
    slot.answer(&*tx, &answer).await.map_err(|error| core.failed(&error))?;
    core.commit(tx).await?;
    core.leases.revoke_account(id, RevokeCause::Deleting).await?;
    core.changed(who.workspace_id);
    if waits {
        core.connections.close(LineId::Account(id)).await;
        log_out::of_account(core, id).await?;
        let left = store::find(core.db.conn(), who.workspace_id, id).await.map_err(|error| core.failed(&error))?;
        answer.account = left.map(|row| show(core, &row));
        // A repeat gets the answer that was given, not what was known in between.
        slot.answer(core.db.conn(), &answer).await.map_err(|error| core.failed(&error))?;
    }
    Ok(answer)
}

async fn find_in(core: &Core, tx: &Tx, workspace: Uuid, id: Uuid) -> Result<AccountRow> {
    store::find(&**tx, workspace, id)
        .await
        .map_err(|error| core.failed(&error))?
        .ok_or_else(|| Error::account_not_found(id))
}

fn refuse_deleting(row: &AccountRow) -> Result<()> {
    if row.account.deleting_at.is_some() {
        return Err(Error::plain(ErrorReason::AccountDeleting, "the account is being deleted"));
    }
    Ok(())
}

fn etag_mismatch() -> Error {
    Error::plain(ErrorReason::EtagMismatch, "the account was changed meanwhile: read it again")
}

/// An id that the contract's rules have shown to be a UUID.
pub fn parse_id(text: &str) -> Uuid {
    Uuid::parse_str(text).unwrap_or_default()
}
