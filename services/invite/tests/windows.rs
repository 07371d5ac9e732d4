//! What a dead process left behind, window by window: the rows are put into
//! the state in which `kill -9` leaves them, and the next process goes on.

mod common;

use common::world::World;
use common::{Service, config, on_each, outcome, people};
use sea_orm::Value;
use service_kit::db::Db;
use tgmesh_invite::app::execute;
use tgmesh_proto::invite::v1::*;
use tgmesh_proto::telegram::v1::{InviteToChatResponse, Outcome};
use uuid::Uuid;

const CLAIMED: i32 = target::State::Claimed as i32;
const SENDING: i32 = target::State::Sending as i32;

/// A campaign that runs and has done nothing, since there was no account; and
/// the process is gone.
async fn left_behind(db: &Db, targets: usize) -> (World, String) {
    let world = World::start(2).await;
    for account in [100, 101] {
        world.state().denied.insert(Uuid::from_u128(account), "offline");
    }
    let mut service = Service::start_in(db.clone(), world).await;
    let draft = service.create(&people(targets)).await;
    service.start_campaign(&draft.id).await;
    service.until(&draft.id, |campaign| campaign.waiting.is_some()).await;
    let world = service.kill().await;
    world.state().denied.clear();
    world.state().leased.clear();
    (world, draft.id)
}

/// Puts one target into a state, as a process that is dead now did.
async fn put(db: &Db, campaign_id: &str, seq: i64, state: i32, attempt: Option<Uuid>) {
    let campaign_id = Uuid::parse_str(campaign_id).unwrap();
    let dead = Uuid::from_u128(0xDEAD);
    let values: [Value; 6] = [
        campaign_id.into(),
        seq.into(),
        state.into(),
        dead.into(),
        attempt.into(),
        i32::from(attempt.is_some()).into(),
    ];
    let text =
        "UPDATE targets SET state = $3, owner = $4, attempt_id = $5, attempts = $6 WHERE campaign_id = $1 AND seq = $2";
    assert_eq!(execute(db.conn(), text, values).await.unwrap(), 1);
    if let Some(attempt) = attempt {
        let values: [Value; 5] =
            [attempt.into(), campaign_id.into(), seq.into(), Uuid::from_u128(100).into(), dead.into()];
        let text = "INSERT INTO executions (id, campaign_id, target_id, account_id, lease_id, result, outcome, \
                    telegram_error, began_at, trace_id, version) SELECT $1, $2, id, $4, $5, 1, 0, '', 1, '', 0 \
                    FROM targets WHERE campaign_id = $2 AND seq = $3";
        assert_eq!(execute(db.conn(), text, values).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn claimed_and_not_sent() {
    on_each(|db| async move {
        let (world, id) = left_behind(&db, 5).await;
        put(&db, &id, 0, CLAIMED, None).await;
        put(&db, &id, 3, CLAIMED, None).await;
        let mut service = Service::start_in(db, world).await;
        let done = service.until_done(&id).await;
        assert_eq!(outcome(&done, Outcome::Invited), 5);
        assert_eq!(service.world.state().calls.len(), 5);
        assert!(service.world.state().reconciled.is_empty(), "nothing was sent, so there was nothing to ask");
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn written_down_and_not_sent() {
    on_each(|db| async move {
        let (world, id) = left_behind(&db, 3).await;
        let attempt = Uuid::from_u128(7);
        put(&db, &id, 1, SENDING, Some(attempt)).await;
        let mut service = Service::start_in(db, world).await;
        let done = service.until_done(&id).await;
        assert_eq!(outcome(&done, Outcome::Invited), 3);
        assert_eq!(service.world.state().reconciled, [attempt]);
        service.world.nobody_twice();
        // The attempt that was not sent is told as such, beside the one that was.
        let request = ListTargetsRequest { campaign_id: id.clone(), search: "person_1".into(), ..Default::default() };
        let target = service.client.list_targets(request).await.unwrap().into_inner().targets.remove(0);
        assert_eq!(target.attempts, 2);
        let request = ListExecutionsRequest { campaign_id: id, target_id: target.id, ..Default::default() };
        let executions = service.client.list_executions(request).await.unwrap().into_inner().executions;
        let results: Vec<_> = executions.iter().map(Execution::result).collect();
        assert_eq!(results, [execution::Result::Outcome, execution::Result::NotSent]);
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn answered_and_not_written_down() {
    on_each(|db| async move {
        let (world, id) = left_behind(&db, 3).await;
        let (done_to, refused) = (Uuid::from_u128(7), Uuid::from_u128(8));
        put(&db, &id, 0, SENDING, Some(done_to)).await;
        put(&db, &id, 2, SENDING, Some(refused)).await;
        {
            let mut state = world.state();
            state.effects.push(("person_0".into(), done_to));
            let answer = |outcome: Outcome| InviteToChatResponse { outcome: outcome as i32, ..Default::default() };
            state.answers.insert(done_to, answer(Outcome::Invited));
            state.answers.insert(refused, answer(Outcome::UserKicked));
        }
        let mut service = Service::start_in(db, world).await;
        let done = service.until_done(&id).await;
        assert_eq!((outcome(&done, Outcome::Invited), outcome(&done, Outcome::UserKicked)), (2, 1));
        assert_eq!(service.world.state().calls.len(), 1, "what was answered is not asked again");
        service.world.nobody_twice();
        service.stop().await;
    })
    .await;
}

/// The targets of a replica that lives are its own, however long it takes.
#[tokio::test]
async fn what_belongs_to_the_living_is_left_alone() {
    on_each(|db| async move {
        let (world, id) = left_behind(&db, 2).await;
        put(&db, &id, 0, CLAIMED, None).await;
        let dead = Uuid::from_u128(0xDEAD);
        let values: [Value; 2] = [dead.into(), i64::MAX.into()];
        execute(db.conn(), "INSERT INTO processes (id, expires_at) VALUES ($1, $2)", values).await.unwrap();
        let mut service = Service::start_in(db.clone(), world).await;
        let one = service.until(&id, |campaign| outcome(campaign, Outcome::Invited) == 1).await;
        assert_eq!(one.progress.unwrap().under_way, 1);
        // Its last sign of life is over: now it is taken over.
        let values: [Value; 1] = [dead.into()];
        execute(db.conn(), "UPDATE processes SET expires_at = 1 WHERE id = $1", values).await.unwrap();
        service.until_done(&id).await;
        service.stop().await;
    })
    .await;
}

/// One account, two campaigns of one workspace: neither waits for the other's end.
#[tokio::test]
async fn campaigns_share_an_account() {
    on_each(|db| async move {
        let mut config = config();
        config.engine.fair_share_ms = 0;
        let mut service = Service::start_with(config, db, World::start(1).await).await;
        let first = service.create(&people(60)).await;
        let others: Vec<String> = (0..60).map(|number| format!("other_{number}")).collect();
        let second = service.create(&others).await;
        service.start_campaign(&first.id).await;
        service.start_campaign(&second.id).await;
        service.until_done(&first.id).await;
        service.until_done(&second.id).await;
        let turns = {
            let state = service.world.state();
            state.calls.windows(2).filter(|pair| pair[0].1[..5] != pair[1].1[..5]).count()
        };
        assert!(turns > 5, "the account changed hands only {turns} times");
        service.stop().await;
    })
    .await;
}
