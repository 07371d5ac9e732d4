//! Steps of logins that a process began and did not live to answer. The database refuses what a dead process would not
//! have written; what Telegram did stays done.

use anyhow::Context as _;
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection};
use tgmesh_proto::ErrorReason;
use tgmesh_proto::integration::v1 as pb;
use tgmesh_proto::integration::v1::login::State;
use uuid::Uuid;

use crate::common::{PASSWORD, PATIENCE, World, phone};
use crate::reason;

/// The service's database, and what it refuses for now.
struct Rows(DatabaseConnection);

impl Rows {
    async fn of(world: &World) -> anyhow::Result<Self> {
        let file = world.config.data_dir.join("integration.db");
        Ok(Self(Database::connect(format!("sqlite://{}", file.display())).await?))
    }

    async fn run(&self, statement: &str) -> anyhow::Result<()> {
        self.0.execute_unprepared(statement).await?;
        Ok(())
    }

    /// Refuses this, and that the request is forgotten: what is left is what a process leaves that dies before it.
    async fn die_at(&self, event: &str) -> anyhow::Result<()> {
        self.run(&format!("CREATE TRIGGER died BEFORE {event} BEGIN SELECT RAISE(ABORT, 'died'); END")).await?;
        self.run("CREATE TRIGGER kept BEFORE DELETE ON requests BEGIN SELECT RAISE(ABORT, 'died'); END").await
    }

    /// Another process starts: what was begun belongs to one that gives no sign of life any more.
    async fn another_process(&self) -> anyhow::Result<()> {
        self.run("DROP TRIGGER died").await?;
        self.run("DROP TRIGGER kept").await?;
        let dead = Uuid::from_u128(1).simple();
        self.run(&format!("UPDATE requests SET process = x'{dead}' WHERE answer IS NULL")).await
    }
}

/// Where a process dies: before the effect is written down.
const EFFECT: &str = "UPDATE ON logins WHEN NEW.state <> OLD.state";
/// And before the answer is.
const ANSWER: &str = "UPDATE ON requests WHEN NEW.answer IS NOT NULL";

async fn state(world: &World, login: &pb::Login) -> anyhow::Result<State> {
    let request = pb::GetLoginRequest { login_id: login.id.clone() };
    let shown = world.integration(world.owner).get_login(request).await?.into_inner();
    Ok(shown.login.context("no login")?.state())
}

