//! Logins: durable steps that survive a restart between them.
//!
//! Each step's answer is stored in the transaction of its effect. A login holds
//! the one connection that its key has; the session becomes an account's in the
//! same transaction that ends the login. What a step did at Telegram before it
//! was interrupted, the key tells. A login that is given up is logged out, in
//! case Telegram had authorised its key.

pub mod import;
mod password;
mod phone;
mod qr;
pub mod store;

use sea_orm::ActiveValue::Set;
use sea_orm::ConnectionTrait;
use service_kit::Time;
use service_kit::address::mask_phone;
use service_kit::db::Tx;
use service_kit::identity::Identity;
use service_kit::requests::{Opened, Slot};
use service_kit::sealing::Sealer;
use tgmesh_proto::integration::v1 as pb;
use tgmesh_proto::integration::v1::login::State;
use tgmesh_proto::{ErrorReason, WithRequestId};
use uuid::Uuid;

use crate::accounts::{self, connect};
use crate::connections::{CallError, LineId, SessionKey};
use crate::core::{Core, login_context};
use crate::entity::login;
use crate::error::{Error, Result};
use crate::telegram::auth::{Auth, Profile};

pub use password::submit as submit_password;
pub use phone::{resend, start as start_phone, submit_code};
pub use qr::start as start_qr;

/// What a login keeps sealed.
pub struct Secrets {
    /// The key of its connection.
    pub key: SessionKey,
    /// What Telegram wants to see again together with the code.
    pub code_hash: String,
}

impl Secrets {
    /// Opens what was sealed.
    ///
    /// # Errors
    /// When it was not sealed for this login, or with a key that is not here.
    pub fn open(sealer: &Sealer, id: Uuid, sealed: &[u8]) -> Result<Self> {
        let plain = sealer.open(&login_context(id), sealed).map_err(Error::internal)?;
        let unreadable = || Error::internal("the secrets of a login cannot be read");
        let (key, hash) = plain.split_at_checked(SessionKey::BYTES).ok_or_else(unreadable)?;
        let key = SessionKey::from_bytes(key).ok_or_else(unreadable)?;
        let code_hash = String::from_utf8(hash.to_vec()).map_err(|_| unreadable())?;
        Ok(Self { key, code_hash })
    }

    fn seal(&self, sealer: &Sealer, id: Uuid) -> Vec<u8> {
        let mut plain = self.key.to_bytes();
        plain.extend(self.code_hash.as_bytes());
        sealer.seal(&login_context(id), &plain)
    }
}

/// A login as the contract writes it.
///
/// # Errors
/// When the database fails.
pub async fn show(core: &Core, conn: &impl ConnectionTrait, row: &login::Model) -> Result<pb::Login> {
    let account = match row.account_id {
        Some(id) => accounts::store::find(conn, row.workspace_id, id)
            .await
            .map_err(|error| core.failed(&error))?
            .map(|found| accounts::show(core, &found)),
        None => None,
    };
    let delivery = (row.code_channel != 0 || row.code_length != 0).then(|| pb::CodeDelivery {
        channel: row.code_channel,
        length: row.code_length,
        resend_time: row.code_resend_at.map(|at| Time::from_millis(at).to_proto()),
        next_channel: row.code_next_channel,
    });
    Ok(pb::Login {
        id: row.id.to_string(),
        kind: row.kind,
        state: row.state,
        phone: mask_phone(&row.phone),
        code_delivery: delivery,
        password_hint: row.password_hint.clone(),
        expire_time: Some(Time::from_millis(row.expire_at).to_proto()),
        account,
        failure_reason: row.failure_reason.clone(),
        create_time: Some(Time::from_millis(row.created_at).to_proto()),
    })
}

/// A login of the caller's workspace.
///
/// # Errors
/// `LOGIN_NOT_FOUND` when there is none.
pub async fn get(core: &Core, workspace: Uuid, id: Uuid) -> Result<login::Model> {
    store::find(core.db.conn(), workspace, id)
        .await
        .map_err(|error| core.failed(&error))?
        .ok_or_else(|| Error::plain(ErrorReason::LoginNotFound, format!("there is no login {id}")))
}

