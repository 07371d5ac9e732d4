//! An account's state, derived: nobody sets it.

use service_kit::Time;
use tgmesh_proto::ErrorReason;
use tgmesh_proto::integration::v1::account::{SessionState, State};
use tgmesh_proto::integration::v1::restriction::Cause;
use tgmesh_proto::quota::v1::Action;

use crate::entity::{account, restriction};
use crate::error::Error;

/// The state, in a word, in a line, and when it ends by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derived {
    /// In a word.
    pub state: State,
    /// In one plain line.
    pub detail: String,
    /// When it ends by itself.
    pub until: Option<Time>,
}

/// Derives the state from what is stored.
pub fn derive(account: &account::Model, restrictions: &[restriction::Model], now: Time) -> Derived {
    let plain = |state, detail: &str| Derived { state, detail: detail.to_owned(), until: None };
    if account.deleting_at.is_some() {
        return plain(State::Deleting, "being deleted: the session is still to be logged out at telegram");
    }
    match SessionState::try_from(account.session_state).unwrap_or_default() {
        SessionState::Ok | SessionState::Unspecified => {}
        lost => {
            let why = match lost {
                SessionState::Revoked => "the session was ended",
                SessionState::KeyDuplicated => "telegram destroyed the session: its key was used from two places",
                SessionState::Deactivated => "the telegram account was deactivated",
                SessionState::Banned => "telegram banned the number",
                SessionState::WrongUser => "the session belongs to another telegram user",
                SessionState::Ok | SessionState::Unspecified => "",
            };
            let error = match account.session_error.as_str() {
                "" => String::new(),
                name => format!(" ({name})"),
            };
            return plain(State::SessionLost, &format!("{why}{error}: log in again"));
        }
    }
    if account.paused_at.is_some() {
        return plain(State::Paused, "paused by the user");
    }
    let in_force: Vec<&restriction::Model> =
        restrictions.iter().filter(|restriction| is_in_force(restriction, now)).collect();
    // The one that lasts longest tells when the account is free again.
    let Some(longest) = in_force.iter().max_by_key(|restriction| restriction.end_at.unwrap_or(i64::MAX)) else {
        return plain(State::Ready, "ready");
    };
    let what = match actions(longest.actions).as_slice() {
        [] => "everything".to_owned(),
        actions => {
            let names: Vec<&str> = actions.iter().map(|action| action_word(*action)).collect();
            names.join(" and ")
        }
    };
    let cause = match Cause::try_from(longest.cause).unwrap_or_default() {
        Cause::FloodWait => "telegram demands a wait",
        Cause::PeerFlood => "telegram limits writing to strangers",
        Cause::Frozen => "telegram froze the account",
        Cause::Slowmode => "the chat allows one message in a while",
        Cause::Unspecified => "telegram restricts the account",
    };
    Derived {
        state: State::Restricted,
        detail: format!("{cause} ({}): no {what}", longest.telegram_error),
        until: longest.end_at.map(Time::from_millis),
    }
}

/// Whether an account works at all; what Telegram forbids it for a time is
/// asked action by action.
///
/// # Errors
/// `SESSION_LOST`, `ACCOUNT_NOT_READY`.
pub fn usable(
    account: &account::Model,
    restrictions: &[restriction::Model],
    now: Time,
    paused_too: bool,
) -> Result<(), Error> {
    let derived = derive(account, restrictions, now);
    match derived.state {
        State::Ready | State::Restricted => Ok(()),
        State::Paused if paused_too => Ok(()),
        State::SessionLost => Err(Error::plain(ErrorReason::SessionLost, derived.detail)
            .with("account_id", account.id)
            .with("telegram_error", &account.session_error)),
        other => Err(Error::plain(ErrorReason::AccountNotReady, derived.detail)
            .with("account_id", account.id)
            .with("cause", other.as_str_name())),
    }
}

/// Whether a restriction holds now.
pub fn is_in_force(restriction: &restriction::Model, now: Time) -> bool {
    !restriction.ended && restriction.end_at.is_none_or(|end| end > now.millis())
}

/// The actions behind a bit mask.
pub fn actions(mask: i32) -> Vec<Action> {
    (1..=6).filter(|bit| mask & (1 << bit) != 0).filter_map(|bit| Action::try_from(bit).ok()).collect()
}

/// The bit mask of some actions.
pub fn action_mask(actions: &[Action]) -> i32 {
    actions.iter().fold(0, |mask, action| mask | 1 << (*action as i32))
}

fn action_word(action: Action) -> &'static str {
    match action {
        Action::Invite => "inviting",
        Action::Message => "messaging",
        Action::AddContact => "adding contacts",
        Action::JoinChat => "joining",
        Action::ResolveUsername => "looking up names",
        Action::Read => "reading",
        Action::Unspecified => "acting",
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn account() -> account::Model {
        account::Model {
            id: Uuid::from_u128(1),
            workspace_id: Uuid::from_u128(2),
            telegram_user_id: 3,
            kind: 1,
            label: String::new(),
            purposes: 0,
            username: String::new(),
            first_name: String::new(),
            last_name: String::new(),
            phone: String::new(),
            premium: false,
            session_state: SessionState::Ok as i32,
            session_error: String::new(),
            paused_at: None,
            deleting_at: None,
            checked_at: None,
            fencing_token: 0,
            created_at: 0,
            updated_at: 0,
            revision: 1,
        }
    }

    fn restriction(end_at: Option<i64>, actions: &[Action]) -> restriction::Model {
        restriction::Model {
            id: Uuid::from_u128(4),
            account_id: Uuid::from_u128(1),
            cause: Cause::FloodWait as i32,
            actions: action_mask(actions),
            begin_at: 0,
            end_at,
            telegram_error: "FLOOD_WAIT_31".to_owned(),
            method: "channels.inviteToChannel".to_owned(),
            ended: false,
        }
    }

    #[test]
    fn what_is_worse_wins() {
        let now = Time::from_millis(1_000);
        let mut row = account();
        assert_eq!(derive(&row, &[], now).state, State::Ready);
        let held = [restriction(Some(2_000), &[Action::Invite])];
        assert_eq!(derive(&row, &held, now).state, State::Restricted);
        row.paused_at = Some(1);
        assert_eq!(derive(&row, &held, now).state, State::Paused);
        row.session_state = SessionState::KeyDuplicated as i32;
        assert_eq!(derive(&row, &held, now).state, State::SessionLost);
        row.deleting_at = Some(1);
        assert_eq!(derive(&row, &held, now).state, State::Deleting);
    }

    #[test]
    fn a_restriction_ends_by_itself() {
        let held = [restriction(Some(2_000), &[Action::Invite])];
        let derived = derive(&account(), &held, Time::from_millis(1_999));
        assert_eq!(derived.until, Some(Time::from_millis(2_000)));
        assert_eq!(derived.detail, "telegram demands a wait (FLOOD_WAIT_31): no inviting");
        assert_eq!(derive(&account(), &held, Time::from_millis(2_000)).state, State::Ready);
    }

    #[test]
    fn the_longest_restriction_is_told() {
        let held = [restriction(Some(2_000), &[Action::Invite]), restriction(None, &[])];
        let derived = derive(&account(), &held, Time::ZERO);
        assert_eq!((derived.until, derived.detail.ends_with("no everything")), (None, true));
    }
}
