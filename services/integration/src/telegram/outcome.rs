//! What Telegram's answers mean: the outcome table.
//!
//! By the error's name, never by its text. The names are those of
//! <https://core.telegram.org/method/channels.inviteToChannel>,
//! <https://core.telegram.org/method/messages.sendMessage> and
//! <https://core.telegram.org/api/errors>.

use std::time::Duration;

use tgmesh_proto::integration::v1::account::SessionState;
use tgmesh_proto::integration::v1::restriction::Cause;
use tgmesh_proto::quota::v1::Action;
use tgmesh_proto::telegram::v1::Outcome;

use crate::connections::RpcError;

/// How much longer than Telegram says a flood wait is kept.
const FLOOD_MARGIN: Duration = Duration::from_secs(60);
/// A flood wait of at least this length stops the whole account.
const LONG_FLOOD: u32 = 300;
/// How long PEER_FLOOD keeps an account from strangers. Telegram tells no
/// time; people report about a day.
const PEER_FLOOD: Duration = Duration::from_secs(24 * 60 * 60);

/// What an error means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is about the user: the attempt has its outcome.
    Target(Outcome),
    /// It is about the account, for a time.
    Restricted(Restricted),
    /// The account may not do this in this chat.
    NoRights,
    /// The account's session is over.
    SessionLost(SessionState),
    /// The chat cannot be worked with.
    ChatUnavailable,
    /// The chat is full.
    ChatFull,
    /// Telegram had a fault: worth another try.
    TryAgain,
    /// The account cannot work now for a reason that is not named.
    Offline,
    /// Telegram refused for another reason.
    Refused,
}

/// A restriction that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restricted {
    /// Its cause.
    pub cause: Cause,
    /// Actions it forbids; empty for all.
    pub actions: Vec<Action>,
    /// How long; `None` until told otherwise.
    pub lasts: Option<Duration>,
}

