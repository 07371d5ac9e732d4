//! Kill tests: real processes, `kill -9` in each named window, and the work
//! completes by itself. What happened is told by the emulator alone.

mod kill_support;

use std::panic::Location;

use anyhow::{Context as _, ensure};
use kill_support::brake::Where;
use kill_support::stage::{Settings, Stage};
use kill_support::world::{FIRST_ACCOUNT, FIRST_SECRET, World};
use kill_support::{Service, Window, campaign, judge, login, parse};
use tgmesh_proto::integration::v1::login::State;

const ACCOUNTS: i64 = 6;

fn settings() -> Settings {
    let world = World { accounts: ACCOUNTS, secret_accounts: 0, people: 800, usernames: 100.0, others: 0.0 };
    Settings { world, invite_interval_ms: 300, login_life_s: 60, postgres: false }
}

/// Runs a test; what the processes wrote is kept when it fails.
#[track_caller]
fn run(settings: Settings, test: impl AsyncFnOnce(&mut Stage) -> anyhow::Result<()>) {
    let place = Location::caller();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = runtime.expect("a runtime").block_on(async {
        let mut stage = Stage::set(settings).await?;
        let result = test(&mut stage).await;
        let title = format!("{}:{}", place.file(), place.line());
        stage.kills.print(&title);
        result.with_context(|| format!("the logs are in {}", stage.keep_logs().display()))
    });
    if let Err(error) = result {
        panic!("{error:#}");
    }
}

/// A campaign whose processes are killed so often in each of these windows.
async fn campaign_killed(
    stage: &mut Stage,
    windows: &[(Service, Window)],
    times: usize,
    targets: usize,
) -> anyhow::Result<()> {
    login::all(stage, ACCOUNTS).await?;
    let id = campaign::start(stage, targets).await?;
    for turn in 0..times {
        for (service, window) in windows {
            campaign::kill_in(stage, *service, *window, turn).await?;
        }
    }
    stage.say("the last kill is over");
    campaign::finish(stage, &id).await?;
    stage.say("completed");
    campaign::at_rest(stage).await?;
    let (claims, record) = (campaign::claims(stage, &id).await?, campaign::record(stage).await?);
    let broken = judge::campaign(&claims, &record);
    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    ensure!(claims.targets.len() == targets, "{} of {targets} targets are there", claims.targets.len());
    for (service, window) in windows {
        ensure!(stage.kills.of(*service, *window) == times, "{} {window}", service.name());
    }
    Ok(())
}

const OF_INVITE: [(Service, Window); 4] = [
    (Service::Invite, Window::Claimed),
    (Service::Invite, Window::WireBefore),
    (Service::Invite, Window::WireAfter),
    (Service::Invite, Window::Answered),
];
const OF_INTEGRATION: [(Service, Window); 4] = [
    (Service::Integration, Window::Claimed),
    (Service::Integration, Window::WireBefore),
    (Service::Integration, Window::WireAfter),
    (Service::Integration, Window::Answered),
];

#[test]
fn a_campaign_survives_each_window_once() {
    let windows: Vec<(Service, Window)> = OF_INVITE.into_iter().chain(OF_INTEGRATION).collect();
    run(settings(), async |stage| campaign_killed(stage, &windows, 1, 120).await);
}

#[test]
fn long_invite_is_killed_ten_times_in_each_window() {
    run(settings(), async |stage| campaign_killed(stage, &OF_INVITE, 10, 250).await);
}

#[test]
fn long_integration_is_killed_ten_times_in_each_window() {
    run(settings(), async |stage| campaign_killed(stage, &OF_INTEGRATION, 10, 250).await);
}

/// The same on PostgreSQL, where a dead process leaves its locks to the server.
#[test]
fn long_a_campaign_survives_on_postgresql() {
    if std::env::var_os(tgmesh_tests::database::POSTGRES_URL).is_none() {
        return;
    }
    let windows: Vec<(Service, Window)> = OF_INVITE.into_iter().chain(OF_INTEGRATION).collect();
    run(Settings { postgres: true, ..settings() }, async |stage| campaign_killed(stage, &windows, 2, 150).await);
}

/// A task whose processes are killed so often in each of these windows; others
/// follow it where it comes to its end too early.
async fn task_killed(stage: &mut Stage, windows: &[(Service, Window)], times: usize) -> anyhow::Result<()> {
    login::all(stage, ACCOUNTS).await?;
    let mut tasks = vec![parse::start(stage).await?];
    for turn in 0..times {
        for (service, window) in windows {
            let current = tasks.last().context("no task")?;
            if parse::has_ended(stage, current).await {
                tasks.push(parse::start(stage).await?);
            }
            parse::kill_in(stage, *service, *window, turn).await?;
        }
    }
    stage.say("the last kill is over");
    let expected = parse::expected(stage).await?;
    for id in &tasks {
        let task = parse::finish(stage, id).await?;
        let rows = parse::results(stage, id).await?;
        let counted = task.progress.unwrap_or_default().results;
        let broken = judge::rows(&rows, counted, &expected);
        ensure!(broken.is_empty(), "{}", broken.join("\n"));
    }
    stage.say(&format!("{} tasks completed, {} people each", tasks.len(), expected.len()));
    let broken = judge::connections(&campaign::record(stage).await?);
    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    for (service, window) in windows {
        ensure!(stage.kills.of(*service, *window) == times, "{} {window}", service.name());
    }
    Ok(())
}

