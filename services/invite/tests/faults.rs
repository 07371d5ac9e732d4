//! The database fails between two steps of a process that lives on: once it
//! works again, so does the campaign, without a restart and without a second call.

mod common;

use common::world::{Reaction, World};
use common::{Service, config, on_each, outcome, people};
use sea_orm::ConnectionTrait as _;
use service_kit::db::Db;
use tgmesh_proto::invite::v1::audience::Source;
use tgmesh_proto::invite::v1::campaign::State;
use tgmesh_proto::invite::v1::*;
use tgmesh_proto::parsing::v1::{ParseResult, parse_result};
use tgmesh_proto::telegram::v1::{Outcome, PeerReference, Person};
use uuid::Uuid;

const PENDING: i32 = target::State::Pending as i32;
const CLAIMED: i32 = target::State::Claimed as i32;
const SENDING: i32 = target::State::Sending as i32;
const DONE: i32 = target::State::Done as i32;

async fn run(db: &Db, statements: &[&str]) {
    let tx = db.begin().await.unwrap();
    for statement in statements {
        tx.execute_unprepared(statement).await.unwrap();
    }
    tx.commit().await.unwrap();
}

/// Does something at each update of a target that is as told, in the same transaction.
async fn at_update(db: &Db, name: &str, when: &str, sqlite: &str, postgres: &str) {
    if db.is_sqlite() {
        run(db, &[&format!("CREATE TRIGGER {name} AFTER UPDATE ON targets WHEN {when} BEGIN {sqlite}; END")]).await;
    } else {
        let function = format!(
            "CREATE FUNCTION {name}() RETURNS trigger AS $$ BEGIN {postgres}; RETURN NULL; END $$ LANGUAGE plpgsql"
        );
        let trigger = format!(
            "CREATE TRIGGER {name} AFTER UPDATE ON targets FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION {name}()"
        );
        run(db, &[&function, &trigger]).await;
    }
}

async fn no_more(db: &Db, name: &str) {
    let on = if db.is_sqlite() { "" } else { " ON targets" };
    run(db, &[&format!("DROP TRIGGER {name}{on}")]).await;
}

/// The database fails at each update of a target that is as told.
async fn fail_when(db: &Db, when: &str) {
    at_update(db, "fault", when, "SELECT RAISE(ABORT, 'a fault')", "RAISE EXCEPTION 'a fault'").await;
}

/// A lease was had, and is given back: a turn has met the fault.
async fn until_met(world: &World) {
    world.until(|state| state.fence > 0 && state.leased.is_empty()).await;
}

/// Nobody was asked while the database failed; now all are, once.
async fn completes(service: &mut Service, campaign_id: &str, targets: usize) {
    let done = service.until_done(campaign_id).await;
    assert_eq!(outcome(&done, Outcome::Invited), i64::try_from(targets).unwrap());
    service.world.nobody_twice();
    assert_eq!(service.world.state().calls.len(), targets);
}

#[tokio::test]
async fn when_a_reference_is_read() {
    on_each(|db| async move {
        let mut service = Service::start(db.clone(), 1).await;
        let account_id = Uuid::from_u128(100).to_string();
        let person = Person {
            user_id: 1_000,
            peer_reference: Some(PeerReference { account_id, sealed: b"sealed".to_vec() }),
            ..Default::default()
        };
        service.world.state().results =
            vec![ParseResult { result: Some(parse_result::Result::Person(person)), ..Default::default() }];
        let mut request = service.request(&[]);
        request.audience =
            Some(Audience { source: Some(Source::ParseTaskId(Uuid::from_u128(9).to_string())), limit: 0, ..Default::default() });
        let draft = service.client.create_campaign(request).await.unwrap().into_inner().campaign.unwrap();
        // Whoever reads the reference itself fails; whether there is one can be asked.
        let broken = if db.is_sqlite() { "json('no' || hex(sealed))" } else { "(1 / (length(sealed) * 0))::text::bytea" };
        run(
            &db,
            &[
                "ALTER TABLE target_peers RENAME TO kept_peers",
                &format!(
                    "CREATE VIEW target_peers AS SELECT target_id, account_id, campaign_id, {broken} AS sealed FROM kept_peers"
                ),
            ],
        )
        .await;
        service.start_campaign(&draft.id).await;
        until_met(&service.world).await;
        run(&db, &["DROP VIEW target_peers", "ALTER TABLE kept_peers RENAME TO target_peers"]).await;
        completes(&mut service, &draft.id, 1).await;
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn when_an_attempt_is_written_down() {
    on_each(|db| async move {
        let mut service = Service::start(db.clone(), 2).await;
        let draft = service.create(&people(3)).await;
        fail_when(&db, &format!("NEW.state = {SENDING}")).await;
        service.start_campaign(&draft.id).await;
        until_met(&service.world).await;
        no_more(&db, "fault").await;
        completes(&mut service, &draft.id, 3).await;
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn when_a_target_is_given_back() {
    on_each(|db| async move {
        let mut service = Service::start(db.clone(), 1).await;
        let draft = service.create(&people(2)).await;
        // Paused at the very moment of a claim: the target has to go back.
        let paused = State::Paused as i32;
        let pause = format!("UPDATE campaigns SET state = {paused} WHERE id = NEW.campaign_id");
        at_update(&db, "pause", &format!("NEW.state = {CLAIMED}"), &pause, &pause).await;
        fail_when(&db, &format!("OLD.state = {CLAIMED} AND NEW.state = {PENDING}")).await;
        service.start_campaign(&draft.id).await;
        until_met(&service.world).await;
        no_more(&db, "pause").await;
        no_more(&db, "fault").await;
        let under_way = |campaign: &Campaign| campaign.progress.as_ref().unwrap().under_way;
        service.until(&draft.id, |campaign| campaign.state() == State::Paused && under_way(campaign) == 0).await;
        let request = ResumeCampaignRequest { request_id: service.id(), campaign_id: draft.id.clone() };
        service.client.resume_campaign(request).await.unwrap();
        completes(&mut service, &draft.id, 2).await;
        service.stop().await;
    })
    .await;
}

/// A lost answer was taken over and found out, and what was found cannot be written down.
#[tokio::test]
async fn when_a_finding_is_written_down() {
    on_each(|db| async move {
        let mut service = Service::start(db.clone(), 1).await;
        service.world.script(|_, _, _| Reaction::EffectThenUnknown);
        let draft = service.create(&people(1)).await;
        fail_when(&db, &format!("OLD.state = {SENDING} AND NEW.state = {DONE}")).await;
        service.start_campaign(&draft.id).await;
        service.world.until(|state| !state.reconciled.is_empty() && state.leased.is_empty()).await;
        no_more(&db, "fault").await;
        completes(&mut service, &draft.id, 1).await;
        service.stop().await;
    })
    .await;
}

/// What a worker has in hand is no orphan, however often somebody looks for orphans meanwhile.
#[tokio::test]
async fn what_is_in_hand_is_left_alone() {
    on_each(|db| async move {
        let mut config = config();
        config.engine.tick_ms = 1;
        let mut service = Service::start_with(config, db, World::start(3).await).await;
        let draft = service.create(&people(100)).await;
        service.start_campaign(&draft.id).await;
        completes(&mut service, &draft.id, 100).await;
        assert!(service.world.state().reconciled.is_empty(), "a call on the wire was taken for a lost one");
        service.stop().await;
    })
    .await;
}
