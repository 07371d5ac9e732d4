//! Takes care of targets that nobody works on any more: their process died, the
//! database failed in the middle of the work, or an answer was lost. What was
//! only claimed goes back. What may have been sent is found out at the
//! integration service before any second call.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use sea_orm::{DbErr, EntityTrait as _, Value};
use service_kit::clock::duration_to_proto;
use service_kit::lease::LeaseGuard;
use tgmesh_proto::ErrorReason;
use tgmesh_proto::invite::v1::target::State;
use tgmesh_proto::lease::v1::{AcquireLeaseRequest, ChatRight, Purpose};
use tgmesh_proto::telegram::v1::reconcile_invite_response::Finding;
use tgmesh_proto::telegram::v1::{Outcome, ReconcileInviteRequest, ReconcileInviteResponse};
use tokio::task::JoinSet;
use tonic::Status;
use uuid::Uuid;

use super::hands::Hand;
use super::outcome::{Verdict, judge};
use super::record::{Found, reconcile};
use super::store::{self, Attempt};
use super::worker::address;
use crate::app::{App, execute, sql};
use crate::campaigns::entity::{Entity as Campaigns, Model as Campaign};
use crate::targets::entity::{Entity, Model};

const CLAIMED: i32 = State::Claimed as i32;
const SENDING: i32 = State::Sending as i32;
/// Targets looked at in one round.
const ROUND: usize = 200;
/// How long an account is waited for.
const WAIT: Duration = Duration::from_secs(2);

/// A target that nobody works on, now in this process's hand.
#[derive(Debug)]
pub struct Orphan {
    /// The target.
    pub target: Model,
    _hand: Hand,
}

/// Looks for such targets until shutdown begins.
///
/// # Errors
/// When a task panics.
pub async fn run(app: Arc<App>) -> anyhow::Result<()> {
    let mut rounds: JoinSet<Uuid> = JoinSet::new();
    let mut busy: HashSet<Uuid> = HashSet::new();
    while !app.shutdown.has_begun() {
        match orphans(&app).await {
            Ok(orphans) => {
                for (campaign_id, orphans) in take(&app, orphans).await {
                    if busy.insert(campaign_id) {
                        let app = app.clone();
                        rounds.spawn(async move {
                            if let Err(error) = find_out(&app, campaign_id, orphans).await {
                                tracing::error!(%error, %campaign_id, "lost answers cannot be looked for");
                            }
                            campaign_id
                        });
                    }
                }
            }
            Err(error) => tracing::error!(%error, "orphaned targets cannot be read"),
        }
        tokio::select! {
            () = app.clock.sleep(app.config.engine.tick()) => {}
            () = app.shutdown.begun() => {}
            Some(ended) = rounds.join_next() => {
                busy.remove(&ended.map_err(|error| anyhow::anyhow!("a reconciliation died: {error}"))?);
            }
        }
    }
    while let Some(ended) = rounds.join_next().await {
        ended.map_err(|error| anyhow::anyhow!("a reconciliation died: {error}"))?;
    }
    Ok(())
}

/// Targets under way that belong to nobody who lives, or to this process, which
/// does not know of them. What is read may be over by now: whoever goes on with
/// one does so by an UPDATE on just this state.
///
/// # Errors
/// When the database fails.
pub async fn orphans(app: &App) -> Result<Vec<Orphan>, DbErr> {
    // Those in hand are among the rows, and must not crowd the others out.
    let most = ROUND + app.hands.count();
    let text = format!(
        "SELECT * FROM targets WHERE state IN ({CLAIMED}, {SENDING}) AND not_before_at <= $1 AND (owner IS NULL \
         OR owner = $2 OR NOT EXISTS (SELECT 1 FROM processes p WHERE p.id = owner AND p.expires_at > $1)) \
         LIMIT {most}"
    );
    let values: [Value; 2] = [app.now().into(), app.process.into()];
    let found = Entity::find().from_raw_sql(sql(app.db.conn(), text, values)).all(app.db.conn()).await?;
    let orphans = found.into_iter().filter_map(|target| {
        let hand = app.hands.take(target.id)?;
        Some(Orphan { target, _hand: hand })
    });
    Ok(orphans.collect())
}

