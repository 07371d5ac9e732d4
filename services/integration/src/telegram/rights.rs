//! What an account may do in a chat.

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use grammers_tl_types::{enums, functions, types};
use sea_orm::ActiveValue::Set;
use sea_orm::EntityTrait as _;
use sea_orm::sea_query::OnConflict;
use service_kit::Time;
use service_kit::address::ChatAddress;
use tgmesh_proto::ErrorReason;
use tgmesh_proto::integration::v1::AccountKind;
use tgmesh_proto::integration::v1::account::State;
use tgmesh_proto::lease::v1::unavailability::Reason;
use tgmesh_proto::lease::v1::{ChatRight, Purpose};
use tgmesh_proto::quota::v1::Action;
use tgmesh_proto::telegram::v1 as pb;
use tgmesh_proto::telegram::v1::account_readiness::{Problem, Right};
use uuid::Uuid;

use super::caller::{About, Caller};
use super::peers::{ChatPeer, Resolved};
use crate::accounts::store::{self, AccountRow};
use crate::accounts::{state, wire};
use crate::availability::Slot;
use crate::core::Core;
use crate::entity::{account, chat_right, restriction};
use crate::error::{Error, Result};
use crate::quotas::{Next, Scope};

/// Accounts asked at once.
const AT_ONCE: usize = 8;

/// What was found of one account in one chat.
#[derive(Debug, Clone)]
struct Found {
    chat_id: i64,
    rights: Vec<ChatRight>,
    problem: Problem,
    detail: String,
    checked_at: Time,
}

/// Which accounts of a workspace can work in a chat.
///
/// # Errors
/// `FIELD_INVALID` when the text names no chat.
pub async fn readiness(
    core: &Core,
    workspace: Uuid,
    request: &pb::GetChatRightsRequest,
) -> Result<pb::GetChatRightsResponse> {
    let link =
        service_kit::address::parse_chat(&request.chat).map_err(|error| Error::field("chat", error.to_string()))?;
    let name = link.chat.to_string();
    let purpose = Purpose::try_from(request.purpose).unwrap_or_default();
    let ids: Vec<Uuid> = request.account_ids.iter().map(|id| crate::accounts::parse_id(id)).collect();
    let rows = store::all(core.db.conn(), workspace, &ids).await.map_err(|error| core.failed(&error))?;
    let mut checks: Vec<BoxFuture<'_, _>> = Vec::new();
    for row in &rows {
        checks.push(Box::pin(check(core, row, &name, purpose)));
    }
    let mut accounts: Vec<(pb::AccountReadiness, Option<i64>)> =
        futures_util::stream::iter(checks).buffered(AT_ONCE).collect().await;
    // The ready ones first, each group in the order of the accounts.
    accounts.sort_by_key(|(account, _)| !account.ready);
    let mut chat = None;
    for (account, seen) in &accounts {
        if seen.is_none() {
            continue;
        }
        let Some(row) = rows.iter().find(|row| row.account.id.to_string() == account.account_id) else {
            continue;
        };
        match Caller::own(core, &row.account).full_chat(&name).await {
            Ok(full) => {
                chat = Some(full.chat);
                break;
            }
            Err(error) => tracing::info!(%error, "the chat cannot be shown by this account"),
        }
    }
    Ok(pb::GetChatRightsResponse { chat, accounts: accounts.into_iter().map(|(account, _)| account).collect() })
}

/// What keeps an account from working, whatever its rights are.
#[derive(Debug, Default)]
struct Obstacle {
    problem: Problem,
    detail: String,
    until: Option<Time>,
}

impl Obstacle {
    fn without_end(problem: Problem, detail: String) -> Self {
        Self { problem, detail, until: None }
    }

    fn restricted(held: &restriction::Model) -> Self {
        let until = held.end_at.map(Time::from_millis);
        Self { problem: Problem::Restricted, detail: held.telegram_error.clone(), until }
    }
}

