//! Input, callers, logins, accounts.

use anyhow::Context as _;
use telegram_emulator::{Fault, FaultFilter, FaultKind};
use tgmesh_proto::integration::v1 as pb;
use tgmesh_proto::{Caller, ErrorReason};
use tgmesh_tests::{contract, wait};

use super::{Rows, spoil};
use crate::common::wire::Read;
use crate::common::{PASSWORD, PATIENCE, World, path, phone};

pub async fn provoke(world: &World, rows: &mut Rows) -> anyhow::Result<()> {
    input(world, rows).await?;
    logins(world, rows).await?;
    passwords(world, rows).await?;
    accounts(world, rows).await
}

async fn input(world: &World, rows: &mut Rows) -> anyhow::Result<()> {
    let mut client = world.integration(world.owner);
    let account_id = "no uuid".to_owned();
    rows.row(ErrorReason::FieldInvalid, client.get_account(pb::GetAccountRequest { account_id }).await);
    let request = pb::ListAccountsRequest { page_token: "mine".to_owned(), ..Default::default() };
    rows.row(ErrorReason::PageTokenInvalid, client.list_accounts(request).await);
    let request = pb::WatchAccountsRequest { resume_token: "mine".to_owned() };
    rows.row(ErrorReason::ResumeTokenInvalid, client.watch_accounts(request).await);
    let request_id = world.id();
    for number in [63, 64] {
        let request = pb::StartPhoneLoginRequest { request_id: request_id.clone(), phone: phone(number) };
        let answer = client.start_phone_login(request).await;
        if number == 64 {
            rows.row(ErrorReason::RequestIdReused, answer);
        }
    }
    let methods = contract::methods(&contract::pool());
    let find = |name: &str| methods.iter().find(|method| path(method).ends_with(name)).context("no such method");
    let token = world.token(Caller::User, world.owner, "integration");
    let call = async |name: &str, bytes: Vec<u8>, token: Option<&str>| {
        anyhow::Ok(world.call(find(name)?, vec![bytes], token, Read::All).await)
    };
    rows.row(ErrorReason::MessageInvalid, call("/GetAccount", vec![0xff], Some(&token)).await?);
    rows.row(ErrorReason::TokenInvalid, call("/GetFleetSummary", vec![], None).await?);
    rows.row(ErrorReason::CallerNotAllowed, call("/AcquireLease", vec![], Some(&token)).await?);
    rows.row(ErrorReason::NotImplemented, {
        let request = tgmesh_proto::invite::v1::GetDashboardRequest {};
        world.invite(world.owner).get_dashboard(request).await
    });
    Ok(())
}

async fn logins(world: &World, rows: &mut Rows) -> anyhow::Result<()> {
    let mut client = world.integration(world.owner);
    let start = |number: String| pb::StartPhoneLoginRequest { request_id: world.id(), phone: number };
    let enter = |login_id: &str, code: &str| pb::SubmitLoginCodeRequest {
        request_id: world.id(),
        login_id: login_id.to_owned(),
        code: code.to_owned(),
    };
    spoil(world, None, "auth.sendCode", "PHONE_NUMBER_INVALID");
    rows.row(ErrorReason::PhoneNumberInvalid, client.start_phone_login(start(phone(65))).await);
    rows.row(ErrorReason::PhoneNumberBanned, client.start_phone_login(start(phone(17))).await);
    spoil(world, None, "auth.sendCode", "PHONE_NUMBER_FLOOD");
    rows.row(ErrorReason::PhoneNumberFlood, client.start_phone_login(start(phone(65))).await);
    rows.row(ErrorReason::LoginEmailRequired, client.start_phone_login(start(phone(72))).await);
    rows.row(ErrorReason::LoginPaymentRequired, client.start_phone_login(start(phone(73))).await);

    rows.row(ErrorReason::LoginNotFound, client.submit_login_code(enter(&world.id(), "12345")).await);
    let login = world.start_login(world.owner, 66).await?.id;
    rows.row(ErrorReason::LoginUnderWay, client.start_phone_login(start(phone(66))).await);
    rows.row(ErrorReason::LoginCodeInvalid, client.submit_login_code(enter(&login, "1")).await);
    let request = pb::SubmitLoginPasswordRequest {
        request_id: world.id(),
        login_id: login.clone(),
        password: "too early".to_owned(),
    };
    rows.row(ErrorReason::LoginStateWrong, client.submit_login_password(request).await);
    spoil(world, None, "auth.signIn", "PHONE_CODE_EXPIRED");
    rows.row(ErrorReason::LoginCodeExpired, client.submit_login_code(enter(&login, "12345")).await);

    // A number that nobody has: Telegram says so only after the code.
    let number = phone(99);
    let login = client.start_phone_login(start(number.clone())).await?.into_inner().login.context("no login")?.id;
    let code = world.handle().login_code(&number)?;
    rows.row(ErrorReason::LoginSignUpRequired, client.submit_login_code(enter(&login, &code)).await);

    world.connect(world.owner, 61).await?;
    let login = world.start_login(world.stranger, 61).await?.id;
    let code = world.handle().login_code(&phone(61))?;
    rows.row(
        ErrorReason::AlreadyConnected,
        world.integration(world.stranger).submit_login_code(enter(&login, &code)).await,
    );
    Ok(())
}

