//! Login by QR code: <https://core.telegram.org/api/qr-login>.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use service_kit::Time;
use service_kit::identity::Identity;
use tgmesh_proto::ErrorReason;
use tgmesh_proto::integration::v1 as pb;
use tgmesh_proto::integration::v1::login::{Kind, State};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{auth, finish, phone, refuse, show, store};
use crate::accounts::parse_id;
use crate::connections::LineId;
use crate::core::Core;
use crate::entity::login;
use crate::error::{Error, Result};
use crate::telegram::auth::QrAnswer;

/// How long before its expiry a code is replaced.
const EARLY: Duration = Duration::from_secs(5);
/// How often a login that waits for its password is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Pause after Telegram could not be reached.
const PAUSE: Duration = Duration::from_secs(1);

type Events = mpsc::Sender<Result<pb::StartQrLoginResponse>>;

/// Starts a login, or goes on with the one that the same request started.
///
/// # Errors
/// As the contract says.
pub async fn start(
    core: Arc<Core>,
    who: Identity,
    request: &pb::StartQrLoginRequest,
) -> Result<mpsc::Receiver<Result<pb::StartQrLoginResponse>>> {
    let request_id = parse_id(&request.request_id);
    let found = store::find_by_request(core.db.conn(), who.workspace_id, who.user_id, request_id)
        .await
        .map_err(|error| core.failed(&error))?;
    let (id, again) = match found {
        Some(row) if row.kind == Kind::Qr as i32 => (row.id, true),
        Some(_) => {
            return Err(Error::plain(ErrorReason::RequestIdReused, "the request_id was used with another request")
                .with("request_id", request_id));
        }
        None => {
            let key = phone::new_session(&core, core.connections.default_dc()).await?;
            let id = core.id();
            phone::insert(&core, &who, id, (Kind::Qr, State::ScanRequired), "", &key, request_id).await?;
            (id, false)
        }
    };
    let (events, receiver) = mpsc::channel(1);
    let task = core.clone();
    task.tasks.spawn("a login by qr code", async move {
        if let Err(error) = play(&core, &who, id, again, &events).await {
            events.send(Err(error)).await.ok();
        }
    });
    Ok(receiver)
}

/// Shows the login until it has ended, or nobody looks any more. What happened
/// before it was begun `again`, its key tells: Telegram would only show another
/// code.
async fn play(core: &Core, who: &Identity, id: Uuid, mut again: bool, events: &Events) -> Result<()> {
    let mut shown: Option<(i32, Vec<u8>)> = None;
    loop {
        let row = super::get(core, who.workspace_id, id).await?;
        match State::try_from(row.state).unwrap_or_default() {
            State::ScanRequired if again => {
                again = false;
                if let Some(moved) = over(super::found(core, who, &row).await)?.flatten() {
                    moved.commit(core).await?;
                }
            }
            State::ScanRequired => {
                let mut pushed = core.connections.events(LineId::Login(id)).pushed;
                let Some(code) = ask(core, who, &row).await? else {
                    continue;
                };
                if shown.as_ref() != Some(&(row.state, code.token.clone())) {
                    if !send(core, &row, Some(&code), events).await? {
                        return Ok(());
                    }
                    shown = Some((row.state, code.token.clone()));
                }
                let left = code.expires.since(core.now() + EARLY);
                tokio::select! {
                    // Telegram tells that the code was scanned; if the word is
                    // lost, the next code's answer tells it too.
                    _ = pushed.recv() => {}
                    () = core.clock.sleep(left.max(PAUSE)) => {}
                    () = events.closed() => return Ok(()),
                }
            }
            State::PasswordRequired => {
                if shown.as_ref().map(|(state, _)| *state) != Some(row.state) {
                    if !send(core, &row, None, events).await? {
                        return Ok(());
                    }
                    shown = Some((row.state, Vec::new()));
                }
                tokio::select! {
                    () = core.clock.sleep(LOOK) => {}
                    () = events.closed() => return Ok(()),
                }
            }
            _ => {
                send(core, &row, None, events).await?;
                return Ok(());
            }
        }
    }
}

/// A code to show.
struct Shown {
    token: Vec<u8>,
    expires: Time,
}

/// Asks Telegram for a code. `None` when the login moved on instead.
async fn ask(core: &Core, who: &Identity, row: &login::Model) -> Result<Option<Shown>> {
    let mut answer = auth(core, row.id).export_login_token().await;
    if let Ok(QrAnswer::Elsewhere(dc, token)) = answer {
        phone::migrate(core, row.id, dc).await?;
        answer = auth(core, row.id).import_login_token(token).await;
    }
    let moved = match answer {
        Ok(QrAnswer::Show(token, expires)) => return Ok(Some(Shown { token, expires })),
        Ok(QrAnswer::Done(profile)) => {
            // Its key may have changed on the way.
            let row = super::get(core, row.workspace_id, row.id).await?;
            over(finish(core, who, &row, &profile).await)?
        }
        Ok(QrAnswer::PasswordNeeded) => over(super::password::required(core, row).await)?,
        Ok(QrAnswer::Elsewhere(..)) => return Err(Error::internal("telegram sends the login on and on")),
        // A code that was scanned too late is followed by another.
        Err(error) if matches!(error.reason(), ErrorReason::TelegramUnavailable | ErrorReason::LoginCodeExpired) => {
            core.clock.sleep(PAUSE).await;
            None
        }
        Err(error) => return refuse(core, row, error).await.map(|_| None),
    };
    if let Some(moved) = moved {
        moved.commit(core).await?;
    }
    Ok(None)
}

/// `None` when another call moved the login on: what it is now is read again.
fn over<T>(moved: Result<T>) -> Result<Option<T>> {
    match moved {
        Err(error) if error.reason() == ErrorReason::Conflict => Ok(None),
        moved => moved.map(Some),
    }
}

/// False when nobody looks any more.
async fn send(core: &Core, row: &login::Model, code: Option<&Shown>, events: &Events) -> Result<bool> {
    let qr_code = match code {
        Some(code) => {
            let link = format!("tg://login?token={}", URL_SAFE_NO_PAD.encode(&code.token));
            let image = qrcode::QrCode::new(link.as_bytes()).map_err(Error::internal)?;
            let image_svg = image.render::<qrcode::render::svg::Color<'_>>().min_dimensions(256, 256).build();
            let expire_time = Some(code.expires.to_proto());
            Some(pb::QrCode { link, image_svg, expire_time })
        }
        None => None,
    };
    let event = pb::StartQrLoginResponse { login: Some(show(core, core.db.conn(), row).await?), qr_code };
    Ok(events.send(Ok(event)).await.is_ok())
}
