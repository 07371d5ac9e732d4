//! What becomes of a call whose answer cannot be written down, and of one that Telegram forbids for a time.

use anyhow::Context as _;
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection, Statement};
use telegram_emulator::{Call, CallFilter, Fault, FaultFilter, FaultKind, Release, RpcError, Standing};
use tgmesh_proto::ErrorReason;
use tgmesh_proto::integration::v1 as integration;
use tgmesh_proto::invite::v1 as campaigns;
use tgmesh_proto::lease::v1::{Lease, Purpose};
use tgmesh_proto::telegram::v1 as pb;
use tgmesh_proto::telegram::v1::reconcile_invite_response::Finding;
use tgmesh_proto::telegram::v1::user_address::Address;
use tgmesh_proto::telegram::v1::{Outcome, send_message_request};

use crate::common::play::{CHAT, key};
use crate::common::{UNLIMITED, World};
use crate::{calls, client, fault, invite, leased, named, reason, refusal};

/// The service's database.
struct Rows(DatabaseConnection);

impl Rows {
    async fn of(world: &World) -> anyhow::Result<Self> {
        let file = world.config.data_dir.join("integration.db");
        Ok(Self(Database::connect(format!("sqlite://{}", file.display())).await?))
    }

    /// Refuses this, until it is mended.
    async fn cut(&self, event: &str) -> anyhow::Result<()> {
        let trigger = format!("CREATE TRIGGER cut BEFORE {event} BEGIN SELECT RAISE(ABORT, 'cut'); END");
        self.0.execute_unprepared(&trigger).await?;
        Ok(())
    }

    async fn mend(&self) -> anyhow::Result<()> {
        self.0.execute_unprepared("DROP TRIGGER cut").await?;
        Ok(())
    }

    async fn count(&self, table: &str) -> anyhow::Result<i64> {
        let text = format!("SELECT COUNT(*) AS n FROM {table}");
        let row = self.0.query_one_raw(Statement::from_string(self.0.get_database_backend(), text)).await?;
        Ok(row.context("no row")?.try_get("", "n")?)
    }
}

fn message(world: &World, lease: &Lease, username: &str) -> pb::SendMessageRequest {
    pb::SendMessageRequest {
        request_id: world.id(),
        lease: key(lease),
        text: "hello".to_owned(),
        peer: named(username).map(send_message_request::Peer::User),
    }
}

