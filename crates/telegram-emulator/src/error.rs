//! Errors as the API reports them.

use std::borrow::Cow;
use std::fmt;

/// An `rpc_error`: a code like HTTP's and the error's name.
///
/// Names and codes are those of <https://core.telegram.org/api/errors> and its list by method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcError {
    /// Class of the error: 303, 400, 401, 403, 404, 406, 420, 500 or negative.
    pub code: i32,
    /// The name, with its number in place of any X: `FLOOD_WAIT_31`.
    pub name: Cow<'static, str>,
}

impl RpcError {
    /// An error that is not in the emulator's own table.
    pub fn new(code: i32, name: impl Into<String>) -> Self {
        Self { code, name: Cow::Owned(name.into()) }
    }

    /// An error by its name alone, with the code that Telegram uses for it.
    ///
    /// The code of a name that is not known is 400, by far the most common.
    pub fn by_name(name: &str) -> Self {
        Self::new(code_of(name), name)
    }

    pub(crate) fn phone_migrate(dc: i32) -> Self {
        Self::new(303, format!("PHONE_MIGRATE_{dc}"))
    }

    pub(crate) fn user_migrate(dc: i32) -> Self {
        Self::new(303, format!("USER_MIGRATE_{dc}"))
    }

    pub(crate) fn slow_mode_wait(seconds: i32) -> Self {
        Self::new(420, format!("SLOWMODE_WAIT_{seconds}"))
    }
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.code)
    }
}

impl std::error::Error for RpcError {}

macro_rules! errors {
    ($($code:literal: $($name:ident),+;)+) => {
        impl RpcError {
            $($(
                #[doc = concat!("`", stringify!($name), "`, code ", stringify!($code), ".")]
                pub const $name: Self = Self { code: $code, name: Cow::Borrowed(stringify!($name)) };
            )+)+
        }

        /// Names with a number behind them are listed without it.
        fn code_of(name: &str) -> i32 {
            let base = name.trim_end_matches(|c: char| c.is_ascii_digit());
            let base = if base.len() < name.len() { base.trim_end_matches('_') } else { base };
            match base {
                $($(stringify!($name) => $code,)+)+
                _ => 400,
            }
        }
    };
}

errors! {
    303: PHONE_MIGRATE, USER_MIGRATE, NETWORK_MIGRATE, FILE_MIGRATE;
    400: ABOUT_TOO_LONG, ACCESS_TOKEN_EXPIRED, ACCESS_TOKEN_INVALID, API_ID_INVALID, AUTH_BYTES_INVALID,
        AUTH_TOKEN_ALREADY_ACCEPTED, AUTH_TOKEN_EXPIRED, AUTH_TOKEN_INVALID, BOTS_TOO_MUCH, CHANNELS_TOO_MUCH,
        CHANNEL_INVALID, CHAT_ADMIN_REQUIRED, CHAT_ID_INVALID, CHAT_INVALID, CHAT_MEMBER_ADD_FAILED, CHAT_NOT_MODIFIED, CHAT_RESTRICTED,
        CONNECTION_LAYER_INVALID, CONNECTION_NOT_INITED, CONTACT_ID_INVALID, CONTACT_NAME_EMPTY, DC_ID_INVALID,
        FROZEN_PARTICIPANT_MISSING, INPUT_FETCH_ERROR, INPUT_METHOD_INVALID, INPUT_USER_DEACTIVATED,
        INVITE_HASH_EMPTY, INVITE_HASH_EXPIRED, INVITE_HASH_INVALID, INVITE_REQUEST_SENT, LIMIT_INVALID,
        MESSAGE_EMPTY, MESSAGE_ID_INVALID, MESSAGE_TOO_LONG, METHOD_NOT_EMULATED, MSG_ID_INVALID,
        PARTICIPANT_ID_INVALID, PASSWORD_HASH_INVALID, PEER_FLOOD, PEER_ID_INVALID, PERSISTENT_TIMESTAMP_EMPTY,
        PERSISTENT_TIMESTAMP_INVALID, PHONE_CODE_EMPTY, PHONE_CODE_EXPIRED, PHONE_CODE_HASH_EMPTY,
        PHONE_CODE_INVALID, PHONE_NOT_OCCUPIED, PHONE_NUMBER_BANNED, PHONE_NUMBER_FLOOD, PHONE_NUMBER_INVALID,
        PHONE_NUMBER_UNOCCUPIED, QUERY_TOO_SHORT, SEARCH_QUERY_EMPTY, SRP_ID_INVALID, SRP_PASSWORD_CHANGED,
        USERNAME_INVALID, USERNAME_NOT_OCCUPIED, USERS_TOO_FEW, USERS_TOO_MUCH, USER_ALREADY_PARTICIPANT,
        USER_BANNED_IN_CHANNEL, USER_BLOCKED, USER_BOT, USER_BOT_REQUIRED, USER_CREATOR, USER_ID_INVALID,
        USER_IS_BLOCKED, USER_IS_BOT, USER_KICKED, USER_NOT_PARTICIPANT, YOU_BLOCKED_USER;
    401: ACTIVE_USER_REQUIRED, AUTH_KEY_INVALID, AUTH_KEY_PERM_EMPTY, AUTH_KEY_UNREGISTERED, SESSION_EXPIRED,
        SESSION_PASSWORD_NEEDED, SESSION_REVOKED, USER_DEACTIVATED, USER_DEACTIVATED_BAN;
    403: CHAT_ADMIN_INVITE_REQUIRED, CHAT_SEND_PLAIN_FORBIDDEN, CHAT_WRITE_FORBIDDEN,
        PREMIUM_ACCOUNT_REQUIRED, PRIVACY_PREMIUM_REQUIRED, USER_CHANNELS_TOO_MUCH, USER_NOT_MUTUAL_CONTACT,
        USER_PRIVACY_RESTRICTED;
    406: AUTH_KEY_DUPLICATED, CHANNEL_PRIVATE, PHONE_PASSWORD_FLOOD, UPDATE_APP_TO_LOGIN;
    420: FLOOD_PREMIUM_WAIT, FLOOD_WAIT, FROZEN_METHOD_INVALID, SLOWMODE_WAIT;
    500: AUTH_RESTART, RANDOM_ID_DUPLICATE, RPC_CALL_FAIL;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_their_code_with_and_without_a_number() {
        for (name, code) in [
            ("FLOOD_WAIT_31", 420),
            ("SLOWMODE_WAIT_5", 420),
            ("PHONE_MIGRATE_4", 303),
            ("PEER_FLOOD", 400),
            ("AUTH_KEY_DUPLICATED", 406),
            ("USER_DEACTIVATED_BAN", 401),
            ("SOMETHING_NEW", 400),
        ] {
            assert_eq!(RpcError::by_name(name), RpcError::new(code, name));
        }
        assert_eq!(RpcError::PEER_FLOOD.to_string(), "PEER_FLOOD (400)");
    }
}
