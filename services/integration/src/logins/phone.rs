//! Login by phone number and code.

use sea_orm::ActiveValue::Set;
use sea_orm::EntityTrait as _;
use service_kit::address::parse_phone;
use service_kit::db::is_unique_violation;
use service_kit::identity::Identity;
use service_kit::requests::Slot;
use tgmesh_proto::ErrorReason;
use tgmesh_proto::integration::v1 as pb;
use tgmesh_proto::integration::v1::code_delivery::Channel;
use tgmesh_proto::integration::v1::login::{Kind, State};
use uuid::Uuid;

use super::{Moved, Secrets, Taken, auth, finish, found, refuse, settle, store, take, wrong_state};
use crate::accounts::parse_id;
use crate::connections::{LineId, SessionKey};
use crate::core::Core;
use crate::entity::login;
use crate::error::{Error, Result};
use crate::telegram::auth::{Code, CodeAnswer, SignIn, refused, sign_up_required};

/// Times that a number may be sent to another data centre.
const MIGRATIONS: usize = 3;

/// Asks Telegram to send a code.
///
/// # Errors
/// As the contract says.
pub async fn start(
    core: &Core,
    who: &Identity,
    request: &pb::StartPhoneLoginRequest,
) -> Result<pb::StartPhoneLoginResponse> {
    let phone = parse_phone(&request.phone).map_err(|error| Error::field("phone", error.to_string()))?;
    let slot = match take(core, who, "StartPhoneLogin", request).await? {
        Taken::Repeat(answer) => return Ok(answer),
        Taken::Go { slot, .. } => slot,
    };
    let result = begin(core, who, &phone, &slot).await;
    settle(core, result, &slot).await
}

async fn begin(core: &Core, who: &Identity, phone: &str, slot: &Slot) -> Result<pb::StartPhoneLoginResponse> {
    if let Some(other) =
        store::find_live(core.db.conn(), who.workspace_id, phone).await.map_err(|error| core.failed(&error))?
    {
        // A step that was interrupted before its answer is made again.
        if other.request_id != Some(slot.request_id()) || other.state != 0 {
            return Err(under_way(other.id));
        }
        login::Entity::delete_by_id(other.id).exec(core.db.conn()).await.map_err(|error| core.failed(&error))?;
    }
    let key = new_session(core, core.connections.default_dc()).await?;
    let id = core.id();
    insert(core, who, id, (Kind::Phone, State::Unspecified), phone, &key, slot.request_id()).await?;
    match send_code(core, id, phone, key).await {
        Ok(Sent { secrets, code }) => {
            let mut change = note(core, &code);
            change.state = Set(State::CodeRequired as i32);
            change.sealed = Set(Some(secrets.seal(&core.sealer, id)));
            let row = super::get(core, who.workspace_id, id).await?;
            let moved = Moved::on(core, core.begin().await?, &row, &[0], change).await?;
            let answer = pb::StartPhoneLoginResponse { login: Some(moved.show(core).await?) };
            moved.answer(core, slot, &answer).await?;
            Ok(answer)
        }
        Err(error) => {
            // Nobody has seen this login: it leaves nothing.
            core.connections.close(LineId::Login(id)).await;
            login::Entity::delete_by_id(id).exec(core.db.conn()).await.map_err(|error| core.failed(&error))?;
            Err(error)
        }
    }
}

/// Writes where a code went into a change of a login.
fn note(core: &Core, code: &Code) -> login::ActiveModel {
    login::ActiveModel {
        code_channel: Set(code.channel as i32),
        code_length: Set(code.length),
        code_resend_at: Set(code.resend_after.map(|wait| (core.now() + wait).millis())),
        code_next_channel: Set(code.next as i32),
        ..Default::default()
    }
}

struct Sent {
    secrets: Secrets,
    code: Code,
}

/// Asks for a code, at the data centre that the number belongs to.
async fn send_code(core: &Core, id: Uuid, phone: &str, mut key: SessionKey) -> Result<Sent> {
    for _ in 0..=MIGRATIONS {
        match auth(core, id).send_code(phone).await? {
            CodeAnswer::Sent(code) => {
                return Ok(Sent { secrets: Secrets { key, code_hash: code.hash.clone() }, code });
            }
            CodeAnswer::Elsewhere(dc) => key = migrate(core, id, dc).await?,
        }
    }
    Err(Error::plain(ErrorReason::TelegramRefused, "telegram sends the number from one data centre to the next")
        .with("telegram_error", "PHONE_MIGRATE"))
}

/// Moves a login to another data centre: a new key, and a new connection.
pub(super) async fn migrate(core: &Core, id: Uuid, dc: i32) -> Result<SessionKey> {
    let key = new_session(core, dc).await?;
    core.connections.close(LineId::Login(id)).await;
    let secrets = Secrets { key, code_hash: String::new() };
    let change = login::ActiveModel { sealed: Set(Some(secrets.seal(&core.sealer, id))), ..Default::default() };
    store::advance(core.db.conn(), id, &store::LIVE, change).await.map_err(|error| core.failed(&error))?;
    Ok(secrets.key)
}

/// A new key with a data centre.
pub(super) async fn new_session(core: &Core, dc: i32) -> Result<SessionKey> {
    core.connections.new_session(dc).await.map_err(|error| refused(error, ErrorReason::PhoneNumberFlood))
}

