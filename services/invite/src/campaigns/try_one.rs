//! Serves `TestInvite`: one person, at once, outside of any campaign.

use std::time::Duration;

use service_kit::address::parse_chat;
use service_kit::clock::duration_to_proto;
use service_kit::identity::Identity;
use service_kit::lease::LeaseGuard;
use service_kit::requests::{Opened, Slot};
use tgmesh_proto::ErrorReason;
use tgmesh_proto::invite::v1::{TestInviteRequest, TestInviteResponse};
use tgmesh_proto::lease::v1::{AcquireLeaseRequest, ChatRight, Priority, Purpose};
use tgmesh_proto::telegram::v1::reconcile_invite_response::Finding;
use tgmesh_proto::telegram::v1::user_address::Address;
use tgmesh_proto::telegram::v1::{
    InviteToChatRequest, InviteToChatResponse, Outcome, ReconcileInviteRequest, UserAddress,
};
use tonic::Status;

use super::readiness;
use super::store;
use crate::app::App;
use crate::audience::import::listed;
use crate::do_not_contact;
use crate::engine::outcome::{Verdict, counts_as_contact, judge};
use crate::engine::waiting::denial;
use crate::error::Error;
use crate::targets::{Digits, Person};

/// Longest wait for an account: somebody is watching.
const WAIT: Duration = Duration::from_secs(20);

/// Serves `TestInvite`.
///
/// # Errors
/// Those of its contract, and whatever the account or the chat answers.
pub async fn test_invite(app: &App, who: Identity, request: TestInviteRequest) -> Result<TestInviteResponse, Error> {
    let chat = parse_chat(&request.chat).map_err(|error| Error::field("chat", error.to_string()))?.chat.to_string();
    let person = Person::parse(&request.user, Digits::Phone).map_err(|problem| Error::field("user", problem))?;
    let (slot, interrupted) = match app.requests.open(&who, "TestInvite", &request).await? {
        Opened::Repeat(answer) => return Ok(answer),
        Opened::New(slot) => (slot, false),
        Opened::Interrupted(slot) => (slot, true),
    };
    let call = Call { app, who: &who, request: &request, chat, person, slot: &slot };
    let made = call.make(interrupted).await;
    match made {
        Ok((answer, asked)) => {
            let tx = app.db.begin().await?;
            if let Some(Asked { chat_id, keys }) = asked {
                store::contacted_in(&*tx, who.workspace_id, chat_id, slot.request_id(), &keys).await?;
            }
            slot.answer(&*tx, &answer).await?;
            tx.commit().await?;
            Ok(answer)
        }
        // The id stays taken: a repeat asks what became of it.
        Err(Failed::Unknown(error)) => Err(error),
        Err(Failed::Surely(error)) => {
            slot.forget(app.db.conn()).await?;
            Err(error)
        }
    }
}

/// Whether it may have happened all the same.
enum Failed {
    Unknown(Error),
    Surely(Error),
}

impl<E: Into<Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::Surely(error.into())
    }
}

/// Somebody was asked into a chat, so that campaigns leave him alone.
struct Asked {
    chat_id: i64,
    keys: Vec<String>,
}

struct Call<'a> {
    app: &'a App,
    who: &'a Identity,
    request: &'a TestInviteRequest,
    chat: String,
    person: Person,
    slot: &'a Slot,
}

