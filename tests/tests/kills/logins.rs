//! Kills during logins and imports, on both stores.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use tgmesh_proto::integration::v1::login::State;

use crate::kill_support::brake::Where;
use crate::kill_support::stage::{Settings, Stage};
use crate::kill_support::world::{FIRST_ACCOUNT, FIRST_SECRET, World};
use crate::kill_support::{Service, Window, campaign, import, login, qr};
use crate::{ACCOUNTS, on_postgresql, run, settings};

fn login_settings() -> Settings {
    let world = World { accounts: ACCOUNTS, secret_accounts: 14, people: 1, usernames: 100.0, others: 0.0 };
    Settings { world, ..settings() }
}

async fn killed_between_steps(stage: &mut Stage) -> anyhow::Result<()> {
    for id in (FIRST_SECRET..).take(10) {
        let login = login::begin(stage, id).await?;
        if id % 3 == 0 {
            // Between the request for a code and the code.
            login::kill(stage).await?;
        }
        let login = login::enter(stage, &login::code(stage, id, &login).await?).await?;
        ensure!(login.state() == State::PasswordRequired, "{login:?}");
        login::kill(stage).await?;
        let found = login::get(stage, &login).await?;
        ensure!((found.state(), found.password_hint.as_str()) == (State::PasswordRequired, "xkcd 936"), "{found:?}");
        let login = login::prove(stage, &login::password(stage, &login)).await?;
        ensure!(login.state() == State::Completed, "{login:?}");
    }
    login::nothing_is_left(stage, 10).await
}

#[test]
fn a_login_is_finished_after_a_kill_between_its_steps() {
    run(login_settings(), killed_between_steps);
}

#[test]
fn long_a_login_is_finished_after_a_kill_between_its_steps_on_postgresql() {
    run(on_postgresql(login_settings()), killed_between_steps);
}

/// The answer to a step is lost with the process: the step is made again.
async fn answer_lost(stage: &mut Stage) -> anyhow::Result<()> {
    for (id, window) in [(FIRST_ACCOUNT, Window::WireAfter), (FIRST_ACCOUNT + 1, Window::WireBefore)] {
        let login = login::begin(stage, id).await?;
        let request = login::code(stage, id, &login).await?;
        login::hold(stage, "auth.signIn", window).await?;
        login::killed_on_the_wire(stage, window, login::enter_later(stage, &request)?).await?;
        let proof = login::password(stage, &login);
        login::go_on(stage, &login, State::CodeRequired, Some(&request), &proof).await?;
    }
    for (id, window) in [(FIRST_SECRET, Window::WireAfter), (FIRST_SECRET + 1, Window::WireBefore)] {
        let login = login::begin(stage, id).await?;
        let login = login::enter(stage, &login::code(stage, id, &login).await?).await?;
        login::hold(stage, "auth.checkPassword", window).await?;
        let proof = login::password(stage, &login);
        login::killed_on_the_wire(stage, window, login::prove_later(stage, &proof)?).await?;
        login::go_on(stage, &login, State::PasswordRequired, None, &proof).await?;
    }
    login::nothing_is_left(stage, 4).await
}

#[test]
fn a_step_of_a_login_whose_answer_was_lost_is_made_again() {
    run(login_settings(), answer_lost);
}

#[test]
fn long_a_step_of_a_login_whose_answer_was_lost_is_made_again_on_postgresql() {
    run(on_postgresql(login_settings()), answer_lost);
}

/// The very request whose answer was lost is answered when it is repeated: what a dead process began is taken over
/// long before the call's deadline.
async fn repeated(stage: &mut Stage) -> anyhow::Result<()> {
    for (id, window) in [(FIRST_ACCOUNT, Window::WireAfter), (FIRST_ACCOUNT + 1, Window::WireBefore)] {
        let login = login::begin(stage, id).await?;
        let request = login::code(stage, id, &login).await?;
        login::hold(stage, "auth.signIn", window).await?;
        login::killed_on_the_wire(stage, window, login::enter_later(stage, &request)?).await?;
        let again = tokio::time::timeout(Duration::from_secs(30), login::enter(stage, &request));
        let again = again.await.context("a dead process's claim was waited for")??;
        ensure!(again.state() == State::Completed, "{again:?}");
        ensure!(login::enter(stage, &request).await? == again, "a repeat was answered otherwise");
    }
    login::nothing_is_left(stage, 2).await
}