/// Gives claimed targets back, and sorts the others by campaign.
async fn take(app: &App, orphans: Vec<Orphan>) -> HashMap<Uuid, Vec<Orphan>> {
    let mut sent: HashMap<Uuid, Vec<Orphan>> = HashMap::new();
    let mut freed = false;
    for orphan in orphans {
        if orphan.target.state == SENDING {
            sent.entry(orphan.target.campaign_id).or_default().push(orphan);
            continue;
        }
        match store::unclaim(app, &orphan.target, orphan.target.owner).await {
            Ok(done) => freed |= done,
            Err(error) => tracing::error!(%error, "a claimed target cannot be given back"),
        }
    }
    if freed {
        app.changed();
    }
    sent
}

/// Takes a target over; fails when another replica was first, or the attempt is
/// over.
///
/// # Errors
/// When the database fails.
pub async fn adopt(app: &App, target: &Model) -> Result<bool, DbErr> {
    let same = if target.owner.is_some() { "owner = $3" } else { "owner IS NULL AND $3 IS NULL" };
    let text =
        format!("UPDATE targets SET owner = $2 WHERE id = $1 AND state = {SENDING} AND attempt_id = $4 AND {same}");
    let values: [Value; 4] = [target.id.into(), app.process.into(), target.owner.into(), target.attempt_id.into()];
    Ok(execute(app.db.conn(), text, values).await? > 0)
}

/// Lets go of a target that is still not known about, for a while.
async fn postpone(app: &App, target_id: Uuid) -> Result<(), DbErr> {
    let until = (app.clock.now() + app.config.engine.reconcile_retry()).millis();
    let text = format!(
        "UPDATE targets SET owner = NULL, not_before_at = $2 WHERE id = $1 AND state = {SENDING} AND owner = $3"
    );
    let values: [Value; 3] = [target_id.into(), until.into(), app.process.into()];
    execute(app.db.conn(), text, values).await?;
    Ok(())
}

/// Finds out what became of a campaign's lost attempts.
async fn find_out(app: &App, campaign_id: Uuid, orphans: Vec<Orphan>) -> Result<(), DbErr> {
    let Some(campaign) = Campaigns::find_by_id(campaign_id).one(app.db.conn()).await? else {
        return Ok(());
    };
    let mut left = Vec::new();
    for orphan in orphans {
        if adopt(app, &orphan.target).await? {
            left.push(orphan);
        }
    }
    while let Some(Orphan { target: first, .. }) = left.first() {
        let only = if first.open { Vec::new() } else { store::peer_accounts(app.db.conn(), first.id).await? };
        let guard = match account(app, &campaign, &only).await {
            Ok(guard) => guard,
            Err(status) => {
                tracing::warn!(%campaign_id, reason = ?tgmesh_proto::status::reason(&status), "no account to look for lost answers");
                for orphan in left {
                    postpone(app, orphan.target.id).await?;
                }
                return Ok(());
            }
        };
        let account_id = guard.account_id();
        let (mut progress, mut rest) = (false, Vec::new());
        for orphan in left {
            let target = &orphan.target;
            let peer = store::peer(app.db.conn(), target.id, account_id).await?;
            let by_peer = peer.is_some();
            match (address(target, account_id, peer), target.attempt_id) {
                (Some(user), Some(attempt_id)) if !guard.lost().is_cancelled() => {
                    progress = true;
                    let attempt = Attempt { id: attempt_id, account_id, by_peer, target: target.clone() };
                    look(app, &campaign, &guard, &attempt, user).await?;
                }
                _ => rest.push(orphan),
            }
        }
        if let Err(status) = guard.release().await {
            tracing::warn!(code = ?status.code(), "lease could not be given back");
        }
        if !progress {
            for orphan in rest {
                postpone(app, orphan.target.id).await?;
            }
            return Ok(());
        }
        left = rest;
    }
    Ok(())
}

/// An account that may look: one that could invite, else one that can read.
/// Looking is no invite, so used-up limits of invites must not keep it waiting.
async fn account(app: &App, campaign: &Campaign, only: &[Uuid]) -> Result<LeaseGuard, Status> {
    let request = |purpose: Purpose, right: ChatRight, wait: Duration| AcquireLeaseRequest {
        request_id: String::new(),
        purpose: purpose as i32,
        chat: campaign.chat.clone(),
        rights: vec![right as i32],
        any_of_account_ids: only.iter().map(Uuid::to_string).collect(),
        none_of_account_ids: Vec::new(),
        wait: Some(duration_to_proto(wait)),
        ttl: Some(duration_to_proto(app.config.engine.lease_ttl())),
        work: campaign.id.to_string(),
        holder: format!("invite/{}", app.process),
        priority: campaign.priority,
    };
    let invite = request(Purpose::Invite, ChatRight::Invite, Duration::ZERO);
    match app.leases.acquire(campaign.acting(), invite).await {
        Err(status) if tgmesh_proto::status::reason(&status) == Some(ErrorReason::NoAccountAvailable) => {
            app.leases.acquire(campaign.acting(), request(Purpose::Parse, ChatRight::Read, WAIT)).await
        }
        answer => answer,
    }
}

