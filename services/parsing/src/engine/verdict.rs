//! What an error of the integration service means for a task. Pure: by the
//! reason's name, never by its text.

use std::time::Duration;

use tgmesh_proto::ErrorReason;
use tgmesh_proto::parsing::v1::waiting;
use tgmesh_proto::shortage::{self, RIGHTS_UNKNOWN, SHORTAGE};
use tonic::{Code, Status};

/// Failures that look like ours, in a row without a batch between them, after
/// which a task is given up: repeating them for ever would hide a bug.
const MOST_FAULTS: i32 = 8;
/// Longest time between two tries. An account may become free earlier than
/// was foretold: somebody may add one.
const LONGEST: Duration = Duration::from_secs(30);
/// Longest time between two tries after flood waits: an account that was added
/// meanwhile must not wait for a day with those that are flooded.
const LONGEST_FLOOD: Duration = Duration::from_secs(15 * 60);
/// Denials in a row, all for want of rights, after which nobody can see the chat.
const MOST_BLIND: i32 = 2;
/// Longest time between two waits for an account.
const SOON: Duration = Duration::from_secs(4);

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Take another lease and go on at the cursor.
    Again,
    /// Wait, and try again.
    Wait {
        /// Why.
        reason: waiting::Reason,
        /// For how long, as far as anybody can tell.
        foretold: Option<Duration>,
        /// When to try again.
        retry: Duration,
        /// In one line.
        detail: String,
    },
    /// Give the task up.
    Fail {
        /// Reason of the catalogue.
        reason: &'static str,
        /// In one line.
        detail: String,
    },
}

/// Judges an error. `strikes` are the failures before it since the last batch.
pub fn verdict(status: &Status, strikes: i32) -> Verdict {
    use ErrorReason as R;
    let failure = tgmesh_proto::status::read(status);
    let retry_after = failure.as_ref().and_then(|failure| failure.retry_after);
    let wait = |reason, detail: String| Verdict::Wait {
        reason,
        foretold: retry_after,
        retry: retry_after.unwrap_or(LONGEST).min(backoff(strikes)),
        detail,
    };
    let Some(failure) = failure else {
        return no_reason(status, strikes);
    };
    let fail = |detail: String| Verdict::Fail { reason: failure.reason.as_reason(), detail };
    match failure.reason {
        // The account is not ours any more, or cannot do this any more: nothing
        // is lost, and integration will not choose it again.
        R::StaleLease
        | R::LeaseNotFound
        | R::AccountNotFound
        | R::AccountNotReady
        | R::AccountDeleting
        | R::AccountFrozen
        | R::SessionLost
        | R::NoRights
        | R::PeerFlood
        | R::Conflict => match strikes {
            0 => Verdict::Again,
            _ => wait(waiting::Reason::Account, format!("the account was lost: {}", status.message())),
        },
        R::NoAccountAvailable => no_account(&failure, strikes),
        R::QuotaExceeded => {
            let limit = failure.metadata.get("limit").map_or("of reading", String::as_str);
            wait(waiting::Reason::Account, format!("the limit {limit} of the account is used up"))
        }
        R::FloodWait => match strikes {
            // Another account may go on at once.
            0 => Verdict::Again,
            _ => Verdict::Wait {
                reason: waiting::Reason::FloodWait,
                foretold: retry_after,
                retry: retry_after.map_or(backoff(strikes), |after| after.min(flood_backoff(strikes))),
                detail: "telegram demands a wait before more is read".to_owned(),
            },
        },
        R::TelegramUnavailable
        | R::DependencyUnavailable
        | R::ShuttingDown
        | R::Overloaded
        | R::DeadlineExceeded
        | R::OutcomeUnknown => wait(waiting::Reason::Dependency, status.message().to_owned()),
        R::ChatNotFound => fail("telegram knows no such chat, or no account can see it".to_owned()),
        R::ChatNotVisible => fail("no account of the workspace can see the chat".to_owned()),
        R::ChatUnavailable => fail("the chat is gone, private, or restricted".to_owned()),
        R::ChatKindUnsuitable => fail("this kind of chat does not offer what the task collects".to_owned()),
        R::MembersHidden => {
            fail("the chat hides its members; a task for message authors finds those who write".to_owned())
        }
        R::TelegramRefused => {
            let name = failure.metadata.get("telegram_error").map(String::as_str).unwrap_or("without a name");
            fail(format!("telegram refused: {name}"))
        }
        // A token that is refused heals with the clock or the keys.
        R::TokenInvalid => wait(waiting::Reason::Dependency, "the integration service refuses our identity".to_owned()),
        R::Internal if strikes < MOST_FAULTS => {
            wait(waiting::Reason::Dependency, "the integration service has an internal error".to_owned())
        }
        _ => fail(status.message().to_owned()),
    }
}

