//! Logins, step by step.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use tgmesh_proto::emulator::v1 as emulator;
use tgmesh_proto::integration::v1 as pb;
use tgmesh_proto::integration::v1::login::State;

use super::brake::Where;
use super::stage::Stage;
use super::world::{FIRST_ACCOUNT, PASSWORD, phone};
use super::{PATIENCE, Service, Window, campaign, judge};
use tokio::task::JoinHandle;

/// Asks for a code.
pub async fn begin(stage: &Stage, id: i64) -> anyhow::Result<pb::Login> {
    let request = pb::StartPhoneLoginRequest { request_id: stage.request_id(), phone: phone(id) };
    let login = stage.integration()?.start_phone_login(request).await?.into_inner().login.context("no login")?;
    ensure!(login.state() == State::CodeRequired, "{login:?}");
    Ok(login)
}

/// The request that enters the code.
pub async fn code(stage: &Stage, id: i64, login: &pb::Login) -> anyhow::Result<pb::SubmitLoginCodeRequest> {
    let shown = stage.control()?.read_login_code(emulator::ReadLoginCodeRequest { phone: phone(id) }).await?;
    let code = shown.into_inner().code;
    Ok(pb::SubmitLoginCodeRequest { request_id: stage.request_id(), login_id: login.id.clone(), code })
}

/// Enters the code.
pub async fn enter(stage: &Stage, request: &pb::SubmitLoginCodeRequest) -> anyhow::Result<pb::Login> {
    let answer = stage.integration()?.submit_login_code(request.clone()).await?;
    answer.into_inner().login.context("no login")
}

/// The request that enters the password.
pub fn password(stage: &Stage, login: &pb::Login) -> pb::SubmitLoginPasswordRequest {
    let login_id = login.id.clone();
    pb::SubmitLoginPasswordRequest { request_id: stage.request_id(), login_id, password: PASSWORD.to_owned() }
}

/// Enters the password.
pub async fn prove(stage: &Stage, request: &pb::SubmitLoginPasswordRequest) -> anyhow::Result<pb::Login> {
    let answer = stage.integration()?.submit_login_password(request.clone()).await?;
    answer.into_inner().login.context("no login")
}

/// A login as it is now.
pub async fn get(stage: &Stage, login: &pb::Login) -> anyhow::Result<pb::Login> {
    let request = pb::GetLoginRequest { login_id: login.id.clone() };
    stage.integration()?.get_login(request).await?.into_inner().login.context("no login")
}

/// Finishes a login that a kill has left in this state: whoever got no answer makes the same request again.
pub async fn go_on(
    stage: &Stage,
    login: &pb::Login,
    left: State,
    code: Option<&pb::SubmitLoginCodeRequest>,
    proof: &pb::SubmitLoginPasswordRequest,
) -> anyhow::Result<()> {
    let mut login = get(stage, login).await?;
    ensure!(login.state() == left, "{login:?} was not left in {left:?}");
    if let Some(code) = code {
        login = enter(stage, code).await?;
    }
    if login.state() == State::PasswordRequired {
        login = prove(stage, proof).await?;
    }
    ensure!(login.state() == State::Completed, "{login:?}");
    Ok(())
}

/// Connects all accounts that have no password.
pub async fn all(stage: &Stage, accounts: i64) -> anyhow::Result<()> {
    for id in FIRST_ACCOUNT..FIRST_ACCOUNT + accounts {
        let login = begin(stage, id).await?;
        let login = enter(stage, &code(stage, id, &login).await?).await?;
        ensure!(login.state() == State::Completed, "{login:?}");
    }
    Ok(())
}

/// A step that goes on while its process is killed.
pub type Later = JoinHandle<anyhow::Result<()>>;

/// Enters the code, in the background.
pub fn enter_later(stage: &Stage, request: &pb::SubmitLoginCodeRequest) -> anyhow::Result<Later> {
    let (mut client, request) = (stage.integration()?, request.clone());
    Ok(tokio::spawn(async move { Ok(client.submit_login_code(request).await.map(drop)?) }))
}

/// Enters the password, in the background.
pub fn prove_later(stage: &Stage, request: &pb::SubmitLoginPasswordRequest) -> anyhow::Result<Later> {
    let (mut client, request) = (stage.integration()?, request.clone());
    Ok(tokio::spawn(async move { Ok(client.submit_login_password(request).await.map(drop)?) }))
}

