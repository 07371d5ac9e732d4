//! IntegrationService on the wire.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use service_kit::clock::duration_from_proto;
use service_kit::identity::Identity;
use service_kit::server::detached;
use service_kit::watch::{WatchStream, watch};
use tgmesh_proto::integration::v1 as pb;
use tgmesh_proto::integration::v1::integration_service_server::IntegrationService;
use tgmesh_proto::quota::v1::Action;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{Answers, answers};
use crate::accounts::{self, parse_id, store, wire};
use crate::core::Core;
use crate::error::Error;
use crate::logins;
use crate::quotas::Scope;

/// The period of a summary when the caller names none.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Serves IntegrationService.
#[derive(Debug, Clone)]
pub struct IntegrationGrpc {
    /// What the rooms share.
    pub core: Arc<Core>,
}

type Reply<T> = Result<Response<T>, Status>;

impl IntegrationGrpc {
    /// Runs work that touches Telegram in a task of its own: it goes on when
    /// the caller goes away.
    async fn detach<Q, A>(
        &self,
        request: Request<Q>,
        work: impl for<'a> FnOnce(&'a Core, &'a Identity, &'a Q) -> BoxFuture<'a, Result<A, Error>> + Send + 'static,
    ) -> Reply<A>
    where
        Q: Send + Sync + 'static,
        A: Send + 'static,
    {
        let who = Identity::of(&request)?;
        let (_, extensions, message) = request.into_parts();
        let core = self.core.clone();
        let work = async move { work(&core, &who, &message).await.map_err(Status::from) };
        detached(&extensions, work).await.map(Response::new)
    }
}

#[tonic::async_trait]
impl IntegrationService for IntegrationGrpc {
    async fn start_phone_login(
        &self,
        request: Request<pb::StartPhoneLoginRequest>,
    ) -> Reply<pb::StartPhoneLoginResponse> {
        self.detach(request, |core, who, message| Box::pin(logins::start_phone(core, who, message))).await
    }

    async fn submit_login_code(
        &self,
        request: Request<pb::SubmitLoginCodeRequest>,
    ) -> Reply<pb::SubmitLoginCodeResponse> {
        self.detach(request, |core, who, message| Box::pin(logins::submit_code(core, who, message))).await
    }

    async fn submit_login_password(
        &self,
        request: Request<pb::SubmitLoginPasswordRequest>,
    ) -> Reply<pb::SubmitLoginPasswordResponse> {
        self.detach(request, |core, who, message| Box::pin(logins::submit_password(core, who, message))).await
    }

    async fn resend_login_code(
        &self,
        request: Request<pb::ResendLoginCodeRequest>,
    ) -> Reply<pb::ResendLoginCodeResponse> {
        self.detach(request, |core, who, message| Box::pin(logins::resend(core, who, message))).await
    }

    async fn cancel_login(&self, request: Request<pb::CancelLoginRequest>) -> Reply<pb::CancelLoginResponse> {
        self.detach(request, |core, who, message| Box::pin(logins::cancel(core, who, message))).await
    }

    async fn get_login(&self, request: Request<pb::GetLoginRequest>) -> Reply<pb::GetLoginResponse> {
        let who = Identity::of(&request)?;
        let row = logins::get(&self.core, who.workspace_id, parse_id(&request.get_ref().login_id)).await?;
        Ok(Response::new(pb::GetLoginResponse {
            login: Some(logins::show(&self.core, self.core.db.conn(), &row).await?),
        }))
    }

    type StartQrLoginStream = Answers<pb::StartQrLoginResponse>;

    async fn start_qr_login(&self, request: Request<pb::StartQrLoginRequest>) -> Reply<Self::StartQrLoginStream> {
        let who = Identity::of(&request)?;
        let events = logins::start_qr(self.core.clone(), who, request.get_ref()).await?;
        Ok(Response::new(answers(events)))
    }

    async fn import_sessions(&self, request: Request<pb::ImportSessionsRequest>) -> Reply<pb::ImportSessionsResponse> {
        self.detach(request, |core, who, message| Box::pin(logins::import::import(core, who, message))).await
    }

    async fn list_accounts(&self, request: Request<pb::ListAccountsRequest>) -> Reply<pb::ListAccountsResponse> {
        let who = Identity::of(&request)?;
        let message = request.get_ref();
        let core = &self.core;
        let filter = (who.workspace_id, &message.states, &message.search);
        let page = core
            .tokens
            .page::<Uuid>("ListAccounts", &filter, message.page_size, &message.page_token)
            .map_err(Error::from)?;
        // The state is derived, so it cannot be asked of the database: rows are
        // read until the page is full.
        let mut found = Vec::new();
        let mut after = page.after;
        let want = usize::try_from(page.size).unwrap_or(usize::MAX).saturating_add(1);
        while found.len() < want {
            let rows = store::list(core.db.conn(), who.workspace_id, &message.search, after, page.size + 1)
                .await
                .map_err(|error| core.failed(&error))?;
            let last = rows.last().map(|row| row.account.id);
            let full = rows.len() as u64 > page.size;
            found.extend(
                rows.iter()
                    .map(|row| accounts::show(core, row))
                    .filter(|account| message.states.is_empty() || message.states.contains(&account.state)),
            );
            after = last;
            if !full {
                break;
            }
        }
        found.truncate(want);
        let (accounts, next_page_token) = core.tokens.finish(&page, found, |account| parse_id(&account.id));
        Ok(Response::new(pb::ListAccountsResponse { accounts, next_page_token }))
    }

