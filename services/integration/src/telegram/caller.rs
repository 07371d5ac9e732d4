//! One call to Telegram for an account, and what its answer does to the account.

use std::time::Duration;

use grammers_tl_types::RemoteCall;
use service_kit::Time;
use tgmesh_proto::ErrorReason;
use tgmesh_proto::integration::v1::account::SessionState;
use tgmesh_proto::integration::v1::restriction::Cause;
use tgmesh_proto::quota::v1::Action;
use tgmesh_proto::telegram::v1::{Outcome, SpeedProfile};
use uuid::Uuid;

use super::outcome::{Verdict, judge};
use crate::accounts::effects::{self, Met};
use crate::accounts::{state, store};
use crate::availability;
use crate::connections::{CallError, Gate, LineId, RpcError, open};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::leases::Verified;
use crate::quotas::Reservation;

/// How often an answer that says "fault of ours" is asked for again.
const TRIES: u32 = 3;
/// Pause before the first of these tries; doubled each time.
const PAUSE: Duration = Duration::from_millis(300);
/// The speed of reads for which nobody named one: they are few, somebody waits
/// for them, and at a slower one they would hold up a holder that reads faster.
const UNNAMED: SpeedProfile = SpeedProfile::Fast;

/// Calls of one account.
#[derive(Debug, Clone)]
pub struct Caller<'a> {
    /// What the rooms share.
    pub core: &'a Core,
    /// The account.
    pub account_id: Uuid,
    /// Its workspace.
    pub workspace_id: Uuid,
    /// On whose behalf.
    pub behalf: Behalf,
    /// How fast it reads.
    pub speed: SpeedProfile,
}

/// On whose behalf an account is called.
#[derive(Debug, Clone)]
pub enum Behalf {
    /// The holder's of its lease.
    Lease(Verified),
    /// Integration's own duties.
    Duty,
    /// The user's who asks about this very account: also while it is paused.
    User,
}

/// A request, as far as answers depend on it.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// Telegram's method.
    pub method: &'static str,
    /// The class of action that a flood wait restricts.
    pub class: Action,
    /// The chat concerned; 0 when none.
    pub chat_id: i64,
    /// Whether it changes something at Telegram.
    pub acting: bool,
}

impl About {
    /// A request that only reads.
    pub const fn reading(method: &'static str, chat_id: i64) -> Self {
        Self { method, class: Action::Read, chat_id, acting: false }
    }
}

/// How a request failed.
#[derive(Debug, Clone)]
pub enum Failure {
    /// The answer is about the user: an outcome, and Telegram's error.
    Target(Outcome, String),
    /// Telegram refused for a reason that has no meaning of its own here.
    Refused(RpcError),
    /// It surely was not sent; ready for the caller.
    NotSent(Error),
    /// Anything else, ready for the caller.
    Error(Error),
}

/// What a failed call means.
enum Read {
    /// Telegram had a fault, with this name: worth another try.
    TryAgain(String),
    /// It failed.
    Failed(Failure),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Target(_, name) => refused(&name),
            Failure::Refused(error) => refused(&error.full_name()),
            Failure::NotSent(error) | Failure::Error(error) => error,
        }
    }
}

fn refused(name: &str) -> Error {
    Error::plain(ErrorReason::TelegramRefused, format!("telegram refused: {name}")).with("telegram_error", name)
}

