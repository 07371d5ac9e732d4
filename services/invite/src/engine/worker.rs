//! One account at work for one campaign.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::DbErr;
use service_kit::Time;
use service_kit::clock::duration_to_proto;
use service_kit::lease::LeaseGuard;
use service_kit::trace::TraceContext;
use tgmesh_proto::lease::v1::{AcquireLeaseRequest, ChatRight, LeaseKey, Purpose};
use tgmesh_proto::telegram::v1::user_address::Address;
use tgmesh_proto::telegram::v1::{InviteToChatRequest, Outcome, PeerReference, UserAddress};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use uuid::Uuid;

use super::Shared;
use super::outcome::{Verdict, judge};
use super::record::{By, record};
use super::store::{self, Attempt, Beginning, Begun, Claimed, Reach, Work};
use super::waiting::{Denial, denial};
use crate::app::App;
use crate::campaigns::entity::Model as Campaign;
use crate::campaigns::readiness;
use crate::do_not_contact;
use crate::error::Error;
use crate::targets::entity::Model as Target;

/// Between two tries to write an answer down.
const WRITE_AGAIN: Duration = Duration::from_millis(200);

/// How a worker's turn ended.
#[derive(Debug)]
pub enum End {
    /// The campaign has nothing to do before this time.
    NoWork(Option<Time>),
    /// There was no account to be had.
    Denied(Denial),
    /// The account was given back, after so many targets.
    GaveBack {
        /// Targets that were tried.
        tried: usize,
    },
    /// The campaign, or the process, stops.
    Stopped,
    /// The database failed.
    Failed(DbErr),
}

/// What the engine learns of a turn.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub end: End,
    /// Whether it looked for targets that nobody can address.
    pub settled: bool,
}

/// An account in hand.
#[derive(Debug)]
struct Held {
    /// What to show with each call.
    key: LeaseKey,
    /// The account.
    account_id: Uuid,
    /// Ends when the lease is lost.
    lost: CancellationToken,
}

/// A worker's turn.
#[derive(Debug)]
pub struct Turn {
    /// The parts of the service.
    pub app: Arc<App>,
    /// What the engine's workers share.
    pub shared: Arc<Shared>,
    /// The campaign as it was when the turn began.
    pub campaign: Campaign,
    /// How long to wait for an account.
    pub wait: Duration,
    /// Whether a turn that brings nothing looks for targets that nobody can address.
    pub settle: bool,
    /// Ends when the campaign does not run any more.
    pub stop: CancellationToken,
    /// Told once an account was had.
    pub acquired: tokio::sync::mpsc::UnboundedSender<Uuid>,
}

impl Turn {
    /// Runs the turn.
    pub async fn run(self) -> Ended {
        let end = self.work().await.unwrap_or_else(End::Failed);
        let nothing = matches!(end, End::NoWork(_) | End::Denied(_) | End::GaveBack { tried: 0 });
        let settled = nothing && self.settle;
        if settled && let Err(error) = self.settle().await {
            tracing::warn!(%error, campaign_id = %self.campaign.id, "targets that nobody can address were not looked for");
        }
        Ended { end, settled }
    }

    /// Ends the targets that no account of the workspace can address. Which
    /// accounts there are, only the integration service knows.
    async fn settle(&self) -> Result<(), Error> {
        let app = &self.app;
        if !store::has_suspects(app.db.conn(), self.campaign.id).await? {
            return Ok(());
        }
        let readiness = readiness::ask(app, self.campaign.acting(), &self.campaign.chat).await?;
        let accounts = readiness.accounts.iter().filter_map(|account| Uuid::parse_str(&account.account_id).ok());
        let accounts: Vec<Uuid> = accounts.collect();
        // A workspace without accounts is waiting for some, not out of reach of everybody.
        if accounts.is_empty() {
            return Ok(());
        }
        let settled = store::settle_unaddressable(app, self.campaign.id, &accounts).await?;
        if settled > 0 {
            tracing::info!(campaign_id = %self.campaign.id, settled, "targets cannot be addressed by any account");
            app.changed();
        }
        Ok(())
    }

