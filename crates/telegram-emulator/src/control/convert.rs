//! Between the emulator's types and those of the contract.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;
use tgmesh_proto::emulator::v1 as pb;
use tonic::{Code, Status};

use crate::error::RpcError;
use crate::faults::{ActiveFault, Fault, FaultFilter, FaultKind, Hold, HoldPoint};
use crate::handle::{ChatFacts, ControlError, MemberFacts, SessionFormat, UserFacts};
use crate::recorder::{Call, CallFilter, CallState, ConnectionEnd, ConnectionRecord, Effect, Overlap};
use crate::world::{AdminRights, ChatKind, InvitePrivacy, LastSeen, MediaKind, MessagePrivacy, Standing};

/// Absent and 0 both mean "not said".
pub(super) fn some(id: i64) -> Option<i64> {
    (id != 0).then_some(id)
}

fn invalid(what: &str) -> ControlError {
    ControlError::Invalid(what.to_owned())
}

fn text(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn seconds(unix: i32) -> Timestamp {
    Timestamp { seconds: unix.into(), nanos: 0 }
}

impl From<ControlError> for Status {
    #[expect(clippy::disallowed_methods, reason = "the catalogue of reasons is the product's, not the test kit's")]
    fn from(error: ControlError) -> Self {
        let code = match error {
            ControlError::NotFound(_) => Code::NotFound,
            ControlError::Invalid(_) => Code::InvalidArgument,
            ControlError::Refused(_) => Code::FailedPrecondition,
        };
        Self::new(code, error.to_string())
    }
}

impl From<InvitePrivacy> for pb::InvitePrivacy {
    fn from(privacy: InvitePrivacy) -> Self {
        match privacy {
            InvitePrivacy::Everybody => Self::Everybody,
            InvitePrivacy::Contacts => Self::Contacts,
            InvitePrivacy::ContactsAndPremium => Self::ContactsAndPremium,
            InvitePrivacy::Nobody => Self::Nobody,
            InvitePrivacy::NobodyByError => Self::NobodyByError,
        }
    }
}

pub(super) fn invite_privacy(privacy: pb::InvitePrivacy) -> Option<InvitePrivacy> {
    Some(match privacy {
        pb::InvitePrivacy::Unspecified => return None,
        pb::InvitePrivacy::Everybody => InvitePrivacy::Everybody,
        pb::InvitePrivacy::Contacts => InvitePrivacy::Contacts,
        pb::InvitePrivacy::ContactsAndPremium => InvitePrivacy::ContactsAndPremium,
        pb::InvitePrivacy::Nobody => InvitePrivacy::Nobody,
        pb::InvitePrivacy::NobodyByError => InvitePrivacy::NobodyByError,
    })
}

impl From<MessagePrivacy> for pb::MessagePrivacy {
    fn from(privacy: MessagePrivacy) -> Self {
        match privacy {
            MessagePrivacy::Everybody => Self::Everybody,
            MessagePrivacy::ContactsAndPremium => Self::ContactsAndPremium,
            MessagePrivacy::Contacts => Self::Contacts,
        }
    }
}

pub(super) fn message_privacy(privacy: pb::MessagePrivacy) -> Option<MessagePrivacy> {
    Some(match privacy {
        pb::MessagePrivacy::Unspecified => return None,
        pb::MessagePrivacy::Everybody => MessagePrivacy::Everybody,
        pb::MessagePrivacy::ContactsAndPremium => MessagePrivacy::ContactsAndPremium,
        pb::MessagePrivacy::Contacts => MessagePrivacy::Contacts,
    })
}

pub(super) fn session_format(format: pb::SessionFormat) -> SessionFormat {
    match format {
        pb::SessionFormat::Unspecified | pb::SessionFormat::Telethon => SessionFormat::Telethon,
        pb::SessionFormat::Pyrogram => SessionFormat::Pyrogram,
    }
}

impl From<UserFacts> for pb::User {
    fn from(user: UserFacts) -> Self {
        let (last_seen, time) = match user.last_seen {
            LastSeen::LongAgo => (pb::LastSeen::LongAgo, None),
            LastSeen::Online => (pb::LastSeen::Online, None),
            LastSeen::At(unix) => (pb::LastSeen::At, Some(seconds(unix))),
            LastSeen::Recently => (pb::LastSeen::Recently, None),
            LastSeen::WithinWeek => (pb::LastSeen::WithinWeek, None),
            LastSeen::WithinMonth => (pb::LastSeen::WithinMonth, None),
        };
        Self {
            id: user.id,
            first_name: user.first_name,
            last_name: user.last_name,
            username: user.username,
            phone: user.phone,
            dc: user.dc,
            bot: user.bot,
            premium: user.premium,
            deleted: user.deleted,
            banned: user.banned,
            has_password: user.has_password,
            invites: pb::InvitePrivacy::from(user.invites).into(),
            messages: pb::MessagePrivacy::from(user.messages).into(),
            last_seen: last_seen.into(),
            last_seen_time: time,
        }
    }
}

impl From<ChatFacts> for pb::Chat {
    fn from(chat: ChatFacts) -> Self {
        let kind = match chat.kind {
            ChatKind::Group => pb::ChatKind::Group,
            ChatKind::Supergroup => pb::ChatKind::Supergroup,
            ChatKind::Gigagroup => pb::ChatKind::Gigagroup,
            ChatKind::Channel => pb::ChatKind::Channel,
        };
        Self {
            id: chat.id,
            kind: kind.into(),
            title: chat.title,
            username: chat.username,
            member_count: chat.members,
            message_count: chat.messages as u64,
            linked_chat_id: chat.linked.unwrap_or(0),
            members_hidden: chat.members_hidden,
            invite_links: chat.links,
        }
    }
}

impl From<Standing> for pb::Standing {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Creator => Self::Creator,
            Standing::Admin => Self::Admin,
            Standing::Member => Self::Member,
            Standing::Restricted => Self::Restricted,
            Standing::Left => Self::Left,
            Standing::Kicked => Self::Kicked,
        }
    }
}

