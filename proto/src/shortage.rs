//! Why no account can be had, in one wording for whoever waits for one.

use std::collections::HashMap;

/// The keys by which `NO_ACCOUNT_AVAILABLE` counts accounts, with what they say of
/// those accounts and what helps. In the order in which they end by themselves,
/// soonest first.
pub const SHORTAGE: &[(&str, &str)] = &[
    ("leased", "work elsewhere"),
    ("cooling_down", "rest between two actions"),
    ("flood_wait", "wait because Telegram demands it"),
    ("chat_limit", "have used up their limit for this chat"),
    ("daily_limit", "have used up their limit of the day or hour"),
    ("restricted", "are restricted by Telegram"),
    ("offline", "have no working session or connection (log in again those whose session is lost)"),
    ("paused", "are paused (resume them)"),
    ("no_rights", "lack the right for this in the chat (let an admin grant it)"),
    ("not_eligible", "are not allowed for this work (change their purposes)"),
];

/// The same of accounts that could be had, but for rights that are being asked
/// for. It is over in a moment: nothing that work waits for.
pub const RIGHTS_UNKNOWN: (&str, &str) = ("rights_unknown", "are being asked what they may do in the chat");

/// How many accounts a key counts.
pub fn accounts(metadata: &HashMap<String, String>, key: &str) -> i32 {
    metadata.get(key).and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// The counts in one plain line.
pub fn line(metadata: &HashMap<String, String>) -> String {
    let counts = [&RIGHTS_UNKNOWN].into_iter().chain(SHORTAGE).map(|(key, text)| (accounts(metadata, key), text));
    let counts: Vec<String> =
        counts.filter(|(count, _)| *count > 0).map(|(count, text)| format!("{count} {text}")).collect();
    if counts.is_empty() {
        return "the workspace has no account for this work: log one in".to_owned();
    }
    format!("no account is free: {}", counts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_how_many_wait_for_what_soonest_first() {
        let counts = [("offline", "5"), ("cooling_down", "2"), ("paused", "0"), ("earliest_time", "soon")];
        let counts = counts.map(|(key, count)| (key.to_owned(), count.to_owned())).into();
        assert_eq!(
            line(&counts),
            "no account is free: 2 rest between two actions, 5 have no working session or connection \
             (log in again those whose session is lost)"
        );
        assert!(line(&HashMap::new()).contains("log one in"));
        let unknown = [(RIGHTS_UNKNOWN.0.to_owned(), "3".to_owned())].into();
        assert_eq!(line(&unknown), "no account is free: 3 are being asked what they may do in the chat");
    }
}