    async fn work(&self) -> Result<End, DbErr> {
        let only = match store::work(self.app.db.conn(), self.campaign.id, self.app.now()).await? {
            Work::None(until) => return Ok(End::NoWork(until.map(Time::from_millis))),
            Work::Only(accounts) => accounts,
            Work::Any => Vec::new(),
        };
        let guard = match self.acquire(only).await {
            None => return Ok(End::Stopped),
            Some(Err(status)) => {
                let status = Status::from(self.app.integration_error(status));
                return Ok(End::Denied(denial(&status, self.app.clock.now())));
            }
            Some(Ok(guard)) => guard,
        };
        // The engine is gone only when the process is.
        let _ = self.acquired.send(self.campaign.id);
        let held = Held { key: guard.key(), account_id: guard.account_id(), lost: guard.lost().clone() };
        let working = self.use_account(&held);
        tokio::pin!(working);
        let worked = tokio::select! {
            worked = &mut working => Some(worked),
            () = self.stop.cancelled() => None,
        };
        // Given back also while a call is under way: looking somebody up may take
        // long, and without the lease nothing of it is handed over any more.
        if let Err(status) = guard.release().await {
            // It ends by itself at its deadline.
            tracing::warn!(code = ?status.code(), "lease could not be given back");
        }
        let tried = match worked {
            Some(worked) => worked?,
            None => working.await?,
        };
        Ok(End::GaveBack { tried })
    }