/// The standing of somebody who is to be made a member.
pub(super) fn inside(standing: pb::Standing) -> Result<Standing, ControlError> {
    match standing {
        pb::Standing::Unspecified | pb::Standing::Member => Ok(Standing::Member),
        pb::Standing::Creator => Ok(Standing::Creator),
        pb::Standing::Admin => Ok(Standing::Admin),
        pb::Standing::Restricted => Ok(Standing::Restricted),
        pb::Standing::Left | pb::Standing::Kicked => Err(invalid("that is no member")),
    }
}

pub(super) fn admin_rights(rights: impl Iterator<Item = pb::AdminRight>) -> Result<AdminRights, ControlError> {
    let mut all = AdminRights::default();
    for right in rights {
        all.0 |= match right {
            pb::AdminRight::Unspecified => return Err(invalid("that is no right")),
            pb::AdminRight::InviteUsers => AdminRights::INVITE_USERS.0,
            pb::AdminRight::BanUsers => AdminRights::BAN_USERS.0,
            pb::AdminRight::PostMessages => AdminRights::POST_MESSAGES.0,
            pb::AdminRight::DeleteMessages => AdminRights::DELETE_MESSAGES.0,
            pb::AdminRight::ChangeInfo => AdminRights::CHANGE_INFO.0,
        };
    }
    Ok(all)
}

impl From<MemberFacts> for pb::Member {
    fn from(member: MemberFacts) -> Self {
        Self {
            user_id: member.user,
            standing: pb::Standing::from(member.standing).into(),
            inviter_id: member.inviter,
            time: Some(seconds(member.date)),
        }
    }
}

pub(super) fn media(media: pb::MediaKind) -> MediaKind {
    match media {
        pb::MediaKind::Unspecified => MediaKind::None,
        pb::MediaKind::Photo => MediaKind::Photo,
        pb::MediaKind::Document => MediaKind::Document,
    }
}

