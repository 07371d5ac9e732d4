//! One person, at once.

mod common;

use common::world::Reaction;
use common::{Service, on_each, reason};
use tgmesh_proto::ErrorReason;
use tgmesh_proto::invite::v1::TestInviteRequest;
use tgmesh_proto::telegram::v1::Outcome;
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