    async fn get_account(&self, request: Request<pb::GetAccountRequest>) -> Reply<pb::GetAccountResponse> {
        let who = Identity::of(&request)?;
        let row = accounts::get(&self.core, who.workspace_id, parse_id(&request.get_ref().account_id)).await?;
        Ok(Response::new(pb::GetAccountResponse { account: Some(accounts::show(&self.core, &row)) }))
    }

    async fn update_account(&self, request: Request<pb::UpdateAccountRequest>) -> Reply<pb::UpdateAccountResponse> {
        let who = Identity::of(&request)?;
        Ok(Response::new(accounts::update(&self.core, &who, request.get_ref()).await?))
    }

    async fn pause_account(&self, request: Request<pb::PauseAccountRequest>) -> Reply<pb::PauseAccountResponse> {
        let who = Identity::of(&request)?;
        Ok(Response::new(accounts::pause(&self.core, &who, request.get_ref()).await?))
    }

    async fn resume_account(&self, request: Request<pb::ResumeAccountRequest>) -> Reply<pb::ResumeAccountResponse> {
        let who = Identity::of(&request)?;
        Ok(Response::new(accounts::resume(&self.core, &who, request.get_ref()).await?))
    }

    async fn check_account(&self, request: Request<pb::CheckAccountRequest>) -> Reply<pb::CheckAccountResponse> {
        self.detach(request, |core, who, message| Box::pin(accounts::check::check(core, who, message))).await
    }

    async fn delete_account(&self, request: Request<pb::DeleteAccountRequest>) -> Reply<pb::DeleteAccountResponse> {
        self.detach(request, |core, who, message| Box::pin(accounts::delete(core, who, message))).await
    }

    type WatchAccountsStream = WatchStream<pb::WatchAccountsResponse>;

    async fn watch_accounts(&self, request: Request<pb::WatchAccountsRequest>) -> Reply<Self::WatchAccountsStream> {
        let who = Identity::of(&request)?;
        let core = self.core.clone();
        let workspace = who.workspace_id;
        let position: Option<u64> =
            core.tokens.position("WatchAccounts", &workspace, &request.get_ref().resume_token).map_err(Error::from)?;
        let poke = core.poke.clone();
        let state = Arc::new(std::sync::Mutex::new(None::<HashMap<String, pb::Account>>));
        let stream = watch(self.core.clock.clone(), poke, move || {
            let (core, state) = (core.clone(), state.clone());
            async move {
                let rows = store::all(core.db.conn(), workspace, &[]).await.map_err(|error| core.failed(&error))?;
                let now: HashMap<String, pb::Account> = rows
                    .iter()
                    .map(|row| accounts::show(&core, row))
                    .map(|account| (account.id.clone(), account))
                    .collect();
                let before = state.lock().expect("no panic holds the lock").take();
                let (answer, now) = changes(&core, workspace, before, now, position);
                *state.lock().expect("no panic holds the lock") = Some(now);
                Ok(answer)
            }
        });
        Ok(Response::new(stream))
    }

    async fn list_account_events(
        &self,
        request: Request<pb::ListAccountEventsRequest>,
    ) -> Reply<pb::ListAccountEventsResponse> {
        let who = Identity::of(&request)?;
        let message = request.get_ref();
        let core = &self.core;
        let id = parse_id(&message.account_id);
        accounts::get(core, who.workspace_id, id).await?;
        let page = core
            .tokens
            .page::<Uuid>("ListAccountEvents", &(who.workspace_id, id), message.page_size, &message.page_token)
            .map_err(Error::from)?;
        let found = store::events(core.db.conn(), who.workspace_id, id, page.after, page.size + 1)
            .await
            .map_err(|error| core.failed(&error))?;
        let (found, next_page_token) = core.tokens.finish(&page, found, |(event, _)| event.id);
        let events = found.iter().map(|(event, held)| wire::event(event, held.as_ref())).collect();
        Ok(Response::new(pb::ListAccountEventsResponse { events, next_page_token }))
    }

