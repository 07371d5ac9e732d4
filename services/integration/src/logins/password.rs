//! The password of two-step verification.

use sea_orm::ActiveValue::Set;
use secrecy::SecretString;
use service_kit::identity::Identity;
use tgmesh_proto::ErrorReason;
use tgmesh_proto::integration::v1 as pb;
use tgmesh_proto::integration::v1::login::State;

use super::{Moved, Taken, auth, finish, found, refuse, settle, take, wrong_state};
use crate::accounts::parse_id;
use crate::core::Core;
use crate::entity::login;
use crate::error::Result;
use crate::telegram::auth::{SignIn, sign_up_required};

/// Most characters of a hint that are kept.
const HINT: usize = 256;

/// Notes that a login needs the password, with the user's hint at it.
pub(super) async fn required(core: &Core, row: &login::Model) -> Result<Moved> {
    let hint = auth(core, row.id).password_hint().await?;
    let change = login::ActiveModel {
        state: Set(State::PasswordRequired as i32),
        password_hint: Set(hint.chars().take(HINT).collect()),
        ..Default::default()
    };
    Moved::on(core, core.begin().await?, row, &[row.state], change).await
}

/// Enters the password.
///
/// # Errors
/// As the contract says.
pub async fn submit(
    core: &Core,
    who: &Identity,
    request: &pb::SubmitLoginPasswordRequest,
) -> Result<pb::SubmitLoginPasswordResponse> {
    let (slot, again) = match take(core, who, "SubmitLoginPassword", request).await? {
        Taken::Repeat(answer) => return Ok(answer),
        Taken::Go { slot, again } => (slot, again),
    };
    let result = async {
        let row = super::get(core, who.workspace_id, parse_id(&request.login_id)).await?;
        if row.state != State::PasswordRequired as i32 {
            return Err(wrong_state(&row));
        }
        let moved = match if again { found(core, who, &row).await? } else { None } {
            Some(moved) => moved,
            None => check(core, who, &row, &request.password.clone().into()).await?,
        };
        let answer = pb::SubmitLoginPasswordResponse { login: Some(moved.show(core).await?) };
        moved.answer(core, &slot, &answer).await?;
        Ok(answer)
    };
    settle(core, result.await, &slot).await
}

async fn check(core: &Core, who: &Identity, row: &login::Model, password: &SecretString) -> Result<Moved> {
    match auth(core, row.id).check_password(password).await {
        Ok(SignIn::Done(profile)) => finish(core, who, row, &profile).await,
        Ok(SignIn::PasswordNeeded | SignIn::SignUpRequired) => Err(sign_up_required()),
        Err(error) => {
            // The answer to an earlier try may have been lost after it took effect.
            if error.reason() != ErrorReason::LoginPasswordWrong
                && let Some(moved) = found(core, who, row).await?
            {
                return Ok(moved);
            }
            refuse(core, row, error).await
        }
    }
}
