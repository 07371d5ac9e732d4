//! Who can work in a chat: for each purpose by its own right, and by what is known when nobody can be asked.

use std::time::Duration;

use anyhow::Context as _;
use service_kit::client::UserChannel;
use telegram_emulator::{CallFilter, Fault, FaultFilter, FaultKind, RpcError};
use tgmesh_proto::Caller;
use tgmesh_proto::integration::v1 as integration;
use tgmesh_proto::lease::v1::Purpose;
use tgmesh_proto::telegram::v1 as pb;
use tgmesh_proto::telegram::v1::AccountReadiness;
use tgmesh_proto::telegram::v1::account_readiness::{Problem, Right};
use tgmesh_proto::telegram::v1::telegram_service_client::TelegramServiceClient;

use crate::common::World;
use crate::common::play::{CHAT, key};
use crate::reason;

fn client(world: &World) -> TelegramServiceClient<UserChannel> {
    TelegramServiceClient::new(world.channel("integration", Caller::Invite, world.owner))
}

/// What is said of one account.
async fn readiness(world: &World, account: &str, purpose: Purpose) -> anyhow::Result<AccountReadiness> {
    let account_ids = vec![account.to_owned()];
    let request = pb::GetChatRightsRequest { chat: CHAT.to_owned(), purpose: purpose.into(), account_ids };
    let answer = client(world).get_chat_rights(request).await?.into_inner();
    answer.accounts.into_iter().next().context("nothing is said of the account")
}

/// Lets the account meet an error of Telegram's when it next writes to somebody.
async fn meet(world: &World, account: &str, error: &str) -> anyhow::Result<()> {
    let filter = FaultFilter { method: Some("messages.sendMessage".to_owned()), ..Default::default() };
    world.handle().inject_fault(Fault::once(filter, FaultKind::Error(RpcError::by_name(error))));
    let lease = world.lease(Caller::Invite, world.owner, account, Purpose::Message).await?;
    let send = pb::SendMessageRequest {
        request_id: world.id(),
        lease: key(&lease),
        text: "hello".to_owned(),
        peer: Some(pb::send_message_request::Peer::SavedMessages(pb::send_message_request::SavedMessages {})),
    };
    reason(client(world).send_message(send).await).context("no reason")?;
    Ok(())
}

/// Reads that Telegram has seen of a user.
fn reads(world: &World, user: i64) -> usize {
    let calls = world.handle().calls(&CallFilter { account: Some(user), ..Default::default() }, 0, 10_000);
    calls.iter().filter(|call| !call.method.starts_with("messages.send")).count()
}

#[tokio::test]
async fn a_public_chat_can_be_read_from_outside() -> anyhow::Result<()> {
    let world = World::start().await?;
    let outside = world.connect(world.owner, 12).await?;
    let reading = readiness(&world, &outside, Purpose::Parse).await?;
    assert_eq!((reading.ready, reading.problem(), reading.right()), (true, Problem::Unspecified, Right::Held));
    assert!(reading.check_time.is_some());
    for purpose in [Purpose::Invite, Purpose::Message] {
        let acting = readiness(&world, &outside, purpose).await?;
        assert_eq!((acting.ready, acting.problem(), acting.right()), (false, Problem::NotAMember, Right::Lacking));
    }
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn an_account_that_may_only_not_act_is_asked_for_its_rights() -> anyhow::Result<()> {
    let world = World::start().await?;
    let (member, outside) = (world.connect(world.owner, 61).await?, world.connect(world.owner, 12).await?);
    for account in [&member, &outside] {
        meet(&world, account, "PEER_FLOOD").await?;
    }
    let limited = readiness(&world, &member, Purpose::Invite).await?;
    assert_eq!((limited.ready, limited.problem(), limited.right()), (false, Problem::Restricted, Right::Held));
    assert_eq!(limited.detail, "PEER_FLOOD");
    assert!(limited.until_time.is_some() && limited.check_time.is_some());
    // What a wait does not change comes before what it does.
    let stranger = readiness(&world, &outside, Purpose::Invite).await?;
    assert_eq!((stranger.ready, stranger.problem(), stranger.right()), (false, Problem::NotAMember, Right::Lacking));
    assert_eq!(stranger.until_time, None);
    // Reading goes on.
    assert!(readiness(&world, &member, Purpose::Parse).await?.ready);
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn rights_that_nobody_may_ask_for_are_told_as_unknown() -> anyhow::Result<()> {
    let world = World::start().await?;
    let (asked, unasked) = (world.connect(world.owner, 61).await?, world.connect(world.owner, 62).await?);
    assert!(readiness(&world, &asked, Purpose::Invite).await?.ready);
    // So long a wait holds for everything that the account does.
    for account in [&asked, &unasked] {
        meet(&world, account, "FLOOD_WAIT_400").await?;
    }
    let before = (reads(&world, 61), reads(&world, 62));
    let known = readiness(&world, &asked, Purpose::Invite).await?;
    assert_eq!((known.ready, known.problem(), known.right()), (false, Problem::Restricted, Right::Held));
    let unknown = readiness(&world, &unasked, Purpose::Invite).await?;
    assert_eq!((unknown.ready, unknown.problem(), unknown.right()), (false, Problem::Restricted, Right::Unspecified));
    assert_eq!((unknown.detail.as_str(), &unknown.check_time), ("FLOOD_WAIT_400", &None));
    assert!(unknown.until_time.is_some());
    assert_eq!((reads(&world, 61), reads(&world, 62)), before, "telegram was asked inside a flood wait");
    world.stop().await?;
    Ok(())
}

/// What the service asks for itself waits its turn like any other read.
#[tokio::test]
async fn own_reads_keep_the_pace() -> anyhow::Result<()> {
    let world = World::start_with("[integration.speeds.fast]\ninterval_ms = 700\n", "").await?;
    let account = world.connect(world.owner, 61).await?;
    assert!(readiness(&world, &account, Purpose::Invite).await?.ready);
    // An id that it does not know is looked for among its dialogs.
    let unknown = pb::GetChatRightsRequest {
        chat: "-1001234567890".to_owned(),
        purpose: Purpose::Invite.into(),
        account_ids: vec![account.clone()],
    };
    client(&world).get_chat_rights(unknown).await?;
    let check = integration::CheckAccountRequest { request_id: world.id(), account_id: account };
    world.integration(world.owner).check_account(check).await?;

    let calls = world.handle().calls(&CallFilter { account: Some(61), ..Default::default() }, 0, 10_000);
    let own = ["channels.getChannels", "channels.getFullChannel", "messages.getDialogs", "users.getUsers"];
    // The connection's own question, whose session it is, comes before all reads.
    let reads: Vec<_> =
        calls.iter().skip_while(|call| call.method != own[0]).filter(|call| own.contains(&call.method)).collect();
    let methods: Vec<&str> = reads.iter().map(|call| call.method).collect();
    assert_eq!(methods, own);
    for pair in reads.windows(2) {
        let between = pair[1].requested.duration_since(pair[0].requested)?;
        assert!(between >= Duration::from_millis(650), "{} {between:?} after {}", pair[1].method, pair[0].method);
    }
    world.stop().await?;
    Ok(())
}