/// What is in an account's way, as far as it is known without Telegram.
fn obstacle(row: &AccountRow, purpose: Purpose, now: Time) -> Option<Obstacle> {
    let account = &row.account;
    let derived = state::derive(account, &row.restrictions, now);
    let bot = account.kind == AccountKind::Bot as i32 && purpose != Purpose::Parse;
    match derived.state {
        State::SessionLost | State::Deleting => Some(Obstacle::without_end(Problem::SessionLost, derived.detail)),
        State::Paused => Some(Obstacle::without_end(Problem::Paused, String::new())),
        _ if bot => Some(Obstacle::without_end(Problem::Bot, String::new())),
        _ if !wire::purposes(account.purposes).contains(&purpose) => {
            Some(Obstacle::without_end(Problem::PurposeNotAllowed, String::new()))
        }
        _ => restriction(row, action(purpose), now).map(Obstacle::restricted),
    }
}

/// The restriction of an action that lasts longest.
fn restriction(row: &AccountRow, action: Action, now: Time) -> Option<&restriction::Model> {
    row.restrictions
        .iter()
        .filter(|held| state::is_in_force(held, now))
        .filter(|held| held.actions == 0 || state::actions(held.actions).contains(&action))
        .max_by_key(|held| held.end_at.unwrap_or(i64::MAX))
}

/// Whether one account can work in a chat; with the chat's id when it can show it.
async fn check(core: &Core, row: &AccountRow, chat: &str, purpose: Purpose) -> (pb::AccountReadiness, Option<i64>) {
    let account = &row.account;
    let mut answer =
        pb::AccountReadiness { account_id: account.id.to_string(), label: label(row), ..Default::default() };
    let now = core.now();
    let mut obstacle = obstacle(row, purpose, now);
    // Who is only kept from acting can be asked for what he will be able to do.
    let unread = restriction(row, Action::Read, now);
    let may_ask = unread.is_none() && obstacle.as_ref().is_none_or(|found| found.problem == Problem::Restricted);
    let found = if may_ask { rights(core, row, chat).await.map(Some) } else { known(core, row, chat).await };
    let lasts = obstacle.as_ref().is_some_and(|found| found.problem != Problem::Restricted);
    let mut chat_id = None;
    match found {
        Ok(Some(found)) => {
            chat_id = Some(found.chat_id);
            answer.check_time = Some(found.checked_at.to_proto());
            if found.rights.contains(&needed(purpose)) {
                answer.right = Right::Held.into();
            } else {
                answer.right = Right::Lacking.into();
                let problem = if found.problem == Problem::Unspecified { Problem::NoRights } else { found.problem };
                // What a wait does not change is told before what one does.
                if !lasts {
                    obstacle = Some(Obstacle::without_end(problem, found.detail));
                }
            }
        }
        Ok(None) => obstacle = obstacle.or(unread.map(Obstacle::restricted)),
        Err(error) => {
            let failed = failure(&error, now);
            if matches!(failed.problem, Problem::ChatNotVisible | Problem::NoRights) {
                answer.right = Right::Lacking.into();
                answer.check_time = Some(now.to_proto());
                obstacle = obstacle.filter(|_| lasts);
            }
            obstacle = obstacle.or(Some(failed));
        }
    }
    let seen = chat_id.filter(|_| may_ask);
    if let Some(Obstacle { problem, detail, until }) = obstacle {
        answer.problem = problem.into();
        answer.detail = detail;
        answer.until_time = until.map(Time::to_proto);
        return (answer, seen);
    }
    let scope = Scope::Workspace(account.workspace_id);
    match core.quotas.capacity(scope, account.id, action(purpose), chat_id).await {
        Ok(capacity) => {
            let number = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
            answer.capacity_today = capacity.today.map(number);
            answer.capacity_per_day = capacity.per_day.map(number);
            answer.until_time = capacity.next_possible.time().map(Time::to_proto);
            if capacity.today == Some(0) {
                answer.problem = Problem::Limit.into();
            } else {
                answer.ready = true;
            }
        }
        Err(error) => {
            answer.problem = Problem::Unreachable.into();
            answer.detail = error.reason().as_reason().to_owned();
        }
    }
    (answer, seen)
}

