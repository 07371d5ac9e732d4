//! What an answer to `InviteToChat` means: for the target, the campaign, and
//! whether the account is kept. Pure, and exhaustive over the catalogue.

use std::time::Duration;

use tgmesh_proto::ErrorReason;
use tgmesh_proto::telegram::v1::{InviteToChatResponse, Outcome};
use tonic::Status;

/// Delay after a fault that would otherwise come back at once, for ever.
pub const FAULT_DELAY: Duration = Duration::from_secs(60);

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The target has its outcome.
    Done {
        /// The outcome.
        outcome: Outcome,
        /// Telegram's error name.
        telegram_error: String,
        /// Telegram's id of the user; 0 when not known.
        user_id: i64,
    },
    /// It says something about the account: the target waits for another.
    Limited {
        /// Telegram's error name, or the reason.
        telegram_error: String,
    },
    /// A limit of ours came first: nothing was sent, and it was no attempt.
    Quota {
        /// When the account may act again, if it is known.
        retry_after: Option<Duration>,
    },
    /// It surely was not sent.
    NotSent {
        /// The reason.
        reason: &'static str,
        /// Telegram's error name, when Telegram had a fault; empty otherwise.
        telegram_error: String,
        /// How long the target waits.
        delay: Duration,
    },
    /// The account cannot address the target; others may.
    NotAddressable,
    /// The chat cannot be worked with: the campaign stops.
    ChatFailed {
        /// Reason of the catalogue.
        reason: ErrorReason,
        /// Telegram's error name.
        telegram_error: String,
    },
    /// It may have been sent: it must be found out before anything else.
    Unknown,
}

/// Judges an answer.
pub fn judge(answer: Result<&InviteToChatResponse, &Status>) -> Verdict {
    let status = match answer {
        Ok(answer) => {
            return match answer.outcome() {
                // An answer without outcome says nothing about what happened.
                Outcome::Unspecified => Verdict::Unknown,
                outcome => {
                    Verdict::Done { outcome, telegram_error: answer.telegram_error.clone(), user_id: answer.user_id }
                }
            };
        }
        Err(status) => status,
    };
    let Some(failure) = tgmesh_proto::status::read(status) else {
        // A failure of the transport: the request may have arrived.
        return Verdict::Unknown;
    };
    let telegram_error = failure.metadata.get("telegram_error").cloned().unwrap_or_default();
    let named = if telegram_error.is_empty() { failure.reason.as_reason().to_owned() } else { telegram_error.clone() };
    match failure.reason {
        ErrorReason::OutcomeUnknown
        | ErrorReason::DeadlineExceeded
        | ErrorReason::Internal
        | ErrorReason::Unspecified => Verdict::Unknown,
        ErrorReason::PeerNotFound => Verdict::Done { outcome: Outcome::NotFound, telegram_error, user_id: 0 },
        ErrorReason::TelegramRefused => Verdict::Done { outcome: Outcome::Refused, telegram_error, user_id: 0 },
        ErrorReason::PeerNotAddressable => Verdict::NotAddressable,
        ErrorReason::QuotaExceeded => Verdict::Quota { retry_after: failure.retry_after },
        ErrorReason::FloodWait
        | ErrorReason::PeerFlood
        | ErrorReason::AccountFrozen
        | ErrorReason::NoRights
        | ErrorReason::ChatNotFound
        | ErrorReason::ChatNotVisible
        | ErrorReason::SessionLost
        | ErrorReason::AccountNotReady
        | ErrorReason::AccountDeleting
        | ErrorReason::AccountNotFound => Verdict::Limited { telegram_error: named },
        ErrorReason::ChatUnavailable | ErrorReason::ChatFull | ErrorReason::ChatKindUnsuitable => {
            Verdict::ChatFailed { reason: failure.reason, telegram_error }
        }
        ErrorReason::StaleLease
        | ErrorReason::LeaseNotFound
        | ErrorReason::Conflict
        | ErrorReason::NoAccountAvailable
        | ErrorReason::Overloaded
        | ErrorReason::TelegramUnavailable
        | ErrorReason::DependencyUnavailable
        | ErrorReason::ShuttingDown => Verdict::NotSent {
            reason: failure.reason.as_reason(),
            // Telegram had a fault three times in a row: asked again at once, it would have it for ever.
            delay: match failure.retry_after {
                _ if !telegram_error.is_empty() => FAULT_DELAY,
                wait => wait.unwrap_or(Duration::ZERO).min(FAULT_DELAY),
            },
            telegram_error,
        },
        // Refused before anything was done, for a fault of ours. Burning the
        // target would hide it; trying at once would repeat it.
        ErrorReason::FieldInvalid
        | ErrorReason::RequestIdReused
        | ErrorReason::PageTokenInvalid
        | ErrorReason::FileInvalid
        | ErrorReason::ResumeTokenInvalid
        | ErrorReason::MessageInvalid
        | ErrorReason::TokenInvalid
        | ErrorReason::CallerNotAllowed
        | ErrorReason::LoginNotFound
        | ErrorReason::CampaignNotFound
        | ErrorReason::TargetNotFound
        | ErrorReason::AudienceNotFound
        | ErrorReason::ParseTaskNotFound
        | ErrorReason::ContactNotFound
        | ErrorReason::PhoneNumberInvalid
        | ErrorReason::PhoneNumberBanned
        | ErrorReason::PhoneNumberFlood
        | ErrorReason::LoginCodeInvalid
        | ErrorReason::LoginCodeExpired
        | ErrorReason::LoginPasswordWrong
        | ErrorReason::LoginPasswordFlood
        | ErrorReason::LoginSignUpRequired
        | ErrorReason::LoginEmailRequired
        | ErrorReason::LoginPaymentRequired
        | ErrorReason::LoginStateWrong
        | ErrorReason::LoginExpired
        | ErrorReason::AlreadyConnected
        | ErrorReason::LoginUnderWay
        | ErrorReason::EtagMismatch
        | ErrorReason::MembersHidden
        | ErrorReason::CampaignStateWrong
        | ErrorReason::NoTargets
        | ErrorReason::NoAbleAccount
        | ErrorReason::ParseTaskStateWrong
        | ErrorReason::CampaignBusy
        | ErrorReason::NotImplemented => {
            Verdict::NotSent { reason: failure.reason.as_reason(), telegram_error, delay: FAULT_DELAY }
        }
    }
}

