//! Kill tests: real processes, `kill -9` in each named window, and the work
//! completes by itself. What happened is told by the emulator alone.

mod kill_support;
mod logins;

use std::panic::Location;

use anyhow::{Context as _, ensure};
use kill_support::stage::{Settings, Stage};
use kill_support::world::World;
use kill_support::{Service, Window, campaign, judge, login, parse};

const ACCOUNTS: i64 = 6;

fn settings() -> Settings {
    let world = World { accounts: ACCOUNTS, secret_accounts: 0, people: 800, usernames: 100.0, others: 0.0 };
    Settings { world, invite_interval_ms: 300, login_life_s: 60, postgres: false }
}

/// The same with PostgreSQL, where a dead process leaves its locks to the server.
fn on_postgresql(settings: Settings) -> Settings {
    Settings { postgres: true, ..settings }
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
    let id = campaign::start(stage, campaign::people(stage, targets).await?).await?;
    running_campaign_killed(stage, &id, windows, times, targets).await
}

async fn running_campaign_killed(
    stage: &mut Stage,
    id: &str,
    windows: &[(Service, Window)],
    times: usize,
    targets: usize,
) -> anyhow::Result<()> {
    for turn in 0..times {
        for (service, window) in windows {
            let before = stage.kills.of(*service, *window);
            campaign::kill_in(stage, *service, *window, turn).await?;
            ensure!(stage.kills.of(*service, *window) == before + 1, "{} {window}", service.name());
        }
    }
    stage.say("the last kill is over");
    campaign::finish(stage, id).await?;
    stage.say("completed");
    campaign::at_rest(stage).await?;
    let (claims, record) = (campaign::claims(stage, id).await?, campaign::record(stage).await?);
    let broken = judge::campaign(&claims, &record);
    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    ensure!(claims.targets.len() == targets, "{} of {targets} targets are there", claims.targets.len());
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

#[test]
fn long_a_campaign_survives_on_postgresql() {
    let windows: Vec<(Service, Window)> = OF_INVITE.into_iter().chain(OF_INTEGRATION).collect();
    run(on_postgresql(settings()), async |stage| campaign_killed(stage, &windows, 2, 150).await);
}

/// The people are those that a task has found; processes die while they become targets, and after.
async fn campaign_of_a_task_killed(stage: &mut Stage) -> anyhow::Result<()> {
    let targets = 90;
    login::all(stage, ACCOUNTS).await?;
    let task = parse::start(stage).await?;
    parse::finish(stage, &task).await?;
    let id = campaign::start_killed(stage, campaign::found_by(&task, targets)?).await?;
    let windows: Vec<(Service, Window)> = OF_INVITE.into_iter().chain(OF_INTEGRATION).collect();
    running_campaign_killed(stage, &id, &windows, 1, targets).await
}

#[test]
fn long_a_campaign_of_a_task_survives() {
    run(settings(), campaign_of_a_task_killed);
}

#[test]
fn long_a_campaign_of_a_task_survives_on_postgresql() {
    run(on_postgresql(settings()), campaign_of_a_task_killed);
}

/// A task whose processes are killed so often in each of these windows; others
/// follow it where it comes to its end too early.
async fn task_killed(stage: &mut Stage, windows: &[(Service, Window)], times: usize) -> anyhow::Result<()> {
    login::all(stage, ACCOUNTS).await?;
    let mut tasks = vec![parse::start(stage).await?];
    for turn in 0..times {
        for (service, window) in windows {
            let current = tasks.last().context("no task")?;
            if parse::is_over(stage, current, *window).await? {
                parse::finish(stage, current).await?;
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

#[test]
fn long_parsing_survives_on_postgresql() {
    run(on_postgresql(parse_settings()), async |stage| task_killed(stage, &OF_PARSING, 2).await);
}
