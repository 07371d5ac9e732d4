//! Leases.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use sea_orm::ActiveValue::Set;
use service_kit::invariants::{LEASE_1, LEASE_2};
use tgmesh_integration::leases::store::Needs;
use tgmesh_integration::leases::{Ask, Key, RevokeCause, State};
use tgmesh_integration::quotas::{Limits, Next, Scope};
use tgmesh_proto::ErrorReason;
use tgmesh_proto::integration::v1::account::SessionState;
use tgmesh_proto::integration::v1::restriction::Cause;
use tgmesh_proto::lease::v1::unavailability::Reason;
use tgmesh_proto::lease::v1::{
    AcquireLeaseRequest, ChatRight, ListLeasesRequest, Purpose, ReleaseLeaseRequest, RenewLeaseRequest,
    RevokeLeaseRequest,
};
use tgmesh_proto::quota::v1::{Action, LimitName};
use uuid::Uuid;

use crate::kit::{CHAT, World, id, key, member, operator, reason, secs, taken, wish};

fn ask() -> Ask {
    let (any_of, none_of) = (Vec::new(), Vec::new());
    let needs = Needs { purpose: Purpose::Invite, chat_id: 0, chat: None, rights: 0, any_of, none_of };
    let (ttl, obstacles) = (Duration::from_secs(30), HashMap::new());
    Ask { needs, ttl, holder: "test".to_owned(), work: String::new(), obstacles }
}

pub async fn at_most_one_holder_under_contention(world: World) -> anyhow::Result<()> {
    world.accounts(8).await?;
    for _ in 0..3 {
        let calls = (0..64).map(|_| {
            let (store, who) = (world.store.clone(), world.who.clone());
            tokio::spawn(async move { store.acquire(&who, &wish(Purpose::Invite), &ask()).await })
        });
        let mut leases = Vec::new();
        for call in futures_util::future::join_all(calls).await {
            leases.extend(taken(call??));
        }
        let accounts: HashSet<Uuid> = leases.iter().map(|lease| lease.account_id).collect();
        assert!(LEASE_1.check(leases.len() == accounts.len(), || "the store gave one account twice"));
        assert_eq!(leases.len(), 8, "none is left");
        assert_eq!(LEASE_1.count(), 0, "the store noticed it");
        for lease in &leases {
            world.release(lease).await?;
        }
    }
    Ok(())
}

pub async fn tokens_strictly_increase(world: World) -> anyhow::Result<()> {
    let account = world.account().await?;
    let mut last = 0;
    for round in 0..6 {
        let lease = world.take().await?;
        assert_eq!(lease.account_id, account);
        assert!(LEASE_2.check(lease.token > last, || format!("token {} after {last}", lease.token)));
        last = lease.token;
        match round % 3 {
            0 => drop(world.release(&lease).await?),
            1 => world.pass(Duration::from_secs(31)),
            _ => world.leases.revoke_account(account, RevokeCause::Paused).await?,
        }
    }
    Ok(())
}

pub async fn an_expired_lease_frees_its_account(world: World) -> anyhow::Result<()> {
    let account = world.account().await?;
    let first = world.take().await?;
    world.pass(Duration::from_secs(29));
    assert_eq!(world.denied(wish(Purpose::Invite)).await?.count(Reason::Leased), 1);
    world.pass(Duration::from_secs(1));
    // Over by time alone, whether or not anybody wrote it down.
    let seen = world.leases.get(Scope::Workspace(world.who.workspace_id), first.id).await?;
    assert_eq!(seen.state, State::Expired);
    assert!(world.leases.live_of(account).await?.is_none());
    let renew = RenewLeaseRequest { request_id: id(), key: Some(key(&first)), ttl: None };
    assert_eq!(reason(world.leases.renew(&world.who, &renew).await), Some(ErrorReason::StaleLease));
    let second = world.take().await?;
    assert!(second.token > first.token);
    assert_eq!(reason(world.release(&first).await), Some(ErrorReason::StaleLease));
    assert_eq!(world.leases.live_of(account).await?.map(|lease| lease.id), Some(second.id));
    world.pass(Duration::from_secs(30));
    assert_eq!(world.leases.sweep().await?, 1, "the first was marked when the second was taken");
    assert_eq!(world.leases.sweep().await?, 0);
    Ok(())
}

