//! Members per second: a parse through ParsingService into the database, against a bare loop that only counts.
//!
//! A world of 200,000 members in 20 supergroups, as Telegram shows no more than 10,000 of one. One account reads in
//! both cases, without any pause; once with answers that come at once, and once with answers that take as long as the
//! way to a data centre and back (`docs/adr/0009-members-per-second.md`).

#[path = "../tests/common/mod.rs"]
mod common;
mod support;

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use common::World;
use sea_orm::{ConnectionTrait as _, Database, Statement};
use service_kit::clock::new_id;
use service_kit::identity::Acting;
use support::bare::Bare;
use support::{median, print, rounds, say};
use telegram_emulator::{Fault, FaultFilter, FaultKind};
use tgmesh_proto::parsing::v1 as parsing;
use tgmesh_proto::telegram::v1::SpeedProfile;
use tgmesh_tests::database::{self, TestDatabase};

const CHATS: usize = 20;
const MEMBERS: usize = 10_000;
const READERS: i64 = 9_001;

/// To a data centre of Telegram and back, from a good place: its answers take at least so long.
const ROUND_TRIP: Duration = Duration::from_millis(25);

/// Nobody waits between two reads.
const WITHOUT_PAUSES: &str = "
[integration.speeds.fast]
interval_ms = 0
per_minute = 1000000
";

/// Far beyond what it takes.
const PATIENCE: Duration = Duration::from_secs(600);

fn chat(index: usize) -> String {
    format!("bench_town_{index}")
}

fn scenario() -> anyhow::Result<String> {
    let mut text = String::new();
    for id in (READERS..).take(2 * rounds() + 1) {
        writeln!(text, "[[user]]\nid = {id}\nphone = '+49 30 9100 {id}'\nfirst_name = 'Reader {id}'")?;
    }
    for index in 0..CHATS {
        let (id, name) = (7_000 + index, chat(index));
        writeln!(
            text,
            "[[chat]]\nid = {id}\nkind = 'supergroup'\ntitle = 'Town {index}'\nusername = '{name}'\ncreator = 40\n\
             [[population]]\nusers = {}\nchats = [{{ chat = {id} }}]",
            MEMBERS - 1
        )?;
    }
    Ok(text)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    measure("sqlite", &database::sqlite()?).await?;
    measure("postgresql", &database::postgres().await?).await
}

async fn measure(store: &str, database: &TestDatabase) -> anyhow::Result<()> {
    let settings = format!("{WITHOUT_PAUSES}[databases.parsing]\nurl = '{}'\n", database.url());
    let world = World::start_with(&settings, &scenario()?).await?;
    let dc = *world.emulator_info().dcs.first().context("no data centre")?;
    let mut bare = Bare::connect(world.handle(), &dc, READERS).await?;
    let mut chats = Vec::new();
    for index in 0..CHATS {
        chats.push(bare.chat(&chat(index)).await?);
    }
    let mut reader = READERS;
    for (figure, delay) in [("at_once", None), ("round_trip", Some(ROUND_TRIP))] {
        if let Some(delay) = delay {
            let filter = FaultFilter { method: Some("channels.getParticipants".to_owned()), ..FaultFilter::default() };
            let kind = FaultKind::SlowAnswer(delay);
            world.handle().inject_fault(Fault { filter, kind, skip: 0, times: None, until: None });
        }
        let (mut product, mut baseline) = (Vec::new(), Vec::new());
        for round in 0..rounds() {
            let begun = world.clock.monotonic();
            let mut counted = 0;
            for chat in &chats {
                counted += bare.count_members(chat).await?;
            }
            ensure!(counted == chats.len() * MEMBERS, "the bare loop counted {counted}");
            baseline.push(per_second(counted, world.clock.monotonic() - begun));

            // Each round has a workspace of its own, with nothing in it.
            let acting = Acting { user_id: new_id(&*world.clock), workspace_id: new_id(&*world.clock) };
            reader += 1;
            world.connect(acting, reader).await?;
            let before = rows(database).await?;
            let begun = world.clock.monotonic();
            tokio::time::timeout(PATIENCE, parse(&world, acting, chats.len())).await.context("it took too long")??;
            let took = world.clock.monotonic() - begun;
            let found = rows(database).await? - before;
            ensure!(found == counted, "{found} rows are in the database");
            product.push(per_second(found, took));
            let (ours, bare) = (product[round], baseline[round]);
            say(&format!("{store}, {figure}, round {}: {ours:.0} of {bare:.0} members/s", round + 1));
        }
        let figure = format!("parse_{store}_{figure}");
        print("members", &figure, "members/s", median(&mut product), median(&mut baseline));
    }
    world.stop().await?;
    Ok(())
}

/// Parses the first chats, by one request, and waits for the end.
async fn parse(world: &World, acting: Acting, chats: usize) -> anyhow::Result<()> {
    let request = parsing::CreateParseTasksRequest {
        request_id: world.id(),
        sources: (0..chats).map(|index| format!("@{}", chat(index))).collect(),
        kind: parsing::ParseKind::Members.into(),
        speed: SpeedProfile::Fast.into(),
        ..Default::default()
    };
    let created = world.parsing(acting).create_parse_tasks(request).await?.into_inner();
    for task in created.parse_tasks {
        let request = parsing::WatchParseTaskRequest { parse_task_id: task.id, resume_token: String::new() };
        let mut watch = world.parsing(acting).watch_parse_task(request).await?.into_inner();
        loop {
            let update = watch.message().await?.context("the watch ended early")?;
            let task = update.parse_task.context("no task")?;
            match task.state() {
                parsing::parse_task::State::Completed => break,
                parsing::parse_task::State::Failed => bail!("{}: {}", task.failure_reason, task.failure_detail),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Results in the database, asked of itself.
async fn rows(database: &TestDatabase) -> anyhow::Result<usize> {
    let connection = Database::connect(database.url()).await?;
    let count = Statement::from_string(connection.get_database_backend(), "SELECT COUNT(*) AS n FROM parse_results");
    let row = connection.query_one_raw(count).await?.context("no count")?;
    let rows: i64 = row.try_get("", "n")?;
    connection.close().await?;
    Ok(usize::try_from(rows)?)
}

fn per_second(count: usize, took: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far below what a double holds")]
    let count = count as f64;
    count / took.as_secs_f64()
}
