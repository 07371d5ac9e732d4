//! Connects a Telegram user to a workspace, and takes sessions out of use.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use sea_orm::ActiveValue::Set;
use sea_orm::{ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _, QuerySelect as _};
use service_kit::db::{Tx, is_unique_violation};
use service_kit::identity::Identity;
use tgmesh_proto::ErrorReason;
use tgmesh_proto::integration::v1::AccountKind;
use tgmesh_proto::integration::v1::account::SessionState;
use tgmesh_proto::integration::v1::account_event::Kind;
use tgmesh_proto::lease::v1::Purpose;
use uuid::Uuid;

use super::effects::{record, thaw, touch};
use super::store::{self, Event};
use super::wire::purpose_mask;
use crate::connections::{LineId, SessionKey};
use crate::core::{Core, account_context, ended_context};
use crate::entity::{account, account_event, chat_right, ended_session, peer, restriction, session, slot};
use crate::error::{Error, Result};
use crate::telegram::auth::Profile;

/// Longest time that a session is tried.
const TRIAL: Duration = Duration::from_secs(600);
/// A session of an account that is deleted is left so long to the call that deletes it.
const OWN: Duration = Duration::from_secs(5);

/// Writes a profile into a change of an account.
pub(super) fn apply(profile: &Profile, change: &mut account::ActiveModel) {
    change.username = Set(profile.username.clone());
    change.first_name = Set(profile.first_name.clone());
    change.last_name = Set(profile.last_name.clone());
    change.premium = Set(profile.premium);
    if !profile.phone.is_empty() {
        change.phone = Set(profile.phone.clone());
    }
}

/// Makes a session, proven to be this user's, the session of an account of the
/// caller's workspace. A session that the account had is taken out of use.
///
/// # Errors
/// `ALREADY_CONNECTED` when the user belongs to another workspace.
pub async fn adopt(core: &Core, tx: &Tx, who: &Identity, profile: &Profile, key: &SessionKey) -> Result<Uuid> {
    let now = core.now();
    let failed = |error| core.failed(&error);
    let found = store::find_by_user(&**tx, profile.user_id).await.map_err(failed)?;
    let mut change = account::ActiveModel {
        session_state: Set(SessionState::Ok as i32),
        session_error: Set(String::new()),
        checked_at: Set(Some(now.millis())),
        ..Default::default()
    };
    apply(profile, &mut change);
    let (id, kind) = match found {
        Some(account) if account.workspace_id != who.workspace_id => {
            return Err(Error::plain(
                ErrorReason::AlreadyConnected,
                "the telegram account belongs to another workspace of this deployment",
            ));
        }
        Some(account) => {
            change.deleting_at = Set(None);
            // First: whoever else connects the account at this moment waits here, and then sees our session.
            touch(core, tx, account.id, change).await?;
            // The very same session goes on: it must not be logged out.
            if !holds(core, &**tx, account.id, key).await? {
                end_session(core, tx, account.id, None).await?;
            }
            // If Telegram has not thawed it, the next call is told so.
            thaw(core, tx, &account, &who.actor()).await?;
            (account.id, Kind::Reconnected)
        }
        None => {
            let id = core.id();
            // A bot can neither invite nor write to strangers.
            let purposes = if profile.bot {
                vec![Purpose::Parse]
            } else {
                vec![Purpose::Parse, Purpose::Invite, Purpose::Message]
            };
            let row = account::ActiveModel {
                id: Set(id),
                workspace_id: Set(who.workspace_id),
                telegram_user_id: Set(profile.user_id),
                kind: Set(if profile.bot { AccountKind::Bot } else { AccountKind::User } as i32),
                label: Set(String::new()),
                purposes: Set(purpose_mask(purposes)),
                phone: Set(profile.phone.clone()),
                paused_at: Set(None),
                deleting_at: Set(None),
                fencing_token: Set(0),
                created_at: Set(now.millis()),
                updated_at: Set(now.millis()),
                revision: Set(1),
                ..change
            };
            account::Entity::insert(row).exec_without_returning(&**tx).await.map_err(|error| {
                if is_unique_violation(&error) {
                    Error::plain(ErrorReason::Conflict, "the same telegram account is being connected twice at once")
                } else {
                    core.failed(&error)
                }
            })?;
            (id, Kind::Connected)
        }
    };
    let sealed = core.sealer.seal(&account_context(id), &key.to_bytes());
    store::put_session(&**tx, id, sealed, now).await.map_err(failed)?;
    record(core, tx, id, who.workspace_id, Event::by(kind, who.actor())).await?;
    core.refresh(tx, id).await?;
    Ok(id)
}

/// Whether an account's session has this key.
async fn holds(core: &Core, db: &impl ConnectionTrait, account: Uuid, key: &SessionKey) -> Result<bool> {
    let row = session::Entity::find_by_id(account).one(db).await.map_err(|error| core.failed(&error))?;
    Ok(row.is_some_and(|row| opened(core, &row).is_some_and(|found| found.expose() == key.expose())))
}