/// What Telegram said lately of an account's rights in a chat; nothing is asked.
async fn known(core: &Core, row: &AccountRow, chat: &str) -> Result<Option<Found>> {
    let link = service_kit::address::parse_chat(chat).map_err(|error| Error::field("chat", error.to_string()))?;
    let chat_id = match link.chat {
        ChatAddress::Id(id) => Some(id),
        ChatAddress::Username(name) => {
            Caller::own(core, &row.account).known_name(&name).await?.map(|peer| peer.peer_id)
        }
        ChatAddress::InviteHash(_) => None,
    };
    match chat_id {
        Some(chat_id) => remembered(core, row.account.id, chat_id).await,
        None => Ok(None),
    }
}

/// What an account may do in a chat: as known, or asked of Telegram.
async fn rights(core: &Core, row: &AccountRow, chat: &str) -> Result<Found> {
    let caller = Caller::own(core, &row.account);
    let peer = caller.chat(chat).await?;
    match remembered(core, row.account.id, peer.chat_id()).await? {
        Some(found) => Ok(found),
        None => ask(&caller, peer).await,
    }
}

/// What is kept of an account's rights in a chat, while it is believed.
async fn remembered(core: &Core, account: Uuid, chat_id: i64) -> Result<Option<Found>> {
    let known = chat_right::Entity::find_by_id((account, chat_id))
        .one(core.db.conn())
        .await
        .map_err(|error| core.failed(&error))?;
    let found = known.map(|known| Found {
        chat_id: known.chat_id,
        rights: unmask(known.rights),
        problem: Problem::try_from(known.problem).unwrap_or_default(),
        detail: known.detail,
        checked_at: Time::from_millis(known.checked_at),
    });
    Ok(found.filter(|found| core.now().since(found.checked_at) < core.settings.rights_life))
}

/// What a check of an account's rights in a chat came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// Telegram's answer is kept under this id of the chat.
    Kept(i64),
    /// The account does not see the chat, whose id nobody knows.
    Unseen,
    /// The name stands for no chat.
    Nobody,
}

/// Asks Telegram what an account may do in a chat, whose id may be known, unless
/// somebody has, and keeps the answer. That it cannot see the chat is an answer too.
///
/// # Errors
/// When Telegram cannot be asked.
pub async fn refresh(
    core: &Core,
    account: &account::Model,
    chat: &ChatAddress,
    chat_id: Option<i64>,
) -> Result<Checked> {
    // It may have come while the check was on its way.
    if let Some(chat_id) = chat_id
        && remembered(core, account.id, chat_id).await?.is_some()
    {
        return Ok(Checked::Kept(chat_id));
    }
    let caller = Caller::own(core, account);
    let peer = match chat {
        ChatAddress::Username(name) if chat_id.is_none() => match caller.resolve(name).await? {
            Some(Resolved::Chat(peer, _)) => Ok(peer),
            Some(Resolved::Hidden) => return Ok(Checked::Unseen),
            Some(Resolved::User(_)) | None => return Ok(Checked::Nobody),
        },
        chat => caller.chat(&chat.to_string()).await,
    };
    let asked = match peer {
        Ok(peer) => ask(&caller, peer).await,
        Err(error) => Err(error),
    };
    match (asked, chat_id) {
        (Ok(found), _) => Ok(Checked::Kept(found.chat_id)),
        (Err(error), _) if !matches!(error.reason(), ErrorReason::ChatNotFound | ErrorReason::ChatUnavailable) => {
            Err(error)
        }
        (Err(error), Some(chat_id)) => {
            let detail = error.telegram_error().unwrap_or_default().to_owned();
            let (rights, problem) = (Vec::new(), Problem::ChatNotVisible);
            keep(core, account.id, &Found { chat_id, rights, problem, detail, checked_at: core.now() }).await?;
            Ok(Checked::Kept(chat_id))
        }
        (Err(_), None) => Ok(Checked::Unseen),
    }
}

