//! Calls whose effect is elsewhere: who holds one, and who may take it over.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use sea_orm::EntityTrait as _;
use service_kit::clock::ManualClock;
use service_kit::identity::Identity;
use service_kit::requests::{HELD, Opened, Past, Requests, Slot, entity};
use service_kit::sealing::Sealer;
use service_kit::shutdown::Shutdown;
use tgmesh_proto::integration::v1::{CheckAccountRequest, CheckAccountResponse};
use tgmesh_tests::wait;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::kit::World;

const METHOD: &str = "CheckAccount";
const PATIENCE: Duration = Duration::from_secs(20);

fn request() -> CheckAccountRequest {
    CheckAccountRequest { request_id: Uuid::from_u128(7).to_string(), account_id: Uuid::from_u128(8).to_string() }
}

fn answer(issue: &str) -> CheckAccountResponse {
    CheckAccountResponse { issues: vec![issue.to_owned()], account: None }
}

/// A process with a clock of its own: what it does by the clock it does not do
/// while that stands still, as if it hung.
fn process(world: &World, clock: &Arc<ManualClock>) -> Requests {
    let sealer = Sealer::new(&[vec![7; 32]]).expect("a key");
    let requests = Requests::new(world.db.clone(), clock.clone(), sealer);
    let beside = requests.clone();
    tokio::spawn(async move { beside.hold(&Shutdown::new()).await });
    requests
}

async fn open(requests: &Requests, who: &Identity) -> anyhow::Result<Opened<CheckAccountResponse>> {
    Ok(requests.open(who, METHOD, &request()).await?)
}

async fn begin(requests: &Requests, who: &Identity) -> anyhow::Result<Slot> {
    match open(requests, who).await? {
        Opened::New(slot) => Ok(slot),
        other => anyhow::bail!("{other:?}"),
    }
}

fn open_later(requests: &Requests, who: &Identity) -> JoinHandle<anyhow::Result<Opened<CheckAccountResponse>>> {
    let (requests, who) = (requests.clone(), who.clone());
    tokio::spawn(async move { open(&requests, &who).await })
}

/// Lets time pass, a little at a time, until a call is answered.
async fn pass_until<T>(world: &World, call: JoinHandle<anyhow::Result<T>>) -> anyhow::Result<T> {
    let over = wait::until("the call", PATIENCE, async || {
        world.pass(HELD / 50);
        call.is_finished().then_some(())
    });
    over.await?;
    call.await?
}

/// What a dead process left is taken over when its hold is over, and not before.
pub async fn a_dead_process_is_followed(world: World) -> anyhow::Result<()> {
    let (dead, living) = (process(&world, &world.clock), process(&world, &world.clock));
    drop(begin(&dead, &world.who).await?);
    let begun = world.now();
    let taken = pass_until(&world, open_later(&living, &world.who)).await?;
    anyhow::ensure!(matches!(taken, Opened::Interrupted(_)), "{taken:?}");
    anyhow::ensure!(world.now().since(begun) >= HELD, "taken after {:?}", world.now().since(begun));
    // And only once: for a third process it is held again.
    let third = open_later(&process(&world, &world.clock), &world.who);
    let Opened::Interrupted(slot) = taken else { anyhow::bail!("not taken") };
    slot.answer(world.db.conn(), &answer("taken over")).await?;
    drop(slot);
    let repeated = pass_until(&world, third).await?;
    anyhow::ensure!(matches!(&repeated, Opened::Repeat(found) if *found == answer("taken over")), "{repeated:?}");
    Ok(())
}

/// What a living process works on is waited for, however long it takes.
pub async fn a_living_process_is_waited_for(world: World) -> anyhow::Result<()> {
    let (busy, other) = (process(&world, &world.clock), process(&world, &world.clock));
    let slot = begin(&busy, &world.who).await?;
    let twin = open_later(&other, &world.who);
    pass_while_held(&world).await?;
    anyhow::ensure!(!twin.is_finished(), "a call under way was taken over");
    slot.answer(world.db.conn(), &answer("slow")).await?;
    drop(slot);
    let repeated = pass_until(&world, twin).await?;
    anyhow::ensure!(matches!(&repeated, Opened::Repeat(found) if *found == answer("slow")), "{repeated:?}");
    Ok(())
}

/// Whoever was taken over cannot answer any more, nor forget what is another's.
pub async fn who_was_taken_over_cannot_answer(world: World) -> anyhow::Result<()> {
    let hung = process(&world, &ManualClock::new(world.now()));
    let living = process(&world, &world.clock);
    let late = begin(&hung, &world.who).await?;
    let taken = pass_until(&world, open_later(&living, &world.who)).await?;
    let Opened::Interrupted(slot) = taken else { anyhow::bail!("{taken:?}") };
    anyhow::ensure!(late.answer(world.db.conn(), &answer("late")).await.is_err(), "two processes answered one call");
    late.forget(world.db.conn()).await?;
    slot.answer(world.db.conn(), &answer("in time")).await?;
    drop(slot);
    let repeated = open(&living, &world.who).await?;
    anyhow::ensure!(matches!(&repeated, Opened::Repeat(found) if *found == answer("in time")), "{repeated:?}");
    Ok(())
}

/// What this process began and has no longer in hand is its own to take up, at once.
pub async fn what_is_not_in_hand_is_taken_up_at_once(world: World) -> anyhow::Result<()> {
    let requests = process(&world, &world.clock);
    drop(begin(&requests, &world.who).await?);
    let again = tokio::time::timeout(PATIENCE, open(&requests, &world.who)).await??;
    anyhow::ensure!(matches!(again, Opened::Interrupted(_)), "{again:?}");
    Ok(())
}

/// Who asks what became of a call learns it once nobody works on it any more.
pub async fn the_past_is_told_when_it_is_over(world: World) -> anyhow::Result<()> {
    let (busy, other) = (process(&world, &world.clock), process(&world, &world.clock));
    let slot = begin(&busy, &world.who).await?;
    let asked = {
        let (other, who) = (other.clone(), world.who.clone());
        let id = slot.request_id();
        tokio::spawn(async move { Ok(other.past::<CheckAccountResponse>(&who, METHOD, id).await?) })
    };
    pass_while_held(&world).await?;
    anyhow::ensure!(!asked.is_finished(), "a call under way was told as past");
    drop(slot);
    let begun = world.now();
    let past = pass_until(&world, asked).await?;
    anyhow::ensure!(matches!(past, Past::Unfinished), "{past:?}");
    anyhow::ensure!(world.now().since(begun) >= HELD - HELD / 10, "told after {:?}", world.now().since(begun));
    Ok(())
}

/// Lets several times pass for which a call is held, so that its process says each time that it lives.
async fn pass_while_held(world: &World) -> anyhow::Result<()> {
    for _ in 0..20 {
        let before = held_until(world).await?;
        world.pass(HELD / 3);
        let renewed =
            wait::until("the renewal", PATIENCE, async || (held_until(world).await.ok()? > before).then_some(()));
        renewed.await?;
    }
    Ok(())
}

async fn held_until(world: &World) -> anyhow::Result<i64> {
    Ok(entity::Entity::find().one(world.db.conn()).await?.context("no call")?.held_until_at)
}