/// Reads a fault to be injected.
pub(super) fn fault(fault: pb::Fault) -> Result<Fault, ControlError> {
    let kind = match fault.kind() {
        pb::FaultKind::Unspecified => return Err(invalid("a fault needs a kind")),
        pb::FaultKind::Error if fault.error.is_empty() => {
            return Err(invalid("this kind of fault needs the name of an error"));
        }
        pb::FaultKind::Error if fault.error_code == 0 => FaultKind::Error(RpcError::by_name(&fault.error)),
        pb::FaultKind::Error => FaultKind::Error(RpcError::new(fault.error_code, fault.error.clone())),
        pb::FaultKind::SlowAnswer => {
            let delay = fault.delay.and_then(|delay| Duration::try_from(delay).ok());
            FaultKind::SlowAnswer(delay.ok_or_else(|| invalid("a slow answer needs a delay"))?)
        }
        pb::FaultKind::Silence => FaultKind::Silence,
        pb::FaultKind::DropBeforeEffect => FaultKind::DropBeforeEffect,
        pb::FaultKind::DropAfterEffect => FaultKind::DropAfterEffect,
        pb::FaultKind::HoldBeforeEffect => FaultKind::HoldBeforeEffect,
        pb::FaultKind::HoldAfterEffect => FaultKind::HoldAfterEffect,
    };
    let until = fault.until.map(SystemTime::try_from).transpose();
    let until = until.map_err(|_| invalid("the end of the fault is no time"))?;
    let filter = fault.filter.unwrap_or_default();
    let filter = FaultFilter {
        account: some(filter.account_id),
        method: text(filter.method),
        chat: some(filter.chat_id),
        user: some(filter.user_id),
        dc: (filter.dc != 0).then_some(filter.dc),
    };
    let times = (fault.times != 0).then_some(fault.times);
    Ok(Fault { filter, kind, skip: fault.skip, times, until })
}

impl From<ActiveFault> for pb::ActiveFault {
    fn from(active: ActiveFault) -> Self {
        let (mut error, mut error_code, mut delay) = (String::new(), 0, None);
        let kind = match active.fault.kind {
            FaultKind::Error(named) => {
                (error, error_code) = (named.name.into_owned(), named.code);
                pb::FaultKind::Error
            }
            FaultKind::SlowAnswer(span) => {
                delay = prost_types::Duration::try_from(span).ok();
                pb::FaultKind::SlowAnswer
            }
            FaultKind::Silence => pb::FaultKind::Silence,
            FaultKind::DropBeforeEffect => pb::FaultKind::DropBeforeEffect,
            FaultKind::DropAfterEffect => pb::FaultKind::DropAfterEffect,
            FaultKind::HoldBeforeEffect => pb::FaultKind::HoldBeforeEffect,
            FaultKind::HoldAfterEffect => pb::FaultKind::HoldAfterEffect,
        };
        let filter = active.fault.filter;
        let filter = pb::FaultFilter {
            account_id: filter.account.unwrap_or(0),
            method: filter.method.unwrap_or_default(),
            chat_id: filter.chat.unwrap_or(0),
            user_id: filter.user.unwrap_or(0),
            dc: filter.dc.unwrap_or(0),
        };
        let fault = pb::Fault {
            filter: Some(filter),
            kind: kind.into(),
            error,
            error_code,
            delay,
            skip: active.fault.skip,
            times: active.fault.times.unwrap_or(0),
            until: active.fault.until.map(Timestamp::from),
        };
        Self { id: active.id, fault: Some(fault), hits: active.hits }
    }
}

impl From<Hold> for pb::Hold {
    fn from(hold: Hold) -> Self {
        let point = match hold.point {
            HoldPoint::BeforeEffect => pb::HoldPoint::BeforeEffect,
            HoldPoint::AfterEffect => pb::HoldPoint::AfterEffect,
        };
        Self {
            id: hold.id,
            point: point.into(),
            call: hold.call,
            account_id: hold.account.unwrap_or(0),
            method: hold.method.to_owned(),
            chat_id: hold.subject.chat.unwrap_or(0),
            user_ids: hold.subject.users,
        }
    }
}

impl From<Effect> for pb::Effect {
    fn from(effect: Effect) -> Self {
        use pb::EffectKind as Kind;

        let of = |kind: Kind, chat_id: i64, user_id: i64| Self {
            kind: kind.into(),
            chat_id,
            user_id,
            message_id: 0,
            premium_would_allow: false,
            premium_required: false,
        };
        match effect {
            Effect::Invited { chat, user } => of(Kind::Invited, chat, user),
            Effect::AlreadyMember { chat, user } => of(Kind::AlreadyMember, chat, user),
            Effect::NotInvited { chat, user, premium_would_allow, premium_required } => {
                Self { premium_would_allow, premium_required, ..of(Kind::NotInvited, chat, user) }
            }
            Effect::Joined { chat } => of(Kind::Joined, chat, 0),
            Effect::JoinRequested { chat } => of(Kind::JoinRequested, chat, 0),
            Effect::Left { chat } => of(Kind::Left, chat, 0),
            Effect::MessageSentToUser { user, message } => {
                Self { message_id: message, ..of(Kind::MessageSentToUser, 0, user) }
            }
            Effect::MessageSentToChat { chat, message } => {
                Self { message_id: message, ..of(Kind::MessageSentToChat, chat, 0) }
            }
            Effect::ContactAdded { user } => of(Kind::ContactAdded, 0, user),
            Effect::InviteLinkExported { chat } => of(Kind::InviteLinkExported, chat, 0),
            Effect::SignedIn { user } => of(Kind::SignedIn, 0, user),
            Effect::SignedOut { user } => of(Kind::SignedOut, 0, user),
        }
    }
}