/// Looks for one attempt, and writes down what was found.
async fn look(
    app: &App,
    campaign: &Campaign,
    guard: &LeaseGuard,
    attempt: &Attempt,
    user: tgmesh_proto::telegram::v1::UserAddress,
) -> Result<(), DbErr> {
    let request = ReconcileInviteRequest {
        lease: Some(guard.key()),
        invite_request_id: attempt.id.to_string(),
        chat: campaign.chat.clone(),
        user: Some(user),
    };
    let answer = app.telegram().reconcile_invite(campaign.acting().request(request)).await;
    let found = read(answer.as_ref().map(tonic::Response::get_ref));
    tracing::info!(target_id = %attempt.target.id, attempt_id = %attempt.id, ?found, "lost attempt looked for");
    match found {
        Some(found) => {
            reconcile(app, attempt, &found).await?;
            app.work.notify_one();
        }
        None => postpone(app, attempt.target.id).await?,
    }
    Ok(())
}

/// What a finding means. `None` when nothing is known yet.
pub fn read(answer: Result<&ReconcileInviteResponse, &Status>) -> Option<Found> {
    match answer {
        Ok(answer) => match answer.finding() {
            Finding::Unspecified => None,
            Finding::NotSent => Some(Found::Verdict(Verdict::NotSent {
                reason: "NOT_SENT",
                telegram_error: String::new(),
                delay: Duration::ZERO,
            })),
            Finding::Answered => match judge(Ok(answer.answer.as_ref()?)) {
                Verdict::Unknown => None,
                verdict => Some(Found::Verdict(verdict)),
            },
            Finding::InChat => Some(Found::Verdict(Verdict::Done {
                outcome: Outcome::Invited,
                telegram_error: String::new(),
                user_id: 0,
            })),
            Finding::NotInChat => Some(Found::NoEffect),
        },
        // Nobody of this name exists any more: a second attempt will say so.
        Err(status) if tgmesh_proto::status::reason(status) == Some(ErrorReason::PeerNotFound) => Some(Found::NoEffect),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tgmesh_proto::status::status;
    use tgmesh_proto::telegram::v1::InviteToChatResponse;

    fn finding(finding: Finding, outcome: Outcome) -> Option<Found> {
        let answer = InviteToChatResponse { outcome: outcome as i32, ..Default::default() };
        read(Ok(&ReconcileInviteResponse { finding: finding as i32, answer: Some(answer) }))
    }

    #[test]
    fn each_finding_has_its_meaning() {
        let done = |outcome| Some(Found::Verdict(Verdict::Done { outcome, telegram_error: String::new(), user_id: 0 }));
        assert_eq!(finding(Finding::Answered, Outcome::UserKicked), done(Outcome::UserKicked));
        assert_eq!(finding(Finding::Answered, Outcome::Unspecified), None);
        assert_eq!(finding(Finding::InChat, Outcome::Unspecified), done(Outcome::Invited));
        assert_eq!(finding(Finding::NotInChat, Outcome::Unspecified), Some(Found::NoEffect));
        assert!(matches!(
            finding(Finding::NotSent, Outcome::Unspecified),
            Some(Found::Verdict(Verdict::NotSent { .. }))
        ));
        assert_eq!(finding(Finding::Unspecified, Outcome::Invited), None);
    }

    #[test]
    fn an_error_is_no_finding() {
        for reason in [ErrorReason::StaleLease, ErrorReason::TelegramUnavailable, ErrorReason::OutcomeUnknown] {
            assert_eq!(read(Err(&status(reason, "x").build())), None, "{reason:?}");
        }
        assert_eq!(read(Err(&status(ErrorReason::PeerNotFound, "x").build())), Some(Found::NoEffect));
    }
}