/// Whether an outcome means that Telegram was asked to bring this person into
/// the chat, so that later campaigns leave him alone.
pub fn counts_as_contact(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Unspecified | Outcome::NotFound | Outcome::NotAddressable | Outcome::DoNotContact => false,
        Outcome::Invited
        | Outcome::NotJoined
        | Outcome::MessageSent
        | Outcome::LinkSent
        | Outcome::JoinedByLink
        | Outcome::AlreadyMember
        | Outcome::Requested
        | Outcome::PrivacyRestricted
        | Outcome::NotMutualContact
        | Outcome::UserChannelsTooMuch
        | Outcome::UserKicked
        | Outcome::UserBannedInChannel
        | Outcome::UserBlocked
        | Outcome::UserIsBlocked
        | Outcome::YouBlockedUser
        | Outcome::UserBot
        | Outcome::BotsTooMuch
        | Outcome::InputUserDeactivated
        | Outcome::Refused => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tgmesh_proto::status::status;

    fn judged(reason: ErrorReason) -> Verdict {
        judge(Err(&status(reason, "x").with("telegram_error", "E").build()))
    }

    #[test]
    fn every_outcome_ends_the_target() {
        for number in 1..=22 {
            let outcome = Outcome::try_from(number).unwrap();
            let answer = InviteToChatResponse { outcome: number, user_id: 7, ..Default::default() };
            let expected = Verdict::Done { outcome, telegram_error: String::new(), user_id: 7 };
            assert_eq!(judge(Ok(&answer)), expected);
        }
        assert!(Outcome::try_from(23).is_err(), "a new outcome needs its row here");
        assert_eq!(judge(Ok(&InviteToChatResponse::default())), Verdict::Unknown);
    }

    #[test]
    fn limited_is_not_failed() {
        for reason in [
            ErrorReason::FloodWait,
            ErrorReason::PeerFlood,
            ErrorReason::AccountFrozen,
            ErrorReason::NoRights,
            ErrorReason::SessionLost,
            ErrorReason::AccountNotReady,
        ] {
            assert_eq!(judged(reason), Verdict::Limited { telegram_error: "E".into() }, "{reason:?}");
        }
        let quota = status(ErrorReason::QuotaExceeded, "x").retry_after(Some(Duration::from_secs(3))).build();
        assert_eq!(judge(Err(&quota)), Verdict::Quota { retry_after: Some(Duration::from_secs(3)) });
        for reason in [ErrorReason::StaleLease, ErrorReason::TelegramUnavailable, ErrorReason::DependencyUnavailable] {
            let found = judge(Err(&status(reason, "x").build()));
            assert!(matches!(found, Verdict::NotSent { delay: Duration::ZERO, .. }), "{reason:?}");
        }
        // A fault of Telegram's own keeps its name, and is not met again at once.
        let fault = Verdict::NotSent { reason: "TELEGRAM_UNAVAILABLE", telegram_error: "E".into(), delay: FAULT_DELAY };
        assert_eq!(judged(ErrorReason::TelegramUnavailable), fault);
    }

    #[test]
    fn what_may_have_been_sent_is_found_out_first() {
        for reason in [ErrorReason::OutcomeUnknown, ErrorReason::Internal, ErrorReason::DeadlineExceeded] {
            assert_eq!(judged(reason), Verdict::Unknown, "{reason:?}");
        }
        // Of no catalogue: a proxy, a broken connection.
        assert_eq!(judge(Err(&Status::from_error("broken pipe".into()))), Verdict::Unknown);
    }

    #[test]
    fn an_answer_about_the_chat_stops_the_campaign() {
        for reason in [ErrorReason::ChatUnavailable, ErrorReason::ChatFull, ErrorReason::ChatKindUnsuitable] {
            assert_eq!(judged(reason), Verdict::ChatFailed { reason, telegram_error: "E".into() });
        }
    }

    /// No reason may end a target except the two that are about the target.
    #[test]
    fn no_other_error_ends_a_target() {
        for number in 0..256 {
            let Ok(reason) = ErrorReason::try_from(number) else { continue };
            let done = matches!(judged(reason), Verdict::Done { .. });
            let about = matches!(reason, ErrorReason::PeerNotFound | ErrorReason::TelegramRefused);
            assert_eq!(done, about, "{reason:?}");
        }
    }
}