/// Enters the code.
///
/// # Errors
/// As the contract says.
pub async fn submit_code(
    core: &Core,
    who: &Identity,
    request: &pb::SubmitLoginCodeRequest,
) -> Result<pb::SubmitLoginCodeResponse> {
    let (slot, again) = match take(core, who, "SubmitLoginCode", request).await? {
        Taken::Repeat(answer) => return Ok(answer),
        Taken::Go { slot, again } => (slot, again),
    };
    let result = async {
        let row = super::get(core, who.workspace_id, parse_id(&request.login_id)).await?;
        if row.state != State::CodeRequired as i32 {
            return Err(wrong_state(&row));
        }
        let moved = match if again { found(core, who, &row).await? } else { None } {
            Some(moved) => moved,
            None => sign_in(core, who, &row, request.code.trim()).await?,
        };
        let answer = pb::SubmitLoginCodeResponse { login: Some(moved.show(core).await?) };
        moved.answer(core, &slot, &answer).await?;
        Ok(answer)
    };
    settle(core, result.await, &slot).await
}

async fn sign_in(core: &Core, who: &Identity, row: &login::Model, code: &str) -> Result<Moved> {
    let secrets = Secrets::open(&core.sealer, row.id, row.sealed.as_deref().ok_or_else(|| wrong_state(row))?)?;
    let by_email = row.code_channel == Channel::Email as i32;
    match auth(core, row.id).sign_in(&row.phone, &secrets.code_hash, code, by_email).await {
        Ok(SignIn::Done(profile)) => finish(core, who, row, &profile).await,
        Ok(SignIn::PasswordNeeded) => super::password::required(core, row).await,
        Ok(SignIn::SignUpRequired) => refuse(core, row, sign_up_required()).await,
        Err(error) => {
            // The answer to an earlier try may have been lost after it took
            // effect: the code is used up then, and the key has gone on.
            if error.reason() != ErrorReason::LoginCodeInvalid
                && let Some(moved) = found(core, who, row).await?
            {
                return Ok(moved);
            }
            refuse(core, row, error).await
        }
    }
}

/// Asks for the code again.
///
/// # Errors
/// As the contract says.
pub async fn resend(
    core: &Core,
    who: &Identity,
    request: &pb::ResendLoginCodeRequest,
) -> Result<pb::ResendLoginCodeResponse> {
    let slot = match take(core, who, "ResendLoginCode", request).await? {
        Taken::Repeat(answer) => return Ok(answer),
        Taken::Go { slot, .. } => slot,
    };
    let result = async {
        let row = super::get(core, who.workspace_id, parse_id(&request.login_id)).await?;
        if row.state != State::CodeRequired as i32 {
            return Err(wrong_state(&row));
        }
        let mut secrets = Secrets::open(&core.sealer, row.id, row.sealed.as_deref().ok_or_else(|| wrong_state(&row))?)?;
        let code = auth(core, row.id).resend_code(&row.phone, &secrets.code_hash).await?;
        secrets.code_hash.clone_from(&code.hash);
        let mut change = note(core, &code);
        change.sealed = Set(Some(secrets.seal(&core.sealer, row.id)));
        let moved = Moved::on(core, core.begin().await?, &row, &[State::CodeRequired as i32], change).await?;
        let answer = pb::ResendLoginCodeResponse { login: Some(moved.show(core).await?) };
        moved.answer(core, &slot, &answer).await?;
        Ok(answer)
    };
    settle(core, result.await, &slot).await
}

/// Inserts a login that begins in a state; 0 while its code is being asked for.
pub(super) async fn insert(
    core: &Core,
    who: &Identity,
    id: Uuid,
    (kind, state): (Kind, State),
    phone: &str,
    key: &SessionKey,
    request_id: Uuid,
) -> Result<()> {
    let now = core.now();
    let secrets = Secrets { key: key.clone(), code_hash: String::new() };
    let row = login::ActiveModel {
        id: Set(id),
        workspace_id: Set(who.workspace_id),
        user_id: Set(who.user_id),
        kind: Set(kind as i32),
        state: Set(state as i32),
        phone: Set(phone.to_owned()),
        live_phone: Set((!phone.is_empty()).then(|| phone.to_owned())),
        sealed: Set(Some(secrets.seal(&core.sealer, id))),
        code_channel: Set(0),
        code_length: Set(0),
        code_resend_at: Set(None),
        code_next_channel: Set(0),
        password_hint: Set(String::new()),
        failure_reason: Set(String::new()),
        account_id: Set(None),
        request_id: Set(Some(request_id)),
        created_at: Set(now.millis()),
        expire_at: Set((now + core.settings.login_life).millis()),
    };
    match login::Entity::insert(row).exec_without_returning(core.db.conn()).await {
        Ok(_) => Ok(()),
        Err(error) if is_unique_violation(&error) => {
            let other = store::find_live(core.db.conn(), who.workspace_id, phone).await;
            Err(under_way(other.ok().flatten().map(|row| row.id).unwrap_or_default()))
        }
        Err(error) => Err(core.failed(&error)),
    }
}

fn under_way(id: Uuid) -> Error {
    Error::plain(ErrorReason::LoginUnderWay, "a login with this number is under way: finish or cancel it")
        .with("login_id", id)
}
