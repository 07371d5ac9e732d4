//! Targets per second of the campaign engine without quotas, with 20 accounts, against a bare loop: the same number of
//! connections that make the same call of Telegram, and three one-row transactions a target on the same store.

#[path = "../tests/common/mod.rs"]
mod common;
mod support;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use common::World;
use sea_orm::{ConnectionTrait as _, Statement, Value};
use secrecy::SecretString;
use service_kit::db::Db;
use support::bare::{Bare, Chat};
use support::{median, print, rounds, say};
use telegram_emulator::CallFilter;
use tgmesh_proto::invite::v1 as invite;
use tgmesh_tests::database::{self, TestDatabase};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

const ACCOUNTS: i64 = 20;
const FIRST_ACCOUNT: i64 = 9_001;
const PEOPLE: usize = 1_000;
const FIRST_PERSON: i64 = 500_001;

/// Neither limits nor pauses, and no look at what became of an invite: the bare loop takes none either.
const WITHOUT_QUOTAS: &str = "
[integration.limits]
resolve_username_per_day = 'off'
[integration.limits.invite]
per_day = 'off'
per_day_and_chat = 'off'
total_per_chat = 'off'
interval = { shortest_ms = 0, longest_ms = 0 }
pause_after = 'off'
[integration.rules]
check_one_invite_in = 0
";

fn scenario() -> anyhow::Result<String> {
    let mut text = String::new();
    let accounts: Vec<i64> = (FIRST_ACCOUNT..FIRST_ACCOUNT + ACCOUNTS).collect();
    for id in &accounts {
        writeln!(text, "[[user]]\nid = {id}\nphone = '+49 30 9100 {id}'\nfirst_name = 'Worker {id}'")?;
    }
    for (id, name) in [(8_001, "bench_ours"), (8_002, "bench_theirs")] {
        writeln!(
            text,
            "[[chat]]\nid = {id}\nkind = 'supergroup'\ntitle = '{name}'\nusername = '{name}'\ncreator = 40\n\
             members = {accounts:?}"
        )?;
    }
    let users = PEOPLE * rounds();
    writeln!(text, "[[population]]\nusers = {users}\nfirst_id = {FIRST_PERSON}\nusernames = 100.0")?;
    Ok(text)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    measure("sqlite", [database::sqlite()?, database::sqlite()?, database::sqlite()?]).await?;
    let postgres = [database::postgres().await?, database::postgres().await?, database::postgres().await?];
    measure("postgresql", postgres).await
}

async fn measure(store: &str, [integration, parsing, invites]: [TestDatabase; 3]) -> anyhow::Result<()> {
    let mut settings = WITHOUT_QUOTAS.to_owned();
    for (name, database) in [("integration", &integration), ("parsing", &parsing), ("invite", &invites)] {
        writeln!(settings, "[databases.{name}]\nurl = '{}'", database.url())?;
    }
    let world = World::start_with(&settings, &scenario()?).await?;
    for user in FIRST_ACCOUNT..FIRST_ACCOUNT + ACCOUNTS {
        world.connect(world.owner, user).await?;
    }
    let mut loop_ = BareLoop::prepare(&world, &invites).await?;
    let (mut product, mut baseline) = (Vec::new(), Vec::new());
    for round in 0..rounds() {
        let first = FIRST_PERSON + i64::try_from(round * PEOPLE)?;
        let people: Vec<i64> = (first..).take(PEOPLE).collect();
        baseline.push(loop_.run(&world, &people).await?);
        product.push(campaign(&world, &people).await?);
        say(&format!("{store}, round {}: {:.0} of {:.0} targets/s", round + 1, product[round], baseline[round]));
    }
    print("campaign", &format!("engine_{store}"), "targets/s", median(&mut product), median(&mut baseline));
    drop(loop_);
    world.stop().await?;
    Ok(())
}

