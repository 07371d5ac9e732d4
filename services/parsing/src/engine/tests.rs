//! Claims, fences and commits, on both databases.

use std::time::Duration;

use sea_orm::EntityTrait as _;
use service_kit::{Clock as _, Time};
use tgmesh_proto::parsing::v1::parse_task::State;
use tgmesh_proto::parsing::v1::skip_count::Reason;
use tgmesh_proto::parsing::v1::{ParseFilter, waiting};
use uuid::Uuid;

use super::batch::Batch;
use super::commit;
use super::store::{self, Lost, Wait};
use crate::results::store::Sighting;
use crate::tasks::entity::{Entity, Model};
use crate::tasks::progress::Skipped;
use crate::tasks::state::Event;
use crate::testing::{World, at_least, authors_task, on_both_databases, person, task_of};
use crate::{contacts, results, tasks};

const TTL: Duration = Duration::from_secs(6);
const OWNER: u128 = 77;
const ANOTHER: u128 = 78;

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// Stores a task and claims it.
async fn claimed(world: &World, task: Model) -> anyhow::Result<Model> {
    tasks::store::insert(world.db.conn(), &[task]).await?;
    let mut tasks = claim(world, OWNER, &[], TTL).await?;
    Ok(tasks.pop().expect("the task is free"))
}

async fn claim(world: &World, engine: u128, here: &[Uuid], ttl: Duration) -> anyhow::Result<Vec<Model>> {
    Ok(store::claim(&world.db, id(engine), here, world.clock.now(), ttl, 10).await?)
}

async fn stored(world: &World, task: &Model) -> anyhow::Result<Model> {
    Ok(Entity::find_by_id(task.id).one(world.db.conn()).await?.expect("the task is there"))
}

fn met(user_id: i64, account: u128) -> Sighting {
    Sighting { person: person(user_id, account), activity: 0, last_active_at: None, skip: None }
}

fn wrote(user_id: i64, activity: i32, at: i64) -> Sighting {
    Sighting { activity, last_active_at: Some(Time::from_secs(at)), ..met(user_id, 9) }
}

fn members(cursor: u8, people: Vec<Sighting>) -> Batch {
    Batch { cursor: vec![cursor], read: people.len() as i64, requests: 1, total: Some(100), people, ..Batch::default() }
}

async fn store_batch(world: &World, task: &mut Model, filter: &ParseFilter, batch: &Batch) -> Result<(), Lost> {
    commit::batch(&world.db, &world.shared_clock(), task, filter, batch, Duration::from_millis(250)).await
}

async fn shown(world: &World, task: &Model) -> anyhow::Result<Vec<results::entity::Model>> {
    Ok(results::store::after(world.db.conn(), task.workspace_id, task.id, 0, "", 10_000).await?)
}

async fn tasks_are_taken_by_priority_and_age(world: World) -> anyhow::Result<()> {
    let rows = [(1, 3, 50), (2, 1, 90), (3, 3, 40), (4, 2, 80)].map(|(number, priority, created_at)| Model {
        priority,
        created_at,
        ..task_of(1, number)
    });
    tasks::store::insert(world.db.conn(), &rows).await?;
    let now = world.clock.now();
    let first = store::claim(&world.db, id(OWNER), &[], now, TTL, 3).await?;
    assert_eq!(first.iter().map(|task| task.id.as_u128()).collect::<Vec<_>>(), [2, 4, 3]);
    assert!(first.iter().all(|task| task.state == State::Running as i32 && task.started_at == Some(now.millis())));
    let second = store::claim(&world.db, id(ANOTHER), &[], now, TTL, 3).await?;
    assert_eq!(second.iter().map(|task| task.id.as_u128()).collect::<Vec<_>>(), [1]);
    Ok(())
}

async fn a_task_is_taken_over_only_after_its_claim_ran_out(world: World) -> anyhow::Result<()> {
    let task = claimed(&world, task_of(1, 1)).await?;
    world.clock.advance(TTL - Duration::from_millis(1));
    assert!(claim(&world, ANOTHER, &[], TTL).await?.is_empty());
    store::renew(&world.db, id(OWNER), world.clock.now() + TTL).await?;
    world.clock.advance(TTL);
    assert!(claim(&world, ANOTHER, &[], TTL).await?.is_empty());
    world.clock.advance(Duration::from_millis(1));
    // What runs here is not taken over by ourselves.
    assert!(claim(&world, OWNER, &[task.id], TTL).await?.is_empty());
    let taken = claim(&world, ANOTHER, &[], TTL).await?;
    assert_eq!(taken[0].claim_epoch, task.claim_epoch + 1);
    assert_eq!(taken[0].started_at, task.started_at);
    assert!(store::held(&world.db, id(OWNER)).await?.is_empty());
    assert_eq!(store::held(&world.db, id(ANOTHER)).await?, [task.id]);
    Ok(())
}

