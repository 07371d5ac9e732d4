//! The forms in which people name chats and users, and their one normal form.

use std::fmt;

/// Why a text names no chat or user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AddressError(&'static str);

/// A chat, as it can be named from outside.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ChatAddress {
    /// A public name, lower case, without "@".
    Username(String),
    /// The hash of an invite link.
    InviteHash(String),
    /// An id as the Bot API writes it: negative.
    Id(i64),
}

/// A chat, and the message in it that a link points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatLink {
    /// The chat.
    pub chat: ChatAddress,
    /// The message's id, when the link names one.
    pub message_id: Option<i32>,
}

impl fmt::Display for ChatAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Username(name) => write!(f, "@{name}"),
            Self::InviteHash(hash) => write!(f, "https://t.me/+{hash}"),
            Self::Id(id) => write!(f, "{id}"),
        }
    }
}

const FORMS: &str = "is no chat: expected @name, name, t.me/name, t.me/name/123, t.me/c/123, -100… id, or t.me/+hash";

/// Channels and supergroups have ids below this in the Bot API's writing.
const CHANNEL_BASE: i64 = -1_000_000_000_000;

/// Reads every form in which a chat can be named.
///
/// # Errors
/// When the text is none of them.
pub fn parse_chat(text: &str) -> Result<ChatLink, AddressError> {
    let text = text.trim();
    if let Some(path) = telegram_path(text) {
        return parse_path(path);
    }
    if text.starts_with('-') {
        let id: i64 = text.parse().map_err(|_| AddressError(FORMS))?;
        return Ok(ChatLink { chat: ChatAddress::Id(id), message_id: None });
    }
    let username = parse_username(text).map_err(|_| AddressError(FORMS))?;
    Ok(ChatLink { chat: ChatAddress::Username(username), message_id: None })
}

/// The path behind `t.me/` or `telegram.me/`, without query and fragment.
fn telegram_path(text: &str) -> Option<&str> {
    let rest = ["https://", "http://"]
        .iter()
        .find_map(|scheme| text.get(..scheme.len()).filter(|head| head.eq_ignore_ascii_case(scheme)))
        .map_or(text, |scheme| &text[scheme.len()..]);
    let (host, path) = rest.split_once('/')?;
    let host = host.strip_prefix("www.").unwrap_or(host).to_ascii_lowercase();
    if !matches!(host.as_str(), "t.me" | "telegram.me" | "telegram.dog") {
        return None;
    }
    let path = path.split(['?', '#']).next().unwrap_or_default();
    Some(path.trim_end_matches('/'))
}

fn parse_path(path: &str) -> Result<ChatLink, AddressError> {
    let parts: Vec<&str> = path.split('/').collect();
    let message = |text: &str| -> Result<Option<i32>, AddressError> {
        match text.parse::<i32>() {
            Ok(id) if id > 0 => Ok(Some(id)),
            _ => Err(AddressError(FORMS)),
        }
    };
    let invite = |hash: &str| -> Result<ChatLink, AddressError> {
        let good = !hash.is_empty()
            && hash.len() <= 64
            && hash.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if !good {
            return Err(AddressError(FORMS));
        }
        Ok(ChatLink { chat: ChatAddress::InviteHash(hash.to_owned()), message_id: None })
    };
    match parts.as_slice() {
        [first] if first.starts_with('+') => invite(&first[1..]),
        ["joinchat", hash] => invite(hash),
        ["c", id, rest @ ..] => {
            let id: i64 = id.parse().map_err(|_| AddressError(FORMS))?;
            if !(1..1_000_000_000_000).contains(&id) {
                return Err(AddressError(FORMS));
            }
            let message_id = rest.last().map_or(Ok(None), |text| message(text))?;
            Ok(ChatLink { chat: ChatAddress::Id(CHANNEL_BASE - id), message_id })
        }
        ["s", name] | [name] => {
            let username = parse_username(name).map_err(|_| AddressError(FORMS))?;
            Ok(ChatLink { chat: ChatAddress::Username(username), message_id: None })
        }
        [name, .., id] => {
            let username = parse_username(name).map_err(|_| AddressError(FORMS))?;
            Ok(ChatLink { chat: ChatAddress::Username(username), message_id: message(id)? })
        }
        [] => Err(AddressError(FORMS)),
    }
}

