//! Logins: each step, each refusal, and what is left of one that is given up.

use std::time::Duration;

use anyhow::Context as _;
use telegram_emulator::{Fault, FaultFilter, FaultKind, RpcError};
use tgmesh_proto::ErrorReason;
use tgmesh_proto::integration::v1 as pb;
use tgmesh_proto::integration::v1::login::State;

use crate::common::{PASSWORD, PATIENCE, World, phone};
use crate::reason;

#[tokio::test]
async fn a_login_by_code_connects_an_account() -> anyhow::Result<()> {
    let world = World::start().await?;
    let login = world.start_login(world.owner, 61).await?;
    assert_eq!(login.state(), State::CodeRequired);
    assert!(login.phone.ends_with("0061") && !login.phone.contains("8000"), "{}", login.phone);
    let done = world.enter_code(world.owner, 61, &login.id).await?;
    assert_eq!(done.state(), State::Completed);
    let account = done.account.context("no account")?;
    assert_eq!((account.telegram_user_id, account.username.as_str()), (61, "user_61"));
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_wrong_code_can_be_entered_again() -> anyhow::Result<()> {
    let world = World::start().await?;
    let login = world.start_login(world.owner, 61).await?;
    let wrong =
        pb::SubmitLoginCodeRequest { request_id: world.id(), login_id: login.id.clone(), code: "00000".to_owned() };
    let answer = world.integration(world.owner).submit_login_code(wrong).await;
    assert_eq!(reason(answer), Some(ErrorReason::LoginCodeInvalid));
    let done = world.enter_code(world.owner, 61, &login.id).await?;
    assert_eq!(done.state(), State::Completed);
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn the_password_is_asked_for_and_proven() -> anyhow::Result<()> {
    let world = World::start().await?;
    let login = world.start_login(world.owner, 69).await?;
    let login = world.enter_code(world.owner, 69, &login.id).await?;
    assert_eq!((login.state(), login.password_hint.as_str()), (State::PasswordRequired, "two words"));
    let mut client = world.integration(world.owner);
    let submit = |password: &str| pb::SubmitLoginPasswordRequest {
        request_id: world.id(),
        login_id: login.id.clone(),
        password: password.to_owned(),
    };
    assert_eq!(reason(client.submit_login_password(submit("wrong")).await), Some(ErrorReason::LoginPasswordWrong));
    let done = client.submit_login_password(submit(PASSWORD)).await?.into_inner().login.context("no login")?;
    assert_eq!(done.state(), State::Completed);
    // The step is over: entering a code now is refused with the state.
    let late = pb::SubmitLoginCodeRequest { request_id: world.id(), login_id: login.id.clone(), code: "1".to_owned() };
    assert_eq!(reason(client.submit_login_code(late).await), Some(ErrorReason::LoginStateWrong));
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_number_of_another_data_centre_is_followed() -> anyhow::Result<()> {
    let world = World::start().await?;
    let login = world.start_login(world.owner, 14).await?;
    let done = world.enter_code(world.owner, 14, &login.id).await?;
    assert_eq!(done.account.context("no account")?.telegram_user_id, 14);
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn each_refusal_of_a_number_has_its_reason() -> anyhow::Result<()> {
    let world = World::start().await?;
    let start = |phone: &str| pb::StartPhoneLoginRequest { request_id: world.id(), phone: phone.to_owned() };
    let mut client = world.integration(world.owner);
    assert_eq!(reason(client.start_phone_login(start("12")).await), Some(ErrorReason::FieldInvalid));
    assert_eq!(reason(client.start_phone_login(start(&phone(17))).await), Some(ErrorReason::PhoneNumberBanned));
    for (name, expected) in [
        ("PHONE_NUMBER_INVALID", ErrorReason::PhoneNumberInvalid),
        ("PHONE_NUMBER_FLOOD", ErrorReason::PhoneNumberFlood),
        ("FLOOD_WAIT_90", ErrorReason::PhoneNumberFlood),
    ] {
        let filter = FaultFilter { method: Some("auth.sendCode".to_owned()), ..Default::default() };
        world.handle().inject_fault(Fault::once(filter, FaultKind::Error(RpcError::by_name(name))));
        let refused = client.start_phone_login(start(&phone(61))).await;
        assert_eq!(reason(refused), Some(expected), "{name}");
    }
    // None of them is in the way of the next.
    assert_eq!(world.start_login(world.owner, 61).await?.state(), State::CodeRequired);
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_second_login_with_the_number_is_refused_until_the_first_is_over() -> anyhow::Result<()> {
    let world = World::start().await?;
    let first = world.start_login(world.owner, 61).await?;
    let start = pb::StartPhoneLoginRequest { request_id: world.id(), phone: phone(61) };
    let mut client = world.integration(world.owner);
    let refused = client.start_phone_login(start.clone()).await.expect_err("it is under way");
    let failure = tgmesh_proto::status::read(&refused).context("no details")?;
    assert_eq!(failure.reason, ErrorReason::LoginUnderWay);
    assert_eq!(failure.metadata.get("login_id"), Some(&first.id));
    let cancel = pb::CancelLoginRequest { request_id: world.id(), login_id: first.id.clone() };
    let cancelled = client.cancel_login(cancel).await?.into_inner().login.context("no login")?;
    assert_eq!(cancelled.state(), State::Cancelled);
    // The same request, refused before, is a new call now.
    assert_eq!(
        client.start_phone_login(start).await?.into_inner().login.context("no login")?.state(),
        State::CodeRequired
    );
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer_and_sends_no_second_code() -> anyhow::Result<()> {
    let world = World::start().await?;
    let start = pb::StartPhoneLoginRequest { request_id: world.id(), phone: phone(61) };
    let mut client = world.integration(world.owner);
    let first = client.start_phone_login(start.clone()).await?.into_inner();
    let again = client.start_phone_login(start.clone()).await?.into_inner();
    assert_eq!(first, again);
    assert_eq!(world.handle().summary().calls_by_method.get("auth.sendCode"), Some(&1));
    let other = pb::StartPhoneLoginRequest { phone: phone(62), ..start };
    assert_eq!(reason(client.start_phone_login(other).await), Some(ErrorReason::RequestIdReused));
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn an_abandoned_login_leaves_nothing() -> anyhow::Result<()> {
    let world = World::start_with("[integration.rules]\nlogin_life_s = 2\n", "").await?;
    let login = world.start_login(world.owner, 61).await?;
    let get = || pb::GetLoginRequest { login_id: login.id.clone() };
    let expired = tgmesh_tests::wait::until("the login to expire", PATIENCE, async || {
        let shown = world.integration(world.owner).get_login(get()).await.ok()?.into_inner().login?;
        (shown.state() == State::Expired).then_some(())
    });
    expired.await?;
    let code = pb::SubmitLoginCodeRequest { request_id: world.id(), login_id: login.id.clone(), code: "1".to_owned() };
    assert_eq!(reason(world.integration(world.owner).submit_login_code(code).await), Some(ErrorReason::LoginExpired));
    let closed = tgmesh_tests::wait::until("the connection to close", PATIENCE, async || {
        world.handle().connections().iter().all(|connection| connection.closed.is_some()).then_some(())
    });
    closed.await?;
    let accounts = world.integration(world.owner).list_accounts(pb::ListAccountsRequest::default()).await?.into_inner();
    assert_eq!(accounts.accounts, Vec::new());
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_qr_code_is_scanned_and_confirmed_with_the_password() -> anyhow::Result<()> {
    let world = World::start().await?;
    let mut client = world.integration(world.owner);
    let mut events = client.start_qr_login(pb::StartQrLoginRequest { request_id: world.id() }).await?.into_inner();
    let first = events.message().await?.context("no event")?;
    let code = first.qr_code.context("no code")?;
    assert!(code.link.starts_with("tg://login?token="));
    assert!(code.image_svg.contains("<svg"));
    world.handle().accept_login_token(&phone(69), &code.link)?;
    let mut last = None;
    while let Some(event) = tokio::time::timeout(PATIENCE, events.message()).await?? {
        let login = event.login.context("no login")?;
        if login.state() == State::PasswordRequired && last.is_none() {
            let submit = pb::SubmitLoginPasswordRequest {
                request_id: world.id(),
                login_id: login.id.clone(),
                password: PASSWORD.to_owned(),
            };
            client.submit_login_password(submit).await?;
        }
        last = Some(login);
    }
    let last = last.context("no event")?;
    assert_eq!((last.state(), last.account.context("no account")?.telegram_user_id), (State::Completed, 69));
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn another_workspace_cannot_take_an_account_and_a_second_login_replaces_the_session() -> anyhow::Result<()> {
    let world = World::start().await?;
    let first = world.start_login(world.owner, 61).await?;
    let first = world.enter_code(world.owner, 61, &first.id).await?.account.context("no account")?;
    let keys = world.handle().keys_of(61);

    let login = world.start_login(world.stranger, 61).await?;
    let code = world.handle().login_code(&phone(61))?;
    let submit = pb::SubmitLoginCodeRequest { request_id: world.id(), login_id: login.id.clone(), code };
    let refused = world.integration(world.stranger).submit_login_code(submit).await;
    assert_eq!(reason(refused), Some(ErrorReason::AlreadyConnected));

    let again = world.start_login(world.owner, 61).await?;
    let again = world.enter_code(world.owner, 61, &again.id).await?.account.context("no account")?;
    assert_eq!(again.id, first.id);
    // Of the sessions that were not kept, nothing is left at Telegram either.
    let logged_out = tgmesh_tests::wait::until("the old sessions to be logged out", PATIENCE, async || {
        let now = world.handle().keys_of(61);
        (now.len() == 1 && now != keys).then_some(())
    });
    logged_out.await?;
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_step_of_a_login_that_failed_is_told_why_it_did() -> anyhow::Result<()> {
    let world = World::start().await?;
    let first = world.start_login(world.owner, 61).await?;
    world.enter_code(world.owner, 61, &first.id).await?;
    let login = world.start_login(world.stranger, 61).await?;
    let submit = pb::SubmitLoginCodeRequest {
        request_id: world.id(),
        login_id: login.id.clone(),
        code: world.handle().login_code(&phone(61))?,
    };
    let mut client = world.integration(world.stranger);
    // The same request twice, and then each other step: all are told what the login says of itself.
    for _ in 0..2 {
        assert_eq!(reason(client.submit_login_code(submit.clone()).await), Some(ErrorReason::AlreadyConnected));
    }
    let shown = client.get_login(pb::GetLoginRequest { login_id: login.id.clone() }).await?.into_inner().login;
    let shown = shown.context("no login")?;
    assert_eq!((shown.state(), shown.failure_reason.as_str()), (State::Failed, "ALREADY_CONNECTED"));
    let (request_id, login_id) = (world.id(), login.id.clone());
    let submit = pb::SubmitLoginPasswordRequest { request_id, login_id, password: "any".to_owned() };
    assert_eq!(reason(client.submit_login_password(submit).await), Some(ErrorReason::AlreadyConnected));
    let resend = pb::ResendLoginCodeRequest { request_id: world.id(), login_id: login.id.clone() };
    assert_eq!(reason(client.resend_login_code(resend).await), Some(ErrorReason::AlreadyConnected));
    // One that ended otherwise still tells its state.
    let late = pb::SubmitLoginCodeRequest { request_id: world.id(), login_id: first.id, code: "1".to_owned() };
    assert_eq!(
        reason(world.integration(world.owner).submit_login_code(late).await),
        Some(ErrorReason::LoginStateWrong)
    );
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn telegram_that_is_silent_is_an_error_in_time() -> anyhow::Result<()> {
    let world = World::start_with("[integration.connections]\nconnect_timeout_s = 1\ncall_timeout_s = 1\n", "").await?;
    world.handle().inject_fault(Fault::always(FaultFilter::default(), FaultKind::Silence));
    let start = pb::StartPhoneLoginRequest { request_id: world.id(), phone: phone(61) };
    let answer =
        tokio::time::timeout(Duration::from_secs(20), world.integration(world.owner).start_phone_login(start)).await?;
    assert_eq!(reason(answer), Some(ErrorReason::TelegramUnavailable));
    world.handle().clear_faults(None);
    assert_eq!(world.start_login(world.owner, 61).await?.state(), State::CodeRequired);
    world.stop().await?;
    Ok(())
}