async fn a_runner_that_was_fenced_off_changes_nothing(world: World) -> anyhow::Result<()> {
    let filter = ParseFilter::default();
    let mut old = claimed(&world, task_of(1, 1)).await?;
    world.clock.advance(TTL + Duration::from_millis(1));
    // Whether another engine takes it over, or the same one once more.
    let mut again = claim(&world, OWNER, &[], TTL).await?.remove(0);
    let batch = members(1, vec![met(1, 9)]);
    assert!(matches!(store_batch(&world, &mut old, &filter, &batch).await, Err(Lost::Fenced)));
    world.clock.advance(TTL + Duration::from_millis(1));
    let mut new = claim(&world, ANOTHER, &[], TTL).await?.remove(0);
    assert!(matches!(store_batch(&world, &mut again, &filter, &batch).await, Err(Lost::Fenced)));
    assert!(shown(&world, &new).await?.is_empty());
    assert_eq!(old.read_count, 0);
    assert!(matches!(store::release(&world.db, &old).await, Err(Lost::Fenced)));
    assert!(matches!(store::fail(&world.db, &old, "X", "x", Time::ZERO).await, Err(Lost::Fenced)));
    store_batch(&world, &mut new, &filter, &batch).await?;
    assert_eq!(shown(&world, &new).await?.len(), 1);
    Ok(())
}

async fn a_paused_task_takes_no_more_batches(world: World) -> anyhow::Result<()> {
    let filter = ParseFilter::default();
    let mut task = claimed(&world, task_of(1, 1)).await?;
    store_batch(&world, &mut task, &filter, &members(1, vec![met(1, 9)])).await?;
    let now = world.clock.now();
    tasks::store::transition(world.db.conn(), id(1), task.id, Event::Pause, now).await?;
    let late = store_batch(&world, &mut task, &filter, &members(2, vec![met(2, 9)])).await;
    assert!(matches!(late, Err(Lost::Fenced)));
    let row = stored(&world, &task).await?;
    assert_eq!((row.state, row.read_count, row.cursor), (State::Paused as i32, 1, Some(vec![1])));
    assert_eq!(shown(&world, &task).await?.len(), 1);
    assert!(claim(&world, OWNER, &[], TTL).await?.is_empty());
    tasks::store::transition(world.db.conn(), id(1), task.id, Event::Resume, now).await?;
    let again = claim(&world, OWNER, &[], TTL).await?;
    assert_eq!((again[0].read_count, again[0].cursor.clone()), (1, Some(vec![1])));
    Ok(())
}

async fn completion_never_overrides_a_cancel(world: World) -> anyhow::Result<()> {
    let mut task = claimed(&world, task_of(1, 1)).await?;
    let now = world.clock.now();
    tasks::store::transition(world.db.conn(), id(1), task.id, Event::Cancel, now).await?;
    let last = Batch { done: true, ..members(1, vec![met(1, 9)]) };
    assert!(matches!(store_batch(&world, &mut task, &ParseFilter::default(), &last).await, Err(Lost::Fenced)));
    assert_eq!(stored(&world, &task).await?.state, State::Cancelled as i32);
    Ok(())
}

async fn everybody_is_counted_and_stored_once(world: World) -> anyhow::Result<()> {
    let filter = ParseFilter::default();
    let mut task = claimed(&world, task_of(1, 1)).await?;
    let bot = |user_id| Sighting { skip: Some(Reason::Bot), ..met(user_id, 9) };
    store_batch(&world, &mut task, &filter, &members(1, vec![met(3, 9), met(1, 9), bot(8)])).await?;
    store_batch(&world, &mut task, &filter, &members(2, vec![met(1, 9), bot(8), bot(7), met(2, 9)])).await?;
    let last = Batch { done: true, ..members(3, vec![met(2, 9)]) };
    store_batch(&world, &mut task, &filter, &last).await?;

    let row = stored(&world, &task).await?;
    assert_eq!((row.read_count, row.unique_count, row.result_count, row.new_count), (8, 5, 3, 3));
    assert_eq!((row.request_count, row.work_ms, row.total), (3, 750, Some(100)));
    assert_eq!(Skipped::parse(&row.skipped).sum(), 2);
    assert_eq!((row.state, row.ended_at.is_some(), row.claim_owner), (State::Completed as i32, true, None));
    let found = shown(&world, &task).await?;
    assert_eq!(found.iter().map(|row| row.user_id).collect::<Vec<_>>(), [3, 1, 2]);
    assert_eq!(found[0].person(), person(3, 9));
    // Of those left out only that they were is kept.
    let all = results::entity::Entity::find().all(world.db.conn()).await?;
    assert!(all.iter().filter(|row| row.seq.is_none()).all(|row| row.username.is_empty() && row.sealed.is_none()));
    Ok(())
}