fn parse_settings() -> Settings {
    let world = World { accounts: ACCOUNTS, secret_accounts: 0, people: 4_000, usernames: 60.0, others: 3.0 };
    Settings { world, ..settings() }
}

const OF_PARSING: [(Service, Window); 5] = [
    (Service::Parsing, Window::Page),
    (Service::Parsing, Window::WireBefore),
    (Service::Integration, Window::WireAfter),
    (Service::Parsing, Window::Answered),
    (Service::Parsing, Window::Claimed),
];

#[test]
fn a_task_survives_each_window_once() {
    run(parse_settings(), async |stage| task_killed(stage, &OF_PARSING, 1).await);
}

#[test]
fn long_parsing_is_killed_ten_times_in_each_window() {
    run(parse_settings(), async |stage| task_killed(stage, &OF_PARSING, 10).await);
}

fn login_settings() -> Settings {
    let world = World { accounts: ACCOUNTS, secret_accounts: 14, people: 1, usernames: 100.0, others: 0.0 };
    Settings { world, ..settings() }
}

#[test]
fn a_login_is_finished_after_a_kill_between_its_steps() {
    run(login_settings(), async |stage| {
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
            ensure!(
                (found.state(), found.password_hint.as_str()) == (State::PasswordRequired, "xkcd 936"),
                "{found:?}"
            );
            let login = login::prove(stage, &login::password(stage, &login)).await?;
            ensure!(login.state() == State::Completed, "{login:?}");
        }
        login::nothing_is_left(stage, 10).await
    });
}

/// The answer to a step is lost with the process: the step is made again.
#[test]
fn a_step_of_a_login_whose_answer_was_lost_is_made_again() {
    run(login_settings(), async |stage| {
        for (id, window) in [(FIRST_ACCOUNT, Window::WireAfter), (FIRST_ACCOUNT + 1, Window::WireBefore)] {
            let login = login::begin(stage, id).await?;
            let request = login::code(stage, id, &login).await?;
            login::hold(stage, "auth.signIn", window).await?;
            login::killed_on_the_wire(stage, window, login::enter_later(stage, &request)?).await?;
            login::go_on(stage, &login, &request.code, State::CodeRequired).await?;
        }
        for (id, window) in [(FIRST_SECRET, Window::WireAfter), (FIRST_SECRET + 1, Window::WireBefore)] {
            let login = login::begin(stage, id).await?;
            let login = login::enter(stage, &login::code(stage, id, &login).await?).await?;
            login::hold(stage, "auth.checkPassword", window).await?;
            let proof = login::prove_later(stage, &login::password(stage, &login))?;
            login::killed_on_the_wire(stage, window, proof).await?;
            login::go_on(stage, &login, "", State::PasswordRequired).await?;
        }
        login::nothing_is_left(stage, 4).await
    });
}

/// The process dies inside each transaction of a step.
#[test]
fn a_step_of_a_login_that_was_not_written_down_is_made_again() {
    let moved = |when: &'static str| Where { table: "logins", event: "UPDATE", when };
    let answered = Where { table: "requests", event: "UPDATE", when: "NEW.answer IS NOT NULL" };
    run(login_settings(), async |stage| {
        let id = FIRST_SECRET;
        for (id, at, left) in
            [(id, moved("NEW.state = 2"), State::CodeRequired), (id + 1, answered, State::CodeRequired)]
        {
            let login = login::begin(stage, id).await?;
            let request = login::code(stage, id, &login).await?;
            login::brake(stage, at).await?;
            login::killed_at_brake(stage, login::enter_later(stage, &request)?).await?;
            login::go_on(stage, &login, &request.code, left).await?;
        }
        for (id, at, left) in
            [(id + 2, moved("NEW.state = 4"), State::PasswordRequired), (id + 3, answered, State::PasswordRequired)]
        {
            let login = login::begin(stage, id).await?;
            let login = login::enter(stage, &login::code(stage, id, &login).await?).await?;
            login::brake(stage, at).await?;
            let proof = login::prove_later(stage, &login::password(stage, &login))?;
            login::killed_at_brake(stage, proof).await?;
            login::go_on(stage, &login, "", left).await?;
        }
        login::nothing_is_left(stage, 4).await
    });
}

#[test]
fn an_abandoned_login_leaves_nothing() {
    run(login_settings(), async |stage| {
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
    });
}
