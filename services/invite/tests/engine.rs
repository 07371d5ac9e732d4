//! The engine: every outcome, every limit, every way to be interrupted.

mod common;

use std::time::Duration;

use common::world::Reaction;
use common::{Service, on_each, outcome, people, reason};
use sea_orm::{ConnectionTrait as _, Statement};
use service_kit::db::Db;
use service_kit::invariants::COUNT_1;
use tgmesh_proto::ErrorReason;
use tgmesh_proto::invite::v1::campaign::State;
use tgmesh_proto::invite::v1::*;
use tgmesh_proto::telegram::v1::Outcome;
use uuid::Uuid;

#[tokio::test]
async fn a_campaign_runs_to_its_end() {
    on_each(|db| async move {
        let mut service = Service::start(db, 3).await;
        service.world.script(|user, _, _| match user {
            "person_1" => Reaction::Answer(Outcome::PrivacyRestricted),
            "person_2" => Reaction::Answer(Outcome::AlreadyMember),
            _ => Reaction::Answer(Outcome::Invited),
        });
        let draft = service.create(&people(20)).await;
        assert_eq!((draft.state(), draft.name.as_str()), (State::Draft, "Rust Berlin"));
        service.start_campaign(&draft.id).await;
        let done = service.until_done(&draft.id).await;
        assert_eq!(outcome(&done, Outcome::Invited), 18);
        assert_eq!(outcome(&done, Outcome::PrivacyRestricted), 1);
        assert_eq!(outcome(&done, Outcome::AlreadyMember), 1);
        assert!(done.end_time.is_some() && done.waiting.is_none());
        service.world.nobody_twice();
        service.world.until(|state| state.leased.is_empty()).await;
        assert!(service.world.state().most_leased > 1, "the accounts worked one after another");
        assert!(
            tgmesh_invite::engine::drift::drift(service.db.conn(), Uuid::parse_str(&draft.id).unwrap())
                .await
                .unwrap()
                .is_empty()
        );
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn limited_is_not_failed() {
    on_each(|db| async move {
        let mut service = Service::start(db, 2).await;
        // The first account is flooded at its first call; the world then keeps it back.
        let world = service.world.clone();
        service.world.script(move |_, account, _| {
            if account == Uuid::from_u128(100) {
                return Reaction::Refuse(ErrorReason::PeerFlood, None);
            }
            Reaction::Answer(Outcome::Invited)
        });
        let draft = service.create(&people(10)).await;
        service.start_campaign(&draft.id).await;
        world.until(|state| state.calls.iter().any(|(_, _, account)| *account == Uuid::from_u128(100))).await;
        world.state().denied.insert(Uuid::from_u128(100), "restricted");
        let done = service.until_done(&draft.id).await;
        assert_eq!(outcome(&done, Outcome::Invited), 10);
        world.nobody_twice();
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_limit_of_ours_is_no_attempt_and_the_account_is_given_back() {
    on_each(|db| async move {
        let mut service = Service::start(db, 1).await;
        service.world.script(|_, _, asked| match asked {
            // Short enough to wait with the account in hand, then too long.
            0 => Reaction::Refuse(ErrorReason::QuotaExceeded, Some(Duration::from_millis(50))),
            1 => Reaction::Refuse(ErrorReason::QuotaExceeded, Some(Duration::from_secs(600))),
            _ => Reaction::Answer(Outcome::Invited),
        });
        let draft = service.create(&people(1)).await;
        service.start_campaign(&draft.id).await;
        let done = service.until_done(&draft.id).await;
        assert_eq!(outcome(&done, Outcome::Invited), 1);
        assert_eq!(service.world.state().calls.len(), 3);
        assert!(service.world.state().fence >= 2, "the account was kept over the long wait");
        let request = ListExecutionsRequest { campaign_id: draft.id.clone(), ..Default::default() };
        let executions = service.client.list_executions(request).await.unwrap().into_inner().executions;
        assert_eq!(executions.len(), 1, "a limit of ours was written down as an attempt");
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_campaign_without_accounts_says_why_it_waits() {
    on_each(|db| async move {
        let mut service = Service::start(db, 2).await;
        for (number, key) in [(100, "cooling_down"), (101, "no_rights")] {
            service.world.state().denied.insert(Uuid::from_u128(number), key);
        }
        let draft = service.create(&people(2)).await;
        service.start_campaign(&draft.id).await;
        let waits = service.until(&draft.id, |campaign| campaign.waiting.is_some()).await;
        let waiting = waits.waiting.unwrap();
        assert_eq!(waiting.reason(), waiting::Reason::CoolingDown);
        assert_eq!(waiting.counts.len(), 2);
        assert!(waiting.until_time.is_some());
        service.world.allow(Uuid::from_u128(100));
        let done = service.until_done(&draft.id).await;
        assert!(done.waiting.is_none());
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn pause_stops_and_resume_goes_on_without_repeating() {
    on_each(|db| async move {
        let mut service = Service::start(db, 2).await;
        let draft = service.create(&people(400)).await;
        service.start_campaign(&draft.id).await;
        service.world.until(|state| state.calls.len() > 5).await;
        let request = PauseCampaignRequest { request_id: service.id(), campaign_id: draft.id.clone() };
        let paused = service.client.pause_campaign(request.clone()).await.unwrap().into_inner();
        let calls = service.world.state().calls.len();
        // The same call again is the same answer, not a second pause.
        assert_eq!(service.client.pause_campaign(request).await.unwrap().into_inner(), paused);
        service.until(&draft.id, |campaign| campaign.progress.as_ref().unwrap().under_way == 0).await;
        service.world.until(|state| state.leased.is_empty()).await;
        let after = service.world.state().calls.len();
        assert!(after <= calls + 2, "each account may finish the call it has on the wire, no more");
        let request = ResumeCampaignRequest { request_id: service.id(), campaign_id: draft.id.clone() };
        service.client.resume_campaign(request).await.unwrap();
        let done = service.until_done(&draft.id).await;
        assert_eq!(outcome(&done, Outcome::Invited), 400);
        assert_eq!(service.world.state().calls.len(), 400);
        service.world.nobody_twice();
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn completion_does_not_override_cancel() {
    on_each(|db| async move {
        let mut service = Service::start(db, 1).await;
        service.world.script(|_, _, _| Reaction::EffectThenUnknown);
        let draft = service.create(&people(1)).await;
        service.start_campaign(&draft.id).await;
        service.world.until(|state| !state.calls.is_empty()).await;
        let request = CancelCampaignRequest { request_id: service.id(), campaign_id: draft.id.clone() };
        service.client.cancel_campaign(request).await.unwrap();
        // The lost answer is still found out, and the campaign stays cancelled.
        let done = service.until(&draft.id, |campaign| outcome(campaign, Outcome::Invited) == 1).await;
        assert_eq!(done.state(), State::Cancelled);
        let request = ResumeCampaignRequest { request_id: service.id(), campaign_id: draft.id.clone() };
        assert_eq!(reason(service.client.resume_campaign(request).await), ErrorReason::CampaignStateWrong);
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_answer_about_the_chat_stops_the_campaign() {
    on_each(|db| async move {
        let mut service = Service::start(db, 1).await;
        service.world.script(|_, _, _| Reaction::Refuse(ErrorReason::ChatFull, None));
        let draft = service.create(&people(3)).await;
        service.start_campaign(&draft.id).await;
        let failed = service.until(&draft.id, |campaign| campaign.state() == State::Failed).await;
        assert_eq!(failed.failure_reason, "CHAT_FULL");
        assert_eq!(failed.progress.unwrap().pending, 3);
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_lost_answer_is_found_out_before_any_second_call() {
    on_each(|db| async move {
        let mut service = Service::start(db, 2).await;
        service.world.script(|user, _, asked| match (user, asked) {
            ("person_0", 0) => Reaction::EffectThenUnknown,
            ("person_1", 0) => Reaction::Refuse(ErrorReason::OutcomeUnknown, None),
            _ => Reaction::Answer(Outcome::Invited),
        });
        let draft = service.create(&people(4)).await;
        service.start_campaign(&draft.id).await;
        let done = service.until_done(&draft.id).await;
        assert_eq!(outcome(&done, Outcome::Invited), 4);
        service.world.nobody_twice();
        assert_eq!(service.world.state().reconciled.len(), 2);
        service.stop().await;
    })
    .await;
}

/// A process that dies with calls on the wire, with and without effect.
#[tokio::test]
async fn killed_with_calls_on_the_wire() {
    on_each(|db| async move {
        let mut service = Service::start(db.clone(), 4).await;
        service.world.script(|user, _, asked| match (user, asked) {
            ("person_0" | "person_1", 0) => Reaction::EffectThenSilence,
            ("person_2" | "person_3", 0) => Reaction::Silence,
            _ => Reaction::Answer(Outcome::Invited),
        });
        let draft = service.create(&people(8)).await;
        service.start_campaign(&draft.id).await;
        service.world.until(|state| state.calls.len() >= 4).await;
        let world = service.kill().await;
        // Its leases end by themselves.
        world.state().leased.clear();
        let mut service = Service::start_in(db, world).await;
        let done = service.until_done(&draft.id).await;
        assert_eq!(outcome(&done, Outcome::Invited), 8);
        service.world.nobody_twice();
        assert_eq!(service.world.state().effects.len(), 8);
        service.stop().await;
    })
    .await;
}

/// A process that dies again and again, wherever it happens to be.
#[tokio::test]
async fn killed_again_and_again() {
    on_each(|db| async move {
        let mut service = Service::start(db.clone(), 3).await;
        let draft = service.create(&people(120)).await;
        service.start_campaign(&draft.id).await;
        for round in 1..=6 {
            service.world.until(|state| state.calls.len() >= round * 15 || state.effects.len() >= 118).await;
            let world = service.kill().await;
            world.state().leased.clear();
            service = Service::start_in(db.clone(), world).await;
        }
        let done = service.until_done(&draft.id).await;
        assert_eq!(outcome(&done, Outcome::Invited), 120);
        service.world.nobody_twice();
        assert_eq!(service.world.state().effects.len(), 120);
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn two_replicas_never_do_one_target_twice() {
    on_each(|db| async move {
        let mut first = Service::start(db.clone(), 6).await;
        let second = Service::start_in(db, first.world.clone()).await;
        let draft = first.create(&people(150)).await;
        first.start_campaign(&draft.id).await;
        let done = first.until_done(&draft.id).await;
        assert_eq!(outcome(&done, Outcome::Invited), 150);
        assert_eq!(first.world.state().calls.len(), 150);
        first.world.nobody_twice();
        let holders: std::collections::HashSet<String> =
            first.world.state().lease_requests.iter().map(|request| request.holder.clone()).collect();
        assert_eq!(holders.len(), 2, "one replica did nothing");
        second.stop().await;
        first.stop().await;
    })
    .await;
}

/// A counter that has drifted from the rows is noticed, however the campaign comes to rest; one that has not is not.
#[tokio::test]
async fn a_wrong_counter_is_noticed_at_every_end() {
    on_each(|db| async move {
        let mut service = Service::start(db, 2).await;
        service.world.script(|user, _, _| match user.split_once('_') {
            Some(("completed", _)) => Reaction::Answer(Outcome::Invited),
            Some(("failed", _)) => Reaction::Refuse(ErrorReason::ChatFull, None),
            _ => Reaction::LookUp,
        });
        let world = service.world.clone();
        for (name, end) in [
            ("completed", State::Completed),
            ("failed", State::Failed),
            ("cancelled", State::Cancelled),
            ("paused", State::Paused),
        ] {
            for wrong in [false, true] {
                let before = COUNT_1.count();
                let people = [0, 1].map(|number| format!("{name}_{wrong}_{number}"));
                let draft = service.create(&people).await;
                let campaign_id = draft.id.clone();
                if wrong {
                    miscount(&service.db, Uuid::parse_str(&campaign_id).unwrap()).await;
                }
                service.start_campaign(&campaign_id).await;
                world.until(|state| state.calls.iter().any(|(_, user, _)| people.contains(user))).await;
                let request_id = service.id();
                if end == State::Cancelled {
                    service.client.cancel_campaign(CancelCampaignRequest { request_id, campaign_id }).await.unwrap();
                } else if end == State::Paused {
                    service.client.pause_campaign(PauseCampaignRequest { request_id, campaign_id }).await.unwrap();
                }
                world.state().looked_up.clear();
                if wrong {
                    world.until(|_| COUNT_1.count() > before).await;
                } else {
                    service.until(&draft.id, |campaign| campaign.state() == end).await;
                }
                assert_eq!(service.get(&draft.id).await.state(), end);
                assert_eq!(COUNT_1.count(), before + u64::from(wrong), "{people:?}");
            }
        }
        service.stop().await;
    })
    .await;
}

/// Counts an outcome that no target has.
async fn miscount(db: &Db, campaign_id: Uuid) {
    let outcome = Outcome::AlreadyMember as i32;
    let text = "INSERT INTO campaign_counters (campaign_id, outcome, targets) VALUES ($1, $2, 1)";
    let statement =
        Statement::from_sql_and_values(db.conn().get_database_backend(), text, [campaign_id.into(), outcome.into()]);
    db.conn().execute_raw(statement).await.unwrap();
}