/// Reads a public name: letters, digits and underscores, beginning with a
/// letter, 4 to 32 characters; "@" and a link to it are taken off.
///
/// # Errors
/// When the text is no such name.
pub fn parse_username(text: &str) -> Result<String, AddressError> {
    const ERROR: AddressError =
        AddressError("is no username: expected 4 to 32 letters, digits and underscores, beginning with a letter");
    let text = text.trim();
    let text = telegram_path(text).unwrap_or(text);
    let name = text.strip_prefix('@').unwrap_or(text);
    let good = (4..=32).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if good { Ok(name.to_ascii_lowercase()) } else { Err(ERROR) }
}

/// Reads a phone number with its country code: 7 to 15 digits, with or without
/// "+"; spaces, brackets, dots and dashes are ignored. "00" stands for "+".
///
/// # Errors
/// When the text is no such number.
pub fn parse_phone(text: &str) -> Result<String, AddressError> {
    const ERROR: AddressError = AddressError("is no phone number: expected 7 to 15 digits with the country code");
    let mut digits = String::with_capacity(16);
    for (at, c) in text.trim().chars().enumerate() {
        match c {
            '0'..='9' => digits.push(c),
            '+' if at == 0 => {}
            ' ' | '(' | ')' | '-' | '.' | '\u{a0}' => {}
            _ => return Err(ERROR),
        }
        if digits.len() > 17 {
            return Err(ERROR);
        }
    }
    let digits = digits.strip_prefix("00").unwrap_or(&digits);
    if (7..=15).contains(&digits.len()) && !digits.starts_with('0') { Ok(format!("+{digits}")) } else { Err(ERROR) }
}

/// A phone number with all but its last four digits hidden.
pub fn mask_phone(phone: &str) -> String {
    let digits = phone.chars().filter(char::is_ascii_digit).count();
    let mut seen = 0;
    phone
        .chars()
        .map(|c| {
            if c.is_ascii_digit() {
                seen += 1;
                if seen + 4 <= digits { '•' } else { c }
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form_of_a_chat() {
        let username = |name: &str, message_id| ChatLink { chat: ChatAddress::Username(name.into()), message_id };
        for (text, expected) in [
            ("@RustBerlin", username("rustberlin", None)),
            ("rustberlin", username("rustberlin", None)),
            ("t.me/rustberlin", username("rustberlin", None)),
            ("https://t.me/rustberlin/", username("rustberlin", None)),
            ("https://t.me/rustberlin?start=1", username("rustberlin", None)),
            ("https://t.me/s/rustberlin", username("rustberlin", None)),
            ("HTTPS://T.ME/rustberlin/123", username("rustberlin", Some(123))),
            ("t.me/rustberlin/5/123", username("rustberlin", Some(123))),
            ("t.me/c/1234567890", ChatLink { chat: ChatAddress::Id(-1_001_234_567_890), message_id: None }),
            ("t.me/c/1234567890/77", ChatLink { chat: ChatAddress::Id(-1_001_234_567_890), message_id: Some(77) }),
            ("-1001234567890", ChatLink { chat: ChatAddress::Id(-1_001_234_567_890), message_id: None }),
            ("-42", ChatLink { chat: ChatAddress::Id(-42), message_id: None }),
            ("t.me/+AbC_d-1", ChatLink { chat: ChatAddress::InviteHash("AbC_d-1".into()), message_id: None }),
            ("t.me/joinchat/AbC", ChatLink { chat: ChatAddress::InviteHash("AbC".into()), message_id: None }),
        ] {
            assert_eq!(parse_chat(text).as_ref(), Ok(&expected), "{text}");
        }
    }

    #[test]
    fn refuses_what_names_no_chat() {
        for text in [
            "",
            "@",
            "ab",
            "1abcd",
            "t.me/",
            "t.me/c/",
            "t.me/c/x",
            "t.me/name/0",
            "t.me/name/x",
            "-",
            "-1x",
            "https://example.com/rustberlin",
            "t.me/+",
            "t.me/+a b",
            "имя_чата",
            "t.me/c/1000000000000",
        ] {
            assert!(parse_chat(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_written_chat_reads_back() {
        for text in ["@rustberlin", "-1001234567890", "https://t.me/+AbC"] {
            assert_eq!(parse_chat(text).unwrap().chat.to_string(), text);
        }
    }

    #[test]
    fn normalises_phones() {
        for text in ["+49 (151) 234-567", "0049151234567", "49151234567"] {
            assert_eq!(parse_phone(text).as_deref(), Ok("+49151234567"), "{text}");
        }
        for text in ["", "+", "12345", "+0123456789", "1234567890123456", "49151x34567", "49+151234567"] {
            assert!(parse_phone(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hides_all_but_four_digits() {
        assert_eq!(mask_phone("+49151234567"), "+•••••••4567");
        assert_eq!(mask_phone("123"), "123");
    }
}