/// Kills integration between two steps, and starts it again.
pub async fn kill(stage: &mut Stage) -> anyhow::Result<()> {
    stage.kill(Service::Integration, Window::Login)?;
    stage.restart(Service::Integration).await
}

/// Kills integration while a step is held at Telegram, and starts it again.
pub async fn killed_on_the_wire(stage: &mut Stage, window: Window, step: Later) -> anyhow::Result<()> {
    stage.held().await?;
    stage.kill(Service::Integration, window)?;
    stage.let_go().await?;
    lost(step).await?;
    stage.restart(Service::Integration).await
}

/// Kills integration inside a transaction of a step, and starts it again.
pub async fn killed_at_brake(stage: &mut Stage, step: Later) -> anyhow::Result<()> {
    campaign::at_brake(stage, Service::Integration).await.context("a step of a login")?;
    stage.kill(Service::Integration, Window::Answered)?;
    stage.brake(Service::Integration)?.release().await?;
    lost(step).await?;
    stage.restart(Service::Integration).await
}

/// Makes the next such call of integration stop at Telegram.
pub async fn hold(stage: &Stage, method: &str, window: Window) -> anyhow::Result<()> {
    use emulator::FaultKind::{HoldAfterEffect, HoldBeforeEffect};
    let kind = if window == Window::WireBefore { HoldBeforeEffect } else { HoldAfterEffect };
    stage.hold(method, kind, 0, 1).await
}

/// Makes the next such statement of integration stop.
pub async fn brake(stage: &mut Stage, at: Where) -> anyhow::Result<()> {
    stage.brake(Service::Integration)?.arm(at).await
}

/// The caller of a step learns nothing but that it failed.
pub async fn lost(step: Later) -> anyhow::Result<()> {
    let answer = tokio::time::timeout(PATIENCE, step).await.context("the call never ended")??;
    ensure!(answer.is_err(), "a step was answered by a process that was dead");
    Ok(())
}

/// Beside so many connected accounts there is nothing: no secret of a login, no
/// session, no key that Telegram has authorised, no connection.
///
/// # Errors
/// What there is.
pub async fn nothing_is_left(stage: &Stage, accounts: i64) -> anyhow::Result<()> {
    let brake = stage.brakes.get(&Service::Integration).context("no database")?;
    // Sessions that were only tried, when a process died, are their owner's; they are forgotten by and by.
    brake.until(&format!("SELECT count(*) FROM ended_sessions WHERE try_at < {}", i64::MAX), 0).await?;
    for (query, expected) in [
        ("SELECT count(*) FROM logins WHERE sealed IS NOT NULL", 0),
        ("SELECT count(*) FROM sessions", accounts),
        ("SELECT count(*) FROM accounts", accounts),
    ] {
        let found = brake.number(query).await?;
        ensure!(found == expected, "{query}: {found}, not {expected}");
    }
    let request = pb::ListAccountsRequest { page_size: 1_000, ..Default::default() };
    let listed = stage.integration()?.list_accounts(request).await?.into_inner().accounts;
    ensure!(listed.iter().all(|account| account.state() == pb::account::State::Ready), "{listed:?}");
    let connected: BTreeSet<i64> = listed.iter().map(|account| account.telegram_user_id).collect();
    ensure!(i64::try_from(connected.len())? == accounts, "{connected:?} are connected");
    // Keys that are authorised at Telegram: one of each account, and no other.
    for user in stage.users().await? {
        let keys = stage.emulated().keys_of(user.id).len();
        let expected = usize::from(connected.contains(&user.id));
        ensure!(keys == expected, "user {} has {keys} keys that are authorised, not {expected}", user.id);
    }
    let open = emulator::ListConnectionsRequest { account_id: 0, open_only: true };
    let open = stage.control()?.list_connections(open).await?.into_inner().connections;
    let strange: Vec<_> = open.iter().filter(|open| !connected.contains(&open.account_id)).collect();
    ensure!(strange.is_empty(), "connections are left: {strange:?}");
    let broken = judge::connections(&campaign::record(stage).await?);
    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}
