//! Rights that an account must hold, and what is done about those that nobody knows.

use std::time::Duration;

use tgmesh_integration::availability::Slot;
use tgmesh_integration::error::{Error, Result};
use tgmesh_integration::leases::{Lease, Unavailable};
use tgmesh_integration::quotas::Next;
use tgmesh_proto::ErrorReason;
use tgmesh_proto::lease::v1::unavailability::Reason;
use tgmesh_proto::lease::v1::{AcquireLeaseRequest, ChatRight, Purpose};
use tgmesh_tests::wait;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::kit::{CHAT, World, reason, secs, wish};

const PATIENCE: Duration = Duration::from_secs(20);
/// All rights that there are, and all but that to invite.
const ALL: i32 = 0b1110;
const NO_INVITES: i32 = 1 << 2 | 1 << 3;

fn inviting() -> AcquireLeaseRequest {
    AcquireLeaseRequest {
        chat: CHAT.to_string(),
        rights: vec![ChatRight::Invite.into()],
        ttl: secs(600),
        ..wish(Purpose::Invite)
    }
}

/// Asks, and returns once the call waits for these to be asked, in this order.
async fn asking(
    world: &World,
    request: AcquireLeaseRequest,
    expected: &[Uuid],
) -> anyhow::Result<JoinHandle<Result<Lease>>> {
    let (leases, who) = (world.leases.clone(), world.who.clone());
    let before = leases.waiting(who.workspace_id);
    let call = tokio::spawn(async move { leases.acquire(&who, request, None).await });
    wait::until("the call to stand in line", PATIENCE, async || {
        let in_line = world.leases.waiting(world.who.workspace_id) > before;
        (in_line && *world.chats.asked.lock().unwrap() == expected).then_some(())
    })
    .await?;
    Ok(call)
}

async fn answer(call: JoinHandle<Result<Lease>>) -> anyhow::Result<Result<Lease>> {
    Ok(tokio::time::timeout(PATIENCE, call).await??)
}

async fn denial(call: JoinHandle<Result<Lease>>) -> anyhow::Result<Unavailable> {
    match answer(call).await? {
        Err(Error::NoAccount(unavailable)) => Ok(*unavailable),
        other => anyhow::bail!("expected a denial, got {other:?}"),
    }
}

pub async fn known_rights_decide_and_unknown_ones_are_asked_for(world: World) -> anyhow::Result<()> {
    let accounts = world.accounts(3).await?;
    world.rights(accounts[0], NO_INVITES).await?;
    world.rights(accounts[1], ALL).await?;
    let first = world.acquire(inviting()).await?;
    assert_eq!((first.account_id, first.chat_id), (accounts[1], CHAT));
    assert!(world.chats.asked.lock().unwrap().is_empty(), "nobody's turn came before");
    let second = asking(&world, AcquireLeaseRequest { wait: secs(100), ..inviting() }, &accounts[2..]).await?;
    world.rights(accounts[2], ALL).await?;
    assert_eq!(answer(second).await??.account_id, accounts[2]);
    let denied = world.denied(inviting()).await?;
    assert_eq!((denied.count(Reason::NoRights), denied.count(Reason::Leased)), (1, 2));

    // What Telegram said is believed for ten minutes.
    world.pass(Duration::from_secs(601));
    let only = AcquireLeaseRequest { any_of_account_ids: vec![accounts[0].to_string()], ..inviting() };
    let again = asking(&world, only, &[accounts[2], accounts[0]]).await?;
    world.rights(accounts[0], ALL).await?;
    assert_eq!(answer(again).await??.account_id, accounts[0]);
    let no_chat = AcquireLeaseRequest { chat: String::new(), ..inviting() };
    assert_eq!(reason(world.acquire(no_chat).await), Some(ErrorReason::FieldInvalid));
    Ok(())
}

pub async fn who_is_passed_over_is_asked_for_the_next_time(world: World) -> anyhow::Result<()> {
    let accounts = world.accounts(3).await?;
    world.rights(accounts[2], ALL).await?;
    let lease = world.acquire(inviting()).await?;
    assert_eq!(lease.account_id, accounts[2], "the only one that is known to have the right");
    assert_eq!(*world.chats.asked.lock().unwrap(), accounts[..1], "its turn came before");
    world.rights(accounts[0], ALL).await?;
    world.release(&lease).await?;
    assert_eq!(world.acquire(inviting()).await?.account_id, accounts[0]);
    assert_eq!(*world.chats.asked.lock().unwrap(), accounts[..1]);
    Ok(())
}

pub async fn a_refusal_waits_for_the_answers(world: World) -> anyhow::Result<()> {
    let accounts = world.accounts(3).await?;
    // Who does not want to wait at all waits for them too.
    let call = asking(&world, inviting(), &accounts).await?;
    world.rights(accounts[0], NO_INVITES).await?;
    world.rights(accounts[1], ALL).await?;
    assert_eq!(answer(call).await??.account_id, accounts[1]);

    let call = asking(&world, inviting(), &accounts).await?;
    assert!(!call.is_finished());
    world.rights(accounts[2], NO_INVITES).await?;
    let denied = denial(call).await?;
    assert_eq!((denied.count(Reason::NoRights), denied.count(Reason::Leased)), (2, 1));
    assert_eq!(denied.count(Reason::RightsUnknown), 0);
    Ok(())
}