pub async fn the_longest_unused_is_selected(world: World) -> anyhow::Result<()> {
    let accounts = world.accounts(3).await?;
    let mut order = Vec::new();
    for _ in 0..9 {
        let lease = world.take().await?;
        order.push(lease.account_id);
        world.pass(Duration::from_secs(1));
        world.release(&lease).await?;
    }
    assert_eq!(order[..3].iter().collect::<HashSet<_>>(), accounts.iter().collect());
    assert_eq!(order[..3], order[3..6]);
    assert_eq!(order[3..6], order[6..]);
    // Use for another purpose is use too.
    let lease = world.acquire(wish(Purpose::Parse)).await?;
    assert_eq!(lease.account_id, order[0]);
    world.release(&lease).await?;
    assert_eq!(world.take().await?.account_id, order[1]);
    Ok(())
}

pub async fn a_repeat_gets_the_same_lease(world: World) -> anyhow::Result<()> {
    world.accounts(3).await?;
    let request = wish(Purpose::Invite);
    let first = world.acquire(request.clone()).await?;
    let again = world.acquire(request.clone()).await?;
    assert_eq!((first.id, first.token, &first.budget), (again.id, again.token, &again.budget));
    let other = AcquireLeaseRequest { work: "another".to_owned(), ..request };
    assert_eq!(reason(world.acquire(other).await), Some(ErrorReason::RequestIdReused));

    let renew = RenewLeaseRequest { request_id: id(), key: Some(key(&again)), ttl: secs(60) };
    let renewed = world.leases.renew(&world.who, &renew).await?;
    world.pass(Duration::from_secs(5));
    assert_eq!(world.leases.renew(&world.who, &renew).await?.expire_at, renewed.expire_at);

    let release = ReleaseLeaseRequest { request_id: id(), key: Some(key(&again)) };
    world.leases.release(&world.who, &release).await?;
    world.leases.release(&world.who, &release).await?;
    assert_eq!(reason(world.release(&again).await), Some(ErrorReason::StaleLease), "a new call is no repeat");
    Ok(())
}

pub async fn twins_in_flight_get_one_lease(world: World) -> anyhow::Result<()> {
    world.accounts(4).await?;
    let request = wish(Purpose::Invite);
    let calls = (0..16).map(|_| {
        let (leases, who, request) = (world.leases.clone(), world.who.clone(), request.clone());
        tokio::spawn(async move { leases.acquire(&who, request, None).await })
    });
    let mut ids = HashSet::new();
    for call in futures_util::future::join_all(calls).await {
        ids.insert(call??.id);
    }
    assert_eq!(ids.len(), 1);
    let left = [world.take().await?, world.take().await?, world.take().await?];
    assert!(left.iter().all(|lease| !ids.contains(&lease.id)), "three accounts are left");
    Ok(())
}

pub async fn what_is_taken_back_never_was(world: World) -> anyhow::Result<()> {
    world.account().await?;
    let request = wish(Purpose::Invite);
    let lease = world.acquire(request.clone()).await?;
    world.store.take_back(&world.who, &request, &lease).await?;
    assert!(world.leases.live_of(lease.account_id).await?.is_none());
    let again = world.acquire(request).await?;
    assert_eq!(again.token, lease.token + 1, "the call was forgotten: a repeat is a new one");
    Ok(())
}

pub async fn id_and_token_are_compared(world: World) -> anyhow::Result<()> {
    world.account().await?;
    let lease = world.take().await?;
    let mut wrong = key(&lease);
    wrong.fencing_token += 1;
    let renew = RenewLeaseRequest { request_id: id(), key: Some(wrong.clone()), ttl: None };
    assert_eq!(reason(world.leases.renew(&world.who, &renew).await), Some(ErrorReason::StaleLease));
    let release = ReleaseLeaseRequest { request_id: id(), key: Some(wrong.clone()) };
    assert_eq!(reason(world.leases.release(&world.who, &release).await), Some(ErrorReason::StaleLease));
    let workspace = world.who.workspace_id;
    let verified = world.leases.verify(workspace, &Key::from_wire(&wrong)).await;
    assert_eq!(reason(verified), Some(ErrorReason::StaleLease));
    let verified = world.leases.verify(workspace, &lease.key()).await?;
    assert!(world.leases.still_valid(&verified));
    assert_eq!((verified.account_id, verified.user), (lease.account_id, world.who.user_id));
    world.release(&lease).await?;
    assert!(!world.leases.still_valid(&verified));
    Ok(())
}

