//! Tests of what Telegram's answers to a login mean.

use super::*;

#[test]
fn what_logs_in_is_not_shown() {
    let code = Code {
        channel: Channel::App,
        length: 5,
        resend_after: None,
        next: Channel::Unspecified,
        hash: "0123abcd".to_owned(),
    };
    let secret = b"0123abcd".to_vec();
    let shown = format!(
        "{:?} {:?} {:?} {:?}",
        CodeAnswer::Sent(code.clone()),
        code,
        QrAnswer::Show(secret.clone(), Time::ZERO),
        QrAnswer::Elsewhere(2, secret.clone())
    );
    assert!(!shown.contains("0123abcd") && !shown.contains(&format!("{secret:?}")), "{shown}");
}
use crate::connections::RpcError;

#[test]
fn each_login_error_is_a_reason_of_its_own() {
    for (code, name, value, reason) in [
        (400, "PHONE_NUMBER_INVALID", None, ErrorReason::PhoneNumberInvalid),
        (400, "PHONE_NUMBER_BANNED", None, ErrorReason::PhoneNumberBanned),
        (400, "PHONE_NUMBER_FLOOD", None, ErrorReason::PhoneNumberFlood),
        (420, "FLOOD_WAIT", Some(60), ErrorReason::PhoneNumberFlood),
        (400, "PHONE_CODE_INVALID", None, ErrorReason::LoginCodeInvalid),
        (400, "PHONE_CODE_EMPTY", None, ErrorReason::LoginCodeInvalid),
        (400, "PHONE_CODE_EXPIRED", None, ErrorReason::LoginCodeExpired),
        (400, "PASSWORD_HASH_INVALID", None, ErrorReason::LoginPasswordWrong),
        (400, "PHONE_NUMBER_UNOCCUPIED", None, ErrorReason::LoginSignUpRequired),
        (400, "PHONE_PASSWORD_FLOOD", None, ErrorReason::PhoneNumberFlood),
        (400, "USER_DEACTIVATED_BAN", None, ErrorReason::PhoneNumberBanned),
        (400, "EMAIL_VERIFY_EXPIRED", None, ErrorReason::LoginCodeExpired),
        (400, "AUTH_TOKEN_EXPIRED", None, ErrorReason::LoginCodeExpired),
        (401, "AUTH_KEY_UNREGISTERED", None, ErrorReason::LoginExpired),
        (401, "AUTH_KEY_INVALID", None, ErrorReason::LoginExpired),
        (406, "AUTH_KEY_DUPLICATED", None, ErrorReason::LoginExpired),
        (401, "SESSION_REVOKED", None, ErrorReason::LoginExpired),
        (401, "SESSION_EXPIRED", None, ErrorReason::LoginExpired),
        (500, "AUTH_RESTART", None, ErrorReason::LoginExpired),
        (500, "RPC_CALL_FAIL", None, ErrorReason::TelegramUnavailable),
        (-503, "Timeout", None, ErrorReason::TelegramUnavailable),
        (400, "SOMETHING_NEW", None, ErrorReason::TelegramRefused),
    ] {
        let error = CallError::Rpc(RpcError { code, name: name.to_owned(), value });
        assert_eq!(refused(error, ErrorReason::PhoneNumberFlood).reason(), reason, "{name}");
    }
    let flood = CallError::Rpc(RpcError { code: 420, name: "FLOOD_WAIT".to_owned(), value: Some(60) });
    assert_eq!(refused(flood, ErrorReason::LoginPasswordFlood).reason(), ErrorReason::LoginPasswordFlood);
}