async fn a_contact_is_one_across_tasks(world: World) -> anyhow::Result<()> {
    let filter = ParseFilter::default();
    let mut first = claimed(&world, task_of(1, 1)).await?;
    store_batch(&world, &mut first, &filter, &members(1, vec![met(1, 9), met(2, 9)])).await?;
    world.clock.advance(Duration::from_secs(1));
    let mut second = claimed(&world, task_of(1, 2)).await?;
    let renamed =
        Sighting { person: crate::person::Person { username: "other".into(), ..person(2, 10) }, ..met(2, 10) };
    store_batch(&world, &mut second, &filter, &members(1, vec![renamed, met(3, 10)])).await?;
    let mut foreign = claimed(&world, task_of(2, 3)).await?;
    store_batch(&world, &mut foreign, &filter, &members(1, vec![met(2, 11)])).await?;

    assert_eq!((first.new_count, second.new_count, foreign.new_count), (2, 1, 1));
    let contacts = contacts::store::list(world.db.conn(), id(1), "", None, None, 10).await?;
    let mut users: Vec<i64> = contacts.iter().map(|contact| contact.user_id).collect();
    users.sort_unstable();
    assert_eq!(users, [1, 2, 3]);
    let twice = contacts.iter().find(|contact| contact.user_id == 2).expect("he is there");
    assert_eq!(twice.username, "other");
    assert!(twice.first_found_at < twice.last_found_at);
    let accounts = contacts::store::accounts_of(world.db.conn(), id(1), &[2]).await?;
    assert_eq!(accounts.iter().map(|account| account.account_id).collect::<Vec<_>>(), [id(9), id(10)]);
    let tasks = results::store::tasks_with(world.db.conn(), id(1), &[1, 2]).await?;
    assert_eq!(tasks, [(1, id(1)), (2, id(1)), (2, id(2))]);
    let of_task = contacts::store::list(world.db.conn(), id(1), "", Some(id(2)), None, 10).await?;
    assert_eq!(of_task.len(), 2);
    Ok(())
}

async fn another_account_adds_its_reference(world: World) -> anyhow::Result<()> {
    let filter = ParseFilter::default();
    let mut task = claimed(&world, authors_task(1, 1)).await?;
    store_batch(&world, &mut task, &filter, &members(1, vec![wrote(1, 1, 50)])).await?;
    let elsewhere = Sighting { person: person(1, 10), ..wrote(1, 1, 40) };
    store_batch(&world, &mut task, &filter, &members(2, vec![elsewhere])).await?;
    let accounts = contacts::store::accounts_of(world.db.conn(), id(1), &[1]).await?;
    assert_eq!(accounts.len(), 2);
    assert_eq!((task.unique_count, task.new_count), (1, 1));
    Ok(())
}

async fn a_reference_that_comes_later_is_kept(world: World) -> anyhow::Result<()> {
    let filter = ParseFilter::default();
    let mut task = claimed(&world, authors_task(1, 1)).await?;
    let without = crate::person::Person { reference: None, ..person(1, 9) };
    let bot = Sighting { skip: Some(Reason::Bot), ..wrote(2, 1, 50) };
    let first = vec![Sighting { person: without, ..wrote(1, 1, 50) }, bot.clone()];
    store_batch(&world, &mut task, &filter, &members(1, first)).await?;
    assert_eq!(shown(&world, &task).await?[0].person().reference, None);
    // The bot is left out whatever is seen of it later.
    let seen = Sighting { skip: None, ..bot };
    store_batch(&world, &mut task, &filter, &members(2, vec![wrote(1, 1, 40), seen])).await?;
    store_batch(&world, &mut task, &filter, &members(3, vec![Sighting { person: person(1, 10), ..wrote(1, 1, 30) }]))
        .await?;
    let found = shown(&world, &task).await?;
    assert_eq!((found.len(), found[0].activity, found[0].person().reference), (1, 3, person(1, 9).reference));
    let left_out = results::entity::Entity::find_by_id((task.id, 2)).one(world.db.conn()).await?.expect("it is there");
    assert_eq!((left_out.seq, left_out.sealed, left_out.activity), (None, None, 2));
    Ok(())
}