/// What kept an account from being asked, for those who wait for its rights;
/// `retry` is when it is asked again.
pub fn kept_from(error: &Error, now: Time, retry: Time) -> Slot {
    let Obstacle { problem, until, .. } = failure(error, now);
    let ready = until.map_or(Next::Never, Next::At);
    match problem {
        Problem::Restricted if error.reason() == ErrorReason::FloodWait => Slot { ready, reason: Reason::FloodWait },
        Problem::Restricted => Slot { ready, reason: Reason::Restricted },
        Problem::Limit => Slot { ready, reason: Reason::DailyLimit },
        Problem::ChatNotVisible | Problem::NoRights => Slot { ready: Next::Never, reason: Reason::NoRights },
        _ => Slot { ready: Next::At(retry), reason: Reason::Offline },
    }
}

/// Asks Telegram what an account may do in a chat, and keeps the answer.
async fn ask(caller: &Caller<'_>, peer: ChatPeer) -> Result<Found> {
    let core = caller.core;
    let chats = match peer.channel() {
        Some(channel) => {
            let about = About::reading("channels.getChannels", peer.chat_id());
            caller.invoke(about, &functions::channels::GetChannels { id: vec![channel] }).await
        }
        None => {
            let about = About::reading("messages.getChats", peer.chat_id());
            caller.invoke(about, &functions::messages::GetChats { id: vec![-peer.chat_id()] }).await
        }
    }
    .map_err(Error::from)?;
    let chats = match chats {
        enums::messages::Chats::Chats(found) => found.chats,
        enums::messages::Chats::Slice(found) => found.chats,
    };
    let (rights, problem) = chats.first().map_or((Vec::new(), Problem::ChatNotVisible), judge);
    let found = Found { chat_id: peer.chat_id(), rights, problem, detail: String::new(), checked_at: core.now() };
    keep(core, caller.account_id, &found).await?;
    Ok(found)
}

async fn keep(core: &Core, account: Uuid, found: &Found) -> Result<()> {
    let row = chat_right::ActiveModel {
        account_id: Set(account),
        chat_id: Set(found.chat_id),
        rights: Set(mask(&found.rights)),
        problem: Set(found.problem as i32),
        detail: Set(found.detail.clone()),
        checked_at: Set(found.checked_at.millis()),
    };
    chat_right::Entity::insert(row)
        .on_conflict(
            OnConflict::columns([chat_right::Column::AccountId, chat_right::Column::ChatId])
                .update_columns([
                    chat_right::Column::Rights,
                    chat_right::Column::Problem,
                    chat_right::Column::Detail,
                    chat_right::Column::CheckedAt,
                ])
                .to_owned(),
        )
        .exec_without_returning(core.db.conn())
        .await
        .map(|_| ())
        .map_err(|error| core.failed(&error))
}

/// Notes that Telegram refused an account a right in a chat.
///
/// # Errors
/// When the database fails.
pub async fn lost(core: &Core, account: Uuid, chat_id: i64, telegram_error: &str) -> Result<()> {
    let found = Found {
        chat_id,
        rights: vec![ChatRight::Read],
        problem: Problem::NoRights,
        detail: telegram_error.to_owned(),
        checked_at: core.now(),
    };
    keep(core, account, &found).await
}