impl Call<'_> {
    async fn make(&self, interrupted: bool) -> Result<(TestInviteResponse, Option<Asked>), Failed> {
        if self.is_listed(&self.person).await? {
            let outcome = Outcome::DoNotContact.into();
            return Ok((TestInviteResponse { outcome, ..Default::default() }, None));
        }
        let guard = match self.account().await {
            Ok(guard) => guard,
            Err(error) if interrupted => return Err(Failed::Unknown(error)),
            Err(error) => return Err(Failed::Surely(error)),
        };
        let made = if interrupted { self.find_out(&guard).await } else { self.invite(&guard).await };
        let account_id = guard.account_id().to_string();
        if let Err(status) = guard.release().await {
            // It ends by itself at its deadline.
            tracing::warn!(code = ?status.code(), "lease could not be given back");
        }
        let answer = made?;
        let asked = if counts_as_contact(answer.outcome()) {
            // Which chat it is was found out a moment ago, and kept. When that
            // fails, the id stays taken: a repeat finds out, and notes it then.
            let chat = readiness::ask(self.app, self.who.acting(), &self.chat).await.map_err(Failed::Unknown)?;
            let chat_id = chat.visible().map_err(Failed::Unknown)?.chat_id;
            Some(Asked { chat_id, keys: Person { user_id: answer.user_id, ..self.person.clone() }.keys() })
        } else {
            None
        };
        let InviteToChatResponse { outcome, telegram_error, .. } = answer;
        Ok((TestInviteResponse { outcome, telegram_error, account_id }, asked))
    }

    async fn is_listed(&self, person: &Person) -> Result<bool, Error> {
        Ok(!listed(self.app.db.conn(), self.who.workspace_id, &person.keys()).await?.is_empty())
    }

    /// An account that can. Waited for only where one will be able to, and soon:
    /// otherwise the answer is there at once.
    async fn account(&self) -> Result<LeaseGuard, Error> {
        let guard = match self.acquire(Duration::ZERO).await {
            Err(status) if tgmesh_proto::status::reason(&status) == Some(ErrorReason::NoAccountAvailable) => {
                let readiness = readiness::ask_of(self.app, self.who.acting(), &self.chat, self.only()).await?;
                if readiness.accounts.is_empty() && !self.request.account_id.is_empty() {
                    return Err(Error::AccountNotFound);
                }
                readiness.able()?;
                let denial = denial(&status, self.app.clock.now());
                let is_late = !denial.contended && denial.retry_after.is_some_and(|delay| delay > WAIT);
                if is_late { Err(status) } else { self.acquire(WAIT).await }
            }
            answer => answer,
        };
        guard.map_err(|status| self.app.integration_error(status))
    }

    fn only(&self) -> Vec<String> {
        Some(self.request.account_id.clone()).filter(|id| !id.is_empty()).into_iter().collect()
    }

    async fn acquire(&self, wait: Duration) -> Result<LeaseGuard, Status> {
        let request = AcquireLeaseRequest {
            request_id: String::new(),
            purpose: Purpose::Invite as i32,
            chat: self.chat.clone(),
            rights: vec![ChatRight::Invite as i32],
            any_of_account_ids: self.only(),
            none_of_account_ids: Vec::new(),
            wait: Some(duration_to_proto(wait)),
            ttl: Some(duration_to_proto(self.app.config.engine.lease_ttl())),
            work: format!("test/{}", self.slot.request_id()),
            holder: format!("invite/{}", self.app.process),
            priority: Priority::High as i32,
        };
        self.app.leases.acquire(self.who.acting(), request).await
    }

    fn user(&self) -> UserAddress {
        let address = if self.person.username.is_empty() {
            Address::Phone(self.person.phone.clone())
        } else {
            Address::Username(self.person.username.clone())
        };
        UserAddress { address: Some(address) }
    }

    /// The call's own id is the attempt's, so that a repeat can ask for it.
    async fn invite(&self, guard: &LeaseGuard) -> Result<InviteToChatResponse, Failed> {
        let by_name = !self.person.username.is_empty();
        if by_name && do_not_contact::knows_more_than_names(self.app.db.conn(), self.who.workspace_id).await? {
            let found = do_not_contact::behind(self.app, self.who.acting(), guard.key(), &self.person.username).await;
            match found {
                Ok(person) if self.is_listed(&person).await? => {
                    let outcome = Outcome::DoNotContact.into();
                    return Ok(InviteToChatResponse { outcome, ..Default::default() });
                }
                Err(status) if tgmesh_proto::status::reason(&status) != Some(ErrorReason::PeerNotFound) => {
                    return Err(Failed::Surely(self.app.integration_error(status)));
                }
                // The invite answers what that means.
                Ok(_) | Err(_) => {}
            }
        }
        let request = InviteToChatRequest {
            request_id: self.slot.request_id().to_string(),
            lease: Some(guard.key()),
            chat: self.chat.clone(),
            user: Some(self.user()),
        };
        let answer = self.app.telegram().invite_to_chat(self.who.acting().request(request)).await;
        let answer = answer.map(tonic::Response::into_inner);
        let verdict = judge(answer.as_ref());
        match (verdict, answer) {
            (Verdict::Done { outcome, telegram_error, user_id }, _) => {
                Ok(InviteToChatResponse { outcome: outcome as i32, telegram_error, user_id, ..Default::default() })
            }
            (Verdict::Unknown, Err(status)) => Err(Failed::Unknown(unknown(&status))),
            (Verdict::Unknown, Ok(_)) => Err(Failed::Unknown(Error::Internal("an invite without outcome"))),
            (_, Err(status)) => Err(Failed::Surely(self.app.integration_error(status))),
            (_, Ok(_)) => Err(Failed::Surely(Error::Internal("an answer that is no outcome"))),
        }
    }

    async fn find_out(&self, guard: &LeaseGuard) -> Result<InviteToChatResponse, Failed> {
        let request = ReconcileInviteRequest {
            lease: Some(guard.key()),
            invite_request_id: self.slot.request_id().to_string(),
            chat: self.chat.clone(),
            user: Some(self.user()),
        };
        let answer = self.app.telegram().reconcile_invite(self.who.acting().request(request)).await;
        let answer = answer.map_err(|status| Failed::Unknown(self.app.integration_error(status)))?.into_inner();
        match answer.finding() {
            Finding::Answered => Ok(answer.answer.unwrap_or_default()),
            Finding::InChat => Ok(InviteToChatResponse { outcome: Outcome::Invited as i32, ..Default::default() }),
            Finding::NotSent | Finding::NotInChat => Err(Failed::Surely(Error::Interrupted)),
            Finding::Unspecified => Err(Failed::Unknown(Error::Internal("a finding without a name"))),
        }
    }
}

/// What may have happened must not come out as a fault that invites a retry.
fn unknown(status: &Status) -> Error {
    let text = "the invite was handed over and no answer came: repeat the call with the same request_id to learn more";
    tracing::warn!(code = ?status.code(), message = status.message(), "an answer was lost");
    Error::Upstream(Box::new(tgmesh_proto::status::status(ErrorReason::OutcomeUnknown, text).build()))
}