async fn activity_grows_from_batch_to_batch(world: World) -> anyhow::Result<()> {
    let filter = ParseFilter::default();
    let mut task = claimed(&world, authors_task(1, 1)).await?;
    store_batch(&world, &mut task, &filter, &members(1, vec![wrote(1, 2, 50), wrote(2, 1, 45)])).await?;
    store_batch(&world, &mut task, &filter, &members(2, vec![wrote(2, 4, 40), wrote(1, 1, 60)])).await?;
    let found = shown(&world, &task).await?;
    let activity: Vec<_> = found.iter().map(|row| (row.user_id, row.activity, row.last_active_at)).collect();
    assert_eq!(activity, [(1, 3, Some(60_000)), (2, 5, Some(45_000))]);
    Ok(())
}

async fn who_was_not_active_enough_is_left_out_at_the_end(world: World) -> anyhow::Result<()> {
    let filter = at_least(3);
    let mut task = claimed(&world, authors_task(1, 1)).await?;
    // More than are decided on at once; every second has activity enough.
    let people: Vec<Sighting> = (1..=700).map(|user| wrote(user, 1 + (user % 2) as i32, 50)).collect();
    store_batch(&world, &mut task, &filter, &members(1, people)).await?;
    let late: Vec<Sighting> = (1..=700).map(|user| wrote(user, 1, 40)).collect();
    let last = Batch { done: true, ..members(2, late) };
    store_batch(&world, &mut task, &filter, &last).await?;
    assert_eq!((task.task_state(), task.read_to_end), (State::Running, true));
    assert!(shown(&world, &task).await?.is_empty(), "nobody is a result before it is decided");
    assert_eq!((task.unique_count, task.result_count, task.new_count), (700, 0, 0));

    commit::settle(&world.db, &world.shared_clock(), &mut task, &filter).await?;
    assert_eq!((task.task_state(), task.result_count), (State::Running, 250));
    // Another engine goes on where it was.
    world.clock.advance(TTL + Duration::from_millis(1));
    let mut task = claim(&world, ANOTHER, &[], TTL).await?.remove(0);
    commit::settle(&world.db, &world.shared_clock(), &mut task, &filter).await?;
    let row = stored(&world, &task).await?;
    assert_eq!((row.task_state(), row.result_count, row.new_count), (State::Completed, 350, 350));
    assert_eq!(Skipped::parse(&row.skipped).sum(), 350);
    assert_eq!(row.unique_count, row.result_count + Skipped::parse(&row.skipped).sum());
    let found = shown(&world, &task).await?;
    assert_eq!(found.len(), 350);
    assert!(found.iter().all(|row| row.activity == 3 && row.user_id % 2 == 1));
    assert!(found.is_sorted_by_key(|row| row.user_id), "in the order they were found");
    Ok(())
}

async fn a_task_that_waits_is_left_until_then(world: World) -> anyhow::Result<()> {
    let task = claimed(&world, task_of(1, 1)).await?;
    let now = world.clock.now();
    let wait = Wait {
        reason: waiting::Reason::FloodWait,
        until: Some(now + Duration::from_secs(60)),
        detail: "telegram\0 demands a wait".into(),
    };
    store::defer(&world.db, &task, &wait, now + Duration::from_secs(30), now).await?;
    let row = stored(&world, &task).await?;
    assert_eq!((row.state, row.strikes, row.claim_owner), (State::Running as i32, 1, None));
    assert_eq!(row.waiting_until, Some((now + Duration::from_secs(60)).millis()));
    world.clock.advance(Duration::from_secs(29));
    assert!(claim(&world, OWNER, &[], TTL).await?.is_empty());
    world.clock.advance(Duration::from_secs(1));
    let mut again = claim(&world, OWNER, &[], TTL).await?.remove(0);
    assert_eq!(again.waiting_reason, waiting::Reason::FloodWait as i32, "it shows until a batch comes");
    store_batch(&world, &mut again, &ParseFilter::default(), &members(1, vec![met(1, 9)])).await?;
    let row = stored(&world, &again).await?;
    assert_eq!((row.waiting_reason, row.waiting_until, row.strikes), (0, None, 0));
    Ok(())
}