pub async fn a_renewal_never_shortens(world: World) -> anyhow::Result<()> {
    world.account().await?;
    let lease = world.acquire(AcquireLeaseRequest { ttl: secs(100), ..wish(Purpose::Parse) }).await?;
    let renew = RenewLeaseRequest { request_id: id(), key: Some(key(&lease)), ttl: secs(1) };
    assert_eq!(world.leases.renew(&world.who, &renew).await?.expire_at, lease.expire_at);
    world.pass(Duration::from_secs(90));
    let renew = RenewLeaseRequest { request_id: id(), key: Some(key(&lease)), ttl: secs(100) };
    let renewed = world.leases.renew(&world.who, &renew).await?;
    assert_eq!(renewed.expire_at, world.now() + Duration::from_secs(100));
    let verified = world.leases.verify(world.who.workspace_id, &lease.key()).await?;
    world.pass(Duration::from_secs(99));
    assert!(world.leases.still_valid(&verified), "renewed");
    world.pass(Duration::from_secs(1));
    assert!(!world.leases.still_valid(&verified), "over at its deadline");
    Ok(())
}

pub async fn another_workspace_has_no_such_lease(world: World) -> anyhow::Result<()> {
    world.account().await?;
    let stranger = member(Uuid::from_u128(2));
    assert!(world.leases.acquire(&stranger, wish(Purpose::Invite), None).await.is_err(), "accounts are not shared");
    let lease = world.take().await?;
    let renew = RenewLeaseRequest { request_id: id(), key: Some(key(&lease)), ttl: None };
    let release = ReleaseLeaseRequest { request_id: id(), key: Some(key(&lease)) };
    let revoke = RevokeLeaseRequest { request_id: id(), lease_id: lease.id.to_string() };
    let missing = Some(ErrorReason::LeaseNotFound);
    assert_eq!(reason(world.leases.renew(&stranger, &renew).await), missing);
    assert_eq!(reason(world.leases.release(&stranger, &release).await), missing);
    assert_eq!(reason(world.leases.revoke(&stranger, &revoke).await), missing);
    assert_eq!(reason(world.leases.get(Scope::of(&stranger), lease.id).await), missing);
    assert_eq!(reason(world.leases.verify(stranger.workspace_id, &lease.key()).await), missing);
    assert!(world.leases.list(&stranger, &ListLeasesRequest::default()).await?.0.is_empty());
    assert_eq!(world.leases.list(&operator(), &ListLeasesRequest::default()).await?.0.len(), 1, "operators see all");
    assert!(world.leases.live_of(lease.account_id).await?.is_some(), "nobody ended it");
    Ok(())
}

pub async fn a_revoked_lease_is_over_at_once(world: World) -> anyhow::Result<()> {
    let account = world.account().await?;
    let lease = world.take().await?;
    let verified = world.leases.verify(world.who.workspace_id, &lease.key()).await?;
    let revoke = RevokeLeaseRequest { request_id: id(), lease_id: lease.id.to_string() };
    let ended = world.leases.revoke(&operator(), &revoke).await?;
    assert_eq!(ended.state, State::Revoked);
    assert!(!world.leases.still_valid(&verified));
    let gone = world.leases.verify(world.who.workspace_id, &lease.key()).await;
    assert_eq!(reason(gone), Some(ErrorReason::StaleLease));
    assert_eq!(world.leases.revoke(&operator(), &revoke).await?.state, State::Revoked, "a repeat");
    let next = world.take().await?;
    assert!(next.token > lease.token);
    let verified = world.leases.verify(world.who.workspace_id, &next.key()).await?;
    world.leases.revoke_account(account, RevokeCause::SessionLost).await?;
    assert!(!world.leases.still_valid(&verified));
    world.leases.revoke_account(account, RevokeCause::SessionLost).await?;
    Ok(())
}

pub async fn a_lease_is_known_after_a_restart(mut world: World) -> anyhow::Result<()> {
    world.accounts(2).await?;
    let (held, released) = (world.take().await?, world.take().await?);
    world.release(&released).await?;
    world.restart_with(Limits::NONE).await?;
    let workspace = world.who.workspace_id;
    let verified = world.leases.verify(workspace, &held.key()).await?;
    assert!(world.leases.still_valid(&verified));
    assert_eq!((verified.purpose, verified.work.as_str()), (Purpose::Invite, "campaign"));
    assert_eq!(reason(world.leases.verify(workspace, &released.key()).await), Some(ErrorReason::StaleLease));
    // Of an account's leases only the newest is good, even if an older one is asked about later.
    world.pass(Duration::from_secs(30));
    assert_eq!(reason(world.leases.verify(workspace, &held.key()).await), Some(ErrorReason::StaleLease));
    Ok(())
}