/// Gives a login up.
///
/// # Errors
/// As the contract says.
pub async fn cancel(core: &Core, who: &Identity, request: &pb::CancelLoginRequest) -> Result<pb::CancelLoginResponse> {
    let slot = match take(core, who, "CancelLogin", request).await? {
        Taken::Repeat(answer) => return Ok(answer),
        Taken::Go { slot, .. } => slot,
    };
    let result = async {
        let row = get(core, who.workspace_id, accounts::parse_id(&request.login_id)).await?;
        if !store::LIVE.contains(&row.state) {
            return Err(wrong_state(&row));
        }
        let tx = core.begin().await?;
        if !give_up(core, &tx, &row, store::end(State::Cancelled)).await? {
            return Err(Error::plain(ErrorReason::Conflict, "the login moved on meanwhile"));
        }
        let mut ended = row.clone();
        ended.state = State::Cancelled as i32;
        let answer = pb::CancelLoginResponse { login: Some(show(core, &*tx, &ended).await?) };
        slot.answer(&*tx, &answer).await.map_err(|error| core.failed(&error))?;
        core.commit(tx).await?;
        Ok((row.id, answer))
    };
    let (id, answer) = settle(core, result.await, &slot).await?;
    core.connections.close(LineId::Login(id)).await;
    core.ended.notify_one();
    core.changed(who.workspace_id);
    Ok(answer)
}

/// Gives up the logins whose time is over: no account, connection or session
/// is left of them.
///
/// # Errors
/// When the database fails.
pub async fn expire(core: &Core) -> Result<()> {
    let overdue = store::overdue(core.db.conn(), core.now()).await.map_err(|error| core.failed(&error))?;
    for row in overdue {
        let tx = core.begin().await?;
        let ended = give_up(core, &tx, &row, store::end(State::Expired)).await?;
        core.commit(tx).await?;
        if ended {
            tracing::info!(login_id = %row.id, "login expired");
            core.connections.close(LineId::Login(row.id)).await;
            core.ended.notify_one();
            core.changed(row.workspace_id);
        }
    }
    Ok(())
}

/// Ends a login that is under way; its session will be logged out, in case
/// Telegram authorised it.
async fn give_up(core: &Core, tx: &Tx, row: &login::Model, end: login::ActiveModel) -> Result<bool> {
    let ended = store::advance(&**tx, row.id, &store::LIVE, end).await.map_err(|error| core.failed(&error))?;
    if ended && let Some(sealed) = &row.sealed {
        let secrets = Secrets::open(&core.sealer, row.id, sealed)?;
        connect::put_ended(core, tx, &secrets.key.to_bytes(), None).await?;
    }
    Ok(ended)
}

/// A step's effect, not committed yet: its answer belongs into the same transaction.
struct Moved {
    tx: Tx,
    /// The login after the step.
    row: login::Model,
}

impl Moved {
    /// Notes that a login which is in one of these states moves on.
    async fn on(core: &Core, tx: Tx, row: &login::Model, from: &[i32], change: login::ActiveModel) -> Result<Self> {
        if !store::advance(&*tx, row.id, from, change).await.map_err(|error| core.failed(&error))? {
            return Err(Error::plain(ErrorReason::Conflict, "the login moved on meanwhile"));
        }
        let row = store::find(&*tx, row.workspace_id, row.id).await.map_err(|error| core.failed(&error))?;
        Ok(Self { tx, row: row.ok_or_else(|| Error::internal("a login vanished"))? })
    }

    /// The login as the contract writes it.
    async fn show(&self, core: &Core) -> Result<pb::Login> {
        show(core, &*self.tx, &self.row).await
    }

    /// Stores the answer, and commits both.
    async fn answer<R: prost::Message>(self, core: &Core, slot: &Slot, answer: &R) -> Result<()> {
        slot.answer(&*self.tx, answer).await.map_err(|error| core.failed(&error))?;
        self.commit(core).await
    }

    async fn commit(self, core: &Core) -> Result<()> {
        let Self { tx, row } = self;
        core.commit(tx).await?;
        match row.account_id {
            Some(account) => connect::adopted(core, row.workspace_id, account).await,
            None => core.changed(row.workspace_id),
        }
        Ok(())
    }
}