/// The accounts of the deployment whose sessions are in use, by their keys. A session that is in use must not be
/// tried: Telegram destroys a key that it sees on two connections.
///
/// # Errors
/// When the database fails.
pub async fn keys_in_use(core: &Core) -> Result<HashMap<Vec<u8>, Uuid>> {
    let failed = |error| core.failed(&error);
    let usable: HashSet<Uuid> = account::Entity::find()
        .select_only()
        .column(account::Column::Id)
        .filter(account::Column::SessionState.eq(SessionState::Ok as i32))
        .into_tuple()
        .all(core.db.conn())
        .await
        .map_err(failed)?
        .into_iter()
        .collect();
    let sessions = session::Entity::find().all(core.db.conn()).await.map_err(failed)?;
    let used = sessions.iter().filter(|row| usable.contains(&row.account_id));
    Ok(used.filter_map(|row| Some((opened(core, row)?.expose().to_vec(), row.account_id))).collect())
}

/// Keys are sealed, each differently: they can be compared only when they are opened.
fn opened(core: &Core, row: &session::Model) -> Option<SessionKey> {
    SessionKey::from_bytes(&core.sealer.open(&account_context(row.account_id), &row.sealed).ok()?)
}

/// After `adopt` has been committed: drops the connection that used the old
/// session, and tells everybody.
pub async fn adopted(core: &Core, workspace: Uuid, account: Uuid) {
    core.connections.close(LineId::Account(account)).await;
    core.ended.notify_one();
    core.changed(workspace);
}

/// Takes an account's session out of use: it will be logged out. With
/// `account_to_erase`, the account is erased once that is done.
pub(super) async fn end_session(core: &Core, tx: &Tx, account: Uuid, account_to_erase: Option<Uuid>) -> Result<bool> {
    let failed = |error| core.failed(&error);
    let Some(row) = session::Entity::find_by_id(account).one(&**tx).await.map_err(failed)? else {
        return Ok(false);
    };
    let plain = core.sealer.open(&account_context(account), &row.sealed).map_err(Error::internal)?;
    put_ended(core, tx, &plain, account_to_erase).await?;
    session::Entity::delete_by_id(account).exec(&**tx).await.map_err(failed)?;
    Ok(true)
}

/// Notes a session that is to be logged out.
///
/// # Errors
/// When the database fails.
pub async fn put_ended(core: &Core, tx: &Tx, plain: &[u8], account_to_erase: Option<Uuid>) -> Result<()> {
    let (id, now) = (core.id(), core.now());
    let due = if account_to_erase.is_some() { now + OWN } else { now };
    let row = ended_session::ActiveModel {
        id: Set(id),
        account_id: Set(account_to_erase),
        sealed: Set(core.sealer.seal(&ended_context(id), plain)),
        created_at: Set(now.millis()),
        try_at: Set(due.millis()),
        tries: Set(0),
    };
    ended_session::Entity::insert(row)
        .exec_without_returning(&**tx)
        .await
        .map(|_| ())
        .map_err(|error| core.failed(&error))
}

/// Keeps a session that is only tried. It is never due for logging out.
///
/// # Errors
/// When the database fails.
pub async fn put_trial(core: &Core, tx: &Tx, plain: &[u8]) -> Result<Uuid> {
    let id = core.id();
    let row = ended_session::ActiveModel {
        id: Set(id),
        account_id: Set(None),
        sealed: Set(core.sealer.seal(&ended_context(id), plain)),
        created_at: Set(core.now().millis()),
        try_at: Set(i64::MAX),
        tries: Set(0),
    };
    ended_session::Entity::insert(row).exec_without_returning(&**tx).await.map_err(|error| core.failed(&error))?;
    Ok(id)
}

/// Forgets sessions that were being tried when a process died.
///
/// # Errors
/// When the database fails.
pub async fn forget_trials(core: &Core) -> Result<()> {
    let before = core.now() - TRIAL;
    ended_session::Entity::delete_many()
        .filter(ended_session::Column::TryAt.eq(i64::MAX))
        .filter(ended_session::Column::CreatedAt.lt(before.millis()))
        .exec(core.db.conn())
        .await
        .map(|_| ())
        .map_err(|error| core.failed(&error))
}

/// Deletes everything that belongs to an account.
pub(super) async fn erase_rows(core: &Core, tx: &Tx, id: Uuid) -> Result<()> {
    let failed = |error| core.failed(&error);
    session::Entity::delete_by_id(id).exec(&**tx).await.map_err(failed)?;
    restriction::Entity::delete_many()
        .filter(restriction::Column::AccountId.eq(id))
        .exec(&**tx)
        .await
        .map_err(failed)?;
    account_event::Entity::delete_many()
        .filter(account_event::Column::AccountId.eq(id))
        .exec(&**tx)
        .await
        .map_err(failed)?;
    peer::Entity::delete_many().filter(peer::Column::AccountId.eq(id)).exec(&**tx).await.map_err(failed)?;
    chat_right::Entity::delete_many().filter(chat_right::Column::AccountId.eq(id)).exec(&**tx).await.map_err(failed)?;
    slot::Entity::delete_many().filter(slot::Column::AccountId.eq(id)).exec(&**tx).await.map_err(failed)?;
    account::Entity::delete_by_id(id).exec(&**tx).await.map_err(failed)?;
    Ok(())
}