/// Runs a campaign that invites these people, and asks the recorder whether it did.
async fn campaign(world: &World, people: &[i64]) -> anyhow::Result<f64> {
    let names = people
        .iter()
        .map(|id| Ok(format!("@{}", world.handle().user(*id)?.username)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let request = invite::CreateCampaignRequest {
        chat: "@bench_ours".to_owned(),
        ..world.campaign_of(&names.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let created = world.invite(world.owner).create_campaign(request).await?.into_inner();
    let id = created.campaign.context("no campaign")?.id;
    let invited = || world.handle().calls(&invites(), 0, usize::MAX).len();
    let before = invited();
    let begun = world.clock.monotonic();
    world.start_campaign(world.owner, &id).await?;
    world.until_done(world.owner, &id).await?;
    let took = world.clock.monotonic() - begun;
    ensure!(invited() - before == people.len(), "{} invites reached Telegram", invited() - before);
    Ok(per_second(people.len(), took))
}

/// Invites that brought somebody in.
fn invites() -> CallFilter {
    CallFilter { method: Some("channels.inviteToChannel".to_owned()), with_effect: true, ..CallFilter::default() }
}

/// What the engine is compared with.
struct BareLoop {
    workers: Vec<Arc<Mutex<Worker>>>,
    db: Db,
}

struct Worker {
    wire: Bare,
    chat: Chat,
}

impl BareLoop {
    async fn prepare(world: &World, database: &TestDatabase) -> anyhow::Result<Self> {
        let db = Db::connect(&SecretString::from(database.url().to_owned()), 8).await?;
        db.conn()
            .execute_unprepared(
                "CREATE TABLE bench (attempt BIGINT, step BIGINT, at BIGINT, PRIMARY KEY (attempt, step))",
            )
            .await?;
        let dc = *world.emulator_info().dcs.first().context("no data centre")?;
        let mut workers = Vec::new();
        for user in FIRST_ACCOUNT..FIRST_ACCOUNT + ACCOUNTS {
            let mut wire = Bare::connect(world.handle(), &dc, user).await?;
            let chat = wire.chat("bench_theirs").await?;
            workers.push(Arc::new(Mutex::new(Worker { wire, chat })));
        }
        Ok(Self { workers, db })
    }

    /// Invites these people; each worker takes the next who is left.
    async fn run(&mut self, world: &World, people: &[i64]) -> anyhow::Result<f64> {
        let mut queue = VecDeque::new();
        for id in people {
            queue.push_back((*id, world.handle().user(*id)?.username));
        }
        let queue = Arc::new(Mutex::new(queue));
        let begun = world.clock.monotonic();
        let mut running = JoinSet::new();
        for worker in &self.workers {
            let (worker, queue, db, clock) = (worker.clone(), queue.clone(), self.db.clone(), world.clock.clone());
            running.spawn(async move {
                let mut worker = worker.lock().await;
                let Worker { wire, chat } = &mut *worker;
                loop {
                    let Some((attempt, username)) = queue.lock().await.pop_front() else {
                        return anyhow::Ok(());
                    };
                    note(&db, attempt, 1, clock.now().millis()).await?;
                    // The engine is given names, so both look them up.
                    let user = wire.user(&username).await?;
                    note(&db, attempt, 2, clock.now().millis()).await?;
                    wire.invite(chat, &user).await?;
                    note(&db, attempt, 3, clock.now().millis()).await?;
                }
            });
        }
        while let Some(ended) = running.join_next().await {
            ended??;
        }
        let took = world.clock.monotonic() - begun;
        Ok(per_second(people.len(), took))
    }
}

/// One row, in a transaction of its own.
async fn note(db: &Db, attempt: i64, step: i64, at: i64) -> anyhow::Result<()> {
    let tx = db.begin().await?;
    let values: Vec<Value> = vec![attempt.into(), step.into(), at.into()];
    let backend = tx.get_database_backend();
    tx.execute_raw(Statement::from_sql_and_values(backend, "INSERT INTO bench VALUES ($1, $2, $3)", values)).await?;
    tx.commit().await?;
    Ok(())
}

fn per_second(count: usize, took: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far below what a double holds")]
    let count = count as f64;
    count / took.as_secs_f64()
}