async fn engines_that_look_at_once_share_the_tasks(world: World) -> anyhow::Result<()> {
    let rows: Vec<Model> = (1..=40).map(|number| task_of(1, number)).collect();
    tasks::store::insert(world.db.conn(), &rows).await?;
    let now = world.clock.now();
    let looks = (0..8_u128).map(|engine| {
        let db = world.db.clone();
        tokio::spawn(async move { store::claim(&db, id(100 + engine), &[], now, TTL, 10).await })
    });
    let mut taken = Vec::new();
    for look in looks.collect::<Vec<_>>() {
        taken.extend(look.await??.into_iter().map(|task| task.id));
    }
    let all = taken.len();
    taken.sort_unstable();
    taken.dedup();
    assert_eq!(taken.len(), all, "no task has two engines");
    Ok(())
}

/// Whatever batches come, and however often a runner is replaced, stopped, or
/// told of a batch that is stored already: counters are what the rows say.
async fn counters_never_drift_from_the_rows(world: World) -> anyhow::Result<()> {
    for seed in 0..12_u64 {
        let mut random = Random(seed);
        let filter = if seed % 2 == 0 { at_least(3) } else { ParseFilter::default() };
        let workspace = 1 + u128::from(seed % 3);
        let mut task = claimed(&world, authors_task(workspace, 100 + u128::from(seed))).await?;
        for cursor in 0..12 {
            let people = (0..random.below(30)).map(|_| 1 + random.below(40) as i64).collect::<Vec<_>>();
            let mut met: Vec<Sighting> = Vec::new();
            for user in people {
                // A user is of one kind for ever, as at Telegram.
                let skip = (user % 5 == 0).then_some(Reason::Bot);
                if !met.iter().any(|before| before.person.user_id == user) {
                    met.push(Sighting { skip, ..wrote(user, 1 + random.below(2) as i32, 50) });
                }
            }
            let batch = members(cursor, met);
            let mut stale = task.clone();
            match random.below(4) {
                0 => {
                    world.clock.advance(TTL + Duration::from_millis(1));
                    task = claim(&world, ANOTHER, &[], TTL).await?.remove(0);
                    assert!(store_batch(&world, &mut stale, &filter, &batch).await.is_err());
                }
                1 => {
                    let now = world.clock.now();
                    tasks::store::transition(world.db.conn(), id(workspace), task.id, Event::Pause, now).await?;
                    assert!(store_batch(&world, &mut stale, &filter, &batch).await.is_err());
                    tasks::store::transition(world.db.conn(), id(workspace), task.id, Event::Resume, now).await?;
                    task = claim(&world, OWNER, &[], TTL).await?.remove(0);
                }
                _ => {}
            }
            store_batch(&world, &mut task, &filter, &batch).await?;
        }
        let last = Batch { done: true, ..members(99, vec![wrote(1, 1, 50)]) };
        store_batch(&world, &mut task, &filter, &last).await?;
        while task.task_state() == State::Running {
            commit::settle(&world.db, &world.shared_clock(), &mut task, &filter).await?;
        }
        let row = stored(&world, &task).await?;
        let (kept, left_out) = results::store::count(world.db.conn(), row.workspace_id, row.id).await?;
        assert_eq!((row.result_count, row.unique_count), (kept as i64, (kept + left_out) as i64), "seed {seed}");
        assert_eq!(Skipped::parse(&row.skipped).sum(), left_out as i64, "seed {seed}");
        let activity: i64 = shown(&world, &row).await?.iter().map(|row| i64::from(row.activity)).sum();
        assert!(activity >= row.result_count * i64::from(filter.min_activity.max(1)), "seed {seed}");
    }
    for workspace in 1..=3 {
        let contacts = contacts::store::list(world.db.conn(), id(workspace), "", None, None, 1_000).await?;
        let rows = Entity::find().all(world.db.conn()).await?;
        let new: i64 = rows.iter().filter(|task| task.workspace_id == id(workspace)).map(|task| task.new_count).sum();
        assert_eq!(contacts.len() as i64, new, "each contact was new once");
    }
    Ok(())
}

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

on_both_databases!(
    counters_never_drift_from_the_rows,
    tasks_are_taken_by_priority_and_age,
    a_task_is_taken_over_only_after_its_claim_ran_out,
    a_runner_that_was_fenced_off_changes_nothing,
    a_paused_task_takes_no_more_batches,
    completion_never_overrides_a_cancel,
    everybody_is_counted_and_stored_once,
    a_contact_is_one_across_tasks,
    another_account_adds_its_reference,
    a_reference_that_comes_later_is_kept,
    activity_grows_from_batch_to_batch,
    who_was_not_active_enough_is_left_out_at_the_end,
    a_task_that_waits_is_left_until_then,
    engines_that_look_at_once_share_the_tasks,
);