/// An error that names no reason comes from the transport.
fn no_reason(status: &Status, strikes: i32) -> Verdict {
    let passing = matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded | Code::Unknown);
    if passing || strikes < MOST_FAULTS {
        return Verdict::Wait {
            reason: waiting::Reason::Dependency,
            foretold: None,
            retry: backoff(strikes),
            detail: "the connection to the integration service was cut".to_owned(),
        };
    }
    Verdict::Fail { reason: ErrorReason::Internal.as_reason(), detail: status.message().to_owned() }
}

/// No account can be had: metadata count them by reason.
fn no_account(failure: &tgmesh_proto::status::Failure, strikes: i32) -> Verdict {
    let counted = SHORTAGE.iter().map(|(key, _)| *key).filter(|key| shortage::accounts(&failure.metadata, key) > 0);
    let counted: Vec<&str> = counted.collect();
    let only = |reason: &str| counted == [reason];
    // What the others may do is asked for in the background.
    let all_asked = shortage::accounts(&failure.metadata, RIGHTS_UNKNOWN.0) == 0;
    if only("no_rights") && all_asked && strikes >= MOST_BLIND {
        return Verdict::Fail {
            reason: ErrorReason::ChatNotVisible.as_reason(),
            detail: "no account of the workspace can see the chat".to_owned(),
        };
    }
    Verdict::Wait {
        reason: if only("flood_wait") { waiting::Reason::FloodWait } else { waiting::Reason::Account },
        foretold: failure.retry_after,
        // The wait for an account was long already: back into the queue.
        retry: failure.retry_after.unwrap_or(SOON).min(backoff(strikes)).min(SOON),
        detail: shortage::line(&failure.metadata),
    }
}

/// 1, 2, 4, 8, 16, then 30 seconds.
pub fn backoff(strikes: i32) -> Duration {
    let doublings = u32::try_from(strikes.clamp(0, 5)).unwrap_or(0);
    Duration::from_secs(1 << doublings).min(LONGEST)
}