pub async fn denials_count_accounts_by_reason(mut world: World) -> anyhow::Result<()> {
    let mut limits = Limits::NONE;
    limits.invite.per_day = Some(2);
    limits.invite.per_day_and_chat = Some(1);
    limits.invite.interval = Some(tgmesh_integration::quotas::Range {
        shortest: Duration::from_secs(600),
        longest: Duration::from_secs(600),
    });
    world.restart_with(limits).await?;
    let accounts = world.accounts(11).await?;
    // Used up for the chat, and not cooling down any more.
    world.act(accounts[3], Action::Invite, CHAT).await?;
    // Used up for the day.
    world.act(accounts[2], Action::Invite, 5).await?;
    world.pass(Duration::from_secs(700));
    world.act(accounts[2], Action::Invite, 6).await?;
    world.pass(Duration::from_secs(700));
    world.act(accounts[1], Action::Invite, 5).await?;
    let now = world.now();
    let at = |secs| now + Duration::from_secs(secs);
    world.restrict(accounts[4], Cause::FloodWait, Action::Invite, Some(at(5_000))).await?;
    world.restrict(accounts[5], Cause::PeerFlood, Action::Invite, Some(at(80_000))).await?;
    world.rights(accounts[6], 0).await?;
    world.change(accounts[7], |row| row.session_state = Set(SessionState::Revoked.into())).await?;
    world.change(accounts[8], |row| row.paused_at = Set(Some(1))).await?;
    world.change(accounts[9], |row| row.purposes = Set(1 << i32::from(Purpose::Parse))).await?;
    let any_of = AcquireLeaseRequest { any_of_account_ids: vec![accounts[0].to_string()], ..wish(Purpose::Invite) };
    world.acquire(any_of).await?;

    let request = AcquireLeaseRequest {
        chat: CHAT.to_string(),
        rights: vec![ChatRight::Invite.into()],
        none_of_account_ids: vec![accounts[10].to_string()],
        ..wish(Purpose::Invite)
    };
    let denied = world.denied(request).await?;
    for (reason, accounts, ready) in [
        (Reason::Leased, 1, Next::At(at(30))),
        (Reason::CoolingDown, 1, Next::At(at(600))),
        (Reason::DailyLimit, 1, Next::At(now.day_start() + Duration::from_secs(86_400))),
        (Reason::ChatLimit, 1, Next::At(now.day_start() + Duration::from_secs(86_400))),
        (Reason::FloodWait, 1, Next::At(at(5_000))),
        (Reason::Restricted, 1, Next::At(at(80_000))),
        (Reason::NoRights, 1, Next::Never),
        (Reason::Offline, 1, Next::Never),
        (Reason::Paused, 1, Next::Never),
        (Reason::NotEligible, 2, Next::Never),
    ] {
        assert_eq!(denied.counts.get(&reason), Some(&(accounts, ready)), "{reason:?}");
    }
    assert_eq!(denied.earliest(), Some(at(30)));
    let status = tgmesh_proto::status::read(&denied.to_status()).expect("a status of the catalogue");
    assert_eq!(status.metadata.get("cooling_down").map(String::as_str), Some("1"));
    assert_eq!(status.metadata.get("not_eligible").map(String::as_str), Some("2"));
    assert_eq!(status.metadata.get("earliest_time"), Some(&at(30).to_proto().to_string()));
    assert_eq!(status.retry_after, Some(Duration::from_secs(30)));
    Ok(())
}

pub async fn accounts_can_be_chosen_and_excluded(world: World) -> anyhow::Result<()> {
    let accounts = world.accounts(3).await?;
    let request = |any: &[Uuid], none: &[Uuid]| AcquireLeaseRequest {
        any_of_account_ids: any.iter().map(Uuid::to_string).collect(),
        none_of_account_ids: none.iter().map(Uuid::to_string).collect(),
        ..wish(Purpose::Parse)
    };
    assert_eq!(world.acquire(request(&accounts[2..], &[])).await?.account_id, accounts[2]);
    assert_eq!(world.acquire(request(&[], &accounts[..1])).await?.account_id, accounts[1]);
    let denied = world.denied(request(&accounts[1..], &[])).await?;
    assert_eq!((denied.count(Reason::Leased), denied.count(Reason::NotEligible)), (2, 1));
    Ok(())
}