    async fn get_fleet_summary(
        &self,
        request: Request<pb::GetFleetSummaryRequest>,
    ) -> Reply<pb::GetFleetSummaryResponse> {
        let who = Identity::of(&request)?;
        let core = &self.core;
        let period = request.get_ref().period.as_ref().map_or(DAY, duration_from_proto);
        let rows = store::all(core.db.conn(), who.workspace_id, &[]).await.map_err(|error| core.failed(&error))?;
        let shown: Vec<pb::Account> = rows.iter().map(|row| accounts::show(core, row)).collect();
        let mut states: BTreeMap<i32, i32> = BTreeMap::new();
        for account in &shown {
            *states.entry(account.state).or_default() += 1;
        }
        let counts = store::errors_since(core.db.conn(), who.workspace_id, core.now() - period)
            .await
            .map_err(|error| core.failed(&error))?;
        let mut errors: BTreeMap<String, i32> = BTreeMap::new();
        for (name, count) in counts {
            let plain = name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('_').to_owned();
            *errors.entry(plain).or_default() += i32::try_from(count).unwrap_or(i32::MAX);
        }
        let floods = errors.iter().filter(|(name, _)| name.starts_with("FLOOD_")).map(|(_, count)| count).sum();
        let mut errors: Vec<pb::ErrorCount> =
            errors.into_iter().map(|(telegram_error, count)| pb::ErrorCount { telegram_error, count }).collect();
        errors.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.telegram_error.cmp(&b.telegram_error)));
        let able =
            |state: pb::account::State| matches!(state, pb::account::State::Ready | pb::account::State::Restricted);
        let working: Vec<Uuid> = shown
            .iter()
            .filter(|account| pb::account::State::try_from(account.state).is_ok_and(able))
            .map(|account| parse_id(&account.id))
            .collect();
        let invites = self.left_today(&who, &working, Action::Invite).await?;
        let messages = self.left_today(&who, &working, Action::Message).await?;
        let next = shown
            .iter()
            .flat_map(|account| &account.restrictions)
            .filter_map(|held| held.end_time)
            .min_by_key(|end| (end.seconds, end.nanos));
        Ok(Response::new(pb::GetFleetSummaryResponse {
            states: states.into_iter().map(|(state, accounts)| pb::StateCount { state, accounts }).collect(),
            errors,
            floods,
            next_recovery_time: next,
            invites_left_today: invites,
            messages_left_today: messages,
        }))
    }
}

impl IntegrationGrpc {
    /// What the limits leave these accounts for today; `None` when one is not limited.
    async fn left_today(&self, who: &Identity, accounts: &[Uuid], action: Action) -> Result<Option<i32>, Status> {
        let mut sum = 0_i32;
        for id in accounts {
            let scope = Scope::of(who);
            match self.core.quotas.capacity(scope, *id, action, None).await?.today {
                Some(left) => sum = sum.saturating_add(i32::try_from(left).unwrap_or(i32::MAX)),
                None => return Ok(None),
            }
        }
        Ok(Some(sum))
    }
}

/// What changed between two looks; nothing when nothing did.
fn changes(
    core: &Core,
    workspace: Uuid,
    before: Option<HashMap<String, pb::Account>>,
    now: HashMap<String, pb::Account>,
    position: Option<u64>,
) -> (Option<pb::WatchAccountsResponse>, HashMap<String, pb::Account>) {
    let digest = digest(&now);
    let resume_token = core.tokens.resume("WatchAccounts", &workspace, &digest);
    let sorted = |mut accounts: Vec<pb::Account>| {
        accounts.sort_by(|a, b| b.id.cmp(&a.id));
        accounts
    };
    let answer = match before {
        // A watch that goes on where nothing has changed since begins in silence.
        None if position == Some(digest) => None,
        None => Some(pb::WatchAccountsResponse {
            accounts: sorted(now.values().cloned().collect()),
            deleted_account_ids: Vec::new(),
            snapshot: true,
            resume_token,
        }),
        Some(before) => {
            let changed: Vec<pb::Account> = now
                .iter()
                .filter(|(id, account)| before.get(*id) != Some(*account))
                .map(|(_, account)| account.clone())
                .collect();
            let mut deleted: Vec<String> = before.keys().filter(|id| !now.contains_key(*id)).cloned().collect();
            deleted.sort();
            (!changed.is_empty() || !deleted.is_empty()).then(|| pb::WatchAccountsResponse {
                accounts: sorted(changed),
                deleted_account_ids: deleted,
                snapshot: false,
                resume_token,
            })
        }
    };
    (answer, now)
}

/// Tells whether two looks saw the same.
fn digest(accounts: &HashMap<String, pb::Account>) -> u64 {
    use sha2::{Digest as _, Sha256};
    let mut all: Vec<Vec<u8>> = accounts.values().map(prost::Message::encode_to_vec).collect();
    all.sort();
    let mut hash = Sha256::new();
    for account in all {
        hash.update(account.len().to_be_bytes());
        hash.update(account);
    }
    let hash = hash.finalize();
    u64::from_be_bytes(hash[..8].try_into().unwrap_or_default())
}