    /// Asks for an account. `None` when the campaign stopped meanwhile; the
    /// request then goes on by itself, so that an account granted at that very
    /// moment is given back.
    async fn acquire(&self, only: Vec<Uuid>) -> Option<Result<LeaseGuard, Status>> {
        let request = AcquireLeaseRequest {
            request_id: String::new(),
            purpose: Purpose::Invite as i32,
            chat: self.campaign.chat.clone(),
            rights: vec![ChatRight::Invite as i32],
            any_of_account_ids: only.iter().map(Uuid::to_string).collect(),
            none_of_account_ids: Vec::new(),
            wait: Some(duration_to_proto(self.wait)),
            ttl: Some(duration_to_proto(self.app.config.engine.lease_ttl())),
            work: self.campaign.id.to_string(),
            holder: format!("invite/{}", self.app.process),
            priority: self.campaign.priority,
        };
        let (leases, acting) = (self.app.leases.clone(), self.campaign.acting());
        let asking = tokio::spawn(async move { leases.acquire(acting, request).await });
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            asked = asking => asked.ok(),
        }
    }

    /// Target after target, as long as the account may and the campaign runs.
    /// Answers how many were tried.
    async fn use_account(&self, held: &Held) -> Result<usize, DbErr> {
        let (mut tried, mut reach) = (0, Reach::Known);
        let begin = self.app.clock.monotonic();
        let fair_share = self.app.config.engine.fair_share();
        loop {
            let used = self.app.clock.monotonic().saturating_sub(begin);
            // Never before the first target: an account that only goes round serves nobody.
            let contended = used > fair_share && self.shared.contended(self.campaign.workspace_id);
            let enough = tried > 0 && (used > fair_share * 10 || contended);
            if enough || self.stop.is_cancelled() || held.lost.is_cancelled() || !self.shared.alive(&self.app) {
                return Ok(tried);
            }
            let account_id = held.account_id;
            let claimed = store::claim(&self.app, self.campaign.id, account_id, &mut reach).await?;
            let Some(Claimed { target, peer, hand }) = claimed else {
                return Ok(tried);
            };
            if tried == 0 {
                store::awake(&self.app, self.campaign.id).await?;
            }
            let attempted = self.attempt(held, target, peer).await;
            drop(hand);
            let Some(verdict) = attempted? else {
                return Ok(tried);
            };
            tried += usize::from(!matches!(
                verdict,
                Verdict::Quota { .. } | Verdict::NotSent { .. } | Verdict::Limited { .. }
            ));
            match verdict {
                Verdict::Done { .. } | Verdict::NotAddressable => {}
                Verdict::Quota { retry_after: Some(wait) } if wait <= self.app.config.engine.patience() => {
                    tokio::select! {
                        () = self.app.clock.sleep(wait) => {}
                        () = self.stop.cancelled() => return Ok(tried),
                        () = held.lost.cancelled() => return Ok(tried),
                    }
                }
                // A lease covers work, not waiting; and an account with trouble does no more.
                Verdict::Quota { .. }
                | Verdict::Limited { .. }
                | Verdict::NotSent { .. }
                | Verdict::ChatFailed { .. }
                | Verdict::Unknown => return Ok(tried),
            }
        }
    }

    /// One attempt. `None` when the campaign stopped before it was made.
    async fn attempt(&self, held: &Held, target: Target, peer: Option<Vec<u8>>) -> Result<Option<Verdict>, DbErr> {
        let app = &self.app;
        let account_id = held.account_id;
        let attempt = Attempt { id: app.new_id(), by_peer: peer.is_some(), account_id, target };
        let Some(user) = address(&attempt.target, account_id, peer) else {
            // Claimed for a reference that another worker has just struck out.
            store::unclaim(app, &attempt.target, Some(app.process)).await?;
            return Ok(None);
        };
        let lease_id = Uuid::parse_str(&held.key.lease_id).unwrap_or_default();
        let trace = TraceContext::root();
        let beginning = Beginning {
            attempt_id: attempt.id,
            target: attempt.target.clone(),
            account_id,
            lease_id,
            trace_id: trace.trace_id_hex(),
        };
        let ask_who = match store::begin(app, beginning).await? {
            Begun::Yes { ask_who } => ask_who,
            Begun::Listed => {
                app.poke.poke();
                let outcome = Outcome::DoNotContact;
                return Ok(Some(Verdict::Done { outcome, telegram_error: String::new(), user_id: 0 }));
            }
            Begun::No => {
                store::unclaim(app, &attempt.target, Some(app.process)).await?;
                return Ok(None);
            }
        };
        let request = InviteToChatRequest {
            request_id: attempt.id.to_string(),
            lease: Some(held.key.clone()),
            chat: self.campaign.chat.clone(),
            user: Some(user),
        };
        let listed = match request.user.as_ref() {
            Some(UserAddress { address: Some(Address::Username(name)) }) if ask_who => {
                trace.scope(self.look_up(&attempt.target, held, name)).await?
            }
            _ => None,
        };
        let verdict = match listed {
            Some(verdict) => verdict,
            None => {
                let mut telegram = app.telegram();
                let call = telegram.invite_to_chat(self.campaign.acting().request(request));
                let answer = trace.scope(call).await.map(tonic::Response::into_inner);
                judge(answer.as_ref())
            }
        };
        tracing::info!(
            campaign_id = %self.campaign.id,
            target_id = %attempt.target.id,
            %account_id,
            attempt_id = %attempt.id,
            ?verdict,
            "attempt"
        );
        self.write(&attempt, &verdict).await;
        Ok(Some(verdict))
    }

    /// Asks who is behind a name, since the do-not-contact list may know him by
    /// something else. A verdict when that ends the attempt.
    async fn look_up(&self, target: &Target, held: &Held, name: &str) -> Result<Option<Verdict>, DbErr> {
        let conn = self.app.db.conn();
        match do_not_contact::behind(&self.app, self.campaign.acting(), held.key.clone(), name).await {
            Ok(person) if store::must_not(conn, target, &person).await? => Ok(Some(Verdict::Done {
                outcome: Outcome::DoNotContact,
                telegram_error: String::new(),
                user_id: person.user_id,
            })),
            Ok(_) => Ok(None),
            Err(status) => Ok(Some(judge(Err(&status)))),
        }
    }

    /// Writes the verdict down, however long the database takes: what is known
    /// now would otherwise have to be found out again.
    async fn write(&self, attempt: &Attempt, verdict: &Verdict) {
        loop {
            match record(&self.app, attempt, verdict, By::Answer).await {
                Ok(_) => return,
                Err(error) => tracing::error!(%error, "an answer could not be written down, trying again"),
            }
            tokio::select! {
                () = self.app.clock.sleep(WRITE_AGAIN) => {}
                () = self.app.shutdown.forced() => return,
            }
        }
    }
}

/// How the account addresses the target: by its own reference, since that
/// costs no look-up, else by name, else by number.
pub fn address(target: &Target, account_id: Uuid, peer: Option<Vec<u8>>) -> Option<UserAddress> {
    let address = match peer {
        Some(sealed) => Address::PeerReference(PeerReference { account_id: account_id.to_string(), sealed }),
        None if !target.username.is_empty() => Address::Username(target.username.clone()),
        None if !target.phone.is_empty() => Address::Phone(target.phone.clone()),
        None => return None,
    };
    Some(UserAddress { address: Some(address) })
}