/// What a chat's flags say of the account that sees them: its rights, and what
/// is in the way of those that it lacks, unless it is just that.
fn judge(chat: &enums::Chat) -> (Vec<ChatRight>, Problem) {
    let mut rights = Vec::new();
    match chat {
        enums::Chat::Channel(chat) => {
            let member = !chat.left;
            let admin = chat.admin_rights.as_ref().map(|enums::ChatAdminRights::Rights(rights)| rights);
            let banned = banned(chat.banned_rights.as_ref());
            let default = banned_by_default(chat.default_banned_rights.as_ref());
            if member || chat.username.is_some() {
                rights.push(ChatRight::Read);
            }
            let anyone = |forbidden: fn(&types::ChatBannedRights) -> bool| {
                member
                    && chat.megagroup
                    && !chat.gigagroup
                    && !default.is_some_and(forbidden)
                    && !banned.is_some_and(forbidden)
            };
            if chat.creator || admin.is_some_and(|rights| rights.invite_users) || anyone(|banned| banned.invite_users) {
                rights.push(ChatRight::Invite);
            }
            if chat.creator || admin.is_some_and(|rights| rights.post_messages) || anyone(|banned| banned.send_messages)
            {
                rights.push(ChatRight::Write);
            }
            (rights, if member { Problem::Unspecified } else { Problem::NotAMember })
        }
        enums::Chat::Chat(chat) => {
            let member = !chat.left && !chat.deactivated;
            if !member {
                return (rights, Problem::NotAMember);
            }
            let default = banned_by_default(chat.default_banned_rights.as_ref());
            let admin = chat.creator || chat.admin_rights.is_some();
            rights.push(ChatRight::Read);
            if admin || !default.is_some_and(|banned| banned.invite_users) {
                rights.push(ChatRight::Invite);
            }
            if admin || !default.is_some_and(|banned| banned.send_messages) {
                rights.push(ChatRight::Write);
            }
            (rights, Problem::Unspecified)
        }
        enums::Chat::Empty(_)
        | enums::Chat::Forbidden(_)
        | enums::Chat::ChannelForbidden(_)
        | enums::Chat::Community(_)
        | enums::Chat::CommunityForbidden(_) => (rights, Problem::ChatNotVisible),
    }
}

fn banned(rights: Option<&enums::ChatBannedRights>) -> Option<&types::ChatBannedRights> {
    rights.map(|enums::ChatBannedRights::Rights(rights)| rights)
}

fn banned_by_default(rights: Option<&enums::ChatBannedRights>) -> Option<&types::ChatBannedRights> {
    banned(rights)
}

/// What keeps an account from being asked for its rights.
fn failure(error: &Error, now: Time) -> Obstacle {
    let problem = match error.reason() {
        ErrorReason::ChatNotFound | ErrorReason::ChatUnavailable => Problem::ChatNotVisible,
        ErrorReason::NoRights => Problem::NoRights,
        ErrorReason::SessionLost => Problem::SessionLost,
        ErrorReason::FloodWait | ErrorReason::PeerFlood | ErrorReason::AccountFrozen => Problem::Restricted,
        ErrorReason::QuotaExceeded => Problem::Limit,
        _ => Problem::Unreachable,
    };
    let until = match error {
        Error::Plain { retry_after, .. } => {
            retry_after.filter(|_| problem == Problem::Restricted).map(|wait| now + wait)
        }
        Error::Quota(exceeded) => exceeded.next_possible.time(),
        _ => None,
    };
    let detail = match error {
        Error::Quota(exceeded) => exceeded.name(),
        error => error.telegram_error().unwrap_or(error.reason().as_reason()),
    };
    let detail = detail.to_owned();
    Obstacle { problem, detail, until }
}

fn needed(purpose: Purpose) -> ChatRight {
    match purpose {
        Purpose::Invite => ChatRight::Invite,
        Purpose::Message => ChatRight::Write,
        Purpose::Parse | Purpose::Unspecified => ChatRight::Read,
    }
}

/// The action whose limits count for a purpose.
pub fn action(purpose: Purpose) -> Action {
    match purpose {
        Purpose::Invite => Action::Invite,
        Purpose::Message => Action::Message,
        Purpose::Parse | Purpose::Unspecified => Action::Read,
    }
}

fn label(row: &AccountRow) -> String {
    let account = &row.account;
    [account.label.as_str(), account.username.as_str(), account.first_name.as_str()]
        .into_iter()
        .find(|name| !name.is_empty())
        .map_or_else(|| account.telegram_user_id.to_string(), ToOwned::to_owned)
}

/// The bit mask of some rights.
pub fn mask(rights: &[ChatRight]) -> i32 {
    rights.iter().fold(0, |mask, right| mask | 1 << (*right as i32))
}

fn unmask(mask: i32) -> Vec<ChatRight> {
    (1..=3).filter(|bit| mask & (1 << bit) != 0).filter_map(|bit| ChatRight::try_from(bit).ok()).collect()
}
