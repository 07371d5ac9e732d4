//! One person, at once.

mod common;

use common::world::{Reaction, World};
use common::{Service, on_each, reason};
use service_kit::clock::duration_from_proto;
use tgmesh_proto::ErrorReason;
use tgmesh_proto::invite::v1::TestInviteRequest;
use tgmesh_proto::telegram::v1::Outcome;
use tgmesh_proto::telegram::v1::account_readiness::Problem;
use uuid::Uuid;

#[tokio::test]
async fn one_person_can_be_tried() {
    on_each(|db| async move {
        let mut service = Service::start(db, 2).await;
        service.world.script(|user, _, _| match user {
            "anna_1" => Reaction::Answer(Outcome::PrivacyRestricted),
            "anna_2" => Reaction::EffectThenUnknown,
            _ => Reaction::Refuse(ErrorReason::NoRights, None),
        });
        let request = |service: &Service, user: &str| TestInviteRequest {
            request_id: service.id(),
            chat: "@rustberlin".into(),
            user: user.into(),
            account_id: Uuid::from_u128(101).to_string(),
        };
        let first = request(&service, "@anna_1");
        let answer = service.client.test_invite(first.clone()).await.unwrap().into_inner();
        assert_eq!(
            (answer.outcome(), answer.account_id.as_str()),
            (Outcome::PrivacyRestricted, first.account_id.as_str())
        );
        assert_eq!(service.client.test_invite(first).await.unwrap().into_inner(), answer);
        let lost = request(&service, "anna_2");
        assert_eq!(reason(service.client.test_invite(lost.clone()).await), ErrorReason::OutcomeUnknown);
        // The same call again asks what became of it.
        assert_eq!(service.client.test_invite(lost).await.unwrap().into_inner().outcome(), Outcome::Invited);
        let refused = request(&service, "anna_3");
        assert_eq!(reason(service.client.test_invite(refused).await), ErrorReason::NoRights);
        assert_eq!(service.world.state().calls.len(), 3);
        service.world.nobody_twice();
        service.stop().await;
    })
    .await;
}

/// Waits that were asked for, in milliseconds.
fn waits(world: &World) -> Vec<u128> {
    let requests = &world.state().lease_requests;
    requests.iter().map(|request| duration_from_proto(request.wait.as_ref().unwrap()).as_millis()).collect()
}

#[tokio::test]
async fn nobody_is_waited_for_who_will_never_be_able() {
    on_each(|db| async move {
        let mut service = Service::start(db, 0).await;
        let request = |service: &Service, account_id: &str| TestInviteRequest {
            request_id: service.id(),
            chat: "@rustberlin".into(),
            user: "anna_1".into(),
            account_id: account_id.into(),
        };
        let nobody = request(&service, "");
        assert_eq!(reason(service.client.test_invite(nobody).await), ErrorReason::NoAbleAccount);
        let unknown = request(&service, &Uuid::from_u128(7).to_string());
        assert_eq!(reason(service.client.test_invite(unknown).await), ErrorReason::AccountNotFound);

        let paused = Uuid::from_u128(100);
        service.world.state().accounts.push(paused);
        service.world.state().denied.insert(paused, "paused");
        service.world.state().problems.insert(paused, Problem::Paused);
        let named = request(&service, &paused.to_string());
        let status = service.client.test_invite(named).await.unwrap_err();
        let failure = tgmesh_proto::status::read(&status).unwrap();
        assert_eq!((failure.reason, failure.metadata["paused"].as_str()), (ErrorReason::NoAbleAccount, "1"));
        assert_eq!(waits(&service.world), [0; 3]);

        // Nor one that will be able to, but not soon; the world says in a minute.
        service.world.state().problems.insert(paused, Problem::Limit);
        let late = request(&service, "");
        assert_eq!(reason(service.client.test_invite(late).await), ErrorReason::NoAccountAvailable);
        assert_eq!(waits(&service.world), [0; 4]);

        // One that works for somebody else may be back at any moment.
        service.world.state().denied.insert(paused, "leased");
        let mut client = service.client.clone();
        let waited = tokio::spawn({
            let request = request(&service, "");
            async move { client.test_invite(request).await }
        });
        service.world.until(|state| state.lease_requests.len() == 6).await;
        service.world.allow(paused);
        assert_eq!(waited.await.unwrap().unwrap().into_inner().outcome(), Outcome::Invited);
        assert!(waits(&service.world)[5] > 0);
        service.stop().await;
    })
    .await;
}
