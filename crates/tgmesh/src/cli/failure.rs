//! Why a command failed: in plain words, with what to do next.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::process::ExitCode;
use std::time::Duration;

use tgmesh_migrations::SchemaError;
use tgmesh_proto::ErrorReason;
use tonic::{Code, Status};

use super::hints::Hints;

/// The command could not be done.
const FAILED: u8 = 1;
/// The command line is at fault, as clap says it too.
const USAGE: u8 = 2;
/// Something that it needs cannot be reached (EX_UNAVAILABLE).
const UNAVAILABLE: u8 = 69;
/// It may be done later (EX_TEMPFAIL).
const LATER: u8 = 75;
/// The caller may not do it (EX_NOPERM).
const FORBIDDEN: u8 = 77;
/// The configuration is at fault (EX_CONFIG).
const CONFIGURATION: u8 = 78;

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    exit: u8,
    message: String,
    reason: Option<&'static str>,
    advice: Option<String>,
    told: Box<Told>,
}

/// What a service told beside the reason.
#[derive(Debug, Default)]
struct Told {
    metadata: BTreeMap<String, String>,
    violations: Vec<(String, String)>,
    retry_after: Option<Duration>,
}

impl Failure {
    /// A failure in one line.
    pub fn new(message: impl Into<String>) -> Self {
        Self { exit: FAILED, message: message.into(), reason: None, advice: None, told: Box::default() }
    }

    /// Something cannot be reached.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self { exit: UNAVAILABLE, ..Self::new(message) }
    }

    /// What was asked for makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { exit: USAGE, ..Self::new(message) }
    }

    /// The command line makes no sense.
    pub fn of_usage(error: &clap::Error) -> Self {
        let text = error.to_string();
        let text = text.trim().strip_prefix("error: ").unwrap_or(&text);
        Self::usage(text.split("\n\nUsage:").next().unwrap_or_default().trim()).advice("--help tells what is taken")
    }

    /// The caller is nobody who may.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self { exit: FORBIDDEN, ..Self::new(message) }
    }

    /// A failure that a service tells of by its reason, in an answer.
    pub(crate) fn with_reason(message: impl Into<String>, reason: &str) -> Self {
        let failure = Self::new(message);
        match ErrorReason::from_reason(reason) {
            Some(reason) => {
                Self { reason: Some(reason.as_reason()), advice: advice_on(reason).map(str::to_owned), ..failure }
            }
            None => failure,
        }
    }

    /// The configuration is at fault.
    pub(crate) fn configuration(error: anyhow::Error) -> Self {
        let advice = "`tgmesh doctor` checks a configuration; `tgmesh config` prints every setting";
        Self { exit: CONFIGURATION, ..Self::new(format!("{error:#}")) }.advice(advice)
    }

    /// Adds what to do next.
    #[must_use]
    pub(crate) fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// With the advised commands as they have to be typed.
    #[must_use]
    pub(crate) fn complete(mut self, hints: &Hints) -> Self {
        self.advice = self.advice.map(|advice| hints.complete(&advice));
        self
    }

    /// A call that failed; `service` at `address` is who was asked.
    pub(crate) fn of_call(status: &Status, service: &str, address: &str) -> Self {
        let Some(failure) = tgmesh_proto::status::read(status) else {
            return match status.code() {
                // A cause: the connection broke, nobody answered.
                Code::Unknown | Code::Cancelled | Code::Internal if status.source().is_some() => Self::unavailable(
                    format!("the connection to the {service} service at {address} was lost: {}", cause(status)),
                )
                .advice("`tgmesh doctor` looks for the fault"),
                Code::Unavailable => Self::unavailable(format!(
                    "the {service} service at {address} cannot be reached: {}",
                    cause(status)
                ))
                .advice("is it running? `tgmesh serve all` starts everything; `tgmesh doctor` looks for the fault"),
                Code::Unimplemented => {
                    Self::new(format!("the process at {address} serves no {service} service, or an older one"))
                        .advice("name the right one: --address SERVICE=HOST:PORT; `tgmesh doctor` looks for the fault")
                }
                code if status.message().is_empty() => {
                    Self::new(format!("the {service} service at {address} answered {code:?} without a word"))
                }
                code => Self::new(format!("the {service} service answered {code:?}: {}", status.message())),
            };
        };
        Self {
            exit: exit_of(failure.reason.code()),
            message: status.message().to_owned(),
            reason: Some(failure.reason.as_reason()),
            advice: advice_on(failure.reason).map(str::to_owned),
            told: Box::new(Told {
                metadata: failure.metadata.into_iter().collect(),
                violations: failure.violations,
                retry_after: failure.retry_after,
            }),
        }
    }

    /// Whether somebody could not be reached: another attempt may be luckier.
    pub(crate) fn is_unavailable(&self) -> bool {
        self.exit == UNAVAILABLE
    }

    /// What happened, in one line.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Reason of the catalogue, when it is an answer of a service.
    pub(crate) fn reason(&self) -> Option<ErrorReason> {
        self.reason.and_then(ErrorReason::from_reason)
    }

    /// A value that came with the reason.
    pub(crate) fn detail(&self, name: &str) -> Option<&str> {
        self.told.metadata.get(name).map(String::as_str)
    }

    /// Tells it on standard error, and answers with the exit code.
    pub fn tell(&self, json: bool) -> ExitCode {
        if json {
            let violations: Vec<_> = self
                .told
                .violations
                .iter()
                .map(|(field, problem)| serde_json::json!({ "field": field, "problem": problem }))
                .collect();
            let error = serde_json::json!({ "error": {
                "message": self.message,
                "reason": self.reason,
                "metadata": self.told.metadata,
                "violations": violations,
                "retryAfterSeconds": self.told.retry_after.map(|after| after.as_secs_f64()),
                "advice": self.advice,
            }});
            super::output::tell(&format!("{error}\n"));
        } else {
            super::output::tell(&self.text());
        }
        ExitCode::from(self.exit)
    }

    fn text(&self) -> String {
        use std::fmt::Write as _;
        let violations = &self.told.violations;
        let mut text = match violations.iter().find(|(field, problem)| self.message == format!("{field}: {problem}")) {
            Some((field, problem)) => format!("error: {}: {problem}", argument(field)),
            None => format!("error: {}", self.message),
        };
        if let Some(reason) = self.reason {
            let _ = write!(text, " ({reason})");
        }
        text.push('\n');
        // What the message says is not said again.
        for (field, problem) in violations.iter().filter(|(_, problem)| !self.message.contains(problem.as_str())) {
            let _ = writeln!(text, "  {}: {problem}", argument(field));
        }
        if self.told.violations.is_empty() {
            for (name, value) in &self.told.metadata {
                let _ = writeln!(text, "  {name}: {value}");
            }
        }
        if let Some(after) = self.told.retry_after.filter(|after| !after.is_zero()) {
            let _ = writeln!(text, "  again in: {}", super::output::duration(after));
        }
        if let Some(advice) = &self.advice {
            let _ = writeln!(text, "what to do: {advice}");
        }
        text
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let failure = Self::new(format!("{error:#}"));
        match error.downcast_ref() {
            Some(SchemaError::Old { .. }) => failure.advice("`tgmesh migrate` brings it up to date"),
            _ => failure,
        }
    }
}