/// Reads an error that a request of this class met. `margin` overrides the time
/// added to flood waits.
pub fn judge(error: &RpcError, class: Action, margin: Option<Duration>) -> Verdict {
    use Verdict::{ChatFull, ChatUnavailable, NoRights, Offline, Refused, SessionLost, Target, TryAgain};
    let flood = |cause: Cause, seconds: u32| {
        Verdict::Restricted(Restricted {
            cause,
            actions: if seconds >= LONG_FLOOD { Vec::new() } else { vec![class] },
            lasts: Some(Duration::from_secs(seconds.into()) + margin.unwrap_or(FLOOD_MARGIN)),
        })
    };
    match error.name.as_str() {
        "USER_ALREADY_PARTICIPANT" => Target(Outcome::AlreadyMember),
        "INVITE_REQUEST_SENT" => Target(Outcome::Requested),
        "USER_PRIVACY_RESTRICTED" => Target(Outcome::PrivacyRestricted),
        "USER_NOT_MUTUAL_CONTACT" => Target(Outcome::NotMutualContact),
        "USERNAME_INVALID" | "USERNAME_NOT_OCCUPIED" | "USER_ID_INVALID" => Target(Outcome::NotFound),
        "USER_CHANNELS_TOO_MUCH" => Target(Outcome::UserChannelsTooMuch),
        "USER_KICKED" => Target(Outcome::UserKicked),
        "USER_BANNED_IN_CHANNEL" => Target(Outcome::UserBannedInChannel),
        "USER_BLOCKED" => Target(Outcome::UserBlocked),
        "USER_IS_BLOCKED" => Target(Outcome::UserIsBlocked),
        "YOU_BLOCKED_USER" => Target(Outcome::YouBlockedUser),
        "USER_BOT" => Target(Outcome::UserBot),
        "BOTS_TOO_MUCH" => Target(Outcome::BotsTooMuch),
        "INPUT_USER_DEACTIVATED" => Target(Outcome::InputUserDeactivated),

        "CHAT_ADMIN_REQUIRED" | "CHAT_ADMIN_INVITE_REQUIRED" | "CHAT_WRITE_FORBIDDEN" | "CHANNELS_TOO_MUCH" => NoRights,

        "FLOOD_WAIT" | "FLOOD_PREMIUM_WAIT" => flood(Cause::FloodWait, error.value.unwrap_or(0)),
        "SLOWMODE_WAIT" => Verdict::Restricted(Restricted {
            cause: Cause::Slowmode,
            actions: vec![class],
            lasts: Some(Duration::from_secs(error.value.unwrap_or(0).into())),
        }),
        "PEER_FLOOD" => Verdict::Restricted(Restricted {
            cause: Cause::PeerFlood,
            actions: vec![Action::Invite, Action::Message],
            lasts: Some(PEER_FLOOD),
        }),
        name if name.starts_with("FROZEN_") => {
            Verdict::Restricted(Restricted { cause: Cause::Frozen, actions: Vec::new(), lasts: None })
        }

        "AUTH_KEY_UNREGISTERED" | "AUTH_KEY_INVALID" | "SESSION_REVOKED" | "SESSION_EXPIRED" => {
            SessionLost(SessionState::Revoked)
        }
        "AUTH_KEY_DUPLICATED" => SessionLost(SessionState::KeyDuplicated),
        "USER_DEACTIVATED" => SessionLost(SessionState::Deactivated),
        "USER_DEACTIVATED_BAN" | "PHONE_NUMBER_BANNED" => SessionLost(SessionState::Banned),

        "CHANNEL_PRIVATE" | "CHANNEL_INVALID" | "CHAT_INVALID" | "CHAT_ID_INVALID" | "CHAT_RESTRICTED" => {
            ChatUnavailable
        }
        "USERS_TOO_MUCH" => ChatFull,
        // Comes with the code of a fault, and is none: Telegram has the message already.
        "RANDOM_ID_DUPLICATE" => Refused,

        _ => match error.code {
            401 | 406 => Offline,
            code if !(0..500).contains(&code) => TryAgain,
            _ => Refused,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: i32, name: &str, value: Option<u32>) -> RpcError {
        RpcError { code, name: name.to_owned(), value }
    }

    fn invite(code: i32, name: &str, value: Option<u32>) -> Verdict {
        judge(&error(code, name, value), Action::Invite, None)
    }

    #[test]
    fn answers_about_the_user() {
        for (code, name, outcome) in [
            (400, "USER_ALREADY_PARTICIPANT", Outcome::AlreadyMember),
            (400, "INVITE_REQUEST_SENT", Outcome::Requested),
            (403, "USER_PRIVACY_RESTRICTED", Outcome::PrivacyRestricted),
            (403, "USER_NOT_MUTUAL_CONTACT", Outcome::NotMutualContact),
            (400, "USERNAME_INVALID", Outcome::NotFound),
            (400, "USERNAME_NOT_OCCUPIED", Outcome::NotFound),
            (400, "USER_ID_INVALID", Outcome::NotFound),
            (403, "USER_CHANNELS_TOO_MUCH", Outcome::UserChannelsTooMuch),
            (400, "USER_KICKED", Outcome::UserKicked),
            (400, "USER_BANNED_IN_CHANNEL", Outcome::UserBannedInChannel),
            (400, "USER_BLOCKED", Outcome::UserBlocked),
            (400, "USER_IS_BLOCKED", Outcome::UserIsBlocked),
            (400, "YOU_BLOCKED_USER", Outcome::YouBlockedUser),
            (400, "USER_BOT", Outcome::UserBot),
            (400, "BOTS_TOO_MUCH", Outcome::BotsTooMuch),
            (400, "INPUT_USER_DEACTIVATED", Outcome::InputUserDeactivated),
        ] {
            assert_eq!(invite(code, name, None), Verdict::Target(outcome), "{name}");
        }
    }

    #[test]
    fn answers_about_the_accounts_rights_and_session() {
        for name in ["CHAT_ADMIN_REQUIRED", "CHAT_ADMIN_INVITE_REQUIRED", "CHAT_WRITE_FORBIDDEN", "CHANNELS_TOO_MUCH"] {
            assert_eq!(invite(400, name, None), Verdict::NoRights, "{name}");
        }
        for (code, name, state) in [
            (401, "AUTH_KEY_UNREGISTERED", SessionState::Revoked),
            (401, "AUTH_KEY_INVALID", SessionState::Revoked),
            (401, "SESSION_REVOKED", SessionState::Revoked),
            (401, "SESSION_EXPIRED", SessionState::Revoked),
            (406, "AUTH_KEY_DUPLICATED", SessionState::KeyDuplicated),
            (401, "USER_DEACTIVATED", SessionState::Deactivated),
            (401, "USER_DEACTIVATED_BAN", SessionState::Banned),
            (400, "PHONE_NUMBER_BANNED", SessionState::Banned),
        ] {
            assert_eq!(invite(code, name, None), Verdict::SessionLost(state), "{name}");
        }
    }

    #[test]
    fn answers_that_restrict_the_account() {
        let restricted = |cause, actions: &[Action], lasts: Option<u64>| {
            Verdict::Restricted(Restricted { cause, actions: actions.to_vec(), lasts: lasts.map(Duration::from_secs) })
        };
        assert_eq!(invite(420, "FLOOD_WAIT", Some(31)), restricted(Cause::FloodWait, &[Action::Invite], Some(91)));
        assert_eq!(invite(420, "FLOOD_WAIT", Some(299)), restricted(Cause::FloodWait, &[Action::Invite], Some(359)));
        assert_eq!(invite(420, "FLOOD_WAIT", Some(300)), restricted(Cause::FloodWait, &[], Some(360)));
        assert_eq!(
            invite(420, "FLOOD_PREMIUM_WAIT", Some(5)),
            restricted(Cause::FloodWait, &[Action::Invite], Some(65))
        );
        assert_eq!(
            judge(&error(420, "FLOOD_WAIT", Some(3)), Action::Read, Some(Duration::from_secs(2))),
            restricted(Cause::FloodWait, &[Action::Read], Some(5))
        );
        assert_eq!(invite(420, "SLOWMODE_WAIT", Some(7)), restricted(Cause::Slowmode, &[Action::Invite], Some(7)));
        assert_eq!(
            invite(400, "PEER_FLOOD", None),
            restricted(Cause::PeerFlood, &[Action::Invite, Action::Message], Some(86_400))
        );
        for name in ["FROZEN_METHOD_INVALID", "FROZEN_PARTICIPANT_MISSING"] {
            assert_eq!(invite(420, name, None), restricted(Cause::Frozen, &[], None), "{name}");
        }
    }

    #[test]
    fn answers_about_the_chat_and_all_others() {
        for name in ["CHANNEL_PRIVATE", "CHANNEL_INVALID", "CHAT_INVALID", "CHAT_ID_INVALID", "CHAT_RESTRICTED"] {
            assert_eq!(invite(400, name, None), Verdict::ChatUnavailable, "{name}");
        }
        assert_eq!(invite(400, "USERS_TOO_MUCH", None), Verdict::ChatFull);
        assert_eq!(invite(500, "RPC_CALL_FAIL", None), Verdict::TryAgain);
        assert_eq!(invite(500, "RANDOM_ID_DUPLICATE", None), Verdict::Refused);
        assert_eq!(invite(-503, "Timeout", None), Verdict::TryAgain);
        assert_eq!(invite(401, "SOMETHING_NEW", None), Verdict::Offline);
        assert_eq!(invite(406, "SOMETHING_NEW", None), Verdict::Offline);
        assert_eq!(invite(400, "SOMETHING_NEW", None), Verdict::Refused);
        assert_eq!(invite(403, "SOMETHING_NEW", None), Verdict::Refused);
    }
}
