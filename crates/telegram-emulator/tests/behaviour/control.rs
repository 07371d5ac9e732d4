//! Faults, holds, and the control API, as a harness uses them.

use std::time::Duration;

use crate::support::{Client, Failure, emulator, soon};
use grammers_tl_types::{enums, functions as f, types as t};
use telegram_emulator::{
    AdminRights, CallFilter, CallState, ChatRules, Effect, Fault, FaultFilter, FaultKind, Handle, Release, RpcError,
    Standing,
};
use tgmesh_proto::emulator::v1 as pb;
use tgmesh_proto::emulator::v1::emulator_service_client::EmulatorServiceClient;

const ADA: i64 = 11;
const WILLING: i64 = 31;
const DESTINATION: i64 = 502;

fn invitations() -> FaultFilter {
    FaultFilter { account: Some(ADA), method: Some("channels.inviteToChannel".into()), ..FaultFilter::default() }
}

fn is_member(handle: &Handle) -> bool {
    handle.standing(DESTINATION, WILLING).unwrap() == Some(Standing::Member)
}

fn invitation_state(handle: &Handle) -> Option<(CallState, Vec<Effect>)> {
    let filter = CallFilter { method: Some("channels.inviteToChannel".into()), ..CallFilter::default() };
    handle.calls(&filter, 0, 10).pop().map(|call| (call.state, call.effects))
}

const INVITED: Effect = Effect::Invited { chat: DESTINATION, user: WILLING };

#[tokio::test]
async fn an_answer_can_be_lost_after_its_effect_or_with_it() {
    let emulator = emulator(|_| ()).await;
    let handle = emulator.handle();
    let mut client = Client::login(&emulator, ADA, [1; 256]).await;
    handle.inject_fault(Fault::once(invitations(), FaultKind::DropBeforeEffect));
    assert_eq!(client.invite("destination_group", "target_willing").await.unwrap_err(), Failure::Closed);
    assert!(!is_member(handle));
    assert_eq!(invitation_state(handle), Some((CallState::Unanswered, vec![])));

    let mut client = Client::login(&emulator, ADA, [2; 256]).await;
    handle.inject_fault(Fault::once(invitations(), FaultKind::DropAfterEffect));
    assert_eq!(client.invite("destination_group", "target_willing").await.unwrap_err(), Failure::Closed);
    assert!(is_member(handle));
    assert_eq!(invitation_state(handle), Some((CallState::Unanswered, vec![INVITED])));

    let mut client = Client::login(&emulator, ADA, [3; 256]).await;
    let again = client.invite("destination_group", "target_willing").await.unwrap_err();
    assert_eq!(again, Failure::Rpc(400, "USER_ALREADY_PARTICIPANT".into()));
    assert_eq!(handle.summary().effects["invited"], 1);
    assert!(handle.summary().invited_more_than_once.is_empty());
    emulator.shutdown().await;
}

#[tokio::test]
async fn a_request_can_be_held_before_its_effect() {
    let emulator = emulator(|_| ()).await;
    let handle = emulator.handle().clone();
    let mut client = Client::login(&emulator, ADA, [1; 256]).await;
    handle.inject_fault(Fault::once(invitations(), FaultKind::HoldBeforeEffect));
    let invited = tokio::spawn(async move { client.invite("destination_group", "target_willing").await });
    let hold = soon(handle.next_holds(0)).await.remove(0);
    assert_eq!((hold.account, hold.method), (Some(ADA), "channels.inviteToChannel"));
    assert_eq!((hold.subject.chat, &hold.subject.users[..]), (Some(DESTINATION), &[WILLING][..]));
    assert!(!is_member(&handle));
    assert_eq!(invitation_state(&handle), Some((CallState::Pending, vec![])));
    handle.release_hold(hold.id, Release::Continue).unwrap();
    assert!(invited.await.unwrap().is_ok());
    assert!(is_member(&handle) && handle.holds().is_empty());
    emulator.shutdown().await;
}