/// Enters a code, dies at this place, and enters it again with the same request.
async fn code_is_repeated(user: i64, place: &str, expected: State) -> anyhow::Result<()> {
    let world = World::start().await?;
    let rows = Rows::of(&world).await?;
    let login = world.start_login(world.owner, user).await?;
    let code = world.handle().login_code(&phone(user))?;
    let submit = pb::SubmitLoginCodeRequest { request_id: world.id(), login_id: login.id.clone(), code };
    let mut client = world.integration(world.owner);
    rows.die_at(place).await?;
    client.submit_login_code(submit.clone()).await.expect_err("it died");
    assert_eq!(state(&world, &login).await?, State::CodeRequired, "the effect was stored without its answer");
    rows.another_process().await?;
    let answer = tokio::time::timeout(PATIENCE, client.submit_login_code(submit.clone())).await??.into_inner();
    assert_eq!(answer.login.as_ref().context("no login")?.state(), expected);
    assert_eq!(client.submit_login_code(submit).await?.into_inner(), answer);
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_code_whose_effect_was_not_written_down_is_answered_when_it_is_repeated() -> anyhow::Result<()> {
    code_is_repeated(61, EFFECT, State::Completed).await
}

#[tokio::test]
async fn a_code_whose_answer_was_not_written_down_is_answered_when_it_is_repeated() -> anyhow::Result<()> {
    code_is_repeated(61, ANSWER, State::Completed).await
}

#[tokio::test]
async fn a_demand_for_the_password_is_answered_when_the_code_is_repeated() -> anyhow::Result<()> {
    code_is_repeated(69, EFFECT, State::PasswordRequired).await
}

/// Enters the password, dies at this place, and enters it again with the same request.
async fn password_is_repeated(place: &str) -> anyhow::Result<()> {
    let world = World::start().await?;
    let rows = Rows::of(&world).await?;
    let login = world.start_login(world.owner, 69).await?;
    let login = world.enter_code(world.owner, 69, &login.id).await?;
    let submit = pb::SubmitLoginPasswordRequest {
        request_id: world.id(),
        login_id: login.id.clone(),
        password: PASSWORD.to_owned(),
    };
    let mut client = world.integration(world.owner);
    rows.die_at(place).await?;
    client.submit_login_password(submit.clone()).await.expect_err("it died");
    assert_eq!(state(&world, &login).await?, State::PasswordRequired, "the effect was stored without its answer");
    rows.another_process().await?;
    let answer = tokio::time::timeout(PATIENCE, client.submit_login_password(submit.clone())).await??.into_inner();
    assert_eq!(answer.login.as_ref().context("no login")?.state(), State::Completed);
    assert_eq!(client.submit_login_password(submit).await?.into_inner(), answer);
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_password_whose_effect_was_not_written_down_is_answered_when_it_is_repeated() -> anyhow::Result<()> {
    password_is_repeated(EFFECT).await
}

#[tokio::test]
async fn a_password_whose_answer_was_not_written_down_is_answered_when_it_is_repeated() -> anyhow::Result<()> {
    password_is_repeated(ANSWER).await
}

#[tokio::test]
async fn a_request_for_a_code_is_made_again() -> anyhow::Result<()> {
    let world = World::start().await?;
    let rows = Rows::of(&world).await?;
    let start = pb::StartPhoneLoginRequest { request_id: world.id(), phone: phone(61) };
    let mut client = world.integration(world.owner);
    rows.die_at(ANSWER).await?;
    client.start_phone_login(start.clone()).await.expect_err("it died");
    rows.another_process().await?;
    let answer = tokio::time::timeout(PATIENCE, client.start_phone_login(start.clone())).await??.into_inner();
    assert_eq!(client.start_phone_login(start).await?.into_inner(), answer);
    let login = answer.login.context("no login")?;
    assert_eq!(world.enter_code(world.owner, 61, &login.id).await?.state(), State::Completed);
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_qr_code_that_was_scanned_before_the_process_died_is_not_shown_again() -> anyhow::Result<()> {
    let world = World::start().await?;
    let rows = Rows::of(&world).await?;
    for (user, expected) in [(61, State::Completed), (69, State::PasswordRequired)] {
        let start = pb::StartQrLoginRequest { request_id: world.id() };
        let mut client = world.integration(world.owner);
        let mut events = client.start_qr_login(start.clone()).await?.into_inner();
        let code = events.message().await?.context("no event")?.qr_code.context("no code")?;
        rows.die_at(EFFECT).await?;
        world.handle().accept_login_token(&phone(user), &code.link)?;
        while tokio::time::timeout(PATIENCE, events.message()).await?.is_ok_and(|event| event.is_some()) {}
        rows.another_process().await?;
        let mut events = client.start_qr_login(start).await?.into_inner();
        let event = tokio::time::timeout(PATIENCE, events.message()).await??.context("no event")?;
        assert_eq!(event.login.context("no login")?.state(), expected);
    }
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_key_that_telegram_has_forgotten_ends_the_login() -> anyhow::Result<()> {
    use telegram_emulator::{Fault, FaultFilter, FaultKind, RpcError};
    let world = World::start().await?;
    let login = world.start_login(world.owner, 61).await?;
    let filter = FaultFilter { method: Some("auth.signIn".to_owned()), ..Default::default() };
    world.handle().inject_fault(Fault::once(filter, FaultKind::Error(RpcError::by_name("AUTH_KEY_UNREGISTERED"))));
    let submit =
        pb::SubmitLoginCodeRequest { request_id: world.id(), login_id: login.id.clone(), code: "1".to_owned() };
    let mut client = world.integration(world.owner);
    assert_eq!(reason(client.submit_login_code(submit.clone()).await), Some(ErrorReason::LoginExpired));
    assert_eq!(reason(client.submit_login_code(submit).await), Some(ErrorReason::LoginExpired));
    assert_eq!(state(&world, &login).await?, State::Expired);
    // It is not in the way of the login that the error advises to start.
    let again = world.start_login(world.owner, 61).await?;
    assert_eq!(world.enter_code(world.owner, 61, &again.id).await?.state(), State::Completed);
    world.stop().await?;
    Ok(())
}