impl Caller<'_> {
    /// Calls of an account.
    pub fn of<'a>(core: &'a Core, account: &crate::entity::account::Model, behalf: Behalf) -> Caller<'a> {
        Caller { core, account_id: account.id, workspace_id: account.workspace_id, behalf, speed: UNNAMED }
    }

    /// Calls of the account that a lease holds. Whether the account works is
    /// asked before each of them.
    pub fn under(core: &Core, lease: Verified) -> Caller<'_> {
        Caller {
            core,
            account_id: lease.account_id,
            workspace_id: lease.workspace_id,
            behalf: Behalf::Lease(lease),
            speed: UNNAMED,
        }
    }

    /// Calls for integration's own duties, without a lease.
    pub fn own<'a>(core: &'a Core, account: &crate::entity::account::Model) -> Caller<'a> {
        Self::of(core, account, Behalf::Duty)
    }

    /// The lease under which the account is called.
    pub fn lease(&self) -> Option<&Verified> {
        match &self.behalf {
            Behalf::Lease(lease) => Some(lease),
            Behalf::Duty | Behalf::User => None,
        }
    }

    /// The same, reading at a speed that somebody named.
    #[must_use]
    pub fn at(self, speed: SpeedProfile) -> Self {
        Self { speed, ..self }
    }

    /// Makes a request, a read when it is the account's turn. What its answer
    /// means for the account is stored before this returns.
    ///
    /// # Errors
    /// As [`Failure`] tells.
    pub async fn invoke<R: RemoteCall>(&self, about: About, request: &R) -> Result<R::Return, Failure> {
        if about.class == Action::Read {
            self.turn().await;
        }
        self.send(about, request).await
    }

    /// Waits until it is the account's turn to read. For those who may give the
    /// wait up; they `send` then.
    pub async fn turn(&self) {
        self.core.pacing.pace(self.account_id, self.speed).await;
    }

    /// Makes a request whose turn it is.
    ///
    /// # Errors
    /// As [`Failure`] tells.
    pub async fn send<R: RemoteCall>(&self, about: About, request: &R) -> Result<R::Return, Failure> {
        self.permit(about.class).await.map_err(Failure::NotSent)?;
        self.hand_over(about, request, None).await
    }

    /// Makes a request that was reserved just now, each time it is made a use of
    /// its own. Under a lease the reservation has asked what [`Self::send`] asks;
    /// what ends the account's use altogether ends the lease too, and the
    /// hand-over looks at that. The trap: a restriction met by another request in
    /// the very moment between the two is not seen, as with any check before.
    ///
    /// # Errors
    /// As [`Failure`] tells.
    pub async fn send_reserved<R: RemoteCall>(
        &self,
        reserved: &Reservation,
        about: About,
        request: &R,
    ) -> Result<R::Return, Failure> {
        debug_assert_eq!((reserved.account_id, reserved.action), (self.account_id, about.class));
        if self.lease().is_none() {
            self.permit(about.class).await.map_err(Failure::NotSent)?;
        }
        self.hand_over(about, request, Some(reserved)).await
    }

    async fn hand_over<R: RemoteCall>(
        &self,
        about: About,
        request: &R,
        reserved: Option<&Reservation>,
    ) -> Result<R::Return, Failure> {
        let begun = self.core.now();
        let mut pause = PAUSE;
        for tried in 1.. {
            let error = match self.core.connections.call(LineId::Account(self.account_id), request, self.gate()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            match self.read(about, error, begun).await {
                Ok(Read::Failed(Failure::NotSent(error))) if tried > 1 => return Err(Failure::Error(error)),
                Ok(Read::Failed(failure)) => return Err(failure),
                Ok(Read::TryAgain(name)) if tried >= TRIES => {
                    let what = format!("{} failed {TRIES} times with {name}", about.method);
                    return Err(Failure::Error(unreachable(&what).with("telegram_error", name)));
                }
                Ok(Read::TryAgain(name)) => {
                    // It reached Telegram, and so will the next one.
                    if let Some(reserved) = reserved {
                        self.core.quotas.count_again(reserved, &name).await?;
                    }
                    self.core.clock.sleep(pause).await;
                }
                Err(error) if about.acting => return Err(Failure::Error(not_written(&error))),
                Err(error) => return Err(Failure::Error(error)),
            }
            pause *= 2;
        }
        unreachable!("the loop returns")
    }

    /// Whether the account may be called for this now: nobody calls inside a
    /// wait that Telegram demanded, whoever met it.
    async fn permit(&self, class: Action) -> Result<()> {
        let found = store::find(self.core.db.conn(), self.workspace_id, self.account_id).await;
        let row = found
            .map_err(|error| self.core.failed(&error))?
            .ok_or_else(|| Error::account_not_found(self.account_id))?;
        let now = self.core.now();
        state::usable(&row.account, &row.restrictions, now, matches!(self.behalf, Behalf::User))?;
        match availability::forbidding(&row.restrictions, class, now) {
            // A frozen account may read, and can be asked whether it still is.
            Some(held) if held.cause == Cause::Frozen as i32 && matches!(self.behalf, Behalf::User) => Ok(()),
            Some(held) => Err(Error::restricted_by(held, now)),
            None => Ok(()),
        }
    }

    /// The lease is checked again in the step that hands the request over.
    fn gate(&self) -> Gate {
        match self.lease() {
            None => open(),
            Some(lease) => {
                let (leases, lease) = (self.core.leases.clone(), lease.clone());
                Box::new(
                    move || {
                        if leases.still_valid(&lease) { Ok(()) } else { Err(Error::stale_lease(lease.lease_id)) }
                    },
                )
            }
        }
    }

    /// What a call means that failed after it was begun at this time.
    async fn read(&self, about: About, error: CallError, begun: Time) -> Result<Read> {
        let rpc = match error {
            CallError::Rpc(rpc) => rpc,
            CallError::Forbidden(error) => return Ok(Read::Failed(Failure::NotSent(error))),
            CallError::NotSent(what) => return Ok(Read::Failed(Failure::NotSent(unreachable(&what)))),
            CallError::Unanswered(what) if about.acting => {
                tracing::warn!(account_id = %self.account_id, method = about.method, what, "no answer: the outcome is unknown");
                return Ok(Read::Failed(Failure::Error(Error::plain(
                    ErrorReason::OutcomeUnknown,
                    "the request was handed to telegram and no answer came: it may have happened",
                ))));
            }
            CallError::Unanswered(what) => return Ok(Read::Failed(Failure::Error(unreachable(&what)))),
            CallError::KeyUnknown => {
                self.lose(about, "AUTH_KEY_UNREGISTERED", SessionState::Revoked, begun).await?;
                return Ok(Read::Failed(Failure::Error(self.session_lost("AUTH_KEY_UNREGISTERED"))));
            }
            CallError::WrongUser(found) => {
                tracing::error!(account_id = %self.account_id, found, "the session belongs to another user");
                self.lose(about, "", SessionState::WrongUser, begun).await?;
                return Ok(Read::Failed(Failure::Error(self.session_lost("WRONG_USER"))));
            }
        };
        let name = rpc.full_name();
        let met = self.met(about, &name);
        tracing::info!(account_id = %self.account_id, method = about.method, error = name, "telegram refused");
        Ok(Read::Failed(match judge(&rpc, about.class, self.core.settings.flood_margin) {
            Verdict::TryAgain => return Ok(Read::TryAgain(name)),
            Verdict::Target(outcome) => Failure::Target(outcome, name),
            Verdict::Refused => Failure::Refused(rpc),
            Verdict::Restricted(restricted) => {
                effects::restrict(self.core, met, &restricted).await?;
                Failure::Error(Error::restricted(self.account_id, restricted.cause, &name, restricted.lasts))
            }
            Verdict::NoRights => {
                effects::lose_right(self.core, met).await?;
                Failure::Error(
                    Error::plain(ErrorReason::NoRights, "the account lacks the right for this in the chat")
                        .with("account_id", self.account_id)
                        .with("telegram_error", &name),
                )
            }
            Verdict::SessionLost(state) => {
                effects::lose_session(self.core, met, state, begun).await?;
                Failure::Error(self.session_lost(&name))
            }
            Verdict::ChatUnavailable => Failure::Error(
                Error::plain(ErrorReason::ChatUnavailable, "the chat cannot be worked with")
                    .with("telegram_error", &name),
            ),
            Verdict::ChatFull => Failure::Error(
                Error::plain(ErrorReason::ChatFull, "the chat can take no more members").with("telegram_error", &name),
            ),
            Verdict::Offline => Failure::Error(
                Error::plain(ErrorReason::AccountNotReady, format!("telegram does not serve the account: {name}"))
                    .with("account_id", self.account_id)
                    .with("cause", "OFFLINE")
                    .with("telegram_error", &name),
            ),
        }))
    }

    fn met<'b>(&self, about: About, telegram_error: &'b str) -> Met<'b> {
        Met {
            account_id: self.account_id,
            workspace_id: self.workspace_id,
            telegram_error,
            method: about.method,
            chat_id: about.chat_id,
        }
    }

    async fn lose(&self, about: About, name: &str, state: SessionState, begun: Time) -> Result<()> {
        effects::lose_session(self.core, self.met(about, name), state, begun).await
    }

    fn session_lost(&self, name: &str) -> Error {
        Error::plain(ErrorReason::SessionLost, "the account's session is lost: it has to log in again")
            .with("account_id", self.account_id)
            .with("telegram_error", name)
    }
}

/// Telegram cannot be reached; nothing was sent, or nothing that matters.
pub fn unreachable(what: &str) -> Error {
    Error::plain(ErrorReason::TelegramUnavailable, format!("telegram cannot be reached: {what}"))
        .with("dependency", "telegram")
        .retry_after(Some(Duration::from_secs(1)))
}

/// Telegram was asked to do something, and what became of it could not be
/// written down: it is found out later, as an answer that was lost.
pub fn not_written(error: &Error) -> Error {
    tracing::error!(%error, "what became of a call could not be written down: its outcome is unknown");
    Error::plain(
        ErrorReason::OutcomeUnknown,
        "the request was handed to telegram and what became of it could not be written down: it may have happened",
    )
}
