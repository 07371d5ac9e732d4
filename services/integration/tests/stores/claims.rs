//! Claims of keys: who may have a connection with one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use sea_orm::{ConnectionTrait as _, DbBackend, EntityTrait as _, QuerySelect as _, Statement};
use service_kit::Time;
use service_kit::clock::{ManualClock, SystemClock};
use service_kit::requests::HELD;
use tgmesh_integration::connections::{Claim, Claims, SessionKey};
use tgmesh_integration::entity::key_claim;
use tgmesh_tests::wait;
use tokio::task::JoinHandle;

use crate::kit::World;

const PATIENCE: Duration = Duration::from_secs(20);

fn key(byte: u8) -> SessionKey {
    SessionKey::new(2, [byte; 256])
}

/// A process that says by its clock what it holds. It hangs while that stands still.
fn process(world: &World, clock: &Arc<ManualClock>) -> (Claims, JoinHandle<()>) {
    let claims = Claims::new(world.db.clone(), clock.clone());
    let beside = claims.clone();
    (claims, tokio::spawn(async move { beside.hold().await }))
}

fn take_later(claims: &Claims, key: SessionKey) -> JoinHandle<anyhow::Result<Claim>> {
    let claims = claims.clone();
    tokio::spawn(async move { Ok(claims.take(&key).await?) })
}

async fn now<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    Ok(tokio::time::timeout(PATIENCE, future).await?)
}

/// Lets time pass, a little at a time, until it is so.
async fn pass_until(world: &World, what: &str, mut so: impl FnMut() -> bool) -> anyhow::Result<()> {
    wait::until(what, PATIENCE, async || {
        world.pass(HELD / 50);
        so().then_some(())
    })
    .await
}

/// Lets so much time pass, a little at a time, while it is always so.
async fn passes(world: &World, time: Duration, mut so: impl FnMut() -> bool) -> anyhow::Result<()> {
    let end = world.now() + time;
    wait::until("the time to pass", PATIENCE, async || {
        world.pass(HELD / 50);
        (!so() || world.now() >= end).then_some(())
    })
    .await?;
    ensure!(so(), "{:?} before the end", end.since(world.now()));
    Ok(())
}

async fn rows(world: &World) -> anyhow::Result<Vec<key_claim::Model>> {
    Ok(key_claim::Entity::find().all(world.db.conn()).await?)
}

/// Of many that want a key at the same time one has it at a time, in one process and in two.
pub async fn a_key_has_one_holder_under_contention(world: World) -> anyhow::Result<()> {
    // By the machine's clock: a busy machine must not let claims run out.
    let (first, second) = [(); 2].map(|()| Claims::new(world.db.clone(), SystemClock::shared())).into();
    let holders = Arc::new(AtomicU32::new(0));
    let tasks: Vec<_> = (0..12)
        .map(|turn| {
            let claims: &Claims = if turn % 2 == 0 { &first } else { &second };
            let (claims, holders) = (claims.clone(), holders.clone());
            tokio::spawn(async move {
                let claim = claims.take(&key(1)).await?;
                let before = holders.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                holders.fetch_sub(1, Ordering::SeqCst);
                claim.release().await;
                ensure!(before == 0, "{before} others have the key");
                Ok(())
            })
        })
        .collect();
    for task in tasks {
        now(task).await???;
    }
    // Another key was nobody's all the while, and nothing is left of this one.
    now(second.take(&key(2))).await??.release().await;
    ensure!(rows(&world).await?.is_empty(), "a claim is left");
    Ok(())
}

/// What a living process holds is waited for; the holder hears of it, in this process and in another.
pub async fn a_holder_hears_that_its_key_is_wanted(world: World) -> anyhow::Result<()> {
    let (holder, other) = (process(&world, &world.clock).0, process(&world, &world.clock).0);
    for waiter in [&holder, &other] {
        let claim = now(holder.take(&key(1))).await??;
        let over = tokio::spawn(claim.over());
        let waiting = take_later(waiter, key(1));
        for _ in 0..30 {
            world.pass(HELD / 10);
            wait::until("the renewal", PATIENCE, async || {
                let rows = rows(&world).await.ok()?;
                let until = Time::from_millis(rows.first()?.held_until_at);
                (until.since(world.now()) > HELD / 2).then_some(())
            })
            .await?;
        }
        now(over).await?.context("the holder was not told")?;
        ensure!(claim.holds() && !waiting.is_finished(), "the key of a living process was taken");
        claim.release().await;
        pass_until(&world, "the key", || waiting.is_finished()).await?;
        waiting.await??.release().await;
    }
    Ok(())
}

/// What a dead process held is taken over when its hold is over, and not before; a holder that hangs has let go by then.
pub async fn a_dead_holder_is_followed(world: World) -> anyhow::Result<()> {
    let dead = process(&world, &world.clock);
    let claim = now(dead.0.take(&key(1))).await??;
    dead.1.abort();
    let living = process(&world, &world.clock).0;
    let begun = world.now();
    let waiting = take_later(&living, key(1));
    if world.db.is_sqlite() {
        // The file is one process's at a time: a dead one is followed when the next one starts, and not before.
        passes(&world, HELD * 3, || claim.holds() && !waiting.is_finished()).await?;
        living.recover().await?;
        pass_until(&world, "the key", || waiting.is_finished()).await?;
        ensure!(waiting.await??.holds());
        return Ok(());
    }
    pass_until(&world, "the end of the claim", || {
        assert!(!waiting.is_finished() || !claim.holds(), "two have the key");
        waiting.is_finished()
    })
    .await?;
    let passed = world.now().since(begun);
    ensure!(passed >= HELD && !claim.holds(), "taken after {passed:?}");
    let taken = waiting.await??;
    // Whoever comes back late gives nothing back that is another's.
    claim.release().await;
    ensure!(rows(&world).await?.len() == 1 && taken.holds(), "the key was given back by somebody else");
    Ok(())
}