pub async fn whom_telegram_or_the_user_stops_is_not_asked_about(world: World) -> anyhow::Result<()> {
    let accounts = world.accounts(4).await?;
    let end = world.now() + Duration::from_secs(60);
    world.restrict(accounts[0], Cause::FloodWait, Action::Invite, Some(end)).await?;
    world.restrict(accounts[1], Cause::Frozen, Action::Unspecified, None).await?;
    world.change(accounts[2], |account| account.paused_at = Set(Some(1))).await?;
    let none = vec![accounts[3].to_string()];
    let request = AcquireLeaseRequest {
        chat: CHAT.to_string(),
        rights: vec![ChatRight::Invite.into()],
        none_of_account_ids: none,
        ..wish(Purpose::Invite)
    };
    world.denied(request).await?;
    assert!(world.chats.asked.lock().unwrap().is_empty());
    Ok(())
}

pub async fn the_budget_comes_with_the_lease(mut world: World) -> anyhow::Result<()> {
    world.restart_with(Limits::default()).await?;
    let account = world.account().await?;
    world.act(account, Action::Invite, CHAT).await?;
    world.pass(Duration::from_secs(3_600));
    let request = AcquireLeaseRequest { chat: CHAT.to_string(), ..wish(Purpose::Invite) };
    let lease = world.acquire(request).await?;
    let left = |limit| lease.budget.iter().find(|usage| usage.limit == limit).and_then(|usage| usage.left());
    assert_eq!(left(LimitName::InvitePerDay), Some(29));
    assert_eq!(left(LimitName::InvitePerDayAndChat), Some(14));
    assert_eq!(left(LimitName::InviteTotalPerChat), Some(199));
    let seen = world.leases.get(Scope::All, lease.id).await?;
    assert_eq!(seen.budget, lease.budget);
    let listed = world.leases.list(&world.who, &ListLeasesRequest::default()).await?.0;
    assert_eq!(listed[0].budget, lease.budget);
    Ok(())
}

pub async fn changes_are_seen_once(world: World) -> anyhow::Result<()> {
    world.accounts(2).await?;
    let scope = Scope::Workspace(world.who.workspace_id);
    let first = world.take().await?;
    let (snapshot, token) = world.leases.changes(scope, None).await?;
    assert!(snapshot.snapshot);
    assert_eq!(snapshot.leases.iter().map(|lease| lease.id).collect::<Vec<_>>(), [first.id]);
    let second = world.take().await?;
    world.release(&first).await?;

    // PostgreSQL shows a change once every transaction that began before it has
    // ended, those of other tests included.
    let mut since = world.leases.position(scope, &token)?;
    let mut seen = Vec::new();
    let mut see = async |wanted: &[(Uuid, State)]| {
        tgmesh_tests::wait::until("the changes", Duration::from_secs(20), async || {
            let (changes, _) = world.leases.changes(scope, since).await.ok()?;
            assert!(!changes.snapshot && Some(changes.position) >= since);
            since = Some(changes.position);
            seen.extend(changes.leases.iter().map(|lease| (lease.id, lease.state)));
            wanted.iter().all(|change| seen.contains(change)).then_some(())
        })
        .await
    };
    let mut expected = vec![(first.id, State::Released), (second.id, State::Active)];
    see(&expected).await?;
    let third = world.take().await?;
    expected.push((third.id, State::Active));
    see(&expected).await?;
    for change in expected {
        assert_eq!(seen.iter().filter(|found| **found == change).count(), 1, "seen once");
    }
    let (nothing, _) = world.leases.changes(scope, since).await?;
    assert!(nothing.leases.is_empty() && !nothing.snapshot);

    let other = Scope::Workspace(Uuid::from_u128(2));
    assert!(world.leases.changes(other, Some(0)).await?.0.leases.is_empty());
    assert_eq!(world.leases.changes(Scope::All, Some(0)).await?.0.leases.len(), 3);
    assert!(world.leases.position(other, &token).is_err(), "a token of another workspace");
    Ok(())
}

pub async fn pages_walk_the_whole_list(world: World) -> anyhow::Result<()> {
    world.accounts(5).await?;
    for _ in 0..5 {
        world.take().await?;
        world.pass(Duration::from_millis(1));
    }
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let request = ListLeasesRequest { page_size: 2, page_token: token, ..ListLeasesRequest::default() };
        let (leases, next) = world.leases.list(&world.who, &request).await?;
        seen.extend(leases.iter().map(|lease| lease.acquired_at));
        token = next;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen.len(), 5);
    assert!(seen.is_sorted_by(|a, b| a > b), "newest first");
    let states = vec![State::Released.into(), State::Expired.into()];
    let request = ListLeasesRequest { states, ..ListLeasesRequest::default() };
    assert!(world.leases.list(&world.who, &request).await?.0.is_empty());
    world.pass(Duration::from_secs(60));
    assert_eq!(world.leases.list(&world.who, &request).await?.0.len(), 5, "over by time");
    Ok(())
}