/// A login that was not finished in time.
pub async fn expire(world: &World, rows: &mut Rows) -> anyhow::Result<()> {
    let login_id = world.start_login(world.owner, 67).await?.id;
    let mut client = world.integration(world.owner);
    wait::until("the end of the login", PATIENCE, async || {
        let answer = client.get_login(pb::GetLoginRequest { login_id: login_id.clone() }).await.ok()?;
        (answer.into_inner().login?.state() == pb::login::State::Expired).then_some(())
    })
    .await?;
    let request = pb::SubmitLoginCodeRequest { request_id: world.id(), login_id, code: "12345".to_owned() };
    rows.row(ErrorReason::LoginExpired, world.integration(world.owner).submit_login_code(request).await);
    Ok(())
}

async fn passwords(world: &World, rows: &mut Rows) -> anyhow::Result<()> {
    let mut client = world.integration(world.owner);
    let login = world.start_login(world.owner, 69).await?.id;
    world.enter_code(world.owner, 69, &login).await?;
    let enter = |password: &str| pb::SubmitLoginPasswordRequest {
        request_id: world.id(),
        login_id: login.clone(),
        password: password.to_owned(),
    };
    rows.row(ErrorReason::LoginPasswordWrong, client.submit_login_password(enter("wrong")).await);
    spoil(world, None, "auth.checkPassword", "FLOOD_WAIT_30");
    rows.row(ErrorReason::LoginPasswordFlood, client.submit_login_password(enter(PASSWORD)).await);
    Ok(())
}

async fn accounts(world: &World, rows: &mut Rows) -> anyhow::Result<()> {
    let mut client = world.integration(world.owner);
    rows.row(ErrorReason::AccountNotFound, client.get_account(pb::GetAccountRequest { account_id: world.id() }).await);
    let account_id = world.connect(world.owner, 62).await?;
    let request = pb::UpdateAccountRequest {
        request_id: world.id(),
        account_id: account_id.clone(),
        label: "new".to_owned(),
        update_mask: Some(prost_types::FieldMask { paths: vec!["label".to_owned()] }),
        etag: "old".to_owned(),
        ..Default::default()
    };
    rows.row(ErrorReason::EtagMismatch, client.update_account(request).await);
    // Telegram does not take the logout, so the account stays until it does.
    let filter = FaultFilter { account: Some(62), method: Some("auth.logOut".to_owned()), ..Default::default() };
    world.handle().inject_fault(Fault::always(filter, FaultKind::DropBeforeEffect));
    let request = pb::DeleteAccountRequest { request_id: world.id(), account_id: account_id.clone() };
    client.delete_account(request).await?;
    let request = pb::PauseAccountRequest { request_id: world.id(), account_id };
    rows.row(ErrorReason::AccountDeleting, client.pause_account(request).await);
    Ok(())
}