/// A process that hung while its key was taken finds out, whatever its own clock says.
pub async fn who_was_taken_over_finds_out(world: World) -> anyhow::Result<()> {
    let late = ManualClock::new(world.now());
    let hung = process(&world, &late).0;
    let claim = now(hung.take(&key(1))).await??;
    let living = process(&world, &world.clock).0;
    let waiting = take_later(&living, key(1));
    if world.db.is_sqlite() {
        living.recover().await?;
    }
    pass_until(&world, "the end of the claim", || waiting.is_finished()).await?;
    ensure!(claim.holds(), "its clock stands still");
    late.advance(HELD / 3);
    now(claim.lost()).await?;
    ensure!(!claim.holds());
    ensure!(waiting.await??.holds());
    Ok(())
}

/// What a task dropped without giving it back is given back by its process.
pub async fn what_nobody_has_in_hand_is_given_back(world: World) -> anyhow::Result<()> {
    let claims = process(&world, &world.clock).0;
    let kept = now(claims.take(&key(1))).await??;
    drop(now(claims.take(&key(2))).await??);
    ensure!(rows(&world).await?.len() == 2);
    // Long before it would be over by itself.
    world.pass(HELD / 2);
    wait::until("the key to be given back", PATIENCE, async || (rows(&world).await.ok()?.len() == 1).then_some(()))
        .await?;
    ensure!(kept.holds());
    now(claims.take(&key(2))).await??.release().await;
    Ok(())
}

/// The store does nothing for longer than a claim lasts. Where somebody could take it over it is given up before that,
/// and can be had again after; SQLite's file is nobody else's, there it stays.
pub async fn a_store_that_stalls_costs_what_others_could_take(world: World) -> anyhow::Result<()> {
    let claims = process(&world, &world.clock).0;
    let mut claim = now(claims.take(&key(1))).await??;
    let lost = tokio::spawn(claim.over());
    let begun = world.now();
    // The turn of SQLite's only writer, and the rows.
    let stalled = world.db.begin().await?;
    key_claim::Entity::find().lock_exclusive().all(&*stalled).await?;
    if world.db.is_sqlite() {
        passes(&world, HELD * 3, || claim.holds() && !lost.is_finished()).await?;
        stalled.commit().await?;
    } else {
        pass_until(&world, "the end of the claim", || !claim.holds()).await?;
        ensure!(world.now().since(begun) < HELD, "given up after others could have taken it");
        now(lost).await??;
        passes(&world, HELD * 2, || !claim.holds()).await?;
        stalled.commit().await?;
        claim.release().await;
        claim = now(claims.take(&key(1))).await??;
    }
    // It goes on as before.
    drop(now(claims.take(&key(2))).await??);
    wait::until("the renewal", PATIENCE, async || {
        world.pass(HELD / 50);
        (rows(&world).await.ok()?.len() == 1).then_some(())
    })
    .await?;
    ensure!(claim.holds());
    Ok(())
}

/// A renewal that takes longer than the time between two is not begun anew, and counts when it is done.
pub async fn a_slow_renewal_is_not_cut_short(world: World) -> anyhow::Result<()> {
    if world.db.is_sqlite() {
        // Nothing there depends on the time that a renewal takes, nor can be asked who waits.
        return Ok(());
    }
    let claims = process(&world, &world.clock).0;
    let claim = now(claims.take(&key(1))).await??;
    for _ in 0..5 {
        let stalled = world.db.begin().await?;
        let row = key_claim::Entity::find().lock_exclusive().one(&*stalled).await?.context("no row")?;
        let renewed = Time::from_millis(row.held_until_at - i64::try_from(HELD.as_millis())?);
        wait::until("the renewal", PATIENCE, async || {
            let waits = waiters(&world).await.ok()? > 0;
            if !waits && world.now() < renewed + HELD / 2 {
                world.pass(HELD / 50);
            }
            waits.then_some(())
        })
        .await?;
        // When another one is due, and the claim not lost yet.
        world.pass_until(renewed + HELD * 3 / 4);
        // Long enough for another one to be begun.
        for _ in 0..10 {
            now(claims.take(&key(2))).await??.release().await;
        }
        ensure!(waiters(&world).await? == 1, "the renewal was begun anew");
        stalled.commit().await?;
        ensure!(claim.holds(), "lost by a slow store");
        wait::until("the end of the renewal", PATIENCE, async || {
            (rows(&world).await.ok()?.first()?.held_until_at > row.held_until_at).then_some(())
        })
        .await?;
    }
    Ok(())
}

/// How many statements wait for a row of the claims, on PostgreSQL.
async fn waiters(world: &World) -> anyhow::Result<i64> {
    let text = "SELECT count(*) AS waiters FROM pg_stat_activity \
                WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let found = world.db.conn().query_one_raw(Statement::from_string(DbBackend::Postgres, text)).await?;
    Ok(found.context("no count")?.try_get("", "waiters")?)
}