#[test]
fn a_step_of_a_login_whose_answer_was_lost_is_repeated() {
    run(login_settings(), repeated);
}

/// The process dies inside each transaction of a step, which leaves nothing of it.
async fn not_written_down(stage: &mut Stage) -> anyhow::Result<()> {
    let moved = |when: &'static str| Where { table: "logins", event: "UPDATE", when };
    let answered = Where { table: "requests", event: "UPDATE", when: "NEW.answer IS NOT NULL" };
    let id = FIRST_SECRET;
    for (id, at) in [(id, moved("NEW.state = 2")), (id + 1, answered)] {
        let login = login::begin(stage, id).await?;
        let request = login::code(stage, id, &login).await?;
        login::brake(stage, at).await?;
        login::killed_at_brake(stage, login::enter_later(stage, &request)?).await?;
        let proof = login::password(stage, &login);
        login::go_on(stage, &login, State::CodeRequired, Some(&request), &proof).await?;
    }
    for (id, at) in [(id + 2, moved("NEW.state = 4")), (id + 3, answered)] {
        let login = login::begin(stage, id).await?;
        let login = login::enter(stage, &login::code(stage, id, &login).await?).await?;
        login::brake(stage, at).await?;
        let proof = login::password(stage, &login);
        login::killed_at_brake(stage, login::prove_later(stage, &proof)?).await?;
        login::go_on(stage, &login, State::PasswordRequired, None, &proof).await?;
    }
    login::nothing_is_left(stage, 4).await
}

#[test]
fn a_step_of_a_login_that_was_not_written_down_is_made_again() {
    run(login_settings(), not_written_down);
}

#[test]
fn long_a_step_of_a_login_that_was_not_written_down_is_made_again_on_postgresql() {
    run(on_postgresql(login_settings()), not_written_down);
}

async fn abandoned(stage: &mut Stage) -> anyhow::Result<()> {
    login::all(stage, 2).await?;
    // Long enough for the steps, short enough to be waited for.
    stage.configure(8)?;
    login::kill(stage).await?;
    let mut abandoned = Vec::new();
    for id in (FIRST_SECRET..).take(6) {
        let mut login = login::begin(stage, id).await?;
        if id % 3 > 0 {
            login = login::enter(stage, &login::code(stage, id, &login).await?).await?;
            ensure!(login.state() == State::PasswordRequired, "{login:?}");
        }
        if id % 3 > 1 {
            // Telegram has authorised the key, and nobody knows.
            login::hold(stage, "auth.checkPassword", Window::WireAfter).await?;
            let proof = login::prove_later(stage, &login::password(stage, &login))?;
            login::killed_on_the_wire(stage, Window::WireAfter, proof).await?;
        } else {
            login::kill(stage).await?;
        }
        abandoned.push(login);
    }
    for login in &abandoned {
        stage
            .until("the login to expire", async |stage| {
                (login::get(stage, login).await.ok()?.state() == State::Expired).then_some(())
            })
            .await?;
    }
    login::nothing_is_left(stage, 2).await
}

#[test]
fn an_abandoned_login_leaves_nothing() {
    run(login_settings(), abandoned);
}

#[test]
fn long_an_abandoned_login_leaves_nothing_on_postgresql() {
    run(on_postgresql(login_settings()), abandoned);
}

/// Logins by QR code, with and without a password: killed before and after the scan, on the wire, in the transaction.
async fn qr_killed(stage: &mut Stage) -> anyhow::Result<()> {
    let ids: Vec<i64> = (FIRST_ACCOUNT..).take(5).chain((FIRST_SECRET..).take(4)).collect();
    for (turn, id) in ids.iter().copied().enumerate() {
        let request_id = stage.request_id();
        let mut shown = qr::show(stage, &request_id).await?;
        match turn {
            // The code is on the screen; then it is scanned while nobody listens; then that was heard.
            0 | 5 => login::kill(stage).await?,
            1 | 6 => {
                stage.kill(Service::Integration, Window::Login)?;
                shown.scan(stage, id).await?;
                stage.restart(Service::Integration).await?;
            }
            7 => {
                shown.scan(stage, id).await?;
                ensure!(shown.next().await? == State::PasswordRequired, "{:?}", shown.last);
                login::kill(stage).await?;
            }
            2 | 3 => {
                let window = if turn == 2 { Window::WireBefore } else { Window::WireAfter };
                login::hold(stage, "auth.exportLoginToken", window).await?;
                shown.scan(stage, id).await?;
                stage.held().await?;
                stage.kill(Service::Integration, window)?;
                stage.let_go().await?;
                stage.restart(Service::Integration).await?;
            }
            _ => {
                let when = if turn == 4 { "NEW.state = 4" } else { "NEW.state = 2" };
                login::brake(stage, Where { table: "logins", event: "UPDATE", when }).await?;
                shown.scan(stage, id).await?;
                campaign::at_brake(stage, Service::Integration).await?;
                stage.kill(Service::Integration, Window::Answered)?;
                stage.brake(Service::Integration)?.release().await?;
                stage.restart(Service::Integration).await?;
            }
        }
        qr::go_on(stage, &request_id, id).await.with_context(|| format!("turn {turn}"))?;
    }
    login::nothing_is_left(stage, i64::try_from(ids.len())?).await
}