#[tokio::test]
async fn a_request_can_be_held_after_its_effect_and_dropped() {
    let emulator = emulator(|_| ()).await;
    let handle = emulator.handle().clone();
    let mut client = Client::login(&emulator, ADA, [1; 256]).await;
    handle.inject_fault(Fault::once(invitations(), FaultKind::HoldAfterEffect));
    let invited = tokio::spawn(async move { client.invite("destination_group", "target_willing").await });
    let hold = soon(handle.next_holds(0)).await.remove(0);
    assert!(is_member(&handle));
    handle.release_hold(hold.id, Release::Drop).unwrap();
    assert_eq!(invited.await.unwrap().unwrap_err(), Failure::Closed);
    assert_eq!(invitation_state(&handle), Some((CallState::Unanswered, vec![INVITED])));
    emulator.shutdown().await;
}

#[tokio::test]
async fn a_request_outlives_the_connection_that_brought_it() {
    let emulator = emulator(|_| ()).await;
    let handle = emulator.handle().clone();
    let mut client = Client::login(&emulator, ADA, [1; 256]).await;
    handle.inject_fault(Fault::once(invitations(), FaultKind::HoldBeforeEffect));
    let invited = tokio::spawn(async move { client.invite("destination_group", "target_willing").await });
    let hold = soon(handle.next_holds(0)).await.remove(0);
    assert_eq!(handle.drop_connections(Some(ADA), None), 1);
    assert_eq!(invited.await.unwrap().unwrap_err(), Failure::Closed);
    handle.release_hold(hold.id, Release::Continue).unwrap();
    soon(handle.wait_until(is_member)).await;
    let lost = |handle: &Handle| invitation_state(handle) == Some((CallState::Unanswered, vec![INVITED]));
    soon(handle.wait_until(lost)).await;
    emulator.shutdown().await;
}