impl From<Call> for pb::Call {
    fn from(call: Call) -> Self {
        let state = match call.state {
            CallState::Pending => pb::CallState::Pending,
            CallState::Answered => pb::CallState::Answered,
            CallState::Unanswered => pb::CallState::Unanswered,
        };
        Self {
            number: call.number,
            request_time: Some(call.requested.into()),
            answer_time: call.answered.map(Timestamp::from),
            state: state.into(),
            account_id: call.account.unwrap_or(0),
            auth_key_id: call.auth_key_id,
            connection: call.connection,
            dc: call.dc,
            method: call.method.to_owned(),
            chat_id: call.subject.chat.unwrap_or(0),
            user_ids: call.subject.users,
            random_id: call.subject.random_id,
            effects: call.effects.into_iter().map(pb::Effect::from).collect(),
            error: call.error.unwrap_or_default(),
        }
    }
}

pub(super) fn call_filter(filter: Option<pb::CallFilter>) -> CallFilter {
    let filter = filter.unwrap_or_default();
    CallFilter { account: some(filter.account_id), method: text(filter.method), with_effect: filter.with_effect }
}

impl From<ConnectionRecord> for pb::Connection {
    fn from(connection: ConnectionRecord) -> Self {
        let end = match connection.end {
            None => pb::ConnectionEnd::Unspecified,
            Some(ConnectionEnd::ByClient) => pb::ConnectionEnd::ByClient,
            Some(ConnectionEnd::ByFault) => pb::ConnectionEnd::ByFault,
            Some(ConnectionEnd::BySilence) => pb::ConnectionEnd::BySilence,
            Some(ConnectionEnd::ByProtocolError) => pb::ConnectionEnd::ByProtocolError,
            Some(ConnectionEnd::ByShutdown) => pb::ConnectionEnd::ByShutdown,
        };
        Self {
            id: connection.id,
            dc: connection.dc,
            open_time: Some(connection.opened.into()),
            live_time: connection.live.map(Timestamp::from),
            close_time: connection.closed.map(Timestamp::from),
            end: end.into(),
            auth_key_id: connection.auth_key_id.unwrap_or(0),
            account_id: connection.account.unwrap_or(0),
            transport: connection.transport.to_owned(),
        }
    }
}

impl From<Overlap> for pb::Overlap {
    fn from(overlap: Overlap) -> Self {
        Self {
            auth_key_id: overlap.auth_key_id,
            account_id: overlap.account.unwrap_or(0),
            earlier_connection: overlap.earlier,
            later_connection: overlap.later,
            time: Some(overlap.at.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn a_fault_survives_the_wire() {
        let sent = pb::Fault {
            filter: Some(pb::FaultFilter { account_id: 7, method: "channels.*".into(), ..Default::default() }),
            kind: pb::FaultKind::Error.into(),
            error: "FLOOD_WAIT_31".into(),
            skip: 1,
            times: 2,
            until: Some(Timestamp::from(UNIX_EPOCH + Duration::from_secs(5))),
            ..Default::default()
        };
        let active = ActiveFault { id: 3, fault: fault(sent.clone()).unwrap(), hits: 0 };
        let shown = pb::ActiveFault::from(active).fault.unwrap();
        assert_eq!(shown, pb::Fault { error_code: 420, ..sent });
    }

    #[test]
    fn senseless_faults_are_refused() {
        for kind in [pb::FaultKind::Unspecified, pb::FaultKind::Error, pb::FaultKind::SlowAnswer] {
            assert!(fault(pb::Fault { kind: kind.into(), ..Default::default() }).is_err());
        }
    }
}