/// What a field is called on the command line.
fn argument(field: &str) -> &str {
    match field.split('[').next().unwrap_or(field) {
        "audience.inline.entries" => "--to",
        "audience.parse_task_id" => "--from-parse",
        "audience.audience_id" => "--from-file",
        "audience.limit" => "--limit",
        "page_token" => "--page",
        "people" => "the people",
        "sources" => "the sources",
        "sessions" => "the session strings",
        _ => field,
    }
}

fn exit_of(code: Code) -> u8 {
    match code {
        Code::Unavailable | Code::DeadlineExceeded => UNAVAILABLE,
        Code::ResourceExhausted | Code::Aborted => LATER,
        Code::Unauthenticated | Code::PermissionDenied => FORBIDDEN,
        _ => FAILED,
    }
}

/// The innermost cause of a failure of the transport, such as "connection refused".
pub(crate) fn cause(status: &Status) -> String {
    let mut cause = status.source();
    while let Some(inner) = cause.and_then(std::error::Error::source) {
        cause = Some(inner);
    }
    cause.map_or_else(|| status.message().to_owned(), ToString::to_string)
}

/// What to do next; `None` where the message says all there is to say.
fn advice_on(reason: ErrorReason) -> Option<&'static str> {
    Some(match reason {
        ErrorReason::TokenInvalid => {
            "use the data folder of the running services (--data-dir), or a good token in TGMESH_TOKEN"
        }
        ErrorReason::CallerNotAllowed => "ask somebody who is allowed to, or use another token",
        ErrorReason::AccountNotFound => "`tgmesh accounts list` shows the accounts of this workspace",
        ErrorReason::CampaignNotFound => "`tgmesh campaign list` shows the campaigns of this workspace",
        ErrorReason::ParseTaskNotFound => "`tgmesh parse list` shows the parse tasks of this workspace",
        ErrorReason::LoginNotFound | ErrorReason::LoginExpired => "start another: tgmesh accounts login phone NUMBER",
        ErrorReason::LoginUnderWay => "go on with it: tgmesh accounts login phone --login ID",
        ErrorReason::LoginCodeInvalid | ErrorReason::LoginPasswordWrong => {
            "enter it again: tgmesh accounts login phone --login ID"
        }
        ErrorReason::LoginCodeExpired => "ask for another code: tgmesh accounts login phone --login ID --resend",
        ErrorReason::LoginSignUpRequired => "sign up with an official Telegram app first",
        ErrorReason::LoginEmailRequired => "set an e-mail address in an official Telegram app first",
        ErrorReason::LoginPaymentRequired => "log in with an official Telegram app",
        ErrorReason::SessionLost => "log the account in again: tgmesh accounts login phone NUMBER",
        ErrorReason::AccountNotReady => "`tgmesh accounts show ID` says why, and until when",
        ErrorReason::NoAccountAvailable | ErrorReason::NoAbleAccount => {
            "`tgmesh accounts list` and `tgmesh campaign check CHAT` say why for each account"
        }
        ErrorReason::QuotaExceeded => "`tgmesh quota show ACCOUNT` shows every limit and when it ends",
        ErrorReason::ChatNotVisible | ErrorReason::ChatNotFound => {
            "check the chat's name, and that at least one account is a member when it is private"
        }
        ErrorReason::NoRights => "make an account an admin of the chat who may add users",
        ErrorReason::CampaignStateWrong => "`tgmesh campaign show ID` shows the state and what can be done next",
        ErrorReason::ParseTaskStateWrong => "`tgmesh parse show ID` shows the state and what can be done next",
        ErrorReason::CampaignBusy => "wait a few seconds until the targets under way have ended",
        ErrorReason::NoTargets => "add people to the campaign first",
        ErrorReason::OutcomeUnknown => "do not repeat it: it may have happened; look at the result first",
        ErrorReason::TelegramUnavailable | ErrorReason::DependencyUnavailable => "`tgmesh doctor` looks for the fault",
        ErrorReason::Overloaded | ErrorReason::ShuttingDown => "try again in a few seconds",
        ErrorReason::EtagMismatch | ErrorReason::Conflict => "somebody changed it meanwhile: look at it and try again",
        ErrorReason::Internal => "the service's log has the cause under this request id",
        ErrorReason::NotImplemented => "this part of the contract is not served yet",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_why_and_what_next() {
        let status = tgmesh_proto::status::status(ErrorReason::QuotaExceeded, "the limit of the day is used up")
            .with("limit", "INVITE_PER_DAY")
            .retry_after(Some(Duration::from_secs(90)))
            .build();
        let failure = Failure::of_call(&status, "integration", "http://127.0.0.1:1");
        let text = failure.text();
        assert_eq!(failure.exit, LATER);
        for part in [
            "error: the limit of the day is used up (QUOTA_EXCEEDED)",
            "limit: INVITE_PER_DAY",
            "1 min 30 s",
            "tgmesh quota show",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }

    #[test]
    fn a_schema_that_is_behind_is_migrated_where_it_is() {
        let behind = SchemaError::Old { schema: tgmesh_migrations::Schema::Invite, missing: 2 };
        let failure = Failure::from(anyhow::Error::new(behind).context("the invite service did not start"));
        let text = failure.complete(&Hints::new(Some("prod.toml".as_ref()), None)).text();
        assert!(text.contains("what to do: `tgmesh --config prod.toml migrate` brings it up to date"), "{text}");
    }

    #[test]
    fn bad_fields_are_named() {
        let status = tgmesh_proto::status::status(ErrorReason::FieldInvalid, "the request is not valid")
            .with("field", "phone")
            .violation("phone", "must be given")
            .build();
        assert!(Failure::of_call(&status, "integration", "x").text().contains("  phone: must be given\n"));

        let once = tgmesh_proto::status::status(ErrorReason::FieldInvalid, "people[0]: is no username")
            .with("field", "people[0]")
            .violation("people[0]", "is no username")
            .build();
        let text = Failure::of_call(&once, "invite", "x").text();
        assert_eq!(text, "error: the people: is no username (FIELD_INVALID)\n");
    }
}