#[tokio::test]
async fn an_invite_whose_answer_cannot_be_written_down_is_unknown_and_found_again() -> anyhow::Result<()> {
    let world = World::start().await?;
    let rows = Rows::of(&world).await?;
    let (_, lease) = leased(&world, 61, Purpose::Invite).await?;
    for (place, error, username, finding) in [
        ("UPDATE ON usage_entries WHEN NEW.method LIKE '%nvite%'", None, "target_willing", Finding::InChat),
        ("UPDATE ON requests WHEN NEW.answer IS NOT NULL", None, "target_friend", Finding::InChat),
        ("INSERT ON chat_rights", Some("CHAT_ADMIN_REQUIRED"), "target_private", Finding::NotInChat),
        ("INSERT ON restrictions", Some("FLOOD_WAIT_1"), "target_private", Finding::NotInChat),
    ] {
        if let Some(name) = error {
            world.handle().inject_fault(refusal("channels.inviteToChannel", name));
        }
        let request = invite(&world, &lease, username);
        rows.cut(place).await?;
        let first = client(&world).invite_to_chat(request.clone()).await;
        rows.mend().await?;
        assert_eq!(reason(first), Some(ErrorReason::OutcomeUnknown), "{place}");
        let again = client(&world).invite_to_chat(request.clone()).await;
        assert_eq!(reason(again), Some(ErrorReason::OutcomeUnknown), "{place}");
        let look = pb::ReconcileInviteRequest {
            lease: key(&lease),
            invite_request_id: request.request_id.clone(),
            chat: CHAT.to_owned(),
            user: request.user.clone(),
        };
        let found = client(&world).reconcile_invite(look).await?.into_inner();
        assert_eq!(found.finding(), finding, "{place}");
    }
    assert_eq!(calls(&world, "channels.inviteToChannel"), 4);
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_message_of_which_nobody_knows_is_sent_once_when_it_is_repeated() -> anyhow::Result<()> {
    let world = World::start().await?;
    let rows = Rows::of(&world).await?;
    let (_, lease) = leased(&world, 61, Purpose::Message).await?;
    // The answer was lost after and before the effect, and could not be written down.
    for (kind, username, user) in [
        (Some(FaultKind::DropAfterEffect), "target_willing", 31),
        (Some(FaultKind::DropBeforeEffect), "target_friend", 21),
        (None, "user_62", 62),
    ] {
        let request = message(&world, &lease, username);
        match &kind {
            Some(kind) => {
                world.handle().inject_fault(fault("messages.sendMessage", kind.clone()));
            }
            None => rows.cut("UPDATE ON requests WHEN NEW.answer IS NOT NULL").await?,
        }
        let first = client(&world).send_message(request.clone()).await;
        assert_eq!(reason(first), Some(ErrorReason::OutcomeUnknown), "{username}");
        if kind.is_none() {
            rows.mend().await?;
        }
        let before = rows.count("usage_entries").await?;
        let again =
            client(&world).send_message(request.clone()).await.with_context(|| username.to_owned())?.into_inner();
        assert_eq!(again.outcome(), Outcome::MessageSent, "{username}");
        assert_eq!(rows.count("usage_entries").await?, before, "it has its place in the ledger");
        assert_eq!(client(&world).send_message(request).await?.into_inner(), again);
        assert_eq!(world.handle().private_messages(user, 61), ["hello"], "{username}");
    }
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_message_that_may_have_been_sent_is_never_said_not_to_be() -> anyhow::Result<()> {
    let world = World::start().await?;
    let (_, lease) = leased(&world, 61, Purpose::Message).await?;
    let request = message(&world, &lease, "target_willing");
    world.handle().inject_fault(fault("messages.sendMessage", FaultKind::DropAfterEffect));
    assert_eq!(reason(client(&world).send_message(request.clone()).await), Some(ErrorReason::OutcomeUnknown));
    world.handle().inject_fault(refusal("messages.sendMessage", "PEER_FLOOD"));
    assert_eq!(reason(client(&world).send_message(request.clone()).await), Some(ErrorReason::OutcomeUnknown));
    assert_eq!(reason(client(&world).send_message(request).await), Some(ErrorReason::OutcomeUnknown));
    // Another message is another matter.
    let other = message(&world, &lease, "target_friend");
    assert_eq!(reason(client(&world).send_message(other).await), Some(ErrorReason::PeerFlood));
    assert_eq!(calls(&world, "messages.sendMessage"), 2);
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_call_that_had_no_effect_is_made_anew_under_its_id() -> anyhow::Result<()> {
    let world = World::start().await?;
    let rows = Rows::of(&world).await?;
    let (_, lease) = leased(&world, 61, Purpose::Invite).await?;
    let request = invite(&world, &lease, "target_willing");
    world.handle().inject_fault(refusal("channels.inviteToChannel", "CHANNEL_PRIVATE"));
    assert_eq!(reason(client(&world).invite_to_chat(request.clone()).await), Some(ErrorReason::ChatUnavailable));
    let answer = client(&world).invite_to_chat(request).await?.into_inner();
    assert_eq!(answer.outcome(), Outcome::Invited);
    // Both reached Telegram, and both count.
    assert_eq!(rows.count("usage_entries WHERE method = 'channels.inviteToChannel' AND state = 2").await?, 2);
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_call_that_is_made_again_for_a_fault_of_telegram_counts_each_time() -> anyhow::Result<()> {
    let world = World::start().await?;
    let rows = Rows::of(&world).await?;
    let (_, lease) = leased(&world, 61, Purpose::Invite).await?;
    for method in ["contacts.resolveUsername", "channels.inviteToChannel"] {
        world.handle().inject_fault(Fault { times: Some(2), ..refusal(method, "RPC_CALL_FAIL") });
    }
    let answer = client(&world).invite_to_chat(invite(&world, &lease, "target_willing")).await?.into_inner();
    assert_eq!(answer.outcome(), Outcome::Invited);
    for method in ["contacts.resolveUsername", "channels.inviteToChannel"] {
        let made = i64::try_from(calls(&world, method))?;
        assert!(made >= 3, "{method}: {made}");
        assert_eq!(rows.count(&format!("usage_entries WHERE method = '{method}' AND state = 2")).await?, made);
    }
    let failed = "usage_entries WHERE telegram_error = 'RPC_CALL_FAIL' AND success = FALSE";
    assert_eq!(rows.count(failed).await?, 4);
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn nobody_calls_inside_a_wait_that_telegram_demanded() -> anyhow::Result<()> {
    let world = World::start().await?;
    // A look-up, an invite, and reading; the account is still held.
    for (user, method, name, expected) in [
        (61, "contacts.resolveUsername", "FLOOD_WAIT_31", ErrorReason::FloodWait),
        (62, "contacts.importContacts", "FLOOD_WAIT_31", ErrorReason::FloodWait),
        (63, "channels.inviteToChannel", "PEER_FLOOD", ErrorReason::PeerFlood),
        (64, "channels.inviteToChannel", "FROZEN_METHOD_INVALID", ErrorReason::AccountFrozen),
    ] {
        let (_, lease) = leased(&world, user, Purpose::Invite).await?;
        let filter = FaultFilter { account: Some(user), method: Some(method.to_owned()), ..Default::default() };
        // Look-ups of the chat go through.
        let skip = u32::from(method == "contacts.resolveUsername");
        world.handle().inject_fault(Fault { skip, ..Fault::once(filter, FaultKind::Error(RpcError::by_name(name))) });
        let request = || {
            let mut request = invite(&world, &lease, "target_willing");
            if method == "contacts.importContacts" {
                let phone = "+49 30 8000 0031".to_owned();
                request.user = Some(pb::UserAddress { address: Some(Address::Phone(phone)) });
            }
            request
        };
        assert_eq!(reason(client(&world).invite_to_chat(request()).await), Some(expected), "{method}");
        let before = calls(&world, method);
        assert_eq!(reason(client(&world).invite_to_chat(request()).await), Some(expected), "{method} again");
        assert_eq!(calls(&world, method), before, "{method} was called inside the wait");
    }
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn integrations_own_duties_keep_to_waits_and_pauses() -> anyhow::Result<()> {
    let world = World::start().await?;
    let id = world.connect(world.owner, 61).await?;
    let rights =
        || pb::GetChatRightsRequest { chat: CHAT.to_owned(), purpose: Purpose::Invite.into(), account_ids: Vec::new() };
    let method = "channels.getChannels";
    world.handle().inject_fault(refusal(method, "FLOOD_WAIT_31"));
    for again in [false, true] {
        let answer = client(&world).get_chat_rights(rights()).await?.into_inner();
        let found = answer.accounts.first().context("no account")?;
        assert_eq!(found.problem(), pb::account_readiness::Problem::Restricted, "again: {again}");
        assert_eq!(calls(&world, method), 1, "again: {again}");
    }
    // A check that the user asks for keeps to the wait as well, and tells of it.
    let before = calls(&world, "users.getUsers");
    let check = integration::CheckAccountRequest { request_id: world.id(), account_id: id };
    let checked = world.integration(world.owner).check_account(check).await?.into_inner();
    assert_eq!(calls(&world, "users.getUsers"), before);
    assert_eq!(checked.account.context("no account")?.restrictions.len(), 1);
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_freeze_ends_when_telegram_says_so_or_the_user_logs_in_again() -> anyhow::Result<()> {
    let world = World::start().await?;
    let key = [7; 256];
    let id = world.connect_by(world.owner, 61, key).await?;
    let lease = world.lease(tgmesh_proto::Caller::Invite, world.owner, &id, Purpose::Invite).await?;
    let check = async || -> anyhow::Result<_> {
        let check = integration::CheckAccountRequest { request_id: world.id(), account_id: id.clone() };
        let checked = world.integration(world.owner).check_account(check).await?.into_inner();
        Ok((checked.account.context("no account")?.restrictions.len(), checked.issues.len()))
    };
    world.handle().set_restrictions(61, Some(true), None, None)?;
    let refused = client(&world).invite_to_chat(invite(&world, &lease, "target_willing")).await;
    assert_eq!(reason(refused), Some(ErrorReason::AccountFrozen));
    assert_eq!(check().await?, (1, 1), "it is frozen still");
    world.handle().set_restrictions(61, Some(false), None, None)?;
    let refused = client(&world).invite_to_chat(invite(&world, &lease, "target_willing")).await;
    assert_eq!(reason(refused), Some(ErrorReason::AccountFrozen), "nobody has been told otherwise");
    assert_eq!(check().await?, (0, 0));
    let answer = client(&world).invite_to_chat(invite(&world, &lease, "target_willing")).await?.into_inner();
    assert_eq!(answer.outcome(), Outcome::Invited);
    // A login begins anew.
    world.handle().inject_fault(refusal("channels.inviteToChannel", "FROZEN_METHOD_INVALID"));
    let refused = client(&world).invite_to_chat(invite(&world, &lease, "target_friend")).await;
    assert_eq!(reason(refused), Some(ErrorReason::AccountFrozen));
    let login = world.start_login(world.owner, 61).await?;
    let login = world.enter_code(world.owner, 61, &login.id).await?;
    assert_eq!(login.account.context("no account")?.restrictions.len(), 0);
    world.stop().await?;
    Ok(())
}

/// Invites are looked after, every one of them.
const LOOKED_AFTER: &str = "[integration.rules]\ncheck_one_invite_in = 1\n";
const INVITE: &str = "channels.inviteToChannel";
const LOOK: &str = "channels.getParticipant";

/// The next invite is answered as done, and its user is not in the chat by then.
async fn invited_in_vain(world: &World, user: i64) -> anyhow::Result<()> {
    world.handle().wait_until(|handle| !handle.holds().is_empty()).await;
    for hold in world.handle().holds() {
        assert_eq!(hold.subject.users, [user]);
        world.handle().set_standing(601, user, Standing::Left)?;
        world.handle().release_hold(hold.id, Release::Continue)?;
    }
    Ok(())
}

/// The looks for a user in the chat, and how Telegram answered them.
fn looks(world: &World, user: i64) -> Vec<Option<String>> {
    let about = |call: &Call| call.subject.chat == Some(601) && call.subject.users == [user];
    let filter = CallFilter { method: Some(LOOK.to_owned()), ..Default::default() };
    world.handle().calls(&filter, 0, 100).into_iter().filter(about).map(|call| call.error).collect()
}

#[tokio::test]
async fn an_invite_that_brought_nobody_in_is_found_out() -> anyhow::Result<()> {
    let third = "\n[[user]]\nid = 71\nfirst_name = 'Third'\nusername = 'target_third'\n";
    let world = World::start_with(&format!("{UNLIMITED}{LOOKED_AFTER}"), third).await?;
    let rows = Rows::of(&world).await?;
    let counted = async |success: bool| {
        let success = if success { "success" } else { "NOT success" };
        rows.count(&format!("usage_entries WHERE method = '{INVITE}' AND state = 2 AND {success}")).await
    };
    let (_, lease) = leased(&world, 61, Purpose::Invite).await?;

    let request = invite(&world, &lease, "target_willing");
    world.handle().inject_fault(fault(INVITE, FaultKind::HoldAfterEffect));
    let mut telegram = client(&world);
    let (answer, vanished) = tokio::join!(telegram.invite_to_chat(request.clone()), invited_in_vain(&world, 31));
    vanished?;
    let answer = answer?.into_inner();
    assert_eq!((answer.outcome(), answer.telegram_error.as_str()), (Outcome::NotJoined, ""));
    assert_eq!(looks(&world, 31), [Some("USER_NOT_PARTICIPANT".to_owned())]);
    // It reached Telegram and counts as an invite, but not as a member won.
    assert_eq!((counted(false).await?, counted(true).await?), (1, 0));
    assert_eq!(client(&world).invite_to_chat(request).await?.into_inner(), answer);
    assert_eq!(calls(&world, INVITE), 1);

    // The same look finds whoever is there, and proves nothing when it fails.
    let answer = client(&world).invite_to_chat(invite(&world, &lease, "target_friend")).await?.into_inner();
    assert_eq!((answer.outcome(), looks(&world, 21)), (Outcome::Invited, vec![None]));
    world.handle().inject_fault(refusal(LOOK, "CHAT_ADMIN_REQUIRED"));
    let answer = client(&world).invite_to_chat(invite(&world, &lease, "target_third")).await?.into_inner();
    let refused = vec![Some("CHAT_ADMIN_REQUIRED".to_owned())];
    assert_eq!((answer.outcome(), looks(&world, 71)), (Outcome::Invited, refused));
    assert_eq!((counted(false).await?, counted(true).await?), (1, 2));
    world.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_campaign_counts_whom_its_invite_did_not_bring_in_as_not_joined() -> anyhow::Result<()> {
    let world = World::start_with(&format!("{UNLIMITED}{LOOKED_AFTER}"), "").await?;
    let rows = Rows::of(&world).await?;
    world.connect(world.owner, 61).await?;
    let id = world.create_campaign(world.owner, &["target_willing"]).await?;
    world.handle().inject_fault(fault(INVITE, FaultKind::HoldAfterEffect));
    world.start_campaign(world.owner, &id).await?;
    invited_in_vain(&world, 31).await?;

    let campaign = world.until_done(world.owner, &id).await?;
    assert_eq!(campaign.state(), campaigns::campaign::State::Completed);
    let outcomes = campaign.progress.context("no progress")?.outcomes;
    let outcomes: Vec<_> = outcomes.iter().map(|count| (count.outcome(), count.targets)).collect();
    assert_eq!(outcomes, [(Outcome::NotJoined, 1)]);
    let list = campaigns::ListTargetsRequest { campaign_id: id, ..Default::default() };
    let targets = world.invite(world.owner).list_targets(list).await?.into_inner().targets;
    let [target] = &targets[..] else { anyhow::bail!("{targets:?}") };
    assert_eq!((target.outcome(), target.attempts), (Outcome::NotJoined, 1), "{target:?}");
    let without_success = format!("usage_entries WHERE method = '{INVITE}' AND state = 2 AND NOT success");
    assert_eq!(rows.count(&without_success).await?, 1);
    assert_eq!(looks(&world, 31), [Some("USER_NOT_PARTICIPANT".to_owned())]);
    assert_eq!(calls(&world, INVITE), 1, "nobody is asked twice");
    world.stop().await?;
    Ok(())
}