/// 1, 2, 4, 8, then 15 minutes: each try may cost one more account its peace.
fn flood_backoff(strikes: i32) -> Duration {
    let doublings = u32::try_from(strikes.clamp(1, 5) - 1).unwrap_or(0);
    Duration::from_secs(60 << doublings).min(LONGEST_FLOOD)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(reason: ErrorReason) -> Status {
        tgmesh_proto::status::status(reason, "host:1 is away").build()
    }

    /// All reasons that there are.
    fn reasons() -> impl Iterator<Item = ErrorReason> {
        (1..300).filter_map(|number| ErrorReason::try_from(number).ok())
    }

    #[test]
    fn only_what_waiting_cannot_heal_ends_a_task() {
        use ErrorReason as R;
        let heals = [
            R::StaleLease,
            R::LeaseNotFound,
            R::AccountNotFound,
            R::AccountNotReady,
            R::AccountDeleting,
            R::AccountFrozen,
            R::SessionLost,
            R::NoRights,
            R::PeerFlood,
            R::Conflict,
            R::NoAccountAvailable,
            R::QuotaExceeded,
            R::FloodWait,
            R::TelegramUnavailable,
            R::DependencyUnavailable,
            R::ShuttingDown,
            R::Overloaded,
            R::DeadlineExceeded,
            R::OutcomeUnknown,
            R::TokenInvalid,
        ];
        for reason in reasons() {
            for strikes in [0, 1, 100] {
                let failed = matches!(verdict(&status(reason), strikes), Verdict::Fail { .. });
                let heals = heals.contains(&reason) || (reason == R::Internal && strikes < MOST_FAULTS);
                assert_eq!(failed, !heals, "{reason:?} after {strikes}");
            }
        }
    }

    #[test]
    fn a_lost_lease_goes_on_at_once_and_then_slower() {
        assert_eq!(verdict(&status(ErrorReason::StaleLease), 0), Verdict::Again);
        assert!(matches!(verdict(&status(ErrorReason::StaleLease), 1), Verdict::Wait { .. }));
    }

    #[test]
    fn a_flood_wait_is_left_to_another_account_and_then_waited_for() {
        let flood = |seconds| {
            tgmesh_proto::status::status(ErrorReason::FloodWait, "x")
                .retry_after(Some(Duration::from_secs(seconds)))
                .build()
        };
        assert_eq!(verdict(&flood(400), 0), Verdict::Again);
        for (seconds, strikes, tried_after) in [(400, 1, 60), (400, 4, 400), (30, 1, 30), (77_849, 100, 900)] {
            let Verdict::Wait { reason, retry, foretold, .. } = verdict(&flood(seconds), strikes) else {
                panic!("it waits")
            };
            assert_eq!((reason, foretold), (waiting::Reason::FloodWait, Some(Duration::from_secs(seconds))));
            assert_eq!(retry, Duration::from_secs(tried_after), "{seconds} after {strikes}");
        }
    }

    #[test]
    fn waiting_for_an_account_counts_them_by_reason() {
        let none = tgmesh_proto::status::status(ErrorReason::NoAccountAvailable, "x")
            .with("leased", 2)
            .with("flood_wait", 1)
            .with("paused", 0)
            .retry_after(Some(Duration::from_secs(900)))
            .build();
        let Verdict::Wait { reason, retry, foretold, detail } = verdict(&none, 3) else { panic!("it waits") };
        assert_eq!(reason, waiting::Reason::Account);
        assert_eq!(detail, "no account is free: 2 work elsewhere, 1 wait because Telegram demands it");
        // Told in full, tried earlier.
        assert_eq!((foretold, retry), (Some(Duration::from_secs(900)), Duration::from_secs(4)));
    }

    #[test]
    fn accounts_that_all_wait_for_telegram_say_so() {
        let flooded = tgmesh_proto::status::status(ErrorReason::NoAccountAvailable, "x").with("flood_wait", 3).build();
        let Verdict::Wait { reason, .. } = verdict(&flooded, 0) else { panic!("it waits") };
        assert_eq!(reason, waiting::Reason::FloodWait);
    }

    #[test]
    fn a_chat_that_no_account_can_read_is_not_visible() {
        let none_of = |others: u32, key| {
            tgmesh_proto::status::status(ErrorReason::NoAccountAvailable, "x")
                .with("no_rights", 2)
                .with(key, others)
                .with("earliest_time", "2026-01-01T00:00:00Z")
                .build()
        };
        let none = |others| none_of(others, "leased");
        assert!(matches!(verdict(&none(0), MOST_BLIND - 1), Verdict::Wait { .. }));
        let Verdict::Fail { reason, .. } = verdict(&none(0), MOST_BLIND) else { panic!("it fails") };
        assert_eq!(reason, "CHAT_NOT_VISIBLE");
        assert!(matches!(verdict(&none(1), 100), Verdict::Wait { .. }), "one that is leased may see it");
        let unknown = none_of(1, "rights_unknown");
        assert!(matches!(verdict(&unknown, 100), Verdict::Wait { .. }), "one that is being asked may see it");
    }

    #[test]
    fn a_workspace_without_accounts_is_told_so() {
        let none = tgmesh_proto::status::status(ErrorReason::NoAccountAvailable, "the workspace has none").build();
        let Verdict::Wait { detail, .. } = verdict(&none, 0) else { panic!("it waits") };
        assert!(detail.starts_with("the workspace has no account"), "{detail}");
    }

    #[test]
    fn a_cut_connection_is_never_a_failure() {
        for strikes in [0, 5, 1_000] {
            let cut = Status::from_error("connection reset".into());
            assert!(matches!(verdict(&cut, strikes), Verdict::Wait { .. }), "{strikes}");
        }
    }

    #[test]
    fn backoff_grows_and_ends_growing() {
        let seconds: Vec<u64> = [-1, 0, 1, 2, 3, 4, 5, 6, i32::MAX].map(|n| backoff(n).as_secs()).to_vec();
        assert_eq!(seconds, [1, 1, 2, 4, 8, 16, 30, 30, 30]);
    }
}