pub async fn answers_that_do_not_come_are_told(world: World) -> anyhow::Result<()> {
    let accounts = world.accounts(3).await?;
    world.rights(accounts[0], NO_INVITES).await?;
    let at_once = asking(&world, inviting(), &accounts[1..]).await?;
    let patient = asking(&world, AcquireLeaseRequest { wait: secs(9), ..inviting() }, &accounts[1..]).await?;
    world.pass(Duration::from_secs(4));
    assert!(!at_once.is_finished());
    world.pass(Duration::from_secs(1));
    let denied = denial(at_once).await?;
    assert_eq!((denied.count(Reason::RightsUnknown), denied.count(Reason::NoRights)), (2, 1));
    let status = tgmesh_proto::status::read(&denied.to_status()).expect("a status of the catalogue");
    assert_eq!(status.metadata.get("rights_unknown").map(String::as_str), Some("2"));
    assert_eq!(
        tgmesh_proto::shortage::line(&status.metadata),
        "no account is free: 2 are being asked what they may do in the chat, \
         1 lack the right for this in the chat (let an admin grant it)"
    );
    assert!(!patient.is_finished(), "a longer wait of its own is kept");
    world.pass(Duration::from_secs(4));
    assert_eq!(denial(patient).await?.count(Reason::RightsUnknown), 2);

    let leases = &world.leases;
    let hurried = leases.acquire(&world.who, inviting(), Some(Duration::ZERO)).await;
    assert_eq!(reason(hurried), Some(ErrorReason::NoAccountAvailable), "the caller's deadline bounds this wait too");
    Ok(())
}

pub async fn what_kept_an_account_from_answering_is_told(world: World) -> anyhow::Result<()> {
    let accounts = world.accounts(2).await?;
    let call = asking(&world, inviting(), &accounts).await?;
    let again = world.now() + Duration::from_secs(10);
    let obstacles = [
        (accounts[0], Slot { ready: Next::At(again), reason: Reason::Offline }),
        (accounts[1], Slot { ready: Next::Never, reason: Reason::NoRights }),
    ];
    world.chats.looked.lock().unwrap().obstacles.extend(obstacles);
    world.leases.poke(world.who.workspace_id);
    let denied = denial(call).await?;
    assert_eq!((denied.count(Reason::Offline), denied.count(Reason::NoRights)), (1, 1));
    assert_eq!(denied.earliest(), Some(again));
    // Nobody is asked again before that is forgotten; what Telegram said comes before it.
    world.chats.asked.lock().unwrap().clear();
    world.denied(inviting()).await?;
    assert!(world.chats.asked.lock().unwrap().is_empty());
    world.rights(accounts[1], ALL).await?;
    assert_eq!(world.acquire(inviting()).await?.account_id, accounts[1]);
    Ok(())
}

pub async fn a_chat_that_nobody_knows_is_looked_for_first(world: World) -> anyhow::Result<()> {
    let accounts = world.accounts(2).await?;
    let named = |name: &str| AcquireLeaseRequest { chat: name.to_owned(), wait: secs(100), ..inviting() };
    let call = asking(&world, named("@fresh_chat"), &accounts).await?;
    let other = asking(&world, named("https://t.me/another_chat"), &accounts).await?;
    world.chats.names.lock().unwrap().insert("@fresh_chat".to_owned(), CHAT);
    world.rights(accounts[0], NO_INVITES).await?;
    world.rights(accounts[1], ALL).await?;
    let lease = answer(call).await??;
    assert_eq!((lease.account_id, lease.chat_id), (accounts[1], CHAT));
    assert!(!other.is_finished(), "rights in one chat are none in another");
    other.abort();
    // Without rights to hold, it need not be known.
    let any = AcquireLeaseRequest { rights: Vec::new(), ..named("@another_chat") };
    let lease = world.acquire(any).await?;
    assert_eq!((lease.account_id, lease.chat_id), (accounts[0], 0));
    Ok(())
}

pub async fn a_name_that_stands_for_no_chat_is_told(world: World) -> anyhow::Result<()> {
    let accounts = world.accounts(2).await?;
    let request = AcquireLeaseRequest { chat: "@nobodys_name".to_owned(), ..inviting() };
    let call = asking(&world, request, &accounts).await?;
    world.chats.looked.lock().unwrap().nobody = true;
    world.leases.poke(world.who.workspace_id);
    assert_eq!(reason(answer(call).await?), Some(ErrorReason::ChatNotFound));
    // A chat whose id is known is one.
    world.rights(accounts[1], ALL).await?;
    assert_eq!(world.acquire(inviting()).await?.account_id, accounts[1]);
    Ok(())
}