/// Makes the login's session an account's. The login's own connection is closed
/// before anybody else can open one with its key.
async fn finish(core: &Core, who: &Identity, row: &login::Model, profile: &Profile) -> Result<Moved> {
    let sealed = row.sealed.as_ref().ok_or_else(|| wrong_state(row))?;
    let secrets = Secrets::open(&core.sealer, row.id, sealed)?;
    core.connections.close(LineId::Login(row.id)).await;
    let tx = core.begin().await?;
    match connect::adopt(core, &tx, who, profile, &secrets.key).await {
        Ok(account) => {
            let mut change = store::end(State::Completed);
            change.account_id = Set(Some(account));
            Moved::on(core, tx, row, &store::LIVE, change).await
        }
        Err(error) => {
            drop(tx);
            if error.reason() == ErrorReason::AlreadyConnected {
                fail(core, row, error.reason()).await?;
            }
            Err(error)
        }
    }
}

/// Goes on from what a step did at Telegram before its answer was lost: the
/// login's key is authorised, or may go on to the password. `None` when the
/// step had no effect, or Telegram cannot be asked.
async fn found(core: &Core, who: &Identity, row: &login::Model) -> Result<Option<Moved>> {
    match auth(core, row.id).who_am_i().await {
        Ok(Some(profile)) => finish(core, who, row, &profile).await.map(Some),
        // Only a key that owes the password is told about it.
        Err(CallError::Rpc(_)) if row.state != State::PasswordRequired as i32 => {
            match password::required(core, row).await {
                Err(error) if error.reason() != ErrorReason::Conflict => Ok(None),
                moved => moved.map(Some),
            }
        }
        _ => Ok(None),
    }
}

/// Ends a login that Telegram has no more to do with; says why it failed.
async fn refuse(core: &Core, row: &login::Model, error: Error) -> Result<Moved> {
    match error.reason() {
        reason @ (ErrorReason::PhoneNumberBanned | ErrorReason::LoginSignUpRequired) => fail(core, row, reason).await?,
        ErrorReason::LoginExpired => end(core, row, store::end(State::Expired)).await?,
        _ => {}
    }
    Err(error)
}

/// Ends a login that cannot succeed.
async fn fail(core: &Core, row: &login::Model, reason: ErrorReason) -> Result<()> {
    let change = login::ActiveModel { failure_reason: Set(reason.as_reason().to_owned()), ..store::end(State::Failed) };
    end(core, row, change).await
}

async fn end(core: &Core, row: &login::Model, change: login::ActiveModel) -> Result<()> {
    let tx = core.begin().await?;
    give_up(core, &tx, row, change).await?;
    core.commit(tx).await?;
    core.connections.close(LineId::Login(row.id)).await;
    core.ended.notify_one();
    core.changed(row.workspace_id);
    Ok(())
}

/// The calls of a login.
fn auth(core: &Core, id: Uuid) -> Auth<'_> {
    Auth { connections: &core.connections, line: LineId::Login(id), settings: &core.settings }
}

/// Why a step does not fit: a login that is over says how it ended.
fn wrong_state(row: &login::Model) -> Error {
    let state = State::try_from(row.state).unwrap_or_default();
    if state == State::Expired {
        return Error::plain(ErrorReason::LoginExpired, "the login was not finished in time: start another");
    }
    if state == State::Failed
        && let Some(reason) = ErrorReason::from_reason(&row.failure_reason)
    {
        return Error::plain(reason, "this is why the login has failed: start another");
    }
    let name = state.as_str_name().trim_start_matches("STATE_");
    Error::plain(ErrorReason::LoginStateWrong, format!("the login is in state {name}")).with("state", name)
}

/// A call whose effect is at Telegram: repeated, or to be made.
enum Taken<R> {
    Repeat(R),
    Go {
        slot: Slot,
        /// It was begun before: what it did at Telegram is not known here.
        again: bool,
    },
}

/// Takes a step of a login. One that was interrupted is made again: steps of a
/// login can be.
async fn take<Q, R>(core: &Core, who: &Identity, method: &'static str, request: &Q) -> Result<Taken<R>>
where
    Q: prost::Message + WithRequestId,
    R: prost::Message + Default,
{
    let opened = core.requests.open(who, method, request).await;
    Ok(match opened.map_err(|error| Error::request(&core.db, error))? {
        Opened::Repeat(answer) => Taken::Repeat(answer),
        Opened::New(slot) => Taken::Go { slot, again: false },
        Opened::Interrupted(slot) => Taken::Go { slot, again: true },
    })
}

/// After a failure the request is forgotten, so that it can be made again.
async fn settle<T>(core: &Core, result: Result<T>, slot: &Slot) -> Result<T> {
    if result.is_err() {
        slot.forget(core.db.conn()).await.map_err(|error| core.failed(&error))?;
    }
    result
}