#[tokio::test]
async fn silence_is_for_one_method_or_for_everything() {
    let emulator = emulator(|_| ()).await;
    let handle = emulator.handle();
    let mut client = Client::login(&emulator, ADA, [1; 256]).await;
    handle.inject_fault(Fault::always(invitations(), FaultKind::Silence));
    let (channel, user) = (client.input_channel("destination_group").await, client.input_user("target_willing").await);
    client.send(&f::channels::InviteToChannel { channel, users: vec![user] }).await.unwrap();
    client.call(&f::updates::GetState {}).await.unwrap();
    assert_eq!(invitation_state(handle), Some((CallState::Unanswered, vec![])));
    assert!(!is_member(handle));

    let filter = FaultFilter { account: Some(ADA), ..FaultFilter::default() };
    let id = handle.inject_fault(Fault::always(filter, FaultKind::Silence));
    client.send(&f::Ping { ping_id: 5 }).await.unwrap();
    let hit = |handle: &Handle| handle.faults().iter().any(|fault| fault.id == id && fault.hits > 0);
    soon(async {
        while !hit(handle) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    handle.clear_faults(None);
    client.call(&f::updates::GetState {}).await.unwrap();
    emulator.shutdown().await;
}

#[tokio::test]
async fn a_slow_answer_is_slow_in_emulated_time() {
    let emulator = emulator(|config| config.time_factor = 1000.0).await;
    let handle = emulator.handle();
    let mut client = Client::login(&emulator, ADA, [1; 256]).await;
    let slow = FaultKind::SlowAnswer(Duration::from_secs(60));
    handle.inject_fault(Fault::once(invitations(), slow));
    client.invite("destination_group", "target_willing").await.unwrap();
    let filter = CallFilter { with_effect: true, ..CallFilter::default() };
    let call = handle.calls(&filter, 0, 10).pop().unwrap();
    let took = call.answered.unwrap().duration_since(call.requested).unwrap();
    assert!(took >= Duration::from_millis(59), "{took:?}");
    emulator.shutdown().await;
}

#[tokio::test]
async fn revoked_keys_answer_with_their_error_for_ever() {
    let emulator = emulator(|_| ()).await;
    let mut client = Client::login(&emulator, ADA, [1; 256]).await;
    assert_eq!(emulator.handle().revoke_keys(ADA, Some(RpcError::by_name("USER_DEACTIVATED_BAN"))), 1);
    for _ in 0..2 {
        let error = client.call(&f::updates::GetState {}).await.unwrap_err();
        assert_eq!(error, Failure::Rpc(401, "USER_DEACTIVATED_BAN".into()));
    }
    emulator.shutdown().await;
}

#[tokio::test]
async fn the_recorder_tells_what_happened_in_which_order() {
    let emulator = emulator(|_| ()).await;
    let handle = emulator.handle();
    let mut client = Client::login(&emulator, ADA, [1; 256]).await;
    client.invite("destination_group", "target_willing").await.unwrap();
    client.invite("destination_group", "target_private").await.unwrap();
    client.invite("destination_group", "target_kicked").await.unwrap_err();
    let user = client.input_user("target_willing").await;
    let enums::InputUser::User(user) = user else { panic!("no user") };
    let peer = t::InputPeerUser { user_id: user.user_id, access_hash: user.access_hash };
    let message = |text: &str, random_id| f::messages::SendMessage {
        no_webpage: false,
        silent: false,
        background: false,
        clear_draft: false,
        noforwards: false,
        update_stickersets_order: false,
        invert_media: false,
        allow_paid_floodskip: false,
        peer: peer.clone().into(),
        reply_to: None,
        message: text.into(),
        random_id,
        reply_markup: None,
        entities: None,
        schedule_date: None,
        schedule_repeat_period: None,
        send_as: None,
        quick_reply_shortcut: None,
        effect: None,
        allow_paid_stars: None,
        suggested_post: None,
        rich_message: None,
    };
    client.call(&message("hello", 99)).await.unwrap();
    let twice = client.call(&message("hello", 99)).await.unwrap_err();
    assert_eq!(twice, Failure::Rpc(500, "RANDOM_ID_DUPLICATE".into()));
    assert_eq!(handle.private_messages(WILLING, ADA), ["hello"]);

    let answered =
        |handle: &Handle| handle.calls(&CallFilter::default(), 0, 100).iter().all(|call| call.answered.is_some());
    soon(handle.wait_until(answered)).await;
    let calls = handle.calls(&CallFilter { account: Some(ADA), ..CallFilter::default() }, 0, 100);
    let interesting: Vec<_> = calls
        .iter()
        .filter(|call| !call.effects.is_empty() || call.error.is_some())
        .map(|call| (call.method, &call.effects[..], call.error.as_deref()))
        .collect();
    let missing =
        Effect::NotInvited { chat: DESTINATION, user: 22, premium_would_allow: false, premium_required: false };
    let sent = Effect::MessageSentToUser { user: WILLING, message: 4 };
    assert_eq!(
        interesting,
        [
            ("channels.inviteToChannel", &[INVITED][..], None),
            ("channels.inviteToChannel", &[missing][..], None),
            ("channels.inviteToChannel", &[][..], Some("USER_KICKED")),
            ("messages.sendMessage", &[sent][..], None),
            ("messages.sendMessage", &[][..], Some("RANDOM_ID_DUPLICATE")),
        ]
    );
    assert!(calls.is_sorted_by_key(|call| call.number));
    assert!(calls.iter().all(|call| call.connection == 1 && call.dc == 2 && call.auth_key_id != 0));
    assert_eq!(calls.iter().filter_map(|call| call.subject.random_id).collect::<Vec<_>>(), [99, 99]);
    emulator.shutdown().await;
}

#[tokio::test]
async fn rights_and_rules_change_while_clients_work() {
    let emulator = emulator(|_| ()).await;
    let handle = emulator.handle();
    let mut client = Client::login(&emulator, ADA, [1; 256]).await;
    let refused = |name: &str| Failure::Rpc(if name == "CHAT_ADMIN_INVITE_REQUIRED" { 403 } else { 400 }, name.into());
    let closed = ChatRules { members_may_invite: Some(false), ..ChatRules::default() };
    handle.set_chat_rules(DESTINATION, &closed).unwrap();
    handle.set_admin(DESTINATION, ADA, AdminRights::DELETE_MESSAGES).unwrap();
    let error = client.invite("destination_group", "target_willing").await.unwrap_err();
    assert_eq!(error, refused("CHAT_ADMIN_INVITE_REQUIRED"));
    handle.set_standing(DESTINATION, ADA, Standing::Member).unwrap();
    let error = client.invite("destination_group", "target_willing").await.unwrap_err();
    assert_eq!(error, refused("CHAT_ADMIN_REQUIRED"));
    let full = ChatRules { members_may_invite: Some(true), member_limit: Some(1), ..ChatRules::default() };
    handle.set_chat_rules(DESTINATION, &full).unwrap();
    let error = client.invite("destination_group", "target_willing").await.unwrap_err();
    assert_eq!(error, refused("USERS_TOO_MUCH"));
    let restricted = ChatRules { restricted: Some(true), ..ChatRules::default() };
    handle.set_chat_rules(DESTINATION, &restricted).unwrap();
    let error = client.invite("destination_group", "target_willing").await.unwrap_err();
    assert_eq!(error, refused("CHAT_RESTRICTED"));
    emulator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_control_api_does_it_all_over_a_channel() {
    let emulator = emulator(|config| config.control = Some("127.0.0.1:0".parse().unwrap())).await;
    let address = emulator.info().control.unwrap();
    let mut api = EmulatorServiceClient::connect(format!("http://{address}")).await.unwrap();
    let info = api.get_info(pb::GetInfoRequest {}).await.unwrap().into_inner();
    assert_eq!(info.rsa_fingerprint, emulator.info().rsa_fingerprint);
    assert_eq!(info.dcs.len(), 2);

    let mut members = api.list_members(pb::ListMembersRequest { chat_id: 501 }).await.unwrap().into_inner();
    let mut seen = 0;
    while let Some(page) = members.message().await.unwrap() {
        seen += page.members.len();
    }
    assert_eq!(seen, 1000);
    let missing = api.list_members(pb::ListMembersRequest { chat_id: 9999 }).await.unwrap_err();
    assert_eq!(missing.code(), tonic::Code::NotFound);

    let created = pb::CreateUserRequest { phone: "+49 30 555 1234".into(), ..Default::default() };
    let user = api.create_user(created).await.unwrap().into_inner().user.unwrap();
    api.add_member(pb::AddMemberRequest { chat_id: DESTINATION, user_id: user.id, ..Default::default() })
        .await
        .unwrap();
    assert_eq!(emulator.handle().standing(DESTINATION, user.id).unwrap(), Some(Standing::Member));

    let fault = pb::Fault {
        filter: Some(pb::FaultFilter { account_id: ADA, method: "channels.*".into(), ..Default::default() }),
        kind: pb::FaultKind::HoldBeforeEffect.into(),
        times: 1,
        ..Default::default()
    };
    api.inject_fault(pb::InjectFaultRequest { fault: Some(fault) }).await.unwrap();
    let mut holds = api.watch_holds(pb::WatchHoldsRequest { after: 0 }).await.unwrap().into_inner();
    let mut client = Client::login(&emulator, ADA, [1; 256]).await;
    let invited =
        tokio::spawn(async move { client.invite("destination_group", "target_willing").await.map(|_| client) });
    let hold = soon(holds.message()).await.unwrap().unwrap().hold.unwrap();
    assert_eq!((hold.account_id, hold.chat_id, &hold.user_ids[..]), (ADA, DESTINATION, &[WILLING][..]));
    api.release_hold(pb::ReleaseHoldRequest { hold_id: hold.id, drop: false }).await.unwrap();
    let mut client = invited.await.unwrap().unwrap();

    let filter = pb::CallFilter { with_effect: true, ..Default::default() };
    let request = pb::StreamCallsRequest { filter: Some(filter), after_position: 0 };
    let mut calls = api.stream_calls(request).await.unwrap().into_inner();
    let call = soon(calls.message()).await.unwrap().unwrap().calls.remove(0);
    assert_eq!(call.effects[0].kind(), pb::EffectKind::Invited);
    assert_eq!(call.state(), pb::CallState::Answered);

    let target = Some(pb::post_message_request::Target::UserId(ADA));
    let post = pb::PostMessageRequest { author_id: 21, target, text: "psst".into(), ..Default::default() };
    api.post_message(post).await.unwrap();
    let is_message = |updates: &enums::Updates| {
        let enums::Updates::Updates(updates) = updates else { return false };
        updates.updates.iter().any(|update| matches!(update, enums::Update::NewMessage(_)))
    };
    client.update(is_message).await;

    let summary = api.get_summary(pb::GetSummaryRequest {}).await.unwrap().into_inner();
    assert_eq!(summary.effects["invited"], 1);
    assert!(summary.repeated_invitations.is_empty() && summary.overlaps == 0);
    let connections = pb::ListConnectionsRequest { account_id: ADA, open_only: true };
    assert_eq!(api.list_connections(connections).await.unwrap().into_inner().connections.len(), 1);
    emulator.shutdown().await;
}
