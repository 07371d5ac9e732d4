//! Values as files write them.

use service_kit::Time;
use tgmesh_proto::telegram::v1::LastSeen;

/// A time as RFC 3339 in UTC; empty when there is none.
pub fn time(at: Option<i64>) -> String {
    at.map(|at| Time::from_millis(at).to_proto().to_string()).unwrap_or_default()
}

/// When somebody was last online, coarsely; empty when Telegram does not tell.
pub fn last_seen(value: i32) -> &'static str {
    match LastSeen::try_from(value).unwrap_or_default() {
        LastSeen::Unspecified => "",
        LastSeen::Online => "online",
        LastSeen::Recently => "recently",
        LastSeen::Week => "week",
        LastSeen::Month => "month",
        LastSeen::LongAgo => "long_ago",
    }
}

/// A text that no spreadsheet takes for a formula: one that begins like one
/// gets an apostrophe in front, as OWASP advises. A phone number is none.
pub fn neutral(text: &str) -> std::borrow::Cow<'_, str> {
    let like_formula =
        text.trim_start_matches(' ').starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let phone = text.strip_prefix('+').is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()));
    if like_formula && !phone { format!("'{text}").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_formula_is_none() {
        for text in ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", "＝1", "+49 151"]
        {
            assert_eq!(neutral(text), format!("'{text}"), "{text:?}");
        }
    }

    #[test]
    fn plain_text_stays_as_it_is() {
        for text in ["", "Ann", "a=b", "+49151234567", "Анна", "1-2", "'quoted"] {
            assert_eq!(neutral(text), text);
        }
    }

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(time(Some(1_763_654_400_000)), "2025-11-20T16:00:00Z");
        assert_eq!(time(None), "");
    }
}