#[test]
fn a_login_by_qr_code_survives_each_window() {
    run(login_settings(), qr_killed);
}

#[test]
fn long_a_login_by_qr_code_survives_each_window_on_postgresql() {
    run(on_postgresql(login_settings()), qr_killed);
}

/// An import is killed before its sessions are tried, while one is, and in the transactions that make an account of it
/// and that keep the answer; then the same file is imported again.
async fn import_killed(stage: &mut Stage) -> anyhow::Result<()> {
    let accounts = (FIRST_ACCOUNT..).take(usize::try_from(ACCOUNTS)?);
    let file = import::file(stage, accounts);
    let tried = Where { table: "ended_sessions", event: "INSERT", when: "NEW.tries = 0" };
    let connected = Where { table: "accounts", event: "INSERT", when: "NEW.paused_at IS NULL" };
    let answered = Where { table: "requests", event: "UPDATE", when: "NEW.answer IS NOT NULL" };
    for (window, at) in [
        (Window::Claimed, Some(tried)),
        (Window::WireBefore, None),
        (Window::WireAfter, None),
        (Window::Answered, Some(connected)),
        (Window::Answered, Some(answered)),
    ] {
        let request = import::request(stage, &file);
        match at {
            Some(at) => login::brake(stage, at).await?,
            None => login::hold(stage, "users.getUsers", window).await?,
        }
        let importing = import::later(stage, &request)?;
        match at {
            Some(_) => campaign::at_brake(stage, Service::Integration).await.with_context(|| window.to_string())?,
            None => drop(stage.held().await?),
        }
        stage.kill(Service::Integration, window)?;
        match at {
            Some(_) => stage.brake(Service::Integration)?.release().await?,
            None => stage.let_go().await?,
        }
        login::lost(importing).await?;
        stage.restart(Service::Integration).await?;
    }
    import::finish(stage, &import::request(stage, &file)).await?;
    // And once more: what is connected stays connected.
    import::finish(stage, &import::request(stage, &file)).await?;
    login::nothing_is_left(stage, ACCOUNTS).await
}

#[test]
fn an_import_survives_each_window() {
    run(login_settings(), import_killed);
}

#[test]
fn long_an_import_survives_each_window_on_postgresql() {
    run(on_postgresql(login_settings()), import_killed);
}

/// The judge of logins convicts what is left of one, and what is missing.
#[test]
fn the_judge_of_logins_convicts() {
    run(login_settings(), async |stage| {
        login::all(stage, 2).await?;
        login::nothing_is_left(stage, 2).await?;
        let convicted = async |stage: &Stage, accounts: i64, of: &str| {
            let told = login::nothing_is_left(stage, accounts).await.err();
            let told = told.map(|error| error.to_string()).unwrap_or_default();
            ensure!(told.contains(of), "{of} is not in {told:?}");
            Ok(())
        };
        convicted(stage, 3, "FROM sessions: 2, not 3").await?;
        // A key that is authorised, and that no account knows; then none at all.
        stage.emulated().add_key([7; 256], 2, Some(FIRST_ACCOUNT));
        convicted(stage, 2, "2 keys that are authorised").await?;
        stage.emulated().revoke_keys(FIRST_ACCOUNT, None);
        convicted(stage, 2, "0 keys that are authorised").await?;
        login::begin(stage, FIRST_SECRET).await?;
        convicted(stage, 2, "sealed IS NOT NULL: 1, not 0").await
    });
}
